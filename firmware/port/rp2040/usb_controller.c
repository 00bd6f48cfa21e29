/* TinyUSB's driver of the USB controller, and what it lacks: a look at SETUP packets, and the bridge's two bulk endpoints (port.h), which it
 * opens and then leaves to the code here. The driver is taken in as text because its endpoints are private to it.
 *
 * Both bulk endpoints are double-buffered: buffer control holds 16 bits for each buffer, which the controller takes in turn. A
 * buffer is the controller's while AVAILABLE is set; FULL is set while it holds a packet. The interrupt only wakes the main loop.
 *
 * Erratum E2: taking a buffer back works on RP2040 B2 and later; port_refusal() keeps others from getting here. Erratum E15: no
 * buffer for IN becomes available in the last fifth of a frame; the start of the next one makes up for it. E16 is kept by the clocks.
 */
#include "device/dcd.h"
#include "usb_descriptors.h"

static void reset_non_control_endpoints(void);

static inline void checked_setup_received(uint8_t port, uint8_t const *setup, bool in_interrupt) {
  if (usb_configures_again(setup)) {
    reset_non_control_endpoints();
    dcd_event_bus_reset(port, TUSB_SPEED_FULL, in_interrupt);
  }
  uint8_t checked[8];
  usb_check_setup(checked, setup);
  dcd_event_setup_received(port, checked, in_interrupt);
}

#include "port.h"
#include "portable/raspberrypi/rp2040/rp2040_usb.h"
#include "wake.h"

static bool bulk_owns(const struct hw_endpoint *endpoint);
static void bulk_start_of_frame(void);

/* Called when a buffer has been filled or fetched. */
static bool __not_in_flash_func(transfer_goes_on)(struct hw_endpoint *endpoint) {
  if (bulk_owns(endpoint)) {
    port_woken = true;
    return false; /* nothing to report */
  }
  return hw_endpoint_xfer_continue(endpoint);
}

/* Called at a start of frame for what erratum E15 has put off. */
static void __not_in_flash_func(next_buffer)(struct hw_endpoint *endpoint) {
  if (bulk_owns(endpoint)) {
    bulk_start_of_frame();
  } else {
    hw_endpoint_start_next_buffer(endpoint);
  }
}

#define dcd_event_setup_received checked_setup_received
#define hw_endpoint_xfer_continue transfer_goes_on
#define hw_endpoint_start_next_buffer next_buffer
#define dcd_edpt_stall tinyusb_edpt_stall
#define dcd_edpt_clear_stall tinyusb_edpt_clear_stall
#include "portable/raspberrypi/rp2040/dcd_rp2040.c"
#undef dcd_event_setup_received
#undef hw_endpoint_xfer_continue
#undef hw_endpoint_start_next_buffer
#undef dcd_edpt_stall
#undef dcd_edpt_clear_stall

#include <string.h>

#define HALF_BYTES 64u
#define DATA_1 USB_BUF_CTRL_DATA1_PID
#define SELECT_FIRST USB_BUF_CTRL_SEL

/* Microseconds behind the start of a frame in which no IN buffer may become available (erratum E15). */
#define E15_BEGIN_US 800u
#define E15_END_US 998u

static struct {
  const uint8_t *out_buffers;
  uint8_t out_oldest;   /* half with the oldest packet, or where it will come */
  bool out_halted;
  bool out_restart;     /* both halves are to be armed anew when the main loop is done with them */

  uint8_t *in_buffers;
  uint8_t in_next;      /* half for the next packet */
  uint16_t in_toggle;   /* its DATA1 bit */
  uint16_t in_select;   /* SELECT_FIRST: tell the controller to start with the first half */
  bool in_halted;
  bool in_lost;
  uint16_t in_deferred[2]; /* what to write when the next frame starts; 0 if nothing */
} bulk;

/* The driver's records of the two are void from a bus reset until TinyUSB opens them again; what follows is there all the time. */
static struct hw_endpoint *const bulk_out_endpoint = &hw_endpoints[ENDPOINT_BRIDGE_OUT][TUSB_DIR_OUT];
static struct hw_endpoint *const bulk_in_endpoint = &hw_endpoints[ENDPOINT_BRIDGE_IN & 0xF][TUSB_DIR_IN];
static volatile uint16_t *const out_half = (volatile uint16_t *)&usb_dpram->ep_buf_ctrl[ENDPOINT_BRIDGE_OUT].out;
static volatile uint16_t *const in_half = (volatile uint16_t *)&usb_dpram->ep_buf_ctrl[ENDPOINT_BRIDGE_IN & 0xF].in;

static bool bulk_owns(const struct hw_endpoint *endpoint) { return endpoint == bulk_out_endpoint || endpoint == bulk_in_endpoint; }

/* Hands a buffer to the controller. It looks at the word in a clock domain of its own: AVAILABLE must come last, behind all else by 12 cycles. */
static void make_available(volatile uint16_t *half, uint16_t value) {
  *half = value;
  busy_wait_at_least_cycles(12);
  *half = value | USB_BUF_CTRL_AVAIL;
}

/* Takes what is available back from the controller. Its interrupt is masked. */
static void take_back(volatile uint16_t *half, uint32_t bit) {
  usb_hw_set->abort = bit;
  while ((usb_hw->abort_done & bit) == 0) {
  }
  half[0] &= (uint16_t)~USB_BUF_CTRL_AVAIL;
  half[1] &= (uint16_t)~USB_BUF_CTRL_AVAIL;
  usb_hw_clear->abort_done = bit;
  usb_hw_clear->abort = bit;
}

/* ---------------------------------------------------------------- OUT */

static void out_begin(void) {
  bulk.out_restart = false;
  bulk.out_oldest = 0;
  out_half[0] = out_half[1] = 0;
  make_available(&out_half[0], SELECT_FIRST | HALF_BYTES);
  make_available(&out_half[1], DATA_1 | HALF_BYTES);
}

const uint8_t *port_bulk_out(uint32_t *length) {
  const uint16_t control = out_half[bulk.out_oldest];
  if ((control & (USB_BUF_CTRL_FULL | USB_BUF_CTRL_AVAIL)) != USB_BUF_CTRL_FULL) {
    return NULL;
  }
  *length = control & USB_BUF_CTRL_LEN_MASK;
  return bulk.out_buffers + HALF_BYTES * bulk.out_oldest;
}

void port_bulk_out_release(void) {
  const uint8_t done = bulk.out_oldest;
  bulk.out_oldest ^= 1u;
  if (!bulk.out_halted && !bulk.out_restart) {
    make_available(&out_half[done], (done != 0 ? DATA_1 : 0) | HALF_BYTES); /* toggles alternate, and so do the halves */
    return;
  }
  out_half[done] &= (uint16_t)~USB_BUF_CTRL_FULL;
  if (!bulk.out_halted && (out_half[bulk.out_oldest] & USB_BUF_CTRL_FULL) == 0) {
    out_begin();
  }
}

/* ---------------------------------------------------------------- IN */

static bool in_critical_time(void) {
  const uint32_t since = time_us_32() - e15_last_sof;
  return since >= E15_BEGIN_US && since <= E15_END_US;
}

bool port_bulk_in_ready(void) {
  return !bulk.in_halted && (in_half[bulk.in_next] & USB_BUF_CTRL_AVAIL) == 0 && bulk.in_deferred[bulk.in_next] == 0;
}

void port_bulk_in(const uint8_t *bytes, uint32_t length) {
  const uint8_t next = bulk.in_next;
  memcpy(bulk.in_buffers + HALF_BYTES * next, bytes, length);
  const uint16_t control = (uint16_t)(USB_BUF_CTRL_FULL | bulk.in_toggle | bulk.in_select | length);
  bulk.in_next ^= 1u;
  bulk.in_toggle ^= DATA_1;
  bulk.in_select = 0;
  const uint32_t state = save_and_disable_interrupts();
  if (bulk.in_deferred[next ^ 1u] != 0 || in_critical_time()) {
    in_half[next] = control;
    bulk.in_deferred[next] = control;
    bulk_in_endpoint->pending = 1;
  } else {
    make_available(&in_half[next], control);
  }
  restore_interrupts(state);
}

/* In the interrupt. The older packet first. */
static void __not_in_flash_func(bulk_start_of_frame)(void) {
  for (uint32_t i = 0; i < 2; i++) {
    const uint8_t half = bulk.in_next ^ i;
    if (bulk.in_deferred[half] != 0) {
      make_available(&in_half[half], bulk.in_deferred[half]);
      bulk.in_deferred[half] = 0;
    }
  }
}

bool port_bulk_in_busy(void) {
  for (uint32_t i = 0; i < 2; i++) {
    const uint16_t control = in_half[i];
    if ((control & USB_BUF_CTRL_FULL) != 0 && ((control & USB_BUF_CTRL_LEN_MASK) != 0 || bulk.in_deferred[i] != 0)) {
      return true;
    }
  }
  return false;
}

uint32_t port_bulk_in_drop(void) {
  dcd_int_disable(0);
  take_back(in_half, USB_EP_ABORT_EP1_IN_BITS);
  uint32_t dropped = 0;
  for (uint32_t i = 0; i < 2; i++) {
    if ((in_half[i] & USB_BUF_CTRL_FULL) != 0) {
      dropped++;
      bulk.in_toggle ^= DATA_1; /* never sent: the host expects its toggle with the next packet */
    }
    in_half[i] = 0;
    bulk.in_deferred[i] = 0;
  }
  bulk.in_next = 0;
  bulk.in_select = SELECT_FIRST;
  bulk_in_endpoint->pending = 0;
  dcd_int_enable(0);
  return dropped;
}

bool port_bulk_in_lost(void) {
  const bool lost = bulk.in_lost;
  bulk.in_lost = false;
  return lost;
}

/* ---------------------------------------------------------------- what TinyUSB does to them */

void port_bulk_open(void) {
  dcd_int_disable(0);
  memset(&bulk, 0, sizeof bulk);
  bulk.in_select = SELECT_FIRST;
  bulk.in_buffers = bulk_in_endpoint->hw_data_buf;
  bulk.out_buffers = bulk_out_endpoint->hw_data_buf;
  *bulk_in_endpoint->endpoint_control |= EP_CTRL_DOUBLE_BUFFERED_BITS | EP_CTRL_INTERRUPT_PER_BUFFER;
  *bulk_out_endpoint->endpoint_control |= EP_CTRL_DOUBLE_BUFFERED_BITS | EP_CTRL_INTERRUPT_PER_BUFFER;
  bulk_in_endpoint->pending = 0;
  bulk_in_endpoint->active = true; /* its frames are watched, for E15 */
  usb_hw_set->inte = USB_INTS_DEV_SOF_BITS;
  out_begin();
  dcd_int_enable(0);
}

/* The main loop may still be at work on packets that have come. */
static void out_halt(bool halted) {
  dcd_int_disable(0);
  take_back(out_half, USB_EP_ABORT_EP1_OUT_BITS);
  bulk.out_halted = halted;
  bulk.out_restart = true;
  if (halted) {
    out_half[0] |= USB_BUF_CTRL_STALL;
  } else {
    out_half[0] &= (uint16_t)~USB_BUF_CTRL_STALL;
    if (((out_half[0] | out_half[1]) & USB_BUF_CTRL_FULL) == 0) {
      out_begin();
    }
  }
  dcd_int_enable(0);
}

static void in_halt(bool halted) {
  bulk.in_lost = port_bulk_in_drop() > 0 || bulk.in_lost;
  bulk.in_toggle = 0;
  bulk.in_halted = halted;
  if (halted) {
    in_half[0] = USB_BUF_CTRL_STALL;
  }
}

static void halt(uint8_t address, bool halted) {
  if (address == ENDPOINT_BRIDGE_OUT) {
    out_halt(halted);
  } else {
    in_halt(halted);
  }
}

void dcd_edpt_stall(uint8_t port, uint8_t address) {
  if (address == ENDPOINT_BRIDGE_OUT || address == ENDPOINT_BRIDGE_IN) {
    halt(address, true);
  } else {
    tinyusb_edpt_stall(port, address);
  }
}

void dcd_edpt_clear_stall(uint8_t port, uint8_t address) {
  if (address == ENDPOINT_BRIDGE_OUT || address == ENDPOINT_BRIDGE_IN) {
    halt(address, false);
  } else {
    tinyusb_edpt_clear_stall(port, address);
  }
}
