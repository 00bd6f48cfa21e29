// The FPGA (Verilated rig_core) with what hangs at its pins: serial clock from the microcontroller, codec, trigger wires.
// This is where board time advances. The model is evaluated at every rising edge of the system clock and at every edge of
// the serial clock; falling edges of the system clock are left out, as no logic uses them (`--self-check` proves it).
#ifndef CODECRIG_TWIN_HARDWARE_H
#define CODECRIG_TWIN_HARDWARE_H

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "codec.h"
#include "pins.h"
#include "units.h"

namespace twin {

class RtlModel;

class Hardware {
 public:
  // trace_file: empty for none; needs the program variant that was built for tracing.
  // `defect`: see Board::Settings.
  explicit Hardware(const std::string& trace_file, int defect = -1);
  ~Hardware();

  Units now() const { return now_; }
  uint64_t ticks() const { return ticks_; }  // rising clock edges since reset
  uint64_t sck_edges() const { return sck_edges_; }

  // Runs to `until`, or to the first moment at which the microcontroller may want to act: a transfer ended or the
  // attention line moved. Returns true if it stopped for that.
  bool advance(Units until);

  // Serial port as the microcontroller's DMA sees it. Null tx sends zeros; null rx drops what comes.
  void spi_start(const uint8_t* tx, uint8_t* rx, uint32_t length);
  bool spi_busy() const { return spi_active_; }
  bool spi_selected() const { return selected_; }
  void spi_select(bool selected);
  uint64_t spi_bytes() const { return spi_bytes_; }

  // The FPGA's configuration. Without one, and with one that is not rig_core, all its lines are at rest and the RTL is held in
  // reset. `start` takes as long as the design's own reset; ticks begin anew at its end. Audio memory keeps its contents.
  void stop_design();
  void start_design(uint32_t build);
  uint32_t own_build() const { return own_build_; }

  // A cell of audio memory that holds one level whatever is written.
  void break_cell(uint32_t address, uint32_t bit, bool level);
  // Each `every`th bit on a line of the serial link arrives inverted; 0: none.
  void disturb_serial(bool to_fpga, uint32_t every);
  void mend();

  bool attention() const;
  void set_trigger_in(bool level);
  bool trigger_out() const;
  bool design_runs() const { return running_; }
  const std::vector<uint64_t>& trigger_out_edges() const { return trigger_edges_; }  // ticks, the first 65536

  Codec codec;

  // MIDI wires: what the board sent, what it is sent. Times are ticks.
  std::vector<MidiWires::Byte> midi_take() { return midi_.take(ticks_); }
  void midi_send(uint64_t tick, uint8_t value);
  void midi_loop(bool looped);
  const MidiWires& midi() const { return midi_; }
  SpdifReceiver spdif;

  // Runs the fast way of evaluating beside the plain one on random pins and compares all outputs after each edge.
  // Returns an empty text, or what differed first.
  static std::string self_check(uint64_t edges, uint64_t seed);

  // The work of a twin in full duplex, without USB: both streams run (48 kHz, stereo, 32-bit containers) and the serial link is busy
  // two fifths of the time. Returns how many frames the codec saw.
  static uint64_t exercise(uint64_t ticks);

 private:
  void clock_edge();
  uint32_t wires() const;
  void wires_moved(uint32_t now);
  void drive_midi();
  void chores();
  void next_chore();
  void transfer_ended();
  bool serial_edge();
  void load_bit();

  std::unique_ptr<RtlModel> rtl_;
  Units now_ = 0;
  Units next_clock_ = UNITS_PER_TICK;
  Units next_serial_ = NEVER;
  uint64_t ticks_ = 0;
  uint64_t sck_edges_ = 0;
  uint64_t spi_bytes_ = 0;
  const uint8_t* spi_tx_ = nullptr;
  uint8_t* spi_rx_ = nullptr;
  uint32_t spi_left_ = 0;
  uint8_t spi_shift_out_ = 0;
  uint8_t spi_shift_in_ = 0;
  uint8_t spi_bit_ = 0;
  bool spi_active_ = false;
  bool selected_ = false;
  bool last_bclk_ = false;
  uint32_t last_wires_ = 0;
  uint64_t midi_tick_ = UINT64_MAX;   // at which the MIDI input moves next
  uint64_t reset_tick_ = UINT64_MAX;  // at which the design's reset ends
  uint64_t chore_tick_ = UINT64_MAX;  // the next tick at which any of the above, or a broken cell, wants something
  MidiWires midi_;
  std::vector<uint64_t> trigger_edges_;

  bool running_ = true;  // the design has the pins
  uint32_t own_build_ = 0;
  struct BrokenCell {
    uint32_t word, mask, level;
  };
  std::vector<BrokenCell> broken_cells_;
  uint32_t disturb_every_[2] = {0, 0};  // from the FPGA, to it
  uint64_t disturb_count_[2] = {0, 0};
  std::vector<uint8_t> disturbed_tx_;
  uint8_t* spi_rx_first_ = nullptr;
  uint32_t spi_length_ = 0;
};

}  // namespace twin
#endif
