"""Sets up the FPGA's streams by plain register accesses: stereo, 32-bit containers, rings of 4 descriptors."""

from __future__ import annotations

import array
from collections.abc import Sequence

from usbip_client import FPGA, READ, WRITE, UsbipClient

FRAME_TICKS = 256
RATE_CODES = {128: 1, 256: 0, 384: 2, 512: 3, 768: 4, 1536: 5}  # by clocks a frame
RENDER_BUFFER, CAPTURE_BUFFER = 0x00000, 0x0C000
RENDER_RING, CAPTURE_RING = 0x1F000, 0x1F100
DESCRIPTORS = 4
STOP, PAUSE, RUN = 0, 2, 3
CONVERTER_CONTROL = FPGA + 0x50


def stream(index: int, offset: int) -> int:
    return FPGA + 0x1000 + 0x100 * index + offset


def set_up(client: UsbipClient, index: int, *, capture: bool, buffer: int, ring: int, frames: int) -> None:
    """A cyclic buffer of `frames` frames (a multiple of 4) without events."""
    length = frames * 8 // DESCRIPTORS
    for number in range(DESCRIPTORS):
        words = array.array("I", [buffer + number * length, length, number, 4])
        assert client.exchange((WRITE, ring + 16 * number, words.tobytes()))[0][0] == 0
    client.write_register(stream(index, 0x04), int(capture) | 3 << 2 | 1 << 4)
    client.write_register(stream(index, 0x08), ring)
    client.write_register(stream(index, 0x0C), DESCRIPTORS)


def write_samples(client: UsbipClient, address: int, samples: Sequence[int]) -> None:
    data = array.array("i", samples).tobytes()
    for start in range(0, len(data), 2048):
        assert client.exchange((WRITE, address + start, data[start : start + 2048]))[0][0] == 0


def read_samples(client: UsbipClient, address: int, count: int) -> list[int]:
    data = b""
    for start in range(0, count * 4, 2048):
        ((status, chunk),) = client.exchange((READ, address + start, min(2048, count * 4 - start)))
        assert status == 0
        data += chunk
    return list(array.array("i", data))


def round_trip(
    client: UsbipClient, samples: Sequence[int], *, frames: int, frame_ticks: int = FRAME_TICKS, digital: bool = False
) -> list[int]:
    """Plays `samples` (interleaved stereo, cyclic) and returns the first `frames` frames captured meanwhile.

    `digital`: from the digital loopback, not from the converter.

    Both streams are set running in one transfer, capture first, so their distance in time is the same in every run.
    """
    set_up(client, 0, capture=False, buffer=RENDER_BUFFER, ring=RENDER_RING, frames=len(samples) // 2)
    set_up(client, 1, capture=True, buffer=CAPTURE_BUFFER, ring=CAPTURE_RING, frames=(frames + 100) // 4 * 4)
    write_samples(client, RENDER_BUFFER, samples)
    client.write_register(CONVERTER_CONTROL, 1 | int(digital) << 4 | RATE_CODES[frame_ticks] << 12)
    run = array.array("I", [RUN]).tobytes()
    replies = client.exchange((WRITE, stream(1, 0), run), (WRITE, stream(0, 0), run))
    assert [status for status, _ in replies] == [0, 0]
    client.wait_until(client.board_time() + (frames + 20) * frame_ticks)
    client.write_register(stream(0, 0), STOP)
    client.write_register(stream(1, 0), STOP)
    return read_samples(client, CAPTURE_BUFFER, frames * 2)
