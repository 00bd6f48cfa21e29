/* The bridge: wire requests in, replies out, FPGA requests over SPI. Knows no USB and no audio. See docs/wire.md.
 *
 * Bytes from the client go in through bridge_receive(); complete requests wait in the receive ring; bridge_task() answers
 * them one after another into the reply ring, from where bridge_reply_* takes them. While one request is on SPI the next
 * ones are received. Everything runs in the main loop, so no data here is shared with an interrupt; the two SPI buffers
 * belong to the port's DMA while a transfer runs.
 */
#ifndef CODECRIG_BRIDGE_H
#define CODECRIG_BRIDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct bridge_counters {
  uint32_t requests;      /* answered */
  uint32_t errors;        /* answered with another status than OK */
  uint32_t bad_headers;
  uint32_t truncated;
  uint32_t no_replies;
  uint32_t rx_high_water; /* bytes */
  uint32_t tx_high_water; /* bytes */
  uint32_t resets;        /* RESET requests and bus resets; console only */
} bridge_counters_t;

/* State after power-up: rings empty, counters and scratch 0. */
void bridge_init(void);

/* Drops everything received, in progress and waiting to be fetched. Counters and scratch stay. */
void bridge_reset(void);

/* The client is gone: as bridge_reset(), and then, if it has ever written to the FPGA, all streams are stopped, the converter
 * and the S/PDIF transmitter are switched off, before anything else goes to the FPGA. */
void bridge_make_safe(void);

/* Takes bytes of the OUT stream. Returns how many were taken: fewer than `count` when the receive ring has no room; offer
 * the rest again later. */
size_t bridge_receive(const uint8_t *bytes, size_t count);

/* Does what can be done now. true if anything was done. */
bool bridge_task(void);

/* Earliest time at which bridge_task has something to do by time alone; UINT64_MAX if none. */
uint64_t bridge_deadline_us(void);

/* A request has been received, in part or whole, and its reply is not in the reply ring yet. */
bool bridge_unanswered(void);

/* Bytes of replies that wait. */
size_t bridge_reply_level(void);

/* The oldest of them as far as they lie in one piece; they stay valid and in place until taken. */
const uint8_t *bridge_reply_peek(size_t *length);

/* Copies the oldest `length` bytes, which may wrap; does not take them. */
void bridge_reply_copy(uint8_t *to, size_t length);

/* Frees the oldest `length` bytes. */
void bridge_reply_take(size_t length);

const bridge_counters_t *bridge_counters(void);

/* As the registers BRIDGE_VERSION and BRIDGE_BUILD. */
uint32_t bridge_wire_version(void);
uint32_t bridge_build(void);

#endif
