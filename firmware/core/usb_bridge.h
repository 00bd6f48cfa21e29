/* The vendor interface on USB. */
#ifndef CODECRIG_USB_BRIDGE_H
#define CODECRIG_USB_BRIDGE_H

#include <stdbool.h>

#include "tusb.h"

#include "device/usbd_pvt.h"

extern const usbd_class_driver_t usb_bridge_driver;

/* Moves packets between the endpoints and the bridge. true if it sent any: what was received is for bridge_task, which must come behind. */
bool usb_bridge_task(void);

/* Earliest time at which usb_bridge_task has something to do by time alone; UINT64_MAX if none. */
uint64_t usb_bridge_deadline_us(void);

/* Bytes of replies wait at the IN endpoint. */
bool usb_bridge_busy(void);

#endif
