"""MiniportWaveRT: the WaveRT driver of a codecrig board.

Pin 0 renders on stream 0, pin 1 captures on stream 1. Every position, count and time comes from a snapshot that the
board took or from an event that it posted; none is computed from host time. Audio data is never touched: it
goes between the client's view of the buffer and the engine.
"""

import struct
from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from codecrig.board import Board, EventRecord, Snapshot, stream_register
from codecrig.board.clock import join_time
from codecrig.link import Request
from codecrig.link import registers as regs
from codecrig.link.registers import Cause, InputSelect, StreamState
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
    System,
    join_pieces,
)

RENDER_PIN = 0
CAPTURE_PIN = 1
DESCRIPTORS_PER_STREAM = 64
"""Four streams share the last page of audio memory: 256 descriptors. 31 pages and two packets need at most 33."""
FIFO_BYTES = 64
"""What the engine's FIFO can hold at most, whatever the format."""
HANDOVER_FRAMES = 2
"""From the engine to the DAC pin: one frame in the converter hub, one in the serializer."""
STATE_TRIES = 50
"""Reads of STATUS until a new state must be reached; the engine visits each stream within a frame (21 us)."""
KEPT_BOUNDARIES = 8
"""Packet ends whose times are remembered for GetReadPacket; a client further behind has lost the data anyway."""

_MASK32 = 0xFFFFFFFF
_STREAM_CAUSES = sum(1 << cause for cause in Cause if cause < Cause.TIMER)
_PCM_NAMES = {16: "pcm16", 24: "pcm24", 32: "pcm32"}


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


class MiniportWaveRT(IMiniportWaveRT):
    """The WaveRT miniport of one board."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._system: System | None = None
        self._streams: dict[int, MiniportWaveRTStream] = {}

    @property
    def board(self) -> Board:
        """The board that this miniport drives. For its streams; a port has no business with it."""
        return self._board

    def init(self, unknown_adapter: IUnknown | None, resource_list: object | None, port: IPortWaveRT) -> NTSTATUS:
        # WaveRT has no notification through the port, so the pointer is not kept and needs no reference.
        self._system = port.system
        return NTSTATUS.SUCCESS

    def queue_deferred(self, call: Callable[[], None]) -> None:
        """Run `call` in deferred context. For the streams."""
        assert self._system is not None, "no stream without init"
        self._system.queue_deferred(call)

    def new_stream(
        self, port_stream: IPortWaveRTStream, pin: int, capture: bool, data_format: Format
    ) -> IMiniportWaveRTStream:
        if pin not in (RENDER_PIN, CAPTURE_PIN):
            raise NtStatusError(NTSTATUS.INVALID_PARAMETER, f"pin {pin}: pins are 0 (render) and 1 (capture)")
        if capture != (pin == CAPTURE_PIN):
            direction = "capture" if pin == CAPTURE_PIN else "render"
            raise NtStatusError(NTSTATUS.INVALID_PARAMETER, f"pin {pin} is for {direction}")
        self.check_format(data_format)
        if pin in self._streams:
            raise NtStatusError(NTSTATUS.INVALID_DEVICE_REQUEST, f"the stream of pin {pin} is in use")
        kind = WaveRTCaptureStream if capture else WaveRTRenderStream
        stream = kind(self, port_stream, pin, data_format)
        self._streams[pin] = stream
        return stream

    def get_device_description(self) -> DEVICE_DESCRIPTION:
        memory_bytes = self._board.profile.memory.audio_bytes
        return DEVICE_DESCRIPTION(
            Master=True, ScatterGather=True, MaximumPhysicalAddress=memory_bytes - 1, MaximumLength=memory_bytes
        )

    def check_format(self, data_format: Format) -> None:
        """Raise INVALID_PARAMETER, with what would be accepted, unless the board can stream `data_format`."""
        profile = self._board.profile
        problem = ""
        if data_format.is_float:
            problem = "float samples; the board takes PCM"
        elif data_format.sample_rate not in profile.rates:
            problem = f"{data_format.sample_rate} Hz; the board takes {', '.join(map(str, profile.rates))}"
        elif data_format.channels not in profile.channels:
            problem = f"{data_format.channels} channels; the board takes {', '.join(map(str, profile.channels))}"
        elif _PCM_NAMES.get(data_format.container_bits) not in profile.formats:
            problem = f"{data_format.container_bits} bits; the board takes {', '.join(profile.formats)}"
        if problem:
            raise NtStatusError(NTSTATUS.INVALID_PARAMETER, f"unsupported format: {problem}")

    def forget(self, pin: int) -> None:
        """The stream of `pin` was destroyed. For the stream itself."""
        del self._streams[pin]


class MiniportWaveRTStream(IMiniportWaveRTStreamNotification):
    """What render and capture streams have in common."""

    capture: bool

    def __init__(
        self, miniport: MiniportWaveRT, port_stream: IPortWaveRTStream, stream: int, data_format: Format
    ) -> None:
        self._miniport = miniport
        self._port_stream = port_stream
        self._board = miniport.board
        self._stream = stream
        self._format = data_format
        self._state = KSSTATE.STOP
        self._buffer: _Buffer | None = None
        self._events: list[KEvent] = []
        self._reported_play_bytes = 0
        self._run_ticks = 0
        self._first_run_ticks = 0
        self._hears_adc = True
        self._paused_at_bytes: list[int] = []
        self._boundaries: deque[tuple[int, int]] = deque(maxlen=KEPT_BOUNDARIES)
        self._packets_done = 0
        miniport.add_ref()
        port_stream.add_ref()
        self._unsubscribe = self._board.events.subscribe(stream, self._interrupt)

    def destroy(self) -> None:
        try:
            if self._state is not KSSTATE.STOP:
                self.set_state(KSSTATE.STOP)
        finally:
            self._unsubscribe()
            self._miniport.forget(self._stream)
            self._port_stream.release()
            self._miniport.release()

    # ------------------------------------------------------------------ format and state

    @property
    def _codec_delay_frames(self) -> int:
        """One direction's share of the converter's group delay, rounded up.

        The DAC plays whatever is rendered. Capture passes the ADC only where it listens to it: digital loopback and
        pattern come without delay. What it listens to is looked up at each RUN.
        """
        if self.capture and not self._hears_adc:
            return 0
        return -(-self._board.profile.converter.group_delay_frames // 2)

    def set_format(self, data_format: Format) -> NTSTATUS:
        if self._state is KSSTATE.RUN:
            raise NtStatusError(NTSTATUS.INVALID_PARAMETER, "the format cannot change in RUN")
        self._miniport.check_format(data_format)
        if self._buffer is not None and data_format != self._format:
            raise NtStatusError(NTSTATUS.INVALID_PARAMETER, "the format cannot change while a buffer is allocated")
        self._format = data_format
        return NTSTATUS.SUCCESS

    def set_state(self, state: KSSTATE) -> NTSTATUS:
        if state is self._state:
            return NTSTATUS.SUCCESS
        if state is KSSTATE.RUN:
            if self._buffer is None:
                raise NtStatusError(NTSTATUS.INVALID_DEVICE_STATE, "RUN without a buffer: allocate one first")
            ticks = self._command(StreamState.RUN)
            self._run_ticks = ticks
            if self._first_run_ticks == 0:
                self._first_run_ticks = ticks
        elif state is KSSTATE.STOP:
            self._command(StreamState.STOP)
            self._forget_progress()
        elif self._state is KSSTATE.RUN:
            self._command(StreamState.PAUSE)
            # Boundaries crossed in RUN are delivered now; from here on no event is set.
            self._board.poll()
            self._paused_at_bytes.append(self._snapshot().bytes)
        self._state = state
        return NTSTATUS.SUCCESS

    def _command(self, state: StreamState) -> int:
        """Ask the engine for a state and wait until it acts on it; returns the board time of the order."""
        order = Request.write_word(stream_register(self._stream, regs.STREAM_CONTROL), state)
        status = Request.read(stream_register(self._stream, regs.STREAM_STATUS), 4)
        clock, converter = Request.read(regs.FPGA_TIME_HI, 12), Request.read(regs.FPGA_CONVERTER_CONTROL, 4)
        time, control, _, found = self._board.transact([clock, converter, order, status])
        if state is StreamState.RUN:
            select = control[0] >> regs.FPGA_CONVERTER_CONTROL_INPUT_SELECT_LSB & 3
            self._hears_adc = select not in (InputSelect.LOOPBACK, InputSelect.PATTERN)
        for _ in range(STATE_TRIES):
            if found[0] >> regs.STREAM_STATUS_FAULT_LSB & 1:
                raise NtStatusError(
                    NTSTATUS.IO_DEVICE_ERROR, f"stream {self._stream} is halted by a fault: see its FAULT event"
                )
            if found[0] & 3 == state:
                return join_time(*struct.unpack("<3I", time))
            found = self._board.transact([status])[0]
        raise NtStatusError(
            NTSTATUS.IO_DEVICE_ERROR,
            f"stream {self._stream} did not reach {state.name} within {STATE_TRIES} reads of STATUS",
        )

    def _forget_progress(self) -> None:
        self._reported_play_bytes = 0
        self._first_run_ticks = 0
        self._paused_at_bytes.clear()
        self._boundaries.clear()
        self._packets_done = 0

    # ------------------------------------------------------------------ positions

    def _snapshot(self) -> Snapshot:
        return self._board.snapshot(self._stream)

    @abstractmethod
    def _play_frames(self, snapshot: Snapshot) -> int:
        """Frames at the converter's outer side."""

    def get_position(self) -> KSAUDIO_POSITION:
        if self._buffer is None:
            return KSAUDIO_POSITION(0, 0)
        snapshot = self._snapshot()
        play_bytes = self._play_frames(snapshot) * self._format.block_bytes
        if snapshot.state is not StreamState.STOP:
            play_bytes = self._reported_play_bytes = max(play_bytes, self._reported_play_bytes)
        size = self._buffer.actual_bytes
        return KSAUDIO_POSITION(play_bytes % size, snapshot.bytes % size)

    def get_hw_latency(self) -> KSRTAUDIO_HWLATENCY:
        def reference_time(frames: int) -> int:
            return -(-frames * REFERENCE_TIME_PER_SECOND // self._format.sample_rate)

        return KSRTAUDIO_HWLATENCY(
            FifoSize=FIFO_BYTES,
            ChipsetDelay=reference_time(HANDOVER_FRAMES),
            CodecDelay=reference_time(self._codec_delay_frames),
        )

    def get_position_register(self) -> KSRTAUDIO_HWREGISTER:
        raise NtStatusError(NTSTATUS.NOT_SUPPORTED, "the board has no live position register: use GetPosition")

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
        block_bytes = self._format.block_bytes
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
        except BaseException:
            self._port_stream.free_pages_from_mdl(mdl)
            raise
        self._buffer = buffer
        self._forget_progress()
        return AudioBuffer(mdl, actual_bytes, 0, MEMORY_CACHING_TYPE.WRITE_COMBINED)

    def _descriptors(self, buffer: _Buffer) -> bytes:
        """The descriptor ring: one for each run of touching pages in a packet, an event at each packet's end."""
        addresses = [
            self._port_stream.get_physical_page_address(buffer.mdl, page)
            for page in range(self._port_stream.get_physical_pages_count(buffer.mdl))
        ]
        ring = bytearray()
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
                for word in (address, length, packet, flags):
                    ring += word.to_bytes(4, "little")
        if len(ring) > DESCRIPTORS_PER_STREAM * regs.DESCRIPTOR_BYTES:
            raise NtStatusError(
                NTSTATUS.INSUFFICIENT_RESOURCES,
                f"expected at most {DESCRIPTORS_PER_STREAM} pieces; found {len(ring) // regs.DESCRIPTOR_BYTES}",
            )
        return bytes(ring)

    def _program(self, buffer: _Buffer) -> None:
        ring = self._descriptors(buffer)
        page = self._board.profile.memory.audio_bytes - PAGE_BYTES
        ring_base = page + self._stream * DESCRIPTORS_PER_STREAM * regs.DESCRIPTOR_BYTES
        config = (
            int(self.capture) << regs.STREAM_CONFIG_CAPTURE_LSB
            | (self._format.container_bytes - 1) << regs.STREAM_CONFIG_CONTAINER_LSB
            | (self._format.channels - 1) << regs.STREAM_CONFIG_CHANNELS_LSB
        )
        causes = 1 << Cause.UNDERRUN | 1 << Cause.OVERRUN | 1 << Cause.FAULT
        if buffer.notification:
            causes |= 1 << Cause.DESCRIPTOR
        words = (
            (regs.STREAM_CONFIG, config),
            (regs.STREAM_RING_BASE, ring_base),
            (regs.STREAM_RING_SIZE, len(ring) // regs.DESCRIPTOR_BYTES),
            (regs.STREAM_EVENT_CAUSE, _STREAM_CAUSES),
            (regs.STREAM_EVENT_ENABLE, causes),
        )
        self._board.transact([Request.write(ring_base, ring), *self._writes(words)])

    def _writes(self, words: tuple[tuple[int, int], ...]) -> list[Request]:
        return [Request.write_word(stream_register(self._stream, offset), value) for offset, value in words]

    def _free(self, mdl: Mdl | None) -> None:
        if mdl is None or self._buffer is None:
            return
        if mdl is not self._buffer.mdl:
            raise NtStatusError(NTSTATUS.INVALID_PARAMETER, "the page list is not the one of this stream's buffer")
        self._board.transact(self._writes(((regs.STREAM_EVENT_ENABLE, 0), (regs.STREAM_RING_SIZE, 0))))
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

    # ------------------------------------------------------------------ times

    def _timed_snapshot(self) -> tuple[Snapshot, int]:
        """A snapshot, and the host time of its instant as the middle of the bracket around it."""
        before = self._board.link.host_time_ns()
        snapshot = self._snapshot()
        return snapshot, (before + self._board.link.host_time_ns()) // 2

    def _host_time(self, ticks: int, snapshot: Snapshot, snapshot_host_ns: int) -> int:
        """Host time of a board time near the snapshot, at the nominal rate."""
        rate = self._board.clock.rate
        return snapshot_host_ns + (ticks - snapshot.time_ticks) * 1_000_000_000 * rate.denominator // rate.numerator


class WaveRTRenderStream(MiniportWaveRTStream, IMiniportWaveRTOutputStream):
    """A render stream."""

    capture = False

    def __init__(
        self, miniport: MiniportWaveRT, port_stream: IPortWaveRTStream, stream: int, data_format: Format
    ) -> None:
        super().__init__(miniport, port_stream, stream, data_format)
        self._end_of_stream = False

    def _play_frames(self, snapshot: Snapshot) -> int:
        return max(0, snapshot.frames - self._codec_delay_frames)

    def _forget_progress(self) -> None:
        super()._forget_progress()
        self._end_of_stream = False

    def get_packet_count(self) -> int:
        buffer = self._notification_buffer()
        return self._snapshot().bytes // buffer.packet_bytes & _MASK32

    def set_write_packet(self, packet_number: int, flags: int, eos_packet_length: int) -> NTSTATUS:
        buffer = self._notification_buffer()
        if flags & ~KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM:
            raise NtStatusError(NTSTATUS.INVALID_PARAMETER, f"flags {flags:#x}: only end of stream (0x200) is known")
        last = bool(flags & KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM)
        if last and not 0 <= eos_packet_length <= buffer.packet_bytes:
            raise NtStatusError(
                NTSTATUS.INVALID_PARAMETER, f"end of stream at {eos_packet_length} bytes of {buffer.packet_bytes}"
            )
        if self._end_of_stream:
            raise NtStatusError(NTSTATUS.INVALID_DEVICE_STATE, "the last packet was accepted already: STOP first")
        count = self._snapshot().bytes // buffer.packet_bytes
        ahead = (packet_number - count + 0x80000000 & _MASK32) - 0x80000000
        running = self._state is KSSTATE.RUN
        if ahead < (1 if running else 0):
            raise NtStatusError(NTSTATUS.DATA_LATE_ERROR, f"packet {packet_number}: the engine is at {count & _MASK32}")
        if ahead >= (max(buffer.packets, 2) if running else buffer.packets):
            raise NtStatusError(
                NTSTATUS.DATA_OVERRUN, f"packet {packet_number} has no place yet, the engine is at {count & _MASK32}"
            )
        self._end_of_stream = last
        return NTSTATUS.SUCCESS

    def get_output_stream_presentation_position(self) -> KSAUDIO_PRESENTATION_POSITION:
        self._notification_buffer()
        snapshot, host_ns = self._timed_snapshot()
        return KSAUDIO_PRESENTATION_POSITION(self._play_frames(snapshot), host_ns)


class WaveRTCaptureStream(MiniportWaveRTStream, IMiniportWaveRTInputStream):
    """A capture stream."""

    capture = True

    def __init__(
        self, miniport: MiniportWaveRT, port_stream: IPortWaveRTStream, stream: int, data_format: Format
    ) -> None:
        super().__init__(miniport, port_stream, stream, data_format)
        self._next_packet = 0

    def _play_frames(self, snapshot: Snapshot) -> int:
        return snapshot.frames + self._codec_delay_frames if snapshot.frames else 0

    def _forget_progress(self) -> None:
        super()._forget_progress()
        self._next_packet = 0

    def get_read_packet(self) -> ReadPacket:
        buffer = self._notification_buffer()
        if self._state < KSSTATE.PAUSE:
            raise NtStatusError(NTSTATUS.INVALID_DEVICE_STATE, f"no packets in {self._state.name}")
        snapshot, host_ns = self._timed_snapshot()
        complete = snapshot.bytes // buffer.packet_bytes
        # The place of packet `complete` is being written; of a buffer of two packets only the newest is safe.
        oldest_intact = max(0, complete - max(buffer.packets - 1, 1))
        number = max(self._next_packet, oldest_intact)
        if number >= complete:
            raise NtStatusError(NTSTATUS.DEVICE_NOT_READY, f"no packet behind {self._next_packet - 1} is complete")
        first_ticks = self._first_frame_ticks(number, buffer, snapshot)
        self._next_packet = number + 1
        return ReadPacket(
            PacketNumber=number & _MASK32,
            Flags=0,
            PerformanceCounterValue=self._host_time(first_ticks, snapshot, host_ns),
            MoreData=number + 1 < complete,
        )

    def _first_frame_ticks(self, number: int, buffer: _Buffer, snapshot: Snapshot) -> int:
        """Board time at which the first frame of a packet was converted."""
        frame_clocks = self._board.profile.frame_clocks
        packet_frames = buffer.packet_bytes // self._format.block_bytes
        if not self._boundaries or self._boundaries[-1][0] < max(number, 1):
            self._board.poll()
        ends = dict(self._boundaries)
        if number in ends:  # the last frame of the packet before
            return ends[number] + frame_clocks
        if number == 0 and any(paused < buffer.packet_bytes for paused in self._paused_at_bytes):
            return self._first_run_ticks
        if number == 0 and 1 in ends:
            return ends[1] - (packet_frames - 1) * frame_clocks
        return snapshot.time_ticks - (snapshot.frames - number * packet_frames) * frame_clocks


def _nearest(low: int, near: int) -> int:
    """The number with low word `low` that is nearest to `near`."""
    return near + (low - near + 0x80000000 & _MASK32) - 0x80000000
