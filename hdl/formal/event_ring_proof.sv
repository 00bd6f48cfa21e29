`default_nettype none

// What is looked at inside the ring; bound into it, where the names of its states are known.
module event_ring_taps (
    input wire logic        clearing,
    input wire logic        idle,
    input wire logic        in_look,
    input wire logic        in_post,
    input wire logic        in_move,
    input wire logic        in_lose,
    input wire logic        of_engine,
    input wire logic        of_board,
    input wire logic        reposts,
    input wire logic        reports_loss,
    input wire logic [31:0] written_word
);
endmodule

bind event_ring event_ring_taps taps (
    .clearing(state_reg == CLEAR),
    .idle(state_reg == IDLE),
    .in_look(state_reg == LOOK),
    .in_post(state_reg == POST),
    .in_move(state_reg == MOVE),
    .in_lose(state_reg == LOSE),
    .of_engine(source_reg == ENGINE),
    .of_board(source_reg == OWN),
    .reposts(source_reg == REPOST),
    .reports_loss(is_own(OVERFLOW)),
    .written_word(bus_ack ? bus_wdata : sum() | data())
);

// A claim: assumed in the first clock of a run that begins in any state, asserted from then on.
`define CLAIM(claim) \
  begin \
    if (ANY_START == 1 && !started_reg) assume (claim); \
    else assert (claim); \
  end

// event_ring: sources are free, a host that takes what is there and no more. The claims about enables and causes are for one
// arbitrary stream.
module event_ring_proof
  import codecrig_pkg::*;
#(
    parameter STREAMS = 2,
    // 1: begin in any state in which the claims hold instead of behind reset.
    parameter ANY_START = 0
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
    input wire logic        midi_received_pulse,
    input wire logic        midi_sent_pulse,
    input wire logic        midi_overflow_pulse,
    input wire logic        monitor_valid,
    input wire logic [ 7:0] monitor_stamp,
    input wire logic [ 7:0] monitor_index,
    input wire logic [31:0] monitor_address,
    input wire logic [ 3:0] watched
);

  localparam logic [5:0] ZERO = 6'h10, PRODUCER = 6'h1C, CONSUMER = 6'h1D, LOST = 6'h1E, MINUS_256 = 6'h20, MINUS_1 = 6'h21;

  logic [31:0] bus_rdata;
  logic bus_ack, events_waiting, ev_ready, monitor_ready;
  logic [1:0] ev_word;

  event_ring #(.STREAMS(STREAMS)) dut (.*);

  logic started_reg = 1'b0, rst_reg, host_waits_reg, event_waits_reg, monitor_waits_reg;
  logic [47:0] host_access_reg;
  logic [15:0] event_reg;
  logic [63:0] now_reg;
  logic [3:0] watched_reg;
  logic [1:0] host_clocks_reg;
  // The counts as the host knows them, the words of the record under way, and how the last event of a source ended.
  logic [31:0] producer_reg, consumer_reg, lost_reg;
  logic [3:0] words_reg;
  logic ended_reg, move_reg, lose_reg;
  // Enables and causes of the watched stream, by what the host wrote and what happened.
  logic [6:0] enabled_reg, sticky_reg;
  // Time of the event that is served: the latest one, when it is looked at, whose low byte is the stamp.
  logic [63:0] moment_reg;

  wire clearing = dut.taps.clearing;
  wire [31:0] level = dut.producer_reg - consumer_reg;
  wire write = bus_stb && bus_we && bus_ack;
  wire [15:0] offset = {bus_adr, 2'b00};
  wire consumes = write && offset == FPGA_EVENT_CONSUMER[15:0];
  wire of_watched = bus_adr[15:12] == 4'd1 && bus_adr[11:8] == watched;
  wire enables = write && of_watched && bus_adr[7:2] == STREAM_EVENT_ENABLE[7:2];
  wire clears = write && of_watched && bus_adr[7:2] == STREAM_EVENT_CAUSE[7:2];
  wire [47:0] host_access = {bus_stb, bus_we, bus_adr, bus_wdata};
  wire record_write = dut.taps.in_post && !bus_ack;
  wire [31:0] record = dut.taps.written_word;
  wire serves_watched = dut.taps.of_engine && dut.index_reg == {1'b0, watched};
  wire [7:0] age = now[7:0] - dut.stamp_reg;
  wire recent = now - moment_reg < 64'd256;
  // What the register RAM shows must be, and what it holds; nobody reads the upper half of a word of causes.
  wire [31:0] register = dut.register;
  wire [15:0] watched_word = {1'b0, enabled_reg, 1'b0, sticky_reg};
  wire is_count = bus_adr[15:12] == 4'd0 && offset <= FPGA_EVENT_LOST[15:0];

  always_ff @(posedge clk) begin
    started_reg <= 1'b1;
    rst_reg <= rst;
    now_reg <= now;
    watched_reg <= watched;
    host_waits_reg <= bus_stb && !bus_ack && !rst;
    host_access_reg <= host_access;
    host_clocks_reg <= bus_stb && !bus_ack && !rst && !clearing ? host_clocks_reg + 2'd1 : 2'd0;
    event_waits_reg <= ev_valid && !ev_ready && !rst;
    monitor_waits_reg <= monitor_valid && !monitor_ready && !rst;
    event_reg <= {ev_cause, ev_stream};
    ended_reg <= ev_ready && ev_stream[3:0] == watched && enabled_reg[ev_cause[2:0]] && !rst;
    move_reg <= dut.taps.in_move && !bus_ack && !rst;
    lose_reg <= dut.taps.in_lose && !rst;
    producer_reg <= dut.producer_reg;
    lost_reg <= dut.register_ram[LOST];
    if (dut.taps.in_look) moment_reg <= now - 64'(age);

    if (rst) words_reg <= 4'd0;
    else if (record_write) words_reg <= words_reg + 4'd1;
    else if (!dut.taps.in_post && !(dut.taps.in_move && bus_ack)) words_reg <= 4'd0;
    if (rst) consumer_reg <= 32'd0;
    else if (consumes) consumer_reg <= bus_wdata;
    if (rst) begin
      enabled_reg <= 7'd0;
      sticky_reg  <= 7'd0;
    end else if (enables) enabled_reg <= bus_wdata[6:0];
    else if (clears) sticky_reg <= sticky_reg & ~bus_wdata[6:0];
    else if (dut.taps.in_look && serves_watched) sticky_reg[ev_cause[2:0]] <= 1'b1;

    assume (rst == (!started_reg && ANY_START == 0));
    assume (watched < 4'(STREAMS));
    assume (ev_stream < 8'(STREAMS) && ev_cause < 8'd7);
    // A host takes what is there and never gives back; sources stay until they are taken.
    if (consumes) assume (bus_wdata - consumer_reg <= level);
    if (!bus_adr[15]) assume (bus_adr[14:13] == 2'd0);
    if (bus_adr[15:12] == 4'd1) assume (bus_adr[7:2] == STREAM_EVENT_ENABLE[7:2] || bus_adr[7:2] == STREAM_EVENT_CAUSE[7:2]);
    if (bus_adr[15:12] == 4'd0) assume (offset >= FPGA_EVENT_PRODUCER[15:0] && offset <= FPGA_EVENT_ENABLE[15:0]);
    if (bus_adr[15]) assume (bus_adr[14:11] == 4'd0);
    if (started_reg || ANY_START == 1) begin
      assume (now == now_reg + 64'd1);
      assume (watched == watched_reg);
      if (host_waits_reg) assume (host_access == host_access_reg);
      if (event_waits_reg) assume (ev_valid && {ev_cause, ev_stream} == event_reg);
      if (monitor_waits_reg) assume (monitor_valid);
    end

    if ((started_reg || ANY_START == 1) && !rst) begin
      // Never more records than places, and none is written where an unread one stands.
      `CLAIM(level <= 32'd64)
      if (record_write) `CLAIM(level < 32'd64 && words_reg < 4'd8)
      // The producer moves behind the eighth word, by one, and at no other time.
      if (!rst_reg) `CLAIM(dut.producer_reg == producer_reg + 32'(move_reg))
      if (dut.taps.in_move) `CLAIM(words_reg == 4'd8)
      `CLAIM(events_waiting == (level != 32'd0))
      // An enabled event that its source saw taken: its record is complete and about to be counted, or it is counted as lost.
      if (ended_reg) `CLAIM(dut.taps.in_move || dut.taps.in_lose)
      if (!rst_reg && !clearing) `CLAIM(dut.register_ram[LOST] == lost_reg + 32'(lose_reg))
      // What the record says: who, which one, when, what.
      if (record_write && dut.taps.of_engine) begin
        if (words_reg == 4'd0) `CLAIM(record == {16'd0, ev_stream, ev_cause})
        if (words_reg >= 4'd4) `CLAIM(record == ev_data)
      end
      if (record_write && words_reg == 4'd1) `CLAIM(record == dut.producer_reg)
      if (record_write && words_reg == 4'd2 && recent) `CLAIM(record == moment_reg[31:0])
      if (record_write && words_reg == 4'd3 && recent) `CLAIM(record == moment_reg[63:32])
      // Causes stay until the host clears them, and what the host reads is that.
      if (!clearing && bus_ack && of_watched)
        `CLAIM(bus_rdata == 32'(bus_adr[7:2] == STREAM_EVENT_ENABLE[7:2] ? enabled_reg : sticky_reg))
      if (bus_ack && !bus_we) begin
        if (offset == FPGA_EVENT_PRODUCER[15:0]) `CLAIM(bus_rdata == dut.producer_reg || (move_reg && bus_rdata == producer_reg))
        if (offset == FPGA_EVENT_CONSUMER[15:0]) `CLAIM(bus_rdata == consumer_reg)
      end
      if (bus_ack && !bus_we && offset == FPGA_EVENT_LOST[15:0]) `CLAIM(bus_rdata == dut.register_ram[LOST])
      // The host waits for 3 clocks at most.
      `CLAIM(host_clocks_reg <= 2'd3)

      // Where the sequencer stands, and what it knows.
      `CLAIM(clearing || dut.taps.idle || dut.taps.in_look || dut.taps.in_post || dut.taps.in_move || dut.taps.in_lose)
      if (dut.taps.in_post) `CLAIM((words_reg == {1'b0, dut.word_reg}) && level < 32'd64)
      if (clearing || dut.taps.idle || dut.taps.in_look || dut.taps.in_lose) `CLAIM(words_reg == 4'd0 || move_reg)
      if (dut.taps.in_move) `CLAIM(level < 32'd64)
      if (dut.taps.in_look) `CLAIM(dut.full_reg == (level == 32'd64))
      if (dut.taps.in_look || dut.taps.in_post)
        `CLAIM(dut.index_reg == 5'h1F || dut.index_reg < 5'(STREAMS))
      if ((dut.taps.in_look || dut.taps.in_post) && dut.taps.of_board) `CLAIM(dut.index_reg == 5'h1F)
      if (move_reg) `CLAIM(dut.taps.idle)
      if (!clearing && !dut.taps.idle) `CLAIM(dut.taps.of_engine || dut.taps.of_board || dut.taps.reposts)
      `CLAIM(dut.scan_index_reg == 5'h1F || dut.scan_index_reg < 5'(STREAMS) || !dut.scan_reg)
      if ((dut.taps.in_look || dut.taps.in_post) && dut.taps.of_engine)
        `CLAIM(event_waits_reg && dut.index_reg == ev_stream[4:0] && dut.bit_reg == ev_cause[2:0])
      if (dut.taps.in_look || dut.taps.in_lose || clearing) `CLAIM(!bus_ack)
      if (clearing) `CLAIM(dut.producer_reg == 32'd0 && level == 32'd0 && enabled_reg == 7'd0 && sticky_reg == 7'd0)
      if (bus_ack) `CLAIM(host_waits_reg)
      if (!bus_ack) `CLAIM(host_clocks_reg <= (dut.taps.in_look || clearing ? 2'd0 : dut.taps.idle ? 2'd2 : 2'd1))
      if (rst_reg) `CLAIM(clearing && host_clocks_reg == 2'd0)
      `CLAIM(host_clocks_reg == 2'd0 || host_waits_reg)
      // The register RAM, and the word it shows.
      `CLAIM(dut.register_ram[ZERO] == 32'd0)
      `CLAIM(dut.register_ram[MINUS_256] == 32'hFFFF_FF00 && dut.register_ram[MINUS_1] == 32'hFFFF_FFFF)
      `CLAIM(dut.register_ram[PRODUCER] == dut.producer_reg && dut.register_ram[CONSUMER] == consumer_reg)
      `CLAIM(dut.consumer_reg == consumer_reg[6:0])
      `CLAIM(dut.register_ram[{2'd0, watched}][15:0] == watched_word)
      if (clearing || dut.taps.in_move && !bus_ack) `CLAIM(register == 32'd0)
      if (clearing) `CLAIM(dut.register_ram[LOST] == 32'd0)
      if (dut.taps.in_look) `CLAIM(register == dut.register_ram[{1'b0, dut.index_reg}])
      if (dut.taps.in_lose) `CLAIM(register == dut.register_ram[LOST])
      if (record_write)
        case (words_reg)
          4'd2: `CLAIM(register == (dut.borrow_reg ? 32'hFFFF_FF00 : 32'd0))
          4'd3: `CLAIM(register == 32'hFFFF_FFFF)
          4'd4: `CLAIM(register == (dut.taps.reports_loss ? dut.register_ram[LOST] : 32'd0))
          default: `CLAIM(register == 32'd0)
        endcase
      if (dut.taps.in_post) `CLAIM(now - moment_reg <= 64'd256 + 64'({words_reg, 1'b0}) - 64'(bus_ack))
      if (dut.taps.in_post && recent)
        `CLAIM(moment_reg[7:0] == dut.stamp_reg && dut.borrow_reg == (now[63:8] != moment_reg[63:8]))
      if (bus_ack && of_watched) `CLAIM(register[15:0] == watched_word)
      if (bus_ack && !bus_we && is_count) `CLAIM(register == dut.register_ram[{2'd1, bus_adr[5:2]}] || move_reg)
    end

    cover (started_reg && ended_reg && dut.taps.in_lose);
    cover (started_reg && record_write && words_reg == 4'd4 && dut.taps.reports_loss);
    cover (started_reg && bus_ack && host_clocks_reg == 2'd3);
  end

endmodule

`undef CLAIM
`default_nettype wire
