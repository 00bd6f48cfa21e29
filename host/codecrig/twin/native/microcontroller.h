// The microcontroller as the board and the USB bus see it: the firmware compiled for this machine, which takes no time
// (native_firmware.h), or the flashed binary in an emulator, which does (emulated_firmware.h).
#ifndef CODECRIG_TWIN_MICROCONTROLLER_H
#define CODECRIG_TWIN_MICROCONTROLLER_H

#include <cstdint>
#include <string>

#include "native.h"
#include "units.h"

namespace twin {

class Microcontroller {
 public:
  virtual ~Microcontroller() = default;

  // Board time that it and the hardware have reached.
  virtual Units now() const = 0;
  // Brings itself and the hardware to `until`, or to an earlier moment at which something happened. Returns true if the
  // firmware did anything.
  virtual bool advance(Units until) = 0;
  // Behind a transaction on the bus: lets the firmware act, if it takes no time for that. Returns true if it did anything.
  virtual bool act() = 0;
  // Lets the firmware act until it has nothing left to do, in the time that it takes.
  virtual bool settle() = 0;
  // A wire request is unanswered, or replies wait to be fetched.
  virtual bool busy() const = 0;

  // What an emulator knows of it: a JSON object, or nothing.
  virtual std::string statistics() { return ""; }
  // It has left for its boot loader, and comes back by power_up().
  virtual bool left() const = 0;
  virtual void power_up() = 0;

  // As in native.h.
  virtual void usb_reset() = 0;
  virtual void usb_suspend() = 0;
  virtual native_handshake_t usb_setup(const uint8_t setup[8]) = 0;
  virtual native_handshake_t usb_out(uint8_t endpoint, const uint8_t* data, uint16_t length) = 0;
  virtual native_handshake_t usb_in(uint8_t endpoint, uint8_t* data, uint16_t capacity, uint16_t* length) = 0;
};

}  // namespace twin
#endif
