"""WavePci objects with one defect each. Several are taken from the ac97 sample and from ReactOS."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from codecrig.board import Board, Snapshot, stream_register
from codecrig.contract.checks import saboteur
from codecrig.contract.rig import Objects
from codecrig.contract.saboteurs.build import become, each_stream
from codecrig.link import Request
from codecrig.link import registers as regs
from codecrig.link.registers import RevokeResult, StreamState
from codecrig.miniport.engine import Descriptor
from codecrig.miniport.wavepci import MiniportWavePciStream
from codecrig.port.wavepci import POLL_INTERVAL, PortWavePci, PortWavePciStream, WavePciPacket, WavePciPin
from codecrig.portcls import (
    KSALLOCATOR_FRAMING,
    KSALLOCATOR_REQUIREMENTF_MUST_ALLOCATE,
    KSAUDIO_POSITION,
    KSSTATE,
    NTSTATUS,
    REFERENCE_TIME_PER_SECOND,
    Format,
    IDmaChannel,
    IPortWavePciStream,
    Mapping,
    NewWavePciStream,
    NtStatusError,
    SpinLock,
)


class _Recorder:
    """Stands for a miniport in NewStream, and keeps what it gave."""

    def __init__(self, miniport: Any) -> None:
        self._miniport = miniport
        self.made: NewWavePciStream | None = None

    def new_stream(self, *arguments: Any) -> NewWavePciStream:
        self.made = self._miniport.new_stream(*arguments)
        return self.made


def break_port(
    objects: Objects,
    pin_class: type[WavePciPin] = WavePciPin,
    stream_class: type[PortWavePciStream] = PortWavePciStream,
    at_channel: Callable[[IDmaChannel], object] | None = None,
) -> None:
    """Pins and port streams of the port are of these classes; `at_channel` is done to each stream's DMA channel."""

    class Port(PortWavePci):
        def open_pin(self, pin: int, capture: bool, data_format: Format) -> WavePciPin:
            recorder = _Recorder(self._miniport)
            opened = pin_class(recorder, self, pin, capture, data_format)  # type: ignore[arg-type]
            opened._port_stream.__class__ = stream_class
            self._pins.append(opened)
            channel = recorder.made.DmaChannel if recorder.made is not None else None
            if at_channel is not None and channel is not None:
                at_channel(channel)
            return opened

    objects.ports["wavepci"] = Port


class _PortStreamProxy:
    """A port stream as a defective miniport sees it."""

    def __init__(self, real: IPortWavePciStream) -> None:
        self.real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


def sees(proxy: type[_PortStreamProxy]) -> Callable[[Any], None]:
    """A change: the stream sees its port stream through `proxy`."""

    def change(stream: Any) -> None:
        stream._port_stream = proxy(stream._port_stream)

    return change


# ---------------------------------------------------------------------- NewStream


@saboteur("WP-NEW-01")
def pci_new_pci_stream_is_ahead(objects: Objects) -> None:
    """The position of a stream that never ran is one frame."""

    class Stream(MiniportWavePciStream):
        def get_position(self) -> int:
            return super().get_position() or self._engine.format.block_bytes

    each_stream(objects, "wavepci", become(Stream))


@saboteur("WP-NEW-01")
def pci_port_polls_too_seldom(objects: Objects) -> None:
    """A stream without a service group is looked at every 100 ms."""

    class Pin(WavePciPin):
        def _start_polling(self) -> None:
            if self._group is None:
                self._cancel_poll = self._system.set_timer(-5 * POLL_INTERVAL, self._poll)

    break_port(objects, Pin)


@saboteur("WP-NEW-02")
def pci_port_releases_the_channel(objects: Objects) -> None:
    """The port drops a reference on the DMA channel that it was never given."""
    break_port(objects, at_channel=lambda channel: channel.release())


@saboteur("WP-NEW-02")
def pci_port_references_the_channel(objects: Objects) -> None:
    """The port takes a reference on the DMA channel and never drops it."""
    break_port(objects, at_channel=lambda channel: channel.add_ref())


@saboteur("WP-NEW-02")
def pci_port_uses_the_channel(objects: Objects) -> None:
    """The port asks the DMA channel for its buffer."""
    break_port(objects, at_channel=lambda channel: channel.buffer_size())


# ---------------------------------------------------------------------- framing


def break_framing(objects: Objects, change: Callable[[KSALLOCATOR_FRAMING], KSALLOCATOR_FRAMING]) -> None:
    """GetAllocatorFraming answers something else."""

    class Stream(MiniportWavePciStream):
        def get_allocator_framing(self) -> KSALLOCATOR_FRAMING:
            return change(super().get_allocator_framing())

    each_stream(objects, "wavepci", become(Stream))


@saboteur("WP-FRM-01")
def pci_frame_size_is_not_whole_blocks(objects: Objects) -> None:
    """FrameSize is one byte more than whole blocks."""
    break_framing(objects, lambda good: dataclasses.replace(good, FrameSize=good.FrameSize + 1))


@saboteur("WP-FRM-01")
def pci_framing_is_an_order(objects: Objects) -> None:
    """The client must allocate so, says the framing: preferences only is not set."""
    break_framing(
        objects, lambda good: dataclasses.replace(good, RequirementsFlags=KSALLOCATOR_REQUIREMENTF_MUST_ALLOCATE)
    )


@saboteur("WP-FRM-01")
def pci_framing_reserved_is_used(objects: Objects) -> None:
    """Reserved holds something."""
    break_framing(objects, lambda good: dataclasses.replace(good, Reserved=1))


@saboteur("WP-FRM-02", "WP-MAP-06")
def pci_cuts_long_mappings(objects: Objects) -> None:
    """A mapping longer than FrameSize is played up to FrameSize only."""

    class Stream(MiniportWavePciStream):
        def _cut(self, tag: int, address: int, length: int, flags: int) -> list[Descriptor]:
            return super()._cut(tag, address, min(length, self.get_allocator_framing().FrameSize), flags)

    each_stream(objects, "wavepci", become(Stream))


# ---------------------------------------------------------------------- GetMapping, port side


def break_mappings(objects: Objects, change: Callable[[PortWavePciStream, Mapping], Mapping]) -> None:
    """GetMapping gives something else."""

    class Stream(PortWavePciStream):
        def get_mapping(self, tag: int) -> Mapping:
            return change(self, super().get_mapping(tag))

    break_port(objects, stream_class=Stream)


@saboteur("WP-MAP-01")
def pci_mappings_lose_their_last_byte(objects: Objects) -> None:
    """A long mapping is a byte short, so a gap is left."""
    break_mappings(
        objects, lambda stream, good: dataclasses.replace(good, ByteCount=good.ByteCount - (good.ByteCount > 4000))
    )


@saboteur("WP-MAP-01")
def pci_mappings_have_the_page_s_address(objects: Objects) -> None:
    """The physical address is that of the page, without the offset in it."""
    break_mappings(
        objects, lambda stream, good: dataclasses.replace(good, PhysicalAddress=good.PhysicalAddress & ~4095)
    )


@saboteur("WP-MAP-02")
def pci_nobody_tells_of_new_data(objects: Objects) -> None:
    """MappingAvailable is never called."""

    class Pin(WavePciPin):
        def _add(self, packet: WavePciPacket) -> WavePciPacket:
            self._port_stream.refused = False
            return super()._add(packet)

    break_port(objects, Pin)


@saboteur("WP-MAP-02")
def pci_tells_of_data_nobody_waits_for(objects: Objects) -> None:
    """MappingAvailable is called for every packet."""

    class Pin(WavePciPin):
        def _add(self, packet: WavePciPacket) -> WavePciPacket:
            self._port_stream.refused = True
            return super()._add(packet)

    break_port(objects, Pin)


@saboteur("WP-MAP-03")
def pci_every_mapping_is_the_last(objects: Objects) -> None:
    """Flags is set for every mapping."""
    break_mappings(objects, lambda stream, good: dataclasses.replace(good, Flags=1))


@saboteur("WP-MAP-03")
def pci_no_mapping_is_the_last(objects: Objects) -> None:
    """Flags is never set."""
    break_mappings(objects, lambda stream, good: dataclasses.replace(good, Flags=0))


@saboteur("WP-MAP-04")
def pci_tags_of_32_bits(objects: Objects) -> None:
    """Only the low 32 bits of a tag are stored."""

    class Stream(PortWavePciStream):
        def get_mapping(self, tag: int) -> Mapping:
            return super().get_mapping(tag & 0xFFFFFFFF)

        def release_mapping(self, tag: int) -> NTSTATUS:
            return super().release_mapping(tag & 0xFFFFFFFF)

    break_port(objects, stream_class=Stream)


@saboteur("WP-MAP-04")
def pci_tag_zero_means_none(objects: Objects) -> None:
    """A mapping of tag 0 cannot be released."""

    class Stream(PortWavePciStream):
        def release_mapping(self, tag: int) -> NTSTATUS:
            if tag == 0:
                raise NtStatusError(NTSTATUS.NOT_FOUND, "no tag")
            return super().release_mapping(tag)

    break_port(objects, stream_class=Stream)


@saboteur("WP-MAP-05")
def pci_looped_packets_end(objects: Objects) -> None:
    """A looped packet is handed out once."""

    class Stream(PortWavePciStream):
        def get_mapping(self, tag: int) -> Mapping:
            good = super().get_mapping(tag)
            packet = self.held[-1].packet
            if good.Flags and packet.looped:
                packet.hand_out_no_more()
            return good

    break_port(objects, stream_class=Stream)


@saboteur("WP-MAP-05")
def pci_looped_packets_are_completed_each_round(objects: Objects) -> None:
    """A looped packet is completed when its last mapping is released."""

    class Stream(PortWavePciStream):
        def release_mapping(self, tag: int) -> NTSTATUS:
            mapping = self.held[0]
            status = super().release_mapping(tag)
            if mapping.last and mapping.packet.looped:
                mapping.packet.status = NTSTATUS.SUCCESS
            return status

    break_port(objects, stream_class=Stream)


# ---------------------------------------------------------------------- mappings, miniport side


@saboteur("WP-MAP-06")
def pci_aligns_mappings_to_words(objects: Objects) -> None:
    """Address and length of a mapping are cut to words, as some engines want them."""

    class Stream(MiniportWavePciStream):
        def _cut(self, tag: int, address: int, length: int, flags: int) -> list[Descriptor]:
            return super()._cut(tag, address & ~3, length & ~3, flags) if length >= 4 else []

    each_stream(objects, "wavepci", become(Stream))


@saboteur("WP-MAP-06")
def pci_skips_unaligned_mappings(objects: Objects) -> None:
    """A mapping that does not begin on a word is not played (ac97 sample)."""

    class Stream(MiniportWavePciStream):
        def _cut(self, tag: int, address: int, length: int, flags: int) -> list[Descriptor]:
            return [] if address % 4 else super()._cut(tag, address, length, flags)

    each_stream(objects, "wavepci", become(Stream))


@saboteur("WP-MAP-07")
def pci_releases_under_its_lock(objects: Objects) -> None:
    """ReleaseMapping is called with a lock held."""

    class Stream(MiniportWavePciStream):
        def _release_finished(self) -> None:
            with SpinLock():
                super()._release_finished()

    each_stream(objects, "wavepci", become(Stream))


@saboteur("WP-MAP-07")
def pci_releases_from_an_old_list(objects: Objects) -> None:
    """The mappings to be released are listed before the first release, and not looked at again."""

    class Stream(MiniportWavePciStream):
        def _release_finished(self) -> None:
            if not self._started:
                return
            self._look()
            for mapping in [each for each in self._mappings if 0 < each.end_ordinal <= self._done]:
                try:
                    self._port_stream.release_mapping(mapping.tag)
                except NtStatusError:
                    pass
                if mapping in self._mappings:
                    self._mappings.remove(mapping)

    each_stream(objects, "wavepci", become(Stream))


@saboteur("WP-MAP-07")
def pci_lists_a_mapping_too_late(objects: Objects) -> None:
    """A mapping gets into the list behind GetMapping, so a revocation inside does not find it."""

    class Hidden(_PortStreamProxy):
        stream: Any = None

        def get_mapping(self, tag: int) -> Mapping:
            mappings = self.stream._mappings
            entry = mappings.pop()
            try:
                return self.real.get_mapping(tag)
            finally:
                mappings.append(entry)

    class Stream(MiniportWavePciStream):
        def _acquire(self) -> None:
            if not isinstance(self._port_stream, Hidden):
                hidden = Hidden(self._port_stream)
                hidden.stream = self
                self._port_stream = hidden  # type: ignore[assignment]
            super()._acquire()

    each_stream(objects, "wavepci", become(Stream))


@saboteur("WP-MAP-08")
def pci_forgets_what_does_not_fit(objects: Objects) -> None:
    """The rest of a mapping for which the ring has no room is dropped."""

    class Stream(MiniportWavePciStream):
        def _queue_waiting(self) -> None:
            super()._queue_waiting()
            for mapping in self._mappings:
                mapping.waiting.clear()

    def change(stream: Any) -> None:
        become(Stream)(stream)
        stream._miniport.descriptor_bytes = 64

    each_stream(objects, "wavepci", change)


@saboteur("WP-MAP-09")
def pci_freed_packets_are_free_at_once(objects: Objects) -> None:
    """Pages of a packet that the client frees are given away though the miniport holds them."""

    class Packet(WavePciPacket):
        def give_back(self) -> None:
            if self._wanted_free and self._page_numbers:
                self._pages.give_back(self._page_numbers)
                self._page_numbers = ()

    class Pin(WavePciPin):
        def _add(self, packet: WavePciPacket) -> WavePciPacket:
            packet.__class__ = Packet
            return super()._add(packet)

    break_port(objects, Pin)


@saboteur("WP-MAP-09")
def pci_revoked_memory_stays_locked(objects: Objects) -> None:
    """Pages of a revoked mapping never come back."""

    class Stream(PortWavePciStream):
        def drop(self, mappings: list[Any], position: int) -> None:
            for mapping in mappings:
                mapping.packet.held += 1
            super().drop(mappings, position)

    break_port(objects, stream_class=Stream)


# ---------------------------------------------------------------------- ReleaseMapping


@saboteur("WP-REL-01")
def pci_releases_the_newest_first(objects: Objects) -> None:
    """Finished mappings are released from the back."""

    class Stream(MiniportWavePciStream):
        def _release_finished(self) -> None:
            if self._started:
                self._look()
            for mapping in reversed([each for each in self._mappings if 0 < each.end_ordinal <= self._done]):
                self._mappings.remove(mapping)
                self._port_stream.release_mapping(mapping.tag)

    each_stream(objects, "wavepci", become(Stream))


@saboteur("WP-REL-01")
def pci_releases_twice(objects: Objects) -> None:
    """Each mapping is released twice."""

    class Twice(_PortStreamProxy):
        def release_mapping(self, tag: int) -> NTSTATUS:
            self.real.release_mapping(tag)
            return self.real.release_mapping(tag)

    each_stream(objects, "wavepci", sees(Twice))


@saboteur("WP-REL-01")
def pci_releases_under_another_tag(objects: Objects) -> None:
    """The tag of a release is not the one of the acquisition."""

    class Other(_PortStreamProxy):
        def release_mapping(self, tag: int) -> NTSTATUS:
            return self.real.release_mapping(tag + 1)

    each_stream(objects, "wavepci", sees(Other))


@saboteur("WP-REL-02")
def pci_releases_what_is_being_moved(objects: Objects) -> None:
    """A mapping is released when the engine begins with it (ac97 sample: one too many)."""

    class Stream(MiniportWavePciStream):
        def _release_finished(self) -> None:
            if self._started:
                self._look()
            while self._mappings and self._mappings[0].end_ordinal and self._mappings[0].first_ordinal <= self._done:
                self._port_stream.release_mapping(self._mappings.popleft().tag)

    each_stream(objects, "wavepci", become(Stream))


@saboteur("WP-REL-03", "WP-REL-04")
def pci_releases_the_oldest_whatever_the_tag(objects: Objects) -> None:
    """ReleaseMapping takes the oldest mapping, and completes its packet, whatever tag is given (ReactOS)."""

    class Stream(PortWavePciStream):
        def release_mapping(self, tag: int) -> NTSTATUS:
            if not self.held:
                raise NtStatusError(NTSTATUS.NOT_FOUND, "nothing is held")
            packet = self.held[0].packet
            status = super().release_mapping(self.held[0].tag)
            packet.status = NTSTATUS.SUCCESS
            return status

    break_port(objects, stream_class=Stream)


@saboteur("WP-REL-04")
def pci_the_read_position_stands(objects: Objects) -> None:
    """A release does not move the read position of a capture stream."""

    class Stream(PortWavePciStream):
        def release_mapping(self, tag: int) -> NTSTATUS:
            before = self.released_bytes
            status = super().release_mapping(tag)
            self.released_bytes = before
            return status

    break_port(objects, stream_class=Stream)


# ---------------------------------------------------------------------- TerminatePacket


@saboteur("WP-TRM-01")
def pci_terminate_packet_is_not_there(objects: Objects) -> None:
    """TerminatePacket is not implemented (ReactOS)."""

    class Stream(PortWavePciStream):
        def terminate_packet(self) -> NTSTATUS:
            raise NtStatusError(NTSTATUS.NOT_IMPLEMENTED, "TerminatePacket")

    break_port(objects, stream_class=Stream)


@saboteur("WP-TRM-01", "WP-TRM-02")
def pci_terminated_packets_are_full(objects: Objects) -> None:
    """The used length of a packet that ended early is its whole extent."""

    class Stream(PortWavePciStream):
        def terminate(self, packet: WavePciPacket, captured_bytes: int) -> None:
            super().terminate(packet, captured_bytes + packet.extent_bytes)

    break_port(objects, stream_class=Stream)


@saboteur("WP-TRM-01")
def pci_terminated_packets_go_on(objects: Objects) -> None:
    """GetMapping behind TerminatePacket goes on in the packet that was terminated."""

    class Stream(PortWavePciStream):
        def terminate_packet(self) -> NTSTATUS:
            packet = self.open_packet()
            if packet is not None:
                packet.used_bytes = self.captured_bytes()
            return NTSTATUS.SUCCESS

    break_port(objects, stream_class=Stream)


@saboteur("WP-TRM-02")
def pci_stop_throws_the_open_packet_away(objects: Objects) -> None:
    """STOP cancels the packet that is being filled."""

    class Stream(PortWavePciStream):
        def terminate(self, packet: WavePciPacket, captured_bytes: int) -> None:
            self.cancel(packet)

    break_port(objects, stream_class=Stream)


# ---------------------------------------------------------------------- RevokeMappings, miniport side


def break_revocation(objects: Objects, call: Callable[[Callable[[int, int], int], Any, int, int], int]) -> None:
    """RevokeMappings does `call(good, stream, first, last)`."""

    class Stream(MiniportWavePciStream):
        def revoke_mappings(self, first_tag: int, last_tag: int) -> int:
            return call(super().revoke_mappings, self, first_tag, last_tag)

    each_stream(objects, "wavepci", become(Stream))


@saboteur("WP-RVK-01")
def pci_revocation_leaves_the_last(objects: Objects) -> None:
    """The last mapping of a range stays, unless it is the only one."""
    break_revocation(objects, lambda good, stream, first, last: good(first, max(first, last - 1)))


@saboteur("WP-RVK-01")
def pci_revocation_takes_the_first_only(objects: Objects) -> None:
    """Only the first mapping of a range is revoked."""
    break_revocation(objects, lambda good, stream, first, last: good(first, first))


@saboteur("WP-RVK-02")
def pci_revocation_wants_both_ends(objects: Objects) -> None:
    """A range of which one end was released is refused (ac97 sample)."""

    def call(good: Callable[[int, int], int], stream: Any, first: int, last: int) -> int:
        tags = [mapping.tag for mapping in stream._mappings]
        if first not in tags or last not in tags:
            raise NtStatusError(NTSTATUS.UNSUCCESSFUL, "an end of the range is gone")
        return good(first, last)

    break_revocation(objects, call)


@saboteur("WP-RVK-02")
def pci_revocation_counts_the_whole_range(objects: Objects) -> None:
    """MappingsRevoked is the length of the range, released ones included."""
    break_revocation(objects, lambda good, stream, first, last: max(good(first, last), last - first + 1))


@saboteur("WP-RVK-02")
def pci_the_only_mapping_is_revoked_unseen(objects: Objects) -> None:
    """With one mapping left that one is revoked, whatever tags are given (ac97 sample)."""

    def call(good: Callable[[int, int], int], stream: Any, first: int, last: int) -> int:
        if len(stream._mappings) == 1:
            first = last = stream._mappings[0].tag
        return good(first, last)

    break_revocation(objects, call)


@saboteur("WP-RVK-03")
def pci_revocation_does_not_reach_the_engine(objects: Objects) -> None:
    """Mappings leave the list, but their descriptors stay in the ring."""

    class Stream(MiniportWavePciStream):
        def _remove(self, first: int, end: int, waiting_bytes: int, ahead_bytes: int) -> None:
            pass

    each_stream(objects, "wavepci", become(Stream))


@saboteur("WP-RVK-03")
def pci_revocation_forgets_what_the_engine_has_read(objects: Objects) -> None:
    """Descriptors are marked as removed, but the engine goes on with the one that it holds."""

    class Stream(MiniportWavePciStream):
        def _order_revocation(self, orders: list[Any], first: int, last: int) -> tuple[int, int]:
            self._engine.board.transact(orders)
            return RevokeResult.UNUSED, 0

    each_stream(objects, "wavepci", become(Stream))


@saboteur("WP-RVK-04")
def pci_revocation_stops_the_engine(objects: Objects) -> None:
    """The engine is halted for a revocation and not started again."""

    def call(good: Callable[[int, int], int], stream: Any, first: int, last: int) -> int:
        stream._engine.command(StreamState.PAUSE)
        return good(first, last)

    break_revocation(objects, call)


@saboteur("WP-RVK-04")
def pci_revocation_takes_all_behind(objects: Objects) -> None:
    """The mappings behind a range go with it."""

    def call(good: Callable[[int, int], int], stream: Any, first: int, last: int) -> int:
        count = good(first, last)
        good(first, stream._next_tag - 1)
        return count

    break_revocation(objects, call)


@saboteur("WP-RVK-04")
def pci_revoked_mappings_are_released_later(objects: Objects) -> None:
    """A revoked mapping is released with the next one that is finished."""

    class Stream(MiniportWavePciStream):
        def revoke_mappings(self, first_tag: int, last_tag: int) -> int:
            self._gone = first_tag
            return super().revoke_mappings(first_tag, last_tag)

        def _release_finished(self) -> None:
            super()._release_finished()
            if getattr(self, "_gone", 0):
                try:
                    self._port_stream.release_mapping(self._gone)
                except NtStatusError:
                    pass
                self._gone = 0

    each_stream(objects, "wavepci", become(Stream))


@saboteur("WP-RVK-05")
def pci_unknown_tags_are_fine(objects: Objects) -> None:
    """Revoking tags that were never used succeeds with 0."""

    def call(good: Callable[[int, int], int], stream: Any, first: int, last: int) -> int:
        try:
            return good(first, last)
        except NtStatusError:
            return 0

    break_revocation(objects, call)


@saboteur("WP-RVK-05")
def pci_unknown_tags_revoke_everything(objects: Objects) -> None:
    """Tags that were never used are refused, but all mappings are dropped first."""

    def call(good: Callable[[int, int], int], stream: Any, first: int, last: int) -> int:
        try:
            return good(first, last)
        except NtStatusError:
            if stream._mappings:
                good(stream._mappings[0].tag, stream._mappings[-1].tag)
            raise

    break_revocation(objects, call)


# ---------------------------------------------------------------------- RevokeMappings, port side


@saboteur("WP-RVK-06")
def pci_stop_revokes_nothing(objects: Objects) -> None:
    """Mappings that are outstanding behind STOP are forgotten."""

    class Pin(WavePciPin):
        def _revoke(self, mappings: list[Any]) -> list[Any]:
            return mappings if self._state is KSSTATE.STOP else super()._revoke(mappings)

    break_port(objects, Pin)


@saboteur("WP-RVK-06")
def pci_cancelling_revokes_nothing(objects: Objects) -> None:
    """A packet that is cancelled in RUN is completed while the miniport holds its mappings."""

    class Pin(WavePciPin):
        def _revoke(self, mappings: list[Any]) -> list[Any]:
            return super()._revoke(mappings) if self._state is KSSTATE.STOP else mappings

    break_port(objects, Pin)


@saboteur("WP-RVK-06")
def pci_revokes_before_stop(objects: Objects) -> None:
    """Mappings are revoked before SetState(STOP), so also if that fails."""

    class Pin(WavePciPin):
        def set_state(self, state: KSSTATE) -> None:
            if state is KSSTATE.STOP:
                self._port_stream.drop(self._revoke(self._port_stream.held.copy()), 0)
            super().set_state(state)

    break_port(objects, Pin)


# ---------------------------------------------------------------------- MappingAvailable, Service


@saboteur("WP-AVL-01")
def pci_mapping_available_is_ignored(objects: Objects) -> None:
    """A stream that has starved takes no new mappings."""

    class Stream(MiniportWavePciStream):
        def mapping_available(self) -> None:
            pass

    each_stream(objects, "wavepci", become(Stream))


@saboteur("WP-AVL-01")
def pci_mapping_available_takes_one(objects: Objects) -> None:
    """MappingAvailable acquires one mapping."""

    class One(_PortStreamProxy):
        left = 1 << 30

        def get_mapping(self, tag: int) -> Mapping:
            if self.left == 0:
                raise NtStatusError(NTSTATUS.NOT_FOUND, "that was the one")
            self.left -= 1
            return self.real.get_mapping(tag)

    class Stream(MiniportWavePciStream):
        def mapping_available(self) -> None:
            self._port_stream.left = 1  # type: ignore[attr-defined]
            super().mapping_available()
            self._port_stream.left = 1 << 30  # type: ignore[attr-defined]

    each_stream(objects, "wavepci", become(Stream))
    each_stream(objects, "wavepci", sees(One))


@saboteur("WP-SVC-01")
def pci_service_releases_one(objects: Objects) -> None:
    """Service releases one finished mapping a call."""

    class Stream(MiniportWavePciStream):
        def _release_finished(self) -> None:
            if self._started:
                self._look()
            if self._mappings and 0 < self._mappings[0].end_ordinal <= self._done:
                self._port_stream.release_mapping(self._mappings.popleft().tag)

    each_stream(objects, "wavepci", become(Stream))


@saboteur("WP-SVC-01")
def pci_service_acquires_nothing(objects: Objects) -> None:
    """Service releases, but leaves new mappings to MappingAvailable."""

    class Stream(MiniportWavePciStream):
        def service(self) -> None:
            self._release_finished()

    each_stream(objects, "wavepci", become(Stream))


@saboteur("WP-SVC-02")
def pci_serves_in_every_state(objects: Objects) -> None:
    """The port calls Service in PAUSE, too."""

    class Pin(WavePciPin):
        def _serve(self) -> None:
            self._stream.service()

    break_port(objects, Pin)


@saboteur("WP-SVC-02")
def pci_serves_by_the_clock(objects: Objects) -> None:
    """The port calls Service every 20 ms whether or not it was asked to."""

    class Pin(WavePciPin):
        def _start_polling(self) -> None:
            self._cancel_poll = self._system.set_timer(-POLL_INTERVAL, self._poll)

        def _poll(self) -> None:
            self._serve()
            super()._poll()

    break_port(objects, Pin)


@saboteur("WP-SVC-02")
def pci_all_groups_lead_to_the_streams(objects: Objects) -> None:
    """The group of Init calls the streams instead of the miniport."""

    class Port(PortWavePci):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self._sink._serve = self._serve_streams

        def _serve_streams(self) -> None:
            for pin in self._pins:
                pin._serve()

    objects.ports["wavepci"] = Port


@saboteur("WP-SVC-03")
def pci_interrupts_at_packet_ends_only(objects: Objects) -> None:
    """Within a long mapping there is no interrupt."""

    class Stream(MiniportWavePciStream):
        def _program(self) -> None:
            super()._program()
            self._engine.board.transact(self._engine.writes((regs.STREAM_INTERVAL_BYTES, 0)))

    each_stream(objects, "wavepci", become(Stream))


@saboteur("WP-SVC-03")
def pci_interrupts_every_10_ms_only(objects: Objects) -> None:
    """Mappings with Flags do not interrupt."""

    class Stream(MiniportWavePciStream):
        def _cut(self, tag: int, address: int, length: int, flags: int) -> list[Descriptor]:
            return super()._cut(tag, address, length, 0)

    each_stream(objects, "wavepci", become(Stream))


@saboteur("WP-SVC-03")
def pci_queue_of_one(objects: Objects) -> None:
    """The next mapping is acquired when the one before is finished."""

    class Stream(MiniportWavePciStream):
        @property
        def _room(self) -> int:
            return 1 - len(self._mappings)

    each_stream(objects, "wavepci", become(Stream))


# ---------------------------------------------------------------------- states


@saboteur("WP-STA-01")
def pci_waits_for_three_mappings(objects: Objects) -> None:
    """RUN does not start the engine before it has three mappings."""

    class Stream(MiniportWavePciStream):
        def set_state(self, state: KSSTATE) -> NTSTATUS:
            status = super().set_state(state)
            if state is KSSTATE.RUN and len(self._mappings) < 3:
                self._engine.command(StreamState.PAUSE)
            return status

        def _serve(self) -> None:
            super()._serve()
            if self._state is KSSTATE.RUN and len(self._mappings) >= 3:
                self._engine.command(StreamState.RUN)

    each_stream(objects, "wavepci", become(Stream))


@saboteur("WP-STA-02")
def pci_pause_drops_the_queue(objects: Objects) -> None:
    """PAUSE gives up what the engine has not begun with."""

    class Stream(MiniportWavePciStream):
        def set_state(self, state: KSSTATE) -> NTSTATUS:
            was_running = self._state is KSSTATE.RUN
            status = super().set_state(state)
            if was_running and state is KSSTATE.PAUSE and len(self._mappings) > 1:
                self._remove(self._mappings[1].first_ordinal, self._producer, 0, 0)
            return status

    each_stream(objects, "wavepci", become(Stream))


@saboteur("WP-STA-02")
def pci_acquire_resets_the_position(objects: Objects) -> None:
    """The position is 0 in ACQUIRE."""

    class Stream(MiniportWavePciStream):
        def get_position(self) -> int:
            return 0 if self._state is KSSTATE.ACQUIRE else super().get_position()

    each_stream(objects, "wavepci", become(Stream))


@saboteur("WP-STA-02")
def pci_stop_keeps_the_position(objects: Objects) -> None:
    """The position stays behind STOP."""

    class Stream(MiniportWavePciStream):
        _last = 0

        def get_position(self) -> int:
            self._last = super().get_position() or self._last
            return self._last

    each_stream(objects, "wavepci", become(Stream))


@saboteur("WP-STA-02")
def pci_pause_lets_the_engine_run(objects: Objects) -> None:
    """PAUSE freezes the position that is told; the engine plays on."""

    class Stream(MiniportWavePciStream):
        _frozen: int | None = None

        def set_state(self, state: KSSTATE) -> NTSTATUS:
            if state in (KSSTATE.PAUSE, KSSTATE.ACQUIRE) and self._started:
                self._frozen = self._frozen or super().get_position()
                self._state = state
                return NTSTATUS.SUCCESS
            self._frozen = None
            return super().set_state(state)

        def get_position(self) -> int:
            return super().get_position() if self._frozen is None else self._frozen

    each_stream(objects, "wavepci", become(Stream))


@saboteur("WP-STA-03")
def pci_pause_fires_no_events(objects: Objects) -> None:
    """Position events wait for the next notification, which does not come in PAUSE."""

    class Pin(WavePciPin):
        def _fire_position_events(self) -> None:
            if self._state is KSSTATE.RUN:
                super()._fire_position_events()

    break_port(objects, Pin)


# ---------------------------------------------------------------------- positions


def break_positions(objects: Objects, change: Callable[[Any, int], int]) -> None:
    """GetPosition answers `change(stream, good)`."""

    class Stream(MiniportWavePciStream):
        def get_position(self) -> int:
            return change(self, super().get_position())

    each_stream(objects, "wavepci", become(Stream))


@saboteur("WP-POS-01")
def pci_position_of_32_bits(objects: Objects) -> None:
    """The position wraps at 2^32."""
    break_positions(objects, lambda stream, good: good & 0xFFFFFFFF)


@saboteur("WP-POS-01")
def pci_position_wraps_with_the_loop(objects: Objects) -> None:
    """The position begins anew with each round of a looped buffer."""
    break_positions(objects, lambda stream, good: good % (90 * stream._engine.format.block_bytes))


@saboteur("WP-POS-01")
def pci_position_falls_back(objects: Objects) -> None:
    """Now and then the position is some frames less than before."""
    break_positions(objects, lambda stream, good: good - 80 * stream._engine.format.block_bytes * (good // 600 % 2))


@saboteur("WP-POS-02")
def pci_position_forgets_what_is_not_released(objects: Objects) -> None:
    """What is finished and not released yet is not counted, so a release is a step (ac97 sample)."""

    class Stream(MiniportWavePciStream):
        def get_position(self) -> int:
            good = super().get_position()
            finished = [each for each in self._mappings if 0 < each.end_ordinal <= self._done]
            ordinals = (ordinal for each in finished for ordinal in range(each.first_ordinal, each.end_ordinal))
            return max(0, good - sum(self._descriptor(ordinal).length for ordinal in ordinals))

    each_stream(objects, "wavepci", become(Stream))


@saboteur("WP-POS-02")
def pci_position_jumps_at_revocation(objects: Objects) -> None:
    """Revoked bytes count as played."""

    class Stream(MiniportWavePciStream):
        _revoked = 0

        def revoke_mappings(self, first_tag: int, last_tag: int) -> int:
            count = super().revoke_mappings(first_tag, last_tag)
            self._revoked += 60 * count * self._engine.format.block_bytes
            return count

        def get_position(self) -> int:
            return super().get_position() + self._revoked

    each_stream(objects, "wavepci", become(Stream))


@saboteur("WP-POS-02")
def pci_position_runs_ahead_of_the_data(objects: Objects) -> None:
    """A stream that starves goes on counting."""

    class Stream(MiniportWavePciStream):
        def get_position(self) -> int:
            snapshot = self._engine.snapshot() if self._started else None
            missed = 0 if snapshot is None else snapshot.underruns
            return super().get_position() + missed * self._engine.format.block_bytes

    each_stream(objects, "wavepci", become(Stream))


@saboteur("WP-POS-03")
def pci_position_is_the_engine_pointer(objects: Objects) -> None:
    """The position is what the engine has fetched."""

    class Stream(MiniportWavePciStream):
        def get_position(self) -> int:
            return self._engine.snapshot().bytes if self._started else 0

    each_stream(objects, "wavepci", become(Stream))


@saboteur("WP-POS-03")
def pci_position_by_the_host_s_clock(objects: Objects) -> None:
    """The position is computed from the time since RUN."""

    class Stream(MiniportWavePciStream):
        _begin_s = 0.0

        def set_state(self, state: KSSTATE) -> NTSTATUS:
            status = super().set_state(state)
            if state is KSSTATE.RUN:
                self._begin_s = self._seconds()
            return status

        def _seconds(self) -> float:
            system = self._miniport.system
            return system.performance_counter() / system.performance_frequency

        def get_position(self) -> int:
            if self._state is not KSSTATE.RUN:
                return super().get_position()
            frames = int((self._seconds() - self._begin_s) * self._engine.format.sample_rate)
            return frames * self._engine.format.block_bytes

    each_stream(objects, "wavepci", become(Stream))


@saboteur("WP-POS-04")
def pci_position_stops_short(objects: Objects) -> None:
    """What the converter has inside is never counted, however long the stream starves."""

    class Stream(MiniportWavePciStream):
        def _look(self) -> Snapshot:
            snapshot = super()._look()
            self._reported_frames = max(0, snapshot.frames - self._engine.codec_delay_frames)
            return snapshot

    each_stream(objects, "wavepci", become(Stream))


@saboteur("WP-POS-04")
def pci_position_goes_on_without_data(objects: Objects) -> None:
    """A stream that starves goes on counting frames as if they were played."""

    class Stream(MiniportWavePciStream):
        def _look(self) -> Snapshot:
            snapshot = super()._look()
            self._reported_frames = snapshot.frames + snapshot.underruns
            return snapshot

    each_stream(objects, "wavepci", become(Stream))


# ---------------------------------------------------------------------- the rest


@saboteur("WP-NRM-01")
def pci_two_bytes_a_sample(objects: Objects) -> None:
    """Every sample is taken to have two bytes (ac97 sample)."""

    class Stream(MiniportWavePciStream):
        def normalize_physical_position(self, physical_position: int) -> int:
            form = self._engine.format
            return physical_position * REFERENCE_TIME_PER_SECOND // (2 * form.channels * form.sample_rate)

    each_stream(objects, "wavepci", become(Stream))


@saboteur("WP-NRM-01")
def pci_divides_before_it_multiplies(objects: Objects) -> None:
    """The length of a byte is rounded, then multiplied."""

    class Stream(MiniportWavePciStream):
        def normalize_physical_position(self, physical_position: int) -> int:
            return physical_position * (REFERENCE_TIME_PER_SECOND // self._engine.format.bytes_per_second)

    each_stream(objects, "wavepci", become(Stream))


@saboteur("WP-FMT-01")
def pci_takes_a_format_in_run(objects: Objects) -> None:
    """SetFormat succeeds in RUN."""

    class Stream(MiniportWavePciStream):
        def set_format(self, data_format: Format) -> NTSTATUS:
            self._miniport.check_format(self._engine.number, data_format)
            self._engine.format = data_format
            return NTSTATUS.SUCCESS

    each_stream(objects, "wavepci", become(Stream))


@saboteur("WP-FMT-01")
def pci_keeps_a_format_that_it_refused(objects: Objects) -> None:
    """SetFormat fails, but the format is in force."""

    class Stream(MiniportWavePciStream):
        def set_format(self, data_format: Format) -> NTSTATUS:
            self._engine.format = data_format
            return super().set_format(data_format)

    each_stream(objects, "wavepci", become(Stream))


@saboteur("WP-FMT-01")
def pci_asks_for_a_format_in_pause(objects: Objects) -> None:
    """The port passes a new format on in every state."""

    class Pin(WavePciPin):
        def set_format(self, data_format: Format) -> None:
            self._stream.set_format(data_format)

    break_port(objects, Pin)


def break_offsets(objects: Objects, change: Callable[[Any, int, KSAUDIO_POSITION], KSAUDIO_POSITION]) -> None:
    """The client is told other offsets."""

    class Pin(WavePciPin):
        def _offsets(self, position: int) -> KSAUDIO_POSITION:
            return change(self, position, super()._offsets(position))

    break_port(objects, Pin)


@saboteur("WP-PFO-01")
def pci_the_prefetch_offset_is_ignored(objects: Objects) -> None:
    """SetPreFetchOffset has no effect."""

    class Stream(PortWavePciStream):
        def set_pre_fetch_offset(self, pre_fetch_offset: int) -> None:
            pass

    break_port(objects, stream_class=Stream)


@saboteur("WP-PFO-01")
def pci_the_write_position_is_the_play_position(objects: Objects) -> None:
    """Without a prefetch offset the client may write where is played."""

    def change(pin: Any, position: int, good: KSAUDIO_POSITION) -> KSAUDIO_POSITION:
        with_offset = pin._port_stream.pre_fetch_offset is not None
        return good if with_offset else KSAUDIO_POSITION(good.PlayOffset, good.PlayOffset)

    break_offsets(objects, change)


@saboteur("WP-PFO-01")
def pci_the_prefetch_offset_leaves_the_loop(objects: Objects) -> None:
    """PlayOffset plus the prefetch offset may lie behind the end of a looped buffer."""

    def change(pin: Any, position: int, good: KSAUDIO_POSITION) -> KSAUDIO_POSITION:
        offset = pin._port_stream.pre_fetch_offset
        return good if offset is None else KSAUDIO_POSITION(good.PlayOffset, good.PlayOffset + offset)

    break_offsets(objects, change)


# ---------------------------------------------------------------------- what the board answers


def break_snapshots(objects: Objects, change: Callable[[Board, int, Snapshot], Snapshot]) -> None:
    """Snapshots tell something else."""

    def prepare(board: Board) -> None:
        good = board.snapshot

        def snapshot(stream: int, **options: Any) -> Snapshot:
            return change(board, stream, good(stream, **options))

        board.snapshot = snapshot  # type: ignore[method-assign]

    objects.prepare.append(prepare)


@saboteur("WP-REL-02")
def pci_board_counts_a_descriptor_too_early(objects: Objects) -> None:
    """The engine counts a descriptor as finished when it begins with it."""

    def change(board: Board, stream: int, good: Snapshot) -> Snapshot:
        producer = board.read_register(stream_register(stream, regs.STREAM_RING_PRODUCER))
        return dataclasses.replace(good, descriptors=min(good.descriptors + 1, max(producer, good.descriptors)))

    break_snapshots(objects, change)


@saboteur("WP-POS-02", "WP-POS-04")
def pci_board_counts_silence(objects: Objects) -> None:
    """The engine counts frames that it had no data for as converted."""

    def change(board: Board, stream: int, good: Snapshot) -> Snapshot:
        return dataclasses.replace(good, frames=good.frames + good.underruns)

    break_snapshots(objects, change)


def ignore_writes(objects: Objects, offset: int) -> None:
    """What is written to this register of any stream has no effect."""

    def prepare(board: Board) -> None:
        good = board.transact
        addresses = [stream_register(stream, offset) for stream in range(regs.STREAM_COUNT)]

        def transact(requests: Any) -> list[bytes]:
            return good([Request.read(each.address, 4) if each.address in addresses else each for each in requests])

        board.transact = transact  # type: ignore[method-assign]

    objects.prepare.append(prepare)


@saboteur("WP-RVK-03")
def pci_board_ignores_revoke(objects: Objects) -> None:
    """REVOKE seems answered, but the engine goes on with what it holds."""
    ignore_writes(objects, regs.STREAM_REVOKE)


@saboteur("WP-SVC-03")
def pci_board_ignores_the_interval(objects: Objects) -> None:
    """There are no interrupts within a mapping."""
    ignore_writes(objects, regs.STREAM_INTERVAL_BYTES)
