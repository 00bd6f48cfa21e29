`default_nettype none

// Carries whole bytes between the SPI clock (suffix _sck) and the system clock (suffix _sys).
//
// The SPI side flips rx_toggle_sck when its eighth bit has come in; that edge, brought across by two flip-flops, is the only
// event that crosses. One byte lasts 8 SCK periods: 6.4 system clocks at 15.36 MHz and 12.288 MHz, the fastest case.
//
// Why it is safe, from the SCK edge that flips the toggle, in system clocks:
// * the toggle is seen after 2 to 3 clocks: one bit, two flip-flops;
// * rx_byte_sck is taken then. It changes again 6.4 clocks after the edge at the earliest, so it is stable;
// * tx_hold_sys changes then and at no other time while selected. The SPI side samples it at its next byte border: 0.4 clocks
//   after the edge at the earliest (the old value, which has been stable for a byte) and 6.8 clocks after it (the new value,
//   stable for 3.8 clocks). So it never moves within 1.6 clocks of being sampled.
// * Chip select high clears everything here; it stays high for 16 clocks at least (docs/wire.md).
module spi_byte_crossing (
    input wire logic clk,
    input wire logic rst,

    // SPI side
    input wire logic spi_cs_n,
    input wire logic rx_toggle_sck,
    input wire logic [7:0] rx_byte_sck,
    output logic [7:0] tx_hold_sys,

    // System side. rx_valid and rx_byte stay until rx_ready. tx_take takes tx_byte when tx_valid, else filler is sent.
    output logic selected_sys,
    output logic rx_valid_sys,
    output logic [7:0] rx_byte_sys,
    input wire logic rx_ready_sys,
    input wire logic tx_valid_sys,
    input wire logic [7:0] tx_byte_sys,
    output logic tx_take_sys
);

  logic cs_n_sys, toggle_sys, seen_reg;

  level_synchroniser #(.RESET_LEVEL(1'b1)) cs_synchroniser (.clk, .rst, .level(spi_cs_n), .level_sys(cs_n_sys));
  level_synchroniser toggle_synchroniser (.clk, .rst(1'b0), .level(rx_toggle_sck), .level_sys(toggle_sys));

  assign selected_sys = !cs_n_sys;

  wire byte_done = toggle_sys != seen_reg;
  assign tx_take_sys = byte_done && tx_valid_sys;

  always_ff @(posedge clk) begin
    seen_reg <= toggle_sys;
    if (rst || cs_n_sys) begin
      rx_valid_sys <= 1'b0;
      tx_hold_sys  <= 8'h00;
    end else if (byte_done) begin
      rx_valid_sys <= 1'b1;
      rx_byte_sys  <= rx_byte_sck;
      tx_hold_sys  <= tx_valid_sys ? tx_byte_sys : 8'h00;
    end else if (rx_ready_sys) rx_valid_sys <= 1'b0;
  end

endmodule

`default_nettype wire
