`default_nettype none

// SPI slave, mode 0, most significant bit first: bytes in, bytes out, one chip-select frame for each request.
//
// The shift registers run on SCK itself, which may be faster than clk and bears no relation to it; whole bytes cross in
// spi_byte_crossing. The byte that is offered while byte k comes in goes out as byte k + 2; where none is offered, 0x00 goes out.
// Limit: 8 SCK periods must last 6.25 periods of clk at least.
module spi_bridge (
    input wire logic clk,
    input wire logic rst,

    // Pins
    input wire logic spi_sck,
    /* verilator lint_off SYNCASYNCNET */  // clears the bit count without a clock, and crosses as a level
    input wire logic spi_cs_n,
    /* verilator lint_on SYNCASYNCNET */
    input wire logic spi_mosi,
    output logic spi_miso,

    // Bytes, system clock. `selected` low: the frame has ended, drop everything.
    output logic selected,
    output logic rx_valid,
    output logic [7:0] rx_byte,
    input wire logic rx_ready,
    input wire logic tx_valid,
    input wire logic [7:0] tx_byte,
    output logic tx_take
);

  logic [2:0] bit_count_sck;
  logic [6:0] rx_shift_sck;
  logic [7:0] rx_byte_sck, tx_shift_sck, tx_hold_sys;
  logic rx_toggle_sck;

  // Chip select may rise in the middle of a byte, with no SCK edge behind it: so the bit count clears without a clock.
  always_ff @(posedge spi_sck or posedge spi_cs_n)
    if (spi_cs_n) bit_count_sck <= 3'd0;
    else bit_count_sck <= bit_count_sck + 3'd1;

  initial rx_toggle_sck = 1'b0;

  always_ff @(posedge spi_sck) begin
    rx_shift_sck <= {rx_shift_sck[5:0], spi_mosi};
    if (bit_count_sck == 3'd7) begin
      rx_byte_sck   <= {rx_shift_sck, spi_mosi};
      rx_toggle_sck <= !rx_toggle_sck;
    end
  end

  // On the falling edge behind the eighth bit the count has wrapped to 0: the next byte is taken.
  always_ff @(negedge spi_sck or posedge spi_cs_n)
    if (spi_cs_n) tx_shift_sck <= 8'h00;
    else if (bit_count_sck == 3'd0) tx_shift_sck <= tx_hold_sys;
    else tx_shift_sck <= {tx_shift_sck[6:0], 1'b0};

  assign spi_miso = tx_shift_sck[7];

  spi_byte_crossing crossing (
      .clk,
      .rst,
      .spi_cs_n,
      .rx_toggle_sck,
      .rx_byte_sck,
      .tx_hold_sys,
      .selected_sys(selected),
      .rx_valid_sys(rx_valid),
      .rx_byte_sys (rx_byte),
      .rx_ready_sys(rx_ready),
      .tx_valid_sys(tx_valid),
      .tx_byte_sys (tx_byte),
      .tx_take_sys (tx_take)
  );

endmodule

`default_nettype wire
