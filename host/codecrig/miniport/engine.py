"""What the miniports of a codecrig board have in common: pins, formats, the sample clock, and a stream of the engine.

Pin n is stream n of the engine: even ones render, odd ones capture. Render streams are mixed. All streams share the
converter's frame clock, so streams that are open at the same time have one sample rate.
"""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from codecrig.board import Board, EventRecord, Snapshot, stream_register
from codecrig.board.clock import join_time
from codecrig.board.profile import BoardProfile
from codecrig.link import Request
from codecrig.link import registers as regs
from codecrig.link.registers import Cause, ConverterRate, InputSelect, StreamState
from codecrig.portcls import NTSTATUS, PAGE_BYTES, Format, IPort, NtStatusError, System
from codecrig.portcls.drm import IDrmPort2

from .rights import ContentRights

RENDER_PIN = 0
CAPTURE_PIN = 1
DESCRIPTORS_PER_STREAM = 64
MOST_PINS = 4
"""Four streams share the last page of audio memory: 256 descriptors."""
FIFO_BYTES = 64
"""What the engine's FIFO can hold at most, whatever the format."""
RENDER_HANDOVER_FRAMES = 2
"""From the engine to the DAC: one frame in the converter hub, one on the wire."""
CAPTURE_HANDOVER_FRAMES = 1
"""From the ADC to the engine: one frame on the wire."""
STATE_TRIES = 50
"""Reads of STATUS until a new state must be reached; the engine visits each stream within a frame (21 us)."""

_STREAM_CAUSES = sum(1 << cause for cause in Cause if cause < Cause.TIMER)
_PCM_NAMES = {8: "pcm8", 16: "pcm16", 24: "pcm24", 32: "pcm32"}
_RATE_MASK = 7 << regs.FPGA_CONVERTER_CONTROL_RATE_LSB
_ENABLE = 1 << regs.FPGA_CONVERTER_CONTROL_ENABLE_LSB
_REFUSED = 1 << regs.FPGA_CONVERTER_CONTROL_REFUSED_LSB


def rate_bits(profile: BoardProfile, sample_rate: int) -> int:
    """The bits of CONVERTER_CONTROL that give a rate of the profile."""
    clocks = profile.frame_clocks_at(sample_rate) * regs.FPGA_FRAME_CLOCKS_RESET // profile.frame_clocks
    return ConverterRate[f"CLOCKS_{clocks}"] << regs.FPGA_CONVERTER_CONTROL_RATE_LSB


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One element of a stream's ring: bytes at an address, a tag that events repeat, and flags."""

    address: int
    length: int
    tag: int = 0
    flags: int = 1 << regs.DESCRIPTOR_KEEP_BIT

    def pack(self) -> bytes:
        """The 16 bytes that the engine reads."""
        return struct.pack("<4I", self.address, self.length, self.tag, self.flags)


class EngineMiniport:
    """The part of a miniport that knows which streams of the board are in use."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._system: System | None = None
        self._engine_streams: dict[int, EngineStream] = {}
        self._rights: ContentRights | None = None

    def take_port(self, port: IPort) -> None:
        """Init: the machine and the content ids are the port's."""
        self._system = port.system
        try:
            drm: IDrmPort2 | None = port.query_interface(IDrmPort2)  # type: ignore[type-abstract]
        except NtStatusError:
            drm = None
        self._rights = ContentRights(self._board, drm)

    def destroy(self) -> None:
        """Let go of the port's content ids."""
        if self._rights is not None:
            self._rights.close()

    @property
    def rights(self) -> ContentRights:
        """The contents that the streams carry. For the streams."""
        assert self._rights is not None, "no stream without init"
        return self._rights

    @property
    def board(self) -> Board:
        """The board that this miniport drives. For its streams; a port has no business with it."""
        return self._board

    @property
    def system(self) -> System:
        """The machine, known from Init on. For the streams."""
        assert self._system is not None, "no stream without init"
        return self._system

    def queue_deferred(self, call: Callable[[], None]) -> None:
        """Run `call` in deferred context. For the streams."""
        self.system.queue_deferred(call)

    def check_format(self, pin: int, data_format: Format) -> None:
        """Raise INVALID_PARAMETER, with what would be accepted, unless `pin` can stream `data_format` now."""
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
        for other_pin, other in self._engine_streams.items():
            if not problem and other_pin != pin and other.format.sample_rate != data_format.sample_rate:
                problem = f"{data_format.sample_rate} Hz; pin {other_pin} has the clock at {other.format.sample_rate}"
        if problem:
            raise NtStatusError(NTSTATUS.INVALID_PARAMETER, f"unsupported format: {problem}")

    def open_engine_stream(self, pin: int, capture: bool, data_format: Format) -> "EngineStream":
        """The stream of the engine that belongs to `pin`, taken until it is closed.

        Raises INVALID_PARAMETER (pin, direction, format), INVALID_DEVICE_REQUEST (the pin's stream is taken).
        """
        pins = min(self._board.identity().streams, MOST_PINS)
        if not 0 <= pin < pins:
            raise NtStatusError(NTSTATUS.INVALID_PARAMETER, f"pin {pin}: pins are 0 to {pins - 1}, even ones render")
        if capture != (pin % 2 == CAPTURE_PIN):
            direction = "capture" if pin % 2 == CAPTURE_PIN else "render"
            raise NtStatusError(NTSTATUS.INVALID_PARAMETER, f"pin {pin} is for {direction}")
        self.check_format(pin, data_format)
        if pin in self._engine_streams:
            raise NtStatusError(NTSTATUS.INVALID_DEVICE_REQUEST, f"the stream of pin {pin} is in use")
        stream = EngineStream(self._board, pin, capture, data_format, self._forget)
        self._engine_streams[pin] = stream
        return stream

    def _forget(self, pin: int) -> None:
        del self._engine_streams[pin]
        if self._rights is not None:
            self._rights.drop(pin)


class EngineStream:
    """One stream of the board's engine: its settings, state and counts. Knows no interface of Windows."""

    def __init__(
        self, board: Board, number: int, capture: bool, data_format: Format, forget: Callable[[int], None]
    ) -> None:
        self.board = board
        self.number = number
        self.capture = capture
        self.format = data_format
        """Format in force; its rate is set in the converter at each RUN."""
        self._forget = forget
        self._hears_adc = True
        self._unsubscribe: list[Callable[[], None]] = []

    def subscribe(self, handler: Callable[[EventRecord], None]) -> None:
        """Call `handler`, as interrupt, with every event of this stream until `close`."""
        self._unsubscribe.append(self.board.events.subscribe(self.number, handler))

    def close(self) -> None:
        """No more events; the stream is free for somebody else."""
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._forget(self.number)

    # ------------------------------------------------------------------ settings

    @property
    def ring_base(self) -> int:
        """Address of this stream's descriptors."""
        page = self.board.profile.memory.audio_bytes - PAGE_BYTES
        return page + self.number * DESCRIPTORS_PER_STREAM * regs.DESCRIPTOR_BYTES

    def program(
        self, ring: Sequence[Descriptor], *, causes: int, interval_bytes: int = 0, queue: bool = False
    ) -> None:
        """Write descriptors and settings for the next RUN from STOP; old causes are cleared, `causes` enabled.

        `interval_bytes`: bytes from one INTERVAL event to the next, 0 for none. `queue`: descriptors are used up.
        Raises INSUFFICIENT_RESOURCES if there are too many descriptors.
        """
        if len(ring) > DESCRIPTORS_PER_STREAM:
            raise NtStatusError(
                NTSTATUS.INSUFFICIENT_RESOURCES, f"expected at most {DESCRIPTORS_PER_STREAM} pieces; found {len(ring)}"
            )
        config = (
            int(self.capture) << regs.STREAM_CONFIG_CAPTURE_LSB
            | (self.format.container_bytes - 1) << regs.STREAM_CONFIG_CONTAINER_LSB
            | (self.format.channels - 1) << regs.STREAM_CONFIG_CHANNELS_LSB
            | int(queue) << regs.STREAM_CONFIG_QUEUE_LSB
        )
        words = (
            (regs.STREAM_CONFIG, config),
            (regs.STREAM_RING_BASE, self.ring_base),
            (regs.STREAM_RING_SIZE, DESCRIPTORS_PER_STREAM if queue else len(ring)),
            (regs.STREAM_RING_PRODUCER, len(ring) if queue else 0),
            (regs.STREAM_INTERVAL_BYTES, interval_bytes),
            (regs.STREAM_EVENT_CAUSE, _STREAM_CAUSES),
            (regs.STREAM_EVENT_ENABLE, causes),
        )
        descriptors = b"".join(descriptor.pack() for descriptor in ring)
        written = [Request.write(self.ring_base, descriptors)] if descriptors else []
        self.board.transact([*written, *self.writes(*words)])

    def clear_settings(self) -> None:
        """No events and no buffer."""
        self.board.transact(self.writes((regs.STREAM_EVENT_ENABLE, 0), (regs.STREAM_RING_SIZE, 0)))

    def writes(self, *words: tuple[int, int]) -> list[Request]:
        """Requests that write registers of this stream, as (offset, value)."""
        return [Request.write_word(stream_register(self.number, offset), value) for offset, value in words]

    def clear_causes(self, *causes: Cause) -> None:
        """Clear sticky causes at the board."""
        mask = sum(1 << cause for cause in causes)
        self.board.transact(self.writes((regs.STREAM_EVENT_CAUSE, mask)))

    # ------------------------------------------------------------------ state

    def command(self, state: StreamState) -> int:
        """Ask the engine for a state and wait until it acts on it; returns the board time of the order.

        RUN first gives the converter the format's rate. Raises IO_DEVICE_ERROR.
        """
        converter = Request.read(regs.FPGA_CONVERTER_CONTROL, 4)
        if state is StreamState.RUN:
            control = int.from_bytes(self.board.transact([converter])[0], "little")
            select = control >> regs.FPGA_CONVERTER_CONTROL_INPUT_SELECT_LSB & 3
            self._hears_adc = select not in (InputSelect.LOOPBACK, InputSelect.PATTERN)
            self._set_rate(control)
        order = self.writes((regs.STREAM_CONTROL, state))
        status = Request.read(stream_register(self.number, regs.STREAM_STATUS), 4)
        time, _, found = self.board.transact([Request.read(regs.FPGA_TIME_HI, 12), *order, status])
        for _ in range(STATE_TRIES):
            if found[0] >> regs.STREAM_STATUS_FAULT_LSB & 1:
                raise NtStatusError(
                    NTSTATUS.IO_DEVICE_ERROR, f"stream {self.number} is halted by a fault: see its FAULT event"
                )
            if found[0] & 3 == state:
                return join_time(*struct.unpack("<3I", time))
            found = self.board.transact([status])[0]
        raise NtStatusError(
            NTSTATUS.IO_DEVICE_ERROR,
            f"stream {self.number} did not reach {state.name} within {STATE_TRIES} reads of STATUS",
        )

    @property
    def frame_clocks(self) -> int:
        """Board ticks in one frame of the format's rate."""
        return self.board.profile.frame_clocks_at(self.format.sample_rate)

    def _set_rate(self, control: int) -> None:
        """Give the converter the format's rate. It changes only while the converter stands."""
        rate = rate_bits(self.board.profile, self.format.sample_rate)
        if control & _RATE_MASK == rate:
            return
        control = control & ~(_RATE_MASK | _REFUSED) | rate
        address = regs.FPGA_CONVERTER_CONTROL
        writes = [Request.write_word(address, control & ~_ENABLE), Request.write_word(address, control)]
        *_, found = self.board.transact([*writes, Request.read(address, 4)])
        if int.from_bytes(found, "little") & (_RATE_MASK | _REFUSED) != rate:
            raise NtStatusError(
                NTSTATUS.IO_DEVICE_ERROR,
                f"the converter refused {self.format.sample_rate} Hz: CONVERTER_CONTROL is {found[::-1].hex()}",
            )

    # ------------------------------------------------------------------ positions

    def snapshot(self) -> Snapshot:
        """State and counts of one tick."""
        return self.board.snapshot(self.number)

    @property
    def codec_delay_frames(self) -> int:
        """One direction's share of the converter's group delay, rounded up.

        The DAC plays whatever is rendered. Capture passes the ADC only where it listens to it: digital loopback and
        pattern come without delay. What it listens to is looked up at each RUN.
        """
        if self.capture and not self._hears_adc:
            return 0
        return -(-self.board.profile.converter.group_delay_frames // 2)

    @property
    def handover_frames(self) -> int:
        """Frames between the engine and the converter's data pin; none for capture that does not hear the ADC."""
        if self.capture:
            return CAPTURE_HANDOVER_FRAMES if self._hears_adc else 0
        return RENDER_HANDOVER_FRAMES

    @property
    def outer_delay_frames(self) -> int:
        """Frames between the engine and the jack."""
        return self.handover_frames + self.codec_delay_frames

    def outer_frames(self, snapshot: Snapshot) -> int:
        """Frames at the jack: played (render), or taken in and partly still on their way (capture)."""
        if self.capture:
            return snapshot.frames + self.outer_delay_frames if snapshot.frames else 0
        return max(0, snapshot.frames - self.outer_delay_frames)
