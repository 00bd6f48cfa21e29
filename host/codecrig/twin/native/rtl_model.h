// rig_core as Verilator made it, with two ways to evaluate it. Included by hardware.cpp only, in one translation unit with the
// generated code, so that the compiler can inline the inner loop.
//
// Plain: eval(), as the Verilator manual says. Fast: sets the triggers of the one clock edge that we know has come (learnt from the
// model itself at start) and runs the sequential logic once. That leaves out (1) finding the triggers, (2) the input-combinational
// logic when only a clock moved and (3) the second pass that logic on generated clocks would need. It is safe here: every clock of
// rig_core is an input pin, and `input_changed` asks for (2). It relies on names inside the generated code, so builder.py looks for
// them and chooses the plain way (TWIN_FAST_EVAL 0) if one is missing; `--self-check` compares the two.
#ifndef CODECRIG_TWIN_RTL_MODEL_H
#define CODECRIG_TWIN_RTL_MODEL_H

#include <memory>
#include <stdexcept>
#include <string>

#include "Vrig.h"
#include "Vrig___024root.h"
#include "Vrig__Syms.h"
#include "verilated.h"
#if TWIN_TRACE
#include "verilated_fst_c.h"
#endif

namespace twin {

class RtlModel {
 public:
  explicit RtlModel(const std::string& trace_file, int defect = -1) : context_(new VerilatedContext), top_(new Vrig(context_.get())) {
    if (defect >= 0) {
#if TWIN_DEFECTS
      top_->rootp->vlSymsp->TOP__codecrig_pkg.defects = 1u << defect;
#else
      throw std::runtime_error("--defect: this build has none");
#endif
    }
    pins().spi_cs_n = 1;
    pins().rst = 1;
    pins().i2s_adc_data = 0;
    pins().midi_rx = 1;
    pins().i2c_scl = 1;
    pins().i2c_sda = 1;
#if TWIN_TRACE
    if (!trace_file.empty()) {
      context_->traceEverOn(true);
      trace_.reset(new VerilatedFstC);
      top_->trace(trace_.get(), 99);
      trace_->open(trace_file.c_str());
    }
#else
    (void)trace_file;
#endif
    top_->eval();
    for (int cycle = 0; cycle < 8; ++cycle) {
      pins().clk = 1;
      top_->eval();
      pins().clk = 0;
      top_->eval();
    }
    pins().rst = 0;
    top_->eval();
#if TWIN_FAST_EVAL
    clock_rise_ = triggers(pins().clk, pins().__Vtrigprevexpr___TOP__clk__0, true);
    serial_rise_ = triggers(pins().spi_sck, pins().__Vtrigprevexpr___TOP__spi_sck__0, true);
    serial_fall_ = triggers(pins().spi_sck, pins().__Vtrigprevexpr___TOP__spi_sck__0, false);
#endif
    dump(0);
  }
  ~RtlModel() {
    Verilated::threadContextp(context_.get());  // the model's scopes sign off at the thread's context, whichever it is
    top_->final();
#if TWIN_TRACE
    if (trace_) trace_->close();
#endif
    top_.reset();
  }

  Vrig___024root& pins() { return *top_->rootp; }

  // Audio memory, a word an element.
  auto& memory() { return pins().rig_core__DOT__memory__DOT__words; }
  // The number that the design has from its bitstream, in a constant of a block RAM (register FPGA_BUILD).
  uint32_t build() { return pins().rig_core__DOT__registers__DOT__words[BUILD_WORD]; }
  void set_build(uint32_t build) { pins().rig_core__DOT__registers__DOT__words[BUILD_WORD] = build; }

  void plain() { top_->eval(); }

  void clock_rises(uint64_t units) {
    pins().clk = 1;
#if TWIN_FAST_EVAL
    fast(clock_rise_);
    dump(units);
    pins().clk = 0;
#else
    top_->eval();
    dump(units);
    pins().clk = 0;
    top_->eval();
#endif
    dump(units + 62);
  }

  void serial_clock(bool level, uint64_t units) {
    pins().spi_sck = level;
#if TWIN_FAST_EVAL
    fast(level ? serial_rise_ : serial_fall_);
#else
    top_->eval();
#endif
    dump(units);
  }

  void input_changed() { input_changed_ = true; }

  // Evaluates at once after an input other than a clock moved.
  void settle(uint64_t units) {
#if TWIN_FAST_EVAL
    // The fast way does not keep account of clock levels, and this is no clock edge.
    pins().__Vtrigprevexpr___TOP__clk__0 = pins().clk;
    pins().__Vtrigprevexpr___TOP__spi_sck__0 = pins().spi_sck;
#endif
    top_->eval();
    dump(units);
  }

 private:
#if TWIN_FAST_EVAL
  // The triggers that an edge of this clock to `level` sets.
  uint64_t triggers(CData& pin, CData& previous, bool level) {
    Vrig___024root* const root = top_->rootp;
    const CData before = pin;
    Vrig___024root___eval_triggers_vec__act(root);
    pin = level;
    previous = !level;
    Vrig___024root___eval_triggers_vec__act(root);
    const uint64_t found = root->__VactTriggered[0];
    pin = before;
    Vrig___024root___eval_triggers_vec__act(root);
    return found;
  }

  void fast(uint64_t triggers) {
    Vrig___024root* const root = top_->rootp;
#if TWIN_HAVE_ICO
    if (input_changed_) {
      root->__VicoTriggered[0] = 1;
      Vrig___024root___eval_ico(root);
      input_changed_ = false;
    }
#endif
    root->__VnbaTriggered[0] = triggers;
    Vrig___024root___eval_nba(root);
    root->__VnbaTriggered[0] = 0;
  }
#endif
  void dump(uint64_t units) {
#if TWIN_TRACE
    const uint64_t picoseconds = units * 15625 / 24;
    if (!trace_ || (dumped_ && picoseconds <= last_dump_)) return;  // two edges in one picosecond: the second is shown later
    dumped_ = true;
    last_dump_ = picoseconds;
    trace_->dump(picoseconds);
#else
    (void)units;
#endif
  }

  std::unique_ptr<VerilatedContext> context_;
  std::unique_ptr<Vrig> top_;
#if TWIN_TRACE
  std::unique_ptr<VerilatedFstC> trace_;
  uint64_t last_dump_ = 0;
  bool dumped_ = false;
#endif
  static constexpr size_t BUILD_WORD = 2;
  bool input_changed_ = true;
#if TWIN_FAST_EVAL
  uint64_t clock_rise_ = 0, serial_rise_ = 0, serial_fall_ = 0;
#endif
};

}  // namespace twin
#endif
