`default_nettype none

// codecrig on a pico-ice (Rev 2 and 3): iCE40UP5K in SG48, Digilent Pmod I2S2 in Pmod 2, RP2040 on the shared pins of Pmod 3,
// S/PDIF, MIDI and I2C on Pmod 1.
//
// The RP2040 makes the clock: 12.288 MHz on pin 35. It is the system clock and the converters' master clock. Reset is a counter
// that starts with the configuration. Pin numbers stand in boards/pico-ice/pico_ice.pcf. A pico2-ice takes the same top: only the
// pins differ (boards/pico2-ice/pico2_ice.pcf).
module pico_ice #(
    // Bitstream id, read in FPGA_BUILD: set by hdl/synth/synth.py
    parameter logic [31:0] BUILD = 32'h0
) (
    input wire logic clk,

    // Microcontroller
    input wire logic spi_sck,
    input wire logic spi_cs_n,
    input wire logic spi_mosi,
    output logic spi_miso,
    output logic attention,

    // DAC (CS4344)
    output wire logic dac_mclk,
    output logic dac_lrck,
    output logic dac_sclk,
    output logic dac_sdin,

    // ADC (CS5343), jumper JP1 at SLV
    output wire logic adc_mclk,
    output logic adc_lrck,
    output logic adc_sclk,
    inout wire logic adc_sdout,

    // Pmod 1
    output logic spdif_out,
    output logic midi_tx,
    input wire logic midi_rx,
    inout wire logic i2c_scl,
    inout wire logic i2c_sda,

    // Bench
    output logic trigger_out,
    input wire logic trigger_in
);

  // Flip-flops are 0 behind configuration. 255 clocks are 21 us.
  logic [7:0] reset_count_reg;
  logic rst;

  initial reset_count_reg = '0;
  initial rst = 1'b1;

  always_ff @(posedge clk) begin
    if (reset_count_reg != 8'hFF) reset_count_reg <= reset_count_reg + 8'd1;
    rst <= reset_count_reg != 8'hFF;
  end

  logic lrck, sclk, adc_data, scl_low, sda_low, scl, sda;
  /* verilator lint_off UNUSEDSIGNAL */
  wire logic [1:0] unused_in;
  logic unused_header_off;  // no header carries a copy of the converter signals
  /* verilator lint_on UNUSEDSIGNAL */

  assign dac_lrck = lrck;
  assign adc_lrck = lrck;
  assign dac_sclk = sclk;
  assign adc_sclk = sclk;

  // The master clock leaves through double-rate output cells: high from the rising to the falling edge of clk, 50 % duty as the
  // converters ask (45 to 55 %), with no path through the fabric.
  SB_IO #(
      .PIN_TYPE(6'b0100_01)
  ) mclk_pads[1:0] (
      .PACKAGE_PIN({dac_mclk, adc_mclk}),
      .OUTPUT_CLK(clk),
      .OUTPUT_ENABLE(1'b1),
      .D_OUT_0(1'b1),
      .D_OUT_1(1'b0),
      .D_IN_0(unused_in)
  );

  // The ADC reads the level of this line at start-up through its own 10k pull-down: input only, no pull-up, ever.
  SB_IO #(
      .PIN_TYPE(6'b0000_01),
      .PULLUP  (1'b0)
  ) adc_pad (
      .PACKAGE_PIN(adc_sdout),
      .OUTPUT_CLK(1'b0),
      .OUTPUT_ENABLE(1'b0),
      .D_OUT_0(1'b0),
      .D_OUT_1(1'b0),
      .D_IN_0(adc_data)
  );

  // Open drain: 0 or nothing. The bus has its own pull-up resistors; the weak ones here only keep the lines of a bench without
  // any device at a level.
  SB_IO #(
      .PIN_TYPE(6'b1010_01),
      .PULLUP  (1'b1)
  ) i2c_pads[1:0] (
      .PACKAGE_PIN({i2c_scl, i2c_sda}),
      .OUTPUT_CLK(1'b0),
      .OUTPUT_ENABLE({scl_low, sda_low}),
      .D_OUT_0(1'b0),
      .D_OUT_1(1'b0),
      .D_IN_0({scl, sda})
  );

  rig_core #(
      .STREAMS(4),
      .BUILD  (BUILD)
  ) core (
      .clk,
      .rst,
      .spi_sck,
      .spi_cs_n,
      .spi_mosi,
      .spi_miso,
      .attention,
      .i2s_bclk(sclk),
      .i2s_lrck(lrck),
      .i2s_dac_data(dac_sdin),
      .i2s_adc_data(adc_data),
      .spdif_out,
      .header_off(unused_header_off),
      .midi_tx,
      .midi_rx,
      .i2c_scl_low(scl_low),
      .i2c_sda_low(sda_low),
      .i2c_scl(scl),
      .i2c_sda(sda),
      .trigger_out,
      .trigger_in
  );

endmodule

`default_nettype wire
