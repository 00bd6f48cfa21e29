// The configuration port of the FPGA (iCE40 UltraPlus in slave SPI mode), as far as the rig's firmware can tell: it clears itself when
// reset, takes a bitstream, and raises CDONE. What runs behind CDONE is the Verilated RTL, whatever the bitstream holds.
//
// Rules of the port that are checked: chip select low as reset ends, 1.2 ms before the first clock, 8 clocks with chip select high before
// the bitstream, its synchronisation word and its length. A stream that breaks one does not raise CDONE.
#ifndef CODECRIG_TWIN_CONFIGURATION_H
#define CODECRIG_TWIN_CONFIGURATION_H

#include <cstdint>

#include "units.h"

namespace twin {

class Configuration {
 public:
  static constexpr uint64_t BITSTREAM_BYTES = 104090;  // of an iCE40UP5K

  bool done() const { return done_; }
  void set_done(bool done) { done_ = done; }  // by the bench: no bitstream, or the one in flash

  void reset(bool held, Units now);
  void select(bool selected) { selected_ = selected; }
  void clock_in(const uint8_t* bytes, uint64_t length, Units now);

 private:
  static constexpr Units CLEARING = 1200 * UNITS_PER_MICROSECOND;
  bool done_ = true;  // powered up from flash
  bool held_ = false;
  bool selected_ = false;
  bool slave_ = false;
  bool broken_ = false;
  bool synchronised_ = false;
  Units released_ = 0;
  uint32_t last_bytes_ = 0;
  uint64_t lead_bytes_ = 0;
  uint64_t stream_bytes_ = 0;
  uint64_t tail_bytes_ = 0;
};

}  // namespace twin
#endif
