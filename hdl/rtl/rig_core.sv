`default_nettype none

// The whole rig between the pins of the microcontroller's SPI port and those of the converter.
//
//   spi_bridge -> request_parser -> word bus -> memory_arbiter -> audio_memory
//                                            -> core_registers, time_base, event_ring, bus_monitor, stream_engine
//                                            -> midi_uart, spdif_transmitter, i2c_master, trigger
//   stream_engine <-> address_fence <-> memory_arbiter;  stream_engine <-> converter_hub <-> i2s_master <-> converter pins
//                                                        converter_hub -> spdif_transmitter
//
// clk is the converter's master clock, 12.288 MHz = 256 x 48 kHz; only SPI and the inputs of the peripherals come from elsewhere.
module rig_core
  import codecrig_pkg::*;
#(
    // Number of streams, 1 to 16
    parameter int STREAMS = 4,
    // Channels of the converter: 2, 4 or 8; TDM needs more than 2
    parameter int CHANNELS = 2,
    // Most channels of a stream, 1 to 8
    parameter int MAX_CHANNELS = CHANNELS,
    // The host may preload counts, to test how they wrap
    parameter bit TEST_EN = 1'b1,
    // Bitstream id, read in FPGA_BUILD
    parameter logic [31:0] BUILD = 32'h0
) (
    input wire logic clk,
    input wire logic rst,

    // Microcontroller
    input wire logic spi_sck,
    input wire logic spi_cs_n,
    input wire logic spi_mosi,
    output logic spi_miso,
    output logic attention,

    // Converter; its master clock is clk
    output logic i2s_bclk,
    output logic i2s_lrck,
    output logic i2s_dac_data,
    input wire logic i2s_adc_data,

    // Digital copy of what the DAC gets; rights software wants copies on other headers switched off
    output logic spdif_out,
    output logic header_off,

    // MIDI, idle high
    output logic midi_tx,
    input wire logic midi_rx,

    // I2C for the converter, open drain: 1 pulls the line low
    output logic i2c_scl_low,
    output logic i2c_sda_low,
    input wire logic i2c_scl,
    input wire logic i2c_sda,

    // Bench
    output logic trigger_out,
    input wire logic trigger_in
);

  // -------------------------------------------------------------------------------------------- link

  logic selected, rx_valid, rx_ready, tx_valid, tx_take;
  logic [7:0] rx_byte, tx_byte;
  logic bus_stb, bus_starts, bus_we, bus_ack;
  /* verilator lint_off UNUSEDSIGNAL */  // the parser lets only mapped addresses through
  logic [31:2] bus_adr;
  /* verilator lint_on UNUSEDSIGNAL */
  logic [31:0] bus_wdata, bus_rdata;
  logic [3:0] bus_sel;

  logic [63:0] now;
  logic events_waiting;

  spi_bridge link (
      .clk, .rst,
      .spi_sck, .spi_cs_n, .spi_mosi, .spi_miso,
      .selected, .rx_valid, .rx_byte, .rx_ready, .tx_valid, .tx_byte, .tx_take
  );

  request_parser parser (
      .clk, .rst,
      .selected, .rx_valid, .rx_byte, .rx_ready, .tx_valid, .tx_byte, .tx_take,
      .attention,
      .stb(bus_stb), .starts(bus_starts), .we(bus_we), .adr(bus_adr), .wdata(bus_wdata), .sel(bus_sel), .ack(bus_ack), .rdata(bus_rdata),
      .now(now[31:0]), .event_waiting(events_waiting)
  );

  // -------------------------------------------------------------------------------------------- decode

  typedef enum logic [3:0] {
    MEMORY,
    CORE,
    TIME,
    EVENTS,
    MONITORS,
    ENGINE,
    MIDI,
    SPDIF,
    I2C,
    TRIGGER,
    FENCE
  } slave_t;

  function automatic slave_t slave();
    logic [7:2] offset;
    offset = bus_adr[7:2];
    if (!bus_adr[30]) slave = MEMORY;
    else if (bus_adr[15]) slave = EVENTS;
    else if (bus_adr[13])
      case (bus_adr[11:8])
        SPDIF_BASE[11:8]: slave = SPDIF;
        I2C_BASE[11:8]: slave = I2C;
        TRIGGER_BASE[11:8]: slave = TRIGGER;
        default: slave = MIDI;  // registers and rings
      endcase
    else if (bus_adr[12])
      slave = offset == STREAM_EVENT_CAUSE[7:2] || offset == STREAM_EVENT_ENABLE[7:2] ? EVENTS : ENGINE;
    else if (offset >= MONITOR_BASE[7:2]) slave = MONITORS;
    else if (offset == FPGA_FENCE_FIRST[7:2] || offset == FPGA_FENCE_LAST[7:2]) slave = FENCE;
    else if (offset >= FPGA_EVENT_PRODUCER[7:2] && offset <= FPGA_EVENT_ENABLE[7:2]) slave = EVENTS;
    else if (offset >= FPGA_TIME_HI[7:2] && offset <= FPGA_ALARM_CONTROL[7:2]) slave = TIME;
    else slave = CORE;
  endfunction

  // Strobes of the slaves, from flip-flops: decoded in the clock before the access, for that takes long.
  logic stb_memory, stb_core, stb_time, stb_events, stb_monitors, stb_engine, stb_midi, stb_spdif, stb_i2c, stb_trigger,
      stb_fence;

  always_ff @(posedge clk) begin
    if (rst || bus_ack) begin
      {stb_memory, stb_core, stb_time, stb_events, stb_monitors, stb_engine} <= '0;
      {stb_midi, stb_spdif, stb_i2c, stb_trigger, stb_fence} <= '0;
    end else if (bus_starts)
      case (slave())
        MEMORY: stb_memory <= 1'b1;
        TIME: stb_time <= 1'b1;
        EVENTS: stb_events <= 1'b1;
        MONITORS: stb_monitors <= 1'b1;
        ENGINE: stb_engine <= 1'b1;
        MIDI: stb_midi <= 1'b1;
        SPDIF: stb_spdif <= 1'b1;
        I2C: stb_i2c <= 1'b1;
        TRIGGER: stb_trigger <= 1'b1;
        FENCE: stb_fence <= 1'b1;
        default: stb_core <= 1'b1;
      endcase
  end

  logic ack_memory, ack_core, ack_time, ack_events, ack_monitors, ack_engine, ack_midi, ack_spdif, ack_i2c, ack_trigger,
      ack_fence;
  logic [31:0] rdata_memory, rdata_core, rdata_time, rdata_events, rdata_monitors, rdata_engine;
  logic [31:0] rdata_midi, rdata_spdif, rdata_i2c, rdata_trigger, rdata_fence;

  // Nobody acknowledges without a strobe, and nobody else has one. Here as below, guards spare a simulator work.
  always_comb begin
    bus_ack = 1'b0;
    if (bus_stb)
      bus_ack = ack_memory || ack_core || ack_time || ack_events || ack_monitors || ack_engine
          || ack_midi || ack_spdif || ack_i2c || ack_trigger || ack_fence;
  end

  // Slaves that read 0 without a strobe are or-ed as they are: that is smaller than a multiplexer.
  function automatic logic [31:0] read_data();
    read_data = rdata_core | rdata_time | rdata_midi | rdata_spdif | rdata_i2c | rdata_trigger
        | (rdata_memory & {32{stb_memory}}) | (rdata_events & {32{stb_events}}) | (rdata_monitors & {32{stb_monitors}})
        | (rdata_engine & {32{stb_engine}}) | (rdata_fence & {32{stb_fence}});
  endfunction

  assign bus_rdata = bus_stb ? read_data() : 'x;

  // -------------------------------------------------------------------------------------------- audio memory

  logic memory_stb, memory_we;
  logic [16:2] memory_adr;
  logic [3:0] memory_sel;
  logic [31:0] memory_wdata, memory_rdata;

  logic engine_stb, engine_we, engine_ack, engine_err;
  logic fenced_stb;
  logic [16:2] engine_adr;
  logic [3:0] engine_sel;
  logic [31:0] engine_wdata, engine_rdata;

  address_fence fence (
      .clk, .rst,
      .bus_stb(stb_fence), .bus_we, .bus_adr(bus_adr[15:2]), .bus_wdata, .bus_rdata(rdata_fence), .bus_ack(ack_fence),
      .engine_stb, .engine_adr(engine_adr[16:8]), .engine_err, .memory_stb(fenced_stb), .memory_ack(engine_ack)
  );

  memory_arbiter arbiter (
      .clk, .rst,
      .host_stb(stb_memory), .host_we(bus_we), .host_adr(bus_adr[16:2]), .host_sel(bus_sel), .host_wdata(bus_wdata),
      .host_rdata(rdata_memory), .host_ack(ack_memory),
      .engine_stb(fenced_stb), .engine_we, .engine_adr, .engine_sel, .engine_wdata, .engine_rdata, .engine_ack,
      .memory_stb, .memory_we, .memory_adr, .memory_sel, .memory_wdata, .memory_rdata
  );

  audio_memory memory (
      .clk,
      .stb(memory_stb), .we(memory_we), .adr(memory_adr), .sel(memory_sel), .wdata(memory_wdata), .rdata(memory_rdata)
  );

  // -------------------------------------------------------------------------------------------- time and events

  logic timer_pulse, trigger_pulse, pattern_pulse, midi_received_pulse, midi_sent_pulse, midi_overflow_pulse;
  logic [31:0] pattern_first_bad;
  logic monitor_valid, monitor_ready;
  logic [7:0] monitor_stamp, monitor_index;
  logic [31:0] monitor_address;
  logic ev_stamp, ev_valid, ev_ready;
  logic [7:0] ev_cause, ev_stream;
  logic [1:0] ev_word;
  logic [31:0] ev_data;

  time_base clock (
      .clk, .rst,
      .bus_stb(stb_time), .bus_we, .bus_adr(bus_adr[15:2]), .bus_wdata, .bus_rdata(rdata_time), .bus_ack(ack_time),
      .now, .timer_pulse
  );

  event_ring #(.STREAMS(STREAMS)) events (
      .clk, .rst,
      .bus_stb(stb_events), .bus_we, .bus_adr(bus_adr[15:2]), .bus_wdata, .bus_rdata(rdata_events), .bus_ack(ack_events),
      .now, .events_waiting,
      .ev_stamp, .ev_valid, .ev_cause, .ev_stream, .ev_word, .ev_data, .ev_ready,
      .timer_pulse, .pattern_pulse, .pattern_data(pattern_first_bad), .trigger_pulse,
      .midi_received_pulse, .midi_sent_pulse, .midi_overflow_pulse,
      .monitor_valid, .monitor_stamp, .monitor_index, .monitor_address, .monitor_ready
  );

  // The monitors see an access one clock behind its acknowledge, and name that time: their comparisons take long.
  logic access_valid_reg, access_we_reg;
  logic [16:2] access_adr_reg;

  always_ff @(posedge clk) begin
    access_valid_reg <= engine_ack && fenced_stb && !rst;
    if (engine_ack) begin
      access_we_reg  <= engine_we;
      access_adr_reg <= engine_adr;
    end
  end

  bus_monitor #(.MONITORS(MONITOR_COUNT)) monitor (
      .clk, .rst,
      .bus_stb(stb_monitors), .bus_we, .bus_adr(bus_adr[15:2]), .bus_wdata, .bus_rdata(rdata_monitors),
      .bus_ack(ack_monitors),
      .now_lo(now[31:0]),
      .access_valid(access_valid_reg), .access_we(access_we_reg), .access_adr(access_adr_reg),
      .monitor_valid, .monitor_stamp, .monitor_index, .monitor_address, .monitor_ready
  );

  // -------------------------------------------------------------------------------------------- streams

  logic frame_tick, dac_we, adc_take;
  logic [10:0] frame_clocks;
  /* verilator lint_off UNUSEDSIGNAL */  // the mixer need not know whose sample it adds
  logic [3:0] dac_stream;
  /* verilator lint_on UNUSEDSIGNAL */
  logic [2:0] dac_channel, adc_channel;
  logic [31:0] dac_sample, adc_sample, frame_ticks;

  stream_engine #(.STREAMS(STREAMS), .MAX_CHANNELS(MAX_CHANNELS), .TEST_EN(TEST_EN)) engine (
      .clk, .rst,
      .bus_stb(stb_engine), .bus_we, .bus_adr(bus_adr[15:2]), .bus_wdata, .bus_rdata(rdata_engine), .bus_ack(ack_engine),
      .now, .frame_ticks,
      .mem_stb(engine_stb), .mem_we(engine_we), .mem_adr(engine_adr), .mem_sel(engine_sel), .mem_wdata(engine_wdata),
      .mem_rdata(engine_rdata), .mem_ack(engine_ack), .mem_err(engine_err),
      .frame_tick, .frame_clocks,
      .dac_we, .dac_stream, .dac_channel, .dac_sample,
      .adc_channel, .adc_sample, .adc_take,
      .ev_stamp, .ev_valid, .ev_cause, .ev_stream, .ev_word, .ev_data, .ev_ready
  );

  // -------------------------------------------------------------------------------------------- converter

  logic converter_enable, mute, mute_loopback, level_out, pulse_out, trigger_level;
  logic pattern_kind, pattern_check_enable, pattern_restart, frame_written;
  logic [1:0] input_select;
  logic [1:0] converter_format;
  logic [31:0] pattern_seed, pattern_frames, pattern_errors;
  logic [CHANNELS*24-1:0] serial_frame, render_frame;
  logic [23:0] source_sample, sent_sample;
  logic first_sample, second_sample;

  core_registers #(.STREAMS(STREAMS), .CHANNELS(CHANNELS), .BUILD(BUILD)) registers (
      .clk, .rst,
      .bus_stb(stb_core), .bus_we, .bus_adr(bus_adr[7:2]), .bus_wdata, .bus_rdata(rdata_core), .bus_ack(ack_core),
      .converter_enable, .converter_format, .frame_clocks, .mute, .input_select, .frame_ticks,
      .pattern_kind, .pattern_check_enable, .pattern_restart, .pattern_seed,
      .pattern_frames, .pattern_errors, .pattern_first_bad,
      .trigger_out(level_out), .trigger_in(trigger_level)
  );

  converter_hub #(.CHANNELS(CHANNELS)) hub (
      .clk, .rst,
      .enable(converter_enable), .mute, .mute_loopback, .input_select, .frame_ticks,
      .frame_tick, .serial_frame, .source_sample,
      .dac_we, .dac_channel, .dac_sample, .adc_channel, .adc_sample,
      .render_frame, .frame_written
  );

  i2s_master #(.CHANNELS(CHANNELS)) serializer (
      .clk, .rst,
      .enable(converter_enable), .format(converter_format), .frame_clocks(frame_clocks[10:7]),
      .frame_tick, .frame_out(render_frame), .mute, .serial_frame,
      .sample(sent_sample), .first_sample, .second_sample,
      .i2s_bclk, .i2s_lrck, .i2s_dac_data, .i2s_adc_data
  );

  pattern pattern_unit (
      .clk, .rst,
      .kind(pattern_kind), .seed(pattern_seed), .restart(pattern_restart), .check_enable(pattern_check_enable),
      .enable(converter_enable), .frame_tick,
      .source_chosen(input_select == INPUT_SELECT_PATTERN[1:0]), .source_taken(adc_take),
      .source_channel(adc_channel), .source_sample,
      .frame_written, .sample(sent_sample), .first_sample, .second_sample,
      .frames(pattern_frames), .errors(pattern_errors), .first_bad(pattern_first_bad), .error_pulse(pattern_pulse)
  );

  // -------------------------------------------------------------------------------------------- peripherals

  spdif_transmitter spdif (
      .clk, .rst,
      .bus_stb(stb_spdif), .bus_we, .bus_adr(bus_adr[15:2]), .bus_wdata, .bus_rdata(rdata_spdif), .bus_ack(ack_spdif),
      .frame_clocks, .frame_tick, .frame_out(render_frame[CHANNELS*24-1-:48]), .mute,
      .mute_loopback, .header_off, .spdif_out
  );

  midi_uart midi (
      .clk, .rst,
      .bus_stb(stb_midi), .bus_we, .bus_adr(bus_adr[15:2]), .bus_wdata, .bus_rdata(rdata_midi), .bus_ack(ack_midi),
      .now_lo(now[31:0]),
      .midi_tx, .midi_rx,
      .rx_pulse(midi_received_pulse), .tx_empty_pulse(midi_sent_pulse), .rx_overflow_pulse(midi_overflow_pulse)
  );

  i2c_master i2c (
      .clk, .rst,
      .bus_stb(stb_i2c), .bus_we, .bus_adr(bus_adr[15:2]), .bus_wdata, .bus_rdata(rdata_i2c), .bus_ack(ack_i2c),
      .scl_low(i2c_scl_low), .sda_low(i2c_sda_low), .scl_in(i2c_scl), .sda_in(i2c_sda)
  );

  trigger trigger_unit (
      .clk, .rst,
      .bus_stb(stb_trigger), .bus_we, .bus_adr(bus_adr[15:2]), .bus_wdata, .bus_rdata(rdata_trigger),
      .bus_ack(ack_trigger),
      .now,
      .trigger_out(pulse_out), .trigger_in, .trigger_level, .trigger_pulse
  );

  assign trigger_out = level_out || pulse_out;

endmodule

`default_nettype wire
