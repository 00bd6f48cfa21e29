#include "board.h"

#include <algorithm>

#include "emulated_firmware.h"
#include "native_firmware.h"

namespace twin {
namespace {

std::unique_ptr<Microcontroller> make_microcontroller(Board& board, const Board::Settings& settings) {
  if (settings.emulator.empty()) return std::make_unique<NativeFirmware>(board.hardware, board.configuration, settings.serial);
  return std::make_unique<EmulatedFirmware>(board.hardware, board.configuration, board.host_clock, settings.emulator, settings.firmware,
                                            settings.serial);
}

}  // namespace

Board::Board(const Settings& settings)
    : host_clock(settings.clock_ppm_micro),
      hardware(settings.trace_file, settings.defect),
      microcontroller_(make_microcontroller(*this, settings)),
      bus(host_clock, *microcontroller_) {}

void Board::run(Units span) {
  const Units end = hardware.now() + span;
  while (bus.wants_time() && hardware.now() < end) {
    const Units packet = bus.next_event(hardware.now());
    if (microcontroller_->advance(std::min(end, packet))) bus.firmware_ran();
    if (hardware.now() >= packet) bus.run_event();
    service_console();
  }
}

uint64_t Board::progress() const {
  return hardware.spi_bytes() + bus.counters().out_bytes + bus.counters().in_bytes + bus.counters().busy_units;
}

}  // namespace twin
