"""What stands around a board: optional capabilities of the bench.

A check asks `bench.has("tap")` or just calls and gets `BenchMissing` with the reason. A twin offers all of them; a
physical bench those that its profile lists and that somebody has written a driver for (none yet).
"""

from __future__ import annotations

import base64
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from codecrig.board.errors import BenchMissing, BoardError

CAPABILITIES = ("tap", "inject", "trigger", "cable", "codec", "usb", "statistics")
CABLE_FAULTS = ("none", "open", "stuck0", "stuck1", "swap")

Samples = npt.NDArray[np.int32]
"""Frames by channels, left-justified in 32 bits."""


@dataclass(frozen=True)
class Tap:
    """What the DAC was sent since the tap was started or last read."""

    first_ticks: int
    """Board time of the first frame."""
    samples: Samples


@dataclass(frozen=True)
class TriggerWires:
    """State of the trigger wires."""

    out: bool
    out_edges_ticks: tuple[int, ...]
    """Board times at which the trigger output changed."""


class Bench:
    """A bench with nothing on it. Subclasses add capabilities."""

    reason = "this board's bench has no wiring for it (see `bench` in its profile)"

    def has(self, capability: str) -> bool:
        """True if the bench offers `capability`, one of `CAPABILITIES`."""
        if capability not in CAPABILITIES:
            raise ValueError(f"unknown bench capability {capability!r}; known: {', '.join(CAPABILITIES)}")
        return False

    def _missing(self, capability: str) -> BenchMissing:
        return BenchMissing(f"bench capability `{capability}` is missing: {self.reason}")

    def tap_start(self) -> None:
        """Start to keep what the DAC is sent."""
        raise self._missing("tap")

    def tap_read(self) -> Tap:
        """What was kept since the start or the last read."""
        raise self._missing("tap")

    def tap_stop(self) -> None:
        """Stop keeping."""
        raise self._missing("tap")

    def inject(self, samples: Samples) -> None:
        """Queue frames (frames by 2 channels, int32 left-justified) to the ADC instead of the cable."""
        raise self._missing("inject")

    def trigger(self, level: bool | None = None) -> TriggerWires:
        """Set the trigger input if a level is given; returns what the trigger output did."""
        raise self._missing("trigger")

    def cable(self, fault: str = "none") -> None:
        """Put a fault on the I2S data pins, one of `CABLE_FAULTS`."""
        raise self._missing("cable")

    def codec(
        self,
        *,
        gain_q16: int | None = None,
        noise_lsb: int | None = None,
        dc_lsb: int | None = None,
        delay_frames: int | None = None,
        connected: bool | None = None,
    ) -> None:
        """Change the analog path from DAC to ADC; what is not given stays."""
        raise self._missing("codec")

    def usb(self, plugged: bool) -> None:
        """Pull or plug the USB cable."""
        raise self._missing("usb")

    def statistics(self) -> dict[str, Any]:
        """Counters of the simulated board: ticks, host time, cycles, SPI edges, codec frames, USB bytes and NAKs."""
        raise self._missing("statistics")


class Control(Protocol):
    """The twin's control channel: one call, one answer; never moves time."""

    def call(self, operation: str, **arguments: Any) -> dict[str, Any]: ...


class TwinBench(Bench):
    """The bench of a simulated board, through its control channel."""

    reason = "this simulated board does not offer it"

    def __init__(self, control: Control, capabilities: Collection[str] = CAPABILITIES) -> None:
        self._control = control
        self._capabilities = frozenset(capabilities)

    def _call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        capability = {"status": "statistics"}.get(operation, operation)
        if not self.has(capability):
            raise self._missing(capability)
        reply = self._control.call(operation, **arguments)
        if reply.get("ok") is False:
            raise BoardError(f"the twin refused {operation}: {reply.get('error', 'no reason given')}")
        return reply

    def has(self, capability: str) -> bool:
        super().has(capability)
        return capability in self._capabilities

    def tap_start(self) -> None:
        self._call("tap", action="start")

    def tap_read(self) -> Tap:
        reply = self._call("tap", action="read")
        data = base64.b64decode(reply["samples"])
        return Tap(int(reply["tick"]), np.frombuffer(data, dtype="<i4").reshape(-1, 2).astype(np.int32))

    def tap_stop(self) -> None:
        self._call("tap", action="stop")

    def inject(self, samples: Samples) -> None:
        if samples.ndim != 2 or samples.shape[1] != 2:
            raise ValueError(f"expected frames by 2 channels, found shape {samples.shape}")
        data = np.ascontiguousarray(samples, dtype="<i4").tobytes()
        self._call("inject", samples=base64.b64encode(data).decode("ascii"))

    def trigger(self, level: bool | None = None) -> TriggerWires:
        reply = self._call("trigger") if level is None else self._call("trigger", level=level)
        return TriggerWires(bool(reply["out"]), tuple(int(edge) for edge in reply["out_edges"]))

    def cable(self, fault: str = "none") -> None:
        if fault not in CABLE_FAULTS:
            raise ValueError(f"unknown cable fault {fault!r}; known: {', '.join(CABLE_FAULTS)}")
        self._call("cable", fault=fault)

    def codec(
        self,
        *,
        gain_q16: int | None = None,
        noise_lsb: int | None = None,
        dc_lsb: int | None = None,
        delay_frames: int | None = None,
        connected: bool | None = None,
    ) -> None:
        settings = {
            "gain_q16": gain_q16,
            "noise_lsb": noise_lsb,
            "dc_lsb": dc_lsb,
            "delay_frames": delay_frames,
            "connected": connected,
        }
        self._call("codec", **{name: value for name, value in settings.items() if value is not None})

    def usb(self, plugged: bool) -> None:
        self._call("usb", action="plug" if plugged else "unplug")

    def statistics(self) -> dict[str, Any]:
        return {name: value for name, value in self._call("status").items() if name != "ok"}
