`default_nettype none

// Registers that belong to no other module: identity, scratch, converter control, pattern control, levels of the trigger pins.
//
// Slave on the word bus: whole words, answers one clock behind bus_stb. An address without a register reads 0.
module core_registers
  import codecrig_pkg::*;
#(
    // Number of streams, reported in CAPS.
    parameter int STREAMS = 4,
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

    // Converter
    output logic converter_enable,
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

  logic [31:0] scratch_reg;

  // Read data, in two parts that are or-ed: that makes a smaller multiplexer.
  // Functions, so that a simulator works them out in an access only.

  function automatic logic [31:0] pattern_word();
    case (bus_adr[3:2])
      FPGA_PATTERN_SEED[3:2]: pattern_word = pattern_seed;
      FPGA_PATTERN_FRAMES[3:2]: pattern_word = pattern_frames;
      FPGA_PATTERN_ERRORS[3:2]: pattern_word = pattern_errors;
      default: pattern_word = pattern_first_bad;
    endcase
  endfunction

  function automatic logic [31:0] wide_word();
    case (bus_adr)
      FPGA_PATTERN_SEED[7:2], FPGA_PATTERN_FRAMES[7:2], FPGA_PATTERN_ERRORS[7:2], FPGA_PATTERN_FIRST_BAD[7:2]:
      wide_word = pattern_word();
      FPGA_SCRATCH[7:2]: wide_word = scratch_reg;
      FPGA_FRAME_TICKS[7:2]: wide_word = frame_ticks;
      default: wide_word = '0;
    endcase
  endfunction

  function automatic logic [31:0] narrow_word();
    case (bus_adr)
      FPGA_ID[7:2]: narrow_word = FPGA_ID_RESET;
      FPGA_VERSION[7:2]: narrow_word = FPGA_VERSION_MAJOR_RESET << FPGA_VERSION_MAJOR_LSB;
      FPGA_BUILD[7:2]: narrow_word = BUILD;
      FPGA_CAPS[7:2]: narrow_word = {16'(MEMORY_KIB), 8'(RING_LOG2), 8'(STREAMS)};
      FPGA_FRAME_CLOCKS[7:2]: narrow_word = FPGA_FRAME_CLOCKS_RESET;
      FPGA_CONVERTER_CONTROL[7:2]: narrow_word = {26'd0, input_select, 2'd0, mute, converter_enable};
      FPGA_PATTERN_CONTROL[7:2]: narrow_word = {30'd0, pattern_check_enable, pattern_kind};
      FPGA_TRIGGER_OUT[7:2]: narrow_word = {31'd0, trigger_out};
      FPGA_TRIGGER_IN[7:2]: narrow_word = {31'd0, trigger_in};
      default: narrow_word = '0;
    endcase
  endfunction

  always_ff @(posedge clk) begin
    bus_ack <= bus_stb && !bus_ack && !rst;
    pattern_restart <= 1'b0;
    if (bus_stb && !bus_ack) begin
      bus_rdata <= wide_word() | narrow_word();
      if (bus_we)
        case (bus_adr)
          FPGA_SCRATCH[7:2]: scratch_reg <= bus_wdata;
          FPGA_CONVERTER_CONTROL[7:2]: begin
            converter_enable <= bus_wdata[FPGA_CONVERTER_CONTROL_ENABLE_LSB];
            mute <= bus_wdata[FPGA_CONVERTER_CONTROL_MUTE_LSB];
            input_select <= bus_wdata[FPGA_CONVERTER_CONTROL_INPUT_SELECT_LSB+:2];
          end
          FPGA_PATTERN_CONTROL[7:2]: begin
            pattern_kind <= bus_wdata[FPGA_PATTERN_CONTROL_KIND_LSB];
            pattern_check_enable <= bus_wdata[FPGA_PATTERN_CONTROL_CHECK_ENABLE_LSB];
            pattern_restart <= bus_wdata[FPGA_PATTERN_CONTROL_RESTART_LSB];
          end
          FPGA_PATTERN_SEED[7:2]: pattern_seed <= bus_wdata;
          FPGA_TRIGGER_OUT[7:2]: trigger_out <= bus_wdata[FPGA_TRIGGER_OUT_HIGH_LSB];
          default: ;
        endcase
    end
    if (rst) begin
      scratch_reg <= 32'd0;
      converter_enable <= 1'b0;
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
