`default_nettype none

// Serial audio master: makes bit and word clock, sends one frame and receives one at the same time.
//
//   I2S             64 bit clocks a frame, two slots of 32; word clock low is left, the data begins one bit clock behind its edge
//   LEFT_JUSTIFIED  the same, but word clock high is left and the data begins with its edge
//   TDM             128 bit clocks a frame, 4 slots of 32 bits, or 8 of 16 where CHANNELS > 4; the word clock is high for the last
//                   bit clock of a frame, so that the first slot begins with its falling edge (DSP mode A)
//
// A slot has 24 bits of data (16 in slots of 16), most significant first, then padding, sent as 0. Data and word clock change as
// the bit clock falls; data in is sampled as it rises. I2S and left-justified carry the first two channels; the others are dropped
// and read as 0. One shift register serves both ways: what goes out at the top makes room for what comes in at the bottom.
module i2s_master
  import codecrig_pkg::*;
#(
    // 2 (no TDM), 4 or 8
    parameter int CHANNELS = 2
) (
    input wire logic clk,
    input wire logic rst,

    // Clocks run while high; low stops them at once, word clock and bit clock low, data 0.
    input wire logic enable,
    // Constant while `enable` is high. Clocks in a frame: 128 (not in TDM), 256, 384, 512, 768, 1536, without the low bits, which are 0.
    input wire logic [1:0] format,
    input wire logic [10:7] frame_clocks,

    // One-clock pulse in the last clock of a frame: frame_out is taken behind it. serial_frame holds what came in during it, and
    // in the clock behind it what was taken, muted or not.
    output logic frame_tick,
    // First channel at the top, 24 bits each
    input wire logic [CHANNELS*24-1:0] frame_out,
    // Taken with frame_out: send zeros instead
    input wire logic mute,
    output logic [CHANNELS*24-1:0] serial_frame,

    // For the pattern checker: `sample`, muted or not, is that of the first or second channel in the clock of the pulse.
    output logic [23:0] sample,
    output logic first_sample,
    output logic second_sample,

    // Pins
    output logic i2s_bclk,
    output logic i2s_lrck,
    output logic i2s_dac_data,
    input wire logic i2s_adc_data
);

  localparam int BITS = CHANNELS * 24;
  localparam logic [BITS-1:0] FIRST_TWO = {48'hFFFF_FFFF_FFFF, {BITS - 48{1'b0}}};
  localparam bit MAY_TDM = CHANNELS > 2;
  localparam bit SHORT_SLOTS = CHANNELS > 4;  // in TDM: 16 bits
  localparam int BIT_W = MAY_TDM ? 7 : 6;

  if (CHANNELS != 2 && CHANNELS != 4 && CHANNELS != 8) begin : gen_check
    $fatal(1, "CHANNELS is %0d, must be 2, 4 or 8", CHANNELS);
  end

  logic [3:0] clocks_reg;  // clocks left in this half of the bit clock
  logic [BIT_W-1:0] bit_reg;  // bit of the frame; slots begin with multiples of their lengths
  logic data_reg;  // this bit is data
  logic [BITS-1:0] shift_reg;
  logic adc_bit_reg, mute_reg;

  wire tdm = MAY_TDM && format == CONVERTER_FORMAT_TDM[1:0];
  wire philips = format == CONVERTER_FORMAT_I2S[1:0];
  wire short_slots = SHORT_SLOTS && tdm;

  // A bit lasts frame_clocks / 64 clocks, in TDM / 128: three of them are two low and one high.
  wire [3:0] half = frame_clocks;
  wire [3:0] half_low = tdm ? {1'b0, half[3:1]} + 4'(half[0]) : half;
  wire [3:0] half_high = tdm ? {1'b0, half[3:1]} : half;

  wire half_ends = clocks_reg == 4'd1;
  wire last_bit = &bit_reg[5:0] && (!tdm || bit_reg[BIT_W-1]);

  // Is the bit behind this one data? I2S begins one later.
  function automatic logic data_next();
    logic [4:0] slot_bit;
    slot_bit = bit_reg[4:0];
    if (short_slots) data_next = 1'b1;
    else if (philips) data_next = slot_bit < 5'd24;
    else data_next = slot_bit < 5'd23 || slot_bit == 5'd31;
  endfunction

  // What the shift register holds behind this bit. With 16-bit slots the low 8 bits of a sample are left out.
  // Functions and guards let a simulator pass over what has nothing to do.
  function automatic logic [BITS-1:0] shifted();
    shifted = {shift_reg[BITS-2:0], tdm && adc_bit_reg};
    if (!tdm) shifted[BITS-48] = adc_bit_reg;  // the other channels hold nothing
    if (short_slots && &bit_reg[3:0]) shifted = {shift_reg[BITS-10:0], adc_bit_reg, 8'd0};
  endfunction

  assign serial_frame = short_slots && last_bit ? shifted() : shift_reg;
  assign i2s_lrck = tdm ? last_bit : enable && !rst && bit_reg[5] == philips;

  assign i2s_dac_data = data_reg && !mute_reg && shift_reg[BITS-1];
  assign sample = shift_reg[BITS-1-:24];

  always_ff @(posedge clk)
    if (rst || !enable) begin
      clocks_reg <= half_low;
      i2s_bclk <= 1'b0;
      bit_reg <= '0;
      data_reg <= !philips;
      shift_reg <= '0;
      adc_bit_reg <= 1'b0;
      mute_reg <= 1'b0;
    end else begin
      clocks_reg <= clocks_reg - 4'd1;
      if (half_ends) begin
        clocks_reg <= i2s_bclk ? half_low : half_high;
        i2s_bclk <= !i2s_bclk;
        if (!i2s_bclk) adc_bit_reg <= i2s_adc_data;
        else begin
          bit_reg <= last_bit ? '0 : bit_reg + 1'b1;
          data_reg <= data_next();
          if (last_bit) begin
            shift_reg <= frame_out & (tdm ? '1 : FIRST_TWO);
            mute_reg <= mute;
          end else if (data_reg) shift_reg <= shifted();
        end
      end
    end

  // The first channel stands at the top before the first shift of a frame, the second before that of its slot.
  always_comb begin
    {frame_tick, first_sample, second_sample} = '0;
    if (half_ends) begin
      if (i2s_bclk) frame_tick = last_bit;
      else if (bit_reg[3:0] == 4'd0) begin
        first_sample = bit_reg == '0;
        second_sample = bit_reg == BIT_W'(short_slots ? 16 : 32);
      end
    end
  end

endmodule

`default_nettype wire
