"""midi_uart: against the UART models of cocotbext-uart, a scoreboard of bytes and times, and bad software."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cocotb
import pytest
from bench import CLOCK_PS, registers, reset, run_cocotb, start_clock
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge, Timer
from word_bus import WordBus

uart = pytest.importorskip(
    "cocotbext.uart", reason="the tests of midi_uart need cocotbext-uart: pip install -e '.[hdl]'"
)

BAUD = 31250
BIT_CLOCKS = 393
BYTE_CLOCKS = 10 * BIT_CLOCKS
RECORDS = 128
MASK = 0xFFFF_FFFF
GATE, HOLD, LOOPBACK, STALL, DEAD = 1, 2, 4, 8, 16
CLEAR, FLUSH = 1 << registers.MIDI_CONTROL_RX_CLEAR_LSB, 1 << registers.MIDI_CONTROL_TX_FLUSH_LSB
READY = 1 << registers.MIDI_CONTROL_READY_LSB
TX_ACTIVE = 1 << registers.MIDI_CONTROL_TX_ACTIVE_LSB
RX_ACTIVE = 1 << registers.MIDI_CONTROL_RX_ACTIVE_LSB
FRAMING = 1 << registers.MIDI_CONTROL_FRAMING_LSB
REFUSED = 1 << registers.MIDI_CONTROL_TX_REFUSED_LSB


class Bench:
    """Board time, counts of the event pulses, board times of the falling edges of both lines; the host's view."""

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        self.bus = WordBus(dut, limit_clocks=1)
        self.rx_pulses, self.empty_pulses, self.overflow_pulses = 0, 0, 0
        self.taken = 0
        self.queued = 0
        dut.midi_rx.value = 1

    @property
    def now(self) -> int:
        """Board time, with the bits that its low word lacks."""
        low = int(self.dut.now_lo.value)
        return self.first + (low - self.first & MASK)

    async def start(self, control: int = GATE, now: int = 1000) -> None:
        self.first = now
        self.dut.now_start.value = now
        self.dut.now_set.value = 1
        start_clock(self.dut.clk)
        await reset(self.dut.clk, self.dut.rst)
        self.dut.now_set.value = 0
        for name in ("rx", "empty", "overflow"):
            cocotb.start_soon(self._count(name))
        self.source = uart.UartSource(self.dut.midi_rx, baud=BAUD)
        self.sink = uart.UartSink(self.dut.midi_tx, baud=BAUD)
        await self.control(control)

    async def _count(self, name: str) -> None:
        """Each pulse must last one clock, so edges are pulses."""
        pulse = {"rx": "rx_pulse", "empty": "tx_empty_pulse", "overflow": "rx_overflow_pulse"}[name]
        while True:
            await RisingEdge(getattr(self.dut, pulse))
            setattr(self, f"{name}_pulses", getattr(self, f"{name}_pulses") + 1)
            await RisingEdge(self.dut.clk)
            await RisingEdge(self.dut.clk)
            assert getattr(self.dut, pulse).value == 0, f"{pulse} lasts longer than a clock"

    async def clocks(self, count: int) -> None:
        await ClockCycles(self.dut.clk, count)

    async def control(self, value: int) -> None:
        await self.bus.write(registers.MIDI_CONTROL, value)

    async def status(self) -> int:
        return await self.bus.read(registers.MIDI_CONTROL)

    async def counts(self) -> tuple[int, int, int, int]:
        """rx_producer, rx_consumer, tx_producer, tx_consumer"""
        word = await self.bus.read(registers.MIDI_COUNTS)
        return word & 0xFF, word >> 8 & 0xFF, word >> 16 & 0xFF, word >> 24

    async def queue(self, entries: Sequence[tuple[int, int]]) -> None:
        """(time, byte)"""
        for time, byte in entries:
            at = registers.MIDI_TX_RING_BASE + 8 * (self.queued % RECORDS)
            await self.bus.write(at, time & MASK)
            await self.bus.write(at + 4, byte | 0xABCDEF00)
            self.queued += 1
        await self.bus.write(registers.MIDI_TX_PRODUCER, self.queued & 0xFF)

    async def take(self) -> list[tuple[int, int]]:
        """(time, byte) of all new records."""
        produced = (await self.counts())[0]
        found = []
        while self.taken & 0xFF != produced:
            at = registers.MIDI_RX_RING_BASE + 8 * (self.taken % RECORDS)
            time, second = await self.bus.read(at), await self.bus.read(at + 4)
            # The stop bit is looked at in its middle, 9.5 bits behind the edge.
            assert (second >> 8) - (time + 9 * BIT_CLOCKS + BIT_CLOCKS // 2 >> 8) & 0xFFFFFF in (0, 1)
            found.append((time, second & 0xFF))
            self.taken += 1
        await self.bus.write(registers.MIDI_RX_CONSUMER, self.taken & 0xFF)
        return found

    async def send(self, data: bytes) -> None:
        await self.source.write(data)
        await self.source.wait()

    async def idle(self, limit_bytes: int = 300) -> None:
        for _ in range(limit_bytes):
            producer, consumer = (await self.counts())[2:]
            if producer == consumer and not (await self.status()) & TX_ACTIVE:
                return
            await self.clocks(BYTE_CLOCKS)
        raise AssertionError("never idle")


@cocotb.test()
async def receive_with_times(dut: Any) -> None:
    """Bytes with and without pauses, over the wrap of ring and time; 2 to 3 clocks from edge to time."""
    bench = Bench(dut)
    await bench.start(now=(1 << 32) - 40 * BYTE_CLOCKS)
    chooser = random.Random(1)
    starts: list[int] = []

    async def edges() -> None:
        while True:
            await FallingEdge(dut.midi_rx)
            starts.append(int(dut.now_lo.value))
            await Timer(int(9.2 / BAUD * 1e9), unit="ns")

    cocotb.start_soon(edges())
    data = bytes(chooser.sample(range(256), 140))
    received = []
    position = 0
    while position < len(data):
        count = chooser.choice([1, 2, 5, 60])
        await bench.send(data[position : position + count])
        position += count
        await Timer(chooser.choice([0, 1, 40_000, 333_333]) + chooser.randrange(CLOCK_PS // 1000), unit="ns")
        received += await bench.take()
    await bench.clocks(BIT_CLOCKS)
    received += await bench.take()
    assert bytes(byte for _, byte in received) == data and bench.rx_pulses == 140
    for (time, _), start in zip(received, starts, strict=True):
        assert 2 <= time - start & MASK <= 3
    assert bench.overflow_pulses == 0 and (await bench.status()) >> 24 == 0


@cocotb.test()
async def baud_tolerance(dut: Any) -> None:
    """Senders 3 % off are understood."""
    bench = Bench(dut)
    await bench.start()
    data = bytes([0x00, 0xFF, 0x55, 0xAA, 0x01, 0x80, 0xF8])
    for factor in (0.97, 1.03):
        source = uart.UartSource(dut.midi_rx, baud=round(BAUD * factor))
        await source.write(data)
        await source.wait()
        await bench.clocks(BIT_CLOCKS)
        assert bytes(byte for _, byte in await bench.take()) == data


@cocotb.test()
async def overflow_drops_the_newest(dut: Any) -> None:
    """128 bytes stay whole and in order, newer ones are counted; then it goes on with the byte that begins next."""
    bench = Bench(dut)
    await bench.start()
    data = random.Random(2).randbytes(RECORDS + 21)
    await bench.send(data)
    await bench.clocks(BIT_CLOCKS)
    assert (bench.rx_pulses, bench.overflow_pulses, (await bench.status()) >> 24) == (RECORDS, 21, 21)
    assert (await bench.status()) >> 24 == 21, "reading changes nothing"
    # A byte that began while the ring was full is dropped, also if there is room by its end: its time was not noted.
    await bench.source.write(b"\x42\x43")
    await bench.clocks(BYTE_CLOCKS // 2)
    assert bytes(byte for _, byte in await bench.take()) == data[:RECORDS]
    await bench.source.wait()
    await bench.clocks(BIT_CLOCKS)
    assert bytes(byte for _, byte in await bench.take()) == b"\x43"
    assert (bench.overflow_pulses, (await bench.status()) >> 24) == (22, 22)


@cocotb.test()
async def gate_and_clear(dut: Any) -> None:
    """Opened, closed or cleared anywhere in a byte: that one is not kept, its neighbours are, nothing else is."""
    bench = Bench(dut)
    await bench.start(control=0)
    await bench.send(b"\x11\x22")
    assert (await bench.counts())[0] == 0
    for value in (0x00, 0x55, 0x7F):
        for part in (0.05, 0.4, 0.93):
            for action in ("open", "close", "clear"):
                await bench.control(0 if action == "open" else GATE)
                await bench.source.write(bytes([value, 0x90, 0x91]))
                await bench.clocks(int(BYTE_CLOCKS * part))
                await bench.control({"open": GATE, "close": 0, "clear": GATE | CLEAR}[action])
                if action == "close":
                    await bench.clocks(40)
                    await bench.control(GATE)
                await bench.source.wait()
                await bench.clocks(BIT_CLOCKS)
                bench.taken = (await bench.counts())[1]
                got = bytes(byte for _, byte in await bench.take())
                assert got == b"\x90\x91", (value, part, action, got)
    # Bytes that were received and not taken go too, however many have come.
    for data in (b"\x01\x02\x03", bytes(50)):
        await bench.send(data)
        await bench.clocks(BIT_CLOCKS)
        before = (await bench.counts())[0]
        await bench.control(GATE | CLEAR)
        producer, consumer, _, _ = await bench.counts()
        assert producer == consumer == before
    assert producer >= 64


@cocotb.test()
async def broken_lines(dut: Any) -> None:
    """A glitch is no byte; a stop bit of 0 loses the byte and says so; behind a break of any length all is well."""
    bench = Bench(dut)
    await bench.start()
    for clocks in (1, 50, 150):
        dut.midi_rx.value = 0
        await bench.clocks(clocks)
        dut.midi_rx.value = 1
        await bench.clocks(BYTE_CLOCKS)
    assert (await bench.counts())[0] == 0 and not (await bench.status()) & (FRAMING | RX_ACTIVE)
    for bits in (9.7, 10.4, 11, 35):
        dut.midi_rx.value = 0
        await bench.clocks(int(bits * BIT_CLOCKS))
        assert bits < 9.6 or (await bench.status()) & FRAMING
        dut.midi_rx.value = 1
        await bench.clocks(BIT_CLOCKS)
        await bench.send(b"\x3c")
        await bench.clocks(BIT_CLOCKS)
        assert [byte for _, byte in await bench.take()] == [0x3C]
        assert (await bench.status()) & FRAMING
        await bench.control(GATE | CLEAR)
        assert not (await bench.status()) & FRAMING


@cocotb.test()
async def transmit_at_times(dut: Any) -> None:
    """Each byte leaves within 8 clocks of its time, of now if it is late, of the end of the one before it."""
    bench = Bench(dut)
    await bench.start(now=(1 << 32) - 8 * BYTE_CLOCKS)
    starts: list[int] = []

    async def edges() -> None:
        while True:
            await FallingEdge(dut.midi_tx)
            starts.append(bench.now)
            await bench.clocks(int(9.5 * BIT_CLOCKS))

    cocotb.start_soon(edges())
    base = bench.now
    times = [2000, 2000 + BYTE_CLOCKS + 500, 0, -(1 << 30), 9 * BYTE_CLOCKS, 9 * BYTE_CLOCKS + 1, 12 * BYTE_CLOCKS]
    data = bytes([0x00, 0xFF, 0x90, 0x3C, 0x7F, 0x55, 0xAA])
    await bench.queue([(base + time, byte) for time, byte in zip(times, data, strict=True)])
    await bench.clocks(14 * BYTE_CLOCKS)
    assert bytes(bench.sink.read_nowait()) == data
    free = base
    for time, start in zip(times, starts, strict=True):
        earliest = max(base + time, free)
        assert 0 < start - earliest <= 8, (time, start - earliest)
        free = start + BYTE_CLOCKS
    assert bench.empty_pulses == 1, "the queue had the next byte, although not yet due"
    assert (await bench.counts())[2:] == (7, 7)


@cocotb.test()
async def long_stream(dut: Any) -> None:
    """136 bytes through a ring of 128, refilled as it drains: each exactly once, in order, without pause."""
    bench = Bench(dut)
    await bench.start()
    data = random.Random(6).randbytes(136)
    begun = bench.now
    while bench.queued < 136:
        space = RECORDS - ((bench.queued - (await bench.counts())[3]) & 0xFF)
        batch = data[bench.queued : bench.queued + space]
        if batch:
            await bench.queue([(0, byte) for byte in batch])
            assert not (await bench.status()) & REFUSED
        await bench.clocks(3 * BYTE_CLOCKS)
    await bench.idle()
    await bench.clocks(BIT_CLOCKS)
    assert bytes(bench.sink.read_nowait()) == data
    assert bench.now - begun < 144 * BYTE_CLOCKS and bench.empty_pulses == 1


@cocotb.test()
async def hold_stall_dead(dut: Any) -> None:
    """Nothing begins behind the write; the byte that has begun is whole; all goes on where it stopped."""
    bench = Bench(dut)
    await bench.start()
    chooser = random.Random(8)
    sent = b""
    for bit in (HOLD, STALL, DEAD):
        for _ in range(3):
            data = chooser.randbytes(4)
            sent += data
            time = bench.now + 300
            await bench.queue([(time, data[0]), (time, data[1]), (0, data[2]), (time + 6 * BYTE_CLOCKS, data[3])])
            await bench.clocks(chooser.choice([0, 1, 2, 3, 150, 250, BYTE_CLOCKS - 20, BYTE_CLOCKS + 190]))
            await bench.control(GATE | bit)
            consumer = (await bench.counts())[3]
            status = await bench.status()
            assert bool(status & READY) == (bit != DEAD) and status & 0x1F == GATE | bit
            await bench.clocks(2 * BYTE_CLOCKS)
            assert (await bench.counts())[3] == consumer and not (await bench.status()) & TX_ACTIVE
            assert bench.sink.count() == len(sent) - (bench.queued - consumer & 0xFF)
            await bench.control(GATE)
            await bench.clocks(9 * BYTE_CLOCKS)
            assert bench.sink.count() == len(sent)
    assert bytes(bench.sink.read_nowait()) == sent
    # A dead unit keeps no byte either.
    await bench.control(GATE | DEAD)
    await bench.send(b"\x77")
    await bench.clocks(BIT_CLOCKS)
    assert (await bench.counts())[0] == 0


@cocotb.test()
async def flush_at_any_clock(dut: Any) -> None:
    """Hold and flush in one write, at every clock round a start: what tx_consumer counts leaves, nothing else."""
    bench = Bench(dut)
    await bench.start()
    sent = 0
    begun = set()
    for offset in range(26):
        before = sent
        await bench.control(GATE)
        await bench.queue([(bench.now + 100, 0x40 + offset), (bench.now + 101, 0x33)])
        time = bench.now
        await bench.clocks(60 + offset)
        await bench.control(GATE | HOLD | FLUSH)
        await bench.clocks(2 * BYTE_CLOCKS + 500)
        _, _, producer, consumer = await bench.counts()
        assert producer == consumer and time < bench.now
        bench.queued = consumer
        sent = before + bench.sink.count()
        got = bytes(bench.sink.read_nowait())
        assert got in (b"", bytes([0x40 + offset])) and consumer == sent & 0xFF
        begun.add(len(got))
    assert begun == {0, 1}, "the sweep must meet both sides"


@cocotb.test()
async def loopback(dut: Any) -> None:
    """The receiver hears the transmitter, not the pin; the pin stays idle; times of both agree."""
    bench = Bench(dut)
    await bench.start(control=GATE | LOOPBACK)
    time = bench.now + 3000
    data = bytes([0x00, 0x81, 0xFF])
    await bench.queue([(time + index * 5000, byte) for index, byte in enumerate(data)])
    await bench.source.write(b"\x12\x13\x14")
    for _ in range(200):
        await bench.clocks(100)
        assert dut.midi_tx.value == 1
    received = await bench.take()
    assert bytes(byte for _, byte in received) == data
    for index, (when, _) in enumerate(received):
        assert 0 < when - (time + index * 5000) <= 8


@cocotb.test()
async def bad_counts(dut: Any) -> None:
    """A producer too far ahead sends nothing and says so until set right; a wild consumer drops bytes only."""
    bench = Bench(dut)
    await bench.start()
    for wrong in (129, 200, 255):
        await bench.bus.write(registers.MIDI_TX_PRODUCER, wrong)
        assert (await bench.status()) & REFUSED
        await bench.clocks(BYTE_CLOCKS)
        assert (await bench.counts())[3] == 0 and bench.sink.idle()
    await bench.queue([(0, 0x66)])
    assert not (await bench.status()) & REFUSED
    await bench.clocks(2 * BYTE_CLOCKS)
    assert bytes(bench.sink.read_nowait()) == b"\x66"
    await bench.bus.write(registers.MIDI_RX_CONSUMER, 5)
    await bench.send(b"\x01")
    await bench.clocks(BIT_CLOCKS)
    assert (await bench.counts())[0] == 0 and (await bench.status()) >> 24 == 1
    await bench.bus.write(registers.MIDI_RX_CONSUMER, 0)
    await bench.send(b"\x02")
    await bench.clocks(BIT_CLOCKS)
    assert [byte for _, byte in await bench.take()] == [2]
    for offset in range(0x8, 0x100, 4):
        if offset not in (0x8, 0xC):
            await bench.bus.write(registers.MIDI_BASE + offset, MASK)
        assert await bench.bus.read(registers.MIDI_BASE + offset) == 0
    assert await bench.bus.read(registers.MIDI_TX_RING_BASE) == 0


@cocotb.test()
async def counts_read_back(dut: Any) -> None:
    """All bits of the counts that the host writes; one leaves the other."""
    bench = Bench(dut)
    await bench.start(control=HOLD)
    for value in (0xFF, 0, *(1 << bit for bit in range(8)), 0x5A, 0xA5):
        await bench.bus.write(registers.MIDI_TX_PRODUCER, value | 0xFFFF_FF00)
        await bench.bus.write(registers.MIDI_RX_CONSUMER, value ^ 0xFF)
        await bench.control(HOLD)
        assert await bench.counts() == (0, value ^ 0xFF, value, 0)
        await bench.bus.write(registers.MIDI_TX_PRODUCER, ~value & 0xFF)
        assert await bench.counts() == (0, value ^ 0xFF, value ^ 0xFF, 0)


@cocotb.test()
async def reset_in_flight(dut: Any) -> None:
    """Reset in a byte, both ways: line idle, rings empty, counters 0; then all works."""
    bench = Bench(dut)
    await bench.start()
    for part in (0.02, 0.3, 0.8, 0.99):
        bench.queued, bench.taken = 0, 0
        await bench.queue([(0, 0x00), (0, 0x01)])
        cocotb.start_soon(bench.send(b"\x00"))
        await bench.clocks(int(BYTE_CLOCKS * part))
        await reset(dut.clk, dut.rst)
        assert dut.midi_tx.value == 1 and await bench.counts() == (0, 0, 0, 0)
        assert (await bench.status()) & ~(RX_ACTIVE | 1 << registers.MIDI_CONTROL_RX_LINE_LSB) == READY
        await bench.clocks(2 * BYTE_CLOCKS)
        bench.sink.clear()
        bench.queued, bench.taken = 0, 0
        await bench.control(GATE)
        await bench.queue([(0, 0x5A)])
        await bench.send(b"\xc3")
        await bench.clocks(BYTE_CLOCKS)
        assert bytes(bench.sink.read_nowait()) == b"\x5a" and [byte for _, byte in await bench.take()] == [0xC3]
        await reset(dut.clk, dut.rst)
        await bench.control(GATE)


def test_midi_uart() -> None:
    sources = ["midi_uart.sv", "level_synchroniser.sv", "ram_1r1w.sv", Path(__file__).with_name("midi_bench.sv")]
    run_cocotb("midi_bench", sources, __file__, build_name="midi_uart")
