// First, as rtl_model.h reaches into it: every generated source of the model, listed by builder.py.
#include "generated_model.inc"

#include "hardware.h"
#include "rtl_model.h"

#include <algorithm>
#include <initializer_list>

namespace twin {

Hardware::Hardware(const std::string& trace_file, int defect) : rtl_(new RtlModel(trace_file, defect)) {
  last_bclk_ = rtl_->pins().i2s_bclk;
  last_wires_ = wires();
  own_build_ = rtl_->build();
}

Hardware::~Hardware() = default;

bool Hardware::attention() const { return running_ && rtl_->pins().attention; }
bool Hardware::trigger_out() const { return rtl_->pins().trigger_out; }

void Hardware::set_trigger_in(bool level) {
  rtl_->pins().trigger_in = level;
  rtl_->settle(now_);
}

inline void Hardware::clock_edge() {
  ++ticks_;
  rtl_->clock_rises(next_clock_);
  next_clock_ += UNITS_PER_TICK;
  const auto& pins = rtl_->pins();
  if (pins.i2s_bclk != last_bclk_) {
    last_bclk_ = pins.i2s_bclk;
    const bool level = codec.bit_clock_edge(pins.i2s_bclk, pins.i2s_lrck, pins.i2s_dac_data, ticks_);
    if (level != static_cast<bool>(pins.i2s_adc_data)) {
      rtl_->pins().i2s_adc_data = level;
      rtl_->input_changed();
    }
  }
  const uint32_t now = wires();
  if (now != last_wires_) [[unlikely]] wires_moved(now);
  if (ticks_ >= chore_tick_) [[unlikely]] chores();
}

// Outputs that move seldom, in one word: one comparison a clock.
inline uint32_t Hardware::wires() const {
  const auto& pins = rtl_->pins();
  return static_cast<uint32_t>(pins.trigger_out) | static_cast<uint32_t>(pins.midi_tx) << 1 | static_cast<uint32_t>(pins.spdif_out) << 2 |
         static_cast<uint32_t>(pins.i2c_scl_low) << 3 | static_cast<uint32_t>(pins.i2c_sda_low) << 4;
}

[[gnu::noinline]] void Hardware::wires_moved(uint32_t now) {
  const uint32_t moved = now ^ last_wires_;
  last_wires_ = now;
  if ((moved & 4) != 0) spdif.edge(ticks_);
  if ((moved & 1) != 0 && trigger_edges_.size() < 65536) trigger_edges_.push_back(ticks_);
  if ((moved & 2) != 0) {
    midi_.output_edge((now & 2) != 0, ticks_);
    if (midi_.looped) drive_midi();
  }
  if ((moved & 24) != 0) {  // no device on the bus, pull-ups only
    rtl_->pins().i2c_scl = (now & 8) == 0;
    rtl_->pins().i2c_sda = (now & 16) == 0;
    rtl_->input_changed();
  }
}

[[gnu::noinline]] void Hardware::drive_midi() {
  midi_.drive(ticks_);
  midi_tick_ = midi_.next_tick();
  rtl_->pins().midi_rx = midi_.input_level();
  rtl_->input_changed();
  next_chore();
}

[[gnu::noinline]] void Hardware::chores() {
  for (const BrokenCell& cell : broken_cells_) {
    auto& word = rtl_->memory()[cell.word];
    word = (word & ~cell.mask) | cell.level;
  }
  if (ticks_ >= midi_tick_) drive_midi();
  if (ticks_ >= reset_tick_) {
    reset_tick_ = UINT64_MAX;
    ticks_ = 0;
    trigger_edges_.clear();
    rtl_->pins().rst = 0;
    rtl_->settle(now_);
  }
  next_chore();
}

void Hardware::next_chore() {
  chore_tick_ = broken_cells_.empty() ? std::min(midi_tick_, reset_tick_) : 0;
}

void Hardware::stop_design() {
  running_ = false;
  reset_tick_ = UINT64_MAX;
  midi_ = MidiWires();
  midi_tick_ = UINT64_MAX;
  rtl_->pins().midi_rx = 1;
  rtl_->pins().rst = 1;
  rtl_->settle(now_);
  next_chore();
}

void Hardware::start_design(uint32_t build) {
  constexpr uint64_t RESET_TICKS = 256;  // as hdl/top/pico_ice.sv
  stop_design();
  rtl_->set_build(build);
  running_ = true;
  reset_tick_ = ticks_ + RESET_TICKS;
  next_chore();
}

void Hardware::break_cell(uint32_t address, uint32_t bit, bool level) {
  const uint32_t mask = 1u << (address % 4 * 8 + bit);
  broken_cells_.push_back({address / 4, mask, level ? mask : 0});
  next_chore();
}

void Hardware::disturb_serial(bool to_fpga, uint32_t every) {
  disturb_every_[to_fpga] = every;
  disturb_count_[to_fpga] = 0;
}

void Hardware::mend() {
  broken_cells_.clear();
  disturb_serial(false, 0);
  disturb_serial(true, 0);
  next_chore();
}

namespace {

void disturb(uint8_t* bytes, uint32_t length, uint32_t every, uint64_t& count) {
  for (uint64_t bit = every - 1 - count % every; bit < length * 8ull; bit += every) bytes[bit / 8] ^= static_cast<uint8_t>(0x80 >> bit % 8);
  count += length * 8ull;
}

}  // namespace

[[gnu::noinline]] void Hardware::transfer_ended() {
  if (spi_rx_first_ == nullptr) return;
  if (!running_) std::fill_n(spi_rx_first_, spi_length_, uint8_t{0});
  if (disturb_every_[0] != 0) disturb(spi_rx_first_, spi_length_, disturb_every_[0], disturb_count_[0]);
}

void Hardware::midi_send(uint64_t tick, uint8_t value) {
  midi_.send(ticks_, tick, value);
  midi_tick_ = midi_.next_tick();
  next_chore();
}

void Hardware::midi_loop(bool looped) {
  midi_.looped = looped;
  drive_midi();
}

// Mode 0: data moves with the falling edge (and before the first rising one), both sides take it at the rising edge.
inline bool Hardware::serial_edge() {
  ++sck_edges_;
  auto& pins = rtl_->pins();
  const bool rising = !pins.spi_sck;
  const Units at = next_serial_;
  next_serial_ += UNITS_PER_SCK_HALF;
  if (rising) {
    spi_shift_in_ = static_cast<uint8_t>(spi_shift_in_ << 1 | pins.spi_miso);
    rtl_->serial_clock(true, at);
    return false;
  }
  if (++spi_bit_ == 8) {
    spi_bit_ = 0;
    ++spi_bytes_;
    if (spi_rx_ != nullptr) *spi_rx_++ = spi_shift_in_;
    if (--spi_left_ != 0) spi_shift_out_ = spi_tx_ != nullptr ? *spi_tx_++ : 0;
  } else {
    spi_shift_out_ = static_cast<uint8_t>(spi_shift_out_ << 1);
  }
  if (spi_left_ != 0) load_bit();
  rtl_->serial_clock(false, at);
  if (spi_left_ != 0) return false;
  spi_active_ = false;
  next_serial_ = NEVER;
  transfer_ended();
  return true;
}

inline void Hardware::load_bit() {
  const uint8_t bit = spi_shift_out_ >> 7;
  if (rtl_->pins().spi_mosi == bit) return;
  rtl_->pins().spi_mosi = bit;
  rtl_->input_changed();
}

bool Hardware::advance(Units until) {
  const auto& pins = rtl_->pins();
  const uint8_t attention = pins.attention;
  while (true) {
    if (!spi_active_) {
      while (next_clock_ <= until) {
        now_ = next_clock_;
        clock_edge();
        if (pins.attention != attention) return true;
      }
      break;
    }
    if (next_clock_ <= next_serial_) {
      if (next_clock_ > until) break;
      now_ = next_clock_;
      clock_edge();
    } else {
      if (next_serial_ > until) break;
      now_ = next_serial_;
      if (serial_edge()) return true;
    }
    if (pins.attention != attention) return true;
  }
  if (until > now_) now_ = until;
  return false;
}

void Hardware::spi_start(const uint8_t* tx, uint8_t* rx, uint32_t length) {
  if (length == 0) return;
  if (disturb_every_[1] != 0) {
    disturbed_tx_.assign(length, 0);
    if (tx != nullptr) std::copy_n(tx, length, disturbed_tx_.begin());
    disturb(disturbed_tx_.data(), length, disturb_every_[1], disturb_count_[1]);
    tx = disturbed_tx_.data();
  }
  spi_rx_first_ = rx;
  spi_length_ = length;
  spi_tx_ = tx;
  spi_rx_ = rx;
  spi_left_ = length;
  spi_shift_out_ = spi_tx_ != nullptr ? *spi_tx_++ : 0;
  spi_bit_ = 0;
  spi_active_ = true;
  next_serial_ = now_ + UNITS_PER_SCK_HALF;
  load_bit();
}

void Hardware::spi_select(bool selected) {
  selected_ = selected;
  rtl_->pins().spi_cs_n = !selected;
  rtl_->settle(now_);
}

namespace {

// Requests that make every part of the FPGA work: streams and converter run, events are posted, memory is moved.
class Stimulus {
 public:
  explicit Stimulus(uint64_t seed) : state_(seed * 2 + 1) {}

  uint32_t below(uint32_t limit) {
    state_ = state_ * 6364136223846793005ull + 1442695040888963407ull;
    return static_cast<uint32_t>((state_ >> 33) % limit);
  }

  // One request with filler behind it for the reply.
  std::vector<uint8_t> request() {
    constexpr uint32_t RING = 0x1F000;
    const uint32_t stream = below(2);
    const uint32_t block = 0x40001000 + stream * 0x100;
    const uint32_t descriptor = RING + stream * 0x100 + below(4) * 16;
    switch (below(19)) {
      case 0: return write(0x40000050, {1u | below(8) / 7 << 1 | below(3) << 4});
      case 1: return write(block, {below(8) == 0 ? 0u : 3u});
      case 2: return write(block + 4, {stream | (1 + below(3)) << 2 | below(2) << 4, RING + stream * 0x100, 4});
      case 3:
      case 4: return write(descriptor, {stream * 0x4000 + below(64) * 4, 8 + below(200), below(9), 5});
      case 5: return write(block + 0x14, {15});
      case 6: return write(block + 0x10, {15});
      case 7: return write(0x40000060, {below(2) | 2u | below(2) << 2});
      case 8: return write(below(0x8000), {below(1u << 30), below(1u << 30), below(1u << 30)});
      case 9: return read(below(0x8000), 1 + below(60));
      case 10: return read(block, 4 * (1 + below(28)));
      case 11: return read(0x40000000, 4 * (1 + below(36)));
      case 12: return write(block + 0x40, {0});
      case 13: return write(0x40002000, {below(8)});                   // MIDI: gate, hold, loop
      case 14: return write(0x40002800 + below(128) * 8, {0, below(256)});
      case 15: return write(0x4000200C, {below(160)});
      case 16: return write(0x40002100, {1u | below(16), below(4096)});  // S/PDIF
      case 17: return write(0x40002204, {below(0x2000)});                // I2C
      default: return below(2) == 0 ? read(0x40008000 + below(500) * 4, 32) : read(0x40002000 + below(0xC00) * 4, 32);
    }
  }

  static std::vector<uint8_t> header(uint8_t operation, uint32_t address, uint32_t length) {
    std::vector<uint8_t> bytes = {0xA5, operation, 1, 2};
    for (int shift = 0; shift < 32; shift += 8) bytes.push_back(static_cast<uint8_t>(address >> shift));
    bytes.push_back(static_cast<uint8_t>(length));
    bytes.push_back(static_cast<uint8_t>(length >> 8));
    bytes.push_back(0);
    uint8_t check = 0xFF;
    for (const uint8_t byte : bytes) check ^= byte;
    bytes.push_back(check);
    return bytes;
  }
  static std::vector<uint8_t> read(uint32_t address, uint32_t length) {
    std::vector<uint8_t> bytes = header(0x21, address, length);
    bytes.resize(bytes.size() + length + 30);
    return bytes;
  }
  static std::vector<uint8_t> write(uint32_t address, std::initializer_list<uint32_t> words) {
    std::vector<uint8_t> bytes = header(0x42, address, static_cast<uint32_t>(words.size() * 4));
    for (const uint32_t word : words)
      for (int shift = 0; shift < 32; shift += 8) bytes.push_back(static_cast<uint8_t>(word >> shift));
    bytes.resize(bytes.size() + 30);
    return bytes;
  }

 private:
  uint64_t state_;
};

}  // namespace

std::string Hardware::self_check(uint64_t edges, uint64_t seed) {
  RtlModel fast("");
  RtlModel plain("");
  Stimulus stimulus(seed);
  auto both = [&](auto action) {
    action(fast.pins());
    action(plain.pins());
  };
  std::vector<uint8_t> bytes;
  size_t bit = 0;
  uint32_t pause = 0;
  uint64_t attentions = 0, frames = 0;
  for (uint64_t edge = 0; edge < edges; ++edge) {
    const uint32_t choice = stimulus.below(70);
    const bool sending = bit < bytes.size() * 8;
    if (choice < 20 || (choice < 66 && !sending)) {
      const bool lrck = fast.pins().i2s_lrck;
      const bool attention = fast.pins().attention;
      fast.clock_rises(edge);
      plain.pins().clk = 1;
      plain.plain();
      plain.pins().clk = 0;
      plain.plain();
      frames += lrck && !fast.pins().i2s_lrck;
      attentions += !attention && fast.pins().attention;
      if (!sending && ++pause > 20) {
        pause = 0;
        const bool release = fast.pins().spi_cs_n == 0;
        both([release](auto& pins) { pins.spi_cs_n = release; });
        fast.settle(edge);
        plain.plain();
        if (!release) {
          bytes = stimulus.request();
          bit = 0;
        }
      }
    } else if (choice < 66) {
      const bool level = !fast.pins().spi_sck;
      if (!level) ++bit;
      if (bit < bytes.size() * 8) {
        const uint8_t next = bytes[bit / 8] >> (7 - bit % 8) & 1;
        both([next](auto& pins) { pins.spi_mosi = next; });
        fast.input_changed();
        plain.plain();
      }
      fast.serial_clock(level, edge);
      plain.pins().spi_sck = level;
      plain.plain();
    } else if (choice < 69) {
      const uint8_t level = static_cast<uint8_t>(stimulus.below(2));
      both([level](auto& pins) { pins.i2s_adc_data = level; });
      fast.input_changed();
      plain.plain();
    } else if (stimulus.below(50) == 0) {
      const uint8_t levels = static_cast<uint8_t>(stimulus.below(16));
      both([levels](auto& pins) {
        pins.trigger_in = levels & 1;
        pins.midi_rx = levels >> 1 & 1;
        pins.i2c_scl = levels >> 2 & 1;
        pins.i2c_sda = levels >> 3 & 1;
      });
      fast.settle(edge);
      plain.plain();
    }
    auto& a = fast.pins();
    auto& b = plain.pins();
    const char* name = a.spi_miso != b.spi_miso           ? "spi_miso"
                       : a.attention != b.attention       ? "attention"
                       : a.i2s_bclk != b.i2s_bclk         ? "i2s_bclk"
                       : a.i2s_lrck != b.i2s_lrck         ? "i2s_lrck"
                       : a.i2s_dac_data != b.i2s_dac_data ? "i2s_dac_data"
                       : a.trigger_out != b.trigger_out   ? "trigger_out"
                       : a.midi_tx != b.midi_tx           ? "midi_tx"
                       : a.spdif_out != b.spdif_out       ? "spdif_out"
                       : a.i2c_scl_low != b.i2c_scl_low   ? "i2c_scl_low"
                       : a.i2c_sda_low != b.i2c_sda_low   ? "i2c_sda_low"
                                                          : nullptr;
    if (name != nullptr) return std::string(name) + " differs after edge " + std::to_string(edge);
  }
  if (edges > 200000 && (attentions < 10 || frames < 10))
    return "the check exercised too little: " + std::to_string(attentions) + " replies, " + std::to_string(frames) + " frames";
  return "";
}

uint64_t Hardware::exercise(uint64_t ticks) {
  constexpr uint32_t FRAMES = 960, RING = 0x1F000, STREAMS = 0x40001000;
  Hardware hardware("");
  std::vector<uint8_t> reply;
  auto transfer = [&](const std::vector<uint8_t>& bytes) {
    reply.resize(bytes.size());
    hardware.spi_select(true);
    hardware.spi_start(bytes.data(), reply.data(), static_cast<uint32_t>(bytes.size()));
    while (hardware.spi_busy()) hardware.advance(hardware.now() + UNITS_PER_TICK * 100000);
    hardware.spi_select(false);
    hardware.advance(hardware.now() + 20 * UNITS_PER_TICK);
  };
  hardware.advance(2000 * UNITS_PER_TICK);  // the engine clears its contexts first
  for (uint32_t stream = 0; stream < 2; ++stream) {
    for (uint32_t number = 0; number < 4; ++number)
      transfer(Stimulus::write(RING + stream * 0x100 + number * 16, {stream * 0x8000 + number * FRAMES * 8, FRAMES * 8, number, 5}));
    transfer(Stimulus::write(STREAMS + stream * 0x100 + 4, {stream | 3u << 2 | 1u << 4, RING + stream * 0x100, 4}));
    transfer(Stimulus::write(STREAMS + stream * 0x100 + 0x14, {15}));
  }
  transfer(Stimulus::write(0x40000050, {1}));
  transfer(Stimulus::write(STREAMS + 0x100, {3}));
  transfer(Stimulus::write(STREAMS, {3}));
  for (uint32_t turn = 0; hardware.ticks() < ticks; ++turn) {
    const Units begin = hardware.now();
    const uint32_t address = turn / 2 % 30 * 1024;
    if (turn % 2 == 0) {
      transfer(Stimulus::read(0x8000 + address, 1024));
    } else {
      std::vector<uint8_t> bytes = Stimulus::header(0x42, address, 1024);
      for (uint32_t index = 0; index < 1024; ++index) bytes.push_back(static_cast<uint8_t>(index * 37 + turn));
      bytes.resize(bytes.size() + 30);
      transfer(bytes);
    }
    transfer(Stimulus::write(STREAMS + turn % 2 * 0x100 + 0x10, {15}));
    transfer(Stimulus::read(STREAMS + turn % 2 * 0x100 + 0x40, 48));
    hardware.advance(hardware.now() + (hardware.now() - begin) * 3 / 2);
  }
  return hardware.codec.frames();
}

}  // namespace twin
