"""MIDI objects with one defect each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from codecrig.contract.checks import saboteur
from codecrig.contract.rig import Objects
from codecrig.contract.saboteurs.build import become, each_pin, each_stream
from codecrig.link.registers import Cause
from codecrig.miniport.midi import MidiCaptureStream, MidiRenderStream, MiniportMidi
from codecrig.port.midi import READ_BYTES, MidiPin, PortMidi
from codecrig.portcls import KSSTATE, NTSTATUS, IServiceGroup, NtStatusError
from codecrig.portcls.midi import KSDATAFORMAT, IPortMidi, NewMidiStream


@saboteur("MID-NEW-01")
def takes_midi_pins_in_any_direction(objects: Objects) -> None:
    """NewStream gives a render stream for a capture request on the render pin."""

    class Miniport(MiniportMidi):
        def new_stream(self, pin: int, capture: bool, data_format: KSDATAFORMAT) -> NewMidiStream:
            return super().new_stream(pin, pin == 1, data_format)

    objects.miniports["midi"] = Miniport


@saboteur("MID-FMT-01")
def midi_goes_silent_with_another_format(objects: Objects) -> None:
    """SetFormat takes any format, and the stream then sends nothing."""

    class Render(MidiRenderStream):
        _foreign = False

        def set_format(self, data_format: KSDATAFORMAT) -> NTSTATUS:
            try:
                return super().set_format(data_format)
            except NtStatusError:
                self._foreign = True
                return NTSTATUS.SUCCESS

        def write(self, buffer: Any, length: int) -> int:
            return length if self._foreign else super().write(buffer, length)

    each_stream(objects, "midi", become(Render))


@saboteur("MID-STA-01")
def keeps_input_outside_run(objects: Objects) -> None:
    """The gate opens with the first RUN and stays open."""

    class Capture(MidiCaptureStream):
        def set_state(self, state: KSSTATE) -> NTSTATUS:
            status = super().set_state(state)
            self._uart.open_gate(True)
            return status

    each_stream(objects, "midi", become(Capture))


@saboteur("MID-STA-01")
def stop_keeps_the_input_queue(objects: Objects) -> None:
    """STOP closes the gate but forgets what is queued in the board."""

    class Capture(MidiCaptureStream):
        def set_state(self, state: KSSTATE) -> NTSTATUS:
            if state is KSSTATE.STOP:
                self._uart.open_gate(False)
                self._state = state
                return NTSTATUS.SUCCESS
            return super().set_state(state)

    each_stream(objects, "midi", become(Capture))


@saboteur("MID-STA-02")
def notes_hang(objects: Objects) -> None:
    """Leaving RUN sends no Note Off."""

    class Render(MidiRenderStream):
        def _silence(self, is_last: bool) -> None:
            pass

    each_stream(objects, "midi", become(Render))


@saboteur("MID-STA-02")
def leaving_run_drops_what_waits(objects: Objects) -> None:
    """Note Offs go before what a busy device has not sent, which is lost."""

    class Render(MidiRenderStream):
        def _silence(self, is_last: bool) -> None:
            self._uart.flush()
            super()._silence(is_last)

    each_stream(objects, "midi", become(Render))


@saboteur("MID-STA-03")
def runs_on_a_dead_unit(objects: Objects) -> None:
    """SetState does not ask whether the MIDI unit works."""

    class Render(MidiRenderStream):
        def _require_ready(self) -> None:
            pass

    each_stream(objects, "midi", become(Render))


@saboteur("MID-RDD-01")
def read_on_render_is_not_implemented(objects: Objects) -> None:
    """Read on a render stream answers NOT_IMPLEMENTED, as the fmsynth sample does."""

    class Render(MidiRenderStream):
        def read(self, buffer: bytearray | memoryview, length: int) -> int:
            raise NtStatusError(NTSTATUS.NOT_IMPLEMENTED, "no reading")

    each_stream(objects, "midi", become(Render))


@saboteur("MID-RDD-02")
def read_waits_for_a_byte(objects: Objects) -> None:
    """Read with nothing there polls the board for 20 ms."""

    class Capture(MidiCaptureStream):
        def read(self, buffer: bytearray | memoryview, length: int) -> int:
            board = self._miniport.board
            end = board.clock.now() + board.clock.ticks(0.02)
            while not self._uart.state().received and board.clock.now() < end:
                pass
            return super().read(buffer, length)

    each_stream(objects, "midi", become(Capture))


@saboteur("MID-RDD-03")
def read_pads_the_buffer(objects: Objects) -> None:
    """Read clears the rest of the buffer."""

    class Capture(MidiCaptureStream):
        def read(self, buffer: bytearray | memoryview, length: int) -> int:
            count = super().read(buffer, length)
            buffer[count:] = bytes(len(buffer) - count)
            return count

    each_stream(objects, "midi", become(Capture))


@saboteur("MID-RDD-03")
def read_delivers_bytes_twice(objects: Objects) -> None:
    """A short Read does not take what it delivered."""

    class Capture(MidiCaptureStream):
        _again = b""

        def read(self, buffer: bytearray | memoryview, length: int) -> int:
            kept = self._again
            if kept:
                self._again = b""
                buffer[: len(kept)] = kept
                return len(kept)
            count = super().read(buffer, length)
            if count == length:
                self._again = bytes(buffer[:1])
            return count

    each_stream(objects, "midi", become(Capture))


@saboteur("MID-RDD-04")
def a_midi_port_reads_once(objects: Objects) -> None:
    """The port reads once for each notification."""

    class Pin(MidiPin):
        def _serve(self) -> None:
            if not self.capture:
                return super()._serve()
            buffer = bytearray(READ_BYTES)
            self._received += buffer[: self._stream.read(buffer, 1)]
            return None

    class Port(PortMidi):
        def open_pin(self, pin: int, capture: bool) -> MidiPin:
            opened = super().open_pin(pin, capture)
            opened.__class__ = Pin
            opened._sink._serve = opened._serve
            return opened

    objects.ports["midi"] = Port


@saboteur("MID-RDD-05")
def an_overflow_loses_the_oldest(objects: Objects) -> None:
    """Behind an overflow, Read skips to the newest bytes."""

    class Capture(MidiCaptureStream):
        def read(self, buffer: bytearray | memoryview, length: int) -> int:
            state = self._uart.state()
            if state.received > 120:
                self._uart.take(state.received - 100)
            return super().read(buffer, length)

    each_stream(objects, "midi", become(Capture))


@saboteur("MID-WRT-01")
def writes_to_a_capture_stream(objects: Objects) -> None:
    """Write on a capture stream counts the bytes and throws them away."""

    class Capture(MidiCaptureStream):
        def write(self, buffer: Any, length: int) -> int:
            return length

    each_stream(objects, "midi", become(Capture))


@saboteur("MID-WRT-02")
def short_counts_are_not_quads(objects: Objects) -> None:
    """Write takes whatever fits, to the byte."""

    class Render(MidiRenderStream):
        def write(self, buffer: Any, length: int) -> int:
            return self._send(bytes(buffer[:length]))

    each_stream(objects, "midi", become(Render))


@saboteur("MID-WRT-02")
def counts_more_than_it_sends(objects: Objects) -> None:
    """Write claims all bytes though the ring has no room for them."""

    class Render(MidiRenderStream):
        def write(self, buffer: Any, length: int) -> int:
            super().write(buffer, length)
            return length

    each_stream(objects, "midi", become(Render))


@saboteur("MID-WRT-03")
def nothing_counts_as_busy(objects: Objects) -> None:
    """A write of 0 bytes counts as one that the device refused."""

    class Render(MidiRenderStream):
        def write(self, buffer: Any, length: int) -> int:
            if length == 0:
                self._busy += 1
                if self._busy > 100:
                    raise NtStatusError(NTSTATUS.IO_DEVICE_ERROR, "busy")
            return super().write(buffer, length)

    each_stream(objects, "midi", become(Render))


@saboteur("MID-WRT-04")
def is_busy_for_ever(objects: Objects) -> None:
    """A device that takes nothing never becomes an error."""

    class Render(MidiRenderStream):
        def write(self, buffer: Any, length: int) -> int:
            self._busy = 0
            return super().write(buffer, length)

    each_stream(objects, "midi", become(Render))


@saboteur("MID-WRT-04")
def accepted_bytes_do_not_reset_the_count(objects: Objects) -> None:
    """Zero counts add up over accepted writes."""

    class Render(MidiRenderStream):
        def write(self, buffer: Any, length: int) -> int:
            before = self._busy
            count = super().write(buffer, length)
            self._busy = max(before, self._busy)
            return count

    each_stream(objects, "midi", become(Render))


@saboteur("MID-WRT-05")
def a_midi_port_starts_over(objects: Objects) -> None:
    """After a short count the port skips to the end of what it had offered."""

    class Pin(MidiPin):
        def _offer(self) -> None:
            if self._offers and self._state is KSSTATE.RUN:
                offer = self._offers.popleft()
                self._offering = False
                self._stream.write(offer.data, len(offer.data))
            else:
                super()._offer()

    each_pin(objects, "midi", become(Pin))


@saboteur("MID-NTF-01")
def notifies_outside_run(objects: Objects) -> None:
    """Whatever arrives is notified, and input is kept, in every state."""

    class Miniport(MiniportMidi):
        def new_stream(self, pin: int, capture: bool, data_format: KSDATAFORMAT) -> NewMidiStream:
            created = super().new_stream(pin, capture, data_format)
            stream = created.Stream
            if isinstance(stream, MidiCaptureStream):
                stream._uart.open_gate(True)
                self._subscribe(stream)
            return created

        def _subscribe(self, stream: MidiCaptureStream) -> None:
            stream._uart.subscribe(Cause.MIDI_RECEIVED, lambda record: self.port.notify(stream._group))

    objects.miniports["midi"] = Miniport


@saboteur("MID-NTF-01")
def registers_no_service_group(objects: Objects) -> None:
    """Init makes a group but does not tell the port."""

    class Miniport(MiniportMidi):
        def init(self, unknown_adapter: Any, resource_list: Any, port: IPortMidi) -> IServiceGroup | None:
            class Deaf:
                def __getattr__(self, name: str) -> Callable[..., Any]:
                    return (lambda *a: None) if name == "register_service_group" else getattr(port, name)

            return super().init(unknown_adapter, resource_list, Deaf())  # type: ignore[arg-type]

    objects.miniports["midi"] = Miniport
