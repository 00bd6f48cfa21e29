"""MiniportWaveCyclic: the WaveCyclic driver of a codecrig board.

The engine goes round in the buffer of the stream's DMA channel by itself; it posts an event each FrameSize bytes, which
becomes a notification. Every position comes from a snapshot that the board took. Audio data is never touched.
"""

from codecrig.board import EventRecord
from codecrig.link import registers as regs
from codecrig.link.registers import Cause, StreamState
from codecrig.portcls import (
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
)

from .engine import Descriptor, EngineMiniport, EngineStream
from .rights import ProtectedStream

BUFFER_BYTES = 7 * 4096
"""Of the buffer of each stream: four fit in audio memory. It holds 74 ms of 32-bit stereo at 48 kHz."""
CYCLE_MS = 100
"""Cyclic length where the format is slow enough: more than twice what a port writes ahead."""
DEFAULT_INTERVAL_MS = 10
SHORTEST_INTERVAL_BYTES = 64
"""The engine counts no shorter interval."""

_CAUSES = 1 << Cause.INTERVAL | 1 << Cause.UNDERRUN | 1 << Cause.OVERRUN | 1 << Cause.FAULT


class MiniportWaveCyclic(EngineMiniport, IMiniportWaveCyclic):
    """The WaveCyclic miniport of one board."""

    _port: IPortWaveCyclic | None = None

    @property
    def port(self) -> IPortWaveCyclic:
        """The port, known from Init on. For the streams."""
        assert self._port is not None, "no stream without init"
        return self._port

    def init(
        self, unknown_adapter: IUnknown | None, resource_list: ResourceList | None, port: IPortWaveCyclic
    ) -> NTSTATUS:
        port.add_ref()
        self._port = port
        self.take_port(port)
        return NTSTATUS.SUCCESS

    def destroy(self) -> None:
        super().destroy()
        if self._port is not None:
            self._port.release()

    def new_stream(self, pin: int, capture: bool, data_format: Format) -> NewWaveCyclicStream:
        engine = self.open_engine_stream(pin, capture, data_format)
        made: list[IUnknown] = []
        try:
            channel = self.port.new_master_dma_channel(None, BUFFER_BYTES, True, False)
            made.append(channel)
            channel.allocate_buffer(BUFFER_BYTES)
            group = self.port.new_service_group()
            made.append(group)
            stream = self.make_stream(engine, channel, group)
        except BaseException:
            for each in made:
                each.release()
            engine.close()
            raise
        return NewWaveCyclicStream(stream, channel, group)

    def make_stream(self, engine: EngineStream, channel: IDmaChannel, group: IServiceGroup) -> "WaveCyclicStream":
        """The stream object over a stream of the engine. For variants."""
        return WaveCyclicStream(self, engine, channel, group)


class WaveCyclicStream(ProtectedStream, IMiniportWaveCyclicStream):
    """One stream, render or capture."""

    def __init__(
        self, miniport: MiniportWaveCyclic, engine: EngineStream, channel: IDmaChannel, group: IServiceGroup
    ) -> None:
        self._miniport = miniport
        self._engine = engine
        self._channel = channel
        self._group = group
        self._state = KSSTATE.STOP
        self._interval_ms = DEFAULT_INTERVAL_MS
        self._started = False
        """The engine has the ring, and knows where it is."""
        self._start_offset = 0
        self._cycle_bytes = 0
        self._reported_bytes = 0
        self._run_ticks = 0
        for each in (miniport, channel, group):
            each.add_ref()
        self._choose_cycle()
        engine.subscribe(self._interrupt)

    def destroy(self) -> None:
        try:
            if self._state is not KSSTATE.STOP:
                self.set_state(KSSTATE.STOP)
        finally:
            self._engine.close()
            for each in (self._group, self._channel, self._miniport):
                each.release()

    # ------------------------------------------------------------------ format and notification

    def set_format(self, data_format: Format) -> NTSTATUS:
        if self._state is KSSTATE.RUN:
            raise NtStatusError(NTSTATUS.INVALID_DEVICE_REQUEST, "the format cannot change in RUN")
        self._miniport.check_format(self._engine.number, data_format)
        if data_format == self._engine.format:
            return NTSTATUS.SUCCESS
        if self._started:  # goes on in the new format from where the old one was frozen
            position = self.get_position()
            self._engine.command(StreamState.STOP)
            self._started = False
            self._start_offset = position - position % data_format.block_bytes
            self._reported_bytes = 0
        self._engine.format = data_format
        if self._state is KSSTATE.STOP:
            self._choose_cycle()
        return NTSTATUS.SUCCESS

    def _choose_cycle(self) -> None:
        """Note the cyclic length of the format in the channel: whole frames."""
        frames = min(
            self._engine.format.sample_rate * CYCLE_MS // 1000,
            self._channel.allocated_buffer_size() // self._engine.format.block_bytes,
        )
        self._channel.set_buffer_size(frames * self._engine.format.block_bytes)

    def set_notification_freq(self, interval: int) -> NotificationFreq:
        self._interval_ms = interval
        if self._started:
            self._engine.board.transact(self._engine.writes((regs.STREAM_INTERVAL_BYTES, self._frame_size)))
        return NotificationFreq(self._used_interval_ms, self._frame_size)

    @property
    def _used_interval_ms(self) -> int:
        """The interval asked for, but at most the buffer and at least what the engine can count."""
        rate = self._engine.format.bytes_per_second
        shortest = -(-SHORTEST_INTERVAL_BYTES * 1000 // rate)
        longest = self._channel.buffer_size() * 1000 // rate
        return max(min(self._interval_ms, longest), shortest, 1)

    @property
    def _frame_size(self) -> int:
        """Bytes in one interval, whole frames."""
        return self._engine.format.sample_rate * self._used_interval_ms // 1000 * self._engine.format.block_bytes

    # ------------------------------------------------------------------ state and position

    def set_state(self, state: KSSTATE) -> NTSTATUS:
        if state is self._state:
            return NTSTATUS.SUCCESS
        if state is KSSTATE.RUN:
            if not self._started:
                self._program()
            self._run_ticks = self._engine.command(StreamState.RUN)
            self._started = True
        elif state is KSSTATE.STOP:
            self._engine.command(StreamState.STOP)
            self._started = False
            self._start_offset = self._reported_bytes = 0
        elif self._state is KSSTATE.RUN:
            self._engine.command(StreamState.PAUSE)
            # Intervals that ended in RUN are notified now; from here on none is.
            self._engine.board.poll()
        self._state = state
        return NTSTATUS.SUCCESS

    def _program(self) -> None:
        """The buffer as a ring that is kept: from where the stream stands to the end, and from the start to there."""
        base, size = self._channel.physical_address(), self._channel.buffer_size()
        offset = self._start_offset = self._start_offset % size if size else 0
        pieces = [(base + offset, size - offset), (base, offset)]
        ring = [Descriptor(address, length) for address, length in pieces if length]
        self._engine.program(ring, causes=_CAUSES, interval_bytes=self._frame_size)
        self._cycle_bytes = size

    def get_position(self) -> int:
        if not self._started:
            return self._start_offset
        played_bytes = self._engine.outer_frames(self._engine.snapshot()) * self._engine.format.block_bytes
        self._reported_bytes = max(played_bytes, self._reported_bytes)
        return (self._start_offset + self._reported_bytes) % self._cycle_bytes

    def normalize_physical_position(self, physical_position: int) -> int:
        return physical_position * REFERENCE_TIME_PER_SECOND // self._engine.format.bytes_per_second

    def silence(self, buffer: MemoryView, byte_count: int) -> None:
        if byte_count:
            buffer.write(0, (b"\x80" if self._engine.format.container_bits == 8 else b"\0") * byte_count)

    # ------------------------------------------------------------------ interrupt

    def _interrupt(self, record: EventRecord) -> None:
        """A record of this stream has come. One of an interval from before the last RUN is old news."""
        self._engine.clear_causes(record.cause)
        if record.cause is not Cause.INTERVAL or record.reposted:
            return
        if self._state is KSSTATE.RUN and record.time_ticks >= self._run_ticks:
            self._miniport.port.notify(self._group)
