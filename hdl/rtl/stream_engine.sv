`default_nettype none

// Stream engine: moves frames between the converters and audio memory, byte-exact, for several streams in turn.
//
// Each stream is a ring of descriptors in audio memory and a FIFO of 64 bytes. One sequencer serves them all by visits: it loads
// what it needs of the stream's context from block RAM, works with one adder, and writes back. Between two visits every context is
// consistent, and there snapshots are taken. Only the sequencer writes contexts; the host writes four settings of each stream
// into a RAM of their own, and reads a mirror of the contexts, so that neither ever waits for the other.
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
// Limits: every descriptor is kept (flags LAST, KEEP and END_OF_STREAM are not looked at). When memory is so slow that a tick comes
// before the pass of the one before it has begun, the converter has missed a frame, and it is counted as such, up to 15 in a row.
module stream_engine
  import codecrig_pkg::*;
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

  // Words of a context. A snapshot copies word k to word 16 + k, which is where the register map has it.
  localparam logic [4:0] FIELDS = 0, STATUS = 1, ADDRESS = 2, REMAINING = 3, FRAMES_LO = 4, FRAMES_HI = 5, BYTES_LO = 6, BYTES_HI = 7,
      DESCRIPTORS = 8, TAG = 9, INDEX = 10, REASON = 11, UNDERRUNS = 12, OVERRUNS = 13, ZERO = 31;
  localparam logic [4:0] LAST_WIPED = REASON;  // STOP clears up to here and keeps the rest
  // Snapshot words that are not copies, as k.
  localparam logic [3:0] SNAP_COUNT = 0, SNAP_LAST = 1, SNAP_NOW_LO = 2, SNAP_NOW_HI = 3, SNAP_FIFO = 9, SNAP_TICKS = 11;

  // The host's settings of a stream, as words of their RAM.
  localparam logic [1:0] CONTROL = 0, CONFIG = 1, RING_BASE = 2, RING_SIZE = 3;

  typedef enum logic [4:0] {
    CLEAR,       // behind reset: zero all RAMs
    IDLE,        // choose a stream and what to do for it
    LOAD,        // read its fields and CONTROL
    DECODE,      // decide
    WIPE,        // to STOP: zero the context
    START_A,     // first RUN: take over CONFIG
    START_B,     //   and check RING_SIZE
    CONVERT,     // tick: is there a frame, or room for one?
    SAMPLE,      //   one channel after the other
    FRAME,       //   count the frame
    FRAME_CARRY,
    MISS,        //   count the underrun or overrun
    PREPARE_A,   // fill: bytes left in the descriptor
    PREPARE_B,   //   and where
    FETCH_A,     // next descriptor: read INDEX and RING_BASE
    FETCH_B,     //   form its address
    FETCH,       //   read its four words
    MOVE_A,      // access to memory, first cycle: take n from REMAINING
    MOVE_B,      //   until ack: add n to ADDRESS
    TOTAL,       // count the bytes
    TOTAL_CARRY,
    HALT,        // fault: note the reason
    SAVE,        // write the fields back
    NOTE,        // write STATUS
    POST,        // post an event
    COUNT_A,     // descriptor finished
    COUNT_B,     //   DESCRIPTORS
    COUNT_C,     //   INDEX
    SNAPSHOT
  } state_t;
  typedef enum logic [1:0] {FILL, TICK, SNAPSHOT_VISIT} visit_t;

  // One-hot is smaller and faster on an FPGA; synthesis would not choose it by itself.
  (* fsm_encoding = "one-hot" *) state_t state_reg;
  visit_t visit_reg;
  logic [STREAM_W-1:0] stream_reg, fill_stream_reg;
  logic [LEFT_W-1:0] left_reg;  // fill visits still to be made before all streams are known to be idle
  logic [3:0] ticks_reg;  // ticks that wait for their pass
  logic late_reg;  // this pass is for a tick that has already been missed
  logic [STREAMS-1:0] snapshot_reg;  // snapshots asked for
  logic [4:0] word_reg;  // counts words where a state goes through several

  // The stream's fields, while it is visited.
  logic [1:0] run_reg;  // StreamState reached
  logic fault_reg;
  logic capture_reg;
  logic [1:0] container_reg;  // bytes in a sample less 1
  logic [2:0] channels_reg;  // less 1
  logic started_reg;  // RUN since STOP: configuration taken over
  logic delivered_reg;  // a frame was converted since STOP
  logic gap_reg;  // the last tick found no frame, or no room
  logic notify_reg;  // the current descriptor has the EVENT flag
  logic [6:0] write_reg, read_reg;  // FIFO pointers, bytes

  // Work of one visit.
  logic [16:0] address_reg;  // byte address of the next memory access
  logic [2:0] remaining_reg;  // bytes left in the descriptor, 4 stands for more
  logic [2:0] limit_reg;  // bytes that descriptor and FIFO let move at once, 0 to 4
  logic [5:0] moved_reg;  // bytes moved
  logic [2:0] channel_reg;
  logic [1:0] reason_reg;
  logic changed_reg, done_reg, post_reg;  // STATUS changed; descriptor finished; event to be posted
  logic [1:0] cause_reg;

  // ------------------------------------------------------------ context RAM and its mirror for the host

  logic context_write;
  logic [4:0] context_write_word, context_read_word;
  logic [31:0] context_wdata, context_rdata, mirror_rdata;
  logic [4:0] mirror_word;
  wire [STREAM_W-1:0] host_stream = bus_adr[8+:STREAM_W];

  ram_1r1w #(
      .WORD_W(32),
      .ADDRESS_W(STREAM_W + 5)
  ) contexts (
      .clk,
      .write(context_write),
      .write_address({stream_reg, context_write_word}),
      .write_data(context_wdata),
      .read_address({stream_reg, context_read_word}),
      .read_data(context_rdata)
  );

  ram_1r1w #(
      .WORD_W(32),
      .ADDRESS_W(STREAM_W + 5)
  ) mirror (
      .clk,
      .write(context_write),
      .write_address({stream_reg, context_write_word}),
      .write_data(context_wdata),
      .read_address({host_stream, mirror_word}),
      .read_data(mirror_rdata)
  );

  // ------------------------------------------------------------ host

  wire host_exists = {1'b0, bus_adr[11:8]} < 5'(STREAMS);
  wire is_setting = bus_adr[7:4] == 4'd0 && host_exists;
  wire is_snapshot = bus_adr[7:2] == STREAM_SNAPSHOT[7:2] && host_exists;
  wire host_write = bus_stb && bus_we && bus_ack;
  logic [12:0] setting_wdata, setting_rdata, host_setting_rdata;
  logic [ 1:0] setting_word;

  always_comb
    case (bus_adr[3:2])
      CONTROL: setting_wdata = {11'd0, bus_wdata[1:0]};
      CONFIG: setting_wdata = {6'd0, bus_wdata[6:2], 1'b0, bus_wdata[0]};
      RING_BASE: setting_wdata = bus_wdata[16:4];
      RING_SIZE: setting_wdata = {4'd0, bus_wdata[8:0]};
    endcase

  // Written by the host only. A CONTROL that is read in the very cycle of its write may be any mixture of old and new bits: each
  // mixture is a state on the way, and the write brings another visit.
  wire                setting_write = state_reg == CLEAR || (host_write && is_setting);
  wire [STREAM_W+1:0] setting_write_address = state_reg == CLEAR ? {stream_reg, word_reg[1:0]} : {host_stream, bus_adr[3:2]};
  wire [        12:0] setting_write_data = state_reg == CLEAR ? 13'd0 : setting_wdata;

  ram_1r1w #(
      .WORD_W(13),
      .ADDRESS_W(STREAM_W + 2)
  ) settings (
      .clk,
      .write(setting_write),
      .write_address(setting_write_address),
      .write_data(setting_write_data),
      .read_address({stream_reg, setting_word}),
      .read_data(setting_rdata)
  );

  ram_1r1w #(
      .WORD_W(13),
      .ADDRESS_W(STREAM_W + 2)
  ) settings_mirror (
      .clk,
      .write(setting_write),
      .write_address(setting_write_address),
      .write_data(setting_write_data),
      .read_address({host_stream, bus_adr[3:2]}),
      .read_data(host_setting_rdata)
  );

  always_comb begin
    mirror_word = ZERO;
    if (host_exists)
      if (bus_adr[7:6] == 2'b01 && bus_adr[5:4] != 2'b11) mirror_word = bus_adr[6:2];
      else
        case (bus_adr[7:2])
          STREAM_STATUS[7:2]: mirror_word = STATUS;
          STREAM_UNDERRUNS[7:2]: mirror_word = UNDERRUNS;
          STREAM_OVERRUNS[7:2]: mirror_word = OVERRUNS;
          default: ;
        endcase
  end

  always_comb begin
    bus_rdata = mirror_rdata;
    if (is_snapshot) bus_rdata[8] = snapshot_reg[host_stream];
    if (is_setting)
      bus_rdata = bus_adr[3:2] == RING_BASE ? {15'd0, host_setting_rdata, 4'd0} : {19'd0, host_setting_rdata};
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
  wire [5:0] frame_bytes = (&container_reg ? {channels, 2'd0} : {1'b0, channels, 1'b0}) + (container_reg == 2'd2 ? 6'(channels) : 6'd0);

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

  // Byte rotator, one for all four ways: lane j of the output is lane j + rotation of the input.
  logic [31:0] rotator_input;
  logic [ 1:0] rotation;
  wire  [31:0] rotated_once = rotation[0] ? {rotator_input[7:0], rotator_input[31:8]} : rotator_input;
  assign rotated = rotation[1] ? {rotated_once[15:0], rotated_once[31:16]} : rotated_once;

  always_comb
    if (state_reg == SAMPLE) begin
      // Samples are left-justified: their last byte is lane 3.
      rotator_input = capture_reg ? {adc_sample[31:8], 8'd0} : fifo_rdata;
      rotation = capture_reg ? 2'd0 - pointer_next[1:0] : pointer_next[1:0];
    end else begin
      rotator_input = capture_reg ? fifo_rdata : mem_rdata;
      rotation = capture_reg ? pointer[1:0] - address_reg[1:0] : address_reg[1:0] - pointer[1:0];
    end

  // ------------------------------------------------------------ converter side, memory, events

  assign dac_we = state_reg == SAMPLE && !capture_reg;
  assign dac_stream = 4'(stream_reg);
  assign dac_channel = channel_reg;
  assign dac_sample = {rotated[31:16], container_reg[1] ? rotated[15:8] : 8'd0, 8'd0};
  assign adc_channel = channel_reg;
  assign adc_take = state_reg == SAMPLE && capture_reg && last_channel;

  wire may_move = move_bytes != 3'd0 && !moved_reg[5] && ticks_reg == 4'd0;
  assign mem_stb = state_reg == FETCH || (state_reg == MOVE_A && may_move) || state_reg == MOVE_B;
  assign mem_we = state_reg != FETCH && capture_reg;
  assign mem_adr = address_reg[16:2];
  assign mem_sel = state_reg == FETCH ? 4'b1111 : step_mask << address_reg[1:0];
  assign mem_wdata = rotated;

  wire last_byte = state_reg == MOVE_B && mem_ack && remaining_reg == 3'd0;
  assign ev_stamp = (last_byte && notify_reg) || (state_reg == MISS && !gap_reg) || state_reg == HALT;
  assign ev_valid = state_reg == POST;
  assign ev_cause = 8'(cause_reg);
  assign ev_stream = 8'(stream_reg);
  assign ev_data = context_rdata;

  // ------------------------------------------------------------ descriptor checks

  wire [13:0] descriptor_slot = {1'b0, setting_rdata} + {5'd0, context_rdata[8:0]};
  // Word 1 arrives while the address, word 0, is at the RAM's output.
  wire length_zero = mem_rdata == 32'd0;
  wire [18:0] descriptor_end = {2'd0, context_rdata[16:0]} + {1'b0, mem_rdata[17:0]};
  wire outside_memory = |context_rdata[31:17] || |mem_rdata[31:18] || descriptor_end[18] || (descriptor_end[17] && |descriptor_end[16:0]);
  wire bad_config = container_reg == 2'd0 || 4'(channels_reg) >= 4'(MAX_CHANNELS) || setting_rdata[8:0] == 9'd0
      || (setting_rdata[8] && |setting_rdata[7:0]);

  // ------------------------------------------------------------ what is read and written in each state

  wire [31:0] fields = {
    3'd0, read_reg, write_reg, notify_reg, gap_reg, delivered_reg, started_reg, channels_reg, container_reg, capture_reg, fault_reg,
    2'd0, run_reg
  };

  wire [3:0] snap_word_next = word_reg[3:0] == SNAP_TICKS ? SNAP_COUNT : word_reg[3:0] + 4'd1;

  always_comb begin
    context_read_word = FIELDS;
    setting_word = CONTROL;
    case (state_reg)
      DECODE: begin
        context_read_word = REMAINING;
        setting_word = CONFIG;
      end
      START_A: setting_word = RING_SIZE;
      CONVERT: context_read_word = capture_reg ? OVERRUNS : UNDERRUNS;
      SAMPLE: context_read_word = FRAMES_LO;
      FRAME: context_read_word = FRAMES_HI;
      PREPARE_A: context_read_word = ADDRESS;
      PREPARE_B: context_read_word = REMAINING;
      FETCH_A: begin
        context_read_word = INDEX;
        setting_word = RING_BASE;
      end
      FETCH: context_read_word = &word_reg[1:0] ? REMAINING : ADDRESS;
      MOVE_A: context_read_word = may_move ? ADDRESS : BYTES_LO;
      MOVE_B: context_read_word = !mem_ack ? ADDRESS : last_byte ? BYTES_LO : REMAINING;
      TOTAL: context_read_word = BYTES_HI;
      POST:
      case ({cause_reg, ev_word})
        {2'(CAUSE_DESCRIPTOR), 2'd0}, {2'(CAUSE_FAULT), 2'd0}: context_read_word = INDEX;
        {2'(CAUSE_DESCRIPTOR), 2'd1}: context_read_word = TAG;
        {2'(CAUSE_DESCRIPTOR), 2'd2}: context_read_word = BYTES_LO;
        {2'(CAUSE_DESCRIPTOR), 2'd3}: context_read_word = FRAMES_LO;
        {2'(CAUSE_UNDERRUN), 2'd0}: context_read_word = UNDERRUNS;
        {2'(CAUSE_OVERRUN), 2'd0}: context_read_word = OVERRUNS;
        {2'(CAUSE_FAULT), 2'd1}: context_read_word = REASON;
        default: context_read_word = ZERO;
      endcase
      COUNT_A: context_read_word = DESCRIPTORS;
      COUNT_B: begin
        context_read_word = INDEX;
        setting_word = RING_SIZE;
      end
      SNAPSHOT: context_read_word = {snap_word_next == SNAP_COUNT, snap_word_next};
      default: ;
    endcase
  end

  always_comb begin
    operand = 7'd1;
    case (state_reg)
      MOVE_A: operand = {{5{move_bytes != 3'd0}}, move_bytes[1] ^ move_bytes[0], move_bytes[0]};  // minus move_bytes
      MOVE_B: operand = 7'(move_bytes);
      TOTAL: operand = 7'(moved_reg);
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
      FRAME: context_write_word = FRAMES_LO;
      FRAME_CARRY: context_write_word = FRAMES_HI;
      MISS: context_write_word = capture_reg ? OVERRUNS : UNDERRUNS;
      FETCH: begin
        context_write = mem_ack && word_reg[1:0] != 2'd3;
        context_write_word = word_reg[1] ? TAG : word_reg[0] ? REMAINING : ADDRESS;
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
      HALT: context_write_word = REASON;
      SAVE: context_write_word = FIELDS;
      NOTE: context_write_word = STATUS;
      COUNT_B: context_write_word = DESCRIPTORS;
      COUNT_C: context_write_word = INDEX;
      SNAPSHOT: context_write_word = {1'b1, word_reg[3:0]};
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
      CLEAR, WIPE, START_A, START_B: ;
      FETCH: other_data = mem_rdata;
      HALT: other_data = 32'(reason_reg);
      SAVE: other_data = fields;
      NOTE: other_data = {27'd0, fault_reg, 2'd0, run_reg};
      COUNT_C: sum = result[8:0] != setting_rdata[8:0];
      SNAPSHOT:
      case (word_reg[3:0])
        SNAP_NOW_LO: other_data = now[31:0];
        SNAP_NOW_HI: other_data = now[63:32];
        SNAP_TICKS: other_data = frame_ticks;
        SNAP_FIFO: other_data = 32'(available);
        SNAP_COUNT: other_data = 32'(result[7:0]);
        default: sum = 1'b1;
      endcase
      default: sum = 1'b1;
    endcase
    context_wdata = sum ? result[31:0] : other_data;
  end

  // ------------------------------------------------------------ the sequencer

  // What SAVE leaves to be done.
  state_t after_post, after_note;
  assign after_post = done_reg ? COUNT_A : IDLE;
  assign after_note = post_reg ? POST : after_post;

  wire [1:0] asked = setting_rdata[1:0];  // in DECODE
  state_t decision;
  always_comb begin
    decision = IDLE;
    if (visit_reg == SNAPSHOT_VISIT) decision = SNAPSHOT;
    else if (!asked[1]) begin
      if (context_rdata[1:0] != 2'(STREAM_STATE_STOP)) decision = WIPE;
    end else if (!context_rdata[4]) begin
      if (asked == context_rdata[1:0]) begin
        if (asked[0]) decision = visit_reg == TICK ? CONVERT : PREPARE_A;
      end else if (asked[0] && !context_rdata[11]) decision = START_A;
      else decision = SAVE;
    end
  end

  always_ff @(posedge clk) begin
    bus_ack <= bus_stb && !bus_ack && state_reg != CLEAR;
    if (frame_tick && !(&ticks_reg)) ticks_reg <= ticks_reg + 4'd1;

    case (state_reg)
      CLEAR: begin
        word_reg <= word_reg + 5'd1;
        if (&word_reg) begin
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
        {read_reg, write_reg, notify_reg, gap_reg, delivered_reg, started_reg, channels_reg, container_reg, capture_reg, fault_reg} <=
            context_rdata[28:4];
        run_reg <= visit_reg == SNAPSHOT_VISIT ? context_rdata[1:0] : asked;
        moved_reg <= 6'd0;
        channel_reg <= 3'd0;
        word_reg <= visit_reg == SNAPSHOT_VISIT ? {1'b0, SNAP_NOW_LO} : 5'd0;
        done_reg <= 1'b0;
        post_reg <= 1'b0;
        changed_reg <= asked != context_rdata[1:0];
        state_reg <= decision;
      end

      WIPE: begin
        word_reg <= word_reg + 5'd1;
        if (word_reg == LAST_WIPED) state_reg <= IDLE;
      end

      START_A: begin
        {channels_reg, container_reg} <= setting_rdata[6:2];
        capture_reg <= setting_rdata[0];
        started_reg <= 1'b1;
        reason_reg <= 2'(FAULT_REASON_BAD_CONFIG);
        state_reg <= START_B;
      end
      START_B: state_reg <= bad_config ? HALT : SAVE;

      CONVERT: if (!late_reg && available >= 7'(frame_bytes)) state_reg <= SAMPLE;
      else state_reg <= capture_reg || delivered_reg ? MISS : IDLE;
      SAMPLE: begin
        channel_reg <= channel_reg + 3'd1;
        delivered_reg <= 1'b1;
        gap_reg <= 1'b0;
        if (last_channel) state_reg <= FRAME;
      end
      FRAME: state_reg <= result[32] ? FRAME_CARRY : SAVE;
      FRAME_CARRY: state_reg <= SAVE;
      MISS: begin
        gap_reg <= 1'b1;
        post_reg <= !gap_reg;
        cause_reg <= capture_reg ? 2'(CAUSE_OVERRUN) : 2'(CAUSE_UNDERRUN);
        state_reg <= gap_reg ? IDLE : SAVE;
      end

      PREPARE_A: begin
        remaining_reg <= result_low;
        state_reg <= in_fifo == 3'd0 ? IDLE : PREPARE_B;
      end
      PREPARE_B: begin
        address_reg <= context_rdata[16:0];
        limit_reg <= limit;
        state_reg <= remaining_reg == 3'd0 ? FETCH_A : MOVE_A;
      end

      FETCH_A: state_reg <= FETCH_B;
      FETCH_B: begin
        address_reg <= {descriptor_slot[12:0], 4'd0};
        reason_reg <= 2'(FAULT_REASON_OUTSIDE_MEMORY);
        word_reg <= 5'd0;
        state_reg <= descriptor_slot[13] ? HALT : FETCH;
      end
      FETCH:
      if (mem_ack) begin
        address_reg[3:2] <= address_reg[3:2] + 2'd1;
        word_reg <= word_reg + 5'd1;
        if (word_reg[1:0] == 2'd1) begin
          if (length_zero) reason_reg <= 2'(FAULT_REASON_LENGTH_ZERO);
          if (length_zero || outside_memory) state_reg <= HALT;
        end
        if (word_reg[1:0] == 2'd3) begin
          notify_reg <= mem_rdata[DESCRIPTOR_EVENT_FLAG_BIT];
          state_reg  <= PREPARE_A;
        end
      end

      MOVE_A: begin
        remaining_reg <= result_low;
        state_reg <= may_move ? MOVE_B : TOTAL;
        // Cut short by a tick: this stream is the next one behind the pass.
        if (ticks_reg != 4'd0) fill_stream_reg <= stream_reg;
      end
      MOVE_B:
      if (mem_ack) begin
        address_reg <= result[16:0];
        limit_reg <= limit;
        moved_reg <= moved_reg + 6'(move_bytes);
        done_reg <= last_byte;
        post_reg <= last_byte && notify_reg;
        cause_reg <= 2'(CAUSE_DESCRIPTOR);
        state_reg <= last_byte ? TOTAL : MOVE_A;
      end
      TOTAL: state_reg <= result[32] ? TOTAL_CARRY : SAVE;
      TOTAL_CARRY: state_reg <= SAVE;

      HALT: begin
        fault_reg <= 1'b1;
        changed_reg <= 1'b1;
        post_reg <= 1'b1;
        cause_reg <= 2'(CAUSE_FAULT);
        state_reg <= SAVE;
      end

      SAVE: state_reg <= changed_reg ? NOTE : after_note;
      NOTE: state_reg <= after_note;
      POST: if (ev_ready) state_reg <= after_post;
      COUNT_A: state_reg <= COUNT_B;
      COUNT_B: state_reg <= COUNT_C;
      COUNT_C: state_reg <= IDLE;

      SNAPSHOT:
      // A tick before the last changing word would mix two frames: start again behind it. Time is taken from an even count on, so
      // that its two words belong together.
      if (word_reg[3:1] != SNAP_COUNT[3:1] && (ticks_reg != 4'd0 || frame_tick)) state_reg <= IDLE;
      else if (word_reg[3:0] != SNAP_NOW_LO || !now[0]) begin
        word_reg <= {1'b0, snap_word_next};
        if (word_reg[3:0] == SNAP_LAST) begin
          snapshot_reg[stream_reg] <= 1'b0;
          state_reg <= IDLE;
        end
      end

      default: state_reg <= IDLE;
    endcase

    if (advance) begin
      if (writing) write_reg <= pointer_next;
      else read_reg <= pointer_next;
    end
    // Something was done, so there may be more to do, for any stream.
    if (state_reg == SAVE) left_reg <= LEFT_W'(STREAMS);

    if (host_write && is_setting && bus_adr[3:2] == CONTROL) left_reg <= LEFT_W'(STREAMS);
    if (host_write && is_snapshot) snapshot_reg[host_stream] <= 1'b1;

    if (rst) begin
      state_reg <= CLEAR;
      visit_reg <= FILL;
      stream_reg <= '0;
      fill_stream_reg <= '0;
      word_reg <= 5'd0;
      left_reg <= '0;
      ticks_reg <= 4'd0;
      snapshot_reg <= '0;
      bus_ack <= 1'b0;
    end
  end

  initial
    if (STREAMS < 1 || STREAMS > 16 || MAX_CHANNELS < 1 || MAX_CHANNELS > 8)
      $fatal(1, "stream_engine: STREAMS is %0d, must be 1 to 16; MAX_CHANNELS is %0d, must be 1 to 8", STREAMS, MAX_CHANNELS);

  wire unused = &{1'b0, bus_adr[15:12], bus_wdata[31:17], adc_sample[7:0]};

endmodule

`default_nettype wire
