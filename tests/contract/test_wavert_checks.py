"""What the WaveRT checks say about objects that ours are not."""

import pytest

from codecrig.contract import Objects, Runner, Verdict, all_checks
from codecrig.contract.saboteurs.wavert import offer_register


@pytest.mark.parametrize("rule", ["WRT-PRG-01", "WRT-PRG-02", "WRT-PRG-03"])
def test_a_good_position_register_passes(rule: str) -> None:
    objects = Objects()
    offer_register(objects)
    with Runner.by_name("model", objects) as runner:
        result = runner.judge(all_checks()[rule])
    assert result.verdict is Verdict.PASSED, result.reason
