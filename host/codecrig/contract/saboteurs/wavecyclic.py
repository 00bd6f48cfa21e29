"""WaveCyclic miniports and ports with one defect each. "As a sample": public sample drivers do it so."""

from __future__ import annotations

from typing import Any

import msgspec

from codecrig.board import Board, EventRecord
from codecrig.contract.checks import saboteur
from codecrig.contract.rig import Objects
from codecrig.contract.saboteurs.build import become, each_pin
from codecrig.link import registers as regs
from codecrig.link.registers import StreamState
from codecrig.miniport.engine import EngineStream
from codecrig.miniport.wavecyclic import MiniportWaveCyclic, WaveCyclicStream
from codecrig.port.wavecyclic import WaveCyclicPin
from codecrig.portcls import (
    KSAUDIO_POSITION,
    KSSTATE,
    NTSTATUS,
    REFERENCE_TIME_PER_SECOND,
    Format,
    IDmaChannel,
    IServiceGroup,
    MemoryView,
    NewWaveCyclicStream,
    NotificationFreq,
    NtStatusError,
)


def with_stream(objects: Objects, stream_class: type[WaveCyclicStream]) -> None:
    """The miniport's streams are of that class."""

    class Miniport(MiniportWaveCyclic):
        def make_stream(self, engine: EngineStream, channel: IDmaChannel, group: IServiceGroup) -> WaveCyclicStream:
            return stream_class(self, engine, channel, group)

    objects.miniports["wavecyclic"] = Miniport


# ------------------------------------------------------------------ NewStream


@saboteur("WC-NEW-01")
def a_stream_without_a_service_group(objects: Objects) -> None:
    """NewStream delivers no service group."""

    class Miniport(MiniportWaveCyclic):
        def new_stream(self, pin: int, capture: bool, data_format: Format) -> NewWaveCyclicStream:
            made = super().new_stream(pin, capture, data_format)
            return NewWaveCyclicStream(made.Stream, made.DmaChannel, None)  # type: ignore[arg-type]

    objects.miniports["wavecyclic"] = Miniport


@saboteur("WC-NEW-01")
def a_channel_without_a_reference_for_the_port(objects: Objects) -> None:
    """NewStream hands out the stream's own reference on the DMA channel."""

    class Miniport(MiniportWaveCyclic):
        def new_stream(self, pin: int, capture: bool, data_format: Format) -> NewWaveCyclicStream:
            made = super().new_stream(pin, capture, data_format)
            made.DmaChannel.release()
            return made

    objects.miniports["wavecyclic"] = Miniport


@saboteur("WC-NEW-02")
def the_buffer_comes_later(objects: Objects) -> None:
    """The channel's buffer is allocated with the first SetNotificationFreq."""

    class Stream(WaveCyclicStream):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self._channel.free_buffer()

        def set_notification_freq(self, interval: int) -> NotificationFreq:
            if self._channel.allocated_buffer_size() == 0:
                self._channel.allocate_buffer(19200)
            return super().set_notification_freq(interval)

    with_stream(objects, Stream)


@saboteur("WC-NEW-03", "WC-STA-04")
def a_counter_of_zero_is_the_whole_map(objects: Objects) -> None:
    """The position of a stopped stream is MapSize minus a counter of 0, as a sample."""

    class Stream(WaveCyclicStream):
        def get_position(self) -> int:
            return super().get_position() if self._started else self._channel.buffer_size()

    with_stream(objects, Stream)


# ------------------------------------------------------------------ notifications


@saboteur("WC-NTF-01")
def frame_sizes_are_cut_anywhere(objects: Objects) -> None:
    """FrameSize is the truncated product, not whole frames, as a sample; shows at 11025 and 22050 Hz."""

    class Stream(WaveCyclicStream):
        @property
        def _frame_size(self) -> int:
            return self._engine.format.bytes_per_second * self._used_interval_ms // 1000

    def promise_more_rates(board: Board) -> None:
        board.profile = msgspec.structs.replace(board.profile, rates=[*board.profile.rates, 11_025, 22_050])

    with_stream(objects, Stream)
    objects.prepare.append(promise_more_rates)


@saboteur("WC-NTF-01")
def frame_sizes_are_powers_of_two(objects: Objects) -> None:
    """FrameSize is rounded up to a power of two."""

    class Stream(WaveCyclicStream):
        @property
        def _frame_size(self) -> int:
            return 1 << (super()._frame_size - 1).bit_length()

    with_stream(objects, Stream)


@saboteur("WC-NTF-02")
def the_interval_is_taken_for_a_status(objects: Objects) -> None:
    """SetNotificationFreq returns 0, which would be a success."""

    class Stream(WaveCyclicStream):
        def set_notification_freq(self, interval: int) -> NotificationFreq:
            return NotificationFreq(0, super().set_notification_freq(interval).FrameSize)

    with_stream(objects, Stream)


@saboteur("WC-NTF-02", "WC-NTF-05")
def long_intervals_are_programmed_as_they_are(objects: Objects) -> None:
    """An interval longer than the buffer is not reduced."""

    class Stream(WaveCyclicStream):
        @property
        def _used_interval_ms(self) -> int:
            return max(self._interval_ms, 8)

    with_stream(objects, Stream)


@saboteur("WC-NTF-03")
def a_port_asks_for_twenty_milliseconds(objects: Objects) -> None:
    """The port asks for 20 ms, behind its set-up."""

    class Pin(WaveCyclicPin):
        def set_state(self, state: KSSTATE) -> None:
            if state is KSSTATE.RUN and self._state is KSSTATE.STOP:
                self._stream.set_notification_freq(20)
            super().set_state(state)

    each_pin(objects, "wavecyclic", become(Pin))


@saboteur("WC-NTF-03")
def a_port_trusts_the_interval(objects: Objects) -> None:
    """The port's target is four of the intervals that the stream returned."""

    class Pin(WaveCyclicPin):
        @property
        def ahead_bytes(self) -> int:
            told = self._stream.set_notification_freq(10).Interval
            return min(4 * told * self._format.bytes_per_second // 1000, self._size)

    each_pin(objects, "wavecyclic", become(Pin))


@saboteur("WC-NTF-04")
def each_second_interval_is_notified(objects: Objects) -> None:
    """The board is programmed with twice the interval."""

    class Stream(WaveCyclicStream):
        def _program(self) -> None:
            super()._program()
            writes = self._engine.writes((regs.STREAM_INTERVAL_BYTES, 2 * self._frame_size))
            self._engine.board.transact(writes)

    with_stream(objects, Stream)


@saboteur("WC-NTF-04")
def a_timer_notifies_in_every_state(objects: Objects) -> None:
    """A timer stands for the board's interrupt, and runs whatever the state."""

    class Stream(WaveCyclicStream):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self._gone = False
            self._arm()

        def _arm(self) -> None:
            self._cancel = self._miniport.system.set_timer(-100_000, self._tick)

        def _tick(self) -> None:
            if not self._gone:
                self._arm()
                self._miniport.port.notify(self._group)

        def _interrupt(self, record: EventRecord) -> None:
            pass

        def destroy(self) -> None:
            self._gone = True
            self._cancel()
            super().destroy()

    with_stream(objects, Stream)


@saboteur("WC-NTF-04", "WC-POS-02")
def a_crystal_two_percent_off(objects: Objects) -> None:
    """The board's clock runs 2 % fast."""
    objects.clock_ppm = 20_000


@saboteur("WC-NTF-06")
def the_interval_belongs_to_the_miniport(objects: Objects) -> None:
    """Interval and FrameSize are kept in the miniport, so that two streams overwrite each other, as samples."""

    class Stream(WaveCyclicStream):
        def set_notification_freq(self, interval: int) -> NotificationFreq:
            for engine in self._miniport._engine_streams.values():
                engine.shared_interval_ms = interval  # type: ignore[attr-defined]
            return super().set_notification_freq(interval)

        @property
        def _used_interval_ms(self) -> int:
            return getattr(self._engine, "shared_interval_ms", self._interval_ms)

    with_stream(objects, Stream)


# ------------------------------------------------------------------ states


@saboteur("WC-STA-01")
def run_starts_nothing(objects: Objects) -> None:
    """RUN succeeds without a word to the engine."""

    class Stream(WaveCyclicStream):
        def set_state(self, state: KSSTATE) -> NTSTATUS:
            if state is KSSTATE.RUN:
                self._state = state
                return NTSTATUS.SUCCESS
            return super().set_state(state)

    with_stream(objects, Stream)


@saboteur("WC-STA-01")
def pause_starts_the_engine(objects: Objects) -> None:
    """The engine is started on the way up, at PAUSE."""

    class Stream(WaveCyclicStream):
        def set_state(self, state: KSSTATE) -> NTSTATUS:
            if state is KSSTATE.PAUSE and self._state is KSSTATE.ACQUIRE and not self._started:
                super().set_state(KSSTATE.RUN)
                self._state = KSSTATE.PAUSE
                return NTSTATUS.SUCCESS
            return super().set_state(state)

    with_stream(objects, Stream)


@saboteur("WC-STA-02")
def pause_stops_nothing(objects: Objects) -> None:
    """PAUSE leaves the engine running."""

    class Stream(WaveCyclicStream):
        def set_state(self, state: KSSTATE) -> NTSTATUS:
            if state is KSSTATE.PAUSE and self._state is KSSTATE.RUN:
                self._state = state
                return NTSTATUS.SUCCESS
            return super().set_state(state)

    with_stream(objects, Stream)


@saboteur("WC-STA-02", "WC-STA-05")
def a_stopped_counter_reads_zero(objects: Objects) -> None:
    """The frozen position is not latched: a counter that has stopped reads 0, as a slave channel's does."""

    class Stream(WaveCyclicStream):
        def get_position(self) -> int:
            return super().get_position() if self._state is KSSTATE.RUN else 0

    with_stream(objects, Stream)


@saboteur("WC-STA-03")
def run_begins_at_the_start_again(objects: Objects) -> None:
    """RUN behind PAUSE resets the engine first."""

    class Stream(WaveCyclicStream):
        def set_state(self, state: KSSTATE) -> NTSTATUS:
            if state is KSSTATE.RUN and self._started:
                self._engine.command(StreamState.STOP)
                self._program()
            return super().set_state(state)

    with_stream(objects, Stream)


@saboteur("WC-STA-03")
def pause_throws_the_fifo_away(objects: Objects) -> None:
    """PAUSE stops the engine; RUN goes on behind what it had fetched, not behind what was heard."""

    class Stream(WaveCyclicStream):
        def set_state(self, state: KSSTATE) -> NTSTATUS:
            if state is KSSTATE.RUN and self._started:
                fetched = self._engine.snapshot().bytes
                self._engine.command(StreamState.STOP)
                self._start_offset = (self._start_offset + fetched) % self._cycle_bytes
                self._reported_bytes = 0
                self._program()
            return super().set_state(state)

    with_stream(objects, Stream)


@saboteur("WC-STA-04")
def stop_is_a_pause(objects: Objects) -> None:
    """STOP freezes the engine and reports 0, but the next RUN goes on in the middle."""

    class Stream(WaveCyclicStream):
        def set_state(self, state: KSSTATE) -> NTSTATUS:
            if state is KSSTATE.STOP and self._started:
                self._state = state
                return NTSTATUS.SUCCESS
            return super().set_state(state)

        def get_position(self) -> int:
            return 0 if self._state is KSSTATE.STOP else super().get_position()

        def destroy(self) -> None:
            self._engine.command(StreamState.STOP)
            super().destroy()

    with_stream(objects, Stream)


@saboteur("WC-STA-05")
def acquire_acts_as_stop(objects: Objects) -> None:
    """ACQUIRE on the way down resets the position, as a sample."""

    class Stream(WaveCyclicStream):
        def set_state(self, state: KSSTATE) -> NTSTATUS:
            if state is KSSTATE.ACQUIRE and self._started:
                super().set_state(KSSTATE.STOP)
                self._state = state
                return NTSTATUS.SUCCESS
            return super().set_state(state)

    with_stream(objects, Stream)


# ------------------------------------------------------------------ positions


@saboteur("WC-POS-01")
def positions_wrap_at_the_allocated_size(objects: Objects) -> None:
    """GetPosition wraps at AllocatedBufferSize, whatever SetBufferSize said."""

    class Stream(WaveCyclicStream):
        def _program(self) -> None:
            super()._program()
            self._cycle_bytes = self._channel.allocated_buffer_size()

    with_stream(objects, Stream)


@saboteur("WC-POS-01")
def the_end_is_not_the_start(objects: Objects) -> None:
    """At the wrap the position is the buffer's size instead of 0, as MapSize minus a counter that reads 0."""

    class Stream(WaveCyclicStream):
        def get_position(self) -> int:
            return super().get_position() or (self._cycle_bytes if self._reported_bytes else 0)

    with_stream(objects, Stream)


@saboteur("WC-POS-02")
def positions_run_ahead_and_fall_back(objects: Objects) -> None:
    """Every second position is half a millisecond ahead."""

    class Stream(WaveCyclicStream):
        _odd = False

        def get_position(self) -> int:
            self._odd = not self._odd
            position = super().get_position()
            ahead = self._engine.format.sample_rate // 2000 * self._engine.format.block_bytes * int(self._odd)
            return (position + ahead) % self._cycle_bytes if self._started else position

    with_stream(objects, Stream)


@saboteur("WC-POS-02")
def positions_know_intervals_only(objects: Objects) -> None:
    """GetPosition tells where the last notification was, not where the converter is."""

    class Stream(WaveCyclicStream):
        def get_position(self) -> int:
            position = super().get_position()
            return position - position % self._frame_size

    with_stream(objects, Stream)


@saboteur("WC-POS-03", "WC-POS-04")
def positions_are_those_of_the_fetch_pointer(objects: Objects) -> None:
    """GetPosition tells what the engine has moved, in bytes, as samples."""

    class Stream(WaveCyclicStream):
        def get_position(self) -> int:
            return self._engine.snapshot().bytes % self._cycle_bytes if self._started else 0

    with_stream(objects, Stream)


@saboteur("WC-POS-04")
def positions_are_a_millisecond_late(objects: Objects) -> None:
    """GetPosition lags 1 ms behind the converter."""

    class Stream(WaveCyclicStream):
        def get_position(self) -> int:
            lag = self._engine.format.sample_rate // 1000 * self._engine.format.block_bytes
            super().get_position()
            return (self._start_offset + max(0, self._reported_bytes - lag)) % (self._cycle_bytes or 1)

    with_stream(objects, Stream)


@saboteur("WC-POS-05")
def capture_positions_are_those_of_finished_frames_of_the_codec(objects: Objects) -> None:
    """The position of capture is an interval ahead of the data in memory."""

    class Stream(WaveCyclicStream):
        def get_position(self) -> int:
            position = super().get_position()
            return (position + self._frame_size) % self._cycle_bytes if self._started and position else position

    with_stream(objects, Stream)


@saboteur("WC-POS-05")
def capture_positions_lag(objects: Objects) -> None:
    """The position of capture is behind the engine's write pointer."""

    class Stream(WaveCyclicStream):
        def get_position(self) -> int:
            super().get_position()
            lag = 20 * self._engine.format.block_bytes
            return max(0, self._reported_bytes - lag) % (self._cycle_bytes or 1)

    with_stream(objects, Stream)


@saboteur("WC-POS-06")
def positions_forget_the_codec(objects: Objects) -> None:
    """The position of render is that of the frame the engine hands over, as if there were no codec."""

    class Stream(WaveCyclicStream):
        def get_position(self) -> int:
            if not self._started:
                return 0
            return self._engine.snapshot().frames * self._engine.format.block_bytes % self._cycle_bytes

    with_stream(objects, Stream)


# ------------------------------------------------------------------ NormalizePhysicalPosition


@saboteur("WC-NRM-01")
def times_in_whole_milliseconds(objects: Objects) -> None:
    """The conversion divides before it multiplies."""

    class Stream(WaveCyclicStream):
        def normalize_physical_position(self, physical_position: int) -> int:
            return physical_position * 1000 // self._engine.format.bytes_per_second * 10_000

    with_stream(objects, Stream)


@saboteur("WC-NRM-02")
def every_sample_has_16_bits(objects: Objects) -> None:
    """The conversion takes every format for 16 bits, as samples."""

    class Stream(WaveCyclicStream):
        def normalize_physical_position(self, physical_position: int) -> int:
            form = self._engine.format
            return physical_position * REFERENCE_TIME_PER_SECOND // (form.sample_rate * form.channels * 2)

    with_stream(objects, Stream)


@saboteur("WC-NRM-02")
def times_overflow(objects: Objects) -> None:
    """The conversion multiplies in 32 bits."""

    class Stream(WaveCyclicStream):
        def normalize_physical_position(self, physical_position: int) -> int:
            return super().normalize_physical_position(physical_position & 0xFFFFFFFF)

    with_stream(objects, Stream)


@saboteur("WC-NRM-02")
def the_format_belongs_to_the_miniport(objects: Objects) -> None:
    """The conversion uses the format of the stream opened last, as samples."""

    class Stream(WaveCyclicStream):
        def normalize_physical_position(self, physical_position: int) -> int:
            last = list(self._miniport._engine_streams.values())[-1]
            return physical_position * REFERENCE_TIME_PER_SECOND // last.format.bytes_per_second

    with_stream(objects, Stream)


# ------------------------------------------------------------------ formats


@saboteur("WC-FMT-01")
def formats_change_in_run(objects: Objects) -> None:
    """SetFormat in RUN succeeds."""

    class Stream(WaveCyclicStream):
        def set_format(self, data_format: Format) -> NTSTATUS:
            state, self._state = self._state, KSSTATE.PAUSE if self._state is KSSTATE.RUN else self._state
            try:
                return super().set_format(data_format)
            finally:
                self._state = state

    with_stream(objects, Stream)


@saboteur("WC-FMT-01")
def a_refusal_stops_the_stream(objects: Objects) -> None:
    """SetFormat in RUN fails as it must, but pauses the engine first."""

    class Stream(WaveCyclicStream):
        def set_format(self, data_format: Format) -> NTSTATUS:
            if self._state is KSSTATE.RUN:
                self._engine.command(StreamState.PAUSE)
            return super().set_format(data_format)

    with_stream(objects, Stream)


@saboteur("WC-FMT-02")
def a_bad_format_is_kept(objects: Objects) -> None:
    """SetFormat notes the format before it looks whether the board can do it."""

    class Stream(WaveCyclicStream):
        def set_format(self, data_format: Format) -> NTSTATUS:
            self._engine.format = data_format
            return super().set_format(data_format)

    with_stream(objects, Stream)


@saboteur("WC-FMT-02")
def a_bad_format_is_a_bad_request(objects: Objects) -> None:
    """SetFormat refuses an unsupported format with INVALID_DEVICE_REQUEST."""

    class Stream(WaveCyclicStream):
        def set_format(self, data_format: Format) -> NTSTATUS:
            try:
                return super().set_format(data_format)
            except NtStatusError as error:
                raise NtStatusError(NTSTATUS.INVALID_DEVICE_REQUEST, error.text) from error

    with_stream(objects, Stream)


@saboteur("WC-FMT-03")
def the_converter_keeps_its_rate(objects: Objects) -> None:
    """A new rate is not told to the converter."""

    class Miniport(MiniportWaveCyclic):
        def open_engine_stream(self, pin: int, capture: bool, data_format: Format) -> EngineStream:
            stream = super().open_engine_stream(pin, capture, data_format)
            stream._set_rate = lambda control: None  # type: ignore[method-assign]
            return stream

    objects.miniports["wavecyclic"] = Miniport


@saboteur("WC-FMT-03")
def notifications_keep_their_bytes(objects: Objects) -> None:
    """The bytes of an interval are those of the format at SetNotificationFreq."""

    class Stream(WaveCyclicStream):
        _kept = 0

        def set_notification_freq(self, interval: int) -> NotificationFreq:
            self._kept = 0
            found = super().set_notification_freq(interval)
            self._kept = found.FrameSize
            return found

        @property
        def _frame_size(self) -> int:
            return self._kept or super()._frame_size

    with_stream(objects, Stream)


@saboteur("WC-FMT-03")
def the_engine_keeps_its_format(objects: Objects) -> None:
    """The engine is programmed with the width of the first format."""

    class Stream(WaveCyclicStream):
        def _program(self) -> None:
            super()._program()
            if not hasattr(self, "_first"):
                self._first = self._engine.format
            config = (self._first.container_bytes - 1) << regs.STREAM_CONFIG_CONTAINER_LSB
            config |= (self._first.channels - 1) << regs.STREAM_CONFIG_CHANNELS_LSB | int(self._engine.capture)
            self._engine.board.transact(self._engine.writes((regs.STREAM_CONFIG, config)))

    with_stream(objects, Stream)


@saboteur("WC-FMT-04")
def the_last_rate_wins(objects: Objects) -> None:
    """A second stream may ask for another rate; the converter follows it."""

    class Miniport(MiniportWaveCyclic):
        def check_format(self, pin: int, data_format: Format) -> None:
            others, self._engine_streams = self._engine_streams, {}
            try:
                super().check_format(pin, data_format)
            finally:
                self._engine_streams = others

    objects.miniports["wavecyclic"] = Miniport


# ------------------------------------------------------------------ Silence


def _silence(objects: Objects, value: dict[int, int]) -> None:
    """Silence is made of these bytes, by bits of a sample."""

    class Stream(WaveCyclicStream):
        def silence(self, buffer: MemoryView, byte_count: int) -> None:
            buffer.write(0, bytes([value[self._engine.format.container_bits]]) * byte_count)

    with_stream(objects, Stream)


@saboteur("WC-SIL-01")
def silence_is_always_zero(objects: Objects) -> None:
    """Silence of 8 bits is 0, the lowest value there is."""
    _silence(objects, {8: 0, 16: 0, 24: 0, 32: 0})


@saboteur("WC-SIL-02", "WC-SIL-04")
def not_16_bits_means_8(objects: Objects) -> None:
    """Silence of whatever is not 16 bits is 0x80, a loud offset at 24 and 32 bits, as samples."""
    _silence(objects, {8: 0x80, 16: 0, 24: 0x80, 32: 0x80})


@saboteur("WC-SIL-03")
def silence_in_whole_frames(objects: Objects) -> None:
    """Silence rounds the count up to whole frames."""

    class Stream(WaveCyclicStream):
        def silence(self, buffer: MemoryView, byte_count: int) -> None:
            block = self._engine.format.block_bytes
            super().silence(buffer, min(-(-byte_count // block) * block, buffer.length))

    with_stream(objects, Stream)


@saboteur("WC-SIL-03")
def silence_is_for_passive_context(objects: Objects) -> None:
    """Silence refuses to work in an interrupt handler."""

    class Stream(WaveCyclicStream):
        def silence(self, buffer: MemoryView, byte_count: int) -> None:
            if self._miniport.system.level:
                raise NtStatusError(NTSTATUS.UNSUCCESSFUL, "not in this context")
            super().silence(buffer, byte_count)

    with_stream(objects, Stream)


# ------------------------------------------------------------------ Notify, and the port


@saboteur("WC-PRT-01")
def notifies_before_clearing(objects: Objects) -> None:
    """The interrupt handler calls Notify and clears the cause behind it."""

    class Stream(WaveCyclicStream):
        def _interrupt(self, record: EventRecord) -> None:
            if self._state is KSSTATE.RUN:
                self._miniport.port.notify(self._group)
            self._engine.clear_causes(record.cause)

    with_stream(objects, Stream)


@saboteur("WC-PRT-01")
def notifies_twice(objects: Objects) -> None:
    """The interrupt handler calls Notify twice for one cause."""

    class Stream(WaveCyclicStream):
        def _interrupt(self, record: EventRecord) -> None:
            super()._interrupt(record)
            super()._interrupt(record)

    with_stream(objects, Stream)


@saboteur("WC-PRT-01")
def notifies_the_first_group(objects: Objects) -> None:
    """The interrupt handler names the group of the stream opened first."""

    class Stream(WaveCyclicStream):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            first = getattr(self._miniport, "first_group", None)
            self._mine = self._group
            if first is None:
                self._miniport.first_group = self._group  # type: ignore[attr-defined]
            else:
                self._group = first

        def destroy(self) -> None:
            self._group = self._mine
            super().destroy()

    with_stream(objects, Stream)


@saboteur("WC-PRT-02")
def a_port_copies_an_interval_a_service(objects: Objects) -> None:
    """The port copies one FrameSize in each service, whatever the position."""

    class Pin(WaveCyclicPin):
        def _follow(self) -> None:
            if self._has_run:
                self._stream.get_position()
                self._device_bytes += self._bytes_of(10)

    each_pin(objects, "wavecyclic", become(Pin))


@saboteur("WC-PRT-02")
def a_port_does_not_ask_for_the_position(objects: Objects) -> None:
    """The port reckons the position from its clock."""

    class Pin(WaveCyclicPin):
        def _follow(self) -> None:
            now = self._port.system.system_time()
            if not self._has_run or not hasattr(self, "_began"):
                self._began = now
            milliseconds = (now - self._began) // 10_000
            self._device_bytes = milliseconds * self._format.bytes_per_second // 1000

    each_pin(objects, "wavecyclic", become(Pin))


@saboteur("WC-PRT-02")
def a_port_writes_over_what_waits(objects: Objects) -> None:
    """The port fills one target more than the buffer can hold, over data that the device has not played."""

    class Pin(WaveCyclicPin):
        @property
        def ahead_bytes(self) -> int:
            return self._size + self._bytes_of(40)

    each_pin(objects, "wavecyclic", become(Pin))


@saboteur("WC-PRT-03")
def a_port_keeps_ten_milliseconds(objects: Objects) -> None:
    """The port writes 10 ms ahead."""

    class Pin(WaveCyclicPin):
        @property
        def ahead_bytes(self) -> int:
            return self._bytes_of(10)

    each_pin(objects, "wavecyclic", become(Pin))


@saboteur("WC-PRT-03")
def a_port_fills_the_buffer(objects: Objects) -> None:
    """The port writes as far ahead as the buffer goes."""

    class Pin(WaveCyclicPin):
        @property
        def ahead_bytes(self) -> int:
            return self._size

    each_pin(objects, "wavecyclic", become(Pin))


@saboteur("WC-PRT-03")
def a_port_waits_for_data(objects: Objects) -> None:
    """RUN waits 40 ms for more data when there is less than the target."""

    class Pin(WaveCyclicPin):
        def set_state(self, state: KSSTATE) -> None:
            if state is KSSTATE.RUN and self.queued_bytes < self.ahead_bytes:
                self._port.system.sleep(0.04)
            super().set_state(state)

    each_pin(objects, "wavecyclic", become(Pin))


@saboteur("WC-PRT-04")
def a_port_never_silences(objects: Objects) -> None:
    """The port leaves old data behind the client's last byte."""

    class Pin(WaveCyclicPin):
        def _silence_from(self, start: int) -> None:
            pass

    each_pin(objects, "wavecyclic", become(Pin))


@saboteur("WC-PRT-04")
def a_port_appends_behind_the_silence(objects: Objects) -> None:
    """Data that come in time go behind the silence instead of over it."""

    class Pin(WaveCyclicPin):
        def _silence_from(self, start: int) -> None:
            super()._silence_from(start)
            if self._has_run:
                self._edge_bytes = max(self._edge_bytes, self._device_bytes + self._bytes_of(30))

    each_pin(objects, "wavecyclic", become(Pin))


@saboteur("WC-PRT-04")
def a_port_silences_too_much(objects: Objects) -> None:
    """Silence begins at the position, over data that are still to be played."""

    class Pin(WaveCyclicPin):
        def _silence_from(self, start: int) -> None:
            super()._silence_from(start)
            offset = (self._device_bytes + self._guard_bytes) % self._size
            count = min(self._bytes_of(10), self._size - offset)
            self._stream.silence(self._memory.slice(offset, count), count)

    each_pin(objects, "wavecyclic", become(Pin))


@saboteur("WC-PRT-05")
def a_port_tells_the_offset_in_the_device(objects: Objects) -> None:
    """PlayOffset is the offset in the cyclic buffer."""

    class Pin(WaveCyclicPin):
        def position(self) -> KSAUDIO_POSITION:
            found = super().position()
            return KSAUDIO_POSITION(self._offset, found.WriteOffset)

    each_pin(objects, "wavecyclic", become(Pin))


@saboteur("WC-PRT-05")
def a_port_lets_looped_positions_grow(objects: Objects) -> None:
    """The positions of a looped stream are not taken modulo the client's buffer."""

    class Pin(WaveCyclicPin):
        def position(self) -> KSAUDIO_POSITION:
            super().position()
            return KSAUDIO_POSITION(self._client_position(), self._copied_bytes)

    each_pin(objects, "wavecyclic", become(Pin))


@saboteur("WC-PRT-05")
def a_port_writes_where_it_plays(objects: Objects) -> None:
    """WriteOffset is PlayOffset."""

    class Pin(WaveCyclicPin):
        def position(self) -> KSAUDIO_POSITION:
            found = super().position()
            return KSAUDIO_POSITION(found.PlayOffset, found.PlayOffset)

    each_pin(objects, "wavecyclic", become(Pin))
