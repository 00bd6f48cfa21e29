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

    // Register slave: TIME_*, ALARM_*. Ack one cycle behind stb; rdata is valid with ack.
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

  wire [31:0] address = {FPGA_BASE[31:16], bus_adr, 2'b00};

  assign now = now_reg;

  // Bit 31 of the difference is 0 once the alarm time has come.
  wire [31:0] since_alarm = now[31:0] - alarm_time_reg;
  assign timer_pulse = armed_reg && !since_alarm[31];

  always_comb
    case (address)
      FPGA_TIME_HI, FPGA_TIME_HI_AGAIN: bus_rdata = now[63:32];
      FPGA_TIME_LO: bus_rdata = now[31:0];
      FPGA_ALARM_TIME: bus_rdata = alarm_time_reg;
      FPGA_ALARM_CONTROL: bus_rdata = {31'd0, armed_reg};
      default: bus_rdata = 32'd0;
    endcase

  always_ff @(posedge clk) begin
    now_reg <= now_reg + 64'd1;
    bus_ack <= bus_stb && !bus_ack;
    if (timer_pulse) armed_reg <= 1'b0;
    if (bus_stb && bus_we && bus_ack) begin
      if (address == FPGA_ALARM_TIME) begin
        alarm_time_reg <= bus_wdata;
        armed_reg <= 1'b1;
      end
      if (address == FPGA_ALARM_CONTROL) armed_reg <= bus_wdata[0];
    end
    if (rst) begin
      now_reg <= 64'd0;
      bus_ack <= 1'b0;
      alarm_time_reg <= 32'd0;
      armed_reg <= 1'b0;
    end
  end

  wire unused = &{1'b0, since_alarm[30:0]};

endmodule

`default_nettype wire
