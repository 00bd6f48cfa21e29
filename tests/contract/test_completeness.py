"""No rule without a check, no check without a saboteur."""

from codecrig.contract import all_checks, all_rules, all_saboteurs


def test_every_rule_has_a_check() -> None:
    assert list(all_checks()) == list(all_rules())
    assert len(all_rules()) == 247


def test_every_check_has_a_saboteur() -> None:
    killed = {rule for saboteur in all_saboteurs().values() for rule in saboteur.kills}
    assert [rule for rule in all_checks() if rule not in killed] == []


def test_every_kill_has_a_check() -> None:
    kills = {rule for saboteur in all_saboteurs().values() for rule in saboteur.kills}
    assert kills <= set(all_checks())
