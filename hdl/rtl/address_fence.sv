`default_nettype none

// Address fence: lets accesses of the stream engine pass to memory inside a window that the host sets, and answers others by an error.
//
// It stands in the strobe line only: address and data of an access go by it, acknowledge and read data come back by it. An access
// inside passes in the same clock. One outside never reaches memory; its error comes one clock behind the strobe. What was decided
// for an access holds until it has ended, even if the window changes meanwhile; the host's write is acknowledged when no access
// that began under the old window is left.
module address_fence
  import codecrig_pkg::*;
(
    input wire logic clk,
    input wire logic rst,

    // Register slave: FENCE_FIRST, FENCE_LAST. Ack one cycle behind stb, later only while an access to memory is under way; rdata is
    // valid with ack.
    input  wire logic        bus_stb,
    input  wire logic        bus_we,
    input  wire logic [15:2] bus_adr,
    input  wire logic [31:0] bus_wdata,
    output logic      [31:0] bus_rdata,
    output logic             bus_ack,

    // Engine, Wishbone classic: its strobe and address stay until acknowledge, which is memory's, or error.
    input  wire logic        engine_stb,
    input  wire logic [16:8] engine_adr,
    output logic             engine_err,

    // Memory, Wishbone classic.
    output logic      memory_stb,
    input  wire logic memory_ack
);

  logic [16:8] first_reg, last_reg;
  logic passing_reg;  // an access that passed waits for memory

  // By the carries of first - 1 - adr and last - adr; so written, these comparisons and those of the monitors share the inverted address.
  wire [9:0] below = {1'b0, first_reg} + {1'b0, ~engine_adr};
  wire [9:0] above = {1'b0, last_reg} + {1'b0, ~engine_adr} + 10'd1;
  wire permitted = !below[9] && above[9];
  assign memory_stb = engine_stb && (passing_reg || permitted) && !engine_err;
  wire under_way = memory_stb && !memory_ack;

  wire is_last = bus_adr[2] == FPGA_FENCE_LAST[2];
  assign bus_rdata = bus_ack ? {23'd0, is_last ? last_reg : first_reg} : 'x;

  always_ff @(posedge clk) begin
    passing_reg <= under_way && !rst;
    engine_err <= engine_stb && !memory_stb && !engine_err && !rst;
    bus_ack <= bus_stb && !bus_ack && !under_way && !rst;

    if (bus_stb && bus_we) begin
      if (is_last) last_reg <= bus_wdata[8:0];
      else first_reg <= bus_wdata[8:0];
    end

    if (rst) begin
      first_reg <= '0;
      last_reg  <= '1;
    end
  end

  wire unused = &{1'b0, bus_adr[15:3], bus_wdata[31:9], below[8:0], above[8:0]};

endmodule

`default_nettype wire
