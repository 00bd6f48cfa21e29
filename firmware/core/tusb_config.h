/* TinyUSB as the firmware needs it. The build passes CFG_TUSB_MCU and CFG_TUSB_OS. */
#ifndef CODECRIG_TUSB_CONFIG_H
#define CODECRIG_TUSB_CONFIG_H

#define CFG_TUSB_RHPORT0_MODE (OPT_MODE_DEVICE | OPT_MODE_FULL_SPEED)
#define CFG_TUD_ENABLED 1
#define CFG_TUD_ENDPOINT0_SIZE 64

/* The vendor interface has a class driver of our own (usb_bridge.c): TinyUSB's cannot keep the rule for short packets. */
#define CFG_TUD_VENDOR 0

/* The console. Transmit holds two of the longest answers (counters). */
#define CFG_TUD_CDC 1
#define CFG_TUD_CDC_RX_BUFSIZE 256
#define CFG_TUD_CDC_TX_BUFSIZE 1024
#define CFG_TUD_CDC_EP_BUFSIZE 64

#endif
