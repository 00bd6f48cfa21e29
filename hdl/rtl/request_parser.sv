`default_nettype none

// Reads requests (docs/wire.md) from a byte stream, carries them out on the word bus and writes the replies.
//
// One request at a time. Between requests 0x00 is filler. The header is kept in a small memory, because the reply repeats most of
// it; address and length are counters as well. Payload bytes are merged into words, and taken out of words, by byte lanes: the bus
// sees one access for each word touched, in rising order, with the byte selects of the bytes that the request names.
//
// Timing: a byte comes, and goes, every 6.25 clocks at most often. On the way out a byte waits in tx_byte while the next word is
// fetched, so the bus has 12 clocks for an answer; on the way in the source holds one byte, so a bus write may take as long.
//
// Limits: after a bad header everything is ignored until `selected` falls. A request that stops in the middle waits for ever, or
// until `selected` falls.
module request_parser
  import codecrig_pkg::*;
(
    input wire logic clk,
    input wire logic rst,

    // Bytes. `selected` low drops the request and the reply.
    input wire logic selected,
    input wire logic rx_valid,
    input wire logic [7:0] rx_byte,
    output logic rx_ready,
    output logic tx_valid,
    output logic [7:0] tx_byte,
    input wire logic tx_take,

    // High while a reply waits to be taken.
    output logic attention,

    // Word bus, master. Held until ack; ack and rdata in one cycle, at most 8 cycles behind stb.
    output logic stb,
    // An access begins: stb rises behind this clock, in which adr is that of the access already.
    output logic starts,
    output logic we,
    output logic [31:2] adr,
    output logic [31:0] wdata,
    output logic [3:0] sel,
    input wire logic ack,
    input wire logic [31:0] rdata,

    // What WAIT waits for.
    input wire logic [31:0] now,
    input wire logic event_waiting
);

  typedef enum logic [2:0] {
    HEAD,    // collect 12 bytes
    CHECK,   // is the header good, is the length
    RANGE,   // is the range mapped
    SKIP,    // swallow the payload of a refused request
    WRITE,   // merge payload into words
    WAITING, // WAIT
    REPLY,   // 12 bytes and the payload of a READ
    DEAD     // behind a bad header
  } state_t;

  localparam logic [7:0] START = 8'hA5;
  localparam logic [3:0] LAST_HEADER_BYTE = 4'(REQUEST_HEADER_BYTES - 1);

  // Blocks that are mapped, by the address bits above their size: audio memory, then 256 bytes of control registers (monitors
  // included), 4 KiB each of stream registers and peripherals, 2 KiB of event ring.
  localparam logic [15:0] FPGA_HIGH = FPGA_BASE[31:16];

  state_t state_reg;
  logic [3:0] index_reg;
  logic [31:0] address_reg;
  logic [15:0] length_reg;  // behind CHECK: bytes left, less 1
  logic [1:0] lane_reg;
  logic [7:0] operation_reg, check_reg;
  logic [2:0] status_reg;
  logic [31:0] data_reg;
  logic data_valid_reg;  // data_reg holds a word that was read and is not used up
  logic all_loaded_reg;  // REPLY: the last byte is in tx_byte; WRITE: it is in data_reg
  logic bad_start_reg;

  // -------------------------------------------------------------------------------------------- the header's memory

  (* no_rw_check *) logic [7:0] header_mem[16];
  logic [7:0] header_byte_reg;

  // Functions and guards here let a simulator pass over what has nothing to do.
  logic header_byte_in, payload_in;

  // Behind the last byte of a request come fillers: dropped. Ready only with a byte.
  always_comb begin
    {rx_ready, header_byte_in, payload_in} = '0;
    if (rx_valid) begin
      rx_ready = !(state_reg == CHECK || state_reg == RANGE || (state_reg == WRITE && stb && !all_loaded_reg));
      header_byte_in = state_reg == HEAD;
      payload_in = state_reg == WRITE && !stb;
    end
  end

  always_ff @(posedge clk) begin
    if (header_byte_in) header_mem[index_reg] <= rx_byte;
    if (state_reg == REPLY) header_byte_reg <= header_mem[index_reg];
  end

  // -------------------------------------------------------------------------------------------- tests of the header

  function automatic logic is_read();
    is_read = operation_reg == OPERATION_READ;
  endfunction
  function automatic logic is_write();
    is_write = operation_reg == OPERATION_WRITE;
  endfunction
  function automatic logic is_wait();
    is_wait = operation_reg == OPERATION_WAIT;
  endfunction
  wire has_payload = operation_reg[6];

  // Is the range mapped. length_reg is the length less 1 by now. A function, so that a simulator works it out in state RANGE only.
  function automatic logic [2:0] range_status();
    logic in_memory, in_registers, in_control, in_block, in_ring, runs_over;
    /* verilator lint_off UNUSEDSIGNAL */  // most bits only carry
    logic [17:0] last_byte, carry;
    /* verilator lint_on UNUSEDSIGNAL */
    in_memory = address_reg[31:17] == '0;
    in_registers = address_reg[31:16] == FPGA_HIGH;
    in_control = in_registers && address_reg[15:8] == '0;
    in_block = in_registers && (address_reg[15:12] == STREAM_BASE[15:12] || address_reg[15:12] == MIDI_BASE[15:12]);
    in_ring = in_registers && address_reg[15:11] == EVENT_RING_BASE[15:11];
    last_byte = {1'b0, address_reg[16:0]} + {6'd0, length_reg[11:0]};
    carry = last_byte ^ {1'b0, address_reg[16:0]} ^ {6'd0, length_reg[11:0]};  // into each bit
    runs_over = carry[17] || (in_block && carry[12]) || (in_ring && (carry[11] || length_reg[11]))
        || (in_control && (carry[8] || length_reg[11:8] != '0));
    range_status = STATUS_OK[2:0];
    if (!(in_memory || in_control || in_block || in_ring)) range_status = STATUS_UNMAPPED[2:0];
    else if (!in_memory && address_reg[1:0] != 2'd0) range_status = STATUS_MISALIGNED[2:0];
    else if (!in_memory && length_reg[1:0] != 2'd3) range_status = STATUS_BAD_LENGTH[2:0];
    else if (runs_over) range_status = STATUS_UNMAPPED[2:0];
  endfunction

  function automatic logic bad_length();
    bad_length = is_wait() ? length_reg != '0 : length_reg == '0 || length_reg > 16'd4096;
  endfunction

  // -------------------------------------------------------------------------------------------- bytes of the reply

  wire reply_is_data = index_reg > LAST_HEADER_BYTE;
  logic load_header, load_data;
  always_comb begin
    {load_header, load_data} = '0;
    if (state_reg == REPLY) begin
      // The header's memory answers one clock late, so a header byte waits until tx_byte is empty.
      load_header = !reply_is_data && !tx_valid;
      load_data = reply_is_data && !all_loaded_reg && (!tx_valid || tx_take) && data_valid_reg;
    end
  end
  function automatic logic payload_follows();
    payload_follows = is_read() && status_reg == STATUS_OK[2:0];
  endfunction

  function automatic logic [7:0] reply_header_byte();
    case (index_reg)
      4'd0: reply_header_byte = START;
      4'd1: reply_header_byte = header_byte_reg | 8'h80;
      4'd8, 4'd9: reply_header_byte = payload_follows() ? header_byte_reg : 8'h00;
      4'd10: reply_header_byte = {5'd0, status_reg};
      4'd11: reply_header_byte = ~check_reg;
      default: reply_header_byte = header_byte_reg;
    endcase
  endfunction

  // -------------------------------------------------------------------------------------------- address and data

  wire bus_done = stb && ack;

  always_ff @(posedge clk)
    if (bus_done) address_reg[16:2] <= address_reg[16:2] + 15'd1;
    else if (header_byte_in) if (index_reg[3:2] == 2'd1) address_reg <= {rx_byte, address_reg[31:8]};

  always_ff @(posedge clk)
    if (header_byte_in) begin
      if (index_reg[3:1] == 3'd4) length_reg <= {rx_byte, length_reg[15:8]};
    end else if (payload_in || load_data || state_reg == CHECK || (state_reg == SKIP && rx_ready)) length_reg <= length_reg - 16'd1;

  always_ff @(posedge clk)
    if (bus_done && !we) data_reg <= rdata;
    else if (payload_in)
      for (int lane = 0; lane < 4; lane++) if (lane_reg == 2'(lane)) data_reg[8*lane+:8] <= rx_byte;

  // -------------------------------------------------------------------------------------------- state machine

  assign adr = address_reg[31:2];
  assign wdata = data_reg;

  wire last_of_payload = length_reg == '0;
  wire word_done = lane_reg == 2'd3 || last_of_payload;
  // Is the deadline reached: bit 31 of the clocks to it, less 1.
  function automatic logic due();
    /* verilator lint_off UNUSEDSIGNAL */
    logic [31:0] left;
    /* verilator lint_on UNUSEDSIGNAL */
    left = address_reg + ~now;
    due = left[31];
  endfunction

  always_comb begin
    starts = 1'b0;
    if (selected && !rst)
      case (state_reg)
        WRITE: starts = payload_in && word_done;
        REPLY: starts = (load_header && index_reg == '0 && payload_follows()) || (load_data && word_done && !last_of_payload);
        default: ;
      endcase
  end

  // An access under way ends by itself, also when `selected` falls, so that no slave sees a broken one.
  always_ff @(posedge clk)
    if (rst) stb <= 1'b0;
    else if (starts) stb <= 1'b1;
    else if (bus_done) stb <= 1'b0;

  always_ff @(posedge clk) begin
    attention <= state_reg == REPLY && selected && !rst;

    // A byte that leaves, a bus access that ends: in any state.
    if (tx_take) tx_valid <= 1'b0;
    if (bus_done) data_valid_reg <= !we;

    case (state_reg)
      HEAD:
      if (header_byte_in && !(index_reg == '0 && rx_byte == 8'h00)) begin
        index_reg <= index_reg + 4'd1;
        check_reg <= check_reg ^ rx_byte;
        case (index_reg)
          4'd0: begin
            bad_start_reg <= rx_byte != START;
            check_reg <= rx_byte;
          end
          4'd1: operation_reg <= rx_byte;
          LAST_HEADER_BYTE: state_reg <= CHECK;
          default: ;
        endcase
      end

      CHECK: begin
        index_reg <= '0;
        check_reg <= '0;
        lane_reg <= address_reg[1:0];
        all_loaded_reg <= 1'b0;
        data_valid_reg <= 1'b0;
        we <= is_write();
        sel <= is_write() ? 4'h0 : 4'hF;
        status_reg <= STATUS_OK[2:0];
        if (bad_start_reg || check_reg != 8'hFF) begin
          status_reg <= STATUS_BAD_HEADER[2:0];
          state_reg <= REPLY;
        end else if (!(is_read() || is_write() || is_wait())) begin
          status_reg <= STATUS_UNKNOWN_OPERATION[2:0];
          state_reg <= has_payload && length_reg != '0 ? SKIP : REPLY;
        end else if (bad_length()) begin
          status_reg <= STATUS_BAD_LENGTH[2:0];
          state_reg <= has_payload && length_reg != '0 ? SKIP : REPLY;
        end else state_reg <= is_wait() ? WAITING : RANGE;
      end

      RANGE: begin
        status_reg <= range_status();
        if (is_write()) state_reg <= range_status() == STATUS_OK[2:0] ? WRITE : SKIP;
        else state_reg <= REPLY;
      end

      SKIP:
      if (rx_ready) begin
        if (last_of_payload) state_reg <= REPLY;
      end

      WRITE:
      if (stb) begin
        if (ack) begin
          sel <= 4'h0;
          if (all_loaded_reg) begin
            all_loaded_reg <= 1'b0;
            state_reg <= REPLY;
          end
        end
      end else if (rx_ready) begin
        sel[lane_reg] <= 1'b1;
        lane_reg <= lane_reg + 2'd1;
        all_loaded_reg <= last_of_payload;
      end

      WAITING: if (event_waiting || due()) state_reg <= REPLY;

      REPLY: begin
        if (load_header) begin
          tx_valid <= 1'b1;
          tx_byte <= reply_header_byte();
          check_reg <= check_reg ^ reply_header_byte();
          index_reg <= index_reg + 4'd1;
          all_loaded_reg <= index_reg == LAST_HEADER_BYTE && !payload_follows();
        end else if (load_data) begin
          tx_valid <= 1'b1;
          tx_byte <= data_reg[8*lane_reg+:8];
          lane_reg <= lane_reg + 2'd1;
          all_loaded_reg <= last_of_payload;
          if (word_done) data_valid_reg <= 1'b0;
        end
        if (all_loaded_reg && tx_take) begin
          index_reg <= '0;
          state_reg <= status_reg == STATUS_BAD_HEADER[2:0] ? DEAD : HEAD;
        end
      end

      default: ;  // DEAD
    endcase

    if (rst || !selected) begin
      state_reg <= HEAD;
      index_reg <= '0;
      tx_valid  <= 1'b0;
    end
  end

endmodule

`default_nettype wire
