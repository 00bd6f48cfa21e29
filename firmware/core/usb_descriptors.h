/* Interfaces, endpoints and numbers that the descriptors and the class driver share. */
#ifndef CODECRIG_USB_DESCRIPTORS_H
#define CODECRIG_USB_DESCRIPTORS_H

#include <stdbool.h>
#include <stdint.h>

#include "tusb.h"

/* 1209:0001 is a pid.codes TEST id: it is not unique and must not be on a device that is sold or given away. A build for
 * others defines both. Clients match product string and interface class as well. */
#ifndef CODECRIG_USB_VID
#define CODECRIG_USB_VID 0x1209
#endif
#ifndef CODECRIG_USB_PID
#define CODECRIG_USB_PID 0x0001
#endif

enum { INTERFACE_BRIDGE, INTERFACE_CONSOLE, INTERFACE_CONSOLE_DATA, INTERFACE_COUNT };

#define ENDPOINT_BRIDGE_OUT 0x01
#define ENDPOINT_BRIDGE_IN 0x81
#define ENDPOINT_CONSOLE_NOTIFY 0x82
#define ENDPOINT_CONSOLE_OUT 0x03
#define ENDPOINT_CONSOLE_IN 0x83
#define ENDPOINT_BYTES 64

/* The vendor interface: "CR". */
#define BRIDGE_SUBCLASS 0x43
#define BRIDGE_PROTOCOL 0x52

/* Vendor requests, docs/wire.md. */
#define VENDOR_REQUEST_RESET 0x01
#define VENDOR_REQUEST_IDENTITY 0x02
#define VENDOR_REQUEST_BOOT_LOADER 0x03
#define VENDOR_REQUEST_MS_OS 0x20
#define MS_OS_DESCRIPTOR_INDEX 7

/* Every port passes a SETUP packet through this before TinyUSB sees it. TinyUSB 0.18 does not look at the direction of standard requests: as an
 * OUT request with data, GET_DESCRIPTOR would let the host write over the descriptor, GET_STATUS over the stack. It leaves halts of
 * endpoint 0 and of endpoints that do not exist without an answer, and takes any alternate setting. Such a packet becomes one that stalls. */
void usb_check_setup(uint8_t to[8], const uint8_t from[8]);

/* SET_CONFIGURATION of the configuration that is set. It must reset endpoints, halts and toggles (9.1.1.5); TinyUSB 0.18 does nothing. So a port
 * closes all endpoints and reports a bus reset before it. */
bool usb_configures_again(const uint8_t setup[8]);

/* For class drivers: GET_STATUS of an interface, which TinyUSB 0.18 leaves to them. true if the request was that. */
bool usb_interface_status(uint8_t rhport, uint8_t stage, tusb_control_request_t const *request);

/* The Microsoft OS 2.0 descriptor set that binds WinUSB to INTERFACE_BRIDGE. */
#define MS_OS_SET_BYTES 178
extern const uint8_t usb_ms_os_set[MS_OS_SET_BYTES];

#endif
