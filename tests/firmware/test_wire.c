/* Requests and replies: parsing, errors, resynchronisation, the window, the rule for short packets. */
#include <string.h>

#include "rig.h"

static void check_reply(const reply_t *reply, uint8_t operation, uint16_t sequence, uint32_t address, uint8_t status,
                        uint16_t length) {
  CHECK_EQUAL(reply->operation, operation | 0x80);
  CHECK_EQUAL(reply->sequence, sequence);
  CHECK_EQUAL(reply->address, address);
  CHECK_EQUAL(reply->status, status);
  CHECK_EQUAL(reply->length, length);
}

TEST(wire_bridge_registers) {
  rig_start();
  reply_t reply;
  wire_exchange(OPERATION_READ, BRIDGE_BASE, 0x28, NULL, &reply);
  CHECK_EQUAL(reply.status, STATUS_OK);
  CHECK_EQUAL(reply.length, 0x28);
  const uint32_t expected[10] = {0x43524252, 0x01000000, CODECRIG_BUILD, 4096, 16384, 0, 15360000, 1, 0x89ABCDEF, 0x01234567};
  for (uint32_t i = 0; i < 10; i++) {
    CHECK_EQUAL(get_u32(reply.data + 4 * i), expected[i]);
  }
  CHECK_EQUAL(wire_read_register(BRIDGE_BASE + 0x28), 0); /* a hole */
  CHECK_EQUAL(wire_read_register(BRIDGE_BASE + 0xFFC), 0);
  CHECK_EQUAL(wire_read_register(FPGA_ID), FPGA_ID_RESET);
  rig.fpga_done = false;
  CHECK_EQUAL(wire_read_register(BRIDGE_FPGA_STATUS), 0);
}

TEST(wire_bridge_writes) {
  rig_start();
  reply_t reply;
  uint8_t words[16] = {1, 2, 3, 4, 0xAA, 0xBB, 0xCC, 0xDD, 9, 9, 9, 9, 9, 9, 9, 9};
  /* WINDOW (read-only), SCRATCH, SPI_HZ (read-only), FPGA_STATUS (read-only) in one request */
  wire_exchange(OPERATION_WRITE, BRIDGE_WINDOW, 16, words, &reply);
  CHECK_EQUAL(reply.status, STATUS_OK);
  CHECK_EQUAL(reply.length, 0);
  CHECK_EQUAL(wire_read_register(BRIDGE_SCRATCH), 0xDDCCBBAA);
  CHECK_EQUAL(wire_read_register(BRIDGE_WINDOW), 16384);
  CHECK_EQUAL(wire_read_register(BRIDGE_SPI_HZ), 15360000);
  wire_exchange(OPERATION_WRITE, BRIDGE_SCRATCH - 4, 4, words, &reply); /* does not reach its neighbour */
  CHECK_EQUAL(wire_read_register(BRIDGE_SCRATCH), 0xDDCCBBAA);
  CHECK_EQUAL(rig.transfers, 0); /* the FPGA never sees bridge addresses */
}

/* Every refusal, in the order docs/wire.md gives; each followed in the same transfer by a request that works. */
TEST(wire_refusals) {
  static const struct {
    uint8_t operation;
    uint32_t address;
    uint16_t length;
    uint8_t status;
  } cases[] = {
      {0x00, BRIDGE_ID, 4, STATUS_UNKNOWN_OPERATION},
      {0x22, BRIDGE_ID, 4, STATUS_UNKNOWN_OPERATION},
      {0xA1, BRIDGE_ID, 4, STATUS_UNKNOWN_OPERATION},
      {0x43, BRIDGE_SCRATCH, 40, STATUS_UNKNOWN_OPERATION},      /* payload skipped */
      {0x43, BRIDGE_SCRATCH, 0, STATUS_UNKNOWN_OPERATION},       /* operation before length */
      {0xC2, BRIDGE_SCRATCH, 9000, STATUS_UNKNOWN_OPERATION},
      {OPERATION_READ, BRIDGE_ID, 0, STATUS_BAD_LENGTH},
      {OPERATION_READ, BRIDGE_ID, 4097, STATUS_BAD_LENGTH},
      {OPERATION_READ, BRIDGE_ID, 65535, STATUS_BAD_LENGTH},
      {OPERATION_WRITE, BRIDGE_SCRATCH, 0, STATUS_BAD_LENGTH},
      {OPERATION_WRITE, BRIDGE_SCRATCH, 4097, STATUS_BAD_LENGTH}, /* payload skipped */
      {OPERATION_WRITE, 0x00000000, 65535, STATUS_BAD_LENGTH},
      {OPERATION_WAIT, 1000, 4, STATUS_BAD_LENGTH},
      {OPERATION_READ, 0x80000000, 0, STATUS_BAD_LENGTH},        /* limits before mapping */
      {OPERATION_READ, 0x80000001, 4, STATUS_UNMAPPED},          /* mapping before alignment */
      {OPERATION_WRITE, 0x10000000, 4, STATUS_UNMAPPED},
      {OPERATION_READ, BRIDGE_BASE + 0x1000, 4, STATUS_UNMAPPED},
      {OPERATION_READ, BRIDGE_BASE + 0x1000, 6, STATUS_UNMAPPED},
      {OPERATION_READ, 0xFFFFFFFC, 4, STATUS_UNMAPPED},
      {OPERATION_READ, BRIDGE_ID + 2, 4, STATUS_MISALIGNED},
      {OPERATION_READ, BRIDGE_ID + 1, 3, STATUS_MISALIGNED},     /* address before length */
      {OPERATION_WRITE, BRIDGE_SCRATCH + 3, 4, STATUS_MISALIGNED},
      {OPERATION_READ, BRIDGE_ID, 6, STATUS_BAD_LENGTH},
      {OPERATION_WRITE, BRIDGE_SCRATCH, 3, STATUS_BAD_LENGTH},
      {OPERATION_READ, BRIDGE_BASE + 0xFFC, 8, STATUS_UNMAPPED}, /* whole range last */
      {OPERATION_READ, BRIDGE_BASE + 0xFFC, 6, STATUS_BAD_LENGTH},
      {OPERATION_WRITE, BRIDGE_BASE + 0x14, 4096, STATUS_UNMAPPED},
  };
  rig_start();
  static uint8_t bytes[70000];
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    const bool carries = (cases[i].operation & 0x40) != 0;
    size_t length = wire_request(bytes, cases[i].operation, (uint16_t)i, cases[i].address, cases[i].length, NULL);
    if (carries) {
      memset(bytes + length, 0xA5, cases[i].length); /* a payload full of start bytes */
      length += cases[i].length;
    }
    length += wire_request(bytes + length, OPERATION_READ, (uint16_t)(i + 1000), BRIDGE_ID, 4, NULL);
    wire_send(bytes, length);
    reply_t replies[2];
    wire_replies(replies, 2);
    check_reply(&replies[0], cases[i].operation, (uint16_t)i, cases[i].address, cases[i].status, 0);
    check_reply(&replies[1], OPERATION_READ, (uint16_t)(i + 1000), BRIDGE_ID, STATUS_OK, 4);
  }
  CHECK_EQUAL(wire_read_register(BRIDGE_SCRATCH), 0);
  CHECK_EQUAL(rig.transfers, 0);
  CHECK_EQUAL(wire_read_register(BRIDGE_ERRORS), sizeof cases / sizeof cases[0]);
}

/* A sequence of requests with small and large payloads, cut into packets of every size from 1 to 64. */
TEST(wire_any_packet_boundary) {
  uint8_t payload[150];
  for (uint32_t i = 0; i < sizeof payload; i++) {
    payload[i] = (uint8_t)(0xA0 + i);
  }
  for (size_t packet = 1; packet <= 64; packet++) {
    rig_start();
    uint8_t bytes[1024];
    size_t length = 0;
    length += wire_request(bytes + length, OPERATION_WRITE, 1, 0x101, sizeof payload, payload);
    length += wire_request(bytes + length, OPERATION_READ, 2, 0x101, sizeof payload, NULL);
    length += wire_request(bytes + length, OPERATION_WRITE, 3, BRIDGE_SCRATCH, 4, payload);
    bytes[length++] = 0;
    length += wire_request(bytes + length, OPERATION_READ, 4, BRIDGE_SCRATCH, 4, NULL);
    length += wire_request(bytes + length, OPERATION_WAIT, 5, 77, 0, NULL);
    CHECK_EQUAL(host_out(1, bytes, length, packet, 100000), length);
    reply_t replies[5];
    wire_replies(replies, 5);
    check_reply(&replies[0], OPERATION_WRITE, 1, 0x101, STATUS_OK, 0);
    check_reply(&replies[1], OPERATION_READ, 2, 0x101, STATUS_OK, sizeof payload);
    CHECK_BYTES(replies[1].data, payload, sizeof payload);
    check_reply(&replies[2], OPERATION_WRITE, 3, BRIDGE_SCRATCH, STATUS_OK, 0);
    check_reply(&replies[3], OPERATION_READ, 4, BRIDGE_SCRATCH, STATUS_OK, 4);
    CHECK_BYTES(replies[3].data, payload, 4);
    check_reply(&replies[4], OPERATION_WAIT, 5, 77, STATUS_OK, 0);
  }
}

TEST(wire_many_requests_in_one_packet) {
  rig_start();
  uint8_t packet[64] = {0};
  for (uint16_t i = 0; i < 5; i++) {
    wire_request(packet + 12 * i, OPERATION_READ, (uint16_t)(100 + i), BRIDGE_BASE + 4u * i, 4, NULL);
  }
  CHECK_EQUAL(host_out_packet(1, packet, 64), NATIVE_ACK);
  reply_t replies[5];
  wire_replies(replies, 5);
  for (uint16_t i = 0; i < 5; i++) {
    check_reply(&replies[i], OPERATION_READ, (uint16_t)(100 + i), BRIDGE_BASE + 4u * i, STATUS_OK, 4);
  }
  CHECK_EQUAL(wire_read_register(BRIDGE_REQUESTS), 5);
}

TEST(wire_filler_is_silent) {
  rig_start();
  static uint8_t zeros[6400];
  wire_send(zeros, sizeof zeros);
  CHECK(!native_busy());
  CHECK_EQUAL(native_deadline_us(), UINT64_MAX);
  rig_run_us(300000);
  wire_expect_nothing();
  uint8_t bytes[200] = {0};
  wire_request(bytes + 37, OPERATION_READ, 8, BRIDGE_ID, 4, NULL);
  wire_request(bytes + 150, OPERATION_READ, 9, BRIDGE_ID, 4, NULL);
  wire_send(bytes, sizeof bytes);
  reply_t replies[2];
  wire_replies(replies, 2);
  CHECK_EQUAL(replies[0].sequence, 8);
  CHECK_EQUAL(replies[1].sequence, 9);
  CHECK_EQUAL(wire_read_register(BRIDGE_REQUESTS), 2);
  CHECK_EQUAL(wire_read_register(BRIDGE_ERRORS), 0);
}

/* ---------------------------------------------------------------- resynchronisation */

TEST(wire_truncated_header_or_payload) {
  for (size_t cut = 1; cut < 52; cut++) {
    rig_start();
    uint8_t bytes[64] = {0};
    wire_request(bytes, OPERATION_WRITE, 0x4321, BRIDGE_SCRATCH, 40, NULL);
    memset(bytes + 12, 0x77, 40);
    uint8_t as_received[12] = {0};
    memcpy(as_received, bytes, cut < 12 ? cut : 12);
    CHECK_EQUAL(host_out(1, bytes, cut, 64, 0), cut);
    rig_run_us(99000);
    uint8_t packet[64];
    uint16_t got = 0;
    CHECK_EQUAL(native_usb_in(1, packet, 64, &got), NATIVE_NAK);
    CHECK(native_busy());
    rig_run_us(1001);
    reply_t reply;
    wire_reply(&reply);
    check_reply(&reply, as_received[1], get_u16(as_received + 2), get_u32(as_received + 4), STATUS_TRUNCATED, 0);
    CHECK(!native_busy());
    CHECK_EQUAL(wire_read_register(BRIDGE_SCRATCH), 0);
    CHECK_EQUAL(wire_read_register(BRIDGE_TRUNCATED), 1);
    wire_expect_alive();
  }
}

/* The twin sleeps until the firmware's deadline: it must be the exact one, and none must be left behind. */
TEST(wire_quiet_deadline) {
  rig_start();
  CHECK_EQUAL(native_deadline_us(), UINT64_MAX);
  uint64_t last_us = 0;
  for (int i = 0; i < 3; i++) {
    rig_run_us(777);
    CHECK_EQUAL(host_out_packet(1, (const uint8_t *)"\xA5", 1), NATIVE_ACK);
    last_us = rig.time_ns / 1000;
    CHECK_EQUAL(native_deadline_us(), last_us + 100000);
  }
  rig_run_us(99999);
  CHECK_EQUAL(native_deadline_us(), last_us + 100000);
  rig_run_us(1);
  CHECK_EQUAL(native_deadline_us(), UINT64_MAX);
  reply_t reply;
  wire_reply(&reply);
  CHECK_EQUAL(reply.status, STATUS_TRUNCATED);
}

/* Each byte starts the 100 ms again, so a slow sender is not cut off. */
TEST(wire_slow_sender) {
  rig_start();
  uint8_t bytes[12];
  wire_request(bytes, OPERATION_READ, 7, BRIDGE_ID, 4, NULL);
  for (size_t i = 0; i < 12; i++) {
    CHECK_EQUAL(host_out_packet(1, bytes + i, 1), NATIVE_ACK);
    rig_run_us(99000);
  }
  reply_t reply;
  wire_reply(&reply);
  check_reply(&reply, OPERATION_READ, 7, BRIDGE_ID, STATUS_OK, 4);
}

TEST(wire_truncated_unknown_operation) {
  rig_start();
  uint8_t bytes[64] = {0};
  wire_request(bytes, 0x4F, 5, 0x12345678, 500, NULL);
  CHECK_EQUAL(host_out(1, bytes, 64, 64, 0), 64);
  rig_run_us(101000);
  reply_t reply;
  wire_reply(&reply);
  check_reply(&reply, 0x4F, 5, 0x12345678, STATUS_TRUNCATED, 0);
  wire_expect_alive();
}

/* Garbage of every length up to beyond a header; the reply shows what was received, zeros where nothing was. */
TEST(wire_garbage) {
  for (size_t length = 1; length <= 30; length++) {
    rig_start();
    uint8_t bytes[64];
    for (size_t i = 0; i < length; i++) {
      bytes[i] = (uint8_t)(0x11 + i);
    }
    uint8_t as_received[12] = {0};
    memcpy(as_received, bytes, length < 12 ? length : 12);
    CHECK_EQUAL(host_out(1, bytes, length, 64, 0), length);
    rig_run_us(99000);
    CHECK(native_busy());
    uint8_t packet[64];
    uint16_t got = 0;
    CHECK_EQUAL(native_usb_in(1, packet, 64, &got), NATIVE_NAK);
    rig_run_us(1001);
    reply_t reply;
    wire_reply(&reply);
    check_reply(&reply, as_received[1], get_u16(as_received + 2), get_u32(as_received + 4), STATUS_BAD_HEADER, 0);
    CHECK_EQUAL(wire_read_register(BRIDGE_BAD_HEADERS), 1);
    wire_expect_alive();
  }
}

TEST(wire_bad_check_byte_discards_until_quiet) {
  rig_start();
  uint8_t bytes[128] = {0};
  wire_request(bytes, OPERATION_READ, 1, BRIDGE_ID, 4, NULL);
  wire_request(bytes + 12, OPERATION_READ, 2, 0x40000000, 4, NULL);
  bytes[12 + 11] ^= 0x01;
  wire_request(bytes + 24, OPERATION_READ, 3, BRIDGE_ID, 4, NULL); /* discarded with the rest */
  CHECK_EQUAL(host_out(1, bytes, 64, 64, 0), 64);
  for (int i = 0; i < 5; i++) { /* filler and a good request keep the link from being quiet */
    rig_run_us(60000);
    memset(bytes + 64, 0, 64);
    if (i % 2) {
      wire_request(bytes + 64, OPERATION_READ, 4, BRIDGE_ID, 4, NULL);
    }
    CHECK_EQUAL(host_out(1, bytes + 64, 64, 64, 0), 64);
  }
  rig_run_us(100001);
  reply_t replies[2];
  wire_replies(replies, 2);
  check_reply(&replies[0], OPERATION_READ, 1, BRIDGE_ID, STATUS_OK, 4);
  check_reply(&replies[1], OPERATION_READ, 2, 0x40000000, STATUS_BAD_HEADER, 0);
  wire_expect_nothing();
  wire_expect_alive();
}

/* Every single-bit error in a header is noticed. */
TEST(wire_single_bit_errors) {
  for (uint32_t bit = 0; bit < 96; bit++) {
    rig_start();
    uint8_t bytes[16] = {0};
    wire_request(bytes, OPERATION_READ, 0x0101, BRIDGE_ID, 4, NULL);
    bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    CHECK_EQUAL(host_out(1, bytes, 12, 64, 0), 12);
    rig_run_us(100100);
    reply_t reply;
    wire_reply(&reply);
    CHECK_EQUAL(reply.status, STATUS_BAD_HEADER);
    wire_expect_alive();
  }
}

/* ---------------------------------------------------------------- window and back-pressure */

static size_t fill_with_reads(uint8_t *bytes, uint32_t count, uint32_t address, uint16_t length) {
  size_t used = 0;
  for (uint32_t i = 0; i < count; i++) {
    used += wire_request(bytes + used, OPERATION_READ, (uint16_t)i, address, length, NULL);
  }
  return used;
}

/* The whole window may be outstanding before the first byte is fetched. */
TEST(wire_window_is_really_there) {
  rig_start();
  static uint8_t bytes[0x10000];
  static reply_t replies[1024];
  const uint32_t count = 16384 / (12 + 4);
  CHECK_EQUAL(count, 1024);
  wire_send(bytes, fill_with_reads(bytes, count, BRIDGE_ID, 4));
  rig_run_us(1000);
  CHECK_EQUAL(host_out_packet(1, (const uint8_t[64]){0}, 64), NATIVE_ACK); /* not blocked */
  wire_replies(replies, count);
  for (uint32_t i = 0; i < count; i++) {
    check_reply(&replies[i], OPERATION_READ, (uint16_t)i, BRIDGE_ID, STATUS_OK, 4);
  }
  CHECK_EQUAL(wire_read_register(BRIDGE_TX_HIGH_WATER), 16384 - 2 * 64); /* two packets have left the ring for the endpoint */
}

/* Beyond the window OUT is refused with NAK, for as long as it takes; then everything is answered in order. */
TEST(wire_beyond_the_window) {
  rig_start();
  static uint8_t bytes[0x20000];
  const uint32_t count = 5000;
  const size_t length = fill_with_reads(bytes, count, BRIDGE_ID, 4);
  const size_t padded = (length + 63) / 64 * 64;
  size_t sent = host_out(1, bytes, padded, 64, 5000000); /* far longer than the 100 ms of quiet */
  CHECK(sent < padded);
  CHECK(sent >= 32768);
  CHECK(native_busy());
  CHECK_EQUAL(native_deadline_us(), UINT64_MAX); /* a blocked link is not a quiet one */
  size_t have = 0;
  static uint8_t in[0x20000];
  while (have < (size_t)count * 16) {
    size_t partial = 0;
    (void)host_in(1, in + have, 512, 1000, &partial);
    have += partial;
    sent += host_out(1, bytes + sent, padded - sent, 64, 0);
  }
  CHECK_EQUAL(sent, padded);
  for (uint32_t i = 0; i < count; i++) {
    const uint8_t *reply = in + 16 * (size_t)i;
    CHECK_EQUAL(reply[1], 0xA1);
    CHECK_EQUAL(get_u16(reply + 2), i);
    CHECK_EQUAL(reply[10], STATUS_OK);
    CHECK_EQUAL(get_u32(reply + 12), BRIDGE_ID_RESET);
  }
  CHECK_EQUAL(wire_read_register(BRIDGE_TRUNCATED), 0);
  wire_expect_alive();
}

/* The request that finds no room stops in the middle of its payload for seconds, and is not truncated. */
TEST(wire_blocked_in_mid_request_is_not_quiet) {
  rig_start();
  static uint8_t bytes[0x20000];
  static uint8_t in[0x20000];
  size_t length = fill_with_reads(bytes, 4, 0, 4096);
  length += wire_request(bytes + length, OPERATION_READ, 4, 0, 128, NULL);
  const size_t reads = length;
  const size_t replies = 4 * 4108 + 140; /* more than the window and two packets at the endpoint */
  for (uint16_t i = 0; i < 9; i++) {
    wire_request(bytes + length, OPERATION_WRITE, (uint16_t)(100 + i), 0, 4096, NULL);
    memset(bytes + length + 12, i + 1, 4096);
    length += 12 + 4096;
  }
  size_t sent = host_out(1, bytes, length, 64, 1000000);
  CHECK(sent < length);
  CHECK((sent - reads) % 4108 > 12);
  size_t have = 0;
  while (have < replies + 9 * 12) {
    size_t partial = 0;
    (void)host_in(1, in + have, 4096, 20000, &partial);
    have += partial;
    sent += host_out(1, bytes + sent, length - sent, 64, 0);
  }
  for (uint32_t i = 0; i < 9; i++) {
    const uint8_t *reply = in + replies + 12 * i;
    CHECK_EQUAL(get_u16(reply + 2), 100 + i);
    CHECK_EQUAL(reply[10], STATUS_OK);
  }
  CHECK_EQUAL(rig.memory[4095], 9);
}

/* A WRITE whose header ends a packet finds no room; the time until there is some does not count as quiet. */
TEST(wire_no_room_for_a_header_is_not_quiet) {
  rig_start();
  static uint8_t bytes[0x10000];
  size_t length = fill_with_reads(bytes, 4, BRIDGE_ID, 4000);
  length += wire_request(bytes + length, OPERATION_READ, 4, BRIDGE_ID, 4000, NULL);
  for (uint16_t i = 0; i < 1800; i++) {
    length += wire_request(bytes + length, OPERATION_READ, (uint16_t)(5 + i), BRIDGE_ID, 4, NULL);
  }
  length += wire_request(bytes + length, OPERATION_WRITE, 9999, 0x300, 4096, NULL);
  CHECK_EQUAL(host_out(1, bytes, length, 64, 0), length);
  rig_run_us(500000);
  uint8_t packet[64];
  uint16_t got = 0;
  size_t have = 0;
  static uint8_t in[0x10000];
  for (uint32_t i = 0; i < 300; i++) { /* make room, but leave all in flight */
    CHECK_EQUAL(native_usb_in(1, packet, 64, &got), NATIVE_ACK);
    memcpy(in + have, packet, got);
    have += got;
    rig_settle();
  }
  rig_run_us(90000);
  memset(bytes, 0x3C, 4096);
  CHECK_EQUAL(host_out(1, bytes, 4096, 64, 0), 4096);
  const size_t all = 5 * 4012 + 1800 * 16 + 12;
  while (have < all) {
    size_t partial = 0;
    (void)host_in(1, in + have, 4096, 50000, &partial);
    CHECK(partial > 0);
    have += partial;
  }
  CHECK_EQUAL(get_u16(in + all - 10), 9999);
  CHECK_EQUAL(in[all - 2], STATUS_OK);
  CHECK_EQUAL(rig.memory[0x300 + 4095], 0x3C);
}

/* The receive ring is full to the last byte when a header breaks off: its reply comes when there is room, in order. */
TEST(wire_truncated_when_the_ring_is_full) {
  rig_start();
  static uint8_t bytes[0x10000];
  static reply_t replies[4 + 2048 + 1];
  size_t length = fill_with_reads(bytes, 4, BRIDGE_ID, 4000); /* 16048 bytes of replies, the next one waits */
  CHECK_EQUAL(host_out(1, bytes, length, 64, 0), length);
  rig_run_us(1000);
  length = wire_request(bytes, OPERATION_READ, 4, BRIDGE_ID, 4000, NULL);
  for (uint32_t i = 1; i < 32768 / 16; i++) {
    length += wire_request(bytes + length, OPERATION_READ, (uint16_t)(4 + i), BRIDGE_ID, 4, NULL);
  }
  CHECK_EQUAL(host_out(1, bytes, length, 64, 0), length);
  CHECK_EQUAL(host_out(1, bytes, 5, 64, 0), 5);
  CHECK_EQUAL(native_deadline_us(), UINT64_MAX);
  rig_run_us(1000000);
  wire_replies(replies, 4 + 2048 + 1);
  for (uint32_t i = 0; i < 4 + 2048; i++) {
    CHECK_EQUAL(replies[i].sequence, i);
    CHECK_EQUAL(replies[i].status, STATUS_OK);
  }
  check_reply(&replies[4 + 2048], OPERATION_READ, 4, BRIDGE_ID & 0xFF, STATUS_TRUNCATED, 0);
  wire_expect_alive();
}

/* ---------------------------------------------------------------- RESET */

TEST(wire_reset_in_mid_request) {
  for (size_t cut = 1; cut < 40; cut += 3) {
    rig_start();
    uint8_t bytes[64] = {0};
    wire_request(bytes, OPERATION_WRITE, 1, BRIDGE_SCRATCH, 40, NULL);
    CHECK_EQUAL(host_out(1, bytes, cut, 64, 0), cut);
    CHECK(native_busy());
    CHECK_EQUAL(wire_reset(), 0);
    CHECK(!native_busy());
    wire_expect_alive(); /* at once, without any quiet */
    rig_run_us(200000);
    wire_expect_nothing();
  }
}

TEST(wire_reset_in_garbage) {
  rig_start();
  uint8_t bytes[64];
  memset(bytes, 0x5A, sizeof bytes);
  CHECK_EQUAL(host_out(1, bytes, 64, 64, 0), 64);
  CHECK_EQUAL(wire_reset(), 0);
  wire_expect_alive();
  CHECK_EQUAL(wire_read_register(BRIDGE_BAD_HEADERS), 0);
}

TEST(wire_reset_drops_queued_replies) {
  rig_start();
  static uint8_t bytes[0x4000];
  wire_send(bytes, fill_with_reads(bytes, 3, BRIDGE_ID, 4));
  rig_run_us(1000);
  CHECK(native_busy());
  CHECK_EQUAL(wire_reset(), 0);
  CHECK(!native_busy());
  wire_expect_nothing(); /* nothing of a transfer was sent, so nothing needs an end */
  wire_expect_alive();
}

/* The host has had part of a transfer: RESET ends it, so the pending read returns, and no old byte follows. The firmware queues
 * sixteen packets at a time: cut inside the first lot, between two lots, and inside the second. */
TEST(wire_reset_ends_an_in_transfer) {
  static const int packets[] = {1, 5, 15, 16, 17, 20, 32, 63};
  for (size_t i = 0; i < sizeof packets / sizeof packets[0]; i++) {
    rig_start();
    uint8_t request[12];
    wire_request(request, OPERATION_READ, 1, BRIDGE_BASE, 4096, NULL);
    wire_send(request, 12);
    rig_run_us(1000);
    uint8_t packet[64];
    uint16_t got = 0;
    for (int n = 0; n < packets[i]; n++) {
      CHECK_EQUAL(native_usb_in(1, packet, 64, &got), NATIVE_ACK);
      CHECK_EQUAL(got, 64);
      rig_settle();
    }
    CHECK_EQUAL(wire_reset(), 0);
    CHECK_EQUAL(native_usb_in(1, packet, 64, &got), NATIVE_ACK);
    CHECK_EQUAL(got, 0);
    rig_settle();
    wire_expect_nothing();
    wire_expect_alive();
  }
}

/* The last packet was short, so the transfer has ended already. */
TEST(wire_reset_after_an_in_transfer) {
  rig_start();
  wire_expect_alive();
  CHECK_EQUAL(wire_reset(), 0);
  wire_expect_nothing();
  wire_expect_alive();
}

TEST(wire_reset_when_blocked) {
  rig_start();
  static uint8_t bytes[0x20000];
  const size_t length = fill_with_reads(bytes, 5000, BRIDGE_ID, 4);
  CHECK(host_out(1, bytes, length, 64, 1000) < length);
  CHECK_EQUAL(wire_reset(), 0);
  CHECK(!native_busy());
  wire_expect_alive();
}

TEST(wire_reset_keeps_counters_and_scratch) {
  rig_start();
  reply_t reply;
  wire_exchange(OPERATION_WRITE, BRIDGE_SCRATCH, 4, (const uint8_t *)"abcd", &reply);
  CHECK_EQUAL(wire_reset(), 0);
  CHECK_EQUAL(wire_read_register(BRIDGE_SCRATCH), get_u32((const uint8_t *)"abcd"));
  CHECK_EQUAL(wire_read_register(BRIDGE_REQUESTS), 2);
}

/* ---------------------------------------------------------------- short and zero-length packets */

/* Replies of every size round the packet borders: full packets first, then exactly one short or empty packet. */
TEST(wire_transfer_ends) {
  for (uint16_t length = 4; length <= 260; length = (uint16_t)(length + 4)) {
    rig_start();
    uint8_t request[12];
    wire_request(request, OPERATION_READ, 1, BRIDGE_BASE, length, NULL);
    wire_send(request, 12);
    size_t left = 12u + length;
    for (;;) {
      uint8_t packet[64];
      uint16_t got = 0;
      CHECK_EQUAL(native_usb_in(1, packet, 64, &got), NATIVE_ACK);
      rig_settle();
      CHECK_EQUAL(got, left < 64 ? left : 64);
      left -= got;
      if (got < 64) {
        break;
      }
    }
    CHECK(!native_busy());
    wire_expect_nothing();
  }
}

/* 13 full bytes short of a packet: nothing goes while a request is unanswered, everything once it is. */
TEST(wire_short_packet_waits_for_all_answers) {
  rig_start();
  rig.wait_held = true;
  uint8_t bytes[64] = {0};
  size_t length = wire_request(bytes, OPERATION_READ, 1, BRIDGE_ID, 4, NULL);
  length += wire_request(bytes + length, OPERATION_WAIT, 2, 1000, 0, NULL);
  wire_send(bytes, length);
  rig_run_us(500000);
  wire_expect_nothing();
  rig_release_wait();
  reply_t replies[2];
  wire_replies(replies, 2);
  check_reply(&replies[0], OPERATION_READ, 1, BRIDGE_ID, STATUS_OK, 4);
  check_reply(&replies[1], OPERATION_WAIT, 2, 1000, STATUS_OK, 0);
}

TEST(wire_full_packets_do_not_wait) {
  rig_start();
  rig.wait_held = true;
  uint8_t bytes[64] = {0};
  size_t length = wire_request(bytes, OPERATION_READ, 1, BRIDGE_BASE, 128, NULL); /* 140 = 2 x 64 + 12 */
  length += wire_request(bytes + length, OPERATION_WAIT, 2, 1000, 0, NULL);
  wire_send(bytes, length);
  rig_run_us(1000);
  uint8_t packet[64];
  uint16_t got = 0;
  for (int i = 0; i < 2; i++) {
    CHECK_EQUAL(native_usb_in(1, packet, 64, &got), NATIVE_ACK);
    CHECK_EQUAL(got, 64);
    rig_settle();
  }
  wire_expect_nothing(); /* 12 bytes are left, and no packet may end the transfer */
  rig_release_wait();
  rig_run_us(1000);
  CHECK_EQUAL(native_usb_in(1, packet, 64, &got), NATIVE_ACK);
  CHECK_EQUAL(got, 24);
  rig_settle();
  wire_expect_nothing();
}

/* The end of a transfer of exactly full packets is held back too while a request is unanswered. */
TEST(wire_empty_packet_waits_for_all_answers) {
  rig_start();
  rig.wait_held = true;
  uint8_t bytes[64] = {0};
  size_t length = wire_request(bytes, OPERATION_READ, 1, BRIDGE_BASE, 52, NULL);
  length += wire_request(bytes + length, OPERATION_WAIT, 2, 1000, 0, NULL);
  wire_send(bytes, length);
  rig_run_us(1000);
  uint8_t packet[64];
  uint16_t got = 0;
  CHECK_EQUAL(native_usb_in(1, packet, 64, &got), NATIVE_ACK);
  CHECK_EQUAL(got, 64);
  rig_settle();
  wire_expect_nothing();
  rig_release_wait();
  rig_run_us(1000);
  CHECK_EQUAL(native_usb_in(1, packet, 64, &got), NATIVE_ACK);
  CHECK_EQUAL(got, 12);
}

/* An empty packet that nobody fetches neither keeps the board busy nor spoils what follows. */
TEST(wire_unfetched_empty_packet) {
  rig_start();
  uint8_t request[12];
  wire_request(request, OPERATION_READ, 1, BRIDGE_BASE, 52, NULL);
  wire_send(request, 12);
  uint8_t packet[64];
  uint16_t got = 0;
  CHECK_EQUAL(native_usb_in(1, packet, 64, &got), NATIVE_ACK);
  CHECK_EQUAL(got, 64);
  rig_settle();
  CHECK(!native_busy());
  wire_expect_alive(); /* reads past the empty transfer */
}

/* Replies of odd sizes move the ring's wrap through every alignment. */
TEST(wire_reply_ring_wraps_anywhere) {
  rig_start();
  for (uint32_t i = 0; i < rig.latency_bytes + sizeof rig.memory; i++) {
    rig.memory[i % sizeof rig.memory] = (uint8_t)(i * 7 + (i >> 8));
  }
  uint32_t total = 0;
  reply_t reply;
  for (uint32_t i = 0; total < 5 * 16384; i++) {
    const uint16_t length = (uint16_t)(1 + (i * 397) % 4096);
    wire_exchange(OPERATION_READ, i, length, NULL, &reply);
    CHECK_EQUAL(reply.length, length);
    CHECK_BYTES(reply.data, rig.memory + i, length);
    total += 12u + length;
  }
}
