"""Wave formats: WAVEFORMATEX and WAVEFORMATEXTENSIBLE as bytes, and `Format`, the same facts in plain words.

Only PCM and IEEE float can be described; anything else is refused with a `FormatError` that names field, value and what
would have been accepted.
"""

import struct
from dataclasses import dataclass
from uuid import UUID

WAVE_FORMAT_PCM = 0x0001
WAVE_FORMAT_IEEE_FLOAT = 0x0003
WAVE_FORMAT_EXTENSIBLE = 0xFFFE

KSDATAFORMAT_SUBTYPE_PCM = UUID("00000001-0000-0010-8000-00aa00389b71")
KSDATAFORMAT_SUBTYPE_IEEE_FLOAT = UUID("00000003-0000-0010-8000-00aa00389b71")

KSAUDIO_SPEAKER_MONO = 0x4
KSAUDIO_SPEAKER_STEREO = 0x3

_WAVEFORMATEX = struct.Struct("<HHIIHHH")
_EXTENSION = struct.Struct("<HI16s")
WAVEFORMATEX_BYTES = _WAVEFORMATEX.size
WAVEFORMATEXTENSIBLE_BYTES = _WAVEFORMATEX.size + _EXTENSION.size
EXTENSION_BYTES = _EXTENSION.size


class FormatError(ValueError):
    """A format structure contradicts itself or is of a kind that is not described here."""


@dataclass(frozen=True, slots=True)
class WAVEFORMATEX:
    """The 18-byte structure, fields as in mmreg.h. nAvgBytesPerSec and nBlockAlign in bytes."""

    wFormatTag: int
    nChannels: int
    nSamplesPerSec: int
    nAvgBytesPerSec: int
    nBlockAlign: int
    wBitsPerSample: int
    cbSize: int = 0

    def pack(self) -> bytes:
        """The 18 bytes."""
        return _WAVEFORMATEX.pack(
            self.wFormatTag,
            self.nChannels,
            self.nSamplesPerSec,
            self.nAvgBytesPerSec,
            self.nBlockAlign,
            self.wBitsPerSample,
            self.cbSize,
        )

    @classmethod
    def parse(cls, data: bytes) -> "WAVEFORMATEX":
        """The structure in `data`; 16 bytes (PCMWAVEFORMAT, no cbSize) are accepted. Raises FormatError."""
        if len(data) == WAVEFORMATEX_BYTES - 2:
            data = data + b"\0\0"
        if len(data) < WAVEFORMATEX_BYTES:
            raise FormatError(f"WAVEFORMATEX: expected at least {WAVEFORMATEX_BYTES - 2} bytes, found {len(data)}")
        return cls(*_WAVEFORMATEX.unpack_from(data))


@dataclass(frozen=True, slots=True)
class WAVEFORMATEXTENSIBLE:
    """The 40-byte structure, fields as in mmreg.h."""

    Format: WAVEFORMATEX
    wValidBitsPerSample: int
    dwChannelMask: int
    SubFormat: UUID

    def pack(self) -> bytes:
        """The 40 bytes."""
        return self.Format.pack() + _EXTENSION.pack(
            self.wValidBitsPerSample, self.dwChannelMask, self.SubFormat.bytes_le
        )

    @classmethod
    def parse(cls, data: bytes) -> "WAVEFORMATEXTENSIBLE":
        """The structure in `data`. Raises FormatError if it is too short or does not say WAVE_FORMAT_EXTENSIBLE."""
        if len(data) < WAVEFORMATEXTENSIBLE_BYTES:
            raise FormatError(
                f"WAVEFORMATEXTENSIBLE: expected {WAVEFORMATEXTENSIBLE_BYTES} bytes, found {len(data)}"
            )
        base = WAVEFORMATEX.parse(data[:WAVEFORMATEX_BYTES])
        if base.wFormatTag != WAVE_FORMAT_EXTENSIBLE:
            raise FormatError(f"wFormatTag: expected 0x{WAVE_FORMAT_EXTENSIBLE:04X}, found 0x{base.wFormatTag:04X}")
        if base.cbSize < EXTENSION_BYTES:
            raise FormatError(f"cbSize: expected at least {EXTENSION_BYTES}, found {base.cbSize}")
        valid_bits, mask, sub_format = _EXTENSION.unpack_from(data, WAVEFORMATEX_BYTES)
        return cls(base, valid_bits, mask, UUID(bytes_le=sub_format))


def default_channel_mask(channels: int) -> int:
    """The speakers usually meant by a channel count: mono is the centre, others count from front left."""
    return KSAUDIO_SPEAKER_MONO if channels == 1 else (1 << channels) - 1


@dataclass(frozen=True)
class Format:
    """A wave format in plain words.

    `sample_rate` in frames a second, `container_bits` the width of a sample in memory, `valid_bits` those that carry
    the signal (at the top of the container; 0 means all). A block is one frame. Raises FormatError.
    """

    sample_rate: int
    channels: int
    container_bits: int
    valid_bits: int = 0
    channel_mask: int = -1
    is_float: bool = False

    def __post_init__(self) -> None:
        if self.valid_bits == 0:
            object.__setattr__(self, "valid_bits", self.container_bits)
        if self.channel_mask == -1:
            object.__setattr__(self, "channel_mask", default_channel_mask(self.channels))
        if not 1 <= self.sample_rate < 1 << 32:
            raise FormatError(f"nSamplesPerSec: expected 1 to {(1 << 32) - 1}, found {self.sample_rate}")
        if not 1 <= self.channels < 1 << 16:
            raise FormatError(f"nChannels: expected 1 to {(1 << 16) - 1}, found {self.channels}")
        if self.is_float:
            if self.container_bits not in (32, 64):
                raise FormatError(f"wBitsPerSample: expected 32 or 64 for float, found {self.container_bits}")
        elif self.container_bits not in (8, 16, 24, 32):
            raise FormatError(f"wBitsPerSample: expected 8, 16, 24 or 32, found {self.container_bits}")
        if not 1 <= self.valid_bits <= self.container_bits:
            raise FormatError(
                f"wValidBitsPerSample: expected 1 to {self.container_bits} (the container), found {self.valid_bits}"
            )
        if not 0 <= self.channel_mask < 1 << 32:
            raise FormatError(f"dwChannelMask: expected 32 bits, found {self.channel_mask:#x}")

    @property
    def container_bytes(self) -> int:
        """Bytes of one sample of one channel."""
        return self.container_bits // 8

    @property
    def block_bytes(self) -> int:
        """Bytes of one frame, nBlockAlign."""
        return self.channels * self.container_bytes

    @property
    def bytes_per_second(self) -> int:
        """nAvgBytesPerSec."""
        return self.sample_rate * self.block_bytes

    @property
    def needs_extensible(self) -> bool:
        """True if the 18-byte structure would be ambiguous: more than 2 channels or 16 bits, or unusual speakers."""
        return (
            self.channels > 2
            or (self.container_bits > 16 and not self.is_float)
            or self.valid_bits != self.container_bits
            or self.channel_mask != default_channel_mask(self.channels)
        )

    def describe(self) -> str:
        """A short text for people, such as `48000 Hz, 2 channels, 24 bits in 32`."""
        bits = f"{self.valid_bits} bits"
        if self.valid_bits != self.container_bits:
            bits += f" in {self.container_bits}"
        kind = " float" if self.is_float else ""
        return f"{self.sample_rate} Hz, {self.channels} channel{'s' if self.channels != 1 else ''}, {bits}{kind}"

    def pack(self) -> bytes:
        """WAVEFORMATEX (18 bytes) where that is enough, else WAVEFORMATEXTENSIBLE (40 bytes)."""
        if not self.needs_extensible:
            return self._base(WAVE_FORMAT_IEEE_FLOAT if self.is_float else WAVE_FORMAT_PCM, 0).pack()
        return self.pack_extensible()

    def pack_extensible(self) -> bytes:
        """WAVEFORMATEXTENSIBLE, always."""
        return WAVEFORMATEXTENSIBLE(
            Format=self._base(WAVE_FORMAT_EXTENSIBLE, EXTENSION_BYTES),
            wValidBitsPerSample=self.valid_bits,
            dwChannelMask=self.channel_mask,
            SubFormat=KSDATAFORMAT_SUBTYPE_IEEE_FLOAT if self.is_float else KSDATAFORMAT_SUBTYPE_PCM,
        ).pack()

    def _base(self, tag: int, extension_bytes: int) -> WAVEFORMATEX:
        return WAVEFORMATEX(
            wFormatTag=tag,
            nChannels=self.channels,
            nSamplesPerSec=self.sample_rate,
            nAvgBytesPerSec=self.bytes_per_second,
            nBlockAlign=self.block_bytes,
            wBitsPerSample=self.container_bits,
            cbSize=extension_bytes,
        )

    @classmethod
    def parse(cls, data: bytes) -> "Format":
        """The format in a WAVEFORMATEX or WAVEFORMATEXTENSIBLE. Raises FormatError naming the field that is wrong."""
        base = WAVEFORMATEX.parse(data)
        valid_bits, channel_mask = 0, -1
        if base.wFormatTag == WAVE_FORMAT_EXTENSIBLE:
            extensible = WAVEFORMATEXTENSIBLE.parse(data)
            valid_bits, channel_mask = extensible.wValidBitsPerSample, extensible.dwChannelMask
            if extensible.SubFormat == KSDATAFORMAT_SUBTYPE_PCM:
                is_float = False
            elif extensible.SubFormat == KSDATAFORMAT_SUBTYPE_IEEE_FLOAT:
                is_float = True
            else:
                raise FormatError(f"SubFormat: expected PCM or IEEE_FLOAT, found {extensible.SubFormat}")
        elif base.wFormatTag in (WAVE_FORMAT_PCM, WAVE_FORMAT_IEEE_FLOAT):
            is_float = base.wFormatTag == WAVE_FORMAT_IEEE_FLOAT
        else:
            raise FormatError(
                "wFormatTag: expected 0x0001 (PCM), 0x0003 (float) or 0xFFFE (extensible), "
                f"found 0x{base.wFormatTag:04X}"
            )
        result = cls(base.nSamplesPerSec, base.nChannels, base.wBitsPerSample, valid_bits, channel_mask, is_float)
        if base.nBlockAlign != result.block_bytes:
            raise FormatError(f"nBlockAlign: expected {result.block_bytes}, found {base.nBlockAlign}")
        if base.nAvgBytesPerSec != result.bytes_per_second:
            raise FormatError(f"nAvgBytesPerSec: expected {result.bytes_per_second}, found {base.nAvgBytesPerSec}")
        return result
