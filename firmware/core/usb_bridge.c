/* TinyUSB class driver of the vendor interface: moves packets between the two bulk endpoints and the bridge's rings.
 *
 * OUT is armed for one packet at a time: a longer transfer would hold back the end of a client's transfer until more came.
 * IN leaves straight from the reply ring, in full packets as soon as there are 64 bytes; a short or zero-length packet goes
 * out only when everything received has been answered (docs/wire.md, USB).
 */
#include "usb_bridge.h"

#include <string.h>

#include "bridge.h"
#include "port.h"
#include "usb_descriptors.h"

/* Largest IN transfer: sent without the main loop's help, but its room in the ring is free only at its end. */
#define IN_TRANSFER_BYTES 1024u

#define RHPORT 0

static struct {
  bool open;

  uint8_t out_packet[ENDPOINT_BYTES]; /* TinyUSB's while out_armed */
  uint32_t out_bytes;                 /* received and not yet all taken by the bridge */
  uint32_t out_taken;
  bool out_armed;

  uint8_t in_packet[ENDPOINT_BYTES]; /* for a packet that wraps in the ring; TinyUSB's while in_queued */
  uint32_t in_bytes;                 /* queued: bytes of the ring that the host has not got yet */
  bool in_queued;
  bool in_stale;         /* the queued transfer was taken back: what its end reports is void */
  bool in_transfer_open; /* the host has had full packets and no short one since */

  bool boot_loader_asked;
  uint64_t boot_loader_us; /* when to leave for it */
} usb;

/* The host gets the end of the control transfer before the device leaves the bus. */
#define BOOT_LOADER_US 10000u

/* ---------------------------------------------------------------- data */

static bool out_task(void) {
  bool worked = false;
  if (usb.out_taken < usb.out_bytes) {
    const size_t taken = bridge_receive(usb.out_packet + usb.out_taken, usb.out_bytes - usb.out_taken);
    usb.out_taken += (uint32_t)taken;
    worked = taken > 0;
  }
  if (!usb.out_armed && usb.out_taken == usb.out_bytes && usbd_edpt_ready(RHPORT, ENDPOINT_BRIDGE_OUT)) {
    usb.out_bytes = usb.out_taken = 0;
    usb.out_armed = usbd_edpt_xfer(RHPORT, ENDPOINT_BRIDGE_OUT, usb.out_packet, ENDPOINT_BYTES);
    worked = worked || usb.out_armed;
  }
  return worked;
}

static bool in_queue(const uint8_t *bytes, uint32_t length) {
  usb.in_bytes = length;
  /* TinyUSB takes a pointer to changeable memory for both directions; it only reads for IN. */
  usb.in_queued = usbd_edpt_xfer(RHPORT, ENDPOINT_BRIDGE_IN, (uint8_t *)(uintptr_t)bytes, (uint16_t)length);
  return usb.in_queued;
}

static bool in_task(void) {
  if (usb.in_queued || !usbd_edpt_ready(RHPORT, ENDPOINT_BRIDGE_IN)) {
    return false;
  }
  const size_t level = bridge_reply_level();
  const bool all_answered = !bridge_unanswered();
  if (level == 0) {
    return usb.in_transfer_open && all_answered && in_queue(NULL, 0);
  }
  if (level < ENDPOINT_BYTES && !all_answered) {
    return false;
  }
  size_t piece = 0;
  const uint8_t *bytes = bridge_reply_peek(&piece);
  const size_t packet = level < ENDPOINT_BYTES ? level : ENDPOINT_BYTES;
  if (piece < packet) {
    bridge_reply_copy(usb.in_packet, packet);
    return in_queue(usb.in_packet, (uint32_t)packet);
  }
  if (level < ENDPOINT_BYTES) {
    return in_queue(bytes, (uint32_t)level);
  }
  const size_t full = piece < IN_TRANSFER_BYTES ? piece - piece % ENDPOINT_BYTES : IN_TRANSFER_BYTES;
  return in_queue(bytes, (uint32_t)full);
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
  const bool received = out_task();
  const bool sent = in_task();
  return received || sent;
}

uint64_t usb_bridge_deadline_us(void) { return usb.boot_loader_asked ? usb.boot_loader_us : UINT64_MAX; }

/* Takes back what is queued for the host. */
static void usb_bridge_drop(void) {
  usb.out_bytes = usb.out_taken = 0;
  if (usb.in_queued && !usb.in_stale) {
    usb.in_stale = true;
    port_usb_abort_in(ENDPOINT_BRIDGE_IN);
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
  uint8_t out = 0;
  uint8_t in = 0;
  TU_VERIFY(usbd_open_edpt_pair(rhport, tu_desc_next(interface), 2, TUSB_XFER_BULK, &out, &in), 0);
  usb.open = true;
  return length;
}

/* The host has cleared a halt. Whatever was queued at that endpoint is gone, on some controllers without a report. */
static void driver_halt_cleared(uint8_t endpoint) {
  if (endpoint == ENDPOINT_BRIDGE_OUT) {
    usb.out_armed = false;
  } else if (endpoint == ENDPOINT_BRIDGE_IN && usb.in_queued) {
    /* Nobody knows how much of it the host got: only a fresh start is honest. */
    usb.in_queued = false;
    usb.in_stale = false;
    usb.in_transfer_open = false;
    usb.out_bytes = usb.out_taken = 0;
    bridge_reset();
  }
}

static bool driver_control(uint8_t rhport, uint8_t stage, tusb_control_request_t const *request) {
  (void)rhport;
  if (stage == CONTROL_STAGE_SETUP && request->bmRequestType_bit.type == TUSB_REQ_TYPE_STANDARD &&
      request->bmRequestType_bit.recipient == TUSB_REQ_RCPT_ENDPOINT && request->bRequest == TUSB_REQ_CLEAR_FEATURE &&
      request->wValue == TUSB_REQ_FEATURE_EDPT_HALT) {
    driver_halt_cleared((uint8_t)request->wIndex);
  }
  return false; /* the stack answers standard requests itself */
}

static bool driver_transfer_done(uint8_t rhport, uint8_t endpoint, xfer_result_t result, uint32_t bytes) {
  (void)rhport;
  if (endpoint == ENDPOINT_BRIDGE_OUT) {
    usb.out_armed = false;
    usb.out_taken = 0;
    usb.out_bytes = result == XFER_RESULT_SUCCESS ? bytes : 0;
    return true;
  }
  if (endpoint != ENDPOINT_BRIDGE_IN) {
    return false;
  }
  if (!usb.in_stale && result == XFER_RESULT_SUCCESS) {
    bridge_reply_take(usb.in_bytes);
  }
  if (result == XFER_RESULT_SUCCESS || bytes > 0) {
    /* also when taken back after some of its packets had gone */
    usb.in_transfer_open = bytes > 0 && bytes % ENDPOINT_BYTES == 0;
  }
  usb.in_queued = false;
  usb.in_stale = false;
  usb.in_bytes = 0;
  return true;
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
