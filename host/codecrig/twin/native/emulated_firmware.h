// The flashed firmware in the RP2040 emulator of firmware/emulator: a process of its own, in lock-step over pipes. The protocol
// stands in its src/main.js.
//
// Both clocks start together. The emulator runs first, in short steps or until it sleeps; when it moves a pin, the hardware is brought to
// that moment. So the firmware sees a change of the attention line up to one step late, and the hardware's clock may be ahead by
// the bytes of one exchange (8 at most).
#ifndef CODECRIG_TWIN_EMULATED_FIRMWARE_H
#define CODECRIG_TWIN_EMULATED_FIRMWARE_H

#include <string>
#include <vector>

#include "configuration.h"
#include "hardware.h"
#include "microcontroller.h"

namespace twin {

class EmulatedFirmware final : public Microcontroller {
 public:
  EmulatedFirmware(Hardware& hardware, Configuration& configuration, const HostClock& clock, const std::string& emulator,
                   const std::string& elf, uint64_t serial);
  ~EmulatedFirmware() override;
  EmulatedFirmware(const EmulatedFirmware&) = delete;
  EmulatedFirmware& operator=(const EmulatedFirmware&) = delete;

  Units now() const override { return hardware_.now(); }
  bool advance(Units until) override;
  bool act() override { return false; }  // it acts as time passes
  bool settle() override;
  bool busy() const override { return !asleep_ || answering_ || hardware_.spi_busy(); }
  std::string statistics() override;
  bool left() const override { return left_; }
  void power_up() override;
  void usb_reset() override { command("B", 1); }
  void usb_suspend() override { command("U", 1); }
  native_handshake_t usb_setup(const uint8_t setup[8]) override;
  native_handshake_t usb_out(uint8_t endpoint, const uint8_t* data, uint16_t length) override;
  native_handshake_t usb_in(uint8_t endpoint, uint8_t* data, uint16_t capacity, uint16_t* length) override;

 private:
  void start();
  void stop();
  void go_to_sleep();  // runs until the firmware has nothing left to do
  void run_to(Units until);
  void catch_up(Units until);
  void serve(char what);
  uint8_t lines() const;
  void command(const void* bytes, size_t length);
  native_handshake_t handshake();
  void write_all(const void* bytes, size_t length);
  void read_all(void* bytes, size_t length);
  uint8_t read_byte();
  uint64_t read_u64();

  Hardware& hardware_;
  Configuration& configuration_;
  const HostClock& clock_;
  int process_ = -1;
  int to_ = -1;
  int from_ = -1;
  std::string emulator_, elf_, serial_;
  Units begin_ = 0;      // when the emulator was started: its time 0
  Units now_ = 0;        // it has come so far
  Units wake_ = 0;       // asleep: when its next alarm is due
  uint64_t frame_ = 0;   // the next start of frame
  bool asleep_ = false;
  bool answering_ = false;
  bool attached_ = false;
  bool left_ = false;    // for the boot loader
  uint8_t lines_ = 0;    // as told last
};

}  // namespace twin
#endif
