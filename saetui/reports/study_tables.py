"""A study's results as tables of text, for a terminal, a document and a spreadsheet."""

from collections.abc import Sequence
from typing import Any

from saetui.quantities import si
from saetui.reports.document import Table
from saetui.reports.filter_tables import course_tables, filter_table, until_table
from saetui.reports.spread import number, over, share
from saetui.split.judging.verdict import CRITERIA
from saetui.studies.reading import data_of
from saetui.studies.results import (
    CellResult,
    EffectResult,
    Found,
    QualityCurve,
    ReplacingResult,
    RowResult,
    StudyReport,
)
from saetui.studies.targets import TargetResult

CELLS_TITLE = "Runs"
"""Of the table with a line for every run."""
_NOT_AXES = "–"


def tables(report: StudyReport) -> list[Table]:
    """All tables that have a row: what came out first, run by run last."""
    found: list[Table] = []
    if len(report.rows) < len(report.cells):
        found.append(rows_table(report.rows))
    if report.targets:
        found.append(targets_table(report.targets))
    if any(row.failed for row in report.rows):
        found.append(failures_table(report.rows))
    if report.effects:
        found.append(effects_table(report.effects))
    if report.filtering:
        found += [filter_table(report.filtering), until_table(report.filtering)]
        found += course_tables(report.filtering)
    if report.replacing:
        found.append(replacing_table(report.replacing))
    return [*found, cells_table(report.cells)]


SECONDS = "seconds: of reading, forwards, filter and steps, in CPU time (on a GPU: wall time)."
_TOKENS = ("tokens_read", "tokens_computed", "tokens")
_COST_HEADINGS = ("read", "computed", "trained", "seconds")


def cells_table(cells: Sequence[CellResult]) -> Table:
    """Row for row as in the seed: the recipe's axes, then what came out and what it cost."""
    several = len({cell.cell.target for cell in cells}) > 1
    found = any(cell.found for cell in cells)
    names = list(dict.fromkeys(name for cell in cells for name in cell.f1))
    headings = (
        "run",
        *(("target",) if several else ()),
        *("size", "seed", "init", "normalised", "data", "loss", "split"),
        *(("children", "effective", "coverage") if found else ()),
        *(f"F1 {name}" for name in names),
        *("FVU", "L0", "dead", "CE rec.", *_COST_HEADINGS, "id"),
    )
    rows = [
        (
            cell.cell.row,
            *((str(cell.cell.target),) if several else ()),
            *axes(cell.cell.recipe, cell.cell.seed),
            outcome(cell),
            *(_found(cell.found) if found else ()),
            *(number(cell.f1.get(name), "{:.2f}".format) for name in names),
            number(cell.fvu, "{:.3f}".format),
            number(cell.l0, "{:.1f}".format),
            number(cell.dead, "{:.1%}".format),
            number(cell.ce_recovered, "{:.1%}".format),
            *(number(getattr(cell.cost, key, None), si) for key in _TOKENS),
            number(getattr(cell.cost, "busy_s", None), "{:.1f}".format),
            cell.run or "",
        )
        for cell in cells
    ]
    return Table(
        CELLS_TITLE, headings, rows, f"computed: of the tokens read, those not in the cache; {SECONDS}"
    )


def _found(found: Found | None) -> tuple[str, ...]:
    if found is None:
        return "", "", ""
    two = "{:.2f}".format
    return str(found.children), number(found.effective, two), number(found.coverage, two)


def rows_table(rows: Sequence[RowResult]) -> Table:
    """The same over seeds."""
    several = len({row.target for row in rows}) > 1
    expected, found = any(row.passed for row in rows), any(row.found for row in rows)
    names = list(dict.fromkeys(name for row in rows for name in row.f1))
    headings = (
        "recipe",
        *(("target",) if several else ()),
        *("finished", "split"),
        *(("expected children",) if expected else ()),
        *(("children found", "effective") if found else ()),
        *(f"F1 {name}" for name in names),
        *("FVU", "L0", "dead", "CE rec.", *_COST_HEADINGS),
    )
    lines = [
        (
            row.row,
            *((str(row.target),) if several else ()),
            f"{row.finished} of {row.runs}",
            share(row.successes, row.judged),
            *(
                ((over(row.passed, "{:.3g}".format) + (f" of {row.children}" if row.passed else "")),)
                * expected
            ),
            *((over(row.found, "{:.3g}".format), over(row.effective, "{:.2f}".format)) * found),
            *(over(row.f1.get(name), "{:.2f}".format) for name in names),
            over(row.fvu, "{:.3f}".format),
            over(row.l0, "{:.1f}".format),
            over(row.dead, "{:.1%}".format),
            over(row.ce_recovered, "{:.1%}".format),
            *(over(getattr(row, key), si) for key in _TOKENS),
            over(row.busy_s, "{:.1f}".format),
        )
        for row in rows
    ]
    note = f"Median (smallest … largest) over the finished seeds. {SECONDS}"
    return Table("Over seeds", headings, lines, note)


def targets_table(targets: Sequence[TargetResult]) -> Table:
    """How many of a study's targets split, and as what the others were judged."""
    headings = ("target", "judged", "split", "otherwise", "effective children")
    rows = [
        (
            str(one.target),
            f"{one.judged} of {one.runs}",
            share(one.split, one.judged),
            ", ".join(f"{kind} {count}" for kind, count in one.kinds.items() if kind != "split"),
            over(one.effective, "{:.1f}".format),
        )
        for one in targets
    ]
    judged = [one for one in targets if one.judged]
    note = (
        f"By the split report, targets in the study's order. {sum(one.mostly_split for one in judged)} of "
        f"{len(judged)} targets split in most of their runs; {sum(one.split for one in judged)} of "
        f"{sum(one.judged for one in judged)} runs."
    )
    return Table("Over targets", headings, rows, note)


def failures_table(rows: Sequence[RowResult]) -> Table:
    """Why children were not found: which of the criteria do not hold."""
    several = len({row.target for row in rows}) > 1
    criteria = sorted({criterion for row in rows for criterion in row.failed})
    headings = (
        "recipe",
        *(("target",) if several else ()),
        "children",
        *(f"{criterion} {CRITERIA[criterion]}" for criterion in criteria),
    )
    lines = [
        (
            row.row,
            *((str(row.target),) if several else ()),
            str((row.children or 0) * row.judged),
            *(str(row.failed.get(criterion, "")) for criterion in criteria),
        )
        for row in rows
        if row.failed
    ]
    note = "Expected children over all finished seeds, and of how many each criterion does not hold."
    return Table("Where children fail", headings, lines, note)


def effects_table(results: Sequence[EffectResult]) -> Table:
    several = len({result.target for result in results}) > 1
    headings = (
        *(("target",) if several else ()),
        *("axis", "from", "to", "pairs", "more children", "as many", "fewer", "p", "mean F1", "FVU"),
    )
    rows = [
        (
            *((str(r.target),) if several else ()),
            *(r.axis.replace("_", " "), r.first.replace("_", " "), r.second.replace("_", " ")),
            *map(str, (r.pairs, r.more, r.same, r.fewer)),
            number(r.p_value, "{:.3f}".format),
            over(r.mean_f1, lambda value: _signed(value, 2)),
            over(r.fvu, lambda value: _signed(value, 3)),
        )
        for r in results
    ]
    note = (
        "Pairs of finished runs that differ in this axis alone and have the same seed. More, as many, fewer: "
        "expected children of the second against the first (where nothing says what to expect: children "
        "found). p: two-sided sign test of more against fewer, as if the pairs were independent, and not "
        "corrected for the number of lines. Mean F1 and FVU: by how much the second's is higher, median "
        "(smallest … largest)."
    )
    return Table("What each axis does", headings, rows, note)


def _signed(value: float, digits: int) -> str:
    return f"{round(value, digits) + 0.0:+.{digits}f}"  # + 0.0: no difference has no sign of its own


def replacing_table(results: Sequence[ReplacingResult]) -> Table:
    several = len({r.target for r in results}) > 1
    headings = (
        *(("recipe", "target") if several else ("recipe",)),
        *("prompt", "led at first", "overtaken first", "overtaken for good", "after", "settled after", "by"),
    )
    rows = [
        (
            *((r.row, str(r.target)) if several else (r.row,)),
            r.prompt,
            share(r.led, r.runs),
            over(r.first, si),
            share(r.overtaken, r.led),
            over(r.for_good, si),
            over(r.settled, si),
            ", ".join(map(str, r.by)),
        )
        for r in results
    ]
    note = (
        "Tokens trained until then, median (smallest … largest) over seeds. overtaken: another feature is "
        "stronger on the prompt's last token; settled: from then on it is always the same one, which is "
        "named, seed by seed. The target's activation counts here even where the loss sets it to zero."
    )
    return Table("The replacing of the target", headings, rows, note)


def axes(recipe: dict[str, Any], seed: int) -> tuple[str, ...]:
    """Size, seed, initialisation, normalised, data and loss; a graft has children and nothing else."""
    if "init" not in recipe:
        return (f"+{recipe['children']}", str(seed), *(_NOT_AXES,) * 4)
    return (
        str(recipe["d_sae"]),
        str(seed),
        recipe["init"].replace("_", " "),
        "yes" if recipe["normalize_init"] else "no",
        data_of(recipe),
        recipe["loss"].replace("_", " "),
    )


def outcome(cell: CellResult) -> str:
    """``3 of 3``, ``2 of 3, no number``, the split report's word, or where the run stands."""
    if cell.children is not None:
        missing = f", no {', '.join(cell.missing)}" if cell.missing and cell.passed else ""
        return f"{cell.passed} of {cell.children}{missing}"
    return cell.found.kind if cell.found else cell.state


def cell_records(report: StudyReport) -> list[dict[str, Any]]:
    """One flat record per run, numbers as numbers: what a spreadsheet or a data frame reads."""
    names = list(dict.fromkeys(name for cell in report.cells for name in cell.f1))
    records: list[dict[str, Any]] = []
    for cell in report.cells:
        record = {"cell": cell.cell.id, "row": cell.cell.row, "run": cell.run, "state": cell.state}
        record |= cell.cell.recipe
        record |= {"passed": cell.passed, "children": cell.children, "by": cell.by}
        record |= {f"found {key}": getattr(cell.found, key, None) for key in Found.__dataclass_fields__}
        record |= {f"f1 {name}": cell.f1.get(name) for name in names}
        record |= {key: getattr(cell, key) for key in ("fvu", "l0", "ce_recovered", "dead")}
        paid = vars(cell.cost) if cell.cost else dict.fromkeys(("tokens", *_COSTS))
        record |= {"tokens_trained": paid["tokens"]} | {key: paid[key] for key in _COSTS}
        records.append(record)
    return records


_COSTS = ("tokens_read", "tokens_computed", "lm_s", "sae_s", "lm_cpu_s", "sae_cpu_s", "wall_s")


def curve_records(curves: Sequence[QualityCurve]) -> list[dict[str, Any]]:
    """One flat record per evaluation of a run: split quality against tokens, to be plotted."""
    return [
        {"cell": c.cell, "row": c.row, "target": c.target, "seed": c.seed, **vars(point)}
        for c in curves
        for point in c.points
    ]
