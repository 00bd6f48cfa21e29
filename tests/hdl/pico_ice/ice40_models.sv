`default_nettype none

// Behaviour of the iCE40 pad cells as the pico-ice top uses them: a double-rate output, a plain input, open drain. Two-state.

/* verilator lint_off DECLFILENAME */
/* verilator lint_off UNUSEDSIGNAL */
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

  if (PULLUP && PIN_TYPE != 6'b1010_01) begin : gen_pullup
    $fatal(1, "only open-drain pads may have a pull-up");
  end

  if (PIN_TYPE == 6'b0100_01) begin : gen_double_rate
    assign PACKAGE_PIN = OUTPUT_CLK ? D_OUT_0 : D_OUT_1;
  end else if (PIN_TYPE == 6'b1010_01) begin : gen_open_drain
    if (!PULLUP) begin : gen_floating
      $fatal(1, "an open-drain pad without a pull-up floats");
    end
    assign PACKAGE_PIN = OUTPUT_ENABLE ? D_OUT_0 : 1'bz;
    pullup (PACKAGE_PIN);
  end else if (PIN_TYPE != 6'b0000_01) begin : gen_unknown
    $fatal(1, "PIN_TYPE %b is not modelled", PIN_TYPE);
  end

  assign D_IN_0 = PACKAGE_PIN;

endmodule

`default_nettype wire
