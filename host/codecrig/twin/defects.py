"""Defects of the RTL that a twin can have, to prove that the contract's checks find them.

A build of its own holds all of them, each behind a bit of one vector, which is set when the twin starts. They are
edits of copies of the sources: the RTL itself knows nothing of them. An edit that no longer fits the source is an
error, and whoever changes that line moves the edit along.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

VECTOR_FILE = "codecrig_pkg.sv"
_VECTOR_AFTER = "package codecrig_pkg;\n"
_VECTOR = "  logic [31:0] defects /* verilator public_flat_rw */;\n"


@dataclass(frozen=True, slots=True)
class Defect:
    """One edit: `good`, which stands once in the file, becomes `bad`, in which DEFECT says whether it is on.

    `declared` is what `bad` needs in addition, in the module's body.
    """

    name: str
    description: str
    file: str
    good: str
    bad: str
    declared: str = ""


DEFECTS = (
    Defect(
        "position-a-frame-ahead",
        "A snapshot counts the frame that is still to come.",
        "stream_engine.sv",
        "wire operand_t add = now_reg.operand;",
        "wire operand_t add = DEFECT && state_reg == SNAP_A ? ADD_ONE : now_reg.operand;",
    ),
    Defect(
        "snapshot-keeps-old-bytes",
        "In every other millisecond (4096 clocks) a snapshot keeps the bytes of the one before.",
        "stream_engine.sv",
        ".write(host_write || marking_reg || (write && run_it)),",
        ".write(host_write || marking_reg || (write && run_it && !(DEFECT && state_reg == SNAP_C && time_reg[12]))),",
    ),
    Defect(
        "capture-ends-a-word-early",
        "A capture descriptor ends, with its event, up to a word before its last byte is written.",
        "stream_engine.sv",
        "wire last_byte = moving && mem_ack && rest_next == 6'd0;",
        "wire last_byte = moving && mem_ack && (rest_next == 6'd0 || (DEFECT && capture_reg && rest_next <= 6'd4));",
    ),
    Defect(
        "capture-writes-whole-words",
        "Capture writes whole words, where a descriptor begins or ends within one.",
        "stream_engine.sv",
        "assign mem_sel = fetching ? 4'b1111 :",
        "assign mem_sel = fetching || (DEFECT && capture_reg) ? 4'b1111 :",
    ),
    Defect(
        "revocation-leaves-what-was-read",
        "A revocation is acknowledged, but the descriptor that the engine has read goes on.",
        "stream_engine.sv",
        "wire write = now_reg.write[5:4] != 2'd3;",
        "wire write = now_reg.write[5:4] != 2'd3 && !(DEFECT && state_reg == REVOKE_J);",
    ),
    Defect(
        "pause-empties-the-fifo",
        "PAUSE throws away what is in the FIFO.",
        "stream_engine.sv",
        "DO_CHANGE: changed_reg <= 1'b1;",
        "DO_CHANGE: begin\n changed_reg <= 1'b1;\n"
        " if (DEFECT && run_reg == 2'(STREAM_STATE_PAUSE)) write_reg <= read_reg;\n end",
    ),
    Defect(
        "every-missed-frame-counts",
        "Each frame of a gap counts as a gap of its own.",
        "stream_engine.sv",
        "IF_GAP: branch[0] = gap_reg;",
        "IF_GAP: branch[0] = gap_reg && !DEFECT;",
    ),
    Defect(
        "end-of-stream-is-a-gap",
        "An end of stream is not looked at: the engine waits for data that nobody promised, and reports a gap.",
        "stream_engine.sv",
        "ended_reg <= context_rdata[DESCRIPTOR_END_OF_STREAM_BIT];",
        "ended_reg <= context_rdata[DESCRIPTOR_END_OF_STREAM_BIT] && !DEFECT;",
    ),
    Defect(
        "events-get-lost",
        "Every fourth event at the end of a descriptor is forgotten.",
        "stream_engine.sv",
        "post_reg <= context_rdata[DESCRIPTOR_EVENT_FLAG_BIT];",
        "post_reg <= context_rdata[DESCRIPTOR_EVENT_FLAG_BIT] && !(DEFECT && &counted_reg);\n"
        " counted_reg <= counted_reg + 2'(context_rdata[DESCRIPTOR_EVENT_FLAG_BIT]);",
        "logic [1:0] counted_reg = '0;",
    ),
    Defect(
        "causes-cannot-be-cleared",
        "What the host clears stays, and is posted again.",
        "event_ring.sv",
        "{enabled, sticky & ~bus_wdata[7:0]}",
        "{enabled, sticky & ~(bus_wdata[7:0] & {8{!DEFECT}})}",
    ),
    Defect(
        "no-silence-behind-the-end",
        "Behind the end of a stream there is no silence: what lies in the FIFO is played again and again.",
        "stream_engine.sv",
        "{ended_reg && (capture_reg || !frame_there()), !late_reg && frame_there()};",
        "{ended_reg && (capture_reg || (!frame_there() && !DEFECT)),"
        " !late_reg && (frame_there() || (DEFECT && ended_reg))};",
    ),
    Defect(
        "left-and-right-swapped",
        "Left and right of the DAC are exchanged.",
        "rig_core.sv",
        ".frame_tick, .frame_out(render_frame), .mute, .serial_frame,",
        ".frame_tick, .frame_out(DEFECT ? {render_frame[CHANNELS*24-25-:24], render_frame[CHANNELS*24-1-:24],\n"
        " {CHANNELS*24-48{1'b0}}} : render_frame), .mute, .serial_frame,",
    ),
    Defect(
        "monitor-counts-no-writes",
        "The referee does not see what the engine writes.",
        "bus_monitor.sv",
        "if (hits[i] && access_we) begin",
        "if (hits[i] && access_we && !DEFECT) begin",
    ),
)


def number(name: str) -> int:
    """The bit of the defect called `name`. Raises ValueError if there is none."""
    names = [defect.name for defect in DEFECTS]
    if name not in names:
        raise ValueError(f"expected a defect, one of {', '.join(names)}; found {name!r}")
    return names.index(name)


def inject(sources: Mapping[str, str]) -> dict[str, str]:
    """RTL by file name with all defects built in, all of them off. Raises ValueError if an edit does not fit."""
    made = dict(sources)
    made[VECTOR_FILE] = _once(made[VECTOR_FILE], _VECTOR_AFTER, _VECTOR_AFTER + _VECTOR, VECTOR_FILE)
    for bit, defect in enumerate(DEFECTS):
        bad = defect.bad.replace("DEFECT", f"codecrig_pkg::defects[{bit}]")
        where = f"{defect.file}: defect {defect.name}"
        made[defect.file] = _once(made[defect.file], defect.good, bad, where)
        if defect.declared:
            made[defect.file] = _once(made[defect.file], "\n);\n", f"\n);\n{defect.declared}\n", where)
    return made


def _once(text: str, good: str, bad: str, where: str) -> str:
    if text.count(good) != 1:
        raise ValueError(f"{where}: expected once, found {text.count(good)} times: {good.strip()}")
    return text.replace(good, bad)
