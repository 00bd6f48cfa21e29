/* The way to the FPGA: bytes, clock, chip select, WAIT, time limits. */
#include <string.h>

#include "rig.h"

static void send_one(uint8_t operation, uint16_t sequence, uint32_t address, uint16_t length, const uint8_t *data) {
  uint8_t request[12 + 4096];
  wire_send(request, wire_request(request, operation, sequence, address, length, data));
}

static bool in_packet_waits(void) {
  uint16_t got = 0;
  uint8_t packet[64];
  return native_usb_in(1, packet, 64, &got) != NATIVE_NAK;
}

/* docs/wire.md, "Worked example". */
TEST(spi_worked_example) {
  rig_start();
  static const uint8_t request[12] = {0xA5, 0x21, 0x07, 0x00, 0x00, 0x00, 0x00, 0x40, 0x08, 0x00, 0x00, 0x34};
  static const uint8_t answer[20] = {0xA5, 0xA1, 0x07, 0x00, 0x00, 0x00, 0x00, 0x40, 0x08, 0x00,
                                     0x00, 0xB4, 0x47, 0x49, 0x52, 0x43, 0x00, 0x00, 0x00, 0x01};
  wire_send(request, 12);
  uint8_t bytes[64];
  CHECK_EQUAL(host_in(1, bytes, 64, 1000, NULL), 20);
  CHECK_BYTES(bytes, answer, 20);
}

/* The FPGA sees the client's bytes and nothing else, in one transfer under one chip select, whatever it needs to answer. */
TEST(spi_request_byte_for_byte_at_every_latency) {
  uint8_t data[200];
  for (uint32_t i = 0; i < sizeof data; i++) {
    data[i] = (uint8_t)(i % 5 == 0 ? 0xA5 : i);
  }
  for (uint32_t latency = 0; latency <= 16; latency++) {
    rig_start();
    rig.latency_bytes = latency;
    uint8_t request[12 + 200];
    wire_request(request, OPERATION_WRITE, 0xBEEF, 0x1FF38, 200, data);
    request[10] = 0x5C; /* a client's byte that the bridge has no business to change; the check byte follows it */
    request[11] ^= 0x5C;
    wire_send(request, sizeof request);
    rig_run_us((sizeof request + 28) * SPI_BYTE_NS / 1000 - 1);
    CHECK(rig.busy);
    rig_run_us(2);
    CHECK_EQUAL(rig.transfers, 1);
    CHECK_EQUAL(rig.selections, 1);
    CHECK_EQUAL(rig.clocked_bytes, sizeof request + 16 + 12);
    CHECK(!rig.selected);
    reply_t reply;
    wire_reply(&reply);
    CHECK_EQUAL(reply.status, STATUS_OK);
    CHECK_BYTES(rig.memory + 0x1FF38, data, 200);

    send_one(OPERATION_READ, 0xBEF0, 0x1FF38, 200, NULL);
    wire_reply(&reply);
    CHECK_EQUAL(reply.length, 200);
    CHECK_BYTES(reply.data, data, 200);
    CHECK_EQUAL(rig.transfers, 2);
  }
}


TEST(spi_forwarded_header_is_untouched) {
  rig_start();
  rig.fpga_mode = FPGA_SILENT; /* keeps what it saw until chip select rises */
  uint8_t request[12 + 4];
  wire_request(request, OPERATION_WRITE, 0xBEEF, 0x4000002A, 4, (const uint8_t *)"wxyz");
  request[10] = 0x5C;
  request[11] ^= 0x5C;
  wire_send(request, sizeof request);
  rig_run_us(1000);
  CHECK_EQUAL(rig.seen_bytes, sizeof request);
  CHECK_BYTES(rig.seen, request, sizeof request);
}

TEST(spi_largest_transfers) {
  rig_start();
  rig.latency_bytes = 16;
  static uint8_t data[4096];
  for (uint32_t i = 0; i < sizeof data; i++) {
    data[i] = (uint8_t)(i * 31 + (i >> 7));
  }
  reply_t reply;
  wire_exchange(OPERATION_WRITE, 0x1F000, 4096, data, &reply);
  CHECK_EQUAL(reply.status, STATUS_OK);
  wire_exchange(OPERATION_READ, 0x1F000, 4096, NULL, &reply);
  CHECK_EQUAL(reply.length, 4096);
  CHECK_BYTES(reply.data, data, 4096);
  CHECK_EQUAL(rig.transfers, 2);
  CHECK_EQUAL(rig.clocked_bytes, 2 * (12 + 16 + 12 + 4096));
}

/* What the FPGA refuses comes back as it said it. */
TEST(spi_errors_of_the_fpga) {
  rig_start();
  reply_t reply;
  wire_exchange(OPERATION_READ, 0x1FFFF, 2, NULL, &reply);
  CHECK_EQUAL(reply.status, STATUS_UNMAPPED);
  CHECK_EQUAL(reply.length, 0);
  wire_exchange(OPERATION_READ, 0x40000002, 4, NULL, &reply);
  CHECK_EQUAL(reply.status, STATUS_MISALIGNED);
  wire_exchange(OPERATION_READ, 0x4F000000, 4096, NULL, &reply);
  CHECK_EQUAL(reply.status, STATUS_UNMAPPED);
  CHECK_EQUAL(rig.transfers, 3);
  CHECK_EQUAL(wire_read_register(BRIDGE_ERRORS), 3);
  wire_expect_alive();
}

/* The next requests are received, and the former reply is fetched, while SPI works. */
TEST(spi_usb_goes_on_meanwhile) {
  rig_start();
  send_one(OPERATION_READ, 1, 0, 4096, NULL);
  CHECK(rig.busy);
  static uint8_t bytes[4096 + 64];
  const size_t length = wire_request(bytes, OPERATION_WRITE, 2, 0, 4000, bytes + 12);
  const size_t padded = (length + 63) / 64 * 64;
  CHECK_EQUAL(host_out(1, bytes, padded, 64, 0), padded); /* no NAK, no time passes */
  CHECK(rig.busy);
  CHECK_EQUAL(rig.transfers, 1);
  reply_t replies[2];
  wire_replies(replies, 2);
  CHECK_EQUAL(replies[0].length, 4096);
  CHECK_EQUAL(replies[1].status, STATUS_OK);
  CHECK_EQUAL(rig.transfers, 2);
}

/* The bench itself checks the gap at every fall of chip select; here it must also be short. */
TEST(spi_chip_select_gap) {
  rig_start();
  uint8_t bytes[64 * 12];
  for (uint16_t i = 0; i < 64; i++) {
    wire_request(bytes + 12 * i, OPERATION_READ, i, FPGA_ID, 4, NULL);
  }
  const uint64_t start_ns = rig.time_ns;
  wire_send(bytes, sizeof bytes);
  while (rig.selections < 64 || rig.busy) {
    rig_run_us(1);
    CHECK(rig.time_ns - start_ns < 10000000);
  }
  const uint64_t clocked_ns = rig.clocked_bytes * SPI_BYTE_NS;
  CHECK(rig.time_ns - start_ns <= clocked_ns + 64 * 4000);
  reply_t replies[64];
  wire_replies(replies, 64);
}

/* Between two requests nothing happens but time: the deadline must say so, or the twin would sleep for ever. */
TEST(spi_chip_select_gap_has_a_deadline) {
  rig_start();
  uint8_t bytes[64 * 12];
  for (uint16_t i = 0; i < 64; i++) {
    wire_request(bytes + 12 * i, OPERATION_READ, i, FPGA_ID, 4, NULL);
  }
  wire_send(bytes, sizeof bytes);
  rig_run_us(64 * (44 * SPI_BYTE_NS / 1000 + 5));
  CHECK_EQUAL(rig.selections, 64);
  CHECK(!rig.busy);
  CHECK_EQUAL(native_deadline_us(), UINT64_MAX);
}

/* ---------------------------------------------------------------- WAIT */

TEST(spi_wait_stops_the_clock) {
  rig_start();
  rig.wait_held = true;
  send_one(OPERATION_WAIT, 5, 123456, 0, NULL);
  rig_run_us(10000);
  CHECK_EQUAL(rig.clocked_bytes, 12);
  CHECK(rig.selected);
  /* requests behind it are received, and wait */
  uint8_t next[64] = {0};
  wire_request(next, OPERATION_READ, 6, BRIDGE_ID, 4, NULL);
  wire_request(next + 12, OPERATION_READ, 7, FPGA_ID, 4, NULL);
  CHECK_EQUAL(host_out_packet(1, next, 64), NATIVE_ACK);
  CHECK_EQUAL(native_deadline_us(), UINT64_MAX);
  rig_run_us(200000000); /* longer than any WAIT */
  CHECK_EQUAL(rig.clocked_bytes, 12);
  CHECK(native_busy());
  CHECK(!in_packet_waits());
  rig_release_wait();
  CHECK(rig.busy);
  CHECK_EQUAL(rig.clocked_bytes, 12 + 28);
  reply_t replies[3];
  wire_replies(replies, 3);
  CHECK_EQUAL(replies[0].operation, 0x83);
  CHECK_EQUAL(replies[0].sequence, 5);
  CHECK_EQUAL(replies[0].address, 123456);
  CHECK_EQUAL(replies[0].status, STATUS_OK);
  CHECK_EQUAL(replies[1].sequence, 6);
  CHECK_EQUAL(replies[2].sequence, 7);
  CHECK_EQUAL(get_u32(replies[2].data), FPGA_ID_RESET);
}

TEST(spi_wait_answered_at_once) {
  rig_start();
  reply_t reply;
  for (uint32_t latency = 0; latency <= 16; latency += 4) {
    rig.latency_bytes = latency;
    wire_exchange(OPERATION_WAIT, 0xFFFFFFFF, 0, NULL, &reply);
    CHECK_EQUAL(reply.status, STATUS_OK);
    CHECK_EQUAL(reply.length, 0);
  }
  wire_expect_alive();
}

TEST(spi_wait_attention_without_reply) {
  rig_start();
  rig.wait_held = true;
  send_one(OPERATION_WAIT, 5, 1, 0, NULL);
  rig_run_us(50000);
  rig.attention = true; /* the line rises, and still the FPGA only sends filler */
  rig_settle();
  rig_run_us(19900);
  CHECK(!in_packet_waits());
  rig_run_us(200);
  reply_t reply;
  wire_reply(&reply);
  CHECK_EQUAL(reply.status, STATUS_NO_REPLY);
  CHECK_EQUAL(reply.operation, 0x83);
  rig.wait_held = false;
  wire_expect_alive();
}

TEST(spi_reset_while_waiting) {
  rig_start();
  rig.wait_held = true;
  send_one(OPERATION_WAIT, 5, 1, 0, NULL);
  rig_run_us(1000);
  CHECK(rig.selected);
  CHECK_EQUAL(wire_reset(), 0);
  CHECK(!rig.selected); /* chip select rises: the FPGA drops the WAIT */
  CHECK(!native_busy());
  rig.wait_held = false;
  wire_expect_alive();
}

TEST(spi_reset_while_clocking) {
  rig_start();
  send_one(OPERATION_READ, 5, 0, 4096, NULL);
  rig_run_us(100);
  CHECK(rig.busy);
  CHECK_EQUAL(wire_reset(), 0);
  CHECK(!rig.selected);
  CHECK(!native_busy());
  CHECK(rig.busy); /* a DMA cannot be called back; nothing new starts before it ends */
  send_one(OPERATION_READ, 6, FPGA_ID, 4, NULL);
  CHECK_EQUAL(rig.transfers, 1);
  reply_t reply;
  wire_reply(&reply);
  CHECK_EQUAL(reply.sequence, 6);
  CHECK_EQUAL(get_u32(reply.data), FPGA_ID_RESET);
  wire_expect_alive();
}

/* ---------------------------------------------------------------- no answer */

static void check_no_reply(fpga_mode_t mode, uint8_t operation, uint64_t least_us, uint64_t most_us) {
  rig_start();
  rig_run_us(1000000);
  rig.fpga_mode = mode;
  const uint64_t start_ns = rig.time_ns;
  send_one(operation, 9, 0x100, 4, operation == OPERATION_WRITE ? (const uint8_t *)"1234" : NULL);
  reply_t reply;
  wire_reply(&reply);
  const uint64_t took_us = (rig.time_ns - start_ns) / 1000;
  CHECK_EQUAL(reply.status, STATUS_NO_REPLY);
  CHECK_EQUAL(reply.length, 0);
  CHECK_EQUAL(reply.operation, operation | 0x80);
  CHECK_EQUAL(reply.sequence, 9);
  CHECK_EQUAL(reply.address, 0x100);
  CHECK(took_us >= least_us && took_us < most_us);
  CHECK(!rig.selected);
  rig.fpga_mode = FPGA_ANSWERS;
  CHECK_EQUAL(wire_read_register(BRIDGE_NO_REPLIES), 1);
  wire_expect_alive();
}

TEST(spi_no_reply_silent) {
  check_no_reply(FPGA_SILENT, OPERATION_READ, 20000, 20200);
  check_no_reply(FPGA_SILENT, OPERATION_WRITE, 20000, 20200);
}

TEST(spi_no_reply_noise) { check_no_reply(FPGA_NOISE, OPERATION_READ, 20000, 20200); }

/* An answer that is none is not handed on. */
TEST(spi_no_reply_wrong_answer) {
  check_no_reply(FPGA_WRONG_SEQUENCE, OPERATION_READ, 0, 1000);
  check_no_reply(FPGA_BROKEN_CHECK, OPERATION_READ, 0, 1000);
}

/* A reply cannot begin before the request's header has ended. */
TEST(spi_noise_during_the_request) {
  rig_start();
  rig.fpga_mode = FPGA_EARLY_NOISE;
  wire_expect_alive();
}

/* Later than promised, earlier than the limit: still an answer, wherever it falls between transfers. */
TEST(spi_late_reply) {
  static const uint8_t data[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  for (uint32_t latency = 17; latency < 140; latency++) {
    rig_start();
    rig.latency_bytes = latency;
    memcpy(rig.memory + 0x100, data, 8);
    send_one(OPERATION_READ, 9, 0x100, 8, NULL);
    reply_t reply;
    wire_reply(&reply);
    CHECK_EQUAL(reply.status, STATUS_OK);
    CHECK_EQUAL(reply.length, 8);
    CHECK_BYTES(reply.data, data, 8);
    CHECK(rig.transfers > 1);
    CHECK_EQUAL(rig.selections, 1);
  }
}

/* The limit falls into the middle of a reply: what came of it is forgotten, and the next reply is not spoilt. */
TEST(spi_reply_cut_by_the_limit) {
  rig_start();
  memset(rig.memory, 0x6B, sizeof rig.memory);
  const uint32_t piece = 16 + 12 + 4096; /* bytes clocked in one go; ten of them are 21.5 ms */
  rig.latency_bytes = piece * 11 - 100;
  reply_t reply;
  wire_exchange(OPERATION_READ, 0x200, 4096, NULL, &reply);
  CHECK_EQUAL(reply.status, STATUS_NO_REPLY);
  CHECK_EQUAL(reply.length, 0);
  rig.latency_bytes = 5;
  wire_exchange(OPERATION_READ, 0x200, 100, NULL, &reply);
  CHECK_EQUAL(reply.status, STATUS_OK);
  CHECK_EQUAL(reply.length, 100);
  CHECK_BYTES(reply.data, rig.memory + 0x200, 100);
  rig.latency_bytes = piece * 8 - 100; /* cut by the end of a piece, but in time */
  wire_exchange(OPERATION_READ, 0x200, 4096, NULL, &reply);
  CHECK_EQUAL(reply.status, STATUS_OK);
  CHECK_EQUAL(reply.length, 4096);
  CHECK_BYTES(reply.data, rig.memory + 0x200, 4096);
}

TEST(spi_not_ready) {
  rig_start();
  rig.fpga_done = false;
  reply_t reply;
  wire_exchange(OPERATION_READ, FPGA_ID, 4, NULL, &reply);
  CHECK_EQUAL(reply.status, STATUS_NOT_READY);
  wire_exchange(OPERATION_WRITE, 0, 4, (const uint8_t *)"1234", &reply);
  CHECK_EQUAL(reply.status, STATUS_NOT_READY);
  wire_exchange(OPERATION_WAIT, 0, 0, NULL, &reply);
  CHECK_EQUAL(reply.status, STATUS_NOT_READY);
  CHECK_EQUAL(wire_read_register(BRIDGE_ID), BRIDGE_ID_RESET);
  CHECK_EQUAL(rig.transfers, 0);
  rig.fpga_done = true;
  wire_expect_alive();
}

/* The FPGA loses its configuration under a WAIT: nobody would ever raise the line. */
TEST(spi_fpga_lost_while_waiting) {
  rig_start();
  rig.wait_held = true;
  send_one(OPERATION_WAIT, 5, 1, 0, NULL);
  rig_run_us(1000);
  rig.fpga_done = false;
  rig_settle();
  reply_t reply;
  wire_reply(&reply);
  CHECK_EQUAL(reply.status, STATUS_NOT_READY);
  rig.fpga_done = true;
  rig.wait_held = false;
  wire_expect_alive();
}
