"""A stereo I2S codec at the pins, written from the Philips format alone, and a check of every edge.

Data and word clock change as the bit clock falls, the receiver samples as it rises, the most significant bit comes one
bit clock behind the word clock's edge, low word clock is the left channel. Used by the tests of
i2s_master and rig_core.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge

BITS = 24
SLOT_BITS = 32
MASK = (1 << BITS) - 1

Frame = tuple[int, int]


@dataclass
class Codec:
    """Collects what the DAC hears in `heard`; the ADC sends `to_send`, then what `idle_frame` says.

    A codec that wakes up in mid-frame cannot know where it is: both sides begin at the first falling word clock. The
    bits around the data (delay and padding) are noise on the ADC line, and must be 0 on the DAC line.
    """

    dut: Any
    to_send: list[Frame] = field(default_factory=list)
    idle_frame: Frame = (0, 0)
    heard: list[Frame] = field(default_factory=list)
    sent: list[Frame] = field(default_factory=list)
    loop: bool = False  # cable from DAC to ADC, one frame late

    def start(self) -> None:
        self._noise = random.Random(9)
        self.dut.i2s_adc_data.value = 1
        self._tasks = [cocotb.start_soon(self._dac()), cocotb.start_soon(self._adc())]

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _dac(self) -> None:
        """Samples as the bit clock rises. The slot of a bit is that of the word clock one bit before."""
        dut = self.dut
        slots: list[list[int]] = []
        before = None
        while True:
            await RisingEdge(dut.i2s_bclk)
            word, bit = int(dut.i2s_lrck.value), int(dut.i2s_dac_data.value)
            if slots:
                slots[-1].append(bit)
            if before is not None and word != before:
                if word == 0 and len(slots) == 2:
                    self._frame(slots)
                    slots = []
                if word == 0 or slots:
                    slots.append([])
            before = word

    def _frame(self, slots: Sequence[Sequence[int]]) -> None:
        samples = []
        for slot in slots:
            assert len(slot) == SLOT_BITS, f"slot of {len(slot)} bit clocks"
            assert not any(slot[BITS:]), f"padding is not 0: {slot}"
            samples.append(int("".join(map(str, slot[:BITS])), 2))
        self.heard.append((samples[0], samples[1]))

    async def _adc(self) -> None:
        dut = self.dut
        before = None
        frame: Frame | None = None
        position = 0
        while True:
            await FallingEdge(dut.i2s_bclk)
            word = int(dut.i2s_lrck.value)
            if before is not None and word != before:
                position = 0
                if word == 0:
                    if self.loop and self.heard:
                        frame = self.heard[-1]
                    else:
                        frame = self.to_send.pop(0) if self.to_send else self.idle_frame
                    self.sent.append(frame)
            else:
                position += 1
            before = word
            if frame is not None and 1 <= position <= BITS:
                dut.i2s_adc_data.value = frame[word] >> (BITS - position) & 1
            else:
                dut.i2s_adc_data.value = self._noise.getrandbits(1)


async def check_edges(dut: Any, clocks: int) -> int:
    """Look at each clock: the bit clock is clk / 4, all else changes as it falls. Returns the number of frames seen."""
    falling = FallingEdge(dut.clk)
    history: list[tuple[int, int, int]] = []
    for _ in range(clocks):
        await falling
        history.append((int(dut.i2s_bclk.value), int(dut.i2s_lrck.value), int(dut.i2s_dac_data.value)))
    last_rise = last_fall = last_word_edge = None
    frames = 0
    for index in range(1, clocks):
        (bclk_before, *rest_before), (bclk, *rest) = history[index - 1], history[index]
        if bclk and not bclk_before:
            assert last_rise is None or index - last_rise == 4, "bit clock period"
            last_rise = index
        if bclk_before and not bclk:
            assert last_rise is None or index - last_rise == 2, "bit clock duty"
            last_fall = index
        elif rest != rest_before:
            raise AssertionError(f"word clock or data moved away from the falling bit clock at clock {index}")
        if rest[0] != rest_before[0]:
            assert last_word_edge is None or index - last_word_edge == 128, "word clock period"
            last_word_edge = index
            frames += rest[0] == 0
    assert last_fall is not None, "bit clock stands still"
    return frames
