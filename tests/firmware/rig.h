/* Test bench of the firmware on this machine: a USB host, a clock and an FPGA of our own around native.h. */
#ifndef RIG_H
#define RIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codecrig_regs.h"
#include "native.h"

/* ---- assertions: print what was expected and found, and end the program with 1 ---- */

void rig_fail(const char *file, int line, const char *format, ...) __attribute__((noreturn, format(printf, 3, 4)));
#define CHECK(condition) ((condition) ? (void)0 : rig_fail(__FILE__, __LINE__, "not true: %s", #condition))
#define CHECK_EQUAL(found, expected)                                                                       \
  do {                                                                                                     \
    const unsigned long long found_ = (unsigned long long)(found);                                         \
    const unsigned long long expected_ = (unsigned long long)(expected);                                   \
    if (found_ != expected_) {                                                                             \
      rig_fail(__FILE__, __LINE__, "%s: expected 0x%llX, found 0x%llX", #found, expected_, found_);        \
    }                                                                                                      \
  } while (0)
#define CHECK_BYTES(found, expected, length) rig_check_bytes(__FILE__, __LINE__, #found, found, expected, length)
void rig_check_bytes(const char *file, int line, const char *what, const void *found, const void *expected, size_t length);

/* ---- the board ---- */

typedef enum fpga_mode {
  FPGA_ANSWERS,
  FPGA_SILENT,         /* sends only filler */
  FPGA_NOISE,          /* sends 0xFF */
  FPGA_WRONG_SEQUENCE, /* answers another request */
  FPGA_BROKEN_CHECK,   /* reply header does not add up */
  FPGA_EARLY_NOISE,    /* start bytes while the header is clocked in, then answers */
} fpga_mode_t;

typedef struct rig {
  uint64_t time_ns;

  /* the FPGA */
  fpga_mode_t fpga_mode;
  bool fpga_done;
  bool attention;
  uint32_t latency_bytes;     /* filler between request and reply */
  uint8_t memory[0x20000];
  uint32_t scratch;
  bool wait_held;             /* a WAIT stays without answer until rig_release_wait() */
  uint8_t seen[0x2000];       /* bytes clocked in since chip select fell */
  uint32_t seen_bytes;
  uint8_t answer[0x2000];     /* reply, and how much of it was clocked out */
  uint32_t answer_bytes;
  uint32_t answer_at;
  uint32_t filler_left;
  bool answered;

  /* SPI */
  bool selected;
  bool busy;
  const uint8_t *tx;
  uint8_t *rx;
  uint32_t length;
  uint64_t done_ns;
  uint64_t deselected_ns;
  uint32_t transfers;   /* started */
  uint32_t selections;  /* chip select fell */
  uint64_t clocked_bytes;

  /* register writes that the FPGA carried out; the last 64 are kept */
  struct {
    uint32_t address;
    uint32_t value;
  } writes[64];
  uint32_t write_count;

  /* the FPGA's configuration port: breaking its rules (see platform_fpga_* in rig.c) fails the test */
  const uint8_t *bitstream; /* what makes CDONE rise; NULL: nothing does */
  size_t bitstream_bytes;
  bool config_held;
  bool config_selected;
  uint64_t config_since_ns;  /* reset began, or ended */
  uint32_t config_lead_bits; /* clocks with chip select high before the bitstream */
  uint32_t config_tail_bits; /* behind it */
  uint8_t config_seen[8192];
  size_t config_seen_bytes;
  uint64_t config_done_ns;
  bool config_busy;
  bool boot_loader;
} rig_t;

extern rig_t rig;

#define SPI_BYTE_NS 521u /* 8 / 15.36 MHz */
#define RIG_SERIAL 0x0123456789ABCDEFull

/* Power-up, bus reset; not configured. */
void rig_power_up(void);
/* Power-up, enumeration, RESET. */
void rig_start(void);
/* Runs the firmware until it has nothing left to do at this instant. */
void rig_settle(void);
/* Lets time pass; SPI transfers end and deadlines come when they are due. */
void rig_run_us(uint64_t duration_us);
/* Lets time pass until no SPI transfer runs and the firmware has nothing due within 1 ms. */
void rig_finish_spi(void);
/* Attention rises: the held WAIT's reply is ready. */
void rig_release_wait(void);

/* ---- the USB host ---- */

typedef struct control {
  uint8_t request_type;
  uint8_t request;
  uint16_t value;
  uint16_t index;
  uint16_t length;
} control_t;

#define CONTROL_STALLED (-1)
#define CONTROL_TIMED_OUT (-2)
/* A control transfer with all its stages. Returns the bytes of the data stage, or one of the above. */
int host_control(control_t control, uint8_t *data);
int host_descriptor(uint8_t type, uint8_t index, uint8_t *data, uint16_t length);

/* One OUT packet, no waiting. */
native_handshake_t host_out_packet(uint8_t endpoint, const uint8_t *data, size_t length);
/* Sends in packets of `packet` bytes, lets time pass while it meets NAK, at most `patience_us`. Returns bytes accepted. */
size_t host_out(uint8_t endpoint, const uint8_t *data, size_t length, size_t packet, uint64_t patience_us);
/* One transfer: until `capacity` is full (a multiple of 64), or a packet shorter than 64. Returns bytes, or -1 if it did
 * not end within `patience_us`; then *partial (if not NULL) says how much came. */
int host_in(uint8_t endpoint, uint8_t *data, size_t capacity, uint64_t patience_us, size_t *partial);

/* ---- the wire ---- */

typedef struct reply {
  uint8_t header[12];
  uint8_t operation;
  uint16_t sequence;
  uint32_t address;
  uint16_t length;
  uint8_t status;
  uint8_t data[4096];
} reply_t;

/* Appends a request to `to`, returns its bytes. data NULL: none (also for a WRITE header alone). */
size_t wire_request(uint8_t *to, uint8_t operation, uint16_t sequence, uint32_t address, uint16_t length, const uint8_t *data);
/* Sends as a client does: padded with filler to full packets. */
void wire_send(const uint8_t *bytes, size_t length);
/* Reads replies until `count` came, over any number of transfers. */
void wire_replies(reply_t *replies, size_t count);
void wire_reply(reply_t *reply);
/* One request, one reply. */
void wire_exchange(uint8_t operation, uint32_t address, uint16_t length, const uint8_t *data, reply_t *reply);
uint32_t wire_read_register(uint32_t address);
/* Nothing comes back within 1 ms, and no packet is lost by trying. */
void wire_expect_nothing(void);
/* The next request works. */
void wire_expect_alive(void);
int wire_reset(void);

uint32_t get_u32(const uint8_t *from);
uint16_t get_u16(const uint8_t *from);

/* xorshift, so that a failure can be repeated */
uint32_t rig_random(void);
void rig_seed(uint32_t seed);

/* ---- tests register themselves; the program runs those named on its command line ---- */

void rig_register(const char *name, void (*run)(void));
#define TEST(name)                                                                     \
  static void name(void);                                                              \
  __attribute__((constructor)) static void register_##name(void) { rig_register(#name, name); } \
  static void name(void)

#endif
