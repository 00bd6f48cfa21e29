/* USB descriptors: device, configuration, strings, BOS and Microsoft OS 2.0 set. */
#include "usb_descriptors.h"

#include <string.h>

#include "port.h"
#include "tusb.h"

/* Windows caches what it read under this number: raise it with every change of a descriptor. */
#define DEVICE_RELEASE 0x0100

enum { STRING_LANGUAGE, STRING_MANUFACTURER, STRING_PRODUCT, STRING_SERIAL, STRING_BRIDGE, STRING_CONSOLE, STRING_COUNT };

static const tusb_desc_device_t device_descriptor = {
    .bLength = sizeof(tusb_desc_device_t),
    .bDescriptorType = TUSB_DESC_DEVICE,
    .bcdUSB = 0x0210, /* hosts ask for the BOS from 2.01 on */
    .bDeviceClass = TUSB_CLASS_MISC,
    .bDeviceSubClass = MISC_SUBCLASS_COMMON,
    .bDeviceProtocol = MISC_PROTOCOL_IAD,
    .bMaxPacketSize0 = CFG_TUD_ENDPOINT0_SIZE,
    .idVendor = CODECRIG_USB_VID,
    .idProduct = CODECRIG_USB_PID,
    .bcdDevice = DEVICE_RELEASE,
    .iManufacturer = STRING_MANUFACTURER,
    .iProduct = STRING_PRODUCT,
    .iSerialNumber = STRING_SERIAL,
    .bNumConfigurations = 1,
};

uint8_t const *tud_descriptor_device_cb(void) { return (uint8_t const *)&device_descriptor; }

#define BRIDGE_DESCRIPTOR_BYTES (9 + 7 + 7)
#define CONFIGURATION_BYTES (TUD_CONFIG_DESC_LEN + BRIDGE_DESCRIPTOR_BYTES + TUD_CDC_DESC_LEN)
#define MAX_POWER_MA 250

static const uint8_t configuration_descriptor[] = {
    TUD_CONFIG_DESCRIPTOR(1, INTERFACE_COUNT, 0, CONFIGURATION_BYTES, 0, MAX_POWER_MA),

    9, TUSB_DESC_INTERFACE, INTERFACE_BRIDGE, 0, 2, TUSB_CLASS_VENDOR_SPECIFIC, BRIDGE_SUBCLASS, BRIDGE_PROTOCOL, STRING_BRIDGE,
    7, TUSB_DESC_ENDPOINT, ENDPOINT_BRIDGE_OUT, TUSB_XFER_BULK, U16_TO_U8S_LE(ENDPOINT_BYTES), 0,
    7, TUSB_DESC_ENDPOINT, ENDPOINT_BRIDGE_IN, TUSB_XFER_BULK, U16_TO_U8S_LE(ENDPOINT_BYTES), 0,

    TUD_CDC_DESCRIPTOR(INTERFACE_CONSOLE, STRING_CONSOLE, ENDPOINT_CONSOLE_NOTIFY, 8, ENDPOINT_CONSOLE_OUT, ENDPOINT_CONSOLE_IN,
                       ENDPOINT_BYTES),
};
_Static_assert(sizeof configuration_descriptor == CONFIGURATION_BYTES, "wTotalLength");

uint8_t const *tud_descriptor_configuration_cb(uint8_t index) { return index == 0 ? configuration_descriptor : NULL; }

/* ---------------------------------------------------------------- strings */

#ifndef CODECRIG_BOARD
#define CODECRIG_BOARD "twin" /* the build for a board passes its name in */
#endif

/* Longest string, in 16-bit units. */
#define STRING_UNITS 48u

uint16_t const *tud_descriptor_string_cb(uint8_t index, uint16_t language) {
  static const char *const texts[STRING_COUNT] = {
      [STRING_MANUFACTURER] = "codecrig project",
      [STRING_PRODUCT] = "codecrig " CODECRIG_BOARD,
      [STRING_BRIDGE] = "codecrig bridge",
      [STRING_CONSOLE] = "codecrig console",
  };
  static uint16_t descriptor[1 + STRING_UNITS]; /* TinyUSB's until the control transfer ends; there is one at a time */
  (void)language;
  uint32_t units = 0;
  if (index == STRING_LANGUAGE) {
    descriptor[1 + units++] = 0x0409;
  } else if (index == STRING_SERIAL) {
    const uint64_t serial = port_serial();
    for (; units < 16; units++) {
      descriptor[1 + units] = (uint16_t)("0123456789ABCDEF"[(serial >> (60 - 4 * units)) & 0xF]);
    }
  } else if (index < STRING_COUNT) {
    /* A board that cannot be used says why where every system shows it. */
    const char *refusal = index == STRING_PRODUCT ? port_refusal() : NULL;
    const char *const parts[3] = {texts[index], refusal != NULL ? ": " : "", refusal != NULL ? refusal : ""};
    for (uint32_t part = 0; part < 3; part++) {
      for (const char *from = parts[part]; *from != '\0' && units < STRING_UNITS; from++) {
        descriptor[1 + units++] = (uint16_t)*from;
      }
    }
  } else {
    return NULL;
  }
  descriptor[0] = (uint16_t)((TUSB_DESC_STRING << 8) | (2 + 2 * units));
  return descriptor;
}

/* ---------------------------------------------------------------- BOS and Microsoft OS 2.0 */

#define BOS_BYTES (TUD_BOS_DESC_LEN + TUD_BOS_MICROSOFT_OS_DESC_LEN)

static const uint8_t bos_descriptor[] = {
    TUD_BOS_DESCRIPTOR(BOS_BYTES, 1),
    TUD_BOS_MS_OS_20_DESCRIPTOR(MS_OS_SET_BYTES, VENDOR_REQUEST_MS_OS),
};
_Static_assert(sizeof bos_descriptor == BOS_BYTES, "wTotalLength");

uint8_t const *tud_descriptor_bos_cb(void) { return bos_descriptor; }

#define WINDOWS_8_1 0x06030000
#define MS_OS_CONFIGURATION_BYTES (MS_OS_SET_BYTES - 10)
#define MS_OS_FUNCTION_BYTES (MS_OS_CONFIGURATION_BYTES - 8)

/* Composite form: the function that starts at INTERFACE_BRIDGE gets WinUSB, the console keeps usbser. */
const uint8_t usb_ms_os_set[MS_OS_SET_BYTES] = {
    U16_TO_U8S_LE(0x000A), U16_TO_U8S_LE(MS_OS_20_SET_HEADER_DESCRIPTOR), U32_TO_U8S_LE(WINDOWS_8_1),
    U16_TO_U8S_LE(MS_OS_SET_BYTES),

    U16_TO_U8S_LE(0x0008), U16_TO_U8S_LE(MS_OS_20_SUBSET_HEADER_CONFIGURATION), 0, 0, U16_TO_U8S_LE(MS_OS_CONFIGURATION_BYTES),

    U16_TO_U8S_LE(0x0008), U16_TO_U8S_LE(MS_OS_20_SUBSET_HEADER_FUNCTION), INTERFACE_BRIDGE, 0,
    U16_TO_U8S_LE(MS_OS_FUNCTION_BYTES),

    U16_TO_U8S_LE(0x0014), U16_TO_U8S_LE(MS_OS_20_FEATURE_COMPATBLE_ID),
    'W', 'I', 'N', 'U', 'S', 'B', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,

    /* multi-string property DeviceInterfaceGUIDs; the GUID is this project's own */
    U16_TO_U8S_LE(0x0084), U16_TO_U8S_LE(MS_OS_20_FEATURE_REG_PROPERTY), U16_TO_U8S_LE(0x0007),
    U16_TO_U8S_LE(0x002A),
    'D', 0, 'e', 0, 'v', 0, 'i', 0, 'c', 0, 'e', 0, 'I', 0, 'n', 0,
    't', 0, 'e', 0, 'r', 0, 'f', 0, 'a', 0, 'c', 0, 'e', 0, 'G', 0,
    'U', 0, 'I', 0, 'D', 0, 's', 0, 0, 0,
    U16_TO_U8S_LE(0x0050),
    '{', 0, '3', 0, '0', 0, '9', 0, 'C', 0, '0', 0, 'D', 0, '7', 0,
    '6', 0, '-', 0, '1', 0, 'B', 0, '3', 0, 'B', 0, '-', 0, '4', 0,
    '2', 0, '6', 0, 'C', 0, '-', 0, 'B', 0, 'F', 0, '4', 0, '2', 0,
    '-', 0, '0', 0, '2', 0, '5', 0, 'E', 0, 'F', 0, '5', 0, '3', 0,
    '0', 0, '1', 0, 'F', 0, '2', 0, '2', 0, '}', 0, 0, 0, 0, 0,
};

/* ---------------------------------------------------------------- SETUP packets */

#define UNKNOWN_REQUEST 0xFFu

static bool endpoint_exists(uint8_t address) {
  static const uint8_t addresses[] = {ENDPOINT_BRIDGE_OUT, ENDPOINT_BRIDGE_IN, ENDPOINT_CONSOLE_NOTIFY, ENDPOINT_CONSOLE_OUT,
                                      ENDPOINT_CONSOLE_IN};
  return memchr(addresses, address, sizeof addresses) != NULL && tud_mounted();
}

/* What chapter 9 of the standard wants answered with a stall and TinyUSB acknowledges, or leaves without an answer. */
static bool refused(const uint8_t setup[8]) {
  const uint16_t value = tu_u16(setup[3], setup[2]);
  const bool control_endpoint = (setup[4] & 0x7Fu) == 0;
  switch (setup[0] & 0x1Fu) {
    case TUSB_REQ_RCPT_DEVICE:
      return setup[1] == TUSB_REQ_SET_CONFIGURATION && value > 1; /* TinyUSB would leave the one that is set */
    case TUSB_REQ_RCPT_INTERFACE:
      return setup[1] == TUSB_REQ_SET_INTERFACE && value != 0; /* no interface has alternates */
    case TUSB_REQ_RCPT_ENDPOINT:
      if (setup[1] == TUSB_REQ_CLEAR_FEATURE || setup[1] == TUSB_REQ_SET_FEATURE) {
        return value != TUSB_REQ_FEATURE_EDPT_HALT || !endpoint_exists(setup[4]);
      }
      return setup[1] == TUSB_REQ_GET_STATUS && !control_endpoint && !endpoint_exists(setup[4]);
    default:
      return false;
  }
}

void usb_check_setup(uint8_t to[8], const uint8_t from[8]) {
  memcpy(to, from, 8);
  static const uint32_t device_to_host = 1u << TUSB_REQ_GET_STATUS | 1u << TUSB_REQ_GET_DESCRIPTOR |
                                         1u << TUSB_REQ_GET_CONFIGURATION | 1u << TUSB_REQ_GET_INTERFACE |
                                         1u << TUSB_REQ_SYNCH_FRAME;
  const bool standard = (from[0] & 0x60u) == 0;
  const bool in = (from[0] & 0x80u) != 0;
  if (standard && (from[1] >= 32u || in != ((device_to_host >> from[1] & 1u) != 0) || refused(from))) {
    to[1] = UNKNOWN_REQUEST;
  }
}

bool usb_configures_again(const uint8_t setup[8]) {
  return setup[0] == 0x00 && setup[1] == TUSB_REQ_SET_CONFIGURATION && tu_u16(setup[3], setup[2]) == 1 && tud_mounted();
}

bool usb_interface_status(uint8_t rhport, uint8_t stage, tusb_control_request_t const *request) {
  static uint8_t zero[2]; /* TinyUSB's until the control transfer ends */
  if (request->bmRequestType != 0x81 || request->bRequest != TUSB_REQ_GET_STATUS) {
    return false;
  }
  return stage != CONTROL_STAGE_SETUP || tud_control_xfer(rhport, request, zero, sizeof zero);
}
