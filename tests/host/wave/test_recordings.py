"""The recordings in tests/data are what their README says."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from codecrig.wave import read_wave

DATA = Path(__file__).parents[2] / "data"


def test_speech_is_short_mono_and_audible() -> None:
    audio = read_wave(DATA / "speech.wav", rates=(48_000,))
    assert (audio.valid_bits, audio.channels) == (16, 1)
    assert 2.0 <= audio.seconds <= 5.0
    assert 0.5 <= np.max(np.abs(audio.samples)) / 2**15 <= 0.9


def test_music_is_made_by_its_script() -> None:
    audio = read_wave(DATA / "music.wav", rates=(48_000,))
    assert (audio.valid_bits, audio.channels, audio.frames) == (24, 2, 48_000)
    made = runpy.run_path(str(DATA / "make_music.py"))["music"]()
    # One step of 24 bits for the last digit of another machine's sine.
    assert np.max(np.abs(made - audio.samples)) <= 1


def test_files_are_small() -> None:
    assert sum(path.stat().st_size for path in DATA.iterdir()) < 1_000_000


@pytest.mark.parametrize("name", ["speech.wav", "music.wav"])
def test_readme_tells_how_each_was_made(name: str) -> None:
    assert f"## {name}" in (DATA / "README.md").read_text()
