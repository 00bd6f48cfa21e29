/* The whole firmware: a port calls firmware_init() once and firmware_task() for ever. */
#ifndef CODECRIG_FIRMWARE_H
#define CODECRIG_FIRMWARE_H

#include <stdbool.h>
#include <stdint.h>

/* Starts bridge, console and USB (the port has its clocks, pins and SPI ready). false: TinyUSB did not start. */
bool firmware_init(void);

/* What a turn of the main loop came to. */
typedef enum firmware_turn {
  FIRMWARE_IDLE,   /* nothing was done */
  FIRMWARE_WORKED, /* something was, and nothing is left until an interrupt or a deadline comes */
  FIRMWARE_MORE,   /* something was, and the next turn may find more */
} firmware_turn_t;

/* One turn of the main loop; never waits. */
firmware_turn_t firmware_task(void);

/* Earliest time at which firmware_task has something to do by time alone; UINT64_MAX if none. */
uint64_t firmware_deadline_us(void);

/* A wire request is unanswered, in part or whole, or reply bytes wait to be fetched. */
bool firmware_busy(void);

#endif
