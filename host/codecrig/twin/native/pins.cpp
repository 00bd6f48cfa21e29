#include "pins.h"

#include <algorithm>
#include <utility>

namespace twin {

bool MidiWires::level_at(size_t first_edge, uint64_t units) const {
  bool level = false;  // behind first_edge, a falling one
  for (size_t index = first_edge + 1; index < edges_.size() && edges_[index] * UNITS_PER_TICK <= units; ++index) level = !level;
  return level;
}

std::vector<MidiWires::Byte> MidiWires::take(uint64_t now) {
  std::vector<Byte> bytes;
  size_t start = 0;  // always a falling edge
  while (start < edges_.size()) {
    const uint64_t begin = edges_[start] * UNITS_PER_TICK;
    const auto middle = [begin](uint64_t bit) { return begin + bit * UNITS_PER_BIT + UNITS_PER_BIT / 2; };
    if (middle(9) > now * UNITS_PER_TICK) break;
    if (!level_at(start, middle(0))) {  // else a glitch
      size_t last = start;  // falling edge of this byte
      while (last + 2 < edges_.size() && edges_[last + 2] * UNITS_PER_TICK < middle(9)) last += 2;
      if (last + 1 == edges_.size()) break;  // still low: a break, over when the wire is high
      Byte byte{edges_[start], 0, level_at(start, middle(9))};
      for (uint64_t bit = 0; bit < 8; ++bit) byte.value = static_cast<uint8_t>(byte.value | level_at(start, middle(bit + 1)) << bit);
      bytes.push_back(byte);
      start = last;
    }
    start += 2;
  }
  edges_.erase(edges_.begin(), edges_.begin() + static_cast<std::ptrdiff_t>(std::min(start, edges_.size())));
  return bytes;
}

void MidiWires::send(uint64_t now, uint64_t tick, uint8_t value) {
  const uint64_t begin = std::max(std::max(tick, now + 1) * UNITS_PER_TICK, input_free_);
  const uint32_t levels = 1u << 9 | static_cast<uint32_t>(value) << 1;
  bool level = true;
  for (uint64_t bit = 0; bit < 10; ++bit) {
    const bool next = (levels >> bit & 1) != 0;
    if (next != level) input_.push_back({(begin + bit * UNITS_PER_BIT + UNITS_PER_TICK - 1) / UNITS_PER_TICK, next});
    level = next;
  }
  input_free_ = begin + 10 * UNITS_PER_BIT;
}

void SpdifReceiver::start() {
  frames_ = {};
  tapping_ = true;
  state_ = State::learn;
  learnt_ = 0;
  longest_ = 0;
  have_left_ = false;
}

SpdifReceiver::Frames SpdifReceiver::take() {
  Frames taken = std::exchange(frames_, {});
  frames_.half_cell_ticks = taken.half_cell_ticks;
  return taken;
}

void SpdifReceiver::fail() {
  ++frames_.errors;
  state_ = State::learn;
  learnt_ = 0;
  longest_ = 0;
  have_left_ = false;
}

void SpdifReceiver::gap(uint64_t tick, uint64_t ticks) {
  if (state_ == State::learn) {
    // The first gap may be the pause before the carrier.
    if (learnt_ != 0) longest_ = std::max(longest_, ticks);
    if (++learnt_ <= LEARNING_GAPS) return;
    if (longest_ == 0 || longest_ % 3 != 0 || longest_ > 3 * 12) return fail();
    frames_.half_cell_ticks = half_ = static_cast<uint32_t>(longest_ / 3);
    state_ = State::hunt;
    return;
  }
  if (ticks % half_ != 0 || ticks > 3 * half_) return fail();
  const uint32_t length = static_cast<uint32_t>(ticks / half_);
  switch (state_) {
    case State::hunt:
      if (length != 3) return;
      start_ = tick - ticks;
      lengths_ = 3;
      count_ = 1;
      state_ = State::preamble;
      return;
    case State::preamble:
      lengths_ = lengths_ << 4 | length;
      if (++count_ == 4) preamble();
      return;
    default:
      if (bit_count_ == 28) {  // the next preamble begins
        if (length != 3) return fail();
        start_ = tick - ticks;
        lengths_ = 3;
        count_ = 1;
        state_ = State::preamble;
      } else if (half_one_) {
        if (length != 1) return fail();
        half_one_ = false;
        bit(true);
      } else if (length == 2) {
        bit(false);
      } else if (length == 1) {
        half_one_ = true;
      } else {
        fail();
      }
  }
}

void SpdifReceiver::preamble() {
  constexpr uint32_t B = 0x3113, M = 0x3311, W = 0x3212;
  if (lengths_ != B && lengths_ != M && lengths_ != W) return fail();
  right_ = lengths_ == W;
  block_ = lengths_ == B;
  if (!right_) left_start_ = start_;
  bits_ = 0;
  bit_count_ = 0;
  half_one_ = false;
  state_ = State::cell;
}

void SpdifReceiver::bit(bool value) {
  bits_ |= static_cast<uint32_t>(value) << bit_count_;
  if (++bit_count_ == 28) subframe();
}

void SpdifReceiver::subframe() {
  const int32_t sample = static_cast<int32_t>(bits_ << 8);
  const bool valid = (bits_ >> 24 & 1) == 0, user = (bits_ >> 25 & 1) != 0, status = (bits_ >> 26 & 1) != 0;
  const uint8_t parity = __builtin_parity(bits_ & 0xFFFFFFF) != 0 ? BAD_PARITY : 0;
  if (!right_) {
    left_ = sample;
    flags_ = static_cast<uint8_t>((status ? STATUS_LEFT : 0) | (valid ? 0 : INVALID_LEFT) | (user ? USER_LEFT : 0) | (block_ ? BLOCK : 0) | parity);
    have_left_ = true;
    return;
  }
  if (!have_left_) return;
  have_left_ = false;
  if (frames_.flags.size() >= FRAME_LIMIT) return;
  if (frames_.flags.empty()) frames_.first_tick = left_start_;
  frames_.samples.push_back(left_);
  frames_.samples.push_back(sample);
  frames_.flags.push_back(static_cast<uint8_t>(flags_ | (status ? STATUS_RIGHT : 0) | (valid ? 0 : INVALID_RIGHT) | (user ? USER_RIGHT : 0) | parity));
}

}  // namespace twin
