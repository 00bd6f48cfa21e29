`default_nettype none

// Registers that belong to no other module: identity, scratch, converter control, pattern control, levels of the trigger pins.
//
// Slave on the word bus: whole words, answers one clock behind bus_stb. An address without a register reads 0, and so does the
// port without bus_stb. Constants, and the two wide registers that a host may write, are read from a block RAM.
module core_registers
  import codecrig_pkg::*;
#(
    // Number of streams, reported in CAPS.
    parameter int STREAMS = 4,
    // Channels of the converter: 2, 4 or 8; TDM needs more than 2.
    parameter int CHANNELS = 2,
    // Bitstream id, reported in BUILD.
    parameter logic [31:0] BUILD = 32'h0
) (
    input wire logic clk,
    input wire logic rst,

    // Word bus, slave. bus_adr is the offset in the control block.
    input wire logic bus_stb,
    input wire logic bus_we,
    input wire logic [7:2] bus_adr,
    input wire logic [31:0] bus_wdata,
    output logic bus_ack,
    output logic [31:0] bus_rdata,

    // Converter; format and frame_clocks are constant while converter_enable is high
    output logic converter_enable,
    output logic [1:0] converter_format,
    output logic [10:0] frame_clocks,
    output logic mute,
    output logic [1:0] input_select,
    input wire logic [31:0] frame_ticks,

    // Pattern; pattern_restart is a pulse
    output logic pattern_kind,
    output logic pattern_check_enable,
    output logic pattern_restart,
    output logic [31:0] pattern_seed,
    input wire logic [31:0] pattern_frames,
    input wire logic [31:0] pattern_errors,
    input wire logic [31:0] pattern_first_bad,

    // Trigger pins; trigger_in is synchronised already
    output logic trigger_out,
    input wire logic trigger_in
);

  localparam int RING_LOG2 = $clog2(EVENT_RING_BYTES / EVENT_RECORD_BYTES);
  localparam int MEMORY_KIB = 32'(AUDIO_MEMORY_BYTES >> 10);

  if (STREAMS < 1 || STREAMS > 16) begin : gen_check
    $fatal(1, "STREAMS is %0d, must be 1 to 16", STREAMS);
  end

  logic [2:0] rate_reg;
  logic refused_reg;

  always_comb
    case (rate_reg)
      CONVERTER_RATE_CLOCKS_128[2:0]: frame_clocks = 11'd128;
      CONVERTER_RATE_CLOCKS_384[2:0]: frame_clocks = 11'd384;
      CONVERTER_RATE_CLOCKS_512[2:0]: frame_clocks = 11'd512;
      CONVERTER_RATE_CLOCKS_768[2:0]: frame_clocks = 11'd768;
      CONVERTER_RATE_CLOCKS_1536[2:0]: frame_clocks = 11'd1536;
      default: frame_clocks = 11'd256;
    endcase

  wire [1:0] new_format = bus_wdata[FPGA_CONVERTER_CONTROL_FORMAT_LSB+:2];
  wire [2:0] new_rate = bus_wdata[FPGA_CONVERTER_CONTROL_RATE_LSB+:3];

  // May the converter run, or stay, with what the host writes?
  function automatic logic fits();
    if (converter_enable)
      fits = !bus_wdata[FPGA_CONVERTER_CONTROL_ENABLE_LSB] || (new_format == converter_format && new_rate == rate_reg);
    else
      case (new_format)
        CONVERTER_FORMAT_I2S[1:0], CONVERTER_FORMAT_LEFT_JUSTIFIED[1:0]: fits = new_rate <= CONVERTER_RATE_CLOCKS_1536[2:0];
        CONVERTER_FORMAT_TDM[1:0]:
        fits = CHANNELS > 2 && new_rate <= CONVERTER_RATE_CLOCKS_1536[2:0] && new_rate != CONVERTER_RATE_CLOCKS_128[2:0];
        default: fits = 1'b0;
      endcase
  endfunction

  // Words by address, in two pages: constants and what the host wrote; behind them the values before the first write.
  (* no_rw_check, ram_style = "block" *) logic [31:0] words[128]  /* verilator public_flat_rw */;
  logic [31:0] word;
  logic scratch_known_reg, seed_known_reg;

  initial begin
    for (int i = 0; i < 128; i++) words[i] = '0;
    words[{1'b0, FPGA_ID[7:2]}] = FPGA_ID_RESET;
    words[{1'b0, FPGA_VERSION[7:2]}] = FPGA_VERSION_MAJOR_RESET << FPGA_VERSION_MAJOR_LSB;
    words[{1'b0, FPGA_BUILD[7:2]}] = BUILD;
    words[{1'b0, FPGA_CAPS[7:2]}] = {16'(MEMORY_KIB), 8'(RING_LOG2), 8'(STREAMS)};
    words[{1'b1, FPGA_PATTERN_SEED[7:2]}] = FPGA_PATTERN_SEED_RESET;
  end

  wire is_scratch = bus_adr == FPGA_SCRATCH[7:2];
  wire is_seed = bus_adr == FPGA_PATTERN_SEED[7:2];
  wire unknown = (is_scratch && !scratch_known_reg) || (is_seed && !seed_known_reg);

  always_ff @(posedge clk) begin
    word <= words[bus_stb ? {unknown, bus_adr} : '1];  // the last word is 0 for ever
    if (bus_stb && bus_we && (is_scratch || is_seed)) words[{1'b0, bus_adr}] <= bus_wdata;
  end

  // The others. Functions, so that a simulator works them out in an access only.

  wire is_wide = bus_adr == FPGA_FRAME_TICKS[7:2] || bus_adr == FPGA_PATTERN_FRAMES[7:2] || bus_adr == FPGA_PATTERN_ERRORS[7:2]
      || bus_adr == FPGA_PATTERN_FIRST_BAD[7:2];

  // One of those: their addresses differ in these bits.
  function automatic logic [31:0] wide_word();
    case (bus_adr[3:2])
      FPGA_PATTERN_FRAMES[3:2]: wide_word = pattern_frames;
      FPGA_PATTERN_ERRORS[3:2]: wide_word = pattern_errors;
      FPGA_PATTERN_FIRST_BAD[3:2]: wide_word = pattern_first_bad;
      default: wide_word = frame_ticks;
    endcase
  endfunction

  function automatic logic [16:0] narrow_word();
    case (bus_adr)
      FPGA_FRAME_CLOCKS[7:2]: narrow_word = {6'd0, frame_clocks};
      FPGA_CONVERTER_CONTROL[7:2]: narrow_word =
          {refused_reg, 1'b0, rate_reg, 2'd0, converter_format, 2'd0, input_select, 2'd0, mute, converter_enable};
      FPGA_PATTERN_CONTROL[7:2]: narrow_word = {15'd0, pattern_check_enable, pattern_kind};
      FPGA_TRIGGER_OUT[7:2]: narrow_word = {16'd0, trigger_out};
      FPGA_TRIGGER_IN[7:2]: narrow_word = {16'd0, trigger_in};
      default: narrow_word = '0;
    endcase
  endfunction

  logic [31:0] wide_reg;
  logic [16:0] narrow_reg;

  always_ff @(posedge clk)
    if (!bus_stb) begin
      wide_reg   <= '0;
      narrow_reg <= '0;
    end else if (!bus_ack) begin
      wide_reg   <= is_wide ? wide_word() : '0;
      narrow_reg <= narrow_word();
    end

  assign bus_rdata = wide_reg | {15'd0, narrow_reg} | word;

  always_ff @(posedge clk) begin
    bus_ack <= bus_stb && !bus_ack && !rst;
    pattern_restart <= 1'b0;
    if (bus_stb && bus_we && !bus_ack)
      case (bus_adr)
        FPGA_SCRATCH[7:2]: scratch_known_reg <= 1'b1;
        FPGA_CONVERTER_CONTROL[7:2]: begin
          converter_enable <= bus_wdata[FPGA_CONVERTER_CONTROL_ENABLE_LSB] && (converter_enable || fits());
          refused_reg <= !fits();
          if (!converter_enable && fits()) begin
            converter_format <= new_format;
            rate_reg <= new_rate;
          end
          mute <= bus_wdata[FPGA_CONVERTER_CONTROL_MUTE_LSB];
          input_select <= bus_wdata[FPGA_CONVERTER_CONTROL_INPUT_SELECT_LSB+:2];
        end
        FPGA_PATTERN_CONTROL[7:2]: begin
          pattern_kind <= bus_wdata[FPGA_PATTERN_CONTROL_KIND_LSB];
          pattern_check_enable <= bus_wdata[FPGA_PATTERN_CONTROL_CHECK_ENABLE_LSB];
          pattern_restart <= bus_wdata[FPGA_PATTERN_CONTROL_RESTART_LSB];
        end
        FPGA_PATTERN_SEED[7:2]: begin
          pattern_seed <= bus_wdata;
          seed_known_reg <= 1'b1;
        end
        FPGA_TRIGGER_OUT[7:2]: trigger_out <= bus_wdata[FPGA_TRIGGER_OUT_HIGH_LSB];
        default: ;
      endcase
    if (rst) begin
      scratch_known_reg <= 1'b0;
      seed_known_reg <= 1'b0;
      converter_enable <= 1'b0;
      converter_format <= CONVERTER_FORMAT_I2S[1:0];
      rate_reg <= CONVERTER_RATE_CLOCKS_256[2:0];
      refused_reg <= 1'b0;
      mute <= 1'b0;
      input_select <= INPUT_SELECT_CONVERTER[1:0];
      pattern_kind <= PATTERN_KIND_RAMP[0];
      pattern_check_enable <= 1'b0;
      pattern_restart <= 1'b1;  // source and checker start from the values here
      pattern_seed <= FPGA_PATTERN_SEED_RESET;
      trigger_out <= 1'b0;
    end
  end

endmodule

`default_nettype wire
