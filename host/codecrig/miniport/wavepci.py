"""MiniportWavePci: the WavePci driver of a codecrig board.

Mappings become descriptors in a queue of the engine; they are released in order once the engine has counted their
last descriptor. Every position and count comes from a snapshot that the board took. Audio data is never touched.

The stream's lock is never held across a call to the port: RevokeMappings may come inside, so everything known about
the list is looked up again behind it.
"""

import struct
from collections import deque
from dataclasses import dataclass, field

from codecrig.board import Board, EventRecord, Snapshot, stream_register
from codecrig.link import Request
from codecrig.link import registers as regs
from codecrig.link.registers import Cause, RevokeResult, StreamState
from codecrig.portcls import (
    FILE_LONG_ALIGNMENT,
    KSALLOCATOR_FRAMING,
    KSALLOCATOR_REQUIREMENTF_PREFERENCES_ONLY,
    KSALLOCATOR_REQUIREMENTF_SYSTEM_MEMORY,
    KSSTATE,
    NTSTATUS,
    POOL_TYPE_NON_PAGED,
    REFERENCE_TIME_PER_SECOND,
    Format,
    IDmaChannel,
    IMiniportWavePci,
    IMiniportWavePciStream,
    IPortWavePci,
    IPortWavePciStream,
    IServiceGroup,
    IUnknown,
    NewWavePciStream,
    NtStatusError,
    ResourceList,
    SpinLock,
)

from .engine import DESCRIPTORS_PER_STREAM, STATE_TRIES, Descriptor, EngineMiniport, EngineStream
from .rights import ProtectedStream

INTERVAL_MS = 10
"""An interrupt at least so often while bytes move, besides those at the ends of packets."""
MERGED_US = 500
"""Ends of packets that come so soon behind one another share one interrupt, the last one's."""
WANTED_PACKETS = 8
RING_DESCRIPTORS = DESCRIPTORS_PER_STREAM - 1
"""The place of the last one is for bytes that nobody wants."""
REVOKE_MARGIN_MS = 5
"""If the engine will come to a revoked mapping so soon, it pauses: an order takes some milliseconds to arrive."""
_MASK16 = 0xFFFF
_MASK32 = 0xFFFFFFFF
_EVENT = 1 << regs.DESCRIPTOR_EVENT_FLAG_BIT
_LAST = 1 << regs.DESCRIPTOR_LAST_BIT
_REMOVED = 1 << regs.DESCRIPTOR_REMOVED_BIT
_REVOKE_PENDING = 1 << regs.STREAM_REVOKE_STATUS_PENDING_LSB
_CAUSES = sum(1 << c for c in (Cause.DESCRIPTOR, Cause.UNDERRUN, Cause.OVERRUN, Cause.FAULT, Cause.INTERVAL))


class MiniportWavePci(EngineMiniport, IMiniportWavePci):
    """The WavePci miniport of one board."""

    def __init__(
        self, board: Board, *, ring_descriptors: int = RING_DESCRIPTORS, descriptor_bytes: int | None = None
    ) -> None:
        """`ring_descriptors`: length of each queue. `descriptor_bytes`: the longest descriptor; None: any length.

        What is heard does not depend on them.
        """
        super().__init__(board)
        self.ring_descriptors = ring_descriptors
        self.descriptor_bytes = descriptor_bytes
        self._port: IPortWavePci | None = None
        self._dma_channel: IDmaChannel | None = None

    @property
    def port(self) -> IPortWavePci:
        """The port, known from Init on. For the streams."""
        assert self._port is not None, "no stream without init"
        return self._port

    def init(
        self, unknown_adapter: IUnknown | None, resource_list: ResourceList | None, port: IPortWavePci
    ) -> IServiceGroup | None:
        memory_bytes = self._board.profile.memory.audio_bytes
        self._dma_channel = port.new_master_dma_channel(None, memory_bytes, True, False)
        port.add_ref()
        self._port = port
        self.take_port(port)
        return None  # each stream has a group of its own

    def destroy(self) -> None:
        super().destroy()
        for held in (self._dma_channel, self._port):
            if held is not None:
                held.release()
        self._dma_channel = self._port = None

    def new_stream(
        self, port_stream: IPortWavePciStream, pin: int, capture: bool, data_format: Format
    ) -> NewWavePciStream:
        engine = self.open_engine_stream(pin, capture, data_format)
        try:
            group = self.port.new_service_group()
        except BaseException:
            engine.close()
            raise
        stream = MiniportWavePciStream(self, port_stream, engine, group)
        group.add_ref()
        return NewWavePciStream(stream, self._dma_channel, group)

    def service(self) -> None:
        pass


@dataclass(slots=True, eq=False)
class _Mapping:
    """A mapping that this stream holds."""

    tag: int
    acquiring: bool = True
    """GetMapping is under way."""
    revoked: bool = False
    waiting: deque[Descriptor] = field(default_factory=deque)
    """What has no place in the ring yet."""
    first_ordinal: int = 0
    end_ordinal: int = 0
    """Its descriptors in the ring, counted since STOP: first, and the one behind the last."""


class MiniportWavePciStream(ProtectedStream, IMiniportWavePciStream):
    """One stream."""

    def __init__(
        self, miniport: MiniportWavePci, port_stream: IPortWavePciStream, engine: EngineStream, group: IServiceGroup
    ) -> None:
        self._miniport = miniport
        self._port_stream = port_stream
        self._engine = engine
        self._group = group
        self._lock = SpinLock()
        self._state = KSSTATE.STOP
        self._mappings: deque[_Mapping] = deque()
        self._next_tag = 1
        self._busy = False
        self._forget_progress()
        miniport.add_ref()
        port_stream.add_ref()
        engine.subscribe(self._interrupt)

    def destroy(self) -> None:
        try:
            if self._state is not KSSTATE.STOP:
                self.set_state(KSSTATE.STOP)
        finally:
            self._engine.close()
            self._group.release()
            self._port_stream.release()
            self._miniport.release()

    def _forget_progress(self) -> None:
        self._started = False
        """The engine has been in RUN since STOP."""
        self._ring: list[Descriptor | None] = [None] * self._miniport.ring_descriptors
        self._producer = 0
        self._done = 0
        self._moved_before_done = 0
        """Bytes that the engine had moved when it came to descriptor `_done`."""
        self._reported_frames = 0
        self._underruns_before_gap = 0

    # ------------------------------------------------------------------ format and state

    def set_format(self, data_format: Format) -> NTSTATUS:
        if self._state is KSSTATE.RUN:
            raise NtStatusError(NTSTATUS.INVALID_DEVICE_REQUEST, "the format cannot change in RUN")
        self._miniport.check_format(self._engine.number, data_format)
        if self._state is not KSSTATE.STOP and data_format != self._engine.format:
            raise NtStatusError(NTSTATUS.INVALID_DEVICE_REQUEST, "the engine takes a new format in STOP only")
        self._engine.format = data_format
        return NTSTATUS.SUCCESS

    def set_state(self, state: KSSTATE) -> NTSTATUS:
        if state is self._state:
            return NTSTATUS.SUCCESS
        if self._state is KSSTATE.STOP:
            self._program()
        if state is KSSTATE.RUN:
            self._serve()
            self._engine.command(StreamState.RUN)
            self._started = True
        elif self._state is KSSTATE.RUN:
            self._halt()
        if state is KSSTATE.STOP:
            self._release_finished()
            self._engine.command(StreamState.STOP)
            for mapping in self._mappings:
                mapping.waiting.clear()
                mapping.first_ordinal = mapping.end_ordinal = 0
            self._forget_progress()
        self._state = state
        return NTSTATUS.SUCCESS

    def _halt(self) -> None:
        """PAUSE. An engine that a fault has halted stands already; RUN tells of it."""
        try:
            self._engine.command(StreamState.PAUSE)
        except NtStatusError:
            if not self._engine.snapshot().fault:
                raise

    def _program(self) -> None:
        """Settings for the next RUN from STOP; the queue is empty."""
        interval_bytes = self._engine.format.sample_rate * INTERVAL_MS // 1000 * self._engine.format.block_bytes
        self._engine.program([], causes=_CAUSES, interval_bytes=interval_bytes, queue=True)
        size = self._engine.writes((regs.STREAM_RING_SIZE, self._miniport.ring_descriptors))
        silence = b"\x80" if self._engine.format.container_bytes == 1 else b"\0"
        filler = Request.write(self._filler_address, silence * regs.DESCRIPTOR_BYTES)
        self._engine.board.transact([*size, filler])

    # ------------------------------------------------------------------ positions

    def _look(self) -> Snapshot:
        """A snapshot; what it says about finished descriptors and frames played is kept."""
        snapshot = self._engine.snapshot()
        done = self._done + ((snapshot.descriptors - self._done) & _MASK32)
        self._moved_before_done += self._queued_bytes(self._done, done)
        self._done = done
        if self._engine.capture:
            return snapshot
        starving = self._done == self._producer and snapshot.fifo_bytes < self._engine.format.block_bytes
        missed = snapshot.underruns - self._underruns_before_gap
        if not starving:
            self._underruns_before_gap = snapshot.underruns
            missed = 0
        # What the converter still has inside comes out while the stream starves.
        inside = max(0, self._engine.codec_delay_frames - missed)
        self._reported_frames = max(self._reported_frames, snapshot.frames - inside)
        return snapshot

    def get_position(self) -> int:
        """Render: bytes that were played. Capture: bytes that are in memory, whole frames; the converter is ahead of
        them by its own delay and what the FIFO holds.
        """
        if not self._started:
            return 0
        snapshot = self._look()
        block_bytes = self._engine.format.block_bytes
        frames = snapshot.bytes // block_bytes if self._engine.capture else self._reported_frames
        return frames * block_bytes

    def normalize_physical_position(self, physical_position: int) -> int:
        data_format = self._engine.format
        return physical_position * REFERENCE_TIME_PER_SECOND // data_format.bytes_per_second

    def get_allocator_framing(self) -> KSALLOCATOR_FRAMING:
        data_format = self._engine.format
        return KSALLOCATOR_FRAMING(
            OptionsFlags=0,
            RequirementsFlags=KSALLOCATOR_REQUIREMENTF_SYSTEM_MEMORY | KSALLOCATOR_REQUIREMENTF_PREFERENCES_ONLY,
            PoolType=POOL_TYPE_NON_PAGED,
            Frames=WANTED_PACKETS,
            FrameSize=data_format.sample_rate * INTERVAL_MS // 1000 * data_format.block_bytes,
            FileAlignment=FILE_LONG_ALIGNMENT,
        )

    # ------------------------------------------------------------------ interrupt and service

    def _interrupt(self, record: EventRecord) -> None:
        """The interrupt half. Its cause has been taken note of at the board."""
        if self._state is KSSTATE.RUN:
            self._miniport.port.notify(self._group)

    def service(self) -> None:
        if self._state is not KSSTATE.STOP:
            self._serve()

    def mapping_available(self) -> None:
        if self._state is not KSSTATE.STOP:
            self._serve()

    def _serve(self) -> None:
        """Release what is finished, acquire and queue as much as there is room for."""
        if self._busy:
            return  # called from inside a call to the port: who is at it goes on
        self._busy = True
        try:
            self._release_finished()
            self._queue_waiting()
            self._acquire()
        finally:
            self._busy = False

    def _release_finished(self) -> None:
        if not self._started:
            return
        self._look()
        while True:
            with self._lock:
                oldest = self._mappings[0] if self._mappings else None
                if oldest is None or oldest.acquiring or oldest.waiting or oldest.end_ordinal > self._done:
                    return
                self._mappings.popleft()
            try:
                self._port_stream.release_mapping(oldest.tag)
            except NtStatusError as error:
                if error.status is not NTSTATUS.NOT_FOUND:  # else: revoked in this very moment
                    raise

    # ------------------------------------------------------------------ acquiring

    @property
    def _room(self) -> int:
        """Descriptors for which there is room."""
        waiting = sum(len(mapping.waiting) for mapping in self._mappings)
        return len(self._ring) - (self._producer - self._done) - waiting

    def _acquire(self) -> None:
        """Acquire mappings until there are none or the ring is full, then queue them with one write."""
        while self._room > 0:
            with self._lock:
                mapping = _Mapping(self._next_tag)
                self._next_tag += 1
                self._mappings.append(mapping)
            try:
                given = self._port_stream.get_mapping(mapping.tag)
            except NtStatusError as error:
                with self._lock:
                    self._mappings.remove(mapping)
                    self._next_tag -= 1
                if error.status is not NTSTATUS.NOT_FOUND:
                    raise
                break
            with self._lock:
                mapping.acquiring = False
                if not mapping.revoked:
                    mapping.waiting.extend(self._cut(mapping.tag, given.PhysicalAddress, given.ByteCount, given.Flags))
        self._queue_waiting()

    def _cut(self, tag: int, address: int, length: int, flags: int) -> list[Descriptor]:
        """A mapping as descriptors, none of them too long; the end of a packet interrupts."""
        longest = self._miniport.descriptor_bytes or length
        pieces = []
        for offset in range(0, length, longest):
            last = bool(flags) and offset + longest >= length
            count = min(longest, length - offset)
            pieces.append(Descriptor(address + offset, count, tag & _MASK32, _EVENT | _LAST if last else 0))
        return pieces

    def _queue_waiting(self) -> None:
        """Put what waits into the ring, in order, as far as there is room. Each quarter of the ring interrupts."""
        quarter = max(1, len(self._ring) // 4)
        with self._lock:
            first = self._producer
            for mapping in self._mappings:
                while mapping.waiting and self._producer - self._done < len(self._ring):
                    descriptor = mapping.waiting.popleft()
                    if mapping.end_ordinal == 0:
                        mapping.first_ordinal = self._producer
                    slot = self._producer % len(self._ring)
                    self._producer += 1
                    mapping.end_ordinal = self._producer
                    if self._producer % quarter == 0:
                        descriptor = _with_flags(descriptor, _EVENT)
                    self._ring[slot] = descriptor
            self._merge_events(first)
            written = self._ring_writes(first, self._producer)
            if written:
                producer = self._engine.writes((regs.STREAM_RING_PRODUCER, self._producer & _MASK16))
                self._engine.board.transact([*written, *producer])

    def _merge_events(self, first: int) -> None:
        """Of the descriptors from `first` on, let those not interrupt behind which another soon will."""
        merged_bytes = self._engine.format.bytes_per_second * MERGED_US // 1_000_000
        behind_bytes = merged_bytes
        for ordinal in reversed(range(first, self._producer)):
            descriptor = self._descriptor(ordinal)
            if descriptor.flags & _EVENT:
                if behind_bytes < merged_bytes:
                    self._ring[ordinal % len(self._ring)] = _with_flags(descriptor, 0, without=_EVENT)
                else:
                    behind_bytes = 0
            behind_bytes += descriptor.length

    def _ring_writes(self, first: int, end: int) -> list[Request]:
        """Requests that write the descriptors `first` to `end` - 1 into audio memory."""
        writes: list[Request] = []
        while first < end:
            slot = first % len(self._ring)
            count = min(end - first, len(self._ring) - slot)
            data = b"".join(each.pack() for each in self._ring[slot : slot + count] if each is not None)
            writes.append(Request.write(self._engine.ring_base + slot * regs.DESCRIPTOR_BYTES, data))
            first += count
        return writes

    # ------------------------------------------------------------------ revoking

    def revoke_mappings(self, first_tag: int, last_tag: int) -> int:
        if not 0 < first_tag <= last_tag < self._next_tag:
            raise NtStatusError(NTSTATUS.UNSUCCESSFUL, f"no mappings {first_tag:#x} to {last_tag:#x} were acquired")
        with self._lock:
            revoked = [mapping for mapping in self._mappings if first_tag <= mapping.tag <= last_tag]
            waiting_bytes = sum(descriptor.length for mapping in revoked for descriptor in mapping.waiting)
            for mapping in revoked:
                self._mappings.remove(mapping)
                mapping.revoked = True
                mapping.waiting.clear()
            moved_bytes = self._look().bytes if self._started and revoked else 0
            queued = [mapping for mapping in revoked if mapping.end_ordinal > self._done]
            if queued:
                first = max(queued[0].first_ordinal, self._done)
                ahead_bytes = self._moved_before_done + self._queued_bytes(self._done, first) - moved_bytes
                self._remove(first, queued[-1].end_ordinal, waiting_bytes, ahead_bytes)
        return len(revoked)

    def _queued_bytes(self, first: int, end: int) -> int:
        """Bytes of the descriptors `first` to `end` - 1, without removed ones."""
        descriptors = (self._descriptor(ordinal) for ordinal in range(first, end))
        return sum(each.length for each in descriptors if not each.flags & _REMOVED)

    def _remove(self, first: int, end: int, waiting_bytes: int, ahead_bytes: int) -> None:
        """Take the descriptors `first` to `end` - 1 from the engine; behind this it does not touch their memory.

        `waiting_bytes` of the range were not queued; before the range the engine has `ahead_bytes` to move. If that is
        little or nothing the engine pauses meanwhile: cut off in the range, it then begins with what follows at the
        right byte of a frame.
        """
        removed = {ordinal: self._descriptor(ordinal) for ordinal in range(first, end)}
        for ordinal, descriptor in removed.items():
            self._ring[ordinal % len(self._ring)] = _with_flags(descriptor, _REMOVED)
        orders = self._ring_writes(first, end)
        if not self._started:
            self._engine.board.transact(orders)
            return
        running = self._state is KSSTATE.RUN
        pauses = running and ahead_bytes * 1000 < REVOKE_MARGIN_MS * self._engine.format.bytes_per_second
        if pauses:
            orders = [*self._engine.writes((regs.STREAM_CONTROL, StreamState.PAUSE)), *orders]
        result, left_bytes = self._order_revocation(orders, first, end - 1)
        if result == RevokeResult.DROPPED and (pauses or not running):
            self._moved_before_done = self._look().bytes
            lost_bytes = left_bytes + sum(each.length for ordinal, each in removed.items() if ordinal >= self._done)
            self._fill_frame((lost_bytes + waiting_bytes) % self._engine.format.block_bytes, end)
        elif result == RevokeResult.DROPPED:  # it was faster than the order: what it moved counts, as a frame cut off
            moved = removed[first].length - left_bytes
            self._ring[first % len(self._ring)] = Descriptor(removed[first].address, moved)
        if pauses:
            self._engine.board.transact(self._engine.writes((regs.STREAM_CONTROL, StreamState.RUN)))
        if result == RevokeResult.REFUSED:
            raise NtStatusError(
                NTSTATUS.IO_DEVICE_ERROR, f"the engine refused to give up descriptors {first} to {end - 1}"
            )

    def _order_revocation(self, orders: list[Request], first: int, last: int) -> tuple[int, int]:
        """Make `orders`, then REVOKE; returns its result and REVOKE_LEFT. Raises IO_DEVICE_ERROR without an answer."""
        order = self._engine.writes((regs.STREAM_REVOKE, (last & _MASK16) << 16 | first & _MASK16))
        answer = Request.read(stream_register(self._engine.number, regs.STREAM_REVOKE_STATUS), 8)
        found = self._engine.board.transact([*orders, *order, answer])[-1]
        for _ in range(STATE_TRIES):
            status, left_bytes = struct.unpack("<2I", found)
            if not status & _REVOKE_PENDING:
                return status, left_bytes
            found = self._engine.board.transact([answer])[0]
        raise NtStatusError(
            NTSTATUS.IO_DEVICE_ERROR, f"the engine did not answer to REVOKE {first} to {last} in {STATE_TRIES} reads"
        )

    def _fill_frame(self, count: int, end: int) -> None:
        """Put `count` bytes that nobody wants at the head of the queue of an engine that stands.

        What was removed reached up to `end`, so its next descriptor is free to be used; else those behind make room.
        """
        if count == 0:
            return
        filler = Descriptor(self._filler_address, count, 0, 0)
        ordinals = range(self._done, self._producer)
        if end > self._done:
            self._ring[self._done % len(self._ring)] = filler
            writes = self._ring_writes(self._done, self._done + 1)
        else:
            behind = [filler, *(self._descriptor(ordinal) for ordinal in ordinals)]
            for ordinal, descriptor in enumerate(behind, self._done):
                self._ring[ordinal % len(self._ring)] = descriptor
            for mapping in self._mappings:
                if mapping.end_ordinal > self._done:
                    mapping.first_ordinal += 1
                    mapping.end_ordinal += 1
            self._producer += 1
            writes = self._ring_writes(self._done, self._producer)
            writes += self._engine.writes((regs.STREAM_RING_PRODUCER, self._producer & _MASK16))
        self._engine.board.transact(writes)

    @property
    def _filler_address(self) -> int:
        """Bytes behind the ring: silence for render, waste for capture."""
        return self._engine.ring_base + len(self._ring) * regs.DESCRIPTOR_BYTES

    def _descriptor(self, ordinal: int) -> Descriptor:
        descriptor = self._ring[ordinal % len(self._ring)]
        assert descriptor is not None, "what was queued is in the ring"
        return descriptor


def _with_flags(descriptor: Descriptor, flags: int, *, without: int = 0) -> Descriptor:
    return Descriptor(descriptor.address, descriptor.length, descriptor.tag, descriptor.flags & ~without | flags)
