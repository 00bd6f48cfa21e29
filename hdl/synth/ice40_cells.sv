`default_nettype none

// Declarations of the iCE40 cells that the sources name, for tools that do not bring them. No behaviour. Ports that nobody
// here connects are left out. See Lattice, iCE Technology Library (FPGA-TN-02026).

/* verilator lint_off UNDRIVEN */
/* verilator lint_off UNUSEDSIGNAL */
/* verilator lint_off UNUSEDPARAM */
/* verilator lint_off DECLFILENAME */

(* blackbox *)
module SB_IO #(
    parameter logic [5:0] PIN_TYPE = 6'b000000,
    parameter logic PULLUP = 1'b0
) (
    inout  wire logic PACKAGE_PIN,
    input  wire logic OUTPUT_CLK,
    input  wire logic OUTPUT_ENABLE,
    input  wire logic D_OUT_0,
    input  wire logic D_OUT_1,
    output wire logic D_IN_0
);
endmodule

(* blackbox *)
module SB_SPRAM256KA (
    input  wire logic [13:0] ADDRESS,
    input  wire logic [15:0] DATAIN,
    input  wire logic [3:0] MASKWREN,
    input  wire logic WREN,
    input  wire logic CHIPSELECT,
    input  wire logic CLOCK,
    input  wire logic STANDBY,
    input  wire logic SLEEP,
    input  wire logic POWEROFF,
    output wire logic [15:0] DATAOUT
);
endmodule

`default_nettype wire
