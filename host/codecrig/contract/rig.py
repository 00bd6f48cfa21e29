"""`Rig`: what a check gets. A board, the objects under test made fresh, a diary of their calls, a place for evidence.

A saboteur changes the rig before the check runs: other classes for miniport or port, another start of the board, a
fault on the bench. The check does not notice.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from codecrig.board import BenchMissing, Board, BoardSystem, EventRecord, monitor_register
from codecrig.contract.verdict import Evidence, NotJudged, RuleFailed, RuleSkipped
from codecrig.contract.watch import Trace
from codecrig.link import registers as regs
from codecrig.link.registers import InputSelect
from codecrig.portcls import NTSTATUS, Format, IUnknown, NtStatusError

if TYPE_CHECKING:
    from codecrig.port import PortWaveRT

Model = Literal["wavert", "wavecyclic", "wavepci", "midi", "dmus"]

PORTS: dict[str, str] = {
    "wavert": "codecrig.port.wavert:PortWaveRT",
    "wavecyclic": "codecrig.port.wavecyclic:PortWaveCyclic",
    "wavepci": "codecrig.port.wavepci:PortWavePci",
    "midi": "codecrig.port.midi:PortMidi",
    "dmus": "codecrig.port.dmus:PortDMus",
}
MINIPORTS: dict[str, str] = {
    "wavert": "codecrig.miniport.wavert:MiniportWaveRT",
    "wavecyclic": "codecrig.miniport.wavecyclic:MiniportWaveCyclic",
    "wavepci": "codecrig.miniport.wavepci:MiniportWavePci",
    "midi": "codecrig.miniport.midi:MiniportMidi",
    "dmus": "codecrig.miniport.dmus:MiniportDMus",
}
INTERFACES: dict[str, str] = {
    "wavert": "codecrig.portcls.wavert:IMiniportWaveRT",
    "wavecyclic": "codecrig.portcls.wavecyclic:IMiniportWaveCyclic",
    "wavepci": "codecrig.portcls.wavepci:IMiniportWavePci",
    "midi": "codecrig.portcls.midi:IMiniportMidi",
    "dmus": "codecrig.portcls.dmus:IMiniportDMus",
}


def load_class(where: str) -> Any:
    """The class `package.module:Class`. Raises ImportError, AttributeError or ValueError."""
    module, separator, name = where.partition(":")
    if not separator:
        raise ValueError(f"expected package.module:Class, found {where!r}")
    return getattr(importlib.import_module(module), name)


@dataclass
class Objects:
    """Which classes are under test, and how the board is started; a saboteur works by changing this."""

    ports: dict[str, Callable[..., Any]] = field(default_factory=dict)
    miniports: dict[str, Callable[..., Any]] = field(default_factory=dict)
    clock_ppm: float | None = None
    """How fast the simulated board's clock runs, if not as its profile says."""
    defect: str | None = None
    """Built into the RTL of a twin, see codecrig/twin/defects.py."""
    prepare: list[Callable[[Board], Board | None]] = field(default_factory=list)
    """Called with the open board before each check: may put a fault on its bench, or return a proxy to use instead."""

    def port(self, model: str) -> Callable[..., Any]:
        """The port class of a model."""
        return self.ports.get(model) or load_class(PORTS[model])

    def miniport(self, model: str) -> Callable[..., Any]:
        """The miniport class of a model."""
        return self.miniports.get(model) or load_class(MINIPORTS[model])


class Rig:
    """One check's view of one board. The runner makes it, and closes what the check opened."""

    def __init__(self, board: Board, objects: Objects | None = None, *, long: bool = False) -> None:
        self.objects = objects or Objects()
        self.board = board
        for prepare in self.objects.prepare:
            self.board = prepare(self.board) or self.board
        self.long = long
        """Cover the whole span that a rule speaks of, instead of preloading counters."""
        self.system = BoardSystem(self.board)
        self.trace = Trace(self.system)
        self.evidence: list[Evidence] = []
        self.moved_bytes = 0
        self.part_only = False
        self._ports: list[Any] = []
        self._unsubscribe: list[Callable[[], None]] = []

    # ------------------------------------------------------------------ objects under test

    def miniport(self, model: Model) -> Any:
        """A new miniport of that model as a port sees it, not yet initialised; the caller owns its one reference."""
        made: IUnknown = self.objects.miniport(model)(self.board)
        return self.trace.wrap(made, "port")

    def port(self, model: Model) -> Any:
        """A port of that model over a new miniport. It is closed behind the check at the latest."""
        miniport = self.miniport(model)
        try:
            port = self.objects.port(model)(miniport, self.system)
        finally:
            miniport.release()
        self._ports.append(port)
        return port

    def keep(self, opened: Any) -> None:
        """Close this, too, behind the check at the latest."""
        self._ports.append(opened)

    def wavert(self) -> PortWaveRT:
        """`port("wavert")`, typed."""
        return self.port("wavert")

    def subscribe(self, stream: int | None, handler: Callable[[EventRecord], None]) -> None:
        """As `board.events.subscribe`, until the check ends."""
        self._unsubscribe.append(self.board.events.subscribe(stream, handler))

    def close(self) -> list[BaseException]:
        """Close what is open, last first; returns what went wrong."""
        while self._unsubscribe:
            self._unsubscribe.pop()()
        problems: list[BaseException] = []
        for port in reversed(self._ports):
            try:
                port.close()
            except Exception as error:
                problems.append(error)
        self._ports.clear()
        return problems

    # ------------------------------------------------------------------ judging

    def expect(self, holds: bool, what: str, expected: object, found: object) -> None:
        """Fail the rule unless `holds`."""
        if not holds:
            raise RuleFailed(what, expected, found)

    def expect_equal(self, what: str, found: object, expected: object) -> None:
        """Fail the rule unless both are equal."""
        self.expect(found == expected, what, _words(expected), _words(found))

    def expect_within(self, what: str, found: float, low: float, high: float, unit: str = "") -> None:
        """Fail the rule unless low <= found <= high."""
        self.expect(low <= found <= high, what, f"{low:g} to {high:g} {unit}".strip(), f"{found:g} {unit}".strip())

    def expect_status(self, what: str, accepted: NTSTATUS | tuple[NTSTATUS, ...], call: Callable[..., Any],
                      *arguments: Any) -> None:  # fmt: skip
        """Make the call, which must be refused with one of `accepted`."""
        allowed = accepted if isinstance(accepted, tuple) else (accepted,)
        names = " or ".join(status.name for status in allowed)
        try:
            result = call(*arguments)
        except NtStatusError as error:
            self.expect(error.status in allowed, what, names, str(error))
        else:
            raise RuleFailed(what, names, f"success, {result!r}")

    def skip_unless(self, holds: bool, reason: str) -> None:
        """The rule does not apply to this board, for `reason`, unless `holds`."""
        if not holds:
            raise RuleSkipped(reason)

    def need_bench(self, capability: str) -> None:
        """Skip with the bench's own reason unless it has `capability`."""
        if not self.board.bench.has(capability):
            raise BenchMissing(f"the bench of {self.board.profile.name} has no `{capability}`")

    def note(self, what: str, value: object, source: str) -> None:
        """Put something seen into the report: what, its value, and the register, sample or call it comes from."""
        self.evidence.append(Evidence(what, _words(value), source))

    def covers_part(self) -> None:
        """Say that this check covers only a part of the span that its rule speaks of, --long or not."""
        self.part_only = True

    def moved(self, moved_bytes: int, source: str) -> None:
        """Evidence of progress: the engine moved so many bytes, says `source` (a register). Board rules need some."""
        if moved_bytes <= 0:
            raise NotJudged(f"the engine moved no data, says {source}")
        self.moved_bytes += moved_bytes
        self.note("bytes moved by the engine", moved_bytes, source)

    # ------------------------------------------------------------------ the board's surroundings

    @property
    def formats(self) -> list[Format]:
        """Every format that the profile promises."""
        bits = {"pcm8": 8, "pcm16": 16, "pcm24": 24, "pcm32": 32}
        profile = self.board.profile
        return [
            Format(rate, channels, bits[name])
            for rate in profile.rates
            for channels in profile.channels
            for name in profile.formats
            if name in bits
        ]

    def format_of(self, bits: int, *, channels: int = 2, sample_rate: int = 48_000) -> Format:
        """A format of 8, 16, 24 (packed) or 32 bits (24 of them heard). Skips if the profile does not promise it."""
        wanted = Format(sample_rate, channels, bits, 24 if bits == 32 else bits)
        promised = any(
            (each.sample_rate, each.channels, each.container_bits) == (sample_rate, channels, bits)
            for each in self.formats
        )
        self.skip_unless(promised, f"the profile does not promise {wanted.describe()}")
        return wanted

    @contextmanager
    def converter(self, source: InputSelect = InputSelect.CONVERTER, *, mute: bool = False) -> Iterator[None]:
        """The converter's clock runs inside the block; capture hears `source`. Rate and slots stay as they are.

        The pattern source begins with frame 0 of its ramp.
        """
        if source is InputSelect.PATTERN:
            self.board.write_register(regs.FPGA_PATTERN_CONTROL, 1 << regs.FPGA_PATTERN_CONTROL_RESTART_LSB)
        before = self.board.read_register(regs.FPGA_CONVERTER_CONTROL)
        keep = before & ~(
            regs.FPGA_CONVERTER_CONTROL_ENABLE_W
            | 1 << regs.FPGA_CONVERTER_CONTROL_MUTE_LSB
            | 3 << regs.FPGA_CONVERTER_CONTROL_INPUT_SELECT_LSB
        )
        self.board.write_register(
            regs.FPGA_CONVERTER_CONTROL,
            keep
            | 1 << regs.FPGA_CONVERTER_CONTROL_ENABLE_LSB
            | int(mute) << regs.FPGA_CONVERTER_CONTROL_MUTE_LSB
            | source << regs.FPGA_CONVERTER_CONTROL_INPUT_SELECT_LSB,
        )
        try:
            yield
        finally:
            self.board.write_register(regs.FPGA_CONVERTER_CONTROL, before)

    def monitor(self, low: int, high: int, *, outside: bool = False, number: int = 0) -> BusMonitor:
        """The referee at the memory port, counting accesses to bytes `low` to `high` (inclusive), or all others."""
        monitor = BusMonitor(self.board, number, low, high, outside)
        self.keep(monitor)
        return monitor


class BusMonitor:
    """One address range of the bus monitor: counts what the engine really does, whatever it says."""

    def __init__(self, board: Board, number: int, low: int, high: int, outside: bool) -> None:
        self._board = board
        self.number = number
        self._control = 1 << regs.MONITOR_CONTROL_ENABLE_LSB | int(outside) << regs.MONITOR_CONTROL_OUTSIDE_LSB
        for offset, value in ((regs.MONITOR_LOW, low), (regs.MONITOR_HIGH, high)):
            board.write_register(monitor_register(number, offset), value)
        self.clear()

    @property
    def source(self) -> str:
        """For evidence."""
        return f"MONITOR[{self.number}].READS and WRITES"

    def clear(self) -> None:
        """Count from 0 again."""
        control = self._control | 1 << regs.MONITOR_CONTROL_CLEAR_LSB
        self._board.write_register(monitor_register(self.number, regs.MONITOR_CONTROL), control)

    def close(self) -> None:
        """Count no more."""
        self._board.write_register(monitor_register(self.number, regs.MONITOR_CONTROL), 0)

    def counts(self) -> tuple[int, int]:
        """(reads, writes) of words since the last clear."""
        reads, writes = self._board.read_registers(monitor_register(self.number, regs.MONITOR_READS), 2)
        return reads, writes

    def total(self) -> int:
        """Reads and writes together."""
        return sum(self.counts())


def _words(value: object) -> str:
    name = getattr(value, "name", None)
    return str(name) if name is not None and isinstance(value, int) else str(value)
