`default_nettype none

// What is looked at inside the parser; bound into it, where the names of its states are known.
module request_parser_taps (
    input wire logic in_head,
    input wire logic in_check,
    input wire logic in_range,
    input wire logic in_skip,
    input wire logic in_write,
    input wire logic in_wait,
    input wire logic in_reply,
    input wire logic is_dead,
    input wire logic payload_follows
);
endmodule

bind request_parser request_parser_taps taps (
    .in_head(state_reg == HEAD),
    .in_check(state_reg == CHECK),
    .in_range(state_reg == RANGE),
    .in_skip(state_reg == SKIP),
    .in_write(state_reg == WRITE),
    .in_wait(state_reg == WAITING),
    .in_reply(state_reg == REPLY),
    .is_dead(state_reg == DEAD),
    .payload_follows(payload_follows())
);

// A claim: assumed in the first clock of a run that begins in any state, asserted from then on.
`define CLAIM(claim) \
  begin \
    if (ANY_START == 1 && !started_reg) assume (claim); \
    else assert (claim); \
  end

// request_parser: bytes come and go at any speed, chip select falls at any time, the bus answers within 8 clocks, and chip select
// stays high for 16 (docs/wire.md). A model of that page, which sees only the bytes, tells what a reply must be.
module request_parser_proof
  import codecrig_pkg::*;
#(
    // 1: begin in any state in which the claims hold instead of behind reset.
    parameter ANY_START = 0
) (
    input wire logic        clk,
    input wire logic        rst,
    input wire logic        selected,
    input wire logic        rx_valid,
    input wire logic [ 7:0] rx_byte,
    input wire logic        tx_take,
    input wire logic        ack,
    input wire logic [31:0] rdata,
    input wire logic [31:0] now,
    input wire logic        event_waiting
);

  logic rx_ready, tx_valid, attention, stb, starts, we;
  logic [7:0] tx_byte;
  logic [31:2] adr;
  logic [31:0] wdata;
  logic [ 3:0] sel;

  request_parser dut (.*);

  logic started_reg = 1'b0, rst_reg, waits_reg, offered_reg, starts_reg;
  logic [7:0] byte_reg;
  // Clocks since the strobe rose; clocks since `selected` fell, 16 stands for more.
  logic [4:0] strobe_clocks_reg, low_clocks_reg;
  logic selected_reg;
  logic [67:0] access_reg;
  logic [31:2] adr_reg;
  wire [67:0] access = {stb, we, adr, sel, we ? wdata : 32'd0};

  // The model. HEADER: bytes of a header are awaited; PAYLOAD; ANSWER: the request is complete and its reply is not; SILENT.
  localparam logic [1:0] HEADER = 0, PAYLOAD = 1, ANSWER = 2, SILENT = 3;
  logic [1:0] phase_reg;
  logic [3:0] count_reg;  // bytes of the header
  logic [11:0][7:0] header_reg;
  logic [7:0] check_reg;  // what they XOR to
  logic [15:0] left_reg;  // bytes of payload that are missing
  logic [12:0] sent_reg;  // bytes of the reply that were taken, up to 12 + 4096
  logic [15:0] reply_length_reg;
  logic [7:0] reply_check_reg;
  logic [4:0] idle_clocks_reg;  // clocks in which the parser alone could have gone on and did not

  wire takes = rx_valid && rx_ready;
  wire sends = tx_valid && tx_take;
  wire [11:0][7:0] header = {rx_byte, header_reg[10:0]};  // with its last byte
  wire [7:0] check = check_reg ^ rx_byte;
  wire is_good = header_reg[0] == 8'hA5 && check_reg == 8'hFF;  // behind the last byte
  wire [7:0] operation = header_reg[1];
  wire [15:0] length = {header_reg[9], header_reg[8]};
  wire [31:0] address = {header_reg[7], header_reg[6], header_reg[5], header_reg[4]};
  wire [15:0] good_length = dut.taps.payload_follows ? length : 16'd0;
  wire [12:0] loaded = sent_reg + 13'(tx_valid);  // bytes of the reply that the parser has given away or offers
  wire answered = sends && sent_reg >= 13'd11 && 16'(sent_reg) == 16'd11 + reply_length_reg;

  always_ff @(posedge clk) begin
    if (rst || !selected) begin
      phase_reg <= HEADER;
      count_reg <= 4'd0;
      sent_reg <= 13'd0;
      idle_clocks_reg <= 5'd0;
    end else begin
      if (phase_reg == HEADER && takes && !(count_reg == 4'd0 && rx_byte == 8'h00)) begin
        header_reg[count_reg] <= rx_byte;
        check_reg <= count_reg == 4'd0 ? rx_byte : check;
        count_reg <= count_reg + 4'd1;
        if (count_reg == 4'd11) begin
          left_reg <= length;
          phase_reg <= header_reg[0] == 8'hA5 && check == 8'hFF && operation[6] && length != 16'd0 ? PAYLOAD : ANSWER;
          sent_reg <= 13'd0;
          reply_check_reg <= 8'd0;
          reply_length_reg <= 16'd0;
        end
      end
      if (phase_reg == PAYLOAD && takes) begin
        left_reg <= left_reg - 16'd1;
        if (left_reg == 16'd1) phase_reg <= ANSWER;
      end
      if (sends) begin
        sent_reg <= sent_reg + 13'd1;
        if (sent_reg < 13'd12) reply_check_reg <= reply_check_reg ^ tx_byte;
        if (sent_reg == 13'd8) reply_length_reg[7:0] <= tx_byte;
        if (sent_reg == 13'd9) reply_length_reg[15:8] <= tx_byte;
        if (answered) begin
          phase_reg <= is_good ? HEADER : SILENT;
          count_reg <= 4'd0;
        end
      end
      idle_clocks_reg <= phase_reg != ANSWER || sends || tx_valid || stb || dut.taps.in_wait ? 5'd0 : idle_clocks_reg + 5'd1;
    end
  end

  always_ff @(posedge clk) begin
    started_reg <= 1'b1;
    rst_reg <= rst;
    waits_reg <= stb && !ack && !rst;
    access_reg <= access;
    starts_reg <= starts;
    adr_reg <= adr;
    offered_reg <= tx_valid && !tx_take && selected && !rst;
    byte_reg <= tx_byte;
    selected_reg <= selected;
    strobe_clocks_reg <= stb && !ack && !rst ? strobe_clocks_reg + 5'd1 : 5'd0;
    low_clocks_reg <= selected ? 5'd0 : low_clocks_reg >= 5'd16 ? 5'd16 : low_clocks_reg + 5'd1;

    assume (rst == (!started_reg && ANY_START == 0));
    assume (!tx_take || tx_valid);
    if (started_reg || ANY_START == 1) begin
      assume (!ack || (stb && waits_reg));
      if (strobe_clocks_reg == 5'd8) assume (ack);
      if (selected && !selected_reg) assume (low_clocks_reg == 5'd16);
    end

    if (started_reg || ANY_START == 1) begin
      // Bus: an access stands as it is until its ack, also when chip select falls in the middle.
      if (waits_reg) `CLAIM(access == access_reg)
      if (stb) `CLAIM(sel != 4'd0)
      // It is told one clock ahead, with its address.
      `CLAIM((stb && !waits_reg) == starts_reg)
      if (starts_reg) `CLAIM(adr == adr_reg)
      // A byte offered stays until it is taken.
      if (offered_reg && selected) `CLAIM(tx_valid && tx_byte == byte_reg)
      // Where an access may be under way.
      `CLAIM(selected_reg == (low_clocks_reg == 5'd0))
      if (low_clocks_reg != 5'd0) `CLAIM(dut.taps.in_head && count_reg == 4'd0)
      `CLAIM(strobe_clocks_reg <= 5'd8 && (strobe_clocks_reg != 5'd0) == waits_reg)
      if (!dut.taps.in_head && !dut.taps.in_check && !dut.taps.is_dead) `CLAIM(we == (operation == OPERATION_WRITE) && (we || sel == 4'hF))
      if (stb) `CLAIM(low_clocks_reg <= strobe_clocks_reg + 5'd1)
      if (stb && low_clocks_reg == 5'd0)
        `CLAIM(we ? dut.taps.in_write : dut.taps.in_reply && !dut.data_valid_reg && dut.taps.payload_follows && !dut.all_loaded_reg)
      if (rst_reg) `CLAIM(!stb && dut.taps.in_head && low_clocks_reg <= 5'd16)

      // One reply to each request: nothing is sent but in answer to a complete one,
      begin
        if (phase_reg != ANSWER) `CLAIM(!tx_valid)
        // and that repeats its header, gives a status, and has the length that its own header says; behind it a new request begins.
        if (tx_valid)
          case (sent_reg)
            13'd0: `CLAIM(tx_byte == 8'hA5)
            13'd1: `CLAIM(tx_byte == (operation | 8'h80))
            13'd2, 13'd3, 13'd4, 13'd5, 13'd6, 13'd7: `CLAIM(tx_byte == header_reg[sent_reg[3:0]])
            13'd8, 13'd9: `CLAIM(tx_byte == 8'h00 || (is_good && operation == OPERATION_READ && tx_byte == header_reg[sent_reg[3:0]]))
            13'd10:
            `CLAIM(tx_byte <= 8'(STATUS_MISALIGNED) && (tx_byte == 8'(STATUS_BAD_HEADER)) == !is_good
                && (reply_length_reg == (tx_byte == 8'd0 && operation == OPERATION_READ ? length : 16'd0)))
            13'd11: `CLAIM((reply_check_reg ^ tx_byte) == 8'hFF)
            default: `CLAIM(sent_reg < 13'd12 + reply_length_reg[12:0])
          endcase
        // and it comes: whenever only the parser can go on, it does within 3 clocks.
        `CLAIM(idle_clocks_reg <= 5'd3)
      end

      // Where the parser stands when the model stands there, and what it knows.
      `CLAIM((phase_reg == HEADER) == dut.taps.in_head)
      `CLAIM((phase_reg == SILENT) == dut.taps.is_dead)
      if (dut.taps.in_skip) `CLAIM(phase_reg == PAYLOAD)
      if (dut.taps.in_write) `CLAIM(phase_reg == (dut.all_loaded_reg ? ANSWER : PAYLOAD) && (stb || !dut.all_loaded_reg))
      if (dut.taps.in_wait || dut.taps.in_reply) `CLAIM(phase_reg == ANSWER)
      if (dut.taps.in_range) `CLAIM(phase_reg == (operation[6] ? PAYLOAD : ANSWER))
      if (phase_reg == HEADER) `CLAIM(dut.index_reg == count_reg && count_reg < 4'd12)
      else `CLAIM(count_reg == (phase_reg == SILENT ? 4'd0 : 4'd12))
      for (int i = 0; i < 12; i++) if (4'(i) < count_reg) `CLAIM(dut.header_mem[i] == header_reg[i])
      if (phase_reg == HEADER || dut.taps.in_check) begin
        if (count_reg != 4'd0) `CLAIM(dut.check_reg == check_reg && dut.bad_start_reg == (header_reg[0] != 8'hA5))
        if (count_reg == 4'd9) `CLAIM(dut.length_reg[15:8] == header_reg[8])
        if (count_reg > 4'd9) `CLAIM(dut.length_reg == length)
      end
      if (count_reg > 4'd1) `CLAIM(dut.operation_reg == operation)
      if (dut.taps.in_check)
        `CLAIM(sent_reg == 13'd0 && phase_reg == (is_good && operation[6] && length != 16'd0 ? PAYLOAD : ANSWER) && left_reg == length)
      else if (phase_reg == PAYLOAD) `CLAIM(left_reg == dut.length_reg + 16'd1 && left_reg != 16'd0 && is_good)
      if (dut.taps.in_range || dut.taps.in_write || dut.taps.in_wait) `CLAIM(is_good && sent_reg == 13'd0 && length <= 16'd4096)
      if (dut.taps.in_range) `CLAIM(length != 16'd0 && dut.length_reg == length - 16'd1 && operation == (operation[6] ? OPERATION_WRITE : OPERATION_READ))
      if (dut.taps.in_write) `CLAIM(operation == OPERATION_WRITE && dut.status_reg == 3'd0)
      if (dut.taps.in_range || dut.taps.in_skip || dut.taps.in_wait) `CLAIM(!dut.all_loaded_reg && !stb)
      if (dut.taps.in_check || dut.taps.is_dead) `CLAIM(!stb)
      if (dut.taps.in_range || dut.taps.in_skip || dut.taps.in_write || dut.taps.in_wait) `CLAIM(dut.index_reg == 4'd0 && dut.check_reg == 8'd0)
      if (dut.taps.in_range) `CLAIM(!dut.data_valid_reg)
      if (dut.taps.in_wait) `CLAIM(operation == OPERATION_WAIT && dut.status_reg == 3'd0)
      if (dut.taps.in_skip) `CLAIM(is_good && sent_reg == 13'd0 && dut.status_reg > STATUS_BAD_HEADER[2:0] && dut.status_reg <= STATUS_MISALIGNED[2:0])
      if (phase_reg == PAYLOAD) `CLAIM(dut.taps.in_check || dut.taps.in_range || dut.taps.in_skip || dut.taps.in_write)
      if (!dut.taps.in_reply) `CLAIM(!tx_valid)
      if (phase_reg == ANSWER && !dut.taps.in_reply) `CLAIM(sent_reg == 13'd0)
      if (phase_reg != HEADER && sent_reg == 13'd0) `CLAIM(reply_check_reg == 8'd0 && reply_length_reg == 16'd0)
      if (dut.taps.in_reply) begin
        `CLAIM(dut.status_reg <= 3'(STATUS_MISALIGNED) && (dut.status_reg == STATUS_BAD_HEADER[2:0]) == !is_good)
        `CLAIM(loaded <= 13'd12 + good_length[12:0] && good_length <= 16'd4096)
        `CLAIM(dut.index_reg == (loaded < 13'd12 ? loaded[3:0] : 4'd12))
        `CLAIM(dut.all_loaded_reg == (loaded == 13'd12 + good_length[12:0]))
        `CLAIM(tx_valid || !dut.all_loaded_reg)
        `CLAIM(!dut.taps.payload_follows || good_length != 16'd0)
        if (dut.taps.payload_follows && !dut.all_loaded_reg) begin
          `CLAIM(dut.length_reg == (loaded < 13'd12 ? length - 16'd1 : length + 16'd11 - 16'(loaded)))
          `CLAIM(loaded == 13'd0 ? !stb && !dut.data_valid_reg : stb != dut.data_valid_reg)
        end else `CLAIM(!stb)
        `CLAIM(reply_length_reg == (sent_reg < 13'd9 ? 16'd0 : sent_reg == 13'd9 ? {8'd0, good_length[7:0]} : good_length))
        if (loaded < 13'd12) `CLAIM(dut.check_reg == (reply_check_reg ^ (tx_valid ? tx_byte : 8'd0)))
        if (!tx_valid && loaded != 13'd0 && loaded < 13'd12) `CLAIM(dut.header_byte_reg == header_reg[loaded[3:0]])
        if (tx_valid && sent_reg == 13'd10) `CLAIM(tx_byte == 8'(dut.status_reg))
        if (tx_valid && sent_reg == 13'd9) `CLAIM(tx_byte == good_length[15:8])
        if (tx_valid && sent_reg == 13'd8) `CLAIM(tx_byte == good_length[7:0])
        if (!tx_valid) `CLAIM(idle_clocks_reg <= 5'd2)
      end
      `CLAIM(idle_clocks_reg <= (dut.taps.in_reply ? 5'd3 : dut.taps.in_range || dut.taps.in_wait ? 5'd1 : 5'd0))
    end

    cover (started_reg && waits_reg && stb && we && !selected);
    cover (started_reg && sends && offered_reg);
    cover (started_reg && answered && reply_length_reg == 16'd8 && operation == OPERATION_READ);
    cover (started_reg && answered && operation == OPERATION_WRITE && length == 16'd5);
    cover (started_reg && answered && !is_good);
  end

  wire unused = &{1'b0, attention, header, address};

endmodule

`undef CLAIM
`default_nettype wire
