"""The codec of rung_bench.sv as a bench of the board."""

from typing import Any

from cocotb.task import resume
from cocotb.triggers import ClockCycles

from codecrig.board import Bench

LONGEST_DELAY_FRAMES = 31


class CodecBench(Bench):
    """What is not set yet is a cable: gain 1, no offset, no delay."""

    reason = "the cocotb bench has a codec without noise, and nothing else"

    def __init__(self, model: Any, clock: Any) -> None:
        """`model`: codec_model.sv; `clock`: anything that runs. In the simulator's thread."""
        self._model = model
        self._clock = clock
        self._gain_q16 = 65536
        self._connected = True
        model.gain_q16.value = self._gain_q16
        model.dc_lsb.value = 0
        model.delay_frames.value = 0

    def has(self, capability: str) -> bool:
        return super().has(capability) or capability == "codec"

    def codec(
        self,
        *,
        gain_q16: int | None = None,
        noise_lsb: int | None = None,
        dc_lsb: int | None = None,
        delay_frames: int | None = None,
        connected: bool | None = None,
    ) -> None:
        if noise_lsb:
            raise self._missing("codec")
        if delay_frames is not None and not 0 <= delay_frames <= LONGEST_DELAY_FRAMES:
            raise ValueError(f"expected a delay of 0 to {LONGEST_DELAY_FRAMES} frames; found {delay_frames}")
        self._gain_q16 = self._gain_q16 if gain_q16 is None else gain_q16
        self._connected = self._connected if connected is None else connected
        gain = self._gain_q16 if self._connected else 0
        settings = {"gain_q16": gain, "dc_lsb": dc_lsb, "delay_frames": delay_frames}
        resume(self._set)({name: value for name, value in settings.items() if value is not None})

    async def _set(self, settings: dict[str, int]) -> None:
        """In the simulator."""
        for name, value in settings.items():
            handle = getattr(self._model, name)
            handle.value = value & ((1 << len(handle)) - 1)
        await ClockCycles(self._clock, 1)
