`default_nettype none

// event_ring: sources are free, a host that takes what is there and no more. Claims about the records' place, not their contents.
module event_ring_proof
  import codecrig_pkg::*;
#(
    parameter STREAMS = 2,
    // 1: begin anywhere instead of behind reset; for the cover run only.
    parameter FREE_START = 0
) (
    input wire logic        clk,
    input wire logic        rst,
    input wire logic        bus_stb,
    input wire logic        bus_we,
    input wire logic [15:2] bus_adr,
    input wire logic [31:0] bus_wdata,
    input wire logic [63:0] now,
    input wire logic        ev_stamp,
    input wire logic        ev_valid,
    input wire logic [ 7:0] ev_cause,
    input wire logic [ 7:0] ev_stream,
    input wire logic [31:0] ev_data,
    input wire logic        timer_pulse,
    input wire logic        pattern_pulse,
    input wire logic [31:0] pattern_data,
    input wire logic        trigger_pulse,
    input wire logic        monitor_valid,
    input wire logic [ 7:0] monitor_stamp,
    input wire logic [ 7:0] monitor_index,
    input wire logic [31:0] monitor_address
);

  logic [31:0] bus_rdata;
  logic bus_ack, events_waiting, ev_ready, monitor_ready;
  logic [1:0] ev_word;

  event_ring #(.STREAMS(STREAMS)) dut (.*);

  logic started_reg = 1'b0, host_waits_reg, event_waits_reg, monitor_waits_reg, ended_reg, rst_reg;
  logic [47:0] host_access_reg;
  logic [15:0] event_reg;
  logic [31:0] producer_reg, consumer_reg, lost_reg;
  // Words of the record under way, in the order in which they were written.
  logic [3:0] words_reg;
  logic wanted_reg, written_all_reg;

  wire [31:0] producer = dut.producer_reg;
  wire [31:0] consumer = dut.consumer_reg;
  wire [31:0] level = producer - consumer;
  wire record_write = dut.records.write;
  wire [8:0] record_address = dut.records.write_address;
  wire consumes = bus_stb && bus_we && bus_ack && {bus_adr, 2'b00} == FPGA_EVENT_CONSUMER[15:0];
  wire [47:0] host_access = {bus_stb, bus_we, bus_adr, bus_wdata};
  wire ended = (ev_valid && ev_ready) || (monitor_valid && monitor_ready);

  always_ff @(posedge clk) begin
    started_reg <= 1'b1;
    rst_reg <= rst;
    host_waits_reg <= bus_stb && !bus_ack && !rst;
    host_access_reg <= host_access;
    event_waits_reg <= ev_valid && !ev_ready && !rst;
    monitor_waits_reg <= monitor_valid && !monitor_ready && !rst;
    event_reg <= {ev_cause, ev_stream};
    ended_reg <= ended && !rst;
    written_all_reg <= record_write && words_reg == 4'd7 && !rst;
    wanted_reg <= dut.wanted || words_reg != 4'd0;
    producer_reg <= producer;
    consumer_reg <= consumer;
    lost_reg <= dut.lost_reg;
    words_reg <= rst || !record_write || words_reg == 4'd7 ? 4'd0 : words_reg + 4'd1;

    assume (rst == (!started_reg && FREE_START == 0));
    if (FREE_START == 1 && !started_reg) assume (level < 32'd64 && words_reg == (record_write ? {1'b0, dut.word_reg} : 4'd0));
    // A host takes what is there and never gives back; sources stay until they are taken.
    if (consumes) assume (bus_wdata - consumer <= level);
    if (started_reg) begin
      if (host_waits_reg) assume (host_access == host_access_reg);
      if (event_waits_reg) assume (ev_valid && {ev_cause, ev_stream} == event_reg);
      if (monitor_waits_reg) assume (monitor_valid);

      // Never more records than places, and none is written where an unread one stands.
      assert (level <= 32'd64);
      if (record_write) assert (level < 32'd64 && record_address == {producer[5:0], words_reg[2:0]});
      if (words_reg != 4'd0) assert (record_write && words_reg < 4'd8);
      // The producer moves behind the eighth word, by one, and at no other time.
      if (!rst_reg) assert (producer == producer_reg || (producer == producer_reg + 32'd1 && words_reg == 4'd0));
      if (!rst_reg && producer != producer_reg) assert (written_all_reg);
      // An event that its source saw taken while enabled: there is a record of it, or one more is counted as lost.
      if (ended_reg && wanted_reg) assert (producer == producer_reg + 32'd1 || dut.lost_reg == lost_reg + 32'd1);
      if (!rst_reg) assert (dut.lost_reg == lost_reg || (dut.lost_reg == lost_reg + 32'd1 && producer == producer_reg));
      assert (events_waiting == (producer != consumer));
    end

    cover (started_reg && !rst_reg && ended_reg && producer == producer_reg + 32'd1);
    cover (started_reg && !rst_reg && ended_reg && dut.lost_reg == lost_reg + 32'd1);
    cover (started_reg && level == 32'd64);
  end

endmodule

`default_nettype wire
