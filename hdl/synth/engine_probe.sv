`default_nettype none

// Wraps stream_engine so that it fits the pins of the UP5K: inputs come from one shift register, outputs go into another. Only for
// its figures: every path through the engine begins and ends at a flip-flop. What the probe itself costs is measured with the
// engine taken out of it, and subtracted.
module engine_probe #(
    parameter int STREAMS = 8,
    parameter int MAX_CHANNELS = 8
) (
    input wire logic clk,
    input wire logic rst,
    input wire logic data_in,
    output logic data_out
);

  localparam int INPUTS = 2 + 14 + 32 + 64 + 32 + 32 + 2 + 1 + 11 + 32 + 2 + 1;
  localparam int OUTPUTS = 32 + 1 + 2 + 15 + 4 + 32 + 1 + 4 + 3 + 32 + 3 + 1 + 2 + 8 + 8 + 32;

  logic [INPUTS-1:0] inputs_reg;
  logic [OUTPUTS-1:0] outputs, outputs_reg;

  always_ff @(posedge clk) begin
    inputs_reg <= {inputs_reg[INPUTS-2:0], data_in};
    outputs_reg <= outputs ^ {outputs_reg[OUTPUTS-2:0], 1'b0};
    data_out <= outputs_reg[OUTPUTS-1];
  end

  logic bus_stb, bus_we, mem_ack, mem_err, frame_tick, ev_ready;
  logic [15:2] bus_adr;
  logic [31:0] bus_wdata, frame_ticks, mem_rdata, adc_sample;
  logic [63:0] now;
  logic [10:0] frame_clocks;
  logic [1:0] ev_word;

  assign {
    bus_stb, bus_we, bus_adr, bus_wdata, now, frame_ticks, mem_rdata, mem_ack, mem_err, frame_tick, frame_clocks, adc_sample, ev_word,
    ev_ready
  } = inputs_reg;

  logic bus_ack, mem_stb, mem_we, dac_we, adc_take, ev_stamp, ev_valid;
  logic [31:0] bus_rdata, mem_wdata, dac_sample, ev_data;
  logic [16:2] mem_adr;
  logic [3:0] mem_sel, dac_stream;
  logic [2:0] dac_channel, adc_channel;
  logic [7:0] ev_cause, ev_stream;

  assign outputs = {
    bus_rdata, bus_ack, mem_stb, mem_we, mem_adr, mem_sel, mem_wdata, dac_we, dac_stream, dac_channel, dac_sample, adc_channel,
    adc_take, ev_stamp, ev_valid, ev_cause, ev_stream, ev_data
  };

  stream_engine #(
      .STREAMS(STREAMS),
      .MAX_CHANNELS(MAX_CHANNELS)
  ) engine (
      .clk, .rst,
      .bus_stb, .bus_we, .bus_adr, .bus_wdata, .bus_rdata, .bus_ack,
      .now, .frame_ticks,
      .mem_stb, .mem_we, .mem_adr, .mem_sel, .mem_wdata, .mem_rdata, .mem_ack, .mem_err,
      .frame_tick, .frame_clocks,
      .dac_we, .dac_stream, .dac_channel, .dac_sample,
      .adc_channel, .adc_sample, .adc_take,
      .ev_stamp, .ev_valid, .ev_cause, .ev_stream, .ev_word, .ev_data, .ev_ready
  );

endmodule

`default_nettype wire
