"""The stream engine in Python: descriptors, formats, FIFOs, counters, events, snapshots.

Time is board time in ticks. The engine serves each converter frame as a whole: at `SERVICE_TICKS` after the frame tick
every running render stream has handed over one frame and filled its FIFO again, every running capture stream has taken
one frame and written it to memory. Runs of undisturbed frames are moved at once; `bulk=False` moves them one by one and
gives the same bytes, counters and events (a test compares).
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from codecrig.link import registers as regs
from codecrig.link.registers import Cause, FaultReason, InputSelect, PatternKind, StreamState

from .converter import AnalogPath, CodecSettings, Frames, PatternChecker, PatternSequence, silence
from .events import EventRingModel

FIFO_BYTES = 64
"""What the FIFO of one stream holds, in the stream's own format."""
FILL_LEVEL_BYTES = FIFO_BYTES - 4
"""Render fetches the next word, or the part of a word that belongs to the descriptor, up to this level of the FIFO."""
SERVICE_TICKS = 96
"""From a frame tick until the engine has served all streams; events of stream s carry tick + 16 + 16 s."""
MAX_RUN_FRAMES = 4096
"""Frames moved at once: bounds the memory of temporary arrays."""
MAX_RING_DESCRIPTORS = 256

_MASK32 = 0xFFFFFFFF
_FLAG_EVENT = 1 << regs.DESCRIPTOR_EVENT_FLAG_BIT

Bytes = npt.NDArray[np.uint8]


def _last_access_bytes(end_address: int, length: int) -> int:
    """Bytes of the last memory access to `length` bytes that end before `end_address`."""
    return min((end_address - 1) % 4 + 1, length)


def decode_samples(data: Bytes, container_bytes: int, channels: int) -> npt.NDArray[np.int32]:
    """Memory bytes of whole frames as left-justified samples, frames by channels; 24 bits are kept."""
    if container_bytes == 2:
        samples = data.view("<i2").astype(np.int32) << 16
    elif container_bytes == 3:
        wide = np.zeros((len(data) // 3, 4), dtype=np.uint8)
        wide[:, 1:] = data.reshape(-1, 3)
        samples = wide.reshape(-1).view("<i4")
    else:
        samples = data.view("<i4") & np.int32(-256)
    return samples.reshape(-1, channels)


def encode_samples(samples: npt.NDArray[np.int32], container_bytes: int) -> Bytes:
    """Left-justified samples, frames by channels, as the bytes that capture writes."""
    flat = np.ascontiguousarray(samples, dtype="<i4").reshape(-1)
    if container_bytes == 2:
        return (flat >> 16).astype("<i2").view(np.uint8)
    if container_bytes == 3:
        return np.ascontiguousarray(flat.view(np.uint8).reshape(-1, 4)[:, 1:]).reshape(-1)
    return (flat & np.int32(-256)).view(np.uint8)


@dataclass(slots=True)
class Cursor:
    """Where in its descriptor ring a stream is. `remaining` 0: descriptor `index` has not been read yet."""

    index: int = 0
    address: int = 0
    remaining: int = 0
    tag: int = 0
    flags: int = 0


@dataclass(slots=True)
class DescriptorEnd:
    """A descriptor was finished `offset_bytes` into a walk; its last memory access began at `access_bytes`."""

    offset_bytes: int
    access_bytes: int
    index: int
    tag: int
    flags: int


@dataclass(slots=True)
class Walk:
    """A planned move along the ring: which bytes, which descriptors end, where it leads."""

    pieces: list[tuple[int, int]]
    ends: list[DescriptorEnd]
    cursor: Cursor
    moved_bytes: int
    fault: FaultReason | None = None


@dataclass(frozen=True, slots=True)
class SnapshotModel:
    """What a snapshot latches; all fields of one tick."""

    state: StreamState = StreamState.STOP
    fault: bool = False
    time_ticks: int = 0
    frames: int = 0
    moved_bytes: int = 0
    descriptors: int = 0
    fifo_bytes: int = 0
    index: int = 0
    frame_ticks: int = 0


@dataclass(slots=True)
class StreamModel:
    """One stream: the host's registers and the engine's context."""

    number: int
    control: int = 0
    config: int = 0
    ring_base: int = 0
    ring_size: int = 0
    state: StreamState = StreamState.STOP
    fault: bool = False
    capture: bool = False
    container_bytes: int = 2
    channels: int = 1
    frames: int = 0
    moved_bytes: int = 0
    descriptors: int = 0
    underruns: int = 0
    overruns: int = 0
    started: bool = False
    delivered: bool = False
    in_gap: bool = False
    fifo: bytes = b""
    cursor: Cursor = field(default_factory=Cursor)
    snapshot: SnapshotModel = field(default_factory=SnapshotModel)
    snapshots: int = 0

    @property
    def block_bytes(self) -> int:
        """Bytes of one frame."""
        return self.container_bytes * self.channels

    @property
    def is_streaming(self) -> bool:
        """True while the converter is served."""
        return self.state is StreamState.RUN and not self.fault


class EngineModel:
    """The engine, the audio memory it works on and the converter side it serves."""

    def __init__(
        self,
        *,
        streams: int = 4,
        frame_clocks: int = 256,
        codec: CodecSettings | None = None,
        bulk: bool = True,
    ) -> None:
        self.memory: Bytes = np.zeros(regs.AUDIO_MEMORY_BYTES, dtype=np.uint8)
        self.streams = [StreamModel(number) for number in range(streams)]
        self.events = EventRingModel(streams)
        self.frame_clocks = frame_clocks
        self.bulk = bulk
        self.analog = AnalogPath(codec)
        self.enabled = False
        self.mute = False
        self.input_select = InputSelect.CONVERTER
        self.pattern = PatternSequence(PatternKind.RAMP, 1)
        self.checker = PatternChecker(PatternKind.RAMP, 1)
        self.check_enabled = False
        self.tap: list[Frames] | None = None
        self.tap_first_ticks = 0
        self.memory_stalled_until_ticks = 0
        """Fault injection: until then the engine gets no answer from memory."""
        self.accesses_watched = False
        """True if every memory access is reported to `on_access` (slow: one frame at a time)."""
        self._enable_ticks = 0
        self._frames_served = 0
        self._handed_over = silence(1)
        self._handed_over_counts = False
        self._posts: list[tuple[int, int, Cause, tuple[int, ...]]] = []

    # ------------------------------------------------------------------ time

    def frame_ticks(self, now_ticks: int) -> int:
        """FRAME_TICKS: frame ticks since the converter was enabled."""
        return (now_ticks - self._enable_ticks) // self.frame_clocks if self.enabled else self._frames_served

    def set_enabled(self, enabled: bool, now_ticks: int) -> None:
        """Start or stop the frame clock."""
        if enabled and not self.enabled:
            self._enable_ticks = now_ticks
            self._frames_served = 0
            self._handed_over = silence(1)
            self._handed_over_counts = False
        self.enabled = enabled

    def advance(self, now_ticks: int) -> None:
        """Serve all frames that are due at `now_ticks`."""
        while (due := self._frames_due(now_ticks)) > 0:
            self._serve(min(due, self._undisturbed_frames()))

    def touches(self, now_ticks: int, address: int, length: int) -> bool:
        """True if frames due at `now_ticks` may make the engine read or write any of these bytes."""
        due = self._frames_due(now_ticks)
        if due <= 0:
            return False
        if not self.bulk or self.accesses_watched or self.memory_stalled_until_ticks:
            return True
        for stream in self.streams:
            if stream.is_streaming:
                ring_bytes = stream.ring_size * regs.DESCRIPTOR_BYTES
                pieces = self._walk(stream, due * stream.block_bytes + FIFO_BYTES).pieces
                for start, count in [*pieces, (stream.ring_base, ring_bytes)]:
                    if start < address + length and address < start + count:
                        return True
        return False

    def next_stop_ticks(self) -> int | None:
        """Board time at which the frames are served that end a descriptor next; None if no stream runs."""
        if not self.enabled or not any(stream.is_streaming for stream in self.streams):
            return None
        return self._frame_time(self._undisturbed_frames()) + SERVICE_TICKS

    def _frame_time(self, ahead: int) -> int:
        """Board time of the frame tick that is `ahead` frames after the last one served."""
        return self._enable_ticks + (self._frames_served + ahead) * self.frame_clocks

    def _frames_due(self, now_ticks: int) -> int:
        if not self.enabled:
            return 0
        return (now_ticks - SERVICE_TICKS - self._enable_ticks) // self.frame_clocks - self._frames_served

    def _undisturbed_frames(self) -> int:
        """How many frames may be moved as one run: up to and with the one in which a descriptor ends."""
        if not self.bulk or self.accesses_watched or self._frame_time(1) <= self.memory_stalled_until_ticks:
            return 1
        frames = MAX_RUN_FRAMES
        for stream in self.streams:
            if not stream.is_streaming:
                continue
            address, left = stream.cursor.address, stream.cursor.remaining
            if left == 0:
                address, left, *_ = self._descriptor(stream, stream.cursor.index)
            if stream.capture:
                if stream.fifo:
                    return 1
            else:
                if len(stream.fifo) < stream.block_bytes:
                    return 1
                left += len(stream.fifo) - FILL_LEVEL_BYTES - _last_access_bytes(address + left, left)
            frames = min(frames, max(1, -(-left // stream.block_bytes)))
        if self._memory_is_shared(frames):
            return 1
        return frames

    # ------------------------------------------------------------------ what the host does to a stream

    def set_state(self, number: int, requested: int, now_ticks: int) -> None:
        """CONTROL of a stream was written."""
        stream = self.streams[number]
        stream.control = requested
        if requested & 2 == 0:
            stream.frames = stream.moved_bytes = stream.descriptors = 0
            stream.fifo = b""
            stream.cursor = Cursor()
            stream.fault = stream.started = stream.delivered = stream.in_gap = False
            stream.state = StreamState.STOP
            return
        if stream.fault or stream.state == requested:
            return
        stream.state = StreamState(requested)
        if stream.state is StreamState.RUN:
            if not stream.started:
                stream.started = True
                stream.underruns = stream.overruns = 0
                self._configure(stream, now_ticks)
            if not stream.capture and not stream.fault:
                self._fill(stream, 0, now_ticks)
                self._flush_posts()

    def take_snapshot(self, number: int, now_ticks: int) -> None:
        """SNAPSHOT of a stream was written."""
        stream = self.streams[number]
        stream.snapshots += 1
        stream.snapshot = SnapshotModel(
            state=stream.state,
            fault=stream.fault,
            time_ticks=now_ticks,
            frames=stream.frames,
            moved_bytes=stream.moved_bytes,
            descriptors=stream.descriptors,
            fifo_bytes=len(stream.fifo),
            index=stream.cursor.index,
            frame_ticks=self.frame_ticks(now_ticks),
        )

    def restart_pattern(self, kind: PatternKind, seed: int) -> None:
        """PATTERN_CONTROL was written with `restart`."""
        self.pattern = PatternSequence(kind, seed)
        self.checker = PatternChecker(kind, seed)

    def on_access(self, write: bool, address: int, length: int, time_ticks: int) -> None:
        """The engine moved bytes; called for each frame while `accesses_watched`. For the bus monitor to override."""

    def _configure(self, stream: StreamModel, now_ticks: int) -> None:
        stream.capture = bool(stream.config >> regs.STREAM_CONFIG_CAPTURE_LSB & 1)
        stream.container_bytes = (stream.config >> regs.STREAM_CONFIG_CONTAINER_LSB & 3) + 1
        stream.channels = (stream.config >> regs.STREAM_CONFIG_CHANNELS_LSB & 7) + 1
        valid_ring = 1 <= stream.ring_size <= MAX_RING_DESCRIPTORS
        if stream.container_bytes == 1 or stream.channels > 2 or not valid_ring:
            stream.fault = True
            self.events.post(Cause.FAULT, stream.number, now_ticks, 0, FaultReason.BAD_CONFIG)

    # ------------------------------------------------------------------ descriptors

    def _descriptor(self, stream: StreamModel, index: int) -> tuple[int, int, int, int]:
        """Address, length, tag and flags of a descriptor, as it stands in memory now; behind memory, a refused one."""
        start = stream.ring_base + index * regs.DESCRIPTOR_BYTES
        if start >= len(self.memory):
            return _MASK32, 1, 0, 0
        address, length, tag, flags = self.memory[start : start + regs.DESCRIPTOR_BYTES].view("<u4").tolist()
        return address, length, tag, flags

    def _walk(self, stream: StreamModel, count: int) -> Walk:
        """Plan to move `count` bytes, for render also the rest of the last word; less if a descriptor is refused."""
        start = stream.cursor
        cursor = Cursor(start.index, start.address, start.remaining, start.tag, start.flags)
        walk = Walk([], [], cursor, 0)
        while walk.moved_bytes < count:
            if cursor.remaining == 0:
                address, length, cursor.tag, cursor.flags = self._descriptor(stream, cursor.index)
                if length == 0:
                    walk.fault = FaultReason.LENGTH_ZERO
                    break
                if address + length > len(self.memory):
                    walk.fault = FaultReason.OUTSIDE_MEMORY
                    break
                cursor.address, cursor.remaining = address, length
            taken = count - walk.moved_bytes
            if not stream.capture:
                taken += -(cursor.address + taken) % 4
            taken = min(taken, cursor.remaining)
            walk.pieces.append((cursor.address, taken))
            walk.moved_bytes += taken
            cursor.address += taken
            cursor.remaining -= taken
            if cursor.remaining == 0:
                access_bytes = walk.moved_bytes - _last_access_bytes(cursor.address, taken)
                walk.ends.append(DescriptorEnd(walk.moved_bytes, access_bytes, cursor.index, cursor.tag, cursor.flags))
                cursor.index = (cursor.index + 1) % stream.ring_size
        return walk

    def _memory_is_shared(self, frames: int) -> bool:
        """True if, within `frames`, one stream may touch bytes that a capture stream writes."""
        written, touched = [], []
        for stream in self.streams:
            if stream.is_streaming:
                pieces = self._walk(stream, frames * stream.block_bytes + FIFO_BYTES).pieces
                ring = (stream.ring_base, stream.ring_size * regs.DESCRIPTOR_BYTES)
                touched.append((stream, [*pieces, ring]))
                if stream.capture:
                    written.append((stream, pieces))
        return any(
            start < other_start + other_length and other_start < start + length
            for writer, pieces in written
            for other, other_pieces in touched
            for start, length in pieces
            for other_start, other_length in (other_pieces if other is not writer else other_pieces[-1:])
        )

    # ------------------------------------------------------------------ moving frames

    def _serve(self, frames: int) -> None:
        """Serve the next `frames` converter frames."""
        first_time = self._frame_time(1)
        written = silence(frames)
        delivered = False
        for stream in self.streams:
            if stream.is_streaming and not stream.capture:
                samples = self._serve_render(stream, frames, first_time)
                if samples is not None:
                    written[:] = samples
                    delivered = True
        rendered = np.concatenate([self._handed_over, written[:-1]])
        first_rendered = 0 if self._handed_over_counts else 1
        self._handed_over, self._handed_over_counts = written[-1:], delivered
        sent = silence(frames) if self.mute else rendered
        if self.tap is not None:
            if not self.tap:
                self.tap_first_ticks = first_time
            self.tap.append(sent)
        captures = [stream for stream in self.streams if stream.is_streaming and stream.capture]
        if not captures or self.input_select is not InputSelect.CONVERTER:
            self.analog.pass_by(sent)
        if captures:
            if self.input_select is InputSelect.LOOPBACK:
                heard = sent
            elif self.input_select is InputSelect.CONVERTER:
                heard = self.analog.hear(sent)
            else:
                taken = any(self._has_room(stream) for stream in captures)
                heard = self.pattern.take(frames) if taken else silence(frames)
            for stream in captures:
                self._serve_capture(stream, heard, first_time)
        # The first frame seen at these ticks was handed over in the run before, the others in this one.
        if self.check_enabled:
            last_rendered = frames if delivered else 1
            bad_row = self.checker.check(rendered[first_rendered:last_rendered])
            if bad_row is not None:
                time = first_time + (first_rendered + bad_row) * self.frame_clocks
                self._posts.append((time, -1, Cause.PATTERN_ERROR, (self.checker.first_bad,)))
        self._frames_served += frames
        self._flush_posts()

    def _post(self, stream: StreamModel, cause: Cause, frame_time: int, *data: int) -> None:
        """Collect an event; records are written in the order of their times."""
        self._posts.append((frame_time + 16 + 16 * stream.number, stream.number, cause, data))

    def _flush_posts(self) -> None:
        for time, number, cause, data in sorted(self._posts, key=lambda post: post[:2]):
            self.events.post(cause, number, time, *data)
        self._posts.clear()

    def _serve_render(self, stream: StreamModel, frames: int, first_time: int) -> npt.NDArray[np.int32] | None:
        """Hand over one frame a tick and fill the FIFO behind it; None if there was none (then `frames` is 1)."""
        if len(stream.fifo) < stream.block_bytes:
            if stream.delivered:
                stream.underruns = (stream.underruns + 1) & _MASK32
                if not stream.in_gap:
                    stream.in_gap = True
                    self._post(stream, Cause.UNDERRUN, first_time, stream.underruns)
            self._fill(stream, 0, first_time)
            return None
        stream.in_gap = False
        stream.delivered = True
        data = self._fill(stream, frames, first_time)
        return decode_samples(np.frombuffer(data, dtype=np.uint8), stream.container_bytes, stream.channels)

    def _fill(self, stream: StreamModel, frames: int, first_time: int) -> bytes:
        """Hand over `frames` frames, one a tick, and fetch while there is room; returns the bytes handed over."""
        handed_bytes = frames * stream.block_bytes
        held_bytes = len(stream.fifo)
        stalled = first_time < self.memory_stalled_until_ticks
        walk = self._walk(stream, 0 if stalled else handed_bytes + FILL_LEVEL_BYTES + 1 - held_bytes)
        data = stream.fifo + b"".join(self.memory[start : start + length].tobytes() for start, length in walk.pieces)
        stream.fifo = data[handed_bytes:]
        self._account(stream, walk, frames, held_bytes, first_time)
        stream.frames += frames
        return data[:handed_bytes]

    def _has_room(self, stream: StreamModel) -> bool:
        return len(stream.fifo) + stream.block_bytes <= FIFO_BYTES

    def _serve_capture(self, stream: StreamModel, heard: Frames, first_time: int) -> None:
        """Take one frame a tick and write what the FIFO holds."""
        frames = len(heard)
        held_bytes = len(stream.fifo)
        if self._has_room(stream):
            stream.in_gap = False
            data = encode_samples(heard[:, : stream.channels], stream.container_bytes)
            waiting = np.concatenate([np.frombuffer(stream.fifo, dtype=np.uint8), data]) if held_bytes else data
        else:
            frames = 0
            waiting = np.frombuffer(stream.fifo, dtype=np.uint8)
            stream.overruns = (stream.overruns + 1) & _MASK32
            if not stream.in_gap:
                stream.in_gap = True
                self._post(stream, Cause.OVERRUN, first_time, stream.overruns)
        stalled = first_time < self.memory_stalled_until_ticks
        walk = self._walk(stream, 0 if stalled else len(waiting))
        offset = 0
        for start, length in walk.pieces:
            self.memory[start : start + length] = waiting[offset : offset + length]
            offset += length
        stream.fifo = waiting[offset:].tobytes()
        self._account(stream, walk, frames, held_bytes, first_time)
        stream.frames += frames

    def _account(self, stream: StreamModel, walk: Walk, frames: int, held_bytes: int, first_time: int) -> None:
        """Count a walk and post its events. `frames` were converted meanwhile, `held_bytes` were in the FIFO before."""
        for end in walk.ends:
            if end.flags & _FLAG_EVENT:
                if stream.capture:
                    behind_bytes = end.offset_bytes - held_bytes
                else:
                    behind_bytes = end.access_bytes + held_bytes - FILL_LEVEL_BYTES
                converted = max(min(frames, 1), min(frames, -(-behind_bytes // stream.block_bytes)))
                frame_time = first_time + max(converted - 1, 0) * self.frame_clocks
                moved = (stream.moved_bytes + end.offset_bytes) & _MASK32
                data = (end.index, end.tag, moved, (stream.frames + converted) & _MASK32)
                self._post(stream, Cause.DESCRIPTOR, frame_time, *data)
        if self.accesses_watched:
            for start, length in walk.pieces:
                self.on_access(stream.capture, start, length, first_time)
        stream.moved_bytes += walk.moved_bytes
        stream.descriptors = (stream.descriptors + len(walk.ends)) & _MASK32
        stream.cursor = walk.cursor
        if walk.fault is not None:
            stream.fault = True
            last_time = first_time + max(frames - 1, 0) * self.frame_clocks
            self._post(stream, Cause.FAULT, last_time, walk.cursor.index, walk.fault)
