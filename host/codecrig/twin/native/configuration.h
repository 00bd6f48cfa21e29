// The configuration port of the FPGA (iCE40 UltraPlus in slave SPI mode), as far as the rig's firmware can tell: it clears itself when
// reset, takes a bitstream, and raises CDONE. What runs behind CDONE is the Verilated RTL, if the bitstream is one of this project: its
// comment then says `codecrig BOARD build XXXXXXXX`, and that is the number in FPGA_BUILD. Any other one leaves the pins at rest.
//
// Rules of the port that are checked: chip select low as reset ends, 1.2 ms before the first clock, 8 clocks with chip select high before
// the bitstream. Of the bitstream: its synchronisation word, its commands (as the open iCE40 tools document them), the size of the
// configuration memory, the CRC, and the wake-up command. A stream that breaks one does not raise CDONE.
#ifndef CODECRIG_TWIN_CONFIGURATION_H
#define CODECRIG_TWIN_CONFIGURATION_H

#include <cstdint>
#include <string>

#include "hardware.h"
#include "units.h"

namespace twin {

class Configuration {
 public:
  // What may be wrong around the chip: no chip, with the pull-up alone at CDONE; or a chip that never becomes ready.
  enum class Fault { none, absent, not_done };

  explicit Configuration(Hardware& hardware) : hardware_(hardware) {}

  bool done() const { return fault_ == Fault::none ? done_ : fault_ == Fault::absent; }
  // By the bench: nothing in the chip, or the design that it had at power-up.
  void set_done(bool done);
  // By the bench: another design in the chip, ready, that has this number; or one that is none of ours.
  void set_design(uint32_t build);
  void set_foreign_design();
  void set_fault(Fault fault);
  void mend();

  void reset(bool held, Units now);
  void select(bool selected) { selected_ = selected; }
  void clock_in(const uint8_t* bytes, uint64_t length, Units now);

 private:
  static constexpr Units CLEARING = 1200 * UNITS_PER_MICROSECOND;
  static constexpr uint32_t CRAM_WIDTH = 692;  // of an iCE40UP5K
  static constexpr size_t COMMENT_LIMIT = 4096;

  void take(uint8_t byte);
  void command();
  void wake();

  Hardware& hardware_;
  Fault fault_ = Fault::none;
  bool done_ = true;  // powered up from flash
  bool held_ = false;
  bool selected_ = false;
  bool slave_ = false;
  bool broken_ = false;
  Units released_ = 0;
  uint64_t lead_bytes_ = 0;
  uint64_t tail_bytes_ = 0;

  enum class Step { comment, command, payload, data, end, awake } step_ = Step::comment;
  std::string comment_;
  uint32_t last_bytes_ = 0;
  uint32_t crc_ = 0xFFFF;
  uint8_t command_ = 0;
  uint32_t payload_ = 0, payload_left_ = 0;
  uint64_t data_left_ = 0;
  uint32_t width_ = 0, height_ = 0;
  bool has_memory_ = false, checked_ = false;
};

}  // namespace twin
#endif
