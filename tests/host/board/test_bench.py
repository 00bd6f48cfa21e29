"""The bench: what is missing says so, and the twin's channel is used as agreed."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from codecrig.board import Bench, BenchMissing, BoardError, TwinBench
from codecrig.board.bench import CAPABILITIES


class FakeControl:
    """Remembers calls and gives prepared answers."""

    def __init__(self, **answer: Any) -> None:
        self.answer = {"ok": True, **answer}
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        self.calls.append((operation, arguments))
        return self.answer


def test_an_empty_bench_has_nothing_and_says_so() -> None:
    bench = Bench()
    assert not any(bench.has(capability) for capability in CAPABILITIES)
    with pytest.raises(BenchMissing, match="bench capability `tap` is missing: this board's bench has no wiring"):
        bench.tap_start()
    with pytest.raises(ValueError, match="unknown bench capability 'tapp'; known: tap, inject"):
        bench.has("tapp")


def test_a_twin_offers_what_its_profile_lists() -> None:
    control = FakeControl()
    bench = TwinBench(control, ["cable"])
    assert bench.has("cable") and not bench.has("tap")
    bench.cable("swap")
    with pytest.raises(BenchMissing, match="`tap` is missing"):
        bench.tap_start()
    assert control.calls == [("cable", {"fault": "swap"})]


def test_tap_gives_frames_and_time() -> None:
    samples = np.array([[1 << 8, -(1 << 31)], [3 << 8, 4 << 8]], dtype=np.int32)
    control = FakeControl(samples=base64.b64encode(samples.astype("<i4").tobytes()).decode(), tick=99)
    bench = TwinBench(control)
    bench.tap_start()
    tap = bench.tap_read()
    bench.tap_stop()
    assert tap.first_ticks == 99 and np.array_equal(tap.samples, samples)
    assert control.calls == [("tap", {"action": action}) for action in ("start", "read", "stop")]


def test_inject_sends_interleaved_samples() -> None:
    control = FakeControl()
    TwinBench(control).inject(np.array([[1, 2], [3, -4]], dtype=np.int32))
    ((operation, arguments),) = control.calls
    assert operation == "inject"
    assert np.frombuffer(base64.b64decode(arguments["samples"]), dtype="<i4").tolist() == [1, 2, 3, -4]
    with pytest.raises(ValueError, match="frames by 2 channels"):
        TwinBench(control).inject(np.zeros(4, dtype=np.int32))


def test_trigger_codec_and_usb() -> None:
    control = FakeControl(out=True, out_edges=[5, 9])
    bench = TwinBench(control)
    wires = bench.trigger(True)
    assert wires.out and wires.out_edges_ticks == (5, 9)
    bench.trigger()
    bench.codec(gain_q16=100, connected=False)
    bench.usb(False)
    assert control.calls == [
        ("trigger", {"level": True}),
        ("trigger", {}),
        ("codec", {"gain_q16": 100, "connected": False}),
        ("usb", {"action": "unplug"}),
    ]
    with pytest.raises(ValueError, match="unknown cable fault 'cut'"):
        bench.cable("cut")


def test_a_refusal_is_an_error() -> None:
    control = FakeControl()
    control.answer = {"ok": False, "error": "no such line"}
    with pytest.raises(BoardError, match="the twin refused cable: no such line"):
        TwinBench(control).cable("open")


def test_statistics_are_the_status_without_its_ok() -> None:
    assert TwinBench(FakeControl(cycles=7)).statistics() == {"cycles": 7}
