"""What CocotbLink promises, over the SPI pins of rig_core and over its word bus (then word_port.sv stands in it)."""

from collections.abc import Callable
from typing import Any

import cocotb
import example_bench
from bench import random_bytes, reset, start_clock
from cocotb.task import bridge
from cocotb.triggers import ClockCycles

from codecrig.board import Board, open_board
from codecrig.link import LinkError, Request, Status
from codecrig.link import registers as regs
from codecrig.link.cocotb import CocotbLink, Front, SpiFront, SpiPins, WordFront, offer
from codecrig.link.registers import Cause, Operation

POLL_TICKS = 123
"""WordFront's poll interval of 10 us."""


def over_words(dut: Any) -> bool:
    return hasattr(dut.parser, "ask")


async def start(dut: Any) -> Front:
    if over_words(dut):
        return await example_bench.start(dut)
    start_clock(dut.clk)
    dut.trigger_in.value = 0
    dut.i2s_adc_data.value = 0
    pins = SpiPins(sck=dut.spi_sck, cs_n=dut.spi_cs_n, mosi=dut.spi_mosi, miso=dut.spi_miso, attention=dut.attention)
    await reset(dut.clk, dut.rst)
    await ClockCycles(dut.clk, 128)
    return SpiFront(pins)


async def with_board(dut: Any, body: Callable[[Board], None], **options: Any) -> None:
    def host_code() -> None:
        with open_board("cocotb", **options) as board:
            body(board)

    with offer(await start(dut)):
        await bridge(host_code)()


def caught(call: Callable[[], object]) -> str:
    """The words of the LinkError that `call` must raise."""
    try:
        call()
    except LinkError as error:
        return str(error)
    raise AssertionError("no LinkError")


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def memory_and_identity(dut: Any) -> None:
    def body(board: Board) -> None:
        assert board.identity().bridge_version is None
        assert board.identity().audio_memory_bytes == regs.AUDIO_MEMORY_BYTES
        data = random_bytes(40, 3)
        board.write_memory(0x100, data)
        for offset, length in ((0, 1), (1, 2), (3, 3), (2, 9), (7, 1)):
            part = random_bytes(length, offset)
            data = data[:offset] + part + data[offset + length :]
            board.write_memory(0x100 + offset, part)
            assert board.read_memory(0x100 + offset, length) == part
            assert board.read_memory(0x100, 40) == data
        # longer than one request
        long = random_bytes(1300, 4)
        board.write_memory(0x1001, long)
        assert board.read_memory(0x1001, 1300) == long

    await with_board(dut, body)


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def host_time_differs_by_clock_ppm(dut: Any) -> None:
    def body(board: Board) -> None:
        fit = board.clock.fit(span_s=0.004, points=8)
        # 81380 ps is 2.6 ppm short of a period; half a tick in 4 ms is 10 ppm
        assert abs(fit.ppm(board.clock.rate) - 20_002.6) < 20, fit

    await with_board(dut, body, clock_ppm=20_000.0)


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def refusals(dut: Any) -> None:
    """Those of docs/wire.md, in its order of testing."""
    expected = (
        (Request(Operation.READ, regs.FPGA_ID, 0), Status.BAD_LENGTH),
        (Request(Operation.READ, 0x9000_0001, 0), Status.BAD_LENGTH),
        (Request(Operation.WAIT, 0, 4), Status.BAD_LENGTH),
        (Request.read(regs.AUDIO_MEMORY_BYTES, 1), Status.UNMAPPED),
        (Request.read(regs.AUDIO_MEMORY_BYTES - 1, 2), Status.UNMAPPED),
        (Request.read(0x9000_0001, 3), Status.UNMAPPED),
        (Request.read(regs.FPGA_ID + 2, 6), Status.MISALIGNED),
        (Request.read(regs.FPGA_ID, 6), Status.BAD_LENGTH),
        (Request.read(regs.FPGA_BASE + 0xFC, 8), Status.UNMAPPED),
        (Request.write(regs.EVENT_RING_BASE + regs.EVENT_RING_BYTES - 4, bytes(8)), Status.UNMAPPED),
        (Request.write(regs.STREAM_BASE + 0xFFC, bytes(8)), Status.UNMAPPED),
        (Request.read(regs.BRIDGE_ID, 4), Status.UNMAPPED),
        (Request.read(regs.FPGA_ID, 4), Status.OK),
    )

    def body(board: Board) -> None:
        replies = board.link.exchange([request for request, _ in expected])
        assert [reply.status for reply in replies] == [status for _, status in expected]
        assert replies[-1].data == regs.FPGA_ID_RESET.to_bytes(4, "little")

    await with_board(dut, body)


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def wait_ends_at_its_deadline_or_at_an_event(dut: Any) -> None:
    def body(board: Board) -> None:
        for ticks in (1, 1000, 12_288):
            deadline = board.clock.now() + ticks
            wait, read = Request.wait(deadline), Request.read(regs.FPGA_TIME_LO, 4)
            reply = board.link.exchange([wait, read])[1]
            assert 0 <= int.from_bytes(reply.data, "little") - deadline < 450
        assert board.link.exchange([Request.wait(deadline - 5)])[0].status is Status.OK  # long past
        seen = []
        board.events.subscribe(None, seen.append)
        at = board.clock.now() + 12_288
        board.write_register(regs.FPGA_ALARM_TIME, at & 0xFFFFFFFF)
        board.write_register(regs.FPGA_EVENT_ENABLE, 1 << regs.FPGA_EVENT_ENABLE_TIMER_LSB)
        board.write_register(regs.FPGA_ALARM_CONTROL, 1)
        board.link.exchange([Request.wait(at + 100_000)])
        assert board.poll() == 1
        assert seen[0].cause is Cause.TIMER and 0 <= seen[0].time_ticks - at <= 2
        # `poll` reads time first of all
        assert board.events.time_ticks - at < (POLL_TICKS if over_words(dut) else 0) + 450

    await with_board(dut, body)


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def a_dead_design_is_a_link_error(dut: Any) -> None:
    front = await start(dut)
    link = CocotbLink(front)
    dut.rst.value = 1
    words = "no ack from 0x40000000 within 10 us" if over_words(dut) else "0x00 for"
    said = await bridge(lambda: caught(lambda: link.exchange([Request.read(regs.FPGA_ID, 4)])))()
    assert "READ 0x40000000 of 4 bytes" in said and words in said and "next step" in said, said


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def what_a_user_does_wrong(dut: Any) -> None:
    link = CocotbLink(await start(dut))
    assert "cocotb.task.bridge" in caught(lambda: link.exchange([Request.read(regs.FPGA_ID, 4)]))
    link.close()
    assert "a closed one" in await bridge(lambda: caught(lambda: link.exchange([])))()

    class ShortBus:
        async def read(self, address: int, length: int) -> bytes:
            return bytes(length - 1)

        async def write(self, address: int, data: bytes) -> None: ...

    short = CocotbLink(WordFront(ShortBus()))
    said = await bridge(lambda: caught(lambda: short.exchange([Request.read(0, 4)])))()
    assert "4 bytes from READ 0x00000000" in said and "found 3" in said, said

    class StoppedClock(ShortBus):
        async def read(self, address: int, length: int) -> bytes:
            return bytes(length)

    stopped = CocotbLink(WordFront(StoppedClock()))
    said = await bridge(lambda: caught(lambda: stopped.exchange([Request.wait(5000)])))()
    assert "board time to count" in said, said
