`default_nettype none

// spi_byte_crossing, seen from the system clock: the SPI side flips its toggle every 6 clocks at most often (docs: 6.4), the
// system side takes a byte within TAKE_CLOCKS. What two asynchronous clocks do to the synchronisers is not modelled here.
module spi_byte_crossing_proof #(
    parameter MIN_CLOCKS = 6,
    parameter TAKE_CLOCKS = 5
) (
    input wire logic clk,
    input wire logic rst,
    input wire logic spi_cs_n,
    input wire logic rx_toggle_sck,
    input wire logic [7:0] rx_byte_sck,
    input wire logic rx_ready_sys,
    input wire logic tx_valid_sys,
    input wire logic [7:0] tx_byte_sys,
    input wire logic [2:0] watched  // any byte of a frame, the same for ever
);

  logic [7:0] tx_hold_sys, rx_byte_sys;
  logic selected_sys, rx_valid_sys, tx_take_sys;

  spi_byte_crossing dut (.*);

  logic started_reg = 1'b0, cs_reg, toggle_reg;
  logic [7:0] byte_reg, watched_byte_reg, hold_reg, taken_reg;
  logic [2:0] sent_reg, received_reg, watched_reg;
  logic [4:0] since_toggle_reg, since_cs_reg, waits_reg;
  logic take_reg, selected_reg;

  wire flips = rx_toggle_sck != toggle_reg;
  wire received = rx_valid_sys && rx_ready_sys;

  always_ff @(posedge clk) begin
    started_reg <= 1'b1;
    cs_reg <= spi_cs_n;
    toggle_reg <= rx_toggle_sck;
    byte_reg <= rx_byte_sck;
    watched_reg <= watched;
    hold_reg <= tx_hold_sys;
    take_reg <= tx_take_sys;
    taken_reg <= tx_byte_sys;
    selected_reg <= selected_sys;
    since_toggle_reg <= !started_reg ? 5'd0 : flips ? 5'd1 : &since_toggle_reg ? since_toggle_reg : since_toggle_reg + 5'd1;
    since_cs_reg <= !started_reg || spi_cs_n != cs_reg ? 5'd1 : &since_cs_reg ? since_cs_reg : since_cs_reg + 5'd1;
    waits_reg <= rx_valid_sys && !rx_ready_sys && selected_sys ? waits_reg + 5'd1 : 5'd0;
    if (spi_cs_n) begin
      sent_reg <= 3'd0;
      received_reg <= 3'd0;
    end else begin
      if (flips) begin
        sent_reg <= sent_reg + 3'd1;
        if (sent_reg == watched) watched_byte_reg <= rx_byte_sck;
      end
      if (received) received_reg <= received_reg + 3'd1;
    end

    assume (rst == !started_reg);
    if (!started_reg) assume (spi_cs_n && !rx_toggle_sck && !toggle_reg && cs_reg);
    else begin
      assume (watched == watched_reg);
      // The SPI side: bytes only while selected, the byte changes with its toggle, chip select keeps its times.
      if (flips) assume (!spi_cs_n && since_toggle_reg >= 5'(MIN_CLOCKS) && since_cs_reg >= 5'(MIN_CLOCKS));
      else assume (rx_byte_sck == byte_reg);
      if (spi_cs_n && !cs_reg) assume (since_cs_reg >= 5'd4);
      if (!spi_cs_n && cs_reg) assume (since_cs_reg >= 5'd8);
      // The system side.
      if (waits_reg == 5'(TAKE_CLOCKS)) assume (rx_ready_sys);

      if (!spi_cs_n && !cs_reg && since_cs_reg >= 5'd3) begin
        // At most two bytes are on their way, and none for longer than 4 clocks and what the system side takes.
        assert (sent_reg - received_reg <= 3'd2);
        if (since_toggle_reg >= 5'd4) assert (sent_reg - received_reg == 3'(rx_valid_sys));
        if (since_toggle_reg > 5'(4 + TAKE_CLOCKS)) assert (sent_reg == received_reg);
        if (sent_reg == received_reg) assert (!rx_valid_sys);
        if (received && received_reg == watched) assert (rx_byte_sys == watched_byte_reg);
      end
      // The byte to be sent changes only when one is done, 2 or 3 clocks behind the toggle, and is the one that was taken.
      if (selected_reg && selected_sys) begin
        if (tx_hold_sys != hold_reg) assert (since_toggle_reg == 5'd3);
        if (take_reg) assert (tx_hold_sys == taken_reg);
        if (tx_take_sys) assert (tx_valid_sys && since_toggle_reg == 5'd2);
      end
    end

    cover (started_reg && received && received_reg == 3'd3 && rx_byte_sys == 8'hA5);
    cover (started_reg && take_reg && tx_hold_sys == 8'h5A && since_cs_reg > 5'd8);
    cover (started_reg && spi_cs_n && cs_reg && since_cs_reg == 5'd5 && sent_reg == 3'd0 && watched_byte_reg == 8'h77);
  end

endmodule

`default_nettype wire
