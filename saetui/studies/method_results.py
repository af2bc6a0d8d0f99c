"""What two studies of the same targets with different methods came to: records, over seeds and targets.
Without torch; ``saetui.studies.methods`` fills them in.

What two methods share says little without what one of them shares with itself: so runs of one method with
neighbouring seeds are matched in the same way.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from statistics import mean
from typing import Any

from saetui.runs.cost import Cost
from saetui.split.comparison import Comparison
from saetui.split.finding.report import SplitThresholds
from saetui.studies.results import Over


@dataclass(frozen=True)
class CostOver:
    """What runs cost, each number of ``saetui.runs.cost.Cost`` over them."""

    tokens_read: Over | None
    tokens_computed: Over | None
    tokens: Over | None
    busy_s: Over | None
    wall_s: Over | None

    @classmethod
    def of(cls, costs: Sequence[Cost]) -> "CostOver":
        return cls(*(Over.of(getattr(cost, field.name) for cost in costs) for field in fields(cls)))


@dataclass(frozen=True)
class Matched:
    """What pairs of runs of one target share. ``share``: of the children of both, those that are in a match,
    2 m / (k₁ + k₂), Dice's coefficient; ``agreement`` and ``cosine``: means over the matched children of a
    pair."""

    pairs: int
    matched: Over | None
    only_first: Over | None
    only_second: Over | None
    share: Over | None
    agreement: Over | None
    cosine: Over | None

    @classmethod
    def of(cls, pairs: Sequence[Comparison]) -> "Matched":
        found = [pair for pair in pairs if pair.matches]
        return cls(
            pairs=len(pairs),
            matched=Over.of(len(pair.matches) for pair in pairs),
            only_first=Over.of(len(pair.first.only) for pair in pairs),
            only_second=Over.of(len(pair.second.only) for pair in pairs),
            share=Over.of(map(_share, pairs)),
            agreement=Over.of(mean(m.agreement for m in pair.matches) for pair in found),
            cosine=Over.of(mean(m.cosine for m in pair.matches) for pair in found),
        )


def _share(pair: Comparison) -> float | None:
    children = len(pair.first.children) + len(pair.second.children)
    return 2 * len(pair.matches) / children if children else None


@dataclass(frozen=True)
class Ungated:
    """The plain SAE beside the gated graft, over the ``runs`` that have it; the numbers are those of
    ``saetui.split.grafting.ungated.UngatedReport``, ``cost`` is what the plain one cost beside the graft's
    own."""

    runs: int
    error_narrow: Over | None
    error_gated: Over | None
    error_ungated: Over | None
    fvu_narrow: Over | None
    fvu_gated: Over | None
    fvu_ungated: Over | None
    fvu_off_narrow: Over | None
    fvu_off_ungated: Over | None
    off_target: Over | None
    off_target_untrained: Over | None
    precision: Over | None
    covered: Over | None
    agreement: Over | None
    f1_gated: Over | None
    f1_ungated: Over | None
    cost: CostOver

    @classmethod
    def of(cls, events: Sequence[dict[str, Any]]) -> "Ungated | None":
        """Of the last ``ungated`` event of each run that has one; None without any."""
        if not events:
            return None
        numbers = [field.name for field in fields(cls) if field.name not in ("runs", "cost")]
        return cls(
            runs=len(events),
            **{name: Over.of(event.get(name) for event in events) for name in numbers},
            cost=CostOver.of([Cost(**event["cost"]) for event in events if "cost" in event]),
        )


@dataclass(frozen=True)
class MethodOnTarget:
    """One method's runs of a target, seed by seed. ``children`` are those that fire often enough to be one;
    ``verdicts``: how often the split report stored with a run said what."""

    kind: str
    """``graft`` or ``split``."""
    runs: tuple[str, ...]
    children: Over | None
    verdicts: dict[str, int]
    cost: CostOver
    within: Matched | None
    """Runs of neighbouring seeds matched with one another; None for a single run."""
    only_again: Over | None
    """Of its children that the other method does not have, those that a run of a neighbouring seed of its own
    method has too: what is left is one run's alone."""
    ungated: Ungated | None = None
    """Of a graft's runs that have their ungated SAE."""


@dataclass(frozen=True)
class TargetMethods:
    target: int
    seeds: tuple[int, ...]
    """Those that both methods have a run of."""
    first: MethodOnTarget
    second: MethodOnTarget
    between: Matched
    """The two methods' runs of the same seed, …"""
    pairs: tuple[Comparison, ...]
    """… and each of these pairs, in the order of the seeds."""


@dataclass(frozen=True)
class Total:
    """Sums over all targets, over the ``seeds`` that every target has."""

    seeds: tuple[int, ...]
    first: Over
    second: Over
    """Children, …"""
    matched: Over
    only_first: Over
    only_second: Over
    share: Over | None

    @classmethod
    def of(cls, targets: Sequence[TargetMethods]) -> "Total | None":
        """None where no seed was run for every target."""
        seeds = sorted(set.intersection(*(set(one.seeds) for one in targets)))
        by_seed = [[one.pairs[one.seeds.index(seed)] for one in targets] for seed in seeds]
        if not by_seed:
            return None

        def over(counts: Iterable[int]) -> Over:
            found = Over.of(counts)
            assert found is not None
            return found

        first = [sum(len(pair.first.children) for pair in pairs) for pairs in by_seed]
        second = [sum(len(pair.second.children) for pair in pairs) for pairs in by_seed]
        matched = [sum(len(pair.matches) for pair in pairs) for pairs in by_seed]
        return cls(
            seeds=tuple(seeds),
            first=over(first),
            second=over(second),
            matched=over(matched),
            only_first=over(a - m for a, m in zip(first, matched, strict=True)),
            only_second=over(b - m for b, m in zip(second, matched, strict=True)),
            share=Over.of(
                2 * m / (a + b) if a + b else None for a, b, m in zip(first, second, matched, strict=True)
            ),
        )


@dataclass(frozen=True)
class MethodsReport:
    """``first`` and ``second`` are the studies' names; ``left_out`` names runs with nothing to compare."""

    first: str
    second: str
    setup: dict[str, Any]
    tokens: int
    limits: SplitThresholds
    agreement: float
    targets: tuple[TargetMethods, ...]
    total: Total | None
    ungated: Ungated | None
    """Of all runs compared."""
    left_out: tuple[str, ...]

    @property
    def comparisons(self) -> list[Comparison]:
        """Of the two methods, pair by pair."""
        return [pair for target in self.targets for pair in target.pairs]
