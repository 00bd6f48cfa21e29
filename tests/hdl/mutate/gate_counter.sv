`default_nettype none

// For the test of mutate.py: counts enabled clocks to 20 and stays there.
module gate_counter (
    input wire logic clk,
    input wire logic rst,
    input wire logic enable,
    output logic [4:0] count,
    output logic full
);

  assign full = count >= 5'd20;

  always_ff @(posedge clk)
    if (rst) count <= 5'd0;
    else if (enable && !full) count <= count + 5'd1;
    // The same again, for mutants that change nothing.
    else if (full) count <= count & {5{enable || !enable}};

endmodule

`default_nettype wire
