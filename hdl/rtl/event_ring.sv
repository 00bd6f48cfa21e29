`default_nettype none

// Event ring: 64 records of 32 bytes, sticky causes, and which of them post records.
//
// Sources are the stream engine, which holds an event until it is taken, and board causes, which are latched here. A source marks
// the moment of its cause by the low 8 bits of board time; the full time of the record is worked out when it is written. That is
// exact as long as an event is served within 256 clocks. One sequencer serves one event at a time: look up the cause, make it sticky,
// write eight words, then move EVENT_PRODUCER. It needs 2 to 11 clocks; the engine goes first, then the board causes, so that even with
// all of them at once nobody waits longer than 6 x 11 clocks.
//
// A full ring loses the record, counts it in EVENT_LOST and posts RING_OVERFLOW as soon as there is room; the time of that record
// is the time of posting, as it is for records posted again. Those carry no data.
//
// Causes and enables live in block RAM, one word for each stream and one for the board.
module event_ring
  import codecrig_pkg::*;
#(
    // Number of streams, 1 to 16.
    parameter STREAMS = 4
) (
    input wire logic clk,
    input wire logic rst,

    // Register slave: EVENT_*, EVENT_CAUSE and EVENT_ENABLE of each STREAM, EVENT_RING. Ack 1 to 4 cycles behind stb; rdata is
    // valid with ack. For 32 clocks behind reset no access is acknowledged.
    input  wire logic        bus_stb,
    input  wire logic        bus_we,
    input  wire logic [15:2] bus_adr,
    input  wire logic [31:0] bus_wdata,
    output logic      [31:0] bus_rdata,
    output logic             bus_ack,

    // Board time.
    input  wire logic [63:0] now,
    // High while the host has records to take.
    output logic             events_waiting,

    // Stream engine. `ev_stamp` marks the cycle of the cause; ev_valid follows within 256 clocks and stays, with cause and stream,
    // until ev_ready. ev_data is the data word that ev_word named one cycle ago.
    input  wire logic        ev_stamp,
    input  wire logic        ev_valid,
    input  wire logic [ 7:0] ev_cause,
    input  wire logic [ 7:0] ev_stream,
    output logic      [ 1:0] ev_word,
    input  wire logic [31:0] ev_data,
    output logic             ev_ready,

    // Board causes. pattern_data is data0 of PATTERN_ERROR and stays stable.
    input  wire logic        timer_pulse,
    input  wire logic        pattern_pulse,
    input  wire logic [31:0] pattern_data,
    input  wire logic        trigger_pulse,
    input  wire logic        monitor_valid,
    input  wire logic [ 7:0] monitor_stamp,
    input  wire logic [ 7:0] monitor_index,
    input  wire logic [31:0] monitor_address,
    output logic             monitor_ready
);

  localparam logic [4:0] BOARD = 5'd16;  // index of the board's causes, behind the streams
  localparam RECORDS_LOG2 = 6;

  typedef enum logic [1:0] {CLEAR, IDLE, LOOK, POST} state_t;
  typedef enum logic [2:0] {ENGINE, TIMER, OVERFLOW, PATTERN, MONITOR, TRIGGER, REPOST} source_t;

  state_t      state_reg;
  source_t     source_reg;
  logic [ 2:0] word_reg;
  logic [ 7:0] stamp_reg;
  logic [ 4:0] index_reg;  // whose causes: a stream, or BOARD; also counts the clearing behind reset
  logic [ 2:0] bit_reg;  // which of its causes
  logic [31:0] producer_reg, consumer_reg, lost_reg;

  // Waiting board causes and the moments of them.
  logic timer_reg, pattern_reg, trigger_reg;
  logic [7:0] engine_stamp_reg, timer_stamp_reg, pattern_stamp_reg, trigger_stamp_reg;
  // Overflow: to be made sticky, then to be posted when there is room.
  logic overflow_reg, overflow_sticky_reg;
  // Scan for causes to be posted again.
  logic       scan_reg;
  logic [4:0] scan_index_reg;
  logic [2:0] scan_bit_reg;

  wire [6:0] level = producer_reg[6:0] - consumer_reg[6:0];
  wire       full = level[RECORDS_LOG2];
  assign events_waiting = producer_reg != consumer_reg;

  // ------------------------------------------------------------ host

  wire [31:0] address = {FPGA_BASE[31:16], bus_adr, 2'b00};
  wire        in_ring = bus_adr[15];
  wire        in_stream = !bus_adr[15] && bus_adr[12];
  wire        is_enable = in_stream ? bus_adr[7:2] == STREAM_EVENT_ENABLE[7:2] : address == FPGA_EVENT_ENABLE;
  wire        is_cause = in_stream ? bus_adr[7:2] == STREAM_EVENT_CAUSE[7:2] : address == FPGA_EVENT_CAUSE;
  wire        host_exists = !in_stream || {1'b0, bus_adr[11:8]} < 5'(STREAMS);
  // Reads its entry in one cycle and has ack, and writes the entry, in the next. The sequencer does the same in IDLE and LOOK;
  // they must not overlap.
  wire        host_wants = bus_stb && !bus_ack && (is_cause || is_enable);
  wire        host_looks = host_wants && (state_reg == IDLE || state_reg == POST);
  wire        host_write = bus_stb && bus_we && bus_ack;

  logic [31:0] ring_rdata;
  logic [ 4:0] sticky, enabled;

  always_comb
    if (in_ring) bus_rdata = ring_rdata;
    else if (is_cause || is_enable) bus_rdata = !host_exists ? 32'd0 : {27'd0, is_cause ? sticky : enabled};
    else
      case (address)
        FPGA_EVENT_PRODUCER: bus_rdata = producer_reg;
        FPGA_EVENT_CONSUMER: bus_rdata = consumer_reg;
        FPGA_EVENT_LOST: bus_rdata = lost_reg;
        default: bus_rdata = 32'd0;
      endcase

  // ------------------------------------------------------------ causes: {enabled, sticky} of each stream, and of the board

  logic [4:0] pick_index;
  wire        cause_write = state_reg == CLEAR || state_reg == LOOK || (host_write && (is_cause || is_enable) && host_exists);
  wire  [4:0] host_index = in_stream ? {1'b0, bus_adr[11:8]} : BOARD;
  wire  [4:0] look_bits = 5'd1 << bit_reg;
  wire  [4:0] writable = bus_wdata[4:0] & {in_stream ? 1'b0 : 1'b1, 4'b1111};
  logic [9:0] cause_wdata;

  always_comb
    if (state_reg == CLEAR) cause_wdata = 10'd0;
    else if (state_reg == LOOK) cause_wdata = {enabled, sticky | (source_reg == REPOST ? 5'd0 : look_bits)};
    else if (is_enable) cause_wdata = {writable, sticky};
    else cause_wdata = {enabled, sticky & ~bus_wdata[4:0]};

  ram_1r1w #(
      .WORD_W(10),
      .ADDRESS_W(5)
  ) causes (
      .clk,
      .write(cause_write),
      .write_address(state_reg == CLEAR || state_reg == LOOK ? index_reg : host_index),
      .write_data(cause_wdata),
      .read_address(host_looks ? host_index : pick_index),
      .read_data({enabled, sticky})
  );

  // ------------------------------------------------------------ records

  logic [31:0] record_word;
  // `now` counts on while the words are written, and so does its distance from the stamp: the difference stands still.
  wire  [63:0] stamp_time = {now[63:8] - 56'(now[7:0] < stamp_reg), stamp_reg};
  wire  [ 7:0] cause_code = index_reg[4] ? CAUSE_TIMER + 8'(bit_reg) : 8'(bit_reg);

  assign ev_word = word_reg[1:0] + 2'd1;

  always_comb begin
    record_word = 32'd0;
    case (word_reg)
      3'd0: record_word = {15'd0, source_reg == REPOST, index_reg[4] ? 8'd0 : 8'(index_reg), cause_code};
      3'd1: record_word = producer_reg;
      3'd2: record_word = stamp_time[31:0];
      3'd3: record_word = stamp_time[63:32];
      default: begin
        if (source_reg == ENGINE) record_word = ev_data;
        if (word_reg[1:0] == 2'd0)
          case (source_reg)
            OVERFLOW: record_word = lost_reg;
            PATTERN: record_word = pattern_data;
            MONITOR: record_word = 32'(monitor_index);
            default: ;
          endcase
        if (word_reg[1:0] == 2'd1 && source_reg == MONITOR) record_word = monitor_address;
      end
    endcase
  end

  ram_1r1w #(
      .WORD_W(32),
      .ADDRESS_W(RECORDS_LOG2 + 3)
  ) records (
      .clk,
      .write(state_reg == POST),
      .write_address({producer_reg[RECORDS_LOG2-1:0], word_reg}),
      .write_data(record_word),
      .read_address(bus_adr[RECORDS_LOG2+4:2]),
      .read_data(ring_rdata)
  );

  // ------------------------------------------------------------ what comes next

  source_t    pick_source;
  logic       pick;
  logic [2:0] pick_bit;
  logic [7:0] pick_stamp;

  always_comb begin
    pick = 1'b1;
    pick_source = ENGINE;
    pick_index = BOARD;
    pick_bit = 3'd0;
    pick_stamp = now[7:0];
    if (ev_valid) begin
      pick_index = ev_stream[4:0];
      pick_bit   = ev_cause[2:0];
      pick_stamp = ev_stamp ? now[7:0] : engine_stamp_reg;
    end else if (monitor_valid) begin
      pick_source = MONITOR;
      pick_bit = 3'(CAUSE_MONITOR - CAUSE_TIMER);
      pick_stamp = monitor_stamp;
    end else if (timer_reg) begin
      pick_source = TIMER;
      pick_stamp  = timer_stamp_reg;
    end else if (pattern_reg) begin
      pick_source = PATTERN;
      pick_bit = 3'(CAUSE_PATTERN_ERROR - CAUSE_TIMER);
      pick_stamp = pattern_stamp_reg;
    end else if (trigger_reg) begin
      pick_source = TRIGGER;
      pick_bit = 3'(CAUSE_TRIGGER - CAUSE_TIMER);
      pick_stamp = trigger_stamp_reg;
    end else if (overflow_reg && !(overflow_sticky_reg && full)) begin
      pick_source = OVERFLOW;
      pick_bit = 3'(CAUSE_RING_OVERFLOW - CAUSE_TIMER);
    end else begin
      pick = scan_reg;
      pick_source = REPOST;
      pick_index = scan_index_reg;
      pick_bit = scan_bit_reg;
    end
  end

  // In LOOK: is there a record to be written, and has it a place.
  wire wanted = |(enabled & look_bits) && (source_reg != REPOST || |(sticky & look_bits));
  wire posting = (state_reg == LOOK && wanted && !full) || state_reg == POST;
  wire finished = (state_reg == LOOK && !posting) || (state_reg == POST && &word_reg);
  assign ev_ready = finished && source_reg == ENGINE;
  assign monitor_ready = finished && source_reg == MONITOR;

  always_ff @(posedge clk) begin
    bus_ack <= bus_stb && !bus_ack && state_reg != CLEAR && (host_looks || !host_wants);

    if (ev_stamp) engine_stamp_reg <= now[7:0];
    if (timer_pulse) begin
      timer_reg <= 1'b1;
      timer_stamp_reg <= now[7:0];
    end
    if (pattern_pulse) begin
      pattern_reg <= 1'b1;
      pattern_stamp_reg <= now[7:0];
    end
    if (trigger_pulse) begin
      trigger_reg <= 1'b1;
      trigger_stamp_reg <= now[7:0];
    end

    case (state_reg)
      CLEAR: begin
        index_reg <= index_reg + 5'd1;
        if (&index_reg) state_reg <= IDLE;
      end
      // The host's entry is being written in the cycle of its ack: look at nothing then.
      IDLE:
      if (pick && !host_wants && !(host_write && (is_cause || is_enable))) begin
        state_reg  <= LOOK;
        source_reg <= pick_source;
        index_reg  <= pick_index;
        bit_reg    <= pick_bit;
        stamp_reg  <= pick_stamp;
        // Taken: a pulse from now on is a new event.
        if (pick_source == TIMER) timer_reg <= timer_pulse;
        if (pick_source == PATTERN) pattern_reg <= pattern_pulse;
        if (pick_source == TRIGGER) trigger_reg <= trigger_pulse;
        if (pick_source == REPOST) begin
          scan_bit_reg <= scan_bit_reg + 3'd1;
          if (scan_bit_reg == 3'd4) begin
            scan_bit_reg   <= 3'd0;
            scan_index_reg <= scan_index_reg == 5'(STREAMS - 1) ? BOARD : scan_index_reg + 5'd1;
            if (scan_index_reg == BOARD) scan_reg <= 1'b0;
          end
        end
      end
      LOOK: begin
        word_reg  <= 3'd0;
        state_reg <= posting ? POST : IDLE;
        // A new record brings the host back by itself, and the scan starts anew when it has emptied the ring.
        if (posting && source_reg != REPOST) scan_reg <= 1'b0;
        if (source_reg == OVERFLOW) begin
          overflow_sticky_reg <= 1'b1;
          overflow_reg <= wanted && full;
        end else if (wanted && full) begin
          lost_reg <= lost_reg + 32'd1;
          if (!overflow_reg) overflow_sticky_reg <= 1'b0;
          overflow_reg <= 1'b1;
        end
      end
      POST: begin
        word_reg <= word_reg + 3'd1;
        if (&word_reg) begin
          producer_reg <= producer_reg + 32'd1;
          state_reg <= IDLE;
        end
      end
    endcase

    if (host_write && !in_ring && address == FPGA_EVENT_CONSUMER) begin
      consumer_reg <= bus_wdata;
      // A record on its way will bring the host back by itself.
      if (bus_wdata == producer_reg && !posting) begin
        scan_reg <= 1'b1;
        scan_index_reg <= 5'd0;
        scan_bit_reg <= 3'd0;
      end
    end

    if (rst) begin
      state_reg <= CLEAR;
      index_reg <= 5'd0;
      bus_ack <= 1'b0;
      producer_reg <= 32'd0;
      consumer_reg <= 32'd0;
      lost_reg <= 32'd0;
      timer_reg <= 1'b0;
      pattern_reg <= 1'b0;
      trigger_reg <= 1'b0;
      overflow_reg <= 1'b0;
      overflow_sticky_reg <= 1'b0;
      scan_reg <= 1'b0;
    end
  end

  initial if (STREAMS < 1 || STREAMS > 16) $fatal(1, "event_ring: STREAMS is %0d, must be 1 to 16", STREAMS);

  wire unused = &{1'b0, ev_cause[7:3], ev_stream[7:5], level[5:0], is_cause};

endmodule

`default_nettype wire
