"""A small synthesizer: MIDI messages at sample times in, stereo samples out. The same events give the same bits.

Additive wavetables, one for each family of eight programs and each octave, noise for percussion; envelopes are
functions of a voice's age; pitch is a phase that is counted exactly. Everything is integer arithmetic (the mixing uses
floating point, on whole numbers below 2^53, where it is exact), so the sound does not depend on how the stream is cut
into windows, on the machine or on its libraries. It is a reference with exact oracles, not a sound library.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from functools import cache

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.int32]
"""Frames by 2 channels, 24 bits, right-justified."""

CHANNELS = 16
VOICES = 32
DRUM_CHANNEL = 9
"""Channel 10 of the MIDI world."""
FULL_SCALE = (1 << 23) - 1
PITCH_STEPS = 1024
"""Pitch counts this many steps in a semitone."""

_TABLE_BITS = 11
_TABLE_SIZE = 1 << _TABLE_BITS
_OCTAVES = 11
_ENVELOPE_BITS = 16
_DECAY_POINTS = 256
_DECAY_STEP_BITS = 9
"""Samples from one point of a decay to the next, log2: 10.7 ms at 48 kHz."""
_BLOCK = 2048
"""Most frames rendered at a time."""
_SILENT_POINTS = _DECAY_POINTS - 1
_HEADROOM_BITS = 2
"""One voice at full level stays so many bits below full scale."""


@dataclass(frozen=True, slots=True)
class Instrument:
    """How a family of programs sounds."""

    harmonics: tuple[int, ...]
    """Amplitudes of the harmonics, in 1/64."""
    attack_ms: int
    half_life_ms: int
    """Time in which the level falls to half towards `sustain`."""
    sustain: int
    """Level of a held note behind its decay, in 1/256 of the peak."""
    release_ms: int
    """Time in which the level falls to half after the release."""


_FAMILIES = (
    Instrument((64, 32, 20, 12, 8, 5, 3, 2), 2, 600, 0, 60),  # piano
    Instrument((64, 0, 4, 30, 0, 0, 10), 1, 300, 0, 120),  # chromatic percussion
    Instrument((64, 48, 0, 40, 0, 0, 0, 24), 6, 100, 240, 12),  # organ
    Instrument((64, 40, 28, 20, 12, 8, 6, 4, 2), 2, 400, 0, 40),  # guitar
    Instrument((64, 50, 20, 8, 4), 4, 500, 40, 30),  # bass
    Instrument((64, 44, 30, 24, 18, 14, 10, 8, 6, 4), 50, 200, 220, 90),  # strings
    Instrument((64, 36, 24, 20, 12, 10, 8), 70, 200, 220, 120),  # ensemble
    Instrument((64, 60, 52, 44, 34, 26, 18, 12, 8), 25, 150, 200, 40),  # brass
    Instrument((64, 8, 48, 6, 30, 4, 18, 2, 10), 20, 150, 220, 30),  # reed
    Instrument((64, 12, 4), 30, 200, 230, 40),  # pipe
    Instrument((64, 32, 21, 16, 13, 11, 9, 8, 7, 6), 4, 100, 220, 40),  # synth lead
    Instrument((64, 20, 28, 10, 14, 6, 8), 150, 300, 220, 250),  # synth pad
    Instrument((64, 0, 30, 22, 0, 18, 0, 14), 80, 400, 120, 300),  # effects
    Instrument((64, 30, 40, 16, 20, 8, 4), 2, 250, 20, 50),  # ethnic
    Instrument((64, 20, 0, 30, 0, 10), 1, 120, 0, 60),  # percussive
    Instrument((64, 60, 56, 52, 48, 44, 40, 36), 40, 500, 60, 100),  # sound effects
)
_DRUM = Instrument((), 0, 60, 0, 60)


@cache
def _ratios() -> tuple[tuple[int, ...], tuple[int, ...]]:
    """2^(n/12) for semitones, 2^(n/12288) for steps, times 2^40 rounded: exact on every machine."""
    with localcontext() as exact:
        exact.prec = 50
        semitones = [Decimal(2) ** (Decimal(n) / 12) * (1 << 40) for n in range(12)]
        steps = [Decimal(2) ** (Decimal(n) / (12 * PITCH_STEPS)) * (1 << 40) for n in range(PITCH_STEPS)]
        return tuple(map(round, semitones)), tuple(map(round, steps))


@cache
def phase_increment(pitch: int, sample_rate: int) -> int:
    """Advance of a 32-bit phase in one sample at `pitch` (semitones times PITCH_STEPS, 69 * PITCH_STEPS = 440 Hz)."""
    semitones, steps = _ratios()
    octave, rest = divmod(pitch - 69 * PITCH_STEPS, 12 * PITCH_STEPS)
    ratio = semitones[rest // PITCH_STEPS] * steps[rest % PITCH_STEPS]  # times 2^80
    scaled = 440 * (1 << 32) * ratio
    return min((scaled << octave if octave >= 0 else scaled >> -octave) // sample_rate >> 80, (1 << 31) - 1)


@cache
def _tables(sample_rate: int) -> npt.NDArray[np.int32]:
    """All wavetables, one behind the other: families by octaves, then the noise. Values of 16 bits."""
    index = np.arange(_TABLE_SIZE)
    sine = np.array([round(32767 * math.sin(2 * math.pi * n / _TABLE_SIZE)) for n in index.tolist()], dtype=np.int64)
    tables = []
    for family in _FAMILIES:
        total = sum(family.harmonics)
        for octave in range(_OCTAVES):
            highest_hz = 8.2 * 2 ** (octave + 1)
            table = np.zeros(_TABLE_SIZE, dtype=np.int64)
            for number, amplitude in enumerate(family.harmonics, 1):
                if number == 1 or number * highest_hz < sample_rate * 0.45:
                    table += amplitude * sine[index * number % _TABLE_SIZE]
            tables.append(table * 2 // (total + family.harmonics[0]))
    tables.append(_noise())
    return np.concatenate(tables).astype(np.int32)


def _noise() -> npt.NDArray[np.int64]:
    state, values = 0xACE1, []
    for _ in range(_TABLE_SIZE):
        for _ in range(16):
            state = state >> 1 ^ (0xB400 if state & 1 else 0)
        values.append(state - 32768)
    return np.array(values, dtype=np.int64) * 3 // 4


@cache
def _decay(half_life_ms: int, sustain: int, sample_rate: int) -> npt.NDArray[np.int32]:
    """Levels of a decay from full to `sustain`, one each 2^_DECAY_STEP_BITS samples; the last one stays."""
    floor = sustain << (_ENVELOPE_BITS - 8)
    points = []
    span = (1 << _ENVELOPE_BITS) - floor
    pitch_fall = (12 * PITCH_STEPS * 1000 << _DECAY_STEP_BITS) // (half_life_ms * sample_rate)  # of an octave
    semitones, steps = _ratios()
    for n in range(_DECAY_POINTS):
        octaves, rest = divmod(n * pitch_fall, 12 * PITCH_STEPS)
        ratio = semitones[rest // PITCH_STEPS] * steps[rest % PITCH_STEPS]
        points.append(floor + ((span << 80) // ratio >> octaves if octaves < 40 else 0))
    if sustain == 0:  # to the end within the table
        for n in range(8):
            points[-1 - n] = points[-1 - n] * n // 8
    points.append(points[-1])
    return np.array(points, dtype=np.int32)


@dataclass(slots=True)
class _Channel:
    program: int = 0
    volume: int = 100
    expression: int = 127
    pan: int = 64
    bend: int = 8192
    bend_range: int = 2
    sustain: bool = False
    parameter: tuple[int, int] = (127, 127)

    def gains(self) -> tuple[int, int]:
        """Left and right, 1.0 = 2^12."""
        level = self.volume * self.volume * self.expression * self.expression // (127 * 127)
        left = min(127, 2 * (127 - self.pan))
        right = min(127, 2 * self.pan)
        return level * left // (127 * 127 * 127 >> 12), level * right // (127 * 127 * 127 >> 12)


@dataclass(slots=True)
class _Voice:
    channel: int
    note: int
    velocity: int
    born: int
    table: int
    decay: int
    release_decay: int
    attack: int
    phase: int = 0
    increment: int = 0
    age: int = 0
    released_age: int = -1
    """Samples since the release; below 0 while the key or the pedal holds the note."""
    pedal: bool = False
    """The key is up, the pedal holds the note."""
    life: int = 0
    """Samples from the release to silence."""
    fades: bool = False
    """Falls silent without a release, too."""


class Synthesizer:
    """16 channels, 32 voices. Give it messages in the order of time between stretches that it renders."""

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        self._tables = _tables(sample_rate)
        self._decays: list[npt.NDArray[np.int32]] = []
        self._decay_index: dict[tuple[int, int], int] = {}
        self._decay_table = np.zeros(0, dtype=np.int32)
        self._births = 0
        self._channels = [_Channel() for _ in range(CHANNELS)]
        self._voices: list[_Voice] = []

    @property
    def active_voices(self) -> int:
        """Voices that sound."""
        return len(self._voices)

    def reset(self) -> None:
        """As new: no voice, all controllers at their defaults."""
        self._voices.clear()
        self._channels = [_Channel() for _ in range(CHANNELS)]

    def cut(self) -> None:
        """Silence at once; controllers stay."""
        self._voices.clear()
        for channel in self._channels:
            channel.sustain = False

    # ------------------------------------------------------------------ messages

    def message(self, data: bytes) -> None:
        """One whole message with its status byte, in force from the next sample on. Unknown ones have no effect."""
        status = data[0] if data else 0
        if status == 0xFF or data == b"\xf0\x7e\x7f\x09\x01\xf7":  # system reset; GM system on
            self.reset()
        if not 0x80 <= status < 0xF0 or len(data) < (2 if status & 0xE0 == 0xC0 else 3):
            return
        number = status & 0x0F
        match status & 0xF0:
            case 0x80:
                self._note_off(number, data[1])
            case 0x90:
                if data[2]:
                    self._note_on(number, data[1], data[2])
                else:
                    self._note_off(number, data[1])
            case 0xB0:
                self._control(number, data[1], data[2])
            case 0xC0:
                self._channels[number].program = data[1]
            case 0xE0:
                self._channels[number].bend = data[1] | data[2] << 7
                self._retune(number)

    def _note_on(self, number: int, note: int, velocity: int) -> None:
        channel = self._channels[number]
        for voice in self._voices:
            if voice.channel == number and voice.note == note:
                self._release(voice)
        if len(self._voices) >= VOICES:
            self._voices.remove(min(self._voices, key=lambda each: (each.released_age < 0, each.born)))
        drum = number == DRUM_CHANNEL
        family = _DRUM if drum else _FAMILIES[channel.program // 8]
        table = len(_FAMILIES) * _OCTAVES if drum else channel.program // 8 * _OCTAVES + note // 12
        half_life_ms = family.half_life_ms if not drum else max(15, 300 - 4 * note)
        release = self._decay_number(family.release_ms, 0)
        self._births += 1
        voice = _Voice(
            channel=number,
            note=note,
            velocity=velocity,
            born=self._births,
            table=table * _TABLE_SIZE,
            decay=self._decay_number(half_life_ms, family.sustain),
            release_decay=release,
            attack=max(1, family.attack_ms * self.sample_rate // 1000),
            life=_SILENT_POINTS << _DECAY_STEP_BITS,
            fades=family.sustain == 0,
        )
        voice.increment = self._increment(voice)
        self._voices.append(voice)

    def _decay_number(self, half_life_ms: int, sustain: int) -> int:
        """Where a decay begins in the table of all."""
        key = (half_life_ms, sustain)
        if key not in self._decay_index:
            self._decay_index[key] = len(self._decays) * (_DECAY_POINTS + 1)
            self._decays.append(_decay(half_life_ms, sustain, self.sample_rate))
            self._decay_table = np.concatenate(self._decays)
        return self._decay_index[key]

    def _increment(self, voice: _Voice) -> int:
        channel = self._channels[voice.channel]
        if voice.channel == DRUM_CHANNEL:
            return phase_increment((voice.note + 12) * PITCH_STEPS // 2, self.sample_rate)
        bend = (channel.bend - 8192) * channel.bend_range * PITCH_STEPS // 8192
        return phase_increment(voice.note * PITCH_STEPS + bend, self.sample_rate)

    def _retune(self, number: int) -> None:
        for voice in self._voices:
            if voice.channel == number:
                voice.increment = self._increment(voice)

    def _note_off(self, number: int, note: int) -> None:
        channel = self._channels[number]
        for voice in self._voices:
            if voice.channel == number and voice.note == note and voice.released_age < 0:
                if channel.sustain:
                    voice.pedal = True
                else:
                    self._release(voice)

    @staticmethod
    def _release(voice: _Voice) -> None:
        if voice.released_age < 0:
            voice.released_age = 0

    def _control(self, number: int, controller: int, value: int) -> None:
        channel = self._channels[number]
        match controller:
            case 6:
                if channel.parameter == (0, 0):
                    channel.bend_range = min(value, 24)
                    self._retune(number)
            case 7:
                channel.volume = value
            case 10:
                channel.pan = value
            case 11:
                channel.expression = value
            case 64:
                channel.sustain = value >= 64
                if not channel.sustain:
                    for voice in self._voices:
                        if voice.channel == number and voice.pedal:
                            self._release(voice)
            case 98 | 99:
                channel.parameter = (127, 127)
            case 100:
                channel.parameter = (channel.parameter[0], value)
            case 101:
                channel.parameter = (value, channel.parameter[1])
            case 120:
                self._voices = [voice for voice in self._voices if voice.channel != number]
            case 121:
                channel.expression, channel.bend, channel.parameter = 127, 8192, (127, 127)
                self._control(number, 64, 0)
                self._retune(number)
            case 123 | 124 | 125 | 126 | 127:
                for voice in self._voices:
                    if voice.channel == number:
                        if channel.sustain:
                            voice.pedal = True
                        else:
                            self._release(voice)

    # ------------------------------------------------------------------ sound

    def render(self, frames: int) -> Samples:
        """The next `frames` frames."""
        blocks = []
        while frames > 0:
            count = min(frames, _BLOCK)
            blocks.append(self._render_block(count))
            frames -= count
        return np.concatenate(blocks) if blocks else np.zeros((0, 2), dtype=np.int32)

    def _render_block(self, count: int) -> Samples:
        voices = self._voices
        if not voices:
            return np.zeros((count, 2), dtype=np.int32)
        time = np.arange(count, dtype=np.int32)
        increment = _column([voice.increment for voice in voices]).astype(np.uint32)
        phase = _column([voice.phase for voice in voices]).astype(np.uint32) + increment * time.astype(np.uint32)
        index = (phase >> np.uint32(32 - _TABLE_BITS)).astype(np.int32) + _column([voice.table for voice in voices])
        wave = self._tables[index]
        age = _column([voice.age for voice in voices]) + time
        attack = _column([voice.attack for voice in voices])
        level = self._decayed(np.maximum(age - attack, 0), _column([voice.decay for voice in voices]))
        rising = [row for row, voice in enumerate(voices) if voice.age < voice.attack]
        if rising:
            ramp = (np.minimum(age[rising], attack[rising]).astype(np.int64) << _ENVELOPE_BITS) // attack[rising]
            level[rising] = (level[rising].astype(np.int64) * ramp >> _ENVELOPE_BITS).astype(np.int32)
        released = [row for row, voice in enumerate(voices) if voice.released_age >= 0]
        if released:
            since = _column([voices[row].released_age for row in released])
            start = _column([voices[row].release_decay for row in released])
            fall = self._decayed(since + time, start)
            level[released] = (level[released].astype(np.int64) * fall >> _ENVELOPE_BITS).astype(np.int32)
        # Below 2^16 by 2^14: it fits.
        sound = wave * (level >> 2) >> 8
        mixed = self._gains(voices) @ sound.astype(np.float64)
        self._grow_older(count)
        return np.clip(np.floor(mixed * 2.0**-24), -FULL_SCALE - 1, FULL_SCALE).astype(np.int32).T

    def _decayed(self, age: npt.NDArray[np.int32], start: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """Level at an age of the decay that begins at `start` in the table: straight lines between its points."""
        last = _SILENT_POINTS << _DECAY_STEP_BITS
        age = np.minimum(age, last)
        point = (age >> _DECAY_STEP_BITS) + start
        here = self._decay_table[point]
        step = self._decay_table[point + 1] - here
        return here + (step * (age & (1 << _DECAY_STEP_BITS) - 1) >> _DECAY_STEP_BITS)

    def _gains(self, voices: Sequence[_Voice]) -> npt.NDArray[np.float64]:
        """2 by voices: channel gain and velocity. Whole numbers, so that every sum is exact."""
        gains = np.zeros((2, len(voices)), dtype=np.float64)
        for row, voice in enumerate(voices):
            left, right = self._channels[voice.channel].gains()
            strength = voice.velocity * voice.velocity
            gains[0, row] = (left * strength) >> _HEADROOM_BITS
            gains[1, row] = (right * strength) >> _HEADROOM_BITS
        return gains

    def _grow_older(self, count: int) -> None:
        living = []
        for voice in self._voices:
            voice.phase = voice.phase + voice.increment * count & 0xFFFFFFFF
            voice.age = min(voice.age + count, 1 << 30)
            if voice.released_age >= 0:
                voice.released_age = min(voice.released_age + count, 1 << 30)
            faded = voice.fades and voice.age - voice.attack >= voice.life
            if not faded and voice.released_age < voice.life:
                living.append(voice)
        self._voices = living


def _column(values: Sequence[int]) -> npt.NDArray[np.int32]:
    """One value for each voice, to be combined with one for each sample."""
    return np.array(values, dtype=np.int64).astype(np.uint32).view(np.int32)[:, None]


def render_events(events: Sequence[tuple[int, bytes]], sample_rate: int, tail_frames: int = 0) -> Samples:
    """A whole song: messages at sample times, in order of time, and `tail_frames` behind the last one."""
    synthesizer = Synthesizer(sample_rate)
    blocks, now = [], 0
    for sample, data in events:
        if sample > now:
            blocks.append(synthesizer.render(sample - now))
            now = sample
        synthesizer.message(data)
    blocks.append(synthesizer.render(tail_frames))
    return np.concatenate(blocks)
