`default_nettype none

// time_base: a host that does anything; the alarm against a model of when it is armed.
module time_base_proof
  import codecrig_pkg::*;
(
    input wire logic        clk,
    input wire logic        rst,
    input wire logic        bus_stb,
    input wire logic        bus_we,
    input wire logic [15:2] bus_adr,
    input wire logic [31:0] bus_wdata
);

  logic [31:0] bus_rdata;
  logic bus_ack, timer_pulse;
  logic [63:0] now;

  time_base dut (.*);

  logic started_reg = 1'b0, rst_reg, stb_reg, ack_reg, pulse_reg, written_reg;
  logic armed_reg;
  logic [63:0] now_reg;
  logic [31:0] alarm_reg;

  wire [15:0] offset = {bus_adr, 2'b00};
  wire write = bus_stb && bus_we && bus_ack;
  wire writes_time = write && offset == FPGA_ALARM_TIME[15:0];
  wire writes_control = write && offset == FPGA_ALARM_CONTROL[15:0];
  wire due = now[31:0] - alarm_reg < 32'h8000_0000;

  always_ff @(posedge clk) begin
    started_reg <= 1'b1;
    rst_reg <= rst;
    stb_reg <= bus_stb;
    ack_reg <= bus_ack;
    now_reg <= now;
    pulse_reg <= timer_pulse;
    written_reg <= writes_time || writes_control;
    if (rst) begin
      armed_reg <= 1'b0;
      alarm_reg <= 32'd0;
    end else begin
      if (writes_time) alarm_reg <= bus_wdata;
      armed_reg <= writes_time || (writes_control ? bus_wdata[0] : armed_reg && !due);
    end

    // rig_core sends it no other addresses.
    assume (bus_adr[15:8] == 8'd0);
    if (!started_reg) assume (rst);
    else begin
      assert (now == (rst_reg ? 64'd0 : now_reg + 64'd1));
      // Ties the module to the model.
      assert (dut.armed_reg == armed_reg && dut.alarm_time_reg == alarm_reg && dut.now_reg == now);
      // Fires in each clock in which it is armed and due, so at once, and once.
      assert (timer_pulse == (armed_reg && due));
      if (pulse_reg && !rst_reg && !written_reg) assert (!timer_pulse);
      // Exactly one ack, one clock behind the strobe.
      assert (bus_ack == (stb_reg && !ack_reg && !rst_reg));
      if (bus_ack && bus_stb)
        case (offset)
          FPGA_TIME_HI[15:0], FPGA_TIME_HI_AGAIN[15:0]: assert (bus_rdata == now[63:32]);
          FPGA_TIME_LO[15:0]: assert (bus_rdata == now[31:0]);
          FPGA_ALARM_TIME[15:0]: assert (bus_rdata == alarm_reg);
          FPGA_ALARM_CONTROL[15:0]: assert (bus_rdata == {31'd0, armed_reg});
          default: assert (bus_rdata == 32'd0);
        endcase
    end

    cover (started_reg && !rst_reg && timer_pulse && alarm_reg == now[31:0]);
    cover (started_reg && !rst_reg && timer_pulse && alarm_reg == 32'h9000_0000);
    cover (started_reg && !rst_reg && pulse_reg && timer_pulse);
  end

endmodule

`default_nettype wire
