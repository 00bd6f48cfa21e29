/* See fpga_loader.h. */
#include "fpga_loader.h"

#include <string.h>

#include "codecrig_regs.h"
#include "port.h"

/* At least 200 ns. */
#define RESET_US 2u
/* At least 1200 us; a count of microseconds may be one short. */
#define CLEAR_US 1300u
/* 8 clocks with chip select high before the bitstream. */
#define LEAD_BYTES 1u
/* Behind it up to 100 clocks until CDONE rises, and 49 more until the pins are the design's. */
#define TAIL_BYTES 19u

typedef enum loader_state {
  LOADER_IDLE,
  LOADER_RESET,
  LOADER_CLEAR,
  LOADER_LEAD,
  LOADER_OPEN, /* waits for pages */
  LOADER_PAGE,
  LOADER_TAIL,
} loader_state_t;

static struct {
  uint8_t buffer[LOAD_BUFFER_BYTES]; /* the port's while port_fpga_config_busy() */
  uint8_t filler[TAIL_BYTES];        /* zeros */
  loader_state_t state;
  bool failed;
  uint64_t since_us;
  uint32_t command;
  uint32_t page;
  uint16_t pages;
  uint32_t crc;
} loader;

void loader_init(void) { memset(&loader, 0, sizeof loader); }

static void enter(loader_state_t state) {
  loader.state = state;
  loader.since_us = port_time_us();
}

/* IEEE 802.3, reflected; the usual inversions are made by loader_crc() and at the start. */
static uint32_t crc_of(uint32_t crc, const uint8_t *bytes, uint32_t count) {
  static const uint32_t nibbles[16] = {
      0x00000000u, 0x1DB71064u, 0x3B6E20C8u, 0x26D930ACu, 0x76DC4190u, 0x6B6B51F4u, 0x4DB26158u, 0x5005713Cu,
      0xEDB88320u, 0xF00F9344u, 0xD6D6A3E8u, 0xCB61B38Cu, 0x9B64C2B0u, 0x86D3D2D4u, 0xA00AE278u, 0xBDBDF21Cu,
  };
  for (uint32_t i = 0; i < count; i++) {
    crc ^= bytes[i];
    crc = (crc >> 4) ^ nibbles[crc & 0xFu];
    crc = (crc >> 4) ^ nibbles[crc & 0xFu];
  }
  return crc;
}

void loader_command(uint32_t command) {
  loader.command = command & ((1u << BRIDGE_LOAD_COMMAND_W) - 1u);
  if (loader.command == LOAD_COMMAND_BEGIN) {
    loader.failed = false;
    loader.pages = 0;
    loader.crc = 0xFFFFFFFFu;
    port_fpga_reset(true);
    port_fpga_config_select(true); /* low as reset ends: slave mode */
    enter(LOADER_RESET);
  } else if (loader.command == LOAD_COMMAND_END && loader.state == LOADER_OPEN) {
    port_fpga_config_select(false);
    port_fpga_config_send(loader.filler, TAIL_BYTES);
    enter(LOADER_TAIL);
  }
}

void loader_page(uint32_t value) {
  const uint32_t length = value >> BRIDGE_LOAD_PAGE_LENGTH_LSB;
  loader.page = value;
  if (loader.state != LOADER_OPEN || (value & 0xFFFFu) != loader.pages || length == 0 || length > LOAD_BUFFER_BYTES) {
    return;
  }
  port_fpga_config_send(loader.buffer, length);
  loader.crc = crc_of(loader.crc, loader.buffer, length);
  enter(LOADER_PAGE);
}

void loader_store(uint32_t offset, uint32_t value) {
  for (uint32_t i = 0; i < 4; i++) {
    loader.buffer[offset + i] = (uint8_t)(value >> (8 * i));
  }
}

uint32_t loader_load(uint32_t offset) {
  const uint8_t *from = loader.buffer + offset;
  return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

uint32_t loader_status(void) {
  return (port_fpga_done() ? 1u : 0u) << BRIDGE_FPGA_STATUS_READY_LSB |
         (loader.state != LOADER_IDLE ? 1u : 0u) << BRIDGE_FPGA_STATUS_LOADING_LSB |
         (loader.failed ? 1u : 0u) << BRIDGE_FPGA_STATUS_FAILED_LSB |
         (uint32_t)loader.pages << BRIDGE_FPGA_STATUS_PAGES_LSB;
}

uint32_t loader_last_command(void) { return loader.command; }

uint32_t loader_last_page(void) { return loader.page; }

uint32_t loader_crc(void) { return ~loader.crc; }

bool loader_busy(void) { return loader.state != LOADER_IDLE && loader.state != LOADER_OPEN; }

bool loader_fpga_ready(void) { return loader.state == LOADER_IDLE && port_fpga_done(); }

bool loader_task(void) {
  if (loader.state == LOADER_IDLE || loader.state == LOADER_OPEN) {
    return false;
  }
  const uint64_t elapsed_us = port_time_us() - loader.since_us;
  switch (loader.state) {
    case LOADER_RESET:
      if (elapsed_us < RESET_US) {
        return false;
      }
      port_fpga_reset(false);
      enter(LOADER_CLEAR);
      return true;
    case LOADER_CLEAR:
      if (elapsed_us < CLEAR_US) {
        return false;
      }
      port_fpga_config_select(false);
      port_fpga_config_send(loader.filler, LEAD_BYTES);
      enter(LOADER_LEAD);
      return true;
    default:
      break;
  }
  if (port_fpga_config_busy()) {
    return false;
  }
  if (loader.state == LOADER_TAIL) {
    port_fpga_config_release();
    loader.failed = !port_fpga_done();
    enter(LOADER_IDLE);
  } else {
    port_fpga_config_select(true);
    loader.pages = (uint16_t)(loader.pages + (loader.state == LOADER_PAGE ? 1u : 0u));
    enter(LOADER_OPEN);
  }
  return true;
}

uint64_t loader_deadline_us(void) {
  switch (loader.state) {
    case LOADER_RESET:
      return loader.since_us + RESET_US;
    case LOADER_CLEAR:
      return loader.since_us + CLEAR_US;
    default:
      return UINT64_MAX;
  }
}
