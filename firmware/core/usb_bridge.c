/* TinyUSB class driver of the vendor interface: moves packets between the two bulk endpoints and the bridge's rings.
 *
 * The packets themselves go past TinyUSB (port.h): its event queue and its copies cost more than the bridge has time for.
 * IN leaves in full packets as soon as there are 64 bytes; a short or zero-length packet goes out only when everything
 * received has been answered (docs/wire.md, USB).
 */
#include "usb_bridge.h"

#include <string.h>

#include "bridge.h"
#include "port.h"
#include "usb_descriptors.h"

#define RHPORT 0

static struct {
  bool open;

  uint32_t out_taken; /* bytes of the oldest packet that the bridge has */

  _Alignas(uint32_t) uint8_t in_packet[ENDPOINT_BYTES]; /* for a packet that wraps in the ring */
  uint32_t in_full; /* bit n: the nth last packet was full; if the last one was, a short one has yet to end the transfer */

  bool boot_loader_asked;
  uint64_t boot_loader_us; /* when to leave for it */
} usb;

/* The host gets the end of the control transfer before the device leaves the bus. */
#define BOOT_LOADER_US 10000u

/* ---------------------------------------------------------------- data */

static void out_task(void) {
  uint32_t length = 0;
  for (const uint8_t *packet = port_bulk_out(&length); packet != NULL; packet = port_bulk_out(&length)) {
    const size_t taken = bridge_receive(packet + usb.out_taken, length - usb.out_taken);
    usb.out_taken += (uint32_t)taken;
    if (usb.out_taken < length) {
      break; /* the bridge has no room */
    }
    usb.out_taken = 0;
    port_bulk_out_release();
  }
}

static void in_send(size_t length) {
  size_t piece = 0;
  const uint8_t *bytes = bridge_reply_peek(&piece);
  if (piece < length) {
    bridge_reply_copy(usb.in_packet, length);
    bytes = usb.in_packet;
  }
  port_bulk_in(bytes, (uint32_t)length);
  bridge_reply_take(length);
  usb.in_full = usb.in_full << 1 | (length == ENDPOINT_BYTES ? 1u : 0u);
}

static bool in_task(void) {
  bool worked = false;
  while (port_bulk_in_ready()) {
    const size_t level = bridge_reply_level();
    const bool transfer_open = (usb.in_full & 1u) != 0;
    if (level >= ENDPOINT_BYTES) {
      in_send(ENDPOINT_BYTES);
    } else if (!bridge_unanswered() && (level > 0 || transfer_open)) {
      in_send(level);
    } else {
      break;
    }
    worked = true;
  }
  return worked;
}

bool usb_bridge_task(void) {
  if (usb.boot_loader_asked && port_time_us() >= usb.boot_loader_us) {
    usb.boot_loader_asked = false;
    port_boot_loader();
    return true;
  }
  if (!usb.open) {
    return false;
  }
  out_task();
  return in_task();
}

uint64_t usb_bridge_deadline_us(void) { return usb.boot_loader_asked ? usb.boot_loader_us : UINT64_MAX; }

bool usb_bridge_busy(void) { return usb.open && port_bulk_in_busy(); }

static void drop_received(void) {
  uint32_t length = 0;
  while (port_bulk_out(&length) != NULL) {
    port_bulk_out_release();
  }
  usb.out_taken = 0;
}

/* Forgets what came from the host, takes back what waits for it. If it has had full packets and no short one, an empty packet follows. */
static void usb_bridge_drop(void) {
  if (usb.open) {
    drop_received();
    usb.in_full >>= port_bulk_in_drop();
  }
}

/* The bus is idle: the cable was pulled, or the host sleeps. Either way nobody watches the streams. */
void tud_suspend_cb(bool remote_wakeup_enabled) {
  (void)remote_wakeup_enabled;
  usb_bridge_drop();
  bridge_make_safe();
}

/* ---------------------------------------------------------------- class driver */

static void driver_init(void) { memset(&usb, 0, sizeof usb); }

static bool driver_deinit(void) { return true; }

static void driver_reset(uint8_t rhport) {
  (void)rhport;
  memset(&usb, 0, sizeof usb); /* the stack has dropped both transfers */
  bridge_make_safe();
}

static uint16_t driver_open(uint8_t rhport, tusb_desc_interface_t const *interface, uint16_t max_length) {
  const uint16_t length = (uint16_t)(sizeof(tusb_desc_interface_t) + 2u * sizeof(tusb_desc_endpoint_t));
  TU_VERIFY(interface->bInterfaceClass == TUSB_CLASS_VENDOR_SPECIFIC && interface->bInterfaceSubClass == BRIDGE_SUBCLASS &&
                interface->bInterfaceProtocol == BRIDGE_PROTOCOL && max_length >= length,
            0);
  TU_VERIFY(port_refusal() == NULL, 0);
  uint8_t out = 0;
  uint8_t in = 0;
  TU_VERIFY(usbd_open_edpt_pair(rhport, tu_desc_next(interface), 2, TUSB_XFER_BULK, &out, &in), 0);
  port_bulk_open();
  usb.open = true;
  return length;
}

/* The host has cleared a halt. If packets to it went with it nobody knows how much of them it got: only a fresh start is honest. */
static void driver_halt_cleared(void) {
  if (port_bulk_in_lost()) {
    usb.in_full = 0;
    drop_received();
    bridge_reset();
  }
}

static bool driver_control(uint8_t rhport, uint8_t stage, tusb_control_request_t const *request) {
  if (stage == CONTROL_STAGE_SETUP && request->bmRequestType_bit.type == TUSB_REQ_TYPE_STANDARD &&
      request->bmRequestType_bit.recipient == TUSB_REQ_RCPT_ENDPOINT && request->bRequest == TUSB_REQ_CLEAR_FEATURE &&
      request->wValue == TUSB_REQ_FEATURE_EDPT_HALT) {
    driver_halt_cleared();
  }
  return usb_interface_status(rhport, stage, request); /* the stack answers standard requests itself */
}

static bool driver_transfer_done(uint8_t rhport, uint8_t endpoint, xfer_result_t result, uint32_t bytes) {
  (void)rhport;
  (void)endpoint;
  (void)result;
  (void)bytes;
  return false; /* no transfer goes through TinyUSB */
}

/* ---------------------------------------------------------------- vendor requests */

static bool send_identity(uint8_t rhport, tusb_control_request_t const *request) {
  static uint8_t identity[16] = "CRIG"; /* TinyUSB's until the control transfer ends */
  const uint32_t words[3] = {tu_htole32(bridge_wire_version()), tu_htole32(bridge_build()), 0};
  memcpy(identity + 4, words, sizeof words);
  return tud_control_xfer(rhport, request, identity, sizeof identity);
}

bool tud_vendor_control_xfer_cb(uint8_t rhport, uint8_t stage, tusb_control_request_t const *request) {
  if (stage != CONTROL_STAGE_SETUP) {
    return true;
  }
  const bool to_interface = (request->wIndex & 0xFFu) == INTERFACE_BRIDGE && usb.open;
  if (request->bmRequestType == 0x41 && request->bRequest == VENDOR_REQUEST_RESET && to_interface && request->wLength == 0) {
    usb_bridge_drop();
    bridge_reset();
    return tud_control_status(rhport, request);
  }
  if (request->bmRequestType == 0x41 && request->bRequest == VENDOR_REQUEST_BOOT_LOADER && to_interface &&
      request->wLength == 0) {
    usb.boot_loader_asked = true;
    usb.boot_loader_us = port_time_us() + BOOT_LOADER_US;
    return tud_control_status(rhport, request);
  }
  if (request->bmRequestType == 0xC1 && request->bRequest == VENDOR_REQUEST_IDENTITY && to_interface) {
    return send_identity(rhport, request);
  }
  if (request->bmRequestType == 0xC0 && request->bRequest == VENDOR_REQUEST_MS_OS &&
      request->wIndex == MS_OS_DESCRIPTOR_INDEX) {
    return tud_control_xfer(rhport, request, (void *)(uintptr_t)usb_ms_os_set, sizeof usb_ms_os_set);
  }
  return false;
}

/* ---------------------------------------------------------------- table */

const usbd_class_driver_t usb_bridge_driver = {
    .name = "bridge",
    .init = driver_init,
    .deinit = driver_deinit,
    .reset = driver_reset,
    .open = driver_open,
    .control_xfer_cb = driver_control,
    .xfer_cb = driver_transfer_done,
    .sof = NULL,
};
