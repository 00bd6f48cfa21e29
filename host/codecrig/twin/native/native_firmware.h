// The firmware compiled for this machine. It acts in no time; time passes on its serial link and on the USB bus alone.
#ifndef CODECRIG_TWIN_NATIVE_FIRMWARE_H
#define CODECRIG_TWIN_NATIVE_FIRMWARE_H

#include "configuration.h"
#include "hardware.h"
#include "microcontroller.h"

namespace twin {

class NativeFirmware final : public Microcontroller {
 public:
  NativeFirmware(Hardware& hardware, Configuration& configuration, uint64_t serial);

  Units now() const override { return hardware_.now(); }
  bool advance(Units until) override;
  bool act() override;
  bool settle() override { return act(); }
  bool busy() const override { return native_busy(); }
  bool left() const override { return left_; }
  void power_up() override;
  void usb_reset() override { native_usb_reset(); }
  void usb_suspend() override { native_usb_suspend(); }
  native_handshake_t usb_setup(const uint8_t setup[8]) override { return native_usb_setup(setup); }
  native_handshake_t usb_out(uint8_t endpoint, const uint8_t* data, uint16_t length) override {
    return native_usb_out(endpoint, data, length);
  }
  native_handshake_t usb_in(uint8_t endpoint, uint8_t* data, uint16_t capacity, uint16_t* length) override {
    return native_usb_in(endpoint, data, capacity, length);
  }

 private:
  Hardware& hardware_;
  Configuration& configuration_;
  native_platform_t platform_{};
  uint64_t serial_;
  bool left_ = false;         // for the boot loader
  Units config_end_ = 0;      // when the configuration port will have sent what it was given
};

}  // namespace twin
#endif
