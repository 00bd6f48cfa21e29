#include "codec.h"

#include <utility>

namespace twin {

void Codec::set(const CodecSettings& settings) { settings_ = settings; }

void Codec::set_fault(LineFault dac_line, LineFault adc_line) {
  // An open line into the codec is pulled down there; a swap of channels is a matter of the ADC's side only.
  dac_fault_ = dac_line == LineFault::open ? LineFault::stuck0 : dac_line == LineFault::swap ? LineFault::none : dac_line;
  adc_fault_ = adc_line;
  faulty_ = faults_.any() || dac_fault_ != LineFault::none || adc_fault_ != LineFault::none;
}

void Codec::set_faults(const CodecFaults& faults) {
  faults_ = faults;
  late_in_ = late_out_ = false;
  faulty_ = faults_.any() || dac_fault_ != LineFault::none || adc_fault_ != LineFault::none;
}

// The same as the sound codec, behind what is wrong with its wires.
bool Codec::faulty_edge(bool bclk, bool lrck, bool dac_data, uint64_t tick) {
  if (dac_fault_ != LineFault::none) dac_data = dac_fault_ == LineFault::stuck1;
  if (faults_.word_clock != LineFault::none) lrck = faults_.word_clock == LineFault::stuck1;
  bool level = adc_level_;
  if (faults_.bit_clock == LineFault::none) {
    if (faults_.inverted) {
      bclk = !bclk;
      // It takes the line in the moment in which the line moves: either level.
      const bool before = last_dac_line_;
      last_dac_line_ = dac_data;
      if (bclk && before != dac_data && (random() >> 63) != 0) dac_data = before;
    }
    if (faults_.slot != 0) edge_off_slot(bclk, lrck, dac_data, tick);
    else edge(bclk, lrck, dac_data, tick);
    level = adc_level_;
    if (faults_.inverted) {  // and so does the other side
      const bool before = last_adc_line_;
      last_adc_line_ = level;
      if (!bclk && before != level && (random() >> 63) != 0) level = before;
    }
  }
  if (faults_.dead) level = false;
  if (adc_fault_ == LineFault::none || adc_fault_ == LineFault::swap) return level;
  return faulty_adc_level();
}

void Codec::edge_off_slot(bool bclk, bool lrck, bool dac_data, uint64_t tick) {
  if (faults_.slot < 0) {
    if (!bclk && lrck != last_lrck_) {  // the first bit comes with the word clock's edge
      last_lrck_ = lrck;
      fall_tick_ = tick;
      word_clock_edge(lrck, tick);
      bit_ = 0;
    }
    edge(bclk, lrck, dac_data, tick);
    return;
  }
  if (bclk && lrck != last_lrck_) {
    edge(bclk, lrck, dac_data, tick);
    late_in_ = late_out_ = true;
  } else if (bclk && late_in_) {
    late_in_ = false;
  } else if (!bclk && late_out_) {
    late_out_ = false;
    adc_level_ = false;
  } else {
    edge(bclk, lrck, dac_data, tick);
  }
}

void Codec::tap_start() {
  tapping_ = true;
  tap_.clear();
  tap_dropped_ = 0;
  tap_adc_frames_ = 0;
}

std::vector<int32_t> Codec::tap_take(uint64_t& tick, uint64_t& dropped_frames) {
  tick = tap_tick_;
  dropped_frames = std::exchange(tap_dropped_, 0);
  return std::exchange(tap_, {});
}

void Codec::word_clock_edge(bool lrck, uint64_t tick) {
  if (!lrck) {  // a frame begins with its left word; the word clock fell with the bit clock, unless the clocks stood still
    synchronised_ = true;
    frame_tick_ = tick - fall_tick_ <= LONGEST_HALF_BIT ? fall_tick_ : tick;
    adc_ = next_adc_frame();
    if (tapping_ && !faults_.dead && (adc_.left | adc_.right) != 0) ++tap_adc_frames_;
  }
  const bool right = lrck != (adc_fault_ == LineFault::swap);
  shift_out_ = static_cast<uint32_t>(right ? adc_.right : adc_.left) << 8;
}

void Codec::word_complete(bool lrck) {
  const int32_t sample = static_cast<int32_t>(shift_in_ << 8) >> 8;
  if (!lrck) {
    dac_.left = sample;
    return;
  }
  dac_.right = sample;
  if (!synchronised_) return;  // clocks began in the middle of a frame
  if (!faults_.dead) {
    ++frames_;
    delay_line_[++delay_index_ % delay_line_.size()] = dac_;
  }
  if (!tapping_) return;
  if (tap_.size() >= TAP_LIMIT) {
    ++tap_dropped_;
    return;
  }
  if (tap_.empty()) tap_tick_ = frame_tick_;
  tap_.push_back(dac_.left * 256);
  tap_.push_back(dac_.right * 256);
}

StereoSample Codec::next_adc_frame() {
  if (!injected_.empty()) {
    StereoSample frame = injected_.front();
    injected_.pop_front();
    return frame;
  }
  StereoSample heard;
  if (settings_.connected && delay_index_ >= settings_.delay_frames)
    heard = delay_line_[(delay_index_ - settings_.delay_frames) % delay_line_.size()];
  const int32_t left = analog(heard.left);
  return {left, analog(heard.right)};
}

int32_t Codec::analog(int32_t sample) {
  constexpr int64_t MAXIMUM = (1 << 23) - 1;
  int64_t value = (static_cast<int64_t>(sample) * settings_.gain_q16 + 32768) >> 16;
  value += settings_.dc_lsb;
  if (settings_.noise_lsb != 0) {
    const uint64_t bits = random();
    const int64_t triangle = static_cast<int64_t>(bits >> 48) - static_cast<int64_t>((bits >> 32) & 0xffff);
    value += (triangle * settings_.noise_lsb + 32768) >> 16;
  }
  if (value > MAXIMUM) value = MAXIMUM;
  if (value < -MAXIMUM - 1) value = -MAXIMUM - 1;
  return static_cast<int32_t>(value);
}

bool Codec::faulty_adc_level() {
  switch (adc_fault_) {
    case LineFault::stuck0: return false;
    case LineFault::stuck1: return true;
    default: return (random() >> 63) != 0;  // open: a floating input picks up anything
  }
}

uint64_t Codec::random() {  // splitmix64
  uint64_t value = noise_state_ += 0x9e3779b97f4a7c15ull;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ull;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebull;
  return value ^ (value >> 31);
}

}  // namespace twin
