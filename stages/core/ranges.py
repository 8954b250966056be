"""What a setting may be, said where it is declared: `max_looks: int = ranged(4, low=1)`.

A number without a range of its own has that of its name's unit, and may not be negative where the name has none.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import Field, dataclass, field, fields, is_dataclass
from typing import Any

_RULE = "rule"


@dataclass(frozen=True)
class Rule:
    """What a value may be.

    Args:
        low, high: bounds that belong to the range.
        open_low: `low` itself does not.
        choices: words; none for a number.
        at_most: name of a setting beside it that may not be smaller.
    """

    low: float = 0.0
    high: float = math.inf
    open_low: bool = False
    choices: tuple[str, ...] = ()
    at_most: str | None = None

    def __str__(self) -> str:
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        low = f"above {self.low:g}" if self.open_low else f"at least {self.low:g}"
        return low if math.isinf(self.high) else f"{low} and at most {self.high:g}"

    def fault(self, value: Any) -> str | None:
        """What is wrong with a value, or None; a value that is neither word nor number is always right."""
        if self.choices:
            return None if value in self.choices else f"must be {self}"
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        above = value > self.low if self.open_low else value >= self.low
        if math.isfinite(value) and above and value <= self.high:
            return None
        return f"must be {self}" if self.open_low or math.isfinite(self.high) else f"must be {self}, and finite"


SHARE, AT_LEAST_ONE = Rule(high=1.0), Rule(low=1.0)
ENDINGS = {
    **dict.fromkeys(("_ratio", "_share", "_prob", "_conf", "_margin"), SHARE),
    **dict.fromkeys(("_bytes", "every_frames", "every_steps"), AT_LEAST_ONE),
    "_sim": Rule(low=-1.0, high=1.0),
    "_deg": Rule(high=180.0),
}
"""Ranges that follow from how a name ends. No ending is the end of another."""


def ranged(
    default: Any,
    *,
    low: float = 0.0,
    above: float | None = None,
    high: float = math.inf,
    at_most: str | None = None,
) -> Any:
    """A number in a range: from `low`, or everything above `above`, up to `high` and to the setting `at_most`."""
    rule = Rule(low if above is None else above, high, above is not None, at_most=at_most)
    return field(default=default, metadata={_RULE: rule})


def one_of(default: str, *others: str) -> Any:
    """One word of a few."""
    return field(default=default, metadata={_RULE: Rule(choices=(default, *others))})


def rule_of(setting: Field[Any]) -> Rule:
    """What a setting may be."""
    if _RULE in setting.metadata:
        return setting.metadata[_RULE]
    if setting.name.startswith("num_"):
        return AT_LEAST_ONE
    return next((rule for ending, rule in ENDINGS.items() if setting.name.endswith(ending)), Rule())


def settings_of(config: Any, prefix: str = "") -> Iterator[tuple[str, Any, Field[Any], Any]]:
    """Every setting of a tree of dataclasses: its key, its value, its field, and the dataclass that it stands in."""
    for setting in fields(config):
        value, key = getattr(config, setting.name), f"{prefix}{setting.name}"
        if is_dataclass(value):
            yield from settings_of(value, f"{key}.")
        elif isinstance(value, dict):
            for name, part in value.items():
                yield from settings_of(part, f"{key}.{name}.")
        else:
            yield key, value, setting, config


def faults_of(config: Any) -> list[str]:
    """What is wrong with a tree of settings, each by its key."""
    faults = []
    for key, value, setting, owner in settings_of(config):
        rule = rule_of(setting)
        if fault := rule.fault(value):
            faults.append(f"{key}={value} {fault}")
        if rule.at_most is not None and value > (most := getattr(owner, rule.at_most)):
            faults.append(f"{key}={value} is above {key.removesuffix(setting.name)}{rule.at_most}={most}")
    return faults
