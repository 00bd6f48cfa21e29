"""WAV files in and out, and their conversion to what a board can stream.

Decoding and encoding is libsndfile's work (package `soundfile`); integer PCM passes through bit for bit. This module
adds what libsndfile keeps silent about (a file that ends too early), and the step to the board's stream formats,
which is never silent: whatever changes a sample is written down in `PcmAudio.notes`. It does no dithering, no mixing
and no mapping of channels.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile  # type: ignore[import-untyped]

Samples = npt.NDArray[np.int32]
"""Samples of a stream, right-justified, one row for each frame."""

# What a file may hold, by libsndfile's name: (bits a sample, stream bits, bits of the stream's container).
_ENCODINGS: dict[str, tuple[str, int, int]] = {
    "PCM_U8": ("8-bit PCM", 16, 16),
    "PCM_16": ("16-bit PCM", 16, 16),
    "PCM_24": ("24-bit PCM", 24, 24),
    "PCM_32": ("32-bit PCM", 24, 32),
    "FLOAT": ("32-bit float", 24, 32),
    "DOUBLE": ("64-bit float", 24, 32),
}
_UNKNOWN_LENGTH = 0xFFFFFFFF  # written by programs that pipe a WAV and cannot go back to fill in its length


class WaveError(Exception):
    """A file cannot be used: the message says what was expected, what was found, and what to do."""


@dataclass(frozen=True, slots=True)
class PcmAudio:
    """Audio as a board streams it."""

    sample_rate: int
    valid_bits: int
    """Significant bits of a sample: 16 or 24."""
    container_bits: int
    """Bits that a sample takes in memory: 16, 24 or 32; the valid bits are the upper ones."""
    samples: Samples
    source: str = ""
    """Where it came from, in words: "speech.wav, 16-bit PCM, 1 channel, 48000 Hz"."""
    notes: tuple[str, ...] = ()
    """What was changed on the way from the file, in words; empty if nothing."""

    @property
    def frames(self) -> int:
        return int(self.samples.shape[0])

    @property
    def channels(self) -> int:
        return int(self.samples.shape[1])

    @property
    def block_bytes(self) -> int:
        """Bytes of one frame."""
        return self.channels * self.container_bits // 8

    @property
    def seconds(self) -> float:
        """Nominal length."""
        return self.frames / self.sample_rate

    def to_bytes(self) -> bytes:
        """The frames as they lie in audio memory: little-endian, left-justified in their containers."""
        return pack_samples(self.samples, self.valid_bits, self.container_bits)


def pack_samples(samples: Samples, valid_bits: int, container_bits: int) -> bytes:
    """Right-justified samples to little-endian containers; those of 8 bits are unsigned."""
    if container_bits == 8:
        return (samples + 128).astype(np.uint8).tobytes()
    shifted = samples.astype("<i4") << (container_bits - valid_bits)
    if container_bits == 32:
        return shifted.tobytes()
    if container_bits == 16:
        return shifted.astype("<i2").tobytes()
    octets = np.ascontiguousarray(shifted).view(np.uint8).reshape(*samples.shape, 4)
    return octets[..., :3].tobytes()


def unpack_samples(data: bytes, channels: int, valid_bits: int, container_bits: int) -> Samples:
    """Containers to right-justified samples. A part of a frame at the end is left out."""
    block_bytes = channels * container_bits // 8
    frames = len(data) // block_bytes
    whole = np.frombuffer(data, np.uint8, frames * block_bytes)
    if container_bits == 24:
        octets = np.zeros((frames * channels, 4), np.uint8)
        octets[:, 1:] = whole.reshape(-1, 3)
        left = octets.reshape(-1).view("<i4")
    elif container_bits == 16:
        left = whole.view("<i2").astype(np.int32) << 16
    elif container_bits == 8:
        left = (whole.astype(np.int32) - 128) << 24
    else:
        left = whole.view("<i4")
    return (left.astype(np.int32) >> (32 - valid_bits)).reshape(frames, channels)


def read_wave(path: Path, *, rates: Sequence[int], max_channels: int = 2, resample: bool = False) -> PcmAudio:
    """The file, ready to be played on a board that knows `rates` and up to `max_channels`.

    8 and 16 bits become 16, 24 stays 24 packed, 32 bits and float become 24 in 32: rounded to the nearest step, ties to
    even, and clipped at full scale. An unknown rate is refused, or converted to the next one if `resample` is set.
    Raises WaveError.
    """
    trailing_bytes = _check_structure(path)
    try:
        with soundfile.SoundFile(path) as file:
            sample_rate, channels, frames, subtype = file.samplerate, file.channels, file.frames, file.subtype
            if subtype not in _ENCODINGS:
                raise WaveError(
                    f"{path}: expected PCM of 8, 16, 24 or 32 bits or float, found {file.subtype_info}; "
                    "save it as 16 or 24-bit PCM"
                )
            if not 1 <= channels <= max_channels:
                wanted = {1: "1 channel", 2: "1 or 2 channels"}.get(max_channels, f"1 to {max_channels} channels")
                raise WaveError(f"{path}: expected {wanted}, found {channels}; mix it down first")
            if frames == 0:
                raise WaveError(f"{path}: expected audio, found a WAV with 0 frames; nothing to play")
            if sample_rate not in rates and not resample:
                raise WaveError(
                    f"{path}: found {sample_rate} Hz, the board's rates are {_list_rates(rates)}; "
                    "choose a file of such a rate, or convert with --resample"
                )
            floating = subtype in ("FLOAT", "DOUBLE")
            data = file.read(dtype="float64" if floating else "int32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise WaveError(f"{path}: expected a WAV file, found one that cannot be read: {error.error_string}") from error
    if len(data) != frames:
        raise WaveError(f"{path}: expected {frames} frames, could read {len(data)}; the file is damaged")

    encoding, valid_bits, container_bits = _ENCODINGS[subtype]
    source = f"{path.name}, {encoding}, {channels} channel{'s' if channels > 1 else ''}, {sample_rate} Hz"
    notes = []
    if trailing_bytes:
        notes.append(f"{trailing_bytes} bytes after the last whole frame left out")
    if floating and not np.all(np.isfinite(data)):
        bad = int(np.flatnonzero(~np.all(np.isfinite(data), axis=1))[0])
        raise WaveError(f"{path}: expected finite samples, found NaN or infinity in frame {bad}; repair the file")

    if sample_rate not in rates:
        target = _nearest_rate(sample_rate, rates)
        data = _resample(data if floating else data / 2.0**31, sample_rate, target)
        notes.append(f"resampled from {sample_rate} to {target} Hz (soxr, very high quality), {len(data)} frames")
        sample_rate, floating = target, True
    if floating:
        samples, note = _round_samples(data * 2.0 ** (valid_bits - 1), valid_bits, "float")
        notes.append(note)
    elif subtype == "PCM_32":
        samples, note = _round_samples(data / 256.0, valid_bits, "32 bits")
        notes.append(note)
    else:
        samples = data >> (32 - valid_bits)
        if subtype == "PCM_U8":
            notes.append("8 bits widened to 16, exact")
    return PcmAudio(sample_rate, valid_bits, container_bits, samples, source, tuple(notes))


def write_wave(path: Path, audio: PcmAudio) -> None:
    """Writes PCM of 8, 16 or 24 bits, bit for bit. Raises WaveError if the file cannot be written."""
    try:
        soundfile.write(
            path,
            audio.samples << (32 - audio.valid_bits),
            audio.sample_rate,
            subtype="PCM_U8" if audio.valid_bits == 8 else f"PCM_{audio.valid_bits}",
            format="WAV",
        )
    except (soundfile.LibsndfileError, OSError) as error:
        raise WaveError(f"{path}: cannot be written: {error}; choose another folder with --out") from error


def _round_samples(scaled: npt.NDArray[np.float64], bits: int, what: str) -> tuple[Samples, str]:
    """Nearest step, ties to even, clipped; and a sentence that says what that did."""
    highest = 2 ** (bits - 1) - 1
    rounded = np.rint(scaled)
    clipped = np.clip(rounded, -highest - 1, highest)
    note = (
        f"{what} rounded to {bits} bits (nearest, ties to even): {int(np.count_nonzero(rounded != scaled))} of "
        f"{scaled.size} samples changed, {int(np.count_nonzero(rounded != clipped))} clipped"
    )
    return clipped.astype(np.int32), note


def _resample(data: npt.NDArray[np.float64], rate: int, target: int) -> npt.NDArray[np.float64]:
    try:
        import soxr  # an extra: only this option needs it
    except ImportError as error:
        raise WaveError(
            f"--resample from {rate} to {target} Hz needs the package soxr, which is missing: "
            'pip install "codecrig[resample]"'
        ) from error
    return np.asarray(soxr.resample(data, rate, target, quality="VHQ"), np.float64)


def _nearest_rate(rate: int, rates: Sequence[int]) -> int:
    """The rate nearest to the file's on a musical (logarithmic) scale; the higher of two equally near ones."""
    return min(sorted(rates, reverse=True), key=lambda candidate: abs(math.log(candidate / rate)))


def _list_rates(rates: Sequence[int]) -> str:
    return ", ".join(str(rate) for rate in sorted(rates)) + " Hz"


def _check_structure(path: Path) -> int:
    """Walks the chunks of a RIFF file; raises WaveError if it is no WAV or ends too early. Returns the bytes of a
    cut frame.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(12)
            if size == 0:
                raise WaveError(f"{path}: expected a WAV file, found an empty file of 0 bytes; choose another")
            if len(head) < 12 or head[:4] not in (b"RIFF", b"RIFX", b"RF64") or head[8:] != b"WAVE":
                raise WaveError(
                    f"{path}: expected a WAV file (RIFF ... WAVE), found one that begins {head!r}; choose another"
                )
            order = ">" if head[:4] == b"RIFX" else "<"
            block_bytes, long_data_bytes = 0, 0
            while True:
                header = file.read(8)
                if len(header) < 8:
                    missing = "fmt and data chunks" if not block_bytes else "data chunk"
                    raise WaveError(f"{path}: truncated WAV: expected its {missing}, found the end after {size} bytes")
                name, length = struct.unpack(order + "4sI", header)
                start = file.tell()
                if name == b"data":
                    break
                if name == b"fmt " and length >= 16:
                    block_bytes = struct.unpack(order + "H", file.read(16)[12:14].ljust(2, b"\0"))[0]
                elif name == b"ds64":
                    long_data_bytes = struct.unpack("<Q", file.read(16)[8:16].ljust(8, b"\0"))[0]
                file.seek(start + length + length % 2)
    except OSError as error:
        raise WaveError(f"{path}: cannot be read: {error.strerror}; check the path") from error
    present = size - start
    if length == _UNKNOWN_LENGTH:
        length = long_data_bytes or present
    if present < length:
        raise WaveError(f"{path}: truncated WAV: expected {length} bytes of audio, found {present}; get the whole file")
    return length % block_bytes if block_bytes else 0
