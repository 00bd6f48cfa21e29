`default_nettype none

// Referee at the memory port of the stream engine: counts its accesses in or outside address ranges, and keeps time and address of
// the first. It shares nothing with the engine, so the engine cannot talk its way out.
//
// Each monitor also announces its first counted access since `clear` once, as an event: `monitor_valid` with the low 8 bits of
// its time stays until `monitor_ready`. Monitors that fire together are announced one after the other, lowest index first.
module bus_monitor
  import codecrig_pkg::*;
#(
    // Number of monitors, 1 to 2 (what the register map holds).
    parameter MONITORS = 2
) (
    input wire logic clk,
    input wire logic rst,

    // Register slave: MONITOR[]. Ack one cycle behind stb; rdata is valid with ack.
    input  wire logic        bus_stb,
    input  wire logic        bus_we,
    input  wire logic [15:2] bus_adr,
    input  wire logic [31:0] bus_wdata,
    output logic      [31:0] bus_rdata,
    output logic             bus_ack,

    // Board time, low word.
    input wire logic [31:0] now_lo,

    // The engine's accesses, in the cycle of their acknowledge.
    input wire logic        access_valid,
    input wire logic        access_we,
    input wire logic [16:2] access_adr,

    // Event: first access that a monitor counted.
    output logic             monitor_valid,
    output logic      [ 7:0] monitor_stamp,
    output logic      [ 7:0] monitor_index,
    output logic      [31:0] monitor_address,
    input  wire logic        monitor_ready
);

  // Words; HIGH may be the word behind the memory.
  logic [16:2] low_reg[MONITORS];
  logic [17:2] high_reg[MONITORS];
  logic [31:0] reads_reg[MONITORS], writes_reg[MONITORS], first_time_reg[MONITORS];
  logic [16:2] first_address_reg[MONITORS];
  logic [MONITORS-1:0] enable_reg, outside_reg, met_reg, announce_reg;

  // Monitors are 0x20 bytes apart, the first at offset 0xA0: bits 6:5 read 1, 2.
  localparam [15:2] FIRST = 14'(MONITOR_BASE >> 2);
  wire [15:2] offset = bus_adr - FIRST;
  wire [MONITORS-1:0] selected;
  wire [4:0] register_offset = {offset[4:2], 2'b00};
  wire write = bus_stb && bus_we && bus_ack;

  logic [MONITORS-1:0] counted;
  always_comb
    for (int i = 0; i < MONITORS; i++)
      counted[i] = access_valid && enable_reg[i]
          && ((access_adr >= low_reg[i] && {1'b0, access_adr} < high_reg[i]) != outside_reg[i]);

  for (genvar i = 0; i < MONITORS; i++) begin : g_select
    assign selected[i] = offset[15:5] == 11'(i);
  end

  always_comb begin
    bus_rdata = 32'd0;
    for (int i = 0; i < MONITORS; i++)
      if (selected[i])
        case (32'(register_offset))
          MONITOR_LOW: bus_rdata = {15'd0, low_reg[i], 2'b00};
          MONITOR_HIGH: bus_rdata = {14'd0, high_reg[i], 2'b00};
          MONITOR_CONTROL: bus_rdata = {30'd0, outside_reg[i], enable_reg[i]};
          MONITOR_READS: bus_rdata = reads_reg[i];
          MONITOR_WRITES: bus_rdata = writes_reg[i];
          MONITOR_FIRST_TIME: bus_rdata = first_time_reg[i];
          MONITOR_FIRST_ADDRESS: bus_rdata = {15'd0, first_address_reg[i], 2'b00};
          default: ;
        endcase
  end

  always_comb begin
    monitor_valid = |announce_reg;
    monitor_index = 8'd0;
    for (int i = MONITORS - 1; i >= 0; i--) if (announce_reg[i]) monitor_index = 8'(i);
    monitor_stamp = 8'd0;
    monitor_address = 32'd0;
    for (int i = 0; i < MONITORS; i++)
      if (monitor_index == 8'(i)) begin
        monitor_stamp = first_time_reg[i][7:0];
        monitor_address = {15'd0, first_address_reg[i], 2'b00};
      end
  end

  always_ff @(posedge clk) begin
    bus_ack <= bus_stb && !bus_ack;
    for (int i = 0; i < MONITORS; i++) begin
      if (monitor_valid && monitor_ready && monitor_index == 8'(i)) announce_reg[i] <= 1'b0;
      if (counted[i]) begin
        if (access_we) writes_reg[i] <= writes_reg[i] + 32'd1;
        else reads_reg[i] <= reads_reg[i] + 32'd1;
        if (!met_reg[i]) begin
          met_reg[i] <= 1'b1;
          announce_reg[i] <= 1'b1;
          first_time_reg[i] <= now_lo;
          first_address_reg[i] <= access_adr;
        end
      end
      if (write && selected[i])
        case (32'(register_offset))
          MONITOR_LOW: low_reg[i] <= bus_wdata[16:2];
          MONITOR_HIGH: high_reg[i] <= bus_wdata[17:2];
          MONITOR_CONTROL: begin
            enable_reg[i] <= bus_wdata[MONITOR_CONTROL_ENABLE_LSB];
            outside_reg[i] <= bus_wdata[MONITOR_CONTROL_OUTSIDE_LSB];
          end
          default: ;
        endcase
      if (rst || (write && selected[i] && 32'(register_offset) == MONITOR_CONTROL && bus_wdata[MONITOR_CONTROL_CLEAR_LSB])) begin
        reads_reg[i] <= 32'd0;
        writes_reg[i] <= 32'd0;
        first_time_reg[i] <= 32'd0;
        first_address_reg[i] <= '0;
        met_reg[i] <= 1'b0;
        announce_reg[i] <= 1'b0;
      end
      if (rst) begin
        low_reg[i] <= '0;
        high_reg[i] <= '0;
      end
    end
    if (rst) begin
      bus_ack <= 1'b0;
      enable_reg <= '0;
      outside_reg <= '0;
    end
  end

  wire unused = &{1'b0, bus_wdata[31:18], bus_wdata[1:0], now_lo[31:8]};

endmodule

`default_nettype wire
