"""The engine model against formulas and a second, slower way to the same result."""

import struct
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codecrig.link import registers as regs
from codecrig.link.registers import Cause, FaultReason, InputSelect, PatternKind, StreamState
from codecrig.model import BoardModel, CodecSettings, PatternSequence
from codecrig.model.engine import decode_samples, encode_samples

RENDER, CAPTURE, SECOND_RENDER = 0, 1, 2
RINGS = (0x1F000, 0x1F800, 0x1E000)
FRAME = 256
SNAPSHOT_FIELDS = "state time_lo frames_lo bytes_lo descriptors fifo_bytes index frame_ticks".split()
REGISTERS_BESIDE = (
    "STATUS UNDERRUNS OVERRUNS INTERVAL_LEFT REVOKE_STATUS REVOKE_LEFT FIFO_HIGH_WATER START_TIME_LO PACKET_TIME_LO"
).split()
EVENT, LAST, KEEP, END_OF_STREAM, REMOVED = 1, 2, 4, 8, 16


@dataclass
class Record:
    cause: Cause
    stream: int
    reposted: int
    time: int
    data: tuple[int, int, int, int]


def stream_address(stream: int, offset: int) -> int:
    return regs.STREAM_BASE + stream * regs.STREAM_STRIDE + offset


class Rig:
    """A board model with helpers in the words of a test."""

    def __init__(self, bulk: bool = True, **options: int) -> None:
        self.board = BoardModel(bulk=bulk, **options)
        for stream in range(len(self.board.streams)):
            self.write(stream, regs.STREAM_EVENT_ENABLE, 0x7F)
        self.board.write_register(regs.FPGA_EVENT_ENABLE, 0xFF)

    def write(self, stream: int, offset: int, value: int) -> None:
        self.board.write_register(stream_address(stream, offset), value)

    def read(self, stream: int, offset: int) -> int:
        return self.board.read_register(stream_address(stream, offset))

    def ring(
        self,
        stream: int,
        descriptors: list[tuple[int, int]],
        container_bytes: int,
        channels: int,
        flags: int | list[int] = 5,
        queue: bool = False,
    ) -> None:
        base = RINGS[stream]
        for index, (address, length) in enumerate(descriptors):
            flag = flags if isinstance(flags, int) else flags[index]
            data = struct.pack("<4I", address, length, 100 + index, flag)
            self.board.memory[base + 16 * index : base + 16 * index + 16] = memoryview(data)
        config = (stream == CAPTURE) | (container_bytes - 1) << 2 | (channels - 1) << 4 | queue << 8
        self.write(stream, regs.STREAM_CONFIG, config)
        self.write(stream, regs.STREAM_RING_BASE, base)
        self.write(stream, regs.STREAM_RING_SIZE, len(descriptors))

    def state(self, stream: int, state: StreamState) -> None:
        self.write(stream, regs.STREAM_CONTROL, state)

    def converter(self, select: InputSelect = InputSelect.LOOPBACK, mute: bool = False) -> None:
        self.board.write_register(regs.FPGA_CONVERTER_CONTROL, 1 | mute << 1 | select << 4)

    def frames(self, count: int) -> None:
        self.ticks(count * FRAME)

    def ticks(self, count: int) -> None:
        self.board.pass_time(self.board.now_ticks + count)
        self.board.catch_up()

    def snapshot(self, stream: int) -> dict[str, int]:
        self.write(stream, regs.STREAM_SNAPSHOT, 1)
        return {
            name: self.read(stream, getattr(regs, f"STREAM_SNAP_{name.upper()}"))
            for name in SNAPSHOT_FIELDS
        }

    def records(self) -> list[Record]:
        events = self.board.events
        found = []
        for number in range(events.consumer, events.producer):
            raw = events.memory[number % 64 * 32 : number % 64 * 32 + 32]
            cause, stream, reposted, sequence, time, *data = struct.unpack("<BBHIQ4I", raw)
            assert sequence == number
            found.append(Record(Cause(cause), stream, reposted, time, tuple(data)))
        return found

    def take(self) -> list[Record]:
        found = self.records()
        for stream in range(len(self.board.streams)):
            self.write(stream, regs.STREAM_EVENT_CAUSE, 0x7F)
        self.board.write_register(regs.FPGA_EVENT_CAUSE, 0xFF)
        self.board.write_register(regs.FPGA_EVENT_CONSUMER, self.board.events.producer)
        return found

    def fill(self, start: int, length: int, seed: int = 1) -> bytes:
        data = np.random.default_rng(seed).integers(0, 256, length, dtype=np.uint8)
        self.board.memory[start : start + length] = data
        return data.tobytes()


def ring_bytes(memory: bytes, descriptors: list[tuple[int, int]], count: int) -> bytes:
    once = b"".join(memory[address : address + length] for address, length in descriptors)
    return (once * (count // len(once) + 1))[:count]


@pytest.mark.parametrize("container_bytes", [2, 3, 4])
@pytest.mark.parametrize("channels", [1, 2, 8])
def test_formats_survive_samples(container_bytes: int, channels: int) -> None:
    data = np.random.default_rng(2).integers(0, 256, 60 * container_bytes * channels, dtype=np.uint8)
    samples = decode_samples(data, container_bytes, channels)
    first = bytes(data[:container_bytes])
    assert samples[0, 0] == int.from_bytes(first, "little", signed=True) << (32 - 8 * container_bytes) & ~0xFF
    expected = data.copy()
    if container_bytes == 4:
        expected[::4] = 0
    assert encode_samples(samples, container_bytes).tobytes() == expected.tobytes()


@pytest.mark.parametrize("container_bytes", [2, 3, 4])
def test_loopback_is_the_render_data_one_frame_later(container_bytes: int) -> None:
    rig = Rig()
    block = 2 * container_bytes
    played = rig.fill(0, 100 * block)
    rig.ring(RENDER, [(0, 100 * block)], container_bytes, 2)
    rig.ring(CAPTURE, [(0x8000, 100 * block)], container_bytes, 2)
    rig.converter()
    rig.state(CAPTURE, StreamState.RUN)
    rig.state(RENDER, StreamState.RUN)
    rig.frames(100)
    captured = rig.board.memory[0x8000 : 0x8000 + 100 * block].tobytes()
    assert captured[:block] == bytes(block)
    expected = bytearray(played[: 98 * block])
    if container_bytes == 4:
        expected[::4] = bytes(len(expected[::4]))
    assert captured[block : 99 * block] == bytes(expected)


def test_fifo_is_filled_by_words_and_the_invariant_is_exact() -> None:
    rig = Rig()
    rig.ring(RENDER, [(0, 600)], 3, 2)
    rig.converter()
    rig.state(RENDER, StreamState.RUN)
    before = rig.snapshot(RENDER)
    assert (before["frames_lo"], before["fifo_bytes"], before["bytes_lo"]) == (0, 64, 64)
    for count in (1, 7, 250, 3):
        rig.frames(count)
        now = rig.snapshot(RENDER)
        assert now["bytes_lo"] == 6 * now["frames_lo"] + now["fifo_bytes"]
    assert now["frames_lo"] in (260, 261)
    assert now["descriptors"] == now["bytes_lo"] // 600


def test_descriptor_events_carry_index_tag_bytes_and_frames() -> None:
    rig = Rig()
    rig.ring(RENDER, [(0, 60), (101, 41), (300, 19)], 2, 2)
    rig.converter()
    rig.state(RENDER, StreamState.RUN)
    rig.frames(90)
    records = rig.records()
    ends = [60, 101, 120, 180, 221, 240, 300, 341, 360, 420]
    assert [record.data[2] for record in records] == ends
    assert [record.data[:2] for record in records] == [(i, 100 + i) for i in (0, 1, 2)] * 3 + [(0, 100)]
    # Begin of the last memory access of each descriptor: a word, or what of it belongs to the descriptor.
    last_accesses = [56, 100, 117, 176, 220, 237, 296, 340, 357, 416]
    for record, last_access in zip(records, last_accesses, strict=True):
        frames = max(0, -(-(last_access - 60) // 4))  # it is made when 60 bytes or less are ahead of the converter
        assert record.data[3] == frames
        assert record.time == frames * FRAME + 16  # prefilled at time 0


def test_pause_keeps_everything_and_stop_clears() -> None:
    rig = Rig()
    played = rig.fill(0, 400)
    rig.ring(RENDER, [(0, 400)], 2, 2)
    rig.ring(CAPTURE, [(0x8000, 4000)], 2, 2)
    rig.converter()
    rig.state(CAPTURE, StreamState.RUN)
    rig.state(RENDER, StreamState.RUN)
    rig.frames(30)
    rig.state(RENDER, StreamState.PAUSE)
    frozen = rig.snapshot(RENDER)
    rig.frames(20)
    now = rig.snapshot(RENDER)
    assert {k: now[k] for k in ("frames_lo", "bytes_lo", "fifo_bytes", "index")} == {
        k: frozen[k] for k in ("frames_lo", "bytes_lo", "fifo_bytes", "index")
    }
    assert now["state"] == StreamState.PAUSE
    rig.state(RENDER, StreamState.RUN)
    rig.frames(30)
    heard = rig.board.memory[0x8000 : 0x8000 + 4 * 79].tobytes()
    first = frozen["frames_lo"]
    assert heard[4 : 4 + 4 * first] == played[: 4 * first]
    assert heard[4 + 4 * first : 4 + 4 * (first + 20)] == bytes(80)
    assert heard[4 + 4 * (first + 20) : 4 + 4 * (first + 40)] == played[4 * first : 4 * (first + 20)]
    assert rig.read(RENDER, regs.STREAM_UNDERRUNS) == 0
    rig.state(RENDER, StreamState.STOP)
    zeros = rig.snapshot(RENDER)
    assert [zeros[k] for k in ("state", "frames_lo", "bytes_lo", "descriptors", "fifo_bytes", "index")] == [0] * 6


@pytest.mark.parametrize(
    ("descriptors", "reason", "index"),
    [
        ([(0, 64), (0, 0)], FaultReason.LENGTH_ZERO, 1),
        ([(0x1FFF0, 17)], FaultReason.OUTSIDE_MEMORY, 0),
        ([(0, 64), (0xFFFFFFF0, 32)], FaultReason.OUTSIDE_MEMORY, 1),
    ],
)
def test_a_bad_descriptor_halts_its_stream_until_stop(
    descriptors: list[tuple[int, int]], reason: FaultReason, index: int
) -> None:
    rig = Rig()
    rig.ring(RENDER, descriptors, 2, 2, flags=4)
    rig.ring(CAPTURE, [(0x8000, 400)], 2, 2, flags=4)
    rig.converter()
    rig.state(CAPTURE, StreamState.RUN)
    rig.state(RENDER, StreamState.RUN)
    rig.frames(50)
    assert [(r.cause, r.stream, r.data[:2]) for r in rig.records()] == [(Cause.FAULT, RENDER, (index, reason))]
    assert rig.read(RENDER, regs.STREAM_STATUS) >> 4 == 1
    assert rig.snapshot(CAPTURE)["frames_lo"] >= 49
    rig.state(RENDER, StreamState.STOP)
    assert rig.read(RENDER, regs.STREAM_STATUS) == 0


@pytest.mark.parametrize(("container_bytes", "channels", "size"), [(2, 3, 1), (1, 8, 1), (2, 2, 0), (2, 2, 257)])
def test_bad_configuration_is_a_fault(container_bytes: int, channels: int, size: int) -> None:
    rig = Rig()
    rig.ring(RENDER, [(0, 64)], container_bytes, channels)
    rig.write(RENDER, regs.STREAM_RING_SIZE, size)
    rig.state(RENDER, StreamState.RUN)
    assert [(r.cause, r.data[1]) for r in rig.records()] == [(Cause.FAULT, FaultReason.BAD_CONFIG)]


def test_memory_stall_underruns_and_overruns_are_counted_once_a_gap() -> None:
    rig = Rig()
    rig.ring(RENDER, [(0, 4000)], 2, 2, flags=4)
    rig.ring(CAPTURE, [(0x8000, 4000)], 2, 2, flags=4)
    rig.converter(InputSelect.PATTERN)
    rig.state(CAPTURE, StreamState.RUN)
    rig.state(RENDER, StreamState.RUN)
    rig.frames(10)
    rig.board.memory_stalled_until_ticks = rig.board.now_ticks + 20 * FRAME
    rig.frames(50)
    records = rig.records()
    assert [(r.cause, r.stream, r.data[0]) for r in records] == [
        (Cause.UNDERRUN, RENDER, 1),
        (Cause.OVERRUN, CAPTURE, 1),
    ]
    # Memory answers again behind tick 30, so ticks 10 to 30 live on the FIFO: 16 frames are there, 5 are missing.
    assert rig.read(RENDER, regs.STREAM_UNDERRUNS) == 5
    assert rig.read(CAPTURE, regs.STREAM_OVERRUNS) == 5
    snapshot = rig.snapshot(CAPTURE)
    assert snapshot["bytes_lo"] == 4 * snapshot["frames_lo"]
    assert rig.snapshot(RENDER)["frames_lo"] + 5 == 59  # tick 60 has come but is not served yet


def test_pattern_source_and_checker_agree() -> None:
    for kind, seed in ((PatternKind.RAMP, 1), (PatternKind.LFSR, 0x12345678)):
        rig = Rig()
        rig.ring(CAPTURE, [(0, 600)], 3, 2, flags=4)
        rig.converter(InputSelect.PATTERN)
        rig.board.write_register(regs.FPGA_PATTERN_SEED, seed)
        rig.board.write_register(regs.FPGA_PATTERN_CONTROL, kind | 4)
        rig.state(CAPTURE, StreamState.RUN)
        rig.frames(101)
        rig.state(CAPTURE, StreamState.STOP)
        rig.board.write_register(regs.FPGA_PATTERN_CONTROL, kind | 2 | 4)
        rig.board.memory[6 * 70] ^= 1
        rig.ring(RENDER, [(0, 600)], 3, 2, flags=4)
        rig.state(RENDER, StreamState.RUN)
        rig.frames(101)
        assert rig.board.read_register(regs.FPGA_PATTERN_FRAMES) in (99, 100)
        assert rig.board.read_register(regs.FPGA_PATTERN_ERRORS) == 1
        assert rig.board.read_register(regs.FPGA_PATTERN_FIRST_BAD) == 70
        assert [r.cause for r in rig.records()] == [Cause.PATTERN_ERROR]


def test_pattern_numbers() -> None:
    ramp = PatternSequence(PatternKind.RAMP, 7).take(3)
    assert ramp.tolist() == [[0, 0x100], [0x200, 0x300], [0x400, 0x500]]
    state, expected = 1, []
    for _ in range(8):
        expected.append(state & 0xFFFFFF00)
        state = state >> 1 ^ (0x80200003 if state & 1 else 0)
    sequence = PatternSequence(PatternKind.LFSR, 0)
    taken = np.concatenate([sequence.take(1), sequence.take(3)])
    assert (taken.reshape(-1).view(np.uint32)).tolist() == expected


def test_analog_path_is_whole_number_arithmetic() -> None:
    rig = Rig()
    samples = np.zeros((100, 2), dtype="<i4")
    samples[0] = (0x40000000, -0x40000000)
    samples[1] = (0x7FFFFF00, -0x80000000)
    rig.board.memory[0:800] = samples.reshape(-1).view(np.uint8)
    rig.board.analog.configure(CodecSettings(gain_q16=98304, dc_lsb=5, delay_frames=3))
    rig.ring(RENDER, [(0, 800)], 4, 2)
    rig.ring(CAPTURE, [(0x8000, 800)], 4, 2)
    rig.converter(InputSelect.CONVERTER)
    rig.state(CAPTURE, StreamState.RUN)
    rig.state(RENDER, StreamState.RUN)
    rig.frames(50)
    heard = rig.board.memory[0x8000 : 0x8000 + 400].view("<i4").reshape(-1, 2).astype(np.int64) >> 8
    assert heard[:6].tolist() == [[5, 5]] * 6
    assert heard[6].tolist() == [0x400000 * 3 // 2 + 5, -0x400000 * 3 // 2 + 5]
    assert heard[7].tolist() == [0x7FFFFF, -0x800000]


def test_noise_stays_in_its_limits_and_does_not_depend_on_the_portion() -> None:
    def capture(portions: list[int]) -> np.ndarray:
        rig = Rig()
        rig.board.analog.configure(CodecSettings(noise_lsb=8, connected=False))
        rig.ring(CAPTURE, [(0, 32000)], 4, 2)
        rig.converter(InputSelect.CONVERTER)
        rig.state(CAPTURE, StreamState.RUN)
        for portion in portions:
            rig.frames(portion)
        return rig.board.memory[: 3900 * 8].view("<i4") >> 8

    whole = capture([3950])
    assert whole.min() >= -8 and whole.max() <= 8 and abs(float(whole.mean())) < 0.2
    assert abs(float(whole.std()) - (8 * 8 / 6) ** 0.5) < 0.1  # triangular
    assert np.array_equal(whole, capture([1, 2, 1000, 47, 2900]))


def test_ring_overflow_is_counted_and_posted_when_there_is_room() -> None:
    rig = Rig()
    rig.ring(RENDER, [(0, 4)], 2, 2)
    rig.converter()
    rig.state(RENDER, StreamState.RUN)
    rig.frames(100)
    assert len(rig.records()) == 64
    lost = rig.board.read_register(regs.FPGA_EVENT_LOST)
    assert lost == 99 + 16 - 64
    assert rig.board.read_register(regs.FPGA_EVENT_CAUSE) == 2
    rig.state(RENDER, StreamState.STOP)
    rig.write(RENDER, regs.STREAM_EVENT_CAUSE, 1)
    rig.board.write_register(regs.FPGA_EVENT_CONSUMER, 64)
    # A record with the count as soon as there is room, and one again because the cause is still set in an empty ring.
    found = [(r.cause, r.reposted, r.data[0]) for r in rig.records()]
    assert found == [(Cause.RING_OVERFLOW, 0, lost), (Cause.RING_OVERFLOW, 1, 0)]


def test_a_cause_that_is_still_set_is_posted_again() -> None:
    rig = Rig()
    rig.board.write_register(regs.FPGA_ALARM_TIME, 1000)
    rig.board.wait(5000)
    assert rig.board.now_ticks == 1000
    assert [(r.cause, r.time, r.reposted) for r in rig.records()] == [(Cause.TIMER, 1000, 0)]
    rig.board.write_register(regs.FPGA_EVENT_CONSUMER, 1)
    assert [(r.cause, r.reposted) for r in rig.records()] == [(Cause.TIMER, 1)]
    rig.board.write_register(regs.FPGA_EVENT_CAUSE, 1)
    rig.board.write_register(regs.FPGA_EVENT_CONSUMER, 2)
    assert rig.records() == []


def test_monitor_counts_the_words_that_the_engine_touches() -> None:
    rig = Rig()
    rig.ring(RENDER, [(2, 398)], 2, 2, flags=4)
    rig.board.write_register(regs.MONITOR_BASE + regs.MONITOR_LOW, 0)
    rig.board.write_register(regs.MONITOR_BASE + regs.MONITOR_HIGH, 0x100)
    rig.board.write_register(regs.MONITOR_BASE + regs.MONITOR_CONTROL, 1)
    rig.converter()
    rig.state(RENDER, StreamState.RUN)
    records = rig.records()
    assert [(r.cause, r.data[:2]) for r in records] == [(Cause.MONITOR, (0, 0))]
    # Bytes 2 to 63: with 62 in the FIFO there is no room for another word.
    assert rig.board.read_register(regs.MONITOR_BASE + regs.MONITOR_READS) == 16
    assert rig.board.read_register(regs.MONITOR_BASE + regs.MONITOR_WRITES) == 0


SIZES = st.lists(st.integers(1, 700), min_size=1, max_size=5)


@st.composite
def layouts(draw: st.DrawFn) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Descriptor rings of render and capture. Now and then they overlap."""
    overlap = draw(st.integers(0, 4)) == 0
    rings = []
    for start in (0, 0x100 if overlap else 0x8000):
        address, ring = start, []
        for length in draw(SIZES):
            address += draw(st.integers(0, 5))
            ring.append((address, length))
            address += length
        rings.append(draw(st.permutations(ring)))
    return rings[0], rings[1]


@settings(max_examples=150, deadline=None)
@given(
    layout=layouts(),
    containers=st.tuples(st.sampled_from([2, 3, 4]), st.sampled_from([2, 3, 4])),
    channels=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    select=st.sampled_from(list(InputSelect)),
    steps=st.lists(
        st.tuples(
            st.integers(0, 30_000),
            st.sampled_from(["take", "pause render", "pause capture", "run", "stop render", "stall", "mute"]),
        ),
        max_size=8,
    ),
)
def test_moving_runs_equals_moving_frames(
    layout: tuple[list[tuple[int, int]], list[tuple[int, int]]],
    containers: tuple[int, int],
    channels: tuple[int, int],
    select: InputSelect,
    steps: list[tuple[int, str]],
) -> None:
    def run(bulk: bool) -> tuple[bytes, list[object]]:
        rig = Rig(bulk)
        rig.board.analog.configure(CodecSettings(gain_q16=30000, noise_lsb=3, dc_lsb=-4, delay_frames=2))
        rig.fill(0, 0x4000)
        for stream in (RENDER, CAPTURE):
            rig.ring(stream, layout[stream], containers[stream], channels[stream])
        rig.converter(select)
        rig.state(CAPTURE, StreamState.RUN)
        rig.state(RENDER, StreamState.RUN)
        seen: list[object] = []
        for ticks, action in [*steps, (20_000, "take")]:
            rig.ticks(ticks)
            if action == "pause render":
                rig.state(RENDER, StreamState.PAUSE)
            elif action == "pause capture":
                rig.state(CAPTURE, StreamState.PAUSE)
            elif action == "run":
                rig.state(CAPTURE, StreamState.RUN)
                rig.state(RENDER, StreamState.RUN)
            elif action == "stop render":
                rig.state(RENDER, StreamState.STOP)
            elif action == "stall":
                rig.board.memory_stalled_until_ticks = rig.board.now_ticks + 3000
            elif action == "mute":
                rig.converter(select, mute=True)
            seen += [rig.snapshot(RENDER), rig.snapshot(CAPTURE), rig.take(), rig.board.events.lost]
        return rig.board.memory.tobytes(), seen

    fast, slow = run(True), run(False)
    assert fast[1] == slow[1]
    assert fast[0] == slow[0]


@st.composite
def flagged(draw: st.DrawFn) -> list[tuple[int, int, int]]:
    """Up to 8 descriptors: place behind the one before, length, flags."""
    flags = st.sampled_from([EVENT, EVENT, 0, EVENT | LAST, EVENT | REMOVED, EVENT | END_OF_STREAM])
    lengths = st.sampled_from([1, 2, 3, 5, 31, 64, 200, 333, 700, 1500])
    return draw(st.lists(st.tuples(st.integers(0, 5), lengths, flags), min_size=1, max_size=8))


@settings(max_examples=200, deadline=None)
@given(
    rings=st.tuples(flagged(), flagged(), flagged()),
    containers=st.tuples(*[st.integers(1, 4)] * 3),
    channels=st.tuples(*[st.sampled_from([1, 2, 2, 3, 8])] * 3),
    queues=st.tuples(*[st.booleans()] * 3),
    interval=st.sampled_from([0, 10, 64, 100, 1001]),
    steps=st.lists(
        st.tuples(
            st.integers(0, 40_000),
            st.sampled_from(["queue", "queue", "queue", "revoke", "restart", "pause", "run", "interval", "stall"]),
            st.integers(0, 2),
            st.integers(0, 8),
        ),
        max_size=10,
    ),
)
def test_moving_runs_equals_moving_frames_of_queues_and_mixes(
    rings: tuple[list[tuple[int, int, int]], ...],
    containers: tuple[int, ...],
    channels: tuple[int, ...],
    queues: tuple[bool, ...],
    interval: int,
    steps: list[tuple[int, str, int, int]],
) -> None:
    def run(bulk: bool) -> tuple[bytes, list[object]]:
        rig = Rig(bulk, max_channels=8, channels=8)
        rig.fill(0, 0x18000)
        for stream, ring in enumerate(rings):
            address, descriptors = 0x8000 * stream + 0x3FE0, []
            for gap, length, _ in ring:
                descriptors.append((address + gap, length))
                address += gap + length
            flags = [flag for _, _, flag in ring]
            rig.ring(stream, descriptors, containers[stream], channels[stream], flags, queues[stream])
            rig.write(stream, regs.STREAM_INTERVAL_BYTES, interval)
            rig.state(stream, StreamState.RUN)
        rig.converter()
        seen: list[object] = []
        produced = [0, 0, 0]
        for ticks, action, stream, number in [*steps, (20_000, "queue", 0, 0)]:
            rig.ticks(ticks)
            used = rig.board.streams[stream].descriptors
            if action == "queue":
                produced[stream] = min(produced[stream] + number, used + len(rings[stream]))
                rig.write(stream, regs.STREAM_RING_PRODUCER, produced[stream])
            elif action == "revoke":
                rig.write(stream, regs.STREAM_REVOKE, used + number // 4 | number << 16)
            elif action == "restart":
                rig.state(stream, StreamState.STOP)
                produced[stream] = 0
                rig.write(stream, regs.STREAM_RING_PRODUCER, 0)
                rig.state(stream, StreamState.RUN)
            elif action == "pause":
                rig.state(stream, StreamState.PAUSE)
            elif action == "run":
                rig.state(stream, StreamState.RUN)
            elif action == "interval":
                rig.write(stream, regs.STREAM_INTERVAL_BYTES, 100 * number)
            elif action == "stall":
                rig.board.memory_stalled_until_ticks = rig.board.now_ticks + 1000 * number
            for each in range(3):
                seen += [rig.snapshot(each)]
                seen += [rig.read(each, getattr(regs, f"STREAM_{name}")) for name in REGISTERS_BESIDE]
            seen += [rig.take(), rig.board.events.lost]
        return rig.board.memory.tobytes(), seen

    fast, slow = run(True), run(False)
    assert fast[1] == slow[1]
    assert fast[0] == slow[0]


def test_loads_are_added_up_and_what_does_not_fit_is_refused() -> None:
    """4 clocks for each byte of a frame, at least 12; all of the frame may be used."""
    rig = Rig(streams=6, max_channels=8, channels=8)

    def try_to_run(stream: int) -> bool:
        rig.state(stream, StreamState.RUN)
        status = rig.read(stream, regs.STREAM_STATUS)
        assert status & 3 == StreamState.RUN
        return status == StreamState.RUN

    def set_up(stream: int, container_bytes: int, channels: int) -> None:
        descriptor = np.array([0, 0x400, 0, KEEP], dtype="<u4").view(np.uint8)
        rig.board.memory[0x1F000:0x1F010] = descriptor
        rig.write(stream, regs.STREAM_CONFIG, (container_bytes - 1) << 2 | (channels - 1) << 4)
        rig.write(stream, regs.STREAM_RING_BASE, 0x1F000)
        rig.write(stream, regs.STREAM_RING_SIZE, 1)

    for stream in range(5):
        set_up(stream, 3, 5)
    set_up(5, 1, 3)
    assert [try_to_run(stream) for stream in range(6)] == [True, True, True, True, False, True]  # 4 x 60 + 12
    assert [(r.cause, r.stream, r.data[:2]) for r in rig.take()] == [(Cause.FAULT, 4, (0, FaultReason.TOO_MUCH))]
    rig.state(4, StreamState.STOP)
    rig.state(0, StreamState.PAUSE)  # keeps its share
    assert not try_to_run(4)
    rig.state(4, StreamState.STOP)
    rig.state(0, StreamState.STOP)
    assert try_to_run(4)
    # A frame of half the length carries half as much.
    for stream in range(6):
        rig.state(stream, StreamState.STOP)
    rig.board.write_register(regs.FPGA_CONVERTER_CONTROL, 1 << regs.FPGA_CONVERTER_CONTROL_RATE_LSB)
    assert rig.board.read_register(regs.FPGA_FRAME_CLOCKS) == 128
    assert [try_to_run(stream) for stream in range(3)] == [True, True, False]  # 2 x 60 + 12 is more than 128


def test_settings_in_run_are_stored_and_refused_when_the_engine_looks() -> None:
    rig = Rig()
    rig.ring(CAPTURE, [(0, 400)], 2, 2)
    rig.state(CAPTURE, StreamState.RUN)
    rig.write(CAPTURE, regs.STREAM_CONFIG, 1 | 3 << 2)
    rig.write(CAPTURE, regs.STREAM_RING_SIZE, 0)
    assert rig.read(CAPTURE, regs.STREAM_RING_SIZE) == 0 and rig.records() == []
    rig.snapshot(CAPTURE)
    rig.snapshot(CAPTURE)
    assert [(r.cause, r.data) for r in rig.take()] == [(Cause.REFUSED, (0, FaultReason.SETTINGS, 0, 0))]
    rig.converter(InputSelect.PATTERN)
    rig.frames(150)
    assert rig.snapshot(CAPTURE)["descriptors"] == 1 and [r.cause for r in rig.take()] == [Cause.DESCRIPTOR]
    rig.write(CAPTURE, regs.STREAM_RING_BASE, 0)
    rig.state(CAPTURE, StreamState.STOP)
    assert [r.cause for r in rig.take()] == [Cause.REFUSED]
    rig.write(CAPTURE, regs.STREAM_RING_BASE, 16)
    rig.state(CAPTURE, StreamState.RUN)
    assert [(r.cause, r.data[1]) for r in rig.take()] == [(Cause.FAULT, FaultReason.BAD_CONFIG)]


def test_format_and_rate_are_taken_in_silence_only() -> None:
    rig = Rig()
    rate = 1 << regs.FPGA_CONVERTER_CONTROL_RATE_LSB
    sample_format = 1 << regs.FPGA_CONVERTER_CONTROL_FORMAT_LSB
    refused = 1 << regs.FPGA_CONVERTER_CONTROL_REFUSED_LSB

    def write(value: int) -> tuple[int, int]:
        rig.board.write_register(regs.FPGA_CONVERTER_CONTROL, value)
        return rig.board.read_register(regs.FPGA_CONVERTER_CONTROL), rig.board.read_register(regs.FPGA_FRAME_CLOCKS)

    for code, clocks in enumerate((256, 128, 384, 512, 768, 1536)):
        assert write(code * rate) == (code * rate, clocks)
    assert write(6 * rate | 1) == (5 * rate | refused, 1536)  # no such rate: does not start
    assert write(2 * sample_format | 1) == (5 * rate | refused, 1536)  # TDM needs more than two channels
    assert write(3 * sample_format | 2) == (5 * rate | refused | 2, 1536)  # but it mutes
    assert write(sample_format | 3 * rate | 1) == (sample_format | 3 * rate | 1, 512)
    assert write(sample_format | 2 * rate | 1) == (sample_format | 3 * rate | refused | 1, 512)  # goes on as it was
    assert write(sample_format | 2 * rate) == (sample_format | 3 * rate | refused, 512)
    rig.frames(0)
    rig.ring(CAPTURE, [(0, 4000)], 2, 2)
    assert write(4 * rate | 1 | 2 << 4)[1] == 768
    rig.state(CAPTURE, StreamState.RUN)
    rig.ticks(768 * 10 + 200)
    assert rig.snapshot(CAPTURE)["frames_lo"] == 10


@pytest.mark.parametrize(("sample_format", "channels"), [(0, 2), (1, 2), (2, 4)])
def test_samples_beyond_the_formats_channels_are_dropped_and_silent(sample_format: int, channels: int) -> None:
    rig = Rig(max_channels=8, channels=4)
    played = np.frombuffer(rig.fill(0, 16 * 100), dtype="<i2").reshape(-1, 8)
    rig.ring(RENDER, [(0, 1600)], 2, 8)
    rig.ring(CAPTURE, [(0x8000, 1600)], 2, 8)
    loopback = InputSelect.LOOPBACK << regs.FPGA_CONVERTER_CONTROL_INPUT_SELECT_LSB
    control = 1 | loopback | sample_format << regs.FPGA_CONVERTER_CONTROL_FORMAT_LSB
    rig.board.write_register(regs.FPGA_CONVERTER_CONTROL, control)
    rig.state(CAPTURE, StreamState.RUN)
    rig.state(RENDER, StreamState.RUN)
    rig.frames(90)
    heard = rig.board.memory[0x8000 : 0x8000 + 16 * 80].view("<i2").reshape(-1, 8)
    assert np.array_equal(heard[1:, :channels], played[:79, :channels]) and not heard[:, channels:].any()


def test_a_ring_of_removed_descriptors_starves_and_the_neighbour_is_served() -> None:
    rig = Rig()
    rig.ring(RENDER, [(0, 0)] * 3, 2, 2, flags=EVENT | REMOVED)
    rig.ring(CAPTURE, [(0x8000, 4000)], 2, 2)
    rig.converter()
    rig.state(RENDER, StreamState.RUN)
    rig.state(CAPTURE, StreamState.RUN)
    rig.frames(50)
    assert rig.snapshot(RENDER)["bytes_lo"] == 0 and rig.snapshot(RENDER)["descriptors"] > 0
    assert rig.snapshot(CAPTURE)["frames_lo"] == 49 and rig.records() == []


def test_monitor_sees_descriptors_as_the_engine_reads_them() -> None:
    """Flags first: a removed descriptor costs one access, one without length three, a good one four."""
    for ring, reads in (([(0, 40, EVENT)], 4), ([(0, 40, REMOVED), (0, 0, EVENT)], 1 + 3), ([(0x1FFFF, 2, 0)], 3)):
        rig = Rig()
        monitor = regs.MONITOR_BASE
        rig.board.write_register(monitor + regs.MONITOR_LOW, RINGS[0])
        rig.board.write_register(monitor + regs.MONITOR_HIGH, RINGS[0] + 256)
        rig.board.write_register(monitor + regs.MONITOR_CONTROL, 1)
        descriptors = [(address, length) for address, length, _ in ring]
        rig.ring(RENDER, descriptors, 2, 2, flags=[flags for _, _, flags in ring], queue=True)
        rig.write(RENDER, regs.STREAM_RING_PRODUCER, len(ring))
        rig.state(RENDER, StreamState.RUN)
        assert rig.board.read_register(monitor + regs.MONITOR_READS) == reads


def test_muted_gate_silences_the_loopback_and_not_the_dac() -> None:
    rig = Rig()
    rig.fill(0, 400)
    rig.ring(RENDER, [(0, 400)], 2, 2)
    rig.ring(CAPTURE, [(0x8000, 4000)], 2, 2)
    rig.board.write_register(regs.SPDIF_GATES, 1 << regs.SPDIF_GATES_MUTE_LOOPBACK_LSB)
    rig.board.tap = []
    rig.converter()
    rig.state(CAPTURE, StreamState.RUN)
    rig.state(RENDER, StreamState.RUN)
    rig.frames(90)
    assert not rig.board.memory[0x8000 : 0x8000 + 4 * 80].any()
    assert np.concatenate(rig.board.tap)[1:].any()


@settings(max_examples=60, deadline=None)
@given(
    sizes=SIZES,
    gaps=st.lists(st.integers(0, 9), min_size=5, max_size=5),
    container_bytes=st.sampled_from([2, 3, 4]),
)
def test_capture_writes_its_descriptors_and_not_one_byte_more(
    sizes: list[int], gaps: list[int], container_bytes: int
) -> None:
    rig = Rig()
    rig.board.memory[:0x1F000] = 0xEE
    descriptors, address = [], 64
    for length, gap in zip(sizes, gaps, strict=False):
        address += gap
        descriptors.append((address, length))
        address += length
    rig.ring(CAPTURE, descriptors, container_bytes, 2)
    rig.converter(InputSelect.PATTERN)
    rig.state(CAPTURE, StreamState.RUN)
    rig.frames(600)
    frames = rig.snapshot(CAPTURE)["frames_lo"]
    stream = encode_samples(PatternSequence(PatternKind.RAMP, 1).take(frames), container_bytes).tobytes()
    expected = bytearray(b"\xee" * 0x1F000)
    position = 0
    while position < len(stream):
        for start, length in descriptors:
            part = stream[position : position + length]
            expected[start : start + len(part)] = part
            position += len(part)
    assert rig.board.memory[:0x1F000].tobytes() == bytes(expected)
