/* TinyUSB 0.18 drops a transfer that is queued at an endpoint when the host clears a halt there, and its CDC class never
 * notices: that direction would be dead until the next bus reset. Hosts clear halts also where there is none. So this driver
 * stands before TinyUSB's, hands everything on, and starts the endpoint again.
 */
#include "usb_console.h"

#include "usb_descriptors.h"

static bool halt_is_cleared(uint8_t stage, tusb_control_request_t const *request) {
  return stage == CONTROL_STAGE_SETUP && request->bmRequestType_bit.type == TUSB_REQ_TYPE_STANDARD &&
         request->bmRequestType_bit.recipient == TUSB_REQ_RCPT_ENDPOINT && request->bRequest == TUSB_REQ_CLEAR_FEATURE &&
         request->wValue == TUSB_REQ_FEATURE_EDPT_HALT;
}

static bool control(uint8_t rhport, uint8_t stage, tusb_control_request_t const *request) {
  if (usb_interface_status(rhport, stage, request)) {
    return true;
  }
  if (!halt_is_cleared(stage, request)) {
    return cdcd_control_xfer_cb(rhport, stage, request);
  }
  const uint8_t endpoint = (uint8_t)request->wIndex;
  if (endpoint == ENDPOINT_CONSOLE_OUT) {
    (void)usbd_edpt_release(rhport, endpoint); /* false: it was not claimed */
    uint8_t nothing;
    (void)tud_cdc_read(&nothing, 0); /* queues the next OUT transfer */
  } else if (endpoint == ENDPOINT_CONSOLE_IN) {
    (void)usbd_edpt_release(rhport, endpoint);
    (void)tud_cdc_write_flush(); /* what was queued is lost, the rest goes on */
  }
  return false; /* the stack answers standard requests itself */
}

const usbd_class_driver_t usb_console_driver = {
    .name = "console",
    .init = cdcd_init,
    .deinit = cdcd_deinit,
    .reset = cdcd_reset,
    .open = cdcd_open,
    .control_xfer_cb = control,
    .xfer_cb = cdcd_xfer_cb,
    .sof = NULL,
};
