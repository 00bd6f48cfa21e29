`default_nettype none

// memory_arbiter in front of audio_memory.
module arbiter_bench (
    input wire logic clk,
    input wire logic rst,

    input  wire logic        host_stb,
    input  wire logic        host_we,
    input  wire logic [16:2] host_adr,
    input  wire logic [ 3:0] host_sel,
    input  wire logic [31:0] host_wdata,
    output logic      [31:0] host_rdata,
    output logic             host_ack,

    input  wire logic        engine_stb,
    input  wire logic        engine_we,
    input  wire logic [16:2] engine_adr,
    input  wire logic [ 3:0] engine_sel,
    input  wire logic [31:0] engine_wdata,
    output logic      [31:0] engine_rdata,
    output logic             engine_ack
);

  logic memory_stb, memory_we;
  logic [16:2] memory_adr;
  logic [3:0] memory_sel;
  logic [31:0] memory_wdata, memory_rdata;

  memory_arbiter arbiter (.*);

  audio_memory memory (
      .clk,
      .stb(memory_stb),
      .we(memory_we),
      .adr(memory_adr),
      .sel(memory_sel),
      .wdata(memory_wdata),
      .rdata(memory_rdata)
  );

endmodule

`default_nettype wire
