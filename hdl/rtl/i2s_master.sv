`default_nettype none

// I2S master (Philips): makes bit and word clock, sends one stereo frame and receives one at the same time.
//
// 256 clocks a frame: the bit clock is clk / 4, the word clock is low for the left slot; a slot has 32 bits: one of delay, 24 of data,
// most significant first, 7 of padding, sent as 0. Data and word clock change as the bit clock falls; data in is sampled as it rises.
// One shift register serves both ways: what goes out on the left makes room for what comes in on the right.
module i2s_master (
    input wire logic clk,
    input wire logic rst,

    // Clocks run while high; low stops them at once, all outputs low.
    input wire logic enable,

    // One-clock pulse in the last clock of a frame: frame_out is taken behind it, frame_in holds what came in during it.
    output logic frame_tick,
    // {left, right}, 24 bits each
    input wire logic [47:0] frame_out,
    // Taken with frame_out: send zeros instead
    input wire logic mute,
    output logic [47:0] frame_in,

    // Pins
    output logic i2s_bclk,
    output logic i2s_lrck,
    output logic i2s_dac_data,
    input wire logic i2s_adc_data
);

  localparam logic [4:0] DATA_BITS = 5'd24;

  logic [7:0] phase_reg;  // {slot, bit in the slot, quarter of the bit}
  logic [47:0] shift_reg;
  logic adc_bit_reg, mute_reg;

  wire [4:0] slot_bit = phase_reg[6:2];
  wire shifts = slot_bit != 5'd0 && slot_bit <= DATA_BITS;

  assign i2s_lrck = phase_reg[7];
  assign i2s_bclk = phase_reg[1];
  assign frame_in = shift_reg;

  always_ff @(posedge clk)
    if (rst || !enable) begin
      phase_reg <= '0;
      shift_reg <= '0;
      adc_bit_reg <= 1'b0;
      frame_tick <= 1'b0;
      i2s_dac_data <= 1'b0;
      mute_reg <= 1'b0;
    end else begin
      phase_reg <= phase_reg + 8'd1;
      frame_tick <= phase_reg == 8'd254;
      if (frame_tick) mute_reg <= mute;
      if (phase_reg[1:0] == 2'd1) adc_bit_reg <= i2s_adc_data;  // bit clock rises
      if (phase_reg[1:0] == 2'd3) begin  // bit clock falls
        if (shifts) shift_reg <= {shift_reg[46:0], adc_bit_reg};
        else if (frame_tick) shift_reg <= frame_out;
        i2s_dac_data <= slot_bit < DATA_BITS && !mute_reg && (shifts ? shift_reg[46] : shift_reg[47]);
      end
    end

endmodule

`default_nettype wire
