/* Long random traffic against a model of the wire format: requests of all kinds, good and bad, in packets of any size, with the
 * host reading when it likes, an FPGA of changing latency, cuts, garbage and RESET. Repeatable: each test has its seed. */
#include <string.h>

#include "rig.h"

#define QUEUE 64

/* What the board must answer, oldest first. */
static struct {
  uint8_t header[12];
  uint8_t data[4096];
  uint16_t length;
} expected[QUEUE];
static uint32_t expected_head;
static uint32_t expected_tail;

static uint8_t mirror[AUDIO_MEMORY_BYTES];
static uint8_t in_bytes[12 + 4096];
static size_t in_have;
static uint64_t replies_seen;

static void expect(const uint8_t *request, uint8_t status, const uint8_t *data, uint16_t length) {
  uint8_t *header = expected[expected_tail % QUEUE].header;
  memcpy(header, request, 12);
  header[0] = 0xA5;
  header[1] |= 0x80;
  header[8] = (uint8_t)length;
  header[9] = (uint8_t)(length >> 8);
  header[10] = status;
  header[11] = 0xFF;
  for (uint32_t i = 0; i < 11; i++) {
    header[11] ^= header[i];
  }
  if (length > 0) {
    memcpy(expected[expected_tail % QUEUE].data, data, length);
  }
  expected[expected_tail % QUEUE].length = length;
  expected_tail++;
}

/* Compares what has come with what must come, byte for byte. */
static void judge(const uint8_t *bytes, size_t count) {
  for (size_t i = 0; i < count; i++) {
    in_bytes[in_have++] = bytes[i];
    CHECK(expected_head != expected_tail);
    const uint32_t slot = expected_head % QUEUE;
    const uint8_t wanted = in_have <= 12 ? expected[slot].header[in_have - 1] : expected[slot].data[in_have - 13];
    if (bytes[i] != wanted) {
      rig_fail(__FILE__, __LINE__, "reply %llu, byte %zu: expected 0x%02X, found 0x%02X", (unsigned long long)replies_seen,
               in_have - 1, wanted, bytes[i]);
    }
    if (in_have == 12u + expected[slot].length) {
      in_have = 0;
      expected_head++;
      replies_seen++;
    }
  }
}

static void host_reads(void) {
  uint8_t packet[64];
  uint16_t got = 0;
  if (native_usb_in(1, packet, 64, &got) == NATIVE_ACK) {
    judge(packet, got);
  }
  if (rig_random() % 4 != 0) {
    rig_settle();
  }
}

static void host_sends(const uint8_t *bytes, size_t length) {
  size_t sent = 0;
  uint32_t refused = 0;
  while (sent < length) {
    const size_t most = rig_random() % 3 == 0 ? 1 + rig_random() % 64 : 64;
    const size_t piece = length - sent < most ? length - sent : most;
    if (native_usb_out(1, bytes + sent, (uint16_t)piece) == NATIVE_ACK) {
      sent += piece;
      refused = 0;
    } else {
      CHECK(++refused < 100000);
      rig_run_us(1 + rig_random() % 20);
    }
    if (rig_random() % 2 == 0) {
      rig_settle();
    }
    if (rig_random() % 8 == 0) {
      host_reads();
    }
    if (rig_random() % 16 == 0) {
      rig_run_us(rig_random() % 50);
    }
  }
}

static void host_drains(void) {
  uint32_t idle = 0;
  while (expected_head != expected_tail) {
    const uint64_t before = replies_seen + in_have;
    host_reads();
    rig_run_us(20);
    idle = replies_seen + in_have == before ? idle + 1 : 0;
    if (idle > 20000) {
      rig_fail(__FILE__, __LINE__, "reply %llu never came", (unsigned long long)replies_seen);
    }
  }
  CHECK_EQUAL(in_have, 0);
}

static uint32_t outstanding_bytes(void) {
  uint32_t bytes = 0;
  for (uint32_t i = expected_head; i != expected_tail; i++) {
    bytes += 12u + expected[i % QUEUE].length;
  }
  return bytes;
}

static uint16_t random_length(void) {
  static const uint16_t favourites[] = {1, 2, 3, 4, 8, 39, 40, 51, 52, 53, 63, 64, 65, 116, 128, 1012, 4095, 4096};
  return rig_random() % 2 ? favourites[rig_random() % (sizeof favourites / sizeof favourites[0])]
                          : (uint16_t)(1 + rig_random() % 300);
}

static size_t one_request(uint8_t *to, uint16_t sequence) {
  uint8_t data[4096];
  uint16_t length = random_length();
  for (uint32_t i = 0; i < length; i++) {
    data[i] = (uint8_t)rig_random();
  }
  size_t bytes = 0;
  switch (rig_random() % 10) {
    case 0:
    case 1:
    case 2: { /* read audio memory */
      const uint32_t address = rig_random() % (AUDIO_MEMORY_BYTES + 100);
      bytes = wire_request(to, OPERATION_READ, sequence, address, length, NULL);
      if (address >= AUDIO_MEMORY_BYTES || address + length > AUDIO_MEMORY_BYTES) {
        expect(to, STATUS_UNMAPPED, NULL, 0);
      } else {
        expect(to, STATUS_OK, mirror + address, length);
      }
      break;
    }
    case 3:
    case 4:
    case 5: { /* write it */
      const uint32_t address = rig_random() % (AUDIO_MEMORY_BYTES - length + 1);
      bytes = wire_request(to, OPERATION_WRITE, sequence, address, length, data);
      memcpy(mirror + address, data, length);
      expect(to, STATUS_OK, NULL, 0);
      break;
    }
    case 6: /* scratch register of the bridge */
      bytes = wire_request(to, OPERATION_WRITE, sequence, BRIDGE_SCRATCH, 4, data);
      expect(to, STATUS_OK, NULL, 0);
      bytes += wire_request(to + bytes, OPERATION_READ, (uint16_t)(sequence + 1), BRIDGE_SCRATCH, 4, NULL);
      expect(to + bytes - 12, STATUS_OK, data, 4);
      break;
    case 7:
      bytes = wire_request(to, OPERATION_WAIT, sequence, rig_random(), 0, NULL);
      expect(to, STATUS_OK, NULL, 0);
      break;
    case 8: { /* unknown operation, with a payload if bit 6 says so */
      const uint8_t operation = (uint8_t)(0x04 | (rig_random() & 0xF8));
      const bool carries = (operation & 0x40) != 0;
      bytes = wire_request(to, operation, sequence, rig_random(), length, carries ? data : NULL);
      expect(to, STATUS_UNKNOWN_OPERATION, NULL, 0);
      break;
    }
    default:
      length = (uint16_t)(4097 + rig_random() % 2000);
      bytes = wire_request(to, OPERATION_WRITE, sequence, rig_random(), length, NULL);
      memset(to + bytes, 0xA5, length);
      bytes += length;
      expect(to, STATUS_BAD_LENGTH, NULL, 0);
      break;
  }
  return bytes;
}

static void disturb(void) {
  uint8_t bytes[200];
  switch (rig_random() % 4) {
    case 0: { /* garbage */
      const size_t length = 1 + rig_random() % sizeof bytes;
      for (size_t i = 0; i < length; i++) {
        bytes[i] = (uint8_t)rig_random();
      }
      bytes[0] = 0x33;
      uint8_t received[12] = {0};
      memcpy(received, bytes, length < 12 ? length : 12);
      expect(received, STATUS_BAD_HEADER, NULL, 0);
      host_sends(bytes, length);
      rig_run_us(100100);
      break;
    }
    case 1: { /* cut off */
      static const uint8_t payload[100] = {0xA5, 0xA5, 0xA5};
      wire_request(bytes, OPERATION_WRITE, (uint16_t)rig_random(), 0x40, sizeof payload, payload);
      const size_t length = 1 + rig_random() % 111;
      uint8_t received[12] = {0};
      memcpy(received, bytes, length < 12 ? length : 12);
      expect(received, STATUS_TRUNCATED, NULL, 0);
      host_sends(bytes, length);
      rig_run_us(100100);
      break;
    }
    case 2: /* clear halt on OUT, as clients do */
      rig_settle();
      host_drains();
      CHECK_EQUAL(host_control((control_t){0x02, 1, 0, 0x01, 0}, NULL), 0);
      break;
    default: /* RESET with requests under way; none of them may write, or the mirror would not know */
      host_drains();
      for (uint16_t i = 0; i < 8; i++) {
        wire_request(bytes + 12 * i, i % 3 == 2 ? OPERATION_WAIT : OPERATION_READ, i, i % 2 ? 0x100 : BRIDGE_ID,
                     i % 3 == 2 ? 0 : 40, NULL);
      }
      rig_settle();
      CHECK(host_out(1, bytes, 1 + rig_random() % 96, 64, 0) > 0);
      rig_run_us(rig_random() % 300);
      for (uint32_t reads = rig_random() % 4; reads > 0; reads--) {
        uint8_t packet[64];
        uint16_t got = 0;
        (void)native_usb_in(1, packet, 64, &got);
        rig_settle();
      }
      CHECK_EQUAL(wire_reset(), 0);
      CHECK(!native_busy());
      break;
  }
}

static void traffic(uint32_t seed, uint32_t rounds) {
  rig_start();
  rig_seed(seed);
  memset(mirror, 0, sizeof mirror);
  expected_head = expected_tail = 0;
  in_have = 0;
  replies_seen = 0;
  static uint8_t bytes[0x8000];
  for (uint32_t round = 0; round < rounds; round++) {
    rig.latency_bytes = rig_random() % 17;
    size_t length = 0;
    for (uint32_t count = 1 + rig_random() % 6; count > 0 && outstanding_bytes() < 16384 - 2 * 4108; count--) {
      memset(bytes + length, 0, 3); /* filler */
      length += rig_random() % 4 == 0 ? 0 : rig_random() % 4;
      uint8_t request[12 + 4096 + 2000];
      const size_t size = one_request(request, (uint16_t)(round * 16 + count));
      memcpy(bytes + length, request, size);
      length += size;
      if (length > sizeof bytes - 7000) {
        break;
      }
    }
    for (size_t at = length; at < (length + 63) / 64 * 64; at++) {
      bytes[at] = 0;
    }
    host_sends(bytes, (length + 63) / 64 * 64);
    if (rig_random() % 3 == 0 || expected_tail - expected_head > QUEUE - 16 || outstanding_bytes() > 4000) {
      host_drains();
    }
    if (rig_random() % 8 == 0) {
      host_drains();
      disturb();
    }
  }
  host_drains();
  CHECK(!native_busy());
  CHECK_BYTES(rig.memory, mirror, sizeof mirror);
  CHECK(replies_seen > rounds);
}

TEST(random_traffic_1) { traffic(1, 8000); }
TEST(random_traffic_2) { traffic(20261122, 8000); }
TEST(random_traffic_3) { traffic(0xC0DEC, 8000); }

/* Nothing but noise: whatever happens, RESET brings the link back. */
TEST(random_noise) {
  rig_start();
  rig_seed(7);
  for (uint32_t round = 0; round < 300; round++) {
    static uint8_t bytes[512];
    const size_t length = 1 + rig_random() % sizeof bytes;
    for (size_t i = 0; i < length; i++) {
      bytes[i] = (uint8_t)rig_random();
      if (rig_random() % 20 == 0) {
        bytes[i] = 0xA5;
      }
    }
    if (round % 2 == 0 && length > 12) { /* a header that adds up, with anything behind it */
      wire_request(bytes, (uint8_t)rig_random(), 1, rig_random(), (uint16_t)rig_random(), NULL);
    }
    (void)host_out(1, bytes, length, 1 + rig_random() % 64, 1000);
    rig_run_us(rig_random() % 3 == 0 ? 101000 : rig_random() % 2000);
    uint8_t setup[8];
    for (uint32_t i = 0; i < 8; i++) {
      setup[i] = (uint8_t)rig_random();
    }
    if (setup[1] != 9 && setup[1] != 5) { /* any control request but those that change the configuration */
      CHECK_EQUAL(native_usb_setup(setup), NATIVE_ACK);
      rig_settle();
    }
    if (round % 10 == 9) {
      CHECK_EQUAL(host_control((control_t){0x02, 1, 0, 0x01, 0}, NULL), 0);
      CHECK_EQUAL(host_control((control_t){0x02, 1, 0, 0x81, 0}, NULL), 0);
      CHECK_EQUAL(wire_reset(), 0);
      wire_expect_alive();
    }
  }
}
