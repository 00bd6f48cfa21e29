`default_nettype none

// Stream engine. Interface only; the body follows.
module stream_engine
#(
    // Number of streams, 1 to 16.
    parameter STREAMS = 4,
    // Most channels of a stream that RUN accepts, 1 to 8.
    parameter MAX_CHANNELS = 2
) (
    input wire logic clk,
    input wire logic rst,

    // Register slave: STREAM[] without EVENT_CAUSE and EVENT_ENABLE. Ack one cycle behind stb; rdata is valid with ack.
    // For 32 x STREAMS clocks behind reset no access is acknowledged.
    input  wire logic        bus_stb,
    input  wire logic        bus_we,
    input  wire logic [15:2] bus_adr,
    input  wire logic [31:0] bus_wdata,
    output logic      [31:0] bus_rdata,
    output logic             bus_ack,

    // Board time and the converter's count of frame ticks, for snapshots.
    input wire logic [63:0] now,
    input wire logic [31:0] frame_ticks,

    // Audio memory, Wishbone classic master. Ack at least one cycle behind stb.
    output logic             mem_stb,
    output logic             mem_we,
    output logic      [16:2] mem_adr,
    output logic      [ 3:0] mem_sel,
    output logic      [31:0] mem_wdata,
    input  wire logic [31:0] mem_rdata,
    input  wire logic        mem_ack,

    // Converter side. Samples are left-justified two's complement of 24 bits.
    input  wire logic        frame_tick,
    output logic             dac_we,
    output logic      [ 3:0] dac_stream,
    output logic      [ 2:0] dac_channel,
    output logic      [31:0] dac_sample,
    output logic      [ 2:0] adc_channel,
    input  wire logic [31:0] adc_sample,
    output logic             adc_take,

    // Events, to event_ring.
    output logic             ev_stamp,
    output logic             ev_valid,
    output logic      [ 7:0] ev_cause,
    output logic      [ 7:0] ev_stream,
    input  wire logic [ 1:0] ev_word,
    output logic      [31:0] ev_data,
    input  wire logic        ev_ready
);
  assign {bus_rdata, bus_ack, mem_stb, mem_we, mem_adr, mem_sel, mem_wdata, dac_we, dac_stream, dac_channel, dac_sample, adc_channel,
          adc_take, ev_stamp, ev_valid, ev_cause, ev_stream, ev_data} = '0;
  wire unused = &{1'b0, clk, rst, bus_stb, bus_we, bus_adr, bus_wdata, now, frame_ticks, mem_rdata, mem_ack, frame_tick, adc_sample,
                  ev_word, ev_ready, STREAMS[0], MAX_CHANNELS[0]};
endmodule

`default_nettype wire
