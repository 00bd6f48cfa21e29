`default_nettype none

// Small RAM with one write port and one read port, read data one cycle behind the address: a block RAM on any FPGA.
// Reading a word in the cycle in which it is written returns either value; users must not depend on which. Contents start as 0.
module ram_1r1w #(
    // Bits in a word.
    parameter WORD_W = 32,
    // Address bits.
    parameter ADDRESS_W = 8,
    // Parts of a word that are written one by one.
    parameter PARTS = 1
) (
    input  wire logic                 clk,
    input  wire logic [    PARTS-1:0] write,
    input  wire logic [ADDRESS_W-1:0] write_address,
    input  wire logic [   WORD_W-1:0] write_data,
    input  wire logic [ADDRESS_W-1:0] read_address,
    output logic      [   WORD_W-1:0] read_data
);

  localparam PART_W = WORD_W / PARTS;

  (* no_rw_check *) logic [WORD_W-1:0] words[2**ADDRESS_W];

  initial for (int i = 0; i < 2 ** ADDRESS_W; i++) words[i] = '0;

  always_ff @(posedge clk) begin
    read_data <= words[read_address];
    for (int i = 0; i < PARTS; i++) if (write[i]) words[write_address][PART_W*i+:PART_W] <= write_data[PART_W*i+:PART_W];
  end

endmodule

`default_nettype wire
