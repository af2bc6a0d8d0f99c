"""A study's results as tables of text, for a terminal, a document and a spreadsheet."""

from collections.abc import Callable, Sequence
from typing import Any

from saetui.quantities import duration, si
from saetui.reports.document import Table
from saetui.studies.results import (
    CellResult,
    FilterResult,
    Over,
    QualityCurve,
    ReplacingResult,
    RowResult,
    StudyReport,
)

Form = Callable[[float], str]
_NOT_AXES = "–"


def tables(report: StudyReport) -> list[Table]:
    """All tables that have a row."""
    found = [cells_table(report.cells)]
    if len(report.rows) < len(report.cells):
        found.append(rows_table(report.rows))
    if report.filtering:
        found.append(filter_table(report.filtering))
    if report.replacing:
        found.append(replacing_table(report.replacing))
    return found


def cells_table(cells: Sequence[CellResult]) -> Table:
    """Row for row as in the seed: the recipe's axes, then what came out and what it cost."""
    several = len({cell.cell.target for cell in cells}) > 1
    names = list(dict.fromkeys(name for cell in cells for name in cell.f1))
    headings = (
        "run",
        *(("target",) if several else ()),
        *("size", "seed", "init", "normalised", "data", "loss", "split"),
        *(f"F1 {name}" for name in names),
        *("FVU", "L0", "dead", "CE rec.", "read", "computed", "trained", "time"),
    )
    rows = [
        (
            cell.cell.row,
            *((str(cell.cell.target),) if several else ()),
            *axes(cell.cell.recipe, cell.cell.seed),
            outcome(cell),
            *(number(cell.f1.get(name), "{:.2f}".format) for name in names),
            number(cell.fvu, "{:.3f}".format),
            number(cell.l0, "{:.1f}".format),
            number(cell.dead, "{:.1%}".format),
            number(cell.ce_recovered, "{:.1%}".format),
            *(number(getattr(cell.cost, key, None), si) for key in _TOKENS),
            number(getattr(cell.cost, "wall_s", None), duration),
        )
        for cell in cells
    ]
    return Table("Runs", headings, rows)


_TOKENS = ("tokens_read", "tokens_computed", "tokens")


def rows_table(rows: Sequence[RowResult]) -> Table:
    """The same over seeds."""
    several = len({row.target for row in rows}) > 1
    names = list(dict.fromkeys(name for row in rows for name in row.f1))
    headings = (
        "recipe",
        *(("target",) if several else ()),
        *("finished", "split", "children"),
        *(f"F1 {name}" for name in names),
        *("FVU", "L0", "dead", "CE rec.", "read", "computed", "trained", "time"),
    )
    lines = [
        (
            row.row,
            *((str(row.target),) if several else ()),
            f"{row.finished} of {row.runs}",
            share(row.successes, row.judged),
            over(row.passed, "{:.3g}".format) + (f" of {row.children}" if row.passed else ""),
            *(over(row.f1.get(name), "{:.2f}".format) for name in names),
            over(row.fvu, "{:.3f}".format),
            over(row.l0, "{:.1f}".format),
            over(row.dead, "{:.1%}".format),
            over(row.ce_recovered, "{:.1%}".format),
            *(over(getattr(row, key), si) for key in _TOKENS),
            over(row.wall_s, duration),
        )
        for row in rows
    ]
    return Table("Over seeds", headings, lines, "Median (smallest … largest) over the finished seeds.")


def filter_table(results: Sequence[FilterResult]) -> Table:
    headings = ("data", "init", "split", "mean F1", "read", "computed", "trained", "time")
    headings += ("matched", "trained to match", "read to match", "seconds to match")
    several = len({result.target for result in results}) > 1
    rows = [
        (
            *((str(r.target),) if several else ()),
            *(r.data, r.init.replace("_", " "), share(r.successes, r.judged)),
            over(r.mean_f1, "{:.2f}".format),
            *(over(getattr(r, key), si) for key in _TOKENS),
            over(r.wall_s, duration),
            share(r.matched, r.runs),
            over(r.to_match, si),
            over(r.read_to_match, si),
            over(r.seconds_to_match, duration),
        )
        for r in results
    ]
    references = [r.reference for r in results if r.reference is not None]
    note = (
        "Standard loss. read: tokens of the corpus; computed: those of which no earlier run left activations."
    )
    if references:
        ends = ", ".join(f"{value:.2f}" for value in dict.fromkeys(references))
        note += (
            " To match: until the mean F1 first reached 95 % of that with which filtered data and narrow "
            f"initialisation end ({ends})."
        )
    return Table("What the filter buys", (*(("target",) if several else ()), *headings), rows, note)


def replacing_table(results: Sequence[ReplacingResult]) -> Table:
    headings = ("recipe", "prompt", "led at first", "overtaken first", "overtaken for good", "after", "by")
    rows = [
        (
            r.row,
            r.prompt,
            share(r.led, r.runs),
            over(r.first, si),
            share(r.overtaken, r.runs),
            over(r.for_good, si),
            ", ".join(map(str, r.by)),
        )
        for r in results
    ]
    note = (
        "Tokens trained until then, median (smallest … largest) over seeds; by which feature, seed by seed."
    )
    return Table("The replacing of the target", headings, rows, note)


def axes(recipe: dict[str, Any], seed: int) -> tuple[str, ...]:
    """Size, seed, initialisation, normalised, data and loss; a graft has children and nothing else."""
    if "init" not in recipe:
        return (f"+{recipe['children']}", str(seed), *(_NOT_AXES,) * 4)
    data = f"filtered {recipe['granularity']}" if recipe["data"] == "filtered" else "all"
    return (
        str(recipe["d_sae"]),
        str(seed),
        recipe["init"].replace("_", " "),
        "yes" if recipe["normalize_init"] else "no",
        data,
        recipe["loss"].replace("_", " "),
    )


def outcome(cell: CellResult) -> str:
    """``3 of 3``, ``2 of 3, no number``, the split report's word, or where the run stands."""
    if cell.children is not None:
        missing = f", no {', '.join(cell.missing)}" if cell.missing and cell.passed else ""
        return f"{cell.passed} of {cell.children}{missing}"
    return cell.split or cell.state


def number(value: float | None, form: Form) -> str:
    return "" if value is None else form(value)


def over(value: Over | None, form: Form) -> str:
    """``0.91 (0.88 … 0.93)``; the spread only where there is one to show."""
    if value is None:
        return ""
    middle, low, high = form(value.median), form(value.low), form(value.high)
    return middle if low == high else f"{middle} ({low} … {high})"


def share(part: int, whole: int) -> str:
    return f"{part} of {whole}" if whole else ""


def cell_records(report: StudyReport) -> list[dict[str, Any]]:
    """One flat record per run, numbers as numbers: what a spreadsheet or a data frame reads."""
    names = list(dict.fromkeys(name for cell in report.cells for name in cell.f1))
    records: list[dict[str, Any]] = []
    for cell in report.cells:
        record = {"cell": cell.cell.id, "row": cell.cell.row, "run": cell.run, "state": cell.state}
        record |= cell.cell.recipe
        record |= {"passed": cell.passed, "children": cell.children, "by": cell.by, "split": cell.split}
        record |= {f"f1 {name}": cell.f1.get(name) for name in names}
        record |= {key: getattr(cell, key) for key in ("fvu", "l0", "ce_recovered", "dead")}
        paid = vars(cell.cost) if cell.cost else dict.fromkeys(("tokens", *_COSTS))
        record |= {"tokens_trained": paid["tokens"]} | {key: paid[key] for key in _COSTS}
        records.append(record)
    return records


_COSTS = ("tokens_read", "tokens_computed", "lm_s", "sae_s", "wall_s")


def curve_records(curves: Sequence[QualityCurve]) -> list[dict[str, Any]]:
    """One flat record per evaluation of a run: split quality against tokens, to be plotted."""
    return [
        {"cell": c.cell, "row": c.row, "target": c.target, "seed": c.seed, **vars(point)}
        for c in curves
        for point in c.points
    ]
