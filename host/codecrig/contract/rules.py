"""The rules of the contract: data, read from rules.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

GROUPS = {
    "GEN": "all models: references, states, contexts, position quality",
    "SVC": "service groups",
    "DMA": "DMA channels",
    "WC": "WaveCyclic",
    "WP": "WavePci",
    "WRT": "WaveRT",
    "WRP": "WaveRT page services",
    "WRN": "WaveRT notification",
    "WRI": "WaveRT packet input",
    "WRO": "WaveRT packet output",
    "MID": "MIDI",
    "MXF": "DirectMusic transports",
    "ALC": "DirectMusic allocator",
    "SSK": "synthesizer sinks",
    "DMU": "DirectMusic port",
    "DRM": "digital rights",
}
"""Groups in the order of the report, with what they are about."""

WAVE_GROUPS = ("GEN", "SVC", "DMA", "WC", "WP", "WRT", "WRP", "WRN", "WRI", "WRO")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: see the head of rules.toml for the fields."""

    id: str
    interface: str
    method: str
    party: str
    level: str
    observe: str
    statement: str
    source: str
    open: str = ""

    @property
    def group(self) -> str:
        """The part of the id before the first hyphen."""
        return self.id.partition("-")[0]


@cache
def all_rules() -> dict[str, Rule]:
    """Every rule by id, in the order of the table."""
    text = resources.files("codecrig.contract").joinpath("rules.toml").read_text(encoding="utf-8")
    return {each["id"]: Rule(**each) for each in tomllib.loads(text)["rule"]}
