`default_nettype none

// Stands between the stream engine and the converter: mixes what the engine writes until the next tick, chooses what capture
// streams hear, counts ticks.
//
// All at frame_tick: the frame mixed since the tick before goes to the DAC (a channel that nobody wrote is silence; the serializer
// mutes, and so does the loopback here), and one input frame is latched for the engine to read until the next tick. Samples at the
// engine's side are 32 bits, left-justified; the converter has 24, so the low 8 are dropped and read as 0. The first write of a
// channel behind a tick replaces what is there, each further one is added; a sum that does not fit is clipped at once. Channels
// from CHANNELS on are dropped and read as 0.
//
// A write counts from its third clock on. One less than two clocks before a tick is lost.
module converter_hub
  import codecrig_pkg::*;
#(
    // Channels of the converter, 1 to 8
    parameter int CHANNELS = 2
) (
    input wire logic clk,
    input wire logic rst,

    // Control. Muted loopback is silence; mute_loopback does nothing else.
    input wire logic enable,
    input wire logic mute,
    input wire logic mute_loopback,
    input wire logic [1:0] input_select,
    output logic [31:0] frame_ticks,

    // Serializer, first channel at the top, 24 bits each. serial_frame is, with frame_tick, the frame that came in; in the clock
    // behind it, the one that goes out.
    input wire logic frame_tick,
    input wire logic [CHANNELS*24-1:0] serial_frame,

    // Pattern source: sample of adc_channel if it was chosen at the last tick, else 0
    input wire logic [23:0] source_sample,

    // Engine, render: any order; writes of one channel at least two clocks apart
    input wire logic dac_we,
    input wire logic [2:0] dac_channel,
    /* verilator lint_off UNUSEDSIGNAL */
    input wire logic [31:0] dac_sample,
    /* verilator lint_on UNUSEDSIGNAL */

    // Engine, capture
    input wire logic [2:0] adc_channel,
    output logic [31:0] adc_sample,

    // What was written since the last tick, taken with frame_tick; frame_written tells whether anything was
    output logic [CHANNELS*24-1:0] render_frame,
    output logic frame_written
);

  localparam int BITS = CHANNELS * 24;

  logic enable_before_reg;

  wire starts = rst || (enable && !enable_before_reg);

  always_ff @(posedge clk) enable_before_reg <= enable;

  always_ff @(posedge clk)
    if (starts) frame_ticks <= '0;
    else if (frame_tick) frame_ticks <= frame_ticks + 32'd1;

  // -------------------------------------------------------------------------------------------- render

  logic [BITS-1:0] mix_reg;
  logic [CHANNELS-1:0] written_reg;  // since the last tick; else mix_reg is old
  logic [24:0] sum_reg;
  logic [2:0] sum_channel_reg;
  logic sum_valid_reg;

  always_comb begin
    render_frame = '0;
    for (int channel = 0; channel < CHANNELS; channel++)
      if (written_reg[channel]) render_frame[BITS-1-channel*24-:24] = mix_reg[BITS-1-channel*24-:24];
  end

  assign frame_written = |written_reg;

  // Functions, so that a simulator works them out in a write only.
  function automatic logic [24:0] sum();
    logic [23:0] old;
    old = '0;
    for (int channel = 0; channel < CHANNELS; channel++)
      if (written_reg[channel] && dac_channel == 3'(channel)) old |= mix_reg[BITS-1-channel*24-:24];
    sum = {old[23], old} + {dac_sample[31], dac_sample[31:8]};
  endfunction

  function automatic logic [23:0] clipped();
    clipped = sum_reg[24] == sum_reg[23] ? sum_reg[23:0] : {sum_reg[24], {23{!sum_reg[24]}}};
  endfunction

  always_ff @(posedge clk) begin
    sum_valid_reg <= dac_we;
    if (dac_we) begin
      sum_reg <= sum();
      sum_channel_reg <= dac_channel;
    end
    if (sum_valid_reg)
      for (int channel = 0; channel < CHANNELS; channel++)
        if (sum_channel_reg == 3'(channel)) begin
          mix_reg[BITS-1-channel*24-:24] <= clipped();
          written_reg[channel] <= 1'b1;
        end
    if (starts || frame_tick) begin
      sum_valid_reg <= 1'b0;
      written_reg <= '0;
    end
  end

  // -------------------------------------------------------------------------------------------- capture

  logic [BITS-1:0] input_reg;
  logic loopback_reg;

  wire hears_converter = input_select != INPUT_SELECT_LOOPBACK[1:0] && input_select != INPUT_SELECT_PATTERN[1:0];
  wire hears_loopback = input_select == INPUT_SELECT_LOOPBACK[1:0] && !mute && !mute_loopback;

  always_ff @(posedge clk) begin
    loopback_reg <= frame_tick && hears_loopback;
    if (frame_tick || loopback_reg) input_reg <= serial_frame;
    if (starts || (frame_tick && !hears_converter)) input_reg <= '0;
  end

  always_comb begin
    adc_sample = {source_sample, 8'd0};
    for (int channel = 0; channel < CHANNELS; channel++)
      if (adc_channel == 3'(channel)) adc_sample[31:8] |= input_reg[BITS-1-channel*24-:24];
  end

endmodule

`default_nettype wire
