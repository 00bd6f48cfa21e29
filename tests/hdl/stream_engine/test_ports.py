"""stream_engine: what all of its streams have in common."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from bench import run_cocotb  # noqa: E402


def test_ports() -> None:
    """In the build of the features."""
    parameters = {"STREAMS": 8, "MAX_CHANNELS": 8, "TEST_EN": 1}
    sources = ["ram_1r1w.sv", "stream_engine.sv", HERE / "engine_bench.sv"]
    run_cocotb("engine_bench", sources, HERE / "ports.py", parameters, build_name="stream_engine_features")
