"""Figures from arrays: alignment, exact comparison, delay, position rate and jitter, tones and noise.

Nothing here knows a board, a stream or a file. Samples are arrays with one row for each frame; each figure has a
test against a signal whose answer is known by formula.
"""

from codecrig.measure.alignment import Alignment, Delay, align_exact, find_delay
from codecrig.measure.comparison import Comparison, Defect, FirstBadFrame, compare_exact
from codecrig.measure.position import PositionFit, PositionSample, fit_positions
from codecrig.measure.tone import Tone, analyse_tone, level_dbfs, spectrum_dbfs
from codecrig.measure.transfer import Transfer, compare_analog

__all__ = [
    "Alignment",
    "Comparison",
    "Defect",
    "Delay",
    "FirstBadFrame",
    "PositionFit",
    "PositionSample",
    "Tone",
    "Transfer",
    "align_exact",
    "analyse_tone",
    "compare_analog",
    "compare_exact",
    "find_delay",
    "fit_positions",
    "level_dbfs",
    "spectrum_dbfs",
]
