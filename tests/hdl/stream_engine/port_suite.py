"""The tests of stream_engine that hdl/mutate runs: at its ports, with 8 streams of up to 8 channels."""

# ruff: noqa: F403
from features import *
from test_stream_engine import *
