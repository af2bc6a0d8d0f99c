"""What came out of a study, as records: per run, over seeds, and the two questions that the seed left open.
Without torch, for screens, the shell and exports alike; ``saetui.studies.report`` fills them in."""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import mean, median
from typing import Any

from saetui.runs.cost import Cost
from saetui.studies.cells import Cell
from saetui.studies.status import CellState

MATCH = 0.95
"""A run matches a split quality from this share of it on."""


@dataclass(frozen=True)
class Over:
    """A number over ``n`` seeds."""

    median: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> "Over | None":
        """Of those that are not None; None where there is none."""
        known = [value for value in values if value is not None]
        return cls(median(known), min(known), max(known), len(known)) if known else None


@dataclass(frozen=True)
class CellResult:
    """One run of the study. None: not known (yet), or does not apply."""

    cell: Cell
    run: str | None
    state: CellState
    message: str | None
    passed: int | None
    """Expected children for which all criteria hold, of …"""
    children: int | None
    missing: tuple[str, ...]
    """The others' names."""
    by: str | None
    """Whose verdict: the judge's, a person's, or both."""
    split: str | None
    """The word of the split report, where there are no criteria: split, partly, unsplit, absorbed, lost."""
    f1: dict[str, float]
    """By child, at the last evaluation: ``saetui.split.child_f1``."""
    fvu: float | None
    l0: float | None
    ce_recovered: float | None
    dead: float | None
    """Share of features."""
    cost: Cost | None

    @property
    def success(self) -> bool | None:
        """Whether the target was split: every expected child found or, without criteria, ``split``."""
        if self.children is not None:
            return self.passed == self.children
        return self.split == "split" if self.split else None

    @property
    def mean_f1(self) -> float | None:
        return mean(self.f1.values()) if self.f1 else None


@dataclass(frozen=True)
class RowResult:
    """A row of the study, for one target, over its seeds. ``finished`` of ``runs`` are; ``successes`` of
    ``judged`` split the target."""

    row: str
    purpose: str
    target: int
    recipe: dict[str, Any]
    """Of the first seed."""
    seeds: tuple[int, ...]
    runs: int
    finished: int
    judged: int
    successes: int
    passed: Over | None
    children: int | None
    f1: dict[str, Over]
    mean_f1: Over | None
    fvu: Over | None
    l0: Over | None
    ce_recovered: Over | None
    dead: Over | None
    tokens: Over | None
    tokens_read: Over | None
    tokens_computed: Over | None
    wall_s: Over | None


@dataclass(frozen=True)
class CurvePoint:
    """Split quality at one evaluation. ``mean_f1``: over the expected children; ``leaders``: how many
    different features other than the target lead on the ``prompts`` probe prompts."""

    tokens: int
    tokens_read: int | None
    seconds: float | None
    mean_f1: float | None
    leaders: int
    prompts: int
    fvu: float


@dataclass(frozen=True)
class QualityCurve:
    """Of one run, for a plot."""

    cell: str
    row: str
    target: int
    seed: int
    points: tuple[CurvePoint, ...]


@dataclass(frozen=True)
class FilterResult:
    """What one kind of data and initialisation costs and brings, the loss being standard.

    ``to_match``: tokens trained on, ``read_to_match``: tokens read, ``seconds_to_match``: seconds of reading,
    forwards, filter and steps, until the mean F1 first reached ``MATCH`` of ``reference``, which is the
    median of filtered data with narrow initialisation at the end; in ``matched`` of ``runs`` it did.
    """

    target: int
    data: str
    init: str
    runs: int
    judged: int
    successes: int
    mean_f1: Over | None
    tokens: Over | None
    tokens_read: Over | None
    tokens_computed: Over | None
    wall_s: Over | None
    reference: float | None
    matched: int
    to_match: Over | None
    read_to_match: Over | None
    seconds_to_match: Over | None


@dataclass(frozen=True)
class ReplacingResult:
    """The target on one probe prompt, over the seeds of a row: in how many runs it ``led`` at first and was
    ``overtaken`` for good, and after how many tokens that happened (``first``, ``for_good``)."""

    row: str
    target: int
    prompt: str
    token: str
    runs: int
    led: int
    overtaken: int
    first: Over | None
    for_good: Over | None
    by: tuple[int, ...]
    """The feature that overtook it for good, seed by seed."""


@dataclass(frozen=True)
class StudyReport:
    name: str
    title: str
    kind: str
    setup: dict[str, Any]
    cells: tuple[CellResult, ...]
    rows: tuple[RowResult, ...]
    curves: tuple[QualityCurve, ...]
    filtering: tuple[FilterResult, ...]
    """Empty unless the study has both kinds of data, or both initialisations."""
    replacing: tuple[ReplacingResult, ...]
    """Empty unless an SAE of the study has a target of its own."""
