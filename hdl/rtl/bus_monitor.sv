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

  localparam int COUNTS = 4;  // reads and writes of each

  // Ranges in words; HIGH may be the word behind the memory.
  logic [1:0][17:2] low_reg, high_reg;
  logic [1:0] enable_reg, outside_reg;
  // Who met a first access in the same cycle as this monitor, itself included; 0: it has met none. Also the place of time and address.
  logic [1:0][1:0] slot_reg;
  // Announcements.
  logic [1:0] announce_reg;
  logic [1:0][7:0] stamp_reg;
  logic [1:0][16:2] address_reg;
  // Counts: the low 4 bits here, the rest in memory; a carry waits until it is added there.
  logic [COUNTS-1:0][3:0] count_reg;
  logic [COUNTS-1:0] carry_reg;

  // -------------------------------------------------------------------------------------------- accesses

  // adr >= limit: no carry of limit + ~adr. All comparisons share the inverted address.
  function automatic logic reaches(input logic [16:2] adr, input logic [17:2] limit);
    /* verilator lint_off UNUSEDSIGNAL */  // only the carry matters
    logic [16:0] sum;
    /* verilator lint_on UNUSEDSIGNAL */
    sum = {1'b0, limit} + {2'b01, ~adr};
    reaches = !sum[16];
  endfunction

  function automatic logic [1:0] counted();
    counted = 2'b00;
    for (int i = 0; i < MONITORS; i++)
      counted[i] = enable_reg[i]
          && ((reaches(access_adr, low_reg[i]) && !reaches(access_adr, high_reg[i])) != outside_reg[i]);
  endfunction

  // -------------------------------------------------------------------------------------------- memory

  // The registers of a monitor as they are read, at their address; word 0 is 0 for ever. known_reg tells which have been written
  // since reset, or since CLEAR; the others read word 0.
  (* no_rw_check *) logic [31:0] words[32];
  // Time and address of first accesses, by slot; slot 0 is 0 for ever.
  (* no_rw_check, ram_style = "block" *) logic [31:0] times[4];
  (* no_rw_check, ram_style = "block" *) logic [16:2] addresses[4];

  initial begin
    for (int i = 0; i < 32; i++) words[i] = '0;
    for (int i = 0; i < 4; i++) times[i] = '0;
    for (int i = 0; i < 4; i++) addresses[i] = '0;
  end

  logic [31:0] word, first_time;
  logic [16:2] first_address;
  logic [1:0][7:0] known_reg;

  // Monitors are 0x20 bytes apart, the first at offset 0xA0: bits 6:5 read 1, 2.
  wire starts = bus_stb && !bus_ack;
  wire [2:0] offset = bus_adr[4:2];
  wire host_monitor = bus_adr[6];
  function automatic logic selected();
    selected = bus_adr[6] ? MONITORS > 1 && !bus_adr[5] : bus_adr[5];
  endfunction

  // A carry is added in two cycles: read, write. An access of the host that begins meanwhile goes first.
  logic adds_reg;  // a carry is being added
  logic is_count_reg;  // the word that was read is a count,
  logic [1:0] index_reg;  // namely this: {monitor, writes}

  function automatic logic [31:0] answer();
    answer = {word[31:4] + 28'(is_count_reg && carry_reg[index_reg]), is_count_reg ? count_reg[index_reg] : word[3:0]} | first_time | {15'd0, first_address, 2'b00};
  endfunction

  assign bus_rdata = bus_ack ? answer() : 'x;

  always_ff @(posedge clk) begin
    if (starts || |carry_reg) begin
      logic [1:0] index;
      logic known;
      index = {host_monitor, offset == MONITOR_WRITES[4:2]};
      known = selected() && !bus_we && known_reg[host_monitor][offset];
      if (!starts) begin
        index = 2'd0;
        for (int i = COUNTS - 1; i >= 0; i--) if (carry_reg[i]) index = 2'(i);
        known = known_reg[index[1]][index[0] ? MONITOR_WRITES[4:2] : MONITOR_READS[4:2]];
      end
      word <= words[!known ? 5'd0 : starts ? bus_adr[6:2] : {index[1], !index[1], index[0], {2{!index[0]}}}];
      index_reg <= index;
      is_count_reg <= !starts || (selected() && (offset == MONITOR_READS[4:2] || offset == MONITOR_WRITES[4:2]));
      first_time <= times[starts && selected() && offset == MONITOR_FIRST_TIME[4:2] ? slot_reg[host_monitor] : 2'd0];
      first_address <= addresses[starts && selected() && offset == MONITOR_FIRST_ADDRESS[4:2] ? slot_reg[host_monitor] : 2'd0];
    end
    adds_reg <= |carry_reg && !bus_stb && !adds_reg && !rst;
  end

  wire write = bus_ack && bus_we && bus_stb;

  always_ff @(posedge clk)
    if (adds_reg || write) begin
      logic [31:0] written;
      written = answer();  // 0 when the host writes
      if (adds_reg) written[3:0] = 4'd0;
      else if (offset == MONITOR_CONTROL[4:2]) written[1:0] = bus_wdata[1:0];
      else written[17:2] = {bus_wdata[17] && offset == MONITOR_HIGH[4:2], bus_wdata[16:2]};
      if (adds_reg ? !starts : selected() && offset <= MONITOR_CONTROL[4:2])
        words[adds_reg ? {index_reg[1], !index_reg[1], index_reg[0], {2{!index_reg[0]}}} : bus_adr[6:2]] <= written;
    end

  // -------------------------------------------------------------------------------------------- announcements

  wire index = !announce_reg[0];
  assign monitor_valid = |announce_reg;
  assign monitor_index = 8'(index && announce_reg[1]);
  assign monitor_stamp = stamp_reg[index];
  assign monitor_address = {15'd0, address_reg[index], 2'b00};

  // -------------------------------------------------------------------------------------------- registers

  always_ff @(posedge clk) begin
    bus_ack <= starts && !rst;

    if (monitor_ready) begin
      if (announce_reg[0]) announce_reg[0] <= 1'b0;
      else announce_reg[1] <= 1'b0;
    end

    if (adds_reg && !starts) begin
      carry_reg[index_reg] <= 1'b0;
      known_reg[index_reg[1]][index_reg[0] ? MONITOR_WRITES[4:2] : MONITOR_READS[4:2]] <= 1'b1;
    end

    if (access_valid && |enable_reg) begin
      logic [1:0] hits, first;
      hits = counted();
      for (int i = 0; i < MONITORS; i++) begin
        first[i] = hits[i] && slot_reg[i] == '0;
        if (hits[i] && !access_we) begin
          count_reg[2*i] <= count_reg[2*i] + 4'd1;
          if (&count_reg[2*i]) carry_reg[2*i] <= 1'b1;
        end
        if (hits[i] && access_we) begin
          count_reg[2*i+1] <= count_reg[2*i+1] + 4'd1;
          if (&count_reg[2*i+1]) carry_reg[2*i+1] <= 1'b1;
        end
      end
      if (MONITORS < 2) first[1] = 1'b0;
      for (int i = 0; i < MONITORS; i++)
        if (first[i]) begin
          slot_reg[i] <= first;
          announce_reg[i] <= 1'b1;
          stamp_reg[i] <= now_lo[7:0];
          address_reg[i] <= access_adr;
        end
      if (first != '0) begin
        times[first] <= now_lo;
        addresses[first] <= access_adr;
      end
    end

    if (write && selected())
      for (int i = 0; i < MONITORS; i++)
        if (host_monitor == i[0])
          case (offset)
            MONITOR_LOW[4:2]: begin
              low_reg[i] <= {1'b0, bus_wdata[16:2]};
              known_reg[i][offset] <= 1'b1;
            end
            MONITOR_HIGH[4:2]: begin
              high_reg[i] <= bus_wdata[17:2];
              known_reg[i][offset] <= 1'b1;
            end
            MONITOR_CONTROL[4:2]: begin
              enable_reg[i] <= bus_wdata[MONITOR_CONTROL_ENABLE_LSB];
              outside_reg[i] <= bus_wdata[MONITOR_CONTROL_OUTSIDE_LSB];
              known_reg[i][offset] <= 1'b1;
              if (bus_wdata[MONITOR_CONTROL_CLEAR_LSB]) begin
                known_reg[i][MONITOR_READS[4:2]] <= 1'b0;
                known_reg[i][MONITOR_WRITES[4:2]] <= 1'b0;
                count_reg[2*i] <= '0;
                count_reg[2*i+1] <= '0;
                carry_reg[2*i+:2] <= '0;
                slot_reg[i] <= '0;
                announce_reg[i] <= 1'b0;
              end
            end
            default: ;
          endcase

    if (rst) begin
      low_reg <= '0;
      high_reg <= '0;
      known_reg <= '0;
      slot_reg <= '0;
      count_reg <= '0;
      carry_reg <= '0;
      announce_reg <= '0;
      enable_reg <= '0;
      outside_reg <= '0;
    end
  end

  initial if (MONITORS < 1 || MONITORS > 2) $fatal(1, "bus_monitor: MONITORS is %0d, must be 1 or 2", MONITORS);

  wire unused = &{1'b0, bus_adr[15:7], bus_wdata[31:18]};

endmodule

`default_nettype wire
