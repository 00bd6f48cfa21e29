/* See rig.h. */
#include "rig.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

rig_t rig;

/* ---------------------------------------------------------------- assertions */

void rig_fail(const char *file, int line, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fprintf(stderr, "%s:%d: ", file, line);
  vfprintf(stderr, format, arguments);
  fprintf(stderr, " (board time %" PRIu64 " us)\n", rig.time_ns / 1000);
  va_end(arguments);
  exit(1);
}

void rig_check_bytes(const char *file, int line, const char *what, const void *found, const void *expected, size_t length) {
  const uint8_t *a = found;
  const uint8_t *b = expected;
  for (size_t i = 0; i < length; i++) {
    if (a[i] != b[i]) {
      rig_fail(file, line, "%s: byte %zu of %zu: expected 0x%02X, found 0x%02X", what, i, length, b[i], a[i]);
    }
  }
}

/* ---------------------------------------------------------------- the FPGA */

uint32_t get_u32(const uint8_t *from) {
  return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

uint16_t get_u16(const uint8_t *from) { return (uint16_t)(from[0] | from[1] << 8); }

static uint32_t fpga_register(uint32_t address) {
  switch (address) {
    case FPGA_ID:
      return FPGA_ID_RESET;
    case FPGA_VERSION:
      return 1u << 24;
    case FPGA_SCRATCH:
      return rig.scratch;
    default:
      return 0;
  }
}

/* A request is complete: carry it out and lay the reply ready. Knows audio memory and three registers. */
static void fpga_answer(void) {
  const uint8_t *request = rig.seen;
  const uint32_t address = get_u32(request + 4);
  const uint16_t length = get_u16(request + 8);
  uint8_t status = STATUS_OK;
  uint16_t payload = 0;
  uint8_t *data = rig.answer + 12;
  if (request[1] == OPERATION_WAIT) {
    /* nothing to do */
  } else if (address < AUDIO_MEMORY_BYTES) {
    if (address + length > AUDIO_MEMORY_BYTES) {
      status = STATUS_UNMAPPED;
    } else if (request[1] == OPERATION_READ) {
      memcpy(data, rig.memory + address, length);
      payload = length;
    } else {
      memcpy(rig.memory + address, request + 12, length);
    }
  } else if (address >= FPGA_BASE && address < FPGA_BASE + 0x3000) {
    if (address % 4 != 0) {
      status = STATUS_MISALIGNED;
    } else if (length % 4 != 0) {
      status = STATUS_BAD_LENGTH;
    } else if (request[1] == OPERATION_READ) {
      for (uint32_t at = 0; at < length; at += 4) {
        const uint32_t value = fpga_register(address + at);
        for (uint32_t i = 0; i < 4; i++) {
          data[at + i] = (uint8_t)(value >> (8 * i));
        }
      }
      payload = length;
    } else {
      const uint32_t slot = rig.write_count++ % (sizeof rig.writes / sizeof rig.writes[0]);
      rig.writes[slot].address = address;
      rig.writes[slot].value = get_u32(request + 12);
      if (address == FPGA_SCRATCH) {
        rig.scratch = get_u32(request + 12);
      }
    }
  } else {
    status = STATUS_UNMAPPED;
  }
  memcpy(rig.answer, request, 12);
  rig.answer[1] |= 0x80;
  rig.answer[2] ^= rig.fpga_mode == FPGA_WRONG_SEQUENCE ? 1 : 0;
  rig.answer[8] = (uint8_t)payload;
  rig.answer[9] = (uint8_t)(payload >> 8);
  rig.answer[10] = status;
  rig.answer[11] = 0xFF;
  for (uint32_t i = 0; i < 11; i++) {
    rig.answer[11] ^= rig.answer[i];
  }
  rig.answer[11] ^= rig.fpga_mode == FPGA_BROKEN_CHECK ? 0x10 : 0;
  rig.answer_bytes = 12u + payload;
  rig.answer_at = 0;
  rig.filler_left = rig.latency_bytes;
}

static bool fpga_request_complete(void) {
  if (rig.seen_bytes < 12) {
    return false;
  }
  const uint32_t payload = (rig.seen[1] & 0x40) ? get_u16(rig.seen + 8) : 0;
  return rig.seen_bytes == 12 + payload;
}

static uint8_t fpga_clock_byte(uint8_t in) {
  uint8_t out = 0;
  if (rig.fpga_mode == FPGA_NOISE) {
    out = 0xFF;
  } else if (rig.fpga_mode == FPGA_EARLY_NOISE && rig.seen_bytes < 12) {
    out = 0xA5;
  } else if (rig.answer_bytes > 0 && !rig.wait_held) {
    if (rig.filler_left > 0) {
      rig.filler_left--;
    } else if (rig.answer_at < rig.answer_bytes) {
      out = rig.answer[rig.answer_at++];
    }
  }
  if (!rig.answered) {
    if (rig.seen_bytes == sizeof rig.seen) {
      rig_fail(__FILE__, __LINE__, "a request of more than %zu bytes on SPI", sizeof rig.seen);
    }
    rig.seen[rig.seen_bytes++] = in;
    if (fpga_request_complete()) {
      rig.answered = true;
      if (rig.fpga_mode != FPGA_SILENT && rig.fpga_mode != FPGA_NOISE) {
        fpga_answer();
        if (rig.seen[1] == OPERATION_WAIT && !rig.wait_held) {
          rig.attention = true;
        }
      }
    }
  } else if (in != 0) {
    rig_fail(__FILE__, __LINE__, "after the request the bridge sent 0x%02X instead of filler", in);
  }
  return out;
}

/* ---------------------------------------------------------------- the platform */

static void platform_spi_start(void *context, const uint8_t *tx, uint8_t *rx, uint32_t length) {
  (void)context;
  CHECK(!rig.busy);
  CHECK(rig.selected);
  CHECK(length > 0);
  rig.tx = tx;
  rig.rx = rx;
  rig.length = length;
  rig.busy = true;
  rig.done_ns = rig.time_ns + (uint64_t)length * SPI_BYTE_NS;
  rig.transfers++;
  rig.clocked_bytes += length;
}

static bool platform_spi_busy(void *context) {
  (void)context;
  return rig.busy;
}

static void platform_spi_select(void *context, bool selected) {
  (void)context;
  CHECK(rig.selected != selected);
  if (selected) {
    CHECK(!rig.busy);
    /* at least 16 FPGA clocks of 12.288 MHz */
    CHECK(rig.selections == 0 || rig.time_ns - rig.deselected_ns >= 16u * 1000000u / 12288u);
    rig.selections++;
  } else {
    rig.deselected_ns = rig.time_ns;
  }
  rig.selected = selected;
  rig.seen_bytes = 0;
  rig.answer_bytes = 0;
  rig.answered = false;
  rig.attention = false;
}

static bool platform_attention(void *context) {
  (void)context;
  return rig.attention;
}

static bool platform_fpga_done(void *context) {
  (void)context;
  return rig.fpga_done;
}

static uint64_t platform_time_us(void *context) {
  (void)context;
  return rig.time_ns / 1000;
}

/* An iCE40 UltraPlus in slave SPI mode; times from its data sheet. */
static void platform_fpga_reset(void *context, bool held) {
  (void)context;
  if (held) {
    rig.fpga_done = false;
    rig.config_lead_bits = rig.config_tail_bits = 0;
    rig.config_seen_bytes = 0;
  } else {
    CHECK(rig.config_held);
    CHECK(rig.config_selected);
    CHECK(rig.time_ns - rig.config_since_ns >= 200);
  }
  rig.config_held = held;
  rig.config_since_ns = rig.time_ns;
}

static void platform_fpga_config_select(void *context, bool selected) {
  (void)context;
  CHECK(!rig.config_busy);
  rig.config_selected = selected;
}

static void platform_fpga_config_send(void *context, const uint8_t *bytes, uint32_t length) {
  (void)context;
  CHECK(!rig.config_busy);
  CHECK(!rig.config_held);
  CHECK(rig.time_ns - rig.config_since_ns >= 1200000);
  CHECK(length > 0);
  rig.config_busy = true;
  rig.config_done_ns = rig.time_ns + (uint64_t)length * SPI_BYTE_NS;
  if (rig.config_selected) {
    CHECK_EQUAL(rig.config_lead_bits, 8);
    CHECK_EQUAL(rig.config_tail_bits, 0);
    if (rig.config_seen_bytes + length <= sizeof rig.config_seen) {
      memcpy(rig.config_seen + rig.config_seen_bytes, bytes, length);
    }
    rig.config_seen_bytes += length;
  } else if (rig.config_seen_bytes == 0) {
    rig.config_lead_bits += 8 * length;
  } else {
    rig.config_tail_bits += 8 * length;
  }
}

static bool platform_fpga_config_busy(void *context) {
  (void)context;
  return rig.config_busy;
}

static void config_end(void) {
  rig.config_busy = false;
  if (rig.config_tail_bits > 0) {
    CHECK(rig.config_tail_bits >= 149);
    rig.fpga_done = rig.bitstream != NULL && rig.config_seen_bytes == rig.bitstream_bytes &&
                    memcmp(rig.config_seen, rig.bitstream, rig.bitstream_bytes) == 0;
  }
}

static void platform_boot_loader(void *context) {
  (void)context;
  rig.boot_loader = true;
}

static const native_platform_t platform = {
    .context = NULL,
    .spi_start = platform_spi_start,
    .spi_busy = platform_spi_busy,
    .spi_select = platform_spi_select,
    .attention = platform_attention,
    .fpga_done = platform_fpga_done,
    .time_us = platform_time_us,
    .fpga_reset = platform_fpga_reset,
    .fpga_config_select = platform_fpga_config_select,
    .fpga_config_send = platform_fpga_config_send,
    .fpga_config_busy = platform_fpga_config_busy,
    .boot_loader = platform_boot_loader,
};

/* ---------------------------------------------------------------- time */

void rig_settle(void) {
  for (uint32_t turns = 0; native_task(); turns++) {
    if (turns > 100000) {
      rig_fail(__FILE__, __LINE__, "native_task never comes to rest");
    }
  }
}

static void spi_end(void) {
  for (uint32_t i = 0; i < rig.length; i++) {
    rig.rx[i] = rig.selected ? fpga_clock_byte(rig.tx[i]) : 0;
  }
  rig.busy = false;
}

static void run_to(uint64_t end_ns) {
  rig_settle();
  while (rig.time_ns < end_ns) {
    uint64_t next = end_ns;
    if (rig.busy && rig.done_ns < next) {
      next = rig.done_ns;
    }
    if (rig.config_busy && rig.config_done_ns < next) {
      next = rig.config_done_ns;
    }
    const uint64_t deadline_us = native_deadline_us();
    if (deadline_us != UINT64_MAX) {
      if (deadline_us * 1000 <= rig.time_ns) {
        rig_fail(__FILE__, __LINE__, "deadline %" PRIu64 " us has passed and nothing was done", deadline_us);
      }
      if (deadline_us * 1000 < next) {
        next = deadline_us * 1000;
      }
    }
    rig.time_ns = next;
    if (rig.busy && rig.done_ns <= rig.time_ns) {
      spi_end();
    }
    if (rig.config_busy && rig.config_done_ns <= rig.time_ns) {
      config_end();
    }
    rig_settle();
  }
}

void rig_run_us(uint64_t duration_us) { run_to(rig.time_ns + duration_us * 1000); }

void rig_finish_spi(void) {
  do {
    rig_run_us(1000);
  } while (rig.busy);
}

void rig_release_wait(void) {
  rig.wait_held = false;
  rig.attention = true;
  rig_settle();
}

void rig_power_up(void) {
  memset(&rig, 0, sizeof rig);
  rig.time_ns = 1000000;
  rig.fpga_done = true;
  rig.latency_bytes = 3;
  native_init(&platform, RIG_SERIAL);
  rig_settle();
  native_usb_reset();
  rig_settle();
}

void rig_start(void) {
  rig_power_up();
  CHECK_EQUAL(host_control((control_t){0x00, 5, 1, 0, 0}, NULL), 0); /* SET_ADDRESS */
  CHECK_EQUAL(host_control((control_t){0x00, 9, 1, 0, 0}, NULL), 0); /* SET_CONFIGURATION */
  CHECK_EQUAL(wire_reset(), 0);
}

/* ---------------------------------------------------------------- the USB host */

#define CONTROL_TRIES 100

static native_handshake_t control_in(uint8_t *packet, uint16_t *length) {
  native_handshake_t handshake = NATIVE_NAK;
  for (int tries = 0; tries < CONTROL_TRIES && handshake == NATIVE_NAK; tries++) {
    handshake = native_usb_in(0, packet, 64, length);
    rig_settle();
  }
  return handshake;
}

static native_handshake_t control_out(const uint8_t *packet, uint16_t length) {
  native_handshake_t handshake = NATIVE_NAK;
  for (int tries = 0; tries < CONTROL_TRIES && handshake == NATIVE_NAK; tries++) {
    handshake = native_usb_out(0, packet, length);
    rig_settle();
  }
  return handshake;
}

static int control_result(native_handshake_t handshake, int bytes) {
  return handshake == NATIVE_ACK ? bytes : handshake == NATIVE_STALL ? CONTROL_STALLED : CONTROL_TIMED_OUT;
}

int host_control(control_t control, uint8_t *data) {
  const uint8_t setup[8] = {control.request_type,
                            control.request,
                            (uint8_t)control.value,
                            (uint8_t)(control.value >> 8),
                            (uint8_t)control.index,
                            (uint8_t)(control.index >> 8),
                            (uint8_t)control.length,
                            (uint8_t)(control.length >> 8)};
  CHECK_EQUAL(native_usb_setup(setup), NATIVE_ACK);
  rig_settle();
  native_handshake_t handshake = NATIVE_ACK;
  uint8_t packet[64];
  uint16_t got = 0;
  if ((control.request_type & 0x80) == 0) {
    for (uint16_t at = 0; at < control.length && handshake == NATIVE_ACK;) {
      const uint16_t piece = control.length - at < 64 ? (uint16_t)(control.length - at) : 64;
      handshake = control_out(data + at, piece);
      at = (uint16_t)(at + piece);
    }
    if (handshake == NATIVE_ACK) {
      handshake = control_in(packet, &got);
      CHECK_EQUAL(got, 0);
    }
    return control_result(handshake, control.length);
  }
  int bytes = 0;
  do {
    handshake = control_in(packet, &got);
    if (handshake == NATIVE_ACK) {
      CHECK(bytes + got <= control.length);
      memcpy(data + bytes, packet, got);
      bytes += got;
    }
  } while (handshake == NATIVE_ACK && got == 64 && bytes < control.length);
  if (handshake == NATIVE_ACK) {
    handshake = control_out(NULL, 0);
  }
  return control_result(handshake, bytes);
}

int host_descriptor(uint8_t type, uint8_t index, uint8_t *data, uint16_t length) {
  return host_control((control_t){0x80, 6, (uint16_t)(type << 8 | index), type == 3 && index > 0 ? 0x0409 : 0, length}, data);
}

native_handshake_t host_out_packet(uint8_t endpoint, const uint8_t *data, size_t length) {
  const native_handshake_t handshake = native_usb_out(endpoint, data, (uint16_t)length);
  rig_settle();
  return handshake;
}

size_t host_out(uint8_t endpoint, const uint8_t *data, size_t length, size_t packet, uint64_t patience_us) {
  size_t sent = 0;
  uint64_t waited_us = 0;
  while (sent < length) {
    const size_t piece = length - sent < packet ? length - sent : packet;
    const native_handshake_t handshake = host_out_packet(endpoint, data + sent, piece);
    if (handshake == NATIVE_ACK) {
      sent += piece;
      waited_us = 0;
    } else if (handshake == NATIVE_STALL || waited_us >= patience_us) {
      break;
    } else {
      rig_run_us(10);
      waited_us += 10;
    }
  }
  return sent;
}

int host_in(uint8_t endpoint, uint8_t *data, size_t capacity, uint64_t patience_us, size_t *partial) {
  size_t bytes = 0;
  uint64_t waited_us = 0;
  int result = -1;
  while (result < 0) {
    uint16_t got = 0;
    uint8_t packet[64];
    const native_handshake_t handshake = native_usb_in(endpoint, packet, 64, &got);
    rig_settle();
    if (handshake == NATIVE_STALL) {
      rig_fail(__FILE__, __LINE__, "endpoint 0x8%u stalls", endpoint);
    }
    if (handshake == NATIVE_ACK) {
      CHECK(bytes + got <= capacity);
      memcpy(data + bytes, packet, got);
      bytes += got;
      waited_us = 0;
      if (got < 64 || bytes == capacity) {
        result = (int)bytes;
      }
    } else if (waited_us >= patience_us) {
      break;
    } else {
      rig_run_us(10);
      waited_us += 10;
    }
  }
  if (partial != NULL) {
    *partial = bytes;
  }
  return result;
}

/* ---------------------------------------------------------------- the wire */

#define PATIENCE_US 1000000u

size_t wire_request(uint8_t *to, uint8_t operation, uint16_t sequence, uint32_t address, uint16_t length,
                    const uint8_t *data) {
  to[0] = 0xA5;
  to[1] = operation;
  to[2] = (uint8_t)sequence;
  to[3] = (uint8_t)(sequence >> 8);
  for (uint32_t i = 0; i < 4; i++) {
    to[4 + i] = (uint8_t)(address >> (8 * i));
  }
  to[8] = (uint8_t)length;
  to[9] = (uint8_t)(length >> 8);
  to[10] = 0;
  to[11] = 0xFF;
  for (uint32_t i = 0; i < 11; i++) {
    to[11] ^= to[i];
  }
  if (data == NULL) {
    return 12;
  }
  memcpy(to + 12, data, length);
  return 12u + length;
}

void wire_send(const uint8_t *bytes, size_t length) {
  static uint8_t padded[0x20000];
  const size_t total = (length + 63) / 64 * 64;
  CHECK(total <= sizeof padded);
  memcpy(padded, bytes, length);
  memset(padded + length, 0, total - length);
  CHECK_EQUAL(host_out(1, padded, total, 64, PATIENCE_US), total);
}

void wire_replies(reply_t *replies, size_t count) {
  static uint8_t bytes[0x10000];
  size_t have = 0;
  size_t used = 0;
  for (size_t n = 0; n < count;) {
    if (have - used >= 12 && have - used >= 12u + get_u16(bytes + used + 8)) {
      reply_t *reply = &replies[n++];
      const uint8_t *header = bytes + used;
      uint8_t check = 0;
      for (uint32_t i = 0; i < 12; i++) {
        check ^= header[i];
      }
      CHECK_EQUAL(header[0], 0xA5);
      CHECK_EQUAL(check, 0xFF);
      memcpy(reply->header, header, 12);
      reply->operation = header[1];
      reply->sequence = get_u16(header + 2);
      reply->address = get_u32(header + 4);
      reply->length = get_u16(header + 8);
      reply->status = header[10];
      CHECK(reply->length <= sizeof reply->data);
      memcpy(reply->data, header + 12, reply->length);
      used += 12u + reply->length;
      continue;
    }
    memmove(bytes, bytes + used, have - used);
    have -= used;
    used = 0;
    size_t partial = 0;
    if (host_in(1, bytes + have, (sizeof bytes - have) / 64 * 64, PATIENCE_US, &partial) < 0) {
      rig_fail(__FILE__, __LINE__, "reply %zu of %zu never came: %zu bytes of it did", n + 1, count, have + partial);
    }
    have += partial;
  }
  CHECK_EQUAL(have - used, 0); /* nothing behind the last reply */
}

void wire_reply(reply_t *reply) { wire_replies(reply, 1); }

void wire_exchange(uint8_t operation, uint32_t address, uint16_t length, const uint8_t *data, reply_t *reply) {
  static uint16_t sequence = 0x1234;
  uint8_t request[12 + 4096];
  sequence++;
  const size_t bytes = wire_request(request, operation, sequence, address, length, data);
  wire_send(request, bytes);
  wire_reply(reply);
  CHECK_EQUAL(reply->operation, operation | 0x80);
  CHECK_EQUAL(reply->sequence, sequence);
  CHECK_EQUAL(reply->address, address);
}

uint32_t wire_read_register(uint32_t address) {
  reply_t reply;
  wire_exchange(OPERATION_READ, address, 4, NULL, &reply);
  CHECK_EQUAL(reply.status, STATUS_OK);
  CHECK_EQUAL(reply.length, 4);
  return get_u32(reply.data);
}

void wire_expect_nothing(void) {
  uint16_t got = 0;
  uint8_t packet[64];
  for (int i = 0; i < 10; i++) {
    const native_handshake_t handshake = native_usb_in(1, packet, 64, &got);
    if (handshake != NATIVE_NAK) {
      rig_fail(__FILE__, __LINE__, "expected no packet, found handshake %d with %u bytes", (int)handshake, got);
    }
    rig_run_us(100);
  }
}

void wire_expect_alive(void) {
  CHECK_EQUAL(wire_read_register(BRIDGE_ID), BRIDGE_ID_RESET);
  CHECK_EQUAL(wire_read_register(FPGA_ID), FPGA_ID_RESET);
}

int wire_reset(void) { return host_control((control_t){0x41, 1, 0, 0, 0}, NULL); }

/* ---------------------------------------------------------------- random numbers */

static uint32_t random_state = 1;

void rig_seed(uint32_t seed) { random_state = seed == 0 ? 1 : seed; }

uint32_t rig_random(void) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 17;
  random_state ^= random_state << 5;
  return random_state;
}

/* ---------------------------------------------------------------- running */

static struct {
  const char *name;
  void (*run)(void);
} tests[200];
static size_t test_count;

void rig_register(const char *name, void (*run)(void)) {
  if (test_count == sizeof tests / sizeof tests[0]) {
    abort();
  }
  tests[test_count].name = name;
  tests[test_count++].run = run;
}

#ifndef RIG_FUZZING /* libFuzzer has a main of its own */
int main(int count, char **arguments) {
  if (count == 2 && strcmp(arguments[1], "--list") == 0) {
    for (size_t i = 0; i < test_count; i++) {
      puts(tests[i].name);
    }
    return 0;
  }
  for (int a = 1; a < count; a++) {
    size_t i = 0;
    while (i < test_count && strcmp(arguments[a], tests[i].name) != 0) {
      i++;
    }
    if (i == test_count) {
      fprintf(stderr, "no test %s\n", arguments[a]);
      return 2;
    }
    tests[i].run();
  }
  return count > 1 ? 0 : 2;
}
#endif
