`default_nettype none

// midi_uart with board time beside it: `now_lo` counts, from `now_start` as long as `now_set` is high.
module midi_bench (
    input wire logic clk,
    input wire logic rst,

    input wire logic        now_set,
    input wire logic [31:0] now_start,
    output logic [31:0] now_lo,

    input  wire logic        bus_stb,
    input  wire logic        bus_we,
    input  wire logic [15:2] bus_adr,
    input  wire logic [31:0] bus_wdata,
    output logic      [31:0] bus_rdata,
    output logic             bus_ack,

    output logic midi_tx,
    input  wire logic midi_rx,

    output logic rx_pulse,
    output logic tx_empty_pulse,
    output logic rx_overflow_pulse
);

  always_ff @(posedge clk) now_lo <= now_set ? now_start : now_lo + 32'd1;

  midi_uart uart (.*);

endmodule

`default_nettype wire
