/* The vendor interface on USB. */
#ifndef CODECRIG_USB_BRIDGE_H
#define CODECRIG_USB_BRIDGE_H

#include <stdbool.h>

/* Moves packets between the endpoints and the bridge. true if anything was done. */
bool usb_bridge_task(void);

#endif
