"""Slow rungs judge a part of the contract, unless --rule says which."""

from __future__ import annotations

import pytest

BARE_ENGINE = (
    "WC-STA-01", "WC-STA-02", "WC-STA-03", "WC-STA-04", "WC-STA-05", "WC-POS-03", "WC-POS-04", "WC-POS-05", "WC-FMT-04",
    "WC-PRT-01", "WP-STA-01", "WP-POS-01", "WP-POS-02", "WP-POS-04", "WP-AVL-01", "WP-SVC-01", "DMA-SLV-01",
    "DMA-SLV-02", "WRT-BUF-04", "WRT-BUF-05", "WRT-BUF-06", "WRT-POS-02", "WRT-POS-07", "WRT-STA-05", "WRT-FRE-02",
    "WRN-EVT-02", "WRN-REG-01", "WRI-PKT-01", "WRI-PKT-10", "WRO-CNT-01", "WRO-SWP-01", "WRO-SWP-03", "GEN-FMT-02",
)  # fmt: skip
"""Rules that need a running engine and little time of it."""

OF_HOST_OBJECTS = (
    "GEN-REF-01", "GEN-REF-02", "GEN-REF-03", "GEN-QIF-01", "GEN-STA-01", "GEN-STA-03", "SVC-ADD-01", "SVC-REQ-01",
    "DMA-BUF-01", "DMA-SIZ-01", "WC-NEW-01", "WC-NEW-03", "WC-NRM-01", "WC-FMT-02", "WP-NEW-01", "WP-MAP-02",
    "WRT-NEW-01", "WRT-NEW-02", "WRT-BUF-01", "WRT-STA-02", "WRN-REG-02", "WRO-SWP-06",
)  # fmt: skip

RUNGS = {"cocotb": BARE_ENGINE, "twin-rp2040": BARE_ENGINE + OF_HOST_OBJECTS}
"""What is judged where a simulated second takes many."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the other rules of a slow rung."""
    if config.getoption("--rule") or config.getoption("--interface"):
        return
    kept, left = [], []
    for item in items:
        params = item.callspec.params if hasattr(item, "callspec") else {}
        rules = RUNGS.get(params.get("board_name", ""))
        check = params.get("contract_check")
        (left if rules and check is not None and check.rule.id not in rules else kept).append(item)
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = kept
