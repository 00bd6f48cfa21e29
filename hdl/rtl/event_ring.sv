`default_nettype none

// Event ring: 64 records of 32 bytes, sticky causes, and which of them post records.
//
// Sources are the stream engine, which holds an event until it is taken, and board causes, which are latched here. A source marks
// the moment of its cause by the low 8 bits of board time; the full time of the record is worked out when it is written. That is
// exact as long as an event is served within 256 clocks. One sequencer serves one event at a time: look up the cause, make it sticky,
// write eight words, then move EVENT_PRODUCER. It needs 2 to 12 clocks, one more for an access of the host meanwhile; the engine goes
// first, then the board causes, so that even with all of them at once nobody waits longer than 9 x 13 clocks.
//
// A full ring loses the record, counts it in EVENT_LOST and posts RING_OVERFLOW as soon as there is room; the time of that record
// is the time of posting, as it is for records posted again. Those carry no data. Pulses of one board cause closer together than it
// is served make one event.
//
// Causes and enables live in block RAM, one word for each stream and one for the board, and with them the registers as the host reads
// them. One adder makes every word that is written, to the ring and there, but for what the host writes: word of that RAM + source +
// carry, or-ed with event data.
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
    input  wire logic        midi_received_pulse,
    input  wire logic        midi_sent_pulse,
    input  wire logic        midi_overflow_pulse,
    input  wire logic        monitor_valid,
    input  wire logic [ 7:0] monitor_stamp,
    input  wire logic [ 7:0] monitor_index,
    input  wire logic [31:0] monitor_address,
    output logic             monitor_ready
);

  localparam RECORDS_LOG2 = 6;

  // Words of the register RAM: causes of each stream, then those registers of the board that are read from here, at bits 5:2 of
  // their offset. The last two never change.
  localparam logic [5:0] ZERO = 6'h10;
  localparam logic [5:0] PRODUCER = {2'b01, FPGA_EVENT_PRODUCER[5:2]};
  localparam logic [5:0] CONSUMER = {2'b01, FPGA_EVENT_CONSUMER[5:2]};
  localparam logic [5:0] LOST = {2'b01, FPGA_EVENT_LOST[5:2]};
  localparam logic [4:0] BOARD = {1'b1, FPGA_EVENT_CAUSE[5:2]};
  localparam logic [5:0] MINUS_256 = 6'h20;
  localparam logic [5:0] MINUS_1 = 6'h21;

  typedef enum logic [2:0] {CLEAR, IDLE, LOOK, POST, MOVE, LOSE} state_t;
  typedef enum logic [1:0] {ENGINE, OWN, REPOST} source_t;  // OWN: a cause of the board

  // Bits of the board's causes.
  localparam logic [2:0] OVERFLOW = 3'(CAUSE_RING_OVERFLOW), PATTERN = 3'(CAUSE_PATTERN_ERROR), MONITOR = 3'(CAUSE_MONITOR);

  state_t      state_reg;
  source_t     source_reg;
  logic [ 2:0] word_reg;
  logic [ 7:0] stamp_reg;
  logic        borrow_reg;  // bits 7:0 of board time have wrapped since the cause
  logic [ 4:0] index_reg;  // whose causes: a stream, or BOARD; also counts the clearing behind reset
  logic [ 2:0] bit_reg;  // which of its causes
  logic [31:0] producer_reg;
  logic [RECORDS_LOG2:0] consumer_reg;  // the low bits tell how many records wait; all of it is in the register RAM

  // Pulses that wait and the moments of them, by bit of the board's causes.
  logic [7:0] pulse_reg;
  logic [7:0][7:0] pulse_stamp_reg;
  logic [7:0] engine_stamp_reg;
  // Overflow: to be made sticky, then to be posted when there is room.
  logic overflow_reg, overflow_sticky_reg;
  // Scan for causes to be posted again.
  logic       scan_reg;
  logic [4:0] scan_index_reg;
  logic [2:0] scan_bit_reg;
  logic       consumed_reg;  // EVENT_CONSUMER has just been written

  logic [31:0] register;  // word of the register RAM that was named a cycle ago
  logic [31:0] record;  // the same of the ring
  wire  [ 7:0] enabled = register[15:8];
  wire  [ 7:0] sticky = register[7:0];

  wire [RECORDS_LOG2:0] level = producer_reg[RECORDS_LOG2:0] - consumer_reg;
  logic full_reg;  // one clock late: before a record is begun nothing moves for as long
  assign events_waiting = level != '0;

  // ------------------------------------------------------------ host

  wire       in_ring = bus_adr[15];
  wire       in_stream = bus_adr[12];
  // Functions, so that a simulator works them out in an access only.
  function automatic logic is_enable();
    is_enable = in_stream ? bus_adr[2] : bus_adr[6];
  endfunction
  function automatic logic is_cause();  // or enable
    is_cause = in_stream || bus_adr[6] || &bus_adr[5:2];
  endfunction
  function automatic logic [5:0] host_register();
    host_register = in_stream ? {2'b00, bus_adr[11:8]} : {2'b01, bus_adr[5:2] | {4{bus_adr[6]}}};
  endfunction
  function automatic logic host_exists();
    host_exists = !in_stream || {1'b0, bus_adr[11:8]} < 5'(STREAMS);
  endfunction

  // The host's word is read in one cycle, and written in the next, which has ack. In the first the sequencer must not need the RAM
  // for what comes next; in the second it stands still.
  logic host_looks, host_causes, host_consumes;
  always_comb begin
    {host_looks, host_causes, host_consumes} = '0;
    if (bus_stb) begin
      host_looks = !bus_ack && (state_reg == IDLE || state_reg == POST);
      if (bus_ack && bus_we && !in_ring) begin
        host_causes = is_cause() && host_exists();
        host_consumes = {2'b01, bus_adr[5:2]} == CONSUMER;  // no other register has that
      end
    end
  end

  always_comb begin
    bus_rdata = 'x;
    if (bus_ack) begin
      bus_rdata = in_ring ? record : register;
      if (!in_ring && is_cause()) bus_rdata = {24'd0, is_enable() ? enabled : sticky};
    end
  end

  // ------------------------------------------------------------ the word to be written

  function automatic logic [7:0] look_bits();
    look_bits = 8'd1 << bit_reg;
  endfunction

  function automatic logic is_own(input logic [2:0] cause);
    is_own = source_reg == OWN && bit_reg == cause;
  endfunction

  // In LOOK: is there a record to be written.
  function automatic logic wanted();
    wanted = |(enabled & look_bits()) && (source_reg != REPOST || |(sticky & look_bits()));
  endfunction

  // Register + 0, one half of the time, or EVENT_PRODUCER. The host has no part in it, so that its strobe is not on this long path.
  function automatic logic [31:0] sum();
    logic [31:0] source;
    logic carry;
    source = 32'd0;
    carry = 1'b0;
    case (state_reg)
      POST:
      case (word_reg)
        3'd1: source = producer_reg;
        // Time of the cause: `now` less 256 if its low bits have wrapped, see the choice of `register`.
        3'd2: source = {now[31:8], stamp_reg};
        // Less 1, plus 1 unless that wrapped the low word.
        3'd3: begin
          source = now[63:32];
          carry  = !(borrow_reg && now[31:8] == 24'd0);
        end
        default: ;
      endcase
      MOVE: begin
        source = producer_reg;
        carry  = 1'b1;
      end
      LOSE: carry = 1'b1;
      default: ;
    endcase
    sum = 32'(({register, 1'b1} + {source, carry}) >> 1);
  endfunction

  // What is or-ed to that.
  function automatic logic [31:0] data();
    logic [16:0] field;
    logic takes_event, takes_pattern;
    takes_event = 1'b0;
    takes_pattern = 1'b0;
    field = 17'd0;
    case (state_reg)
      LOOK: if (source_reg != REPOST) field = 17'(look_bits());
      POST:
      case (word_reg)
        3'd0:
        field = {source_reg == REPOST, 4'd0, index_reg[4] ? 4'd0 : index_reg[3:0], 3'd0, index_reg[4], 1'b0, bit_reg};
        3'd1, 3'd2, 3'd3: ;
        default: begin
          takes_event = source_reg == ENGINE;
          if (word_reg == 3'd4) begin
            takes_pattern = is_own(PATTERN);
            if (is_own(MONITOR)) field[0] = monitor_index[0];
          end
          if (word_reg == 3'd5 && is_own(MONITOR)) field = {monitor_address[16:2], 2'b00};
        end
      endcase
      default: ;
    endcase
    data = (takes_event ? ev_data : takes_pattern ? pattern_data : 32'd0) | 32'(field);
  endfunction

  // ------------------------------------------------------------ sequencer

  logic [2:0] next_word;
  logic finished;
  // 0 to 3 in the clocks ahead of those words of the engine's own record, and never 0 before: from the 0 on it lets no host in.
  assign ev_word = state_reg == POST && source_reg == ENGINE && (word_reg[2] || word_reg[0]) ? next_word[1:0] : 2'd1;

  always_comb begin
    {ev_ready, monitor_ready, finished} = '0;
    next_word = word_reg;
    if (state_reg != IDLE) begin
      if (state_reg == LOOK) finished = !wanted() || full_reg;
      if (state_reg == POST && !bus_ack) begin
        finished = &word_reg;
        next_word = word_reg + 3'd1;
      end
      ev_ready = finished && source_reg == ENGINE;
      monitor_ready = finished && is_own(MONITOR);
    end
  end

  wire any_pulse = timer_pulse || pattern_pulse || trigger_pulse || midi_received_pulse || midi_sent_pulse || midi_overflow_pulse;
  // The board's causes that wait.
  function automatic logic [7:0] own();
    own = pulse_reg | {4'd0, monitor_valid, 1'b0, overflow_reg && !(overflow_sticky_reg && full_reg), 1'b0};
  endfunction

  (* no_rw_check *) logic [31:0] register_ram[64];
  (* no_rw_check *) logic [31:0] records[2**(RECORDS_LOG2+3)];

  initial begin
    for (int i = 0; i < 64; i++) register_ram[i] = '0;
    for (int i = 0; i < 2 ** (RECORDS_LOG2 + 3); i++) records[i] = '0;
    register_ram[MINUS_256] = 32'hFFFF_FF00;
    register_ram[MINUS_1] = 32'hFFFF_FFFF;
  end

  always_ff @(posedge clk) if (bus_stb) record <= records[bus_adr[RECORDS_LOG2+4:2]];

  function automatic logic [2:0] first_own(input logic [7:0] waiting);
    first_own = 3'd0;
    for (int i = 7; i >= 0; i--) if (waiting[i]) first_own = 3'(i);
  endfunction

  source_t pick_source;
  logic    pick;
  logic [4:0] pick_index;
  logic [2:0] pick_bit;
  logic [7:0] pick_stamp;

  always_comb begin
    pick = 1'b0;
    pick_source = ENGINE;
    pick_index = ev_stream[4:0];
    pick_bit = ev_cause[2:0];
    pick_stamp = now[7:0];
    if (state_reg == IDLE && !bus_stb && (ev_valid || scan_reg || monitor_valid || overflow_reg || pulse_reg != '0)) begin
      if (ev_valid) begin
        pick = 1'b1;
        if (!ev_stamp) pick_stamp = engine_stamp_reg;
      end else if (|own()) begin
        pick = 1'b1;
        pick_source = OWN;
        pick_index = BOARD;
        pick_bit = first_own(own());
        if (pick_bit == MONITOR) pick_stamp = monitor_stamp;
        else if (pick_bit != OVERFLOW) pick_stamp = pulse_stamp_reg[pick_bit];
      end else if (scan_reg) begin
        pick = 1'b1;
        pick_source = REPOST;
        pick_index = scan_index_reg;
        pick_bit = scan_bit_reg;
      end
    end
  end

  // The register word that the next cycle needs.
  logic [5:0] register_address;
  always_comb begin
    register_address = ZERO;
    if (host_looks) register_address = host_register();
    else
      case (state_reg)
        IDLE: register_address = {1'b0, pick_index};
        LOOK: if (full_reg) register_address = LOST;
        POST:
        case (next_word)
          3'd2: if (borrow_reg || &now[7:0]) register_address = MINUS_256;
          3'd3: register_address = MINUS_1;
          3'd4: if (is_own(OVERFLOW)) register_address = LOST;
          default: ;
        endcase
        default: ;
      endcase
  end

  always_ff @(posedge clk)
    if (state_reg != IDLE || bus_stb || pick || rst) begin
      logic [31:0] sum_now, written;
      logic register_write;
      logic [5:0] write_address;
      register <= register_ram[rst ? ZERO : register_address];
      sum_now = sum();
      written = bus_ack ? bus_wdata : sum_now | data();
      if (state_reg == POST && !bus_ack) records[{producer_reg[RECORDS_LOG2-1:0], word_reg}] <= written;
      if (state_reg == MOVE && !bus_ack) producer_reg <= sum_now;
      if (host_causes)
        written[15:0] = is_enable() ? {!in_stream && bus_wdata[7], bus_wdata[6:0], sticky} : {enabled, sticky & ~bus_wdata[7:0]};
      register_write = host_causes || host_consumes
          || (!bus_ack && (state_reg == CLEAR || state_reg == LOOK || state_reg == MOVE || state_reg == LOSE));
      if (bus_ack) write_address = host_register();
      else
        case (state_reg)
          MOVE: write_address = PRODUCER;
          LOSE: write_address = LOST;
          default: write_address = {1'b0, index_reg};
        endcase
      if (register_write && !rst) register_ram[write_address] <= written;
      if (rst) producer_reg <= 32'd0;
    end

  always_ff @(posedge clk) begin
    bus_ack <= host_looks;
    full_reg <= level[RECORDS_LOG2];

    if (ev_stamp) engine_stamp_reg <= now[7:0];
    if (any_pulse || state_reg == LOOK) begin
      logic [7:0] pulse;
      pulse = {
        midi_overflow_pulse, midi_sent_pulse, midi_received_pulse, trigger_pulse, 1'b0, pattern_pulse, 1'b0, timer_pulse
      };
      for (int i = 0; i < 8; i++)
        if (pulse[i]) begin
          pulse_reg[i] <= 1'b1;
          pulse_stamp_reg[i] <= now[7:0];
        end else if (state_reg == LOOK && is_own(3'(i))) pulse_reg[i] <= 1'b0;
    end

    case (state_reg)
      CLEAR: begin
        index_reg <= index_reg + 5'd1;
        if (&index_reg) state_reg <= IDLE;
      end
      IDLE:
      if (pick) begin
        state_reg  <= LOOK;
        source_reg <= pick_source;
        index_reg  <= pick_index;
        bit_reg    <= pick_bit;
        stamp_reg  <= pick_stamp;
        if (pick_source == REPOST) begin
          scan_bit_reg <= scan_bit_reg + 3'd1;
          if (&scan_bit_reg) begin
            scan_index_reg <= scan_index_reg == 5'(STREAMS - 1) ? BOARD : scan_index_reg + 5'd1;
            if (scan_index_reg == BOARD) scan_reg <= 1'b0;
          end
        end
      end
      LOOK: begin
        word_reg   <= 3'd0;
        borrow_reg <= now[7:0] < stamp_reg || &now[7:0];
        state_reg  <= IDLE;
        if (is_own(OVERFLOW)) begin
          overflow_sticky_reg <= 1'b1;
          overflow_reg <= wanted() && full_reg;
        end
        if (wanted()) begin
          if (!full_reg) begin
            state_reg <= POST;
            // A new record brings the host back by itself, and the scan starts anew when it has emptied the ring.
            if (source_reg != REPOST) scan_reg <= 1'b0;
          end else if (!is_own(OVERFLOW)) begin
            state_reg <= LOSE;
            if (!overflow_reg) overflow_sticky_reg <= 1'b0;
            overflow_reg <= 1'b1;
          end
        end
      end
      POST: begin
        if (&now[7:0]) borrow_reg <= 1'b1;
        word_reg <= next_word;
        if (&word_reg && !bus_ack) state_reg <= MOVE;
      end
      MOVE: if (!bus_ack) state_reg <= IDLE;
      LOSE: state_reg <= IDLE;
      default: ;
    endcase

    consumed_reg <= host_consumes;
    if (host_consumes) consumer_reg <= bus_wdata[RECORDS_LOG2:0];
    // A record on its way will bring the host back by itself.
    if (consumed_reg && !events_waiting && state_reg != POST && state_reg != MOVE) begin
      scan_reg <= 1'b1;
      scan_index_reg <= 5'd0;
      scan_bit_reg <= 3'd0;
    end

    if (rst) begin
      state_reg <= CLEAR;
      index_reg <= 5'd0;
      bus_ack <= 1'b0;
      consumer_reg <= '0;
      consumed_reg <= 1'b0;
      pulse_reg <= 8'd0;
      overflow_reg <= 1'b0;
      overflow_sticky_reg <= 1'b0;
      scan_reg <= 1'b0;
    end
  end

  initial if (STREAMS < 1 || STREAMS > 16) $fatal(1, "event_ring: STREAMS is %0d, must be 1 to 16", STREAMS);

  wire unused = &{1'b0, ev_cause[7:3], ev_stream[7:5], bus_adr[14:13], monitor_address[31:17], monitor_address[1:0], monitor_index[7:1]};

endmodule

`default_nettype wire
