`default_nettype none

// Board time: a free-running 64-bit count of system clocks, and one alarm.
//
// A register read takes one word, so a reader of the 64-bit value reads TIME_HI, TIME_LO, TIME_HI_AGAIN and decides by TIME_LO
// which high word belongs to it. The alarm compares the low 32 bits; a time up to 2^31 clocks back counts as past and fires at once.
module time_base
  import codecrig_pkg::*;
(
    input wire logic clk,
    input wire logic rst,

    // Register slave: TIME_*, ALARM_*. Ack one cycle behind stb; rdata is valid with ack and 0 without stb.
    input  wire logic        bus_stb,
    input  wire logic        bus_we,
    input  wire logic [15:2] bus_adr,
    input  wire logic [31:0] bus_wdata,
    output logic      [31:0] bus_rdata,
    output logic             bus_ack,

    // Board time.
    output logic [63:0] now,
    // One cycle when the alarm fires.
    output logic        timer_pulse
);

  logic [63:0] now_reg;
  logic [31:0] alarm_time_reg;
  logic        armed_reg;

  assign now = now_reg;

  // Clocks to the alarm time, less 1: bit 31 is 1 once it has come. So written, all such comparisons share one inverted time.
  wire [31:0] left = alarm_time_reg + ~now[31:0];
  assign timer_pulse = armed_reg && left[31];

  function automatic logic [31:0] word();
    case (bus_adr[7:2])
      FPGA_TIME_HI[7:2], FPGA_TIME_HI_AGAIN[7:2]: word = now[63:32];
      FPGA_TIME_LO[7:2]: word = now[31:0];
      FPGA_ALARM_TIME[7:2]: word = alarm_time_reg;
      FPGA_ALARM_CONTROL[7:2]: word = {31'd0, armed_reg};
      default: word = 32'd0;
    endcase
  endfunction

  assign bus_rdata = bus_stb ? word() : 32'd0;

  always_ff @(posedge clk) begin
    now_reg <= now_reg + 64'd1;
    bus_ack <= bus_stb && !bus_ack;
    if (timer_pulse) armed_reg <= 1'b0;
    if (bus_stb && bus_we && bus_ack) begin
      if (bus_adr[7:2] == FPGA_ALARM_TIME[7:2]) begin
        alarm_time_reg <= bus_wdata;
        armed_reg <= 1'b1;
      end
      if (bus_adr[7:2] == FPGA_ALARM_CONTROL[7:2]) armed_reg <= bus_wdata[0];
    end
    if (rst) begin
      now_reg <= 64'd0;
      bus_ack <= 1'b0;
      alarm_time_reg <= 32'd0;
      armed_reg <= 1'b0;
    end
  end

  wire unused = &{1'b0, left[30:0], bus_adr[15:8]};

endmodule

`default_nettype wire
