/* Configuring the FPGA, the safe state, the way to the boot loader. */
#include <string.h>

#include "rig.h"

#define PAGE 1000u

static void write_register(uint32_t address, uint32_t value) {
  const uint8_t bytes[4] = {(uint8_t)value, (uint8_t)(value >> 8), (uint8_t)(value >> 16), (uint8_t)(value >> 24)};
  reply_t reply;
  wire_exchange(OPERATION_WRITE, address, 4, bytes, &reply);
  CHECK_EQUAL(reply.status, STATUS_OK);
}

static uint32_t status(void) { return wire_read_register(BRIDGE_FPGA_STATUS); }

#define READY (1u << BRIDGE_FPGA_STATUS_READY_LSB)
#define LOADING (1u << BRIDGE_FPGA_STATUS_LOADING_LSB)
#define FAILED (1u << BRIDGE_FPGA_STATUS_FAILED_LSB)
#define PAGES(count) ((uint32_t)(count) << BRIDGE_FPGA_STATUS_PAGES_LSB)

static void send_page(uint32_t number, const uint8_t *bytes, uint32_t length) {
  uint8_t padded[LOAD_BUFFER_BYTES] = {0};
  memcpy(padded, bytes, length);
  reply_t reply;
  wire_exchange(OPERATION_WRITE, LOAD_BUFFER_BASE, (uint16_t)((length + 3u) & ~3u), padded, &reply);
  CHECK_EQUAL(reply.status, STATUS_OK);
  write_register(BRIDGE_LOAD_PAGE, length << BRIDGE_LOAD_PAGE_LENGTH_LSB | number);
}

static void settle_loading(void) {
  for (int tries = 0; tries < 20 && (status() & LOADING) != 0; tries++) {
    rig_run_us(1000);
  }
}

static uint8_t bitstream[5000];

static void make_bitstream(void) {
  rig_seed(7);
  for (uint32_t i = 0; i < sizeof bitstream; i++) {
    bitstream[i] = (uint8_t)rig_random();
  }
  rig.bitstream = bitstream;
  rig.bitstream_bytes = sizeof bitstream;
}

static uint32_t crc32(const uint8_t *bytes, size_t length) {
  uint32_t crc = 0xFFFFFFFFu;
  for (size_t i = 0; i < length; i++) {
    crc ^= bytes[i];
    for (int bit = 0; bit < 8; bit++) {
      crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
    }
  }
  return ~crc;
}

/* The rules of the configuration port are checked by the rig. */
TEST(board_loads_a_bitstream) {
  rig_start();
  make_bitstream();
  write_register(BRIDGE_LOAD, LOAD_COMMAND_BEGIN);
  CHECK_EQUAL(status(), LOADING);
  for (uint32_t page = 0; page < sizeof bitstream / PAGE; page++) {
    send_page(page, bitstream + page * PAGE, PAGE);
  }
  write_register(BRIDGE_LOAD, LOAD_COMMAND_END);
  settle_loading();
  CHECK_EQUAL(status(), READY | PAGES(5));
  CHECK_EQUAL(rig.config_seen_bytes, sizeof bitstream);
  CHECK_BYTES(rig.config_seen, bitstream, sizeof bitstream);
  CHECK_EQUAL(wire_read_register(BRIDGE_LOAD_CRC), crc32(bitstream, sizeof bitstream));
  CHECK_EQUAL(wire_read_register(BRIDGE_LOAD), LOAD_COMMAND_END);
  wire_expect_alive();
}

TEST(board_pages_may_be_repeated_and_have_an_order) {
  rig_start();
  make_bitstream();
  write_register(BRIDGE_LOAD, LOAD_COMMAND_BEGIN);
  send_page(1, bitstream, PAGE); /* not its turn */
  send_page(0, bitstream, PAGE);
  send_page(0, bitstream, PAGE); /* again */
  write_register(BRIDGE_LOAD_PAGE, 1);                                           /* length 0 */
  write_register(BRIDGE_LOAD_PAGE, (LOAD_BUFFER_BYTES + 1u) << 16 | 1u); /* too long */
  CHECK_EQUAL(wire_read_register(BRIDGE_LOAD_PAGE), (LOAD_BUFFER_BYTES + 1u) << 16 | 1u);
  CHECK_EQUAL(status(), LOADING | PAGES(1));
  CHECK_EQUAL(rig.config_seen_bytes, PAGE);
  send_page(1, bitstream + PAGE, LOAD_BUFFER_BYTES);
  send_page(2, bitstream + PAGE + LOAD_BUFFER_BYTES, 5000 - PAGE - LOAD_BUFFER_BYTES);
  write_register(BRIDGE_LOAD, LOAD_COMMAND_END);
  settle_loading();
  CHECK_EQUAL(status(), READY | PAGES(3));
}

TEST(board_wrong_bitstream_is_reported_and_can_be_repaired) {
  rig_start();
  make_bitstream();
  write_register(BRIDGE_LOAD, LOAD_COMMAND_BEGIN);
  send_page(0, bitstream, PAGE);
  write_register(BRIDGE_LOAD, LOAD_COMMAND_END);
  settle_loading();
  CHECK_EQUAL(status(), FAILED | PAGES(1));
  reply_t reply;
  wire_exchange(OPERATION_READ, FPGA_ID, 4, NULL, &reply);
  CHECK_EQUAL(reply.status, STATUS_NOT_READY);
  write_register(BRIDGE_LOAD, LOAD_COMMAND_BEGIN);
  CHECK_EQUAL(status(), LOADING);
  for (uint32_t page = 0; page < 5; page++) {
    send_page(page, bitstream + page * PAGE, PAGE);
  }
  write_register(BRIDGE_LOAD, LOAD_COMMAND_END);
  settle_loading();
  CHECK_EQUAL(status(), READY | PAGES(5));
}

TEST(board_is_not_ready_while_it_is_loaded) {
  rig_start();
  make_bitstream();
  rig.wait_held = true;
  uint8_t request[12];
  wire_send(request, wire_request(request, OPERATION_WAIT, 1, 0x1000, 0, NULL));
  wire_expect_nothing();
  CHECK_EQUAL(wire_reset(), 0);
  write_register(BRIDGE_LOAD, LOAD_COMMAND_BEGIN);
  const uint32_t transfers = rig.transfers;
  reply_t reply;
  wire_exchange(OPERATION_READ, FPGA_ID, 4, NULL, &reply);
  CHECK_EQUAL(reply.status, STATUS_NOT_READY);
  CHECK_EQUAL(rig.transfers, transfers);
}

TEST(board_end_without_begin_does_nothing) {
  rig_start();
  write_register(BRIDGE_LOAD, LOAD_COMMAND_END);
  write_register(BRIDGE_LOAD, LOAD_COMMAND_NONE);
  write_register(BRIDGE_LOAD_PAGE, 4u << 16);
  CHECK_EQUAL(status(), READY);
  CHECK_EQUAL(rig.config_seen_bytes, 0);
  wire_expect_alive();
}

/* Streams stop first, then S/PDIF, then the converter; a board that nobody wrote to is left alone. */
static void expect_safe_writes(uint32_t first) {
  CHECK_EQUAL(rig.write_count, first + STREAM_COUNT + 2);
  for (uint32_t stream = 0; stream < STREAM_COUNT; stream++) {
    const uint32_t at = first + STREAM_COUNT - 1 - stream;
    CHECK_EQUAL(rig.writes[at].address, STREAM_BASE + stream * STREAM_STRIDE + STREAM_CONTROL);
    CHECK_EQUAL(rig.writes[at].value, STREAM_STATE_STOP);
  }
  CHECK_EQUAL(rig.writes[first + STREAM_COUNT].address, SPDIF_GATES);
  CHECK_EQUAL(rig.writes[first + STREAM_COUNT].value, 0);
  CHECK_EQUAL(rig.writes[first + STREAM_COUNT + 1].address, FPGA_CONVERTER_CONTROL);
  CHECK_EQUAL(rig.writes[first + STREAM_COUNT + 1].value, 1u << FPGA_CONVERTER_CONTROL_MUTE_LSB);
}

TEST(board_is_made_safe_when_the_bus_falls_idle) {
  rig_start();
  native_usb_suspend();
  rig_run_us(10000);
  CHECK_EQUAL(rig.write_count, 0);
  write_register(FPGA_SCRATCH, 5);
  CHECK_EQUAL(rig.write_count, 1);
  native_usb_suspend();
  rig_run_us(10000);
  expect_safe_writes(1);
  native_usb_suspend(); /* again: nothing was written since */
  rig_run_us(10000);
  CHECK_EQUAL(rig.write_count, 1 + STREAM_COUNT + 2);
  CHECK(!rig.selected);
  CHECK_EQUAL(wire_reset(), 0);
  wire_expect_alive();
}

/* The cable goes in the middle of a reply that nobody fetches, and of a WAIT. */
TEST(board_is_made_safe_from_any_state) {
  static uint8_t data[4096];
  for (uint32_t at_us = 0; at_us < 400; at_us += 7) {
    rig_start();
    write_register(FPGA_SCRATCH, 5);
    uint8_t requests[12 * 3 + 400];
    size_t length = wire_request(requests, OPERATION_READ, 1, 0, 4096, NULL);
    length += wire_request(requests + length, OPERATION_WRITE, 2, 0x100, 400, data);
    length += wire_request(requests + length, OPERATION_WAIT, 3, 0x1000, 0, NULL);
    rig.wait_held = true;
    wire_send(requests, length);
    rig_run_us(at_us * 10);
    native_usb_suspend();
    rig_run_us(20000);
    expect_safe_writes(1);
    native_usb_reset();
    rig_settle();
    rig.wait_held = false;
    CHECK_EQUAL(host_control((control_t){0x00, 5, 1, 0, 0}, NULL), 0);
    CHECK_EQUAL(host_control((control_t){0x00, 9, 1, 0, 0}, NULL), 0);
    CHECK_EQUAL(wire_reset(), 0);
    wire_expect_alive();
  }
}

TEST(board_without_an_fpga_is_left_alone) {
  rig_start();
  write_register(FPGA_SCRATCH, 5);
  rig.fpga_done = false;
  native_usb_suspend();
  rig_run_us(10000);
  CHECK_EQUAL(rig.write_count, 1);
  CHECK_EQUAL(wire_reset(), 0);
  CHECK_EQUAL(status(), 0);
}

TEST(board_goes_to_the_boot_loader_behind_the_answer) {
  rig_start();
  CHECK_EQUAL(host_control((control_t){0x41, 0x03, 0, 0, 0}, NULL), 0);
  CHECK(!rig.boot_loader);
  rig_run_us(9000);
  CHECK(!rig.boot_loader);
  rig_run_us(2000);
  CHECK(rig.boot_loader);
}

TEST(board_boot_loader_request_must_be_exact) {
  rig_start();
  CHECK_EQUAL(host_control((control_t){0x41, 0x03, 0, 1, 0}, NULL), CONTROL_STALLED);
  CHECK_EQUAL(host_control((control_t){0xC1, 0x03, 0, 0, 4}, (uint8_t[4]){0}), CONTROL_STALLED);
  rig_run_us(20000);
  CHECK(!rig.boot_loader);
  wire_expect_alive();
}
