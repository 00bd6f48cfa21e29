// The simulated board and bus together, and the rule by which time flows.
//
// Time flows only while something pending on the USB bus can get on (see UsbBus::wants_time); otherwise the board stands still
// while the host computes. So what happens on the board, and when, depends only on the sequence of transfers.
#ifndef CODECRIG_TWIN_BOARD_H
#define CODECRIG_TWIN_BOARD_H

#include <cstdint>
#include <memory>
#include <string>

#include "configuration.h"
#include "hardware.h"
#include "microcontroller.h"
#include "units.h"
#include "usb_bus.h"

namespace twin {

class Board {
 public:
  struct Settings {
    int64_t clock_ppm_micro = 37000000;
    uint64_t serial = 1;
    std::string trace_file;
    int defect = -1;  // bit of the RTL's defects, in a build that has them (defects.py)
    std::string emulator;  // main.js of the emulator; empty: the firmware compiled for this machine
    std::string firmware;  // ELF file that the emulator runs
  };
  explicit Board(const Settings& settings);

  // Lets time flow for at most `span` units, until nothing on the bus wants it any more.
  void run(Units span);
  bool wants_time() const { return bus.wants_time(); }
  // The microcontroller has left for its boot loader; until power_up() nothing answers.
  bool left() const { return microcontroller_->left(); }
  void power_up() { microcontroller_->power_up(); }
  void service_console() {
    if (bus.console_stale()) bus.pump_console();
  }

  // Counts everything that shows that the board gets on: packets with data, serial bytes.
  uint64_t progress() const;
  std::string microcontroller_statistics() const { return microcontroller_->statistics(); }  // as in Microcontroller
  // The FPGA is selected, the serial clock stopped: the firmware waits for attention, which a WAIT may make long.
  bool waiting_for_attention() const { return hardware.spi_selected() && !hardware.spi_busy(); }

  const HostClock host_clock;
  Hardware hardware;
  Configuration configuration{hardware};

 private:
  std::unique_ptr<Microcontroller> microcontroller_;

 public:
  UsbBus bus;
};

}  // namespace twin
#endif
