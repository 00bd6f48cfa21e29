/* The vendor interface on USB. */
#ifndef CODECRIG_USB_BRIDGE_H
#define CODECRIG_USB_BRIDGE_H

#include <stdbool.h>

#include "tusb.h"

#include "device/usbd_pvt.h"

extern const usbd_class_driver_t usb_bridge_driver;

/* Moves packets between the endpoints and the bridge. true if anything was done. */
bool usb_bridge_task(void);

#endif
