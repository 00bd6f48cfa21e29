"""What stands around a board: optional capabilities of the bench.

A check asks `bench.has("tap")` or just calls and gets `BenchMissing` with the reason. A twin offers all of them; a
physical bench those that its profile lists and that somebody has written a driver for (none yet).
"""

from __future__ import annotations

import base64
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from codecrig.board.errors import BenchMissing, BoardError
from codecrig.link import Control

CAPABILITIES = ("tap", "inject", "trigger", "cable", "codec", "midi", "spdif", "usb", "power", "fault", "statistics")
FAULTS = {
    "bit-clock-stuck": "the bit clock does not reach the converter",
    "word-clock-stuck": "the word clock does not reach the converter",
    "dac-data-stuck": "the data line to the DAC is stuck",
    "adc-data-stuck": "the data line from the ADC is stuck",
    "channels-swapped": "left and right of the ADC are exchanged",
    "bit-clock-inverted": "the converter works with the wrong edges of the bit clock",
    "slot-early": "the converter's data begin one bit clock early",
    "slot-late": "the converter's data begin one bit clock late",
    "codec-dead": "the converter is without power or master clock",
    "memory-bit": "one bit of audio memory is stuck",
    "serial-bit-errors": "bits of the serial link between microcontroller and FPGA flip",
    "other-bitstream": "the FPGA holds another build",
    "foreign-bitstream": "the FPGA holds a design that is not codecrig",
    "no-fpga": "there is no FPGA",
    "done-low": "the FPGA never becomes ready",
}
"""What a simulated board can be made to suffer, at its pins and in its memory."""
_FAULT_SETTINGS: dict[str, dict[str, Any]] = {
    "memory-bit": {"address": 0x12345, "bit": 3, "level": True},
    "serial-bit-errors": {"line": "miso", "every": 30011},
    "other-bitstream": {"build": 0x0BAD0BAD},
}
"""Where and how, unless somebody says otherwise."""
CABLE_FAULTS = ("none", "open", "stuck0", "stuck1", "swap")

Samples = npt.NDArray[np.int32]
"""Frames by channels, left-justified in 32 bits."""


@dataclass(frozen=True)
class Tap:
    """What the DAC was sent since the tap was started or last read."""

    first_ticks: int
    """Board time of the first frame."""
    samples: Samples
    adc_frames: int | None = None
    """Since the start: frames in which the ADC sent anything at its own pin; None if nobody listens there."""


@dataclass(frozen=True)
class TriggerWires:
    """State of the trigger wires."""

    out: bool
    out_edges_ticks: tuple[int, ...]
    """Board times at which the trigger output changed."""


@dataclass(frozen=True)
class MidiByte:
    """A byte that left the board's MIDI output, as a UART at the wire heard it."""

    ticks: int
    """Board time of the falling edge of its start bit."""
    value: int
    stop_good: bool
    """False: its stop bit was 0."""


@dataclass(frozen=True)
class SpdifTap:
    """What a receiver at the S/PDIF output made of its edges since it was started or last read."""

    first_ticks: int
    """Board time at which the first of these frames began."""
    samples: Samples
    status_bits: npt.NDArray[np.bool_]
    """Channel status bit of each frame and channel."""
    block_starts: npt.NDArray[np.bool_]
    """True for the first frame of each block of 192."""
    marked_invalid: int
    """Frames with a validity or user bit of 1."""
    parity_errors: int
    """Frames whose parity is wrong."""
    coding_errors: int
    """Times at which the signal was none that the standard knows; frames are missing there."""
    half_cell_ticks: int
    """Length of a half cell; 0: no carrier."""

    def channel_status(self, channel: int) -> int | None:
        """The 192 bits of the first whole block, bit 0 sent first; None if there is none."""
        for start in np.flatnonzero(self.block_starts):
            bits = self.status_bits[start : start + 192, channel]
            if len(bits) == 192 and not self.block_starts[start + 1 : start + 192].any():
                return sum(int(bit) << index for index, bit in enumerate(bits))
        return None


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

    def midi_read(self) -> list[MidiByte]:
        """The bytes that left the MIDI output since the start or the last read."""
        raise self._missing("midi")

    def midi_send(self, data: bytes, ticks: int = 0) -> None:
        """Send bytes to the MIDI input: the first at board time `ticks`, or now if that is past, the others follow."""
        raise self._missing("midi")

    def midi_loop(self, connected: bool) -> None:
        """Plug a cable from the MIDI output to the MIDI input, or pull it."""
        raise self._missing("midi")

    def spdif_start(self) -> None:
        """Start to keep what the S/PDIF output sends."""
        raise self._missing("spdif")

    def spdif_read(self) -> SpdifTap:
        """What was kept since the start or the last read."""
        raise self._missing("spdif")

    def spdif_stop(self) -> None:
        """Stop keeping."""
        raise self._missing("spdif")

    def usb(self, plugged: bool) -> None:
        """Pull or plug the USB cable."""
        raise self._missing("usb")

    def power_cycle(self) -> None:
        """Switch the microcontroller off and on; it comes back to the bus."""
        raise self._missing("power")

    def fault(self, name: str = "none", **settings: Any) -> None:
        """Break something, one of `FAULTS`, in addition to what is broken; `none` mends all.

        Settings: `level` of what is stuck; `address` and `bit` of memory; `line` (`mosi` or `miso`) and `every` how
        many bits; `build`.
        """
        raise self._missing("fault")

    def statistics(self) -> dict[str, Any]:
        """Counters of the simulated board: ticks, host time, cycles, SPI edges, codec frames, USB bytes and NAKs."""
        raise self._missing("statistics")


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
        samples = np.frombuffer(base64.b64decode(reply["samples"]), dtype="<i4").reshape(-1, 2).astype(np.int32)
        return Tap(int(reply["tick"]), samples, reply.get("adc_frames"))

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

    def midi_read(self) -> list[MidiByte]:
        reply = self._call("midi", action="read")
        broken = set(reply["broken"])
        values = base64.b64decode(reply["bytes"])
        return [
            MidiByte(int(ticks), value, index not in broken)
            for index, (ticks, value) in enumerate(zip(reply["ticks"], values, strict=True))
        ]

    def midi_send(self, data: bytes, ticks: int = 0) -> None:
        self._call("midi", action="send", bytes=base64.b64encode(data).decode("ascii"), tick=ticks)

    def midi_loop(self, connected: bool) -> None:
        self._call("midi", action="loop", connected=connected)

    def spdif_start(self) -> None:
        self._call("spdif", action="start")

    def spdif_read(self) -> SpdifTap:
        reply = self._call("spdif", action="read")
        flags = np.frombuffer(base64.b64decode(reply["flags"]), dtype=np.uint8)
        return SpdifTap(
            first_ticks=int(reply["tick"]),
            samples=np.frombuffer(base64.b64decode(reply["samples"]), dtype="<i4").reshape(-1, 2).astype(np.int32),
            status_bits=np.stack([flags & 1, flags >> 1 & 1], axis=1).astype(bool),
            block_starts=(flags & 64).astype(bool),
            marked_invalid=int(np.count_nonzero(flags & 0x3C)),
            parity_errors=int(np.count_nonzero(flags & 0x80)),
            coding_errors=int(reply["errors"]),
            half_cell_ticks=int(reply["half_cell_ticks"]),
        )

    def spdif_stop(self) -> None:
        self._call("spdif", action="stop")

    def usb(self, plugged: bool) -> None:
        self._call("usb", action="plug" if plugged else "unplug")

    def power_cycle(self) -> None:
        self._call("power", action="cycle")

    def fault(self, name: str = "none", **settings: Any) -> None:
        if name not in ("none", *FAULTS):
            raise ValueError(f"unknown fault {name!r}; known: none, {', '.join(FAULTS)}")
        self._call("fault", name=name, **{**_FAULT_SETTINGS.get(name, {}), **settings})

    def statistics(self) -> dict[str, Any]:
        return {name: value for name, value in self._call("status").items() if name != "ok"}
