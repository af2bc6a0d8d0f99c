"""Two studies of the same targets with different methods, child by child: what both find, what only one does,
and at what cost; over seeds and targets (``saetui.studies.method_results``)."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from saetui.errors import UserError
from saetui.features.encoder import encoder_hash
from saetui.features.stored_lm import reading_stored
from saetui.features.top_tokens import Progress
from saetui.loading import load_lm, load_sae, open_rows
from saetui.runs.store import Run
from saetui.split.compare import (
    AGREEMENT,
    DEFAULT_TOKENS,
    FoundChildren,
    find_children,
    match_children,
    side_of,
)
from saetui.split.comparison import Comparison
from saetui.split.defaults import split_limits
from saetui.split.finding.report import SplitThresholds
from saetui.split.grafting.graft import Graft
from saetui.split.outcome import setup_of
from saetui.studies.method_results import (
    CostOver,
    Matched,
    MethodOnTarget,
    MethodsReport,
    TargetMethods,
    Total,
    Ungated,
)
from saetui.studies.results import Over
from saetui.studies.store import Study
from saetui.studies.verdicts import read_report

OnProgress = Callable[[float, int], None]
"""Called with the targets done, the one under way in part, and in all."""


def compare_methods(
    first: Study,
    second: Study,
    *,
    tokens: int = DEFAULT_TOKENS,
    limits: SplitThresholds | None = None,
    agreement: float = AGREEMENT,
    on_progress: OnProgress = lambda done, total: None,
) -> MethodsReport:
    """Matches the finished runs of two studies, target by target and seed by seed, on held-out rows of the
    first one's setup.

    UserError where they have no target and seed in common that both have finished, where a study has two
    runs of one target and seed, or where they split different narrow SAEs.
    """
    limits = limits or split_limits()
    runs = [finished_runs(study) for study in (first, second)]
    common = sorted(set(runs[0]) & set(runs[1]))
    if not common:
        raise UserError(
            f"{first.name} and {second.name} have no target and seed in common that both have finished"
        )
    setup = setup_of(runs[0][common[0]])
    lm, narrow = load_lm(setup), load_sae(setup)
    own = encoder_hash(narrow)
    if encoder_hash(load_sae(setup_of(runs[1][common[0]]))) != own:
        raise UserError(
            f"{first.name} and {second.name} split different narrow SAEs: their targets are not one"
        )
    narrow = narrow.to(lm.device)
    rows = open_rows(setup, lm.tokenizer, "eval")
    targets = sorted({target for target, _ in common})
    results: list[TargetMethods] = []
    with reading_stored(lm, rows, tokens) as lm:
        for done, target in enumerate(targets):
            seeds = tuple(seed for of, seed in common if of == target)
            of_runs = [[of[target, seed] for seed in seeds] for of in runs]
            sides = [[side_of(run).to(lm.device) for run in of] for of in of_runs]
            for side in (side for of in sides for side in of):
                if isinstance(side.encoder, Graft) and encoder_hash(side.encoder.narrow) != own:
                    raise UserError(f"{side.run} is a graft of another narrow SAE")
            threshold = max(side.threshold for of in sides for side in of)
            parts = _Parts(done, 2 * len(seeds), len(targets), on_progress)
            children = partial(find_children, lm, narrow, tokens=tokens, limits=limits)
            found = [
                [children(side, threshold, rows, on_progress=parts.next()) for side in of] for of in sides
            ]
            results.append(_of_target(target, seeds, found, of_runs, limits, agreement))
    on_progress(len(targets), len(targets))
    return MethodsReport(
        first=first.name,
        second=second.name,
        setup=setup.to_dict(),
        tokens=tokens,
        limits=limits,
        agreement=agreement,
        targets=tuple(results),
        total=Total.of(results),
        ungated=_ungated([of[key] for of in runs for key in common]),
        left_out=tuple(run.id for of in runs for key, run in sorted(of.items()) if key not in common),
    )


class _Parts:
    """The runs of a target, each of which reads text: what that makes of the whole."""

    def __init__(self, done: int, parts: int, total: int, on_progress: OnProgress) -> None:
        self._done, self._parts, self._total = done, parts, total
        self._on_progress = on_progress
        self._part = -1

    def next(self) -> Progress:
        """Of the next run."""
        self._part += 1
        return self._read

    def _read(self, tokens: int, all_tokens: int) -> None:
        self._on_progress(self._done + (self._part + tokens / all_tokens) / self._parts, self._total)


def finished_runs(study: Study) -> dict[tuple[int, int], Run]:
    """A study's finished runs by target and seed. UserError where two have the same."""
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


def last_ungated(run: Run) -> dict[str, Any] | None:
    """What ungating a graft came to, last time; None where it was never done."""
    events = [event for event in run.read_events() if event["kind"] == "ungated"]
    return events[-1] if events else None


def _of_target(
    target: int,
    seeds: tuple[int, ...],
    found: Sequence[Sequence[FoundChildren]],
    runs: Sequence[Sequence[Run]],
    limits: SplitThresholds,
    agreement: float,
) -> TargetMethods:
    """``found`` and ``runs``: of the first method by seed, and of the second."""

    def match(pairs: Iterable[tuple[FoundChildren, FoundChildren]]) -> list[Comparison]:
        return [match_children(a, b, limits=limits, agreement=agreement) for a, b in pairs]

    between = match(zip(*found, strict=True))
    only = [pair.first.only for pair in between], [pair.second.only for pair in between]
    first, second = (
        _method(of, match(pairwise(of)), its, alone) for of, its, alone in zip(found, runs, only, strict=True)
    )
    return TargetMethods(target, seeds, first, second, Matched.of(between), tuple(between))


def _method(
    found: Sequence[FoundChildren],
    within: Sequence[Comparison],
    runs: Sequence[Run],
    only: Sequence[Sequence[int]],
) -> MethodOnTarget:
    """``within``: of each run with the next; ``only``: children that the other method does not have."""
    reports = [report for run in runs if (report := read_report(run.folder))]
    return MethodOnTarget(
        kind=found[0].side.kind,
        runs=tuple(run.id for run in runs),
        children=Over.of(len(one.children) for one in found),
        verdicts=dict(Counter(report["kind"] for report in reports)),
        cost=CostOver.of([one.side.cost for one in found]),
        within=Matched.of(within) if within else None,
        only_again=Over.of(map(_again, only, _recurring(within))) if within else None,
        ungated=_ungated(runs),
    )


def _ungated(runs: Sequence[Run]) -> Ungated | None:
    return Ungated.of([event for run in runs if (event := last_ungated(run))])


def _recurring(within: Sequence[Comparison]) -> list[set[int]]:
    """Of every run, its children that the run before or the one after it has too; ``within``: of each run
    with the next."""
    before = [set(), *({match.second for match in pair.matches} for pair in within)]
    after = [*({match.first for match in pair.matches} for pair in within), set()]
    return [a | b for a, b in zip(before, after, strict=True)]


def _again(only: Sequence[int], recurring: set[int]) -> int:
    return len(recurring.intersection(only))
