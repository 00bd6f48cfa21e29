`default_nettype none

// Audio memory: 128 KiB as 32768 words of 32 bits with byte enables, one access a cycle, read data one cycle behind `stb`.
//
// With CODECRIG_ICE40 defined it is the four single-port RAMs of an iCE40 UltraPlus, two side by side for each half of the
// addresses; otherwise an array. Contents are not defined after power-up and survive reset.
module audio_memory (
    input  wire logic        clk,
    input  wire logic        stb,
    input  wire logic        we,
    input  wire logic [16:2] adr,
    input  wire logic [ 3:0] sel,
    input  wire logic [31:0] wdata,
    output logic      [31:0] rdata
);

`ifdef CODECRIG_ICE40

  logic [31:0] half_rdata[2];
  logic        half_reg;

  // The chip holds its output while not selected; which half to show is that of the last access.
  always_ff @(posedge clk) if (stb) half_reg <= adr[16];
  assign rdata = half_rdata[half_reg];

  for (genvar half = 0; half < 2; half++) begin : g_half
    for (genvar side = 0; side < 2; side++) begin : g_side
      SB_SPRAM256KA ram (
          .ADDRESS(adr[15:2]),
          .DATAIN(wdata[16*side+:16]),
          // One mask bit for each nibble.
          .MASKWREN({{2{sel[2*side+1]}}, {2{sel[2*side]}}}),
          .WREN(we),
          .CHIPSELECT(stb && adr[16] == half[0]),
          .CLOCK(clk),
          .STANDBY(1'b0),
          .SLEEP(1'b0),
          .POWEROFF(1'b1),
          .DATAOUT(half_rdata[half][16*side+:16])
      );
    end
  end

`else

  logic [31:0] words[32768]  /* verilator public_flat_rw */;

  always_ff @(posedge clk)
    if (stb) begin
      if (!we) rdata <= words[adr];
      else begin
        if (sel[0]) words[adr][7:0] <= wdata[7:0];
        if (sel[1]) words[adr][15:8] <= wdata[15:8];
        if (sel[2]) words[adr][23:16] <= wdata[23:16];
        if (sel[3]) words[adr][31:24] <= wdata[31:24];
      end
    end

`endif

endmodule

`default_nettype wire
