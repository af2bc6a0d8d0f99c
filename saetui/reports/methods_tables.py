"""Two methods compared over seeds and targets, as tables of text."""

from collections import Counter
from collections.abc import Callable

from saetui.quantities import si
from saetui.reports.document import Table
from saetui.reports.spread import Form, over
from saetui.reports.study_tables import SECONDS
from saetui.split.comparison import ComparedRun, Comparison, Match
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
from saetui.visible import visible

_COUNT = "{:.3g}".format
_SHARE = "{:.0%}".format
_NUMBER = "{:.2f}".format
_SECONDS = "{:.1f}".format
_UNGATING = "without the gate"
_BOOSTED = 4
"""Tokens shown of what a child boosts."""


def methods_tables(report: MethodsReport) -> list[Table]:
    """What both find and what one does, by target; verdicts; what each method costs, what it shares with
    itself; the ungated grafts beside the gated ones, where there are any."""
    tables = [_between(report), _verdicts(report), _costs(report), _within(report)]
    return tables + [ungated for ungated in [_ungated(report)] if ungated.rows]


def child_tables(report: MethodsReport) -> list[Table]:
    """Which child is which, run by run: a table for every target."""
    return [_children(report, one) for one in report.targets]


def totals(report: MethodsReport) -> str:
    """One line over all targets and seeds."""
    pairs = report.comparisons
    first, second = (sum(len(side.children) for side in sides) for sides in _sides(report))
    matched = sum(len(pair.matches) for pair in pairs)
    names = _names(report)
    return (
        f"{len(pairs)} pairs of runs of {len(report.targets)} targets: {matched} children are found by both, "
        f"of {first} of the {names[0]} and {second} of the {names[1]} runs ({_of(matched, first)} and "
        f"{_of(matched, second)})"
    )


def _of(part: int, whole: int) -> str:
    return _SHARE(part / whole) if whole else "none"


def _between(report: MethodsReport) -> Table:
    names = _names(report)
    headings = (
        *("target", "seeds", names[0], names[1], "both", f"{names[0]} only", "again"),
        *(f"{names[1]} only", "again", "share", "agreement", "cosine"),
    )
    rows: list[tuple[str, ...]] = [
        (
            str(one.target),
            str(len(one.seeds)),
            over(one.first.children, _COUNT),
            over(one.second.children, _COUNT),
            over(one.between.matched, _COUNT),
            over(one.between.only_first, _COUNT),
            over(one.first.only_again, _COUNT),
            over(one.between.only_second, _COUNT),
            over(one.second.only_again, _COUNT),
            over(one.between.share, _SHARE),
            over(one.between.agreement, _NUMBER),
            over(one.between.cosine, _NUMBER),
        )
        for one in report.targets
    ]
    note = (
        "Children: those that fire on enough of the target's tokens; median (smallest … largest) over seeds. "
        f"both: matched one to one, agreement of activations at least {report.agreement:g} and cosine of "
        f"decoder rows at least {report.limits.cosine:g}, the sum of agreements as high as can be; again: of "
        "those that one method alone has, how many its run with a neighbouring seed has too; share: of the "
        f"children of both, those in a match. {report.tokens:,} held-out tokens, the second half of which is "
        "compared."
    )
    if report.total:
        rows.append(_all(report.total))
        note += " all: sums over the targets, seed by seed."
    return Table(f"{report.first} and {report.second}", headings, rows, note)


def _all(total: Total) -> tuple[str, ...]:
    counts = (total.first, total.second, total.matched, total.only_first)
    return (
        "all",
        str(len(total.seeds)),
        *(over(count, _COUNT) for count in counts),
        "",
        over(total.only_second, _COUNT),
        "",
        over(total.share, _SHARE),
        *("", ""),
    )


def _verdicts(report: MethodsReport) -> Table:
    rows = [(str(one.target), _words(one.first), _words(one.second)) for one in report.targets]
    note = "What the split report stored with each run says of the target."
    return Table("Verdicts", ("target", *_names(report)), rows, note)


def _words(method: MethodOnTarget) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in Counter(method.verdicts).most_common())


def _costs(report: MethodsReport) -> Table:
    headings = ("target", "method", "read", "computed", "trained", "seconds", "wall seconds")
    names = _names(report)
    rows: list[tuple[str, ...]] = []
    for one in report.targets:
        methods = list(zip(names, (one.first, one.second), strict=True))
        costs = [(name, method.cost) for name, method in methods]
        costs += [(_UNGATING, m.ungated.cost) for _, m in methods if m.ungated]
        rows += [(str(one.target), name, *_cost(cost)) for name, cost in costs]
    of_all = zip(names, _sides(report), strict=True)
    rows += [("all", name, *_cost(CostOver.of([side.cost for side in sides]))) for name, sides in of_all]
    if report.ungated:
        rows.append(("all", _UNGATING, *_cost(report.ungated.cost)))
    note = (
        "Of one run, median (smallest … largest) over seeds. read: tokens of the corpus; computed: those of "
        f"them that no cache held, the forwards of the language model; {SECONDS} wall: of the whole process "
        "while it had the device, on a machine that may have done other work; without the gate: beside what "
        "the graft had cost."
    )
    return Table("What each costs", headings, rows, note)


def _cost(cost: CostOver) -> tuple[str, ...]:
    tokens = (cost.tokens_read, cost.tokens_computed, cost.tokens)
    return (
        *(over(value, si) for value in tokens),
        over(cost.busy_s, _SECONDS),
        over(cost.wall_s, _SECONDS),
    )


def _within(report: MethodsReport) -> Table:
    names = _names(report)
    headings = (
        "target",
        *(f"{what} {name}" for name in names for what in ("share,", "agreement,")),
        "share between",
    )
    rows = [
        (
            str(one.target),
            *_same(one.first.within),
            *_same(one.second.within),
            over(one.between.share, _SHARE),
        )
        for one in report.targets
    ]
    note = "Runs of one method with neighbouring seeds matched in the same way: what two methods could share."
    return Table("Each method with itself", headings, rows, note)


def _same(within: Matched | None) -> tuple[str, str]:
    return ("", "") if within is None else (over(within.share, _SHARE), over(within.agreement, _NUMBER))


_UNGATED: tuple[tuple[str, Callable[[Ungated], Over | None], Form], ...] = (
    ("error narrow", lambda one: one.error_narrow, "{:.1f}".format),
    ("error gated", lambda one: one.error_gated, "{:.1f}".format),
    ("error ungated", lambda one: one.error_ungated, "{:.1f}".format),
    ("FVU off the target", lambda one: one.fvu_off_narrow, "{:.4f}".format),
    ("FVU off it ungated", lambda one: one.fvu_off_ungated, "{:.4f}".format),
    ("fires off the target", lambda one: one.off_target, "{:.2%}".format),
    ("on the target", lambda one: one.covered, "{:.1%}".format),
    ("precision", lambda one: one.precision, "{:.1%}".format),
    ("agreement", lambda one: one.agreement, "{:.3f}".format),
    ("F1 gated", lambda one: one.f1_gated, "{:.3f}".format),
    ("F1 ungated", lambda one: one.f1_ungated, "{:.3f}".format),
)


def _ungated(report: MethodsReport) -> Table:
    rows: list[tuple[str, ...]] = [
        (str(one.target), *_without(plain))
        for one in report.targets
        for plain in (one.first.ungated, one.second.ungated)
        if plain
    ]
    if report.ungated:
        rows.append(("all", *_without(report.ungated)))
    note = (
        "The plain SAE that a graft becomes beside the gated graft, on held-out tokens. error: mean squared, "
        "on the target's tokens. FVU off the target: on all others, where the gated graft is the narrow SAE "
        "bit for bit. fires: share of those tokens on which any child does; precision: of all firings of "
        "children, the share on the target's. agreement: of the children's activations with and without the "
        "gate, over all tokens. F1: of the expected children, where criteria name some."
    )
    return Table("Without the gate", ("target", "runs", *(name for name, _, _ in _UNGATED)), rows, note)


def _without(plain: Ungated) -> tuple[str, ...]:
    return str(plain.runs), *(over(value(plain), form) for _, value, form in _UNGATED)


def _children(report: MethodsReport, target: TargetMethods) -> Table:
    names = _names(report)
    headings = (
        *("seed", *names, "cosine", "agreement"),
        *(f"share, {name}" for name in names),
        "boosts",
    )
    rows = [
        row for seed, pair in zip(target.seeds, target.pairs, strict=True) for row in _child_rows(seed, pair)
    ]
    note = (
        "In brackets: of the other run, the child that agrees most with one that is in no match. "
        "share: of the target's tokens, those on which the child is the strongest."
    )
    return Table(f"Feature {target.target}, child by child", headings, rows, note)


def _child_rows(seed: int, pair: Comparison) -> list[tuple[str, ...]]:
    shares = [{child.feature: child.share for child in side.children} for side in (pair.first, pair.second)]
    rows = [
        (
            str(seed),
            *(str(match.first), str(match.second), *_alike(match)),
            *(_SHARE(shares[0][match.first]), _SHARE(shares[1][match.second])),
            _boosted(pair.first, match.first),
        )
        for match in pair.matches
    ]
    for child in pair.first.only:
        near = pair.nearest_to(child, of_first=True)
        other, alike = (f"({near.second})", _alike(near)) if near else ("", ("", ""))
        rows.append(
            (str(seed), str(child), other, *alike, _SHARE(shares[0][child]), "", _boosted(pair.first, child))
        )
    for child in pair.second.only:
        near = pair.nearest_to(child, of_first=False)
        other, alike = (f"({near.first})", _alike(near)) if near else ("", ("", ""))
        rows.append(
            (str(seed), other, str(child), *alike, "", _SHARE(shares[1][child]), _boosted(pair.second, child))
        )
    return rows


def _alike(match: Match) -> tuple[str, str]:
    return _NUMBER(match.cosine), _NUMBER(match.agreement)


def _boosted(side: ComparedRun, feature: int) -> str:
    child = next(child for child in side.children if child.feature == feature)
    return " ".join(visible(logit.token, dots=True) for logit in child.boosted[:_BOOSTED])


def _names(report: MethodsReport) -> tuple[str, str]:
    """``graft`` and ``wide``; where both studies have one method, their names."""
    kinds = {"graft": "graft", "split": "wide"}
    first, second = (kinds[method.kind] for method in (report.targets[0].first, report.targets[0].second))
    return (first, second) if first != second else (report.first, report.second)


def _sides(report: MethodsReport) -> tuple[list[ComparedRun], list[ComparedRun]]:
    return [pair.first for pair in report.comparisons], [pair.second for pair in report.comparisons]
