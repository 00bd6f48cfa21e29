`default_nettype none

// request_parser: bytes come and go at any speed, chip select falls at any time, the bus answers
// within 8 clocks, and chip select stays high for 16 (docs/wire.md).
module request_parser_taps (
    input wire logic in_write,
    input wire logic in_reply,
    input wire logic behind_check,
    input wire logic data_valid,
    input wire logic more
);
endmodule

bind request_parser request_parser_taps taps (
    .in_write(state_reg == WRITE),
    .in_reply(state_reg == REPLY),
    .behind_check(state_reg != HEAD && state_reg != CHECK && state_reg != DEAD),
    .data_valid(data_valid_reg),
    .more(payload_follows && !all_loaded_reg)
);

module request_parser_proof
  import codecrig_pkg::*;
#(
    // 1: begin anywhere instead of behind reset; for the cover run only.
    parameter FREE_START = 0
) (
    input wire logic        clk,
    input wire logic        rst,
    input wire logic        selected,
    input wire logic        rx_valid,
    input wire logic [ 7:0] rx_byte,
    input wire logic        tx_take,
    input wire logic        ack,
    input wire logic [31:0] rdata,
    input wire logic [31:0] now,
    input wire logic        event_waiting
);

  logic rx_ready, tx_valid, attention, stb, we;
  logic [7:0] tx_byte;
  logic [31:2] adr;
  logic [31:0] wdata;
  logic [ 3:0] sel;

  request_parser dut (.*);

  logic started_reg = 1'b0, waits_reg, offered_reg;
  logic [7:0] byte_reg;
  // Clocks since the strobe rose; clocks since `selected` fell, 16 stands for more.
  logic [4:0] strobe_clocks_reg = 5'd0, low_clocks_reg = 5'd16;
  logic selected_reg = 1'b0;
  logic [67:0] access_reg;
  wire [67:0] access = {stb, we, adr, sel, we ? wdata : 32'd0};

  wire sends = tx_valid && tx_take;

  always_ff @(posedge clk) begin
    started_reg <= 1'b1;
    waits_reg <= stb && !ack && !rst;
    access_reg <= access;
    offered_reg <= tx_valid && !tx_take && selected && !rst;
    byte_reg <= tx_byte;
    selected_reg <= selected;
    strobe_clocks_reg <= stb && !ack && !rst ? strobe_clocks_reg + 5'd1 : 5'd0;
    low_clocks_reg <= selected ? 5'd0 : low_clocks_reg == 5'd16 ? 5'd16 : low_clocks_reg + 5'd1;

    assume (rst == (!started_reg && FREE_START == 0));
    assume (!tx_take || tx_valid);
    if (started_reg) begin
      assume (!ack || (stb && waits_reg));
      if (strobe_clocks_reg == 5'd8) assume (ack);
      if (selected && !selected_reg) assume (low_clocks_reg == 5'd16);
      // Where an access may be under way.
      assert (strobe_clocks_reg <= 5'd8);
      assert (!(we && dut.taps.data_valid && dut.taps.behind_check));
      assert (we || !dut.taps.in_write);
      if (dut.taps.behind_check && !we) assert (sel == 4'hF);
      if (stb) assert (low_clocks_reg <= strobe_clocks_reg + 5'd1);
      if (stb && low_clocks_reg == 5'd0) assert (we ? dut.taps.in_write : dut.taps.in_reply && !dut.taps.data_valid && dut.taps.more);
      // Bus: an access stands as it is until its ack, also when chip select falls in the middle.
      if (waits_reg) assert (access == access_reg);
      if (stb) assert (sel != 4'd0);
      // A byte offered stays until it is taken.
      if (offered_reg && selected) assert (tx_valid && tx_byte == byte_reg);
    end
    cover (started_reg && waits_reg && stb && we && !selected);
    cover (started_reg && sends && offered_reg);
  end

  wire unused = &{1'b0, attention};

endmodule

`default_nettype wire
