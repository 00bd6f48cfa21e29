`default_nettype none

// address_fence: engine, host and memory keep to the bus rules and are otherwise free; memory answers within 4 clocks.
module address_fence_proof
  import codecrig_pkg::*;
(
    input wire logic        clk,
    input wire logic        rst,
    input wire logic        bus_stb,
    input wire logic        bus_we,
    input wire logic [15:2] bus_adr,
    input wire logic [31:0] bus_wdata,
    input wire logic        engine_stb,
    input wire logic [16:8] engine_adr,
    input wire logic        memory_ack
);

  logic [31:0] bus_rdata;
  logic bus_ack, engine_err, memory_stb;

  address_fence dut (.*);

  logic started_reg = 1'b0, rst_reg, host_waits_reg, engine_waits_reg, memory_waits_reg;
  logic [47:0] host_access_reg;
  logic [16:8] engine_adr_reg;
  logic [2:0] memory_clocks_reg, host_clocks_reg;
  // The window as the host knows it: changed by acknowledged writes.
  logic [8:0] first_reg, last_reg;

  wire [47:0] host_access = {bus_stb, bus_we, bus_adr, bus_wdata};
  wire is_last = {bus_adr, 2'b00} == FPGA_FENCE_LAST[15:0];
  wire writes = bus_stb && bus_we;
  // The window that a write under way will bring.
  wire [8:0] new_first = writes && !is_last ? bus_wdata[8:0] : first_reg;
  wire [8:0] new_last = writes && is_last ? bus_wdata[8:0] : last_reg;
  wire in_old = engine_adr >= first_reg && engine_adr <= last_reg;
  wire in_new = engine_adr >= new_first && engine_adr <= new_last;
  wire answered = engine_err || memory_ack;

  always_ff @(posedge clk) begin
    started_reg <= 1'b1;
    rst_reg <= rst;
    host_waits_reg <= bus_stb && !bus_ack && !rst;
    host_access_reg <= host_access;
    engine_waits_reg <= engine_stb && !answered && !rst;
    engine_adr_reg <= engine_adr;
    memory_waits_reg <= memory_stb && !memory_ack && !rst;
    memory_clocks_reg <= memory_stb && !memory_ack && !rst ? memory_clocks_reg + 3'd1 : 3'd0;
    host_clocks_reg <= bus_stb && !bus_ack && !rst ? host_clocks_reg + 3'd1 : 3'd0;
    if (rst || !started_reg) begin
      first_reg <= '0;
      last_reg  <= '1;
    end else if (bus_ack && writes) begin
      first_reg <= new_first;
      last_reg  <= new_last;
    end

    // What the others do. Reset ends all accesses.
    if (!started_reg) assume (rst);
    if (rst || !started_reg) assume (!bus_stb && !engine_stb && !memory_ack);
    if (bus_stb) assume ({bus_adr, 2'b00} == FPGA_FENCE_FIRST[15:0] || is_last);
    if (started_reg && host_waits_reg && !rst) assume (host_access == host_access_reg);
    if (started_reg && engine_waits_reg && !rst) assume (engine_stb && engine_adr == engine_adr_reg);
    assume (!memory_ack || (started_reg && memory_waits_reg));
    if (started_reg && memory_clocks_reg == 3'd4 && memory_stb) assume (memory_ack);

    if (started_reg && !rst_reg && !rst) begin
      // Memory sees no access outside the window, and while the host changes it none outside both the old and the new one.
      if (memory_stb) assert (engine_stb && (writes ? in_old || in_new : in_old));
      // An access that passed stands until its acknowledge, whatever the host does.
      if (memory_waits_reg) assert (memory_stb);
      // Inside: passed in the same clock. Outside: answered by an error one clock later, and by nothing else.
      if (engine_stb && !engine_waits_reg && !engine_err && !writes) assert (memory_stb == in_old);
      if (engine_waits_reg) assert (memory_waits_reg || engine_err);
      assert (!(engine_err && (memory_stb || memory_ack)));
      if (engine_err) assert (engine_waits_reg && !memory_waits_reg);
      // The host waits for one access of the engine at most, and reads what it wrote.
      assert (!bus_ack || host_waits_reg);
      assert (host_clocks_reg <= 3'd5);
      if (bus_ack && !bus_we) assert (bus_rdata == {23'd0, is_last ? last_reg : first_reg});

      // The module's own view of the window.
      assert (dut.first_reg == (host_waits_reg ? new_first : first_reg) && dut.last_reg == (host_waits_reg ? new_last : last_reg));
      assert (dut.passing_reg == memory_waits_reg);
      assert (memory_clocks_reg <= 3'd4 && (memory_clocks_reg != 3'd0) == memory_waits_reg);
      assert ((host_clocks_reg != 3'd0) == host_waits_reg);
      if (host_waits_reg && !bus_ack) assert (memory_clocks_reg >= host_clocks_reg);
    end

    cover (started_reg && memory_ack && first_reg == 9'd5 && last_reg == 9'd5);
    cover (started_reg && engine_err && host_waits_reg && bus_ack && bus_we);
    cover (started_reg && host_clocks_reg == 3'd5);
    cover (started_reg && memory_waits_reg && writes && !in_new && in_old);
  end

endmodule

`default_nettype wire
