"""stream_engine with 8 streams and up to 8 channels; run by test_stream_engine.py."""

from typing import Any

import cocotb
from harness import CONTROL, DESCRIPTOR_EVENT, OVERRUNS, RUN, UNDERRUNS, EngineBench, make_ring
from scoreboard import StreamSetup


@cocotb.test()
@cocotb.parametrize(channels=[3, 4, 6, 8])
async def many_channels(dut: Any, channels: int) -> None:
    """Frames of up to 32 bytes, render and capture, with slow memory."""
    bench = EngineBench(dut)
    for sample_bytes in (2, 3, 4):
        await bench.start(latency=1 if channels == 8 else 3, stall=True)
        block = sample_bytes * channels
        setups = [
            StreamSetup(stream, capture, sample_bytes, channels, 0x1_0000 + 0x400 * stream,
                        make_ring(bench.random, 0x1001 * (stream + 1), (5, 3 * block + 1, 64, 2 * block)))
            for stream, capture in ((2, False), (7, True))
        ]  # fmt: skip
        await bench.load(setups)
        dut.tick_enable.value = 1
        for setup in setups:
            await bench.write(setup.stream, CONTROL, RUN)
        await bench.clocks(40 * 256)
        await bench.finish(setups, frames_at_least=38)


@cocotb.test()
@cocotb.parametrize(latency=[1, 2, 4], sample_bytes=[2, 3, 4])
async def eight_stereo_streams(dut: Any, latency: int, sample_bytes: int) -> None:
    """Eight stereo streams, half of them capture, at odd addresses and 256 clocks a frame: nothing is missed."""
    bench = EngineBench(dut)
    await bench.start(latency=latency)
    setups = [
        StreamSetup(stream, stream % 2 == 1, sample_bytes, 2, 0x1_0000 + 0x400 * stream,
                    make_ring(bench.random, 0x1801 * (stream + 1), (480, 960, 479)))
        for stream in range(8)
    ]  # fmt: skip
    await bench.load(setups)
    dut.tick_enable.value = 1
    for setup in setups:
        await bench.write(setup.stream, CONTROL, RUN)
    await bench.clocks(302 * 256)
    log = await bench.finish(setups, frames_at_least=298)
    assert {event.cause for event in log.events} == {DESCRIPTOR_EVENT}
    for setup in setups:
        assert await bench.read(setup.stream, OVERRUNS if setup.capture else UNDERRUNS) == 0
    dut._log.info("8 streams of %d bytes, latency %d: service %d clocks", sample_bytes, latency, log.service_clocks())
    assert log.service_clocks() <= 250
