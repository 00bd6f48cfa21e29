"""No rule without a check, no check without a saboteur."""

import pytest

from codecrig.contract import all_checks, all_rules, all_saboteurs

JUDGED_GROUPS = (
    "GEN",
    "SVC",
    "DMA",
    "WC",
    "WP",
    "WRT",
    "WRP",
    "WRN",
    "WRI",
    "WRO",
    "MID",
    "MXF",
    "ALC",
    "SSK",
    "DMU",
    "DRM",
)
"""Groups that are judged in full."""


@pytest.mark.parametrize("group", JUDGED_GROUPS)
def test_every_rule_of_the_group_has_a_check(group: str) -> None:
    missing = [rule.id for rule in all_rules().values() if rule.group == group and rule.id not in all_checks()]
    assert missing == []


def test_every_check_has_a_saboteur() -> None:
    killed = {rule for saboteur in all_saboteurs().values() for rule in saboteur.kills}
    assert [rule for rule in all_checks() if rule not in killed] == []


def test_every_kill_has_a_check() -> None:
    kills = {rule for saboteur in all_saboteurs().values() for rule in saboteur.kills}
    assert kills <= set(all_checks())
