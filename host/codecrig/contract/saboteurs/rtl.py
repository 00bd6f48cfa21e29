"""Defects of the RTL, where they would happen: codecrig/twin/defects.py builds them into a twin."""

from __future__ import annotations

from codecrig.contract.checks import saboteur
from codecrig.contract.rig import Objects
from codecrig.twin.defects import DEFECTS, Defect

KILLS = {
    "position-a-frame-ahead": ("WRT-POS-01", "WC-STA-03", "WP-POS-02"),
    "snapshot-keeps-old-bytes": ("WRT-POS-04", "WC-POS-05", "WP-POS-03"),
    "capture-ends-a-word-early": ("WRI-PKT-03", "WRI-PKT-07"),
    "capture-writes-whole-words": ("WP-MAP-06", "WP-FRM-02"),
    "revocation-leaves-what-was-read": ("WP-RVK-03",),
    "pause-empties-the-fifo": ("WP-STA-02",),
    "every-missed-frame-counts": ("WRT-STA-05", "WP-POS-02"),
    "end-of-stream-is-a-gap": ("WRO-SWP-09",),
    "no-silence-behind-the-end": ("WRO-SWP-09",),
    "left-and-right-swapped": ("WRT-STA-03", "WP-STA-01"),
    "events-get-lost": ("WRN-EVT-03", "WRI-PKT-10"),
    "causes-cannot-be-cleared": ("WC-PRT-01",),
    "monitor-counts-no-writes": ("WC-STA-01", "WC-STA-04"),
}
"""Rules that must fail, by defect: those on which it does not depend on the moment. Others may fail, too."""


def _register(defect: Defect) -> None:
    def build_in(objects: Objects) -> None:
        objects.defect = defect.name

    build_in.__name__ = f"rtl_{defect.name}"
    build_in.__doc__ = defect.description
    saboteur(*KILLS[defect.name], boards=("twin",))(build_in)


for _each in DEFECTS:
    _register(_each)
