"""PortMidi: drives a MIDI miniport as Windows does, and serves its client.

The miniport takes and gives raw bytes; when they leave is decided here. What a client writes is offered in deferred
context when its time has come, as often as it takes; what arrives is read, after a notification, until nothing is left.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from codecrig.portcls import (
    IRQL,
    KSSTATE,
    IServiceGroup,
    IUnknown,
    KEvent,
    NtStatusError,
    System,
)
from codecrig.portcls.midi import MIDI_FORMAT, IMiniportMidi, IMiniportMidiStream, IPortMidi

from .base import Pin, Port
from .service import Sink

RETRY = 10_000
"""1 ms: how long the port waits, in 100 ns, after the miniport took nothing."""
READ_BYTES = 64
"""Of the buffer that the port reads into."""


class PortMidi(Port, IPortMidi):
    """The port of one MIDI miniport. Use it in a `with` block: leaving it closes all pins."""

    def __init__(self, miniport: IMiniportMidi, system: System) -> None:
        """Take `miniport` into use (Init)."""
        self._take(miniport, system)
        self._miniport = miniport
        self._registered: IServiceGroup | None = None
        self._group: IServiceGroup | None = None
        self._sink = Sink(miniport.service)
        try:
            self._group = miniport.init(None, None, self)
        except BaseException:
            self._forget()
            raise
        if self._group is not None:
            self._group.add_member(self._sink)

    def notify(self, service_group: IServiceGroup | None) -> None:
        group = service_group or self._registered or self._group
        if group is not None:
            group.request_service()

    def _forget(self) -> None:
        """Release the groups of Init, too."""
        if self._group is not None:
            self._group.remove_member(self._sink)
        held: tuple[IUnknown | None, ...] = (self._group, self._registered)
        self._group = self._registered = None
        for each in held:
            if each is not None:
                each.release()
        self._sink.release()
        super()._forget()

    def register_service_group(self, service_group: IServiceGroup) -> None:
        self._system.require(IRQL.PASSIVE, "IPortMidi::RegisterServiceGroup")
        service_group.add_ref()
        if self._registered is not None:
            self._registered.release()
        self._registered = service_group

    def open_pin(self, pin: int, capture: bool) -> MidiPin:
        """An open pin in STOP. Raises NtStatusError; nothing is left behind then."""
        self._system.require(IRQL.PASSIVE, "PortMidi.open_pin")
        opened = MidiPin(self._miniport, self, pin, capture)
        self._pins.append(opened)
        return opened


@dataclass
class _Offer:
    """Bytes of a client that have not been taken yet, and when they may leave (100 ns of system time)."""

    due_time: int
    data: memoryview


class MidiPin(Pin):
    """A pin of a MIDI miniport."""

    _stream: IMiniportMidiStream

    def __init__(self, miniport: IMiniportMidi, port: PortMidi, pin: int, capture: bool) -> None:
        super().__init__(port)
        self.capture = capture
        self.event = KEvent(f"midi pin {pin}")
        """Set when bytes were read, or when all that was written has been taken."""
        self.failure: NtStatusError | None = None
        """Why the miniport takes no more bytes: the rest of what was written was thrown away."""
        self.thrown_away = 0
        """Bytes of that rest."""
        self._offers: deque[_Offer] = deque()
        self._received = bytearray()
        self._cancel_timer: Callable[[], bool] | None = None
        self._offering = False
        self._sink = Sink(self._serve)
        created = miniport.new_stream(pin, capture, MIDI_FORMAT)
        self._stream = created.Stream
        self._group = created.ServiceGroup
        if self._group is not None:
            self._group.add_member(self._sink)

    def _step(self, state: KSSTATE) -> None:
        super()._step(state)
        if state is KSSTATE.RUN:
            self.failure = None
            self._offer_soon()
        elif state is KSSTATE.STOP:
            self._offers.clear()
            self._stop_timer()

    # ------------------------------------------------------------------ out

    def write(self, data: bytes, due_time: int = 0) -> None:
        """Queue bytes behind those that are queued, to leave in RUN, not before `due_time` (100 ns of system time).

        Raises INVALID_DEVICE_REQUEST (as the miniport does) on a capture pin.
        """
        if self.capture:
            self._stream.write(data, len(data))
            return
        if data:
            self._offers.append(_Offer(due_time, memoryview(bytes(data))))
            self._offer_soon()

    @property
    def queued_bytes(self) -> int:
        """Bytes that were written and that the miniport has not taken yet."""
        return sum(len(offer.data) for offer in self._offers)

    def _offer_soon(self) -> None:
        if not self.capture and not self._offering:
            self._offering = True
            self._system.queue_deferred(self._offer)

    def _offer(self) -> None:
        """Offer what is due. After a short count the rest follows at once, after none a millisecond later."""
        self._offering = False
        self._stop_timer()
        system = self._system
        while self._offers and self._state is KSSTATE.RUN:
            offer = self._offers[0]
            if offer.due_time > system.system_time():
                self._cancel_timer = system.set_timer(offer.due_time, self._offer)
                return
            try:
                taken = self._stream.write(offer.data, len(offer.data))
            except NtStatusError as error:
                self.failure = error
                self.thrown_away = self.queued_bytes
                self._offers.clear()
                break
            offer.data = offer.data[taken:]
            if not offer.data:
                self._offers.popleft()
            elif taken == 0:
                self._cancel_timer = system.set_timer(-RETRY, self._offer)
                return
        self.event.set()

    def _stop_timer(self) -> None:
        if self._cancel_timer is not None:
            self._cancel_timer()
            self._cancel_timer = None

    # ------------------------------------------------------------------ in

    def read(self) -> bytes:
        """What was received since the last call. Raises INVALID_DEVICE_REQUEST on a render pin."""
        if not self.capture:
            self._stream.read(bytearray(READ_BYTES), READ_BYTES)
        data = bytes(self._received)
        self._received.clear()
        return data

    def _serve(self) -> None:
        """The group was served: read until nothing is left, or go on offering."""
        if not self.capture:
            self._offer_soon()
            return
        buffer = bytearray(READ_BYTES)
        before = len(self._received)
        while count := self._stream.read(buffer, READ_BYTES):
            self._received += buffer[:count]
        if len(self._received) > before:
            self.event.set()

    # ------------------------------------------------------------------ closing

    def _closing(self) -> list[Callable[[], object]]:
        steps: list[Callable[[], object]] = []
        if self._group is not None:
            steps = [partial(self._group.remove_member, self._sink), self._group.release]
        return [*steps, self._stream.release, self._sink.release, self._stop_timer]
