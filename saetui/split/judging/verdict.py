"""What a judging found: records without torch, as the run directory stores them and screens show them."""

from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any, get_args, get_origin, get_type_hints

from saetui.features.results import Context, FeatureActivation

CRITERIA = {
    1: "alone on the probe token",
    2: "top tokens follow the pattern",
    3: "boosted logits make sense",
    4: "silent on the contrasts",
    5: "its contexts belong together",
}
"""The four success criteria, as short as a screen needs them (DESIGN.md, section 3), and the one question
that is left for a child that was found without criteria."""
SILENT, TOGETHER = 4, 5
"""The one of which the number is to be small, and that of found children."""
CLOSE = 0.1
"""Share of its limit within which a number says little."""


@dataclass(frozen=True)
class PromptReading:
    """The probe token of one prompt: the child's activation there and the strongest of all features."""

    prompt: str
    """With its probe token marked « »."""
    child: float
    top: list[FeatureActivation]


@dataclass(frozen=True)
class ReadContext:
    context: Context
    on_token: bool
    """Whether the token is the target's token."""
    follows: bool
    """Whether the text before it follows the pattern."""


@dataclass(frozen=True)
class ReadLogit:
    token: str
    logit: float
    expected: bool


@dataclass(frozen=True)
class Evidence:
    """What stands beside a number: one line, and what it was counted from (empty where it does not apply)."""

    note: str
    prompts: list[PromptReading] = field(default_factory=list[PromptReading])
    contexts: list[ReadContext] = field(default_factory=list[ReadContext])
    logits: list[ReadLogit] = field(default_factory=list[ReadLogit])


@dataclass(frozen=True)
class CriterionResult:
    """One criterion for one child. ``number`` passes at or above ``threshold`` (criterion 4: at or below);
    None where it could not be computed, which never passes."""

    criterion: int
    number: float | None
    threshold: float
    passed: bool
    evidence: Evidence

    @property
    def close(self) -> bool:
        """Whether the number lies within ``CLOSE`` of its limit, on either side: to be looked at."""
        if self.number is None:
            return False
        return abs(self.number - self.threshold) <= CLOSE * abs(self.threshold) + 1e-9


@dataclass(frozen=True)
class ChildVerdict:
    """One expected child: the feature that was judged (None: nothing fires on its probe token)."""

    child: str
    feature: int | None
    criteria: list[CriterionResult]

    @property
    def passed(self) -> bool:
        return all(result.passed for result in self.criteria)


@dataclass(frozen=True)
class Judgement:
    """The automatic judge's reading of one encoder by one criteria file."""

    encoder: str
    criteria: str
    """The name of the criteria, and …"""
    source: str
    sha256: str
    token: str
    tokens_read: int
    """Held-out tokens that criterion 2 was counted over, BOS left out."""
    rows: str
    """Which rows they were: a name a person knows."""
    children: list[ChildVerdict]

    @property
    def passed(self) -> int:
        return sum(child.passed for child in self.children)

    def child(self, name: str) -> ChildVerdict | None:
        return next((child for child in self.children if child.child == name), None)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Judgement":
        """From what ``to_dict`` gave, through JSON or not; unknown keys (a later version's) are left out."""
        return _record(cls, values)


def _record(kind: Any, value: Any) -> Any:
    """The dataclass ``kind`` from plain values, nested dataclasses and lists of them included."""
    if get_origin(kind) is list:
        return [_record(get_args(kind)[0], item) for item in value]
    if hasattr(kind, "__dataclass_fields__"):
        hints = _hints(kind)
        return kind(**{k: _record(hints[k], v) for k, v in value.items() if k in hints})
    return value


@lru_cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)
