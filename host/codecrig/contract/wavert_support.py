"""What the checks of WaveRT share: pins, patterns, times, callers that come in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from codecrig.board import Board, BoardError, EventRecord, Snapshot, stream_register
from codecrig.board.clock import ClockPoint
from codecrig.contract.rig import Rig
from codecrig.contract.verdict import RuleSkipped
from codecrig.contract.watch import unwrap
from codecrig.link import Request
from codecrig.link import registers as regs
from codecrig.link.registers import Cause
from codecrig.measure.pattern import ramp
from codecrig.port import WaveRTPin
from codecrig.portcls import KSRTAUDIO_HWLATENCY, REFERENCE_TIME_PER_SECOND, Format, IUnknown, NtStatusError
from codecrig.wave import Samples, unpack_samples

RENDER, CAPTURE = 0, 1
"""Pins, and the engine's streams behind them."""
BURST_BYTES = 36
"""The most that one visit of the engine moves: 32 bytes and the rest of a word."""
FRAME_SLACK = 2
"""Frames by which two counts may differ that were read one behind the other at the same tick of the codec."""
WAIT_S = 1.0
"""Board time after which an event that must come is missed."""


def need(rig: Rig, feature: str) -> None:
    """Skip unless the profile promises `feature`."""
    rig.skip_unless(feature in rig.board.profile.features, f"the profile does not promise {feature}")


def block_formats(rig: Rig) -> list[Format]:
    """One format for each size of a frame."""
    return list({form.block_bytes: form for form in reversed(rig.formats)}.values())


def rate_formats(rig: Rig) -> list[Format]:
    """One format for each rate, beside one for each size of a frame."""
    found = {form.sample_rate: form for form in reversed(rig.formats)}
    return [*block_formats(rig), *(form for form in found.values() if form not in block_formats(rig))]


def open_pin(rig: Rig, pin: int, form: Format, *, frames: int | None = None, packets: int = 2,
             buffer_frames: int | None = None) -> WaveRTPin:  # fmt: skip
    """A pin in STOP over a port of its own: with packets of `frames` frames, a plain buffer, or neither."""
    block = form.block_bytes
    return rig.wavert().open_pin(
        pin, pin == CAPTURE, form,
        packet_bytes=None if frames is None else frames * block, packets=packets,
        buffer_bytes=None if buffer_frames is None else buffer_frames * block,
    )  # fmt: skip


def open_pair(rig: Rig, form: Format, render: dict[str, Any], capture: dict[str, Any]) -> tuple[WaveRTPin, WaveRTPin]:
    """A render and a capture pin of one port; arguments as for `open_pin` of a port."""
    port = rig.wavert()
    heard = port.open_pin(CAPTURE, True, form, **capture)
    return port.open_pin(RENDER, False, form, **render), heard


def stream_of(rig: Rig, pin: WaveRTPin) -> Any:
    """The miniport's stream behind a pin."""
    return unwrap(pin._stream)


def moved(rig: Rig, number: int, snapshot: Snapshot | None = None) -> Snapshot:
    """Evidence of progress from a snapshot of the stream."""
    snapshot = snapshot or rig.board.snapshot(number)
    rig.moved(snapshot.bytes, f"STREAM[{number}].SNAP_BYTES")
    return snapshot


def noise(frames: int, form: Format, seed: int) -> bytes:
    """Frames of which none is silent, and which a 24-bit converter passes unchanged."""
    data = np.random.default_rng(seed).integers(1, 256, frames * form.block_bytes, dtype=np.uint8)
    if form.container_bits == 32:
        data[::4] = 0
    return data.tobytes()


def loud(data: bytes, form: Format) -> bytes:
    """From the first frame that is not silent to the last."""
    frames = np.frombuffer(data[: len(data) // form.block_bytes * form.block_bytes], np.uint8)
    frames = frames.reshape(-1, form.block_bytes)
    found = np.flatnonzero(frames.any(axis=1))
    return frames[found[0] : found[-1] + 1].tobytes() if len(found) else b""


def expect_bytes(rig: Rig, what: str, found: bytes, expected: bytes, form: Format) -> None:
    """Fail with the first frame that differs."""
    if found == expected:
        return
    block = form.block_bytes
    first = next(
        (n for n in range(0, min(len(found), len(expected)), block) if found[n : n + block] != expected[n : n + block]),
        min(len(found), len(expected)),
    )

    def words(data: bytes) -> str:
        return f"{len(data) // block} frames, frame {first // block} = {data[first : first + block].hex() or 'none'}"

    rig.expect(False, what, words(expected), words(found))


def samples_of(data: bytes, form: Format) -> Samples:
    """Right-justified samples of whole frames."""
    return unpack_samples(data, form.channels, form.valid_bits, form.container_bits)


def expect_ramp(rig: Rig, what: str, data: bytes, form: Format, first_frame: int) -> None:
    """The frames must be those of the pattern source from `first_frame` on."""
    samples = samples_of(data, form)
    expected = ramp(first_frame, len(samples), form.channels, form.valid_bits)
    wrong = np.nonzero((samples != expected).any(axis=1))[0]
    rig.expect(
        len(samples) > 0 and len(wrong) == 0,
        what,
        f"frames {first_frame} to {first_frame + len(samples) - 1} of the pattern",
        f"at {wrong[0]}: {samples[wrong[0]].tolist()}, not {expected[wrong[0]].tolist()}" if len(wrong) else "nothing",
    )


def records(rig: Rig, number: int, cause: Cause = Cause.DESCRIPTOR) -> list[EventRecord]:
    """A list that fills with the event records of one stream and cause."""
    kept: list[EventRecord] = []

    def keep(record: EventRecord) -> None:
        if record.cause is cause:
            kept.append(record)

    rig.subscribe(number, keep)
    return kept


def frames_in(rig: Rig, ticks: int, form: Format) -> float:
    """Board ticks in frames of the format's rate."""
    return float(ticks * form.sample_rate / rig.board.clock.rate)


def clocks_of(rig: Rig, form: Format) -> int:
    """Board ticks in a frame."""
    return rig.board.profile.frame_clocks_at(form.sample_rate)


def delay_frames(latency: KSRTAUDIO_HWLATENCY, form: Format) -> float:
    """ChipsetDelay plus CodecDelay in frames."""
    return (latency.ChipsetDelay + latency.CodecDelay) * form.sample_rate / REFERENCE_TIME_PER_SECOND


def half_delay_frames(rig: Rig) -> float:
    """One converter's group delay in frames."""
    return rig.board.profile.converter.group_delay_frames / 2


def wait_bytes(rig: Rig, number: int, count: int) -> Snapshot:
    """Let time pass until the engine has moved so many bytes, without delivering any event."""
    for _ in range(4000):
        snapshot = rig.board.snapshot(number)
        if snapshot.bytes >= count:
            return snapshot
    rig.expect(False, f"bytes moved by stream {number}", f"at least {count}", snapshot.bytes)
    raise AssertionError


def expect_event(rig: Rig, pin: WaveRTPin, what: str = "the next packet end") -> None:
    """Wait for the pin's event."""
    rig.expect(pin.wait_packet(WAIT_S), what, f"an event within {WAIT_S:g} s", "none")


def preload(rig: Rig, number: int, form: Format, bytes_more: int) -> None:
    """As if the stream, which is in PAUSE, had gone on for so many bytes: whole turns of its buffer.

    Needs a board whose counters can be set for tests; skips otherwise.
    """
    snapshot = rig.board.snapshot(number)
    total_bytes, total_frames = snapshot.bytes + bytes_more, snapshot.frames + bytes_more // form.block_bytes
    halves = (
        (regs.STREAM_LIVE_FRAMES_LO, total_frames & 0xFFFFFFFF),
        (regs.STREAM_LIVE_FRAMES_HI, total_frames >> 32),
        (regs.STREAM_LIVE_BYTES_LO, total_bytes & 0xFFFFFFFF),
        (regs.STREAM_LIVE_BYTES_HI, total_bytes >> 32),
    )
    rig.board.transact([Request.write_word(stream_register(number, offset), value) for offset, value in halves])
    found = rig.board.snapshot(number)
    if (found.bytes, found.frames) != (total_bytes, total_frames):
        raise RuleSkipped("the board's counters cannot be set (no TEST_EN), and the span is too long to wait")
    rig.note(f"counters of stream {number} set to", f"{total_frames} frames, {total_bytes} bytes", "LIVE registers")


@contextmanager
def not_ready(board: Board) -> Iterator[None]:
    """Inside the block the board answers nothing, as one whose FPGA is not configured."""

    def refuse(requests: Sequence[Request]) -> list[bytes]:
        raise BoardError(f"expected {len(requests)} requests to succeed; found status NOT_READY")

    good = board.transact
    board.transact = refuse  # type: ignore[method-assign]
    try:
        yield
    finally:
        board.transact = good  # type: ignore[method-assign]


@contextmanager
def recorded_accesses(board: Board) -> Iterator[list[Request]]:
    """What passes over `board.transact` inside the block: what the driver does, not what the client's views do."""
    seen: list[Request] = []
    good = board.transact

    def record(requests: Sequence[Request]) -> list[bytes]:
        seen.extend(requests)
        return good(requests)

    board.transact = record  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        board.transact = good  # type: ignore[method-assign]


class Intruder:
    """Does something else behind one of the link calls of a method, as another thread might."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._good = board.transact
        self._due = -1
        self._action: Callable[[], object] = list

    def __enter__(self) -> Intruder:
        self._board.transact = self._transact  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        self._board.transact = self._good  # type: ignore[method-assign]

    def _transact(self, requests: Sequence[Request]) -> list[bytes]:
        replies = self._good(requests)
        self._due -= 1
        if self._due == 0:
            self._action()
        return replies

    def behind(self, link_call: int, action: Callable[[], object]) -> None:
        """Do `action` behind that link call from now on."""
        self._due, self._action = link_call, action

    @property
    def came(self) -> bool:
        """True if it has been done."""
        came = self._due <= 0
        self._due = -1
        return came


def status_of(call: Callable[..., Any], *arguments: Any) -> str:
    """The failure status of a call by name, or SUCCESS."""
    try:
        call(*arguments)
    except NtStatusError as error:
        return error.status.name
    return "SUCCESS"


def port_over(rig: Rig, miniport: IUnknown) -> Any:
    """The port under test over a miniport of the check's own. It is closed behind the check at the latest."""
    port = rig.objects.port("wavert")(rig.trace.wrap(miniport, "port"), rig.system)
    miniport.release()
    rig._ports.append(port)
    return port


class HostTime:
    """Host time of board times during a run, from the check's own bracketed reads. The nominal rate is not trusted."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._rate = float(rig.board.clock.rate)
        self._points: list[ClockPoint] = []
        self.sample()

    def sample(self) -> None:
        """One more bracket: near each board time that is asked for there should be one."""
        self._points.append(self._rig.board.clock.sample())

    def ns(self, ticks: float) -> float:
        """Host time of a board time, by the bracket that says most about it."""

        def doubt(point: ClockPoint) -> float:
            # As if the clocks were 3 % apart.
            return point.width_ns + 0.03e9 * abs(point.ticks - ticks) / self._rate

        best = min(self._points, key=doubt)
        middle = (best.host_before_ns + best.host_after_ns) / 2
        return middle + (ticks - best.ticks) * 1e9 / self._rate

    def error_ns(self, number: int, form: Format) -> float:
        """What two host times of one instant may differ by, one from this clock and one from a snapshot.

        Nobody knows where in its bracket the instant lay; a frame comes on top, for instants are those of frames.
        """
        widths = []
        for _ in range(3):
            before = self._rig.board.link.host_time_ns()
            self._rig.board.snapshot(number)
            widths.append(self._rig.board.link.host_time_ns() - before)
        own = max(point.width_ns for point in self._points)
        return (own + max(widths)) / 2 + 1e9 / form.sample_rate


def seconds_of(rig: Rig, count: int) -> float:
    """Performance counts in seconds."""
    return count / rig.system.performance_frequency
