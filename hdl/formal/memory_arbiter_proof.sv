`default_nettype none

// memory_arbiter: two masters that keep to the bus rules and are otherwise free, and one word of memory at an arbitrary address.
module memory_arbiter_proof (
    input wire logic clk,
    input wire logic rst,

    input wire logic        host_stb,
    input wire logic        host_we,
    input wire logic [16:2] host_adr,
    input wire logic [ 3:0] host_sel,
    input wire logic [31:0] host_wdata,

    input wire logic        engine_stb,
    input wire logic        engine_we,
    input wire logic [16:2] engine_adr,
    input wire logic [ 3:0] engine_sel,
    input wire logic [31:0] engine_wdata,

    input wire logic [31:0] other_rdata,  // what any other word holds
    input wire logic [16:2] watched       // any address, the same for ever
);

  logic [31:0] host_rdata, engine_rdata, memory_wdata;
  logic host_ack, engine_ack, memory_stb, memory_we;
  logic [16:2] memory_adr;
  logic [ 3:0] memory_sel;

  // The memory's answer: the watched word from its model, others free.
  logic [31:0] word_reg, rdata_reg;
  logic other_reg;
  wire [31:0] memory_rdata = other_reg ? other_rdata : rdata_reg;

  memory_arbiter dut (.*);

  logic started_reg = 1'b0, rst_reg, host_waits_reg, engine_waits_reg;
  logic [53:0] host_access_reg, engine_access_reg;
  logic [16:2] watched_reg;
  // Both in the cycle before; how long each waits; the word after all acknowledged writes.
  logic host_stb_reg, engine_stb_reg, memory_stb_reg;
  logic [1:0] engine_clocks_reg;
  logic [31:0] shadow_reg;

  wire [53:0] host_access = {host_stb, host_we, host_adr, host_sel, host_we ? host_wdata : 32'd0};
  wire [53:0] engine_access = {engine_stb, engine_we, engine_adr, engine_sel, engine_we ? engine_wdata : 32'd0};

  function automatic logic [31:0] merge(logic [31:0] old, logic [31:0] data, logic [3:0] sel);
    for (int i = 0; i < 4; i++) merge[8*i+:8] = sel[i] ? data[8*i+:8] : old[8*i+:8];
  endfunction

  always_ff @(posedge clk) begin
    started_reg <= 1'b1;
    rst_reg <= rst;
    watched_reg <= watched;
    host_waits_reg <= host_stb && !host_ack && !rst;
    engine_waits_reg <= engine_stb && !engine_ack && !rst;
    host_access_reg <= host_access;
    engine_access_reg <= engine_access;
    host_stb_reg <= host_stb && !host_ack;
    engine_stb_reg <= engine_stb && !engine_ack;
    memory_stb_reg <= memory_stb;
    engine_clocks_reg <= engine_stb && !engine_ack && !rst ? engine_clocks_reg + 2'd1 : 2'd0;

    if (memory_stb && memory_adr == watched) begin
      if (memory_we) word_reg <= merge(word_reg, memory_wdata, memory_sel);
      else rdata_reg <= word_reg;
    end
    if (memory_stb && !memory_we) other_reg <= memory_adr != watched;

    // Reset may cut off a write that has reached the memory: begin anew from what is there.
    if (!started_reg || rst || rst_reg)
      shadow_reg <= memory_stb && memory_we && memory_adr == watched ? merge(word_reg, memory_wdata, memory_sel) : word_reg;
    else if (host_ack && host_we && host_adr == watched) shadow_reg <= merge(shadow_reg, host_wdata, host_sel);
    else if (engine_ack && engine_we && engine_adr == watched) shadow_reg <= merge(shadow_reg, engine_wdata, engine_sel);

    // What masters do.
    if (!started_reg) assume (rst);
    else assume (watched == watched_reg);
    if (started_reg && host_waits_reg) assume (host_access == host_access_reg);
    if (started_reg && engine_waits_reg) assume (engine_access == engine_access_reg);
    // Reset ends an access, and a new one does not begin before it is over.
    if (rst || !started_reg || rst_reg) assume (!host_stb && !engine_stb);

    if (started_reg && !rst_reg) begin
      // Nobody is served without asking, or for the other.
      assert (!host_ack || host_stb_reg);
      assert (!engine_ack || engine_stb_reg);
      assert (!(host_ack && engine_ack));
      assert ((host_ack || engine_ack) == memory_stb_reg);
      // Host: acknowledged one clock behind its strobe, always. Engine: 2 at most.
      if (host_waits_reg) assert (host_ack);
      assert (engine_clocks_reg <= 2'd2);
      if (engine_clocks_reg == 2'd2) assert (engine_ack);
      // One access at the memory: exactly one master's, as it stands.
      if (memory_stb && host_stb && !host_ack)
        assert ({memory_we, memory_adr, memory_sel, memory_wdata} == {host_we, host_adr, host_sel, host_wdata});
      else if (memory_stb)
        assert (engine_stb && !engine_ack
            && {memory_we, memory_adr, memory_sel, memory_wdata} == {engine_we, engine_adr, engine_sel, engine_wdata});
      // Each read sees all writes acknowledged before it, and no other.
      if (host_ack && !host_we && host_adr == watched) assert (host_rdata == shadow_reg);
      if (engine_ack && !engine_we && engine_adr == watched) assert (engine_rdata == shadow_reg);
    end
    // Ties the model's two views of the word together.
    if (started_reg && !rst_reg && !rst)
      assert (word_reg == ((host_ack && host_we && host_adr == watched) ? merge(shadow_reg, host_wdata, host_sel)
          : (engine_ack && engine_we && engine_adr == watched) ? merge(shadow_reg, engine_wdata, engine_sel) : shadow_reg));

    cover (started_reg && host_ack && engine_waits_reg && engine_clocks_reg == 2'd1);
    cover (started_reg && engine_ack && engine_clocks_reg == 2'd2);
    cover (started_reg && engine_ack && !engine_we && engine_adr == watched && engine_rdata == 32'h1234_5678 && host_stb);
  end

endmodule

`default_nettype wire
