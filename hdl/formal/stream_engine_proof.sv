`default_nettype none

// What is looked at inside the engine; bound into it, where the names of its states are known.
module stream_engine_taps (
    input wire logic       clearing,
    input wire logic       wipes,         // STOP zeroes a word of the context
    input wire logic       clears,
    input wire logic       picks,
    input wire logic       walks,         // zeroes words one after the other
    input wire logic       fetches,
    input wire logic       fetched,
    input wire logic       queues,
    input wire logic       lengths,
    input wire logic       length_c,
    input wire logic       length_d,
    input wire logic       has_flags,
    input wire logic       prepares_a,
    input wire logic       prepares_b,
    input wire logic       prepares_c,
    input wire logic       sums_end,
    input wire logic [63:0] wide,         // conditions that choose among four rows
    input wire logic       lands,         // another stream may have been chosen
    input wire logic [ 5:0] never,        // the one that chooses none
    input wire logic [ 5:0] on_event,
    input wire logic       halts,
    input wire logic       moving_now,
    input wire logic       answers,
    input wire logic       asks_revoke,
    input wire logic       removes,
    input wire logic       counts,
    input wire logic       stores,
    input wire logic       fetches_now,
    input wire logic       counts_bytes,
    input wire logic       revokes,
    input wire logic       unused,
    input wire logic       revoke_dropped,
    input wire logic       revoke_f,
    input wire logic       revoke_i,
    input wire logic       revoke_g,
    input wire logic       revoke_h,
    input wire logic       revoke_j,
    input wire logic       saves,
    input wire logic       decodes,
    input wire logic       asks_control,
    input wire logic       changes,
    input wire logic       starts,
    input wire logic       start_n,
    input wire logic       start_o,
    input wire logic       start_p,
    input wire logic       start_q,
    input wire logic       interval_off,
    input wire logic       intervals,
    input wire logic       row_fits,      // the row at work is the state's
    input wire logic       state_exists,
    input wire logic       decodes_tick,
    input wire logic       decodes_fill,
    input wire logic       in_frame,
    input wire logic       in_frame_carry,
    input wire logic       carries,       // FRAMES_HI is about to be counted up
    input wire logic       between,       // no visit is under way, or it has not looked at the fields
    input wire logic       asks,          // states of a visit that asks what the host wants
    input wire logic       fills,         // states of a visit that moves bytes
    input wire logic       converts,      // of one that serves a converter frame
    input wire logic       stamps,        // of both
    input wire logic       moves,
    input wire logic       fill_visit,
    input wire logic       ask_visit,
    input wire logic       tick_visit
);
endmodule

bind stream_engine stream_engine_taps taps (
    .clearing(!ready_reg),
    .wipes(state_reg == WIPE_B),
    .picks(condition == IF_PICK),
    .clears(state_reg inside {CLEAR_A, CLEAR_A_2, CLEAR_B, CLEAR_C, CLEAR_D}),
    .walks(condition == IF_WORD_LAST),
    .fetches(state_reg inside {QUEUE_A, QUEUE_B, QUEUE_C, QUEUE_D, QUEUE_E, FETCH_A, FETCH_A_2, STORE} || fetching),
    .prepares_a(state_reg inside {PREPARE_A, PREPARE_A_2}),
    .prepares_b(state_reg == PREPARE_B),
    .prepares_c(condition == IF_PREPARED),
    .decodes(act == DO_DECODE),
    .asks_control(state_reg inside {ASK_SETTINGS, ASK_CONTROL, UNSET_A, UNSET_B}),
    .changes(state_reg inside {CHANGE, CHANGE_2}),
    .starts(state_reg inside {START_A, START_B, START_C, START_D, START_E, START_F, START_G, START_H, START_I, START_J, START_K, START_L, START_M,
        START_N, START_O, START_P, START_Q}),
    .start_n(state_reg == START_N),
    .start_o(state_reg == START_O),
    .start_p(state_reg == START_P),
    .start_q(state_reg == START_Q),
    .wide(64'd1 << IF_VISIT | 64'd1 << IF_CONTROL | 64'd1 << IF_CONVERT | 64'd1 << IF_FRAME | 64'd1 << IF_PREPARED | 64'd1 << IF_MEMORY
        | 64'd1 << IF_WORD | 64'd1 << IF_TAG | 64'd1 << IF_MOVE | 64'd1 << IF_MOVED | 64'd1 << IF_SAVED | 64'd1 << IF_HIGHER
        | 64'd1 << IF_TAIL | 64'd1 << IF_TAIL_C | 64'd1 << IF_LAST_CHANNEL | 64'd1 << IF_FILLABLE | 64'd1 << IF_RUNNING | 64'd1 << IF_ROOM | 64'd1 << IF_MORE),
    .lands(condition == IF_VISIT || condition == IF_PICK || state_reg inside {CLEAR_A, CLEAR_A_2, CLEAR_C, CLEAR_D}),
    .never(IF_NEVER),
    .on_event(IF_EVENT),
    .counts(state_reg inside {COUNT_A, COUNT_A_2}),
    .removes(state_reg == REMOVED),
    .answers(state_reg inside {REVOKE_A, REVOKE_B, REVOKE_C, REVOKE_D, REVOKE_E, REVOKE_F, REVOKE_G, REVOKE_H, REVOKE_I, REVOKE_J, REVOKE_K,
        REVOKE_UNUSED_A, REVOKE_UNUSED_A_2, REVOKE_UNUSED_A_3, REVOKE_UNUSED_B, REVOKE_UNUSED_C, REVOKE_REFUSE_A, REVOKE_REFUSE_A_2,
        REVOKE_REFUSE_A_3, REVOKE_REFUSE_B, REVOKE_REFUSE_C}),
    .asks_revoke(state_reg == ASK_REVOKE),
    .moving_now(moving),
    .halts(act == DO_HALT || state_reg inside {HALT_LENGTH, HALT_OUTSIDE, HALT_OUTSIDE_2, HALT_AHEAD, HALT_BUS, HALT_BUS_2, HALT_BUS_3, HALT_CONFIG, HALT_LOAD,
        NOTE_LENGTH, NOTE_OUTSIDE, NOTE_AHEAD, NOTE_BUS, NOTE_CONFIG, NOTE_LOAD}),
    .stores(state_reg == STORE),
    .fetches_now(fetching),
    .counts_bytes(condition == IF_MAY_MOVE || moving || state_reg inside {BYTES, BYTES_2, BYTES_3, MOVED}),
    .revokes(state_reg inside {REVOKE_A, REVOKE_B, REVOKE_C, REVOKE_D, REVOKE_E, REVOKE_F, REVOKE_G}),
    .unused(state_reg inside {REVOKE_UNUSED_A, REVOKE_UNUSED_A_2, REVOKE_UNUSED_A_3, REVOKE_UNUSED_B, REVOKE_UNUSED_C}),
    .revoke_dropped(state_reg inside {REVOKE_K, REVOKE_L}),
    .revoke_f(state_reg inside {REVOKE_F, REVOKE_G}),
    .revoke_i(state_reg == REVOKE_I),
    .saves(condition == IF_SAVED),
    .intervals(state_reg inside {INTERVAL_A, INTERVAL_A_2, INTERVAL_T, INTERVAL_B, INTERVAL_C, INTERVAL_D, INTERVAL_E}),
    .interval_off(state_reg == INTERVAL_OFF),
    .sums_end(state_reg == LENGTH_B),
    .queues(state_reg inside {QUEUE_A, QUEUE_B, QUEUE_C, QUEUE_D, QUEUE_E, FETCH_A, FETCH_A_2}),
    .has_flags(state_reg == FLAGS_A),
    .lengths(state_reg inside {LENGTH_A, LENGTH_B, LENGTH_C, LENGTH_D}),
    .length_c(state_reg == LENGTH_C),
    .length_d(state_reg == LENGTH_D),
    .fetched(condition == IF_PREPARED || state_reg inside {PREPARE_A, PREPARE_A_2, PREPARE_B, NEW_MARK, BACK, BACK_2, TAG_A, PACKET_A, PACKET_A_2, PACKET_LO,
        PACKET_HI}),
    .row_fits(now_reg == row_t'(rows[state_reg])),
    .state_exists(state_reg <= REVOKE_REFUSE_D),
    .decodes_tick(state_reg == DECODE_TICK),
    .decodes_fill(state_reg == DECODE_FILL),
    .in_frame(state_reg == FRAME),
    .in_frame_carry(state_reg == CARRY_FRAMES_B),
    .carries(state_reg inside {CARRY_FRAMES_A, CARRY_FRAMES_B}),
    .between(condition == IF_PICK || condition == IF_VISIT || act == DO_DECODE
        || state_reg inside {CLEAR_A, CLEAR_A_2, CLEAR_B, CLEAR_C, CLEAR_D}),
    .asks(state_reg inside {
        DECODE_ASK, DECODE_ASK_2, ASK_SETTINGS, UNSET_A, UNSET_B, UNSET_C, ASK_CONTROL, CHANGE, CHANGE_2, ASK_SNAPSHOT,
        ASK_REVOKE, STOP_A, STOP_B, WIPE_A, WIPE_B, START_A, START_B, START_C, START_D, START_E, START_F, START_G, START_H,
        START_I, START_J, START_K, START_L, START_M, START_N, START_O, START_P, START_Q, HALT_CONFIG, NOTE_CONFIG, HALT_LOAD,
        NOTE_LOAD, REFUSE, REFUSE_SETTINGS, SNAP_TIME, SNAP_LO, SNAP_HI, SNAP_TICK, SNAP_FIFO, SNAP_A, SNAP_B, SNAP_C, SNAP_D,
        SNAP_E, SNAP_F, SNAP_G, SNAP_H, SNAP_I, SNAP_J, SNAP_K, SNAP_L, REVOKE_A, REVOKE_B, REVOKE_C, REVOKE_D, REVOKE_E,
        REVOKE_F, REVOKE_G, REVOKE_H, REVOKE_I, REVOKE_J, REVOKE_K, REVOKE_L, REVOKE_UNUSED_A, REVOKE_UNUSED_A_2,
        REVOKE_UNUSED_A_3, REVOKE_UNUSED_B, REVOKE_UNUSED_C, REVOKE_REFUSE_A, REVOKE_REFUSE_A_2, REVOKE_REFUSE_A_3,
        REVOKE_REFUSE_B, REVOKE_REFUSE_C, REVOKE_REFUSE_D}),
    .fills(state_reg inside {
        PACKET_A, PACKET_A_2, PREPARE_A, PREPARE_A_2, PREPARE_B, PREPARE_C, PREPARE_C_2, QUEUE_A, QUEUE_B, QUEUE_C, QUEUE_D,
        QUEUE_E, FETCH_A, FETCH_A_2, FETCH, FETCH_2, FETCH_3, FETCH_4, STORE, FLAGS_A, REMOVED, LENGTH_A, LENGTH_B, LENGTH_C,
        LENGTH_D, TAG_A, NEW_MARK, BACK, BACK_2, MOVE_A, MOVE_A_2, MOVE_A_3, MOVE_B, MOVE_B_2, BYTES, BYTES_2, BYTES_3, MOVED,
        INTERVAL_A, INTERVAL_A_2, INTERVAL_T, INTERVAL_B, INTERVAL_C, INTERVAL_D, INTERVAL_E, INTERVAL_OFF, ENDING_A, ENDING_A_2,
        ENDING_B, HALT_LENGTH, NOTE_LENGTH, HALT_OUTSIDE, HALT_OUTSIDE_2, NOTE_OUTSIDE, HALT_AHEAD, NOTE_AHEAD, HALT_BUS,
        HALT_BUS_2, HALT_BUS_3, NOTE_BUS}),
    .converts(state_reg inside {
        CONVERT, CONVERT_2, SAMPLE, SAMPLE_2, FRAME, MARK_A, FRAME_DONE, START_LO, START_LO_2, START_HI, MARK_B, MISS_A, MISS_B,
        UNDER_A, UNDER_B, OVER_A, OVER_B, MISS_C, USE_UP_A, USE_UP_A_2, USE_UP_B}),
    .stamps(state_reg inside {
        PACKET_LO, PACKET_HI}),
    .moves(condition == IF_MAY_MOVE || moving),
    .revoke_g(state_reg == REVOKE_G),
    .revoke_h(state_reg == REVOKE_H),
    .revoke_j(state_reg == REVOKE_J),
    .fill_visit(visit_reg == FILL),
    .ask_visit(visit_reg == ASK),
    .tick_visit(visit_reg == TICK)
);

// A claim: assumed in the first clock of a run that begins in any state, asserted from then on.
`define CLAIM(claim) \
  begin \
    if (ANY_START == 1 && !started_reg) assume (claim); \
    else assert (claim); \
  end

// stream_engine with a host that does anything within the bus rules, memory that answers anything at any time, or refuses, and ticks,
// samples and event takers that are free. The claims are about one arbitrary stream. The engine's program is followed row by row: the
// row before the one at work is known, and with it the word that was read.
module stream_engine_proof
  import codecrig_pkg::*;
#(
    parameter STREAMS = 2,
    // 1: begin in any state in which the claims hold instead of behind reset.
    parameter ANY_START = 0,
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
    input wire logic [W-1:0] watched,
    // A revocation: ordinals of its first and last descriptor, and a word of memory that these alone reach.
    input wire logic [ 15:0] first,
    input wire logic [ 15:0] last,
    input wire logic [ 16:2] revoked
);

  localparam logic [5:0] ZERO = 63, INTERVAL_LEFT = 11, ADDRESS = 44, END = 45, REVOKE_RANGE = 12, REVOKE_STATUS = 13, DESCRIPTORS = 40, FIELDS = 32, FRAMES_LO = 36, FRAMES_HI = 37;

  logic [31:0] bus_rdata, mem_wdata, dac_sample, ev_data;
  logic bus_ack, mem_stb, mem_we, dac_we, adc_take, ev_stamp, ev_valid;
  logic [16:2] mem_adr;
  logic [ 3:0] mem_sel, dac_stream;
  logic [2:0] dac_channel, adc_channel;
  logic [7:0] ev_cause, ev_stream;

  stream_engine #(.STREAMS(STREAMS)) dut (.*);

  wire visited = dut.stream_reg == watched;
  // The port of the context RAM, and what it holds of the watched stream.
  wire ram_write = dut.contexts.write;
  wire [5:0] ram_word = dut.contexts.write_address[5:0];
  wire writes_watched = ram_write && dut.contexts.write_address[W+5:6] == watched;
  wire [31:0] ram_data = dut.contexts.write_data;
  wire [31:0] stored_fields = dut.contexts.words[{watched, FIELDS}];
  wire [31:0] stored_lo = dut.contexts.words[{watched, FRAMES_LO}];
  wire [31:0] stored_hi = dut.contexts.words[{watched, FRAMES_HI}];
  wire [31:0] stored_zero = dut.contexts.words[{watched, ZERO}];
  wire [31:0] stored_address = dut.contexts.words[{watched, ADDRESS}];
  wire [31:0] stored_end = dut.contexts.words[{watched, END}];
  wire [31:0] stored_left = dut.contexts.words[{watched, INTERVAL_LEFT}];
  wire [31:0] stored_range = dut.contexts.words[{watched, REVOKE_RANGE}];
  wire [15:0] stored_ordinal = dut.contexts.words[{watched, DESCRIPTORS}][15:0];
  // What is left of the current descriptor, and whether it reaches the revoked word.
  wire [31:0] left_from = {14'd0, stored_address[17:0]};
  wire nothing_left = left_from == stored_end;
  function automatic logic reaches(logic [32:0] from, logic [32:0] to);
    reaches = from < {16'd0, revoked, 2'b00} + 33'd4 && to > {16'd0, revoked, 2'b00};
  endfunction
  wire revoke_pending = dut.contexts.words[{watched, REVOKE_STATUS}][8];
  wire [15:0] before_first = first - stored_ordinal;
  wire [15:0] before_last = last - stored_ordinal;
  wire in_range = stored_ordinal - first <= last - first;
  logic asked_reg, answered_reg;  // the revocation was asked for; and answered
  // ADDRESS and END do not belong together: a descriptor is being fetched, the stream is halted or being stopped.
  wire apart = visited && !dut.taps.between ? dut.taps.walks || dut.fault_reg || dut.taps.halts || dut.taps.lengths
          || (dut.taps.fetches && dut.word_reg == 6'd5)
      : (visited && dut.taps.walks) || stored_fields[4];
  wire stored_run = stored_fields[1:0] == 2'(STREAM_STATE_RUN);
  // Position of the watched stream, as it is read once a frame has been counted.
  wire [63:0] position = {stored_hi, stored_lo};

  logic started_reg = 1'b0, rst_reg, waits_reg, host_waits_reg, event_waits_reg, carries_reg;
  logic [W-1:0] watched_reg;
  logic [46:0] revocation_reg;
  wire asks_revocation = dut.host_write && dut.host_stream == watched && dut.host_word == REVOKE_RANGE;
  logic [52:0] access_reg;
  logic [47:0] host_access_reg;
  logic [15:0] event_reg;
  // The row that went first, which named the word that is read, and what may follow it.
  logic [7:0] prior_reg;
  wire [31:0] prior = dut.rows[prior_reg];
  wire [5:0] prior_condition = prior[23:18];
  wire [7:0] prior_mask = prior_condition == dut.taps.never ? 8'd0 : dut.taps.wide[prior_condition] ? 8'd3 : 8'd1;

  // Bytes that a write leaves alone do not matter.
  logic [31:0] written;
  always_comb for (int i = 0; i < 4; i++) written[8*i+:8] = mem_we && mem_sel[i] ? mem_wdata[8*i+:8] : 8'd0;
  wire [52:0] access = {mem_stb, mem_we, mem_adr, mem_sel, written};
  wire [47:0] host_access = {bus_stb, bus_we, bus_adr, bus_wdata};
  wire mem_end = mem_ack || mem_err;

  // FIFO bytes that a capture stream is about to write to memory.
  wire [15:0] fifo_low = dut.g_half[0].words[{dut.stream_reg, dut.pointer[5:2] + 4'(dut.pointer[1])}];
  wire [15:0] fifo_high = dut.g_half[1].words[{dut.stream_reg, dut.pointer[5:2]}];

  always_ff @(posedge clk) begin
    started_reg <= 1'b1;
    rst_reg <= rst;
    if (rst) prior_reg <= 8'd0;
    else if (dut.run_it) prior_reg <= dut.state_reg;
    watched_reg <= watched;
    revocation_reg <= {first, last, revoked};
    if (rst) begin
      asked_reg <= 1'b0;
      answered_reg <= 1'b0;
    end else begin
      if (asks_revocation) asked_reg <= 1'b1;
      if (asked_reg && writes_watched && ram_word == REVOKE_STATUS && !dut.marking_reg && !ram_data[8]
          && ram_data[1:0] != 2'(REVOKE_RESULT_REFUSED))
        answered_reg <= 1'b1;
    end
    waits_reg <= mem_stb && !mem_end && !rst;
    access_reg <= access;
    host_waits_reg <= bus_stb && !bus_ack && !rst;
    host_access_reg <= host_access;
    event_waits_reg <= ev_valid && !ev_ready && !rst;
    event_reg <= {ev_cause, ev_stream};
    // FRAMES_LO has wrapped, FRAMES_HI is to follow.
    carries_reg <= !rst && (writes_watched && ram_word == FRAMES_LO && !dut.taps.clearing && !dut.taps.wipes ? ram_data == 32'd0
        : writes_watched && ram_word == FRAMES_HI ? 1'b0 : carries_reg);

    assume (rst == (!started_reg && ANY_START == 0));
    // RAM and registers of an FPGA start as 0, and a row of zeros adds 0 to 0.
    if (!started_reg && ANY_START == 0) assume ((!ram_write || ram_data == 32'd0) && {stored_zero, stored_fields, stored_left, stored_lo, stored_hi, stored_address, stored_end} == 224'd0);
    // Software revokes one range, once it has set REMOVED in it; no other descriptor reaches the word.
    assume (last - first < 16'h8000);
    if (asks_revocation) assume (bus_wdata == {last, first} && !revoke_pending);
    if (visited && dut.taps.fetches_now && mem_ack) begin
      if (dut.word_reg == 6'd3 && asked_reg && in_range) assume (mem_rdata[DESCRIPTOR_REMOVED_BIT]);
      if (dut.word_reg == 6'd5 && reaches({1'b0, stored_address}, {1'b0, stored_address} + {1'b0, mem_rdata})) assume (in_range);
    end
    // Ack or error at least one clock behind the strobe, and only for a strobe.
    assume (!mem_end || waits_reg);
    assume (!(mem_ack && mem_err));
    assume (!ev_ready || ev_valid);
    if (started_reg || ANY_START == 1) begin
      assume (watched == watched_reg && {first, last, revoked} == revocation_reg);
      if (host_waits_reg) assume (host_access == host_access_reg);
    end

    if ((started_reg || ANY_START == 1) && !rst) begin
      // Wishbone: an access stands as it is until its end, whatever software does.
      if (waits_reg) `CLAIM(access == access_reg)
      if (mem_stb) `CLAIM(mem_sel != 4'd0)
      // An event too.
      if (event_waits_reg) `CLAIM(ev_valid && {ev_cause, ev_stream} == event_reg)

      // Position: one frame more, in RUN only, or back to 0 by STOP. So it stands still in PAUSE.
      if (writes_watched && ram_word == FRAMES_LO && !dut.taps.clearing)
        `CLAIM(dut.taps.wipes ? ram_data == 32'd0 : stored_run && ram_data == stored_lo + 32'd1)
      if (writes_watched && ram_word == FRAMES_HI && !dut.taps.clearing)
        `CLAIM(dut.taps.wipes ? ram_data == 32'd0 : stored_run && ram_data == stored_hi + 32'd1 && carries_reg && stored_lo == 32'd0)
      // Nor is anything played, recorded or moved but in RUN.
      if (visited && (dac_we || adc_take || mem_stb)) `CLAIM(stored_run)

      // Behind the answer to a revocation the engine moves no byte of what was revoked.
      if (answered_reg && visited && mem_stb && !dut.taps.fetches_now) `CLAIM(mem_adr != revoked)

      // Where the sequencer stands, and what it knows.
      `CLAIM(dut.taps.row_fits && dut.taps.state_exists)
      if (!rst_reg)
        `CLAIM((dut.state_reg | prior_mask) == (prior[31:24] | prior_mask) && (dut.state_reg & prior[31:24]) == prior[31:24])
      if (!rst_reg && prior_condition != dut.taps.on_event) `CLAIM(dut.last_read_reg == prior[17:12])
      if (visited && !dut.taken_reg && dut.last_read_reg == ZERO && !rst_reg && !dut.taps.lands) `CLAIM(dut.context_rdata == 32'd0)
      if (rst_reg) `CLAIM(dut.taps.clears && dut.state_reg == prior_reg && !dut.taken_reg && !dut.marking_reg && !bus_ack)
      `CLAIM(!waits_reg || mem_stb)
      if (dut.taps.asks) `CLAIM(!dut.taps.fill_visit && !dut.taps.tick_visit)
      if (dut.taps.decodes_tick) `CLAIM(dut.taps.tick_visit)
      if (dut.taps.decodes_fill) `CLAIM(dut.taps.fill_visit)
      if (visited && (dut.taps.tick_visit || dut.taps.fill_visit) && !dut.taps.between)
        `CLAIM(stored_run && dut.run_reg == 2'(STREAM_STATE_RUN) && !dut.taps.clearing)
      `CLAIM(dut.taps.ask_visit || dut.taps.fill_visit || dut.taps.tick_visit)
      if (dut.taps.fills) `CLAIM(dut.taps.fill_visit)
      if (dut.taps.converts) `CLAIM(dut.taps.tick_visit)
      if (dut.taps.stamps) `CLAIM(dut.taps.fill_visit || dut.taps.tick_visit)
      // Words read that a claim bears on. When the host took the port the state waits, and the word is read again.
      if (dut.taps.decodes_tick || dut.taps.decodes_fill) `CLAIM(dut.last_read_reg == FIELDS)
      if (dut.taps.in_frame) `CLAIM(dut.last_read_reg == FRAMES_LO)
      if (dut.taps.in_frame_carry) `CLAIM(dut.last_read_reg == FRAMES_HI)
      if (visited && !dut.taken_reg) begin
        if (dut.taps.decodes_tick || dut.taps.decodes_fill) `CLAIM(dut.context_rdata == stored_fields)
        if (dut.taps.in_frame) `CLAIM(dut.context_rdata == stored_lo)
        if (dut.taps.in_frame_carry) `CLAIM(dut.context_rdata == stored_hi)
      end
      // Words that STOP and reset zero, and the word that is 0 for ever.
      `CLAIM(stored_zero == 32'd0)
      if (dut.taps.walks) `CLAIM(dut.word_reg <= 6'd47 && dut.last_read_reg == ZERO)
      if (visited && dut.taps.walks && !dut.taken_reg) `CLAIM(dut.context_rdata == 32'd0)
      `CLAIM(dut.ready_reg || ((dut.taps.clears || dut.taps.picks) && dut.word_reg <= 6'd47))
      if (dut.taps.clears) `CLAIM(!dut.ready_reg && (dut.taps.walks || dut.word_reg == 6'd0))
      // Words of a descriptor: fetched once, because what is fetched is not empty.
      if (dut.taps.prepares_a) `CLAIM(dut.last_read_reg == ADDRESS)
      if (dut.taps.prepares_b) `CLAIM(dut.last_read_reg == END)
      if (dut.taps.sums_end) `CLAIM(dut.last_read_reg == ADDRESS)
      if (visited) begin
        if (dut.taps.fill_visit && !dut.taps.between) `CLAIM(dut.word_reg >= 6'd3 && dut.word_reg <= 6'd7)
        if (dut.taps.fetches) `CLAIM(dut.word_reg <= 6'd6)
        if (dut.taps.fetched && dut.taps.fill_visit) `CLAIM(dut.word_reg == 6'd3 || dut.word_reg == 6'd7)
        if (dut.taps.queues) `CLAIM(dut.word_reg == 6'd3)
        if (dut.taps.has_flags) `CLAIM(dut.word_reg == 6'd4)
        if (dut.taps.lengths) `CLAIM(dut.word_reg == 6'd6)
        if (dut.taps.fill_visit && ((dut.taps.fetched && dut.word_reg == 6'd7) || (dut.taps.fetches && dut.word_reg == 6'd6))) `CLAIM({14'd0, stored_address[17:0]} != stored_end)
        if (dut.taps.prepares_a && !dut.taken_reg) `CLAIM(dut.context_rdata == stored_address)
        if (dut.taps.prepares_b) `CLAIM(dut.address_reg == stored_address[17:0] && (dut.taken_reg || dut.context_rdata == stored_end))
        if (dut.taps.prepares_c) begin
          `CLAIM(dut.address_reg == stored_address[17:0] && (!dut.no_rest_reg || nothing_left || apart))
          if (!apart) `CLAIM({14'd0, dut.address_reg} + 32'(dut.rest_reg) == stored_end
              || ({14'd0, dut.address_reg} + 32'(dut.rest_reg) < stored_end && dut.rest_reg == 6'd63))
        end
        if (dut.taps.length_c) `CLAIM(dut.fetched_reg != 32'd0 && {!dut.less_reg, stored_end} == {1'b0, stored_address} + {1'b0, dut.fetched_reg})
        if (dut.taps.length_d) `CLAIM(dut.fetched_reg != 32'd0 && {1'b0, stored_end} == {1'b0, stored_address} + {1'b0, dut.fetched_reg})
        if (dut.taps.sums_end) `CLAIM(dut.fetched_reg != 32'd0 && (dut.taken_reg || dut.context_rdata == stored_address))
      end
      // SAVE adds to a word that must be 0: ZERO, or INTERVAL_LEFT while there is no interval.
      if (dut.taps.saves) `CLAIM(dut.last_read_reg == ZERO || (dut.last_read_reg == INTERVAL_LEFT && dut.taps.fill_visit && !dut.interval_on_reg))
      if (visited && dut.taps.saves && !dut.taken_reg) `CLAIM(dut.context_rdata == 32'd0)
      if (dut.taps.wipes) `CLAIM(dut.run_reg == 2'(STREAM_STATE_STOP) && dut.word_reg >= FRAMES_LO)
      if (dut.taps.intervals) `CLAIM(dut.interval_on_reg)
      if (dut.taps.interval_off) `CLAIM(dut.last_read_reg == ZERO)
      if (visited && dut.taps.interval_off && !dut.taken_reg) `CLAIM(dut.context_rdata == 32'd0)
      if (stored_run && !stored_fields[4]) `CLAIM(stored_fields[10])
      if (stored_fields[10] && !stored_fields[17]) `CLAIM(stored_left == 32'd0)
      if (visited && !dut.taps.between && !dut.taps.interval_off) `CLAIM(!dut.started_reg || dut.interval_on_reg || stored_left == 32'd0)
      if (dut.taps.decodes) `CLAIM(dut.last_read_reg == FIELDS)
      if (visited && dut.taps.decodes && !dut.taken_reg) `CLAIM(dut.context_rdata == stored_fields)
      if (visited && (dut.taps.saves || dut.taps.changes)) `CLAIM(dut.run_reg != 2'(STREAM_STATE_RUN) || dut.fault_reg || dut.started_reg)
      if (visited && dut.taps.asks_control) `CLAIM(dut.started_reg == stored_fields[10])
      if (visited && dut.taps.starts) `CLAIM(!dut.started_reg && !stored_fields[10])
      if (dut.taps.start_n) `CLAIM(dut.last_read_reg == ZERO)
      if (visited && dut.taps.start_n && !dut.taken_reg) `CLAIM(dut.context_rdata == 32'd0)
      if (visited && dut.taps.start_o) `CLAIM(stored_left == 32'd0)
      if (dut.taps.start_p) `CLAIM(dut.interval_on_reg)
      if (visited && dut.taps.start_q) `CLAIM(dut.interval_on_reg || stored_left == 32'd0)
      if (visited && (dut.taps.tick_visit || dut.taps.fill_visit) && !dut.taps.between) `CLAIM(dut.started_reg && (!dut.interval_on_reg || stored_fields[17]))
      // Revocation.
      if (visited && !dut.taps.between && !dut.taps.saves) `CLAIM(!dut.fault_reg || stored_fields[4])
      if (visited && dut.taps.walks) `CLAIM((dut.word_reg <= 6'd44 || stored_address == 32'd0) && (dut.word_reg <= 6'd45 || stored_end == 32'd0))
      if (asked_reg) `CLAIM(stored_range == {last, first})
      if (dut.taps.counts) `CLAIM(dut.done_reg)
      if (visited && (dut.taps.fetches || (dut.taps.fetched && dut.taps.fill_visit) || dut.taps.lengths || dut.taps.has_flags || dut.taps.removes
          || dut.taps.counts_bytes))
        `CLAIM(!dut.fault_reg && !stored_fields[4] && (dut.taps.counts_bytes || dut.moved_reg == 6'd0))
      if (visited && dut.taps.answers) `CLAIM(revoke_pending)
      if (visited && dut.taps.asks_revoke && dut.last_read_reg == REVOKE_STATUS && !dut.taken_reg && dut.context_rdata[8])
        `CLAIM(revoke_pending)
      if (dut.taps.fetches || (dut.taps.fetched && dut.taps.fill_visit) || dut.taps.lengths || dut.taps.has_flags || dut.taps.removes || dut.taps.moves) `CLAIM(!dut.done_reg)
      if (answered_reg) `CLAIM(asked_reg)
      if (!dut.ready_reg) `CLAIM(!asked_reg)
      if (visited && !dut.taken_reg && !rst_reg && !dut.taps.lands) begin
        if (dut.last_read_reg == ADDRESS) `CLAIM(dut.context_rdata == stored_address)
        if (dut.last_read_reg == END) `CLAIM(dut.context_rdata == stored_end)
        if (dut.last_read_reg == DESCRIPTORS) `CLAIM(dut.context_rdata[15:0] == stored_ordinal)
        if (dut.last_read_reg == REVOKE_RANGE && asked_reg && dut.taps.revokes) `CLAIM(dut.context_rdata == {last, first})
      end
      if (!apart) begin
        `CLAIM(stored_address[31:18] == 14'd0 && stored_end <= 32'h2_0000 && left_from <= stored_end)
        if (!nothing_left && reaches({1'b0, left_from}, {1'b0, stored_end})) `CLAIM(in_range)
        if (answered_reg && in_range) `CLAIM(nothing_left)
      end
      if (visited && !dut.taps.between && dut.done_reg && !dut.taps.counts_bytes && !apart) `CLAIM(nothing_left)
      if (visited && dut.taps.counts_bytes) begin
        `CLAIM(dut.address_reg == stored_address[17:0] + 18'(dut.moved_reg) && !apart)
        `CLAIM({14'd0, dut.address_reg} + 32'(dut.rest_reg) == stored_end
            || ({14'd0, dut.address_reg} + 32'(dut.rest_reg) < stored_end && dut.rest_reg + dut.moved_reg >= 6'd63))
        `CLAIM(dut.limit_reg <= 3'd4 && dut.moved_reg <= (dut.taps.moving_now ? 6'd31 : 6'd35))
        if (dut.taps.moves) `CLAIM(6'(dut.limit_reg) <= dut.rest_reg)
        if (dut.done_reg) `CLAIM({14'd0, dut.address_reg} == stored_end)
      end
      if (visited && (dut.taps.queues || dut.taps.has_flags || dut.taps.removes)) `CLAIM(nothing_left || apart)
      if (visited && dut.taps.fetches && (dut.word_reg == 6'd3 || dut.word_reg == 6'd4)) `CLAIM(nothing_left || apart)
      if (visited && answered_reg && dut.taps.fetches && dut.word_reg > 6'd3) `CLAIM(!in_range)
      if (visited && answered_reg && (dut.taps.has_flags || (dut.taps.stores && dut.word_reg == 6'd3)))
        `CLAIM(!in_range || dut.fetched_reg[DESCRIPTOR_REMOVED_BIT])
      if (visited && answered_reg && dut.taps.lengths) `CLAIM(!in_range)
      if (visited && (dut.taps.lengths || (dut.taps.stores && dut.word_reg == 6'd5))
          && reaches({1'b0, stored_address}, {1'b0, stored_address} + {1'b0, dut.fetched_reg})) `CLAIM(in_range)
      if (visited && dut.taps.unused && asked_reg && !apart) `CLAIM(!in_range || nothing_left)
      if (visited && dut.taps.revoke_dropped && !apart) `CLAIM(nothing_left)
      if (visited && dut.taps.revoke_f) `CLAIM(dut.address_reg[15:0] == stored_ordinal)
      if (visited && dut.taps.revoke_i) `CLAIM(dut.address_reg == stored_address[17:0])
      if (dut.taps.carries) `CLAIM(dut.taps.tick_visit && dut.carry_reg)
      if (visited && dut.taps.tick_visit && !dut.taps.between && dut.carry_reg) `CLAIM(carries_reg && stored_lo == 32'd0)
      if (dut.taps.ask_visit && !dut.taps.between) `CLAIM(!dut.carry_reg)
      if (visited && dut.taps.revoke_g && asked_reg) `CLAIM(dut.behind_reg == before_first[15] && dut.equal_reg == (before_first == 16'd0))
      if (visited && dut.taps.revoke_h && asked_reg) `CLAIM(dut.negative_reg == before_last[15])
      if (visited && dut.taps.revoke_j && !apart) `CLAIM(dut.no_rest_reg == nothing_left)
      if (dut.taps.moves && dut.capture_reg) `CLAIM(dut.fifo_rdata == {fifo_high, fifo_low})
    end

    cover (started_reg && visited && answered_reg && mem_stb && !dut.taps.fetches_now);
    cover (started_reg && mem_stb && mem_we && waits_reg && visited);
    cover (started_reg && writes_watched && ram_word == FRAMES_HI && !dut.taps.wipes && !dut.taps.clearing);
    cover (started_reg && visited && dut.taps.wipes && writes_watched && ram_word == FRAMES_LO && position != 64'd0);
  end

  wire unused = &{1'b0, bus_rdata, dac_sample, ev_data, ev_stamp, dac_stream, dac_channel, adc_channel};

endmodule

`undef CLAIM
`default_nettype wire
