`default_nettype none

// rig_core with a codec at its pins and an SPI master beside it that moves whole blocks, so that Python wakes up once a block and not
// twice a bit.
//
// SCK is the system clock, inverted and gated: its edges lie half a clock away from those of clk. What other phases and
// rates do is the business of the tests of spi_bridge.
module rung_bench #(
    parameter int STREAMS = 4,
    // Longest transfer
    parameter int BLOCK_BYTES = 512
) (
    input wire logic clk,
    input wire logic rst,

    // One transfer: set out_bytes and count, then turn send over; in_bytes is there when done follows.
    input wire logic send,
    output logic done,
    input wire logic [15:0] count,
    input wire logic cs_n,
    output logic attention,

    output logic trigger_out,
    input wire logic trigger_in
);

  // Set and read by the bench. No ports: Verilator would copy them at every edge. Not in the waves: thousands of bits
  // that say no more than MOSI and MISO.
  /* verilator tracing_off */
  /* verilator lint_off UNDRIVEN */
  logic [8*BLOCK_BYTES-1:0] out_bytes  /* verilator public_flat_rw */;
  /* verilator lint_on UNDRIVEN */
  logic [8*BLOCK_BYTES-1:0] in_bytes  /* verilator public_flat_rw */;
  /* verilator tracing_on */

  logic active, mosi, miso;
  logic [18:0] index;
  wire [18:0] next_index = index + 1;
  localparam int INDEX_BITS = $clog2(8 * BLOCK_BYTES);

  wire sck = !clk && active;

  // Bit 7 of a byte goes first
  function automatic logic [INDEX_BITS-1:0] place(input logic [18:0] number);
    return number[INDEX_BITS-1:0] ^ INDEX_BITS'(7);
  endfunction

  always_ff @(posedge clk)
    if (rst) begin
      active <= 0;
      done   <= 0;
      mosi   <= 0;
      index  <= 0;
    end else if (!active) begin
      if (send != done) begin
        active <= 1;
        index  <= 0;
        mosi   <= out_bytes[place(0)];
      end
    end else if (next_index == {count, 3'b0}) begin
      active <= 0;
      done   <= send;
    end else begin
      index <= next_index;
      mosi  <= out_bytes[place(next_index)];
    end

  always_ff @(negedge clk) if (active) in_bytes[place(index)] <= miso;

  logic i2s_bclk, i2s_lrck, dac_data, adc_data, spdif_out, header_off;
  logic midi, scl_low, sda_low;  // MIDI by a cable from output to input; nothing but pull-ups on the I2C lines

  rig_core #(.STREAMS(STREAMS)) rig (
      .clk, .rst,
      .spi_sck(sck), .spi_cs_n(cs_n), .spi_mosi(mosi), .spi_miso(miso), .attention,
      .i2s_bclk, .i2s_lrck, .i2s_dac_data(dac_data), .i2s_adc_data(adc_data),
      .spdif_out, .header_off, .midi_tx(midi), .midi_rx(midi),
      .i2c_scl_low(scl_low), .i2c_sda_low(sda_low), .i2c_scl(!scl_low), .i2c_sda(!sda_low),
      .trigger_out, .trigger_in
  );

  codec_model codec (.bclk(i2s_bclk), .lrck(i2s_lrck), .dac_data, .adc_data);

  wire unused = &{1'b0, spdif_out, header_off};

endmodule

`default_nettype wire
