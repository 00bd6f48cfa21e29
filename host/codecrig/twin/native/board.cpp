#include "board.h"

#include <algorithm>
#include <stdexcept>

namespace twin {
namespace {

// More rounds of the firmware's main loop than any real burst of work needs: it is stuck.
constexpr int MAX_FIRMWARE_ROUNDS = 1000000;

Board& board_of(void* context) { return *static_cast<Board*>(context); }

}  // namespace

Board::Board(const Settings& settings)
    : host_clock(settings.clock_ppm_micro), hardware(settings.trace_file), platform_{}, bus(host_clock, [this] { run_firmware(); }) {
  platform_.context = this;
  platform_.spi_start = [](void* context, const uint8_t* tx, uint8_t* rx, uint32_t length) {
    board_of(context).hardware.spi_start(tx, rx, length);
  };
  platform_.spi_busy = [](void* context) { return board_of(context).hardware.spi_busy(); };
  platform_.spi_select = [](void* context, bool selected) { board_of(context).hardware.spi_select(selected); };
  platform_.attention = [](void* context) { return board_of(context).hardware.attention(); };
  platform_.fpga_done = [](void* context) { return board_of(context).fpga_configured; };
  platform_.time_us = [](void* context) -> uint64_t { return board_of(context).hardware.now() / UNITS_PER_MICROSECOND; };
  native_init(&platform_, settings.serial);
  run_firmware();
}

void Board::run_firmware() {
  int rounds = 0;
  while (native_task()) {
    if (++rounds > MAX_FIRMWARE_ROUNDS) throw std::runtime_error("the firmware's main loop never comes to rest");
  }
  if (rounds != 0) bus.firmware_ran();
}

void Board::run(Units span) {
  const Units end = hardware.now() + span;
  while (bus.wants_time() && hardware.now() < end) {
    const uint64_t deadline_us = native_deadline_us();
    const Units deadline = deadline_us > NEVER / UNITS_PER_MICROSECOND
                               ? NEVER
                               : std::max(deadline_us * UNITS_PER_MICROSECOND, hardware.now());
    const Units packet = bus.next_event(hardware.now());
    if (hardware.advance(std::min({end, packet, deadline}))) run_firmware();
    if (hardware.now() >= deadline) run_firmware();
    if (hardware.now() >= packet) bus.run_event();
    service_console();
  }
}

uint64_t Board::progress() const {
  return hardware.spi_bytes() + bus.counters().out_bytes + bus.counters().in_bytes + bus.counters().busy_units;
}

}  // namespace twin
