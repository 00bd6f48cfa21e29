"""`Board` over a link: opening, requests, snapshots, waiting in board time, and closing whatever happened."""

from __future__ import annotations

import struct

import pytest
from fake_board import EXCHANGE_TICKS, FakeBoardLink, fake_profile, open_fake

from codecrig.board import Board, BoardError, BoardSystem, describe_address, stream_register
from codecrig.link import LinkError, Request, Status
from codecrig.link import registers as regs
from codecrig.link.registers import Cause, StreamState
from codecrig.portcls import KEvent

STOPS = [stream_register(stream, regs.STREAM_CONTROL) for stream in range(2)]


def test_opening_reads_identity_and_makes_the_board_quiet() -> None:
    fake = FakeBoardLink()
    for stream in range(2):
        fake.words[stream_register(stream, regs.STREAM_CONTROL)] = StreamState.RUN
        fake.words[stream_register(stream, regs.STREAM_EVENT_ENABLE)] = 0xF
        fake.words[stream_register(stream, regs.STREAM_EVENT_CAUSE)] = 0xF
    fake.words[regs.FPGA_CONVERTER_CONTROL] = 3
    fake.stop_delay = 3
    board, _ = open_fake(fake)
    identity = board.identity()
    assert (identity.fpga_version, identity.fpga_build) == ("1.0.0", 0xF00D)
    assert (identity.streams, identity.ring_records) == (2, 64)
    assert (identity.bridge_version, identity.spi_hz, identity.bridge_serial) == ("1.2.3", 15_360_000, 1 << 32)
    assert (identity.audio_memory_bytes, board.serial) == (131072, "FAKE01")
    for stream in range(2):
        for register in (regs.STREAM_CONTROL, regs.STREAM_EVENT_ENABLE, regs.STREAM_EVENT_CAUSE):
            assert fake.words[stream_register(stream, register)] == 0
    assert fake.words[regs.FPGA_CONVERTER_CONTROL] == 0
    assert fake.words[regs.FPGA_EVENT_ENABLE] == 1 << regs.FPGA_EVENT_ENABLE_RING_OVERFLOW_LSB


def test_a_link_without_a_bridge_is_accepted() -> None:
    fake = FakeBoardLink()
    fake.refuse = {regs.BRIDGE_ID: Status.UNMAPPED}
    board, _ = open_fake(fake)
    assert board.identity().bridge_version is None


@pytest.mark.parametrize(
    ("register", "value", "text"),
    [
        (regs.FPGA_ID, 0, "expected FPGA_ID 0x43524947 .*found 0x00000000"),
        (regs.FPGA_VERSION, 2 << 24, "version 1.x; found .* version 2.0.0; next step: load the bitstream"),
        (regs.BRIDGE_ID, 5, "expected BRIDGE_ID"),
        (regs.BRIDGE_VERSION, 2 << 24, "next step: load the firmware"),
        (regs.FPGA_CAPS, 2 | 6 << 8 | 64 << 16, "expected 131072 bytes .* 'model' promises; found 65536"),
    ],
)
def test_a_board_of_another_kind_is_refused_and_closed(register: int, value: int, text: str) -> None:
    fake = FakeBoardLink()
    fake.words[register] = value
    with pytest.raises(BoardError, match=text):
        open_fake(fake)
    assert fake.closed == 1


def test_an_fpga_that_is_not_configured_is_named() -> None:
    fake = FakeBoardLink()
    fake.refuse = {regs.FPGA_ID: Status.NOT_READY}
    with pytest.raises(BoardError, match="NOT_READY: the FPGA is not configured; next step: `codecrig load`"):
        open_fake(fake)
    assert fake.closed == 1


def test_a_stream_that_does_not_stop_is_an_error_on_opening() -> None:
    fake = FakeBoardLink()
    fake.stop_delay = 1 << 30
    with pytest.raises(BoardError, match="every stream to reach STOP"):
        open_fake(fake)
    assert fake.closed == 1


def test_registers_and_memory() -> None:
    board, fake = open_fake()
    board.write_register(regs.FPGA_SCRATCH, 0x1_2345_6789)
    assert board.read_register(regs.FPGA_SCRATCH) == 0x23456789
    assert board.read_registers(regs.FPGA_ID, 2) == (regs.FPGA_ID_RESET, 1 << 24)
    board.write_memory(5, b"hello")
    assert board.read_memory(4, 7) == b"\0hello\0"
    before = fake.exchanges
    board.write_memory(0, b"")
    assert board.read_memory(0, 0) == b"" and fake.exchanges == before


def test_memory_view() -> None:
    board, fake = open_fake()
    view = board.memory_view(4096, 100)
    assert (view.physical_address, view.length) == (4096, 100)
    before = fake.exchanges
    view.write_pieces([(0, b"ab"), (98, b"yz"), (5, b"")])
    assert view.read_pieces([(98, 2), (0, 3), (7, 0)]) == [b"yz", b"ab\0", b""]
    assert fake.exchanges == before + 2
    assert fake.memory[4096:4098] == b"ab" and fake.memory[4194:4196] == b"yz"
    part = view.slice(90, 10)
    assert part.physical_address == 4186 and part.read(8, 2) == b"yz"
    for call in (lambda: view.read(99, 2), lambda: view.write(-1, b"x"), lambda: view.slice(95, 6)):
        with pytest.raises(ValueError, match="outside"):
            call()
    with pytest.raises(ValueError, match="outside"):
        board.memory_view(131072 - 10, 11)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (regs.FPGA_SCRATCH, "FPGA_SCRATCH"),
        (stream_register(3, regs.STREAM_CONFIG), r"STREAM\[3\].CONFIG"),
        (stream_register(0, regs.STREAM_SNAP_STATE), r"STREAM\[0\].SNAP_STATE"),
        (regs.MONITOR_BASE + regs.MONITOR_STRIDE + regs.MONITOR_READS, r"MONITOR\[1\].READS"),
        (regs.EVENT_RING_BASE + 64, "event ring slot 2"),
        (regs.MIDI_COUNTS, "MIDI.COUNTS"),
        (regs.I2C_STATUS, "I2C.STATUS"),
        (regs.TRIGGER_OUT_TIME, "TRIGGER.OUT_TIME"),
        (regs.MIDI_RX_RING_BASE + 20, "MIDI_RX_RING record 2"),
        (regs.BRIDGE_SPI_HZ, "BRIDGE_SPI_HZ"),
    ],
)
def test_a_refused_request_is_named_with_address_status_and_next_step(address: int, name: str) -> None:
    board, fake = open_fake()
    fake.refuse = {address: Status.NO_REPLY}
    with pytest.raises(BoardError, match=rf"READ of 4 bytes at 0x{address:08X} \({name}\) .* NO_REPLY: .*next step"):
        board.read_register(address)
    assert describe_address(0x100) == "0x00000100 (audio memory)"
    assert describe_address(0x70000000) == "0x70000000"


def put_snapshot(fake: FakeBoardLink, stream: int) -> None:
    fields = (3 | 1 << 4, 5 << 32 | 6, 7 << 32 | 8, 9 << 32 | 10, 11, 12, 13, 14, 17 << 32 | 18, 19 << 32 | 20)
    for index, word in enumerate(struct.unpack("<15I", struct.pack("<IQQQIIIIQQ", *fields))):
        fake.words[stream_register(stream, regs.STREAM_SNAP_STATE) + 4 * index] = word
    fake.words[stream_register(stream, regs.STREAM_UNDERRUNS)] = 15
    fake.words[stream_register(stream, regs.STREAM_OVERRUNS)] = 16


def test_a_snapshot_is_one_exchange() -> None:
    board, fake = open_fake()
    put_snapshot(fake, 1)
    before = fake.exchanges
    snapshot = board.snapshot(1)
    assert fake.exchanges == before + 1
    assert (snapshot.state, snapshot.fault) == (StreamState.RUN, True)
    assert (snapshot.time_ticks, snapshot.frames, snapshot.bytes) == (5 << 32 | 6, 7 << 32 | 8, 9 << 32 | 10)
    assert (snapshot.descriptors, snapshot.fifo_bytes, snapshot.index, snapshot.frame_ticks) == (11, 12, 13, 14)
    assert (snapshot.underruns, snapshot.overruns) == (15, 16)
    assert (snapshot.start_ticks, snapshot.packet_ticks) == (17 << 32 | 18, 19 << 32 | 20)


@pytest.mark.parametrize("late", [1, 2])
def test_a_late_snapshot_is_read_again_but_ordered_once(late: int) -> None:
    board, fake = open_fake()
    put_snapshot(fake, 0)
    fake.snapshots_pending = late
    assert board.snapshot(0).frames == 7 << 32 | 8
    assert len(fake.writes(stream_register(0, regs.STREAM_SNAPSHOT))) == 1


def test_a_snapshot_that_never_comes_is_an_error() -> None:
    board, fake = open_fake()
    fake.snapshots_pending = 100
    with pytest.raises(BoardError, match="snapshot of stream 0 within 3 reads; found it still pending"):
        board.snapshot(0)


# ------------------------------------------------------------ waiting


def test_sleep_is_board_time_and_delivers_events() -> None:
    board, fake = open_fake()
    seen: list[int] = []
    board.events.subscribe(None, lambda record: seen.append(record.data0))
    start = fake.time_ticks
    for number in range(5):
        fake.post_at(start + number * 300_000, Cause.DESCRIPTOR, 0, number)
    board.sleep(0.2)
    assert seen == [0, 1, 2, 3, 4]
    assert 0.2 * 12_288_000 <= fake.time_ticks - start <= 0.2 * 12_288_000 + 3 * EXCHANGE_TICKS


def test_wait_for_ends_with_the_event_or_the_deadline() -> None:
    board, fake = open_fake()
    seen: list[int] = []
    board.events.subscribe(0, lambda record: seen.append(record.data0))
    fake.post_at(fake.time_ticks + 100_000, Cause.DESCRIPTOR, 0, 1)
    fake.post_at(fake.time_ticks + 400_000, Cause.DESCRIPTOR, 0, 2)
    assert board.wait_for(lambda: len(seen) == 2, 1.0)
    start = fake.time_ticks
    assert not board.wait_for(lambda: len(seen) == 3, 0.1)
    assert 0.1 * 12_288_000 <= fake.time_ticks - start <= 0.1 * 12_288_000 + 3 * EXCHANGE_TICKS
    before = fake.exchanges
    assert board.wait_for(lambda: True, 1.0) and fake.exchanges == before


def test_wait_for_with_no_time_still_looks_once() -> None:
    board, fake = open_fake()
    seen: list[int] = []
    board.events.subscribe(0, lambda record: seen.append(record.data0))
    fake.post(Cause.DESCRIPTOR, 0, 1)
    assert board.wait_for(lambda: bool(seen), 0)


def test_system_over_a_board() -> None:
    board, fake = open_fake()
    system = BoardSystem(board)
    assert (system.memory.physical_address, system.memory.length) == (0, 131072 - 4096)
    event = KEvent()
    board.events.subscribe(0, lambda record: event.set())
    fake.post_at(fake.time_ticks + 100_000, Cause.DESCRIPTOR, 0)
    assert system.wait(event, 1.0) and not event.read_state()
    assert not system.wait(event, 0.01)
    before = system.performance_counter()
    system.sleep(0.5)
    assert (system.performance_counter() - before) / system.performance_frequency == pytest.approx(0.5, abs=0.002)


# ------------------------------------------------------------ closing


def test_close_stops_streams_mutes_and_closes_once() -> None:
    board, fake = open_fake()
    board.write_register(regs.FPGA_CONVERTER_CONTROL, 1 | 1 << 4)
    fake.log.clear()
    board.close()
    board.close()
    stops = [("write", address, StreamState.STOP) for address in STOPS]
    assert fake.log == [*stops, ("write", regs.FPGA_CONVERTER_CONTROL, 1 | 2 | 1 << 4)]
    assert fake.closed == 1


@pytest.mark.parametrize("error", [ValueError("first"), KeyboardInterrupt("first")])
def test_streams_are_stopped_after_an_error_or_ctrl_c(error: BaseException) -> None:
    fake = FakeBoardLink()
    with pytest.raises(type(error), match="first"):
        with Board(fake, fake_profile()) as board:
            board.write_register(STOPS[0], StreamState.RUN)
            raise error
    assert fake.words[STOPS[0]] == StreamState.STOP and fake.closed == 1


def test_a_dead_link_does_not_hide_the_first_error() -> None:
    fake = FakeBoardLink()
    released: list[str] = []
    with pytest.raises(RuntimeError, match="first") as caught:
        with Board(fake, fake_profile(), on_close=[lambda: released.append("process")]):
            fake.broken = LinkError("dead")
            raise RuntimeError("first")
    assert caught.value.__notes__ == ["also, while closing the board: dead"]
    assert fake.closed == 1 and released == ["process"]


def test_a_dead_link_is_raised_by_close_after_all_was_released() -> None:
    board, fake = open_fake()
    released: list[str] = []
    board = Board(FakeBoardLink(), fake_profile(), on_close=[lambda: released.append("process")])
    fake = board.link  # type: ignore[assignment]
    fake.broken = LinkError("dead")
    with pytest.raises(LinkError, match="dead"):
        board.close()
    assert fake.closed == 1 and released == ["process"]


def test_a_refused_stop_still_mutes() -> None:
    board, fake = open_fake()
    fake.refuse = {STOPS[0]: Status.NO_REPLY}
    with pytest.raises(BoardError, match=r"STREAM\[0\].CONTROL"):
        board.close()
    assert fake.words[STOPS[1]] == StreamState.STOP
    assert fake.words[regs.FPGA_CONVERTER_CONTROL] & 2 and fake.closed == 1


def test_requests_pass_as_they_are() -> None:
    board, _ = open_fake()
    assert board.transact([Request.write(0, b"abcd"), Request.read(1, 2)]) == [b"", b"bc"]
    assert board.transact([]) == []
