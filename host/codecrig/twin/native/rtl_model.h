// rig_core as Verilator made it, with two ways to evaluate it. Included by hardware.cpp only, in one translation unit with the
// generated code, so that the compiler can inline the inner loop.
//
// Plain: eval(), as the Verilator manual says. Fast: computes the clock triggers and runs the sequential logic once. That leaves
// out (1) the input-combinational logic when only a clock moved and (2) the second pass that logic clocked by generated clocks
// would need. Both are safe here: every clock of rig_core is an input pin, and `input_changed` asks for (1). It relies on names inside
// the generated code, so builder.py looks for them and chooses the plain way (TWIN_FAST_EVAL 0) if one is missing.
#ifndef CODECRIG_TWIN_RTL_MODEL_H
#define CODECRIG_TWIN_RTL_MODEL_H

#include <memory>
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
  explicit RtlModel(const std::string& trace_file) : context_(new VerilatedContext), top_(new Vrig(context_.get())) {
    pins().spi_cs_n = 1;
    pins().rst = 1;
    pins().i2s_adc_data = 0;
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

  void plain() { top_->eval(); }

  void clock_rises(uint64_t units) {
    pins().clk = 1;
#if TWIN_FAST_EVAL
    pins().__Vtrigprevexpr___TOP__clk__0 = 0;
    fast();
#else
    top_->eval();
#endif
    dump(units);
#if !TWIN_FAST_EVAL || TWIN_TRACE
    pins().clk = 0;
    top_->eval();
    dump(units + 62);
#endif
  }

  void serial_clock(bool level, uint64_t units) {
    pins().spi_sck = level;
#if TWIN_FAST_EVAL
    fast();
#else
    top_->eval();
#endif
    dump(units);
  }

  void input_changed() { input_changed_ = true; }

  // Evaluates at once after an input other than a clock moved.
  void settle(uint64_t units) {
    top_->eval();
    dump(units);
  }

 private:
#if TWIN_FAST_EVAL
  void fast() {
    Vrig___024root* const root = top_->rootp;
#if TWIN_HAVE_ICO
    if (input_changed_) {
      root->__VicoTriggered[0] = 1;
      Vrig___024root___eval_ico(root);
      input_changed_ = false;
    }
#endif
    Vrig___024root___eval_triggers_vec__act(root);
    root->__VnbaTriggered[0] = root->__VactTriggered[0];
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
  bool input_changed_ = true;
};

}  // namespace twin
#endif
