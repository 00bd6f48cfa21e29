"""Opening a board by name, and finding the boards there are.

Names: `model`, `twin`, `cocotb` (inside a bench), a folder in `boards/`, `usbip:HOST[:PORT]/BUSID` for a board that
somebody else exports, or `replay:FILE` for a recorded run.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import msgspec

from codecrig import package_version
from codecrig.board.bench import Bench, TwinBench
from codecrig.board.board import Board
from codecrig.board.errors import BoardError, EnvironmentProblem, ProfileError
from codecrig.board.profile import BoardProfile, find_profile, load_profile, profile_files
from codecrig.link import Control, Link, LinkError, Reply, Request

if TYPE_CHECKING:
    from codecrig.link.recording import Recorder, Recording
    from codecrig.link.usb import UsbDevice
    from codecrig.twin import TwinProcess

Pace = Literal["virtual", "real"]

_USBIP = re.compile(r"^usbip:(?P<host>\[[^]]+\]|[^:/\[\]]+)(?::(?P<port>\d+))?/(?P<bus_id>[0-9.-]+)$")
_USBIP_PORT = 3240

DYING_S = 2.0
"""A twin's sockets close before its process ends: a sanitizer's report takes that long."""


@dataclass(frozen=True)
class BoardListing:
    """One board that could be opened, or why it could not."""

    name: str
    """What `--board` takes; empty for a board without a profile."""
    kind: str
    description: str
    serial: str
    available: bool
    detail: str
    """Where it was found, or what is missing."""
    profile: Path | None
    snippet: str = ""
    """For a board without a profile: text ready to become its board.toml."""


class Connection:
    """The way to one board, before anything is asked of it: its FPGA may be empty.

    A context manager, which closes the link. `board` hands all of it over to a Board.
    """

    def __init__(
        self,
        link: Link,
        profile: BoardProfile,
        bench: Bench,
        on_close: Sequence[Callable[[], None]] = (),
        reopen: Callable[[], Link] | None = None,
    ) -> None:
        self.link = link
        self.profile = profile
        self.bench = bench
        self._on_close = list(on_close)
        self._reopen = reopen
        self._taken = False

    def reopen(self, timeout_s: float) -> None:
        """Take up a board again that has left the bus for its boot loader. Raises LinkError if it is not back in time.

        The time is that of the wall clock: it is the system that has to notice.
        """
        self.link.close()
        if self._reopen is None:
            return
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                self.link = self._reopen()
                return
            except LinkError:
                if time.monotonic() >= deadline:
                    raise
            time.sleep(0.1)

    def board(self) -> Board:
        """The board, in a known state. It closes the link, also if this fails."""
        self._taken = True
        return Board(self.link, self.profile, bench=self.bench, on_close=self._on_close)

    def lend(self) -> Board:
        """The same, but closing that board leaves the connection open."""
        return Board(_Lent(self.link), self.profile, bench=self.bench)

    def close(self) -> None:
        """Close the link, and a twin with it. Harmless if a board has it, or twice."""
        if self._taken:
            return
        self._taken = True
        with ExitStack() as steps:
            for step in reversed([self.link.close, *self._on_close]):
                steps.callback(step)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Lent(Link):
    """A link that stays open when its user closes it."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.name = link.name
        self.serial = link.serial

    def exchange(self, requests: Sequence[Request]) -> list[Reply]:
        return self._link.exchange(requests)

    def send(self, requests: Sequence[Request]) -> None:
        self._link.send(requests)

    def receive(self) -> list[Reply]:
        return self._link.receive()

    def host_time_ns(self) -> int:
        return self._link.host_time_ns()

    def close(self) -> None:
        pass


def open_board(
    name: str = "twin",
    *,
    serial: str | None = None,
    profile: Path | None = None,
    clock_ppm: float | None = None,
    pace: Pace = "virtual",
    trace: Path | None = None,
    log: Path | None = None,
    record: Path | None = None,
    defect: str | None = None,
) -> Board:
    """An open board in a known state: streams stopped, converter off.

    `profile` overrides the profile file. `clock_ppm`, `pace`, `trace` (an FST file) and `log` are for simulated boards.
    `record` names a file for all that passes over the link; `replay:FILE` as a name runs from it. `defect`: one of the
    RTL (codecrig/twin/defects.py), for twins.
    Raises EnvironmentProblem if the name is unknown or no such board is there, LinkError or BoardError if it is there
    but does not answer as it should.
    """
    return connect(
        name,
        serial=serial,
        profile=profile,
        clock_ppm=clock_ppm,
        pace=pace,
        trace=trace,
        log=log,
        record=record,
        defect=defect,
    ).board()


def connect(
    name: str = "twin",
    *,
    serial: str | None = None,
    profile: Path | None = None,
    clock_ppm: float | None = None,
    pace: Pace = "virtual",
    trace: Path | None = None,
    log: Path | None = None,
    record: Path | None = None,
    defect: str | None = None,
) -> Connection:
    """The way to a board, which may not be ready for use: see `open_board` for the options and what is raised."""
    kind, _, rest = name.partition(":")
    if kind == "replay" and rest:
        options = {"serial": serial, "profile": profile, "clock_ppm": clock_ppm, "trace": trace, "record": record}
        return _open_replay(Path(rest), [option for option, value in options.items() if value is not None])
    recorder = None
    if record is not None:
        from codecrig.link.recording import Recorder

        try:
            recorder = Recorder(record)
        except LinkError as error:
            raise EnvironmentProblem(str(error)) from error
    try:
        return _open(name, serial, profile, clock_ppm, pace, trace, log, recorder, defect)
    except BaseException:
        if recorder is not None:
            recorder.close()
        raise


def _open(
    name: str,
    serial: str | None,
    profile: Path | None,
    clock_ppm: float | None,
    pace: Pace,
    trace: Path | None,
    log: Path | None,
    recorder: Recorder | None,
    defect: str | None,
) -> Connection:
    kind, _, _ = name.partition(":")
    if kind == "usbip" and ":" in name:
        return _open_usbip(name, load_profile(profile or find_profile("twin")), serial, recorder)
    if ":" in name:
        raise EnvironmentProblem(
            f"expected a board name, usbip:HOST[:PORT]/BUSID or replay:FILE; found {name!r}: boards of kind {kind!r} "
            f"are not supported in this version; next step: choose one of {', '.join(sorted(profile_files()))}"
        )
    loaded = load_profile(profile or find_profile(name))
    if loaded.kind != "twin" and (trace is not None or pace != "virtual" or defect is not None):
        raise EnvironmentProblem(f"board {name!r} is of kind {loaded.kind!r}: trace, pace and defect are for a twin")
    if loaded.kind != "usb" and serial is not None:
        raise EnvironmentProblem(f"board {name!r} is simulated: a serial number chooses among physical boards")
    if loaded.kind == "model":
        return _open_model(loaded, clock_ppm, recorder)
    if loaded.kind == "cocotb":
        if recorder is not None:
            raise EnvironmentProblem(f"board {name!r} lives in a bench of yours: a run on it cannot be recorded")
        return _open_cocotb(loaded, clock_ppm)
    if loaded.kind == "twin":
        return _open_twin(loaded, clock_ppm, pace, trace, log, recorder, defect)
    if clock_ppm is not None:
        raise EnvironmentProblem(f"board {name!r} is physical: clock_ppm is for simulated boards")
    return _open_usb(loaded, serial, recorder)


def _connection(
    link: Link,
    profile: BoardProfile,
    recorder: Recorder | None,
    *,
    control: Control | None = None,
    capabilities: Collection[str] = (),
    on_close: Sequence[Callable[[], None]] = (),
    reopen: Callable[[], Link] | None = None,
) -> Connection:
    """The board behind `link`; all that passes is written down if there is a recorder."""
    closing = list(on_close)
    if recorder is not None:
        from codecrig.link.recording import Heading

        recorder.heading(
            Heading(
                package=f"codecrig {package_version()}",
                started=datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
                board=profile.name,
                link=link.name,
                serial=link.serial,
                bench=sorted(capabilities),
                profile=msgspec.to_builtins(profile),
            )
        )
        link = recorder.link(link)
        again = reopen
        reopen = (lambda: recorder.link(again())) if again is not None else None
        control = recorder.control(control) if control is not None else None
        closing.append(recorder.close)
    bench = TwinBench(control, capabilities) if control is not None else Bench()
    return Connection(link, profile, bench, closing, reopen)


def _open_replay(file: Path, options: list[str]) -> Connection:
    from codecrig.link.recording import ReplayLink

    if options:
        raise EnvironmentProblem(f"a replay takes no {', '.join(options)}: the recording says it all; leave it out")
    recording, profile = _recording(file)
    link = ReplayLink(recording)
    return _connection(link, profile, None, control=link, capabilities=recording.heading.bench)


def board_profile(name: str, profile: Path | None = None) -> BoardProfile:
    """What board `name` promises, without opening it. Raises EnvironmentProblem."""
    if name.startswith("replay:"):
        return _recording(Path(name.removeprefix("replay:")))[1]
    return load_profile(profile or find_profile("twin" if name.startswith("usbip:") else name))


def _recording(file: Path) -> tuple[Recording, BoardProfile]:
    from codecrig.link.recording import Recording

    try:
        recording = Recording(file)
        return recording, msgspec.convert(recording.heading.profile, BoardProfile)
    except LinkError as error:
        raise EnvironmentProblem(str(error)) from error
    except msgspec.ValidationError as error:
        raise EnvironmentProblem(
            f"{file}: the profile in it does not fit this version: {error}; "
            f"next step: replay with {recording.heading.package}"
        ) from error


def _open_model(profile: BoardProfile, clock_ppm: float | None, recorder: Recorder | None) -> Connection:
    from codecrig.link.model import ModelLink
    from codecrig.model import CodecSettings

    link = ModelLink(
        clock_ppm=profile.clock_ppm if clock_ppm is None else clock_ppm,
        clock_rate=profile.clock_rate,
        frame_clocks=profile.frame_clocks,
        codec=CodecSettings(**msgspec.structs.asdict(profile.analog)),
    )
    return _connection(link, profile, recorder, control=link.control, capabilities=[*profile.bench, "statistics"])


def _open_cocotb(profile: BoardProfile, clock_ppm: float | None) -> Connection:
    try:
        from codecrig.link import cocotb
    except ImportError as error:
        raise EnvironmentProblem(
            f"board {profile.name!r} needs cocotb 2.1 or later: {error}; next step: pip install 'codecrig[hdl]'"
        ) from error
    offer = cocotb.offered()
    if offer is None:
        raise EnvironmentProblem(
            f"expected board {profile.name!r} to be opened inside a cocotb bench that offers its design; found none; "
            f"next step: write the bench as docs/cocotb.md shows, or choose another board"
        )
    link = cocotb.CocotbLink(offer.front, clock_ppm=profile.clock_ppm if clock_ppm is None else clock_ppm)
    return Connection(link, profile, offer.bench if offer.bench is not None else Bench())


def _open_usb(profile: BoardProfile, serial: str | None, recorder: Recorder | None) -> Connection:
    from codecrig.link import usb

    def find(serial: str | None) -> usb.UsbLink:
        return usb.UsbLink.open(
            vendor_id=profile.usb.vendor_id,
            product_id=profile.usb.product_id,
            product=profile.usb.product,
            serial=serial,
        )

    try:
        link = find(serial or profile.usb.serial or None)
    except usb.DeviceNotFound as error:
        raise EnvironmentProblem(f"board {profile.name!r}: {error}") from error
    return _connection(link, profile, recorder, reopen=lambda: find(link.serial or None))


def _open_usbip(name: str, profile: BoardProfile, serial: str | None, recorder: Recorder | None) -> Connection:
    from codecrig.link import usb
    from codecrig.link.usbip import UsbipBackend

    match = _USBIP.match(name)
    if not match:
        raise EnvironmentProblem(f"expected usbip:HOST[:PORT]/BUSID, as in usbip:127.0.0.1:3240/1-1; found {name!r}")
    host, port = match["host"].strip("[]"), int(match["port"] or _USBIP_PORT)
    try:
        link = usb.UsbLink.open(
            vendor_id=profile.usb.vendor_id,
            product_id=profile.usb.product_id,
            product=profile.usb.product.split()[0],  # the twin's profile, but any board may be exported
            serial=serial,
            backend=UsbipBackend(host, port, match["bus_id"]),
        )
    except LinkError as error:
        raise EnvironmentProblem(f"{name}: {error}") from error
    return _connection(link, profile, recorder)


def _open_twin(
    profile: BoardProfile,
    clock_ppm: float | None,
    pace: Pace,
    trace: Path | None,
    log: Path | None,
    recorder: Recorder | None,
    defect: str | None,
) -> Connection:
    from codecrig import twin
    from codecrig.link import usb
    from codecrig.link.usbip import UsbipBackend

    try:
        process = twin.TwinProcess(
            emulation=twin.build_emulation() if profile.microcontroller == "rp2040" else None,
            clock_ppm=profile.clock_ppm if clock_ppm is None else clock_ppm,
            pace=pace,
            trace=trace,
            codec=twin.CodecSettings(**msgspec.structs.asdict(profile.analog)),
            log=log,
            defect=defect,
        )
    except twin.TwinError as error:
        raise EnvironmentProblem(str(error)) from error
    with ExitStack() as undo:
        undo.callback(process.close)
        control = undo.enter_context(_TwinControl(process))

        def find() -> usb.UsbLink:
            return usb.UsbLink.open(
                vendor_id=profile.usb.vendor_id,
                product_id=profile.usb.product_id,
                product=profile.usb.product,
                backend=UsbipBackend(process.host, process.usbip_port, process.bus_id),
                host_time_ns=control.host_time_ns,
                explain=control.why_dead,
                timeout_s=usb.TWIN_TIMEOUT_S,
            )

        connection = _connection(
            find(),
            profile,
            recorder,
            control=control,
            capabilities=[*profile.bench, "usb", "power", "fault", "statistics"],
            on_close=[control.close, process.close],
            reopen=find,
        )
        undo.pop_all()
    return connection


class _TwinControl:
    """The twin's control channel with this layer's errors: a twin that died says so, whoever notices first."""

    def __init__(self, process: TwinProcess) -> None:
        from codecrig.twin import TwinControl, TwinControlError

        self._process = process
        self._error = TwinControlError
        try:
            self._control = TwinControl(process.host, process.control_port)
        except TwinControlError as error:
            raise LinkError(self.why_dead() or str(error)) from error
        self.close = self._control.close

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        try:
            return self._control.call(operation, **arguments)
        except self._error as error:
            why = self.why_dead()
            if why:
                raise LinkError.of(f"an answer to {operation}", why, "read its log; run again") from error
            raise BoardError(str(error)) from error

    def host_time_ns(self) -> int:
        return int(self.call("host_time")["ns"])

    def why_dead(self) -> str | None:
        """Why the twin is no longer there, None if it is. Its connections go a moment before the process does."""
        deadline = time.monotonic() + DYING_S
        while self._process.alive():
            if time.monotonic() >= deadline:
                return None
            time.sleep(0.01)
        return self._process.failure() or "the twin has ended"


def list_boards() -> list[BoardListing]:
    """Every board with a profile, and every board found on USB. Opens no board and starts no twin."""
    listings: list[BoardListing] = []
    found, problem = _find_usb()
    taken: set[int] = set()
    for name, file in sorted(profile_files().items()):
        try:
            profile = load_profile(file)
        except ProfileError as error:
            listings.append(BoardListing(name, "?", "", "", False, str(error), file))
            continue
        if profile.kind == "cocotb":
            detail = "inside a cocotb bench only, see docs/cocotb.md"
            listings.append(BoardListing(name, profile.kind, profile.description, "", False, detail, file))
            continue
        if profile.kind != "usb":
            detail = "simulated: RTL, firmware and USB, built on first use" if profile.kind == "twin" else "simulated"
            listings.append(BoardListing(name, profile.kind, profile.description, "", True, detail, file))
            continue
        matching = [device for device in found if _fits(profile, device)]
        taken.update(id(device) for device in matching)
        listings += [_listing(device, name, profile.description, file) for device in matching]
        if not matching:
            listings.append(BoardListing(name, "usb", profile.description, "", False, problem or "not connected", file))
    listings += [_listing(device, "", device.product, None) for device in found if id(device) not in taken]
    return listings


def _listing(device: UsbDevice, name: str, description: str, file: Path | None) -> BoardListing:
    from codecrig.link import usb

    console = usb.console_port(device)
    detail = f"{device.text}, console {console}" if console else device.text
    if device.problem:
        detail += f": {device.problem}"
    snippet = "" if file else _snippet(device)
    return BoardListing(name, "usb", description, device.serial, not device.problem, detail, file, snippet)


def _find_usb() -> tuple[list[UsbDevice], str]:
    from codecrig.link import usb

    try:
        return usb.list_devices(), ""
    except LinkError as error:
        return [], str(error)


def _fits(profile: BoardProfile, device: UsbDevice) -> bool:
    ids = (profile.usb.vendor_id, profile.usb.product_id, profile.usb.product)
    return ids == (device.vendor_id, device.product_id, device.product) and profile.usb.serial in ("", device.serial)


def _snippet(device: UsbDevice) -> str:
    """A board.toml for a device that no profile describes: edit name, description and features."""

    def text(value: str) -> str:
        return json.dumps(value, ensure_ascii=False)  # a JSON string is a TOML string

    return f"""name = "my-board"
kind = "usb"
description = {text(f"{device.product}, found at {device.text}")}
clock_hz = [12288000, 1]
frame_clocks = 256
rates = [48000]
formats = ["pcm16", "pcm24", "pcm32"]
channels = [1, 2]
features = ["render", "capture", "notification", "digital_loopback"]

[usb]
vendor_id = 0x{device.vendor_id:04x}
product_id = 0x{device.product_id:04x}
product = {text(device.product)}
serial = {text(device.serial)}
"""
