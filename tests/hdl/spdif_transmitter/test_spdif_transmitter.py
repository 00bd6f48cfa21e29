"""spdif_transmitter: read back by a decoder that is written from IEC 60958 and knows nothing of the design.

The decoder measures times between edges of the pin, finds preambles by their long gaps, and checks all a receiver
could check: cell lengths, preamble order, parity, channel status over whole blocks.
"""

import random
from dataclasses import dataclass
from typing import Any

import cocotb
from bench import registers, reset, run_cocotb, start_clock
from cocotb.triggers import ClockCycles, RisingEdge
from word_bus import WordBus

ENABLE, COPY_NEVER, MUTE_LOOPBACK, HEADER_OFF = 1, 2, 4, 8


@dataclass
class Subframe:
    preamble: str
    sample: int
    validity: int
    user: int
    status: int
    parity_good: bool
    start: int  # clock at which its first edge came


class Decoder:
    """Takes the clocks at which the line changed. Raises AssertionError at anything the standard does not allow."""

    # Lengths between changes, in half cells, of the first 8 half cells.
    PREAMBLES = {(3, 1, 1, 3): "B", (3, 3, 1, 1): "M", (3, 2, 1, 2): "W"}

    def __init__(self, half_cell_clocks: int = 2) -> None:
        self.half_cell_clocks = half_cell_clocks

    def decode(self, edges: list[int]) -> list[Subframe]:
        lengths = []
        for before, after in zip(edges, edges[1:], strict=False):
            clocks = after - before
            half = self.half_cell_clocks
            assert clocks % half == 0 and clocks <= 3 * half, f"{clocks} clocks without an edge"
            lengths.append(clocks // half)
        position = 0
        # A record may begin anywhere; the tail of a preamble is no preamble, and data has no gap of 3.
        while position + 4 <= len(lengths) and tuple(lengths[position : position + 4]) not in self.PREAMBLES:
            position += 1
        found = []
        while position + 4 <= len(lengths):
            head = tuple(lengths[position : position + 4])
            assert head in self.PREAMBLES, f"no preamble: {head}"
            start = edges[position]
            position += 4
            bits = []
            while len(bits) < 28 and position < len(lengths):
                if lengths[position] == 2:
                    bits.append(0)
                    position += 1
                else:
                    if position + 1 >= len(lengths):
                        return found
                    assert lengths[position : position + 2] == [1, 1], f"cell {len(bits)}: {lengths[position:][:3]}"
                    bits.append(1)
                    position += 2
            if len(bits) < 28:
                break
            sample = sum(bit << index for index, bit in enumerate(bits[:24]))
            found.append(
                Subframe(self.PREAMBLES[head], sample, bits[24], bits[25], bits[26], sum(bits) % 2 == 0, start)
            )
        return found


def blocks_of(subframes: list[Subframe]) -> list[list[tuple[Subframe, Subframe]]]:
    """Frames grouped by block, from the first B on; checks order, parity, validity and user bits."""
    while subframes and subframes[0].preamble != "B":
        subframes = subframes[1:]
    blocks: list[list[tuple[Subframe, Subframe]]] = []
    for left, right in zip(subframes[::2], subframes[1::2], strict=False):
        assert left.preamble in "BM" and right.preamble == "W", (left, right)
        assert left.parity_good and right.parity_good
        assert (left.validity, left.user, right.validity, right.user) == (0, 0, 0, 0)
        if left.preamble == "B":
            blocks.append([])
        blocks[-1].append((left, right))
    return blocks


def status_of(block: list[tuple[Subframe, Subframe]], channel: int) -> int:
    """Channel status as a number, bit 0 first sent."""
    return sum(frame[channel].status << index for index, frame in enumerate(block))


def expected_status(channel: int, copy_never: bool, category: int, l_bit: int, rate: int) -> int:
    """IEC 60958-3, consumer, mode 0, written bit by bit."""
    status = 0
    status |= (not copy_never) << 2
    status |= category << 8 | l_bit << 15
    status |= (channel + 1) << 20
    status |= rate << 24
    status |= 0b1011 << 32  # up to 24 bits, and 24 bits
    return status


class Bench:
    """Ticks as the serializer's, with frames from a list; notes edges of the pin."""

    def __init__(self, dut: Any, frame_clocks: int = 256) -> None:
        self.dut = dut
        self.frame_clocks = frame_clocks
        self.bus = WordBus(dut, limit_clocks=1)
        self.clock = 0
        self.edges: list[int] = []
        self.sent: list[tuple[int, int]] = []  # frames given at each tick
        self.tick_clocks: list[int] = []
        self.ticking = True
        self.chooser = random.Random(5)
        dut.frame_clocks.value = frame_clocks
        dut.frame_tick.value = 0
        dut.frame_out.value = 0
        dut.mute.value = 0

    async def start(self) -> None:
        start_clock(self.dut.clk)
        await reset(self.dut.clk, self.dut.rst)
        cocotb.start_soon(self._watch())
        cocotb.start_soon(self._ticks())

    async def _watch(self) -> None:
        before = 0
        while True:
            await RisingEdge(self.dut.clk)  # the value is that of the clock that ends here
            self.clock += 1
            out = int(self.dut.spdif_out.value)
            if out != before:
                self.edges.append(self.clock)
                before = out

    async def _ticks(self) -> None:
        specials = [(0, 0), (0xFFFFFF, 0xFFFFFF), (0x800000, 0x7FFFFF), (1, 0x800001), (0x555555, 0xAAAAAA)]
        while True:
            await ClockCycles(self.dut.clk, self.frame_clocks - 2)
            if not self.ticking:
                await ClockCycles(self.dut.clk, 2)
                continue
            index = len(self.sent)
            frame = specials[index] if index < 5 else (self.chooser.getrandbits(24), self.chooser.getrandbits(24))
            self.dut.frame_tick.value = 1
            self.dut.frame_out.value = frame[0] << 24 | frame[1]
            await RisingEdge(self.dut.clk)
            # Behind the tick the hub holds another frame.
            self.dut.frame_tick.value = 0
            self.dut.frame_out.value = self.chooser.getrandbits(48)
            self.sent.append((0, 0) if self.dut.mute.value == 1 else frame)
            self.tick_clocks.append(self.clock)
            await RisingEdge(self.dut.clk)

    def decode(self) -> list[list[tuple[Subframe, Subframe]]]:
        return blocks_of(Decoder(self.frame_clocks // 128).decode(self.edges))

    async def frames(self, count: int) -> None:
        await ClockCycles(self.dut.clk, self.frame_clocks * count)


@cocotb.test()
async def samples_and_blocks(dut: Any) -> None:
    """Two blocks: each frame is the one of its tick, bit for bit, at once; 192 frames a block; status right."""
    bench = Bench(dut)
    await bench.start()
    assert await bench.bus.read(registers.SPDIF_MARKS) == 2 << 8
    assert await bench.bus.read(registers.SPDIF_STATUS) == 0
    await bench.bus.write(registers.SPDIF_MARKS, 0x7F | 1 << 7 | 15 << 8)
    await bench.bus.write(registers.SPDIF_GATES, ENABLE)
    await bench.frames(400)
    blocks = bench.decode()
    assert [len(block) for block in blocks[:-1]] == [192, 192], [len(block) for block in blocks]
    frames = [frame for block in blocks for frame in block]
    values = [(left.sample, right.sample) for left, right in frames]
    # The first tick makes the second frame; the ones before carry silence.
    first = next(index for index, (left, _) in enumerate(frames) if left.start > bench.tick_clocks[0])
    assert not any(any(pair) for pair in values[:first])
    assert values[first:] == bench.sent[: len(values) - first] and len(values) - first > 390
    for tick, (left, _) in zip(bench.tick_clocks, frames[first:], strict=False):
        assert 0 < left.start - tick <= 4, "the frame begins at its tick"
    for channel in (0, 1):
        assert status_of(blocks[0], channel) == expected_status(channel, False, 0x7F, 1, 15)
        assert status_of(blocks[1], channel) == expected_status(channel, False, 0x7F, 1, 15)


@cocotb.test()
@cocotb.parametrize(frame_clocks=[128, 384, 512, 768, 1536])
async def other_rates(dut: Any, frame_clocks: int) -> None:
    """All rates of the converter: each frame is that of its tick."""
    bench = Bench(dut, frame_clocks)
    await bench.start()
    await bench.bus.write(registers.SPDIF_GATES, ENABLE)
    await bench.frames(14)
    frames = [frame for block in bench.decode() for frame in block]
    first = next(index for index, (left, _) in enumerate(frames) if left.start > bench.tick_clocks[0])
    values = [(left.sample, right.sample) for left, right in frames[first:]]
    assert values == bench.sent[: len(values)] and len(values) >= 10
    for tick, (left, _) in zip(bench.tick_clocks, frames[first:], strict=False):
        assert 0 < left.start - tick <= 4, "the frame begins at its tick"


@cocotb.test()
async def marks(dut: Any) -> None:
    """Every mark arrives in the block that begins with the next frame; no block mixes old marks with new ones."""
    bench = Bench(dut)
    await bench.start()
    await bench.bus.write(registers.SPDIF_GATES, ENABLE)
    await bench.frames(3)
    cases = [(True, 0x2A, 0, 2), (True, 0x01, 1, 0), (False, 0x55, 1, 2), (False, 0x40, 0, 10), (True, 0x7F, 1, 15)]
    for copy_never, category, l_bit, rate in cases:
        await ClockCycles(dut.clk, bench.chooser.randrange(256 * 8))
        gates = ENABLE | (COPY_NEVER if copy_never else 0)
        await bench.bus.write(registers.SPDIF_MARKS, category | l_bit << 7 | rate << 8)
        await bench.bus.write(registers.SPDIF_GATES, gates)
        written = bench.clock
        assert await bench.bus.read(registers.SPDIF_MARKS) == category | l_bit << 7 | rate << 8
        assert await bench.bus.read(registers.SPDIF_GATES) == gates
        waited = 0
        while (await bench.bus.read(registers.SPDIF_STATUS)) & 1:
            waited += 1
            assert waited < 100, "the new block must come with the next frame"
        await bench.frames(40)
        blocks = [block for block in bench.decode() if block[0][0].start > written + 4]
        assert blocks[0][0][0].start - written <= 260 and len(blocks[0]) >= 36
        for channel in (0, 1):
            status = status_of(blocks[0], channel)
            assert status == expected_status(channel, copy_never, category, l_bit, rate), f"{status:#x}"


@cocotb.test()
async def off_means_no_carrier(dut: Any) -> None:
    """Off: not one edge more. On again: a whole frame with B first. Any clock of a frame may be the one."""
    bench = Bench(dut)
    await bench.start()
    await bench.frames(2)
    assert not bench.edges, "off from reset"
    seen = 0
    for _ in range(12):
        await bench.bus.write(registers.SPDIF_GATES, ENABLE)
        await ClockCycles(dut.clk, 300 + bench.chooser.randrange(600))
        await bench.bus.write(registers.SPDIF_GATES, 0)
        off = bench.clock
        await ClockCycles(dut.clk, bench.chooser.randrange(4, 400))
        late = [edge for edge in bench.edges if edge > off + 2]
        assert not late and dut.spdif_out.value == 0
        # Without the last change, with which the carrier ends anywhere.
        first = Decoder().decode([edge for edge in bench.edges if edge < off - 2])
        seen += len(first)
        if first:
            assert first[0].preamble == "B" and first[0].start <= bench.edges[0]
        bench.edges.clear()
        assert await bench.bus.read(registers.SPDIF_GATES) == 0
    assert seen > 12


@cocotb.test()
async def gates_outside(dut: Any) -> None:
    """All 16 settings of the gates: outputs and read-back agree, from the clock of the ack; the others stay."""
    bench = Bench(dut)
    await bench.start()
    settings = list(range(16)) * 2
    bench.chooser.shuffle(settings)
    for gates in settings:
        await bench.bus.write(registers.SPDIF_GATES, gates | 0xFFFF_FFF0)
        assert dut.mute_loopback.value == int(bool(gates & MUTE_LOOPBACK))
        assert dut.header_off.value == int(bool(gates & HEADER_OFF))
        assert await bench.bus.read(registers.SPDIF_GATES) == gates


@cocotb.test()
async def converter_off_and_mute(dut: Any) -> None:
    """Without ticks the carrier goes on with silence; with mute too; ticks at another phase cost one frame at most."""
    bench = Bench(dut)
    await bench.start()
    await bench.bus.write(registers.SPDIF_GATES, ENABLE)
    await bench.frames(10)
    bench.ticking = False
    await bench.frames(2)
    stopped = bench.clock
    await bench.frames(10)
    frames = [frame for block in bench.decode() for frame in block if frame[0].start > stopped]
    assert len(frames) >= 9 and not any(left.sample or right.sample for left, right in frames)
    bench.ticking = True
    await bench.frames(2)
    dut.mute.value = 1
    await bench.frames(2)
    bench.edges.clear()
    bench.sent.clear()
    await bench.frames(8)
    subframes = Decoder().decode(bench.edges)
    assert len(subframes) >= 13 and not any(subframe.sample for subframe in subframes)
    dut.mute.value = 0
    await bench.frames(3)
    # The converter starts again at another phase: at most a broken frame, then all is well.
    bench.ticking = False
    await bench.frames(2)
    await ClockCycles(dut.clk, 77)
    bench.ticking = True
    await bench.frames(4)
    bench.edges.clear()
    sent = len(bench.sent)
    await bench.frames(20)
    pairs = Decoder().decode(bench.edges)
    if pairs[0].preamble == "W":
        pairs = pairs[1:]
    values = [(left.sample, right.sample) for left, right in zip(pairs[::2], pairs[1::2], strict=False)]
    tail = bench.sent[sent - 1 :]
    assert len(values) >= 18 and any(values == tail[skip : skip + len(values)] for skip in range(3))


@cocotb.test()
async def reset_in_flight(dut: Any) -> None:
    bench = Bench(dut)
    await bench.start()
    await bench.bus.write(registers.SPDIF_MARKS, 0xFFF)
    await bench.bus.write(registers.SPDIF_GATES, 0xF)
    await bench.frames(3)
    await ClockCycles(dut.clk, 99)
    await reset(dut.clk, dut.rst)
    bench.edges.clear()
    assert (dut.mute_loopback.value, dut.header_off.value) == (0, 0)
    await bench.frames(2)
    assert not bench.edges
    assert await bench.bus.read(registers.SPDIF_GATES) == 0
    assert await bench.bus.read(registers.SPDIF_MARKS) == 2 << 8
    for offset in range(12, 0x100, 4):
        await bench.bus.write(registers.SPDIF_BASE + offset, 0xFFFF_FFFF)
        assert await bench.bus.read(registers.SPDIF_BASE + offset) == 0
    assert await bench.bus.read(registers.SPDIF_GATES) == 0


def test_spdif_transmitter() -> None:
    run_cocotb("spdif_transmitter", ["spdif_transmitter.sv"], __file__)
