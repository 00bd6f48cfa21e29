`default_nettype none

// What is looked at inside the engine; bound into it, where the names of its states are known.
module stream_engine_taps (
    input wire logic clearing,
    input wire logic wiping,
    input wire logic in_decode,
    input wire logic in_frame,
    input wire logic in_tick,
    input wire logic in_fill,
    input wire logic fill_visit,
    input wire logic tick_visit,
    input wire logic writes_fields,
    input wire logic writes_frames
);
endmodule

bind stream_engine stream_engine_taps taps (
    .clearing(!ready_reg),
    .wiping(state_reg == WIPE_B),
    .in_decode(act == DO_DECODE && run_it),
    .in_frame(state_reg == FRAME && run_it),
    .in_tick(condition == IF_CONVERT || sampling || state_reg == FRAME),
    .in_fill(condition == IF_ROOM || condition == IF_PREPARED || fetching || moving || condition == IF_MAY_MOVE),
    .fill_visit(visit_reg == FILL),
    .tick_visit(visit_reg == TICK),
    .writes_fields(run_it && write && write_word == FIELDS),
    .writes_frames(run_it && write && write_word == FRAMES_LO)
);

// stream_engine with a host that does anything within the bus rules, memory that answers anything at any time, and ticks, samples
// and event takers that are free. The claims are about one arbitrary stream.
module stream_engine_proof
  import codecrig_pkg::*;
#(
    parameter STREAMS = 2,
    // 1: begin anywhere instead of behind reset; for the cover run only.
    parameter FREE_START = 0,
    localparam W = STREAMS > 1 ? $clog2(STREAMS) : 1
) (
    input wire logic         clk,
    input wire logic         rst,
    input wire logic         bus_stb,
    input wire logic         bus_we,
    input wire logic [ 15:2] bus_adr,
    input wire logic [ 31:0] bus_wdata,
    input wire logic [ 63:0] now,
    input wire logic [ 31:0] frame_ticks,
    input wire logic [ 31:0] mem_rdata,
    input wire logic         mem_ack,
    input wire logic         mem_err,
    input wire logic         frame_tick,
    input wire logic [ 10:0] frame_clocks,
    input wire logic [ 31:0] adc_sample,
    input wire logic [  1:0] ev_word,
    input wire logic         ev_ready,
    input wire logic [W-1:0] watched
);

  logic [31:0] bus_rdata, mem_wdata, dac_sample, ev_data;
  logic bus_ack, mem_stb, mem_we, dac_we, adc_take, ev_stamp, ev_valid;
  logic [16:2] mem_adr;
  logic [ 3:0] mem_sel, dac_stream;
  logic [2:0] dac_channel, adc_channel;
  logic [7:0] ev_cause, ev_stream;

  stream_engine #(.STREAMS(STREAMS)) dut (.*);

  wire visited = dut.stream_reg == watched;
  wire clearing = dut.taps.clearing;
  wire wiping = clearing || dut.taps.wiping;
  wire fields_write = visited && dut.taps.writes_fields;
  wire frames_write = visited && dut.taps.writes_frames;
  // FIELDS and FRAMES_LO of the watched stream.
  wire [31:0] stored_fields = dut.contexts.words[{watched, 6'd32}];
  wire [31:0] stored_frames = dut.contexts.words[{watched, 6'd36}];

  logic started_reg = 1'b0, rst_reg, waits_reg, host_waits_reg, event_waits_reg;
  logic [W-1:0] watched_reg;
  logic [52:0] access_reg;
  logic [47:0] host_access_reg;
  logic [15:0] event_reg;
  logic [1:0] run_reg = 2'd0;  // state of the watched stream as stored
  logic [31:0] frames_reg = 32'd0;  // its position as stored

  // Bytes that a write leaves alone do not matter.
  logic [31:0] written;
  always_comb for (int i = 0; i < 4; i++) written[8*i+:8] = mem_we && mem_sel[i] ? mem_wdata[8*i+:8] : 8'd0;
  wire [52:0] access = {mem_stb, mem_we, mem_adr, mem_sel, written};
  wire [47:0] host_access = {bus_stb, bus_we, bus_adr, bus_wdata};

  always_ff @(posedge clk) begin
    started_reg <= 1'b1;
    rst_reg <= rst;
    watched_reg <= watched;
    waits_reg <= mem_stb && !mem_ack && !mem_err && !rst;
    access_reg <= access;
    host_waits_reg <= bus_stb && !bus_ack && !rst;
    host_access_reg <= host_access;
    event_waits_reg <= ev_valid && !ev_ready && !rst;
    event_reg <= {ev_cause, ev_stream};
    if (fields_write) run_reg <= dut.result[1:0];
    if (frames_write) frames_reg <= dut.result;

    assume (rst == (!started_reg && FREE_START == 0));
    if (started_reg) begin
      assume (watched == watched_reg);
      if (host_waits_reg) assume (host_access == host_access_reg);
      // Ack at least one clock behind the strobe, and only for a strobe.
      assume (!(mem_ack || mem_err) || waits_reg);
      assume (!mem_ack || !mem_err);
      assume (!ev_ready || ev_valid);

      // Wishbone: an access stands as it is until its ack.
      if (waits_reg) assert (access == access_reg);
      if (mem_stb) assert (mem_sel != 4'd0);
      // An event too.
      if (event_waits_reg) assert (ev_valid && {ev_cause, ev_stream} == event_reg);

      assert (!dut.taps.in_fill || dut.taps.fill_visit);
      assert (!dut.taps.in_tick || dut.taps.tick_visit);
      // The model of the context RAM, and what the sequencer read of it.
      assert (stored_fields[1:0] == run_reg);
      assert (stored_frames == frames_reg);
      if (!clearing) begin
        if (visited && dut.taps.in_decode) assert (dut.context_rdata[1:0] == run_reg);
        if (visited && dut.taps.in_frame) assert (dut.context_rdata == frames_reg);
        if (visited && (dut.taps.in_tick || dut.taps.in_fill)) assert (run_reg == 2'(STREAM_STATE_RUN));

        // Position: one frame more, in RUN only, or back to 0 by STOP. So it stands still in PAUSE.
        if (frames_write && !wiping) assert (run_reg == 2'(STREAM_STATE_RUN) && dut.result == frames_reg + 32'd1);
        if (visited && wiping && frames_write) assert (dut.result == 32'd0);
        // Nor is anything played, recorded or moved.
        if (visited && (dac_we || adc_take || mem_stb)) assert (run_reg == 2'(STREAM_STATE_RUN));
      end
    end

    cover (started_reg && mem_stb && mem_we && waits_reg && visited);
    cover (started_reg && frames_write && !wiping);
    cover (started_reg && !clearing && visited && run_reg == 2'(STREAM_STATE_PAUSE) && frames_reg != 32'd0);
  end

endmodule

`default_nettype wire
