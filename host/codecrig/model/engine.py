"""The stream engine in Python: descriptors, formats, FIFOs, counters, events, snapshots, revocation.

Time is board time in ticks. The engine serves each converter frame as a whole: at `SERVICE_TICKS` after the frame tick
every running stream has been visited for its frame, in the order of their numbers, and then all were visited in turn
to move bytes until nothing was left to do. A visit moves what one visit of the RTL moves when no tick cuts it short:
at most one descriptor's rest, at most 32 bytes and what belongs to the last word. What the host does (RUN, a new
descriptor) is followed by the same at once.

Calm frames, in which no stream comes to the end of a descriptor, starts, stops or posts, are moved many at a time;
`bulk=False` moves them one by one and gives the same bytes, counters and events (a test compares).
"""

import struct

import numpy as np
import numpy.typing as npt

from codecrig.link import registers as regs
from codecrig.link.registers import Cause, FaultReason, InputSelect, PatternKind, RevokeResult, StreamState

from .converter import AnalogPath, CodecSettings, Frames, PatternChecker, PatternSequence, mix, silence
from .events import EventRingModel
from .samples import Bytes, decode_samples, encode_samples
from .stream import FIFO_BYTES, SHORTEST_INTERVAL_BYTES, SnapshotModel, StreamModel

FILL_LEVEL_BYTES = FIFO_BYTES - 4
"""Render fetches the next word, or the part of a word that belongs to the descriptor, up to this level of the FIFO."""
VISIT_BYTES = 32
"""A visit that has moved so many bytes ends."""
SERVICE_TICKS = 96
"""From a frame tick until the engine has served all streams."""
MAX_RUN_FRAMES = 4096
"""Frames moved at once: bounds the memory of temporary arrays."""
MAX_RING_DESCRIPTORS = 256
FENCE_BLOCK_BYTES = 256
FENCE_BLOCKS = regs.AUDIO_MEMORY_BYTES // FENCE_BLOCK_BYTES

_DESCRIPTOR = struct.Struct("<4I")
_MASK16 = 0xFFFF
_MASK32 = 0xFFFFFFFF
_MASK64 = 0xFFFFFFFFFFFFFFFF
_FLAG_EVENT = 1 << regs.DESCRIPTOR_EVENT_FLAG_BIT
_FLAG_END_OF_STREAM = 1 << regs.DESCRIPTOR_END_OF_STREAM_BIT
_FLAG_REMOVED = 1 << regs.DESCRIPTOR_REMOVED_BIT
_LAST_IN_EVENT_LSB = 16


def _frame_offset(number: int) -> int:
    """From a tick until stream `number` was visited for its frame."""
    return 2 + 2 * number


def _move_offset(number: int) -> int:
    """From a tick until stream `number` is visited to move bytes."""
    return 16 + 16 * number


def stream_load_clocks(block_bytes: int) -> int:
    """Clocks of a frame that a stream needs; RUN refuses what does not fit beside the streams that run."""
    return max(4 * block_bytes, 12)


class EngineModel:
    """The engine, the audio memory it works on and the converter side it serves."""

    def __init__(
        self,
        *,
        streams: int = 4,
        max_channels: int = 2,
        channels: int = 2,
        frame_clocks: int = 256,
        codec: CodecSettings | None = None,
        bulk: bool = True,
    ) -> None:
        """`max_channels`: most channels of a stream. `channels`: those of the converter."""
        self._memory_bytes = memoryview(bytearray(regs.AUDIO_MEMORY_BYTES))
        self.memory: Bytes = np.frombuffer(self._memory_bytes, np.uint8)
        self.streams = [StreamModel(number) for number in range(streams)]
        self.events = EventRingModel(streams)
        self.max_channels = max_channels
        self.channels = channels
        self.looped_channels = min(channels, 2)
        """Channels that the format at the pins has; the digital loopback goes through the serializer."""
        self.frame_clocks = frame_clocks
        self.bulk = bulk
        self.analog = AnalogPath(codec)
        self.enabled = False
        self.mute = False
        self.mute_loopback = False
        self.input_select = InputSelect.CONVERTER
        self.pattern = PatternSequence(PatternKind.RAMP, 1)
        self.checker = PatternChecker(PatternKind.RAMP, 1)
        self.check_enabled = False
        self.tap: list[Frames] | None = None
        self.tap_first_ticks = 0
        self.memory_stalled_until_ticks = 0
        """Fault injection: until then the engine gets no answer from memory."""
        self.fence = (0, FENCE_BLOCKS - 1)
        """First and last block of 256 bytes that the engine may access."""
        self.accesses_watched = False
        """True if every memory access is reported to `on_access` (slow: one frame at a time)."""
        self._load_clocks = 0
        self._enable_ticks = 0
        self._frames_served = 0
        self._handed_over = silence(1, channels)
        self._handed_over_counts = False
        self._posts: list[tuple[int, int, Cause, tuple[int, ...]]] = []

    # ------------------------------------------------------------------ time

    def frame_ticks(self, now_ticks: int) -> int:
        """FRAME_TICKS: frame ticks since the converter was enabled."""
        return (now_ticks - self._enable_ticks) // self.frame_clocks if self.enabled else self._frames_served

    def set_enabled(self, enabled: bool, now_ticks: int) -> None:
        """Start or stop the frame clock. A frame whose tick has come is still served."""
        if enabled and not self.enabled:
            self._enable_ticks = now_ticks
            self._frames_served = 0
            self._handed_over = silence(1, self.channels)
            self._handed_over_counts = False
        elif self.enabled and not enabled:
            self.advance(now_ticks + SERVICE_TICKS)
        self.enabled = enabled

    def advance(self, now_ticks: int) -> None:
        """Serve all frames that are due at `now_ticks`."""
        while (due := self._frames_due(now_ticks)) > 0:
            calm = self._calm_frames() if due > 1 else 0
            if calm > 1:
                self._serve_calm(min(due, calm))
            else:
                self._serve_frame()

    def touches(self, now_ticks: int, address: int, length: int) -> bool:
        """True if frames due at `now_ticks` may make the engine read or write any of these bytes."""
        due = self._frames_due(now_ticks)
        if due <= 0:
            return False
        if not self.bulk or self.accesses_watched or self.memory_stalled_until_ticks:
            return True
        for stream in self.streams:
            if stream.is_streaming:
                for start, count in self._reach(stream, due * stream.block_bytes + FIFO_BYTES):
                    if start < address + length and address < start + count:
                        return True
        return False

    def next_stop_ticks(self) -> int | None:
        """Board time at which the frame is served in which something happens next; None if no stream runs."""
        if not self.enabled or not any(stream.is_streaming for stream in self.streams):
            return None
        return self.frame_time(self._calm_frames() + 1) + SERVICE_TICKS

    def frame_time(self, ahead: int) -> int:
        """Board time of the frame tick that is `ahead` frames after the last one served."""
        return self._enable_ticks + (self._frames_served + ahead) * self.frame_clocks

    def _frames_due(self, now_ticks: int) -> int:
        if not self.enabled:
            return 0
        return (now_ticks - SERVICE_TICKS - self._enable_ticks) // self.frame_clocks - self._frames_served

    # ------------------------------------------------------------------ what the host does to a stream

    def set_state(self, number: int, requested: int, now_ticks: int) -> None:
        """CONTROL of a stream was written."""
        stream = self.streams[number]
        stream.control = requested
        self._look_at_settings(stream, now_ticks)
        if requested & 2 == 0:
            if stream.state is not StreamState.STOP:
                if stream.started:
                    self._load_clocks -= stream_load_clocks(stream.block_bytes)
                stream.wipe()
            return
        if stream.fault or stream.state == requested:
            return
        stream.state = StreamState(requested)
        if stream.state is StreamState.RUN:
            stream.fresh = True
            if not stream.started:
                self._start(stream, now_ticks)
            self._settle(now_ticks)

    def set_producer(self, number: int, value: int, now_ticks: int) -> None:
        """RING_PRODUCER of a stream was written."""
        self.streams[number].producer = value & _MASK16
        self._settle(now_ticks)

    def revoke(self, number: int, value: int, now_ticks: int) -> None:
        """REVOKE of a stream was written: answered at once."""
        stream = self.streams[number]
        stream.revoke = value
        self._look_at_settings(stream, now_ticks)
        first, last = value & _MASK16, value >> 16
        stream.revoke_left = 0
        if not stream.queue or _ahead(last, first) < 0 or _ahead(last, stream.producer) >= 0:
            stream.revoke_result = RevokeResult.REFUSED
            self._post(stream, Cause.REFUSED, now_ticks, value)
        elif stream.remaining and _ahead(first, stream.descriptors) <= 0 <= _ahead(last, stream.descriptors):
            stream.revoke_result = RevokeResult.DROPPED
            stream.revoke_left, stream.remaining = stream.remaining, 0
            self._next_descriptor(stream)
        else:
            stream.revoke_result = RevokeResult.UNUSED
        self._settle(now_ticks)

    def take_snapshot(self, number: int, now_ticks: int) -> None:
        """SNAPSHOT of a stream was written."""
        stream = self.streams[number]
        self._look_at_settings(stream, now_ticks)
        stream.snapshots += 1
        stream.snapshot = SnapshotModel(
            state=stream.state,
            fault=stream.fault,
            ended=stream.silent,
            time_ticks=now_ticks,
            frames=stream.frames,
            moved_bytes=stream.moved_bytes,
            descriptors=stream.descriptors,
            fifo_bytes=len(stream.fifo),
            index=stream.index,
            frame_ticks=self._frames_served,  # as the engine, which takes no snapshot while a tick waits to be served
        )

    def restart_pattern(self, kind: PatternKind, seed: int) -> None:
        """PATTERN_CONTROL was written with `restart`."""
        self.pattern = PatternSequence(kind, seed)
        self.checker = PatternChecker(kind, seed)

    def on_access(self, write: bool, address: int, length: int, time_ticks: int) -> None:
        """The engine moved bytes; called for each visit while `accesses_watched`. For the bus monitor to override."""

    def on_sent(self, frames: Frames) -> None:
        """The DAC is given frames, the first at the next tick. For what listens beside it."""

    def _start(self, stream: StreamModel, now_ticks: int) -> None:
        """First RUN behind STOP: take over the settings."""
        config = stream.config
        stream.capture = bool(config >> regs.STREAM_CONFIG_CAPTURE_LSB & 1)
        stream.container_bytes = (config >> regs.STREAM_CONFIG_CONTAINER_LSB & 3) + 1
        stream.channels = (config >> regs.STREAM_CONFIG_CHANNELS_LSB & 7) + 1
        stream.block_bytes = stream.container_bytes * stream.channels
        stream.queue = bool(config >> regs.STREAM_CONFIG_QUEUE_LSB & 1)
        if stream.channels > self.max_channels or not 1 <= stream.ring_size <= MAX_RING_DESCRIPTORS:
            self._halt(stream, FaultReason.BAD_CONFIG, now_ticks)
            return
        load_clocks = self._load_clocks + stream_load_clocks(stream.block_bytes)
        if load_clocks > self.frame_clocks:
            self._halt(stream, FaultReason.TOO_MUCH, now_ticks)
            return
        self._load_clocks = load_clocks
        stream.base, stream.size = stream.ring_base, stream.ring_size
        stream.underruns = stream.overruns = stream.high_water = 0
        stream.interval_on = stream.interval_bytes >= SHORTEST_INTERVAL_BYTES
        stream.interval_left = stream.interval_bytes if stream.interval_on else 0
        stream.started = True

    def _look_at_settings(self, stream: StreamModel, now_ticks: int) -> None:
        """The host wants something of a stream: settings written between RUN and STOP are noticed now."""
        if stream.settings_written and stream.started:
            self._post(stream, Cause.REFUSED, now_ticks, stream.revoke, FaultReason.SETTINGS)
            self._flush_posts()
        stream.settings_written = False

    # ------------------------------------------------------------------ events

    def _post(self, stream: StreamModel, cause: Cause, time_ticks: int, *data: int) -> None:
        """Collect an event; records are written in the order of their times."""
        self._posts.append((time_ticks, stream.number, cause, data))

    def _post_progress(self, stream: StreamModel, cause: Cause, time_ticks: int, data0: int) -> None:
        self._post(stream, cause, time_ticks, data0, stream.tag, stream.moved_bytes & _MASK32, stream.frames & _MASK32)

    def _flush_posts(self) -> None:
        for time, number, cause, data in sorted(self._posts, key=lambda post: post[:2]):
            self.events.post(cause, number, time, *data)
        self._posts.clear()

    def _halt(self, stream: StreamModel, reason: FaultReason, time_ticks: int) -> None:
        stream.fault = True
        self._post(stream, Cause.FAULT, time_ticks, stream.index, reason)

    # ------------------------------------------------------------------ visits that move bytes

    def _settle(self, now_ticks: int) -> None:
        """Visit the streams in turn until there is nothing to move, and write the records of all that happened."""
        if now_ticks >= self.memory_stalled_until_ticks:
            skipped = [0] * len(self.streams)
            busy = self.streams
            while busy:
                busy = [each for each in busy if self._visit(each, now_ticks + _move_offset(each.number), skipped)]
        self._flush_posts()

    def _visit(self, stream: StreamModel, time_ticks: int, skipped: list[int]) -> bool:
        """One visit; False if there was nothing to do. `skipped` counts removed descriptors, against endless rounds."""
        if stream.state is not StreamState.RUN or stream.fault or stream.ended:
            return False
        level = len(stream.fifo)
        wanted = level if stream.capture else FILL_LEVEL_BYTES + 1 - level
        if wanted <= 0:
            return False
        if stream.remaining == 0:
            if stream.queue:
                if stream.queued == 0:
                    return False
                if stream.queued > stream.size:
                    self._halt(stream, FaultReason.PRODUCER_AHEAD, time_ticks)
                    return True
            if not self._fetch(stream, time_ticks):
                skipped[stream.number] += 1
                return skipped[stream.number] <= MAX_RING_DESCRIPTORS
        if not stream.capture:
            wanted += -(stream.address + wanted) % 4
        most = VISIT_BYTES + -(stream.address + VISIT_BYTES) % 4
        # At an odd place in the FIFO a word takes two accesses, of three bytes and one.
        if most > VISIT_BYTES and (stream.address + stream.memory_side_bytes) % 2:
            most -= 1
        count = min(wanted, most, stream.remaining)
        allowed = self._inside_fence(stream.address, count)
        if allowed:
            self._move(stream, allowed, time_ticks)
        reached_interval = self._count_interval(stream, allowed)
        done = stream.remaining == 0
        if allowed < count:
            self._halt(stream, FaultReason.BUS_ERROR, time_ticks)
        elif done:
            stream.ended = bool(stream.flags & _FLAG_END_OF_STREAM)
            if stream.flags & _FLAG_EVENT:
                last = stream.flags >> regs.DESCRIPTOR_LAST_BIT & 1
                self._post_progress(stream, Cause.DESCRIPTOR, time_ticks, stream.index | last << _LAST_IN_EVENT_LSB)
        if reached_interval:
            self._post_progress(stream, Cause.INTERVAL, time_ticks, stream.interval_left)
        if done:
            self._next_descriptor(stream)
        return True

    def _fetch(self, stream: StreamModel, time_ticks: int) -> bool:
        """Read the next descriptor. False if it was removed, or refused."""
        start = stream.base + stream.index * regs.DESCRIPTOR_BYTES
        if start >= len(self.memory):
            self._halt(stream, FaultReason.OUTSIDE_MEMORY, time_ticks)
            return False
        if not self._inside_fence(start, regs.DESCRIPTOR_BYTES):
            self._halt(stream, FaultReason.BUS_ERROR, time_ticks)
            return False
        address, length, tag, flags = _DESCRIPTOR.unpack_from(self._memory_bytes, start)
        removed = bool(flags & _FLAG_REMOVED)
        outside = address + length > len(self.memory)
        if self.accesses_watched:
            self.on_access(False, start + 12, 4, time_ticks)
            if not removed:
                self.on_access(False, start, 8 if length == 0 or outside else 12, time_ticks)
        stream.flags = flags
        if removed:
            self._next_descriptor(stream)
            return False
        if length == 0 or outside:
            self._halt(stream, FaultReason.OUTSIDE_MEMORY if length else FaultReason.LENGTH_ZERO, time_ticks)
            return False
        stream.address, stream.remaining, stream.tag = address, length, tag
        if stream.capture:
            stream.packet_ticks = self.frame_time(0)
        elif stream.mark is None:
            stream.mark = stream.converted_bytes + len(stream.fifo)
        return True

    def _move(self, stream: StreamModel, count: int, time_ticks: int) -> None:
        """Between FIFO and memory, within the descriptor."""
        start, stop = stream.address, stream.address + count
        if stream.capture:
            self._memory_bytes[start:stop] = stream.fifo[:count]
            stream.fifo = stream.fifo[count:]
        else:
            stream.fifo += self._memory_bytes[start:stop]
            stream.high_water = max(stream.high_water, len(stream.fifo))
        stream.address = stop
        stream.remaining -= count
        stream.memory_side_bytes += count
        stream.moved_bytes = (stream.moved_bytes + count) & _MASK64
        if self.accesses_watched:
            self.on_access(stream.capture, start, count, time_ticks)

    def _count_interval(self, stream: StreamModel, count: int) -> bool:
        """Count `count` bytes down to the next INTERVAL event; True if it was reached."""
        if not stream.interval_on:
            return False
        stream.interval_left -= count
        if stream.interval_left > 0:
            return False
        stream.interval_on = stream.interval_bytes >= SHORTEST_INTERVAL_BYTES
        stream.interval_left = stream.interval_left + stream.interval_bytes if stream.interval_on else 0
        return stream.interval_on

    def _next_descriptor(self, stream: StreamModel) -> None:
        stream.descriptors = (stream.descriptors + 1) & _MASK32
        if not stream.ended:
            stream.index += 1
            if stream.index == stream.size:
                stream.index = 0

    def _inside_fence(self, address: int, length: int) -> int:
        """How many of these bytes the engine may access, from the first on."""
        first, last = self.fence
        if address < first * FENCE_BLOCK_BYTES:
            return 0
        return max(0, min(length, (last + 1) * FENCE_BLOCK_BYTES - address))

    # ------------------------------------------------------------------ one converter frame

    def _serve_frame(self) -> None:
        """Serve the next converter frame."""
        time = self.frame_time(1)
        written = silence(1, self.channels)
        delivered = False
        heard = self._hear(1, self._handed_over)
        check = self.check_enabled and self._handed_over_counts
        if check and self.checker.check(self._handed_over[:, :2]) is not None:
            self._posts.append((time, -1, Cause.PATTERN_ERROR, (self.checker.first_bad,)))
        for stream in self.streams:
            if stream.is_streaming and self._converts(stream, time):
                if stream.capture:
                    taken = self._for_stream(heard, stream.channels)
                    stream.fifo += encode_samples(taken, stream.container_bytes).tobytes()
                    stream.high_water = max(stream.high_water, len(stream.fifo))
                else:
                    data = np.frombuffer(stream.fifo, np.uint8, stream.block_bytes)
                    mix(written, decode_samples(data, stream.container_bytes, stream.channels), delivered)
                    stream.fifo = stream.fifo[stream.block_bytes :]
                    delivered = True
                self._count_frame(stream, time)
        self._handed_over, self._handed_over_counts = written, delivered
        self._frames_served += 1
        self._settle(time)

    def _converts(self, stream: StreamModel, tick: int) -> bool:
        """Is there a frame for the converter, or room for one? If not, count what is to be counted."""
        there = self._room(stream) if stream.capture else len(stream.fifo) >= stream.block_bytes
        time = tick + _frame_offset(stream.number)
        if stream.ended and (stream.capture or not there):
            if not stream.silent:
                stream.silent = True
                self._post_progress(stream, Cause.END_OF_STREAM, time, stream.index)
            return False
        if there:
            stream.delivered = True
            stream.in_gap = False
            return True
        if stream.capture:
            stream.overruns = (stream.overruns + 1) & _MASK32
        elif stream.delivered:
            stream.underruns = (stream.underruns + 1) & _MASK32
        else:
            return False
        if not stream.in_gap:
            stream.in_gap = True
            cause, count = (Cause.OVERRUN, stream.overruns) if stream.capture else (Cause.UNDERRUN, stream.underruns)
            self._post(stream, cause, time, count)
        return False

    def _room(self, stream: StreamModel) -> bool:
        return len(stream.fifo) + stream.block_bytes <= FIFO_BYTES

    def _count_frame(self, stream: StreamModel, tick: int) -> None:
        stream.frames = (stream.frames + 1) & _MASK64
        if stream.fresh:
            stream.fresh = False
            stream.start_ticks = tick
        if not stream.capture:
            stream.converted_bytes += stream.block_bytes
            if stream.mark is not None and stream.converted_bytes > stream.mark:
                stream.mark = None
                stream.packet_ticks = tick

    def _hear(self, frames: int, rendered: Frames) -> Frames:
        """The converter was given `rendered`: what capture streams hear meanwhile."""
        sent = silence(frames, self.channels) if self.mute else rendered
        if self.tap is not None:
            if not self.tap:
                self.tap_first_ticks = self.frame_time(1)
            self.tap.append(sent[:, :2])
        self.on_sent(sent[:, :2])
        listening = [stream for stream in self.streams if stream.is_streaming and stream.capture]
        if not listening or self.input_select is not InputSelect.CONVERTER:
            self.analog.pass_by(sent[:, :2])
        if not listening:
            return sent
        if self.input_select is InputSelect.LOOPBACK:
            if self.mute_loopback:
                return silence(frames, self.channels)
            return sent if self.looped_channels == self.channels else self._widen(sent[:, : self.looped_channels])
        if self.input_select is InputSelect.CONVERTER:
            return self._widen(self.analog.hear(sent[:, :2]))
        taken = any(self._room(stream) and not stream.ended for stream in listening)
        return self._widen(self.pattern.take(frames) if taken else silence(frames))

    def _widen(self, heard: Frames) -> Frames:
        """These channels and silence on the others that the converter has."""
        return heard if heard.shape[1] == self.channels else self._for_stream(heard, self.channels)

    @staticmethod
    def _for_stream(heard: Frames, channels: int) -> Frames:
        """The first `channels` channels; silence where there are fewer."""
        if channels <= heard.shape[1]:
            return heard[:, :channels]
        return np.pad(heard, ((0, 0), (0, channels - heard.shape[1])))

    # ------------------------------------------------------------------ calm frames

    def _calm_frames(self) -> int:
        """For how many frames every stream just goes on: nothing ends, starts or is posted."""
        if not self.bulk or self.accesses_watched or self.frame_time(1) < self.memory_stalled_until_ticks:
            return 0
        if self.fence != (0, FENCE_BLOCKS - 1):
            return 0
        frames = MAX_RUN_FRAMES
        for stream in self.streams:
            if stream.is_streaming:
                frames = min(frames, self._calm_frames_of(stream))
                if frames < 2:
                    return 0
        return 0 if self._memory_is_shared(frames) else frames

    def _calm_frames_of(self, stream: StreamModel) -> int:
        if stream.silent:
            return MAX_RUN_FRAMES
        if stream.fresh or stream.ended:
            return 0
        block_bytes, level = stream.block_bytes, len(stream.fifo)
        if stream.capture and level or not stream.capture and level < block_bytes:
            if stream.remaining or not stream.queue or stream.queued or (stream.capture and self._room(stream)):
                return 0
            # A queue has run dry: frames are missed and counted, or did not begin yet.
            return MAX_RUN_FRAMES if stream.in_gap or not (stream.capture or stream.delivered) else 0
        if block_bytes > VISIT_BYTES - 4 and not stream.capture:
            return 0  # fills that may need two visits
        # Bytes that may be moved before a descriptor ends or an interval is over.
        most_bytes = min(stream.remaining, stream.interval_left if stream.interval_on else stream.remaining) - 1
        if most_bytes < 0:
            return 0
        if stream.capture:
            return most_bytes // block_bytes
        word_bytes = max(0, most_bytes - (stream.address + most_bytes) % 4)
        frames = (word_bytes + level - FILL_LEVEL_BYTES - 1) // block_bytes
        if stream.mark is not None:
            frames = min(frames, (stream.mark - stream.converted_bytes) // block_bytes)
        return frames

    def _calm_bytes(self, stream: StreamModel, frames: int) -> int:
        """What a stream moves in so many calm frames."""
        if stream.silent:
            return 0
        if stream.capture:
            return 0 if stream.fifo else frames * stream.block_bytes
        if len(stream.fifo) < stream.block_bytes:
            return 0
        count = frames * stream.block_bytes + FILL_LEVEL_BYTES + 1 - len(stream.fifo)
        return count + -(stream.address + count) % 4 if count > 0 else 0

    def _memory_is_shared(self, frames: int) -> bool:
        """True if, within `frames` calm frames, one stream touches bytes that a capture stream writes."""
        running = [stream for stream in self.streams if stream.is_streaming]
        if not any(stream.capture for stream in running):
            return False
        ranges = [(stream, stream.address, stream.address + self._calm_bytes(stream, frames)) for stream in running]
        return any(
            writer.capture and other is not writer and start < other_stop and other_start < stop
            for writer, start, stop in ranges
            for other, other_start, other_stop in ranges
        )

    def _serve_calm(self, frames: int) -> None:
        """Serve so many calm frames at once."""
        first_time = self.frame_time(1)
        written = silence(frames, self.channels)
        delivered = False
        running = [stream for stream in self.streams if stream.is_streaming and not stream.silent]
        for stream in running:
            if stream.capture:
                continue
            if len(stream.fifo) >= stream.block_bytes:
                mix(written, self._give_calm(stream, frames), delivered)
                delivered = True
            elif stream.delivered:
                stream.underruns = (stream.underruns + frames) & _MASK32
        rendered = np.concatenate([self._handed_over, written[:-1]])
        first_rendered = 0 if self._handed_over_counts else 1
        self._handed_over, self._handed_over_counts = written[-1:], delivered
        heard = self._hear(frames, rendered)
        for stream in running:
            if stream.capture:
                self._take_calm(stream, frames, heard)
        # The first frame seen at these ticks was handed over in the run before, the others in this one.
        if self.check_enabled:
            bad_row = self.checker.check(rendered[first_rendered : frames if delivered else 1, :2])
            if bad_row is not None:
                time = first_time + (first_rendered + bad_row) * self.frame_clocks
                self._posts.append((time, -1, Cause.PATTERN_ERROR, (self.checker.first_bad,)))
        self._frames_served += frames
        self._flush_posts()

    def _give_calm(self, stream: StreamModel, frames: int) -> npt.NDArray[np.int32]:
        """Hand over one frame a tick and fill the FIFO behind it."""
        block_bytes, level = stream.block_bytes, len(stream.fifo)
        # The highest level is reached within the first frames that make it fetch.
        for frame in range(1, min(frames, 2 * 4) + 1):
            if moved := self._calm_bytes(stream, frame):
                stream.high_water = max(stream.high_water, level + moved - frame * block_bytes)
        count = self._calm_bytes(stream, frames)
        data = stream.fifo + self._memory_bytes[stream.address : stream.address + count]
        handed_bytes = frames * block_bytes
        stream.fifo = data[handed_bytes:]
        stream.converted_bytes += handed_bytes
        self._count_calm(stream, frames, count)
        return decode_samples(np.frombuffer(data, np.uint8, handed_bytes), stream.container_bytes, stream.channels)

    def _take_calm(self, stream: StreamModel, frames: int, heard: Frames) -> None:
        """Take one frame a tick and write it."""
        if stream.fifo:
            stream.overruns = (stream.overruns + frames) & _MASK32
            return
        data = encode_samples(self._for_stream(heard, stream.channels), stream.container_bytes)
        self.memory[stream.address : stream.address + len(data)] = data
        stream.high_water = max(stream.high_water, stream.block_bytes)
        self._count_calm(stream, frames, len(data))

    def _count_calm(self, stream: StreamModel, frames: int, count: int) -> None:
        stream.frames = (stream.frames + frames) & _MASK64
        stream.moved_bytes = (stream.moved_bytes + count) & _MASK64
        stream.address += count
        stream.remaining -= count
        stream.memory_side_bytes += count
        if stream.interval_on:
            stream.interval_left -= count

    # ------------------------------------------------------------------ where the engine will go

    def _reach(self, stream: StreamModel, count: int) -> list[tuple[int, int]]:
        """Where in memory the next `count` bytes of a stream lie, as (address, length)."""
        if count < stream.remaining:
            return [(stream.address, count)]
        pieces = [(stream.address, stream.remaining), (stream.base, stream.size * regs.DESCRIPTOR_BYTES)]
        count -= stream.remaining
        index = stream.index + (stream.remaining > 0)
        for number in range(min(stream.size, stream.queued) if stream.queue else stream.size):
            start = stream.base + (index + number) % stream.size * regs.DESCRIPTOR_BYTES
            if count < 0 or start >= len(self.memory):
                break
            address, length, _, flags = _DESCRIPTOR.unpack_from(self._memory_bytes, start)
            if not flags & _FLAG_REMOVED:
                pieces.append((address, length))
                count -= length
        return pieces


def _ahead(ordinal: int, other: int) -> int:
    """How far an ordinal is ahead of another, modulo 2^16, with sign."""
    return (ordinal - other + 0x8000 & _MASK16) - 0x8000
