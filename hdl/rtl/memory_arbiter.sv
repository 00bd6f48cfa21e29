`default_nettype none

// Shares the audio memory between the host and the stream engine. The memory answers one cycle after each access.
//
// The host has priority and is acknowledged one cycle after its strobe, always. A port is not served in the cycle of its own ack,
// in which its strobe still stands; so the other port gets every second cycle at least, and the engine waits one cycle longer at
// most, whatever the host does.
module memory_arbiter (
    input wire logic clk,
    input wire logic rst,

    // Wishbone classic slave, first priority.
    input  wire logic        host_stb,
    input  wire logic        host_we,
    input  wire logic [16:2] host_adr,
    input  wire logic [ 3:0] host_sel,
    input  wire logic [31:0] host_wdata,
    output logic      [31:0] host_rdata,
    output logic             host_ack,

    // Wishbone classic slave, second priority.
    input  wire logic        engine_stb,
    input  wire logic        engine_we,
    input  wire logic [16:2] engine_adr,
    input  wire logic [ 3:0] engine_sel,
    input  wire logic [31:0] engine_wdata,
    output logic      [31:0] engine_rdata,
    output logic             engine_ack,

    // Memory: takes an access every cycle, read data one cycle later.
    output logic             memory_stb,
    output logic             memory_we,
    output logic      [16:2] memory_adr,
    output logic      [ 3:0] memory_sel,
    output logic      [31:0] memory_wdata,
    input  wire logic [31:0] memory_rdata
);

  wire host_grant = host_stb && !host_ack;
  wire engine_grant = engine_stb && !engine_ack && !host_grant;

  assign memory_stb = host_grant || engine_grant;
  assign memory_we = host_grant ? host_we : engine_we;
  assign memory_adr = host_grant ? host_adr : engine_adr;
  assign memory_sel = host_grant ? host_sel : engine_sel;
  assign memory_wdata = host_grant ? host_wdata : engine_wdata;
  assign host_rdata = memory_rdata;
  assign engine_rdata = memory_rdata;

  always_ff @(posedge clk) begin
    host_ack   <= host_grant && !rst;
    engine_ack <= engine_grant && !rst;
  end

endmodule

`default_nettype wire
