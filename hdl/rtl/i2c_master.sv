`default_nettype none

// I2C master, about 97 or 350 kHz from 12.288 MHz, one command at a time: START, one byte out or in, STOP, each if asked for.
//
// A command is a row of slots (START, 9 bits, STOP) of four steps: set the data line; free the clock line and wait until it is high;
// sample or change the data line; pull the clock line low. A step of a bit lasts a quarter of its period, one of START and
// STOP a half, which meets the set-up and hold times of both speeds. The wait for the clock line has a limit; behind it the command
// ends and both lines are free, so no device can hang the master. It is the only master: it does not look for another one.
module i2c_master
  import codecrig_pkg::*;
#(
    // Clocks, log2, for which a device may hold the clock line low in one bit.
    parameter int STRETCH_LOG2 = 16
) (
    input wire logic clk,
    input wire logic rst,

    // Register slave: I2C_*. Ack one cycle behind stb; rdata is valid with ack and 0
    // without stb.
    input  wire logic        bus_stb,
    input  wire logic        bus_we,
    input  wire logic [15:2] bus_adr,
    input  wire logic [31:0] bus_wdata,
    output logic      [31:0] bus_rdata,
    output logic             bus_ack,

    // Open drain: 1 pulls the line low.
    output logic      scl_low,
    output logic      sda_low,
    input  wire logic scl_in,
    input  wire logic sda_in
);

  // Clocks in a step, less 1; twice as many in a step of START and STOP.
  localparam logic [4:0] FAST_STEP = 5'd7;
  localparam logic [4:0] SLOW_STEP = 5'd30;

  typedef enum logic [1:0] {IDLE, START, BYTE, STOP} slot_t;

  slot_t slot_reg;
  logic [1:0] step_reg;
  logic [5:0] timer_reg;
  logic [3:0] bit_reg;
  logic [STRETCH_LOG2-1:0] stretch_reg;
  logic [7:0] data_reg;
  logic fast_reg, byte_reg, read_reg, acknowledge_reg, stop_reg, nack_reg, stuck_reg, refused_reg;
  logic scl, sda;

  level_synchroniser #(.RESET_LEVEL(1'b1)) scl_synchroniser (.clk, .rst, .level(scl_in), .level_sys(scl));
  level_synchroniser #(.RESET_LEVEL(1'b1)) sda_synchroniser (.clk, .rst, .level(sda_in), .level_sys(sda));

  wire busy = slot_reg != IDLE;
  wire write = bus_stb && bus_we && bus_ack;
  wire command = write && bus_adr[7:2] == I2C_COMMAND[7:2];
  wire with_byte = bus_wdata[I2C_COMMAND_READ_LSB] || bus_wdata[I2C_COMMAND_WRITE_LSB];

  function automatic logic [31:0] word();
    case (bus_adr[7:2])
      I2C_CONTROL[7:2]: word = {31'd0, fast_reg};
      I2C_STATUS[7:2]: word = {16'd0, scl, sda, 1'b0, scl_low, refused_reg, stuck_reg, nack_reg, busy, data_reg};
      default: word = 32'd0;
    endcase
  endfunction

  assign bus_rdata = bus_stb ? word() : 32'd0;

  always_ff @(posedge clk) begin
    bus_ack <= bus_stb && !bus_ack && !rst;

    if (write && bus_adr[7:2] == I2C_CONTROL[7:2]) fast_reg <= bus_wdata[I2C_CONTROL_FAST_LSB];

    // Nothing happens without a command: a simulator passes over the rest.
    if (busy || command) begin
      logic last_bit, waits, step_ends, gives_up;
      logic [4:0] step;
      last_bit = bit_reg[3];
      waits = step_reg == 2'd1 && !scl;
      step_ends = timer_reg == 6'd0 && !waits;
      step = fast_reg ? FAST_STEP : SLOW_STEP;
      // Data line not free where START or STOP needs it, or clock line held for too long.
      gives_up = (&stretch_reg) || (step_ends && !sda && ((slot_reg == START && step_reg == 2'd1) ||
          (slot_reg == STOP && step_reg == 2'd3)));

      if (!busy || step_ends || waits) timer_reg <= slot_reg == START || slot_reg == STOP ? {step, 1'b1} : {1'b0, step};
      else timer_reg <= timer_reg - 6'd1;

      if (!busy) begin
        step_reg <= 2'd0;
        bit_reg <= 4'd0;
        stretch_reg <= '0;
        if (command) begin
          data_reg <= bus_wdata[I2C_COMMAND_DATA_LSB+:8];
          byte_reg <= with_byte;
          read_reg <= bus_wdata[I2C_COMMAND_READ_LSB];
          acknowledge_reg <= bus_wdata[I2C_COMMAND_READ_LSB] && !bus_wdata[I2C_COMMAND_NACK_LSB];
          stop_reg <= bus_wdata[I2C_COMMAND_STOP_LSB];
          nack_reg <= 1'b0;
          stuck_reg <= 1'b0;
          refused_reg <= 1'b0;
          if (bus_wdata[I2C_COMMAND_START_LSB]) slot_reg <= START;
          else if (with_byte) slot_reg <= BYTE;
          else if (bus_wdata[I2C_COMMAND_STOP_LSB]) begin
            slot_reg <= scl_low ? STOP : BYTE;
            // The clock line is free: pull it low first, as the end of a byte does. So each STOP clocks a stuck device once.
            if (!scl_low) step_reg <= 2'd3;
            bit_reg[3] <= 1'b1;
          end
        end
      end else begin
        if (command) refused_reg <= 1'b1;
        stretch_reg <= waits ? stretch_reg + STRETCH_LOG2'(1) : '0;

        case (step_reg)
          2'd0:
          if (slot_reg == BYTE) sda_low <= last_bit ? acknowledge_reg : !read_reg && !data_reg[7];
          else sda_low <= slot_reg == STOP;
          2'd1: begin
            scl_low <= 1'b0;
            if (step_ends && slot_reg == BYTE) begin
              if (last_bit) nack_reg <= sda && !read_reg;
              else data_reg <= {data_reg[6:0], sda};
            end
          end
          2'd2: if (slot_reg != BYTE) sda_low <= slot_reg == START;
          2'd3: scl_low <= slot_reg != STOP;
        endcase

        if (step_ends) begin
          step_reg <= step_reg + 2'd1;
          if (step_reg == 2'd3) begin
            bit_reg <= slot_reg == BYTE ? bit_reg + 4'd1 : 4'd0;
            if (slot_reg == START && byte_reg) slot_reg <= BYTE;
            else if (slot_reg == STOP) slot_reg <= IDLE;
            else if (slot_reg == START || last_bit) slot_reg <= stop_reg ? STOP : IDLE;
          end
        end

        if (gives_up) begin
          slot_reg <= IDLE;
          stuck_reg <= 1'b1;
          scl_low <= 1'b0;
          sda_low <= 1'b0;
        end
      end
    end

    if (rst) begin
      slot_reg <= IDLE;
      scl_low <= 1'b0;
      sda_low <= 1'b0;
      fast_reg <= 1'b0;
      nack_reg <= 1'b0;
      stuck_reg <= 1'b0;
      refused_reg <= 1'b0;
      data_reg <= 8'd0;
    end
  end

  wire unused = &{1'b0, bus_adr[15:8], bus_wdata[31:13]};

endmodule

`default_nettype wire
