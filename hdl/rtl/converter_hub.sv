`default_nettype none

// Stands between the stream engine and the converter: keeps the frame that the engine writes until the next tick, chooses what
// capture streams hear, counts ticks.
//
// All at frame_tick: the frame written since the tick before goes to the DAC (a channel that nobody wrote is silence; the serializer
// mutes, and so does the loopback here), and one input frame is latched for the engine to read until the next tick. Samples at the engine's side are 32 bits,
// left-justified; the converter has 24, so the low 8 are dropped and read as 0. Channels above 1 are dropped and read as 0.
module converter_hub
  import codecrig_pkg::*;
(
    input wire logic clk,
    input wire logic rst,

    // Control
    input wire logic enable,
    input wire logic mute,
    input wire logic [1:0] input_select,
    output logic [31:0] frame_ticks,

    // Converter: {left, right}, 24 bits each
    input wire logic frame_tick,
    input wire logic [47:0] adc_frame,

    // Pattern source
    input wire logic [47:0] pattern_frame,

    // Engine, render: any order, last write wins
    input wire logic dac_we,
    input wire logic [2:0] dac_channel,
    /* verilator lint_off UNUSEDSIGNAL */
    input wire logic [31:0] dac_sample,
    /* verilator lint_on UNUSEDSIGNAL */

    // Engine, capture
    input wire logic [2:0] adc_channel,
    output logic [31:0] adc_sample,

    // What was written since the last tick, for serializer and checker; frame_written tells whether anything was
    output logic [47:0] render_frame,
    output logic frame_written
);

  logic [47:0] input_reg;
  logic enable_before_reg;

  always_comb
    case (adc_channel)
      3'd0: adc_sample = {input_reg[47:24], 8'd0};
      3'd1: adc_sample = {input_reg[23:0], 8'd0};
      default: adc_sample = '0;
    endcase

  wire starts = rst || (enable && !enable_before_reg);

  always_ff @(posedge clk) enable_before_reg <= enable;

  always_ff @(posedge clk)
    if (starts) frame_ticks <= '0;
    else if (frame_tick) frame_ticks <= frame_ticks + 32'd1;

  always_ff @(posedge clk)
    if (starts || frame_tick) begin
      render_frame  <= '0;
      frame_written <= 1'b0;
    end else if (dac_we) begin
      frame_written <= 1'b1;
      if (dac_channel == 3'd0) render_frame[47:24] <= dac_sample[31:8];
      if (dac_channel == 3'd1) render_frame[23:0] <= dac_sample[31:8];
    end

  wire muted = mute && input_select == INPUT_SELECT_LOOPBACK[1:0];

  always_ff @(posedge clk)
    if (starts || (frame_tick && muted)) input_reg <= '0;
    else if (frame_tick)
      case (input_select)
        INPUT_SELECT_LOOPBACK[1:0]: input_reg <= render_frame;
        INPUT_SELECT_PATTERN[1:0]: input_reg <= pattern_frame;
        default: input_reg <= adc_frame;
      endcase

endmodule

`default_nettype wire
