// First, as rtl_model.h reaches into it: every generated source of the model, listed by builder.py.
#include "generated_model.inc"

#include "hardware.h"
#include "rtl_model.h"

namespace twin {

Hardware::Hardware(const std::string& trace_file) : rtl_(new RtlModel(trace_file)) {
  last_bclk_ = rtl_->pins().i2s_bclk;
  last_trigger_out_ = rtl_->pins().trigger_out;
}

Hardware::~Hardware() = default;

bool Hardware::attention() const { return rtl_->pins().attention; }
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
  if (pins.trigger_out != last_trigger_out_) {
    last_trigger_out_ = pins.trigger_out;
    if (trigger_edges_.size() < 65536) trigger_edges_.push_back(ticks_);
  }
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

std::string Hardware::self_check(uint64_t edges, uint64_t seed) {
  RtlModel fast("");
  RtlModel plain("");
  uint64_t state = seed * 2 + 1;
  auto random = [&state](uint32_t below) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return static_cast<uint32_t>((state >> 33) % below);
  };
  auto both = [&](auto action) {
    action(fast.pins());
    action(plain.pins());
  };
  for (uint64_t edge = 0; edge < edges; ++edge) {
    const uint32_t choice = random(64);
    if (choice < 24) {
      fast.clock_rises(edge);
      plain.pins().clk = 1;
      plain.plain();
      plain.pins().clk = 0;
      plain.plain();
    } else if (choice < 62) {
      const bool level = !fast.pins().spi_sck;
      if (!level) {
        const uint8_t bit = random(2);
        both([bit](auto& pins) { pins.spi_mosi = bit; });
        fast.input_changed();
      }
      fast.serial_clock(level, edge);
      plain.pins().spi_sck = level;
      plain.plain();
    } else if (choice == 62) {
      const uint8_t bit = random(2);
      both([bit](auto& pins) { pins.i2s_adc_data = bit; });
      fast.input_changed();
      plain.plain();
    } else if (random(64) == 0) {
      const uint8_t select = random(2);
      both([select](auto& pins) { pins.spi_cs_n = select; pins.spi_sck = 0; });
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
                                                          : nullptr;
    if (name != nullptr) return std::string(name) + " differs after edge " + std::to_string(edge);
  }
  return "";
}

}  // namespace twin
