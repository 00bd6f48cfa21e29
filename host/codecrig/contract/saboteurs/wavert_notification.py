"""WaveRT objects with one defect each, for the rules WRN."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from codecrig.board import Board, EventRecord
from codecrig.contract.checks import saboteur
from codecrig.contract.rig import Objects
from codecrig.contract.saboteurs.build import become, break_streams, each_pin, each_stream
from codecrig.link import registers as regs
from codecrig.port.wavert import WaveRTPin
from codecrig.portcls import KSSTATE, NTSTATUS, AudioBuffer, KEvent, Mdl, NtStatusError

Allocate = Callable[..., AudioBuffer]


def break_interrupts(objects: Objects, **methods: Callable[..., Any]) -> None:
    """As `break_streams`, and the streams' interrupt handlers are the broken ones, too."""
    break_streams(objects, **methods)

    def subscribe_again(stream: Any) -> None:
        stream._engine._unsubscribe.pop()()
        stream._engine.subscribe(stream._interrupt)

    each_stream(objects, "wavert", subscribe_again)


@saboteur("WRN-ALC-01")
def any_divisor_of_the_size(objects: Objects) -> None:
    """Any count of packets that divides the size is taken, as in the samples."""

    def allocate(good: Allocate, stream: Any, count: int, size: int) -> AudioBuffer:
        if count < 1 or size % count:
            raise NtStatusError(NTSTATUS.INVALID_PARAMETER, "does not divide")
        made: AudioBuffer = stream._allocate(count, size, notification=True)
        return made

    break_streams(objects, allocate_buffer_with_notification=allocate)


@saboteur("WRN-ALC-02")
def whole_blocks_but_no_whole_packets(objects: Objects) -> None:
    """ActualSize is rounded up to whole blocks, not to whole blocks for each packet."""

    def allocate(good: Allocate, stream: Any, count: int, size: int) -> AudioBuffer:
        made = good(count, size)
        block = stream._engine.format.block_bytes
        return replace(made, ActualSize=-(-size // block) * block)

    break_streams(objects, allocate_buffer_with_notification=allocate)


@saboteur("WRN-FRE-01")
def packets_without_a_buffer(objects: Objects) -> None:
    """Behind the free call the packet methods go on as if there was a buffer."""

    def free(good: Callable[..., None], stream: Any, mdl: Mdl | None, size: int) -> None:
        buffer = stream._buffer
        good(mdl, size)
        stream._notification_buffer = lambda: stream._buffer or buffer

    break_streams(objects, free_buffer_with_notification=free)


@saboteur("WRN-FRE-01")
def leaves_the_packet_ends_armed(objects: Objects) -> None:
    """The interrupt at packet ends stays enabled, and events are set in any buffer."""

    def allocate(good: Allocate, stream: Any, size: int) -> AudioBuffer:
        good_made = stream._allocate(2, size, notification=True)
        assert isinstance(good_made, AudioBuffer)
        return good_made

    break_streams(objects, allocate_audio_buffer=allocate)


@saboteur("WRN-REG-01")
def the_first_event_only(objects: Objects) -> None:
    """Only the event registered first is set."""

    def set_events(good: Callable[..., None], stream: Any) -> None:
        for event in stream._events[:1]:
            event.set()

    break_streams(objects, _set_events=set_events)


@saboteur("WRN-REG-01")
def the_end_of_the_buffer_only(objects: Objects) -> None:
    """With two packets, the event comes at the end of the buffer but not in the middle."""

    def interrupt(good: Callable[..., None], stream: Any, record: EventRecord) -> None:
        if record.data1 == stream._buffer.packets - 1:
            good(record)

    break_interrupts(objects, _interrupt=interrupt)


@saboteur("WRN-REG-02")
def registers_twice(objects: Objects) -> None:
    """A second registration of an event succeeds."""

    def register(good: Callable[..., Any], stream: Any, event: KEvent) -> NTSTATUS:
        stream._events.append(event)
        return NTSTATUS.SUCCESS

    break_streams(objects, register_notification_event=register)


@saboteur("WRN-REG-03")
def a_port_that_registers_too_early(objects: Objects) -> None:
    """The port forwards a registration without a notification buffer."""

    class Pin(WaveRTPin):
        def register_event(self, event: KEvent) -> None:
            assert self._notification is not None
            self._notification.register_notification_event(event)
            self._events.append(event)

    each_pin(objects, "wavert", become(Pin))


@saboteur("WRN-REG-03")
def a_port_that_forgets_events(objects: Objects) -> None:
    """Closing a pin leaves its events registered."""

    class Pin(WaveRTPin):
        def close(self) -> None:
            self._events.clear()
            super().close()

    each_pin(objects, "wavert", become(Pin))


@saboteur("WRN-UNR-01")
def removes_what_it_does_not_know(objects: Objects) -> None:
    """Unregistering an unknown event succeeds."""

    def unregister(good: Callable[..., Any], stream: Any, event: KEvent) -> NTSTATUS:
        stream._events = [each for each in stream._events if each is not event]
        return NTSTATUS.SUCCESS

    break_streams(objects, unregister_notification_event=unregister)


@saboteur("WRN-UNR-02")
def sets_an_event_that_is_gone(objects: Objects) -> None:
    """The interrupt notes which events to set; the deferred call sets them, registered or not."""

    def interrupt(good: Callable[..., None], stream: Any, record: EventRecord) -> None:
        if record.cause is regs.Cause.DESCRIPTOR:
            for event in tuple(stream._events):
                stream._miniport.queue_deferred(event.set)

    break_interrupts(objects, _interrupt=interrupt)


@saboteur("WRN-UNR-02")
def unregisters_with_the_next_packet_end(objects: Objects) -> None:
    """An event that is unregistered is set once more."""

    def unregister(good: Callable[..., Any], stream: Any, event: KEvent) -> Any:
        last = KEvent("last")
        last.set = event.set  # type: ignore[method-assign]
        result = good(event)
        stream._events.append(last)
        return result

    break_streams(objects, unregister_notification_event=unregister)


@saboteur("WRN-EVT-01")
def tells_late_packet_ends_in_pause(objects: Objects) -> None:
    """PAUSE does not wait for interrupts that are under way, and sets events when they come."""

    def set_state(good: Callable[..., Any], stream: Any, state: KSSTATE) -> Any:
        poll = stream._board.poll
        stream._board.poll = lambda: 0
        try:
            return good(state)
        finally:
            stream._board.poll = poll

    def interrupt(good: Callable[..., None], stream: Any, record: EventRecord) -> None:
        stream._miniport.queue_deferred(stream._set_events)

    break_interrupts(objects, set_state=set_state, _interrupt=interrupt)


@saboteur("WRN-EVT-02", "WRN-REG-01")
def events_in_the_middle_of_packets(objects: Objects) -> None:
    """The engine interrupts at each half of a packet, and each interrupt sets the events."""

    def program(good: Callable[..., None], stream: Any, buffer: Any) -> None:
        good(replace(buffer, packets=2 * buffer.packets))

    break_streams(objects, _program=program)


@saboteur("WRN-EVT-03")
def events_of_a_coarse_timer(objects: Objects) -> None:
    """Packet ends are told by a timer of whole milliseconds, a little slower than the sample clock."""

    def prepare(board: Board) -> None:
        subscribe = board.events.subscribe

        def coarse(stream: int | None, handler: Callable[[EventRecord], None]) -> Callable[[], None]:
            def later(record: EventRecord) -> None:
                late = record.time_ticks + record.data2 // 4 * board.profile.frame_clocks // 50
                handler(replace(record, time_ticks=-(-late // 12288) * 12288))

            return subscribe(stream, later)

        board.events.subscribe = coarse  # type: ignore[method-assign]

    objects.prepare.append(prepare)


@saboteur("WRN-EVT-03")
def packet_ends_two_percent_fast(objects: Objects) -> None:
    """The board's crystal runs 2 % fast."""
    objects.clock_ppm = 20_000


@saboteur("WRN-EVT-04")
def a_whole_packet_behind_a_pause(objects: Objects) -> None:
    """RUN behind PAUSE starts a new interval of a whole packet."""

    def set_state(good: Callable[..., Any], stream: Any, state: KSSTATE) -> Any:
        if state is KSSTATE.RUN:
            stream.skip_one = stream._times.has_run
        return good(state)

    def interrupt(good: Callable[..., None], stream: Any, record: EventRecord) -> None:
        if getattr(stream, "skip_one", False):
            stream.skip_one = False
        else:
            good(record)

    break_interrupts(objects, set_state=set_state, _interrupt=interrupt)


@saboteur("WRN-EVT-05")
def counts_interrupts(objects: Objects) -> None:
    """Packets are counted by the interrupt, so one that comes late is counted late."""

    def interrupt(good: Callable[..., None], stream: Any, record: EventRecord) -> None:
        stream.counted = getattr(stream, "counted", 0) + 1
        good(record)

    def get_packet_count(good: Callable[..., int], stream: Any) -> int:
        good()
        return int(getattr(stream, "counted", 0))

    break_interrupts(objects, _interrupt=interrupt, get_packet_count=get_packet_count)


@saboteur("WRN-EVT-05")
def an_event_that_counts(objects: Objects) -> None:
    """An event that was set twice wakes twice."""

    def set_events(good: Callable[..., None], stream: Any) -> None:
        good()
        for event in stream._events:
            if type(event) is KEvent:
                event.__class__ = _Counting

    break_streams(objects, _set_events=set_events)


class _Counting(KEvent):
    """A semaphore instead of an event."""

    taken = 0

    def take(self) -> bool:
        if self.taken < self.set_count:
            self.taken += 1
            return True
        return False

    def read_state(self) -> bool:
        return self.taken < self.set_count
