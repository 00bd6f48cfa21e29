`default_nettype none

// A way for a bench onto the word bus inside rig_core: takes the place of request_parser, whose name it must bear.
//
// One access: set `address`, `enables`, `write` and `out_word`, then turn `ask` over. `told` follows when it is done; then
// `in_word` holds what was read.
/* verilator lint_off DECLFILENAME */
module request_parser (
/* verilator lint_on DECLFILENAME */
    input wire logic clk,
    input wire logic rst,

    input wire logic selected,
    input wire logic rx_valid,
    input wire logic [7:0] rx_byte,
    output logic rx_ready,
    output logic tx_valid,
    output logic [7:0] tx_byte,
    input wire logic tx_take,

    output logic attention,

    output logic stb,
    output logic starts,
    output logic we,
    output logic [31:2] adr,
    output logic [31:0] wdata,
    output logic [3:0] sel,
    input wire logic ack,
    input wire logic [31:0] rdata,

    input wire logic [31:0] now,
    input wire logic event_waiting
);

  /* verilator lint_off UNDRIVEN */  // by the bench
  logic ask  /* verilator public_flat_rw */;
  logic write  /* verilator public_flat_rw */;
  logic [31:0] address  /* verilator public_flat_rw */;
  logic [3:0] enables  /* verilator public_flat_rw */;
  logic [31:0] out_word  /* verilator public_flat_rw */;
  /* verilator lint_on UNDRIVEN */
  logic told  /* verilator public_flat_rw */;
  logic [31:0] in_word  /* verilator public_flat_rw */;

  // stb rises behind the clock of `starts`, in which adr must stand already.
  assign starts = !rst && !stb && ask != told;
  assign adr = address[31:2];

  always_ff @(posedge clk)
    if (rst) begin
      stb  <= 0;
      told <= 0;
    end else if (stb) begin
      if (ack) begin
        stb     <= 0;
        told    <= ask;
        in_word <= rdata;
      end
    end else if (starts) begin
      stb   <= 1;
      we    <= write;
      sel   <= enables;
      wdata <= out_word;
    end

  assign attention = event_waiting;
  assign rx_ready = 1;
  assign tx_valid = 0;
  assign tx_byte = 0;

  wire unused = &{1'b0, selected, rx_valid, rx_byte, tx_take, now, address[1:0]};

endmodule

`default_nettype wire
