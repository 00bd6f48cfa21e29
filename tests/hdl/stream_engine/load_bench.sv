`default_nettype none

// Bench of stream_engine under load: one slow memory that a busy host shares with the engine, errors on demand, a host that carries
// out commands of the test, a converter, a taker of events. All that happens at the engine's ports is written to log.bin as
// records of four words: {kind, stream, detail}, time, place, data. load_harness.py reads them.
//
// Memory map, by which the bench knows whose access it is: 4 KiB of data for stream n at 0x1000 x n, its ring of 64 at
// 0x10000 + 0x400 x n, the host's own words from 0x14000 on.
module load_bench #(
    parameter STREAMS = 16,
    parameter MAX_CHANNELS = 8,
    parameter bit TEST_EN = 1'b0
) (
    input wire logic clk,
    input wire logic rst,

    // The test's host: a command is carried out when `go` differs from `done`; then `answer` holds.
    input  wire logic        go,
    input  wire logic [ 3:0] command,
    input  wire logic [16:0] place,
    input  wire logic [31:0] argument,
    output logic             done,
    output logic      [31:0] answer,
    // Longest wait of a register access, clocks from strobe to ack.
    output logic      [ 7:0] longest_wait_clocks,
    // Words that the host has read and written.
    output logic      [31:0] host_words,

    // Clocks from strobe to ack: latency + 0 to spread, at random; with stalls now and then up to 31 more; with hold no ack at all.
    input wire logic [ 5:0] latency,
    input wire logic [ 3:0] spread,
    input wire logic        stalls,
    input wire logic        hold,
    // The host uses 0.48 million words a second, whether the test has commands or not.
    input wire logic        busy_host,
    // Streams whose accesses to their data (error_data) or ring (error_ring) are answered by an error, one in error_rate + 1.
    input wire logic [15:0] error_data,
    input wire logic [15:0] error_ring,
    input wire logic [ 7:0] error_rate,
    input wire logic [15:0] frame_period,
    input wire logic [10:0] frame_clocks,
    input wire logic        tick_enable,
    // Clocks before an event is taken.
    input wire logic [ 7:0] event_delay,
    input wire logic [31:0] seed
);

  typedef enum logic [3:0] {
    WRITE,        // register `place` takes `argument`
    READ,
    AWAIT_STATE,  // until STATUS of stream `place` is `argument`, or there is a fault that is not to be left
    SNAPSHOT,     // of stream `place`, into the log
    REVOKE,       // of stream `place`: `argument`, until it is answered
    STORE,        // memory word at `place` takes `argument`
    WAIT,         // `argument` clocks
    PHASE,        // until `argument` clocks behind a tick
    LOAD,         // memory from memory.bin
    DUMP,         // memory to dump.bin, and the log is whole
    NOTE          // only a record
  } command_t;

  // Kinds of records.
  localparam logic [7:0] OUT = "D", TAKE = "A", TICK = "T", GET = "G", PUT = "W", FAILED = "X", EVENT = "E", COMMAND = "C", SNAP = "S", RESET = "R",
      BROKEN = "!";
  // Registers of a stream.
  localparam logic [7:0] STATUS = 8'h18, REVOKE_REGISTER = 8'h30, REVOKE_STATUS = 8'h34, SNAPSHOT_REGISTER = 8'h40, SNAP_LAST = 8'h6C;

  logic bus_stb, bus_we, bus_ack;
  logic [15:2] bus_adr;
  logic [31:0] bus_wdata, bus_rdata;
  logic [63:0] now;
  logic [31:0] frame_ticks;
  logic [15:0] frame_counter;
  logic frame_tick, rst_reg;

  logic mem_stb, mem_we, mem_ack, mem_err;
  logic [16:2] mem_adr;
  logic [3:0] mem_sel;
  logic [31:0] mem_wdata, mem_rdata;
  logic dac_we, adc_take, ev_stamp, ev_valid, ev_ready;
  logic [3:0] dac_stream;
  logic [2:0] dac_channel, adc_channel;
  logic [31:0] dac_sample, adc_sample, ev_data;
  logic [7:0] ev_cause, ev_stream;
  logic [1:0] ev_word;

  stream_engine #(
      .STREAMS(STREAMS),
      .MAX_CHANNELS(MAX_CHANNELS),
      .TEST_EN(TEST_EN)
  ) engine (
      .*
  );

  int log_file, load_file, dump_file;
  initial log_file = $fopen("log.bin", "wb");

  // Two steps of 32-bit xorshift a clock would be the same; the low bits of one are good enough here.
  logic [31:0] random;
  wire [31:0] random_1 = random ^ (random << 13);
  wire [31:0] random_2 = random_1 ^ (random_1 >> 17);
  always_ff @(posedge clk) random <= rst ? seed : random_2 ^ (random_2 << 5);

  // ------------------------------------------------------------ memory: one access at a time, the host first

  logic [31:0] words[32768];
  logic host_stb, host_we, host_ack;
  logic [16:2] host_adr;
  logic [31:0] host_wdata, host_rdata;
  logic busy_reg, of_host_reg;
  logic [6:0] left_reg;

  wire want_host = host_stb && !host_ack;
  wire want_engine = mem_stb && !mem_ack && !mem_err;
  wire start = !busy_reg && !hold && (want_host || want_engine);
  wire [11:0] spread_scaled = {4'd0, random[7:0]} * (12'(spread) + 12'd1);
  wire [6:0] clocks = 7'(latency) + 7'(spread_scaled >> 8) + (stalls && random[11:8] == 4'd0 ? {2'd0, random[16:12]} : 7'd0);
  wire finish = busy_reg ? left_reg == 7'd1 : start && clocks == 7'd1;
  wire for_host = busy_reg ? of_host_reg : want_host;
  wire is_ring = mem_adr[16:14] == 3'b100;
  wire [3:0] stream_of_access = is_ring ? mem_adr[13:10] : mem_adr[15:12];
  wire fails = (random[31:24] & error_rate) == 8'd0 && (is_ring ? error_ring[stream_of_access] : !mem_adr[16] && error_data[stream_of_access]);

  task automatic put(input logic [7:0] kind, input logic [7:0] of_stream, input logic [15:0] detail, input logic [31:0] at, input logic [31:0] data);
    $fwrite(log_file, "%u", {data, at, now[31:0], detail, of_stream, kind});
  endtask

  always_ff @(posedge clk) begin
    mem_ack   <= 1'b0;
    mem_err   <= 1'b0;
    host_ack  <= 1'b0;
    mem_rdata <= random;
    if (busy_reg) left_reg <= left_reg - 7'd1;
    if (start) begin
      busy_reg <= 1'b1;
      of_host_reg <= want_host;
      left_reg <= clocks - 7'd1;
    end
    if (finish) begin
      busy_reg <= 1'b0;
      if (for_host) begin
        host_ack   <= 1'b1;
        host_rdata <= words[host_adr];
        if (host_we) words[host_adr] <= host_wdata;
      end else if (fails) begin
        mem_err <= 1'b1;
        put(FAILED, 8'(stream_of_access), {11'd0, mem_we, mem_sel}, 32'({mem_adr, 2'd0}), mem_wdata);
      end else begin
        mem_ack <= 1'b1;
        for (int i = 0; i < 4; i++) begin
          if (mem_we && mem_sel[i]) words[mem_adr][8*i+:8] <= mem_wdata[8*i+:8];
          if (!mem_we && mem_sel[i]) mem_rdata[8*i+:8] <= words[mem_adr][8*i+:8];
        end
        put(mem_we ? PUT : GET, 8'(stream_of_access), 16'(mem_sel), 32'({mem_adr, 2'd0}), mem_we ? mem_wdata : words[mem_adr]);
      end
    end
    if (rst) begin
      busy_reg <= 1'b0;
      mem_ack  <= 1'b0;
      mem_err  <= 1'b0;
      host_ack <= 1'b0;
    end
  end

  // Rules of the bus: an access stands unchanged until it is answered.
  logic waiting_reg;
  logic [51:0] access_reg;
  wire [51:0] access = {mem_we, mem_adr, mem_sel, mem_we ? mem_wdata : 32'd0};
  always_ff @(posedge clk) begin
    waiting_reg <= mem_stb && !mem_ack && !mem_err && !rst;
    access_reg  <= access;
    if (waiting_reg && !rst && (!mem_stb || access != access_reg)) put(BROKEN, 8'd0, 16'd1, 32'({mem_adr, 2'd0}), 32'd0);
  end

  // ------------------------------------------------------------ converter

  wire tick_next = tick_enable && frame_counter + 16'd1 >= frame_period;
  // Frame n, channel c; the low byte must not matter.
  assign adc_sample = ({frame_ticks[28:0], adc_channel} + 32'd1) * 32'h9E37_79B1;

  always_ff @(posedge clk) begin
    now <= now + 64'd1;
    frame_counter <= tick_next ? 16'd0 : frame_counter + 16'd1;
    frame_tick <= tick_next;
    // As converter_hub does: the new input frame is there one clock behind the tick.
    if (frame_tick) frame_ticks <= frame_ticks + 32'd1;
    rst_reg <= rst;
    if (rst_reg && !rst) put(RESET, 8'd0, 16'd0, 32'd0, 32'd0);
    if (dac_we) put(OUT, 8'(dac_stream), 16'(dac_channel), frame_ticks, dac_sample);
    if (adc_take) put(TAKE, 8'(dac_stream), 16'd0, frame_ticks, 32'd0);
    if (frame_tick) put(TICK, 8'd0, 16'd0, frame_ticks + 32'd1, 32'd0);
    if (rst) begin
      now <= 64'd0;
      frame_ticks <= 32'd0;
      frame_counter <= 16'd0;
      frame_tick <= 1'b0;
    end
  end

  // ------------------------------------------------------------ events

  logic [31:0] stamp_reg;
  logic [31:0] data_reg[3];
  logic [7:0] event_wait_reg;
  logic [3:0] event_step_reg;
  // Word 1 is named while the event waits, then the four words, one each clock; they arrive one clock later.
  assign ev_word  = event_step_reg == 4'd0 ? 2'd1 : event_step_reg[1:0] - 2'd1;
  assign ev_ready = event_step_reg == 4'd5;

  always_ff @(posedge clk) begin
    if (ev_stamp) stamp_reg <= now[31:0];
    event_wait_reg <= ev_valid && event_step_reg == 4'd0 ? event_wait_reg + 8'd1 : 8'd0;
    if (ev_valid && (event_step_reg != 4'd0 || event_wait_reg >= event_delay)) event_step_reg <= event_step_reg + 4'd1;
    for (int i = 0; i < 3; i++) if (event_step_reg == 4'(i + 2)) data_reg[i] <= ev_data;
    if (ev_ready) begin
      event_step_reg <= 4'd0;
      for (int i = 0; i < 3; i++) put(EVENT, ev_stream, {8'(i), ev_cause}, stamp_reg, data_reg[i]);
      put(EVENT, ev_stream, {8'd3, ev_cause}, stamp_reg, ev_data);
    end
    if (rst) begin
      event_step_reg <= 4'd0;
      event_wait_reg <= 8'd0;
    end
  end

  // ------------------------------------------------------------ host

  // Five words in 128 clocks: 12.288 MHz x 5 / 128 = 0.48 million a second. A busy host that was held up catches up.
  logic [7:0] pace_reg;
  logic [3:0] credit_reg;
  wire earned = pace_reg >= 8'd123;
  wire may_start = busy_host ? credit_reg != 4'd0 : 1'b1;

  typedef enum logic [1:0] {H_IDLE, H_BUS, H_MEMORY, H_PAUSE} host_t;
  host_t host_reg;
  logic mine_reg;  // a command of the test, not of the busy host
  logic reading_snapshot_reg;
  logic [7:0] bus_clocks_reg;
  logic [31:0] count_reg, waited_reg;
  wire waits = go != done && (command_t'(command) == WAIT || command_t'(command) == PHASE);
  logic [4:0] burst_reg;  // words left of the busy host's burst
  logic [7:0] last_register_reg;
  command_t command_reg;
  logic [15:0] after_clear_reg;  // clocks since reset, as long as no access was answered

  function automatic logic [15:2] register_of(input logic [3:0] stream, input logic [7:0] offset);
    return {4'h1, stream, 6'(offset >> 2)};
  endfunction

  task automatic use_bus(input logic we, input logic [15:2] at, input logic [31:0] data);
    bus_stb <= 1'b1;
    bus_we <= we;
    bus_adr <= at;
    bus_wdata <= data;
    bus_clocks_reg <= 8'd0;
    credit_reg <= credit_reg + 4'(earned) - 4'(busy_host);
    host_reg <= H_BUS;
  endtask

  task automatic use_memory(input logic we, input logic [16:2] at, input logic [31:0] data);
    host_stb <= 1'b1;
    host_we <= we;
    host_adr <= at;
    host_wdata <= data;
    credit_reg <= credit_reg + 4'(earned) - 4'(busy_host);
    host_reg <= H_MEMORY;
  endtask

  task automatic finished(input logic [31:0] result);
    done <= go;
    answer <= result;
    host_reg <= H_IDLE;
    put(COMMAND, 8'd0, 16'(command), 32'(place), result);
  endtask

  always_ff @(posedge clk) begin
    pace_reg <= earned ? pace_reg - 8'd123 : pace_reg + 8'd5;
    if (earned && busy_host && credit_reg != 4'd15) credit_reg <= credit_reg + 4'd1;
    case (host_reg)
      H_IDLE:
      if (go != done && !waits) begin
        mine_reg <= 1'b1;
        reading_snapshot_reg <= 1'b0;
        command_reg <= command_t'(command);
        count_reg <= 32'd0;
        case (command_t'(command))
          WRITE: if (may_start) use_bus(1'b1, place[15:2], argument);
          READ: if (may_start) use_bus(1'b0, place[15:2], 32'd0);
          AWAIT_STATE: if (may_start) use_bus(1'b0, register_of(place[3:0], STATUS), 32'd0);
          SNAPSHOT: if (may_start) use_bus(1'b1, register_of(place[3:0], SNAPSHOT_REGISTER), 32'd0);
          REVOKE: if (may_start) use_bus(1'b1, register_of(place[3:0], REVOKE_REGISTER), argument);
          STORE: if (may_start) use_memory(1'b1, place[16:2], argument);
          LOAD: begin
            // verilator lint_off BLKSEQ
            load_file = $fopen("memory.bin", "rb");
            void'($fread(words, load_file));
            $fclose(load_file);
            finished(32'd0);
          end
          DUMP: begin
            dump_file = $fopen("dump.bin", "wb");
            // verilator lint_on BLKSEQ
            for (int i = 0; i < 32768; i++) $fwrite(dump_file, "%u", words[i]);
            $fclose(dump_file);
            $fflush(log_file);
            finished(32'd0);
          end
          default: finished(argument);
        endcase
      end else if (busy_host && credit_reg != 4'd0) begin
        // Packets to and from memory, and snapshots between them.
        mine_reg <= 1'b0;
        if (burst_reg == 5'd0) begin
          burst_reg <= random[28:24];
          if (random[29]) begin
            use_bus(1'b1, register_of(4'(32'(random[23:16]) % STREAMS), SNAPSHOT_REGISTER), 32'd0);
            reading_snapshot_reg <= 1'b0;
            command_reg <= SNAPSHOT;
          end
        end else begin
          burst_reg <= burst_reg - 5'd1;
          use_memory(random[30], {3'b101, random[13:2]}, random);
        end
      end

      H_BUS: begin
        if (!(&bus_clocks_reg)) bus_clocks_reg <= bus_clocks_reg + 8'd1;
        if (bus_ack) begin
          bus_stb <= 1'b0;
          host_reg <= H_PAUSE;
          // The engine clears its RAM behind reset and answers nobody; what waits counts from the first answer on.
          if (after_clear_reg == 16'hFFFF && bus_clocks_reg > longest_wait_clocks) longest_wait_clocks <= bus_clocks_reg;
          after_clear_reg <= 16'hFFFF;
          if (command_reg == SNAPSHOT && !bus_we && reading_snapshot_reg)
            put(SNAP, 8'(bus_adr[11:8]), 16'({bus_adr[7:2], 2'd0}), 32'd0, bus_rdata);
          case (command_reg)
            READ, WRITE: if (mine_reg) finished(bus_rdata);
            AWAIT_STATE:
            if ({bus_rdata[4], bus_rdata[1:0]} == argument[2:0] || (bus_rdata[4] && argument[1]) || count_reg == 32'd2000)
              finished(count_reg == 32'd2000 ? 32'hFFFF_FFFF : bus_rdata);
            REVOKE: if (!bus_we && (!bus_rdata[8] || count_reg == 32'd2000)) finished(count_reg == 32'd2000 ? 32'hFFFF_FFFF : bus_rdata);
            SNAPSHOT:
            if (!bus_we && {bus_adr[7:2], 2'd0} == SNAP_LAST) begin
              if (mine_reg) finished(32'd0);
              else host_reg <= H_IDLE;
            end
            default: ;
          endcase
          last_register_reg <= {bus_adr[7:2], 2'd0};
          if (!bus_we && {bus_adr[7:2], 2'd0} == SNAPSHOT_REGISTER && !bus_rdata[8]) reading_snapshot_reg <= 1'b1;
        end
      end

      // The next access of a command.
      H_PAUSE:
      if (may_start) begin
        count_reg <= count_reg + 32'd1;
        case (command_reg)
          AWAIT_STATE: use_bus(1'b0, bus_adr, 32'd0);
          REVOKE: use_bus(1'b0, register_of(bus_adr[11:8], REVOKE_STATUS), 32'd0);
          SNAPSHOT:
          use_bus(1'b0, register_of(bus_adr[11:8], reading_snapshot_reg ? last_register_reg + 8'd4 : SNAPSHOT_REGISTER), 32'd0);
          default: host_reg <= H_IDLE;
        endcase
      end

      H_MEMORY:
      if (host_ack) begin
        host_stb <= 1'b0;
        if (mine_reg) finished(host_rdata);
        else host_reg <= H_IDLE;
      end

      default: host_reg <= H_IDLE;
    endcase

    if (bus_ack || host_ack) host_words <= host_words + 32'd1;

    // To wait does not stop the busy host.
    waited_reg <= waits ? waited_reg + 32'd1 : 32'd0;
    if (waits && (command_t'(command) == WAIT ? waited_reg + 32'd1 >= argument : 32'(frame_counter) == argument)) begin
      done       <= go;
      answer     <= 32'd0;
      waited_reg <= 32'd0;
    end
    if (rst) begin
      bus_stb <= 1'b0;
      host_stb <= 1'b0;
      host_reg <= H_IDLE;
      done <= go;
      burst_reg <= 5'd0;
      pace_reg <= 8'd0;
      credit_reg <= 4'd0;
      after_clear_reg <= 16'd0;
      longest_wait_clocks <= 8'd0;
      host_words <= 32'd0;
    end
  end
endmodule

`default_nettype wire
