"""PortWaveCyclic: drives a WaveCyclic miniport as Windows does, and serves its client.

The port copies between the client and the one cyclic buffer of the stream. Each service, in deferred context, asks for
the position; all amounts follow from it, so a notification that was missed is made good by the next one.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from codecrig.portcls import (
    IRQL,
    KSAUDIO_POSITION,
    KSSTATE,
    NTSTATUS,
    Format,
    IDmaChannel,
    IDmaChannelSlave,
    IMiniportWaveCyclic,
    IMiniportWaveCyclicStream,
    IPortWaveCyclic,
    IServiceGroup,
    KEvent,
    MemoryView,
    NtStatusError,
    ResourceList,
    System,
)

from .base import Pin, Port
from .dma import DmaChannel, DmaChannelSlave
from .drm import DrmPort
from .pages import PageAllocator
from .service import Sink

NOTIFICATION_MS = 10
"""What the port asks every stream for."""
TARGET_MS = 40
"""How far the port writes ahead of the play position."""
SHORT_MS = 30
"""With less than this at hand, silence goes behind the data."""
GUARD_BYTES = 128
"""The engine is up to its FIFO and the codec's delay away from the position. Half a notification interval, and at least
this, the port keeps off: it neither writes so close ahead of a running device nor reads so close behind it."""

_ADDRESSES_BELOW_16_MIB = (1 << 24) - 1
_ADDRESSES_BELOW_4_GIB = (1 << 32) - 1
_ALL_ADDRESSES = (1 << 64) - 1


class PortWaveCyclic(Port, DrmPort, IPortWaveCyclic):
    """The port of one WaveCyclic miniport. Use it in a `with` block: leaving it closes all pins."""

    def __init__(
        self, miniport: IMiniportWaveCyclic, system: System, resource_list: ResourceList | None = None
    ) -> None:
        """Take `miniport` into use (Init). Memory and waiting come from `system`, DMA controllers from the list."""
        self._take(miniport, system)
        self.pages = PageAllocator(system.memory)
        self._miniport = miniport
        try:
            miniport.init(None, resource_list, self)
        except BaseException:
            miniport.release()
            raise

    # ------------------------------------------------------------------ for the miniport

    def notify(self, service_group: IServiceGroup) -> None:
        service_group.request_service()

    def new_slave_dma_channel(
        self, resource_list: ResourceList, dma_index: int, maximum_length: int, demand_mode: bool, dma_speed: int
    ) -> IDmaChannelSlave:
        self._system.require(IRQL.PASSIVE, "IPortWaveCyclic.new_slave_dma_channel")
        controller = resource_list.find_dma(dma_index)
        if controller is None:
            raise NtStatusError(NTSTATUS.INVALID_PARAMETER, f"the resource list has no DMA channel {dma_index}")
        return DmaChannelSlave(self._system, self.pages, maximum_length, controller)

    def new_master_dma_channel(
        self,
        resource_list: ResourceList | None,
        maximum_length: int,
        dma32_bit_addresses: bool,
        dma64_bit_addresses: bool,
        dma_width: int = -1,
        dma_speed: int = -1,
    ) -> IDmaChannel:
        self._system.require(IRQL.PASSIVE, "IPortWaveCyclic.new_master_dma_channel")
        reach = _ADDRESSES_BELOW_4_GIB if dma32_bit_addresses else _ADDRESSES_BELOW_16_MIB
        return DmaChannel(self._system, self.pages, maximum_length, _ALL_ADDRESSES if dma64_bit_addresses else reach)

    # ------------------------------------------------------------------ for the client

    def open_pin(
        self, pin: int, capture: bool, data_format: Format, *, client_buffer: bytearray | None = None
    ) -> "WaveCyclicPin":
        """An open pin in STOP; with a looped client buffer if one is given. Raises NtStatusError; nothing is left then.

        A looped buffer is played (or filled) again and again from its start; without one the client writes or reads as
        much as it likes.
        """
        self._system.require(IRQL.PASSIVE, "PortWaveCyclic.open_pin")
        opened = WaveCyclicPin(self._miniport, self, pin, capture, data_format, client_buffer)
        self._pins.append(opened)
        return opened


@dataclass(slots=True)
class _Stretch:
    """Client bytes that lie together in the stream of the device."""

    device: int
    client: int
    length: int


class WaveCyclicPin(Pin):
    """A pin of a WaveCyclic miniport. All methods but `position`: passive context.

    Counts of bytes begin with 0 at STOP. "Device" bytes are those that the converter has passed, silence included.
    """

    _stream: IMiniportWaveCyclicStream

    def __init__(
        self,
        miniport: IMiniportWaveCyclic,
        port: PortWaveCyclic,
        pin: int,
        capture: bool,
        data_format: Format,
        client_buffer: bytearray | None,
    ) -> None:
        if client_buffer is not None and (not client_buffer or len(client_buffer) % data_format.block_bytes):
            raise NtStatusError(
                NTSTATUS.INVALID_PARAMETER,
                f"a looped buffer of {len(client_buffer)} bytes is not whole frames of {data_format.block_bytes}",
            )
        super().__init__(port)
        self.capture = capture
        self.client_buffer = client_buffer
        """The client's looped buffer; None if the stream is not looped."""
        self.event = KEvent(f"pin {pin}")
        """Set by each service in RUN."""
        self.gaps = 0
        """Times that somebody was late since STOP: render ran dry and more data came, capture was overwritten."""
        self._format = data_format
        self._queue: deque[memoryview] = deque()
        self._queued_bytes = 0
        self._captured = bytearray()
        self._position_events: list[tuple[int, KEvent]] = []
        made = miniport.new_stream(pin, capture, data_format)
        self._stream, self._channel, self._group = made.Stream, made.DmaChannel, made.ServiceGroup
        self._sink = Sink(self._serve)
        self._group.add_member(self._sink)
        try:
            self._stream.set_state(KSSTATE.STOP)
            view = self._channel.system_address()
            if self._channel.allocated_buffer_size() == 0 or view is None:
                raise NtStatusError(NTSTATUS.UNSUCCESSFUL, "the DMA channel of the new stream has no buffer")
            self._memory: MemoryView = view
            self._stream.set_notification_freq(NOTIFICATION_MS)
            self._start_over()
        except BaseException as error:
            self.abandon(error)
            raise

    # ------------------------------------------------------------------ states and format

    @property
    def format(self) -> Format:
        """The format in force."""
        return self._format

    def set_format(self, data_format: Format) -> None:
        """Change the format, not in RUN. Raises NtStatusError; the old format then stays."""
        self._passive("set_format")
        if self._state is KSSTATE.RUN:
            raise NtStatusError(NTSTATUS.INVALID_DEVICE_REQUEST, "the format cannot change in RUN")
        self._stream.set_format(data_format)
        self._format = data_format
        if self._state is KSSTATE.STOP:
            self._start_over()

    def _step(self, state: KSSTATE) -> None:
        if state is KSSTATE.RUN and not self.capture:
            self._write_ahead()
        super()._step(state)
        if state is KSSTATE.RUN:
            self._has_run = True
        elif state is KSSTATE.STOP:
            self._cancel()
            self._start_over()

    def _cancel(self) -> None:
        """Forget what the client gave."""
        self._queue.clear()
        self._queued_bytes = 0
        self._captured.clear()

    def _start_over(self) -> None:
        """Positions 0, the buffer silent."""
        self._size = self._channel.buffer_size()
        self._stream.silence(self._memory, self._size)
        self._has_run = False
        self._offset = 0
        self._device_bytes = 0
        self._copied_bytes = 0
        self._edge_bytes = 0
        self._silent_to = self._size
        self._stretches: deque[_Stretch] = deque()
        self._passed = 0
        self.gaps = 0

    # ------------------------------------------------------------------ data of the client

    def write(self, data: bytes) -> None:
        """Queue whole frames to be played behind what was queued. Not for looped streams."""
        self._passive("write")
        if self.capture or self.client_buffer is not None:
            raise NtStatusError(NTSTATUS.INVALID_DEVICE_REQUEST, "only a render stream that is not looped is written")
        if len(data) % self._format.block_bytes:
            raise ValueError(f"expected whole frames of {self._format.block_bytes} bytes, found {len(data)} bytes")
        if data:
            self._queue.append(memoryview(bytes(data)))
            self._queued_bytes += len(data)

    @property
    def ahead_bytes(self) -> int:
        """How far the port writes ahead of the device."""
        return self._bytes_of(TARGET_MS)

    @property
    def queued_bytes(self) -> int:
        """Bytes that were written and are not in the cyclic buffer yet."""
        return self._queued_bytes

    def read(self) -> bytes:
        """What was captured since the last call. Not for looped streams."""
        self._passive("read")
        if not self.capture or self.client_buffer is not None:
            raise NtStatusError(NTSTATUS.INVALID_DEVICE_REQUEST, "only a capture stream that is not looped is read")
        data = bytes(self._captured)
        self._captured.clear()
        return data

    def wait_service(self, timeout_s: float) -> bool:
        """True once the port has served the stream, False after `timeout_s` seconds of board time."""
        return self._system.wait(self.event, timeout_s)

    # ------------------------------------------------------------------ positions

    def position(self) -> KSAUDIO_POSITION:
        """KSPROPERTY_AUDIO_POSITION: bytes of the client passed by the converter, and copied by the port.

        Modulo the client's buffer for looped streams, growing without end for others. Passive or deferred.
        """
        self._system.require(IRQL.DISPATCH, "WaveCyclicPin.position")
        self._follow()
        play, write = self._client_position(), self._copied_bytes
        if self.client_buffer is not None:
            return KSAUDIO_POSITION(play % len(self.client_buffer), write % len(self.client_buffer))
        return KSAUDIO_POSITION(play, write)

    def add_position_event(self, offset: int, event: KEvent) -> None:
        """Set `event` each time the play position passes client byte `offset`: in every round of a looped buffer."""
        self._passive("add_position_event")
        if offset < 0 or (self.client_buffer is not None and offset >= len(self.client_buffer)):
            raise NtStatusError(NTSTATUS.INVALID_PARAMETER, f"no byte {offset} in the client's buffer")
        self._position_events.append((offset, event))

    def remove_position_event(self, event: KEvent) -> None:
        """Never set the event again."""
        self._passive("remove_position_event")
        self._position_events = [each for each in self._position_events if each[1] is not event]

    def _follow(self) -> None:
        """Ask the stream for its position and count what it has passed since the last time."""
        if not self._has_run:
            return
        offset = self._stream.get_position()
        self._device_bytes += (offset - self._offset) % self._size
        self._offset = offset

    def _client_position(self) -> int:
        """Device bytes in bytes of the client."""
        if self.capture:
            return self._device_bytes
        while len(self._stretches) > 1 and self._stretches[1].device <= self._device_bytes:
            self._stretches.popleft()
        if not self._stretches:
            return 0
        stretch = self._stretches[0]
        return stretch.client + min(max(self._device_bytes - stretch.device, 0), stretch.length)

    def _fire_position_events(self) -> None:
        now = self._client_position()
        for offset, event in self._position_events:
            if self.client_buffer is None:
                passed = self._passed <= offset < now
            else:
                length = len(self.client_buffer)
                passed = (now - 1 - offset) // length > (self._passed - 1 - offset) // length
            if passed:
                event.set()
        self._passed = now

    # ------------------------------------------------------------------ service

    def _serve(self) -> None:
        """The stream's group is served: copy what the position allows. Deferred context."""
        if self._state is not KSSTATE.RUN or self._closed:
            return
        self._follow()
        if self.capture:
            self._read_behind()
        else:
            self._write_ahead()
        self._fire_position_events()
        self.event.set()

    @property
    def _guard_bytes(self) -> int:
        """How near to the position of a running device the port copies, in whole frames."""
        block = self._format.block_bytes
        return -(-max(self._bytes_of(NOTIFICATION_MS) // 2, GUARD_BYTES) // block) * block

    def _bytes_of(self, milliseconds: int) -> int:
        """Whole frames of a time, at most the buffer."""
        frames = self._format.sample_rate * milliseconds // 1000
        return min(frames * self._format.block_bytes, self._size)

    def _write_ahead(self) -> None:
        """Render: fill up to the target ahead of the device, then put silence behind data that are short."""
        target = self._device_bytes + self.ahead_bytes
        nearest = self._device_bytes + self._guard_bytes if self._has_run else 0
        while self._edge_bytes < target and (self.client_buffer is not None or self._queue):
            if self._edge_bytes < nearest:
                self.gaps += bool(self._copied_bytes)
                self._edge_bytes = nearest
            self._copy_piece(self._edge_bytes, target - self._edge_bytes)
        if self._edge_bytes < self._device_bytes + self._bytes_of(SHORT_MS):
            self._silence_from(max(self._edge_bytes, nearest))

    def _copy_piece(self, at: int, most: int) -> None:
        """Copy the client's next bytes to device byte `at`: as many as lie together on both sides."""
        offset = at % self._size
        most = min(most, self._size - offset)
        if self.client_buffer is not None:
            start = self._copied_bytes % len(self.client_buffer)
            data = memoryview(self.client_buffer)[start : start + most]
        else:
            data = self._queue[0][:most]
            rest = self._queue.popleft()[len(data) :]
            if rest:
                self._queue.appendleft(rest)
            self._queued_bytes -= len(data)
        count = len(data)
        self._channel.copy_to(self._memory.slice(offset, count), data, count)
        last = self._stretches[-1] if self._stretches else None
        if last is not None and last.device + last.length == at:
            last.length += count
        else:
            self._stretches.append(_Stretch(at, self._copied_bytes, count))
        self._copied_bytes += count
        self._edge_bytes = at + count
        self._silent_to = max(self._silent_to, self._edge_bytes)

    def _silence_from(self, start: int) -> None:
        """Silence from device byte `start` on, all that the device has left and that is not silent yet."""
        start, stop = max(start, self._silent_to), self._device_bytes + self._size
        while start < stop:
            offset = start % self._size
            count = min(stop - start, self._size - offset)
            self._stream.silence(self._memory.slice(offset, count), count)
            start += count
        self._silent_to = max(self._silent_to, stop)

    def _read_behind(self) -> None:
        """Capture: copy what the device has left behind."""
        block = self._format.block_bytes
        stop = (self._device_bytes - self._guard_bytes) // block * block
        oldest = self._device_bytes + self._guard_bytes - self._size
        if self._edge_bytes < oldest:
            self.gaps += 1
            self._edge_bytes = -(-oldest // block) * block
        while self._edge_bytes < stop:
            offset = self._edge_bytes % self._size
            count = min(stop - self._edge_bytes, self._size - offset)
            if self.client_buffer is not None:
                start = self._copied_bytes % len(self.client_buffer)
                target = memoryview(self.client_buffer)[start : start + count]
                count = len(target)
                self._channel.copy_from(target, self._memory.slice(offset, count), count)
            else:
                data = bytearray(count)
                self._channel.copy_from(data, self._memory.slice(offset, count), count)
                self._captured += data
            self._copied_bytes += count
            self._edge_bytes += count

    # ------------------------------------------------------------------ closing

    def _closing(self) -> list[Callable[[], object]]:
        held = (self._stream, self._channel, self._group, self._sink)
        return [lambda: self._group.remove_member(self._sink), *(each.release for each in held)]
