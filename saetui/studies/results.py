"""What came out of a study, as records: per run, over seeds, and the two questions that the seed left open.
Without torch, for screens, the shell and exports alike; ``saetui.studies.report`` fills them in."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import mean, median
from typing import TYPE_CHECKING, Any

from saetui.runs.cost import Cost
from saetui.studies.cells import Cell
from saetui.studies.status import CellState

if TYPE_CHECKING:
    from saetui.studies.targets import TargetResult

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
class Found:
    """What the split report found where no criteria say what to expect: its word (split, partly, unsplit,
    absorbed, lost) and the reason, how many children, their effective number and coverage."""

    kind: str
    why: str
    children: int
    effective: float | None
    coverage: float | None


@dataclass(frozen=True)
class CellResult:
    """One run of the study. None: not known (yet), or does not apply."""

    cell: Cell
    run: str | None
    state: CellState
    message: str | None = None
    passed: int | None = None
    """Expected children for which all criteria hold, of …"""
    children: int | None = None
    missing: tuple[str, ...] = ()
    """The others' names."""
    failed: dict[int, int] = field(default_factory=dict[int, int])
    """By criterion: of how many expected children it does not hold."""
    by: str | None = None
    """Whose verdict: the judge's, a person's, or both."""
    found: Found | None = None
    """Where there are no criteria, or the study has several targets."""
    f1: dict[str, float] = field(default_factory=dict[str, float])
    """By child, at the last evaluation: ``saetui.split.judging.child_f1``."""
    fvu: float | None = None
    l0: float | None = None
    ce_recovered: float | None = None
    dead: float | None = None
    """Share of features."""
    kept: float | None = None
    """Share of the tokens read that the filter kept."""
    cost: Cost | None = None

    @property
    def success(self) -> bool | None:
        """Whether the target was split: every expected child found or, without criteria, ``split``."""
        if self.children is not None:
            return self.passed == self.children
        return self.found.kind == "split" if self.found else None

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
    failed: dict[int, int]
    """By criterion: of how many expected children it does not hold, over all seeds."""
    found: Over | None
    """Children that the split report found."""
    effective: Over | None
    f1: dict[str, Over]
    mean_f1: Over | None
    fvu: Over | None
    l0: Over | None
    ce_recovered: Over | None
    dead: Over | None
    tokens: Over | None
    tokens_read: Over | None
    tokens_computed: Over | None
    busy_s: Over | None


@dataclass(frozen=True)
class CurvePoint:
    """Split quality at one evaluation. ``mean_f1``: over the expected children; ``passed``: how many of them
    the judge found; ``leaders``: how many different features other than the target lead on the ``prompts``
    probe prompts. Seconds of the language model's part and of the steps until then: CPU time, or wall time
    on a GPU."""

    tokens: int
    tokens_read: int | None
    lm_seconds: float | None
    step_seconds: float | None
    mean_f1: float | None
    passed: int | None
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
class Sample:
    """Split quality after so many tokens, over seeds."""

    tokens: int
    tokens_read: Over | None
    mean_f1: Over | None
    passed: Over | None


@dataclass(frozen=True)
class FilterResult:
    """What one kind of data and initialisation costs and brings, with one ``loss``.

    ``kept``: share of the tokens read that passed the filter (``mixed`` keeps all and draws more of some).
    ``tokens`` were trained on, of ``tokens_read`` of the corpus: so many forwards a run of its own pays.
    ``tokens_computed``: those that it did pay here, where an earlier run's activations may have been at hand.
    ``seconds``: of a run of its own: its steps, and every token read at the pace at which this study's runs
    computed them (CPU time, or wall time on a GPU).

    ``to_split`` and ``read_to_split``: tokens until the judge found every expected child, at that evaluation
    and every later one, in the ``successes``. ``to_match``, ``read_to_match``, ``seconds_to_match``: until
    the mean F1 first reached ``MATCH`` of ``reference``, the median of filtered data with narrow
    initialisation at the end; in ``matched`` of ``runs`` it did.
    """

    target: int
    loss: str
    data: str
    init: str
    runs: int
    judged: int
    successes: int
    children: int | None
    passed: Over | None
    mean_f1: Over | None
    kept: Over | None
    tokens: Over | None
    tokens_read: Over | None
    tokens_computed: Over | None
    seconds: Over | None
    to_split: Over | None
    read_to_split: Over | None
    reference: float | None
    matched: int
    to_match: Over | None
    read_to_match: Over | None
    seconds_to_match: Over | None
    course: tuple[Sample, ...]
    """At every evaluation that all its finished runs had."""


@dataclass(frozen=True)
class EffectResult:
    """Two values of one axis, compared in pairs of finished runs that are alike in all else, the seed
    included: in how many of ``pairs`` the ``second`` found more expected children than the ``first`` (where
    nothing says what to expect: children), as many, or fewer, and by how much its mean F1 and FVU were
    higher. ``p_value``: of more against fewer, by the two-sided sign test, as if pairs were independent, not
    corrected for the number of comparisons; None where there is neither."""

    target: int
    axis: str
    first: str
    second: str
    pairs: int
    more: int
    same: int
    fewer: int
    p_value: float | None
    mean_f1: Over | None
    fvu: Over | None


@dataclass(frozen=True)
class ReplacingResult:
    """The target on one probe prompt, over the seeds of a row: in how many ``runs`` it ``led`` at first, in
    how many of these it was ``overtaken`` for good, and after how many tokens that happened (``first``,
    ``for_good``)."""

    row: str
    target: int
    prompt: str
    token: str
    runs: int
    led: int
    overtaken: int
    first: Over | None
    for_good: Over | None
    settled: Over | None
    """Tokens since which the last leader led without interruption, in the runs in which it is another."""
    by: tuple[int, ...]
    """The feature that leads at the end, seed by seed."""


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
    effects: tuple[EffectResult, ...]
    """Of every axis of which two values were tried with all else alike."""
    replacing: tuple[ReplacingResult, ...]
    """Of the prompts on which a target led at first; empty unless an SAE has a target of its own."""
    targets: "tuple[TargetResult, ...]" = ()
    """Empty unless the study has several."""
