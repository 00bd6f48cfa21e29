"""Plays songs through the objects of a MIDI driver, on a board's MIDI port or as sound, and records what comes in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, TypeVar, get_args

import numpy as np
import numpy.typing as npt

from codecrig.board import Board, BoardSystem, MidiByte
from codecrig.client import CONVERTER_ENABLE, InterruptFlag, Progress
from codecrig.link import registers as regs
from codecrig.miniport import MiniportDMus, MiniportWaveRT, dmus, engine
from codecrig.miniport.midi import RENDER_PIN, MiniportMidi
from codecrig.port import PortDMus, PortWaveRT, WaveRTOutput
from codecrig.port.dmus import WINDOW_MS, HostClock
from codecrig.port.midi import PortMidi
from codecrig.portcls import KSSTATE, REFERENCE_TIME_PER_SECOND, Format, IUnknown
from codecrig.song import Song, TimedMessage
from codecrig.wave import PcmAudio, unpack_samples

AnyPort = TypeVar("AnyPort", PortMidi, PortDMus, PortWaveRT)
SongModel = Literal["midi", "dmus", "synth"]
SONG_MODELS: tuple[SongModel, ...] = get_args(SongModel)
"""How a song can be played: raw bytes timed by the port, events timed by the board, or the synthesizer's sound."""

LEAD_S = 0.02
"""Between RUN and the first message: time for the first requests."""
STEP_S = 0.05
"""How often progress is told and Ctrl-C is looked for."""
BYTE_S = 10 / 31_250
SYNTH_LEAD_S = 0.1
"""The same for the synthesizer, whose first windows are silence."""
SYNTH_TAIL_S = 1.0
"""Played behind the last message, for what dies away."""
CLOCK_READS = 3
"""Reads of the board's time of which the tightest is compared: one that crosses a USB frame is a frame or two off."""


@dataclass
class SongRun:
    """What came out of playing a song."""

    messages: int
    bytes_due: int
    """Bytes of the song."""
    bytes_taken: int
    """Of these, bytes that the miniport took."""
    failure: str = ""
    """Why it took no more; empty if it took all."""
    start_ticks: int = 0
    """Board time of the song's beginning."""
    wire: list[MidiByte] | None = None
    """What left the MIDI output, heard by the bench; None if nobody listens there."""
    board_ticks: int = 0
    interrupted: bool = False
    ticks_per_second: Fraction = Fraction(12_288_000)
    """Rate of board time."""

    def lateness_ticks(self, song: Song) -> list[int]:
        """For each message that left whole, how much later than due its first byte began, in board ticks.

        Only if the wire carries the song and nothing else up to there.
        """
        late, at = [], 0
        heard = self.wire or []
        for message in song.messages:
            here = heard[at : at + len(message.data)]
            if bytes(each.value for each in here) != message.data:
                break
            due = self.start_ticks + int(message.time * self.ticks_per_second / REFERENCE_TIME_PER_SECOND)
            late.append(here[0].ticks - due)
            at += len(message.data)
        return late


def play_song(board: Board, song: Song, model: SongModel = "midi", *, progress: Progress | None = None) -> SongRun:
    """Play a song on the MIDI output; returns when its last byte has left. Notes still on are ended.

    `model`: "midi", raw bytes timed by the port, or "dmus", events timed by the board. Raises NtStatusError if the
    board has no MIDI port, BoardError and LinkError as the board does.
    """
    if model == "synth":
        raise ValueError("the synthesizer plays with play_sound")
    system = BoardSystem(board)
    run = SongRun(len(song.messages), sum(len(each.data) for each in song.messages), 0)
    run.ticks_per_second = board.clock.rate
    system.sleep(0)
    begin_ticks = board.events.time_ticks
    if model == "midi":
        _play_bytes(board, system, song, run, progress)
    else:
        _play_events(board, system, song, run, progress)
    system.sleep(0)
    run.board_ticks = board.events.time_ticks - begin_ticks
    return run


def _port(make: Callable[..., AnyPort], miniport: IUnknown, system: BoardSystem, **options: Any) -> AnyPort:
    """The port over a miniport that ends with it: what the MIDI port has taken leaves before."""
    try:
        return make(miniport, system, **options)
    finally:
        miniport.release()


def _play_bytes(board: Board, system: BoardSystem, song: Song, run: SongRun, progress: Progress | None) -> None:
    with _port(PortMidi, MiniportMidi(board), system) as port, InterruptFlag() as interrupt:
        pin = port.open_pin(RENDER_PIN, False)
        pin.set_state(KSSTATE.RUN)
        _forget_wire(board)
        system.sleep(0)
        start = system.system_time() + int(LEAD_S * REFERENCE_TIME_PER_SECOND)
        run.start_ticks = int(start * board.clock.rate / REFERENCE_TIME_PER_SECOND)
        for message in song.messages:
            pin.write(message.data, start + message.time)
        _follow(system, run, interrupt, lambda: pin.queued_bytes, progress)
        run.bytes_taken = run.bytes_due - pin.queued_bytes - pin.thrown_away
        run.failure = str(pin.failure or "")
        _listen(board, system, run)
        pin.set_state(KSSTATE.STOP)


def _play_events(board: Board, system: BoardSystem, song: Song, run: SongRun, progress: Progress | None) -> None:
    with _port(PortDMus, MiniportDMus(board), system) as port, InterruptFlag() as interrupt:
        pin = port.open_render(dmus.RENDER_PIN)
        lead = int(LEAD_S * REFERENCE_TIME_PER_SECOND)
        for message in song.messages:
            pin.submit(lead + message.time, message.data)
        _forget_wire(board)
        pin.set_state(KSSTATE.RUN)
        run.start_ticks = int(pin.master_time(lead) * board.clock.rate / REFERENCE_TIME_PER_SECOND)
        # The stream holds events until the transmitter has them.
        _follow(system, run, interrupt, lambda: pin.pending_bytes + port.allocator.outstanding_events, progress)
        run.bytes_taken = run.bytes_due - pin.pending_bytes
        system.sleep(dmus.SCHEDULE_PREFETCH / REFERENCE_TIME_PER_SECOND)
        _listen(board, system, run)
        pin.set_state(KSSTATE.STOP)


def _forget_wire(board: Board) -> None:
    if board.bench.has("midi"):
        board.bench.midi_read()


def _follow(
    system: BoardSystem, run: SongRun, interrupt: InterruptFlag, left: Callable[[], int], progress: Progress | None
) -> None:
    """Let time pass until nothing is left or somebody pressed Ctrl-C."""
    while (count := left()) and not interrupt.raised:
        system.sleep(STEP_S)
        if progress is not None:
            progress(max(0, run.bytes_due - count), run.bytes_due)
    run.interrupted = interrupt.raised


def _listen(board: Board, system: BoardSystem, run: SongRun) -> None:
    """Let a full ring leave, and hear what there was."""
    if not run.interrupted:
        system.sleep(130 * BYTE_S)
        if board.bench.has("midi"):
            run.wire = board.bench.midi_read()


@dataclass
class SongRecording:
    """What came in at the MIDI input."""

    song: Song
    """Whole messages at the board times of their first bytes, counted from the beginning of the recording."""
    pieces: int
    """Pieces of a SysEx without its end, which are left out."""
    lost_bytes: int
    """Bytes that came faster than they were taken."""
    seconds: float
    interrupted: bool = False


def record_song(board: Board, seconds: float, *, progress: Progress | None = None) -> SongRecording:
    """Record the MIDI input through `PortDMus` for so long, or until Ctrl-C.

    Raises NtStatusError if the board has no MIDI port, BoardError and LinkError as the board does.
    """
    system = BoardSystem(board)
    taken = []
    with _port(PortDMus, MiniportDMus(board), system) as port, InterruptFlag() as interrupt:
        pin = port.open_capture(dmus.CAPTURE_PIN)
        dropped = _dropped(board)
        pin.set_state(KSSTATE.RUN)
        end = int(seconds * REFERENCE_TIME_PER_SECOND)
        while (left := end - pin.time) > 0 and not interrupt.raised:
            system.sleep(min(STEP_S, left / REFERENCE_TIME_PER_SECOND))
            taken += pin.read()
            if progress is not None:
                progress(min(pin.time, end), end)
        recorded = pin.time
        lost = (_dropped(board) - dropped) & 0xFF
        pin.set_state(KSSTATE.PAUSE)
        system.sleep(0)
        taken += pin.read()
        interrupted, lost = interrupt.raised, lost + pin.lost_messages
        pin.set_state(KSSTATE.STOP)
    whole = tuple(TimedMessage(each.time, each.data) for each in taken if each.complete)
    return SongRecording(Song(whole), len(taken) - len(whole), lost, recorded / REFERENCE_TIME_PER_SECOND, interrupted)


def _dropped(board: Board) -> int:
    """Bytes that found the receiver's ring full, modulo 256."""
    return board.read_register(regs.MIDI_CONTROL) >> regs.MIDI_CONTROL_DROPPED_LSB


@dataclass
class SoundRun:
    """What came out of a song as sound."""

    messages: int
    sound: PcmAudio
    """What the synthesizer rendered, from the song's beginning on."""
    gaps: int
    """Windows that came too late for the converter."""
    start_ticks: int
    """Board time of the song's beginning."""
    first_sound_ticks: int | None = None
    """Board time of the first frame at the DAC that is not silent; None if nobody listens there, or there is none."""
    frames_at_dac: int | None = None
    """Frames at the DAC from the first that is not silent on, compared with the sound; None if nobody listens there."""
    first_wrong_frame: int | None = None
    """The first of these that differs; None if there is none."""
    sync_points: tuple[tuple[float, float], ...] = ()
    """(Seconds of host time since RUN, frames that the synthesizer's sample clock is behind it): from the first on."""
    interrupted: bool = False


def play_sound(board: Board, song: Song, *, progress: Progress | None = None) -> SoundRun:
    """Play a song through the synthesizer and the converter; returns when it has died away.

    The master clock is the host's, so that SyncToMaster has something to follow. Raises NtStatusError, BoardError and
    LinkError as objects and board do.
    """
    system = BoardSystem(board)
    rate = board.profile.rates[0]
    data_format = Format(rate, 2, 24 if "pcm24" in board.profile.formats else 16)
    windows: list[bytes] = []
    heard: list[npt.NDArray[np.int32]] = []
    tap_ticks: list[int] = []
    listens = board.bench.has("tap")

    def listen() -> None:
        if listens:
            tap = board.bench.tap_read()
            if len(tap.samples):
                tap_ticks.append(tap.first_ticks)
                heard.append(tap.samples)

    clock = HostClock(system)
    frame_clocks = board.profile.frame_clocks_at(rate)
    first_frame: float | None = None
    sync_points: list[tuple[float, float]] = []

    def compare_clocks() -> None:
        """Converter and board time have one clock: a frame is so many ticks, whoever counts."""
        nonlocal first_frame
        point = min((board.clock.sample() for _ in range(CLOCK_READS)), key=lambda each: each.width_ns)
        now = (point.host_before_ns + point.host_after_ns) / 200
        sample = (now - pin.synth.sample_to_ref_time(0)) * rate / REFERENCE_TIME_PER_SECOND
        if first_frame is None:
            first_frame = point.ticks / frame_clocks - sample
        seconds = (now - pin.master_time(0)) / REFERENCE_TIME_PER_SECOND
        sync_points.append((seconds, sample - (point.ticks / frame_clocks - first_frame)))

    before = board.read_register(regs.FPGA_CONVERTER_CONTROL)
    board.write_register(regs.FPGA_CONVERTER_CONTROL, before | CONVERTER_ENABLE)
    try:
        with (
            _port(PortWaveRT, MiniportWaveRT(board), system) as wave_port,
            _port(PortDMus, MiniportDMus(board), system, master_clock=clock) as port,
            InterruptFlag() as interrupt,
        ):
            window_bytes = rate * WINDOW_MS // 1000 * data_format.block_bytes
            wave_pin = wave_port.open_pin(engine.RENDER_PIN, False, data_format, packet_bytes=window_bytes)
            output = WaveRTOutput(wave_pin)
            pin = port.open_synth(dmus.SYNTH_PIN, data_format, output)
            pin.on_rendered = lambda _, data: windows.append(data)
            lead = int(SYNTH_LEAD_S * REFERENCE_TIME_PER_SECOND)
            for message in song.messages:
                pin.submit(lead + message.time, message.data)
            if listens:
                board.bench.tap_start()
            pin.set_state(KSSTATE.RUN)
            ahead = (pin.master_time(lead) - clock.get_time()) / REFERENCE_TIME_PER_SECOND
            start_ticks = board.clock.now() + board.clock.ticks(ahead)
            silent_frames = pin.rendered_frames
            end = lead + int((song.seconds + SYNTH_TAIL_S) * REFERENCE_TIME_PER_SECOND)
            while pin.time < end and not interrupt.raised:
                system.sleep(STEP_S)
                listen()
                compare_clocks()
                if progress is not None:
                    progress(min(pin.time, end), end)
            interrupted, gaps = interrupt.raised, output.gaps
            pin.set_state(KSSTATE.STOP)
            listen()
    finally:
        if listens:
            board.bench.tap_stop()
        board.write_register(regs.FPGA_CONVERTER_CONTROL, before)
    bits = data_format.container_bits
    samples = unpack_samples(b"".join(windows), 2, bits, bits)
    skipped = max(0, int(SYNTH_LEAD_S * rate) - silent_frames)
    run = SoundRun(
        len(song.messages),
        PcmAudio(rate, bits, bits, samples[skipped:], "synthesizer"),
        gaps,
        start_ticks,
        sync_points=tuple(sync_points),
        interrupted=interrupted,
    )
    if listens and heard:
        _compare(run, samples << (32 - bits), np.concatenate(heard), tap_ticks[0], board.profile.frame_clocks)
    return run


def _compare(
    run: SoundRun, made: npt.NDArray[np.int32], heard: npt.NDArray[np.int32], ticks: int, frame_clocks: int
) -> None:
    """Lay both at their first sound and find the first difference."""
    loud, arrived = (np.flatnonzero(each.any(axis=1)) for each in (made, heard))
    run.frames_at_dac = 0
    if not len(loud):
        run.first_wrong_frame = 0 if len(arrived) else None
        return
    if not len(arrived):
        run.first_wrong_frame = 0
        return
    run.first_sound_ticks = ticks + int(arrived[0]) * frame_clocks
    made, heard = made[loud[0] :], heard[arrived[0] :]
    # The last windows are rendered and not played when the stream is stopped.
    count = min(len(made), len(heard), int(arrived[-1] - arrived[0]) + 1)
    run.frames_at_dac = count
    wrong = np.flatnonzero((made[:count] != heard[:count]).any(axis=1))
    run.first_wrong_frame = int(wrong[0]) if len(wrong) else None
