"""The registry of checks and saboteurs."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from codecrig.contract.rig import INTERFACES, Objects, Rig, load_class
from codecrig.contract.rules import Rule, all_rules

CheckFunction = Callable[[Rig], None]

CHECK_MODULES = (
    "generic",
    "service",
    "dma",
    "wavecyclic",
    "wavepci",
    "wavert",
    "wavert_notification",
    "wavert_packets",
    "midi",
    "dmus",
    "drm",
    "rtl",
)
"""Modules of checks in this package, and of saboteurs in `saboteurs/`, by group of rules."""


@dataclass(frozen=True, slots=True)
class Check:
    """How one rule is judged."""

    rule: Rule
    function: CheckFunction
    evidence_seconds: float
    """Stream time that the rule speaks of, if that is long; without --long a shorter span or preloaded counters."""

    @property
    def method(self) -> str:
        """The first line of the docstring."""
        return (self.function.__doc__ or "").strip().partition("\n")[0]


@dataclass(frozen=True, slots=True)
class Saboteur:
    """A defect, and the rules that must fail on it."""

    name: str
    kills: tuple[str, ...]
    description: str
    apply: Callable[[Objects], None]
    boards: tuple[str, ...]
    """Where it can be built in; empty: anywhere."""


_CHECKS: dict[str, Check] = {}
_SABOTEURS: dict[str, Saboteur] = {}


def check(rule: str, *, evidence_seconds: float = 0.0) -> Callable[[CheckFunction], CheckFunction]:
    """Register the function that judges `rule`. Its docstring's first line says how; it must exist."""
    if rule not in all_rules():
        raise ValueError(f"expected a rule of rules.toml, found {rule!r}")

    def register(function: CheckFunction) -> CheckFunction:
        if rule in _CHECKS:
            raise ValueError(f"{rule} has two checks: {_CHECKS[rule].function.__name__} and {function.__name__}")
        if not function.__doc__:
            raise ValueError(f"{rule}: {function.__name__} needs a docstring that says how it judges")
        _CHECKS[rule] = Check(all_rules()[rule], function, evidence_seconds)
        return function

    return register


def saboteur(*kills: str, boards: tuple[str, ...] = ()) -> Callable[[Callable[[Objects], None]],
                                                                   Callable[[Objects], None]]:  # fmt: skip
    """Register the function that builds a defect into the objects under test; the rules `kills` must fail then.

    Its name is the saboteur's, the first line of its docstring the description. A defect that needs a running board
    (RTL, pins) names the `boards` that have it.
    """
    for rule in kills:
        if rule not in all_rules():
            raise ValueError(f"expected a rule of rules.toml, found {rule!r}")

    def register(function: Callable[[Objects], None]) -> Callable[[Objects], None]:
        name = function.__name__.replace("_", "-")
        if name in _SABOTEURS:
            raise ValueError(f"two saboteurs are called {name}")
        description = (function.__doc__ or "").strip().partition("\n")[0]
        if not description or not kills:
            raise ValueError(f"saboteur {name} needs a docstring and at least one rule that it breaks")
        _SABOTEURS[name] = Saboteur(name, kills, description, function, boards)
        return function

    return register


@cache
def _load() -> None:
    for module in CHECK_MODULES:
        for where in (f"codecrig.contract.{module}", f"codecrig.contract.saboteurs.{module}"):
            if importlib.util.find_spec(where) is not None:
                importlib.import_module(where)


def all_checks() -> dict[str, Check]:
    """Every check by rule id, in the order of the table."""
    _load()
    return {rule: _CHECKS[rule] for rule in all_rules() if rule in _CHECKS}


def all_saboteurs() -> dict[str, Saboteur]:
    """Every saboteur by name."""
    _load()
    return dict(sorted(_SABOTEURS.items()))


def select(rules: Sequence[str] = (), interfaces: Sequence[str] = (), level: str | None = None) -> list[Check]:
    """Checks by rule id (or its beginning: a group, a topic), interface name and level; everything if nothing is named.

    Raises ValueError for a name that fits nothing.
    """
    checks = list(all_checks().values())
    for wanted, found in (
        (rules, lambda each, name: each.rule.id == name or each.rule.id.startswith(f"{name.rstrip('-')}-")),
        (interfaces, lambda each, name: each.rule.interface == name),
    ):
        for name in wanted:
            if not any(found(each, name) for each in all_checks().values()):
                raise ValueError(f"expected a rule, a group of rules or an interface of the table, found {name!r}")
        if wanted:
            checks = [each for each in checks if any(found(each, name) for name in wanted)]
    return [each for each in checks if level in (None, each.rule.level)]


def chosen_objects(miniport: str | None = None, saboteur_name: str | None = None) -> Objects:
    """The classes under test: ours, or a miniport `package.module:Class` of the user, or one with a defect.

    Raises ValueError with what was expected.
    """
    objects = Objects()
    if miniport is not None:
        try:
            made = load_class(miniport)
        except (ImportError, AttributeError) as error:
            raise ValueError(f"--miniport {miniport}: cannot be loaded: {error}") from error
        models = [name for name, where in INTERFACES.items() if issubclass(made, load_class(where))]
        if not models:
            raise ValueError(
                f"--miniport {miniport}: expected a class with one of the interfaces "
                f"{', '.join(where.partition(':')[2] for where in INTERFACES.values())}"
            )
        for name in models:
            objects.miniports[name] = made
    if saboteur_name is not None:
        if saboteur_name not in all_saboteurs():
            raise ValueError(f"--saboteur {saboteur_name}: expected one of {', '.join(all_saboteurs())}")
        all_saboteurs()[saboteur_name].apply(objects)
    return objects
