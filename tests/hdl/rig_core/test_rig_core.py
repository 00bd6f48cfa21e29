"""rig_core from its pins: SPI on one side, I2S on the other, all that lies between for real."""

import random
import struct
from collections.abc import Iterator
from typing import Any

import cocotb
from bench import (
    CLOCK_PS,
    RTL,
    SpiMaster,
    decode_reply,
    header,
    random_bytes,
    read_request,
    registers,
    reset,
    run_cocotb,
    start_clock,
    write_request,
)
from cocotb.triggers import ClockCycles, FallingEdge
from codec import Codec, check_edges

STREAMS = 2
BUILD = 0x1234ABCD
FRAME_CLOCKS = 256
MAX_LENGTH = 4096
Status, Cause, State, InputSelect = registers.Status, registers.Cause, registers.StreamState, registers.InputSelect
RENDER, CAPTURE = 0, 1

# Where the tests put things in audio memory
RENDER_RING, CAPTURE_RING = 0x1F000, 0x1F100
RENDER_BUFFER, CAPTURE_BUFFER, SPARE = 0x00000, 0x08000, 0x10000


def stream_register(stream: int, offset: int) -> int:
    return registers.STREAM_BASE + stream * registers.STREAM_STRIDE + offset


class Rig(SpiMaster):
    """The SPI master with what a host does to streams."""

    def __init__(self, dut: Any, **spi: Any) -> None:
        super().__init__(dut.spi_sck, dut.spi_cs_n, dut.spi_mosi, dut.spi_miso, attention=dut.attention, **spi)
        self.dut = dut

    async def frames(self, count: int) -> None:
        await ClockCycles(self.dut.clk, count * FRAME_CLOCKS)

    async def set_up(
        self, stream: int, ring: int, pieces: list[tuple[int, int]], *, capture: bool, container: int, channels: int = 2
    ) -> None:
        """Write descriptors, each with an event, and the stream's settings."""
        descriptors = b"".join(
            struct.pack("<4I", address, length, 0x100 + index, 1 | 4) for index, (address, length) in enumerate(pieces)
        )
        await self.write(ring, descriptors)
        config = int(capture) | (container - 1) << 2 | (channels - 1) << 4
        await self.write(
            stream_register(stream, registers.STREAM_CONFIG), struct.pack("<3I", config, ring, len(pieces))
        )

    async def control(self, stream: int, state: int) -> None:
        await self.write_word(stream_register(stream, registers.STREAM_CONTROL), state)

    async def status(self, stream: int) -> int:
        return await self.read_word(stream_register(stream, registers.STREAM_STATUS))

    async def converter(self, *, input_select: int, enable: bool = True, mute: bool = False) -> None:
        await self.write_word(registers.FPGA_CONVERTER_CONTROL, int(enable) | int(mute) << 1 | input_select << 4)

    async def event(self, index: int) -> tuple[int, ...]:
        """cause, stream, reposted, sequence, time, data0..3"""
        raw = await self.read(registers.EVENT_RING_BASE + 32 * (index % 64), 32)
        return struct.unpack("<BBHIQ4I", raw)


async def start(dut: Any, **spi: Any) -> Rig:
    start_clock(dut.clk)
    dut.i2s_adc_data.value = 0
    dut.trigger_in.value = 0
    dut.midi_rx.value = 1
    dut.i2c_scl.value = 1
    dut.i2c_sda.value = 1
    rig = Rig(dut, **spi)
    await reset(dut.clk, dut.rst)
    await ClockCycles(dut.clk, 32 * STREAMS + 16)
    return rig


# ------------------------------------------------------------------------------------------------ link


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def worked_example(dut: Any) -> None:
    """The bytes that docs/wire.md gives as an example."""
    rig = await start(dut)
    request = bytes.fromhex("A5 21 07 00  00 00 00 40  08 00 00  34")
    reply = bytes.fromhex("A5 A1 07 00  00 00 00 40  08 00 00  B4   47 49 52 43  00 00 00 01")
    assert read_request(registers.FPGA_ID, 8, 7) == request
    assert await rig.exchange_raw(request) == reply


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def identity_and_time(dut: Any) -> None:
    rig = await start(dut)
    words = struct.unpack("<4I", await rig.read(registers.FPGA_ID, 16))
    assert words == (0x43524947, 0x01000000, BUILD, 128 << 16 | 6 << 8 | STREAMS)
    await rig.write_word(registers.FPGA_SCRATCH, 0xCAFE_F00D)
    assert await rig.read_word(registers.FPGA_SCRATCH) == 0xCAFE_F00D
    before = await rig.read(registers.FPGA_TIME_HI, 12)
    await ClockCycles(dut.clk, 10_000)
    after = await rig.read(registers.FPGA_TIME_HI, 12)
    # the two reads take equally long, but for the alignment of SPI bytes with the system clock
    assert struct.unpack("<3I", before)[0::2] == (0, 0)
    spi_clocks = 16 + 4 + (12 + 2 + 12 + 12) * 6.4
    elapsed = struct.unpack("<3I", after)[1] - struct.unpack("<3I", before)[1]
    assert 10_000 + spi_clocks - 8 < elapsed < 10_000 + spi_clocks + 16


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def audio_memory_at_full_speed(dut: Any) -> None:
    """4096 bytes at an odd address, both ways, at 15.36 MHz without a pause; the bytes around stay as they were."""
    rig = await start(dut)
    address = 0x1E001
    await rig.write(address - 1, b"\x77")
    await rig.write(address + MAX_LENGTH, b"\x88")
    data = random_bytes(MAX_LENGTH, 7)
    await rig.write(address, data)
    assert await rig.read(address - 1, 1) == b"\x77"
    assert await rig.read(address + MAX_LENGTH, 1) == b"\x88"
    assert await rig.read(address, MAX_LENGTH) == data


@cocotb.test(timeout_time=10, timeout_unit="ms")
@cocotb.parametrize(gaps=[False, True])
async def phases(dut: Any, gaps: bool) -> None:
    """Requests at any phase between the two clocks, with idle gaps between bytes and without."""
    rng = random.Random(8)
    rig = await start(dut, gap_ps=(lambda: rng.choice((0, 0, 1, 12_345, 81_380, 2_000_001))) if gaps else 0)
    for phase_ps in range(0, CLOCK_PS, CLOCK_PS // 11):
        rig.phase_ps = phase_ps
        data = rng.randbytes(rng.randint(1, 9))
        address = rng.randrange(0x10000)
        await rig.write(address, data)
        assert await rig.read(address, len(data)) == data
        assert rig.answer_delay_bytes <= 16


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def refused(dut: Any) -> None:
    """One of each status; the request behind it works."""
    rig = await start(dut)
    await rig.write(0x40, b"keep")
    damaged = bytearray(read_request(0x40, 4, 3))
    damaged[11] ^= 0x10
    cases = [
        (bytes(damaged), Status.BAD_HEADER),
        (header(0x11, 3, 0x40, 4), Status.UNKNOWN_OPERATION),
        (header(0x66, 3, 0x40, 4) + b"lost", Status.UNKNOWN_OPERATION),
        (read_request(0x40, 0, 3), Status.BAD_LENGTH),
        (write_request(0x40, bytes(MAX_LENGTH + 1), 3), Status.BAD_LENGTH),
        (read_request(0x2000_0000, 4, 3), Status.UNMAPPED),
        (write_request(0x1FFFE, b"over", 3), Status.UNMAPPED),
        (write_request(registers.FPGA_SCRATCH + 2, b"miss", 3), Status.MISALIGNED),
        (read_request(registers.FPGA_SCRATCH, 3, 3), Status.BAD_LENGTH),
    ]
    for request, status in cases:
        reply = await rig.exchange(request)
        assert (reply.status, reply.payload) == (status, b""), request[:12].hex(" ")
        assert await rig.read(0x40, 4) == b"keep"
    assert await rig.read_word(registers.FPGA_SCRATCH) == 0


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(by=["select", "reset"])
async def cut_short(dut: Any, by: str) -> None:
    """Chip select rises, or reset comes, in the middle of a request or of its reply: the next request works."""
    rig = await start(dut)
    rng = random.Random(4)
    request = write_request(0x101, b"payload", 5)
    for length in [*range(1, len(request)), *range(len(request), len(request) + 15, 3)]:
        await rig.select()
        await rig.transfer((request + bytes(15))[:length], bits_of_last=rng.randint(1, 8))
        if by == "reset":
            await reset(dut.clk, dut.rst)
        await rig.deselect()
        if by == "reset":
            await ClockCycles(dut.clk, 32 * STREAMS)
        assert not dut.attention.value
        await rig.write(0x200, length.to_bytes(2, "little"))
        assert await rig.read(0x200, 2) == length.to_bytes(2, "little")


# ------------------------------------------------------------------------------------------------ events and WAIT


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def wait(dut: Any) -> None:
    """By deadline, by event, at once; attention stays low until there is a reply."""
    rig = await start(dut)
    now = await rig.read_word(registers.FPGA_TIME_LO)
    reply = await rig.wait(now + 5000)
    assert reply.status == Status.OK
    answered = await rig.read_word(registers.FPGA_TIME_LO)
    assert now + 5000 <= answered < now + 5000 + 1000
    # an alarm makes an event long before the deadline
    await rig.write_word(registers.FPGA_EVENT_ENABLE, 1)
    now = await rig.read_word(registers.FPGA_TIME_LO)
    await rig.write_word(registers.FPGA_ALARM_TIME, now + 3000)
    await rig.wait(now + 0x4000_0000)
    answered = await rig.read_word(registers.FPGA_TIME_LO)
    assert now + 3000 <= answered < now + 3000 + 1000
    cause, _, reposted, sequence, time, *_ = await rig.event(0)
    assert (cause, reposted, sequence, time) == (Cause.TIMER, 0, 0, now + 3000)
    # not taken yet: answered at once
    reply = await rig.wait(now + 0x4000_0000, timeout_clocks=50)
    assert reply.status == Status.OK
    await rig.write_word(registers.FPGA_EVENT_CAUSE, 1)
    await rig.write_word(registers.FPGA_EVENT_CONSUMER, 1)
    reply = await rig.wait(now, timeout_clocks=50)
    assert reply.status == Status.OK


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def trigger(dut: Any) -> None:
    rig = await start(dut)
    await rig.write_word(registers.FPGA_EVENT_ENABLE, 1 << (Cause.TRIGGER - Cause.TIMER))
    dut.trigger_in.value = 1
    await ClockCycles(dut.clk, 40)
    assert await rig.read_word(registers.FPGA_TRIGGER_IN) == 1
    assert await rig.read_word(registers.FPGA_EVENT_PRODUCER) == 1
    assert (await rig.event(0))[0] == Cause.TRIGGER
    await rig.write_word(registers.FPGA_TRIGGER_OUT, 1)
    assert dut.trigger_out.value == 1


# ------------------------------------------------------------------------------------------------ audio


def samples_24(data: bytes, container: int) -> Iterator[tuple[int, int]]:
    """Stereo frames as the converter carries them: the top 24 bits of each container."""
    for offset in range(0, len(data) - 2 * container + 1, 2 * container):
        left, right = (
            int.from_bytes(data[offset + c * container : offset + (c + 1) * container], "little") for c in (0, 1)
        )
        shift = 8 * (container - 3)
        yield (left >> shift, right >> shift) if shift >= 0 else (left << -shift, right << -shift)


def audio(frames: int, container: int, seed: int) -> bytes:
    """Random frames, none of them silent; the low byte of a 32-bit container is 0, as capture writes it."""
    data = bytearray(random_bytes(frames * 2 * container, seed))
    for offset in range(0, len(data), container):
        if container == 4:
            data[offset] = 0
        data[offset + container - 1] |= 1
    return bytes(data)


@cocotb.test(timeout_time=30, timeout_unit="ms")
@cocotb.parametrize(container=[2, 3, 4])
async def digital_loopback(dut: Any, container: int) -> None:
    """Render, loop back, capture: the captured bytes are the played ones, from odd addresses, through two rings."""
    rig = await start(dut)
    frames = 40
    data = audio(frames, container, container)
    size = len(data)
    first = size // 3 + 1  # frames straddle the descriptors
    source, target = RENDER_BUFFER + 1, CAPTURE_BUFFER + 3
    capture_bytes = size + 20 * 2 * container
    await rig.write(source, data)
    await rig.set_up(
        RENDER, RENDER_RING, [(source, first), (source + first, size - first)], capture=False, container=container
    )
    await rig.set_up(
        CAPTURE, CAPTURE_RING, [(target, capture_bytes), (SPARE, 0x1000)], capture=True, container=container
    )
    await rig.write(target - 3, b"\xee" * (capture_bytes + 6))
    await rig.write_word(stream_register(CAPTURE, registers.STREAM_EVENT_ENABLE), 1)
    await rig.converter(input_select=InputSelect.LOOPBACK)
    await rig.control(CAPTURE, State.RUN)
    await rig.control(RENDER, State.RUN)
    await rig.wait(0x7000_0000, timeout_clocks=(frames + 60) * FRAME_CLOCKS)
    await rig.control(RENDER, State.STOP)
    await rig.control(CAPTURE, State.STOP)
    assert (await rig.event(0))[:2] == (Cause.DESCRIPTOR, CAPTURE)
    memory = await rig.read(target - 3, capture_bytes + 6)
    assert memory[:3] == memory[-3:] == b"\xee" * 3, "capture wrote outside its descriptor"
    captured = memory[3:-3]
    block = 2 * container
    silence = next(i for i in range(0, capture_bytes, block) if captured[i : i + block] != bytes(block))
    assert silence <= 20 * block
    assert captured[silence : silence + size] == data
    # the ring goes round without a gap
    assert captured[silence + size :] == data[: capture_bytes - silence - size]
    for stream, counter in ((RENDER, registers.STREAM_UNDERRUNS), (CAPTURE, registers.STREAM_OVERRUNS)):
        assert await rig.read_word(stream_register(stream, counter)) == 0
    assert await rig.status(RENDER) == State.STOP


@cocotb.test(timeout_time=30, timeout_unit="ms")
async def through_the_pins(dut: Any) -> None:
    """The codec hears what memory holds and memory gets what the codec says, at once and bit-exact."""
    rig = await start(dut)
    codec = Codec(dut)
    codec.start()
    frames = 30
    data = audio(frames, 4, 11)
    spoken = list(samples_24(audio(frames, 4, 12), 4))
    codec.to_send = [(1, 2)] * 3 + spoken
    await rig.write(RENDER_BUFFER, data)
    await rig.set_up(RENDER, RENDER_RING, [(RENDER_BUFFER, len(data))], capture=False, container=4)
    await rig.set_up(CAPTURE, CAPTURE_RING, [(CAPTURE_BUFFER, 50 * 8)], capture=True, container=4)
    await rig.control(CAPTURE, State.RUN)
    await rig.control(RENDER, State.RUN)
    await rig.converter(input_select=InputSelect.CONVERTER)
    assert await check_edges(dut, 10 * FRAME_CLOCKS) == 10
    await rig.frames(frames + 10)
    expected = list(samples_24(data, 4))
    first = codec.heard.index(expected[0])
    assert first <= 3
    assert codec.heard[first : first + frames] == expected
    captured = list(samples_24(await rig.read(CAPTURE_BUFFER, 40 * 8), 4))
    first = captured.index(spoken[0])
    assert first <= 6
    assert captured[first : first + frames] == spoken
    await rig.converter(input_select=InputSelect.CONVERTER, enable=False)
    await ClockCycles(dut.clk, 4)
    for _ in range(FRAME_CLOCKS):
        await FallingEdge(dut.clk)
        assert not (dut.i2s_bclk.value or dut.i2s_lrck.value or dut.i2s_dac_data.value)


@cocotb.test(timeout_time=30, timeout_unit="ms")
async def pattern_capture(dut: Any) -> None:
    """Captured pattern starts with frame 0 and has no gap, though the converter ran long before."""
    rig = await start(dut)
    await rig.converter(input_select=InputSelect.PATTERN)
    await rig.frames(5)
    await rig.set_up(CAPTURE, CAPTURE_RING, [(CAPTURE_BUFFER, 30 * 6)], capture=True, container=3)
    await rig.control(CAPTURE, State.RUN)
    await rig.frames(33)
    captured = list(samples_24(await rig.read(CAPTURE_BUFFER, 25 * 6), 3))
    # 33 frames later the ring of 30 has been overwritten from its start by at most 5 frames
    assert captured[6:] == [(2 * n, 2 * n + 1) for n in range(6, 25)]


@cocotb.test(timeout_time=30, timeout_unit="ms")
@cocotb.parametrize(wrong_frame=[None, 0, 17])
async def pattern_checked(dut: Any, wrong_frame: int | None) -> None:
    """The checker follows a rendered ramp to the end, and names the one frame that is wrong."""
    rig = await start(dut)
    frames = 30
    words = [(2 * n + channel) << 8 for n in range(frames) for channel in (0, 1)]
    if wrong_frame is not None:
        words[2 * wrong_frame + 1] ^= 0x400
    data = struct.pack(f"<{len(words)}I", *words)
    await rig.write(RENDER_BUFFER, data)
    await rig.set_up(RENDER, RENDER_RING, [(RENDER_BUFFER, len(data))], capture=False, container=4)
    await rig.write_word(registers.FPGA_EVENT_ENABLE, 1 << (Cause.PATTERN_ERROR - Cause.TIMER))
    await rig.write_word(registers.FPGA_PATTERN_CONTROL, 0b110)
    await rig.converter(input_select=InputSelect.LOOPBACK)
    await rig.control(RENDER, State.RUN)
    for _ in range(frames):
        await rig.frames(1)
        if await rig.read_word(registers.FPGA_PATTERN_FRAMES) >= 25:
            break
    checked, errors, first_bad = struct.unpack("<3I", await rig.read(registers.FPGA_PATTERN_FRAMES, 12))
    assert 25 <= checked <= frames
    producer = await rig.read_word(registers.FPGA_EVENT_PRODUCER)
    if wrong_frame is None:
        assert (errors, first_bad, producer) == (0, 0xFFFF_FFFF, 0)
    else:
        assert (errors, first_bad, producer) == (1, wrong_frame, 1)
        cause, _, _, _, _, data0, *_ = await rig.event(0)
        assert (cause, data0) == (Cause.PATTERN_ERROR, wrong_frame)


@cocotb.test(timeout_time=30, timeout_unit="ms")
async def monitor_counts_the_engine_only(dut: Any) -> None:
    """Host accesses do not count; those of the engine do, in its range and with its first address."""
    rig = await start(dut)
    await rig.write(registers.MONITOR_BASE, struct.pack("<3I", RENDER_BUFFER, RENDER_BUFFER + 0x1000, 1))
    data = audio(16, 4, 5)
    await rig.write(RENDER_BUFFER, data)
    assert await rig.read(RENDER_BUFFER, len(data)) == data
    assert await rig.read_word(registers.MONITOR_BASE + registers.MONITOR_READS) == 0
    await rig.set_up(RENDER, RENDER_RING, [(RENDER_BUFFER, len(data))], capture=False, container=4)
    await rig.control(RENDER, State.RUN)
    await rig.frames(3)
    reads, writes, _, address = struct.unpack(
        "<4I", await rig.read(registers.MONITOR_BASE + registers.MONITOR_READS, 16)
    )
    assert reads > 0 and writes == 0 and address == RENDER_BUFFER


@cocotb.test(timeout_time=30, timeout_unit="ms")
async def full_speed_host_beside_full_duplex(dut: Any) -> None:
    """The host reads and writes memory without a pause while two 32-bit streams run: nothing lost on either side."""
    rig = await start(dut)
    data = audio(64, 4, 21)
    await rig.write(RENDER_BUFFER, data)
    await rig.set_up(RENDER, RENDER_RING, [(RENDER_BUFFER, len(data))], capture=False, container=4)
    await rig.set_up(CAPTURE, CAPTURE_RING, [(CAPTURE_BUFFER, 100 * 8)], capture=True, container=4)
    await rig.converter(input_select=InputSelect.LOOPBACK)
    await rig.control(CAPTURE, State.RUN)
    await rig.control(RENDER, State.RUN)
    block = random_bytes(2048, 22)
    await rig.write(0x10001, block)
    assert await rig.read(0x10001, len(block)) == block
    await rig.control(CAPTURE, State.STOP)
    captured = await rig.read(CAPTURE_BUFFER, 100 * 8)
    for stream, counter in ((RENDER, registers.STREAM_UNDERRUNS), (CAPTURE, registers.STREAM_OVERRUNS)):
        assert await rig.read_word(stream_register(stream, counter)) == 0
    # the capture ring went round: its frames follow each other but for the one border between new and old
    order = {data[i : i + 8]: i // 8 for i in range(0, len(data), 8)}
    indices = [order[captured[i : i + 8]] for i in range(0, len(captured), 8)]
    borders = [i for i in range(1, 100) if indices[i] != (indices[i - 1] + 1) % 64]
    assert len(borders) <= 1, f"frames missing or doubled at {borders}: {indices}"


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def unknown_registers_read_zero(dut: Any) -> None:
    """Every word of every block answers; streams that were not built read 0 and ignore writes."""
    rig = await start(dut)
    missing = stream_register(STREAMS, 0)
    await rig.write(missing, b"\xff" * 64)
    assert await rig.read(missing, 256) == bytes(256)
    assert len(await rig.read(registers.FPGA_BASE, 256)) == 256
    assert len(await rig.read(registers.STREAM_BASE, 4096)) == 4096
    assert len(await rig.read(registers.EVENT_RING_BASE, registers.EVENT_RING_BYTES)) == 2048
    assert decode_reply(await rig.exchange_raw(read_request(missing, 4))).status == Status.OK


def test_rig_core() -> None:
    run_cocotb(
        "rig_core", sorted(path.name for path in RTL.glob("*.sv")), __file__, {"STREAMS": STREAMS, "BUILD": BUILD}
    )
