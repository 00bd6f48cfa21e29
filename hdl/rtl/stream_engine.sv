`default_nettype none

// Stream engine: moves frames between the converters and audio memory, byte-exact, for several streams in turn.
//
// Each stream is a ring of descriptors in audio memory and a FIFO of 64 bytes. One sequencer serves them all by visits: it loads
// what it needs of the stream's context from block RAM, works with one adder, and writes back. Between two visits every context is
// consistent; there snapshots are taken and revocations answered.
//
// A context has 64 words, at the places where the register map has them: the host's settings, what the host reads, and, from word
// 32 on, what the engine works with. The RAM has one port for writing and one for reading, both the sequencer's; an access of the
// host is carried out in a cycle in which the sequencer needs neither (a slot), at most 12 clocks behind its strobe when memory
// answers within 4.
//
// After a frame tick all running streams are visited for one frame each (render: FIFO to converter; capture: the reverse).
// Otherwise streams are visited in turn to move bytes between memory and FIFO, at most 32 in a visit, until a whole round found
// nothing to do. A tick ends a visit after the memory access under way.
//
// The FIFO holds the bytes of the stream in its own format: byte k of the stream lies at position k modulo 64. It is made of four
// byte lanes with addresses of their own, so that up to four bytes are read or written at any position at once, and one access
// moves as many bytes of a memory word as belong to the descriptor.
//
// Pointers count modulo 128: their difference is the level. For render the write pointer is BYTES and the read pointer
// FRAMES x frame size (both modulo 128); for capture the reverse.
//
// Limits: when memory is so slow that a tick comes before the pass of the one before it has begun, the converter has missed a
// frame, and it is counted as such, up to 15 in a row.
module stream_engine
  import codecrig_pkg::*;
#(
    // Number of streams, 1 to 16.
    parameter STREAMS = 4,
    // Most channels of a stream that RUN accepts, 1 to 8.
    parameter MAX_CHANNELS = 2,
    // The host may write the LIVE registers of a stream in PAUSE, to test how counts wrap.
    parameter bit TEST_EN = 1'b0
) (
    input wire logic clk,
    input wire logic rst,

    // Register slave: STREAM[] without EVENT_CAUSE and EVENT_ENABLE. Ack 1 to 12 cycles behind stb; rdata is valid with ack.
    // For 48 x STREAMS clocks behind reset no access is acknowledged.
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
    // In place of mem_ack: the access was refused. The stream halts.
    input  wire logic        mem_err,

    // Converter side. Samples are left-justified two's complement of 24 bits.
    input  wire logic        frame_tick,
    // System clocks from one tick to the next, 128 to 1536: the time that the streams that run share.
    input  wire logic [10:0] frame_clocks,
    output logic             dac_we,
    output logic      [ 3:0] dac_stream,
    output logic      [ 2:0] dac_channel,
    output logic      [31:0] dac_sample,
    output logic      [ 2:0] adc_channel,
    input  wire logic [31:0] adc_sample,
    // One cycle for each capture stream that takes the input frame.
    output logic             adc_take,

    // Events, to event_ring: ev_stamp marks the cycle of the cause; ev_valid stays until ev_ready; ev_data answers ev_word one
    // cycle later.
    output logic             ev_stamp,
    output logic             ev_valid,
    output logic      [ 7:0] ev_cause,
    output logic      [ 7:0] ev_stream,
    input  wire logic [ 1:0] ev_word,
    output logic      [31:0] ev_data,
    input  wire logic        ev_ready
);

  localparam STREAM_W = STREAMS > 1 ? $clog2(STREAMS) : 1;
  localparam logic [STREAM_W-1:0] LAST_STREAM = STREAM_W'(STREAMS - 1);
  localparam LEFT_W = $clog2(STREAMS + 1);

  // Words of a context. A snapshot copies word 32 + k to word 16 + k.
  localparam logic [5:0] CONTROL = 0, CONFIG = 1, RING_BASE = 2, RING_SIZE = 3, STATUS = 6, RING_PRODUCER = 7, UNDERRUNS = 8, OVERRUNS = 9,
      INTERVAL_BYTES = 10, INTERVAL_LEFT = 11, REVOKE_RANGE = 12, REVOKE_STATUS = 13, REVOKE_LEFT = 14, HIGH_WATER = 15, START_TIME = 28,
      PACKET_TIME = 30, FIELDS = 32, REASON = 33, ADDRESS = 34, REMAINING = 35, FRAMES_LO = 36, FRAMES_HI = 37, BYTES_LO = 38, BYTES_HI = 39,
      DESCRIPTORS = 40, TAG = 41, INDEX = 42, FLAGS = 43, PACKET = 44, ZERO = 63;
  localparam logic [5:0] FIRST_WIPED = FIELDS, LAST_CLEARED = 47;  // STOP clears from the first, reset all up to the last
  // Snapshot words that are not copies, as k.
  localparam logic [3:0] SNAP_COUNT = 0, SNAP_LAST = 1, SNAP_NOW_LO = 2, SNAP_NOW_HI = 3, SNAP_FIFO = 9, SNAP_TICKS = 11;

  // In the order of an access to memory: flags first, so that a removed descriptor costs one access.
  localparam logic [1:0] WORD_ADDRESS = 0, WORD_LENGTH = 1, WORD_TAG = 2, WORD_FLAGS = 3;

  typedef enum logic [5:0] {
    CLEAR,       // behind reset: zero the RAM
    IDLE,        // choose a stream and what to do for it
    LOAD,        // read its fields
    DECODE,      // take them over
    ASK,         // what does CONTROL ask for
    WIPE,        // to STOP: zero the context
    START_A,     // first RUN: take over CONFIG
    START_B,     //   check RING_SIZE
    START_C,     //   take over INTERVAL_BYTES
    START_D,
    CONVERT,     // tick: is there a frame, or room for one?
    SAMPLE,      //   one channel after the other
    FRAME,       //   count the frame
    FRAME_CARRY,
    MARK_A,      //   has it reached a descriptor's first byte
    MARK_B,
    MISS,        //   count the underrun or overrun
    STAMP_LO,    // note the time of a start
    STAMP_HI,
    PREPARE_A,   // fill: bytes left in the descriptor
    PREPARE_B,   //   and where
    QUEUE_A,     // queue: is there another descriptor
    QUEUE_B,
    QUEUE_C,
    QUEUE_D,
    FETCH_A,     // next descriptor: read INDEX and RING_BASE
    FETCH_B,
    FETCH_C,     //   form its address
    FETCH,       //   read its four words
    MARK,        //   note where in the FIFO it starts
    MOVE_A,      // access to memory, first cycle: take n from REMAINING
    MOVE_B,      //   until ack: add n to ADDRESS
    HOST_A,      //   slot for the host between two accesses
    HOST_B,
    TOTAL,       // count the bytes
    TOTAL_CARRY,
    INTERVAL_A,  // count down to the next INTERVAL event
    INTERVAL_B,
    INTERVAL_C,
    ENDING_A,    // descriptor finished: look at its flags
    ENDING_B,
    HALT,        // fault: note the reason
    SAVE,        // write the fields back
    HIGH,        // note the highest level
    NOTE,        // write STATUS
    GATE,        // slot for the host before an event
    POST,        // post an event
    COUNT_A,     // descriptor finished
    COUNT_B,     //   DESCRIPTORS
    COUNT_C,     //   INDEX
    COUNT_D,     //   round the ring
    SNAPSHOT,
    REVOKE
  } state_t;
  typedef enum logic [1:0] {FILL, TICK, SNAPSHOT_VISIT, REVOKE_VISIT} visit_t;

  // One-hot is smaller and faster on an FPGA; synthesis would not choose it by itself.
  (* fsm_encoding = "one-hot" *) state_t state_reg;
  visit_t visit_reg;
  logic [STREAM_W-1:0] stream_reg, fill_stream_reg;
  logic [LEFT_W-1:0] left_reg;  // fill visits still to be made before all streams are known to be idle
  logic [3:0] ticks_reg;  // ticks that wait for their pass
  logic late_reg;  // this pass is for a tick that has already been missed
  logic [STREAMS-1:0] snapshot_reg, revoke_reg;  // snapshots and revocations asked for
  logic [STREAMS-1:0] control_reg;  // CONTROL was written, and not looked at
  logic [5:0] word_reg;  // counts words where a state goes through several

  // The stream's fields, while it is visited.
  logic [1:0] run_reg;  // StreamState reached
  logic fault_reg;
  logic capture_reg;
  logic [1:0] container_reg;  // bytes in a sample less 1
  logic [2:0] channels_reg;  // less 1
  logic started_reg;  // RUN since STOP: configuration taken over
  logic delivered_reg;  // a frame was converted since STOP
  logic gap_reg;  // the last tick found no frame, or no room
  logic queue_reg;  // the ring is a queue
  logic ended_reg;  // a descriptor with END_OF_STREAM was finished
  logic silent_reg;  //   and the converter has used it up
  logic fresh_reg;  // RUN, and no frame since
  logic marked_reg;  // PACKET holds where in the FIFO a descriptor starts
  logic [6:0] write_reg, read_reg;  // FIFO pointers, bytes

  // Work of one visit.
  logic [16:0] address_reg;  // byte address of the next memory access
  logic [2:0] remaining_reg;  // bytes left in the descriptor, 4 stands for more
  logic [2:0] limit_reg;  // bytes that descriptor and FIFO let move at once, 0 to 4
  logic [5:0] moved_reg;  // bytes moved
  logic [2:0] channel_reg;
  logic [2:0] reason_reg;
  logic changed_reg, done_reg, post_reg;  // STATUS changed; descriptor finished; event to be posted
  logic [2:0] cause_reg;
  logic interval_reg;  // INTERVAL to be posted
  logic [5:0] over_reg;  // INTERVAL_LEFT below zero
  logic off_reg;  // INTERVAL_LEFT was 0: no interval has been set
  logic last_reg;  // the finished descriptor had the LAST flag
  logic packet_reg;  // which time to note: PACKET_TIME, not START_TIME
  logic outside_reg;  // revocation: the current descriptor lies outside the range
  logic [10:0] load_reg;  // clocks of a frame that the streams need

  // ------------------------------------------------------------ context RAM and the host

  logic context_write;
  logic [5:0] context_write_word, context_read_word;
  logic [31:0] context_wdata, context_rdata;
  wire [STREAM_W-1:0] host_stream = bus_adr[8+:STREAM_W];
  wire [5:0] host_word = bus_adr[7:2];

  wire host_exists = {1'b0, bus_adr[11:8]} < 5'(STREAMS);
  wire host_wants = bus_stb && !bus_ack;
  // Counts among the engine's words, which the host may read, too.
  wire is_live = host_word[5:2] == FRAMES_LO[5:2] || host_word == DESCRIPTORS || host_word == INDEX;
  wire is_control = host_word == CONTROL;
  wire is_wide = host_word == INTERVAL_BYTES || host_word == REVOKE_RANGE || host_word[5];
  wire is_producer = host_word == RING_PRODUCER;
  wire is_setting = host_word[5:2] == 4'd0;
  wire host_writable = host_exists && (is_setting || is_producer || host_word == INTERVAL_BYTES || host_word == REVOKE_RANGE || (TEST_EN && is_live));

  logic slot;  // the RAM serves the host in this cycle
  wire host_write = slot && bus_we && host_writable;
  wire ask_snapshot = slot && bus_we && host_exists && host_word == STREAM_SNAPSHOT[7:2];

  // Reserved bits are stored as 0.
  wire is_base = host_word == RING_BASE;
  wire [31:0] host_mask = {
    {15{is_wide}}, is_wide || is_base, {7{is_wide || is_base || is_producer}}, !is_control, {1{!is_control && host_word != CONFIG}},
    {3{!is_control}}, {2{!is_control && !is_base}}, !is_base && host_word != CONFIG, !is_base
  };

  ram_1r1w #(
      .WORD_W(32),
      .ADDRESS_W(STREAM_W + 6)
  ) contexts (
      .clk,
      .write(slot ? host_write : context_write),
      .write_address(slot ? {host_stream, host_word} : {stream_reg, context_write_word}),
      .write_data(slot ? bus_wdata & host_mask : context_wdata),
      .read_address(slot ? {host_stream, host_word | {6{!host_exists || (host_word[5] && !is_live)}}} : {stream_reg, context_read_word}),
      .read_data(context_rdata)
  );

  always_comb begin
    bus_rdata = context_rdata;
    if (host_word == STREAM_SNAPSHOT[7:2] && host_exists) bus_rdata[8] = snapshot_reg[host_stream];
    if (host_word == REVOKE_STATUS && host_exists) bus_rdata[8] = revoke_reg[host_stream];
  end

  // ------------------------------------------------------------ the adder

  logic [ 6:0] operand;  // sign-extended
  wire  [32:0] result = {1'b0, context_rdata} + {1'b0, {25{operand[6]}}, operand};
  wire  [ 2:0] result_low = |result[31:2] ? 3'd4 : {1'b0, result[1:0]};

  // ------------------------------------------------------------ FIFO

  // The side that works now: the writing one, or the reading one.
  wire writing = visit_reg == TICK ? capture_reg : visit_reg == FILL && !capture_reg;
  wire [6:0] pointer = writing ? write_reg : read_reg;
  wire [6:0] other = writing ? read_reg : write_reg;

  wire [2:0] sample_bytes = 3'(container_reg) + 3'd1;
  wire [3:0] channels = 4'(channels_reg) + 4'd1;
  wire [5:0] frame_bytes = (&container_reg ? {channels, 2'd0} : container_reg == 2'd0 ? {2'd0, channels} : {1'b0, channels, 1'b0}) + (container_reg == 2'd2 ? 6'(channels) : 6'd0);

  // Bytes of the next memory access: within the memory word, the descriptor and the FIFO. A table, because comparators are slow here.
  logic [2:0] move_bytes;
  always_comb
    case (address_reg[1:0])
      2'd0: move_bytes = limit_reg;
      2'd1: move_bytes = limit_reg[2] ? 3'd3 : limit_reg;
      2'd2: move_bytes = limit_reg[2] || limit_reg[1] ? 3'd2 : limit_reg;
      2'd3: move_bytes = {2'd0, limit_reg != 3'd0};
    endcase

  // A mono frame is handed to the DAC twice; the pointer moves with the last.
  wire mono_render = channels_reg == 3'd0 && !capture_reg;
  wire last_channel = mono_render ? channel_reg[0] : channel_reg == channels_reg;
  wire [2:0] step = state_reg == SAMPLE ? sample_bytes : move_bytes;
  wire advance = (state_reg == SAMPLE && !(mono_render && !channel_reg[0])) || (state_reg == MOVE_B && mem_ack);
  wire [6:0] pointer_next = pointer + 7'(step);
  // Where the next bytes lie; the RAM is read there, one cycle ahead.
  wire [6:0] position = advance ? pointer_next : pointer;
  // Bytes to be read there, or room to be written.
  wire [6:0] available = (other - position) ^ {writing, 6'd0};
  // The same as a limit of the next access. To fill waits for room for a whole word, which spares accesses.
  wire [2:0] in_fifo = |available[6:2] ? 3'd4 : capture_reg ? {1'b0, available[1:0]} : 3'd0;
  wire [2:0] limit = remaining_reg < in_fifo ? remaining_reg : in_fifo;

  wire fifo_write = advance && writing;
  wire [3:0] step_mask = {step[2], step[2] || &step[1:0], step[2] || step[1], 1'b1};
  wire [7:0] fifo_mask = {4'd0, step_mask} << pointer[1:0];
  // Lanes in front of the first byte belong to the next word.
  wire [3:0] write_wraps = {1'b0, &pointer[1:0], pointer[1], |pointer[1:0]};
  wire [3:0] read_wraps = {1'b0, &position[1:0], position[1], |position[1:0]};
  logic [31:0] rotated, fifo_rdata;

  for (genvar lane = 0; lane < 4; lane++) begin : g_lane
    ram_1r1w #(
        .WORD_W(8),
        .ADDRESS_W(STREAM_W + 4)
    ) fifo (
        .clk,
        .write(fifo_write && (fifo_mask[lane] || fifo_mask[lane+4])),
        .write_address({stream_reg, pointer[5:2] + 4'(write_wraps[lane])}),
        .write_data(rotated[8*lane+:8]),
        .read_address({stream_reg, position[5:2] + 4'(read_wraps[lane])}),
        .read_data(fifo_rdata[8*lane+:8])
    );
  end

  wire is_unsigned = container_reg == 2'd0;  // 8 bit

  // Byte rotator, one for all four ways: lane j of the output is lane j + rotation of the input.
  logic [31:0] rotator_input;
  logic [ 1:0] rotation;
  wire  [31:0] rotated_once = rotation[0] ? {rotator_input[7:0], rotator_input[31:8]} : rotator_input;
  assign rotated = rotation[1] ? {rotated_once[15:0], rotated_once[31:16]} : rotated_once;

  always_comb
    if (state_reg == SAMPLE) begin
      // Samples are left-justified: their last byte is lane 3.
      rotator_input = capture_reg ? {adc_sample[31] ^ is_unsigned, adc_sample[30:8], 8'd0} : fifo_rdata;
      rotation = capture_reg ? 2'd0 - pointer_next[1:0] : pointer_next[1:0];
    end else begin
      rotator_input = capture_reg ? fifo_rdata : mem_rdata;
      rotation = capture_reg ? pointer[1:0] - address_reg[1:0] : address_reg[1:0] - pointer[1:0];
    end

  // ------------------------------------------------------------ slots for the host

  // A cycle in which the sequencer needs the RAM neither now nor its output in the next.
  logic slot_here, second_word_reg;
  always_ff @(posedge clk) second_word_reg <= ev_word == 2'd1;
  always_comb
    case (state_reg)
      IDLE, HOST_A, GATE: slot_here = 1'b1;
      // Between two words, and before the first, event_ring names word 1 for longer than a cycle.
      POST: slot_here = ev_word == 2'd1 && second_word_reg;
      SAMPLE: slot_here = !last_channel;
      FETCH: slot_here = word_reg[1:0] != WORD_LENGTH && !mem_ack;
      // These wait for the host.
      WIPE, START_D, MARK_A, STAMP_LO, QUEUE_A, FETCH_A, INTERVAL_A, ENDING_A, COUNT_A: slot_here = 1'b1;
      SNAPSHOT: slot_here = word_reg[3:0] == SNAP_NOW_LO || word_reg[3:0] == SNAP_FIFO;
      REVOKE: slot_here = word_reg[3:0] == 4'd0 || word_reg[3:0] == 4'd9;
      default: slot_here = 1'b0;
    endcase
  assign slot = slot_here && host_wants;
  wire hold = slot && state_reg != IDLE && state_reg != HOST_A && state_reg != GATE && state_reg != POST && state_reg != SAMPLE
      && state_reg != FETCH;

  // ------------------------------------------------------------ converter side, memory, events

  assign dac_we = state_reg == SAMPLE && !capture_reg;
  assign dac_stream = 4'(stream_reg);
  assign dac_channel = channel_reg;
  assign dac_sample = {
    rotated[31] ^ is_unsigned, rotated[30:24], is_unsigned ? 8'd0 : rotated[23:16], container_reg[1] ? rotated[15:8] : 8'd0, 8'd0
  };
  assign adc_channel = channel_reg;
  assign adc_take = state_reg == SAMPLE && capture_reg && last_channel;

  wire may_move = move_bytes != 3'd0 && !moved_reg[5] && ticks_reg == 4'd0;
  assign mem_stb = state_reg == FETCH || (state_reg == MOVE_A && may_move) || state_reg == MOVE_B;
  assign mem_we = state_reg != FETCH && capture_reg;
  assign mem_adr = address_reg[16:2];
  assign mem_sel = state_reg == FETCH ? 4'b1111 : step_mask << address_reg[1:0];
  assign mem_wdata = rotated;

  wire last_byte = state_reg == MOVE_B && mem_ack && remaining_reg == 3'd0;
  wire frame_there = available >= 7'(frame_bytes);
  wire use_up = state_reg == CONVERT && ended_reg && !silent_reg && (capture_reg || !frame_there);
  // A stamp that no event follows does no harm.
  assign ev_stamp = last_byte || (state_reg == MISS && !gap_reg) || state_reg == HALT || use_up || (state_reg == INTERVAL_C && !done_reg)
      || (state_reg == REVOKE && word_reg[3:0] == 4'd10);
  assign ev_valid = state_reg == POST;
  assign ev_cause = 8'(cause_reg);
  assign ev_stream = 8'(stream_reg);
  // data0 of DESCRIPTOR is INDEX with the LAST flag.
  logic index_word_reg;
  always_ff @(posedge clk) index_word_reg <= ev_word == 2'd0 && last_reg && cause_reg == 3'(CAUSE_DESCRIPTOR);
  assign ev_data = {context_rdata[31:17], context_rdata[16] || index_word_reg, context_rdata[15:0]};

  // ------------------------------------------------------------ descriptor checks

  wire [13:0] descriptor_slot = {1'b0, context_rdata[16:4]} + {5'd0, address_reg[8:0]};
  // Ordinals of descriptors, modulo 2^16, and sizes.
  wire [15:0] minuend = state_reg == REVOKE && word_reg[3:0] != 4'd6 ? context_rdata[31:16] : context_rdata[15:0];
  wire [16:0] difference = {1'b0, minuend} - {1'b0, address_reg[15:0]};
  wire no_difference = difference[15:0] == 16'd0;
  // Word 1 arrives while the address, word 0, is at the RAM's output.
  wire length_zero = mem_rdata == 32'd0;
  wire [18:0] descriptor_end = {2'd0, context_rdata[16:0]} + {1'b0, mem_rdata[17:0]};
  wire outside_memory = |context_rdata[31:17] || |mem_rdata[31:18] || descriptor_end[18] || (descriptor_end[17] && |descriptor_end[16:0]);
  wire bad_config = 4'(channels_reg) >= 4'(MAX_CHANNELS) || context_rdata[8:0] == 9'd0 || (context_rdata[8] && |context_rdata[7:0]);
  wire long_interval = |context_rdata[31:6];  // an interval
  wire interval_off = !long_interval && context_rdata[5:0] == 6'd0;
  // FIFO level at the end of a visit that wrote.
  wire [6:0] level = write_reg - read_reg;
  wire higher = level > context_rdata[6:0];

  // Clocks of a frame that a stream needs.
  wire [8:0] stream_clocks = 9'd10 + 9'(frame_bytes) + 9'(channels_reg);
  wire [10:0] load_next = load_reg + 11'(stream_clocks);

  // ------------------------------------------------------------ what is read and written in each state

  wire [31:0] fields = {
    1'b0, read_reg, write_reg, marked_reg, fresh_reg, silent_reg, ended_reg, queue_reg, gap_reg, delivered_reg, started_reg, channels_reg,
    container_reg, capture_reg, fault_reg, run_reg
  };

  wire [3:0] snap_word_next = word_reg[3:0] == SNAP_TICKS ? SNAP_COUNT : word_reg[3:0] + 4'd1;

  always_comb begin
    context_read_word = FIELDS;
    case (state_reg)
      DECODE: context_read_word = control_reg[stream_reg] ? CONTROL : REMAINING;
      ASK: context_read_word = started_reg ? REMAINING : CONFIG;
      START_A: context_read_word = RING_SIZE;
      START_B: context_read_word = INTERVAL_BYTES;
      CONVERT: context_read_word = capture_reg ? OVERRUNS : UNDERRUNS;
      SAMPLE: context_read_word = FRAMES_LO;
      FRAME: context_read_word = FRAMES_HI;
      MARK_A: context_read_word = PACKET;
      STAMP_HI, MARK: context_read_word = REMAINING;
      PREPARE_A: context_read_word = ADDRESS;
      PREPARE_B: context_read_word = REMAINING;
      QUEUE_A: context_read_word = DESCRIPTORS;
      QUEUE_B: context_read_word = RING_PRODUCER;
      QUEUE_C: context_read_word = RING_SIZE;
      FETCH_A: context_read_word = INDEX;
      FETCH_B: context_read_word = RING_BASE;
      FETCH: context_read_word = ADDRESS;
      MOVE_A: context_read_word = may_move ? ADDRESS : BYTES_LO;
      MOVE_B: context_read_word = !mem_ack ? ADDRESS : last_byte ? BYTES_LO : REMAINING;
      HOST_B: context_read_word = REMAINING;
      TOTAL: context_read_word = BYTES_HI;
      INTERVAL_A: context_read_word = INTERVAL_LEFT;
      INTERVAL_B: context_read_word = INTERVAL_BYTES;
      ENDING_A: context_read_word = FLAGS;
      SAVE: context_read_word = HIGH_WATER;
      POST:
      case ({cause_reg, ev_word})
        {3'(CAUSE_DESCRIPTOR), 2'd0}, {3'(CAUSE_FAULT), 2'd0}, {3'(CAUSE_END_OF_STREAM), 2'd0}: context_read_word = INDEX;
        {3'(CAUSE_DESCRIPTOR), 2'd1}, {3'(CAUSE_INTERVAL), 2'd1}, {3'(CAUSE_END_OF_STREAM), 2'd1}: context_read_word = TAG;
        {3'(CAUSE_DESCRIPTOR), 2'd2}, {3'(CAUSE_INTERVAL), 2'd2}, {3'(CAUSE_END_OF_STREAM), 2'd2}: context_read_word = BYTES_LO;
        {3'(CAUSE_DESCRIPTOR), 2'd3}, {3'(CAUSE_INTERVAL), 2'd3}, {3'(CAUSE_END_OF_STREAM), 2'd3}: context_read_word = FRAMES_LO;
        {3'(CAUSE_UNDERRUN), 2'd0}: context_read_word = UNDERRUNS;
        {3'(CAUSE_OVERRUN), 2'd0}: context_read_word = OVERRUNS;
        {3'(CAUSE_FAULT), 2'd1}: context_read_word = REASON;
        {3'(CAUSE_INTERVAL), 2'd0}: context_read_word = INTERVAL_LEFT;
        {3'(CAUSE_REFUSED), 2'd0}: context_read_word = REVOKE_RANGE;
        default: context_read_word = ZERO;
      endcase
      COUNT_A: context_read_word = DESCRIPTORS;
      COUNT_B: context_read_word = INDEX;
      COUNT_C: context_read_word = RING_SIZE;
      SNAPSHOT: context_read_word = snap_word_next == SNAP_LAST ? STATUS : {snap_word_next != SNAP_COUNT, snap_word_next == SNAP_COUNT, snap_word_next};
      REVOKE:
      case (word_reg[3:0])
        4'd2: context_read_word = RING_PRODUCER;
        4'd4: context_read_word = DESCRIPTORS;
        4'd7: context_read_word = REMAINING;
        default: context_read_word = REVOKE_RANGE;
      endcase
      default: ;
    endcase
  end

  always_comb begin
    operand = 7'd1;
    case (state_reg)
      MOVE_A: operand = {{5{move_bytes != 3'd0}}, move_bytes[1] ^ move_bytes[0], move_bytes[0]};  // minus move_bytes
      MOVE_B: operand = 7'(move_bytes);
      TOTAL: operand = 7'(moved_reg);
      INTERVAL_B: operand = 7'd0 - 7'(moved_reg);
      INTERVAL_C: operand = off_reg ? 7'd0 : {over_reg[5], over_reg};
      START_C, REVOKE: operand = 7'd0;
      SNAPSHOT: operand = 7'(word_reg[3:0] == SNAP_COUNT);
      PREPARE_A: operand = 7'd0;
      default: ;
    endcase
  end

  // Destination.
  always_comb begin
    context_write = 1'b1;
    context_write_word = FIELDS;
    case (state_reg)
      CLEAR, WIPE: context_write_word = word_reg;
      START_A: context_write_word = UNDERRUNS;
      START_B: context_write_word = OVERRUNS;
      START_C: context_write_word = INTERVAL_LEFT;
      START_D: context_write_word = HIGH_WATER;
      FRAME: context_write_word = FRAMES_LO;
      FRAME_CARRY: context_write_word = FRAMES_HI;
      MISS: context_write_word = capture_reg ? OVERRUNS : UNDERRUNS;
      STAMP_LO: context_write_word = packet_reg ? PACKET_TIME : START_TIME;
      STAMP_HI: context_write_word = (packet_reg ? PACKET_TIME : START_TIME) | 6'd1;
      FETCH: begin
        context_write = mem_ack;
        case (word_reg[1:0])
          WORD_ADDRESS: context_write_word = ADDRESS;
          WORD_LENGTH: context_write_word = REMAINING;
          WORD_TAG: context_write_word = TAG;
          WORD_FLAGS: context_write_word = FLAGS;
        endcase
      end
      MARK: begin
        context_write = !marked_reg;
        context_write_word = PACKET;
      end
      MOVE_A: begin
        context_write = may_move;
        context_write_word = REMAINING;
      end
      MOVE_B: begin
        context_write = mem_ack;
        context_write_word = ADDRESS;
      end
      TOTAL: context_write_word = BYTES_LO;
      TOTAL_CARRY: context_write_word = BYTES_HI;
      INTERVAL_B: begin
        context_write = !interval_off;
        context_write_word = INTERVAL_LEFT;
      end
      INTERVAL_C: context_write_word = INTERVAL_LEFT;
      HALT: context_write_word = REASON;
      SAVE: context_write_word = FIELDS;
      HIGH: begin
        context_write = higher;
        context_write_word = HIGH_WATER;
      end
      NOTE: context_write_word = STATUS;
      COUNT_B: context_write_word = DESCRIPTORS;
      COUNT_C: begin
        context_write = !ended_reg;
        context_write_word = INDEX;
      end
      COUNT_D: begin
        context_write = no_difference && !ended_reg;
        context_write_word = INDEX;
      end
      SNAPSHOT: context_write_word = {2'b01, word_reg[3:0]};
      REVOKE: begin
        context_write = word_reg[3:0] == 4'd8 || (word_reg[3:0] == 4'd9 && done_reg) || word_reg[3:0] == 4'd10;
        context_write_word = word_reg[1] ? REVOKE_STATUS : word_reg[0] ? REMAINING : REVOKE_LEFT;
      end
      default: context_write = 1'b0;
    endcase
  end

  // Data. The sum comes late, so it is chosen last.
  logic sum;
  logic [31:0] other_data;
  always_comb begin
    sum = 1'b0;
    other_data = 32'd0;
    case (state_reg)
      CLEAR, WIPE, START_A, START_B, START_D, COUNT_D: ;
      FETCH: other_data = mem_rdata;
      HALT: other_data = 32'(reason_reg);
      SAVE: other_data = fields;
      HIGH, MARK: other_data = 32'(state_reg == MARK ? write_reg : level);
      NOTE: other_data = {26'd0, silent_reg, fault_reg, 2'd0, run_reg};
      STAMP_LO: other_data = now[31:0];
      STAMP_HI: other_data = now[63:32];
      INTERVAL_C: sum = long_interval;
      SNAPSHOT:
      case (word_reg[3:0])
        SNAP_NOW_LO: other_data = now[31:0];
        SNAP_NOW_HI: other_data = now[63:32];
        SNAP_TICKS: other_data = frame_ticks;
        SNAP_FIFO: other_data = 32'(available);
        SNAP_COUNT: other_data = 32'(result[7:0]);
        default: sum = 1'b1;
      endcase
      REVOKE: begin
        sum = word_reg[3:0] == 4'd8 && result_low != 3'd0 && !outside_reg && !post_reg;
        if (word_reg[1]) other_data = {30'd0, post_reg, done_reg};
      end
      default: sum = 1'b1;
    endcase
    context_wdata = sum ? result[31:0] : other_data;
  end

  // ------------------------------------------------------------ the sequencer

  // What SAVE leaves to be done.
  state_t after_post, after_note, after_high, after_save, after_frame, after_interval;
  assign after_post = done_reg ? COUNT_A : IDLE;
  assign after_note = post_reg || interval_reg ? GATE : after_post;
  assign after_high = changed_reg ? NOTE : after_note;
  assign after_save = writing ? HIGH : after_high;
  assign after_frame = fresh_reg ? STAMP_LO : marked_reg && !capture_reg ? MARK_A : SAVE;
  assign after_interval = done_reg ? ENDING_A : SAVE;

  // The read pointer is past the mark. It lies at most 64 bytes ahead, or a frame behind.
  wire [6:0] mark_distance = context_rdata[6:0] - read_reg;

  wire [1:0] asked = context_rdata[1:0];  // in ASK

  always_ff @(posedge clk) begin
    bus_ack <= slot;
    if (frame_tick && !(&ticks_reg)) ticks_reg <= ticks_reg + 4'd1;

    if (!hold)
    case (state_reg)
      CLEAR: begin
        word_reg <= word_reg + 6'd1;
        if (word_reg == LAST_CLEARED) begin
          word_reg   <= 6'd0;
          stream_reg <= stream_reg + 1'b1;
          if (stream_reg == LAST_STREAM) state_reg <= IDLE;
        end
      end

      IDLE: begin
        if (visit_reg == TICK && stream_reg != LAST_STREAM) begin
          stream_reg <= stream_reg + 1'b1;
          state_reg  <= LOAD;
        end else if (ticks_reg != 4'd0) begin
          ticks_reg  <= ticks_reg - 4'(!frame_tick);
          late_reg   <= ticks_reg != 4'd1;
          visit_reg  <= TICK;
          stream_reg <= '0;
          state_reg  <= LOAD;
        end else if (|snapshot_reg) begin
          visit_reg <= SNAPSHOT_VISIT;
          for (int i = STREAMS - 1; i >= 0; i--) if (snapshot_reg[i]) stream_reg <= STREAM_W'(i);
          state_reg <= LOAD;
        end else if (|revoke_reg) begin
          visit_reg <= REVOKE_VISIT;
          for (int i = STREAMS - 1; i >= 0; i--) if (revoke_reg[i]) stream_reg <= STREAM_W'(i);
          state_reg <= LOAD;
        end else if (left_reg != '0) begin
          left_reg <= left_reg - 1'b1;
          visit_reg <= FILL;
          stream_reg <= fill_stream_reg;
          fill_stream_reg <= fill_stream_reg == LAST_STREAM ? '0 : fill_stream_reg + 1'b1;
          state_reg <= LOAD;
        end
      end

      LOAD: state_reg <= DECODE;

      DECODE: begin
        {read_reg, write_reg, marked_reg, fresh_reg, silent_reg, ended_reg, queue_reg, gap_reg, delivered_reg, started_reg, channels_reg,
         container_reg, capture_reg, fault_reg, run_reg} <= context_rdata[30:0];
        moved_reg <= 6'd0;
        channel_reg <= 3'd0;
        done_reg <= 1'b0;
        post_reg <= 1'b0;
        interval_reg <= 1'b0;
        changed_reg <= 1'b0;
        outside_reg <= 1'b0;
        case (visit_reg)
          SNAPSHOT_VISIT: begin
            word_reg  <= {2'b00, SNAP_NOW_LO};
            state_reg <= SNAPSHOT;
          end
          REVOKE_VISIT: begin
            word_reg  <= 6'd0;
            state_reg <= REVOKE;
          end
          default: begin
            word_reg  <= FIRST_WIPED;
            if (control_reg[stream_reg]) state_reg <= ASK;
            else if (context_rdata[1:0] != 2'(STREAM_STATE_RUN) || context_rdata[2]) state_reg <= IDLE;
            else if (visit_reg == TICK) state_reg <= CONVERT;
            else state_reg <= context_rdata[13] ? IDLE : PREPARE_A;  // ended
          end
        endcase
      end

      ASK: begin
        control_reg[stream_reg] <= 1'b0;
        state_reg <= IDLE;
        if (!asked[1]) begin
          if (run_reg != 2'(STREAM_STATE_STOP)) state_reg <= WIPE;
          run_reg <= 2'(STREAM_STATE_STOP);
          fault_reg <= 1'b0;
          silent_reg <= 1'b0;
        end else if (!fault_reg) begin
          run_reg <= asked;
          changed_reg <= asked != run_reg;
          if (asked == run_reg) begin
            if (asked[0]) state_reg <= visit_reg == TICK ? CONVERT : ended_reg ? IDLE : PREPARE_A;
          end else begin
            if (asked[0]) fresh_reg <= 1'b1;
            state_reg <= asked[0] && !started_reg ? START_A : SAVE;
          end
        end
      end

      WIPE:
      if (!hold) begin
        word_reg <= word_reg + 6'd1;
        if (started_reg) load_reg <= load_reg - 11'(stream_clocks);
        started_reg <= 1'b0;
        if (word_reg == LAST_CLEARED) state_reg <= NOTE;
      end

      START_A: begin
        {channels_reg, container_reg} <= context_rdata[6:2];
        capture_reg <= context_rdata[0];
        queue_reg <= context_rdata[8];
        reason_reg <= 3'(FAULT_REASON_BAD_CONFIG);
        state_reg <= START_B;
      end
      START_B: state_reg <= bad_config ? HALT : START_C;
      START_C: begin
        reason_reg <= 3'(FAULT_REASON_TOO_MUCH);
        state_reg  <= load_next > frame_clocks - 11'(frame_clocks[10:4]) ? HALT : START_D;
      end
      START_D: begin
        load_reg <= load_next;
        started_reg <= 1'b1;
        state_reg <= SAVE;
      end

      CONVERT:
      if (ended_reg && (capture_reg || !frame_there)) begin
        silent_reg <= 1'b1;
        changed_reg <= !silent_reg;
        post_reg <= !silent_reg;
        cause_reg <= 3'(CAUSE_END_OF_STREAM);
        state_reg <= silent_reg ? IDLE : SAVE;
      end else if (!late_reg && frame_there) state_reg <= SAMPLE;
      else state_reg <= capture_reg || delivered_reg ? MISS : IDLE;
      SAMPLE: begin
        channel_reg <= channel_reg + 3'd1;
        delivered_reg <= 1'b1;
        gap_reg <= 1'b0;
        packet_reg <= 1'b0;
        if (last_channel) state_reg <= FRAME;
      end
      FRAME: state_reg <= result[32] ? FRAME_CARRY : after_frame;
      FRAME_CARRY: state_reg <= after_frame;
      MARK_A: state_reg <= MARK_B;
      MARK_B: begin
        packet_reg <= 1'b1;
        marked_reg <= !(&mark_distance[6:5]);
        state_reg <= &mark_distance[6:5] ? STAMP_LO : SAVE;
      end
      MISS: begin
        gap_reg <= 1'b1;
        post_reg <= !gap_reg;
        cause_reg <= capture_reg ? 3'(CAUSE_OVERRUN) : 3'(CAUSE_UNDERRUN);
        state_reg <= gap_reg ? IDLE : SAVE;
      end
      // From an even count on, so that its two words belong together.
      STAMP_LO: if (!now[0]) state_reg <= STAMP_HI;
      STAMP_HI: begin
        if (!packet_reg) fresh_reg <= 1'b0;
        state_reg <= visit_reg == FILL ? PREPARE_A : !packet_reg && marked_reg && !capture_reg ? MARK_A : SAVE;
      end

      PREPARE_A: begin
        remaining_reg <= result_low;
        state_reg <= in_fifo == 3'd0 ? IDLE : PREPARE_B;
      end
      PREPARE_B: begin
        address_reg <= context_rdata[16:0];
        limit_reg <= limit;
        state_reg <= remaining_reg != 3'd0 ? MOVE_A : queue_reg ? QUEUE_A : FETCH_A;
      end

      QUEUE_A: state_reg <= QUEUE_B;
      QUEUE_B: begin
        address_reg <= context_rdata[16:0];
        state_reg <= QUEUE_C;
      end
      QUEUE_C: begin
        address_reg <= {1'b0, difference[15:0]};
        reason_reg <= 3'(FAULT_REASON_PRODUCER_AHEAD);
        state_reg <= no_difference ? IDLE : QUEUE_D;
      end
      QUEUE_D: state_reg <= difference[16] ? HALT : FETCH_A;

      FETCH_A: state_reg <= FETCH_B;
      FETCH_B: begin
        address_reg <= context_rdata[16:0];
        state_reg <= FETCH_C;
      end
      FETCH_C: begin
        address_reg <= {descriptor_slot[12:0], WORD_FLAGS, 2'd0};
        reason_reg <= 3'(FAULT_REASON_OUTSIDE_MEMORY);
        word_reg <= 6'(WORD_FLAGS);
        state_reg <= descriptor_slot[13] ? HALT : FETCH;
      end
      FETCH:
      if (mem_err) begin
        reason_reg <= 3'(FAULT_REASON_BUS_ERROR);
        state_reg  <= HALT;
      end else if (mem_ack) begin
        address_reg[3:2] <= address_reg[3:2] + 2'd1;
        word_reg <= word_reg + 6'd1;
        case (word_reg[1:0])
          WORD_FLAGS:
          if (mem_rdata[DESCRIPTOR_REMOVED_BIT]) begin
            done_reg  <= 1'b1;
            state_reg <= SAVE;
          end
          WORD_LENGTH: begin
            if (length_zero) reason_reg <= 3'(FAULT_REASON_LENGTH_ZERO);
            if (length_zero || outside_memory) state_reg <= HALT;
          end
          WORD_TAG: begin
            packet_reg <= 1'b1;
            state_reg <= capture_reg ? STAMP_LO : MARK;
          end
          default: ;
        endcase
      end
      MARK: begin
        marked_reg <= 1'b1;
        state_reg <= PREPARE_A;
      end

      MOVE_A: begin
        remaining_reg <= result_low;
        state_reg <= may_move ? MOVE_B : moved_reg == 6'd0 ? SAVE : TOTAL;
        // Cut short by a tick: this stream is the next one behind the pass.
        if (ticks_reg != 4'd0) fill_stream_reg <= stream_reg;
      end
      MOVE_B:
      if (mem_err) begin
        reason_reg <= 3'(FAULT_REASON_BUS_ERROR);
        state_reg  <= HALT;
      end else if (mem_ack) begin
        address_reg <= result[16:0];
        limit_reg <= limit;
        moved_reg <= moved_reg + 6'(move_bytes);
        done_reg <= last_byte;
        state_reg <= last_byte ? TOTAL : host_wants ? HOST_A : MOVE_A;
      end
      HOST_A: state_reg <= HOST_B;
      HOST_B: state_reg <= MOVE_A;
      TOTAL: state_reg <= result[32] ? TOTAL_CARRY : INTERVAL_A;
      TOTAL_CARRY: state_reg <= INTERVAL_A;
      INTERVAL_A: state_reg <= INTERVAL_B;
      INTERVAL_B: begin
        off_reg <= interval_off;
        over_reg <= result[5:0];
        state_reg <= interval_off || !result[32] || result_low == 3'd0 ? INTERVAL_C : after_interval;
      end
      INTERVAL_C: begin
        interval_reg <= long_interval && !off_reg;
        cause_reg <= 3'(CAUSE_INTERVAL);
        state_reg <= after_interval;
      end
      ENDING_A: state_reg <= ENDING_B;
      ENDING_B: begin
        post_reg <= context_rdata[DESCRIPTOR_EVENT_FLAG_BIT];
        cause_reg <= context_rdata[DESCRIPTOR_EVENT_FLAG_BIT] ? 3'(CAUSE_DESCRIPTOR) : 3'(CAUSE_INTERVAL);
        ended_reg <= context_rdata[DESCRIPTOR_END_OF_STREAM_BIT];
        last_reg <= context_rdata[DESCRIPTOR_LAST_BIT];
        state_reg <= SAVE;
      end

      HALT: begin
        fault_reg <= 1'b1;
        changed_reg <= 1'b1;
        post_reg <= 1'b1;
        cause_reg <= 3'(CAUSE_FAULT);
        state_reg <= SAVE;
      end

      SAVE: state_reg <= after_save;
      HIGH: state_reg <= after_high;
      NOTE: state_reg <= after_note;
      GATE: state_reg <= POST;
      POST:
      if (ev_ready) begin
        // What happened first goes first.
        post_reg <= 1'b0;
        interval_reg <= post_reg && interval_reg;
        if (interval_reg) cause_reg <= 3'(CAUSE_INTERVAL);
        state_reg <= post_reg && interval_reg ? GATE : after_post;
      end
      COUNT_A: if (!hold) state_reg <= COUNT_B;
      COUNT_B: state_reg <= COUNT_C;
      COUNT_C: begin
        address_reg <= result[16:0];
        state_reg <= COUNT_D;
      end
      COUNT_D: state_reg <= IDLE;

      SNAPSHOT:
      // A tick before the last changing word would mix two frames: start again behind it. Time is taken from an even count on, so
      // that its two words belong together.
      if (word_reg[3:1] != SNAP_COUNT[3:1] && (ticks_reg != 4'd0 || frame_tick)) state_reg <= IDLE;
      else if (!hold && (word_reg[3:0] != SNAP_NOW_LO || !now[0])) begin
        word_reg <= {2'b00, snap_word_next};
        if (word_reg[3:0] == SNAP_LAST) begin
          snapshot_reg[stream_reg] <= 1'b0;
          state_reg <= IDLE;
        end
      end

      REVOKE:
      if (!hold) begin
        word_reg  <= word_reg + 6'd1;
        cause_reg <= 3'(CAUSE_REFUSED);
        case (word_reg[3:0])
          4'd1: begin
            address_reg <= context_rdata[16:0];
            post_reg <= !queue_reg;
          end
          4'd2: if (difference[15]) post_reg <= 1'b1;  // last before first
          4'd3: address_reg <= context_rdata[16:0];
          4'd4: if (!difference[15]) post_reg <= 1'b1;  // last not before RING_PRODUCER
          4'd5: address_reg <= context_rdata[16:0];
          4'd6: if (!difference[15] && !no_difference) outside_reg <= 1'b1;  // first behind the current one
          4'd7: if (difference[15]) outside_reg <= 1'b1;  // last before it
          4'd8: done_reg <= result_low != 3'd0 && !outside_reg && !post_reg;
          4'd10: begin
            revoke_reg[stream_reg] <= 1'b0;
            left_reg <= LEFT_W'(STREAMS);
            state_reg <= after_note;
          end
          default: ;
        endcase
      end

      default: state_reg <= IDLE;
    endcase

    if (advance) begin
      if (writing) write_reg <= pointer_next;
      else read_reg <= pointer_next;
    end
    // Something was done, so there may be more to do, for any stream.
    if (state_reg == SAVE) left_reg <= LEFT_W'(STREAMS);

    if (host_write && (is_control || is_producer)) left_reg <= LEFT_W'(STREAMS);
    if (host_write && is_control) control_reg[host_stream] <= 1'b1;
    if (ask_snapshot) snapshot_reg[host_stream] <= 1'b1;
    if (host_write && host_word == REVOKE_RANGE) revoke_reg[host_stream] <= 1'b1;

    if (rst) begin
      state_reg <= CLEAR;
      visit_reg <= FILL;
      stream_reg <= '0;
      fill_stream_reg <= '0;
      word_reg <= 6'd0;
      left_reg <= '0;
      ticks_reg <= 4'd0;
      snapshot_reg <= '0;
      revoke_reg <= '0;
      control_reg <= '0;
      load_reg <= 11'd0;
      bus_ack <= 1'b0;
    end
  end

  initial
    if (STREAMS < 1 || STREAMS > 16 || MAX_CHANNELS < 1 || MAX_CHANNELS > 8)
      $fatal(1, "stream_engine: STREAMS is %0d, must be 1 to 16; MAX_CHANNELS is %0d, must be 1 to 8", STREAMS, MAX_CHANNELS);

  wire unused = &{1'b0, bus_adr[15:12], adc_sample[7:0], mark_distance[4:0]};

endmodule

`default_nettype wire
