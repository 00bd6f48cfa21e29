`default_nettype none

// Stream engine: moves frames between the converters and audio memory, byte-exact, for several streams in turn.
//
// Each stream is a ring of descriptors in audio memory and a FIFO of 64 bytes. One sequencer serves them all by visits: it loads the
// stream's fields from its context in block RAM, works with one adder, and writes back. Between two visits every context is whole.
// There are three kinds. Behind a frame tick each running stream has a TICK visit for one frame (render: FIFO to converter; capture:
// the reverse). ASK visits answer what the host asks for: CONTROL, SNAPSHOT, REVOKE. Otherwise FILL visits move bytes between memory
// and FIFO, at most 35 each, in turn, until a whole round found nothing to do. A tick ends a FILL visit behind the access under way.
//
// The sequencer is a program in block RAM. A row reads one word of the context, which the next row finds in context_rdata, and writes
// one: context_rdata plus an operand. It names the row that follows; up to two bits of a condition are or-ed into the low bits of
// that, so rows to choose from lie side by side, and a row that several choices lead to has copies (_2, _3 ...), which are alike. A
// row that writes nothing has an act in its place. Whether a sum is 0, less or carries is known to the row behind it. ZERO is a word
// that is always 0: read it, and the next row writes the bare operand.
//
// An access of the host takes the RAM's read or write port for one clock, at any time; a row that needs that port then, or what it read,
// waits for a clock. Only while event_ring reads an event's words, and behind reset while the RAM is cleared, the host waits.
//
// The FIFO holds the bytes of the stream in its own format: byte k of the stream lies at position k modulo 64. It is two halves of two
// bytes with addresses of their own. One access moves as many bytes of a memory word as belong to the descriptor, and at an odd position
// of the FIFO no more than three: so a ring at odd distance from the FIFO takes two accesses a word. Pointers count modulo 128: their
// difference is the level.
//
// Limits: a tick that comes before the pass of the one before has ended is a missed frame for all streams; 15 in a row are counted.
// A program in block RAM must not start before the FPGA's block RAM is valid: hold rst until then.
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

    // Register slave: STREAM[] without EVENT_CAUSE and EVENT_ENABLE. Ack 1 to 8 cycles behind stb; rdata is valid with ack.
    // For 50 x STREAMS clocks behind reset no access is acknowledged.
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
    // cycle later. ev_word is not 0 while the event waits; from its first 0 on the four words are read, and the host waits.
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
  localparam STREAMS_UP = 2 ** STREAM_W;

  // Words of a context: up to 31 as in the register map, where the host's EVENT words, which are not here, leave two places free;
  // then the engine's own. STOP clears words 36 to 47. ZERO is 0 for ever. LOAD_SUM, minus the clocks of all streams that run, is one
  // word for all streams.
  localparam logic [5:0] CONTROL = 0, CONFIG = 1, RING_BASE = 2, RING_SIZE = 3, SNAP_COUNT = 4, SETTINGS = 5, STATUS = 6, RING_PRODUCER = 7,
      UNDERRUNS = 8, OVERRUNS = 9, INTERVAL_BYTES = 10, INTERVAL_LEFT = 11, REVOKE_RANGE = 12, REVOKE_STATUS = 13, REVOKE_LEFT = 14,
      HIGH_WATER = 15, SNAPSHOT = 16, SNAP_STATE = 17, SNAP_TIME_LO = 18, SNAP_TIME_HI = 19, SNAP_FRAMES_LO = 20, SNAP_FRAMES_HI = 21, SNAP_BYTES_LO = 22, SNAP_BYTES_HI = 23, SNAP_DESCRIPTORS = 24, SNAP_FIFO_BYTES = 25, SNAP_INDEX = 26, SNAP_TICKS = 27, START_TIME = 28,
      PACKET_TIME = 30, FIELDS = 32, LOAD_SUM = 33, BASE = 34, SIZE = 35, FRAMES_LO = 36, FRAMES_HI = 37, BYTES_LO = 38, BYTES_HI = 39,
      DESCRIPTORS = 40, INDEX = 42, SLOT = 43, ADDRESS = 44, END = 45, TAG = 46, FLAGS = 47, PACKET = 41;
  localparam logic [5:0] ZERO = 63, LOAD_TRIED = FLAGS;
  localparam logic [5:0] FIRST_WIPED = FRAMES_LO, LAST_CLEARED = FLAGS;

  // Words of a descriptor are read flags first, so that a removed one costs one access.
  localparam logic [1:0] WORD_FLAGS = 3;

  // Places of the rows. Where a condition chooses, the places differ in the low bits only.
  typedef enum logic [7:0] {
    CLEAR_A = 0,
    ASK_SETTINGS = 1,
    START_B = 2,
    START_C = 3,
    IDLE = 4,
    LOAD = 5,
    TAIL = 6,
    TAIL_2 = 7,
    DECODE_FILL = 8,
    DECODE_TICK = 9,
    DECODE_ASK = 10,
    DECODE_ASK_2 = 11,
    IDLE_2 = 12,
    LOAD_2 = 13,
    PREPARE_A = 14,
    PREPARE_A_2 = 15,
    IDLE_3 = 16,
    LOAD_3 = 17,
    CONVERT = 18,
    CONVERT_2 = 19,
    ASK_SNAPSHOT = 20,
    STOP_A = 21,
    START_A = 22,
    CHANGE = 23,
    MISS_A = 24,
    SAMPLE = 25,
    USE_UP_A = 26,
    USE_UP_A_2 = 27,
    SAMPLE_2 = 28,
    FRAME = 29,
    LOAD_4 = 30,
    LOAD_5 = 31,
    SAVE = 32,
    MARK_A = 33,
    START_LO = 34,
    START_LO_2 = 35,
    IDLE_4 = 36,
    LOAD_6 = 37,
    PREPARE_C = 38,
    PREPARE_C_2 = 39,
    MOVE_A = 40,
    MOVE_A_2 = 41,
    FETCH_A = 42,
    QUEUE_A = 43,
    FETCH = 44,
    STORE = 45,
    HALT_BUS = 46,
    HALT_BUS_2 = 47,
    FETCH_2 = 48,
    LENGTH_A = 49,
    TAG_A = 50,
    FLAGS_A = 51,
    NEW_MARK = 52,
    BACK = 53,
    PACKET_A = 54,
    PACKET_A_2 = 55,
    MOVE_B = 56,
    MOVE_A_3 = 57,
    BYTES = 58,
    BYTES_2 = 59,
    SAVE_2 = 60,
    INTERVAL_A = 61,
    ENDING_A = 62,
    INTERVAL_A_2 = 63,
    IDLE_5 = 64,
    LOAD_7 = 65,
    TAIL_3 = 66,
    HIGH_A = 67,
    IDLE_6 = 68,
    LOAD_8 = 69,
    TAIL_4 = 70,
    HIGH_B = 71,
    TAIL_C = 72,
    POST = 73,
    NOTE = 74,
    NOTE_2 = 75,
    IDLE_7 = 76,
    COUNT_A = 77,
    CARRY_FRAMES_A = 78,
    CARRY_BYTES_A = 79,
    CLEAR_B = 80,
    CLEAR_C = 81,
    CLEAR_A_2 = 82,
    CLEAR_D = 83,
    ASK_CONTROL = 84,
    UNSET_A = 85,
    UNSET_B = 86,
    UNSET_C = 87,
    ASK_REVOKE = 88,
    SNAP_TIME = 89,
    IDLE_8 = 90,
    REVOKE_A = 91,
    WIPE_A = 92,
    STOP_B = 93,
    WIPE_B = 94,
    CHANGE_2 = 95,
    START_D = 96,
    HALT_CONFIG = 97,
    START_J = 98,
    HALT_LOAD = 99,
    START_P = 100,
    START_Q = 101,
    FRAME_DONE = 102,
    MARK_B = 103,
    SAVE_3 = 104,
    PACKET_LO = 105,
    SAVE_4 = 106,
    BACK_2 = 107,
    MISS_B = 108,
    IDLE_9 = 109,
    UNDER_A = 110,
    OVER_A = 111,
    MISS_C = 112,
    IDLE_10 = 113,
    USE_UP_B = 114,
    IDLE_11 = 115,
    QUEUE_E = 116,
    IDLE_12 = 117,
    FETCH_A_2 = 118,
    HALT_AHEAD = 119,
    FETCH_3 = 120,
    HALT_OUTSIDE = 121,
    FETCH_4 = 122,
    REMOVED = 123,
    LENGTH_B = 124,
    HALT_LENGTH = 125,
    HALT_OUTSIDE_2 = 126,
    LENGTH_D = 127,
    BYTES_3 = 128,
    MOVE_B_2 = 129,
    INTERVAL_B = 130,
    INTERVAL_C = 131,
    SAVE_5 = 132,
    ENDING_A_2 = 133,
    INTERVAL_E = 134,
    INTERVAL_OFF = 135,
    ENDING_B = 136,
    HALT_BUS_3 = 137,
    TAIL_C_2 = 138,
    POST_2 = 139,
    POST_3 = 140,
    TAIL_C_3 = 141,
    IDLE_13 = 142,
    COUNT_A_2 = 143,
    COUNT_B = 144,
    IDLE_14 = 145,
    IDLE_15 = 146,
    COUNT_F = 147,
    SNAP_LO = 148,
    IDLE_16 = 149,
    SNAP_FIFO = 150,
    IDLE_17 = 151,
    SNAP_K = 152,
    SNAP_J = 153,
    REVOKE_REFUSE_A = 154,
    REVOKE_B = 155,
    REVOKE_D = 156,
    REVOKE_REFUSE_A_2 = 157,
    REVOKE_REFUSE_A_3 = 158,
    REVOKE_F = 159,
    REVOKE_UNUSED_A = 160,
    REVOKE_H = 161,
    REVOKE_I = 162,
    REVOKE_UNUSED_A_2 = 163,
    REVOKE_K = 164,
    REVOKE_UNUSED_A_3 = 165,
    START_E = 166,
    START_F = 167,
    START_G = 168,
    START_H = 169,
    START_I = 170,
    START_K = 171,
    START_L = 172,
    START_M = 173,
    START_N = 174,
    START_O = 175,
    START_HI = 176,
    PACKET_HI = 177,
    UNDER_B = 178,
    OVER_B = 179,
    PREPARE_B = 180,
    QUEUE_B = 181,
    QUEUE_C = 182,
    QUEUE_D = 183,
    LENGTH_C = 184,
    MOVED = 185,
    INTERVAL_T = 186,
    INTERVAL_D = 187,
    NOTE_LENGTH = 188,
    NOTE_OUTSIDE = 189,
    NOTE_CONFIG = 190,
    NOTE_LOAD = 191,
    NOTE_AHEAD = 192,
    NOTE_BUS = 193,
    HALT = 194,
    REFUSE = 195,
    REFUSE_SETTINGS = 196,
    TAIL_B = 197,
    CARRY_FRAMES_B = 198,
    CARRY_BYTES_B = 199,
    TAIL_D = 200,
    COUNT_C = 201,
    COUNT_D = 202,
    COUNT_E = 203,
    COUNT_G = 204,
    SNAP_HI = 205,
    SNAP_TICK = 206,
    SNAP_A = 207,
    SNAP_B = 208,
    SNAP_C = 209,
    SNAP_D = 210,
    SNAP_E = 211,
    SNAP_F = 212,
    SNAP_G = 213,
    SNAP_H = 214,
    SNAP_I = 215,
    SNAP_L = 216,
    REVOKE_C = 217,
    REVOKE_E = 218,
    REVOKE_G = 219,
    REVOKE_J = 220,
    REVOKE_L = 221,
    REVOKE_UNUSED_B = 222,
    REVOKE_UNUSED_C = 223,
    REVOKE_REFUSE_B = 224,
    REVOKE_REFUSE_C = 225,
    REVOKE_REFUSE_D = 226
  } state_t;
  // Conditions. The last eight are of rows that need neither port of the RAM, so that they never wait for the host.
  typedef enum logic [5:0] {
    IF_NEVER = 0,
    IF_WORD_LAST = 1,
    IF_STREAM_LAST = 2,
    IF_VISIT = 3,
    IF_ASKED = 4,
    IF_MARKED_WORD = 5,
    IF_STARTED = 6,
    IF_CONTROL = 7,
    IF_BAD_CONFIG = 8,
    IF_LESS = 9,
    IF_SHORT = 10,
    IF_CONVERT = 11,
    IF_FRAME = 12,
    IF_WATCHING = 13,
    IF_PASSED = 14,
    IF_FILLING = 15,
    IF_NOT_MISSED = 16,
    IF_CAPTURE = 17,
    IF_GAP = 18,
    IF_SILENT = 19,
    IF_PREPARED = 20,
    IF_COUNT = 21,
    IF_EQUAL = 22,
    IF_BEYOND = 23,
    IF_WORD = 24,
    IF_REMOVED = 25,
    IF_NO_LENGTH = 26,
    IF_OUTSIDE = 27,
    IF_TAG = 28,
    IF_BYTES = 29,
    IF_MOVED = 30,
    IF_FINISHED = 31,
    IF_ERROR = 32,
    IF_TAIL = 33,
    IF_POSTING = 34,
    IF_TAIL_C = 35,
    IF_DONE = 36,
    IF_ENDED = 37,
    IF_TIME = 38,
    IF_TICKED = 39,
    IF_WRAPPED = 40,
    IF_QUEUE = 41,
    IF_NEGATIVE = 42,
    IF_NOT_BEHIND = 43,
    IF_NO_REST = 44,
    IF_FILLABLE = 48,
    IF_RUNNING = 49,
    IF_ROOM = 50,
    IF_SAVED = 51,
    IF_HIGHER = 52,
    IF_MORE = 53,
    IF_PICK = 54,
    IF_LAST_CHANNEL = 56,
    IF_MEMORY = 57,
    IF_MAY_MOVE = 58,
    IF_MOVE = 59,
    IF_EVENT = 60
  } condition_t;
  // Operands. Bit 4: short ones, with bit 3 they are subtracted. The codes are chosen so that few bits tell them apart.
  typedef enum logic [4:0] {
    ADD_TIME_LO = 5'b0_0_000,
    ADD_TIME_HI = 5'b0_0_001,
    ADD_TICKS = 5'b0_0_010,
    ADD_MEMORY = 5'b0_0_011,
    ADD_FIELDS = 5'b0_0_100,
    ADD_BUDGET = 5'b0_0_101,
    ADD_MINUS_LOW = 5'b0_0_110,
    ADD_MINUS_HIGH = 5'b0_0_111,
    ADD_NONE = 5'b1_0_000,
    ADD_ONE = 5'b1_0_001,
    ADD_LEVEL = 5'b1_0_010,
    ADD_CLOCKS = 5'b1_0_011,
    ADD_MOVED = 5'b1_0_100,
    ADD_STATUS = 5'b1_0_101,
    ADD_LITERAL = 5'b1_0_110,
    ADD_SIXTEEN = 5'b1_0_111,
    ADD_MINUS_OVER = 5'b1_1_010,
    ADD_MINUS_CLOCKS = 5'b1_1_011,
    ADD_MINUS_MOVED = 5'b1_1_100,
    ADD_NOT_MOVED = 5'b1_1_101
  } operand_t;
  // Acts, in the place of a word to write.
  typedef enum logic [5:0] {
    DO_NOTHING = 48,
    DO_CHANGE = 49,
    DO_CONFIG = 50,
    DO_DECODE = 51,
    DO_DONE = 52,
    DO_ENDING = 53,
    DO_HALT = 54,
    DO_INTERVAL = 55,
    DO_MISS = 56,
    DO_REFUSE = 57,
    DO_REFUSE_SETTINGS = 58,
    DO_STARTED = 59,
    DO_USE_UP = 60,
    DO_WIPE = 61
  } act_t;

  // Row of the program: which row follows, how the condition changes that, words of the context to read and to write, what is added.
  typedef struct packed {
    state_t next;
    condition_t condition;
    logic [5:0] read, write;
    operand_t operand;
    logic take;
  } row_t;

  function automatic row_t row(state_t next, condition_t condition, logic [5:0] read, logic [5:0] write, operand_t operand, logic take);
    row = '{next, condition, read, write, operand, take};
  endfunction

  function automatic row_t program_of(logic [7:0] state);
    case (state_t'(state))
      CLEAR_A, CLEAR_A_2: program_of = row(CLEAR_B, IF_NEVER, ZERO, DO_NOTHING, ADD_NONE, 1'b0);
      CLEAR_B: program_of = row(CLEAR_B, IF_WORD_LAST, ZERO, 6'd0, ADD_NONE, 1'b0);
      CLEAR_C: program_of = row(CLEAR_A_2, IF_STREAM_LAST, ZERO, DO_NOTHING, ADD_NONE, 1'b0);
      CLEAR_D: program_of = row(IDLE, IF_NEVER, ZERO, LOAD_SUM, ADD_NONE, 1'b0);
      IDLE, IDLE_2, IDLE_3, IDLE_4, IDLE_5, IDLE_6, IDLE_7, IDLE_8, IDLE_9, IDLE_10, IDLE_11, IDLE_12, IDLE_13, IDLE_14, IDLE_15, IDLE_16, IDLE_17: program_of = row(IDLE, IF_PICK, ZERO, DO_NOTHING, ADD_NONE, 1'b0);
      LOAD, LOAD_2, LOAD_3, LOAD_4, LOAD_5, LOAD_6, LOAD_7, LOAD_8: program_of = row(DECODE_FILL, IF_VISIT, FIELDS, DO_NOTHING, ADD_NONE, 1'b0);
      DECODE_FILL: program_of = row(IDLE_2, IF_FILLABLE, ADDRESS, DO_DECODE, ADD_NONE, 1'b0);
      DECODE_TICK: program_of = row(IDLE_3, IF_RUNNING, ZERO, DO_DECODE, ADD_NONE, 1'b0);
      DECODE_ASK, DECODE_ASK_2: program_of = row(ASK_SETTINGS, IF_ASKED, SETTINGS, DO_DECODE, ADD_NONE, 1'b0);
      ASK_SETTINGS: program_of = row(ASK_CONTROL, IF_MARKED_WORD, CONTROL, DO_NOTHING, ADD_NONE, 1'b0);
      UNSET_A: program_of = row(UNSET_B, IF_STARTED, ZERO, DO_NOTHING, ADD_NONE, 1'b0);
      UNSET_B: program_of = row(ASK_CONTROL, IF_NEVER, CONTROL, SETTINGS, ADD_NONE, 1'b0);
      UNSET_C: program_of = row(REFUSE_SETTINGS, IF_NEVER, ZERO, SETTINGS, ADD_NONE, 1'b0);
      ASK_CONTROL: program_of = row(ASK_SNAPSHOT, IF_CONTROL, SNAPSHOT, DO_NOTHING, ADD_NONE, 1'b0);
      CHANGE, CHANGE_2: program_of = row(SAVE, IF_NEVER, ZERO, DO_CHANGE, ADD_NONE, 1'b0);
      ASK_SNAPSHOT: program_of = row(ASK_REVOKE, IF_MARKED_WORD, REVOKE_STATUS, DO_NOTHING, ADD_NONE, 1'b0);
      ASK_REVOKE: program_of = row(IDLE_8, IF_MARKED_WORD, REVOKE_RANGE, DO_NOTHING, ADD_NONE, 1'b0);
      STOP_A: program_of = row(WIPE_A, IF_STARTED, LOAD_SUM, DO_NOTHING, ADD_NONE, 1'b0);
      STOP_B: program_of = row(WIPE_A, IF_NEVER, ZERO, LOAD_SUM, ADD_CLOCKS, 1'b0);
      WIPE_A: program_of = row(WIPE_B, IF_NEVER, ZERO, DO_WIPE, ADD_NONE, 1'b0);
      WIPE_B: program_of = row(WIPE_B, IF_WORD_LAST, ZERO, 6'd0, ADD_NONE, 1'b0);
      START_A: program_of = row(START_B, IF_NEVER, CONFIG, DO_NOTHING, ADD_NONE, 1'b0);
      START_B: program_of = row(START_C, IF_NEVER, RING_SIZE, DO_CONFIG, ADD_NONE, 1'b0);
      START_C: program_of = row(START_D, IF_BAD_CONFIG, RING_BASE, SIZE, ADD_NONE, 1'b0);
      START_D: program_of = row(START_E, IF_NEVER, RING_BASE, BASE, ADD_NONE, 1'b0);
      START_E: program_of = row(START_F, IF_NEVER, LOAD_SUM, SLOT, ADD_NONE, 1'b0);
      START_F: program_of = row(START_G, IF_NEVER, ZERO, LOAD_TRIED, ADD_MINUS_CLOCKS, 1'b0);
      START_G: program_of = row(START_H, IF_NEVER, LOAD_TRIED, DO_NOTHING, ADD_NONE, 1'b0);
      START_H: program_of = row(START_I, IF_NEVER, ZERO, DO_NOTHING, ADD_BUDGET, 1'b0);
      START_I: program_of = row(START_J, IF_LESS, LOAD_TRIED, DO_NOTHING, ADD_NONE, 1'b0);
      START_J: program_of = row(START_K, IF_NEVER, ZERO, LOAD_SUM, ADD_NONE, 1'b0);
      START_K: program_of = row(START_L, IF_NEVER, ZERO, UNDERRUNS, ADD_NONE, 1'b0);
      START_L: program_of = row(START_M, IF_NEVER, ZERO, OVERRUNS, ADD_NONE, 1'b0);
      START_M: program_of = row(START_N, IF_NEVER, ZERO, HIGH_WATER, ADD_NONE, 1'b0);
      START_N: program_of = row(START_O, IF_NEVER, INTERVAL_BYTES, INTERVAL_LEFT, ADD_NONE, 1'b0);
      START_O: program_of = row(START_P, IF_SHORT, INTERVAL_BYTES, DO_NOTHING, ADD_NONE, 1'b0);
      START_P: program_of = row(START_Q, IF_NEVER, ZERO, INTERVAL_LEFT, ADD_NONE, 1'b0);
      START_Q: program_of = row(SAVE, IF_NEVER, ZERO, DO_STARTED, ADD_NONE, 1'b0);
      CONVERT, CONVERT_2: program_of = row(MISS_A, IF_CONVERT, ZERO, DO_NOTHING, ADD_NONE, 1'b0);
      SAMPLE, SAMPLE_2: program_of = row(SAMPLE_2, IF_LAST_CHANNEL, FRAMES_LO, DO_NOTHING, ADD_NONE, 1'b0);
      FRAME: program_of = row(SAVE, IF_FRAME, ZERO, FRAMES_LO, ADD_ONE, 1'b0);
      MARK_A: program_of = row(MARK_B, IF_NEVER, PACKET, DO_NOTHING, ADD_NONE, 1'b0);
      FRAME_DONE: program_of = row(SAVE, IF_NEVER, ZERO, DO_NOTHING, ADD_NONE, 1'b0);
      START_LO, START_LO_2: program_of = row(START_HI, IF_NEVER, ZERO, START_TIME, ADD_TIME_LO, 1'b0);
      START_HI: program_of = row(FRAME_DONE, IF_WATCHING, PACKET, START_TIME | 6'd1, ADD_TIME_HI, 1'b0);
      MARK_B: program_of = row(SAVE_3, IF_PASSED, ZERO, DO_NOTHING, ADD_NONE, 1'b0);
      PACKET_A, PACKET_A_2: program_of = row(PACKET_LO, IF_NEVER, ZERO, DO_NOTHING, ADD_NONE, 1'b0);
      PACKET_LO: program_of = row(PACKET_HI, IF_NEVER, ZERO, PACKET_TIME, ADD_TIME_LO, 1'b0);
      PACKET_HI: program_of = row(SAVE_4, IF_FILLING, ZERO, PACKET_TIME | 6'd1, ADD_TIME_HI, 1'b0);
      MISS_A: program_of = row(MISS_B, IF_NOT_MISSED, ZERO, DO_NOTHING, ADD_NONE, 1'b0);
      MISS_B: program_of = row(UNDER_A, IF_CAPTURE, ZERO, DO_NOTHING, ADD_NONE, 1'b0);
      UNDER_A: program_of = row(UNDER_B, IF_NEVER, UNDERRUNS, DO_NOTHING, ADD_NONE, 1'b0);
      UNDER_B: program_of = row(MISS_C, IF_GAP, ZERO, UNDERRUNS, ADD_ONE, 1'b0);
      OVER_A: program_of = row(OVER_B, IF_NEVER, OVERRUNS, DO_NOTHING, ADD_NONE, 1'b0);
      OVER_B: program_of = row(MISS_C, IF_GAP, ZERO, OVERRUNS, ADD_ONE, 1'b0);
      MISS_C: program_of = row(SAVE, IF_NEVER, ZERO, DO_MISS, ADD_NONE, 1'b0);
      USE_UP_A, USE_UP_A_2: program_of = row(USE_UP_B, IF_SILENT, ZERO, DO_NOTHING, ADD_NONE, 1'b0);
      USE_UP_B: program_of = row(SAVE, IF_NEVER, ZERO, DO_USE_UP, ADD_NONE, 1'b0);
      PREPARE_A, PREPARE_A_2: program_of = row(PREPARE_B, IF_NEVER, END, DO_NOTHING, ADD_NONE, 1'b1);
      PREPARE_B: program_of = row(IDLE_4, IF_ROOM, ZERO, DO_NOTHING, ADD_MINUS_LOW, 1'b0);
      PREPARE_C, PREPARE_C_2: program_of = row(MOVE_A, IF_PREPARED, SLOT, DO_NOTHING, ADD_NONE, 1'b0);
      QUEUE_A: program_of = row(QUEUE_B, IF_NEVER, DESCRIPTORS, DO_NOTHING, ADD_NONE, 1'b0);
      QUEUE_B: program_of = row(QUEUE_C, IF_NEVER, RING_PRODUCER, DO_NOTHING, ADD_NONE, 1'b1);
      QUEUE_C: program_of = row(QUEUE_D, IF_COUNT, SIZE, DO_NOTHING, ADD_MINUS_LOW, 1'b1);
      QUEUE_D: program_of = row(QUEUE_E, IF_EQUAL, ZERO, DO_NOTHING, ADD_MINUS_LOW, 1'b0);
      QUEUE_E: program_of = row(FETCH_A_2, IF_LESS, SLOT, DO_NOTHING, ADD_NONE, 1'b0);
      FETCH_A, FETCH_A_2: program_of = row(FETCH_3, IF_BEYOND, ZERO, DO_NOTHING, ADD_NONE, 1'b1);
      FETCH, FETCH_2, FETCH_3, FETCH_4: program_of = row(FETCH, IF_MEMORY, ZERO, DO_NOTHING, ADD_NONE, 1'b0);
      STORE: program_of = row(FETCH_2, IF_WORD, ZERO, ADDRESS, ADD_MEMORY, 1'b0);
      FLAGS_A: program_of = row(FETCH_4, IF_REMOVED, ZERO, DO_NOTHING, ADD_NONE, 1'b0);
      REMOVED: program_of = row(SAVE, IF_NEVER, ZERO, DO_DONE, ADD_NONE, 1'b0);
      LENGTH_A: program_of = row(LENGTH_B, IF_NO_LENGTH, ADDRESS, DO_NOTHING, ADD_NONE, 1'b0);
      LENGTH_B: program_of = row(LENGTH_C, IF_NEVER, ZERO, END, ADD_MEMORY, 1'b0);
      LENGTH_C: program_of = row(HALT_OUTSIDE_2, IF_LESS, END, DO_NOTHING, ADD_NONE, 1'b0);
      LENGTH_D: program_of = row(FETCH_3, IF_OUTSIDE, ZERO, DO_NOTHING, ADD_NONE, 1'b0);
      TAG_A: program_of = row(NEW_MARK, IF_TAG, BYTES_LO, DO_NOTHING, ADD_NONE, 1'b0);
      NEW_MARK: program_of = row(PREPARE_A, IF_NEVER, ADDRESS, PACKET, ADD_NONE, 1'b0);
      BACK, BACK_2: program_of = row(PREPARE_A, IF_NEVER, ADDRESS, DO_NOTHING, ADD_NONE, 1'b0);
      MOVE_A, MOVE_A_2, MOVE_A_3: program_of = row(BYTES_3, IF_MAY_MOVE, BYTES_LO, DO_NOTHING, ADD_NONE, 1'b0);
      MOVE_B, MOVE_B_2: program_of = row(MOVE_B, IF_MOVE, BYTES_LO, DO_NOTHING, ADD_NONE, 1'b0);
      BYTES, BYTES_2, BYTES_3: program_of = row(MOVED, IF_BYTES, ADDRESS, BYTES_LO, ADD_MOVED, 1'b0);
      MOVED: program_of = row(SAVE_2, IF_MOVED, INTERVAL_LEFT, ADDRESS, ADD_MOVED, 1'b0);
      INTERVAL_A, INTERVAL_A_2: program_of = row(INTERVAL_T, IF_NEVER, ZERO, DO_NOTHING, ADD_NOT_MOVED, 1'b1);
      INTERVAL_T: program_of = row(INTERVAL_B, IF_LESS, INTERVAL_LEFT, DO_NOTHING, ADD_NONE, 1'b0);
      INTERVAL_B: program_of = row(SAVE_5, IF_FINISHED, ZERO, INTERVAL_LEFT, ADD_MINUS_MOVED, 1'b0);
      INTERVAL_C: program_of = row(INTERVAL_D, IF_NEVER, INTERVAL_BYTES, DO_NOTHING, ADD_NONE, 1'b0);
      INTERVAL_D: program_of = row(INTERVAL_E, IF_SHORT, ZERO, INTERVAL_LEFT, ADD_MINUS_OVER, 1'b0);
      INTERVAL_E: program_of = row(SAVE_5, IF_FINISHED, ZERO, DO_INTERVAL, ADD_NONE, 1'b0);
      INTERVAL_OFF: program_of = row(SAVE_5, IF_FINISHED, ZERO, INTERVAL_LEFT, ADD_NONE, 1'b0);
      ENDING_A, ENDING_A_2: program_of = row(ENDING_B, IF_ERROR, FLAGS, DO_NOTHING, ADD_NONE, 1'b0);
      ENDING_B: program_of = row(SAVE, IF_NEVER, ZERO, DO_ENDING, ADD_NONE, 1'b0);
      HALT_LENGTH: program_of = row(NOTE_LENGTH, IF_NEVER, ZERO, DO_NOTHING, ADD_NONE, 1'b0);
      NOTE_LENGTH: program_of = row(HALT, IF_NEVER, 6'd1, TAG, ADD_LITERAL, 1'b0);
      HALT_OUTSIDE, HALT_OUTSIDE_2: program_of = row(NOTE_OUTSIDE, IF_NEVER, ZERO, DO_NOTHING, ADD_NONE, 1'b0);
      NOTE_OUTSIDE: program_of = row(HALT, IF_NEVER, 6'd2, TAG, ADD_LITERAL, 1'b0);
      HALT_CONFIG: program_of = row(NOTE_CONFIG, IF_NEVER, ZERO, DO_NOTHING, ADD_NONE, 1'b0);
      NOTE_CONFIG: program_of = row(HALT, IF_NEVER, 6'd3, TAG, ADD_LITERAL, 1'b0);
      HALT_LOAD: program_of = row(NOTE_LOAD, IF_NEVER, ZERO, DO_NOTHING, ADD_NONE, 1'b0);
      NOTE_LOAD: program_of = row(HALT, IF_NEVER, 6'd4, TAG, ADD_LITERAL, 1'b0);
      HALT_AHEAD: program_of = row(NOTE_AHEAD, IF_NEVER, ZERO, DO_NOTHING, ADD_NONE, 1'b0);
      NOTE_AHEAD: program_of = row(HALT, IF_NEVER, 6'd5, TAG, ADD_LITERAL, 1'b0);
      HALT_BUS, HALT_BUS_2, HALT_BUS_3: program_of = row(NOTE_BUS, IF_NEVER, ZERO, DO_NOTHING, ADD_NONE, 1'b0);
      NOTE_BUS: program_of = row(HALT, IF_NEVER, 6'd6, TAG, ADD_LITERAL, 1'b0);
      HALT: program_of = row(SAVE, IF_NEVER, ZERO, DO_HALT, ADD_NONE, 1'b0);
      REFUSE: program_of = row(TAIL, IF_NEVER, ZERO, DO_REFUSE, ADD_NONE, 1'b0);
      REFUSE_SETTINGS: program_of = row(TAIL, IF_NEVER, ZERO, DO_REFUSE_SETTINGS, ADD_NONE, 1'b0);
      SAVE, SAVE_2, SAVE_3, SAVE_4, SAVE_5: program_of = row(IDLE_5, IF_SAVED, HIGH_WATER, FIELDS, ADD_FIELDS, 1'b0);
      HIGH_A: program_of = row(IDLE_6, IF_HIGHER, ZERO, DO_NOTHING, ADD_NONE, 1'b0);
      HIGH_B: program_of = row(IDLE, IF_MORE, ZERO, HIGH_WATER, ADD_LEVEL, 1'b0);
      TAIL, TAIL_2, TAIL_3, TAIL_4: program_of = row(TAIL_C, IF_TAIL, ZERO, DO_NOTHING, ADD_NONE, 1'b0);
      NOTE, NOTE_2: program_of = row(TAIL_B, IF_NEVER, ZERO, STATUS, ADD_STATUS, 1'b0);
      TAIL_B: program_of = row(TAIL_C, IF_POSTING, ZERO, DO_NOTHING, ADD_NONE, 1'b0);
      POST, POST_2, POST_3: program_of = row(POST_3, IF_EVENT, 6'd0, DO_NOTHING, ADD_NONE, 1'b0);
      TAIL_C, TAIL_C_2, TAIL_C_3: program_of = row(IDLE_7, IF_TAIL_C, DESCRIPTORS, DO_NOTHING, ADD_NONE, 1'b0);
      CARRY_FRAMES_A: program_of = row(CARRY_FRAMES_B, IF_NEVER, FRAMES_HI, DO_NOTHING, ADD_NONE, 1'b0);
      CARRY_FRAMES_B: program_of = row(IDLE, IF_NEVER, ZERO, FRAMES_HI, ADD_ONE, 1'b0);
      CARRY_BYTES_A: program_of = row(CARRY_BYTES_B, IF_NEVER, BYTES_HI, DO_NOTHING, ADD_NONE, 1'b0);
      CARRY_BYTES_B: program_of = row(TAIL_D, IF_NEVER, ZERO, BYTES_HI, ADD_ONE, 1'b0);
      TAIL_D: program_of = row(IDLE_7, IF_DONE, DESCRIPTORS, DO_NOTHING, ADD_NONE, 1'b0);
      COUNT_A, COUNT_A_2: program_of = row(COUNT_B, IF_ENDED, SLOT, DESCRIPTORS, ADD_ONE, 1'b0);
      COUNT_B: program_of = row(COUNT_C, IF_NEVER, INDEX, SLOT, ADD_SIXTEEN, 1'b0);
      COUNT_C: program_of = row(COUNT_D, IF_NEVER, SIZE, INDEX, ADD_ONE, 1'b1);
      COUNT_D: program_of = row(COUNT_E, IF_NEVER, ZERO, DO_NOTHING, ADD_MINUS_LOW, 1'b0);
      COUNT_E: program_of = row(IDLE_15, IF_EQUAL, ZERO, DO_NOTHING, ADD_NONE, 1'b0);
      COUNT_F: program_of = row(COUNT_G, IF_NEVER, BASE, INDEX, ADD_NONE, 1'b0);
      COUNT_G: program_of = row(IDLE, IF_NEVER, ZERO, SLOT, ADD_NONE, 1'b0);
      SNAP_TIME: program_of = row(SNAP_LO, IF_TIME, ZERO, DO_NOTHING, ADD_NONE, 1'b0);
      SNAP_LO: program_of = row(SNAP_HI, IF_NEVER, ZERO, SNAP_TIME_LO, ADD_TIME_LO, 1'b0);
      SNAP_HI: program_of = row(SNAP_TICK, IF_NEVER, ZERO, SNAP_TIME_HI, ADD_TIME_HI, 1'b0);
      SNAP_TICK: program_of = row(SNAP_FIFO, IF_TICKED, ZERO, SNAP_TICKS, ADD_TICKS, 1'b0);
      SNAP_FIFO: program_of = row(SNAP_A, IF_NEVER, FRAMES_LO, SNAP_FIFO_BYTES, ADD_LEVEL, 1'b0);
      SNAP_A: program_of = row(SNAP_B, IF_NEVER, FRAMES_HI, SNAP_FRAMES_LO, ADD_NONE, 1'b0);
      SNAP_B: program_of = row(SNAP_C, IF_NEVER, BYTES_LO, SNAP_FRAMES_HI, ADD_NONE, 1'b0);
      SNAP_C: program_of = row(SNAP_D, IF_NEVER, BYTES_HI, SNAP_BYTES_LO, ADD_NONE, 1'b0);
      SNAP_D: program_of = row(SNAP_E, IF_NEVER, DESCRIPTORS, SNAP_BYTES_HI, ADD_NONE, 1'b0);
      SNAP_E: program_of = row(SNAP_F, IF_NEVER, INDEX, SNAP_DESCRIPTORS, ADD_NONE, 1'b0);
      SNAP_F: program_of = row(SNAP_G, IF_NEVER, STATUS, SNAP_INDEX, ADD_NONE, 1'b0);
      SNAP_G: program_of = row(SNAP_H, IF_NEVER, SNAP_COUNT, SNAP_STATE, ADD_NONE, 1'b0);
      SNAP_H: program_of = row(SNAP_I, IF_NEVER, ZERO, SNAP_COUNT, ADD_ONE, 1'b0);
      SNAP_I: program_of = row(SNAP_K, IF_WRAPPED, ZERO, DO_NOTHING, ADD_NONE, 1'b0);
      SNAP_J: program_of = row(SNAP_K, IF_NEVER, ZERO, SNAP_COUNT, ADD_NONE, 1'b0);
      SNAP_K: program_of = row(SNAP_L, IF_NEVER, SNAP_COUNT, DO_NOTHING, ADD_NONE, 1'b0);
      SNAP_L: program_of = row(ASK_REVOKE, IF_NEVER, REVOKE_STATUS, SNAPSHOT, ADD_NONE, 1'b0);
      REVOKE_A: program_of = row(REVOKE_REFUSE_A, IF_QUEUE, REVOKE_RANGE, DO_NOTHING, ADD_NONE, 1'b1);
      REVOKE_B: program_of = row(REVOKE_C, IF_NEVER, RING_PRODUCER, DO_NOTHING, ADD_MINUS_HIGH, 1'b0);
      REVOKE_C: program_of = row(REVOKE_D, IF_NEGATIVE, REVOKE_RANGE, DO_NOTHING, ADD_NONE, 1'b1);
      REVOKE_D: program_of = row(REVOKE_E, IF_NEVER, DESCRIPTORS, DO_NOTHING, ADD_MINUS_HIGH, 1'b0);
      REVOKE_E: program_of = row(REVOKE_REFUSE_A_3, IF_NEGATIVE, REVOKE_RANGE, DO_NOTHING, ADD_NONE, 1'b1);
      REVOKE_F: program_of = row(REVOKE_G, IF_NEVER, REVOKE_RANGE, DO_NOTHING, ADD_MINUS_LOW, 1'b0);
      REVOKE_G: program_of = row(REVOKE_UNUSED_A, IF_NOT_BEHIND, ADDRESS, DO_NOTHING, ADD_MINUS_HIGH, 1'b0);
      REVOKE_H: program_of = row(REVOKE_I, IF_NEGATIVE, END, DO_NOTHING, ADD_NONE, 1'b1);
      REVOKE_I: program_of = row(REVOKE_J, IF_NEVER, ADDRESS, REVOKE_LEFT, ADD_MINUS_LOW, 1'b0);
      REVOKE_J: program_of = row(REVOKE_K, IF_NO_REST, ZERO, END, ADD_NONE, 1'b0);
      REVOKE_K: program_of = row(REVOKE_L, IF_NEVER, 6'd1, REVOKE_STATUS, ADD_LITERAL, 1'b0);
      REVOKE_L: program_of = row(TAIL, IF_NEVER, ZERO, DO_DONE, ADD_NONE, 1'b0);
      REVOKE_UNUSED_A, REVOKE_UNUSED_A_2, REVOKE_UNUSED_A_3: program_of = row(REVOKE_UNUSED_B, IF_NEVER, ZERO, DO_NOTHING, ADD_NONE, 1'b0);
      REVOKE_UNUSED_B: program_of = row(REVOKE_UNUSED_C, IF_NEVER, ZERO, REVOKE_LEFT, ADD_NONE, 1'b0);
      REVOKE_UNUSED_C: program_of = row(IDLE, IF_NEVER, ZERO, REVOKE_STATUS, ADD_NONE, 1'b0);
      REVOKE_REFUSE_A, REVOKE_REFUSE_A_2, REVOKE_REFUSE_A_3: program_of = row(REVOKE_REFUSE_B, IF_NEVER, ZERO, DO_NOTHING, ADD_NONE, 1'b0);
      REVOKE_REFUSE_B: program_of = row(REVOKE_REFUSE_C, IF_NEVER, ZERO, REVOKE_LEFT, ADD_NONE, 1'b0);
      REVOKE_REFUSE_C: program_of = row(REVOKE_REFUSE_D, IF_NEVER, 6'd2, REVOKE_STATUS, ADD_LITERAL, 1'b0);
      REVOKE_REFUSE_D: program_of = row(REFUSE, IF_NEVER, ZERO, DO_NOTHING, ADD_NONE, 1'b0);
      default: program_of = '0;
    endcase
  endfunction

  typedef logic [255:0][31:0] program_t;
  function automatic program_t whole_program();
    for (int i = 0; i < 256; i++) whole_program[i] = program_of(8'(i));
  endfunction
  localparam program_t PROGRAM = whole_program();
  logic [31:0] rows[256];
  initial for (int i = 0; i < 256; i++) rows[i] = PROGRAM[i];

  localparam logic [2:0] REFUSED_SETTINGS = 7;  // in cause_reg: REFUSED, because of settings

  typedef enum logic [1:0] {FILL, TICK, ASK} visit_t;

  state_t state_reg, next;  // state_reg is for looking at only
  row_t now_reg;  // its row
  visit_t visit_reg;
  logic [STREAM_W-1:0] stream_reg, fill_stream_reg;
  logic [LEFT_W-1:0] left_reg;  // fill visits still to be made before all streams are known to be idle
  logic [STREAMS-1:0] asked_reg;  // streams that the host asks something of
  logic [3:0] ticks_reg;  // ticks that wait for their pass
  logic late_reg;  // this pass is for a tick that has already been missed
  logic [63:0] time_reg;  // board time of the pass's tick, or of a snapshot
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
  logic interval_on_reg;
  logic [6:0] write_reg, read_reg;  // FIFO pointers, bytes

  // Work of one visit.
  logic [17:0] address_reg;  // byte address of the next memory access; or what is to be subtracted
  logic [5:0] rest_reg;  // bytes left in the descriptor, 63 stands for more
  logic [2:0] limit_reg;  // bytes that descriptor and FIFO let move at once, 0 to 4
  logic [5:0] moved_reg;  // bytes moved
  logic [31:0] fetched_reg;  // word of a descriptor
  logic [2:0] channel_reg;
  logic changed_reg, done_reg, post_reg;  // STATUS changed; descriptor finished; event to be posted
  logic carry_reg;  // FRAMES or BYTES to be carried on
  logic error_reg;  // memory refused
  logic [2:0] cause_reg;
  logic interval_reg;  // INTERVAL to be posted
  logic last_reg;  // the finished descriptor had the LAST flag

  // ------------------------------------------------------------ the row at work

  wire condition_t condition = now_reg.condition;
  wire operand_t add = now_reg.operand;
  wire act_t act = act_t'(now_reg.write);
  wire sampling = condition == IF_LAST_CHANNEL;
  wire fetching = condition == IF_MEMORY;
  wire moving = condition == IF_MOVE;
  wire posting = condition == IF_EVENT;
  wire latching = condition == IF_TIME;
  // Nobody is visited. What is worked out for a visit does not matter then: a simulator need not do it.
  wire idle = condition == IF_PICK;
  // A frame that was taken while a tick came is none.
  wire torn = capture_reg && (ticks_reg != 4'd0 || frame_tick);

  // ------------------------------------------------------------ context RAM and the host

  logic [5:0] last_read_reg;
  logic [31:0] context_rdata;
  logic [31:0] result;
  logic carry;
  wire uses = condition[5:3] != 3'd7;
  wire write = now_reg.write[5:4] != 2'd3;
  logic [5:0] event_read;
  wire [5:0] read_word = now_reg.read | (event_read & {6{posting}});
  logic ready_reg;
  logic reading_reg;
  // ev_word stays at 1 until the event is looked at, goes to 0 and then names the four words, one each clock.
  wire reading = posting && (ev_word == 2'd0 || reading_reg);
  wire locked = !ready_reg || reading;

  wire [STREAM_W-1:0] host_stream = bus_adr[8+:STREAM_W];
  wire [5:0] host_word = bus_adr[7:2];
  wire host_exists = {1'b0, bus_adr[11:8]} < 5'(STREAMS);
  // Accesses of the host take the RAM's port for a cycle. A state that needs the port then, or what it read of it, waits.
  logic marking_reg;  // behind a request: the engine's mark of it
  logic taken_reg;  // the last cycle's read was the host's
  wire slot = bus_stb && !bus_ack && !locked && !marking_reg;
  wire host_read = slot && !bus_we;
  wire wait_here = (taken_reg && uses) || (((slot && bus_we) || marking_reg) && write);
  logic host_write, requested, is_count, is_control, is_setting, is_base, is_wide;
  logic [5:0] host_read_word;
  logic [31:0] host_mask, host_wdata;
  always_comb begin
    host_write = 1'b0;
    requested = 1'b0;
    host_read_word = 'x;
    is_count = 'x;
    is_control = 'x;
    is_setting = 'x;
    is_base = 'x;
    is_wide = 'x;
    host_mask = 'x;
    host_wdata = 'x;
    // An access stands one clock longer than its slot.
    if (bus_stb) begin
      is_count = host_word == FRAMES_LO || host_word == FRAMES_HI || host_word == BYTES_LO || host_word == BYTES_HI || host_word == DESCRIPTORS;
      is_control = host_word == CONTROL;
      is_setting = host_word[5:2] == 4'd0;
      is_base = host_word == RING_BASE;
      is_wide = !marking_reg && (host_word == INTERVAL_BYTES || host_word == REVOKE_RANGE || host_word[5]);
      // What is not there reads ZERO. Of the engine's own words the host may see the counts.
      host_read_word = host_word | {6{!host_exists || (host_word[5] && !is_count && host_word != INDEX)}};
      // Reserved bits are stored as 0.
      host_mask = {
        {15{is_wide}}, is_wide || is_base, {7{is_wide || is_base || host_word == RING_PRODUCER}},
        !is_control && host_word != SNAPSHOT && !marking_reg, !is_control && host_word != CONFIG,
        {3{!is_control}}, {2{!is_control && !is_base}}, !is_base && host_word != CONFIG, !is_base
      };
      host_wdata = (bus_wdata & host_mask) | {23'd0, host_word == SNAPSHOT || marking_reg, 8'd0};
      if (slot && bus_we && host_exists) begin
        requested = is_control || host_word == REVOKE_RANGE || host_word == SNAPSHOT;
        host_write = requested || is_setting || host_word == RING_PRODUCER || host_word == INTERVAL_BYTES || (TEST_EN && is_count);
      end
    end
  end

  wire run_it = !wait_here;
  wire [5:0] read_now = wait_here ? last_read_reg : read_word;
  logic [5:0] write_word;
  logic [STREAM_W+5:0] write_place;
  always_comb begin
    write_word  = 'x;
    write_place = 'x;
    if (marking_reg) write_place = {host_stream, 2'b00, host_word[3], 3'b101};
    else if (host_write) write_place = {host_stream, host_word};
    else if (write) begin
      write_word  = condition == IF_WORD_LAST || condition == IF_WORD ? now_reg.write | word_reg : now_reg.write;
      write_place = {stream_reg & {STREAM_W{write_word != LOAD_SUM}}, write_word};
    end
  end

  ram_1r1w #(
      .WORD_W(32),
      .ADDRESS_W(STREAM_W + 6)
  ) contexts (
      .clk,
      .write(host_write || marking_reg || (write && run_it)),
      .write_address(write_place),
      .write_data(host_write || marking_reg ? host_wdata : result),
      .read_address(host_read ? {host_stream, host_read_word} : {stream_reg & {STREAM_W{read_now != LOAD_SUM}}, read_now}),
      .read_data(context_rdata)
  );
  assign bus_rdata = context_rdata;

  // ------------------------------------------------------------ the adder

  logic [5:0] frame_bytes;
  wire [6:0] level = write_reg - read_reg;  // bytes in the FIFO
  logic [6:0] level_reg;  // one cycle ago
  // Clocks of a frame that a stream is counted with: 4 for each byte of a frame, at least 12. Not a bound of the worst case, but what
  // 8 streams of 32 bit stereo or 16 of 16 bit stereo need just fit into 256. tests/hdl/stream_engine/load.py and abuse.py measure it
  // beside a host at full SPI rate: those two kinds with memory that answers in 1 to 4 and 1 to 2 clocks; any formats in aligned rings
  // that fill the sum, and in rings at odd addresses that fill 7/8 of it, with memory that answers in 1.
  logic [5:0] frame_bytes_reg;
  wire [7:0] stream_clocks = {frame_bytes_reg[5:2], frame_bytes_reg[1:0] | {2{frame_bytes_reg[5:2] == 4'd0}}, 2'b00};
  wire [31:0] fields = {
    read_reg, write_reg, interval_on_reg, marked_reg, fresh_reg, ended_reg, queue_reg, gap_reg, delivered_reg, started_reg, channels_reg[2:1],
    container_reg, silent_reg, fault_reg, channels_reg[0], capture_reg, run_reg
  };
  wire use_fields = add == ADD_FIELDS;
  logic [31:0] operand;
  logic plus_one;
  logic [7:0] addend;
  always_comb begin
    operand = 'x;
    addend = 'x;
    plus_one = 'x;
    {carry, result} = 'x;
    if (!idle) begin
      // Bit 4 of the code: a short operand, whose bit 3 says that it is to be subtracted.
      case (add[2:0])
        3'(ADD_LEVEL): addend = add[3] ? {2'd0, ~address_reg[5:0]} : {1'b0, level_reg};
        3'(ADD_CLOCKS): addend = stream_clocks;
        3'(ADD_MOVED): addend = 8'(moved_reg);
        3'(ADD_STATUS): addend = add[3] ? 8'(moved_reg) : {2'd0, silent_reg, fault_reg, 2'd0, run_reg};
        3'(ADD_LITERAL): addend = 8'(now_reg.read[2:0]);
        3'(ADD_SIXTEEN): addend = 8'd16;
        default: addend = 8'd0;
      endcase
      plus_one = add == ADD_ONE || add[4:1] == 4'b0011 || (add[4:3] == 2'b11 && add[2:0] != 3'(ADD_NOT_MOVED));
      if (add[4]) operand = {{24{add[3]}}, addend ^ {8{add[3]}}};
      else
        case (add[2:0])
          3'(ADD_TIME_LO): operand = time_reg[31:0];
          3'(ADD_TIME_HI): operand = time_reg[63:32];
          3'(ADD_TICKS): operand = frame_ticks;
          3'(ADD_MEMORY): operand = fetched_reg;
          3'(ADD_FIELDS): operand = fields;
          3'(ADD_BUDGET): operand = {21'd0, frame_clocks};
          3'(ADD_MINUS_LOW): operand = {14'h3FFF, ~address_reg};
          3'(ADD_MINUS_HIGH): operand = {~address_reg[15:0], 16'hFFFF};
        endcase
      {carry, result} = {1'b0, context_rdata} + {1'b0, operand} + 33'(plus_one);
    end
  end
  wire zero_16 = result[15:0] == 16'd0;
  // What a row's sum was, for the row behind it.
  logic less_reg, negative_reg, wrapped_reg, behind_reg, equal_reg, no_rest_reg;

  // ------------------------------------------------------------ FIFO

  // The side that works now: the writing one, or the reading one.
  wire writer = visit_reg == TICK ? capture_reg : visit_reg == FILL && !capture_reg;
  wire writing = writer;
  wire [6:0] pointer = writing ? write_reg : read_reg;
  wire [6:0] other = writing ? read_reg : write_reg;

  // A table: sums come late.
  always_comb begin
    frame_bytes = 6'd0;
    for (int i = 0; i < 32; i++) if ({container_reg, channels_reg} == 5'(i)) frame_bytes = 6'((i / 8 + 1) * (i % 8 + 1));
  end

  // A mono frame is handed to the DAC twice; the pointer moves with the last.
  wire mono_render = channels_reg == 3'd0 && !capture_reg;
  wire last_channel = mono_render ? channel_reg[0] : channel_reg == channels_reg;
  wire advance = (sampling && !(mono_render && !channel_reg[0])) || (moving && mem_ack);

  logic [2:0] move_bytes, step, in_fifo, rest_low, limit;
  logic [6:0] pointer_next, ahead, available;
  logic [5:1] position;
  logic [5:0] rest_next;
  always_comb begin
    move_bytes = 'x;
    step = 'x;
    in_fifo = 'x;
    rest_low = 'x;
    limit = 'x;
    pointer_next = 'x;
    ahead = 'x;
    available = 'x;
    position = 'x;
    rest_next = 'x;
    if (!idle) begin
      // Bytes of the next memory access: within the memory word, the descriptor and the FIFO. A table, because comparators are slow here.
      case (address_reg[1:0])
        2'd0: move_bytes = limit_reg;
        2'd1: move_bytes = limit_reg[2] ? 3'd3 : limit_reg;
        2'd2: move_bytes = limit_reg[2] || limit_reg[1] ? 3'd2 : limit_reg;
        2'd3: move_bytes = {2'd0, limit_reg != 3'd0};
      endcase
      step = sampling ? 3'(container_reg) + 3'd1 : move_bytes;
      pointer_next = pointer + 7'(step);
      // Where the next bytes lie; the RAM is read there, one cycle ahead.
      position = advance ? pointer_next[5:1] : pointer[5:1];
      // What an access to memory leaves: bytes to be read there, or room to be written. Not known by its end, but all along.
      ahead = moving ? pointer_next : pointer;
      available = (other - ahead) ^ {writing, 6'd0};
      // The same as a limit of the next access. To fill waits for room for a whole word, which spares accesses; but an access that an
      // odd pointer splits is carried on.
      if (|available[6:2]) in_fifo = {!ahead[0], {2{ahead[0]}}};
      else if (capture_reg || (moving && address_reg[1:0] == 2'd0 && pointer[0])) in_fifo = {1'b0, available[1:0]};
      else in_fifo = 3'd0;
      rest_next = rest_reg - (6'(move_bytes) & {6{moving}});
      rest_low = |rest_next[5:2] ? 3'd4 : {1'b0, rest_next[1:0]};
      // The lesser of the two, which are at most 4.
      limit = !rest_low[2] && (in_fifo[2] || in_fifo[1:0] > rest_low[1:0]) ? rest_low : in_fifo;
    end
  end

  wire fifo_write = advance && writing;
  wire [3:0] step_mask = {step[2], step[2] || &step[1:0], step[2] || step[1], 1'b1};
  wire [7:0] fifo_mask = {4'd0, step_mask} << pointer[1:0];
  wire [3:0] fifo_lanes = (fifo_mask[3:0] | fifo_mask[7:4]) & {4{fifo_write}};
  logic [31:0] rotated, fifo_rdata;

  // Of two halves; the first one's next bytes may belong to the next word.
  for (genvar half = 0; half < 2; half++) begin : g_half
    (* no_rw_check *) logic [15:0] words[16 * STREAMS_UP];
    initial for (int i = 0; i < 16 * STREAMS_UP; i++) words[i] = '0;
    always_ff @(posedge clk) begin
      if (!idle) fifo_rdata[16*half+:16] <= words[{stream_reg, position[5:2] + 4'(half == 0 && position[1])}];
      for (int i = 0; i < 2; i++)
        if (fifo_lanes[2*half+i]) words[{stream_reg, pointer[5:2] + 4'(half == 0 && pointer[1])}][8*i+:8] <= rotated[16*half+8*i+:8];
    end
  end

  wire is_unsigned = container_reg == 2'd0;  // 8 bit

  // Byte rotator, one for all four ways: lane j of the output is lane j + rotation of the input.
  logic [31:0] rotator_input, rotated_once;
  logic [ 1:0] rotation;
  always_comb begin
    rotator_input = 'x;
    rotated_once = 'x;
    rotation = 'x;
    rotated = 'x;
    if (!idle) begin
      if (sampling) begin
        // Samples are left-justified: their last byte is lane 3.
        rotator_input = capture_reg ? {adc_sample[31] ^ is_unsigned, adc_sample[30:8], 8'd0} : fifo_rdata;
        rotation = capture_reg ? 2'd0 - pointer_next[1:0] : pointer_next[1:0];
      end else begin
        rotator_input = capture_reg ? fifo_rdata : mem_rdata;
        rotation = capture_reg ? pointer[1:0] - address_reg[1:0] : address_reg[1:0] - pointer[1:0];
      end
      rotated_once = rotation[0] ? {rotator_input[7:0], rotator_input[31:8]} : rotator_input;
      rotated = rotation[1] ? {rotated_once[15:0], rotated_once[31:16]} : rotated_once;
    end
  end

  // ------------------------------------------------------------ converter side, memory, events

  assign dac_we = sampling && !capture_reg;
  assign dac_stream = 4'(stream_reg);
  assign dac_channel = channel_reg;
  assign dac_sample = {
    rotated[31] ^ is_unsigned, rotated[30:24], is_unsigned ? 8'd0 : rotated[23:16], container_reg[1] ? rotated[15:8] : 8'd0, 8'd0
  };
  assign adc_channel = channel_reg;
  assign adc_take = sampling && capture_reg && last_channel && !torn;

  wire may_move = move_bytes != 3'd0 && !moved_reg[5] && ticks_reg == 4'd0;
  assign mem_stb = fetching || (condition == IF_MAY_MOVE && may_move) || moving;
  assign mem_we = !fetching && capture_reg;
  assign mem_adr = {address_reg[16:4], fetching ? word_reg[1:0] : address_reg[3:2]};
  assign mem_sel = fetching ? 4'b1111 : step_mask << address_reg[1:0];
  assign mem_wdata = rotated;

  wire last_byte = moving && mem_ack && rest_next == 6'd0;
  // A stamp that no event follows does no harm.
  always_comb begin
    ev_stamp = last_byte;
    if (!write)
      case (act)
        DO_MISS, DO_HALT, DO_USE_UP, DO_REFUSE, DO_REFUSE_SETTINGS: ev_stamp = 1'b1;
        DO_INTERVAL: ev_stamp = !done_reg;
        default: ;
      endcase
  end
  assign ev_valid = posting;
  assign ev_cause = cause_reg == REFUSED_SETTINGS ? CAUSE_REFUSED : 8'(cause_reg);
  assign ev_stream = 8'(stream_reg);
  // data0 of DESCRIPTOR is INDEX with the LAST flag; data1 of REFUSED is a FaultReason, or 0.
  logic index_word_reg, settings_word_reg;
  always_ff @(posedge clk)
    if (posting) begin
      index_word_reg <= ev_word == 2'd0 && last_reg && cause_reg == 3'(CAUSE_DESCRIPTOR);
      settings_word_reg <= ev_word == 2'd1 && cause_reg == REFUSED_SETTINGS;
    end
  assign ev_data = {context_rdata[31:17], context_rdata[16] || index_word_reg, context_rdata[15:3], context_rdata[2:0] | {3{settings_word_reg}}};

  always_comb
    case ({cause_reg, ev_word})
      {3'(CAUSE_DESCRIPTOR), 2'd0}, {3'(CAUSE_FAULT), 2'd0}, {3'(CAUSE_END_OF_STREAM), 2'd0}: event_read = INDEX;
      {3'(CAUSE_DESCRIPTOR), 2'd1}, {3'(CAUSE_INTERVAL), 2'd1}, {3'(CAUSE_END_OF_STREAM), 2'd1}: event_read = TAG;
      {3'(CAUSE_DESCRIPTOR), 2'd2}, {3'(CAUSE_INTERVAL), 2'd2}, {3'(CAUSE_END_OF_STREAM), 2'd2}: event_read = BYTES_LO;
      {3'(CAUSE_DESCRIPTOR), 2'd3}, {3'(CAUSE_INTERVAL), 2'd3}, {3'(CAUSE_END_OF_STREAM), 2'd3}: event_read = FRAMES_LO;
      {3'(CAUSE_UNDERRUN), 2'd0}: event_read = UNDERRUNS;
      {3'(CAUSE_OVERRUN), 2'd0}: event_read = OVERRUNS;
      {3'(CAUSE_FAULT), 2'd1}: event_read = TAG;
      {3'(CAUSE_INTERVAL), 2'd0}: event_read = INTERVAL_LEFT;
      {3'(CAUSE_REFUSED), 2'd0}, {REFUSED_SETTINGS, 2'd0}: event_read = REVOKE_RANGE;
      default: event_read = ZERO;
    endcase

  // ------------------------------------------------------------ conditions

  wire [1:0] asked = context_rdata[1:0];
  wire running = &asked && !context_rdata[4];
  wire fillable = running && !context_rdata[14];
  wire watching = marked_reg && !capture_reg;
  wire any_tick = ticks_reg != 4'd0;
  wire more = changed_reg || post_reg || interval_reg || done_reg || carry_reg;
  wire last_word = word_reg == LAST_CLEARED;
  wire last_stream = stream_reg == LAST_STREAM;
  wire next_of_pass = visit_reg == TICK && !last_stream;
  // As functions: worked out in the rows that ask for it.
  function automatic logic stopping();
    return !asked[1] && run_reg != 2'(STREAM_STATE_STOP);
  endfunction
  function automatic logic changing();
    return asked[1] && !fault_reg && asked != run_reg;
  endfunction
  // Not from `available`, which comes late: render, level less a frame; capture, level and a frame.
  function automatic logic frame_there();
    logic [7:0] filled;
    filled = {1'b0, level} + ({2'b00, frame_bytes} ^ {8{!capture_reg}}) + 8'(!capture_reg);
    return capture_reg ? !(filled[6] && |filled[5:0]) : !filled[7];
  endfunction
  function automatic logic room();
    return capture_reg ? level_reg != 7'd0 : !(level_reg[6] || (&level_reg[5:2] && |level_reg[1:0]));
  endfunction
  function automatic logic higher();
    return level_reg > context_rdata[6:0];
  endfunction
  function automatic logic short_interval();
    return context_rdata[31:6] == '0;
  endfunction
  // The read pointer is past the mark. It lies at most 64 bytes ahead, or a frame behind.
  function automatic logic passed();
    return 2'((context_rdata[6:0] - read_reg) >> 5) == 2'd3;
  endfunction
  // Somebody is to be visited. The last row of a visit decides it, and picks.
  wire pick = next_of_pass || any_tick || |asked_reg || left_reg != '0;

  logic picking;
  logic [1:0] branch;
  always_comb begin
    branch = 2'b00;
    picking = 1'b0;
    if (idle) begin
      branch[0] = pick;
      picking = 1'b1;
    end else
      case (condition)
        IF_FILLABLE: begin
          branch = {fillable, pick};
          picking = !fillable;
        end
        IF_RUNNING: begin
          branch = {running, pick};
          picking = !running;
        end
        IF_ROOM: begin
          branch = {room(), pick};
          picking = !room();
        end
        IF_SAVED: begin
          branch = {writer || more, writer || (!more && pick)};
          picking = !writer && !more;
        end
        IF_HIGHER: begin
          branch = {higher() || more, higher() || (!more && pick)};
          picking = !higher() && !more;
        end
        IF_MORE: begin
          branch = {more, pick};
          picking = !more;
        end
        IF_WORD_LAST: branch[0] = last_word;
        IF_STREAM_LAST: branch[0] = last_stream;
        IF_VISIT: branch = visit_reg;
        IF_MARKED_WORD: branch[0] = context_rdata[8];
        IF_STARTED: branch[0] = started_reg;
        IF_CONTROL: branch = {changing(), stopping() || (changing() && !(asked[0] && !started_reg))};
        IF_SHORT: branch[0] = short_interval();
        IF_CONVERT: branch = {ended_reg && (capture_reg || !frame_there()), !late_reg && frame_there()};
        IF_LAST_CHANNEL: branch = {last_channel && torn, last_channel};
        IF_WATCHING: branch[0] = watching;
        IF_PASSED: branch[0] = passed();
        IF_FILLING: branch[0] = visit_reg == FILL;
        IF_NOT_MISSED: branch[0] = !capture_reg && !delivered_reg;
        IF_CAPTURE: branch[0] = capture_reg;
        IF_GAP: branch[0] = gap_reg;
        IF_SILENT: branch[0] = silent_reg;
        IF_NO_LENGTH: branch[0] = fetched_reg == 32'd0;
        IF_QUEUE: branch[0] = queue_reg;
        IF_MEMORY: branch = {mem_err, mem_ack};
        IF_WORD: branch = word_reg[1:0];
        IF_REMOVED: branch[0] = fetched_reg[DESCRIPTOR_REMOVED_BIT];
        IF_TAG: branch = {capture_reg, marked_reg};
        IF_MAY_MOVE: branch[0] = may_move;
        IF_MOVE: branch = {last_byte || mem_err, mem_ack};
        IF_MOVED: branch = {done_reg || error_reg, interval_on_reg};
        IF_FINISHED: branch[0] = done_reg || error_reg;
        IF_ERROR: branch[0] = error_reg;
        IF_TAIL: branch = {changed_reg, post_reg || interval_reg};
        IF_POSTING: branch[0] = post_reg || interval_reg;
        IF_EVENT: branch[0] = ev_ready && !(post_reg && interval_reg);
        IF_DONE: branch[0] = done_reg;
        IF_ENDED: branch[0] = ended_reg;
        IF_TIME: branch[0] = any_tick;
        IF_TICKED: branch[0] = any_tick || frame_tick;
        IF_PREPARED: branch = {no_rest_reg, queue_reg};
        IF_WRAPPED: branch[0] = wrapped_reg;
        IF_FRAME: branch = {fresh_reg, watching};
        IF_LESS: branch[0] = less_reg;
        IF_NEGATIVE: branch[0] = negative_reg;
        IF_EQUAL: branch[0] = equal_reg;
        IF_NOT_BEHIND: branch[0] = behind_reg || equal_reg;
        IF_NO_REST: branch[0] = no_rest_reg;
        // An end of 2^17 is inside.
        IF_OUTSIDE: branch[0] = |context_rdata[31:18] || (context_rdata[17] && |context_rdata[16:0]);
        IF_BEYOND: branch[0] = context_rdata[17];
        IF_TAIL_C: branch = {carry_reg, carry_reg ? visit_reg == FILL : done_reg};
        IF_BAD_CONFIG:
        branch[0] = 4'(channels_reg) >= 4'(MAX_CHANNELS) || context_rdata[8:0] == 9'd0 || (context_rdata[8] && |context_rdata[7:0]);
        default: ;
      endcase
  end

  assign next = rst ? CLEAR_A : state_t'({now_reg.next[7:2], now_reg.next[1:0] | branch});

  always_ff @(posedge clk)
    if (run_it || rst) begin
      now_reg   <= row_t'(rows[next]);
      state_reg <= next;
    end

  // ------------------------------------------------------------ registers

  always_ff @(posedge clk) begin
    bus_ack <= slot;
    taken_reg <= host_read;
    marking_reg <= host_write && (host_word == REVOKE_RANGE || (is_setting && !is_control));
    reading_reg <= reading && !ev_ready;
    if (frame_tick && !(&ticks_reg)) ticks_reg <= ticks_reg + 4'd1;
    if (!idle) begin
      frame_bytes_reg <= frame_bytes;
      level_reg <= level;
    end
    if (fetching) fetched_reg <= mem_rdata;
    // A tick that comes while a pass is under way is missed, so nothing bears its time.
    if (frame_tick) begin
      if (visit_reg != TICK || (picking && !next_of_pass)) time_reg <= now;
    end else if (latching) begin
      if (!any_tick) time_reg <= now;
    end

    if (run_it) begin
      last_read_reg <= read_word;
      if (!idle) begin
        less_reg <= !carry;
        negative_reg <= result[31];
        wrapped_reg <= result[8];
        behind_reg <= result[15];
        equal_reg <= zero_16;
        no_rest_reg <= zero_16 && result[17:16] == 2'd0;
      end
      if (now_reg.take) address_reg <= {result[17:16] & {2{condition != IF_COUNT}}, result[15:0]};

      case (condition)
        IF_WORD_LAST: word_reg <= last_word ? 6'd0 : word_reg + 6'd1;
        IF_WORD: word_reg <= word_reg + 6'd1;
        IF_STREAM_LAST: stream_reg <= stream_reg + 1'b1;
        IF_ASKED: asked_reg[stream_reg] <= 1'b0;
        IF_CONTROL: begin
          if (changing()) begin
            run_reg   <= asked;
            fresh_reg <= asked[0];
          end
          // Not all is done that was asked for; look at it again.
          if (changing() || stopping()) asked_reg[stream_reg] <= 1'b1;
        end
        IF_STARTED: if (started_reg) asked_reg[stream_reg] <= 1'b1;
        IF_TIME: if (any_tick) asked_reg[stream_reg] <= 1'b1;
        IF_TICKED: if (any_tick || frame_tick) asked_reg[stream_reg] <= 1'b1;
        IF_WATCHING: fresh_reg <= 1'b0;
        IF_PASSED: if (passed()) marked_reg <= 1'b0;
        IF_SHORT: interval_on_reg <= !short_interval();
        IF_LAST_CHANNEL: begin
          channel_reg <= channel_reg + 3'd1;
          delivered_reg <= 1'b1;
          gap_reg <= 1'b0;
          if (torn) late_reg <= 1'b1;
        end
        IF_TAG: if (!capture_reg) marked_reg <= 1'b1;
        IF_ROOM: rest_reg <= result[5:0] | {6{|result[17:6]}};
        IF_PREPARED: limit_reg <= limit;
        IF_FRAME, IF_BYTES: carry_reg <= carry;
        // Cut short by a tick: this stream is the next one behind the pass.
        IF_MAY_MOVE: if (any_tick) fill_stream_reg <= stream_reg;
        IF_MOVE: begin
          if (mem_ack) begin
            address_reg <= address_reg + 18'(move_bytes);
            rest_reg <= rest_next;
            limit_reg <= limit;
            moved_reg <= moved_reg + 6'(move_bytes);
            done_reg <= last_byte;
          end
          if (mem_err) error_reg <= 1'b1;
        end
        IF_EVENT:
        if (ev_ready) begin
          // What happened first goes first.
          post_reg <= 1'b0;
          interval_reg <= post_reg && interval_reg;
          cause_reg <= 3'(CAUSE_INTERVAL);
        end
        default: ;
      endcase

      if (picking) begin
        ready_reg <= 1'b1;
        if (next_of_pass) stream_reg <= stream_reg + 1'b1;
        else if (any_tick) begin
          ticks_reg  <= ticks_reg - 4'(!frame_tick);
          late_reg   <= ticks_reg != 4'd1 || visit_reg == TICK;
          visit_reg  <= TICK;
          stream_reg <= '0;
        end else if (|asked_reg && (visit_reg != ASK || left_reg == '0)) begin
          visit_reg <= ASK;
          for (int i = STREAMS - 1; i >= 0; i--) if (asked_reg[i]) stream_reg <= STREAM_W'(i);
        end else if (left_reg != '0) begin
          left_reg <= left_reg - 1'b1;
          visit_reg <= FILL;
          stream_reg <= fill_stream_reg;
          fill_stream_reg <= fill_stream_reg == LAST_STREAM ? '0 : fill_stream_reg + 1'b1;
        end else visit_reg <= FILL;
      end

      if (!write)
        case (act)
          DO_DECODE: begin
            {read_reg, write_reg, interval_on_reg, marked_reg, fresh_reg, ended_reg, queue_reg, gap_reg, delivered_reg, started_reg,
             channels_reg[2:1], container_reg, silent_reg, fault_reg, channels_reg[0], capture_reg, run_reg} <= context_rdata;
            moved_reg <= 6'd0;
            channel_reg <= 3'd0;
            done_reg <= 1'b0;
            post_reg <= 1'b0;
            interval_reg <= 1'b0;
            changed_reg <= 1'b0;
            error_reg <= 1'b0;
            carry_reg <= 1'b0;
            word_reg <= 6'(WORD_FLAGS);
          end
          DO_WIPE: begin
            word_reg <= FIRST_WIPED;
            {read_reg, write_reg, interval_on_reg, marked_reg, fresh_reg, ended_reg, queue_reg, gap_reg, delivered_reg, started_reg,
             channels_reg, container_reg, silent_reg, fault_reg, capture_reg, run_reg} <= '0;
          end
          DO_CONFIG: begin
            {channels_reg, container_reg} <= context_rdata[6:2];
            capture_reg <= context_rdata[0];
            queue_reg <= context_rdata[8];
          end
          DO_STARTED: begin
            started_reg <= 1'b1;
            changed_reg <= 1'b1;
          end
          DO_CHANGE: changed_reg <= 1'b1;
          DO_MISS: begin
            gap_reg <= 1'b1;
            post_reg <= 1'b1;
            cause_reg <= capture_reg ? 3'(CAUSE_OVERRUN) : 3'(CAUSE_UNDERRUN);
          end
          DO_USE_UP: begin
            silent_reg <= 1'b1;
            changed_reg <= 1'b1;
            post_reg <= 1'b1;
            cause_reg <= 3'(CAUSE_END_OF_STREAM);
          end
          DO_DONE: done_reg <= 1'b1;
          DO_INTERVAL: begin
            interval_reg <= 1'b1;
            cause_reg <= 3'(CAUSE_INTERVAL);
          end
          DO_ENDING: begin
            post_reg <= context_rdata[DESCRIPTOR_EVENT_FLAG_BIT];
            cause_reg <= context_rdata[DESCRIPTOR_EVENT_FLAG_BIT] ? 3'(CAUSE_DESCRIPTOR) : 3'(CAUSE_INTERVAL);
            ended_reg <= context_rdata[DESCRIPTOR_END_OF_STREAM_BIT];
            last_reg <= context_rdata[DESCRIPTOR_LAST_BIT];
          end
          DO_HALT: begin
            fault_reg <= 1'b1;
            changed_reg <= 1'b1;
            post_reg <= 1'b1;
            cause_reg <= 3'(CAUSE_FAULT);
          end
          DO_REFUSE: begin
            post_reg  <= 1'b1;
            cause_reg <= 3'(CAUSE_REFUSED);
          end
          DO_REFUSE_SETTINGS: begin
            post_reg  <= 1'b1;
            cause_reg <= REFUSED_SETTINGS;
          end
          default: ;
        endcase

      if (advance) begin
        if (writing) write_reg <= pointer_next;
        else read_reg <= pointer_next;
      end
      // Something was done, so there may be more to do, for any stream.
      if (use_fields || act == DO_DONE) left_reg <= LEFT_W'(STREAMS);
    end

    if (host_write && host_word == RING_PRODUCER) left_reg <= LEFT_W'(STREAMS);
    if (requested) asked_reg[host_stream] <= 1'b1;

    if (rst) begin
      ready_reg <= 1'b0;
      visit_reg <= FILL;
      stream_reg <= '0;
      fill_stream_reg <= '0;
      asked_reg <= '0;
      word_reg <= 6'd0;
      left_reg <= '0;
      ticks_reg <= 4'd0;
      taken_reg <= 1'b0;
      marking_reg <= 1'b0;
      bus_ack <= 1'b0;
    end
  end

  initial
    if (STREAMS < 1 || STREAMS > 16 || MAX_CHANNELS < 1 || MAX_CHANNELS > 8)
      $fatal(1, "stream_engine: STREAMS is %0d, must be 1 to 16; MAX_CHANNELS is %0d, must be 1 to 8", STREAMS, MAX_CHANNELS);

  wire unused = &{1'b0, state_reg, bus_adr[15:12], adc_sample[7:0]};

endmodule

`default_nettype wire
