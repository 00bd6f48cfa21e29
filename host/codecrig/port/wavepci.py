"""PortWavePci: drives a WavePci miniport as Windows does, and hands it its clients' packets piece by piece.

It works on any miniport that has the interfaces of `codecrig.portcls`. A client's packet lies in pages of the memory
that the engine reaches; they stand for the locked pages of a client's buffer. What a miniport does wrong and Windows
would not notice is noted in `PortWavePciStream.faults`.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from codecrig.portcls import (
    IRQL,
    KSAUDIO_POSITION,
    KSSTATE,
    NTSTATUS,
    PAGE_BYTES,
    REFERENCE_TIME_PER_SECOND,
    TAG_BITS,
    Format,
    IDmaChannel,
    IMiniportWavePci,
    IMiniportWavePciStream,
    IPortWavePci,
    IPortWavePciStream,
    IPreFetchOffset,
    IrqlError,
    IServiceGroup,
    KEvent,
    Mapping,
    MemoryView,
    NtStatusError,
    PieceView,
    ResourceList,
    SpinLock,
    System,
    highest_irql,
    join_pieces,
)

from .base import Pin, Port
from .dma import DmaChannel
from .drm import DrmPort
from .pages import PageAllocator
from .service import Sink

POLL_INTERVAL = REFERENCE_TIME_PER_SECOND // 50
"""20 ms: how often a stream without a service group is asked for its position, for position events."""


class WavePciPacket:
    """A packet of a client: some of its memory, which the engine reads or fills piece by piece.

    `status` is PENDING until the packet is completed: SUCCESS, or CANCELLED; then `event` is set. `used_bytes` of it
    hold data: what the client wrote, or what was captured by then.
    """

    def __init__(
        self, pages: PageAllocator, page_numbers: tuple[int, ...], page_offset: int, extent_bytes: int, *, looped: bool
    ) -> None:
        self.extent_bytes = extent_bytes
        self.looped = looped
        self.used_bytes = 0
        self.status = NTSTATUS.PENDING
        self.event = KEvent("packet")
        self.start_bytes: int | None = None
        """Where in the stream its first byte lies, in bytes since STOP; None before it was handed out."""
        self.terminated = False
        """No more of it is handed out, and it is on its way to the client."""
        self.held = 0
        """Mappings of it that the miniport holds."""
        self._pages = pages
        self._page_numbers = page_numbers
        self._wanted_free = False
        offsets = [page * PAGE_BYTES - pages.memory.physical_address for page in page_numbers]
        pieces: list[tuple[int, int]] = []
        left = page_offset + extent_bytes
        for offset in offsets:
            skipped = page_offset if not pieces else 0
            pieces.append((offset + skipped, min(left, PAGE_BYTES) - skipped))
            left -= PAGE_BYTES
        self.view: MemoryView = PieceView(pages.memory, pieces)
        """The client's memory, as one stretch."""
        base = pages.memory.physical_address
        self.pieces = [(base + offset, length) for offset, length in join_pieces(pieces)]
        """(physical address, bytes): they end at the ends of pages, unless the next page is the neighbour."""
        self.next_piece = 0
        """Which one is handed out next."""

    @property
    def pending(self) -> bool:
        """It has not been completed."""
        return self.status is NTSTATUS.PENDING

    @property
    def all_given(self) -> bool:
        """No piece is left to be handed out; never so of a looped packet that goes on."""
        return self.next_piece == len(self.pieces)

    @property
    def pages_held(self) -> bool:
        """Its pages were not given back yet."""
        return bool(self._page_numbers)

    def hand_out_no_more(self) -> None:
        """Whatever was not handed out stays here."""
        self.next_piece = len(self.pieces)

    def read(self) -> bytes:
        """The used bytes."""
        return self.view.read(0, self.used_bytes)

    def free(self) -> None:
        """Give the pages back, as soon as no mapping of them is held. Freeing twice is harmless."""
        self._wanted_free = True
        self.give_back()

    def give_back(self) -> None:
        """Give the pages back now, if that was asked for and nobody uses them."""
        if self._wanted_free and self.held == 0 and self._page_numbers:
            self._pages.give_back(self._page_numbers)
            self._page_numbers = ()


@dataclass(slots=True, eq=False)
class HeldMapping:
    """A mapping that the miniport holds."""

    tag: int
    packet: WavePciPacket
    start_bytes: int
    """Where in the stream its first byte lies."""
    length: int
    last: bool
    """Of its packet."""


class PortWavePciStream(IPortWavePciStream, IPreFetchOffset):
    """The packets of one stream: which are waiting, which pieces the miniport holds, which are done."""

    def __init__(self, system: System, *, capture: bool) -> None:
        self._system = system
        self._capture = capture
        self._packets: deque[WavePciPacket] = deque()
        self.held: list[HeldMapping] = []
        """Mappings in the order in which they were acquired."""
        self.faults: list[str] = []
        """What the miniport did that it must not do, and that goes on all the same."""
        self.refused = False
        """GetMapping found nothing since MappingAvailable was last called."""
        self.acquired_bytes = 0
        """Where in the stream the last mapping acquired ends."""
        self.released_bytes = 0
        """Where in the stream the last mapping released ends."""
        self.pre_fetch_offset: int | None = None
        self.completion = KEvent("packet")
        """Set whenever a packet was completed."""
        self.captured_bytes: Callable[[], int] = lambda: self.released_bytes
        """How far capture has come, in bytes since STOP. Passive."""

    @property
    def packets(self) -> tuple[WavePciPacket, ...]:
        """Packets that are not completed, in the order in which they came."""
        return tuple(self._packets)

    def _enter(self, method: str) -> None:
        """Refuse a call that Windows would not survive."""
        interface = IPreFetchOffset if hasattr(IPreFetchOffset, method) else IPortWavePciStream
        self._system.require(highest_irql(interface, method), f"{interface.__name__}.{method}")
        if SpinLock.held and interface is IPortWavePciStream:
            raise IrqlError(
                f"{interface.__name__}.{method}: expected no lock held, since RevokeMappings may come inside; "
                f"found {SpinLock.held}"
            )

    # ------------------------------------------------------------------ what the miniport calls

    def get_mapping(self, tag: int) -> Mapping:
        self._enter("get_mapping")
        if not 0 <= tag < 1 << TAG_BITS:
            raise NtStatusError(NTSTATUS.INVALID_PARAMETER, f"tag {tag:#x} is wider than a pointer")
        packet = next((each for each in self._packets if each.pending and not each.all_given), None)
        if packet is None:
            self.refused = True
            raise NtStatusError(NTSTATUS.NOT_FOUND, "no client data now")
        if packet.start_bytes is None:
            packet.start_bytes = self.acquired_bytes
        address, length = packet.pieces[packet.next_piece]
        offset = sum(piece_length for _, piece_length in packet.pieces[: packet.next_piece])
        packet.next_piece += 1
        last = packet.next_piece == len(packet.pieces)
        if last and packet.looped:
            packet.next_piece = 0
        self.held.append(HeldMapping(tag, packet, self.acquired_bytes, length, last))
        packet.held += 1
        self.acquired_bytes += length
        return Mapping(address, packet.view.slice(offset, length), length, int(last))

    def release_mapping(self, tag: int) -> NTSTATUS:
        self._enter("release_mapping")
        found = next((mapping for mapping in self.held if mapping.tag == tag), None)
        if found is None:
            raise NtStatusError(NTSTATUS.NOT_FOUND, f"no mapping of tag {tag:#x} is held")
        if found is not self.held[0]:
            self.faults.append(f"ReleaseMapping({tag:#x}) before the older {self.held[0].tag:#x} was released")
        self._let_go(found)
        self.released_bytes = found.start_bytes + found.length
        self._complete_ready()
        return NTSTATUS.SUCCESS

    def terminate_packet(self) -> NTSTATUS:
        self._enter("terminate_packet")
        packet = self.open_packet()
        if not self._capture or packet is None:
            return NTSTATUS.SUCCESS
        packet.hand_out_no_more()
        packet.terminated = True
        if self._system.level is IRQL.PASSIVE:
            self.terminate(packet, self.captured_bytes())
        else:
            self._system.queue_work_item(lambda: self.terminate(packet, self.captured_bytes()))
        return NTSTATUS.SUCCESS

    def set_pre_fetch_offset(self, pre_fetch_offset: int) -> None:
        self._enter("set_pre_fetch_offset")
        self.pre_fetch_offset = pre_fetch_offset

    # ------------------------------------------------------------------ what the pin calls

    def add(self, packet: WavePciPacket) -> None:
        """A packet has come."""
        self._packets.append(packet)

    def open_packet(self) -> WavePciPacket | None:
        """The packet that is being played or filled: the oldest one of which something was handed out."""
        return next((each for each in self._packets if each.start_bytes is not None and not each.terminated), None)

    def terminate(self, packet: WavePciPacket, captured_bytes: int) -> None:
        """Complete a capture packet early; `captured_bytes` tells how far the stream has come."""
        if not packet.pending:
            return
        start = packet.start_bytes or 0
        released = min(max(self.released_bytes - start, 0), packet.extent_bytes)
        packet.used_bytes = min(max(captured_bytes - start, released), packet.extent_bytes)
        packet.hand_out_no_more()
        self._finish(packet, NTSTATUS.SUCCESS)

    def cancel(self, packet: WavePciPacket) -> None:
        """Complete a packet whose mappings are gone. One that did its work until then, a looped one, succeeds."""
        if packet.pending:
            did_its_work = packet.looped and packet.start_bytes is not None
            self._finish(packet, NTSTATUS.SUCCESS if did_its_work else NTSTATUS.CANCELLED)

    def drop(self, mappings: list[HeldMapping], position: int) -> None:
        """These mappings, which follow one another, were revoked when the stream was at `position`.

        What they would still have brought is no part of the stream: all behind them moves up.
        """
        if not mappings:
            return
        first = mappings[0]
        lost = sum(mapping.length for mapping in mappings)
        lost -= min(max(position - first.start_bytes, 0), lost)
        for mapping in mappings:
            self._let_go(mapping)
        for later in self.held:
            if later.start_bytes > first.start_bytes:
                later.start_bytes -= lost
        for packet in self._packets:
            if packet.start_bytes is not None and packet.start_bytes > first.start_bytes:
                packet.start_bytes -= lost
        self.acquired_bytes -= lost

    def restart(self) -> None:
        """STOP was reached: the next byte is the first one of the stream."""
        self.acquired_bytes = self.released_bytes = 0

    def _let_go(self, mapping: HeldMapping) -> None:
        self.held.remove(mapping)
        mapping.packet.held -= 1
        mapping.packet.give_back()

    def _complete_ready(self) -> None:
        """Complete every packet that is used up, in the order in which they came."""
        while self._packets:
            packet = self._packets[0]
            if packet.looped or packet.held or not packet.all_given or packet.start_bytes is None:
                return
            packet.used_bytes = packet.extent_bytes
            self._finish(packet, NTSTATUS.SUCCESS)

    def _finish(self, packet: WavePciPacket, status: NTSTATUS) -> None:
        self._packets.remove(packet)
        packet.status = status
        packet.event.set()
        self.completion.set()


class PortWavePci(Port, DrmPort, IPortWavePci):
    """The port of one WavePci miniport. Use it in a `with` block: leaving it closes all pins."""

    def __init__(self, miniport: IMiniportWavePci, system: System) -> None:
        """Take `miniport` into use (Init). Memory and waiting come from `system`."""
        self._take(miniport, system)
        self.pages = PageAllocator(system.memory)
        self._miniport = miniport
        self._sink = Sink(miniport.service)
        try:
            self._service_group = miniport.init(None, None, self)
        except BaseException:
            miniport.release()
            raise
        if self._service_group is not None:
            self._service_group.add_member(self._sink)

    def _forget(self) -> None:
        if self._service_group is not None:
            self._service_group.remove_member(self._sink)
            self._service_group.release()
        super()._forget()

    def notify(self, service_group: IServiceGroup) -> None:
        service_group.request_service()

    def new_master_dma_channel(
        self,
        resource_list: ResourceList | None,
        maximum_length: int,
        dma32_bit_addresses: bool,
        dma64_bit_addresses: bool,
        dma_width: int = -1,
        dma_speed: int = -1,
    ) -> IDmaChannel:
        self._system.require(IRQL.PASSIVE, "IPortWavePci.new_master_dma_channel")
        reach = 0xFFFFFFFFFFFFFFFF if dma64_bit_addresses else 0xFFFFFFFF if dma32_bit_addresses else 0xFFFFFF
        return DmaChannel(self._system, self.pages, maximum_length, reach)

    def open_pin(self, pin: int, capture: bool, data_format: Format) -> "WavePciPin":
        """An open pin in STOP. Raises NtStatusError; nothing is left behind then."""
        opened = WavePciPin(self._miniport, self, pin, capture, data_format)
        self._pins.append(opened)
        return opened


class WavePciPin(Pin):
    """A pin of a WavePci miniport."""

    _port: PortWavePci
    _stream: IMiniportWavePciStream

    def __init__(
        self, miniport: IMiniportWavePci, port: PortWavePci, pin: int, capture: bool, data_format: Format
    ) -> None:
        super().__init__(port)
        self.format = data_format
        self.capture = capture
        self._packets: list[WavePciPacket] = []
        self._position_events: list[tuple[int, KEvent]] = []
        self._events_until_bytes = 0
        self._cancel_poll: Callable[[], bool] | None = None
        self._port_stream = PortWavePciStream(self._system, capture=capture)
        self.event = self._port_stream.completion
        """Set whenever a packet was completed."""
        try:
            made = miniport.new_stream(self._port_stream, pin, capture, data_format)
        except BaseException:
            self._port_stream.release()
            raise
        # The channel came without a reference: it is neither used nor released.
        self._stream = made.Stream
        self._group = made.ServiceGroup
        self._sink = Sink(self._serve)
        self._port_stream.captured_bytes = self._stream.get_position
        if self._group is not None:
            self._group.add_member(self._sink)

    # ------------------------------------------------------------------ states

    @property
    def faults(self) -> list[str]:
        """What the miniport did wrong and went on all the same."""
        return self._port_stream.faults

    def _step(self, state: KSSTATE) -> None:
        before = self._state
        came = self._stream.get_position() if state is KSSTATE.STOP and self.capture else 0
        super()._step(state)
        if state is KSSTATE.RUN:
            self._start_polling()
        elif before is KSSTATE.RUN:
            self._stop_polling()
            self._fire_position_events()
        if state is KSSTATE.STOP:
            self._stopped(came)

    def _stopped(self, captured_bytes: int) -> None:
        """Revoke what is outstanding, then complete the packets: the one being captured with what it has got."""
        stream = self._port_stream
        for packet in stream.packets:
            packet.hand_out_no_more()
        outstanding = stream.held.copy()
        self._revoke(outstanding)
        stream.drop([mapping for mapping in outstanding if mapping in stream.held], captured_bytes)
        being_filled = stream.open_packet() if self.capture else None
        if being_filled is not None:
            stream.terminate(being_filled, captured_bytes)
        for packet in stream.packets:
            stream.cancel(packet)
        stream.restart()
        self._events_until_bytes = 0

    def _revoke(self, mappings: list[HeldMapping]) -> list[HeldMapping]:
        """Take mappings that follow one another back from the miniport. Returns those that it has given up."""
        if not mappings:
            return []
        first, last = mappings[0].tag, mappings[-1].tag
        stream = self._port_stream
        count = 0
        try:
            with self._system.at(IRQL.DISPATCH):
                count = self._stream.revoke_mappings(first, last)
        except NtStatusError as error:
            stream.faults.append(f"RevokeMappings({first:#x}, {last:#x}): {error}")
            return []
        still_held = [mapping for mapping in mappings if mapping in stream.held]
        if count != len(still_held):
            stream.faults.append(f"RevokeMappings({first:#x}, {last:#x}): {count} revoked; {len(still_held)} were held")
        return still_held

    # ------------------------------------------------------------------ packets

    def submit(
        self,
        data: bytes,
        *,
        looped: bool = False,
        page_offset: int = 0,
        page_numbers: tuple[int, ...] | None = None,
    ) -> WavePciPacket:
        """Render: a packet with `data`, behind those that are there. It begins `page_offset` bytes into its first page.

        Its pages are `page_numbers`, taken from `port.pages` by the caller, in that order; or any that are free,
        neighbours if possible. Raises INSUFFICIENT_RESOURCES.
        """
        if self.capture:
            raise NtStatusError(NTSTATUS.INVALID_DEVICE_REQUEST, "a capture pin takes empty packets: submit_empty")
        packet = self._packet(len(data), looped, page_offset, page_numbers)
        packet.view.write(0, data)
        packet.used_bytes = len(data)
        return self._add(packet)

    def submit_empty(
        self,
        extent_bytes: int,
        *,
        looped: bool = False,
        page_offset: int = 0,
        page_numbers: tuple[int, ...] | None = None,
    ) -> WavePciPacket:
        """Capture: a packet of `extent_bytes` to be filled, behind those that are there. The rest as for `submit`."""
        if not self.capture:
            raise NtStatusError(NTSTATUS.INVALID_DEVICE_REQUEST, "a render pin takes packets with data: submit")
        return self._add(self._packet(extent_bytes, looped, page_offset, page_numbers))

    def _packet(
        self, extent_bytes: int, looped: bool, page_offset: int, page_numbers: tuple[int, ...] | None
    ) -> WavePciPacket:
        self._system.require(IRQL.PASSIVE, "a client's packet")
        if self._closed:
            raise NtStatusError(NTSTATUS.INVALID_DEVICE_STATE, "the pin is closed")
        if extent_bytes < 1 or not 0 <= page_offset < PAGE_BYTES:
            raise ValueError(
                f"expected a packet of at least 1 byte that begins in its first page; found {extent_bytes} bytes "
                f"from {page_offset} on"
            )
        pages = self._port.pages
        count = -(-(page_offset + extent_bytes) // PAGE_BYTES)
        if page_numbers is None:
            page_numbers = pages.take(self._last_address, count)
        if len(page_numbers) != count:
            pages.give_back(page_numbers)
            raise NtStatusError(NTSTATUS.INSUFFICIENT_RESOURCES, f"expected {count} pages; found {len(page_numbers)}")
        packet = WavePciPacket(pages, page_numbers, page_offset, extent_bytes, looped=looped)
        self._packets = [each for each in self._packets if each.pages_held]
        self._packets.append(packet)
        return packet

    @property
    def _last_address(self) -> int:
        memory = self._port.pages.memory
        return memory.physical_address + memory.length - 1

    def _add(self, packet: WavePciPacket) -> WavePciPacket:
        stream = self._port_stream
        stream.add(packet)
        if stream.refused:
            stream.refused = False
            with self._system.at(IRQL.DISPATCH):
                self._stream.mapping_available()
        return packet

    def cancel(self, packet: WavePciPacket) -> None:
        """The client wants a packet back: its mappings are revoked, also in RUN, and it is completed as CANCELLED."""
        self._system.require(IRQL.PASSIVE, "cancelling a client's packet")
        if not packet.pending:
            return
        packet.hand_out_no_more()
        stream = self._port_stream
        mappings = [mapping for mapping in stream.held if mapping.packet is packet]
        position = self._stream.get_position() if mappings else 0
        stream.drop(self._revoke(mappings), position)
        stream.cancel(packet)

    # ------------------------------------------------------------------ positions and events

    def position(self) -> KSAUDIO_POSITION:
        """Both positions, in bytes since STOP; with a looped packet in its buffer.

        Render: WriteOffset is where the client may write next. Capture: bytes before WriteOffset may be read.
        """
        return self._offsets(self._stream.get_position())

    def _offsets(self, position: int) -> KSAUDIO_POSITION:
        stream = self._port_stream
        if stream.pre_fetch_offset is not None:
            write = position + stream.pre_fetch_offset
        else:
            write = stream.released_bytes if self.capture else stream.acquired_bytes
        packet = stream.open_packet()
        if packet is None or not packet.looped or packet.start_bytes is None:
            return KSAUDIO_POSITION(position, write)
        return KSAUDIO_POSITION(
            (position - packet.start_bytes) % packet.extent_bytes, (write - packet.start_bytes) % packet.extent_bytes
        )

    def add_position_event(self, position_bytes: int, event: KEvent) -> None:
        """Set `event` when the stream comes to this position; of a looped packet, each time round."""
        self._position_events.append((position_bytes, event))

    def _fire_position_events(self) -> None:
        """Set the events between the position at the last look and that of now."""
        if not self._position_events:
            return
        now, before = self._stream.get_position(), self._events_until_bytes
        self._events_until_bytes = max(now, before)
        packet = self._port_stream.open_packet()
        for position, event in self._position_events:
            if packet is not None and packet.looped and packet.start_bytes is not None:
                first = packet.start_bytes + position
                passed = max(now - first, -1) // packet.extent_bytes != max(before - first, -1) // packet.extent_bytes
            else:
                passed = before < position <= now
            if passed:
                event.set()

    def _look_at_events(self) -> None:
        if self._state is KSSTATE.RUN and not self._closed:
            self._fire_position_events()

    def _serve(self) -> None:
        """The stream's group is served."""
        if self._state is KSSTATE.RUN and not self._closed:
            self._stream.service()
            self._system.queue_work_item(self._look_at_events)

    def _start_polling(self) -> None:
        if self._group is None:
            self._cancel_poll = self._system.set_timer(-POLL_INTERVAL, self._poll)

    def _stop_polling(self) -> None:
        if self._cancel_poll is not None:
            self._cancel_poll()
            self._cancel_poll = None

    def _poll(self) -> None:
        if self._state is KSSTATE.RUN and not self._closed:
            self._system.queue_work_item(self._look_at_events)
            self._start_polling()

    # ------------------------------------------------------------------ format

    def set_format(self, data_format: Format) -> None:
        """Change the format. Only in STOP: the miniport is not asked in other states. Raises NtStatusError."""
        self._passive("set_format")
        if self._state is not KSSTATE.STOP:
            raise NtStatusError(NTSTATUS.INVALID_DEVICE_REQUEST, f"the format cannot change in {self._state.name}")
        self._stream.set_format(data_format)
        self.format = data_format

    # ------------------------------------------------------------------ closing

    def _closing(self) -> list[Callable[[], object]]:
        steps: list[Callable[[], object]] = [self._stop_polling]
        if self._group is not None:
            steps += [partial(self._group.remove_member, self._sink), self._group.release]
        steps += [self._cancel_all, self._stream.release, self._port_stream.release]
        return steps + [packet.free for packet in self._packets]

    def _cancel_all(self) -> None:
        for packet in self._port_stream.packets:
            self._port_stream.cancel(packet)
