"""Two methods compared over seeds and targets, as tables of text."""

from saetui.quantities import si
from saetui.reports.document import Table
from saetui.reports.study_tables import SECONDS, over
from saetui.split.comparison import ComparedRun
from saetui.studies.methods import Matched, MethodsReport

_COUNT = "{:.3g}".format
_SHARE = "{:.0%}".format
_NUMBER = "{:.2f}".format
_SECONDS = "{:.1f}".format


def methods_tables(report: MethodsReport) -> list[Table]:
    """What both find and what one does, by target; what each shares with itself; the ungated grafts."""
    found = [_between(report), _within(report)]
    return found + [ungated for ungated in [_ungated(report)] if ungated.rows]


def _between(report: MethodsReport) -> Table:
    names = _names(report)
    headings = (
        *("target", "seeds", names[0], names[1], "both", f"{names[0]} only", f"{names[1]} only", "share"),
        *("agreement", "cosine", f"seconds {names[0]}", f"seconds {names[1]}"),
    )
    rows = [
        (
            str(one.target),
            str(len(one.seeds)),
            over(one.first.children, _COUNT),
            over(one.second.children, _COUNT),
            over(one.between.matched, _COUNT),
            over(one.between.only_first, _COUNT),
            over(one.between.only_second, _COUNT),
            over(one.between.share, _SHARE),
            over(one.between.agreement, _NUMBER),
            over(one.between.cosine, _NUMBER),
            over(one.first.seconds, _SECONDS),
            over(one.second.seconds, _SECONDS),
        )
        for one in report.targets
    ]
    note = (
        "Children: those that fire on enough of the target's tokens, median (smallest … largest) over seeds. "
        f"both: matched one to one, agreement of activations at least {report.agreement:g} and cosine at "
        f"least {report.limits.cosine:g}; share: of the children of both, those in a match. "
        f"{report.tokens:,} held-out tokens, the second half of which is compared. {SECONDS}"
    )
    return Table(f"{report.first} and {report.second}", headings, rows, note)


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


def _ungated(report: MethodsReport) -> Table:
    headings = (
        "target",
        "FVU narrow",
        "gated",
        "ungated",
        "fires off the target",
        "seconds beside the graft's",
    )
    rows = [
        (
            str(one.target),
            over(plain.fvu_narrow, "{:.4f}".format),
            over(plain.fvu_gated, "{:.4f}".format),
            over(plain.fvu_ungated, "{:.4f}".format),
            over(plain.off_target, "{:.2%}".format),
            over(plain.seconds, _SECONDS),
        )
        for one in report.targets
        for plain in (one.first.ungated or one.second.ungated,)
        if plain
    ]
    return Table("Without the gate", headings, rows, "FVU on all held-out tokens.")


def _names(report: MethodsReport) -> tuple[str, str]:
    """``graft`` and ``wide``; where both studies have one method, their names."""
    kinds = {"graft": "graft", "split": "wide"}
    first, second = (kinds[method.kind] for method in (report.targets[0].first, report.targets[0].second))
    return (first, second) if first != second else (report.first, report.second)


def totals(report: MethodsReport) -> str:
    """One line over all targets and seeds."""
    pairs = report.comparisons
    first, second = (sum(len(side.children) for side in sides) for sides in _sides(report))
    matched = sum(len(pair.matches) for pair in pairs)
    names = _names(report)
    trained = [sum(side.cost.tokens for side in sides) / max(len(pairs), 1) for sides in _sides(report)]
    return (
        f"{len(pairs)} pairs of runs of {len(report.targets)} targets: {matched} children are found by both, "
        f"of {first} of the {names[0]} and {second} of the {names[1]} runs ({_of(matched, first)} and "
        f"{_of(matched, second)}); trained on {si(trained[0])} and {si(trained[1])} tokens each"
    )


def _of(part: int, whole: int) -> str:
    return _SHARE(part / whole) if whole else "none"


def _sides(report: MethodsReport) -> tuple[list[ComparedRun], list[ComparedRun]]:
    return [pair.first for pair in report.comparisons], [pair.second for pair in report.comparisons]
