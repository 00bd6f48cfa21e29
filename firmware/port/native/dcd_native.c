/* Device controller driver for this machine: TinyUSB's view of a full-speed bus whose host performs one transaction at a
 * time through native.h.
 *
 * The bridge's two bulk endpoints are here as well (port.h).
 *
 * Modelled: SETUP, handshakes ACK, NAK and STALL, splitting of transfers into 64-byte packets, zero-length packets, halt and
 * its clearing, bus reset. Data toggles are not: no packet is lost or repeated between two functions of one program, so
 * there is nothing for them to detect. As on the RP2040, clearing a halt drops a transfer that was queued.
 */
#include <string.h>

#include "device/dcd.h"
#include "native.h"
#include "port.h"
#include "usb_descriptors.h"
#include "tusb.h"

#define ENDPOINTS 16u
#define PACKET_BYTES 64u
#define RHPORT 0

typedef struct endpoint {
  uint8_t *buffer; /* TinyUSB's or the class driver's; ours while armed */
  uint16_t length;
  uint16_t done;
  bool open;
  bool armed;
  bool stalled;
} endpoint_t;

static endpoint_t endpoints[ENDPOINTS][2];

/* The bridge's endpoints: two buffers each. `count` of them are full, the first one is `first`. */
typedef struct bulk {
  uint8_t packets[2][PACKET_BYTES];
  uint16_t lengths[2];
  uint8_t first;
  uint8_t count;
} bulk_t;

static bulk_t bulk_out;
static bulk_t bulk_in;
static bool bulk_in_lost;

static bulk_t *bulk_of(uint8_t address) {
  return address == ENDPOINT_BRIDGE_OUT ? &bulk_out : address == ENDPOINT_BRIDGE_IN ? &bulk_in : NULL;
}

static void bulk_put(bulk_t *bulk, const uint8_t *bytes, uint16_t length) {
  const uint8_t next = (bulk->first + bulk->count) & 1u;
  if (length > 0) {
    memcpy(bulk->packets[next], bytes, length);
  }
  bulk->lengths[next] = length;
  bulk->count++;
}

static void bulk_take(bulk_t *bulk) {
  bulk->first ^= 1u;
  bulk->count--;
}

static endpoint_t *endpoint_of(uint8_t address) { return &endpoints[tu_edpt_number(address)][tu_edpt_dir(address)]; }

static void endpoint_clear(endpoint_t *endpoint) { memset(endpoint, 0, sizeof *endpoint); }

/* ---------------------------------------------------------------- what TinyUSB calls */

static void all_endpoints_clear(void) {
  memset(endpoints, 0, sizeof endpoints);
  port_bulk_open();
  endpoints[0][TUSB_DIR_OUT].open = true;
  endpoints[0][TUSB_DIR_IN].open = true;
}

bool dcd_init(uint8_t rhport, const tusb_rhport_init_t *init) {
  (void)rhport;
  (void)init;
  all_endpoints_clear();
  return true;
}

bool dcd_deinit(uint8_t rhport) {
  (void)rhport;
  all_endpoints_clear();
  return true;
}

/* One thread, so there is nothing to mask. */
void dcd_int_handler(uint8_t rhport) { (void)rhport; }
void dcd_int_enable(uint8_t rhport) { (void)rhport; }
void dcd_int_disable(uint8_t rhport) { (void)rhport; }

void dcd_remote_wakeup(uint8_t rhport) { (void)rhport; }
void dcd_connect(uint8_t rhport) { (void)rhport; }
void dcd_disconnect(uint8_t rhport) { (void)rhport; }

void dcd_sof_enable(uint8_t rhport, bool enabled) {
  (void)rhport;
  (void)enabled;
}

/* The bus model routes by connection, not by address: only the status stage is ours. */
void dcd_set_address(uint8_t rhport, uint8_t address) {
  (void)address;
  (void)dcd_edpt_xfer(rhport, TUSB_DIR_IN_MASK, NULL, 0);
}

bool dcd_edpt_open(uint8_t rhport, tusb_desc_endpoint_t const *descriptor) {
  (void)rhport;
  endpoint_t *endpoint = endpoint_of(descriptor->bEndpointAddress);
  endpoint_clear(endpoint);
  endpoint->open = true;
  return tu_edpt_packet_size(descriptor) <= PACKET_BYTES;
}

void dcd_edpt_close(uint8_t rhport, uint8_t address) {
  (void)rhport;
  endpoint_clear(endpoint_of(address));
}

void dcd_edpt_close_all(uint8_t rhport) {
  (void)rhport;
  memset(endpoints[1], 0, sizeof endpoints - sizeof endpoints[0]);
}

bool dcd_edpt_xfer(uint8_t rhport, uint8_t address, uint8_t *buffer, uint16_t length) {
  (void)rhport;
  endpoint_t *endpoint = endpoint_of(address);
  if (!endpoint->open || endpoint->armed) {
    return false;
  }
  endpoint->buffer = buffer;
  endpoint->length = length;
  endpoint->done = 0;
  endpoint->armed = true;
  return true;
}

static void halt(uint8_t address, bool stalled) {
  endpoint_t *endpoint = endpoint_of(address);
  endpoint->stalled = stalled;
  endpoint->armed = false;
  if (address == ENDPOINT_BRIDGE_IN) {
    bulk_in_lost = bulk_in.count > 0 || bulk_in_lost;
    bulk_in.count = 0;
  }
}

void dcd_edpt_stall(uint8_t rhport, uint8_t address) {
  (void)rhport;
  halt(address, true);
}

void dcd_edpt_clear_stall(uint8_t rhport, uint8_t address) {
  (void)rhport;
  halt(address, false);
}

/* ---------------------------------------------------------------- what the core calls */

void port_bulk_open(void) {
  bulk_out.count = 0;
  bulk_in.count = 0;
  bulk_in_lost = false;
}

const uint8_t *port_bulk_out(uint32_t *length) {
  *length = bulk_out.lengths[bulk_out.first];
  return bulk_out.count > 0 ? bulk_out.packets[bulk_out.first] : NULL;
}

void port_bulk_out_release(void) { bulk_take(&bulk_out); }

bool port_bulk_in_ready(void) { return bulk_in.count < 2 && !endpoint_of(ENDPOINT_BRIDGE_IN)->stalled; }

void port_bulk_in(const uint8_t *bytes, uint32_t length) { bulk_put(&bulk_in, bytes, (uint16_t)length); }

bool port_bulk_in_busy(void) {
  return bulk_in.count > 0 && (bulk_in.lengths[bulk_in.first] > 0 || (bulk_in.count > 1 && bulk_in.lengths[bulk_in.first ^ 1u] > 0));
}

uint32_t port_bulk_in_drop(void) {
  const uint32_t dropped = bulk_in.count;
  bulk_in.count = 0;
  return dropped;
}

bool port_bulk_in_lost(void) {
  const bool lost = bulk_in_lost;
  bulk_in_lost = false;
  return lost;
}

/* ---------------------------------------------------------------- what the bus does */

static bool endpoint_exists(uint8_t number) { return number < ENDPOINTS; }

void native_usb_reset(void) {
  tud_task(); /* what happened before the reset comes before it, and the event queue stays short */
  all_endpoints_clear();
  dcd_event_bus_reset(RHPORT, TUSB_SPEED_FULL, false);
}

void native_usb_suspend(void) {
  tud_task();
  dcd_event_bus_signal(RHPORT, DCD_EVENT_SUSPEND, false);
}

native_handshake_t native_usb_setup(const uint8_t setup[8]) {
  tud_task();
  for (uint32_t direction = 0; direction < 2; direction++) {
    endpoints[0][direction].stalled = false;
    endpoints[0][direction].armed = false;
  }
  if (usb_configures_again(setup)) {
    dcd_edpt_close_all(RHPORT);
    dcd_event_bus_reset(RHPORT, TUSB_SPEED_FULL, false);
  }
  uint8_t checked[8];
  usb_check_setup(checked, setup);
  dcd_event_setup_received(RHPORT, checked, false);
  return NATIVE_ACK; /* a device may not refuse a SETUP */
}

native_handshake_t native_usb_out(uint8_t number, const uint8_t *data, uint16_t length) {
  if (!endpoint_exists(number)) {
    return NATIVE_STALL;
  }
  endpoint_t *endpoint = &endpoints[number][TUSB_DIR_OUT];
  if (!endpoint->open || endpoint->stalled) {
    return NATIVE_STALL;
  }
  bulk_t *bulk = bulk_of(number);
  if (bulk != NULL) {
    if (bulk->count == 2) {
      return NATIVE_NAK;
    }
    bulk_put(bulk, data, length < PACKET_BYTES ? length : PACKET_BYTES);
    return NATIVE_ACK;
  }
  if (!endpoint->armed) {
    return NATIVE_NAK;
  }
  const uint16_t room = (uint16_t)(endpoint->length - endpoint->done);
  const uint16_t taken = length < room ? length : room;
  if (taken > 0) {
    memcpy(endpoint->buffer + endpoint->done, data, taken);
  }
  endpoint->done = (uint16_t)(endpoint->done + taken);
  if (length < PACKET_BYTES || endpoint->done == endpoint->length) {
    endpoint->armed = false;
    dcd_event_xfer_complete(RHPORT, number, endpoint->done, XFER_RESULT_SUCCESS, false);
  }
  return NATIVE_ACK;
}

native_handshake_t native_usb_in(uint8_t number, uint8_t *data, uint16_t capacity, uint16_t *length) {
  *length = 0;
  if (!endpoint_exists(number)) {
    return NATIVE_STALL;
  }
  endpoint_t *endpoint = &endpoints[number][TUSB_DIR_IN];
  if (!endpoint->open || endpoint->stalled) {
    return NATIVE_STALL;
  }
  bulk_t *bulk = bulk_of((uint8_t)(number | TUSB_DIR_IN_MASK));
  if (bulk != NULL) {
    if (bulk->count == 0) {
      return NATIVE_NAK;
    }
    const uint16_t bytes = bulk->lengths[bulk->first];
    *length = bytes < capacity ? bytes : capacity;
    memcpy(data, bulk->packets[bulk->first], *length);
    bulk_take(bulk);
    return NATIVE_ACK;
  }
  if (!endpoint->armed) {
    return NATIVE_NAK;
  }
  const uint16_t left = (uint16_t)(endpoint->length - endpoint->done);
  const uint16_t packet = left < PACKET_BYTES ? left : PACKET_BYTES;
  const uint16_t given = packet < capacity ? packet : capacity;
  if (given > 0) {
    memcpy(data, endpoint->buffer + endpoint->done, given);
  }
  *length = given;
  endpoint->done = (uint16_t)(endpoint->done + packet);
  if (endpoint->done == endpoint->length) {
    endpoint->armed = false;
    dcd_event_xfer_complete(RHPORT, (uint8_t)(number | TUSB_DIR_IN_MASK), endpoint->done, XFER_RESULT_SUCCESS, false);
  }
  return NATIVE_ACK;
}
