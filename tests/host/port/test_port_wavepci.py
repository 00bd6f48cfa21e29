"""PortWavePci against a miniport that does what the test says: mappings, completion, revocation, service."""

from collections.abc import Iterator

import pytest

from codecrig.board import Board, BoardSystem, open_board
from codecrig.contract.wavepci_doubles import Script, ScriptedMiniport, ScriptedStream
from codecrig.port import PortWavePci, WavePciPin
from codecrig.portcls import (
    IRQL,
    KSSTATE,
    NTSTATUS,
    PAGE_BYTES,
    Format,
    IPreFetchOffset,
    IrqlError,
    KEvent,
    NtStatusError,
    SpinLock,
)

FORMAT = Format(48000, 2, 16)


@pytest.fixture
def board() -> Iterator[Board]:
    with open_board("model") as opened:
        yield opened


class Bench:
    """A port over a scripted miniport."""

    def __init__(self, board: Board, script: Script) -> None:
        self.system = BoardSystem(board)
        self.script = script
        self.miniport = ScriptedMiniport(script)
        self.port = PortWavePci(self.miniport, self.system)

    def open(self, capture: bool = False) -> tuple[WavePciPin, ScriptedStream]:
        pin = self.port.open_pin(int(capture), capture, FORMAT)
        return pin, self.script.streams[-1]


@pytest.fixture
def bench(board: Board) -> Bench:
    return Bench(board, Script())


def refused(status: NTSTATUS) -> object:
    return pytest.raises(NtStatusError, match=f"STATUS_{status.name}\\b")


def test_mappings_are_the_data_in_order_with_a_flag_at_each_packet_end(bench: Bench) -> None:
    pin, stream = bench.open()
    pages = bench.port.pages.take(0x1FFFF, 3)
    data = bytes(range(256)) * 32
    first = pin.submit(data, page_offset=4000, page_numbers=(pages[2], pages[0], pages[1]))
    second = pin.submit(b"xyz")
    mappings = stream.take_all()
    # Pages 0 and 1 are neighbours.
    assert [mapping.ByteCount for mapping in mappings] == [96, len(data) - 96, 3]
    assert [bool(mapping.Flags) for mapping in mappings] == [False, True, True]
    found = b"".join(mapping.VirtualAddress.read(0, mapping.ByteCount) for mapping in mappings)
    assert found == data + b"xyz"
    memory = bench.system.memory
    for mapping in mappings:
        assert memory.read(mapping.PhysicalAddress, mapping.ByteCount) == mapping.VirtualAddress.read(
            0, mapping.ByteCount
        )
    assert pin.position().WriteOffset == len(data) + 3
    pending = []
    for _ in mappings:
        stream.give()
        pending.append((first.pending, second.pending))
    assert pending == [(True, True), (False, True), (False, False)]
    assert (first.status, second.status) == (NTSTATUS.SUCCESS, NTSTATUS.SUCCESS)
    assert first.event.read_state() and second.event.read_state()


def test_a_packet_is_completed_with_its_last_mapping_and_in_order(bench: Bench) -> None:
    pin, stream = bench.open()
    pages = bench.port.pages.take(0x1FFFF, 3)
    first = pin.submit(bytes(5000), page_numbers=(pages[2], pages[0]))
    second = pin.submit(bytes(10))
    assert len(stream.take_all()) == 3
    stream.give()
    assert first.pending
    stream.give(1)  # the second packet's, before its turn
    assert first.pending and second.pending and len(pin.faults) == 1
    stream.give()
    assert not first.pending and not second.pending


def test_refusal_and_mapping_available(bench: Bench) -> None:
    pin, stream = bench.open()
    pin.submit(bytes(10))
    assert stream.calls("mapping_available") == []
    assert len(stream.take_all()) == 1
    pin.submit(bytes(10))
    pin.submit(bytes(10))
    (called,) = stream.calls("mapping_available")
    assert called.level is IRQL.DISPATCH


@pytest.mark.parametrize("tag", [0, 1, (1 << 64) - 1, 0x8000000000000000])
def test_any_tag_will_do(bench: Bench, tag: int) -> None:
    pin, stream = bench.open()
    packets = [pin.submit(bytes(10)) for _ in range(2)]
    for packet in packets:
        stream.take(tag)
        stream.give()
        assert packet.status is NTSTATUS.SUCCESS
    with refused(NTSTATUS.NOT_FOUND):
        stream.port_stream.release_mapping(tag)
    with refused(NTSTATUS.INVALID_PARAMETER):
        stream.take(1 << 64)
    assert pin.faults == []


def test_a_looped_packet_comes_again_and_again(bench: Bench) -> None:
    pin, stream = bench.open()
    pages = bench.port.pages.take(0x1FFFF, 2)
    looped = pin.submit(bytes(PAGE_BYTES + 100), looped=True, page_numbers=(pages[1], pages[0]))
    pin.set_state(KSSTATE.RUN)
    lengths = []
    for _ in range(5):
        mapping = stream.take()
        assert mapping is not None
        lengths.append((mapping.ByteCount, bool(mapping.Flags)))
        stream.give()
    assert lengths == [(PAGE_BYTES, False), (100, True)] * 2 + [(PAGE_BYTES, False)]
    stream.position = 2 * (PAGE_BYTES + 100) + 60
    assert (pin.position().PlayOffset, pin.position().WriteOffset) == (60, PAGE_BYTES)
    assert looped.pending
    pin.set_state(KSSTATE.STOP)
    assert looped.status is NTSTATUS.SUCCESS


def test_stop_revokes_all_that_is_held_then_completes(bench: Bench) -> None:
    pin, stream = bench.open()
    packets = [pin.submit(bytes(100)) for _ in range(4)]
    pin.set_state(KSSTATE.RUN)
    for _ in range(3):
        stream.take()
    stream.give()
    first, last = stream.held[0].tag, stream.held[-1].tag
    stream.on_revoke = lambda: seen.append([packet.status.name for packet in packets])
    seen: list[list[str]] = []
    pin.set_state(KSSTATE.STOP)
    (revoked,) = stream.calls("revoke_mappings")
    assert revoked.arguments == (first, last) and revoked.level is IRQL.DISPATCH and revoked.state is KSSTATE.STOP
    assert seen == [["SUCCESS", "PENDING", "PENDING", "PENDING"]]
    assert [packet.status.name for packet in packets] == ["SUCCESS", "CANCELLED", "CANCELLED", "CANCELLED"]
    assert pin.faults == [] and pin.position().WriteOffset == 0
    for packet in packets:
        packet.free()
    assert bench.port.pages.free_pages == 31


def test_a_state_that_is_refused_changes_nothing(bench: Bench) -> None:
    pin, stream = bench.open()
    packet = pin.submit(bytes(100))
    pin.set_state(KSSTATE.RUN)
    stream.take()
    stream.refused_states = {KSSTATE.STOP}
    with refused(NTSTATUS.IO_DEVICE_ERROR):
        pin.set_state(KSSTATE.STOP)
    assert pin.state is KSSTATE.ACQUIRE and packet.pending
    assert stream.calls("revoke_mappings") == []
    stream.refused_states = set()
    pin.close()


def test_cancel_revokes_what_is_held_of_the_packet_only(bench: Bench) -> None:
    pin, stream = bench.open()
    packets = [pin.submit(bytes(100)) for _ in range(4)]
    pin.set_state(KSSTATE.RUN)
    for _ in range(3):
        stream.take()
    middle = stream.held[1].tag
    stream.position = 40
    pin.cancel(packets[1])
    pin.cancel(packets[3])
    (revoked,) = stream.calls("revoke_mappings")
    assert revoked.arguments == (middle, middle) and revoked.state is KSSTATE.RUN
    assert [packet.status.name for packet in packets] == ["PENDING", "CANCELLED", "PENDING", "CANCELLED"]
    assert pin.position().WriteOffset == 200
    assert stream.take() is None
    stream.give()
    stream.give()
    assert [packet.status.name for packet in packets] == ["SUCCESS", "CANCELLED", "SUCCESS", "CANCELLED"]
    assert pin.faults == []


def test_memory_of_a_mapping_stays_until_release_or_revocation(bench: Bench) -> None:
    pin, stream = bench.open()
    packets = [pin.submit(bytes(100)) for _ in range(2)]
    stream.take_all()
    free = bench.port.pages.free_pages
    for packet in packets:
        packet.free()
    assert bench.port.pages.free_pages == free
    stream.give()
    assert bench.port.pages.free_pages == free + 1
    pin.cancel(packets[1])
    assert bench.port.pages.free_pages == free + 2


def test_a_revocation_that_the_miniport_denies_keeps_the_memory(bench: Bench) -> None:
    pin, stream = bench.open()
    packet = pin.submit(bytes(100))
    pin.set_state(KSSTATE.RUN)
    stream.take()
    stream.revoke_is_refused = True
    pin.cancel(packet)
    packet.free()
    assert len(pin.faults) == 1 and bench.port.pages.free_pages == 30
    pin.set_state(KSSTATE.STOP)
    assert bench.port.pages.free_pages == 31


def test_releases_during_a_revocation(bench: Bench) -> None:
    pin, stream = bench.open()
    pages = bench.port.pages.take(0x1FFFF, 2)
    packet = pin.submit(bytes(5000), page_numbers=(pages[1], pages[0]))
    pin.set_state(KSSTATE.RUN)
    stream.take_all()
    stream.on_revoke = stream.give
    stream.take()
    pin.cancel(packet)
    assert packet.status is NTSTATUS.CANCELLED and pin.faults == []


def test_capture_terminates_early(bench: Bench) -> None:
    pin, stream = bench.open(capture=True)
    pages = bench.port.pages.take(0x1FFFF, 3)
    first = pin.submit_empty(3 * PAGE_BYTES, page_numbers=(pages[2], pages[0], pages[1]))
    second = pin.submit_empty(1000)
    pin.set_state(KSSTATE.RUN)
    mapping = stream.take()
    assert mapping is not None
    stream.position = 1234
    stream.port_stream.terminate_packet()
    assert first.status is NTSTATUS.SUCCESS and first.used_bytes == 1234
    following = stream.take()
    assert following is not None and following.PhysicalAddress == second.pieces[0][0]
    stream.give()
    stream.give()
    assert second.status is NTSTATUS.SUCCESS and second.used_bytes == 1000 and pin.faults == []
    assert pin.position().WriteOffset == PAGE_BYTES + 1000


def test_terminating_in_deferred_context_completes_as_soon_as_the_position_can_be_asked(bench: Bench) -> None:
    pin, stream = bench.open(capture=True)
    first, second = pin.submit_empty(1000), pin.submit_empty(1000)
    pin.set_state(KSSTATE.RUN)
    stream.take()
    stream.position = 96
    with bench.system.at(IRQL.DISPATCH):
        stream.port_stream.terminate_packet()
        following = stream.take()
    assert following is not None and following.PhysicalAddress == second.pieces[0][0]
    bench.system.sleep(0.001)
    assert first.used_bytes == 96 and first.status is NTSTATUS.SUCCESS
    assert {noted.level for noted in stream.calls("get_position")} == {IRQL.PASSIVE}


def test_terminating_nothing_has_no_effect(bench: Bench) -> None:
    pin, stream = bench.open(capture=True)
    packet = pin.submit_empty(1000)
    stream.port_stream.terminate_packet()
    assert packet.pending
    render, render_stream = bench.open()
    sent = render.submit(bytes(10))
    render_stream.take()
    render_stream.port_stream.terminate_packet()
    assert sent.pending


def test_from_run_to_stop_capture_hands_over_what_it_has(bench: Bench) -> None:
    pin, stream = bench.open(capture=True)
    packets = [pin.submit_empty(1000) for _ in range(3)]
    pin.set_state(KSSTATE.RUN)
    for _ in range(2):
        stream.take()
    stream.give()
    stream.position = 1500
    pin.set_state(KSSTATE.STOP)
    assert [(packet.status.name, packet.used_bytes) for packet in packets] == [
        ("SUCCESS", 1000),
        ("SUCCESS", 500),
        ("CANCELLED", 0),
    ]


def test_service_only_in_run_and_through_the_streams_group(board: Board) -> None:
    bench = Bench(board, Script(init_group=True))
    pin, stream = bench.open()
    assert stream.group is not None and bench.miniport.init_group is not None
    for state in (KSSTATE.PAUSE, KSSTATE.RUN, KSSTATE.PAUSE, KSSTATE.STOP):
        pin.set_state(state)
        with bench.system.at(IRQL.DEVICE):
            bench.port.notify(stream.group)
        bench.system.sleep(0.001)
    (served,) = stream.calls("service")
    assert served.state is KSSTATE.RUN and served.level is IRQL.DISPATCH and bench.miniport.services == []
    pin.set_state(KSSTATE.RUN)
    bench.port.notify(bench.miniport.init_group)
    bench.system.sleep(0.001)
    assert bench.miniport.services == [IRQL.DISPATCH] and len(stream.calls("service")) == 1
    bench.port.close()
    assert bench.miniport.reference_count == 1
    bench.miniport.release()


def test_without_a_group_the_port_looks_every_20_ms(board: Board) -> None:
    bench = Bench(board, Script(stream_group=False))
    pin, stream = bench.open()
    event = KEvent()
    pin.add_position_event(5000, event)
    pin.set_state(KSSTATE.RUN)
    stream.position = 4999
    bench.system.sleep(0.03)
    assert not event.read_state() and len(stream.calls("get_position")) == 1
    stream.position = 5001
    bench.system.sleep(0.02)
    assert event.set_count == 1 and stream.calls("service") == []
    bench.system.sleep(0.06)
    assert event.set_count == 1 and 4 <= len(stream.calls("get_position")) <= 6
    pin.set_state(KSSTATE.PAUSE)
    count = len(stream.calls("get_position"))
    bench.system.sleep(0.06)
    assert len(stream.calls("get_position")) == count


def test_position_events_that_are_due_are_fired_on_the_way_to_pause(bench: Bench) -> None:
    pin, stream = bench.open()
    events = [KEvent() for _ in range(3)]
    for index, event in enumerate(events):
        pin.add_position_event(1000 * (index + 1), event)
    pin.set_state(KSSTATE.RUN)
    stream.position = 2000
    pin.set_state(KSSTATE.PAUSE)
    assert [event.set_count for event in events] == [1, 1, 0]


def test_position_events_of_a_looped_packet(bench: Bench) -> None:
    pin, stream = bench.open()
    pin.submit(bytes(1000), looped=True)
    event = KEvent()
    pin.add_position_event(400, event)
    pin.set_state(KSSTATE.RUN)
    stream.take()
    fired = []
    for position in (399, 400, 1399, 1401, 2000, 2500):
        stream.position = position
        pin.set_state(KSSTATE.PAUSE)
        fired.append(event.set_count)
        pin.set_state(KSSTATE.RUN)
    assert fired == [0, 1, 1, 2, 2, 3]


def test_the_prefetch_offset_moves_the_write_position(bench: Bench) -> None:
    pin, stream = bench.open()
    pin.submit(bytes(10_000))
    stream.take_all()
    stream.position = 500
    assert pin.position().WriteOffset == 10_000
    offset = stream.port_stream.query_interface(IPreFetchOffset)  # type: ignore[type-abstract]
    with bench.system.at(IRQL.DEVICE):
        offset.set_pre_fetch_offset(256)
    assert (pin.position().PlayOffset, pin.position().WriteOffset) == (500, 756)
    offset.release()


def test_calls_that_windows_would_not_survive(bench: Bench) -> None:
    pin, stream = bench.open()
    pin.submit(bytes(100))
    with SpinLock(), pytest.raises(IrqlError, match="expected no lock held"):
        stream.take()
    with bench.system.at(IRQL.DEVICE), pytest.raises(IrqlError, match="get_mapping: expected a call from deferred"):
        stream.take()
    with bench.system.at(IRQL.DISPATCH), pytest.raises(IrqlError, match="passive"):
        pin.set_state(KSSTATE.ACQUIRE)
    with bench.system.at(IRQL.DISPATCH):
        assert stream.take() is not None


def test_the_format_is_asked_for_in_stop_only(bench: Bench) -> None:
    pin, stream = bench.open()
    pin.set_state(KSSTATE.ACQUIRE)
    with refused(NTSTATUS.INVALID_DEVICE_REQUEST):
        pin.set_format(Format(48000, 1, 16))
    assert stream.calls("set_format") == []
    pin.set_state(KSSTATE.STOP)
    pin.set_format(Format(48000, 1, 16))
    assert len(stream.calls("set_format")) == 1 and pin.format.channels == 1


def test_references_come_back(bench: Bench) -> None:
    channel = bench.miniport.channel
    assert channel is not None and channel.reference_count == 1
    pin, stream = bench.open()
    group = stream.group
    assert group is not None and group.reference_count == 2 and stream.port_stream.reference_count == 2
    pin.set_state(KSSTATE.RUN)
    pin.close()
    assert stream.state is KSSTATE.STOP
    assert (group.reference_count, stream.reference_count, stream.port_stream.reference_count) == (0, 0, 0)
    assert channel.reference_count == 1
    bench.port.close()
    bench.port.close()
    assert bench.miniport.reference_count == 1 and bench.port.reference_count == 1
    bench.miniport.release()
    assert channel.reference_count == 0 and bench.port.reference_count == 0


def test_memory_that_is_not_there(bench: Bench) -> None:
    pin, _ = bench.open()
    with refused(NTSTATUS.INSUFFICIENT_RESOURCES):
        pin.submit(bytes(32 * PAGE_BYTES))
    assert bench.port.pages.free_pages == 31
    with pytest.raises(ValueError, match="at least 1 byte"):
        pin.submit(b"")
    with refused(NTSTATUS.INVALID_DEVICE_REQUEST):
        pin.submit_empty(10)
