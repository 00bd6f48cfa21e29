"""A WaveCyclic miniport that does what a check tells it, to judge ports: no engine, no board."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from codecrig.contract.rig import Rig
from codecrig.portcls import (
    IRQL,
    KSSTATE,
    NTSTATUS,
    REFERENCE_TIME_PER_SECOND,
    Format,
    IDmaChannel,
    IMiniportWaveCyclic,
    IMiniportWaveCyclicStream,
    IPortWaveCyclic,
    IServiceGroup,
    IUnknown,
    MemoryView,
    NewWaveCyclicStream,
    NotificationFreq,
    NtStatusError,
    ResourceList,
    System,
)

BUFFER_MS = 100


@dataclass(frozen=True, slots=True)
class Noted:
    """A call that the port made."""

    method: str
    arguments: tuple[object, ...]
    level: IRQL


class ScriptedStream(IMiniportWaveCyclicStream):
    """A device that plays and records when it is told to; it writes down what the port calls."""

    def __init__(
        self, system: System, port: IPortWaveCyclic, capture: bool, data_format: Format, interval_told: int | None
    ) -> None:
        self.system = system
        self.port = port
        self.capture = capture
        self.format = data_format
        self.noted: list[Noted] = []
        self.position = 0
        self.moved_bytes = 0
        self.played = bytearray()
        """Render: what the device took out of the buffer."""
        self._interval_told = interval_told
        self.channel: IDmaChannel = port.new_master_dma_channel(None, 1 << 16, True, False)
        self.channel.allocate_buffer(data_format.bytes_per_second * BUFFER_MS // 1000)
        self.group: IServiceGroup = port.new_service_group()
        self.channel.add_ref()
        self.group.add_ref()

    def destroy(self) -> None:
        self.channel.release()
        self.group.release()

    @property
    def memory(self) -> MemoryView:
        """The buffer."""
        view = self.channel.system_address()
        assert view is not None, "the buffer is allocated with the stream"
        return view

    def _note(self, method: str, *arguments: object) -> None:
        self.noted.append(Noted(method, arguments, self.system.level))

    def calls(self, method: str) -> list[Noted]:
        """The calls of `method`."""
        return [each for each in self.noted if each.method == method]

    # ------------------------------------------------------------------ what a check tells it

    def move(self, byte_count: int, data: bytes = b"") -> None:
        """The device goes on by so many bytes: takes them out of the buffer, or puts `data` there."""
        size = self.memory.length
        for done in range(0, byte_count, size):
            count = min(byte_count - done, size)
            first = min(count, size - self.position)
            pieces = ((self.position, first), (0, count - first))
            if self.capture:
                chunk = data[done : done + count]
                self.memory.write_pieces([(pieces[0][0], chunk[:first]), (0, chunk[first:])])
            else:
                self.played += b"".join(self.memory.read_pieces([piece for piece in pieces if piece[1]]))
            self.position = (self.position + count) % size
        self.moved_bytes += byte_count

    def notify(self) -> None:
        """The device's interrupt."""
        self.system.interrupt(lambda: self.port.notify(self.group))
        self.system.run_deferred()

    # ------------------------------------------------------------------ IMiniportWaveCyclicStream

    def set_format(self, data_format: Format) -> NTSTATUS:
        self._note("set_format", data_format)
        return NTSTATUS.SUCCESS

    def set_notification_freq(self, interval: int) -> NotificationFreq:
        self._note("set_notification_freq", interval)
        told = interval if self._interval_told is None else self._interval_told
        return NotificationFreq(told, self.format.bytes_per_second * interval // 1000)

    def set_state(self, state: KSSTATE) -> NTSTATUS:
        self._note("set_state", state)
        if state is KSSTATE.STOP:
            self.position = self.moved_bytes = 0
        return NTSTATUS.SUCCESS

    def get_position(self) -> int:
        self._note("get_position")
        return self.position

    def normalize_physical_position(self, physical_position: int) -> int:
        return physical_position * REFERENCE_TIME_PER_SECOND // self.format.bytes_per_second

    def silence(self, buffer: MemoryView, byte_count: int) -> None:
        self._note("silence", byte_count)
        buffer.write(0, bytes(byte_count))


class ScriptedMiniport(IMiniportWaveCyclic):
    """Makes scripted streams on any pin and format."""

    def __init__(self, interval_told: int | None = None) -> None:
        self.streams: list[ScriptedStream] = []
        self.port: IPortWaveCyclic | None = None
        self._interval_told = interval_told

    def init(
        self, unknown_adapter: IUnknown | None, resource_list: ResourceList | None, port: IPortWaveCyclic
    ) -> NTSTATUS:
        port.add_ref()
        self.port = port
        return NTSTATUS.SUCCESS

    def destroy(self) -> None:
        if self.port is not None:
            self.port.release()

    def new_stream(self, pin: int, capture: bool, data_format: Format) -> NewWaveCyclicStream:
        if self.port is None:
            raise NtStatusError(NTSTATUS.INVALID_DEVICE_STATE, "no stream without init")
        stream = ScriptedStream(self.port.system, self.port, capture, data_format, self._interval_told)
        self.streams.append(stream)
        return NewWaveCyclicStream(stream, stream.channel, stream.group)


@contextmanager
def scripted_pin(
    rig: Rig,
    *,
    capture: bool = False,
    client_buffer: bytearray | None = None,
    interval_told: int | None = None,
) -> Iterator[tuple[Any, ScriptedStream]]:
    """A pin of the port under test over a scripted stream, 48 kHz, 16 bits, stereo."""
    miniport = ScriptedMiniport(interval_told)
    port = rig.objects.port("wavecyclic")(miniport, rig.system)
    miniport.release()
    try:
        pin = port.open_pin(int(capture), capture, Format(48000, 2, 16), client_buffer=client_buffer)
        yield pin, miniport.streams[-1]
    finally:
        port.close()
