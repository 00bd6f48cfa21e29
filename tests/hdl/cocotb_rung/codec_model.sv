`default_nettype none

// A stereo codec at the I2S pins, its analog output wired to its input: what the DAC heard comes back from the ADC a frame later,
// scaled, shifted and delayed as the bench asks. Philips format, slots of at least 24 bits; no noise. It listens at rising edges of
// the bit clock, from the first falling word clock on, and speaks at falling ones.
module codec_model (
    input wire logic bclk,
    input wire logic lrck,
    input wire logic dac_data,
    output logic adc_data
);

  localparam int LONGEST_DELAY = 31;

  // adc = saturated(((dac * gain_q16 + 32768) >> 16) + dc_lsb). Set by the bench; no ports, as in rung_bench.sv.
  /* verilator lint_off UNDRIVEN */
  logic [31:0] gain_q16  /* verilator public_flat_rw */;
  logic [31:0] dc_lsb  /* verilator public_flat_rw */;
  logic [4:0] delay_frames  /* verilator public_flat_rw */;
  /* verilator lint_on UNDRIVEN */

  logic lrck_before, awake;
  logic [4:0] bits_left;
  logic [23:0] heard, heard_left, to_send;
  // Frames by age, the youngest at 0.
  logic [LONGEST_DELAY:0][1:0][23:0] line;

  initial begin
    awake = 1'b0;
    heard = '0;
    line  = '0;
  end

  function automatic logic [23:0] analog(input logic [23:0] sample);
    logic signed [63:0] value;
    value = (64'(signed'(sample)) * 64'(signed'(gain_q16)) + 64'sd32768) >>> 16;
    value += 64'(signed'(dc_lsb));
    if (value > 64'sh7FFFFF) value = 64'sh7FFFFF;
    if (value < -64'sh800000) value = -64'sh800000;
    return value[23:0];
  endfunction

  always_ff @(posedge bclk) begin
    lrck_before <= lrck;
    if (lrck != lrck_before) begin
      bits_left <= 5'd24;
      if (lrck) heard_left <= heard;
      else begin
        awake <= 1'b1;
        line <= {line[LONGEST_DELAY-1:0], heard_left, heard};
        // Of the line as it will be: the frame that just ended has age 0.
        to_send <= analog(delay_frames == '0 ? heard_left : line[delay_frames-5'd1][1]);
      end
      if (lrck) to_send <= analog(line[delay_frames][0]);
    end else begin
      to_send <= {to_send[22:0], 1'b0};
      if (bits_left != '0) begin
        bits_left <= bits_left - 5'd1;
        if (awake) heard <= {heard[22:0], dac_data};
      end
    end
  end

  always_ff @(negedge bclk) adc_data <= to_send[23];

endmodule

`default_nettype wire
