/* Chapter 9 of the USB specification, descriptors, vendor requests. */
#include <stdio.h>
#include <string.h>

#include "rig.h"

#define GET_STATUS 0
#define CLEAR_FEATURE 1
#define SET_FEATURE 3
#define GET_DESCRIPTOR 6
#define GET_CONFIGURATION 8
#define SET_CONFIGURATION 9
#define GET_INTERFACE 10
#define SET_INTERFACE 11

static int get_configuration(void) {
  uint8_t value = 0xEE;
  CHECK_EQUAL(host_control((control_t){0x80, GET_CONFIGURATION, 0, 0, 1}, &value), 1);
  return value;
}

TEST(usb_device_descriptor) {
  rig_power_up();
  uint8_t device[64];
  CHECK_EQUAL(host_descriptor(1, 0, device, 64), 18);
  const uint8_t expected[18] = {18, 1, 0x10, 0x02, 0xEF, 0x02, 0x01, 64, 0x09, 0x12, 0x01, 0x00, 0x00, 0x01, 1, 2, 3, 1};
  CHECK_BYTES(device, expected, 18);
  CHECK_EQUAL(host_descriptor(1, 0, device, 8), 8);
  CHECK_BYTES(device, expected, 8);
}

/* Walks the configuration as a host does: lengths chain up to wTotalLength, and what the project promises is there. */
TEST(usb_configuration_descriptor) {
  rig_power_up();
  uint8_t bytes[256];
  CHECK_EQUAL(host_descriptor(2, 0, bytes, 9), 9);
  const uint16_t total = get_u16(bytes + 2);
  CHECK_EQUAL(host_descriptor(2, 0, bytes, 255), total);
  CHECK_EQUAL(bytes[4], 3); /* interfaces */
  CHECK_EQUAL(bytes[5], 1); /* configuration value */
  CHECK_EQUAL(bytes[7], 0x80); /* bus powered */
  uint32_t interfaces = 0;
  uint32_t associations = 0;
  uint32_t current = 99;
  uint32_t endpoints[3] = {0, 0, 0};
  uint8_t promised[3] = {0, 0, 0};
  uint16_t at = 0;
  while (at < total) {
    const uint8_t *descriptor = bytes + at;
    CHECK(descriptor[0] >= 2 && at + descriptor[0] <= total);
    if (descriptor[1] == 4) {
      current = descriptor[2];
      CHECK_EQUAL(current, interfaces);
      interfaces++;
      promised[current] = descriptor[4];
      if (current == 0) {
        CHECK_EQUAL(descriptor[5], 0xFF);
        CHECK_EQUAL(descriptor[6], 0x43);
        CHECK_EQUAL(descriptor[7], 0x52);
      } else {
        CHECK_EQUAL(descriptor[5], current == 1 ? 0x02 : 0x0A);
      }
    } else if (descriptor[1] == 5) {
      static const uint8_t addresses[3][2] = {{0x01, 0x81}, {0x82, 0}, {0x03, 0x83}};
      static const uint8_t kinds[3] = {2, 3, 2};
      CHECK(current < 3 && endpoints[current] < 2);
      CHECK_EQUAL(descriptor[2], addresses[current][endpoints[current]]);
      CHECK_EQUAL(descriptor[3] & 3, kinds[current]);
      CHECK_EQUAL(get_u16(descriptor + 4), current == 1 ? 8 : 64);
      endpoints[current]++;
    } else if (descriptor[1] == 11) {
      associations++;
      CHECK_EQUAL(descriptor[2], 1); /* console: interfaces 1 and 2 */
      CHECK_EQUAL(descriptor[3], 2);
      CHECK_EQUAL(descriptor[4], 2);
      CHECK_EQUAL(interfaces, 1); /* stands before interface 1 */
    }
    at = (uint16_t)(at + descriptor[0]);
  }
  CHECK_EQUAL(at, total);
  CHECK_EQUAL(interfaces, 3);
  CHECK_EQUAL(associations, 1);
  for (uint32_t i = 0; i < 3; i++) {
    CHECK_EQUAL(endpoints[i], promised[i]);
  }
}

static void check_string(uint8_t index, const char *expected) {
  uint8_t bytes[256];
  const int length = host_descriptor(3, index, bytes, 255);
  CHECK_EQUAL(length, 2 + 2 * strlen(expected));
  CHECK_EQUAL(bytes[0], length);
  CHECK_EQUAL(bytes[1], 3);
  for (size_t i = 0; i < strlen(expected); i++) {
    CHECK_EQUAL(get_u16(bytes + 2 + 2 * i), (uint8_t)expected[i]);
  }
}

TEST(usb_strings) {
  rig_power_up();
  uint8_t language[8];
  CHECK_EQUAL(host_descriptor(3, 0, language, 8), 4);
  CHECK_BYTES(language, ((const uint8_t[]){4, 3, 0x09, 0x04}), 4);
  check_string(1, "codecrig project");
  check_string(2, "codecrig twin");
  check_string(3, "0123456789ABCDEF");
  check_string(4, "codecrig bridge");
  check_string(5, "codecrig console");
  uint8_t none[8];
  CHECK_EQUAL(host_descriptor(3, 6, none, 8), CONTROL_STALLED);
  CHECK_EQUAL(host_descriptor(3, 0xEE, none, 8), CONTROL_STALLED);
  check_string(2, "codecrig twin");
}

TEST(usb_bos_and_ms_os_set) {
  rig_power_up();
  uint8_t bytes[256];
  static const uint8_t bos[33] = {5,    0x0F, 33,   0,    1,    0x1C, 0x10, 0x05, 0,    0xDF, 0x60, 0xDD, 0xD8, 0x89, 0x45, 0xC7, 0x4C,
                                  0x9C, 0xD2, 0x65, 0x9D, 0x9E, 0x64, 0x8A, 0x9F, 0,    0,    3,    6,    178,  0,    0x20, 0};
  CHECK_EQUAL(host_descriptor(15, 0, bytes, 255), 33);
  CHECK_BYTES(bytes, bos, 33);

  /* Written down from Microsoft's layout, not from the firmware's macros. */
  uint8_t set[178] = {0x0A, 0, 0,    0, 0, 0, 3, 6, 178,  0,             /* set header, Windows 8.1 */
                      0x08, 0, 0x01, 0, 0, 0, 0xA8, 0,                   /* configuration subset */
                      0x08, 0, 0x02, 0, 0, 0, 0xA0, 0,                   /* function subset, interface 0 */
                      0x14, 0, 0x03, 0, 'W', 'I', 'N', 'U', 'S', 'B', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                      0x84, 0, 0x04, 0, 0x07, 0, 0x2A, 0};
  const char *name = "DeviceInterfaceGUIDs";
  const char *guid = "{309C0D76-1B3B-426C-BF42-025EF5301F22}";
  size_t at = 54;
  for (size_t i = 0; i <= strlen(name); i++) {
    set[at] = (uint8_t)name[i];
    at += 2;
  }
  set[at] = 0x50;
  at += 2;
  for (size_t i = 0; i < strlen(guid); i++) {
    set[at] = (uint8_t)guid[i];
    at += 2;
  }
  CHECK_EQUAL(at + 4, sizeof set); /* two terminators */
  CHECK_EQUAL(host_control((control_t){0xC0, 0x20, 0, 7, 178}, bytes), 178);
  CHECK_BYTES(bytes, set, 178);
  CHECK_EQUAL(host_control((control_t){0xC0, 0x20, 0, 7, 10}, bytes), 10);
  CHECK_BYTES(bytes, set, 10);
  CHECK_EQUAL(host_control((control_t){0xC0, 0x20, 0, 6, 178}, bytes), CONTROL_STALLED);
  CHECK_EQUAL(host_control((control_t){0xC1, 0x20, 0, 7, 178}, bytes), CONTROL_STALLED);
}

TEST(usb_what_a_full_speed_device_must_stall) {
  rig_start();
  uint8_t bytes[64];
  CHECK_EQUAL(host_descriptor(6, 0, bytes, 10), CONTROL_STALLED);  /* DEVICE_QUALIFIER */
  CHECK_EQUAL(host_descriptor(7, 0, bytes, 10), CONTROL_STALLED);  /* OTHER_SPEED_CONFIGURATION */
  CHECK_EQUAL(host_descriptor(2, 1, bytes, 10), CONTROL_STALLED);  /* configuration 1 of 1 */
  CHECK_EQUAL(host_descriptor(99, 0, bytes, 10), CONTROL_STALLED);
  CHECK_EQUAL(host_control((control_t){0x80, 77, 0, 0, 4}, bytes), CONTROL_STALLED);
  CHECK_EQUAL(host_control((control_t){0x00, 77, 0, 0, 0}, NULL), CONTROL_STALLED);
  CHECK_EQUAL(host_descriptor(1, 0, bytes, 18), 18); /* the next SETUP is taken */
  wire_expect_alive();
}

TEST(usb_configurations) {
  rig_power_up();
  CHECK_EQUAL(get_configuration(), 0);
  uint8_t packet[64] = {0};
  uint16_t got = 0;
  CHECK_EQUAL(native_usb_out(1, packet, 64), NATIVE_STALL); /* no such endpoint yet */
  CHECK_EQUAL(native_usb_in(1, packet, 64, &got), NATIVE_STALL);
  CHECK_EQUAL(host_control((control_t){0x00, SET_CONFIGURATION, 2, 0, 0}, NULL), CONTROL_STALLED);
  CHECK_EQUAL(get_configuration(), 0);
  CHECK_EQUAL(host_control((control_t){0x00, SET_CONFIGURATION, 1, 0, 0}, NULL), 0);
  CHECK_EQUAL(get_configuration(), 1);
  CHECK_EQUAL(host_control((control_t){0x00, SET_CONFIGURATION, 2, 0, 0}, NULL), CONTROL_STALLED);
  CHECK_EQUAL(get_configuration(), 1);
  wire_expect_alive();
  CHECK_EQUAL(host_control((control_t){0x00, SET_CONFIGURATION, 1, 0, 0}, NULL), 0);
  wire_expect_alive();
  CHECK_EQUAL(host_control((control_t){0x00, SET_CONFIGURATION, 0, 0, 0}, NULL), 0);
  CHECK_EQUAL(native_usb_out(1, packet, 64), NATIVE_STALL);
  CHECK_EQUAL(host_control((control_t){0x00, SET_CONFIGURATION, 1, 0, 0}, NULL), 0);
  wire_expect_alive();
  uint8_t alternate = 0xEE;
  CHECK_EQUAL(host_control((control_t){0x81, GET_INTERFACE, 0, 0, 1}, &alternate), 1);
  CHECK_EQUAL(alternate, 0);
  CHECK_EQUAL(host_control((control_t){0x01, SET_INTERFACE, 0, 0, 0}, NULL), 0);
  wire_expect_alive();
}

static uint16_t endpoint_status(uint8_t endpoint) {
  uint8_t status[2];
  CHECK_EQUAL(host_control((control_t){0x82, GET_STATUS, 0, endpoint, 2}, status), 2);
  return get_u16(status);
}

TEST(usb_halt_and_clear_halt) {
  rig_start();
  static const uint8_t addresses[2] = {0x01, 0x81};
  for (int i = 0; i < 2; i++) {
    const uint8_t endpoint = addresses[i];
    uint8_t packet[64] = {0};
    uint16_t got = 0;
    CHECK_EQUAL(endpoint_status(endpoint), 0);
    CHECK_EQUAL(host_control((control_t){0x02, SET_FEATURE, 0, endpoint, 0}, NULL), 0);
    CHECK_EQUAL(endpoint_status(endpoint), 1);
    CHECK_EQUAL(endpoint == 0x01 ? native_usb_out(1, packet, 64) : native_usb_in(1, packet, 64, &got), NATIVE_STALL);
    rig_run_us(1000);
    CHECK_EQUAL(host_control((control_t){0x02, CLEAR_FEATURE, 0, endpoint, 0}, NULL), 0);
    CHECK_EQUAL(endpoint_status(endpoint), 0);
    wire_expect_alive();
  }
  /* Clients clear halts when they open a device, whether there is one or not. */
  for (int i = 0; i < 2; i++) {
    CHECK_EQUAL(host_control((control_t){0x02, CLEAR_FEATURE, 0, addresses[i], 0}, NULL), 0);
    wire_expect_alive();
  }
  uint8_t none[2];
  CHECK_EQUAL(host_control((control_t){0x82, GET_STATUS, 0, 0x0F, 2}, none), CONTROL_STALLED);
}

/* Requests that name what is not there, or a state in which they are not allowed: request error, which is a stall (9.2.7). */
TEST(usb_request_errors) {
  rig_power_up();
  uint8_t bytes[64];
  static const uint8_t halts[2] = {CLEAR_FEATURE, SET_FEATURE};
  static const uint8_t missing[6] = {0x00, 0x80, 0x02, 0x04, 0x84, 0x0F};
  for (int configured = 0; configured < 2; configured++) {
    for (uint32_t i = 0; i < sizeof missing; i++) {
      for (uint32_t j = 0; j < 2; j++) {
        CHECK_EQUAL(host_control((control_t){0x02, halts[j], 0, missing[i], 0}, NULL), CONTROL_STALLED);
      }
      const int status = host_control((control_t){0x82, GET_STATUS, 0, missing[i], 2}, bytes);
      CHECK_EQUAL(status, (missing[i] & 0x7F) == 0 ? 2 : CONTROL_STALLED);
      CHECK(status < 0 || get_u16(bytes) == 0);
    }
    for (uint8_t interface = 0; interface < 5; interface++) {
      const bool there = configured != 0 && interface < 3;
      CHECK_EQUAL(host_control((control_t){0x81, GET_STATUS, 0, interface, 2}, bytes), there ? 2 : CONTROL_STALLED);
      CHECK(!there || get_u16(bytes) == 0);
      CHECK_EQUAL(host_control((control_t){0x81, GET_INTERFACE, 0, interface, 1}, bytes), there ? 1 : CONTROL_STALLED);
      CHECK_EQUAL(host_control((control_t){0x01, SET_INTERFACE, 0, interface, 0}, NULL), there ? 0 : CONTROL_STALLED);
      CHECK_EQUAL(host_control((control_t){0x01, SET_INTERFACE, 1, interface, 0}, NULL), CONTROL_STALLED);
    }
    CHECK_EQUAL(host_control((control_t){0x02, CLEAR_FEATURE, 7, 0x81, 0}, NULL), CONTROL_STALLED); /* no such feature */
    CHECK_EQUAL(host_control((control_t){0x00, SET_FEATURE, 2, 0x0100, 0}, NULL), CONTROL_STALLED);  /* test mode: high speed only */
    CHECK_EQUAL(host_control((control_t){0x80, GET_STATUS, 0, 0, 2}, bytes), 2);
    CHECK_EQUAL(get_u16(bytes), 0); /* bus powered, no remote wake-up */
    static const uint8_t endpoints[5] = {0x01, 0x81, 0x82, 0x03, 0x83};
    for (uint32_t i = 0; i < sizeof endpoints; i++) {
      CHECK_EQUAL(host_control((control_t){0x02, CLEAR_FEATURE, 0, endpoints[i], 0}, NULL), configured != 0 ? 0 : CONTROL_STALLED);
    }
    CHECK_EQUAL(host_control((control_t){0x00, SET_CONFIGURATION, 1, 0, 0}, NULL), 0);
  }
  rig_start();
  wire_expect_alive();
}

/* A halted IN endpoint loses its packet, so the link starts afresh; no half reply comes afterwards. */
TEST(usb_clear_halt_with_a_reply_queued) {
  rig_start();
  uint8_t request[12];
  wire_request(request, OPERATION_READ, 1, BRIDGE_ID, 8, NULL);
  wire_send(request, 12);
  rig_run_us(1000);
  CHECK_EQUAL(host_control((control_t){0x02, CLEAR_FEATURE, 0, 0x81, 0}, NULL), 0);
  wire_expect_nothing();
  CHECK(!native_busy());
  wire_expect_alive();
}

/* RP2040 before B2: the product string says why, and the device cannot be configured; it stays on the bus. */
TEST(usb_refused_board) {
  native_refuse("needs RP2040 B2 or later");
  rig_power_up();
  uint8_t bytes[256];
  const char *expected = "codecrig twin: needs RP2040 B2 or later";
  CHECK_EQUAL(host_descriptor(3, 2, bytes, 255), 2 + 2 * strlen(expected));
  for (size_t i = 0; i < strlen(expected); i++) {
    CHECK_EQUAL(get_u16(bytes + 2 + 2 * i), (uint8_t)expected[i]);
  }
  for (int i = 0; i < 3; i++) {
    CHECK_EQUAL(host_control((control_t){0x00, SET_CONFIGURATION, 1, 0, 0}, NULL), CONTROL_STALLED);
    CHECK_EQUAL(get_configuration(), 0);
    CHECK_EQUAL(host_control((control_t){0xC1, 2, 0, 0, 16}, bytes), CONTROL_STALLED);
  }
  native_refuse(NULL);
  rig_start();
  wire_expect_alive();
}

/* What was queued is gone, halts are cleared, on every endpoint. */
TEST(usb_configured_again) {
  rig_start();
  uint8_t request[12];
  uint8_t packet[64];
  uint16_t got = 0;
  wire_request(request, OPERATION_READ, 1, BRIDGE_ID, 8, NULL);
  wire_send(request, 12);
  rig_run_us(1000);
  CHECK_EQUAL(host_control((control_t){0x02, SET_FEATURE, 0, 0x83, 0}, NULL), 0);
  for (int i = 0; i < 20; i++) {
    CHECK_EQUAL(host_control((control_t){0x00, SET_CONFIGURATION, 1, 0, 0}, NULL), 0);
    CHECK_EQUAL(native_usb_in(1, packet, 64, &got), NATIVE_NAK);
    CHECK_EQUAL(native_usb_in(3, packet, 64, &got), NATIVE_NAK);
    CHECK_EQUAL(get_configuration(), 1);
  }
  wire_expect_alive();
}

TEST(usb_vendor_requests) {
  rig_power_up();
  uint8_t bytes[64];
  CHECK_EQUAL(host_control((control_t){0xC1, 2, 0, 0, 16}, bytes), CONTROL_STALLED); /* not configured */
  CHECK_EQUAL(wire_reset(), CONTROL_STALLED);
  rig_start();
  CHECK_EQUAL(host_control((control_t){0xC1, 2, 0, 0, 16}, bytes), 16);
  CHECK_BYTES(bytes, "CRIG\0\0\0\1", 8);
  CHECK_EQUAL(get_u32(bytes + 8), wire_read_register(BRIDGE_BUILD));
  CHECK_EQUAL(get_u32(bytes + 8), CODECRIG_BUILD);
  CHECK_EQUAL(get_u32(bytes + 12), 0);
  CHECK_EQUAL(host_control((control_t){0xC1, 2, 0, 0, 64}, bytes), 16);
  CHECK_EQUAL(host_control((control_t){0xC1, 2, 0, 0, 4}, bytes), 4);
  CHECK_EQUAL(host_control((control_t){0xC1, 2, 0, 0x0300, 16}, bytes), 16); /* only the low byte counts */
  CHECK_EQUAL(host_control((control_t){0xC1, 2, 0, 1, 16}, bytes), CONTROL_STALLED);
  CHECK_EQUAL(host_control((control_t){0xC1, 3, 0, 0, 16}, bytes), CONTROL_STALLED);
  CHECK_EQUAL(host_control((control_t){0x41, 4, 0, 0, 0}, NULL), CONTROL_STALLED);
  CHECK_EQUAL(host_control((control_t){0x40, 1, 0, 0, 0}, NULL), CONTROL_STALLED);
  CHECK_EQUAL(host_control((control_t){0x41, 1, 0, 1, 0}, NULL), CONTROL_STALLED);
  CHECK_EQUAL(host_control((control_t){0x41, 1, 0, 0, 4}, bytes), CONTROL_STALLED);
  CHECK_EQUAL(wire_reset(), 0);
  wire_expect_alive();
}

TEST(usb_control_read_cut_short_by_a_new_setup) {
  rig_start();
  const uint8_t get_set[8] = {0xC0, 0x20, 0, 0, 7, 0, 178, 0};
  uint8_t packet[64];
  uint16_t got = 0;
  for (int packets = 0; packets < 3; packets++) {
    CHECK_EQUAL(native_usb_setup(get_set), NATIVE_ACK);
    rig_settle();
    for (int i = 0; i < packets; i++) {
      CHECK_EQUAL(native_usb_in(0, packet, 64, &got), NATIVE_ACK);
      rig_settle();
    }
    CHECK_EQUAL(host_descriptor(1, 0, packet, 18), 18);
  }
  CHECK_EQUAL(host_control((control_t){0xC0, 0x20, 0, 7, 178}, (uint8_t[178]){0}), 178);
}

/* Events that come faster than the main loop turns. */
TEST(usb_storm_of_setups_and_resets) {
  rig_power_up();
  const uint8_t get_device[8] = {0x80, 6, 0, 1, 0, 0, 18, 0};
  for (int i = 0; i < 100; i++) {
    CHECK_EQUAL(native_usb_setup(get_device), NATIVE_ACK);
    if (i % 3 == 0) {
      native_usb_reset();
    }
  }
  rig_settle();
  uint8_t device[18];
  CHECK_EQUAL(host_descriptor(1, 0, device, 18), 18);
}

TEST(usb_bus_reset_drops_everything) {
  rig_start();
  uint8_t request[12 + 100] = {0};
  wire_request(request, OPERATION_READ, 1, BRIDGE_ID, 8, NULL);
  wire_send(request, 12);
  rig_run_us(100);
  wire_request(request, OPERATION_WRITE, 2, 0, 100, NULL);
  CHECK_EQUAL(host_out(1, request, 60, 60, 0), 60);
  CHECK(native_busy());
  native_usb_reset();
  rig_settle();
  CHECK(!native_busy());
  CHECK_EQUAL(get_configuration(), 0);
  CHECK_EQUAL(host_control((control_t){0x00, SET_CONFIGURATION, 1, 0, 0}, NULL), 0);
  wire_expect_nothing();
  wire_expect_alive();
}

TEST(usb_power_up_twice) {
  rig_start();
  uint8_t data[4] = {1, 2, 3, 4};
  reply_t reply;
  wire_exchange(OPERATION_WRITE, BRIDGE_SCRATCH, 4, data, &reply);
  CHECK_EQUAL(wire_read_register(BRIDGE_SCRATCH), 0x04030201);
  rig_start();
  CHECK_EQUAL(wire_read_register(BRIDGE_SCRATCH), 0);
  wire_expect_alive();
}

/* For the test that builds with other numbers: prints what the device says. */
TEST(usb_identifier) {
  rig_power_up();
  uint8_t device[18];
  CHECK_EQUAL(host_descriptor(1, 0, device, 18), 18);
  printf("%04X:%04X\n", get_u16(device + 8), get_u16(device + 10));
}

/* TinyUSB does not look at the direction: GET_DESCRIPTOR as an OUT request would write the host's bytes over the descriptor, GET_STATUS
 * over a stack frame that is gone. */
TEST(usb_standard_requests_with_the_wrong_direction_stall) {
  static const uint8_t gets[5] = {0, 6, 8, 10, 12};
  static const uint8_t sets[6] = {1, 3, 5, 7, 9, 11};
  rig_start();
  uint8_t before[18], after[18], poison[64];
  memset(poison, 0xEE, sizeof poison);
  CHECK_EQUAL(host_descriptor(1, 0, before, 18), 18);
  for (uint8_t recipient = 0; recipient < 3; recipient++) {
    for (uint32_t i = 0; i < sizeof gets; i++) {
      CHECK_EQUAL(host_control((control_t){recipient, gets[i], 0x0100, 0, 18}, poison), CONTROL_STALLED);
      CHECK_EQUAL(host_control((control_t){recipient, gets[i], 0x0200, 0, 64}, poison), CONTROL_STALLED);
    }
    for (uint32_t i = 0; i < sizeof sets; i++) {
      CHECK_EQUAL(host_control((control_t){(uint8_t)(0x80 | recipient), sets[i], 0, 0, 8}, poison), CONTROL_STALLED);
    }
  }
  CHECK_EQUAL(host_descriptor(1, 0, after, 18), 18);
  CHECK_BYTES(after, before, 18);
  wire_expect_alive();
}
