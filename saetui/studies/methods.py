"""Two studies of the same targets with different methods, child by child: what both find, what only one does,
and at what cost; over seeds and targets.

What two methods share says little without what one of them shares with itself: so runs of one method with
neighbouring seeds are matched in the same way.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import mean

from saetui.errors import UserError
from saetui.features.encoder import encoder_hash
from saetui.features.stored_lm import reading_stored
from saetui.loading import load_lm, load_sae, open_rows
from saetui.runs.cost import Cost
from saetui.runs.store import Run
from saetui.split.compare import (
    AGREEMENT,
    DEFAULT_TOKENS,
    FoundChildren,
    Side,
    find_children,
    match_children,
    side_of,
)
from saetui.split.comparison import Comparison
from saetui.split.defaults import split_limits
from saetui.split.graft import Graft
from saetui.split.outcome import setup_of
from saetui.split.report import SplitThresholds
from saetui.studies.results import Over
from saetui.studies.store import Study

OnTarget = Callable[[int, int], None]
"""Called with the targets done and in all."""


@dataclass(frozen=True)
class Matched:
    """What pairs of runs of one target share. ``share``: of the children of both, those that are in a match,
    2 m / (k₁ + k₂); ``agreement`` and ``cosine``: means over the matched children of a pair."""

    pairs: int
    matched: Over | None
    only_first: Over | None
    only_second: Over | None
    share: Over | None
    agreement: Over | None
    cosine: Over | None


@dataclass(frozen=True)
class MethodOnTarget:
    """One method's runs of a target. ``children`` are those that fire often enough to be one; ``within``:
    runs of neighbouring seeds matched with one another, None for a single run."""

    kind: str
    runs: tuple[str, ...]
    children: Over | None
    tokens: Over | None
    """Trained on."""
    seconds: Over | None
    """Of reading, forwards, filter and steps (``Cost.busy_s``)."""
    within: Matched | None
    ungated: "Ungated | None" = None
    """Of a graft's runs that have their ungated SAE."""


@dataclass(frozen=True)
class Ungated:
    """The plain SAE beside the gated graft, over the runs that have it (``saetui.split.ungated``)."""

    fvu_narrow: Over
    fvu_gated: Over
    fvu_ungated: Over
    """On all held-out tokens."""
    off_target: Over
    """Share of the other tokens on which a child fires."""
    seconds: Over
    """Trained beside the graft's own."""


@dataclass(frozen=True)
class TargetMethods:
    target: int
    seeds: tuple[int, ...]
    """Those that both methods have a run of."""
    first: MethodOnTarget
    second: MethodOnTarget
    between: Matched
    """The two methods' runs of the same seed."""


@dataclass(frozen=True)
class MethodsReport:
    """``first`` and ``second`` are the studies' names; ``left_out`` names runs with nothing to compare."""

    first: str
    second: str
    tokens: int
    limits: SplitThresholds
    agreement: float
    targets: tuple[TargetMethods, ...]
    comparisons: tuple[Comparison, ...]
    """Of the two methods, pair by pair."""
    left_out: tuple[str, ...]


def compare_methods(
    first: Study,
    second: Study,
    *,
    tokens: int = DEFAULT_TOKENS,
    limits: SplitThresholds | None = None,
    agreement: float = AGREEMENT,
    on_target: OnTarget = lambda done, total: None,
) -> MethodsReport:
    """Matches the finished runs of two studies, target by target and seed by seed, on held-out rows.

    UserError where they have no target and seed in common that both have finished, where a study has two
    runs of one target and seed, or where they split different narrow SAEs.
    """
    limits = limits or split_limits()
    runs = [_finished(study) for study in (first, second)]
    common = sorted(set(runs[0]) & set(runs[1]))
    if not common:
        raise UserError(
            f"{first.name} and {second.name} have no target and seed in common that both have finished"
        )
    setup = setup_of(runs[0][common[0]])
    lm, narrow = load_lm(setup), load_sae(setup)
    narrow = narrow.to(lm.device)
    own = encoder_hash(narrow)
    rows = open_rows(setup, lm.tokenizer, "eval")
    targets = sorted({target for target, _ in common})
    results: list[tuple[TargetMethods, list[Comparison]]] = []
    with reading_stored(lm, rows, tokens) as lm:
        for done, target in enumerate(targets):
            on_target(done, len(targets))
            seeds = tuple(seed for of, seed in common if of == target)
            sides = [[side_of(of[target, seed]).to(lm.device) for seed in seeds] for of in runs]
            threshold = max(_own(side, own).threshold for of in sides for side in of)
            found = [
                [
                    find_children(lm, narrow, side, threshold, rows, tokens=tokens, limits=limits)
                    for side in of
                ]
                for of in sides
            ]
            of_runs = [[of[target, seed] for seed in seeds] for of in runs]
            results.append(_of_target(target, seeds, found, of_runs, limits, agreement))
    on_target(len(targets), len(targets))
    return MethodsReport(
        first=first.name,
        second=second.name,
        tokens=tokens,
        limits=limits,
        agreement=agreement,
        targets=tuple(result for result, _ in results),
        comparisons=tuple(pair for _, pairs in results for pair in pairs),
        left_out=tuple(run.id for of in runs for key, run in sorted(of.items()) if key not in common),
    )


def _of_target(
    target: int,
    seeds: tuple[int, ...],
    found: Sequence[Sequence[FoundChildren]],
    runs: Sequence[Sequence[Run]],
    limits: SplitThresholds,
    agreement: float,
) -> tuple[TargetMethods, list[Comparison]]:
    """``found`` and ``runs``: of the first method by seed, and of the second."""

    def match(pairs: Iterable[tuple[FoundChildren, FoundChildren]]) -> list[Comparison]:
        return [match_children(a, b, limits=limits, agreement=agreement) for a, b in pairs]

    first, second = (_method(of, match(pairwise(of)), its) for of, its in zip(found, runs, strict=True))
    between = match(zip(*found, strict=True))
    return TargetMethods(target, seeds, first, second, _matched(between)), between


def _finished(study: Study) -> dict[tuple[int, int], Run]:
    """By target and seed."""
    found: dict[tuple[int, int], Run] = {}
    cells = {cell.id: cell for cell in study.plan.cells}
    for cell_id, run in study.runs().items():
        if run.state() != "finished":
            continue
        key = cells[cell_id].target, cells[cell_id].seed
        if key in found:
            raise UserError(
                f"{study.name} has several recipes for target {key[0]} and seed {key[1]}: "
                "which one is to be compared? Make a study of that one"
            )
        found[key] = run
    return found


def _own(side: Side, narrow: str) -> Side:
    """``side``, after a look whether it is of the narrow SAE with this hash."""
    if isinstance(side.encoder, Graft) and encoder_hash(side.encoder.narrow) != narrow:
        raise UserError(f"{side.run} is a graft of another narrow SAE")
    return side


def _method(
    found: Sequence[FoundChildren], within: Sequence[Comparison], runs: Sequence[Run]
) -> MethodOnTarget:
    costs: list[Cost] = [one.side.cost for one in found]
    return MethodOnTarget(
        kind=found[0].side.kind,
        runs=tuple(one.side.run for one in found),
        children=Over.of(len(one.children) for one in found),
        tokens=Over.of(cost.tokens for cost in costs),
        seconds=Over.of(cost.busy_s for cost in costs),
        within=_matched(within) if within else None,
        ungated=_ungated(runs),
    )


def _matched(pairs: Sequence[Comparison]) -> Matched:
    def share(pair: Comparison) -> float | None:
        children = len(pair.first.children) + len(pair.second.children)
        return 2 * len(pair.matches) / children if children else None

    return Matched(
        pairs=len(pairs),
        matched=Over.of(len(pair.matches) for pair in pairs),
        only_first=Over.of(len(pair.first.only) for pair in pairs),
        only_second=Over.of(len(pair.second.only) for pair in pairs),
        share=Over.of(share(pair) for pair in pairs),
        agreement=Over.of(mean(m.agreement for m in pair.matches) for pair in pairs if pair.matches),
        cosine=Over.of(mean(m.cosine for m in pair.matches) for pair in pairs if pair.matches),
    )


def _ungated(runs: Sequence[Run]) -> Ungated | None:
    last = [
        events[-1] for run in runs if (events := [e for e in run.read_events() if e["kind"] == "ungated"])
    ]

    def over(key: str) -> Over:
        known = Over.of(event[key] for event in last)
        assert known is not None
        return known

    keys = ("fvu_narrow", "fvu_gated", "fvu_ungated", "off_target", "seconds")
    return Ungated(*map(over, keys)) if last else None
