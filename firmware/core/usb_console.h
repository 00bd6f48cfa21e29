/* The CDC interface of the console: TinyUSB's class driver, with one repair. */
#ifndef CODECRIG_USB_CONSOLE_H
#define CODECRIG_USB_CONSOLE_H

#include "tusb.h"

#include "device/usbd_pvt.h"

extern const usbd_class_driver_t usb_console_driver;

#endif
