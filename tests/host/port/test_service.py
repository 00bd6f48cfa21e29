"""Levels, deferred calls, timers and service groups, on a board of the model."""

from collections.abc import Iterator

import pytest

from codecrig.board import Board, BoardSystem, open_board
from codecrig.link import registers as regs
from codecrig.link.registers import Cause
from codecrig.port.service import ServiceGroup
from codecrig.portcls import IRQL, IrqlError, IServiceGroup, IServiceSink, NtStatusError, SpinLock, highest_irql


class Sink(IServiceSink):
    """Notes the level of each call."""

    def __init__(self, system: BoardSystem) -> None:
        self.system = system
        self.levels: list[IRQL] = []
        self.times: list[int] = []

    def request_service(self) -> None:
        self.levels.append(self.system.level)
        self.times.append(self.system.system_time())


@pytest.fixture
def board() -> Iterator[Board]:
    with open_board("model") as opened:
        yield opened


@pytest.fixture
def system(board: Board) -> BoardSystem:
    return BoardSystem(board)


def test_requests_of_an_interrupt_merge_and_are_served_behind_it(system: BoardSystem) -> None:
    group, sink = ServiceGroup(system), Sink(system)
    group.add_member(sink)

    def handler() -> None:
        assert system.level is IRQL.DEVICE
        group.request_service()
        group.request_service()
        assert sink.levels == []

    system.interrupt(handler)
    assert sink.levels == [IRQL.DISPATCH]
    assert system.level is IRQL.PASSIVE


def test_a_removed_sink_is_not_called_though_a_request_was_pending(system: BoardSystem) -> None:
    group, sink = ServiceGroup(system), Sink(system)
    group.add_member(sink)
    assert sink.reference_count == 2
    group.request_service()
    group.remove_member(sink)
    system.run_deferred()
    assert sink.levels == [] and sink.reference_count == 1


def test_a_group_is_a_sink_and_nests(system: BoardSystem) -> None:
    outer, inner, sink = ServiceGroup(system), ServiceGroup(system), Sink(system)
    outer.add_member(inner)
    inner.add_member(sink)
    outer.request_service()
    system.run_deferred()
    assert sink.levels == [IRQL.DISPATCH]


def test_delayed_service_needs_support_waits_and_can_be_cancelled(system: BoardSystem) -> None:
    group, sink = ServiceGroup(system), Sink(system)
    group.add_member(sink)
    with pytest.raises(NtStatusError, match="support_delayed_service"):
        group.request_delayed_service(-1000)
    group.support_delayed_service()
    system.sleep(0)
    start = system.system_time()
    group.request_delayed_service(-50_000)
    system.sleep(0.004)
    assert sink.times == []
    system.sleep(0.002)
    assert len(sink.times) == 1 and sink.times[0] >= start + 50_000
    group.request_delayed_service(system.system_time() + 30_000)
    system.sleep(0.004)
    assert len(sink.times) == 2
    group.request_delayed_service(-10_000)
    group.cancel_delayed_service()
    system.sleep(0.004)
    assert len(sink.times) == 2 and sink.levels == [IRQL.DISPATCH] * 2


def test_board_events_arrive_at_interrupt_level(board: Board, system: BoardSystem) -> None:
    levels = []
    board.events.subscribe(0, lambda record: levels.append(system.level))
    board.write_register(regs.STREAM_BASE + regs.STREAM_RING_SIZE, 0)
    board.write_register(regs.STREAM_BASE + regs.STREAM_EVENT_ENABLE, 1 << Cause.FAULT | 1 << Cause.REFUSED)
    board.write_register(regs.STREAM_BASE + regs.STREAM_CONTROL, 3)
    system.sleep(0.001)
    assert levels and set(levels) == {IRQL.DEVICE}


def test_levels_are_told_and_enforced(system: BoardSystem) -> None:
    assert highest_irql(IServiceGroup, "request_service") is IRQL.DEVICE
    assert highest_irql(IServiceGroup, "add_member") is IRQL.PASSIVE
    with system.at(IRQL.DISPATCH), pytest.raises(IrqlError, match="expected a call from passive context or below"):
        system.require(IRQL.PASSIVE, "IMiniportWaveRTStream::SetState")
    with system.at(IRQL.DEVICE), pytest.raises(IrqlError, match="at least interrupt"), system.at(IRQL.DISPATCH):
        pass


def test_members_come_and_go_in_passive_context(system: BoardSystem) -> None:
    group, sink = ServiceGroup(system), Sink(system)
    with system.at(IRQL.DISPATCH):
        for call, arguments in (
            ("add_member", (sink,)),
            ("remove_member", (sink,)),
            ("support_delayed_service", ()),
            ("cancel_delayed_service", ()),
        ):
            with pytest.raises(IrqlError, match=call):
                getattr(group, call)(*arguments)
    assert group.members == ()


def test_a_spin_lock_taken_twice_is_a_deadlock() -> None:
    lock = SpinLock()
    with lock:
        assert SpinLock.held == 1
        with pytest.raises(IrqlError, match="held already"), lock:
            pass
    assert SpinLock.held == 0


def test_work_items_run_in_passive_context_when_time_passes(system: BoardSystem) -> None:
    levels: list[IRQL] = []

    def work() -> None:
        levels.append(system.level)

    def deferred() -> None:
        system.queue_work_item(work)
        system.queue_work_item(lambda: system.queue_work_item(work))

    system.queue_deferred(deferred)
    assert levels == []
    system.sleep(0)
    assert levels == [IRQL.PASSIVE] * 2
    with system.at(IRQL.DISPATCH), pytest.raises(IrqlError, match="passive"):
        system.run_work_items()
