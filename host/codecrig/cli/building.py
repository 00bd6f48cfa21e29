"""build: bitstream and firmware of a board from the sources of this checkout, made anew only if these have changed."""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import click
from rich.console import Console
from rich.markup import escape

from codecrig.board import BoardProfile, board_profile
from codecrig.cli.artifacts import bitstream_file, firmware_file
from codecrig.cli.common import (
    FILE,
    ExitStatus,
    Session,
    json_option,
    log,
    pass_session,
    plain,
    sha256_of,
    verbosity_options,
)
from codecrig.twin import BuildError, MissingTool
from codecrig.twin.builder import repository_root

Say = Callable[[str], None]


@click.command(short_help="Bitstream and firmware of a board.")
@click.option("--board", default="twin", show_default=True, metavar="NAME", help="Board: see `codecrig list`.")
@click.option("--profile", type=FILE, metavar="FILE", help="Another board.toml for this board.")
@click.option("--firmware-only", is_flag=True, help="Leave the bitstream out: it takes 10 to 30 minutes.")
@click.option("--bitstream-only", is_flag=True, help="Leave the firmware out.")
@json_option
@verbosity_options
@pass_session
def build(session: Session, board: str, profile: Path | None, firmware_only: bool, bitstream_only: bool) -> int:
    """Makes what `codecrig load` puts onto a board, and says what came of it and its hash.

    What was made from the same sources with the same tools is kept. For a simulated board: the program that simulates
    it. Exit code 4 if a build fails, with the place of its log; 3 if a tool is missing.

    \b
    Example: codecrig build --board pico-ice
             codecrig build --board pico-ice --firmware-only
    """  # fmt: skip
    if firmware_only and bitstream_only:
        raise click.UsageError("--firmware-only and --bitstream-only leave nothing to build")
    chosen = board_profile(board, profile)
    steps = _steps(chosen, firmware_only, bitstream_only)
    console = Console(stderr=True, quiet=session.verbosity < 0, highlight=False)
    made: dict[str, Any] = {}
    shown = console.status(f"building for {chosen.name}") if console.is_terminal else nullcontext()
    with shown as status:

        def say(text: str) -> None:
            log.info("%s", text)
            if status is not None:
                status.update(escape(text))
            else:
                console.print(escape(text), soft_wrap=True)

        for name, step in steps.items():
            began = time.perf_counter()
            facts = step(say)
            made[name] = {**facts, "sha256": sha256_of(Path(facts["file"])), "seconds": time.perf_counter() - began}
    session.write_json(plain({"board": chosen.name, **made}), ExitStatus.PASSED)
    for name, facts in made.items():
        how = f"made in {facts['seconds']:.0f} s" if facts["made"] else "up to date"
        session.say(f"[bold]{name}[/]  {escape(facts['file'])}  {how}")
        session.say(f"  build {facts['build']}, SHA-256 {facts['sha256']}")
        for clock, rate in facts.get("clocks_mhz", {}).items():
            session.say(f"  {clock} reaches {rate:.1f} MHz, {facts['needed_mhz'][clock]:g} are needed")
    return ExitStatus.PASSED


def _steps(
    profile: BoardProfile, firmware_only: bool, bitstream_only: bool
) -> dict[str, Callable[[Say], dict[str, Any]]]:
    if profile.kind == "twin":
        steps: dict[str, Callable[[Say], dict[str, Any]]] = {}
        if not firmware_only:
            steps["simulation"] = _twin
        if profile.microcontroller == "rp2040" and not bitstream_only:
            steps["firmware"] = lambda say: _build_firmware("pico-ice", say)
    elif profile.kind == "usb":
        steps = {"firmware": lambda say: _build_firmware(profile.name, say)}
        if firmware_only:
            return steps
        bitstream = {"bitstream": lambda say: _build_bitstream(profile.name, say)}
        steps = bitstream if bitstream_only else {**steps, **bitstream}
    else:
        raise click.BadParameter(f"board {profile.name} is not built: it runs from the source", param_hint="--board")
    if not steps:
        raise click.BadParameter(f"board {profile.name} has no firmware of its own", param_hint="--firmware-only")
    return steps


def _twin(say: Say) -> dict[str, Any]:
    from codecrig import twin

    told: list[str] = []

    def note(text: str) -> None:
        told.append(text)
        say(text)

    program = twin.build(note)
    return {"file": str(program), "build": f"{twin.design_id():08X}", "made": bool(told)}


def _module(path: str, name: str) -> ModuleType:
    """A script of the checkout as a module."""
    file = repository_root() / path
    specification = importlib.util.spec_from_file_location(name, file)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module  # dataclasses look themselves up there
    specification.loader.exec_module(module)
    return module


def _build_firmware(board: str, say: Say) -> dict[str, Any]:
    make = _module("firmware/build.py", "codecrig_firmware_build")
    if board not in make.BOARDS:
        raise click.BadParameter(f"there is no firmware for board {board}", param_hint="--board")
    number = f"{make.sources.build_id():08X}"
    file = firmware_file(board)
    key_file = file.with_name("codecrig.key")
    try:
        key = f"{number} {_compiler(make)} {make.BOARDS[board]}"
        if not (file.exists() and key_file.exists() and key_file.read_text() == key):
            key_file.unlink(missing_ok=True)
            say(f"compiling the firmware for {board}")
            make.build(make.BOARDS[board])
            key_file.write_text(key)
            return {"file": str(file), "build": number, "made": True}
    except make.sources.SourceError as error:
        raise MissingTool(str(error)) from error
    except make.BuildFailed as error:
        raise (MissingTool if "not found" in str(error) else BuildError)(str(error)) from error
    return {"file": str(file), "build": number, "made": False}


def _compiler(make: ModuleType) -> str:
    for tool in make.TOOLS:
        if make.shutil.which(tool) is None:
            raise make.BuildFailed(f"{tool} not found; on Debian: apt install {make.DEBIAN_PACKAGES}")
    said = subprocess.run([make.TOOLS[-1], "--version"], capture_output=True, text=True, check=False).stdout
    script = (repository_root() / "firmware" / "build.py").read_bytes()
    return f"{said.splitlines()[0] if said else ''} {hashlib.sha256(script).hexdigest()[:16]}"


def _build_bitstream(board: str, say: Say) -> dict[str, Any]:
    synth = _module("hdl/synth/synth.py", "codecrig_synth")
    design = next((each for each in synth.DESIGNS if each.name == board and each.pins), None)
    if design is None:
        raise click.BadParameter(f"there is no FPGA design for board {board}", param_hint="--board")
    try:
        for tool in (*synth.TOOLS, "yowasp-icepack"):
            synth.tool(tool)
        number = f"{synth.build_id(design):08X}"
    except synth.SynthesisError as error:
        raise MissingTool(str(error)) from error
    file = bitstream_file(board)
    placed = file.parent / f"seed-{synth.SEED}" / "report.json.key"
    made = not (file.exists() and placed.exists() and placed.read_text() == number)
    try:
        if made:
            say(f"synthesis for {board}: some minutes; log {file.parent / 'yosys.log'}")
        synth.synthesise(design)
        if made:
            say(f"place and route for {board}: 10 to 30 minutes; log {placed.parent / 'nextpnr.log'}")
        clocks = synth.place_and_route(design, synth.SEED)
    except synth.SynthesisError as error:
        raise BuildError(str(error)) from error
    needed = {"clk": synth.CLOCK_MHZ, "spi_sck": synth.SCK_MHZ}
    slow = [f"{name} reaches {clocks.get(name, 0):.1f} of {rate:g} MHz" for name, rate in needed.items()
            if clocks.get(name, 0) < rate]  # fmt: skip
    if slow:
        raise BuildError(f"the design for {board} is too slow: {', '.join(slow)}; log {placed.parent / 'nextpnr.log'}")
    return {"file": str(file), "build": number, "made": made, "clocks_mhz": clocks, "needed_mhz": needed}
