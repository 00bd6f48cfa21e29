/* The firmware on this machine, as the simulated board (the twin) sees it.
 *
 * One thread. The twin offers a platform (SPI, lines, time), performs USB transactions one packet at a time, and calls
 * native_task() until it returns false after everything that may have given the firmware something to do: a USB
 * transaction, the end of an SPI transfer, an edge of the attention line, a deadline. Nothing here blocks or allocates.
 */
#ifndef CODECRIG_NATIVE_H
#define CODECRIG_NATIVE_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What the twin offers to the firmware. */
typedef struct native_platform {
  void *context;
  /* Full-duplex DMA of `length` bytes: starts, never blocks; tx and rx stay valid until done; chip select is already low. */
  void (*spi_start)(void *context, const uint8_t *tx, uint8_t *rx, uint32_t length);
  bool (*spi_busy)(void *context);
  void (*spi_select)(void *context, bool selected); /* drives chip select, immediate; may fall in mid-transfer (RESET) */
  bool (*attention)(void *context);                 /* level of the FPGA's attention line */
  bool (*fpga_done)(void *context);                 /* CDONE */
  uint64_t (*time_us)(void *context);               /* board (MCU) time */
  /* The FPGA's configuration port. As spi_start, fpga_config_send never blocks. */
  void (*fpga_reset)(void *context, bool held);
  void (*fpga_config_select)(void *context, bool selected);
  void (*fpga_config_send)(void *context, const uint8_t *bytes, uint32_t length);
  bool (*fpga_config_busy)(void *context);
  /* The firmware has left for the boot loader: nothing answers until native_init(). */
  void (*boot_loader)(void *context);
} native_platform_t;

/* Powers the firmware up (again). `platform` must stay valid. */
void native_init(const native_platform_t *platform, uint64_t serial);

/* What port_refusal() returns from now on; NULL at start. */
void native_refuse(const char *reason);

/* Runs the main loop once; true if anything was done (call until false). */
bool native_task(void);

/* Earliest board time at which native_task has something to do by time alone (timeouts); UINT64_MAX if none. */
uint64_t native_deadline_us(void);

/* A wire request is unanswered (received in part or whole) or reply bytes wait to be fetched. A zero-length packet that
 * only ends a transfer does not count: nobody may ever fetch it. */
bool native_busy(void);

/* USB transactions as the bus model performs them, one packet each. */
typedef enum { NATIVE_ACK, NATIVE_NAK, NATIVE_STALL } native_handshake_t;

void native_usb_reset(void);
/* The bus was idle for 3 ms: the host sleeps, or the cable was pulled. */
void native_usb_suspend(void);
native_handshake_t native_usb_setup(const uint8_t setup[8]);

/* Endpoint number without direction bit, 0 included. */
native_handshake_t native_usb_out(uint8_t endpoint, const uint8_t *data, uint16_t length);

/* NATIVE_ACK = a data packet was sent and acknowledged. The packet is cut at `capacity`: offer 64 bytes. */
native_handshake_t native_usb_in(uint8_t endpoint, uint8_t *data, uint16_t capacity, uint16_t *length);

#ifdef __cplusplus
}
#endif

#endif
