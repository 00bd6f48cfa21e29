/* Fuzzing: any sequence of USB traffic, times and misbehaviour of the FPGA. Whatever happened before, the board must be made safe
 * when the bus falls idle, and answer behind bus reset and RESET. The rig checks the rules of the SPI and configuration ports
 * on the way, the sanitizers memory. Built and run by fuzz.py.
 */
#include <string.h>

#include "rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t *input;
static size_t left;

static uint8_t next(void) {
  if (left == 0) {
    return 0;
  }
  left--;
  return *input++;
}

static uint32_t next_word(void) {
  uint32_t value = 0;
  for (uint32_t i = 0; i < 4; i++) {
    value |= (uint32_t)next() << (8 * i);
  }
  return value;
}

static size_t take(uint8_t *to, size_t length) {
  const size_t taken = length < left ? length : left;
  memcpy(to, input, taken);
  input += taken;
  left -= taken;
  return taken;
}

static void enumerate(void) {
  native_usb_reset();
  rig_settle();
  CHECK_EQUAL(host_control((control_t){0x00, 5, 1, 0, 0}, NULL), 0);
  CHECK_EQUAL(host_control((control_t){0x00, 9, 1, 0, 0}, NULL), 0);
}

/* A request that is well formed but for what the input says. */
static void send_request(void) {
  static const uint32_t bases[8] = {0, AUDIO_MEMORY_BYTES - 64, FPGA_BASE, STREAM_BASE, BRIDGE_BASE, BRIDGE_LOAD, LOAD_BUFFER_BASE, 0x90000000u};
  static const uint8_t operations[4] = {OPERATION_READ, OPERATION_WRITE, OPERATION_WAIT, 0x77};
  static uint8_t request[12 + 4096 + 64];
  static const uint8_t zeros[4096];
  const uint8_t shape = next();
  const uint32_t address = bases[shape & 7] + next();
  const uint16_t length = (uint16_t)(next() | (shape & 0x40 ? next() << 8 : 0));
  const uint8_t operation = operations[shape >> 3 & 3];
  const uint16_t carried = (operation & 0x40) != 0 && length <= 4096 ? length : 0;
  size_t bytes = wire_request(request, operation, (uint16_t)next(), address, length, carried ? zeros : NULL);
  (void)take(request + 12, carried < 16 ? carried : 16);
  if (shape & 0x80) {
    request[next() % 12] ^= next();
    bytes -= bytes > 4 ? next() % 4 : 0;
  }
  (void)host_out(1, request, bytes, (size_t)(next() % 64) + 1, 2000);
}

static void step(void) {
  uint8_t bytes[64];
  switch (next() % 12) {
    case 0: {
      const size_t length = take(bytes, next() % 65);
      (void)host_out_packet(1, bytes, length);
      break;
    }
    case 1:
      for (uint32_t packets = next() % 32; packets > 0; packets--) {
        uint16_t got = 0;
        (void)native_usb_in(1, bytes, 64, &got);
        rig_settle();
      }
      break;
    case 2:
      rig_run_us((uint64_t)next() * 8);
      break;
    case 3:
      rig_run_us((uint64_t)next() * 1000);
      break;
    case 4:
      native_usb_suspend();
      rig_settle();
      break;
    case 5:
      enumerate();
      break;
    case 6: {
      const control_t control = {next(), next(), (uint16_t)next_word(), (uint16_t)next(), (uint16_t)(next() % 65)};
      static uint8_t answer[65536];
      (void)host_control(control, answer);
      break;
    }
    case 7:
      rig.fpga_mode = (fpga_mode_t)(next() % 6);
      rig.latency_bytes = next() % 20;
      rig.wait_held = (next() & 1) != 0;
      break;
    case 8:
      rig.attention = (next() & 1) != 0;
      rig_settle();
      break;
    case 9:
      rig.fpga_done = (next() & 1) != 0;
      rig_settle();
      break;
    case 10:
      (void)host_out_packet(3, bytes, take(bytes, next() % 65)); /* the console */
      rig_settle();
      break;
    default:
      send_request();
      break;
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  input = data;
  left = size < 4096 ? size : 4096;
  rig_start();
  while (left > 0) {
    step();
  }
  rig.fpga_mode = FPGA_ANSWERS;
  rig.wait_held = false;
  rig.latency_bytes = 3;
  rig_run_us(200000);
  rig.fpga_done = true;
  native_usb_suspend();
  rig_run_us(50000);
  CHECK(!rig.busy);
  CHECK(!rig.selected);
  enumerate();
  CHECK_EQUAL(wire_reset(), 0);
  if ((wire_read_register(BRIDGE_FPGA_STATUS) & 1u << BRIDGE_FPGA_STATUS_LOADING_LSB) != 0) { /* a bitstream was begun */
    static const uint8_t end[4] = {LOAD_COMMAND_END};
    reply_t reply;
    wire_exchange(OPERATION_WRITE, BRIDGE_LOAD, 4, end, &reply);
    rig_run_us(10000);
    CHECK_EQUAL(wire_read_register(BRIDGE_FPGA_STATUS) & 1u << BRIDGE_FPGA_STATUS_LOADING_LSB, 0);
  }
  rig.fpga_done = true;
  wire_expect_alive();
  return 0;
}
