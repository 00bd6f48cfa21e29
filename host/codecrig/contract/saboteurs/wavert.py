"""WaveRT objects with one defect each, for the rules WRT and WRP."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from codecrig.board import stream_register
from codecrig.contract.checks import saboteur
from codecrig.contract.rig import Objects
from codecrig.contract.saboteurs.build import become, break_board, break_streams, each_pin
from codecrig.link import registers as regs
from codecrig.link.registers import Cause, StreamState
from codecrig.miniport.wavert import RegisterView
from codecrig.port.pages import PageAllocator
from codecrig.port.wavert import PortWaveRT, WaveRTPin
from codecrig.portcls import (
    KSAUDIO_POSITION,
    KSRTAUDIO_BUFFER,
    KSRTAUDIO_HWLATENCY,
    KSRTAUDIO_HWREGISTER,
    KSSTATE,
    MEMORY_CACHING_TYPE,
    NTSTATUS,
    PAGE_BYTES,
    AudioBuffer,
    IMiniportWaveRTInputStream,
    IUnknown,
    Mdl,
    MemoryView,
    NtStatusError,
)

Allocate = Callable[..., AudioBuffer]
GetPosition = Callable[[], KSAUDIO_POSITION]


def break_positions(objects: Objects, change: Callable[[Any, KSAUDIO_POSITION, int], KSAUDIO_POSITION]) -> None:
    """GetPosition passes through `change` (stream, position, size of the buffer) while there is a buffer."""

    def get_position(good: GetPosition, stream: Any) -> KSAUDIO_POSITION:
        position = good()
        return change(stream, position, stream._buffer.actual_bytes) if stream._buffer is not None else position

    break_streams(objects, get_position=get_position)


# ------------------------------------------------------------------ new streams


@saboteur("WRT-NEW-01")
def begins_behind_zero(objects: Objects) -> None:
    """GetPosition without a buffer says where the last stream ended."""
    break_streams(objects, get_position=lambda good, stream: KSAUDIO_POSITION(480, 540))


@saboteur("WRT-NEW-02")
def a_render_stream_that_captures(objects: Objects) -> None:
    """Every stream hands out the interface for packet input."""

    def query_interface(good: Callable[..., Any], stream: Any, interface: type[IUnknown]) -> Any:
        if interface is IMiniportWaveRTInputStream:
            stream.add_ref()
            return stream
        return good(interface)

    break_streams(objects, query_interface=query_interface)


# ------------------------------------------------------------------ buffers


@saboteur("WRT-BUF-01")
def rounds_the_size_down(objects: Objects) -> None:
    """ActualSize is the request rounded down to whole blocks, as the samples do it."""

    def allocate(good: Allocate, stream: Any, size: int) -> AudioBuffer:
        block = stream._engine.format.block_bytes
        return good(size // block * block)

    break_streams(objects, allocate_audio_buffer=allocate)


@saboteur("WRT-BUF-01")
def a_cache_type_nobody_knows(objects: Objects) -> None:
    """AllocateAudioBuffer leaves CacheType as it was on the stack."""

    def allocate(good: Allocate, stream: Any, size: int) -> AudioBuffer:
        return replace(good(size), CacheType=0xCC)  # type: ignore[arg-type]

    break_streams(objects, allocate_audio_buffer=allocate)


@saboteur("WRT-BUF-02")
def leaks_pages_when_it_fails(objects: Objects) -> None:
    """An allocation that fails behind the pages keeps one."""

    def allocate(good: Allocate, stream: Any, size: int) -> AudioBuffer:
        try:
            return good(size)
        except NtStatusError as error:
            if error.status is NTSTATUS.DEVICE_NOT_READY:
                stream._port_stream.allocate_pages_for_mdl(0xFFFFF, 1)
            raise

    break_streams(objects, allocate_audio_buffer=allocate)


@saboteur("WRT-BUF-02")
def takes_a_buffer_of_nothing(objects: Objects) -> None:
    """A request of 0 bytes gets a block."""
    break_streams(
        objects,
        allocate_audio_buffer=lambda good, stream, size: good(max(size, stream._engine.format.block_bytes)),
    )


@saboteur("WRT-BUF-03")
def pages_of_its_own(objects: Objects) -> None:
    """The page list given to the client is one that the driver made itself."""

    def allocate(good: Allocate, stream: Any, size: int) -> AudioBuffer:
        made = good(size)
        return replace(made, AudioBufferMdl=Mdl(made.AudioBufferMdl.page_numbers, made.AudioBufferMdl.byte_count))

    break_streams(objects, allocate_audio_buffer=allocate)


@saboteur("WRT-BUF-03")
def keeps_the_pages(objects: Objects) -> None:
    """FreeAudioBuffer gives nothing back."""

    def free(good: Callable[..., None], stream: Any, mdl: Mdl | None, size: int) -> None:
        stream._buffer = None

    break_streams(objects, free_audio_buffer=free)


@saboteur("WRT-BUF-04")
def starts_with_the_allocation(objects: Objects) -> None:
    """The engine runs from the allocation on."""

    def allocate(good: Allocate, stream: Any, *arguments: int) -> AudioBuffer:
        made = good(*arguments)
        stream._engine.command(StreamState.RUN)
        return made

    break_streams(objects, allocate_buffer_with_notification=allocate)


@saboteur("WRT-BUF-05")
def goes_round_in_whole_pages(objects: Objects) -> None:
    """The cyclic length is that of the pages."""

    def program(good: Callable[..., None], stream: Any, buffer: Any) -> None:
        good(replace(buffer, actual_bytes=-(-buffer.actual_bytes // PAGE_BYTES) * PAGE_BYTES))

    break_streams(objects, _program=program)


@saboteur("WRT-BUF-06")
def wipes_what_was_played(objects: Objects) -> None:
    """PAUSE puts silence into the render buffer."""

    def set_state(good: Callable[..., Any], stream: Any, state: KSSTATE) -> Any:
        if state is KSSTATE.PAUSE and stream._state is KSSTATE.RUN and not stream._engine.capture:
            stream._board.write_memory(stream._ring[0].address, bytes(16))
        return good(state)

    break_streams(objects, set_state=set_state)


@saboteur("WRT-BUF-06")
def looks_into_the_buffer(objects: Objects) -> None:
    """GetPosition reads audio data to find out how far the engine is."""

    def set_state(good: Callable[..., Any], stream: Any, state: KSSTATE) -> Any:
        if stream._ring:
            stream._board.read_memory(stream._ring[0].address, 4)
        return good(state)

    break_streams(objects, set_state=set_state)


@saboteur("WRT-BUF-07")
def a_barrier_for_everybody(objects: Objects) -> None:
    """The port reports CallMemoryBarrier for buffers of any cache type."""

    class Pin(WaveRTPin):
        def allocate(self, requested_bytes: int, notification_count: int | None = None) -> KSRTAUDIO_BUFFER:
            return replace(super().allocate(requested_bytes, notification_count), CallMemoryBarrier=True)

    # The buffer may be allocated while the pin is opened, so the class itself is changed for the check.
    each_pin(objects, "wavert", become(Pin))


@saboteur("WRT-FRE-01")
def frees_the_plain_way(objects: Objects) -> None:
    """The port frees every buffer with FreeAudioBuffer."""

    class Pin(WaveRTPin):
        def _free(self) -> None:
            self._notification_count = 0
            super()._free()

    each_pin(objects, "wavert", become(Pin))


@saboteur("WRT-FRE-01")
def frees_while_running(objects: Objects) -> None:
    """Closing a pin frees the buffer before it stops the stream."""

    class Pin(WaveRTPin):
        def close(self) -> None:
            if not self._closed:
                self._free()
            super().close()

    each_pin(objects, "wavert", become(Pin))


@saboteur("WRT-FRE-02")
def leaves_the_engine_its_pages(objects: Objects) -> None:
    """Free gives the pages back, but the engine's ring still leads to them."""

    def free(good: Callable[..., None], stream: Any, mdl: Mdl | None, size: int) -> None:
        stream._engine.clear_settings = lambda: None
        good(mdl, size)

    break_streams(objects, free_audio_buffer=free)


@saboteur("WRT-FRE-02")
def trips_over_a_free_without_a_list(objects: Objects) -> None:
    """FreeAudioBuffer without a page list frees the buffer all the same."""

    def free(good: Callable[..., None], stream: Any, mdl: Mdl | None, size: int) -> None:
        good(stream._buffer.mdl if mdl is None and stream._buffer else mdl, size)

    break_streams(objects, free_audio_buffer=free)


# ------------------------------------------------------------------ latency


@saboteur("WRT-LAT-01")
def no_latency_at_all(objects: Objects) -> None:
    """GetHWLatency reports zeros, as the simulated samples do."""
    break_streams(objects, get_hw_latency=lambda good, stream: KSRTAUDIO_HWLATENCY(0, 0, 0))


@saboteur("WRT-LAT-01")
def the_fifo_in_frames(objects: Objects) -> None:
    """FifoSize counts frames."""
    break_streams(objects, get_hw_latency=lambda good, stream: replace(good(), FifoSize=16))


@saboteur("WRT-LAT-02")
def a_codec_without_delay(objects: Objects) -> None:
    """CodecDelay and ChipsetDelay are left out."""
    break_streams(objects, get_hw_latency=lambda good, stream: replace(good(), ChipsetDelay=0, CodecDelay=0))


# ------------------------------------------------------------------ registers


@saboteur("WRT-PRG-01")
def no_register_is_a_parameter_error(objects: Objects) -> None:
    """GetPositionRegister fails with INVALID_PARAMETER."""

    def get(good: Callable[..., Any], stream: Any) -> KSRTAUDIO_HWREGISTER:
        raise NtStatusError(NTSTATUS.INVALID_PARAMETER, "no register")

    break_streams(objects, get_position_register=get)


class OffsetRegister(MemoryView):
    """An offset in the buffer as a register might hold it, worked out from the engine's count of bytes."""

    def __init__(self, stream: Any, late_bytes: int = 0) -> None:
        self._stream = stream
        self._late_bytes = late_bytes
        self._count = RegisterView(stream._board, stream_register(stream._engine.number, regs.STREAM_LIVE_BYTES_LO))

    @property
    def physical_address(self) -> int:
        return self._count.physical_address

    @property
    def length(self) -> int:
        return 4

    def read(self, offset: int, length: int) -> bytes:
        count = int.from_bytes(self._count.read(0, 4), "little")
        size = self._stream._buffer.actual_bytes
        late = self._late_bytes if count > self._late_bytes else 0
        return ((count - late) % size).to_bytes(4, "little")

    def write(self, offset: int, data: bytes) -> None:
        raise NtStatusError(NTSTATUS.NOT_SUPPORTED, "for reading only")


def offer_register(objects: Objects, late_bytes: int = 0) -> None:
    """Streams offer a position register; a good one if it is not late."""

    def get(good: Callable[..., Any], stream: Any) -> KSRTAUDIO_HWREGISTER:
        return KSRTAUDIO_HWREGISTER(OffsetRegister(stream, late_bytes), 32, 0, 0, 36)

    break_streams(objects, get_position_register=get)


@saboteur("WRT-PRG-02")
def a_register_that_does_not_wrap(objects: Objects) -> None:
    """The position register counts all bytes moved: it goes on where the buffer ends."""

    def get(good: Callable[..., Any], stream: Any) -> KSRTAUDIO_HWREGISTER:
        address = stream_register(stream._engine.number, regs.STREAM_LIVE_BYTES_LO)
        return KSRTAUDIO_HWREGISTER(RegisterView(stream._board, address), 32, 0, 0, 36)

    break_streams(objects, get_position_register=get)


@saboteur("WRT-PRG-02", "WRT-PRG-03")
def a_register_that_is_late(objects: Objects) -> None:
    """The position register lags 480 bytes behind the engine."""
    offer_register(objects, 480)


@saboteur("WRT-PRG-04")
def maps_registers_again_and_again(objects: Objects) -> None:
    """The port maps a register as often as it is asked."""

    class Pin(WaveRTPin):
        def _register(self, name: str, get: Callable[[], KSRTAUDIO_HWREGISTER]) -> KSRTAUDIO_HWREGISTER:
            self._registers_given.clear()
            return super()._register(name, get)

    each_pin(objects, "wavert", become(Pin))


@saboteur("WRT-PRG-04")
def a_mapping_without_end(objects: Objects) -> None:
    """A register stays mapped behind the pin."""

    class Pin(WaveRTPin):
        def _register(self, name: str, get: Callable[[], KSRTAUDIO_HWREGISTER]) -> KSRTAUDIO_HWREGISTER:
            kept: list[KSRTAUDIO_HWREGISTER] = []

            def keep() -> KSRTAUDIO_HWREGISTER:
                kept.append(get())
                return kept[0]

            return replace(super()._register(name, keep), Register=kept[0].Register)

    each_pin(objects, "wavert", become(Pin))


class _Scaled(MemoryView):
    """A register that runs at another rate."""

    def __init__(self, good: MemoryView, factor: float) -> None:
        self._good = good
        self._factor = factor

    @property
    def physical_address(self) -> int:
        return self._good.physical_address

    @property
    def length(self) -> int:
        return 4

    def read(self, offset: int, length: int) -> bytes:
        count = int.from_bytes(self._good.read(0, 4), "little")
        return (int(count * self._factor) & 0xFFFFFFFF).to_bytes(4, "little")

    def write(self, offset: int, data: bytes) -> None:
        raise NtStatusError(NTSTATUS.NOT_SUPPORTED, "for reading only")


@saboteur("WRT-CLK-01")
def a_clock_that_stands_between_looks(objects: Objects) -> None:
    """The clock register shows the time of the last snapshot."""

    def get(good: Callable[..., KSRTAUDIO_HWREGISTER], stream: Any) -> KSRTAUDIO_HWREGISTER:
        address = stream_register(stream._engine.number, regs.STREAM_SNAP_TIME_LO)
        return replace(good(), Register=RegisterView(stream._board, address))

    break_streams(objects, get_clock_register=get)


@saboteur("WRT-CLK-01")
def a_clock_with_the_wrong_rate(objects: Objects) -> None:
    """The clock register's Numerator is that of another crystal."""
    break_streams(objects, get_clock_register=lambda good, stream: replace(good(), Numerator=11_289_600))


@saboteur("WRT-CLK-01")
def a_clock_two_percent_off(objects: Objects) -> None:
    """The board's crystal runs 2 % fast."""
    objects.clock_ppm = 20_000


@saboteur("WRT-CLK-02")
def a_clock_of_another_crystal(objects: Objects) -> None:
    """The clock shown is not the one that the sample clock comes from: it drifts by 2 %."""

    def get(good: Callable[..., KSRTAUDIO_HWREGISTER], stream: Any) -> KSRTAUDIO_HWREGISTER:
        register = good()
        return replace(register, Register=_Scaled(register.Register, 1.02))

    break_streams(objects, get_clock_register=get)


# ------------------------------------------------------------------ positions


@saboteur("WRT-POS-01")
def equals_the_size_at_the_end(objects: Objects) -> None:
    """An offset at the end of the buffer is its size, not 0."""

    def change(stream: Any, position: KSAUDIO_POSITION, size: int) -> KSAUDIO_POSITION:
        if not stream._times.has_run:
            return position
        return KSAUDIO_POSITION(position.PlayOffset or size, position.WriteOffset or size)

    break_positions(objects, change)


@saboteur("WRT-POS-02")
def write_offset_behind_play_offset(objects: Objects) -> None:
    """PlayOffset and WriteOffset have changed places."""
    break_positions(objects, lambda stream, position, size: KSAUDIO_POSITION(position.WriteOffset, position.PlayOffset))


@saboteur("WRT-POS-02")
def the_engine_for_the_converter(objects: Objects) -> None:
    """Both offsets are the engine's pointer, as the samples have it."""
    break_positions(objects, lambda stream, position, size: replace(position, PlayOffset=position.WriteOffset))


@saboteur("WRT-POS-03")
def calls_final_what_is_not_there(objects: Objects) -> None:
    """WriteOffset is that of the DMA request: 64 bytes ahead of what is in memory."""

    def change(stream: Any, position: KSAUDIO_POSITION, size: int) -> KSAUDIO_POSITION:
        return KSAUDIO_POSITION(position.PlayOffset, (position.WriteOffset + 64) % size)

    break_positions(objects, change)


@saboteur("WRT-POS-04")
def jumps_a_quarter_of_the_buffer(objects: Objects) -> None:
    """The position jumps by a quarter of the buffer instead of moving."""

    def change(stream: Any, position: KSAUDIO_POSITION, size: int) -> KSAUDIO_POSITION:
        step = size // 4
        return KSAUDIO_POSITION(position.PlayOffset // step * step, position.WriteOffset // step * step)

    break_positions(objects, change)


@saboteur("WRT-POS-04")
def leads_run_time(objects: Objects) -> None:
    """The position is worked out from the time since RUN, which goes on in PAUSE."""

    def get_position(good: GetPosition, stream: Any) -> KSAUDIO_POSITION:
        position = good()
        if stream._buffer is None or not stream._times.has_run:
            return position
        elapsed = stream._board.clock.now() - stream._run_ticks
        offset = elapsed // stream._engine.frame_clocks * stream._engine.format.block_bytes
        return KSAUDIO_POSITION(offset % stream._buffer.actual_bytes, offset % stream._buffer.actual_bytes)

    break_streams(objects, get_position=get_position)


@saboteur("WRT-POS-05")
def a_count_of_32_bits(objects: Objects) -> None:
    """Bytes are counted in 32 bits before they are taken modulo the buffer."""

    def get_position(good: GetPosition, stream: Any) -> KSAUDIO_POSITION:
        position = good()
        if stream._buffer is None:
            return position
        size = stream._buffer.actual_bytes
        snapshot = stream._engine.snapshot()
        return KSAUDIO_POSITION(position.PlayOffset, (snapshot.bytes & 0xFFFFFFFF) % size)

    break_streams(objects, get_position=get_position)


@saboteur("WRT-POS-05")
def counts_whole_milliseconds(objects: Objects) -> None:
    """Each reading drops the part of a millisecond, as a sample does."""

    def change(stream: Any, position: KSAUDIO_POSITION, size: int) -> KSAUDIO_POSITION:
        step = 48 * stream._engine.format.block_bytes
        return KSAUDIO_POSITION(position.PlayOffset // step * step, position.WriteOffset)

    break_positions(objects, change)


@saboteur("WRT-POS-06")
def tells_what_was_before_stop(objects: Objects) -> None:
    """A call during which the stream was stopped returns what it found before."""

    def instant(good: Callable[..., Any], stream: Any, look_up: Callable[[], Any]) -> Any:
        buffer = look_up()
        before = stream._board.link.host_time_ns()
        snapshot = stream._engine.snapshot()
        stream._host_clock.bracket(before, stream._board.link.host_time_ns(), snapshot.time_ticks)
        stream._times.look(snapshot)
        return buffer, snapshot

    break_streams(objects, _instant=instant)


@saboteur("WRT-POS-07")
def hides_what_was_fetched(objects: Objects) -> None:
    """WriteOffset lags 128 bytes behind the engine."""

    def change(stream: Any, position: KSAUDIO_POSITION, size: int) -> KSAUDIO_POSITION:
        return KSAUDIO_POSITION(position.PlayOffset, (position.WriteOffset - 128) % size)

    break_positions(objects, change)


# ------------------------------------------------------------------ states


@saboteur("WRT-STA-01")
def stops_without_a_reset(objects: Objects) -> None:
    """STOP leaves the engine where it is."""

    def set_state(good: Callable[..., Any], stream: Any, state: KSSTATE) -> Any:
        if state is KSSTATE.STOP and stream._state is not KSSTATE.STOP:
            stream._engine.command(StreamState.PAUSE)
            stream._state = state
            return NTSTATUS.SUCCESS
        return good(state)

    break_streams(objects, set_state=set_state)


@saboteur("WRT-STA-01")
def remembers_the_end_of_the_stream(objects: Objects) -> None:
    """STOP does not clear the mark that the last packet was written."""

    def forget(good: Callable[..., None], stream: Any) -> None:
        ended = getattr(stream, "_end_of_stream", False)
        good()
        stream._end_of_stream = ended

    break_streams(objects, _forget_progress=forget)


@saboteur("WRT-STA-02")
def runs_without_a_buffer(objects: Objects) -> None:
    """SetState(RUN) succeeds though no buffer was allocated."""

    def set_state(good: Callable[..., Any], stream: Any, state: KSSTATE) -> Any:
        if state is KSSTATE.RUN and stream._buffer is None:
            return NTSTATUS.SUCCESS
        return good(state)

    break_streams(objects, set_state=set_state)


@saboteur("WRT-STA-03", "WRT-STA-04")
def drops_a_frame_at_the_wrap(objects: Objects) -> None:
    """The ring is a frame shorter than the buffer."""

    def program(good: Callable[..., None], stream: Any, buffer: Any) -> None:
        short = 0 if stream._engine.capture else stream._engine.format.block_bytes
        good(replace(buffer, actual_bytes=buffer.actual_bytes - short))

    break_streams(objects, _program=program)


@saboteur("WRT-STA-05")
def no_interrupt_for_a_missed_frame(objects: Objects) -> None:
    """Only packet ends raise interrupts."""

    def program(good: Callable[..., None], stream: Any, buffer: Any) -> None:
        good(buffer)
        enable = stream_register(stream._engine.number, regs.STREAM_EVENT_ENABLE)
        stream._board.write_register(enable, 1 << Cause.DESCRIPTOR)

    break_streams(objects, _program=program)


@saboteur("WRT-STA-05")
def restarts_when_it_looks_at_the_counts(objects: Objects) -> None:
    """PAUSE resets the engine, and with it what was missed."""

    def set_state(good: Callable[..., Any], stream: Any, state: KSSTATE) -> Any:
        result = good(state)
        if state is KSSTATE.PAUSE and stream._times.has_run:
            stream._engine.command(StreamState.STOP)
            stream._engine.command(StreamState.RUN)
            stream._engine.command(StreamState.PAUSE)
        return result

    break_streams(objects, set_state=set_state)


@saboteur("WRT-FMT-01")
def takes_a_format_in_run(objects: Objects) -> None:
    """SetFormat in RUN succeeds."""

    def set_format(good: Callable[..., Any], stream: Any, data_format: Any) -> Any:
        if stream._state is KSSTATE.RUN:
            stream._engine.format = data_format
            return NTSTATUS.SUCCESS
        return good(data_format)

    break_streams(objects, set_format=set_format)


# ------------------------------------------------------------------ page services


def break_pages(objects: Objects, pages_class: type[PageAllocator]) -> None:
    """PortWaveRT takes its pages from that class."""

    class Port(PortWaveRT):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.pages.__class__ = pages_class

    objects.ports["wavert"] = Port


@saboteur("WRP-ALC-01")
def pages_from_anywhere(objects: Objects) -> None:
    """The port does not look at HighAddress."""

    class Pages(PageAllocator):
        def take(self, high_address: int, pages: int) -> tuple[int, ...]:
            return super().take(1 << 40, pages)

    break_pages(objects, Pages)


@saboteur("WRP-ALC-01")
def makes_do_with_a_short_list(objects: Objects) -> None:
    """The miniport takes what pages it gets."""

    def allocate(good: Allocate, stream: Any, size: int) -> AudioBuffer:
        try:
            return good(size)
        except NtStatusError:
            return good(PAGE_BYTES // stream._engine.format.block_bytes * stream._engine.format.block_bytes)

    break_streams(objects, allocate_audio_buffer=allocate)


@saboteur("WRP-ALC-02")
def contiguous_if_it_fits(objects: Objects) -> None:
    """The port answers a request for neighbouring pages with scattered ones if there are no others."""

    class Pages(PageAllocator):
        def take_contiguous(
            self, low_address: int, high_address: int, pages: int, *fits: Callable[[int], bool]
        ) -> tuple[int, ...] | None:
            together = super().take_contiguous(low_address, high_address, pages, *fits)
            if together is None and len(self._free) >= pages:
                together = tuple(sorted(self._free)[:pages])
                self._free.difference_update(together)
            return together

    break_pages(objects, Pages)


@saboteur("WRP-MAP-01")
def maps_and_forgets(objects: Objects) -> None:
    """The miniport maps the buffer for itself and frees the pages without undoing that."""

    def allocate(good: Allocate, stream: Any, *arguments: int) -> AudioBuffer:
        made = good(*arguments)
        stream._port_stream.map_allocated_pages(made.AudioBufferMdl, MEMORY_CACHING_TYPE.WRITE_COMBINED)
        return made

    break_streams(objects, allocate_audio_buffer=allocate, allocate_buffer_with_notification=allocate)


@saboteur("WRP-MAP-01")
def looks_at_a_freed_list(objects: Objects) -> None:
    """The miniport asks for an address of the list that it has just freed."""

    def free(good: Callable[..., None], stream: Any, mdl: Mdl | None, size: int) -> None:
        good(mdl, size)
        if mdl is not None:
            try:
                stream._port_stream.get_physical_page_address(mdl, 0)
            except NtStatusError:
                pass

    break_streams(objects, free_buffer_with_notification=free)


@saboteur("WRP-PAG-01")
def maps_neighbours(objects: Objects) -> None:
    """The port maps the first page of a buffer and what lies behind it."""

    class Pin(WaveRTPin):
        @property
        def buffer(self) -> MemoryView:
            memory, length = self._port.pages.memory, super().buffer.length
            first = super().buffer.physical_address - memory.physical_address
            return memory.slice(min(first, memory.length - length), length)

    each_pin(objects, "wavert", become(Pin))


# ------------------------------------------------------------------ what the board does


@saboteur("WRT-STA-03", "WRI-PKT-03", boards=("twin",))
def board_with_a_bit_stuck_in_memory(objects: Objects) -> None:
    """One bit of audio memory, in the first page, is stuck."""
    break_board(objects, "memory-bit", address=0x100, bit=3, level=True)


@saboteur("WRT-BUF-06", boards=("twin",))
def board_with_a_bit_stuck_in_the_render_buffer(objects: Objects) -> None:
    """One bit of audio memory, where the render buffer lies, is stuck."""
    break_board(objects, "memory-bit", address=0x2010, bit=5, level=False)


@saboteur("WRP-PAG-01", boards=("twin",))
def board_with_a_bit_stuck_in_a_scattered_page(objects: Objects) -> None:
    """One bit of audio memory, in the third page, is stuck."""
    break_board(objects, "memory-bit", address=0x2100, bit=3, level=True)


@saboteur("WRT-STA-04", "WRT-LAT-02", "WRI-PKT-05", "WRO-PRS-04", boards=("twin",))
def board_with_a_dead_codec(objects: Objects) -> None:
    """The converter is without power."""
    break_board(objects, "codec-dead")


@saboteur("WRT-STA-04", boards=("twin",))
def board_with_inverted_bit_clock(objects: Objects) -> None:
    """The converter works with the wrong edges of the bit clock."""
    break_board(objects, "bit-clock-inverted")
