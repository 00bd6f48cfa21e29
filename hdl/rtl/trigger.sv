`default_nettype none

// Trigger: a pulse out at a board time, and the board time of an edge coming in.
//
// The output compares the low 32 bits of board time, as the alarm does: up to 2^31 clocks back counts as past and fires.
// To stay small it does so once in 1024 clocks only, at those whose distance from OUT_TIME is a multiple of that: exact for a time to come,
// at most 1023 clocks late for one that is past; and the pulse ends at the next such clock, so it lasts 1024. It rises in the clock
// behind the one in which board time equals OUT_TIME. The input latches the first chosen edge until
// the host clears it, so that both halves of its time belong together; further edges only count.
module trigger
  import codecrig_pkg::*;
(
    input wire logic clk,
    input wire logic rst,

    // Register slave: TRIGGER_*. Ack one cycle behind stb; rdata is valid with ack and 0
    // without stb.
    input  wire logic        bus_stb,
    input  wire logic        bus_we,
    input  wire logic [15:2] bus_adr,
    input  wire logic [31:0] bus_wdata,
    output logic      [31:0] bus_rdata,
    output logic             bus_ack,

    // Board time.
    input wire logic [63:0] now,

    // Pins; trigger_in may come from any clock or none, and must keep a level for longer than one clock.
    output logic      trigger_out,
    input  wire logic trigger_in,
    // The input, synchronised.
    output logic      trigger_level,
    // One cycle at each chosen edge of the input, the one that its board time names.
    output logic      trigger_pulse
);

  logic [31:0] out_time_reg;
  logic [15:0] count_reg;
  logic [31:0] in_time_lo;
  logic [15:0] in_time_hi;
  logic armed_reg, falling_reg, latched_reg, before_reg;

  // Follows the pin in reset too, so that a pin that is high all the time makes no edge.
  level_synchroniser synchroniser (.clk, .rst(1'b0), .level(trigger_in), .level_sys(trigger_level));

  wire write = bus_stb && bus_we && bus_ack;
  // Clocks to OUT_TIME, less 1: bit 31 is 1 once it has come.
  wire [31:0] left = out_time_reg + ~now[31:0];
  wire looks = left[9:0] == '1;

  assign trigger_pulse = trigger_level != before_reg && trigger_level != falling_reg && !rst;

  function automatic logic [31:0] word();
    case (bus_adr[7:2])
      TRIGGER_CONTROL[7:2]: word = {25'd0, trigger_level, latched_reg, trigger_out, 2'd0, falling_reg, armed_reg};
      TRIGGER_IN_TIME_HI[7:2]: word = {count_reg, 16'd0};
      default: word = 32'd0;
    endcase
  endfunction

  // The time of the latched edge, at place 1; place 0 is 0 for ever and is read when nobody asks.
  (* no_rw_check, ram_style = "block" *) logic [31:0] times_lo[2];
  (* no_rw_check, ram_style = "block" *) logic [15:0] times_hi[2];

  initial
    for (int i = 0; i < 2; i++) begin
      times_lo[i] = '0;
      times_hi[i] = '0;
    end

  always_ff @(posedge clk) begin
    in_time_lo <= times_lo[bus_stb && bus_adr[7:2] == TRIGGER_IN_TIME_LO[7:2]];
    in_time_hi <= times_hi[bus_stb && bus_adr[7:2] == TRIGGER_IN_TIME_HI[7:2]];
    if (trigger_pulse && !latched_reg) begin
      times_lo[1] <= now[31:0];
      times_hi[1] <= now[47:32];
    end
  end

  assign bus_rdata = (bus_stb ? word() : 32'd0) | in_time_lo | {16'd0, in_time_hi};

  always_ff @(posedge clk) begin
    bus_ack <= bus_stb && !bus_ack && !rst;
    before_reg <= trigger_level;

    if (looks) begin
      trigger_out <= armed_reg && left[31];
      if (left[31]) armed_reg <= 1'b0;
    end

    if (trigger_pulse) count_reg <= count_reg + 16'd1;
    if (trigger_pulse) latched_reg <= 1'b1;

    if (write)
      case (bus_adr[7:2])
        TRIGGER_OUT_TIME[7:2]: begin
          out_time_reg <= bus_wdata;
          armed_reg <= 1'b1;
        end
        TRIGGER_CONTROL[7:2]: begin
          falling_reg <= bus_wdata[TRIGGER_CONTROL_IN_FALLING_LSB];
          if (!bus_wdata[TRIGGER_CONTROL_ARMED_LSB]) begin
            armed_reg   <= 1'b0;
            trigger_out <= 1'b0;
          end
          if (bus_wdata[TRIGGER_CONTROL_IN_LATCHED_LSB]) latched_reg <= 1'b0;
        end
        default: ;
      endcase

    if (rst) begin
      armed_reg <= 1'b0;
      trigger_out <= 1'b0;
      falling_reg <= 1'b0;
      latched_reg <= 1'b0;
      count_reg <= 16'd0;
    end
  end

  wire unused = &{1'b0, bus_adr[15:8], left[30:10], now[63:48]};

endmodule

`default_nettype wire
