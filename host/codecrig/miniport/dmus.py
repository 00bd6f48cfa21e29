"""MiniportDMus: the DirectMusic driver of a codecrig board: MIDI out and in with exact times, and a synthesizer.

Render events become records of the board's MIDI port, which sends each byte at the board time that its event's
presentation time means. Received bytes carry the board's time stamps, as master time. The synthesizer needs no board:
only its sample clock is the board's frame counter.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, count, islice

from codecrig.board import Board, BoardError, EventRecord
from codecrig.link import LinkError
from codecrig.link import registers as regs
from codecrig.link.registers import Cause
from codecrig.messages import MessageCutter
from codecrig.portcls import (
    DMUS_KEF_EVENT_INCOMPLETE,
    DMUS_KERNEL_EVENT,
    DMUS_STREAM_TYPE,
    IMXF,
    KSSTATE,
    NO_BYTE_POSITION,
    NTSTATUS,
    POINTER_BYTES,
    REFERENCE_TIME_PER_SECOND,
    Format,
    IAllocatorMXF,
    IMasterClock,
    IMiniportDMus,
    IPortDMus,
    IServiceGroup,
    ISynthSinkDMus,
    IUnknown,
    NewDMusStream,
    NtStatusError,
    ResourceList,
)
from codecrig.synth import Samples, Synthesizer
from codecrig.wave import pack_samples

from .uart import BYTE_S, RING_RECORDS, MidiUart, TimedByte, Wire

RENDER_PIN = 0
CAPTURE_PIN = 1
SYNTH_PIN = 2
_TYPES = {
    RENDER_PIN: DMUS_STREAM_TYPE.RENDER,
    CAPTURE_PIN: DMUS_STREAM_TYPE.CAPTURE,
    SYNTH_PIN: DMUS_STREAM_TYPE.WAVE_SINK,
}
SCHEDULE_PREFETCH = REFERENCE_TIME_PER_SECOND // 10
"""Events may come 100 ms early: the board's clock times them, so a late host does not matter."""
RETRY = 5 * REFERENCE_TIME_PER_SECOND // 1000
"""100 ns until a full transmitter is offered the rest: a full ring lasts 41 ms."""
HORIZON_S = 40
"""Bytes that are due later than this are kept back: the ring holds 32 bits of a time."""
INPUT_BYTES = 4096
"""Received bytes that wait for the port at most; the newest are dropped then."""
SYNC_DIVISOR = 4
"""SyncToMaster takes away at least one part in so many of the error, and at most all of it. The ddksynth sample takes a
hundredth, and knows nothing of drift: with calls each 20 ms a clock that is 100 ppm off then settles at 200 us."""
DRIFT_DIVISOR = 32
"""The drift of the sample clock is learned from one part in so many of what was not expected. With SYNC_DIVISOR 4 the
two together hardly overshoot: an alpha-beta filter with alpha 1/4, beta 1/32."""
MOST_DRIFT_DIVISOR = 50
"""Clocks are taken to be at most one part in so many apart (2 %): what is more was a jump."""
SYNC_AGE = REFERENCE_TIME_PER_SECOND // 500
"""A master time that SyncToMaster is given and that is at most this old (2 ms) was read just before the call: what
passed since then is no error."""

SYNC_READS = 3
"""Reads of the frame counter for one look at it. The quickest counts: answers are held back at the end of a frame."""

_FINE = 1 << 16
"""The sample clock keeps its offset in this part of 100 ns."""


class MasterTime:
    """Board ticks and times of a master clock, in both directions.

    A clock that counts the board's own time is recognised and converted exactly; any other one is followed by its
    offset, as it was a second ago at most.
    """

    def __init__(self, board: Board, clock: IMasterClock) -> None:
        self._board = board
        self._clock = clock
        self._rate = board.clock.rate
        self._offset = 0
        self._stale_ticks = 0

    def refresh(self) -> None:
        """`calibrate`, unless that was done less than a second ago."""
        if self._board.events.time_ticks >= self._stale_ticks:
            self.calibrate()

    def calibrate(self) -> None:
        """Compare both clocks: two reads of the board's time around one of the master's."""
        before = self._nominal(self._board.clock.now())
        time = self._clock.get_time()
        after = self._nominal(self._board.clock.now())
        self._offset = 0 if before <= time <= after else time - (before + after) // 2
        self._stale_ticks = self._board.events.time_ticks + self._board.clock.ticks(1)

    def _nominal(self, ticks: int) -> int:
        return ticks * REFERENCE_TIME_PER_SECOND * self._rate.denominator // self._rate.numerator

    def ticks(self, time: int) -> int:
        """The first tick at which the master clock shows `time`."""
        return -(-(time - self._offset) * self._rate.numerator // (REFERENCE_TIME_PER_SECOND * self._rate.denominator))

    def time(self, ticks: int) -> int:
        """What the master clock shows at a tick."""
        return self._nominal(ticks) + self._offset


class MiniportDMus(IMiniportDMus):
    """The DirectMusic miniport of one board. Pins: 0 render, 1 capture, 2 synthesizer."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self._port: IPortDMus | None = None
        self._group: IServiceGroup | None = None
        self._uart: MidiUart | None = None
        self._streams: set[int] = set()

    @property
    def port(self) -> IPortDMus:
        """The port, known from Init on. For the streams."""
        assert self._port is not None, "no stream without init"
        return self._port

    @property
    def uart(self) -> MidiUart:
        """The board's MIDI port. For the streams."""
        assert self._uart is not None, "no stream without init"
        return self._uart

    def init(
        self, unknown_adapter: IUnknown | None, resource_list: ResourceList | None, port: IPortDMus
    ) -> IServiceGroup | None:
        if not self.board.identity().peripherals:
            raise NtStatusError(NTSTATUS.NOT_SUPPORTED, "the board has no MIDI port")
        port.add_ref()
        self._port = port
        self._group = port.new_service_group()
        port.register_service_group(self._group)
        self._uart = MidiUart(self.board)
        self._group.add_ref()
        return self._group

    def destroy(self) -> None:
        try:
            if self._uart is not None:
                self._uart.close()
        finally:
            for held in (self._group, self._port):
                if held is not None:
                    held.release()

    def service(self) -> None:
        """Nothing: the capture stream has a group of its own."""

    def new_stream(
        self,
        pin: int,
        stream_type: DMUS_STREAM_TYPE,
        data_format: Format | None,
        allocator: IAllocatorMXF | None,
        master_clock: IMasterClock,
    ) -> NewDMusStream:
        if allocator is None:
            raise NtStatusError(NTSTATUS.INVALID_PARAMETER, "a stream needs an allocator")
        if _TYPES.get(pin) is not stream_type:
            raise NtStatusError(
                NTSTATUS.INVALID_DEVICE_REQUEST,
                f"pin {pin} with stream type {stream_type}: pins are 0 (render), 1 (capture) and 2 (wave sink)",
            )
        if pin in self._streams:
            raise NtStatusError(NTSTATUS.INVALID_DEVICE_REQUEST, f"the stream of pin {pin} is in use")
        if stream_type is DMUS_STREAM_TYPE.WAVE_SINK:
            return NewDMusStream(
                DMusSynthStream(self, allocator, master_clock, _checked(data_format)), None, SCHEDULE_PREFETCH
            )
        if data_format is not None:
            raise NtStatusError(NTSTATUS.INVALID_PARAMETER, "a MIDI stream has no wave format")
        if stream_type is DMUS_STREAM_TYPE.RENDER:
            return NewDMusStream(DMusRenderStream(self, allocator, master_clock), None, SCHEDULE_PREFETCH)
        group = self.port.new_service_group()
        return NewDMusStream(DMusCaptureStream(self, allocator, master_clock, group), group, 0)

    def occupy(self, pin: int) -> None:
        """A stream uses `pin`. For the stream itself."""
        self._streams.add(pin)

    def forget(self, pin: int) -> None:
        """The stream of `pin` was destroyed. For the stream itself."""
        self._streams.discard(pin)


def _checked(data_format: Format | None) -> Format:
    """The format of the synthesizer's waves. Raises INVALID_PARAMETER."""
    if data_format is None or data_format.is_float or data_format.channels > 2 or data_format.container_bits == 8:
        found = "none" if data_format is None else data_format.describe()
        raise NtStatusError(NTSTATUS.INVALID_PARAMETER, f"expected 16, 24 or 32 bits, 1 or 2 channels; found {found}")
    return data_format


class _DMusStream(IMXF):
    """What all streams have in common."""

    def __init__(self, miniport: MiniportDMus, allocator: IAllocatorMXF, master_clock: IMasterClock, pin: int) -> None:
        self._miniport = miniport
        self._board = miniport.board
        self._allocator = allocator
        self._clock = master_clock
        self._pin = pin
        self._state = KSSTATE.STOP
        for each in (miniport, allocator, master_clock):
            each.add_ref()
        miniport.occupy(pin)

    def destroy(self) -> None:
        try:
            if self._state is not KSSTATE.STOP:
                self.set_state(KSSTATE.STOP)
        finally:
            self._miniport.forget(self._pin)
            for each in (self._clock, self._allocator, self._miniport):
                each.release()

    def connect_output(self, sink: IMXF | None) -> NTSTATUS:
        raise NtStatusError(NTSTATUS.UNSUCCESSFUL, "the stream has no MIDI output")

    def disconnect_output(self, sink: IMXF | None) -> NTSTATUS:
        raise NtStatusError(NTSTATUS.UNSUCCESSFUL, "the stream has no MIDI output")

    def _recycle(self, event: DMUS_KERNEL_EVENT) -> None:
        """Put back one event, without those behind it."""
        event.pNextEvt = None
        self._allocator.put_message(event)


@dataclass(slots=True)
class _Sending:
    """An event on its way out."""

    event: DMUS_KERNEL_EVENT
    data: bytes
    taken: int = 0
    """Bytes that the transmitter has."""


class DMusRenderStream(_DMusStream):
    """Events to the wire, in the order of the calls.

    An event is put back when the transmitter has its last byte. What the transmitter has not sent when RUN ends is
    taken back: it is sent in the next RUN, or dropped at STOP. A short message that has begun is finished first, and
    notes that sound are switched off. Inside a SysEx, or if the transmitter stands still, the next RUN goes on where it
    was. What STOP breaks off is ended by the next RUN, or when the stream is released.
    """

    def __init__(self, miniport: MiniportDMus, allocator: IAllocatorMXF, master_clock: IMasterClock) -> None:
        super().__init__(miniport, allocator, master_clock, RENDER_PIN)
        self._uart = miniport.uart
        self._time = MasterTime(self._board, master_clock)
        self._queue: deque[_Sending] = deque()
        self._back: deque[TimedByte] = deque()  # taken back from the transmitter: they leave before the queue
        self._ring: deque[TimedByte] = deque()  # in the transmitter, and not known to have left
        self._producer = 0  # the transmitter's count behind the last of them
        self._wire = Wire()  # what has left
        self._resumption = b""  # what Note Offs cut; data bytes need it before them
        self._broken_off = False  # by STOP: a note sounds, or a SysEx has no end
        self._cancel_retry: Callable[[], bool] | None = None

    def set_state(self, state: KSSTATE) -> NTSTATUS:
        if state is KSSTATE.RUN and self._state is not KSSTATE.RUN:
            if not self._uart.state().ready:
                raise NtStatusError(NTSTATUS.INVALID_DEVICE_STATE, "the board's MIDI unit is dead")
            self._time.calibrate()
            self._end_broken_off()
            self._state = state
            self._send()
            return NTSTATUS.SUCCESS
        was_running = self._state is KSSTATE.RUN
        self._state = state
        try:
            if was_running and state is not KSSTATE.RUN:
                self._leave_run()
        finally:
            if state is KSSTATE.STOP:
                self._discard()
        return NTSTATUS.SUCCESS

    def destroy(self) -> None:
        try:
            if self._state is not KSSTATE.STOP:
                self.set_state(KSSTATE.STOP)
            self._end_broken_off()
        finally:
            super().destroy()

    def put_message(self, event: DMUS_KERNEL_EVENT | None) -> NTSTATUS:
        if event is not None and self._state is KSSTATE.STOP:
            self._allocator.put_message(event)
            return NTSTATUS.SUCCESS
        if event is not None:
            self._take(event)
        self._send()
        return NTSTATUS.SUCCESS

    def _take(self, head: DMUS_KERNEL_EVENT) -> None:
        """Queue a chain, with the chains in its packages where the packages stand."""
        waiting = [head.chain()]
        while waiting:
            event = next(waiting[-1], None)
            if event is None:
                waiting.pop()
                continue
            if not event.is_package:
                event.pNextEvt = None
                self._queue.append(_Sending(event, event.data))
                continue
            inner = event.package
            event.uData, event.cbEvent = None, 0
            self._recycle(event)
            if inner is not None:
                waiting.append(inner.chain())

    def _send(self) -> None:
        """Give the transmitter what it has room for; come back for the rest."""
        if self._state is not KSSTATE.RUN or not (self._back or self._queue):
            return
        self._stop_retry()
        self._resume()
        try:
            self._time.refresh()
            state = self._uart.state()
            self._forget_sent(state.queued)
            wanted, too_early = self._next_bytes(RING_RECORDS - state.queued)
            accepted = self._uart.send(wanted, state)
        except (BoardError, LinkError):
            self._discard()
            raise
        self._producer = state.tx_producer + accepted & 0xFF
        self._ring.extend(wanted[:accepted])
        self._take_away(accepted)
        if self._back or self._queue:
            delay = HORIZON_S * REFERENCE_TIME_PER_SECOND // 4 if too_early else RETRY
            self._cancel_retry = self._miniport.port.system.set_timer(-delay, self._retry)

    def _next_bytes(self, most: int) -> tuple[list[TimedByte], bool]:
        """At most so many bytes that leave next; True if there are none because their time is far away."""
        wanted = list(islice(self._back, most))
        latest = self._board.events.time_ticks + self._board.clock.ticks(HORIZON_S)
        for sending in self._queue:
            if len(wanted) >= most:
                break
            ticks = self._time.ticks(sending.event.ullPresTime100ns)
            if ticks > latest:
                return wanted, not wanted
            wanted += [TimedByte(ticks, value) for value in sending.data[sending.taken :]]
        return wanted[:most], False

    def _take_away(self, taken: int) -> None:
        """So many of these bytes are somebody else's now; events go back behind their last."""
        while taken and self._back:
            self._back.popleft()
            taken -= 1
        while self._queue:
            sending = self._queue[0]
            part = min(taken, len(sending.data) - sending.taken)
            sending.taken += part
            taken -= part
            if sending.taken < len(sending.data):
                break
            self._recycle(self._queue.popleft().event)

    def _retry(self) -> None:
        self._cancel_retry = None
        self._send()

    def _stop_retry(self) -> None:
        if self._cancel_retry is not None:
            self._cancel_retry()
            self._cancel_retry = None

    def _forget_sent(self, queued: int) -> None:
        """So many bytes in the transmitter have not begun to leave; the others have."""
        while len(self._ring) > queued:
            self._wire.hear([self._ring.popleft().value])

    # ------------------------------------------------------------------ the seams of RUN

    def _leave_run(self) -> None:
        """Take back what has not left, finish a short message, silence what sounds, and wait until that has left."""
        self._stop_retry()
        self._uart.flush()
        self._forget_sent(self._producer - self._uart.state().tx_producer & 0xFF if self._ring else 0)
        self._back.extendleft(reversed(self._ring))
        self._ring.clear()
        while self._wire.missing_bytes and (upcoming := self._upcoming()) is not None and upcoming < 0x80:
            byte, _ = self._next_bytes(1)
            if not self._send_now(bytes(each.value for each in byte)):
                return
            self._take_away(1)
        note_offs = self._wire.note_offs()
        if note_offs and not self._wire.in_sysex:
            self._resumption = self._resumption or self._wire.resumption
            self._send_now(note_offs)

    def _upcoming(self) -> int | None:
        """The byte that leaves next, real-time messages aside."""
        queued = (value for sending in self._queue for value in sending.data[sending.taken :])
        return next((value for value in chain((each.value for each in self._back), queued) if value < 0xF8), None)

    def _resume(self) -> None:
        """Where Note Offs came between, data bytes get the status again that they belong to."""
        if self._resumption and (upcoming := self._upcoming()) is not None:
            if upcoming < 0x80:
                now = self._board.events.time_ticks
                self._back.extendleft(TimedByte(now, value) for value in reversed(self._resumption))
            self._resumption = b""

    def _end_broken_off(self) -> None:
        """The end of the SysEx and of the notes that STOP broke off."""
        if self._broken_off:
            self._broken_off = False
            self._send_now((b"\xf7" if self._wire.in_sysex else b"") + self._wire.note_offs())

    def _send_now(self, data: bytes) -> int:
        """Send and wait; returns how many bytes have left. Those of a transmitter that stands still are dropped."""
        left = 0
        while left < len(data):
            state = self._uart.state()
            now = self._board.events.time_ticks
            accepted = self._uart.send([TimedByte(now, value) for value in data[left:]], state)
            self._miniport.port.system.sleep((accepted + 1) * BYTE_S)
            self._uart.flush()
            moved = self._uart.state().tx_producer - state.tx_producer & 0xFF
            self._wire.hear(data[left : left + moved])
            left += moved
            if moved < accepted or not accepted:
                break
        return left

    def _discard(self) -> None:
        """Put back every event and drop what the transmitter has not sent."""
        self._stop_retry()
        had_bytes = bool(self._ring)
        self._ring.clear()
        self._back.clear()
        self._resumption = b""
        while self._queue:
            self._recycle(self._queue.popleft().event)
        if had_bytes:
            self._uart.flush()
        self._broken_off = self._wire.in_sysex or bool(self._wire.note_offs())


class DMusCaptureStream(_DMusStream):
    """Bytes from the wire to the connected sink: raw, a few in each event, with the time of the first of them.

    An event ends before a status byte and where the wire was idle, so that messages carry the time of their own start.
    """

    def __init__(
        self, miniport: MiniportDMus, allocator: IAllocatorMXF, master_clock: IMasterClock, group: IServiceGroup
    ) -> None:
        super().__init__(miniport, allocator, master_clock, CAPTURE_PIN)
        self._group = group
        self._uart = miniport.uart
        self._time = MasterTime(self._board, master_clock)
        self._received: deque[TimedByte] = deque()
        self._sink: IMXF | None = None
        self._last_time = 0
        self.lost_bytes = 0
        """Bytes dropped because the port did not take them."""
        self._longest_gap = self._board.clock.ticks(1.5 * BYTE_S)
        group.add_ref()
        self._unsubscribe = self._uart.subscribe(Cause.MIDI_RECEIVED, self._interrupt)

    def destroy(self) -> None:
        try:
            self._unsubscribe()
            super().destroy()
        finally:
            if self._sink is not None:
                self._sink.release()
            self._group.release()

    def set_state(self, state: KSSTATE) -> NTSTATUS:
        if state is KSSTATE.RUN and self._state is not KSSTATE.RUN:
            if not self._uart.state().ready:
                raise NtStatusError(NTSTATUS.INVALID_DEVICE_STATE, "the board's MIDI unit is dead")
            self._time.calibrate()
            self._uart.open_gate(True)
        elif state is not KSSTATE.RUN and self._state is KSSTATE.RUN:
            self._uart.open_gate(False)
        if state in (KSSTATE.STOP, KSSTATE.ACQUIRE) and self._state in (KSSTATE.RUN, KSSTATE.PAUSE):
            self._uart.clear_received()
            self._received.clear()
        self._state = state
        return NTSTATUS.SUCCESS

    def _interrupt(self, record: EventRecord) -> None:
        """A byte was kept. In PAUSE it was in RUN."""
        if self._state not in (KSSTATE.RUN, KSSTATE.PAUSE):
            return
        taken = self._uart.take()
        room = INPUT_BYTES - len(self._received)
        self._received.extend(taken[:room])
        self.lost_bytes += len(taken[room:])
        if taken:
            self._miniport.port.notify(self._group)

    def put_message(self, event: DMUS_KERNEL_EVENT | None) -> NTSTATUS:
        if event is not None:
            self._allocator.put_message(event)
            return NTSTATUS.SUCCESS
        if self._received:
            self._time.refresh()
        while self._received:
            try:
                made = self._allocator.get_message()
            except NtStatusError as error:
                if error.status is not NTSTATUS.INSUFFICIENT_RESOURCES:
                    raise
                self._miniport.port.system.set_timer(-RETRY, self._ask_again)
                break
            self._fill(made)
            target = self._sink if self._sink is not None else self._allocator
            target.put_message(made)
        return NTSTATUS.SUCCESS

    def _ask_again(self) -> None:
        if self._received and self._state in (KSSTATE.RUN, KSSTATE.PAUSE):
            self._miniport.port.notify(self._group)

    def _fill(self, event: DMUS_KERNEL_EVENT) -> None:
        first = last = self._received.popleft()
        data = bytearray([first.value])
        while self._received and len(data) < POINTER_BYTES:
            following = self._received[0]
            begins_message = 0x80 <= following.value < 0xF7
            if begins_message or following.ticks - last.ticks > self._longest_gap:
                break
            last = self._received.popleft()
            data.append(last.value)
        self._last_time = max(self._last_time, self._time.time(first.ticks))
        event.uData, event.cbEvent = bytes(data), len(data)
        event.usChannelGroup, event.usFlags = 1, DMUS_KEF_EVENT_INCOMPLETE
        event.ullPresTime100ns, event.ullBytePosition = self._last_time, NO_BYTE_POSITION

    def connect_output(self, sink: IMXF | None) -> NTSTATUS:
        if sink is None or (self._sink is not None and self._sink is not sink):
            raise NtStatusError(NTSTATUS.UNSUCCESSFUL, "no sink, or another one is connected")
        if self._sink is None:
            sink.add_ref()
            self._sink = sink
        return NTSTATUS.SUCCESS

    def disconnect_output(self, sink: IMXF | None) -> NTSTATUS:
        if self._sink is None or (sink is not None and sink is not self._sink):
            raise NtStatusError(NTSTATUS.UNSUCCESSFUL, "this sink is not connected")
        self._sink.release()
        self._sink = None
        return NTSTATUS.SUCCESS


class SampleClock:
    """Sample times and reference times (100 ns): a straight line with the slope of the sample rate. Exact integers.

    The slope never changes: `nudge` moves the line, by the drift since the last call as far as it is known, and a part
    of what the error is otherwise.
    """

    def __init__(self, sample_rate: int, start_time: int) -> None:
        self._rate = sample_rate
        self.start(start_time)

    def start(self, time: int) -> None:
        """Sample 0 is at `time`."""
        self._offset = time * _FINE
        self._last = self._middle(0)
        self._last_sample = 0
        self._drift = 0  # of the line, in fine units a sample

    def _fine_time(self, sample: int) -> int:
        return self._offset + sample * REFERENCE_TIME_PER_SECOND * _FINE // self._rate

    def _middle(self, sample: int) -> int:
        return self._offset + (2 * sample + 1) * REFERENCE_TIME_PER_SECOND * _FINE // (2 * self._rate)

    def time(self, sample: int) -> int:
        """Reference time of a sample, rounded down."""
        return self._fine_time(sample) // _FINE

    def sample(self, time: int) -> int:
        """The last sample whose time is not later than `time`: the inverse of `time`."""
        fine = (time + 1) * _FINE - self._offset
        return -(-fine * self._rate // (REFERENCE_TIME_PER_SECOND * _FINE)) - 1

    def nudge(self, sample: int, time: int) -> None:
        """`sample` has begun, as a counter says, and the master says `time`: make the error smaller.

        It is taken to be half over. The step has the error's sign and is between a part of it and all of it, so nothing
        that is learned wrongly can make it grow; and time never goes back behind the last call.
        """
        present = self._middle(sample)
        error = time * _FINE - present
        expected = self._drift * (sample - self._last_sample)
        surprise = error - expected
        part = error // SYNC_DIVISOR if error > 0 else -(-error // SYNC_DIVISOR)
        least, most = sorted((part, error))
        step = min(max(expected + surprise // SYNC_DIVISOR, least), most)
        step = max(step, min(0, self._last - present))
        self._offset += step
        self._last = present + step
        # A call soon behind another knows little of drift.
        span = max(sample - self._last_sample, self._rate // 50)
        most_drift = REFERENCE_TIME_PER_SECOND * _FINE // self._rate // MOST_DRIFT_DIVISOR
        self._drift = max(-most_drift, min(most_drift, self._drift + surprise // (DRIFT_DIVISOR * span)))
        self._last_sample = sample


class DMusSynthStream(_DMusStream, ISynthSinkDMus):
    """Events to the synthesizer's sound.

    The sample clock is the converter's frame counter. While the converter stands there is none, and samples are counted
    by the master clock. A window that does not touch the one before cuts what sounds.
    """

    def __init__(
        self, miniport: MiniportDMus, allocator: IAllocatorMXF, master_clock: IMasterClock, data_format: Format
    ) -> None:
        super().__init__(miniport, allocator, master_clock, SYNTH_PIN)
        self._format = data_format
        self._synthesizer = Synthesizer(data_format.sample_rate)
        self._cutter = MessageCutter()
        self._queue: list[tuple[int, int, bytes]] = []
        self._numbers = count()
        self._sample_clock = SampleClock(data_format.sample_rate, master_clock.get_time())
        self._next_frame: int | None = None
        self._last_count: int | None = None  # FRAME_TICKS at the last call; None: the converter stood at the first
        self._frames = 0  # since sample 0, at the last call
        self._start_time = 0

    def set_state(self, state: KSSTATE) -> NTSTATUS:
        if self._state is KSSTATE.RUN and state is not KSSTATE.RUN:
            self._synthesizer.cut()
            self._next_frame = None
        if state is KSSTATE.STOP:
            self._queue.clear()
            self._cutter.reset()
            self._synthesizer.reset()
        self._state = state
        return NTSTATUS.SUCCESS

    def put_message(self, event: DMUS_KERNEL_EVENT | None) -> NTSTATUS:
        if event is None:
            return NTSTATUS.SUCCESS
        if self._state is not KSSTATE.STOP:
            self._hear(event)
        self._allocator.put_message(event)
        return NTSTATUS.SUCCESS

    def _hear(self, head: DMUS_KERNEL_EVENT) -> None:
        for event in head.chain():
            inner = event.package
            if event.is_package:
                if inner is not None:
                    self._hear(inner)
            elif event.usChannelGroup == 1:
                for message in self._cutter.feed(event.ullPresTime100ns, event.data):
                    heapq.heappush(self._queue, (message.time, next(self._numbers), message.data))

    # ------------------------------------------------------------------ sound

    def render(self, buffer: bytearray | memoryview, length: int, position: int) -> None:
        block_bytes = self._format.block_bytes
        frames, first = length // block_bytes, position // block_bytes
        if self._state is not KSSTATE.RUN:
            buffer[: frames * block_bytes] = bytes(frames * block_bytes)
            return
        if self._next_frame not in (None, first):
            self._synthesizer.cut()
        self._next_frame = first + frames
        done, parts = first, []
        while self._queue and (sample := self._sample_clock.sample(self._queue[0][0])) < first + frames:
            if sample > done:
                parts.append(self._synthesizer.render(sample - done))
                done = sample
            self._synthesizer.message(heapq.heappop(self._queue)[2])
        parts.append(self._synthesizer.render(first + frames - done))
        buffer[: frames * block_bytes] = b"".join(self._pack(part) for part in parts)

    def _pack(self, samples: Samples) -> bytes:
        if self._format.channels == 1:
            samples = (samples[:, :1] + samples[:, 1:]) >> 1
        bits = min(self._format.container_bits, 24)
        return pack_samples(samples >> (24 - bits), bits, self._format.container_bits)

    # ------------------------------------------------------------------ clock

    def sync_to_master(self, time: int, start: bool) -> NTSTATUS:
        before = begun = self._clock.get_time()
        tightest = now = 0
        for turn in range(SYNC_READS):
            counted = self._read_frame_counter()
            ended = self._clock.get_time()
            if turn == 0 or ended - begun < tightest:
                (frame_count, runs), tightest, now = counted, ended - begun, (begun + ended) // 2
            begun = ended
        if not 0 <= before - time <= SYNC_AGE:
            now = time
        rate = self._format.sample_rate
        if start:
            self._sample_clock.start(time)
            self._start_time = time
            self._frames = (now - time) * rate // REFERENCE_TIME_PER_SECOND
            self._last_count = frame_count if runs else None
            return NTSTATUS.SUCCESS
        if self._last_count is not None:
            passed = frame_count - self._last_count & 0xFFFFFFFF
            # Half the range in one step (12 hours) is a converter that was started anew, and counts from 0 since.
            self._frames += passed if passed < 1 << 31 else frame_count
            self._last_count = frame_count
        else:
            self._frames = (self._clock.get_time() - self._start_time) * rate // REFERENCE_TIME_PER_SECOND
        self._sample_clock.nudge(self._frames, now)
        return NTSTATUS.SUCCESS

    def _read_frame_counter(self) -> tuple[int, bool]:
        """FRAME_TICKS, and whether the converter runs."""
        control, frames = self._board.read_registers(regs.FPGA_CONVERTER_CONTROL, 2)
        return frames, bool(control >> regs.FPGA_CONVERTER_CONTROL_ENABLE_LSB & 1)

    def sample_to_ref_time(self, sample_time: int) -> int:
        return self._sample_clock.time(sample_time)

    def ref_time_to_sample(self, time: int) -> int:
        return self._sample_clock.sample(time)
