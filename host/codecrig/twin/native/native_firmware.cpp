#include "native_firmware.h"

#include <algorithm>
#include <stdexcept>

namespace twin {
namespace {

// More rounds of the firmware's main loop than any real burst of work needs: it is stuck.
constexpr int MAX_ROUNDS = 1000000;
// The configuration port is clocked as fast as the serial link.
constexpr Units UNITS_PER_CONFIG_BYTE = 16 * UNITS_PER_SCK_HALF;

NativeFirmware* the_one = nullptr;  // the firmware has static state: there is one in a process

}  // namespace

NativeFirmware::NativeFirmware(Hardware& hardware, Configuration& configuration, uint64_t serial)
    : hardware_(hardware), configuration_(configuration), serial_(serial) {
  the_one = this;
  platform_.context = this;
  platform_.spi_start = [](void*, const uint8_t* tx, uint8_t* rx, uint32_t length) { the_one->hardware_.spi_start(tx, rx, length); };
  platform_.spi_busy = [](void*) { return the_one->hardware_.spi_busy(); };
  platform_.spi_select = [](void*, bool selected) { the_one->hardware_.spi_select(selected); };
  platform_.attention = [](void*) { return the_one->hardware_.attention(); };
  platform_.fpga_done = [](void*) { return the_one->configuration_.done(); };
  platform_.time_us = [](void*) -> uint64_t { return the_one->hardware_.now() / UNITS_PER_MICROSECOND; };
  platform_.fpga_reset = [](void*, bool held) { the_one->configuration_.reset(held, the_one->hardware_.now()); };
  platform_.fpga_config_select = [](void*, bool selected) { the_one->configuration_.select(selected); };
  platform_.fpga_config_send = [](void*, const uint8_t* bytes, uint32_t length) {
    the_one->configuration_.clock_in(bytes, length, the_one->hardware_.now());
    the_one->config_end_ = the_one->hardware_.now() + length * UNITS_PER_CONFIG_BYTE;
  };
  platform_.fpga_config_busy = [](void*) { return the_one->hardware_.now() < the_one->config_end_; };
  platform_.boot_loader = [](void*) { the_one->left_ = true; };
  power_up();
}

void NativeFirmware::power_up() {
  left_ = false;
  config_end_ = 0;
  hardware_.spi_select(false);
  native_init(&platform_, serial_);
  act();
}

bool NativeFirmware::act() {
  int rounds = 0;
  while (!left_ && native_task()) {
    if (++rounds > MAX_ROUNDS) throw std::runtime_error("the firmware's main loop never comes to rest");
  }
  return rounds != 0;
}

bool NativeFirmware::advance(Units until) {
  const uint64_t deadline_us = native_deadline_us();
  Units deadline =
      deadline_us > NEVER / UNITS_PER_MICROSECOND ? NEVER : std::max(deadline_us * UNITS_PER_MICROSECOND, hardware_.now());
  if (config_end_ > hardware_.now()) deadline = std::min(deadline, config_end_);
  bool worked = hardware_.advance(std::min(until, deadline)) && act();
  if (hardware_.now() >= deadline) worked = act() || worked;
  return worked;
}

}  // namespace twin
