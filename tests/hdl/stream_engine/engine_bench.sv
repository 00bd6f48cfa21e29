`default_nettype none

// Test bench of stream_engine: memory with a chosen latency and random stalls, a converter that shows known samples, a taker of
// events, a tick generator. All that the engine does is written to `log.txt`, one line each, for the scoreboard in Python.
module engine_bench #(
    parameter STREAMS = 4,
    parameter MAX_CHANNELS = 2,
    parameter bit TEST_EN = 1'b0
) (
    input wire logic clk,
    input wire logic rst,

    input  wire logic        bus_stb,
    input  wire logic        bus_we,
    input  wire logic [15:2] bus_adr,
    input  wire logic [31:0] bus_wdata,
    output logic      [31:0] bus_rdata,
    output logic             bus_ack,

    // Clocks from strobe to ack, 1 or more; with stall_enable up to 7 more at random; with hold no ack at all.
    input wire logic [ 3:0] latency,
    input wire logic        stall_enable,
    input wire logic        hold,
    // Clocks between ticks; and what the engine is told.
    input wire logic [15:0] frame_period,
    input wire logic [10:0] frame_clocks,
    input wire logic        tick_enable,
    // Clocks before an event is taken.
    input wire logic [ 7:0] event_delay,
    // Rising: read memory.hex, write dump.hex, flush the log.
    input wire logic        load,
    input wire logic        dump,
    input wire logic        flush
);

  logic [63:0] now;
  logic [31:0] ticks, frame_ticks;
  logic [15:0] frame_counter;
  logic frame_tick;
  logic [31:0] random;

  logic mem_stb, mem_we, mem_ack, mem_err;
  assign mem_err = 1'b0;
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
  ) engine (.*);

  int log_file;
  initial log_file = $fopen("log.txt", "w");

  // ------------------------------------------------------------ memory

  logic [31:0] words[32768];
  logic [3:0] wait_reg;
  logic busy_reg, load_reg;
  wire [3:0] delay = latency - 4'd1 + (stall_enable ? {1'b0, random[10:8] & random[13:11]} : 4'd0);

  always_ff @(posedge clk) begin
    load_reg <= load;
    if (load && !load_reg) $readmemh("memory.hex", words);
    random <= {random[30:0], random[31] ^ random[21] ^ random[1] ^ random[0]};
    mem_ack <= 1'b0;
    mem_rdata <= random;
    if (mem_stb && !mem_ack && !hold) begin
      busy_reg <= 1'b1;
      wait_reg <= busy_reg ? wait_reg - 4'd1 : delay - 4'd1;
      if ((busy_reg ? wait_reg : delay) == 4'd0) begin
        busy_reg <= 1'b0;
        mem_ack  <= 1'b1;
        if (mem_we) begin
          $fwrite(log_file, "W %0d %0d %0d %h %h\n", ticks, now, {mem_adr, 2'b00}, mem_sel, mem_wdata);
          for (int i = 0; i < 4; i++) if (mem_sel[i]) words[mem_adr][8*i+:8] <= mem_wdata[8*i+:8];
        end
        if (!mem_we) $fwrite(log_file, "G %0d %0d %0d\n", ticks, now, {mem_adr, 2'b00});
        if (!mem_we) for (int i = 0; i < 4; i++) if (mem_sel[i]) mem_rdata[8*i+:8] <= words[mem_adr][8*i+:8];
      end
    end
    if (rst) begin
      random <= 32'h1234_5678;
      mem_ack <= 1'b0;
      busy_reg <= 1'b0;
    end
  end

  // Rules of the bus: an access stands unchanged until its ack.
  logic waiting_reg;
  logic [51:0] access_reg;
  wire [51:0] access = {mem_we, mem_adr, mem_sel, mem_we ? mem_wdata : 32'd0};
  always_ff @(posedge clk) begin
    waiting_reg <= mem_stb && !mem_ack && !rst;
    access_reg  <= access;
    if (waiting_reg && !rst && (!mem_stb || access != access_reg))
      $fwrite(log_file, "X %0d %0d access changed before its ack\n", ticks, now);
  end

  // ------------------------------------------------------------ converter

  wire tick_next = tick_enable && frame_counter + 16'd1 >= frame_period;
  assign frame_ticks = ticks;
  // Frame n, channel c; the low byte must not matter.
  assign adc_sample = ({ticks[28:0], adc_channel} + 32'd1) * 32'h9E37_79B1;

  always_ff @(posedge clk) begin
    now <= now + 64'd1;
    frame_counter <= tick_next ? 16'd0 : frame_counter + 16'd1;
    frame_tick <= tick_next;
    if (tick_next) ticks <= ticks + 32'd1;
    if (dac_we) $fwrite(log_file, "D %0d %0d %0d %0d %h\n", ticks, now, dac_stream, dac_channel, dac_sample);
    if (adc_take) $fwrite(log_file, "A %0d %0d %0d\n", ticks, now, dac_stream);
    if (frame_tick) $fwrite(log_file, "T %0d %0d\n", ticks, now);
    if (rst) begin
      now <= 64'd0;
      ticks <= 32'd0;
      frame_counter <= 16'd0;
      frame_tick <= 1'b0;
      $fwrite(log_file, "R 0 0\n");
    end
  end

  // ------------------------------------------------------------ events

  logic [63:0] stamp_reg;
  logic [31:0] data_reg[3];
  logic [7:0] event_wait_reg;
  logic [3:0] event_step_reg;
  // Word 1 is named while the event waits, then the four words, one each clock; they arrive one clock later.
  assign ev_word  = event_step_reg == 4'd0 ? 2'd1 : event_step_reg[1:0] - 2'd1;
  assign ev_ready = event_step_reg == 4'd5;

  always_ff @(posedge clk) begin
    if (ev_stamp) stamp_reg <= now;
    event_wait_reg <= ev_valid && event_step_reg == 4'd0 ? event_wait_reg + 8'd1 : 8'd0;
    if (ev_valid && (event_step_reg != 4'd0 || event_wait_reg >= event_delay)) event_step_reg <= event_step_reg + 4'd1;
    for (int i = 0; i < 3; i++) if (event_step_reg == 4'(i + 2)) data_reg[i] <= ev_data;
    if (ev_ready) begin
      event_step_reg <= 4'd0;
      $fwrite(log_file, "E %0d %0d %0d %0d %0d %0d %0d %0d\n", ticks, stamp_reg, ev_stream, ev_cause, data_reg[0], data_reg[1], data_reg[2], ev_data);
    end
    if (rst) begin
      event_step_reg <= 4'd0;
      event_wait_reg <= 8'd0;
    end
  end

  // ------------------------------------------------------------ files

  logic dump_reg, flush_reg;
  always_ff @(posedge clk) begin
    {dump_reg, flush_reg} <= {dump, flush};
    if (dump && !dump_reg) $writememh("dump.hex", words);
    if (flush && !flush_reg) $fflush(log_file);
  end

endmodule

`default_nettype wire
