"""The WaveCyclic miniport's answers, stream by stream, on the model board."""

from collections.abc import Iterator

import pytest

from codecrig.board import Board, BoardSystem, open_board
from codecrig.link import registers as regs
from codecrig.link.registers import Cause
from codecrig.miniport import MiniportWaveCyclic
from codecrig.port import PortWaveCyclic
from codecrig.portcls import (
    IRQL,
    KSSTATE,
    NTSTATUS,
    Format,
    IMiniportWaveCyclicStream,
    IServiceGroup,
    NewWaveCyclicStream,
    NtStatusError,
)

FORMAT = Format(48000, 2, 16)


@pytest.fixture
def board() -> Iterator[Board]:
    with open_board("model") as opened:
        yield opened


class Notified(PortWaveCyclic):
    """Counts notifications, with what was still set at the board and the level."""

    def notify(self, service_group: IServiceGroup) -> None:
        board: Board = self.system._board  # type: ignore[attr-defined]
        causes = [board.read_register(regs.STREAM_BASE + n * 256 + regs.STREAM_EVENT_CAUSE) for n in range(2)]
        self.seen.append((service_group, causes, self.system.level))
        super().notify(service_group)

    seen: list[tuple[IServiceGroup, list[int], IRQL]]


class Streams:
    def __init__(self, board: Board) -> None:
        self.board = board
        self.miniport = MiniportWaveCyclic(board)
        self.port = Notified(self.miniport, BoardSystem(board))
        self.port.seen = []

    def open(self, pin: int = 0, data_format: Format = FORMAT) -> IMiniportWaveCyclicStream:
        self.made: NewWaveCyclicStream = self.miniport.new_stream(pin, pin % 2 == 1, data_format)
        return self.made.Stream

    def start_clock(self) -> None:
        control = self.board.read_register(regs.FPGA_CONVERTER_CONTROL)
        self.board.write_register(regs.FPGA_CONVERTER_CONTROL, control | 1)


@pytest.fixture
def streams(board: Board) -> Streams:
    return Streams(board)


def status_of(call: object, *arguments: object) -> NTSTATUS:
    with pytest.raises(NtStatusError) as caught:
        call(*arguments)  # type: ignore[operator]
    return caught.value.status


def test_references_come_back(streams: Streams) -> None:
    miniport, port = streams.miniport, streams.port
    before = miniport.reference_count
    stream = streams.open()
    made = streams.made
    assert (stream.reference_count, made.DmaChannel.reference_count, made.ServiceGroup.reference_count) == (1, 2, 2)
    assert miniport.reference_count == before + 1
    stream.release()
    assert (made.DmaChannel.reference_count, made.ServiceGroup.reference_count) == (1, 1)
    made.DmaChannel.release()
    made.ServiceGroup.release()
    assert miniport.reference_count == before and port.pages.free_pages == 31
    miniport.release()
    port.close()
    assert (miniport.reference_count, port.reference_count) == (0, 0)


def test_new_streams_that_are_refused_leave_nothing(streams: Streams) -> None:
    new = streams.miniport.new_stream
    assert status_of(new, 9, False, FORMAT) is NTSTATUS.INVALID_PARAMETER
    assert status_of(new, 0, True, FORMAT) is NTSTATUS.INVALID_PARAMETER
    assert status_of(new, 0, False, Format(44100, 2, 16)) is NTSTATUS.INVALID_PARAMETER
    taken = streams.port.pages.take(1 << 17, 25)
    assert status_of(new, 0, False, FORMAT) is NTSTATUS.INSUFFICIENT_RESOURCES
    streams.port.pages.give_back(taken)
    assert streams.port.pages.free_pages == 31
    streams.open()
    assert status_of(new, 0, False, FORMAT) is NTSTATUS.INVALID_DEVICE_REQUEST
    assert status_of(new, 1, True, Format(32000, 2, 16)) is NTSTATUS.INVALID_PARAMETER
    streams.open(1)


@pytest.mark.parametrize(
    ("data_format", "asked", "used", "frame_size"),
    [
        (FORMAT, 10, 10, 1920),
        (FORMAT, 1, 1, 192),
        (FORMAT, 0, 1, 192),
        (FORMAT, 100, 100, 19200),
        (FORMAT, 5000, 100, 19200),
        (Format(96000, 2, 32), 5000, 37, 28416),
        (Format(48000, 2, 24), 7, 7, 2016),
        (Format(8000, 1, 8), 10, 10, 80),
        (Format(8000, 1, 8), 1, 8, 64),
    ],
)
def test_the_interval_that_is_used(
    streams: Streams, data_format: Format, asked: int, used: int, frame_size: int
) -> None:
    found = streams.open(0, data_format).set_notification_freq(asked)
    assert (found.Interval, found.FrameSize) == (used, frame_size)


def test_an_interval_belongs_to_its_stream(streams: Streams) -> None:
    render, capture = streams.open(0), streams.open(1, Format(48000, 1, 24))
    render.set_notification_freq(20)
    assert capture.set_notification_freq(5).FrameSize == 720
    assert render.set_notification_freq(20).FrameSize == 3840


def test_four_streams_at_once(streams: Streams, board: Board) -> None:
    opened = [streams.open(pin) for pin in range(4)]
    groups = []
    for stream in opened:
        groups.append(stream._group)  # type: ignore[attr-defined]
        stream.set_state(KSSTATE.RUN)
    streams.start_clock()
    streams.port.system.sleep(0.055)
    assert [sum(seen[0] is group for seen in streams.port.seen) for group in groups] == [5] * 4
    assert all(board.snapshot(number).underruns == board.snapshot(number).overruns == 0 for number in range(4))
    for stream in opened:
        stream.set_state(KSSTATE.STOP)


def test_silence_and_normalised_positions(streams: Streams) -> None:
    for bits, value in ((8, 0x80), (16, 0), (24, 0), (32, 0)):
        stream = streams.open(0, Format(16000, 2, bits))
        view = streams.made.DmaChannel.system_address()
        assert view is not None
        view.write(0, b"\x55" * 100)
        stream.silence(view.slice(10, 50), 40)
        stream.silence(view.slice(60, 10), 0)
        assert view.read(0, 100) == b"\x55" * 10 + bytes([value]) * 40 + b"\x55" * 50
        assert stream.normalize_physical_position(0) == 0
        assert stream.normalize_physical_position(2**40) == 2**40 * 10_000_000 // (16000 * bits // 4)
        for each in (stream, streams.made.DmaChannel, streams.made.ServiceGroup):
            each.release()


def test_notifications_in_run_only_with_the_cause_cleared_before(streams: Streams) -> None:
    stream = streams.open()
    system = streams.port.system
    streams.start_clock()
    for state in (KSSTATE.ACQUIRE, KSSTATE.PAUSE):
        stream.set_state(state)
        system.sleep(0.03)
    assert streams.port.seen == []
    stream.set_state(KSSTATE.RUN)
    system.sleep(0.055)
    assert len(streams.port.seen) == 5
    assert all(seen == (streams.made.ServiceGroup, [0, 0], IRQL.DEVICE) for seen in streams.port.seen)
    stream.set_state(KSSTATE.PAUSE)
    system.sleep(0.03)
    assert len(streams.port.seen) == 5
    stream.set_notification_freq(5)
    stream.set_state(KSSTATE.RUN)
    system.sleep(0.0555)
    # The interval under way is finished first.
    assert len(streams.port.seen) == 5 + 11


def test_a_format_changes_in_every_state_but_run(streams: Streams, board: Board) -> None:
    stream = streams.open()
    streams.start_clock()
    stream.set_state(KSSTATE.RUN)
    streams.port.system.sleep(0.02)
    assert status_of(stream.set_format, Format(16000, 2, 24)) is NTSTATUS.INVALID_DEVICE_REQUEST
    stream.set_state(KSSTATE.PAUSE)
    position = stream.get_position()
    assert status_of(stream.set_format, Format(44100, 2, 24)) is NTSTATUS.INVALID_PARAMETER
    assert stream.set_format(FORMAT) is NTSTATUS.SUCCESS and stream.get_position() == position
    stream.set_format(Format(16000, 2, 24))
    assert stream.get_position() == position - position % 6
    before = board.events.time_ticks
    stream.set_state(KSSTATE.RUN)
    size = streams.made.DmaChannel.buffer_size()
    streams.port.system.sleep(0.25)
    moved = (stream.get_position() - position) % size
    elapsed_frames = (board.events.time_ticks - before) // 768
    assert moved == pytest.approx(elapsed_frames * 6 % size, abs=40 * 6)
    assert board.read_register(regs.FPGA_FRAME_CLOCKS) == 768
    stream.set_state(KSSTATE.STOP)
    assert stream.get_position() == 0
    assert stream.set_notification_freq(10).FrameSize == 960


def test_the_cycle_is_the_size_last_set(streams: Streams, board: Board) -> None:
    stream = streams.open()
    streams.made.DmaChannel.set_buffer_size(4000)
    streams.start_clock()
    stream.set_state(KSSTATE.RUN)
    streams.port.system.sleep(0.05)
    snapshot = board.snapshot(0)
    assert snapshot.bytes > 8000 and snapshot.descriptors == snapshot.bytes // 4000
    assert stream.get_position() < 4000


def test_a_stream_that_is_halted_says_so(streams: Streams, board: Board) -> None:
    stream = streams.open()
    streams.made.DmaChannel.set_buffer_size(0)
    assert status_of(stream.set_state, KSSTATE.RUN) is NTSTATUS.IO_DEVICE_ERROR
    streams.made.DmaChannel.set_buffer_size(19200)
    stream.set_state(KSSTATE.STOP)
    assert stream.get_position() == 0


def test_a_running_stream_that_is_released_stops(streams: Streams, board: Board) -> None:
    stream = streams.open()
    stream.set_state(KSSTATE.RUN)
    stream.release()
    assert board.snapshot(0).state == 0
    assert board.read_register(regs.STREAM_BASE + regs.STREAM_EVENT_CAUSE) & 1 << Cause.INTERVAL == 0
