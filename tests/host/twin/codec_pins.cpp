// The codec model behind C functions, for test_codec_pins.py.
#include "codec.h"

using namespace twin;

extern "C" {
Codec* codec_new() { return new Codec; }
void codec_delete(Codec* codec) { delete codec; }
void codec_set(Codec* codec, int64_t gain_q16, int32_t noise_lsb, int32_t dc_lsb, uint32_t delay_frames, bool connected) {
  codec->set({gain_q16, noise_lsb, dc_lsb, delay_frames, connected});
}
void codec_fault(Codec* codec, int dac_line, int adc_line) {
  codec->set_fault(static_cast<LineFault>(dac_line), static_cast<LineFault>(adc_line));
}
uint64_t codec_frames(Codec* codec) { return codec->frames(); }
bool codec_edge(Codec* codec, bool bclk, bool lrck, bool data) { return codec->bit_clock_edge(bclk, lrck, data, 0); }
void codec_inject(Codec* codec, int32_t left, int32_t right) { codec->inject({{left, right}}); }
}
