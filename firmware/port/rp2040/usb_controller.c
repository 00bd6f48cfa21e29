/* TinyUSB's driver of the USB controller, and two things that it lacks: a look at SETUP packets, and taking back an IN transfer.
 * The driver is taken in as text because its endpoints are private to it. */
#include "device/dcd.h"
#include "usb_descriptors.h"

static inline void checked_setup_received(uint8_t port, uint8_t const *setup, bool in_interrupt) {
  uint8_t checked[8];
  usb_check_setup(checked, setup);
  dcd_event_setup_received(port, checked, in_interrupt);
}

#define dcd_event_setup_received checked_setup_received
#include "portable/raspberrypi/rp2040/dcd_rp2040.c"
#undef dcd_event_setup_received

#include "port.h"

/* Erratum E2: the abort bits work on chips of revision B2 and later. On older ones, which nothing refuses, this would wait for ever. */
void port_usb_abort_in(uint8_t address) {
  const uint32_t interrupt = 1u << (2u * tu_edpt_number(address)); /* IN; the abort bits lie in the same places */
  dcd_int_disable(0);
  struct hw_endpoint *const endpoint = hw_endpoint_get_by_addr(address);
  if (!endpoint->active) { /* done; its report waits in TinyUSB's queue */
    dcd_int_enable(0);
    return;
  }
  usb_hw_set->abort = interrupt;
  while ((usb_hw->abort_done & interrupt) == 0) {
  }
  uint32_t sent = endpoint->xferred_len;
  if (!endpoint->pending) { /* erratum E15: a pending one was not handed to the controller */
    const uint32_t control = _hw_endpoint_buffer_control_get_value32(endpoint);
    const uint32_t buffers = (*endpoint->endpoint_control & EP_CTRL_DOUBLE_BUFFERED_BITS) != 0 ? 2 : 1;
    for (uint32_t i = 0; i < buffers; i++) {
      const uint32_t half = control >> (16 * i);
      if ((half & USB_BUF_CTRL_FULL) == 0) {
        sent += half & USB_BUF_CTRL_LEN_MASK;
      } else {
        endpoint->next_pid ^= 1u; /* never sent: the host expects its toggle with the next packet */
      }
    }
  }
  endpoint->pending = 0;
  *endpoint->buffer_control = 0;
  usb_hw_clear->buf_status = interrupt; /* a packet that went in the last moment is counted above */
  usb_hw_clear->abort_done = interrupt;
  usb_hw_clear->abort = interrupt;
  hw_endpoint_reset_transfer(endpoint);
  dcd_event_xfer_complete(0, address, sent, XFER_RESULT_FAILED, false);
  dcd_int_enable(0);
}
