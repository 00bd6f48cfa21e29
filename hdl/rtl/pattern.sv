`default_nettype none

// Pattern source for capture, pattern checker for render: frames that can be told from any other, made and checked in hardware.
//
// Ramp: frame n is left = 2n, right = 2n + 1, 24 bits. LFSR: Galois, 0x80200003, one step to the right a sample, left first; a sample is
// the top 24 bits of the state before the step; sample 0 shows the seed (0 reads as 1).
//
// The source moves on when a capture stream takes a frame, once a frame at most, so that captured frames start at 0 and have no gap
// whenever the stream began. The checker looks at frames that the engine wrote, from the first that is not all zero.
module pattern
  import codecrig_pkg::*;
(
    input wire logic clk,
    input wire logic rst,

    // Control; restart is a pulse: both at frame 0, counts cleared
    input wire logic kind,
    input wire logic [31:0] seed,
    input wire logic restart,
    input wire logic check_enable,

    input wire logic frame_tick,

    // Source: frame to be latched at the next tick; source_shown: it is latched at this tick; source_taken: somebody took it
    output logic [47:0] source_frame,
    input wire logic source_shown,
    input wire logic source_taken,

    // Checker: frame written since the last tick, looked at as frame_tick comes
    input wire logic [47:0] render_frame,
    input wire logic frame_written,
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

  // Frame `index` of the ramp, or the frame that the LFSR's state stands for.
  function automatic logic [47:0] frame_of(input logic lfsr, input logic [22:0] index, input logic [31:0] state);
    logic [23:0] right;
    right = 24'(step(state) >> 8);
    frame_of = lfsr ? {state[31:8], right} : {index, 1'b0, index, 1'b1};
  endfunction

  logic [31:0] source_state_reg, check_state_reg;
  logic [22:0] source_index_reg;  // the checker's index is its count of frames
  logic shown_reg;    // the source's frame is out and not yet taken
  logic started_reg;  // the checker has met its first frame
  logic bad_reg;

  wire lfsr = kind == PATTERN_KIND_LFSR[0];
  wire [31:0] start = {seed[31:1], seed[0] || seed == 32'd0};
  wire looks = frame_tick && check_enable && frame_written;
  // A function, so that a simulator works it out at a tick only.
  function automatic logic wrong();
    wrong = render_frame != frame_of(lfsr, frames[22:0], check_state_reg);
  endfunction

  assign source_frame = frame_of(lfsr, source_index_reg, source_state_reg);

  always_ff @(posedge clk)
    if (rst || restart) begin
      source_index_reg <= '0;
      shown_reg <= 1'b0;
      source_state_reg <= start;
    end else if (source_taken && shown_reg) begin
      source_index_reg <= source_index_reg + 23'd1;
      source_state_reg <= step(step(source_state_reg));
      shown_reg <= 1'b0;
    end else if (frame_tick) shown_reg <= source_shown;

  always_ff @(posedge clk)
    if (rst || restart) begin
      check_state_reg <= start;
      started_reg <= 1'b0;
      bad_reg <= 1'b0;
      frames <= '0;
      errors <= '0;
      first_bad <= FPGA_PATTERN_FIRST_BAD_RESET;
      error_pulse <= 1'b0;
    end else begin
      if (error_pulse) error_pulse <= 1'b0;
      if (looks && (started_reg || render_frame != '0)) begin
        started_reg <= 1'b1;
        frames <= frames + 32'd1;
        check_state_reg <= step(step(check_state_reg));
        if (wrong()) begin
          errors <= errors + 32'd1;
          bad_reg <= 1'b1;
          error_pulse <= !bad_reg;
          if (!bad_reg) first_bad <= frames;
        end
      end
    end

endmodule

`default_nettype wire
