"""Two runs that split one feature, child by child: which are the same, which only one of them found."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual import work
from textual.app import ComposeResult
from textual.screen import Screen
from textual.widgets import Static

from saetui.errors import UserError
from saetui.feature_marks import Mark
from saetui.quantities import percent
from saetui.tui.actions import bindings
from saetui.tui.key_line import KeyLine
from saetui.tui.session import Session
from saetui.tui.shell_words import command
from saetui.tui.underway import Underway
from saetui.tui.widgets.table import Column, Table

if TYPE_CHECKING:
    from saetui.features.results import Child
    from saetui.split.comparison import ComparedRun, Comparison, Match

STAY_S = 0.15
"""Seconds on one run after which it is compared: runs that are only stepped over are not."""


@dataclass(frozen=True)
class Line:
    """A child of both runs, or of one of them (``by``) with the ``match`` that it is nearest to."""

    by: str
    first: Child | None
    second: Child | None
    match: Match | None

    @property
    def key(self) -> tuple[str, int]:
        child = self.first or self.second
        assert child is not None
        return self.by, child.feature


class CompareScreen(Screen[Mark | None]):
    """``first`` beside one of the ``others``, which the engine compares while this is open. Dismisses with
    the child that was chosen."""

    CSS = """
    CompareScreen Static { height: auto; padding: 0 1; text-wrap: nowrap; text-overflow: ellipsis; }
    CompareScreen #compare-title { text-style: bold; }
    CompareScreen Table { height: 1fr; margin: 1 1 0 1; }
    """
    BINDINGS = bindings("compare")

    def __init__(self, session: Session, target: int, first: str, others: Sequence[str]) -> None:
        super().__init__()
        self.session, self._target = session, target
        self.first, self._others = first, others
        self._at = 0
        self.found: Comparison | None = None

    @property
    def second(self) -> str:
        return self._others[self._at]

    def compose(self) -> ComposeResult:
        yield Static("", id="compare-title", markup=False)
        yield Static("", id="compare-said", markup=False)
        yield Table[Line](
            [
                Column("found by", lambda line: line.by, 8, lambda line: line.by),
                Column("first", lambda line: self._feature(line, True), 7, right=True),
                Column("share 1", lambda line: _share(line.first), 7, _sort_share(True), right=True),
                Column("second", lambda line: self._feature(line, False), 7, right=True),
                Column("share 2", lambda line: _share(line.second), 7, _sort_share(False), right=True),
                Column("agreement", lambda line: f"{line.match.agreement:.2f}" if line.match else "", 9,
                       lambda line: line.match and line.match.agreement, right=True),
                Column("cosine", lambda line: f"{line.match.cosine:.2f}" if line.match else "", 6,
                       lambda line: line.match and line.match.cosine, right=True, drop=1),
                Column("boosts", _boosts, 9, grow=True),
            ],
            key=lambda line: line.key,
            empty="",
            id="children",
        )  # fmt: skip
        yield KeyLine()

    def on_mount(self) -> None:
        self.query_one(Table).focus()
        self._begin()

    def _begin(self) -> None:
        place = f" ({self._at + 1} of {len(self._others)})" if len(self._others) > 1 else ""
        title = f"children of feature {self._target}: {self.first} beside {self.second}{place}"
        self.query_one("#compare-title", Static).update(title)
        self.found = None
        self._say("reading held-out text …")
        self.query_one(Table).fill([])
        self.read(self.second)

    @work(exclusive=True)
    async def read(self, second: str) -> None:
        underway = Underway("reading held-out text …")
        try:
            await asyncio.sleep(STAY_S)
            found = await self.session.compare(
                self.first, second, lambda message: self._say(underway.line(message))
            )
        except UserError as error:
            self._say(str(error))
        else:
            self._show(found)

    def _show(self, found: Comparison) -> None:
        from saetui.reports.comparison import COST_NOTE, cost_lines, target_line

        self.found = found
        both = f"{len(found.matches)} children found by both; in brackets: the nearest, too unlike to count"
        self._say("\n".join([target_line(found), *cost_lines(found), COST_NOTE, both]))
        table = self.query_one(Table)
        table.empty = "neither run has a child that fires often enough"
        table.fill(lines(found), anew=True)

    def _say(self, text: str) -> None:
        self.query_one("#compare-said", Static).update(text)

    def _feature(self, line: Line, first: bool) -> str:
        """A child's number; that of the nearest one, where the run has no such child."""
        if child := line.first if first else line.second:
            return str(child.feature)
        if line.match is None:
            return ""
        return f"({line.match.first if first else line.match.second})"

    def on_table_selected(self, message: Table.Selected) -> None:
        message.stop()
        line: Line = message.row
        child, run = (line.first, self.first) if line.first else (line.second, self.second)
        assert child is not None
        self.dismiss(Mark(run, child.feature))

    def action_other_compared(self) -> None:
        """The next of the others in the place of the second."""
        if len(self._others) < 2:
            self.notify("these are the only finished runs of this feature")
            return
        self._at = (self._at + 1) % len(self._others)
        self._begin()

    def action_leave_compare(self) -> None:
        self.workers.cancel_node(self)
        self.dismiss(None)

    def headless(self) -> list[str]:
        return [command("compare", self.first, self.second)]

    @property
    def export_stem(self) -> str:
        return f"compare-{self.first}-{self.second}"


def lines(found: Comparison) -> list[Line]:
    """The children of both, best agreement first, then those of either run, largest share first."""
    first, second = found.first, found.second
    names = {"graft": "graft", "split": "wide"}
    words = (names[first.kind], names[second.kind]) if first.kind != second.kind else ("first", "second")
    a, b = ({child.feature: child for child in side.children} for side in (first, second))
    return [
        *(Line("both", a[match.first], b[match.second], match) for match in found.matches),
        *(
            Line(words[0], child, None, found.nearest_to(child.feature, of_first=True))
            for child in _only(first)
        ),
        *(
            Line(words[1], None, child, found.nearest_to(child.feature, of_first=False))
            for child in _only(second)
        ),
    ]


def _only(side: ComparedRun) -> list[Child]:
    return [child for child in side.children if child.feature in side.only]


def _share(child: Child | None) -> str:
    return percent(child.share, 2) if child else ""


def _sort_share(first: bool) -> Callable[[Line], float | None]:
    def share(line: Line) -> float | None:
        child = line.first if first else line.second
        return child.share if child else None

    return share


def _boosts(line: Line) -> str:
    from saetui.reports.comparison import boosted

    child = line.first or line.second
    return boosted(child) if child else ""
