// Time in the twin: integer units of 1/1536 MHz of board time, and the exact map between board and host clocks.
// Nothing here rounds through floating point, so a run gives the same times on every machine.
#ifndef CODECRIG_TWIN_UNITS_H
#define CODECRIG_TWIN_UNITS_H

#include <cstdint>

namespace twin {

using Units = uint64_t;  // 1/1536 MHz of board time since the FPGA left reset

constexpr Units UNITS_PER_MICROSECOND = 1536;
constexpr Units UNITS_PER_TICK = 125;        // system clock, 12.288 MHz
constexpr Units UNITS_PER_SCK_HALF = 50;     // serial clock, 15.36 MHz
constexpr uint64_t HOST_UNITS_PER_BIT = 128; // full-speed bit, 12 Mbit/s, in units of HOST time
constexpr uint64_t HOST_UNITS_PER_FRAME = 1536000;
constexpr Units NEVER = UINT64_MAX;

// The USB host's clock. The board's clock runs fast by clock_ppm against it: one host second lasts
// 1536e6 * (1 + ppm / 1e6) board units. Times on the host's scale are "host units", 1/1536 MHz of host time.
class HostClock {
 public:
  explicit HostClock(int64_t ppm_micro) : ratio_(ONE + static_cast<uint64_t>(ppm_micro)) {}

  // Board time at which the host clock shows host_units (rounded down).
  Units to_board(uint64_t host_units) const {
    return static_cast<Units>(static_cast<unsigned __int128>(host_units) * ratio_ / ONE);
  }
  // First host time that is not before this board time.
  uint64_t to_host(Units board) const {
    return static_cast<uint64_t>((static_cast<unsigned __int128>(board) * ONE + ratio_ - 1) / ratio_);
  }
  uint64_t nanoseconds(Units board) const {  // host_units * 125 / 192, rounded down once
    return static_cast<uint64_t>(static_cast<unsigned __int128>(board) * ONE * 125 / 192 / ratio_);
  }

 private:
  static constexpr uint64_t ONE = 1000000000000ull;
  uint64_t ratio_;
};

}  // namespace twin
#endif
