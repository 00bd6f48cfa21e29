"""A WaveCyclic miniport to copy: everything that the contract asks of one, in as few lines as it takes.

    codecrig check --miniport codecrig.miniport.template:TemplateMiniport --rule WC

Replace what talks to `EngineStream` by what talks to your hardware; docs/miniport.md goes through it step by step.
"""

from codecrig.board import EventRecord
from codecrig.link.registers import Cause, StreamState
from codecrig.miniport.engine import Descriptor, EngineMiniport, EngineStream
from codecrig.miniport.rights import ProtectedStream
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

BUFFER_BYTES = 8 * 4096


class TemplateMiniport(EngineMiniport, IMiniportWaveCyclic):
    """The driver of one adapter. Its base knows formats, pins and which streams are in use."""

    def init(self, adapter: IUnknown | None, resources: ResourceList | None, port: IPortWaveCyclic) -> NTSTATUS:
        port.add_ref()  # kept, so referenced
        self.port = port
        self.take_port(port)
        return NTSTATUS.SUCCESS

    def destroy(self) -> None:
        super().destroy()
        self.port.release()

    def new_stream(self, pin: int, capture: bool, data_format: Format) -> NewWaveCyclicStream:
        engine = self.open_engine_stream(pin, capture, data_format)  # refuses what the board cannot do
        channel = self.port.new_master_dma_channel(None, BUFFER_BYTES, True, False)
        try:
            channel.allocate_buffer(BUFFER_BYTES)
        except NtStatusError:
            channel.release()
            engine.close()
            raise
        group = self.port.new_service_group()
        return NewWaveCyclicStream(TemplateStream(self, engine, channel, group), channel, group)


class TemplateStream(ProtectedStream, IMiniportWaveCyclicStream):
    """One stream: a cyclic buffer that the engine goes round in by itself."""

    def __init__(self, miniport: TemplateMiniport, engine: EngineStream, channel: IDmaChannel, group: IServiceGroup):
        self._miniport, self._engine, self._channel, self._group = miniport, engine, channel, group
        self._state, self._interval_ms, self._reported, self._run_ticks = KSSTATE.STOP, 10, 0, 0
        for kept in (miniport, channel, group):
            kept.add_ref()
        self._choose_length()
        engine.subscribe(self._interrupt)

    def destroy(self) -> None:
        self.set_state(KSSTATE.STOP)
        self._engine.close()
        for kept in (self._group, self._channel, self._miniport):
            kept.release()

    def set_format(self, data_format: Format) -> NTSTATUS:
        if self._state is not KSSTATE.STOP:
            raise NtStatusError(NTSTATUS.INVALID_DEVICE_REQUEST, "the format changes in STOP only")
        self._miniport.check_format(self._engine.number, data_format)
        self._engine.format = data_format
        self._choose_length()
        return NTSTATUS.SUCCESS

    def _choose_length(self) -> None:  # 100 ms if they fit, whole frames
        form = self._engine.format
        frames = min(form.sample_rate // 10, self._channel.allocated_buffer_size() // form.block_bytes)
        self._channel.set_buffer_size(frames * form.block_bytes)

    def set_notification_freq(self, interval: int) -> NotificationFreq:
        rate = self._engine.format.bytes_per_second
        longest, shortest = self._channel.buffer_size() * 1000 // rate, -(-64_000 // rate)
        self._interval_ms = max(min(interval, longest), shortest, 1)
        return NotificationFreq(self._interval_ms, self._frame_size())

    def _frame_size(self) -> int:  # bytes of one interval, whole frames
        form = self._engine.format
        return form.sample_rate * self._interval_ms // 1000 * form.block_bytes

    def set_state(self, state: KSSTATE) -> NTSTATUS:
        if state is self._state:
            return NTSTATUS.SUCCESS
        if state is KSSTATE.RUN:
            if self._reported == 0 and self._engine.snapshot().state is StreamState.STOP:
                ring = [Descriptor(self._channel.physical_address(), self._channel.buffer_size())]
                causes = 1 << Cause.INTERVAL | 1 << Cause.UNDERRUN | 1 << Cause.OVERRUN
                self._engine.program(ring, causes=causes, interval_bytes=self._frame_size())
            self._run_ticks = self._engine.command(StreamState.RUN)
        elif state is KSSTATE.STOP:
            self._engine.command(StreamState.STOP)
            self._reported = 0
        elif self._state is KSSTATE.RUN:
            self._engine.command(StreamState.PAUSE)
            self._engine.board.poll()  # what was crossed in RUN is notified now
        self._state = state
        return NTSTATUS.SUCCESS

    def get_position(self) -> int:  # of the converter, from one snapshot
        frames = self._engine.outer_frames(self._engine.snapshot())
        self._reported = max(frames * self._engine.format.block_bytes, self._reported)
        return self._reported % self._channel.buffer_size()

    def normalize_physical_position(self, physical_position: int) -> int:
        return physical_position * REFERENCE_TIME_PER_SECOND // self._engine.format.bytes_per_second

    def silence(self, buffer: MemoryView, byte_count: int) -> None:
        if byte_count:
            buffer.write(0, (b"\x80" if self._engine.format.container_bits == 8 else b"\0") * byte_count)

    def _interrupt(self, record: EventRecord) -> None:  # clears the cause first, then only notifies
        self._engine.clear_causes(record.cause)
        crossed = record.cause is Cause.INTERVAL and not record.reposted and record.time_ticks >= self._run_ticks
        if crossed and self._state is KSSTATE.RUN:
            self._miniport.port.notify(self._group)
