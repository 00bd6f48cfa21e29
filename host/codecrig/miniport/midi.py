"""MiniportMidi: the MIDI driver of a codecrig board: one stream out, one stream in, over the board's UART.

Received bytes wait in the board's ring until they are read; written ones leave at once, in order.
"""

from __future__ import annotations

from codecrig.board import Board, EventRecord
from codecrig.link.registers import Cause
from codecrig.portcls import KSSTATE, NTSTATUS, IServiceGroup, IUnknown, NtStatusError
from codecrig.portcls.midi import (
    KSDATAFORMAT,
    MIDI_FORMAT,
    IMiniportMidi,
    IMiniportMidiStream,
    IPortMidi,
    NewMidiStream,
)

from .uart import BYTE_S, RING_RECORDS, MidiUart, TimedByte, UartState, Wire

RENDER_PIN = 0
CAPTURE_PIN = 1
BUSY_LIMIT = 100
"""Writes in a row of which nothing is taken until the device counts as broken; the uart sample has the same number."""
DRAIN_S = (RING_RECORDS + 1) * BYTE_S
"""In which a full ring has left a transmitter that works."""

_ALL_NOTES_OFF = 123


class MiniportMidi(IMiniportMidi):
    """The MIDI miniport of one board."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self._port: IPortMidi | None = None
        self._group: IServiceGroup | None = None
        self._uart: MidiUart | None = None
        self._streams: dict[int, IMiniportMidiStream] = {}

    @property
    def port(self) -> IPortMidi:
        """The port, known from Init on. For the streams."""
        assert self._port is not None, "no stream without init"
        return self._port

    @property
    def uart(self) -> MidiUart:
        """The board's MIDI port. For the streams."""
        assert self._uart is not None, "no stream without init"
        return self._uart

    def init(
        self, unknown_adapter: IUnknown | None, resource_list: object | None, port: IPortMidi
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
        if self._uart is not None:
            self._uart.close()
        for held in (self._group, self._port):
            if held is not None:
                held.release()

    def new_stream(self, pin: int, capture: bool, data_format: KSDATAFORMAT) -> NewMidiStream:
        if pin not in (RENDER_PIN, CAPTURE_PIN) or capture != (pin == CAPTURE_PIN):
            raise NtStatusError(NTSTATUS.INVALID_PARAMETER, f"pin {pin}: pins are 0 (render) and 1 (capture)")
        check_format(data_format)
        if pin in self._streams:
            raise NtStatusError(NTSTATUS.INVALID_DEVICE_REQUEST, f"the stream of pin {pin} is in use")
        group = self.port.new_service_group()
        kind = MidiCaptureStream if capture else MidiRenderStream
        stream = self._streams[pin] = kind(self, group, pin)
        return NewMidiStream(stream, group)

    def service(self) -> None:
        """Nothing: each stream has a group of its own."""

    def forget(self, pin: int) -> None:
        """The stream of `pin` was destroyed. For the stream itself."""
        del self._streams[pin]


def check_format(data_format: KSDATAFORMAT) -> None:
    """Raise INVALID_PARAMETER for anything but raw MIDI."""
    if data_format != MIDI_FORMAT:
        raise NtStatusError(NTSTATUS.INVALID_PARAMETER, "a MIDI stream carries raw MIDI bytes and nothing else")


class _MidiStream(IMiniportMidiStream):
    """What both directions have in common."""

    def __init__(self, miniport: MiniportMidi, group: IServiceGroup, pin: int) -> None:
        self._miniport = miniport
        self._uart = miniport.uart
        self._group = group
        self._pin = pin
        self._state = KSSTATE.STOP
        miniport.add_ref()
        group.add_ref()

    def destroy(self) -> None:
        try:
            if self._state is not KSSTATE.STOP:
                self.set_state(KSSTATE.STOP)
        finally:
            self._miniport.forget(self._pin)
            self._group.release()
            self._miniport.release()

    def set_format(self, data_format: KSDATAFORMAT) -> NTSTATUS:
        check_format(data_format)
        return NTSTATUS.SUCCESS

    def _require_ready(self) -> None:
        if not self._uart.state().ready:
            raise NtStatusError(NTSTATUS.INVALID_DEVICE_STATE, "the board's MIDI unit is dead")

    def read(self, buffer: bytearray | memoryview, length: int) -> int:
        raise NtStatusError(NTSTATUS.INVALID_DEVICE_REQUEST, "a render stream cannot be read")

    def write(self, buffer: bytes | bytearray | memoryview, length: int) -> int:
        raise NtStatusError(NTSTATUS.INVALID_DEVICE_REQUEST, "a capture stream cannot be written")


class MidiRenderStream(_MidiStream):
    """Bytes from the port to the wire.

    What was taken leaves, also behind the end of RUN, and then Note Offs for what sounds. A message that they cut, or
    whose running status they end, is begun again by the next write; a SysEx is left open in PAUSE and ended by STOP.
    Only of a transmitter that stands still is anything taken back, and by STOP alone.
    """

    def __init__(self, miniport: MiniportMidi, group: IServiceGroup, pin: int) -> None:
        super().__init__(miniport, group, pin)
        self._busy = 0
        self._wire = Wire()  # with what is queued
        self._resumption = b""

    def set_state(self, state: KSSTATE) -> NTSTATUS:
        if state is KSSTATE.RUN and self._state is not KSSTATE.RUN:
            self._require_ready()
        self._state = state
        if state is not KSSTATE.RUN:
            self._silence(state is KSSTATE.STOP)
        if state is KSSTATE.STOP:
            self._resumption = b""
        return NTSTATUS.SUCCESS

    def _silence(self, is_last: bool) -> None:
        """A Note Off for every note that sounds, behind what was written; waits while the ring is full."""
        if self._wire.in_sysex and not is_last:
            return
        resumption = self._wire.resumption
        left = (b"\xf7" if self._wire.in_sysex else b"") + self._wire.note_offs()
        if not left:
            return
        self._resumption = self._resumption or resumption
        for _ in range(2):
            left = left[self._send(left) :]
            if not left:
                return
            self._miniport.port.system.sleep(DRAIN_S)
        if is_last:
            # A transmitter that stands takes nothing: what it holds is dropped, so that it ends with silence once it
            # moves. Which notes sound is not known then.
            self._uart.flush()
            self._send(b"\xf7" + b"".join(bytes([0xB0 | channel, _ALL_NOTES_OFF, 0]) for channel in range(16)))
            self._wire = Wire()

    def _send(self, data: bytes, state: UartState | None = None) -> int:
        """Queue what there is room for, to leave at once; returns how much that was."""
        now = self._miniport.board.events.time_ticks
        taken = self._uart.send([TimedByte(now, value) for value in data], state)
        self._wire.hear(data[:taken])
        return taken

    def write(self, buffer: bytes | bytearray | memoryview, length: int) -> int:
        if length == 0 or self._state is not KSSTATE.RUN:
            return 0
        data = bytes(buffer[:length])
        first = next((value for value in data if value < 0xF8), None)
        again = self._resumption if first is not None and first < 0x80 else b""
        state = self._uart.state()
        room = max(0, RING_RECORDS - state.queued - len(again))
        count = length if length <= room else room // 4 * 4
        if count:
            self._send(again + data[:count], state)
            if first is not None:
                self._resumption = b""
            self._busy = 0
            return count
        self._busy += 1
        if self._busy >= BUSY_LIMIT:
            self._busy = 0
            raise NtStatusError(NTSTATUS.IO_DEVICE_ERROR, f"the transmitter took nothing {BUSY_LIMIT} times in a row")
        return 0


class MidiCaptureStream(_MidiStream):
    """Bytes from the wire to the port."""

    def __init__(self, miniport: MiniportMidi, group: IServiceGroup, pin: int) -> None:
        super().__init__(miniport, group, pin)
        self._unsubscribe = self._uart.subscribe(Cause.MIDI_RECEIVED, self._interrupt)

    def destroy(self) -> None:
        self._unsubscribe()
        super().destroy()

    def set_state(self, state: KSSTATE) -> NTSTATUS:
        if state is KSSTATE.RUN and self._state is not KSSTATE.RUN:
            self._require_ready()
            self._uart.open_gate(True)
        elif state is not KSSTATE.RUN and self._state is KSSTATE.RUN:
            self._uart.open_gate(False)
        if state is KSSTATE.STOP:
            self._uart.clear_received()
        self._state = state
        return NTSTATUS.SUCCESS

    def read(self, buffer: bytearray | memoryview, length: int) -> int:
        taken = self._uart.take(length)
        buffer[: len(taken)] = bytes(each.value for each in taken)
        return len(taken)

    def _interrupt(self, record: EventRecord) -> None:
        """A byte was kept; a reposted record tells of none."""
        if self._state is KSSTATE.RUN and self._uart.state().received:
            self._miniport.port.notify(self._group)
