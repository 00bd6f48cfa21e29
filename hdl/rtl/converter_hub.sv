`default_nettype none

// Stands between the stream engine and the converter: mixes what the engine writes until the next tick, chooses what capture
// streams hear, counts ticks.
//
// All at frame_tick: the frame mixed since the tick before goes to the DAC (a channel that nobody wrote is silence; the serializer
// mutes, and so does the loopback here), and one input frame is latched for the engine to read until the next tick. Samples at the
// engine's side are 32 bits, left-justified; the converter has 24, so the low 8 are dropped and read as 0. What several streams
// write to a channel is added; a sum that does not fit is clipped at once. Channels from CHANNELS on are dropped and read as 0.
module converter_hub
  import codecrig_pkg::*;
#(
    // Channels of the converter, 2 to 8
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

    // Engine, render: a stream writes from channel 0 on, one in each clock; at least the first two, which may lie apart where
    // CHANNELS is 2. A write in the clock of a tick is lost.
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

  // The samples stand in a ring: the next channel's at the top of mix_reg, that of the channel before it as two parts, not yet added,
  // for what comes from the engine comes late in its clock. A write adds to the top one, and all move on by one. Without a multiplexer
  // this is half as large as registers by channel.
  logic [BITS-1:24] mix_reg;
  logic [23:0] first_part_reg, second_part_reg;
  logic turns;
  logic [23:0] added;

  if (CHANNELS > 2) begin : gen_position
    // A stream with fewer channels leaves the ring in the middle: it turns on by itself.
    logic [2:0] position_reg;
    wire written = dac_we && {1'b0, dac_channel} < 4'(CHANNELS);
    assign turns = written || position_reg != 3'd0;
    assign added = written ? dac_sample[31:8] : '0;
    always_ff @(posedge clk)
      if (starts || frame_tick) position_reg <= '0;
      else if (turns) position_reg <= position_reg == 3'(CHANNELS - 1) ? '0 : position_reg + 3'd1;
  end else begin : gen_pair
    assign turns = dac_we && dac_channel <= 3'd1;
    assign added = dac_sample[31:8];
  end

  wire [24:0] sum = {first_part_reg[23], first_part_reg} + {second_part_reg[23], second_part_reg};
  function automatic logic [23:0] clipped();
    clipped = sum[24] == sum[23] ? sum[23:0] : {sum[24], {23{!sum[24]}}};
  endfunction

  assign render_frame = {mix_reg, clipped()};

  always_ff @(posedge clk)
    if (starts || frame_tick) begin
      mix_reg <= '0;
      first_part_reg <= '0;
      second_part_reg <= '0;
      frame_written <= 1'b0;
    end else if (turns) begin
      mix_reg <= render_frame[BITS-25:0];
      first_part_reg <= mix_reg[BITS-1-:24];
      second_part_reg <= added;
      frame_written <= 1'b1;
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
