`default_nettype none

// S/PDIF transmitter, IEC 60958 consumer format, and the gates of content rights over every digital path.
//
// 128 half cells of biphase mark a frame, each of frame_clocks / 128 clocks: 2 at 48 kHz, 1 at 96 kHz. A frame begins in the clock behind frame_tick and carries the
// frame that the serializer takes at that tick; without ticks (converter off) frames of silence go on by themselves. Samples
// are 24 bits, least significant first; validity and user bits are 0. Channel status: consumer, linear PCM, Cp, category,
// L, channel number, sampling rate, 24 bits; all else 0.
//
// A gate is in force two clocks behind the ack of its write, at most. New marks must not wait for the end of a block of 192 frames, in whose course a receiver
// still holds the old ones: a write to GATES or MARKS makes the next frame the first of a block.
module spdif_transmitter
  import codecrig_pkg::*;
(
    input wire logic clk,
    input wire logic rst,

    // Register slave: SPDIF_*. Ack one cycle behind stb; rdata is valid with ack and 0
    // without stb.
    input  wire logic        bus_stb,
    input  wire logic        bus_we,
    input  wire logic [15:2] bus_adr,
    input  wire logic [31:0] bus_wdata,
    output logic      [31:0] bus_rdata,
    output logic             bus_ack,

    // As at the serializer: clocks in a frame, a multiple of 128; one-clock pulse in the last clock of a frame; {left, right}, 24 bits
    // each; send zeros instead.
    input wire logic [10:0] frame_clocks,
    input wire logic        frame_tick,
    input wire logic [47:0] frame_out,
    input wire logic        mute,

    // Gates for the paths outside: digital loopback (and any other capture of playback), copies on headers.
    output logic mute_loopback,
    output logic header_off,

    // Pin
    output logic spdif_out
);

  localparam logic [7:0] LAST_FRAME = 8'd191;

  logic [6:0] phase_reg;  // {channel, slot, half}
  logic [3:0] clock_reg;  // clock of the half, from 1
  logic [7:0] frame_reg;
  logic [47:0] shift_reg;
  logic enable_reg, copy_never_reg, restart_reg, parity_reg, running_reg;
  logic [11:0] marks_reg;  // {rate, L, category}

  wire write = bus_stb && bus_we && bus_ack;

  function automatic logic [31:0] word();
    case (bus_adr[7:2])
      SPDIF_GATES[7:2]: word = {28'd0, header_off, mute_loopback, copy_never_reg, enable_reg};
      SPDIF_MARKS[7:2]: word = {20'd0, marks_reg};
      SPDIF_STATUS[7:2]: word = {16'd0, frame_reg, 7'd0, restart_reg};
      default: word = 32'd0;
    endcase
  endfunction

  assign bus_rdata = bus_stb ? word() : 32'd0;

  wire       channel = phase_reg[6];
  wire [4:0] slot = phase_reg[5:1];
  wire       half_ends = clock_reg == frame_clocks[10:7];
  wire       in_preamble = slot[4:2] == 3'd0;
  wire       in_sample = !in_preamble && slot < 5'd28;
  wire       frame_ends = (&phase_reg && half_ends) || frame_tick;

  // Bit of channel status that this frame carries.
  function automatic logic status_bit();
    status_bit = 1'b0;
    case (frame_reg)
      8'd2: status_bit = !copy_never_reg;
      8'd8, 8'd9, 8'd10, 8'd11, 8'd12, 8'd13, 8'd14, 8'd15: status_bit = marks_reg[{1'b0, frame_reg[2:0]}];
      8'd20: status_bit = !channel;
      8'd21: status_bit = channel;
      8'd24, 8'd25, 8'd26, 8'd27: status_bit = marks_reg[{2'd2, frame_reg[1:0]}];
      8'd32, 8'd33, 8'd35: status_bit = 1'b1;
      default: ;
    endcase
  endfunction

  // Does the line change at the start of this half cell? Preambles by their changes: B 10011100, M 10010011, W 10010110.
  function automatic logic toggles();
    if (in_preamble)
      case (phase_reg[2:0])
        3'd0, 3'd3: toggles = 1'b1;
        3'd4: toggles = !channel && frame_reg == 8'd0;
        3'd5: toggles = channel || frame_reg == 8'd0;
        3'd6: toggles = channel || frame_reg != 8'd0;
        3'd7: toggles = !channel && frame_reg != 8'd0;
        default: toggles = 1'b0;
      endcase
    else if (!phase_reg[0]) toggles = 1'b1;
    else if (in_sample) toggles = shift_reg[0];
    else if (slot[1:0] == 2'd2) toggles = status_bit();
    else toggles = &slot && parity_reg;
  endfunction

  always_ff @(posedge clk) begin
    bus_ack   <= bus_stb && !bus_ack && !rst;
    phase_reg <= frame_tick ? 7'd0 : phase_reg + 7'(half_ends);
    clock_reg <= frame_tick || half_ends ? 4'd1 : clock_reg + 4'd1;

    if (clock_reg == 4'd1 && running_reg) begin
      spdif_out  <= spdif_out ^ toggles();
      parity_reg <= !in_preamble && (parity_reg ^ (phase_reg[0] && toggles()));
    end
    if (frame_ends) begin
      running_reg <= 1'b1;
      restart_reg <= 1'b0;
      frame_reg   <= frame_reg == LAST_FRAME || restart_reg ? 8'd0 : frame_reg + 8'd1;
      // {right, left}: the left sample leaves first.
      shift_reg   <= frame_tick && !mute ? {frame_out[23:0], frame_out[47:24]} : 48'd0;
    end else if (phase_reg[0] && half_ends && in_sample) shift_reg <= {1'b0, shift_reg[47:1]};
    if (!enable_reg) running_reg <= 1'b0;
    if (!enable_reg || !running_reg) spdif_out <= 1'b0;

    if (write)
      case (bus_adr[7:2])
        SPDIF_GATES[7:2]: begin
          enable_reg <= bus_wdata[SPDIF_GATES_ENABLE_LSB];
          copy_never_reg <= bus_wdata[SPDIF_GATES_COPY_NEVER_LSB];
          mute_loopback <= bus_wdata[SPDIF_GATES_MUTE_LOOPBACK_LSB];
          header_off <= bus_wdata[SPDIF_GATES_HEADER_OFF_LSB];
          restart_reg <= 1'b1;
        end
        SPDIF_MARKS[7:2]: begin
          marks_reg   <= bus_wdata[11:0];
          restart_reg <= 1'b1;
        end
        default: ;
      endcase

    if (rst) begin
      phase_reg <= 7'd0;
      clock_reg <= 4'd1;
      frame_reg <= 8'd0;
      shift_reg <= 48'd0;
      restart_reg <= 1'b0;
      running_reg <= 1'b0;
      spdif_out <= 1'b0;
      parity_reg <= 1'b0;
      enable_reg <= 1'b0;
      copy_never_reg <= 1'b0;
      mute_loopback <= 1'b0;
      header_off <= 1'b0;
      marks_reg <= 12'(SPDIF_MARKS_RATE_RESET << SPDIF_MARKS_RATE_LSB);
    end
  end

  wire unused = &{1'b0, bus_adr[15:8], bus_wdata[31:12], frame_clocks[6:0]};

endmodule

`default_nettype wire
