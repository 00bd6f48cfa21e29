"""The record of which rules fail on which saboteur: it is complete and true, and unrelated rules stay green.

CI looks at other saboteurs with each commit, by setting CODECRIG_MUTATE_SEED; `make nightly` looks at all.
"""

import os
import random

import pytest
from failing import failing, models_of_rules, reach, record, saboteurs

from codecrig.contract import Saboteur, all_checks, all_rules

DRAWN = 6
SEED = int(os.environ.get("CODECRIG_MUTATE_SEED", "1"))
GROUPS_OF_MODELS = {
    "wavecyclic": {"GEN", "SVC", "DMA", "WC", "DRM"},
    "wavepci": {"GEN", "WP", "DRM"},
    "wavert": {"GEN", "WRT", "WRP", "WRN", "WRI", "WRO", "DRM", "SSK"},
    "midi": {"MID"},
    "dmus": {"MXF", "ALC", "SSK", "DMU"},
}
"""What a defect in a port or miniport of that model can reach. SSK-RND-04 plays through WaveRT."""


def test_every_saboteur_has_a_record_with_its_kills() -> None:
    found = record()
    assert list(found) == sorted(saboteurs())
    missing = {name: set(each.kills) - set(found[name]) for name, each in saboteurs().items()}
    assert {name: rules for name, rules in missing.items() if rules} == {}


@pytest.mark.xdist_group("models of rules")
def test_no_check_uses_a_model_that_is_not_of_its_group() -> None:
    wrong = {
        rule: models
        for rule, models in models_of_rules().items()
        if any(all_rules()[rule].group not in GROUPS_OF_MODELS[model] for model in models)
    }
    assert wrong == {}


@pytest.mark.xdist_group("models of rules")
def test_recorded_failures_are_within_reach() -> None:
    outside = {name: set(rules) - reach(saboteurs()[name]) for name, rules in record().items()}
    assert {name: rules for name, rules in outside.items() if rules} == {}


@pytest.mark.parametrize(
    "saboteur",
    [pytest.param(each, id=each.name) for each in random.Random(SEED).sample(list(saboteurs().values()), DRAWN)],
)
def test_the_whole_suite_fails_as_recorded(saboteur: Saboteur) -> None:
    assert failing(saboteur, all_checks(), SEED) == record()[saboteur.name], f"in the order of seed {SEED}"
