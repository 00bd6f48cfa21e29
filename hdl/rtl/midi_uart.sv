`default_nettype none

// MIDI port: UART of 31250 baud with the board time of every byte, in both directions, and a ring of 128 records for each.
//
// Receiver: the record's first word, the time of the start bit, is written as the start bit is seen; the second one behind the stop
// bit; then rx_producer counts it. A byte that is not kept leaves no trace but what lies in free ring places. It follows the line
// also while the gate is closed, so that a gate that opens in the middle of a byte does not mistake data bits for a start bit.
//
// Transmitter: looks at the record at tx_consumer; when its time has come the byte leaves and tx_consumer counts it. The start bit leaves
// 4 to 7 clocks behind its time. A byte that follows another waits for the end of its stop bit. Hold, stall, flush and `dead` are looked
// at in the same clock that lets a byte begin: once such a write is acknowledged, nothing begins any more.
//
// The bit time is 393 clocks, 31,267 baud, 0.05 % from the nominal rate.
module midi_uart
  import codecrig_pkg::*;
#(
    // Clocks in a bit.
    parameter int BIT_CLOCKS = 393
) (
    input wire logic clk,
    input wire logic rst,

    // Register slave: MIDI_*, MIDI_RX_RING, MIDI_TX_RING. Ack one cycle behind stb; rdata is valid with ack and 0
    // without stb.
    input  wire logic        bus_stb,
    input  wire logic        bus_we,
    input  wire logic [15:2] bus_adr,
    input  wire logic [31:0] bus_wdata,
    output logic      [31:0] bus_rdata,
    output logic             bus_ack,

    // Board time, low word.
    input wire logic [31:0] now_lo,

    // Pins, idle high.
    output logic      midi_tx,
    input  wire logic midi_rx,

    // One cycle: a byte was stored; the last queued byte has left, stop bit included; a byte was dropped because the ring is full.
    output logic rx_pulse,
    output logic tx_empty_pulse,
    output logic rx_overflow_pulse
);

  localparam logic [8:0] BIT_END = 9'(BIT_CLOCKS - 1);
  localparam logic [8:0] BIT_MIDDLE = 9'(BIT_CLOCKS / 2 - 1);

  initial
    if (BIT_CLOCKS < 16 || BIT_CLOCKS > 512) $fatal(1, "midi_uart: BIT_CLOCKS is %0d, must be 16 to 512", BIT_CLOCKS);

  logic gate_reg, hold_reg, loopback_reg, stall_reg, dead_reg;
  logic [7:0] rx_producer_reg, rx_consumer_not_reg, tx_producer_not_reg, tx_consumer_reg;  // inverted as differences need them
  logic [7:0] dropped_reg;
  logic framing_reg;

  // ------------------------------------------------------------ host

  wire write = bus_ack && bus_we && bus_stb;

  // Functions here and guards below, so that a simulator works things out when they matter only.
  function automatic logic writes_register(input logic [7:2] offset);
    writes_register = write && bus_adr[11:8] == MIDI_BASE[11:8] && bus_adr[7:2] == offset;
  endfunction
  function automatic logic writes_control();
    writes_control = writes_register(MIDI_CONTROL[7:2]);
  endfunction
  function automatic logic clears();
    clears = writes_control() && bus_wdata[MIDI_CONTROL_RX_CLEAR_LSB];
  endfunction

  logic [31:0] rx_ring_data;
  logic tx_active, tx_level, rx_active, rx_line;
  logic [7:0] tx_free;  // 256 less what is queued; 0: nothing is
  assign tx_free = tx_consumer_reg + tx_producer_not_reg + 8'd1;
  wire tx_pending = tx_free != 8'd0;
  function automatic logic tx_refused();  // more than 128
    tx_refused = tx_pending && !tx_free[7];
  endfunction

  function automatic logic [31:0] word();
    word = 32'd0;
    if (bus_adr[11:10] == MIDI_RX_RING_BASE[11:10]) word = rx_ring_data;
    if (bus_adr[11:8] == MIDI_BASE[11:8] && bus_adr[7:2] == MIDI_CONTROL[7:2])
      word |= {dropped_reg, 2'd0, tx_refused(), framing_reg, rx_line, rx_active, tx_active, !dead_reg, 11'd0, dead_reg, stall_reg,
               loopback_reg, hold_reg, gate_reg};
    if (bus_adr[11:8] == MIDI_BASE[11:8] && bus_adr[7:2] == MIDI_COUNTS[7:2])
      word |= {tx_consumer_reg, ~tx_producer_not_reg, ~rx_consumer_not_reg, rx_producer_reg};
  endfunction

  assign bus_rdata = bus_stb ? word() : 32'd0;

  // ------------------------------------------------------------ receiver

  typedef enum logic [1:0] {RX_IDLE, RX_START, RX_DATA, RX_STOP} rx_state_t;

  rx_state_t rx_state_reg;
  logic [8:0] rx_timer_reg;
  logic [7:0] rx_shift_reg;  // a one goes before the data
  logic rx_keep_reg, rx_pin;
  logic rx_full_reg;  // the ring was full when the byte began: its time was not noted

  level_synchroniser #(.RESET_LEVEL(1'b1)) rx_synchroniser (.clk, .rst, .level(midi_rx), .level_sys(rx_pin));

  assign rx_line   = loopback_reg ? tx_level : rx_pin;
  assign rx_active = rx_state_reg != RX_IDLE;

  (* no_rw_check *) logic [31:0] rx_ring[256];
  initial for (int i = 0; i < 256; i++) rx_ring[i] = '0;

  always_ff @(posedge clk) if (bus_stb) rx_ring_data <= rx_ring[bus_adr[9:2]];

  // Nothing happens while the line is idle.
  wire rx_awake = rx_active || !rx_line || rx_pulse || rx_overflow_pulse || bus_ack || rst;

  always_ff @(posedge clk)
    if (rx_awake) begin
      logic rx_sample, rx_gate, rx_ends, rx_full, rx_stores;
      /* verilator lint_off UNUSEDSIGNAL */
      logic [7:0] level;
      /* verilator lint_on UNUSEDSIGNAL */
      rx_sample = rx_timer_reg == BIT_MIDDLE;
      rx_gate = gate_reg && !dead_reg && !clears();
      rx_ends = rx_state_reg == RX_STOP && rx_keep_reg && rx_gate && rx_sample;
      level = rx_producer_reg + rx_consumer_not_reg + 8'd1;
      rx_full = level[7];
      rx_stores = rx_ends && rx_line && !rx_full_reg;

      // The place behind the newest record is free unless the ring is full.
      if ((!rx_active && !rx_line && !rx_full) || rx_stores)
        rx_ring[{rx_producer_reg[6:0], rx_active}] <= {now_lo[31:8], rx_active ? rx_shift_reg : now_lo[7:0]};
      if (!rx_active) rx_full_reg <= rx_full;

      rx_pulse <= rx_stores && !rst;
      rx_overflow_pulse <= rx_ends && rx_line && rx_full_reg && !rst;

      rx_timer_reg <= !rx_active || rx_timer_reg == BIT_END ? 9'd0 : rx_timer_reg + 9'd1;

      rx_keep_reg <= (rx_keep_reg || !rx_active) && rx_gate && !rx_ends;

      case (rx_state_reg)
        RX_IDLE: begin
          rx_shift_reg <= 8'h80;
          if (!rx_line) rx_state_reg <= RX_START;
        end
        RX_START: if (rx_sample) rx_state_reg <= rx_line ? RX_IDLE : RX_DATA;
        RX_DATA:
        if (rx_sample) begin
          rx_shift_reg <= {rx_line, rx_shift_reg[7:1]};
          if (rx_shift_reg[0]) rx_state_reg <= RX_STOP;
        end
        // A byte that is not kept is over as soon as the line is high. That ends a break too.
        RX_STOP: if (rx_line && (rx_ends || !rx_keep_reg)) rx_state_reg <= RX_IDLE;
      endcase

      if (rx_stores) rx_producer_reg <= rx_producer_reg + 8'd1;
      if (rx_ends && rx_line && rx_full_reg) dropped_reg <= dropped_reg + 8'd1;
      if (rx_ends && !rx_line) framing_reg <= 1'b1;
      if (clears()) framing_reg <= 1'b0;

      if (rst) begin
        rx_state_reg <= RX_IDLE;
        rx_producer_reg <= 8'd0;
        dropped_reg <= 8'd0;
        framing_reg <= 1'b0;
      end
    end

  // ------------------------------------------------------------ transmitter

  // FETCH: the first word is being read. WAIT: for its time. SECOND: the byte is being read. LOAD: it is there.
  typedef enum logic [2:0] {FETCH, WAIT, SECOND, LOAD, SEND} tx_state_t;

  tx_state_t tx_state_reg;
  logic [8:0] tx_timer_reg;
  logic [9:0] tx_shift_reg;  // start bit, data, stop bit; zeros follow
  logic [31:0] tx_ring_data;

  // Has the time of the record come: bit 31 of the clocks to it, less 1. A function, so that a simulator works it out in WAIT only.
  function automatic logic tx_due();
    /* verilator lint_off UNUSEDSIGNAL */
    logic [31:0] left;
    /* verilator lint_on UNUSEDSIGNAL */
    left = tx_ring_data + ~now_lo;
    tx_due = left[31];
  endfunction

  assign tx_level = tx_shift_reg[0];
  assign tx_active = tx_state_reg == SEND;
  assign midi_tx = tx_level || loopback_reg;

  (* no_rw_check *) logic [31:0] tx_ring[256];
  initial for (int i = 0; i < 256; i++) tx_ring[i] = '0;

  always_ff @(posedge clk) if (write) if (bus_adr[11:10] == MIDI_TX_RING_BASE[11:10]) tx_ring[bus_adr[9:2]] <= bus_wdata;

  // As in the receiver.
  wire tx_awake = tx_pending || tx_active || tx_state_reg != FETCH || tx_empty_pulse || rst;

  always_ff @(posedge clk)
    if (tx_awake) begin
      logic may, bit_ends, ends;
      tx_ring_data <= tx_ring[{tx_consumer_reg[6:0], tx_state_reg == SECOND}];
      // Not in the clock of a write to CONTROL: what it holds or flushes must not begin beside it.
      may = tx_pending && !tx_refused() && !hold_reg && !stall_reg && !dead_reg && !writes_control();
      bit_ends = tx_timer_reg == BIT_END;
      ends = tx_active && bit_ends && tx_shift_reg[9:1] == 9'd0;

      tx_empty_pulse <= ends && !tx_pending && !rst;

      tx_timer_reg <= !tx_active || bit_ends ? 9'd0 : tx_timer_reg + 9'd1;

      if (tx_state_reg == LOAD && may) tx_shift_reg <= {1'b1, tx_ring_data[7:0], 1'b0};
      else if (tx_active && bit_ends && !ends) tx_shift_reg <= {1'b0, tx_shift_reg[9:1]};

      if (tx_active) begin
        if (ends) tx_state_reg <= FETCH;
      end else if (!may) tx_state_reg <= FETCH;
      else
        case (tx_state_reg)
          FETCH: tx_state_reg <= WAIT;
          WAIT: if (tx_due()) tx_state_reg <= SECOND;
          SECOND: tx_state_reg <= LOAD;
          default: begin
            tx_state_reg <= SEND;
            tx_consumer_reg <= tx_consumer_reg + 8'd1;
          end
        endcase

      if (rst) begin
        tx_state_reg <= FETCH;
        tx_shift_reg <= 10'd1;
        tx_consumer_reg <= 8'd0;
      end
    end

  // ------------------------------------------------------------ registers of the host

  always_ff @(posedge clk) begin
    bus_ack <= bus_stb && !bus_ack && !rst;

    if (write) begin
      if (writes_control()) {dead_reg, stall_reg, loopback_reg, hold_reg, gate_reg} <= bus_wdata[4:0];
      if (writes_register(MIDI_RX_CONSUMER[7:2])) rx_consumer_not_reg <= ~bus_wdata[7:0];
      if (clears()) rx_consumer_not_reg <= ~rx_producer_reg;
      if (writes_register(MIDI_TX_PRODUCER[7:2])) tx_producer_not_reg <= ~bus_wdata[7:0];
      if (writes_control() && bus_wdata[MIDI_CONTROL_TX_FLUSH_LSB]) tx_producer_not_reg <= ~tx_consumer_reg;
    end

    if (rst) begin
      {dead_reg, stall_reg, loopback_reg, hold_reg, gate_reg} <= 5'd0;
      rx_consumer_not_reg <= '1;
      tx_producer_not_reg <= '1;
    end
  end

  wire unused = &{1'b0, bus_adr[15:12]};

endmodule

`default_nettype wire
