"""How MiniportWavePci fills the engine's queue, and its answers that need no running converter. On the model board."""

from collections.abc import Iterator

import pytest

from codecrig.board import Board, EventRecord, open_board, stream_register
from codecrig.contract.rig import Objects, Rig
from codecrig.contract.wavepci_doubles import Piece, WavePciBench, WavePciSide
from codecrig.link import registers as regs
from codecrig.link.registers import Cause, StreamState
from codecrig.miniport import MiniportWavePci
from codecrig.portcls import IRQL, KSSTATE, NTSTATUS, Format, NtStatusError

EVENT, LAST, REMOVED = (
    1 << bit for bit in (regs.DESCRIPTOR_EVENT_FLAG_BIT, regs.DESCRIPTOR_LAST_BIT, regs.DESCRIPTOR_REMOVED_BIT)
)
RING_BASE = 0x1F000


@pytest.fixture
def board() -> Iterator[Board]:
    with open_board("model") as opened:
        yield opened


def narrow(board: Board, ring_descriptors: int = 4, descriptor_bytes: int | None = None) -> WavePciBench:
    """A bench over a miniport with a short ring."""
    objects = Objects()
    objects.miniports["wavepci"] = lambda board: MiniportWavePci(
        board, ring_descriptors=ring_descriptors, descriptor_bytes=descriptor_bytes
    )
    return WavePciBench(Rig(board, objects), Format(48000, 2, 24))


def ring(board: Board, count: int) -> list[tuple[int, ...]]:
    """Address, length and flags of descriptors in memory."""
    data = board.read_memory(RING_BASE, count * regs.DESCRIPTOR_BYTES)
    words = [int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data), 4)]
    return [(words[at], words[at + 1], words[at + 3]) for at in range(0, len(words), 4)]


def producer(board: Board) -> int:
    return board.read_register(stream_register(0, regs.STREAM_RING_PRODUCER))


def refused(status: NTSTATUS) -> object:
    return pytest.raises(NtStatusError, match=f"STATUS_{status.name}\\b")


def running(bench: WavePciBench, *pieces: Piece) -> WavePciSide:
    side = bench.side()
    side.feed(*pieces)
    side.set_state(KSSTATE.RUN)
    return side


def test_a_long_mapping_becomes_several_descriptors_and_waits_for_room(board: Board) -> None:
    bench = narrow(board, ring_descriptors=4, descriptor_bytes=300)
    side = running(bench, Piece(0x101, 1000, last=True), Piece(0x801, 700, last=True))
    # Ends within half a millisecond share an interrupt.
    assert ring(board, 4) == [(0x101, 300, EVENT), (0x22D, 300, EVENT), (0x359, 300, 0), (0x485, 100, EVENT | LAST)]
    # The second one is not acquired before there is room.
    assert producer(board) == 4 and len(side.tags()) == 1
    with bench.clock():
        bench.sleep_frames(200)
        assert producer(board) == 7 and len(side.tags()) == 1
        bench.sleep_frames(200)
    assert side.released_pieces == [Piece(0x101, 1000, True), Piece(0x801, 700, True)]
    side.expect_no_faults()


def test_every_quarter_of_the_ring_interrupts(board: Board) -> None:
    bench = narrow(board, ring_descriptors=12)
    missed: list[EventRecord] = []
    board.events.subscribe(0, lambda record: missed.append(record) if record.cause is Cause.UNDERRUN else None)
    side = running(bench, *(Piece(0x1000 + 600 * n, 600) for n in range(30)))
    assert [bool(flags & EVENT) for _, _, flags in ring(board, 12)] == [False, False, True] * 4
    with bench.clock():
        bench.until(lambda: not side.port_stream.held, 3500)
        assert len(side.port_stream.released) == 30
        assert board.snapshot(0).bytes == 30 * 600
    # One gap, the one behind the end.
    assert len(missed) == 1


def test_packets_of_a_few_bytes_do_not_flood_the_host_with_interrupts(board: Board) -> None:
    bench = narrow(board, ring_descriptors=63)
    side = running(bench, *(Piece(0x1000 + n, 1, last=True) for n in range(62)), Piece(0x2000, 3000, last=True))
    events = [bool(flags & EVENT) for _, _, flags in ring(board, 63)]
    # Half a millisecond is 144 bytes: the last of the small ones speaks for all.
    assert events == [False] * 61 + [True, True]
    with bench.clock():
        bench.sleep_frames(100)
        assert len(side.port_stream.released) == 62


def test_a_tiny_ring_plays_everything(board: Board) -> None:
    bench = narrow(board, ring_descriptors=2, descriptor_bytes=1501)
    data, pieces = bench.put([5000, 33, 1, 7001])
    listener = bench.listener()
    side = running(bench, *pieces)
    with bench.clock():
        assert bench.until(lambda: len(side.port_stream.released) == 4, 4000)
        bench.sleep_frames(48)
        assert board.snapshot(1).overruns == 0
    assert bench.heard(listener) == data[: bench.whole_frames(len(data))]


def test_revoking_what_the_engine_is_at_fills_up_the_frame(board: Board) -> None:
    bench = narrow(board, ring_descriptors=8)
    side = running(bench, *(Piece(0x1000 * n, 600) for n in range(1, 4)))
    first = side.tags()[0]
    # The FIFO took 64 bytes: ten frames and four bytes of the next. 536 are lost, so two bytes are filled in.
    assert side.moved_bytes() == 64
    assert side.revoke(first, first) == 1
    found = ring(board, 4)
    assert found[0][2] == REMOVED and found[1][1] == 2
    assert found[1][0] == RING_BASE + 8 * regs.DESCRIPTOR_BYTES
    assert [address for address, _, _ in found[2:]] == [0x2000, 0x3000] and producer(board) == 4
    assert board.snapshot(0).state is StreamState.RUN
    with bench.clock():
        bench.sleep_frames(400)
    assert side.released_pieces == [Piece(0x2000, 600), Piece(0x3000, 600)]
    side.expect_no_faults()


def test_revoking_several_uses_a_free_place_for_the_filler(board: Board) -> None:
    bench = narrow(board, ring_descriptors=4)
    side = running(bench, *(Piece(0x1000 * n, 601) for n in range(1, 5)))
    tags = side.tags()
    assert side.revoke(tags[0], tags[1]) == 2
    found = ring(board, 4)
    # 537 + 601 bytes are lost: 1138 = 189 frames and 4 bytes.
    assert found[1][1] == 4 and found[2][0] == 0x3000 and producer(board) == 4
    with bench.clock():
        bench.sleep_frames(400)
    assert side.released_pieces == [Piece(0x3000, 601), Piece(0x4000, 601)]


def test_revoking_in_pause_and_before_the_first_run(board: Board) -> None:
    bench = narrow(board, ring_descriptors=8)
    side = bench.side()
    side.set_state(KSSTATE.PAUSE)
    side.feed(*(Piece(0x1000 * n, 600) for n in range(1, 5)))
    with bench.rig.system.at(IRQL.DISPATCH):
        side.stream.mapping_available()
    tags = side.tags()
    assert len(tags) == 4 and side.revoke(tags[0], tags[0]) == 1
    side.set_state(KSSTATE.RUN)
    with bench.clock():
        bench.sleep_frames(50)
        side.set_state(KSSTATE.PAUSE)
        assert side.revoke(tags[1], tags[1]) == 1
        side.set_state(KSSTATE.RUN)
        bench.sleep_frames(300)
    assert side.released_pieces == [Piece(0x3000, 600), Piece(0x4000, 600)]
    side.expect_no_faults()


def test_nothing_is_acquired_in_stop(board: Board) -> None:
    bench = narrow(board)
    side = bench.side()
    side.feed(Piece(0x1000, 60))
    side.service()
    with bench.rig.system.at(IRQL.DISPATCH):
        side.stream.mapping_available()
    assert side.tags() == [] and side.position() == 0


def test_a_position_steps_over_no_frame_in_a_gap(board: Board) -> None:
    bench = narrow(board)
    side = running(bench, Piece(0x1000, 600))
    with bench.clock():
        readings = []
        for _ in range(40):
            bench.sleep_frames(4)
            readings.append(side.position())
        side.feed(Piece(0x2000, 600))
        for _ in range(40):
            bench.sleep_frames(4)
            readings.append(side.position())
    assert readings == sorted(readings) and readings[-1] == 1200
    assert 600 in readings and all(reading % 6 == 0 for reading in readings)


def test_refusals(board: Board) -> None:
    bench = narrow(board)
    for pin, capture, form in ((4, False, bench.format), (0, True, bench.format), (0, False, Format(44100, 2, 16))):
        with refused(NTSTATUS.INVALID_PARAMETER):
            bench.miniport.new_stream(bench.side_double(), pin, capture, form)
    side = bench.side()
    with refused(NTSTATUS.INVALID_DEVICE_REQUEST):
        bench.side()
    side.set_state(KSSTATE.PAUSE)
    with refused(NTSTATUS.INVALID_DEVICE_REQUEST):
        side.stream.set_format(Format(48000, 1, 16))
    assert side.stream.set_format(bench.format) is NTSTATUS.SUCCESS
    side.set_state(KSSTATE.RUN)
    with refused(NTSTATUS.INVALID_DEVICE_REQUEST):
        side.stream.set_format(bench.format)
    for first, last in ((0, 0), (1, 1), (5, 2)):
        with refused(NTSTATUS.UNSUCCESSFUL), bench.rig.system.at(IRQL.DISPATCH):
            side.stream.revoke_mappings(first, last)


def test_a_fault_of_the_engine_is_told_at_the_next_run(board: Board) -> None:
    bench = narrow(board)
    side = running(bench, Piece(0x1000, 300), Piece(0x2000, 300))
    board.write_register(regs.FPGA_FENCE_FIRST, 0x11)
    with bench.clock():
        bench.sleep_frames(100)
        assert board.snapshot(0).fault
    # The way down is open, the one up is not before STOP.
    side.set_state(KSSTATE.PAUSE)
    with refused(NTSTATUS.IO_DEVICE_ERROR):
        side.set_state(KSSTATE.RUN)
    side.set_state(KSSTATE.STOP)
    board.write_register(regs.FPGA_FENCE_FIRST, 0)
    side.feed(Piece(0x3000, 300))
    side.set_state(KSSTATE.RUN)
    with bench.clock():
        bench.sleep_frames(100)
    assert side.position() == 300


def test_references(board: Board) -> None:
    objects = Objects()
    made: list[MiniportWavePci] = []

    def make(board: Board) -> MiniportWavePci:
        made.append(MiniportWavePci(board))
        return made[-1]

    objects.miniports["wavepci"] = make
    bench = WavePciBench(Rig(board, objects))
    before = bench.port.reference_count
    side = bench.side()
    assert side.port_stream.reference_count == 2
    assert side.made.ServiceGroup is not None and side.made.ServiceGroup.reference_count == 2
    side.close_now()
    assert side.port_stream.reference_count == 1 and side.made.ServiceGroup.reference_count == 0
    assert bench.port.reference_count == before
    bench.close()
    assert made[0].reference_count == 0 and bench.port.reference_count == 1
