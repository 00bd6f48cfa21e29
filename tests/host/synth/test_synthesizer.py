"""The synthesizer: pitch, times, and the same bits however it is asked."""

import hashlib
import random
from fractions import Fraction

import numpy as np
import pytest

from codecrig.synth import PITCH_STEPS, VOICES, Samples, Synthesizer, phase_increment, render_events

RATE = 48_000


def song() -> list[tuple[int, bytes]]:
    """Notes of all families, bends, pedal, controllers, percussion."""
    rng = random.Random(5)
    events: list[tuple[int, bytes]] = []
    for channel in range(16):
        events.append((0, bytes([0xC0 | channel, 8 * channel])))
    for _ in range(60):
        start, channel, note = rng.randrange(60_000), rng.randrange(16), rng.randrange(20, 110)
        events.append((start, bytes([0x90 | channel, note, rng.randrange(1, 128)])))
        events.append((start + rng.randrange(20_000), bytes([0x80 | channel, note, 0])))
        events.append((rng.randrange(60_000), bytes([0xE0 | channel, rng.randrange(128), rng.randrange(128)])))
        events.append((rng.randrange(60_000), bytes([0xB0 | channel, rng.choice((7, 10, 11, 64)), rng.randrange(128)])))
    return sorted(events, key=lambda event: event[0])


def in_windows(events: list[tuple[int, bytes]], window: int, frames: int) -> Samples:
    synthesizer = Synthesizer(RATE)
    waiting = list(events)
    blocks = []
    for begin in range(0, frames, window):
        now, end = begin, min(begin + window, frames)
        while waiting and waiting[0][0] < end:
            sample, data = waiting.pop(0)
            blocks.append(synthesizer.render(sample - now))
            now = sample
            synthesizer.message(data)
        blocks.append(synthesizer.render(end - now))
    return np.concatenate(blocks)


def test_windows_do_not_matter() -> None:
    whole = in_windows(song(), 90_000, 90_000)
    assert np.abs(whole).max() > 100_000
    for window in (960, 777, 1):
        frames = 90_000 if window > 1 else 3_000
        assert np.array_equal(in_windows(song(), window, frames), whole[:frames])


def test_the_same_song_gives_the_same_bits() -> None:
    """On every machine: the hash is on record."""
    sound = render_events(song(), RATE, 20_000)
    assert hashlib.sha256(sound.astype("<i4").tobytes()).hexdigest() == SONG_SHA256


SONG_SHA256 = "46b245f50d34f744381ff656fe8d09346536e0e804b6b6f24ad49769b6a87c65"


def frequency(sound: Samples) -> float:
    """Of the strongest partial of the left channel."""
    left = sound[:, 0] * np.hanning(len(sound))
    spectrum = np.abs(np.fft.rfft(left, 1 << 18))
    return float(np.argmax(spectrum)) * RATE / (1 << 18)


@pytest.mark.parametrize("note", [40, 69, 100])
def test_a_note_has_its_pitch(note: int) -> None:
    sound = render_events([(0, bytes([0xC0, 72])), (0, bytes([0x90, note, 100]))], RATE, RATE)  # pipe
    assert frequency(sound) == pytest.approx(440 * 2 ** ((note - 69) / 12), rel=0.002)


def test_increments_are_exact() -> None:
    assert phase_increment(69 * PITCH_STEPS, RATE) == 440 * (1 << 32) // RATE
    assert phase_increment(57 * PITCH_STEPS, RATE) == 220 * (1 << 32) // RATE
    assert phase_increment(70 * PITCH_STEPS, RATE) == int(Fraction(440 * 2 ** (1 / 12)) * (1 << 32) / RATE)


def test_pitch_bend_and_its_range() -> None:
    events = [(0, bytes([0xC0, 72])), (0, b"\x90\x45\x64"), (0, b"\xe0\x7f\x7f")]
    assert frequency(render_events(events, RATE, RATE)) == pytest.approx(440 * 2 ** (2 / 12), rel=0.002)
    wide = [(0, b"\xb0\x65\x00"), (0, b"\xb0\x64\x00"), (0, b"\xb0\x06\x0c"), *events]
    assert frequency(render_events(wide, RATE, RATE)) == pytest.approx(880, rel=0.002)


def test_a_note_begins_at_its_sample() -> None:
    sound = render_events([(0, bytes([0xC9, 0])), (4_321, b"\x99\x28\x7f")], RATE, 1_000)  # no attack
    assert not sound[:4_321].any()
    assert sound[4_321:4_330].any()


def level(sound: Samples) -> float:
    return float(np.sqrt(np.mean(sound.astype(np.float64) ** 2)))


def test_velocity_is_louder() -> None:
    soft, loud = (render_events([(0, bytes([0x90, 60, v]))], RATE, 4_800) for v in (32, 127))
    assert level(loud) == pytest.approx(level(soft) * (127 / 32) ** 2, rel=0.01)


def test_the_pedal_holds_and_lets_go() -> None:
    strings = bytes([0xC0, 40])
    synthesizer = Synthesizer(RATE)
    for data in (strings, b"\xb0\x40\x7f", b"\x90\x3c\x64", b"\x80\x3c\x00"):
        synthesizer.message(data)
    assert level(synthesizer.render(RATE)[-4_800:]) > 1_000
    synthesizer.message(b"\xb0\x40\x00")
    synthesizer.render(3 * RATE)
    assert synthesizer.active_voices == 0


@pytest.mark.parametrize("data", [b"\xb0\x7b\x00", b"\xb0\x78\x00", b"\xff", b"\xf0\x7e\x7f\x09\x01\xf7"])
def test_messages_that_end_all_notes(data: bytes) -> None:
    synthesizer = Synthesizer(RATE)
    for note in range(40, 60):
        synthesizer.message(bytes([0xC0, 16]))
        synthesizer.message(bytes([0x90, note, 100]))
    assert synthesizer.active_voices == 20
    synthesizer.message(data)
    synthesizer.render(3 * RATE)
    assert synthesizer.active_voices == 0


def test_the_oldest_voice_gives_way() -> None:
    synthesizer = Synthesizer(RATE)
    for note in range(20, 20 + VOICES + 8):
        synthesizer.message(bytes([0x90, note, 100]))
        assert synthesizer.active_voices <= VOICES
    assert np.abs(synthesizer.render(4_800)).max() < 1 << 23


@pytest.mark.parametrize("data", [b"", b"\x3c\x40", b"\x90", b"\x90\x3c", b"\xf0\x01\xf7", b"\xf8", b"\xa0\x3c\x40"])
def test_messages_without_effect(data: bytes) -> None:
    synthesizer = Synthesizer(RATE)
    synthesizer.message(data)
    assert not synthesizer.render(100).any()


def test_many_times_faster_than_real_time() -> None:
    """16 voices that stay: the issue wants 20 times; the benchmark is in docs/dmus.md, this guards against a cliff."""
    import time

    synthesizer = Synthesizer(RATE)
    for channel in range(16):
        synthesizer.message(bytes([0xC0 | channel, 40]))
        synthesizer.message(bytes([0x90 | channel, 40 + 2 * channel, 100]))
    synthesizer.render(960)
    begin = time.process_time()
    for _ in range(100):
        synthesizer.render(960)
    assert synthesizer.active_voices >= 15
    assert 2.0 / (time.process_time() - begin) > 20
