"""Plays songs on a board's MIDI port through the objects of a MIDI driver."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from codecrig.board import Board, BoardSystem, MidiByte
from codecrig.client import InterruptFlag, Progress
from codecrig.miniport.midi import RENDER_PIN, MiniportMidi
from codecrig.port.midi import PortMidi
from codecrig.portcls import KSSTATE, REFERENCE_TIME_PER_SECOND
from codecrig.song import Song

SongModel = Literal["midi"]
SONG_MODELS: tuple[SongModel, ...] = ("midi",)
"""Windows' stream objects that can play a song."""

LEAD_S = 0.02
"""Between RUN and the first message: time for the first requests."""
STEP_S = 0.05
"""How often progress is told and Ctrl-C is looked for."""
BYTE_S = 10 / 31_250


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


def play_song(board: Board, song: Song, *, progress: Progress | None = None) -> SongRun:
    """Play a song as raw MIDI, timed by the port; returns when its last byte has left. Notes still on are ended.

    Raises NtStatusError if the board has no MIDI port, BoardError and LinkError as the board does.
    """
    system = BoardSystem(board)
    listens = board.bench.has("midi")
    run = SongRun(len(song.messages), sum(len(each.data) for each in song.messages), 0)
    run.ticks_per_second = board.clock.rate
    with PortMidi(MiniportMidi(board), system) as port, InterruptFlag() as interrupt:
        pin = port.open_pin(RENDER_PIN, False)
        pin.set_state(KSSTATE.RUN)
        if listens:
            board.bench.midi_read()
        system.sleep(0)
        begin_ticks = board.events.time_ticks
        start = system.system_time() + int(LEAD_S * REFERENCE_TIME_PER_SECOND)
        run.start_ticks = int(start * board.clock.rate / REFERENCE_TIME_PER_SECOND)
        for message in song.messages:
            pin.write(message.data, start + message.time)
        while pin.queued_bytes and not interrupt.raised:
            system.sleep(STEP_S)
            if progress is not None:
                progress(run.bytes_due - pin.queued_bytes, run.bytes_due)
        run.bytes_taken = run.bytes_due - pin.queued_bytes - pin.thrown_away
        run.failure = str(pin.failure or "")
        run.interrupted = interrupt.raised
        if not run.interrupted:
            system.sleep(130 * BYTE_S)
        if listens and not run.interrupted:
            run.wire = board.bench.midi_read()
        pin.set_state(KSSTATE.STOP)
        system.sleep(0)
        run.board_ticks = board.events.time_ticks - begin_ticks
    return run
