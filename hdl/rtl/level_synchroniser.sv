`default_nettype none

// Brings one slow level from another clock, or from no clock, into the system clock: two flip-flops in a row.
//
// Why it is safe: only one bit crosses, so no two bits can disagree; the first flip-flop has a whole clock to settle.
// Limit: a level must last longer than one period of clk to be seen for certain.
module level_synchroniser #(
    // Value of the output while reset is high and just behind it.
    parameter logic RESET_LEVEL = 1'b0
) (
    input  wire logic clk,
    input  wire logic rst,
    input  wire logic level,
    output logic      level_sys
);

  logic first_reg;

  always_ff @(posedge clk)
    if (rst) begin
      first_reg <= RESET_LEVEL;
      level_sys <= RESET_LEVEL;
    end else begin
      first_reg <= level;
      level_sys <= first_reg;
    end

endmodule

`default_nettype wire
