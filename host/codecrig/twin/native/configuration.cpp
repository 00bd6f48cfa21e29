#include "configuration.h"

namespace twin {

void Configuration::reset(bool held, Units now) {
  if (held == held_) return;
  held_ = held;
  done_ = false;
  if (!held) {
    slave_ = selected_;
    broken_ = synchronised_ = false;
    released_ = now;
    last_bytes_ = 0;
    lead_bytes_ = stream_bytes_ = tail_bytes_ = 0;
  }
}

void Configuration::clock_in(const uint8_t* bytes, uint64_t length, Units now) {
  if (held_ || !slave_ || done_) return;
  if (now - released_ < CLEARING) broken_ = true;
  if (!selected_ && stream_bytes_ == 0) {
    lead_bytes_ += length;
  } else if (!selected_) {
    tail_bytes_ += length;
    // Up to 100 clocks until CDONE rises, 49 more until the design has the pins.
    done_ = !broken_ && synchronised_ && stream_bytes_ >= BITSTREAM_BYTES && tail_bytes_ * 8 >= 149;
  } else {
    if (lead_bytes_ == 0) broken_ = true;
    stream_bytes_ += length;
    for (uint64_t index = 0; index < length; ++index) {
      last_bytes_ = last_bytes_ << 8 | bytes[index];
      synchronised_ = synchronised_ || last_bytes_ == 0x7EAA997E;
    }
  }
}

}  // namespace twin
