/* The port for this machine: hands every call across the border to the twin's platform. See native.h. */
#include "native.h"

#include <string.h>

#include "codecrig_regs.h"
#include "firmware.h"
#include "port.h"
#include "tusb.h"

static const native_platform_t *platform;
static uint64_t serial_number;

void native_init(const native_platform_t *new_platform, uint64_t serial) {
  platform = new_platform;
  serial_number = serial;
  if (tud_inited()) {
    (void)tud_deinit(0);
  }
  if (!firmware_init()) {
    platform = NULL; /* native_task reports nothing done; the device never answers */
  }
}

bool native_task(void) { return platform != NULL && firmware_task() != FIRMWARE_IDLE; }

uint64_t native_deadline_us(void) { return platform != NULL ? firmware_deadline_us() : UINT64_MAX; }

bool native_busy(void) { return platform != NULL && firmware_busy(); }

void port_spi_start(const uint8_t *tx, uint32_t tx_bytes, uint8_t *rx, uint32_t length) {
  static uint8_t sent[2u * REQUEST_HEADER_BYTES + BRIDGE_MAX_LENGTH_RESET + 64u];
  if (tx_bytes > 0) {
    memcpy(sent, tx, tx_bytes);
  }
  memset(sent + tx_bytes, 0, length - tx_bytes);
  platform->spi_start(platform->context, sent, rx, length);
}

bool port_spi_busy(void) { return platform->spi_busy(platform->context); }

void port_spi_select(bool selected) { platform->spi_select(platform->context, selected); }

bool port_attention(void) { return platform->attention(platform->context); }

bool port_fpga_done(void) { return platform->fpga_done(platform->context); }

void port_fpga_reset(bool held) { platform->fpga_reset(platform->context, held); }

void port_fpga_config_select(bool selected) { platform->fpga_config_select(platform->context, selected); }

void port_fpga_config_send(const uint8_t *bytes, uint32_t length) {
  platform->fpga_config_send(platform->context, bytes, length);
}

bool port_fpga_config_busy(void) { return platform->fpga_config_busy(platform->context); }

void port_fpga_config_release(void) {} /* nobody else wants the lines */

void port_boot_loader(void) { platform->boot_loader(platform->context); }

uint64_t port_time_us(void) { return platform->time_us(platform->context); }

uint64_t port_serial(void) { return serial_number; }

static const char *refusal;

void native_refuse(const char *reason) { refusal = reason; }

const char *port_refusal(void) { return refusal; }

/* TinyUSB asks for time in milliseconds. */
uint32_t tusb_time_millis_api(void) { return (uint32_t)(port_time_us() / 1000u); }
