"""A study as rows of a table: what the recipes differ in, where each run stands, what came out.

A column that sorts by something else than its text says sorts by a tuple: an export writes the text then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from saetui.quantities import duration, percent, si
from saetui.reports.spread import over, share
from saetui.reports.study_tables import axes
from saetui.studies.results import CellResult, Over, RowResult, StudyReport
from saetui.studies.status import CellStatus, StudyStatus
from saetui.tui.marked_table import mark_column
from saetui.tui.marks import Marks
from saetui.tui.run_text import STYLES, state_text
from saetui.tui.widgets.canvas import Symbols
from saetui.tui.widgets.table import Column

_AXES = ("size", "seed", "init", "normalised", "data", "loss")
"""What ``axes`` gives of a recipe; the seed tells runs apart in any case."""


@dataclass(frozen=True)
class CellRow:
    """One run of a study: where it stands and what came out."""

    status: CellStatus
    result: CellResult

    @property
    def axes(self) -> dict[str, str]:
        cell = self.result.cell
        return dict(zip(_AXES, axes(cell.recipe, cell.seed), strict=True))

    @property
    def verdict(self) -> str:
        """``2 of 3``, in brackets where a person has not said all of it, or the split report's word."""
        result = self.result
        if result.children is None:
            return result.found.kind if result.found else ""
        passed = f"{result.passed} of {result.children}"
        return f"({passed})" if result.by == "judge" else passed

    @property
    def passed(self) -> tuple[float] | None:
        """For sorting: the share of the children found, or whether the target was split at all."""
        result = self.result
        if result.children:
            return ((result.passed or 0) / result.children,)
        return None if result.success is None else (float(result.success),)


def cell_rows(status: StudyStatus, report: StudyReport) -> list[CellRow]:
    return [CellRow(s, r) for s, r in zip(status.cells, report.cells, strict=True)]


def same_for_all(rows: Sequence[CellRow]) -> dict[str, str]:
    """The axes on which all runs have one value: a line says it, and no column."""
    values = {name: {row.axes[name] for row in rows} for name in _AXES if name != "seed"}
    return {name: next(iter(found)) for name, found in values.items() if len(found) == 1}


def clock_name(rows: Sequence[CellRow]) -> str:
    """Of the time that is told (``Cost.clock``): of the runs' processes, but on a GPU that which passed."""
    return "wall" if any(row.result.cost and row.result.cost.gpu for row in rows) else "CPU"


def cell_columns(rows: Sequence[CellRow], marks: Marks, symbols: Symbols) -> list[Column[CellRow]]:
    """Of a study with these cells; on a narrow screen the least needed columns go first."""
    fixed = same_for_all(rows)
    names = list(dict.fromkeys(name for row in rows for name in row.result.f1))
    several = len({row.result.cell.target for row in rows}) > 1

    def axis(name: str) -> Column[CellRow]:
        number = name in ("size", "seed")
        width = max(len(name), *(len(row.axes[name]) for row in rows)) if rows else len(name)

        def value(row: CellRow) -> Any:
            text = row.axes[name]
            return int(text.removeprefix("+")) if number else text

        drop = {"seed": 0, "init": 2, "data": 2, "loss": 3, "size": 7, "normalised": 9}[name]
        return Column(name, lambda row: row.axes[name], width, value, right=number, drop=drop)

    def number(
        title: str, value: Callable[[CellResult], float | None], form: Callable[[float], str], drop: int
    ) -> Column[CellRow]:
        def text(row: CellRow) -> str:
            known = value(row.result)
            return "" if known is None else form(known)

        width = max(6, len(title))
        return Column(title, text, width, lambda row: value(row.result), right=True, drop=drop)

    def cost(name: str) -> Callable[[CellResult], float | None]:
        return lambda result: getattr(result.cost, name) if result.cost else None

    row_width = min(28, max((len(row.result.cell.row) for row in rows), default=3))
    return [
        mark_column(marks, symbols, lambda row: row.result.run),
        Column("state", lambda row: state_text(row.status.state, symbols), 10, lambda row: row.status.state,
               style=lambda row: STYLES.get(row.status.state, "idle")),
        Column("done", _done, 5, _progress, right=True, drop=8),
        Column("run", lambda row: row.result.cell.row, max(3, row_width), _order(rows), grow=True),
        *([Column("target", lambda row: str(row.result.cell.target), 6,
                  lambda row: row.result.cell.target, right=True)] if several else []),
        *(axis(name) for name in _AXES if name not in fixed),
        Column("verdict", lambda row: row.verdict, 8, lambda row: row.passed),
        *([number("F1", lambda result: result.mean_f1, "{:.2f}".format, 4)] if names else []),
        number("FVU", lambda result: result.fvu, "{:.3f}".format, 5),
        number("L0", lambda result: result.l0, "{:.1f}".format, 6),
        number("tokens", cost("tokens"), si, 6),
        number(clock_name(rows), cost("busy_s"), duration, 6),
        *([number("children", lambda result: result.found and result.found.children, "{:.0f}".format, 4),
           number("effective", lambda result: result.found and result.found.effective, "{:.2f}".format, 5)]
          if any(row.result.found for row in rows) else []),
        number("CE rec.", lambda result: result.ce_recovered, lambda v: percent(v, 3), 10),
        number("dead", lambda result: result.dead, lambda v: percent(v, 2), 12),
        *(number(f"F1 {name}", lambda result, name=name: result.f1.get(name), "{:.2f}".format, 11)
          for name in names),
        number("read", cost("tokens_read"), si, 13),
        number("computed", cost("tokens_computed"), si, 14),
    ]  # fmt: skip


def seed_columns(rows: Sequence[RowResult], clock: str) -> list[Column[RowResult]]:
    """A recipe over its seeds: medians, with the smallest and the largest. ``clock``: ``clock_name``."""
    several = len({row.target for row in rows}) > 1
    width = min(34, max((len(row.row) for row in rows), default=6))

    def spread(
        title: str, value: Callable[[RowResult], Over | None], form: Callable[[float], str], drop: int
    ) -> Column[RowResult]:
        def median(row: RowResult) -> float | None:
            found = value(row)
            return found.median if found else None

        shown = max((len(over(value(row), form)) for row in rows), default=6)
        text = lambda row: over(value(row), form)  # noqa: E731
        return Column(title, text, max(len(title), shown), median, right=True, drop=drop)

    return [
        Column("recipe", lambda row: row.row, max(6, width), lambda row: row.row, grow=True),
        *([Column("target", lambda row: str(row.target), 6, lambda row: row.target, right=True)]
          if several else []),
        Column("finished", lambda row: share(row.finished, row.runs), 8, lambda row: (row.finished,), drop=1),
        Column("split", lambda row: share(row.successes, row.judged), 7,
               lambda row: (row.successes / row.judged,) if row.judged else None),
        *([spread("children", lambda row: row.passed, "{:.3g}".format, 3)]
          if any(row.passed for row in rows) else []),
        *([spread("found", lambda row: row.found, "{:.3g}".format, 3),
           spread("effective", lambda row: row.effective, "{:.2f}".format, 4)]
          if any(row.found for row in rows) else []),
        *([spread("F1", lambda row: row.mean_f1, "{:.2f}".format, 0)]
          if any(row.mean_f1 for row in rows) else []),
        spread("FVU", lambda row: row.fvu, "{:.3f}".format, 4),
        spread("L0", lambda row: row.l0, "{:.1f}".format, 5),
        spread("tokens", lambda row: row.tokens, si, 6),
        spread(clock, lambda row: row.busy_s, duration, 2),
        spread("CE rec.", lambda row: row.ce_recovered, lambda v: percent(v, 3), 7),
        spread("dead", lambda row: row.dead, lambda v: percent(v, 2), 8),
    ]  # fmt: skip


def _order(rows: Sequence[CellRow]) -> Callable[[CellRow], tuple[int]]:
    """The file's own order: its names are no numbers, and "10" comes after "9"."""
    place = {row.result.cell.id: at for at, row in enumerate(rows)}
    return lambda row: (place.get(row.result.cell.id, len(place)),)


def _progress(row: CellRow) -> float | None:
    return row.status.run.progress if row.status.run else None


def _done(row: CellRow) -> str:
    """Only where it is under way: a finished run's share says nothing."""
    share = _progress(row)
    return "" if share is None or row.status.state == "finished" else f"{100 * share:.0f} %"
