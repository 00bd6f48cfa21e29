"""The converter side of the board in Python: pattern source and checker, the analog cable, what a bench can do to it.

Frames are rows of an int32 array (left, right), left-justified with 24 significant bits, as on the I2S wires.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from codecrig.link.registers import PatternKind

Frames = npt.NDArray[np.int32]
"""Frames by channels, left-justified."""

FULL_SCALE_24 = (1 << 23) - 1
CONVERTER_PIPELINE_FRAMES = 2
"""Frames from the tick at which the serializer takes a frame to the tick at which it comes back through DAC and ADC,
with no analog delay: one to shift it out, one to shift it in."""
LFSR_TAPS = 0x80200003


def silence(frames: int, channels: int = 2) -> Frames:
    """`frames` frames of zero."""
    return np.zeros((frames, channels), dtype=np.int32)


def mix(total: Frames, samples: npt.NDArray[np.int32], others: bool) -> None:
    """Add a render stream to the frames for the converter, with saturation at 24 bits.

    One channel plays on the first two; channels that the converter does not have are dropped. `others`: another
    stream has been added before.
    """
    if samples.shape[1] == 1:
        samples = np.repeat(samples, 2, axis=1)
    channels = min(samples.shape[1], total.shape[1])
    if not others:
        total[:, :channels] = samples[:, :channels]
        return
    added = (total[:, :channels].astype(np.int64) + samples[:, :channels]) >> 8
    total[:, :channels] = np.clip(added, -FULL_SCALE_24 - 1, FULL_SCALE_24) << 8


class PatternSequence:
    """The pattern source from frame 0 on: ramp or LFSR (see PatternKind in docs/registers.md)."""

    def __init__(self, kind: PatternKind, seed: int) -> None:
        self.kind = kind
        self.frame = 0
        """Index of the next frame."""
        self._state = seed & 0xFFFFFFFF or 1

    def take(self, frames: int) -> Frames:
        """The next `frames` frames."""
        first = self.frame
        self.frame += frames
        if self.kind is PatternKind.RAMP:
            samples = np.arange(2 * first, 2 * (first + frames), dtype=np.int64) & 0xFFFFFF
            return (samples << 8).astype(np.uint32).view(np.int32).reshape(-1, 2)
        states = []
        state = self._state
        for _ in range(2 * frames):
            states.append(state)
            state = state >> 1 ^ LFSR_TAPS if state & 1 else state >> 1
        self._state = state
        return (np.array(states, dtype=np.uint32) & np.uint32(0xFFFFFF00)).view(np.int32).reshape(-1, 2)


@dataclass
class CodecSettings:
    """The analog path from DAC to ADC. All whole numbers; LSB means of 24 bits.

    adc = saturate24(((dac * gain_q16 + 32768) >> 16) + dc_lsb + noise), as in the twin's codec; the noise differs.
    """

    gain_q16: int = 65536
    noise_lsb: int = 0
    """Peak of the noise, which is triangular."""
    dc_lsb: int = 0
    delay_frames: int = 0
    connected: bool = True


def random_words(first_frame: int, frames: int) -> npt.NDArray[np.uint64]:
    """A random word for each sample: a hash of frame number and channel, so that any stretch can be made alone."""
    counter = np.arange(2 * first_frame, 2 * (first_frame + frames), dtype=np.uint64)
    mixed = counter * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (mixed ^ (mixed >> np.uint64(31))).reshape(-1, 2)


def noise(first_frame: int, frames: int, peak_lsb: int) -> npt.NDArray[np.int64]:
    """Triangular noise from -peak to +peak."""
    words = random_words(first_frame, frames)
    first, second = words >> np.uint64(48), words >> np.uint64(32) & np.uint64(0xFFFF)
    triangle = first.astype(np.int64) - second.astype(np.int64)
    return (triangle * peak_lsb + 32768) >> 16


class AnalogPath:
    """DAC, cable and ADC, and the samples injected instead of the cable."""

    def __init__(self, settings: CodecSettings | None = None) -> None:
        self.settings = settings or CodecSettings()
        self.fault = "none"
        self.frames = 0
        """Frames heard since power-up: the noise generator's counter."""
        self._history = silence(0)
        self._injected = silence(0)

    def configure(self, settings: CodecSettings) -> None:
        """Change the path; what is under way in a longer or shorter delay is padded with silence or dropped."""
        self.settings = settings

    def inject(self, samples: Frames) -> None:
        """Queue frames that the ADC hears instead of the cable, one a tick."""
        self._injected = np.concatenate([self._injected, samples])

    def pass_by(self, dac: Frames) -> None:
        """The DAC was given `dac`, and nobody listens to the ADC."""
        self._delay(dac)
        self.frames += len(dac)
        if len(self._injected):
            self._injected = self._injected[len(dac) :]

    def _delay(self, dac: Frames) -> Frames:
        delay = CONVERTER_PIPELINE_FRAMES + self.settings.delay_frames
        if len(self._history) < delay:
            self._history = np.concatenate([silence(delay - len(self._history)), self._history])
        line = np.concatenate([self._history[len(self._history) - delay :], dac])
        self._history = line[len(dac) :]
        return line[: len(dac)]

    def hear(self, dac: Frames) -> Frames:
        """What the ADC gives at the ticks at which the DAC was given `dac`."""
        count = len(dac)
        heard = self._analog(self._delay(dac))
        self.frames += count
        if len(self._injected):
            taken = min(count, len(self._injected))
            heard[:taken] = self._injected[:taken] & np.int32(-256)
            self._injected = self._injected[taken:]
        if self.fault == "open":  # a floating input picks up anything
            words = random_words(self.frames - count, count)
            heard = (words >> np.uint64(32)).astype(np.uint32).view(np.int32) & np.int32(-256)
        elif self.fault == "stuck0":
            heard[:] = 0
        elif self.fault == "stuck1":
            heard[:] = -256
        elif self.fault == "swap":
            heard = heard[:, ::-1]
        return heard

    def _analog(self, dac: Frames) -> Frames:
        settings = self.settings
        if settings.gain_q16 == 65536 and settings.noise_lsb == 0 and settings.dc_lsb == 0 and settings.connected:
            return dac.copy()
        signal = dac.astype(np.int64) >> 8
        signal = (signal * settings.gain_q16 + 32768) >> 16 if settings.connected else np.zeros_like(signal)
        signal += settings.dc_lsb
        if settings.noise_lsb:
            signal += noise(self.frames, len(dac), settings.noise_lsb)
        return (np.clip(signal, -FULL_SCALE_24 - 1, FULL_SCALE_24) << 8).astype(np.int32)


class PatternChecker:
    """Compares delivered render frames with the pattern, from the first non-silent one on."""

    def __init__(self, kind: PatternKind, seed: int) -> None:
        self._sequence = PatternSequence(kind, seed)
        self._started = False
        self.frames = 0
        self.errors = 0
        self.first_bad = 0xFFFFFFFF

    def check(self, delivered: Frames) -> int | None:
        """Look at frames; returns the row of the first wrong frame of all, if it is among these."""
        skipped = 0
        if not self._started:
            loud = np.flatnonzero((delivered != 0).any(axis=1))
            if not len(loud):
                return None
            self._started = True
            skipped = int(loud[0])
            delivered = delivered[skipped:]
        wrong = np.flatnonzero((delivered != self._sequence.take(len(delivered))).any(axis=1))
        first_row = None
        if len(wrong) and self.errors == 0:
            self.first_bad = (self.frames + int(wrong[0])) & 0xFFFFFFFF
            first_row = skipped + int(wrong[0])
        self.frames += len(delivered)
        self.errors += len(wrong)
        return first_row
