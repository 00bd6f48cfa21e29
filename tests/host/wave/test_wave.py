"""WAV files: exact where they can be, told where they cannot, refused with a sentence that helps."""

import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from codecrig.wave import PcmAudio, WaveError, pack_samples, read_wave, unpack_samples, write_wave

RATES = (48_000,)
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
SUBFORMAT_TAIL = bytes.fromhex("000000001000800000aa00389b71")


def wave_bytes(
    data: bytes,
    *,
    bits: int = 16,
    channels: int = 2,
    rate: int = 48_000,
    tag: int = PCM,
    valid_bits: int | None = None,
    before_data: bytes = b"",
    data_length: int | None = None,
) -> bytes:
    """A WAV written out by hand, so that the reader is not judged by its own library."""
    block = channels * bits // 8
    form = struct.pack("<HHIIHH", EXTENSIBLE if valid_bits else tag, channels, rate, rate * block, block, bits)
    if valid_bits:
        form += struct.pack("<HHIH", 22, valid_bits, 3, tag) + SUBFORMAT_TAIL
    body = b"WAVE" + b"fmt " + struct.pack("<I", len(form)) + form + before_data
    body += (
        b"data" + struct.pack("<I", len(data) if data_length is None else data_length) + data + b"\0" * (len(data) % 2)
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def written(folder: Path, content: bytes) -> Path:
    path = folder / "input.wav"
    path.write_bytes(content)
    return path


def integers(bits: int, channels: int = 2, frames: int = 501) -> np.ndarray:
    """Random samples with both extremes, right-justified."""
    samples = np.random.default_rng(bits).integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (frames, channels), np.int64)
    samples[0], samples[1] = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    return samples


def little_endian(samples: np.ndarray, bits: int) -> bytes:
    count = bits // 8
    return b"".join(int(value).to_bytes(count, "little", signed=True) for value in samples.ravel())


@pytest.mark.parametrize("channels", [1, 2])
def test_8_bits_become_16_exactly(tmp_path: Path, channels: int) -> None:
    unsigned = np.random.default_rng(8).integers(0, 256, (257, channels), np.uint8)
    audio = read_wave(written(tmp_path, wave_bytes(unsigned.tobytes(), bits=8, channels=channels)), rates=RATES)
    assert (audio.valid_bits, audio.container_bits, audio.channels, audio.frames) == (16, 16, channels, 257)
    assert np.array_equal(audio.samples, (unsigned.astype(np.int32) - 128) << 8)
    assert audio.notes == ("8 bits widened to 16, exact",)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("bits", [16, 24])
@pytest.mark.parametrize("extensible", [False, True])
def test_16_and_24_bits_reach_the_stream_byte_for_byte(
    tmp_path: Path, bits: int, channels: int, extensible: bool
) -> None:
    data = little_endian(integers(bits, channels), bits)
    content = wave_bytes(data, bits=bits, channels=channels, valid_bits=bits if extensible else None)
    audio = read_wave(written(tmp_path, content), rates=RATES)
    assert (audio.valid_bits, audio.container_bits, audio.block_bytes) == (bits, bits, channels * bits // 8)
    assert audio.to_bytes() == data
    assert audio.notes == ()
    assert audio.seconds == pytest.approx(501 / 48_000)


def test_20_valid_bits_in_24_keep_their_bytes(tmp_path: Path) -> None:
    data = little_endian(integers(20) << 4, 24)
    audio = read_wave(written(tmp_path, wave_bytes(data, bits=24, valid_bits=20)), rates=RATES)
    assert audio.to_bytes() == data


def test_32_bits_are_rounded_to_24_in_32_and_it_is_said(tmp_path: Path) -> None:
    values = np.array([[0, 127], [128, 129], [384, 385], [-128, -384], [2**31 - 1, -(2**31)], [512, -512]], np.int64)
    audio = read_wave(written(tmp_path, wave_bytes(little_endian(values, 32), bits=32)), rates=RATES)
    # Ties go to the even step; the largest value would round to one step too many.
    assert audio.samples.tolist() == [[0, 0], [0, 1], [2, 2], [0, -2], [2**23 - 1, -(2**23)], [2, -2]]
    assert (audio.valid_bits, audio.container_bits) == (24, 32)
    assert audio.notes == ("32 bits rounded to 24 bits (nearest, ties to even): 8 of 12 samples changed, 1 clipped",)
    assert audio.to_bytes()[8:12] == bytes(4)
    assert audio.to_bytes()[12:16] == bytes([0, 1, 0, 0])


@pytest.mark.parametrize("bits", [32, 64])
def test_float_is_rounded_and_clipped_and_it_is_said(tmp_path: Path, bits: int) -> None:
    step = 2.0**-23
    values = np.array([[0.0, 0.5], [1.0, -1.0], [1.5, -1.5], [0.5 * step, 1.5 * step], [-0.25, 3 * step]])
    content = wave_bytes(values.astype(f"<f{bits // 8}").tobytes(), bits=bits, tag=FLOAT)
    audio = read_wave(written(tmp_path, content), rates=RATES)
    highest = 2**23 - 1
    assert audio.samples.tolist() == [
        [0, 2**22],
        [highest, -highest - 1],
        [highest, -highest - 1],
        [0, 2],
        [-(2**21), 3],
    ]
    assert audio.notes == ("float rounded to 24 bits (nearest, ties to even): 2 of 10 samples changed, 3 clipped",)


def test_float_with_a_nan_is_refused(tmp_path: Path) -> None:
    values = np.zeros((10, 2), "<f4")
    values[7, 1] = np.nan
    with pytest.raises(WaveError, match="expected finite samples, found NaN or infinity in frame 7"):
        read_wave(written(tmp_path, wave_bytes(values.tobytes(), bits=32, tag=FLOAT)), rates=RATES)


def test_chunks_of_odd_length_before_the_data_are_stepped_over(tmp_path: Path) -> None:
    data = little_endian(integers(16), 16)
    odd = b"LIST" + struct.pack("<I", 5) + b"abcde\0" + b"junk" + struct.pack("<I", 1) + b"x\0"
    audio = read_wave(written(tmp_path, wave_bytes(data, before_data=odd)), rates=RATES)
    assert audio.to_bytes() == data


def test_a_piped_wav_of_unknown_length_goes_to_the_end_of_the_file(tmp_path: Path) -> None:
    data = little_endian(integers(16), 16)
    audio = read_wave(written(tmp_path, wave_bytes(data, data_length=0xFFFFFFFF)), rates=RATES)
    assert audio.to_bytes() == data


def test_bytes_of_a_cut_frame_are_left_out_and_it_is_said(tmp_path: Path) -> None:
    data = little_endian(integers(24), 24)
    audio = read_wave(written(tmp_path, wave_bytes(data + b"\x01\x02\x03\x04", bits=24)), rates=RATES)
    assert audio.to_bytes() == data
    assert audio.notes == ("4 bytes after the last whole frame left out",)


GOOD = wave_bytes(bytes(4000))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a WAV file, found an empty file of 0 bytes"),
        (
            b"ID3\x04 this is another kind of file",
            r"expected a WAV file \(RIFF ... WAVE\), found one that begins b'ID3",
        ),
        (b"RIFF", "expected a WAV file"),
        (GOOD[:20], "truncated WAV: expected its fmt and data chunks, found the end after 20 bytes"),
        (GOOD[:40], "truncated WAV: expected its data chunk, found the end after 40 bytes"),
        (GOOD[:1044], "truncated WAV: expected 4000 bytes of audio, found 1000; get the whole file"),
        (wave_bytes(b""), "expected audio, found a WAV with 0 frames"),
        (wave_bytes(bytes(1400), channels=7), "expected 1 or 2 channels, found 7"),
        (wave_bytes(bytes(400), rate=44_100), "found 44100 Hz, the board's rates are 48000 Hz; .*--resample"),
        (wave_bytes(bytes(400), tag=7, bits=8), "expected PCM of 8, 16, 24 or 32 bits or float, found U-Law"),
        (GOOD.replace(b"fmt ", b"FMT "), "expected a WAV file, found one that cannot be read"),
    ],
    ids=[
        "empty file",
        "not a WAV",
        "four bytes",
        "no fmt",
        "no data",
        "cut",
        "no frames",
        "7 channels",
        "44.1 kHz",
        "u-law",
        "bad fmt",
    ],
)
def test_bad_file_is_refused_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(WaveError, match=message) as raised:
        read_wave(written(tmp_path, content), rates=RATES)
    assert str(raised.value).startswith(str(tmp_path / "input.wav"))
    assert "\n" not in str(raised.value)


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WaveError, match="none.wav: cannot be read: No such file"):
        read_wave(tmp_path / "none.wav", rates=RATES)
    with pytest.raises(WaveError, match="cannot be read: Is a directory"):
        read_wave(tmp_path, rates=RATES)


def test_rates_are_listed_in_rising_order(tmp_path: Path) -> None:
    with pytest.raises(WaveError, match="found 11025 Hz, the board's rates are 32000, 44100, 48000 Hz"):
        read_wave(written(tmp_path, wave_bytes(bytes(400), rate=11_025)), rates=(48_000, 32_000, 44_100))


@pytest.mark.parametrize(("rate", "target"), [(44_100, 48_000), (96_000, 48_000), (22_050, 24_000)])
def test_resampling_keeps_a_tone_and_says_so(tmp_path: Path, rate: int, target: int) -> None:
    tone = np.rint(16_000 * np.sin(2 * np.pi * 997 * np.arange(rate) / rate)).astype("<i2")
    path = written(tmp_path, wave_bytes(tone.tobytes(), channels=1, rate=rate))
    audio = read_wave(path, rates=(24_000, 48_000), resample=True)
    assert (audio.sample_rate, audio.valid_bits, audio.frames) == (target, 16, target)
    assert audio.notes[0].startswith(f"resampled from {rate} to {target} Hz")
    middle = slice(target // 10, -target // 10)
    expected = 16_000 * np.sin(2 * np.pi * 997 * np.arange(target) / target)
    assert np.max(np.abs(audio.samples[middle, 0] - expected[middle])) < 2.0


def test_resampling_is_not_done_when_the_rate_fits(tmp_path: Path) -> None:
    data = little_endian(integers(16), 16)
    audio = read_wave(written(tmp_path, wave_bytes(data)), rates=RATES, resample=True)
    assert audio.to_bytes() == data and audio.notes == ()


def test_missing_resampler_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soxr", None)
    with pytest.raises(
        WaveError, match=r'needs the package soxr, which is missing: pip install "codecrig\[resample\]"'
    ):
        read_wave(written(tmp_path, wave_bytes(bytes(400), rate=44_100)), rates=RATES, resample=True)


@pytest.mark.parametrize(("valid_bits", "container_bits"), [(16, 16), (24, 24), (24, 32)])
@pytest.mark.parametrize("channels", [1, 2])
def test_packing_and_writing_are_exact(tmp_path: Path, valid_bits: int, container_bits: int, channels: int) -> None:
    samples = integers(valid_bits, channels).astype(np.int32)
    audio = PcmAudio(48_000, valid_bits, container_bits, samples)
    data = pack_samples(samples, valid_bits, container_bits)
    assert data == little_endian(samples.astype(np.int64) << (container_bits - valid_bits), container_bits)
    assert np.array_equal(unpack_samples(data + b"\0", channels, valid_bits, container_bits), samples)
    write_wave(tmp_path / "out.wav", audio)
    back, rate = soundfile.read(tmp_path / "out.wav", dtype="int32", always_2d=True)
    assert rate == 48_000
    assert np.array_equal(back >> (32 - valid_bits), samples)
    assert soundfile.info(tmp_path / "out.wav").subtype == f"PCM_{valid_bits}"


def test_8_bits_are_unsigned(tmp_path: Path) -> None:
    data = bytes(range(256))
    samples = unpack_samples(data, 2, 8, 8)
    assert samples.tolist() == [[value - 128, value - 127] for value in range(0, 256, 2)]
    assert pack_samples(samples, 8, 8) == data
    write_wave(tmp_path / "out.wav", PcmAudio(48_000, 8, 8, samples))
    assert (tmp_path / "out.wav").read_bytes()[-256:] == data
    assert soundfile.info(tmp_path / "out.wav").subtype == "PCM_U8"


def test_writing_twice_gives_the_same_file(tmp_path: Path) -> None:
    audio = PcmAudio(48_000, 24, 24, integers(24).astype(np.int32))
    for name in ("one.wav", "two.wav"):
        write_wave(tmp_path / name, audio)
    assert (tmp_path / "one.wav").read_bytes() == (tmp_path / "two.wav").read_bytes()


def test_unwritable_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(WaveError, match="cannot be written"):
        write_wave(tmp_path / "missing" / "out.wav", PcmAudio(48_000, 16, 16, np.zeros((4, 1), np.int32)))
