"""MiniportWaveRT: the WaveRT driver of a codecrig board.

Every position, count and time comes from a snapshot that the board took or from an event that it posted; none is
computed from host time. Audio data is never touched: it goes between the client's view of the buffer and the engine.
"""

import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from codecrig.board import Board, BoardError, EventRecord, Snapshot
from codecrig.link import LinkError, Request
from codecrig.link import registers as regs
from codecrig.link.registers import Cause, StreamState
from codecrig.portcls import (
    DEVICE_DESCRIPTION,
    KSAUDIO_POSITION,
    KSAUDIO_PRESENTATION_POSITION,
    KSRTAUDIO_HWLATENCY,
    KSRTAUDIO_HWREGISTER,
    KSSTATE,
    KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM,
    MEMORY_CACHING_TYPE,
    NTSTATUS,
    PAGE_BYTES,
    REFERENCE_TIME_PER_SECOND,
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
    ReadPacket,
    join_pieces,
)

from .engine import DESCRIPTORS_PER_STREAM, FIFO_BYTES, Descriptor, EngineMiniport, EngineStream
from .rights import ProtectedStream
from .times import FrameTimes, HostClock

KEPT_BOUNDARIES = 8
"""Packet ends whose times are remembered for GetReadPacket; a client further behind has lost the data anyway."""

END_TRIES = 1000
"""Snapshots until it must show whether the engine saw the end of the stream; a packet lasts a few hundred at most."""

_MASK32 = 0xFFFFFFFF
_FLAGS_OFFSET = 12
_SILENCE_BYTES = 4 * regs.DESCRIPTOR_BYTES
"""One frame of silence in the last places of a stream's descriptors, which no ring needs."""


@dataclass(slots=True)
class _Buffer:
    """A buffer that was allocated: its pages, and how it is cut."""

    mdl: Mdl
    actual_bytes: int
    packets: int
    notification: bool

    @property
    def packet_bytes(self) -> int:
        return self.actual_bytes // self.packets


class RegisterView(MemoryView):
    """One 32-bit register as memory that a client may read. Writing is refused."""

    def __init__(self, board: Board, address: int) -> None:
        self._board = board
        self._address = address

    @property
    def physical_address(self) -> int:
        return self._address

    @property
    def length(self) -> int:
        return 4

    def read(self, offset: int, length: int) -> bytes:
        self.check_range(offset, length)
        return self._board.read_register(self._address).to_bytes(4, "little")[offset : offset + length]

    def write(self, offset: int, data: bytes) -> None:
        raise NtStatusError(NTSTATUS.NOT_SUPPORTED, "a hardware register is for reading only")


class MiniportWaveRT(EngineMiniport, IMiniportWaveRT):
    """The WaveRT miniport of one board."""

    def init(self, unknown_adapter: IUnknown | None, resource_list: object | None, port: IPortWaveRT) -> NTSTATUS:
        # WaveRT has no notification through the port, so that pointer itself is not kept.
        self.take_port(port)
        return NTSTATUS.SUCCESS

    def new_stream(
        self, port_stream: IPortWaveRTStream, pin: int, capture: bool, data_format: Format
    ) -> IMiniportWaveRTStream:
        engine = self.open_engine_stream(pin, capture, data_format)
        kind = WaveRTCaptureStream if capture else WaveRTRenderStream
        return kind(self, port_stream, engine)

    def get_device_description(self) -> DEVICE_DESCRIPTION:
        memory_bytes = self._board.profile.memory.audio_bytes
        return DEVICE_DESCRIPTION(
            Master=True, ScatterGather=True, MaximumPhysicalAddress=memory_bytes - 1, MaximumLength=memory_bytes
        )


class MiniportWaveRTStream(IMiniportWaveRTStreamNotification):
    """What render and capture streams have in common."""

    def __init__(self, miniport: MiniportWaveRT, port_stream: IPortWaveRTStream, engine: EngineStream) -> None:
        self._miniport = miniport
        self._port_stream = port_stream
        self._board = miniport.board
        self._engine = engine
        self._state = KSSTATE.STOP
        self._buffer: _Buffer | None = None
        self._events: list[KEvent] = []
        self._ring: list[Descriptor] = []
        self._changes = 0
        self._reported_play_bytes = 0
        self._run_ticks = 0
        self._times = FrameTimes()
        self._host_clock = HostClock(self._board.clock.rate)
        self._boundaries: deque[tuple[int, int]] = deque(maxlen=KEPT_BOUNDARIES)
        self._packets_done = 0
        miniport.add_ref()
        port_stream.add_ref()
        engine.subscribe(self._interrupt)

    def destroy(self) -> None:
        try:
            if self._state is not KSSTATE.STOP:
                self.set_state(KSSTATE.STOP)
        finally:
            self._engine.close()
            self._port_stream.release()
            self._miniport.release()

    # ------------------------------------------------------------------ format and state

    def set_format(self, data_format: Format) -> NTSTATUS:
        if self._state is KSSTATE.RUN:
            raise NtStatusError(NTSTATUS.INVALID_PARAMETER, "the format cannot change in RUN")
        self._miniport.check_format(self._engine.number, data_format)
        if self._buffer is not None and data_format != self._engine.format:
            raise NtStatusError(NTSTATUS.INVALID_PARAMETER, "the format cannot change while a buffer is allocated")
        self._engine.format = data_format
        return NTSTATUS.SUCCESS

    def set_state(self, state: KSSTATE) -> NTSTATUS:
        if state is self._state:
            return NTSTATUS.SUCCESS
        # Whoever looks at the board meanwhile looks again, see _instant.
        self._changes += 1
        try:
            self._change_state(state)
        finally:
            self._changes += 1
        self._state = state
        return NTSTATUS.SUCCESS

    def _change_state(self, state: KSSTATE) -> None:
        if state is KSSTATE.RUN:
            if self._buffer is None:
                raise NtStatusError(NTSTATUS.INVALID_DEVICE_STATE, "RUN without a buffer: allocate one first")
            frames = missed = 0
            if self._times.has_run:
                snapshot = self._engine.snapshot()
                frames, missed = snapshot.frames, snapshot.underruns + snapshot.overruns
                self._packets_done = snapshot.bytes // self._buffer.packet_bytes
            self._run_ticks = self._engine.command(StreamState.RUN)
            self._times.run(self._run_ticks, frames, missed, self._engine.frame_clocks)
        elif state is KSSTATE.STOP:
            self._engine.command(StreamState.STOP)
            self._forget_progress()
        elif self._state is KSSTATE.RUN:
            self._engine.command(StreamState.PAUSE)
            # Boundaries crossed in RUN are delivered now; from here on no event is set.
            self._board.poll()
            self._times.look(self._engine.snapshot())

    def _forget_progress(self) -> None:
        self._reported_play_bytes = 0
        self._times.clear()
        self._boundaries.clear()
        self._packets_done = 0

    # ------------------------------------------------------------------ positions

    def _instant(self, look_up: Callable[[], _Buffer]) -> tuple[_Buffer, Snapshot]:
        """The buffer, as `look_up` finds it or refuses, and a snapshot, true together at one instant.

        If another caller changed the state meanwhile, once more: nothing from before STOP is told behind it.
        """
        while True:
            buffer, changes = look_up(), self._changes
            before_ns = self._board.link.host_time_ns()
            snapshot = self._engine.snapshot()
            self._host_clock.bracket(before_ns, self._board.link.host_time_ns(), snapshot.time_ticks)
            if changes == self._changes:
                self._times.look(snapshot)
                return buffer, snapshot

    def _any_buffer(self) -> _Buffer:
        """The buffer. Raises INVALID_DEVICE_STATE."""
        if self._buffer is None:
            raise NtStatusError(NTSTATUS.INVALID_DEVICE_STATE, "the stream has no buffer")
        return self._buffer

    def get_position(self) -> KSAUDIO_POSITION:
        if self._buffer is None:
            return KSAUDIO_POSITION(0, 0)
        buffer, snapshot = self._instant(self._any_buffer)
        play_bytes = self._engine.outer_frames(snapshot) * self._engine.format.block_bytes
        if snapshot.state is not StreamState.STOP:
            play_bytes = self._reported_play_bytes = max(play_bytes, self._reported_play_bytes)
        size = buffer.actual_bytes
        return KSAUDIO_POSITION(play_bytes % size, snapshot.bytes % size)

    def get_hw_latency(self) -> KSRTAUDIO_HWLATENCY:
        def reference_time(frames: int) -> int:
            return -(-frames * REFERENCE_TIME_PER_SECOND // self._engine.format.sample_rate)

        return KSRTAUDIO_HWLATENCY(
            FifoSize=FIFO_BYTES,
            ChipsetDelay=reference_time(self._engine.handover_frames),
            CodecDelay=reference_time(self._engine.codec_delay_frames),
        )

    def get_position_register(self) -> KSRTAUDIO_HWREGISTER:
        raise NtStatusError(NTSTATUS.NOT_SUPPORTED, "no register holds an offset in the buffer: use GetPosition")

    def get_clock_register(self) -> KSRTAUDIO_HWREGISTER:
        numerator, denominator = self._board.profile.clock_hz
        view = RegisterView(self._board, regs.FPGA_TIME_LO)
        return KSRTAUDIO_HWREGISTER(view, Width=32, Numerator=numerator, Denominator=denominator, Accuracy=1)

    # ------------------------------------------------------------------ buffers

    def allocate_audio_buffer(self, requested_size: int) -> AudioBuffer:
        return self._allocate(1, requested_size, notification=False)

    def allocate_buffer_with_notification(self, notification_count: int, requested_size: int) -> AudioBuffer:
        if notification_count not in (1, 2):
            raise NtStatusError(
                NTSTATUS.INVALID_PARAMETER, f"notification count {notification_count}: accepted are 1 and 2"
            )
        return self._allocate(notification_count, requested_size, notification=True)

    def free_audio_buffer(self, audio_buffer_mdl: Mdl | None, buffer_size: int) -> None:
        self._free(audio_buffer_mdl)

    def free_buffer_with_notification(self, audio_buffer_mdl: Mdl | None, buffer_size: int) -> None:
        self._free(audio_buffer_mdl)

    def _allocate(self, packets: int, requested_size: int, *, notification: bool) -> AudioBuffer:
        if self._buffer is not None:
            raise NtStatusError(NTSTATUS.INVALID_DEVICE_REQUEST, "the stream has a buffer: free it first")
        block_bytes = self._engine.format.block_bytes
        if requested_size < block_bytes:
            raise NtStatusError(
                NTSTATUS.UNSUCCESSFUL, f"a buffer of {requested_size} bytes is less than one frame of {block_bytes}"
            )
        unit = block_bytes * packets
        actual_bytes = -(-requested_size // unit) * unit
        memory_bytes = self._board.profile.memory.audio_bytes
        mdl = self._port_stream.allocate_pages_for_mdl(memory_bytes - 1, actual_bytes)
        pages = 0 if mdl is None else self._port_stream.get_physical_pages_count(mdl)
        if mdl is None or pages * PAGE_BYTES < actual_bytes:
            if mdl is not None:
                self._port_stream.free_pages_from_mdl(mdl)
            raise NtStatusError(
                NTSTATUS.INSUFFICIENT_RESOURCES, f"expected {actual_bytes} bytes in pages; found {pages * PAGE_BYTES}"
            )
        buffer = _Buffer(mdl, actual_bytes, packets, notification)
        try:
            self._program(buffer)
        except (BoardError, LinkError) as error:
            self._port_stream.free_pages_from_mdl(mdl)
            raise NtStatusError(NTSTATUS.DEVICE_NOT_READY, str(error)) from error
        except BaseException:
            self._port_stream.free_pages_from_mdl(mdl)
            raise
        self._buffer = buffer
        self._forget_progress()
        return AudioBuffer(mdl, actual_bytes, 0, MEMORY_CACHING_TYPE.WRITE_COMBINED)

    def _descriptors(self, buffer: _Buffer) -> list[Descriptor]:
        """The descriptor ring: one for each run of touching pages in a packet, an event at each packet's end."""
        addresses = [
            self._port_stream.get_physical_page_address(buffer.mdl, page)
            for page in range(self._port_stream.get_physical_pages_count(buffer.mdl))
        ]
        ring = []
        for packet in range(buffer.packets):
            position, end = packet * buffer.packet_bytes, (packet + 1) * buffer.packet_bytes
            pieces = []
            while position < end:
                page, offset = divmod(position, PAGE_BYTES)
                length = min(PAGE_BYTES - offset, end - position)
                pieces.append((addresses[page] + offset, length))
                position += length
            runs = join_pieces(pieces)
            for address, length in runs:
                is_end = (address, length) == runs[-1]
                flags = 1 << regs.DESCRIPTOR_KEEP_BIT | int(is_end) << regs.DESCRIPTOR_EVENT_FLAG_BIT
                ring.append(Descriptor(address, length, packet, flags))
        return ring

    def _program(self, buffer: _Buffer) -> None:
        causes = 1 << Cause.UNDERRUN | 1 << Cause.OVERRUN | 1 << Cause.FAULT
        if buffer.notification:
            causes |= 1 << Cause.DESCRIPTOR
        self._ring = self._descriptors(buffer)
        self._engine.program(self._ring, causes=causes)

    def _free(self, mdl: Mdl | None) -> None:
        if mdl is None or self._buffer is None:
            return
        if mdl is not self._buffer.mdl:
            raise NtStatusError(NTSTATUS.INVALID_PARAMETER, "the page list is not the one of this stream's buffer")
        if self._state is not KSSTATE.STOP:
            # The port should not do this: the engine must let go of the pages first.
            self._engine.command(StreamState.STOP)
            self._forget_progress()
        self._engine.clear_settings()
        self._buffer = None
        self._port_stream.free_pages_from_mdl(mdl)

    def _notification_buffer(self) -> _Buffer:
        """The buffer, if packets are possible. Raises NOT_SUPPORTED."""
        if self._buffer is None or not self._buffer.notification:
            raise NtStatusError(NTSTATUS.NOT_SUPPORTED, "packets need a buffer that was allocated with notification")
        return self._buffer

    # ------------------------------------------------------------------ events

    def register_notification_event(self, notification_event: KEvent) -> NTSTATUS:
        if any(event is notification_event for event in self._events):
            raise NtStatusError(NTSTATUS.UNSUCCESSFUL, "the event is registered already")
        self._events.append(notification_event)
        return NTSTATUS.SUCCESS

    def unregister_notification_event(self, notification_event: KEvent) -> NTSTATUS:
        for index, event in enumerate(self._events):
            if event is notification_event:
                del self._events[index]
                return NTSTATUS.SUCCESS
        raise NtStatusError(NTSTATUS.NOT_FOUND, "the event is not registered")

    def _interrupt(self, record: EventRecord) -> None:
        """The interrupt half: a record of this stream has come. A record from before the last RUN is old news."""
        buffer = self._buffer
        if record.cause is not Cause.DESCRIPTOR or record.reposted or buffer is None or not buffer.notification:
            return
        if self._state is not KSSTATE.RUN or record.time_ticks < self._run_ticks:
            return
        moved_bytes = _nearest(record.data2, self._packets_done * buffer.packet_bytes)
        self._packets_done = moved_bytes // buffer.packet_bytes
        self._boundaries.append((self._packets_done, record.time_ticks))
        self._miniport.queue_deferred(self._set_events)

    def _set_events(self) -> None:
        """The deferred half: who is registered by now is told."""
        for event in tuple(self._events):
            event.set()


class WaveRTRenderStream(ProtectedStream, MiniportWaveRTStream, IMiniportWaveRTOutputStream):
    """A render stream."""

    def __init__(self, miniport: MiniportWaveRT, port_stream: IPortWaveRTStream, engine: EngineStream) -> None:
        super().__init__(miniport, port_stream, engine)
        self._end_of_stream = False
        self._cut: int | None = None

    def _change_state(self, state: KSSTATE) -> None:
        super()._change_state(state)
        if state is KSSTATE.STOP:
            self._restore_end()

    def _forget_progress(self) -> None:
        super()._forget_progress()
        self._end_of_stream = False

    def get_packet_count(self) -> int:
        buffer, snapshot = self._instant(self._notification_buffer)
        return snapshot.bytes // buffer.packet_bytes & _MASK32

    def set_write_packet(self, packet_number: int, flags: int, eos_packet_length: int) -> NTSTATUS:
        buffer = self._notification_buffer()
        if flags & ~KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM:
            raise NtStatusError(NTSTATUS.INVALID_PARAMETER, f"flags {flags:#x}: only end of stream (0x200) is known")
        last = bool(flags & KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM)
        if last and not 0 <= eos_packet_length <= buffer.packet_bytes:
            raise NtStatusError(
                NTSTATUS.INVALID_PARAMETER, f"end of stream at {eos_packet_length} bytes of {buffer.packet_bytes}"
            )
        buffer, snapshot = self._instant(self._notification_buffer)
        if self._end_of_stream:
            raise NtStatusError(NTSTATUS.INVALID_DEVICE_STATE, "the last packet was accepted already: STOP first")
        count = snapshot.bytes // buffer.packet_bytes
        ahead = (packet_number - count + 0x80000000 & _MASK32) - 0x80000000
        running = self._state is KSSTATE.RUN
        if ahead < (1 if running else 0):
            raise NtStatusError(NTSTATUS.DATA_LATE_ERROR, f"packet {packet_number}: the engine is at {count & _MASK32}")
        if ahead >= (max(buffer.packets, 2) if running else buffer.packets):
            raise NtStatusError(
                NTSTATUS.DATA_OVERRUN, f"packet {packet_number} has no place yet, the engine is at {count & _MASK32}"
            )
        if last:
            self._end_of_stream = True
            try:
                self._end_stream(buffer, count + ahead, eos_packet_length, snapshot)
            except BaseException:
                self._end_of_stream = False
                raise
        return NTSTATUS.SUCCESS

    def _end_stream(self, buffer: _Buffer, packet: int, length: int, snapshot: Snapshot) -> None:
        """Let the stream end behind `length` bytes of `packet`, counted since STOP. Raises DATA_LATE_ERROR.

        The descriptor in which that byte lies is cut and flagged; for no byte at all the packet's first one becomes a
        frame of silence. STOP puts it back.
        """
        first_byte = packet * buffer.packet_bytes
        pieces = [index for index, each in enumerate(self._ring) if each.tag == packet % buffer.packets]
        index = pieces.pop(0)
        while length > self._ring[index].length:
            first_byte += self._ring[index].length
            length -= self._ring[index].length
            index = pieces.pop(0)
        if self._times.has_run and snapshot.bytes >= first_byte:
            raise NtStatusError(NTSTATUS.DATA_LATE_ERROR, f"packet {packet & _MASK32}: the engine has its end already")
        address = self._ring[index].address
        slot = self._engine.ring_base + index * regs.DESCRIPTOR_BYTES
        requests = []
        if length == 0:
            address = self._engine.ring_base + DESCRIPTORS_PER_STREAM * regs.DESCRIPTOR_BYTES - _SILENCE_BYTES
            silence = b"\x80" if self._engine.format.container_bits == 8 else b"\0"
            requests.append(Request.write(address, silence * _SILENCE_BYTES))
            length = self._engine.format.block_bytes
        flags = (
            1 << regs.DESCRIPTOR_KEEP_BIT
            | 1 << regs.DESCRIPTOR_EVENT_FLAG_BIT
            | 1 << regs.DESCRIPTOR_END_OF_STREAM_BIT
        )
        # The engine reads the flags first: it must not find the new length with the old flags.
        requests.append(Request.write(slot + _FLAGS_OFFSET, flags.to_bytes(4, "little")))
        requests.append(Request.write(slot, struct.pack("<2I", address, length)))
        self._cut = index
        self._board.transact(requests)
        if self._times.has_run and not self._is_ended(first_byte, first_byte + length):
            self._restore_end()
            raise NtStatusError(NTSTATUS.DATA_LATE_ERROR, f"packet {packet & _MASK32}: the engine was there before")

    def _is_ended(self, first_byte: int, end_byte: int) -> bool:
        """Did, or will, the engine see that the descriptor from `first_byte` on ends the stream at `end_byte`?

        It reads a descriptor when it comes to it. If that was while it was changed, its progress tells.
        """
        for _ in range(END_TRIES):
            snapshot = self._engine.snapshot()
            if snapshot.bytes < first_byte or snapshot.ended or self._state is not KSSTATE.RUN:
                return True
            if snapshot.bytes > end_byte:
                return False
        raise NtStatusError(NTSTATUS.IO_DEVICE_ERROR, f"the engine stands still {snapshot.bytes - first_byte} bytes on")

    def _restore_end(self) -> None:
        """The descriptor that was cut is as it was allocated."""
        if self._cut is not None:
            slot = self._engine.ring_base + self._cut * regs.DESCRIPTOR_BYTES
            self._board.transact([Request.write(slot, self._ring[self._cut].pack())])
            self._cut = None

    def get_output_stream_presentation_position(self) -> KSAUDIO_PRESENTATION_POSITION:
        _, snapshot = self._instant(self._notification_buffer)
        blocks = self._engine.outer_frames(snapshot)
        ticks = snapshot.time_ticks
        if blocks and snapshot.state is StreamState.RUN and self._times.steady(snapshot):
            # The instant at which that number of blocks was reached.
            ticks = self._times.of_frame(snapshot.frames - 1) or ticks
        return KSAUDIO_PRESENTATION_POSITION(blocks, self._host_clock.host_ns(ticks))


class WaveRTCaptureStream(MiniportWaveRTStream, IMiniportWaveRTInputStream):
    """A capture stream."""

    def __init__(self, miniport: MiniportWaveRT, port_stream: IPortWaveRTStream, engine: EngineStream) -> None:
        super().__init__(miniport, port_stream, engine)
        self._next_packet = 0

    def _forget_progress(self) -> None:
        super()._forget_progress()
        self._next_packet = 0

    def _readable_buffer(self) -> _Buffer:
        buffer = self._notification_buffer()
        if self._state < KSSTATE.PAUSE:
            raise NtStatusError(NTSTATUS.INVALID_DEVICE_STATE, f"no packets in {self._state.name}")
        return buffer

    def get_read_packet(self) -> ReadPacket:
        buffer, snapshot = self._instant(self._readable_buffer)
        complete = snapshot.bytes // buffer.packet_bytes
        # The place of packet `complete` is being written; of a buffer of two packets only the newest is safe.
        oldest_intact = max(0, complete - max(buffer.packets - 1, 1))
        number = max(self._next_packet, oldest_intact)
        if number >= complete:
            raise NtStatusError(NTSTATUS.DEVICE_NOT_READY, f"no packet behind {self._next_packet - 1} is complete")
        self._next_packet = number + 1
        taken_ticks = self._first_frame_ticks(number, buffer, snapshot)
        sampled_ticks = taken_ticks - self._engine.outer_delay_frames * self._engine.frame_clocks
        return ReadPacket(
            PacketNumber=number & _MASK32,
            Flags=0,
            PerformanceCounterValue=self._host_clock.host_ns(sampled_ticks),
            MoreData=number + 1 < complete,
        )

    def _first_frame_ticks(self, number: int, buffer: _Buffer, snapshot: Snapshot) -> int:
        """Board time at which the engine took the first frame of a packet."""
        frame_clocks = self._engine.frame_clocks
        first_frame = number * buffer.packet_bytes // self._engine.format.block_bytes
        ticks = self._times.of_frame(first_frame)
        if ticks is not None and (snapshot.state is not StreamState.RUN or self._times.steady(snapshot)):
            return ticks
        # Frames were missed, so the frame clock does not tell: the end of the packet before does, if there was one.
        if not self._boundaries or self._boundaries[-1][0] < max(number, 1):
            self._board.poll()
        ends = dict(self._boundaries)
        if number in ends:
            return ends[number] + frame_clocks
        return snapshot.time_ticks - (snapshot.frames - first_frame) * frame_clocks


def _nearest(low: int, near: int) -> int:
    """The number with low word `low` that is nearest to `near`."""
    return near + (low - near + 0x80000000 & _MASK32) - 0x80000000
