"""PortWaveRT: drives a WaveRT miniport as Windows does, and serves its client.

It works on any miniport that has the interfaces of `codecrig.portcls`; memory, waiting and the clock come from a
`System`. The order of calls at set-up and tear-down, the single steps of the state ladder and the matching of
allocation and free are this side's duties. What failed half-way is undone before the error goes on.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

from codecrig.portcls import (
    IRQL,
    KSAUDIO_POSITION,
    KSAUDIO_PRESENTATION_POSITION,
    KSRTAUDIO_BUFFER,
    KSRTAUDIO_HWLATENCY,
    KSRTAUDIO_HWREGISTER,
    KSSTATE,
    KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM,
    MEMORY_CACHING_TYPE,
    NTSTATUS,
    PAGE_BYTES,
    AudioBuffer,
    Format,
    IMiniportWaveRT,
    IMiniportWaveRTInputStream,
    IMiniportWaveRTOutputStream,
    IMiniportWaveRTStream,
    IMiniportWaveRTStreamNotification,
    IPortWaveRT,
    IPortWaveRTStream,
    IUnknown,
    KEvent,
    Mdl,
    MemoryView,
    NtStatusError,
    PieceView,
    ReadPacket,
    System,
)

from .base import Pin, Port
from .drm import DrmPort
from .pages import PageAllocator

Interface = TypeVar("Interface", bound=IUnknown)

_MASK32 = 0xFFFFFFFF


class PortWaveRTStream(IPortWaveRTStream):
    """Page services for one stream, with a record of what is allocated and mapped.

    With `system` each service refuses a call from above passive context.
    """

    def __init__(self, pages: PageAllocator, system: System | None = None) -> None:
        self._pages = pages
        self._system = system
        self._lists: list[Mdl] = []
        self._mappings: list[tuple[MemoryView, Mdl]] = []

    @property
    def lists_held(self) -> int:
        """Page lists allocated and not yet freed."""
        return len(self._lists)

    def allocate_pages_for_mdl(self, high_address: int, total_bytes: int) -> Mdl | None:
        self._passive("allocate_pages_for_mdl")
        pages = self._pages.take(high_address, -(-total_bytes // PAGE_BYTES)) if total_bytes > 0 else ()
        return self._keep(pages, min(total_bytes, len(pages) * PAGE_BYTES)) if pages else None

    def allocate_contiguous_pages_for_mdl(self, low_address: int, high_address: int, total_bytes: int) -> Mdl | None:
        self._passive("allocate_contiguous_pages_for_mdl")
        if total_bytes <= 0:
            return None
        pages = self._pages.take_contiguous(low_address, high_address, -(-total_bytes // PAGE_BYTES))
        return self._keep(pages, total_bytes) if pages else None

    def map_allocated_pages(self, memory_descriptor_list: Mdl, cache_type: MEMORY_CACHING_TYPE) -> MemoryView | None:
        self._passive("map_allocated_pages")
        self._check(memory_descriptor_list)
        base = self._pages.memory.physical_address
        view = PieceView(
            self._pages.memory,
            [(page * PAGE_BYTES - base, PAGE_BYTES) for page in memory_descriptor_list.page_numbers],
        )
        self._mappings.append((view, memory_descriptor_list))
        return view

    def unmap_allocated_pages(self, base_address: MemoryView, memory_descriptor_list: Mdl) -> None:
        self._passive("unmap_allocated_pages")
        for index, (view, mdl) in enumerate(self._mappings):
            if view is base_address and mdl is memory_descriptor_list:
                del self._mappings[index]
                return
        raise NtStatusError(NTSTATUS.INVALID_PARAMETER, "no such mapping of these pages")

    def free_pages_from_mdl(self, memory_descriptor_list: Mdl) -> None:
        self._passive("free_pages_from_mdl")
        self._check(memory_descriptor_list)
        if any(mdl is memory_descriptor_list for _, mdl in self._mappings):
            raise NtStatusError(NTSTATUS.INVALID_PARAMETER, "the pages are still mapped: unmap them first")
        self._lists = [mdl for mdl in self._lists if mdl is not memory_descriptor_list]
        self._pages.give_back(memory_descriptor_list.page_numbers)

    def get_physical_pages_count(self, memory_descriptor_list: Mdl) -> int:
        self._passive("get_physical_pages_count")
        self._check(memory_descriptor_list)
        return len(memory_descriptor_list.page_numbers)

    def get_physical_page_address(self, memory_descriptor_list: Mdl, index: int) -> int:
        self._passive("get_physical_page_address")
        self._check(memory_descriptor_list)
        if not 0 <= index < len(memory_descriptor_list.page_numbers):
            raise NtStatusError(
                NTSTATUS.INVALID_PARAMETER, f"page {index} of {len(memory_descriptor_list.page_numbers)}"
            )
        return memory_descriptor_list.page_numbers[index] * PAGE_BYTES

    def _passive(self, method: str) -> None:
        if self._system is not None:
            self._system.require(IRQL.PASSIVE, f"IPortWaveRTStream.{method}")

    def _keep(self, pages: tuple[int, ...], byte_count: int) -> Mdl:
        mdl = Mdl(pages, byte_count)
        self._lists.append(mdl)
        return mdl

    def _check(self, mdl: Mdl) -> None:
        if not any(held is mdl for held in self._lists):
            raise NtStatusError(NTSTATUS.INVALID_PARAMETER, "the page list is not one of this port stream")


class PortWaveRT(Port, DrmPort, IPortWaveRT):
    """The port of one WaveRT miniport. Use it in a `with` block: leaving it closes all pins."""

    def __init__(self, miniport: IMiniportWaveRT, system: System) -> None:
        """Take `miniport` into use (Init). Memory and waiting come from `system`."""
        self._take(miniport, system)
        self.pages = PageAllocator(system.memory)
        self._miniport = miniport
        try:
            miniport.init(None, None, self)
        except BaseException:
            miniport.release()
            raise

    def open_pin(
        self,
        pin: int,
        capture: bool,
        data_format: Format,
        *,
        packet_bytes: int | None = None,
        packets: int = 2,
        buffer_bytes: int | None = None,
    ) -> "WaveRTPin":
        """An open pin in STOP.

        With `packet_bytes` it has a notification buffer of `packets` packets and an event, ready for packets; with
        `buffer_bytes` a plain cyclic buffer; with neither none. Raises NtStatusError; nothing is left behind then.
        """
        opened = WaveRTPin(self._miniport, self, pin, capture, data_format)
        self._pins.append(opened)
        try:
            if packet_bytes is not None:
                opened.allocate(packet_bytes * packets, notification_count=packets)
                opened.register_event(opened.event)
            elif buffer_bytes is not None:
                opened.allocate(buffer_bytes)
        except BaseException as error:
            opened.abandon(error)
            raise
        return opened


class PinRegister(MemoryView):
    """A hardware register as the client of a pin sees it: for reading, until the pin is closed."""

    def __init__(self, pin: "WaveRTPin", register: MemoryView) -> None:
        self._pin = pin
        self._register = register

    @property
    def physical_address(self) -> int:
        return self._register.physical_address

    @property
    def length(self) -> int:
        return self._register.length

    def read(self, offset: int, length: int) -> bytes:
        if self._pin.closed:
            raise NtStatusError(NTSTATUS.INVALID_DEVICE_STATE, "the mapping ended with the pin")
        return self._register.read(offset, length)

    def write(self, offset: int, data: bytes) -> None:
        raise NtStatusError(NTSTATUS.NOT_SUPPORTED, "a hardware register is for reading only")


class WaveRTPin(Pin):
    """A pin of a WaveRT miniport. All methods but `position`: passive context."""

    _port: PortWaveRT
    _stream: IMiniportWaveRTStream

    def __init__(
        self, miniport: IMiniportWaveRT, port: PortWaveRT, pin: int, capture: bool, data_format: Format
    ) -> None:
        super().__init__(port)
        self.format = data_format
        self.capture = capture
        self.event = KEvent(f"pin {pin}")
        """Set at each packet end; registered by `open_pin` for a notification buffer."""
        self.hw_latency: KSRTAUDIO_HWLATENCY | None = None
        """What the miniport reported after allocation."""
        self.next_write_packet = 0
        """Number of the packet that `write_packet` writes next."""
        self._events: list[KEvent] = []
        self._registers_given: set[str] = set()
        self._allocated: AudioBuffer | None = None
        self._notification_count = 0
        self._mapping: MemoryView | None = None
        self._buffer: MemoryView | None = None
        self._port_stream = PortWaveRTStream(port.pages, port.system)
        try:
            self._stream = miniport.new_stream(self._port_stream, pin, capture, data_format)
        except BaseException:
            self._port_stream.release()
            raise
        self._notification = self._query(IMiniportWaveRTStreamNotification)  # type: ignore[type-abstract]
        self._input = self._query(IMiniportWaveRTInputStream)  # type: ignore[type-abstract]
        self._output = self._query(IMiniportWaveRTOutputStream)  # type: ignore[type-abstract]

    def _query(self, interface: type[Interface]) -> Interface | None:
        try:
            return self._stream.query_interface(interface)
        except NtStatusError:
            return None

    # ------------------------------------------------------------------ states

    def _step(self, state: KSSTATE) -> None:
        super()._step(state)
        if state is KSSTATE.STOP:
            self.next_write_packet = 0

    # ------------------------------------------------------------------ buffer

    @property
    def buffer(self) -> MemoryView:
        """The cyclic buffer as the client sees it. Raises NtStatusError if none is allocated."""
        if self._buffer is None:
            raise NtStatusError(NTSTATUS.INVALID_DEVICE_STATE, "the pin has no buffer")
        return self._buffer

    @property
    def packets(self) -> int:
        """Packets in the buffer; 0 without notification."""
        return self._notification_count

    @property
    def packet_bytes(self) -> int:
        """Bytes of one packet. Raises NtStatusError without a notification buffer."""
        if not self._notification_count:
            raise NtStatusError(NTSTATUS.NOT_SUPPORTED, "the pin has no notification buffer")
        return self.buffer.length // self._notification_count

    def allocate(self, requested_bytes: int, notification_count: int | None = None) -> KSRTAUDIO_BUFFER:
        """Allocate and map the cyclic buffer: KSPROPERTY_RTAUDIO_BUFFER, or with a count ..._WITH_NOTIFICATION."""
        self._passive("allocate")
        if self._allocated is not None:
            raise NtStatusError(NTSTATUS.INVALID_DEVICE_REQUEST, "the pin has a buffer")
        if notification_count is None:
            allocated = self._stream.allocate_audio_buffer(requested_bytes)
        elif self._notification is None:
            raise NtStatusError(NTSTATUS.NOT_SUPPORTED, "the miniport's stream has no notification interface")
        else:
            allocated = self._notification.allocate_buffer_with_notification(notification_count, requested_bytes)
        self._allocated = allocated
        self._notification_count = notification_count or 0
        mapping = self._port_stream.map_allocated_pages(allocated.AudioBufferMdl, allocated.CacheType)
        self._mapping = mapping
        if mapping is None or allocated.OffsetFromFirstPage + allocated.ActualSize > mapping.length:
            found = 0 if mapping is None else mapping.length
            self._free()
            raise NtStatusError(
                NTSTATUS.UNSUCCESSFUL,
                f"expected pages for {allocated.ActualSize} bytes from {allocated.OffsetFromFirstPage} on; "
                f"found {found} bytes",
            )
        self._buffer = mapping.slice(allocated.OffsetFromFirstPage, allocated.ActualSize)
        self.hw_latency = self._stream.get_hw_latency()
        return KSRTAUDIO_BUFFER(
            BufferAddress=self._buffer,
            ActualBufferSize=allocated.ActualSize,
            CallMemoryBarrier=allocated.CacheType is MEMORY_CACHING_TYPE.WRITE_COMBINED,
        )

    def _free_unless_running(self) -> None:
        if self._state is not KSSTATE.RUN:
            self._free()

    def _free(self) -> None:
        """Unmap the buffer and free it by the method that matches its allocation."""
        allocated, self._allocated, self._buffer = self._allocated, None, None
        if allocated is None:
            return
        if self._mapping is not None:
            self._port_stream.unmap_allocated_pages(self._mapping, allocated.AudioBufferMdl)
            self._mapping = None
        if self._notification_count and self._notification is not None:
            self._notification.free_buffer_with_notification(allocated.AudioBufferMdl, allocated.ActualSize)
        else:
            self._stream.free_audio_buffer(allocated.AudioBufferMdl, allocated.ActualSize)
        self._notification_count = 0

    # ------------------------------------------------------------------ positions and registers

    def position(self) -> KSAUDIO_POSITION:
        """Both offsets in the buffer, in bytes, of one instant."""
        return self._stream.get_position()

    def presentation_position(self) -> KSAUDIO_PRESENTATION_POSITION:
        """Frames presented since STOP and the performance counter of that instant. Render only."""
        return self._rendering("presentation_position").get_output_stream_presentation_position()

    def position_register(self) -> KSRTAUDIO_HWREGISTER:
        """The position register, once in the life of the pin.

        Raises NOT_SUPPORTED if the board has none: use `position` then.
        """
        return self._register("position", self._stream.get_position_register)

    def clock_register(self) -> KSRTAUDIO_HWREGISTER:
        """The clock register, once in the life of the pin. Raises NOT_SUPPORTED if the board has none."""
        return self._register("clock", self._stream.get_clock_register)

    def _register(self, name: str, get: Callable[[], KSRTAUDIO_HWREGISTER]) -> KSRTAUDIO_HWREGISTER:
        self._passive(f"{name}_register")
        if self._closed:
            raise NtStatusError(NTSTATUS.INVALID_DEVICE_STATE, "the pin is closed")
        if name in self._registers_given:
            raise NtStatusError(NTSTATUS.INVALID_DEVICE_REQUEST, f"the {name} register is mapped already")
        try:
            register = get()
        except NtStatusError as error:
            if error.status is NTSTATUS.NOT_IMPLEMENTED:  # the sample drivers' word for the same
                raise NtStatusError(NTSTATUS.NOT_SUPPORTED, error.text) from error
            raise
        self._registers_given.add(name)
        return replace(register, Register=PinRegister(self, register.Register))

    # ------------------------------------------------------------------ events

    def register_event(self, event: KEvent) -> None:
        """Set `event` at each packet end. Raises INVALID_DEVICE_STATE without a notification buffer."""
        self._passive("register_event")
        if self._notification is None or not self._notification_count:
            raise NtStatusError(NTSTATUS.INVALID_DEVICE_STATE, "allocate a buffer with notification first")
        self._notification.register_notification_event(event)
        self._events.append(event)

    def unregister_event(self, event: KEvent) -> None:
        """Never set `event` again. Raises NOT_FOUND."""
        self._passive("unregister_event")
        if self._notification is None:
            raise NtStatusError(NTSTATUS.NOT_FOUND, "the event is not registered")
        self._notification.unregister_notification_event(event)
        self._events = [registered for registered in self._events if registered is not event]

    def wait_packet(self, timeout_s: float) -> bool:
        """True once a packet has ended, False after `timeout_s` seconds of board time."""
        return self._system.wait(self.event, timeout_s)

    # ------------------------------------------------------------------ packets

    def write_packet(self, data: bytes, *, last_bytes: int | None = None) -> int:
        """Put the next packet into its place and announce it (SetWritePacket); returns its number.

        `data` is a whole packet; with `last_bytes` it is the last one, of which so many bytes count. As in Windows the
        data are in the buffer before the miniport is asked. Raises DATA_LATE_ERROR if the engine is there already, then
        `resynchronise` finds the next place, and DATA_OVERRUN if the packet in that place has not been moved yet.
        """
        output = self._rendering("write_packet")
        if len(data) != self.packet_bytes:
            raise ValueError(f"expected a packet of {self.packet_bytes} bytes, found {len(data)}")
        number = self.next_write_packet
        self.buffer.write(number % self.packets * self.packet_bytes, data)
        flags = 0 if last_bytes is None else KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM
        output.set_write_packet(number, flags, last_bytes or 0)
        self.next_write_packet = number + 1 & _MASK32
        return number

    def packet_count(self) -> int:
        """Packets that the engine has moved out of the buffer since STOP, modulo 2^32."""
        return self._rendering("packet_count").get_packet_count()

    def resynchronise(self) -> int:
        """Continue behind the packet that is being moved now; returns how many packet numbers are skipped."""
        number = self.packet_count() + 1 & _MASK32
        skipped = number - self.next_write_packet & _MASK32
        self.next_write_packet = number
        return skipped

    def read_packet(self) -> tuple[ReadPacket, bytes]:
        """The oldest intact packet not read yet, with its bytes. Raises DEVICE_NOT_READY if none is complete."""
        self._passive("read_packet")
        if self._input is None:
            raise NtStatusError(NTSTATUS.NOT_SUPPORTED, "the stream has no input interface")
        packet = self._input.get_read_packet()
        offset = packet.PacketNumber % self.packets * self.packet_bytes
        return packet, self.buffer.read(offset, self.packet_bytes)

    def _rendering(self, method: str) -> IMiniportWaveRTOutputStream:
        self._passive(method)
        if self._output is None:
            raise NtStatusError(NTSTATUS.NOT_SUPPORTED, "the stream has no output interface")
        return self._output

    # ------------------------------------------------------------------ closing

    def _closing(self) -> list[Callable[[], object]]:
        """Only the buffer of a stream that cannot be brought out of RUN is not freed: the engine still works in it."""
        releases = [held.release for held in (self._notification, self._input, self._output) if held is not None]
        events = [partial(self.unregister_event, event) for event in self._events]
        return [*events, self._free_unless_running, *releases, self._stream.release, self._port_stream.release]
