`default_nettype none

// Pattern source for capture, pattern checker for render: frames that can be told from any other, made and checked in hardware.
//
// Ramp: frame n is left = 2n, right = 2n + 1, 24 bits. LFSR: Galois, 0x80200003, one step to the right a sample, left first; a sample is
// the top 24 bits of the state before the step; sample 0 shows the seed (0 reads as 1).
//
// The source moves on at a tick when a capture stream took the frame it showed since the tick before, so that captured frames start
// at 0 and have no gap whenever the stream began. The checker looks at frames that the engine wrote, from the first that is not all
// zero, while they leave: a frame counts when the first two channels have begun to.
module pattern
  import codecrig_pkg::*;
(
    input wire logic clk,
    input wire logic rst,

    // Control; restart is a pulse: the source is at frame 0 from the next tick on, the checker at once, counts cleared
    input wire logic kind,
    input wire logic [31:0] seed,
    input wire logic restart,
    input wire logic check_enable,

    // Converter: runs; one-clock pulse in the last clock of a frame
    input wire logic enable,
    input wire logic frame_tick,

    // Source: chosen at this tick; somebody takes its frame; sample of a channel, 0 while not chosen
    input wire logic source_chosen,
    input wire logic source_taken,
    input wire logic [2:0] source_channel,
    output logic [23:0] source_sample,

    // Checker: frame_written with frame_tick: the engine wrote the frame that leaves now. Its first two channels, each with a pulse
    input wire logic frame_written,
    input wire logic [23:0] sample,
    input wire logic first_sample,
    input wire logic second_sample,
    output logic [31:0] frames,
    output logic [31:0] errors,
    output logic [31:0] first_bad,
    // One-clock pulse at the first error; first_bad holds its index then
    output logic error_pulse
);

  localparam logic [31:0] TAPS = 32'h8020_0003;

  function automatic logic [31:0] step(input logic [31:0] state);
    step = {1'b0, state[31:1]} ^ (state[0] ? TAPS : 32'd0);
  endfunction

  wire lfsr = kind == PATTERN_KIND_LFSR[0];
  // A function, so that a simulator works it out at a restart only.
  function automatic logic [31:0] start();
    start = {seed[31:1], seed[0] || seed == 32'd0};
  endfunction

  // -------------------------------------------------------------------------------------------- source

  logic [31:0] source_state_reg;
  logic [22:0] source_index_reg;
  logic restart_reg, shown_reg, taken_reg;

  function automatic logic [23:0] source();
    logic [23:0] random;
    random = source_channel[0] ? 24'(step(source_state_reg) >> 8) : source_state_reg[31:8];
    source = lfsr ? random : {source_index_reg, source_channel[0]};
  endfunction

  always_comb
    if (shown_reg && source_channel[2:1] == 2'd0) source_sample = source();
    else source_sample = '0;

  wire taken = taken_reg || (source_taken && shown_reg);

  always_ff @(posedge clk) begin
    taken_reg <= taken;
    if (frame_tick) begin
      shown_reg <= source_chosen;
      taken_reg <= 1'b0;
      restart_reg <= 1'b0;
      if (restart_reg) begin
        source_index_reg <= '0;
        source_state_reg <= start();
      end else if (taken) begin
        source_index_reg <= source_index_reg + 23'd1;
        source_state_reg <= step(step(source_state_reg));
      end
    end
    if (rst || restart) restart_reg <= 1'b1;
    if (rst || !enable) shown_reg <= 1'b0;
  end

  // -------------------------------------------------------------------------------------------- checker

  logic [31:0] check_state_reg;  // the ramp's index is the count of frames
  logic written_reg;  // the frame that leaves was written by the engine
  logic half_reg;     // its first sample was seen, the second not yet
  logic wrong_reg;    // the first sample is wrong
  logic silent_reg;   // the first sample is 0
  logic started_reg;  // the checker has met its first frame
  logic bad_reg;      // and its first error

  function automatic logic differs();
    differs = sample != (lfsr ? check_state_reg[31:8] : {frames[22:0], half_reg});
  endfunction

  wire first = first_sample && check_enable && written_reg;
  // A frame that the converter's end cuts off is judged by its first sample.
  wire second = half_reg && (second_sample || !enable);

  always_ff @(posedge clk) begin
    if (error_pulse) error_pulse <= 1'b0;
    if (frame_tick) written_reg <= frame_written;
    if (first) begin
      half_reg <= 1'b1;
      wrong_reg <= differs();
      silent_reg <= sample == '0;
      check_state_reg <= step(check_state_reg);
    end
    if (second) begin
      half_reg <= 1'b0;
      if (!started_reg && silent_reg && sample == '0) check_state_reg <= start();
      else begin
        started_reg <= 1'b1;
        frames <= frames + 32'd1;
        check_state_reg <= step(check_state_reg);
        if (wrong_reg || (second_sample && differs())) begin
          errors <= errors + 32'd1;
          bad_reg <= 1'b1;
          error_pulse <= !bad_reg;
          if (!bad_reg) first_bad <= frames;
        end
      end
    end
    if (rst || restart) begin
      check_state_reg <= start();
      half_reg <= 1'b0;
      started_reg <= 1'b0;
      bad_reg <= 1'b0;
      frames <= '0;
      errors <= '0;
      first_bad <= FPGA_PATTERN_FIRST_BAD_RESET;
      error_pulse <= 1'b0;
    end
    if (rst || !enable) written_reg <= 1'b0;
  end

endmodule

`default_nettype wire
