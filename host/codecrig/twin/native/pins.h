// What hangs at the peripheral pins: a UART at the MIDI wires, a receiver at the S/PDIF pin. Both are written from their standards
// and share nothing with the RTL. They see edges only, so a quiet pin costs nothing.
#ifndef CODECRIG_TWIN_PINS_H
#define CODECRIG_TWIN_PINS_H

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "units.h"

namespace twin {

// MIDI: 31250 baud, 8 data bits, least significant first, 1 stop bit, idle high.
class MidiWires {
 public:
  struct Byte {
    uint64_t tick;  // of the falling edge of its start bit
    uint8_t value;
    bool stop_good;
  };

  // The board's output changed.
  void output_edge(bool level, uint64_t tick) {
    output_ = level;
    if (edges_.size() < EDGE_LIMIT) edges_.push_back(tick);
  }
  // Whole bytes that have left the board since the last call.
  std::vector<Byte> take(uint64_t now);

  // Sends bytes to the board's input, each at its tick or as soon behind it as the wire is free.
  void send(uint64_t now, uint64_t tick, uint8_t value);
  size_t pending() const { return input_.size(); }  // level changes to come

  // A cable from the board's output to its input. Bytes that are sent meanwhile pull the wire low too.
  bool looped = false;

  // The board's input: its level now, and the tick at which it moves by itself next.
  bool input_level() const { return sent_ && (!looped || output_); }
  uint64_t next_tick() const { return input_.empty() ? UINT64_MAX : input_.front().tick; }
  void drive(uint64_t now) {
    while (next_tick() <= now) {
      sent_ = input_.front().level;
      input_.pop_front();
    }
  }

 private:
  static constexpr uint64_t UNITS_PER_BIT = 1536000000 / 31250;
  static constexpr size_t EDGE_LIMIT = 16u << 20;
  struct Edge {
    uint64_t tick;
    bool level;
  };

  bool level_at(size_t first_edge, uint64_t units) const;

  std::vector<uint64_t> edges_;  // of the output: falling, rising, falling ...; the first one is falling
  bool output_ = true;
  std::deque<Edge> input_;
  uint64_t input_free_ = 0;  // units
  bool sent_ = true;
};

// S/PDIF (IEC 60958): finds the length of a half cell by the longest gap, then frames by their preambles.
class SpdifReceiver {
 public:
  enum Flag : uint8_t { STATUS_LEFT = 1, STATUS_RIGHT = 2, INVALID_LEFT = 4, INVALID_RIGHT = 8, USER_LEFT = 16, USER_RIGHT = 32, BLOCK = 64, BAD_PARITY = 128 };
  struct Frames {
    std::vector<int32_t> samples;  // left, right: 24 bits, left-justified
    std::vector<uint8_t> flags;    // one byte a frame
    uint64_t first_tick = 0;       // at which the preamble of the first frame began
    uint64_t errors = 0;           // gaps, preambles and cells that the standard does not know
    uint32_t half_cell_ticks = 0;  // 0: no carrier was seen
  };

  void start();
  void stop() { tapping_ = false; }
  bool tapping() const { return tapping_; }
  Frames take();

  void edge(uint64_t tick) {
    if (tapping_) gap(tick, tick - last_tick_);
    last_tick_ = tick;
  }

 private:
  static constexpr size_t FRAME_LIMIT = 8u << 20;
  static constexpr uint32_t LEARNING_GAPS = 256;  // more than two subframes have, so a preamble is among them
  enum class State { learn, hunt, preamble, cell };

  void gap(uint64_t tick, uint64_t ticks);
  void fail();
  void preamble();
  void bit(bool value);
  void subframe();

  bool tapping_ = false;
  uint64_t last_tick_ = 0;
  State state_ = State::learn;
  uint32_t learnt_ = 0;
  uint64_t longest_ = 0;
  uint32_t half_ = 0;
  uint32_t lengths_ = 0, count_ = 0;  // of the preamble, four bits each
  bool half_one_ = false;
  uint32_t bits_ = 0, bit_count_ = 0;
  uint64_t start_ = 0, left_start_ = 0;  // of the preamble
  bool right_ = false, block_ = false, have_left_ = false;
  int32_t left_ = 0;
  uint8_t flags_ = 0;
  Frames frames_;
};

}  // namespace twin
#endif
