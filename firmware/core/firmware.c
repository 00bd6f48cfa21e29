/* See firmware.h. */
#include "firmware.h"

#include "bridge.h"
#include "console.h"
#include "fpga_loader.h"
#include "tusb.h"
#include "usb_bridge.h"
#include "usb_console.h"

/* TinyUSB asks these before its own class drivers. */
usbd_class_driver_t const *usbd_app_driver_get_cb(uint8_t *count) {
  static usbd_class_driver_t drivers[2];
  drivers[0] = usb_bridge_driver;
  drivers[1] = usb_console_driver;
  *count = (uint8_t)(sizeof drivers / sizeof drivers[0]);
  return drivers;
}

/* Set by TinyUSB, also in interrupts, when it has queued something for tud_task. */
static volatile bool usb_event;

void tud_event_hook_cb(uint8_t rhport, uint32_t event, bool in_isr) {
  (void)rhport;
  (void)event;
  (void)in_isr;
  usb_event = true;
}

bool firmware_init(void) {
  loader_init();
  bridge_init();
  console_init();
  const tusb_rhport_init_t init = {.role = TUSB_ROLE_DEVICE, .speed = TUSB_SPEED_FULL};
  return tusb_init(0, &init);
}

firmware_turn_t firmware_task(void) {
  const bool event = usb_event;
  if (event) {
    usb_event = false;
    tud_task();
  }
  const bool moved = usb_bridge_task(); /* every packet that there was or is room for; what this makes possible follows */
  bool more = loader_task() || event;
  if (bridge_task()) {
    (void)usb_bridge_task(); /* a reply leaves in the turn in which it came */
    more = true;
  }
  if (event || console_due()) {
    more = console_task() || more;
  }
  return more ? FIRMWARE_MORE : moved ? FIRMWARE_WORKED : FIRMWARE_IDLE;
}

uint64_t firmware_deadline_us(void) {
  uint64_t deadline = bridge_deadline_us();
  const uint64_t others[2] = {loader_deadline_us(), usb_bridge_deadline_us()};
  for (uint32_t i = 0; i < 2; i++) {
    deadline = others[i] < deadline ? others[i] : deadline;
  }
  return deadline;
}

bool firmware_busy(void) { return bridge_unanswered() || bridge_reply_level() > 0 || usb_bridge_busy(); }
