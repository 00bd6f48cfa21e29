"""spi_bridge: whole bytes both ways over two unrelated clocks, at each phase between them.

The SPI clock runs at 15.36 MHz against a system clock of 12.288 MHz: 5 SCK periods in 4 clocks, the fastest case.
"""

import random
from typing import Any

import cocotb
from bench import CLOCK_PS, SCK_PS, SpiMaster, random_bytes, reset, run_cocotb, start_clock
from cocotb.triggers import FallingEdge, RisingEdge, Timer

# A period of either clock divided into steps that have no common factor with it.
PHASES_PS = range(0, CLOCK_PS, CLOCK_PS // 13)


class SystemSide:
    """Takes every byte at once; offers bytes from a list, one after another, with the gaps asked for."""

    def __init__(self, dut: Any, offer: bytes, gap_rng: random.Random | None = None) -> None:
        self.dut, self.offer, self.gap_rng = dut, list(offer), gap_rng
        self.received = bytearray()
        dut.rx_ready.value = 1
        dut.tx_valid.value = 0
        dut.tx_byte.value = 0xEE
        cocotb.start_soon(self._receive())
        cocotb.start_soon(self._send())

    async def _receive(self) -> None:
        while True:
            await RisingEdge(self.dut.rx_valid)
            await FallingEdge(self.dut.clk)
            self.received.append(int(self.dut.rx_byte.value))

    async def _send(self) -> None:
        dut = self.dut
        while self.offer:
            if self.gap_rng is not None:
                for _ in range(self.gap_rng.randrange(30)):
                    await FallingEdge(dut.clk)
            dut.tx_byte.value = self.offer.pop(0)
            dut.tx_valid.value = 1
            while True:
                await RisingEdge(dut.clk)  # values from before the edge
                if dut.tx_take.value:
                    break
            dut.tx_valid.value = 0


async def start(dut: Any, offer: bytes = b"", gap_rng: random.Random | None = None, **spi: Any) -> tuple[Any, Any]:
    start_clock(dut.clk)
    master = SpiMaster(dut.spi_sck, dut.spi_cs_n, dut.spi_mosi, dut.spi_miso, **spi)
    side = SystemSide(dut, offer, gap_rng)
    await reset(dut.clk, dut.rst)
    await Timer(16 * CLOCK_PS, unit="ps")
    return master, side


async def settle(dut: Any) -> None:
    for _ in range(8):
        await RisingEdge(dut.clk)


@cocotb.test(timeout_time=10, timeout_unit="ms")
@cocotb.parametrize(gaps=["none", "random"])
async def both_ways_at_each_phase(dut: Any, gaps: str) -> None:
    """Each byte arrives once, in order; the byte offered while byte k came in leaves as byte k + 2."""
    rng = random.Random(5)
    gap = (lambda: rng.choice((0, 0, 1, 40_000, 81_380, 700_001))) if gaps == "random" else 0
    master, side = await start(dut, gap_ps=gap)
    for phase_ps in PHASES_PS:
        sent, offered = random_bytes(20, phase_ps), random_bytes(18, phase_ps + 1)
        side.received.clear()
        side.offer = list(offered)
        cocotb.start_soon(side._send())
        master.phase_ps = phase_ps
        await master.select()
        back = await master.transfer(sent)
        await settle(dut)
        await master.deselect()
        assert bytes(side.received) == sent, f"phase {phase_ps} ps"
        assert back == b"\0\0" + offered, f"phase {phase_ps} ps"


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def drifting_clocks(dut: Any) -> None:
    """SCK a little off the 5:4 ratio, so that the edges slide past each other in one long frame."""
    master, side = await start(dut, period_ps=SCK_PS + 14)
    sent, offered = random_bytes(2000, 1), random_bytes(1998, 2)
    side.offer = list(offered)
    cocotb.start_soon(side._send())
    await master.select()
    back = await master.transfer(sent)
    await settle(dut)
    assert bytes(side.received) == sent
    assert back == b"\0\0" + offered


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def filler_where_nothing_is_offered(dut: Any) -> None:
    """The offered bytes leave in order with nothing but 0x00 between, none twice, none lost."""
    rng = random.Random(6)
    offered = bytes(rng.randrange(1, 256) for _ in range(100))
    master, _ = await start(dut, offered, gap_rng=rng)
    await master.select()
    back = await master.transfer(bytes(500))
    assert bytes(value for value in back if value) == offered
    assert back.count(0) > 100


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def chip_select_cuts_a_byte(dut: Any) -> None:
    """Chip select rising behind any bit of a byte drops that byte and realigns the bits; what was offered stays."""
    master, side = await start(dut)
    for bits in range(1, 8):
        for phase_ps in PHASES_PS[::4]:
            side.received.clear()
            master.phase_ps = phase_ps
            await master.select()
            await master.transfer(b"\x12\xff", bits_of_last=bits)
            await settle(dut)
            assert dut.selected.value
            await master.deselect()
            await settle(dut)
            assert not dut.selected.value and not dut.rx_valid.value
            assert bytes(side.received) == b"\x12"
            side.received.clear()
            side.offer = [0x9B]
            cocotb.start_soon(side._send())
            await master.select()
            back = await master.transfer(b"\x34\x56\x78")
            await settle(dut)
            await master.deselect()
            assert bytes(side.received) == b"\x34\x56\x78"
            assert back == b"\0\0\x9b"


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def slow_reader(dut: Any) -> None:
    """rx_valid and rx_byte stay as they are until rx_ready, which may be just before the next byte."""
    master, side = await start(dut)
    dut.rx_ready.value = 0
    taken = bytearray()

    async def read() -> None:
        while True:
            await RisingEdge(dut.clk)
            if not dut.rx_valid.value:
                continue
            byte = int(dut.rx_byte.value)
            for _ in range(4):
                await RisingEdge(dut.clk)
                assert dut.rx_valid.value and int(dut.rx_byte.value) == byte
            dut.rx_ready.value = 1
            await RisingEdge(dut.clk)
            assert dut.rx_valid.value and int(dut.rx_byte.value) == byte
            taken.append(byte)
            dut.rx_ready.value = 0

    sent = random_bytes(200, 3)
    cocotb.start_soon(read())
    await settle(dut)
    for first in range(0, 200, 50):
        await master.select()
        await master.transfer(sent[first : first + 50])
        await settle(dut)
        await settle(dut)
        assert bytes(taken) == sent[: first + 50] and not dut.rx_valid.value
        await master.deselect()


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def nothing_left_over(dut: Any) -> None:
    """A byte taken but not clocked out is gone in the next frame."""
    master, side = await start(dut, b"\xaa\xbb")
    await master.select()
    await master.transfer(b"\x01")
    await settle(dut)
    await master.deselect()
    assert not side.offer
    await RisingEdge(dut.clk)
    dut.tx_valid.value = 0
    await settle(dut)
    await master.select()
    assert (await master.transfer(bytes(6))).count(0xAA) == 0


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def reset_in_flight(dut: Any) -> None:
    """Reset in the middle of a byte, with the clock stopped and running on: the next frame is whole."""
    for bits in range(1, 9):
        master, side = await start(dut)
        await master.select()
        await master.transfer(b"\x55\xc3", bits_of_last=bits)
        await reset(dut.clk, dut.rst)
        await master.deselect()
        await settle(dut)
        side.received.clear()
        await master.select()
        await master.transfer(b"\x9a\x65")
        await settle(dut)
        assert bytes(side.received) == b"\x9a\x65"
        await master.deselect()


def test_spi_bridge() -> None:
    run_cocotb("spi_bridge", ["level_synchroniser.sv", "spi_byte_crossing.sv", "spi_bridge.sv"], __file__)
