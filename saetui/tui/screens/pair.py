"""Two features side by side: what they are to each other, on which tokens, and which only one of them has."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from textual import work
from textual.app import ComposeResult
from textual.screen import Screen
from textual.widgets import Static

from saetui.errors import UserError
from saetui.tui.actions import bindings
from saetui.tui.key_line import KeyLine
from saetui.tui.selection import Selected
from saetui.tui.session import NARROW, Session
from saetui.tui.shell_words import command, setup_words
from saetui.tui.underway import Underway
from saetui.tui.widgets.canvas import Symbols
from saetui.tui.widgets.scatter import Points, Scatter
from saetui.tui.widgets.table import Column, Table
from saetui.visible import tail, visible

if TYPE_CHECKING:
    from saetui.features.results import Pair, PairContext, PairSide

LEFT = 32
"""Cells of the text before a token, of which the end is shown: it is what the model has just seen."""


class PairScreen(Screen[None]):
    """``first`` and ``second`` on the same held-out tokens, which the engine reads while this is open. The
    table sorts by either feature: those that only one has are where the other is zero."""

    CSS = """
    PairScreen #pair-said { height: auto; padding: 0 1; }
    PairScreen Scatter { height: 40%; margin: 1 1 0 1; }
    PairScreen Table { height: 1fr; margin: 1 1 0 1; }
    """
    BINDINGS = bindings("pair", "values")

    def __init__(
        self, session: Session, first: Selected, second: Selected, symbols: Symbols = "braille"
    ) -> None:
        super().__init__()
        self._symbols: Symbols = symbols
        self.session, self.first, self.second = session, first, second
        self.found: Pair | None = None
        self.only: Selected | None = None
        """Whose own tokens the table is about; None: all."""
        self._by = 0
        """The column that the table is sorted by."""

    def _called(self, one: Selected) -> str:
        """Its number, with its SAE where both have the same one."""
        alike = self.first.feature == self.second.feature
        return f"{one.feature} {self.session.title(one.sae)}"[:12] if alike else str(one.feature)

    def compose(self) -> ComposeResult:
        yield Static("reading held-out text …", id="pair-said", markup=False)
        yield Scatter(self._symbols)
        yield Table[Any](
            [
                Column(self._called(self.first), lambda c: f"{c.first[c.center]:.2f}",
                       max(7, len(self._called(self.first)) + 1), lambda c: c.first[c.center], right=True),
                Column(self._called(self.second), lambda c: f"{c.second[c.center]:.2f}",
                       max(7, len(self._called(self.second)) + 1), lambda c: c.second[c.center], right=True),
                Column("before", _before, LEFT, right=True),
                Column("token and after", _after, 30, grow=True),
            ],
            key=lambda c: (c.row, c.position),
            empty="neither of them fires",
        )  # fmt: skip
        yield KeyLine()

    def on_mount(self) -> None:
        table = self.query_one(Table)
        table.sort_by(table.columns[0].title, reverse=True)
        table.focus()
        self.read()

    @work(exclusive=True)
    async def read(self) -> None:
        said = self.query_one("#pair-said", Static)
        try:
            underway = Underway("reading held-out text …")
            found = await self.session.pair(
                self.first, self.second, lambda message: said.update(underway.line(message))
            )
        except UserError as error:
            said.update(str(error))
            return
        self.found = found
        said.update("\n".join(self._lines(found)))
        title = f"{found.second.feature} (up) against {found.first.feature}"
        self.query_one(Scatter).show(self._points(found), title, f"activation of {found.first.feature}")
        self._fill()

    def _points(self, found: Pair) -> list[Points]:
        """Apart by which of the two fire: what only one has lies on an axis, and is told by its sign too."""
        groups = (
            ("both", lambda a, b: a > 0 and b > 0),
            (f"only {self._called(self.first)}", lambda a, b: b <= 0),
            (f"only {self._called(self.second)}", lambda a, b: a <= 0),
        )
        points: list[Points] = []
        for colour, (label, holds) in enumerate(groups):
            if own := [(a, b) for a, b in found.points if holds(a, b)]:
                points.append(Points(label, [a for a, _ in own], [b for _, b in own], colour))
        return points

    def _fill(self) -> None:
        if (found := self.found) is None:
            return
        table = self.query_one(Table)
        lists = (found.by_first, found.by_second, found.only_first, found.only_second)
        table.empty = "neither of them fires"
        if self.only is not None:
            lists = (found.only_first if self.only is self.first else found.only_second,)
            table.empty = f"{self._called(self.only)} fires nowhere without the other"
        table.fill(list({(c.row, c.position): c for one in lists for c in one}.values()))

    def action_sort_pair(self) -> None:
        """By the other feature, strongest first."""
        self._by = 1 - self._by
        table = self.query_one(Table)
        table.sort_by(table.columns[self._by].title, reverse=True)

    def action_only_pair(self) -> None:
        """All tokens, those that only the first has, those that only the second has."""
        order = [None, self.first, self.second]
        self.only = order[(order.index(self.only) + 1) % 3]
        if self.only is not None and (self.only is self.second) != bool(self._by):
            self.action_sort_pair()
        self._fill()
        self.notify(
            "all tokens of both" if self.only is None else f"only {self._called(self.only)} fires here"
        )

    def _lines(self, found: Pair) -> list[str]:
        correlation = "" if found.correlation is None else f" · correlation {found.correlation:.3f}"
        return [
            *(self._side(side) for side in (found.first, found.second)),
            f"decoder cosine {found.cosine:.3f} · Jaccard {found.jaccard:.3f}{correlation} · both on "
            f"{found.both:,} of {found.tokens_read:,} held-out tokens",
        ]

    def _side(self, side: PairSide) -> str:
        return (
            f"{side.feature} of {self.session.title(side.sae)}: density {side.density:.3%} · max "
            f"{side.max_activation:.2f} · other on {side.covered:.1%} · masked cos {side.masked_cosine:.3f}"
        )

    def headless(self) -> list[str]:
        first, second = self.first, self.second
        if first.sae != NARROW == second.sae:  # what FIRST is of where nothing is said
            first, second = second, first
        words = [command("pair", first.feature, second.feature, *setup_words(self.session.setup))]
        for flag, sae in (("--of", first.sae), ("--in", second.sae)):
            if (place := self.session.place(sae)) is None:
                return []
            if place != NARROW:
                words.append(shlex.join([flag, place]))
        return [" ".join(words)]

    def action_read(self, by: int) -> None:
        """Walks the scatter."""
        self.query_one(Scatter).move(by)

    def action_close_pair(self) -> None:
        if not self.query_one(Scatter).hide():
            self.dismiss()


def _before(context: PairContext) -> str:
    return tail(visible("".join(context.tokens[: context.center])), LEFT)


def _after(context: PairContext) -> str:
    token, after = context.tokens[context.center], context.tokens[context.center + 1 :]
    return f"«{visible(token, dots=True)}»{visible(''.join(after))}"
