"""Wave format structures: bytes against hand-made examples, and the text of each refusal."""

import struct
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codecrig.portcls import WAVEFORMATEX, WAVEFORMATEXTENSIBLE, Format, FormatError

PCM_BYTES = bytes.fromhex("0100000000001000800000aa00389b71")


def test_sixteen_bit_stereo_is_the_short_structure() -> None:
    # tag 1, 2 channels, 48000 = 0xBB80, 192000 = 0x2EE00, block 4, 16 bits, no extension
    assert Format(48000, 2, 16).pack() == bytes.fromhex("0100 0200 80bb0000 00ee0200 0400 1000 0000".replace(" ", ""))


def test_twenty_four_in_thirty_two_is_extensible_byte_for_byte() -> None:
    expected = bytes.fromhex("feff 0200 80bb0000 00dc0500 0800 2000 1600 1800 03000000".replace(" ", "")) + PCM_BYTES
    assert Format(48000, 2, 32, valid_bits=24).pack() == expected
    assert len(expected) == 40


def test_mono_and_stereo_masks() -> None:
    assert Format(8000, 1, 16).channel_mask == 4
    assert Format(8000, 2, 16).channel_mask == 3


def test_pcmwaveformat_without_extension_size_is_accepted() -> None:
    assert Format.parse(Format(44100, 2, 16).pack()[:16]) == Format(44100, 2, 16)


@given(
    sample_rate=st.integers(1, 400_000),
    channels=st.integers(1, 8),
    container_bits=st.sampled_from([8, 16, 24, 32]),
    data=st.data(),
)
def test_what_is_packed_is_parsed(sample_rate: int, channels: int, container_bits: int, data: st.DataObject) -> None:
    valid_bits = data.draw(st.integers(1, container_bits))
    mask = data.draw(st.integers(0, 0xFFFFFFFF))
    original = Format(sample_rate, channels, container_bits, valid_bits, mask)
    assert Format.parse(original.pack()) == original
    assert Format.parse(original.pack_extensible()) == original
    assert WAVEFORMATEXTENSIBLE.parse(original.pack_extensible()).pack() == original.pack_extensible()
    assert WAVEFORMATEX.parse(original.pack()).nBlockAlign == original.block_bytes


def changed(offset: int, layout: str, value: object, extensible: bool = False) -> bytes:
    base = Format(48000, 2, 24)
    data = bytearray(base.pack_extensible() if extensible else Format(48000, 2, 16).pack())
    struct.pack_into(layout, data, offset, value)
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "WAVEFORMATEX: expected at least 16 bytes, found 0"),
        (Format(48000, 2, 16).pack()[:15], "WAVEFORMATEX: expected at least 16 bytes, found 15"),
        (changed(0, "<H", 2), "wFormatTag: expected 0x0001 .PCM., 0x0003 .float. or 0xFFFE .extensible., found 0x0002"),
        (changed(2, "<H", 0), "nChannels: expected 1 to 65535, found 0"),
        (changed(4, "<I", 0), "nSamplesPerSec: expected 1 to 4294967295, found 0"),
        (changed(8, "<I", 1), "nAvgBytesPerSec: expected 192000, found 1"),
        (changed(12, "<H", 3), "nBlockAlign: expected 4, found 3"),
        (changed(14, "<H", 20), "wBitsPerSample: expected 8, 16, 24 or 32, found 20"),
        (changed(16, "<H", 0, True), "cbSize: expected at least 22, found 0"),
        (changed(18, "<H", 25, True), "wValidBitsPerSample: expected 1 to 24 .the container., found 25"),
        (changed(24, "<16s", UUID(int=5).bytes_le, True), "SubFormat: expected PCM or IEEE_FLOAT, found 00000000-.*5$"),
        (Format(48000, 2, 24).pack_extensible()[:39], "WAVEFORMATEXTENSIBLE: expected 40 bytes, found 39"),
    ],
)
def test_each_wrong_field_is_named(data: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        Format.parse(data)
