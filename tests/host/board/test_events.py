"""Events: one exchange a round, nothing lost unnoticed, causes cleared before the ring is given back."""

from __future__ import annotations

import pytest
from fake_board import EXCHANGE_TICKS, FakeBoardLink, open_fake

from codecrig.board import Board, BoardError, EventRecord, EventsLost
from codecrig.link import Status
from codecrig.link import registers as regs
from codecrig.link.registers import Cause

STREAM0_CAUSE = regs.STREAM_BASE + regs.STREAM_EVENT_CAUSE
STREAM1_CAUSE = STREAM0_CAUSE + regs.STREAM_STRIDE


def collect(board: Board, stream: int | None = None) -> list[EventRecord]:
    records: list[EventRecord] = []
    board.events.subscribe(stream, records.append)
    return records


def test_a_record_is_delivered_with_all_its_fields_in_one_exchange() -> None:
    board, fake = open_fake()
    records = collect(board, 1)
    fake.post_at(fake.time_ticks + 50_000, Cause.DESCRIPTOR, 1, 7)
    before = fake.exchanges
    assert board.pump(fake.time_ticks + 1_000_000) == 1
    assert fake.exchanges == before + 1
    (record,) = records
    assert (record.cause, record.stream, record.sequence) == (Cause.DESCRIPTOR, 1, 0)
    assert (record.data0, record.data1, record.data2, record.data3) == (7, 1, 2, 3)
    assert record.time_ticks == fake.time_ticks and not record.reposted and len(record.raw) == 32


def test_causes_are_cleared_before_the_consumer_moves_with_the_next_round() -> None:
    board, fake = open_fake()
    fake.post(Cause.DESCRIPTOR, 0)
    fake.post(Cause.UNDERRUN, 0)
    fake.post(Cause.OVERRUN, 1)
    fake.post(Cause.TIMER)
    board.poll()
    fake.log.clear()
    before = fake.exchanges
    board.pump(fake.time_ticks + 10_000)
    assert fake.exchanges == before + 1
    assert fake.log[:4] == [
        ("write", STREAM0_CAUSE, 0b11),
        ("write", STREAM1_CAUSE, 0b100),
        ("write", regs.FPGA_EVENT_CAUSE, 0b1),
        ("write", regs.FPGA_EVENT_CONSUMER, 4),
    ]
    assert fake.log[4][0] == "wait"
    assert fake.words[STREAM0_CAUSE] == 0 and fake.words[STREAM1_CAUSE] == 0
    fake.log.clear()
    board.poll()
    assert fake.log == []  # acknowledged once


def test_acknowledge_does_it_at_once() -> None:
    board, fake = open_fake()
    fake.post(Cause.DESCRIPTOR, 0)
    board.poll()
    assert fake.words[STREAM0_CAUSE] == 1
    board.events.acknowledge()
    assert fake.words[STREAM0_CAUSE] == 0 and fake.words[regs.FPGA_EVENT_CONSUMER] == 1


@pytest.mark.parametrize("count", [1, 4, 5, 37, 64])
@pytest.mark.parametrize("start", [0, 61, 0xFFFFFFFE])
def test_every_record_arrives_in_order_over_ring_and_counter_wrap(count: int, start: int) -> None:
    board, fake = open_fake(FakeBoardLink(producer=start))
    records = collect(board)
    for number in range(count):
        fake.post(Cause.DESCRIPTOR, number & 1, number)
    assert board.pump(fake.time_ticks + 1000) == count
    assert [record.data0 for record in records] == list(range(count))
    assert [record.sequence for record in records] == [(start + n) & 0xFFFFFFFF for n in range(count)]
    board.events.acknowledge()
    assert fake.words[regs.FPGA_EVENT_CONSUMER] == (start + count) & 0xFFFFFFFF


def test_records_left_by_an_earlier_user_are_dropped_on_opening() -> None:
    fake = FakeBoardLink()
    fake.post(Cause.DESCRIPTOR, 0)
    board, _ = open_fake(fake)
    records = collect(board)
    assert board.poll() == 0 and records == []
    assert fake.words[regs.FPGA_EVENT_CONSUMER] == 1 and fake.words[STREAM0_CAUSE] == 0


def test_lost_records_raise_after_the_rest_was_delivered() -> None:
    board, fake = open_fake()
    records = collect(board)
    for number in range(66):
        fake.post(Cause.DESCRIPTOR, 0, number)
    with pytest.raises(EventsLost, match="EVENT_LOST rose by 2; next step: pump more often"):
        board.poll()
    assert [record.data0 for record in records] == list(range(64))
    fake.post(Cause.RING_OVERFLOW, 0, 2)  # ring still full until it is acknowledged: lost too
    with pytest.raises(EventsLost, match="rose by 1"):
        board.poll()
    fake.post(Cause.RING_OVERFLOW, 0, 3)
    assert board.poll() == 1 and records[-1].cause is Cause.RING_OVERFLOW  # and said once only


def test_a_record_out_of_order_raises() -> None:
    board, fake = open_fake()
    fake.post(Cause.DESCRIPTOR, 0, sequence=5)
    with pytest.raises(EventsLost, match=r"record 5 \(DESCRIPTOR\) lay where record 0 was due"):
        board.poll()


def test_a_producer_that_jumped_raises() -> None:
    board, fake = open_fake()
    fake.words[regs.FPGA_EVENT_PRODUCER] = 65
    with pytest.raises(BoardError, match="at most 64 records .* EVENT_PRODUCER 65 with 0 taken"):
        board.poll()


def test_an_unknown_cause_raises() -> None:
    board, fake = open_fake()
    fake.post(9, 0)
    with pytest.raises(BoardError, match="an event cause, one of DESCRIPTOR 0.*; found 9"):
        board.poll()


def test_subscribers_get_their_own_stream_and_no_board_causes() -> None:
    board, fake = open_fake()
    mine, other, everything = collect(board, 0), collect(board, 1), collect(board)
    fake.post(Cause.DESCRIPTOR, 0)
    fake.post(Cause.FAULT, 1)
    fake.post(Cause.TIMER, 0)
    board.poll()
    assert [r.cause for r in mine] == [Cause.DESCRIPTOR]
    assert [r.cause for r in other] == [Cause.FAULT]
    assert [r.cause for r in everything] == [Cause.DESCRIPTOR, Cause.FAULT, Cause.TIMER]


def test_unsubscribing_also_from_inside_a_handler() -> None:
    board, fake = open_fake()
    calls: list[str] = []

    def once(record: EventRecord) -> None:
        calls.append("once")
        end()

    end = board.events.subscribe(0, once)
    board.events.subscribe(0, lambda record: calls.append("always"))
    for _ in range(2):
        fake.post(Cause.DESCRIPTOR, 0)
    board.poll()
    assert calls == ["once", "always", "always"]
    end()


def test_a_handler_may_use_the_board_but_not_pump() -> None:
    board, fake = open_fake()
    seen: list[int] = []
    board.events.subscribe(0, lambda record: seen.append(board.read_register(regs.FPGA_ID)))
    fake.post(Cause.DESCRIPTOR, 0)
    board.poll()
    assert seen == [regs.FPGA_ID_RESET]
    board.events.subscribe(0, lambda record: board.sleep(0.001))
    fake.post(Cause.DESCRIPTOR, 0)
    with pytest.raises(BoardError, match="inside an event handler"):
        board.poll()


def test_a_failing_handler_loses_no_records() -> None:
    board, fake = open_fake()
    records = collect(board)

    def fail(record: EventRecord) -> None:
        if record.data0 == 1:
            raise RuntimeError("handler")

    board.events.subscribe(0, fail)
    for number in range(3):
        fake.post(Cause.DESCRIPTOR, 0, number)
    with pytest.raises(RuntimeError, match="handler"):
        board.poll()
    fake.log.clear()
    assert board.pump(fake.time_ticks + 1_000_000) == 1  # the one that was still queued, without waiting
    assert [record.data0 for record in records] == [0, 2]
    assert not any(kind == "wait" for kind, _, _ in fake.log)


def test_pump_returns_at_the_deadline_and_waits_in_pieces_below_the_timeout() -> None:
    board, fake = open_fake()
    start = fake.time_ticks
    deadline = start + int(3.5 * 12_288_000)
    before = fake.exchanges
    assert board.pump(deadline) == 0
    assert deadline <= fake.time_ticks < deadline + EXCHANGE_TICKS
    assert fake.exchanges - before == 4


def test_pump_with_a_deadline_in_the_past_does_not_wait() -> None:
    board, fake = open_fake()
    fake.log.clear()
    assert board.pump(0) == 0
    assert fake.log == []


def test_waiting_over_the_wrap_of_the_low_word_of_time() -> None:
    board, fake = open_fake(FakeBoardLink(time_ticks=(5 << 32) - 200_000))
    records = collect(board)
    fake.post_at((5 << 32) + 100_000, Cause.DESCRIPTOR, 0)
    assert board.pump((5 << 32) + 500_000) == 1
    assert records[0].time_ticks == (5 << 32) + 100_000
    assert board.pump((5 << 32) + 500_000) == 0
    assert fake.time_ticks >= (5 << 32) + 500_000


def memory_data(length: int) -> bytes:
    return bytes(index * 7 >> 3 & 0xFF for index in range(length))


def test_much_data_is_written_and_read_while_events_are_delivered() -> None:
    board, fake = open_fake()
    records = collect(board)
    board.poll()
    view, data = board.memory_view(3, 10_000), memory_data(6100)
    for cause, ticks in ((Cause.DESCRIPTOR, 2), (Cause.UNDERRUN, 7), (Cause.DESCRIPTOR, 8)):
        fake.post_at(fake.time_ticks + ticks * EXCHANGE_TICKS, cause, 1)
    due = [fake.time_ticks + ticks * EXCHANGE_TICKS for ticks in (2, 7, 8)]
    heard: list[int] = []
    board.events.subscribe(1, lambda record: heard.append(fake.time_ticks))
    view.write_pieces([(5, data[:5100]), (9000, data[5100:])])
    assert [record.time_ticks for record in records] == due
    # Seen at the next look or the one behind it, fetched with one exchange; here none overlaps another.
    assert all(late - ticks <= 5 * EXCHANGE_TICKS for late, ticks in zip(heard, due, strict=True))
    assert fake.words[regs.FPGA_EVENT_CONSUMER] == 3 and fake.words[STREAM1_CAUSE] == 0  # answered as well
    assert fake.memory[8:5108] == data[:5100] and fake.memory[9003:10_003] == data[5100:]
    fake.post_at(fake.time_ticks + 4 * EXCHANGE_TICKS, Cause.OVERRUN, 0)
    assert view.read_pieces([(9000, 1000), (7, 4999), (0, 0)]) == [data[5100:], data[2:5001], b""]
    assert records[-1].cause is Cause.OVERRUN and len(records) == 4


def test_an_event_at_the_end_of_the_data_is_delivered_with_it() -> None:
    board, fake = open_fake()
    records = collect(board)
    before = fake.exchanges
    board.memory_view(0, 4096).write(0, bytes(4096))
    exchanges = fake.exchanges - before
    fake.post_at(fake.time_ticks + exchanges * EXCHANGE_TICKS, Cause.DESCRIPTOR, 1)
    board.memory_view(0, 4096).write(0, bytes(4096))
    assert len(records) == 1 and fake.words[regs.FPGA_EVENT_CONSUMER] == 1


@pytest.mark.parametrize("listens, length", [(False, 6000), (True, 1024), (True, 6145)])
def test_data_goes_in_one_exchange_if_nobody_listens_or_it_is_little_or_a_lot(listens: bool, length: int) -> None:
    board, fake = open_fake()
    if listens:
        collect(board)
    before = fake.exchanges
    board.memory_view(0, 8000).write(0, memory_data(length))
    assert fake.exchanges == before + 1 and fake.memory[:length] == memory_data(length)


def test_a_handler_may_use_the_board_in_the_middle_of_other_data() -> None:
    board, fake = open_fake()
    view, seen = board.memory_view(0, 40_000), []

    def handler(record: EventRecord) -> None:
        view.write(20_000, memory_data(5000))  # in one exchange: no handler is called inside another
        seen.append(record.sequence)

    board.events.subscribe(None, handler)
    for ticks in (2, 3, 8):
        fake.post_at(fake.time_ticks + ticks * EXCHANGE_TICKS, Cause.DESCRIPTOR, 1)
    view.write(0, memory_data(6100))
    assert seen == [0, 1, 2]
    assert fake.memory[:6100] == memory_data(6100) and fake.memory[20_000:25_000] == memory_data(5000)


def test_records_lost_in_the_middle_of_data_are_told() -> None:
    board, fake = open_fake()
    collect(board)
    fake.post(Cause.DESCRIPTOR, 1, sequence=5)
    with pytest.raises(EventsLost, match="record 5 .* lay where record 0 was due"):
        board.memory_view(0, 4096).write(0, bytes(4096))
    board.memory_view(0, 4096).write(0, b"\1" * 4096)
    assert fake.memory[4095] == 1


def test_a_refused_request_in_the_middle_leaves_the_link_usable() -> None:
    board, fake = open_fake()
    collect(board)
    fake.refuse[2 * 808] = Status.NO_REPLY
    with pytest.raises(BoardError, match="WRITE of 808 bytes at 0x00000650 .* NO_REPLY"):
        board.memory_view(0, 6000).write(0, bytes(6000))
    fake.refuse.clear()
    board.memory_view(0, 6000).write(0, memory_data(6000))
    assert fake.memory[:6000] == memory_data(6000)


def test_whatever_is_exchanged_next_carries_the_acknowledgement() -> None:
    board, fake = open_fake()
    collect(board)
    fake.post(Cause.DESCRIPTOR, 1)
    board.poll()
    fake.log.clear()
    before = fake.exchanges
    assert board.read_register(regs.FPGA_ID) == regs.FPGA_ID_RESET
    assert fake.log == [("write", STREAM1_CAUSE, 1), ("write", regs.FPGA_EVENT_CONSUMER, 1)]
    assert fake.exchanges == before + 1
