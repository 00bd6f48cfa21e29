"""The miniport's answers that need no running engine, and how it cuts buffers into descriptors. On the model board."""

import struct
from collections.abc import Callable, Iterator, Sequence

import pytest

from codecrig.board import Board, BoardError, BoardSystem, open_board
from codecrig.link import LinkError, Request
from codecrig.link import registers as regs
from codecrig.miniport import MiniportWaveRT
from codecrig.port import PortWaveRT, PortWaveRTStream
from codecrig.portcls import (
    KSAUDIO_POSITION,
    KSSTATE,
    NTSTATUS,
    PAGE_BYTES,
    Format,
    IMiniportWaveRTInputStream,
    IMiniportWaveRTOutputStream,
    IMiniportWaveRTStreamNotification,
    KEvent,
    NtStatusError,
)

FORMAT = Format(48000, 2, 24)


@pytest.fixture
def board() -> Iterator[Board]:
    with open_board("model") as opened:
        yield opened


class Streams:
    """A miniport, its port, and raw streams with their port streams."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.miniport = MiniportWaveRT(board)
        self.port = PortWaveRT(self.miniport, BoardSystem(board))
        self.port_stream = PortWaveRTStream(self.port.pages)

    def open(self, pin: int = 0, data_format: Format = FORMAT):  # type: ignore[no-untyped-def]
        return self.miniport.new_stream(self.port_stream, pin, pin == 1, data_format)


@pytest.fixture
def streams(board: Board) -> Streams:
    return Streams(board)


def refused(status: NTSTATUS) -> "Refusal":
    return Refusal(status)


class Refusal:
    """Expects an NtStatusError with one status."""

    def __init__(self, status: NTSTATUS) -> None:
        self.status = status

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: object, trace: object) -> bool:
        assert isinstance(error, NtStatusError), f"expected {self.status.name}, found {error!r}"
        assert error.status is self.status
        return True


def test_interfaces_by_direction(streams: Streams) -> None:
    for pin, has, has_not in (
        (0, IMiniportWaveRTOutputStream, IMiniportWaveRTInputStream),
        (1, IMiniportWaveRTInputStream, IMiniportWaveRTOutputStream),
    ):
        stream = streams.open(pin)
        assert stream.query_interface(IMiniportWaveRTStreamNotification) is stream
        assert stream.query_interface(has) is stream
        assert stream.reference_count == 3
        with refused(NTSTATUS.INVALID_PARAMETER):
            stream.query_interface(has_not)
        assert stream.reference_count == 3


def test_references_come_back(streams: Streams) -> None:
    before = streams.miniport.reference_count
    stream = streams.open()
    assert (streams.miniport.reference_count, streams.port_stream.reference_count) == (before + 1, 2)
    stream.release()
    assert (streams.miniport.reference_count, streams.port_stream.reference_count) == (before, 1)
    streams.open().release()


@pytest.mark.parametrize(("pin", "capture"), [(-1, False), (9, False), (0, True), (1, False)])
def test_pins_that_do_not_exist(streams: Streams, pin: int, capture: bool) -> None:
    with refused(NTSTATUS.INVALID_PARAMETER):
        streams.miniport.new_stream(streams.port_stream, pin, capture, FORMAT)
    assert streams.port_stream.reference_count == 1


def test_one_stream_a_pin(streams: Streams) -> None:
    streams.open()
    with refused(NTSTATUS.INVALID_DEVICE_REQUEST):
        streams.open()


@pytest.mark.parametrize(
    ("size", "count", "actual"),
    [(6, 1, 6), (7, 1, 12), (4096, 2, 4104), (12, 2, 12), (6, 2, 12), (65536, 2, 65544), (126_966, 2, 126_972)],
)
def test_actual_size_is_rounded_up_to_whole_frames_of_each_packet(
    streams: Streams, size: int, count: int, actual: int
) -> None:
    stream = streams.open()
    buffer = stream.allocate_buffer_with_notification(count, size)
    assert buffer.ActualSize == actual and buffer.OffsetFromFirstPage == 0
    pages = streams.port_stream.get_physical_pages_count(buffer.AudioBufferMdl)
    assert (pages - 1) * PAGE_BYTES < actual <= pages * PAGE_BYTES
    stream.free_buffer_with_notification(buffer.AudioBufferMdl, buffer.ActualSize)
    assert streams.port.pages.free_pages == 31


def test_allocation_refusals_leave_no_pages_behind(streams: Streams) -> None:
    stream = streams.open()
    for count in (0, 3, -1):
        with refused(NTSTATUS.INVALID_PARAMETER):
            stream.allocate_buffer_with_notification(count, 960)
    for size in (0, 5, -7):
        with refused(NTSTATUS.UNSUCCESSFUL):
            stream.allocate_audio_buffer(size)
    with refused(NTSTATUS.INSUFFICIENT_RESOURCES):
        stream.allocate_audio_buffer(31 * PAGE_BYTES + 1)
    assert streams.port.pages.free_pages == 31
    buffer = stream.allocate_audio_buffer(960)
    with refused(NTSTATUS.INVALID_DEVICE_REQUEST):
        stream.allocate_buffer_with_notification(2, 960)
    stream.free_audio_buffer(None, 960)
    assert streams.port.pages.free_pages == 30
    stream.free_audio_buffer(buffer.AudioBufferMdl, 960)
    assert streams.port.pages.free_pages == 31


def read_ring(board: Board, stream: int) -> list[tuple[int, int, int, int]]:
    base, size = board.read_registers(regs.STREAM_BASE + stream * regs.STREAM_STRIDE + regs.STREAM_RING_BASE, 2)
    return list(struct.iter_unpack("<4I", board.read_memory(base, size * regs.DESCRIPTOR_BYTES)))


def test_scattered_pages_become_page_runs_with_an_event_at_packet_ends(streams: Streams) -> None:
    holes = [streams.port_stream.allocate_pages_for_mdl(0xFFFFF, PAGE_BYTES) for _ in range(31)]
    for index in (3, 4, 9, 20):
        mdl = holes[index]
        assert mdl is not None
        streams.port_stream.free_pages_from_mdl(mdl)
    stream = streams.open()
    stream.allocate_buffer_with_notification(2, 14_400)
    page = PAGE_BYTES
    keep, event = 1 << regs.DESCRIPTOR_KEEP_BIT, 1 << regs.DESCRIPTOR_EVENT_FLAG_BIT
    assert read_ring(streams.board, 0) == [
        (3 * page, 7200, 0, keep | event),
        (4 * page + 3104, 992, 1, keep),
        (9 * page, page, 1, keep),
        (20 * page, 14_400 - 3 * page, 1, keep | event),
    ]


def test_states_without_buffer_and_same_state(streams: Streams) -> None:
    stream = streams.open()
    assert stream.set_state(KSSTATE.STOP) is NTSTATUS.SUCCESS
    stream.set_state(KSSTATE.ACQUIRE)
    stream.set_state(KSSTATE.PAUSE)
    with refused(NTSTATUS.INVALID_DEVICE_STATE):
        stream.set_state(KSSTATE.RUN)
    assert stream.set_state(KSSTATE.PAUSE) is NTSTATUS.SUCCESS
    stream.set_state(KSSTATE.STOP)
    assert stream.get_position().PlayOffset == 0


def test_packet_methods_need_a_notification_buffer(streams: Streams) -> None:
    render, capture = streams.open(0), streams.open(1)
    for allocate in (False, True):
        if allocate:
            render.allocate_audio_buffer(960)
            capture.allocate_audio_buffer(960)
        for call in (
            render.get_packet_count,
            lambda: render.set_write_packet(0, 0, 0),
            render.get_output_stream_presentation_position,
            capture.get_read_packet,
        ):
            with refused(NTSTATUS.NOT_SUPPORTED):
                call()


def test_write_packet_answers_before_run(streams: Streams) -> None:
    stream = streams.open()
    stream.allocate_buffer_with_notification(2, 960)
    stream.set_state(KSSTATE.PAUSE)
    with refused(NTSTATUS.INVALID_PARAMETER):
        stream.set_write_packet(0, 0x201, 0)
    with refused(NTSTATUS.INVALID_PARAMETER):
        stream.set_write_packet(0, 0x200, 481)
    with refused(NTSTATUS.DATA_LATE_ERROR):
        stream.set_write_packet(0xFFFFFFFF, 0, 0)
    with refused(NTSTATUS.DATA_OVERRUN):
        stream.set_write_packet(2, 0, 0)
    assert stream.set_write_packet(0, 0, 12345) is NTSTATUS.SUCCESS
    assert stream.set_write_packet(0, 0x200, 480) is NTSTATUS.SUCCESS
    with refused(NTSTATUS.INVALID_DEVICE_STATE):
        stream.set_write_packet(1, 0, 0)
    stream.set_state(KSSTATE.STOP)
    assert stream.set_write_packet(0, 0, 0) is NTSTATUS.SUCCESS


def test_read_packet_answers_by_state(streams: Streams) -> None:
    stream = streams.open(1)
    stream.allocate_buffer_with_notification(2, 960)
    for state in (KSSTATE.STOP, KSSTATE.ACQUIRE):
        stream.set_state(state)
        with refused(NTSTATUS.INVALID_DEVICE_STATE):
            stream.get_read_packet()
    stream.set_state(KSSTATE.PAUSE)
    with refused(NTSTATUS.DEVICE_NOT_READY):
        stream.get_read_packet()


def test_events_are_registered_once(streams: Streams) -> None:
    stream, event = streams.open(), KEvent()
    stream.register_notification_event(event)
    with refused(NTSTATUS.UNSUCCESSFUL):
        stream.register_notification_event(event)
    stream.unregister_notification_event(event)
    with refused(NTSTATUS.NOT_FOUND):
        stream.unregister_notification_event(event)


@pytest.mark.parametrize("run_again", [False, True])
def test_a_boundary_from_before_stop_is_never_told(streams: Streams, run_again: bool) -> None:
    stream, event = streams.open(), KEvent()
    stream.allocate_buffer_with_notification(2, 2 * 5760)
    stream.register_notification_event(event)
    streams.board.write_register(regs.FPGA_CONVERTER_CONTROL, 1)
    stream.set_state(KSSTATE.RUN)
    while stream.get_packet_count() == 0:
        pass
    stream.set_state(KSSTATE.STOP)  # in one step, with the record still in the ring
    if run_again:
        stream.set_state(KSSTATE.RUN)
    assert streams.board.poll() == 1
    assert event.set_count == 0


def test_format_changes(streams: Streams) -> None:
    stream = streams.open()
    with refused(NTSTATUS.INVALID_PARAMETER):
        stream.set_format(Format(44100, 2, 16))
    assert stream.set_format(Format(48000, 1, 16)) is NTSTATUS.SUCCESS
    buffer = stream.allocate_audio_buffer(3)
    assert buffer.ActualSize == 4
    with refused(NTSTATUS.INVALID_PARAMETER):
        stream.set_format(FORMAT)
    stream.set_state(KSSTATE.RUN)
    with refused(NTSTATUS.INVALID_PARAMETER):
        stream.set_format(Format(48000, 1, 16))


def test_latency_and_registers(streams: Streams) -> None:
    stream = streams.open()
    latency = stream.get_hw_latency()
    assert latency.FifoSize == 64 and latency.ChipsetDelay == 417
    with refused(NTSTATUS.NOT_SUPPORTED):
        stream.get_position_register()
    clock = stream.get_clock_register()
    assert (clock.Width, clock.Numerator, clock.Denominator, clock.Accuracy) == (32, 12_288_000, 1, 1)
    before = int.from_bytes(clock.Register.read(0, 4), "little")
    streams.board.sleep(0.001)
    after = int.from_bytes(clock.Register.read(0, 4), "little")
    assert 12_288 <= after - before < 2 * 12_288


def test_a_fault_of_the_engine_is_an_io_error(streams: Streams) -> None:
    stream = streams.open()
    stream.allocate_buffer_with_notification(2, 960)
    streams.board.write_register(regs.STREAM_BASE + regs.STREAM_RING_SIZE, 0)
    stream.set_state(KSSTATE.PAUSE)
    with refused(NTSTATUS.IO_DEVICE_ERROR):
        stream.set_state(KSSTATE.RUN)
    stream.set_state(KSSTATE.STOP)


class Intruder:
    """Calls something else behind one of the link calls of a method, as another thread might."""

    def __init__(self, board: Board) -> None:
        self._transact = board.transact
        self._due = -1
        self._action: Callable[[], object] = list
        board.transact = self.transact  # type: ignore[method-assign]

    def transact(self, requests: Sequence[Request]) -> list[bytes]:
        replies = self._transact(requests)
        self._due -= 1
        if self._due == 0:
            self._action()
        return replies

    def plan(self, link_call: int, action: Callable[[], object]) -> None:
        self._due, self._action = link_call, action

    @property
    def came(self) -> bool:
        return self._due <= 0


@pytest.mark.parametrize("link_call", range(1, 5))
@pytest.mark.parametrize("pin", [0, 1])
def test_nothing_from_before_stop_is_told_behind_it(board: Board, link_call: int, pin: int) -> None:
    intruder = Intruder(board)
    streams = Streams(board)
    stream = streams.open(pin)
    stream.allocate_buffer_with_notification(2, 2 * 960)
    board.write_register(regs.FPGA_CONVERTER_CONTROL, 1 | 2 << regs.FPGA_CONVERTER_CONTROL_INPUT_SELECT_LSB)
    looks: list[Callable[[], object]] = [stream.get_position]
    looks.append(stream.get_packet_count if pin == 0 else stream.get_read_packet)
    for look in looks:
        for _ in range(2):
            stream.set_state(KSSTATE.RUN)
            board.sleep(0.008)
            intruder.plan(link_call, lambda: stream.set_state(KSSTATE.STOP))
            try:
                found = look()
            except NtStatusError as error:
                assert error.status is NTSTATUS.INVALID_DEVICE_STATE
                found = 0
            if intruder.came:
                assert found in (0, KSAUDIO_POSITION(0, 0))
            stream.set_state(KSSTATE.STOP)
        assert stream.get_position() == KSAUDIO_POSITION(0, 0)
    stream.set_state(KSSTATE.RUN)
    board.sleep(0.002)
    position = stream.get_position()
    assert 0 < position.WriteOffset < 960 and position.PlayOffset < 960
    if pin == 1:
        board.sleep(0.004)
        assert stream.get_read_packet().PacketNumber <= 1


@pytest.mark.parametrize("link_call", range(1, 4))
def test_two_readers_get_two_packets(board: Board, link_call: int) -> None:
    intruder = Intruder(board)
    stream = Streams(board).open(1)
    stream.allocate_buffer_with_notification(2, 2 * 6 * 480)
    board.write_register(regs.FPGA_CONVERTER_CONTROL, 1)
    stream.set_state(KSSTATE.RUN)
    board.sleep(0.021)
    others: list[object] = []

    def other() -> None:
        try:
            others.append(stream.get_read_packet().PacketNumber)
        except NtStatusError as error:
            others.append(error.status)

    intruder.plan(link_call, other)
    try:
        first: object = stream.get_read_packet().PacketNumber
    except NtStatusError as error:
        first = error.status
    if not intruder.came:
        intruder.plan(-1, list)
        other()
    assert sorted(map(str, [first, *others])) == sorted(map(str, [1, NTSTATUS.DEVICE_NOT_READY]))


@pytest.mark.parametrize("late", range(0, 400, 7))
def test_an_end_that_comes_while_the_engine_reads_it_is_either_heard_or_late(board: Board, late: int) -> None:
    """Whatever the answer, the stream does accordingly."""
    intruder = Intruder(board)
    streams = Streams(board)
    stream = streams.open(0, Format(48000, 2, 16))
    packet_bytes = 4 * 48
    stream.allocate_buffer_with_notification(2, 2 * packet_bytes)
    board.write_register(regs.FPGA_CONVERTER_CONTROL, 1)
    stream.set_state(KSSTATE.PAUSE)
    stream.set_state(KSSTATE.RUN)
    board.sleep(0.003)
    # Between its look at the count and its change of the descriptor, time passes.
    intruder.plan(1, lambda: board.link.board.pass_time(board.link.board.now_ticks + 64 * late))  # type: ignore
    number = stream.get_packet_count() + 1
    intruder.plan(1, lambda: board.link.board.pass_time(board.link.board.now_ticks + 64 * late))  # type: ignore
    try:
        stream.set_write_packet(number, 0x200, 100)
        ends = True
    except NtStatusError as error:
        assert error.status is NTSTATUS.DATA_LATE_ERROR
        ends = False
    board.sleep(0.01)
    snapshot = board.snapshot(0)
    assert snapshot.ended == ends
    if ends:
        assert snapshot.bytes == number * packet_bytes + 100
        with refused(NTSTATUS.INVALID_DEVICE_STATE):
            stream.set_write_packet(number + 1, 0, 0)
    else:
        with refused(NTSTATUS.DATA_LATE_ERROR):
            stream.set_write_packet(number, 0, 0)
        assert read_ring(board, 0)[number % 2][1:] == (packet_bytes, number % 2, 1 << 2 | 1)


@pytest.mark.parametrize("problem", [BoardError("NOT_READY"), LinkError("gone")])
def test_a_board_that_is_not_ready_keeps_no_pages(streams: Streams, problem: Exception) -> None:
    stream = streams.open()

    def fail(requests: Sequence[Request]) -> list[bytes]:
        raise problem

    streams.board.transact = fail  # type: ignore[method-assign]
    with refused(NTSTATUS.DEVICE_NOT_READY):
        stream.allocate_audio_buffer(960)
    del streams.board.transact  # type: ignore[method-assign]
    assert streams.port.pages.free_pages == 31
    stream.allocate_audio_buffer(960)


def test_freeing_stops_an_engine_that_is_not_stopped(streams: Streams) -> None:
    stream = streams.open()
    buffer = stream.allocate_audio_buffer(960)
    streams.board.write_register(regs.FPGA_CONVERTER_CONTROL, 1)
    stream.set_state(KSSTATE.RUN)
    stream.set_state(KSSTATE.PAUSE)
    stream.free_audio_buffer(buffer.AudioBufferMdl, 960)
    status = streams.board.read_register(regs.STREAM_BASE + regs.STREAM_STATUS)
    assert status & 3 == 0
    assert streams.board.read_register(regs.STREAM_BASE + regs.STREAM_RING_SIZE) == 0
