// The MIDI wires and the S/PDIF receiver behind C functions, for test_peripheral_pins.py.
#include "pins.h"

#include <algorithm>

using namespace twin;

extern "C" {
MidiWires* midi_new() { return new MidiWires; }
void midi_delete(MidiWires* midi) { delete midi; }
void midi_edge(MidiWires* midi, bool level, uint64_t tick) { midi->output_edge(level, tick); }
// Fills ticks and values (with bit 8 for a bad stop bit), returns how many.
uint32_t midi_take(MidiWires* midi, uint64_t now, uint64_t* ticks, uint32_t* values, uint32_t capacity) {
  const auto bytes = midi->take(now);
  for (size_t index = 0; index < std::min<size_t>(bytes.size(), capacity); ++index) {
    ticks[index] = bytes[index].tick;
    values[index] = bytes[index].value | (bytes[index].stop_good ? 0 : 256);
  }
  return static_cast<uint32_t>(bytes.size());
}
void midi_send(MidiWires* midi, uint64_t now, uint64_t tick, uint32_t value) { midi->send(now, tick, static_cast<uint8_t>(value)); }
void midi_loop(MidiWires* midi, bool looped) { midi->looped = looped; }
uint64_t midi_next(MidiWires* midi) { return midi->next_tick(); }
bool midi_drive(MidiWires* midi, uint64_t now) {
  midi->drive(now);
  return midi->input_level();
}

SpdifReceiver* spdif_new() { return new SpdifReceiver; }
void spdif_delete(SpdifReceiver* spdif) { delete spdif; }
void spdif_start(SpdifReceiver* spdif) { spdif->start(); }
void spdif_edge(SpdifReceiver* spdif, uint64_t tick) { spdif->edge(tick); }
uint32_t spdif_take(SpdifReceiver* spdif, int32_t* samples, uint8_t* flags, uint32_t capacity, uint64_t* tick, uint64_t* errors, uint32_t* half) {
  const auto frames = spdif->take();
  const size_t count = std::min<size_t>(frames.flags.size(), capacity);
  std::copy_n(frames.samples.begin(), 2 * count, samples);
  std::copy_n(frames.flags.begin(), count, flags);
  *tick = frames.first_tick;
  *errors = frames.errors;
  *half = frames.half_cell_ticks;
  return static_cast<uint32_t>(count);
}
}
