// A codec at the I2S pins, and the cable between its analog output and input.
//
// The codec is a slave: it takes DAC data at the rising bit clock and changes ADC data at the falling one; Philips format
// with 24 bits, the most significant one bit clock after the word clock's edge, at any rate. It counts frames by itself,
// from the word clock, so its count is a witness that does not depend on the FPGA's registers.
//
// The analog path is integer arithmetic with a generator of its own, so a run gives the same bits everywhere:
//   adc = saturate24(((dac * gain_q16 + 32768) >> 16) + dc_lsb + noise)
// where noise is triangular with peak noise_lsb. A frame the DAC receives as frame n is what the ADC sends as frame
// n + 1 + delay_frames: the ADC takes the cable's level when a frame starts, and by then frame n is complete.
//
// Samples in taps and injections are 32-bit, left-justified, as everywhere in codecrig; the low 8 bits are 0.
#ifndef CODECRIG_TWIN_CODEC_H
#define CODECRIG_TWIN_CODEC_H

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

namespace twin {

struct CodecSettings {
  static constexpr uint32_t MAX_DELAY_FRAMES = 4096;
  int64_t gain_q16 = 65536;
  int32_t noise_lsb = 0;
  int32_t dc_lsb = 0;
  uint32_t delay_frames = 22;
  bool connected = true;
};

enum class LineFault { none, open, stuck0, stuck1, swap };

// What may be wrong with a codec and its clock lines, beside the data lines.
struct CodecFaults {
  bool dead = false;           // no power, or no master clock: no sound, and the data line is at rest, low
  LineFault bit_clock = LineFault::none, word_clock = LineFault::none;  // none, stuck0 or stuck1
  bool inverted = false;       // it works with the other edges of the bit clock, at which both sides' data change
  int slot = 0;                // -1: data begins one bit clock early, with the word clock's edge; 1: one late
  bool any() const { return dead || bit_clock != LineFault::none || word_clock != LineFault::none || inverted || slot != 0; }
};

struct StereoSample {
  int32_t left = 0;  // 24 significant bits, sign extended
  int32_t right = 0;
};

class Codec {
 public:
  void set(const CodecSettings& settings);
  const CodecSettings& settings() const { return settings_; }

  // `dac_line`: from FPGA to codec; `adc_line`: from codec to FPGA. `swap` exchanges left and right at the ADC.
  void set_fault(LineFault dac_line, LineFault adc_line);
  void set_faults(const CodecFaults& faults);

  // What a probe sees at the codec's pins: what the DAC is sent, and in how many frames the ADC's data line moved.
  void tap_start();
  void tap_stop() { tapping_ = false; }
  // Moves out what was recorded since the last call. `tick`: when the first of these frames began (word clock fell).
  std::vector<int32_t> tap_take(uint64_t& tick, uint64_t& dropped_frames);
  bool tapping() const { return tapping_; }
  uint64_t tap_adc_frames() const { return tap_adc_frames_; }  // since the tap was started

  void inject(const std::vector<StereoSample>& frames) { injected_.insert(injected_.end(), frames.begin(), frames.end()); }
  size_t injected_left() const { return injected_.size(); }

  uint64_t frames() const { return frames_; }

  // Pins. Call when bit clock changed; returns the level of the ADC data line as the FPGA sees it.
  bool bit_clock_edge(bool bclk, bool lrck, bool dac_data, uint64_t tick) {
    if (faulty_) [[unlikely]] return faulty_edge(bclk, lrck, dac_data, tick);
    edge(bclk, lrck, dac_data, tick);
    return adc_level_;
  }

 private:
  void edge(bool bclk, bool lrck, bool dac_data, uint64_t tick) {
    if (bclk) {
      if (lrck != last_lrck_) {
        last_lrck_ = lrck;
        word_clock_edge(lrck, tick);
        bit_ = 0;
      } else if (bit_ < 24) {
        shift_in_ = (shift_in_ << 1) | static_cast<uint32_t>(dac_data);
        if (++bit_ == 24) word_complete(lrck);
      }
    } else {
      fall_tick_ = tick;
      adc_level_ = (shift_out_ >> 31) != 0;
      shift_out_ <<= 1;
    }
  }
  bool faulty_edge(bool bclk, bool lrck, bool dac_data, uint64_t tick);
  void edge_off_slot(bool bclk, bool lrck, bool dac_data, uint64_t tick);
  void word_clock_edge(bool lrck, uint64_t tick);
  void word_complete(bool lrck);
  bool faulty_adc_level();
  StereoSample next_adc_frame();
  int32_t analog(int32_t sample);
  uint64_t random();

  // Half a bit clock at the lowest rate, in ticks: 1536 of them a frame of 64 bits.
  static constexpr uint64_t LONGEST_HALF_BIT = 12;
  static constexpr size_t TAP_LIMIT = 16u << 20;  // samples (64 MiB); later frames are counted as dropped

  CodecSettings settings_;
  LineFault dac_fault_ = LineFault::none;
  LineFault adc_fault_ = LineFault::none;
  CodecFaults faults_;
  bool faulty_ = false;         // anything of the three
  bool last_dac_line_ = false;  // when inverted: the level before the edge
  bool last_adc_line_ = false;
  bool late_in_ = false, late_out_ = false;
  bool last_lrck_ = true;
  bool synchronised_ = false;  // a left word has begun
  bool adc_level_ = false;
  uint32_t bit_ = 24;
  uint32_t shift_in_ = 0;
  uint32_t shift_out_ = 0;
  StereoSample dac_, adc_;
  uint64_t frames_ = 0;
  uint64_t fall_tick_ = 0;  // the bit clock fell last
  uint64_t frame_tick_ = 0;
  uint64_t noise_state_ = 0x636f6465'63726967ull;
  std::vector<StereoSample> delay_line_ = std::vector<StereoSample>(CodecSettings::MAX_DELAY_FRAMES + 1);
  uint64_t delay_index_ = 0;
  std::deque<StereoSample> injected_;
  bool tapping_ = false;
  std::vector<int32_t> tap_;
  uint64_t tap_tick_ = 0;
  uint64_t tap_dropped_ = 0;
  uint64_t tap_adc_frames_ = 0;
};

}  // namespace twin
#endif
