"""Both ends of the serial audio pins, written from the formats alone: DAC receiver, ADC sender, every edge.

The formats, as converters' data sheets give them (AK4619, SGTL5000, CS4344):

  I2S             64 bit clocks a frame, 2 slots of 32; word clock low = left; data one bit clock behind its edge
  LEFT_JUSTIFIED  64 bit clocks a frame, 2 slots of 32; word clock high = left; data with its edge
  TDM             128 bit clocks a frame, slots of 32 (or 16) bits; DSP mode A: the word clock is high for one bit
                  clock, data one bit clock behind its rising edge

Word clock and data out change as the bit clock falls and are taken as it rises. A sample has 24 bits (16 in a slot of
16), most significant first; what follows in its slot is 0 on the way out, noise on the way in.
"""

import random
from dataclasses import dataclass, field
from typing import Any

from bench import registers
from cocotb.triggers import FallingEdge

ConverterFormat = registers.ConverterFormat
BITS = 24
MASK = (1 << BITS) - 1

RATES = {rate: int(rate.name.removeprefix("CLOCKS_")) for rate in registers.ConverterRate}
"""Clocks a frame by code, from the names of the register table."""

Frame = tuple[int, ...]


@dataclass
class Layout:
    """What a format looks like at one rate."""

    format: int
    frame_clocks: int
    channels: int
    """Channels of the build."""

    def __post_init__(self) -> None:
        tdm = self.format == ConverterFormat.TDM
        self.frame_bits = 128 if tdm else 64
        self.slots = self.channels if tdm else 2
        self.slot_bits = self.frame_bits // self.slots
        self.sample_bits = min(BITS, self.slot_bits)
        clocks = self.frame_clocks // self.frame_bits
        self.bit_clock = (clocks - clocks // 2, clocks // 2)  # clocks low, clocks high

    def word_clock(self, position: int) -> int:
        """Its level while bit `position` is on the wires; the first bit of the first sample is 0."""
        if self.format == ConverterFormat.I2S:
            return int((position + 1) % 64 >= 32)
        if self.format == ConverterFormat.LEFT_JUSTIFIED:
            return int(position < 32)
        return int(position == 127)

    def starts(self, before: int, level: int) -> int | None:
        """Position of a bit that shows where frames begin, by its word clock and that of the bit before."""
        if self.format == ConverterFormat.I2S:
            return 63 if before and not level else None
        if self.format == ConverterFormat.LEFT_JUSTIFIED:
            return 0 if level and not before else None
        return 127 if level else None

    def carried(self, frame: Frame) -> Frame:
        """What arrives of a frame with all channels of the build: fewer of them, or fewer bits."""
        mask = MASK & ~(MASK >> self.sample_bits)
        return tuple(sample & mask for sample in frame[: self.slots]) + (0,) * (self.channels - self.slots)


@dataclass
class AudioPins:
    """A slave converter at the pins `i2s_*` of `dut`. Call `clock` once a clock, at its falling edge."""

    dut: Any
    layout: Layout
    to_send: list[Frame] = field(default_factory=list)
    """Frames for the ADC to send, then random ones."""
    heard: list[Frame] = field(default_factory=list)
    """Frames the DAC received whole."""
    sent: list[Frame] = field(default_factory=list)
    """Frames the ADC has begun to send."""

    def __post_init__(self) -> None:
        self.position: int | None = None  # of the last bit; None until the word clock has shown it
        self._random = random.Random(9)
        self._pins = (0, 0, 0)
        self._word_before = 0
        self._since_edge: int | None = None
        self._bits: list[int] = []
        self._sending = 0

    def clock(self) -> None:
        dut = self.dut
        pins = (int(dut.i2s_bclk.value), int(dut.i2s_lrck.value), int(dut.i2s_dac_data.value))
        (bit_clock_before, *others_before), (bit_clock, *others) = self._pins, pins
        fell = bit_clock_before and not bit_clock
        if self._since_edge is not None:
            assert others == others_before or fell, "word clock or data moved away from the falling bit clock"
            self._since_edge += 1
            limit = self.layout.bit_clock[bit_clock_before]
            if bit_clock != bit_clock_before:
                assert self._since_edge == limit, f"bit clock was {bit_clock_before} for {self._since_edge} clocks"
            else:
                assert self._since_edge < limit, f"bit clock stays {bit_clock}"
        if bit_clock != bit_clock_before:
            self._since_edge = 0
            if bit_clock:
                self._take_bit(*others)
            else:
                self._send_bit()
        self._pins = pins

    def _take_bit(self, word: int, bit: int) -> None:
        layout = self.layout
        if self.position is None:
            self.position = layout.starts(self._word_before, word)
            if self.position == 0:
                self._bits = [bit]
        else:
            self.position = (self.position + 1) % layout.frame_bits
            assert word == layout.word_clock(self.position), f"word clock is {word} at bit {self.position}"
            self._bits = [bit] if self.position == 0 else [*self._bits, bit]
            if len(self._bits) == layout.frame_bits:
                self._frame_complete()
        self._word_before = word

    def _frame_complete(self) -> None:
        frame = []
        for slot in range(self.layout.slots):
            bits = self._bits[slot * self.layout.slot_bits : (slot + 1) * self.layout.slot_bits]
            data, padding = bits[: self.layout.sample_bits], bits[self.layout.sample_bits :]
            assert not any(padding), f"padding of slot {slot}: {padding}"
            frame.append(int("".join(map(str, data)), 2) << (BITS - self.layout.sample_bits))
        self.heard.append(tuple(frame) + (0,) * (self.layout.channels - self.layout.slots))

    def _send_bit(self) -> None:
        layout = self.layout
        value = self._random.getrandbits(1)
        if self.position is not None:
            position = (self.position + 1) % layout.frame_bits
            if position == 0:
                drawn = tuple(self._random.getrandbits(BITS) for _ in range(layout.channels))
                frame = self.to_send.pop(0) if self.to_send else drawn
                self.sent.append(layout.carried(frame))
            slot, bit = divmod(position, layout.slot_bits)
            if self.sent and bit < layout.sample_bits:
                value = self.sent[-1][slot] >> (BITS - 1 - bit) & 1
        self.dut.i2s_adc_data.value = value

    async def run(self, clocks: int) -> None:
        """For benches that have nothing else to do at each clock."""
        for _ in range(clocks):
            await FallingEdge(self.dut.clk)
            self.clock()
