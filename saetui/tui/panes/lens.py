"""The lens pane: what the feature boosts and suppresses, and which features point the same way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widget import Widget

from saetui.tui.panes.pane import Pane
from saetui.tui.panes.pane_table import PaneTable, logit_table
from saetui.tui.selection import Selected
from saetui.tui.session import Session
from saetui.tui.shell_words import command
from saetui.tui.widgets.table import Column

if TYPE_CHECKING:
    from saetui.features.results import Lens, Neighbour


class LensPane(Pane):
    NUMBER = 3
    TITLE = "logit lens"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._lens: Lens | None = None
        self._neighbours: list[Neighbour] = []

    def compose_content(self) -> ComposeResult:
        with Horizontal():
            yield logit_table("boosted")
            yield logit_table("suppressed")
            yield PaneTable(
                [
                    Column("near", self._which, 10, grow=True),
                    Column("of", lambda row: self.session.title(row.sae), 16, drop=1),
                    Column("cos", lambda row: f"{row.cosine:.2f}", 4, right=True),
                ],
                key=lambda row: (row.sae, row.feature),
                empty="",
                id="neighbours",
            )

    def _which(self, neighbour: Neighbour) -> str:
        """The feature's number, with the kind of its SAE where that is another one: a word that fits."""
        own = self.selected is not None and neighbour.sae == self.selected.sae
        return f"{neighbour.feature}" if own else f"{neighbour.feature} {self.session.kind(neighbour.sae)}"

    @property
    def main(self) -> Widget:
        return self.query_one("#neighbours", PaneTable)

    async def load(self, selected: Selected) -> None:
        lens, self._neighbours = await asyncio.gather(
            self.session.lens(selected), self.session.neighbours(selected)
        )
        anew = self._lens is None or (lens.sae, lens.feature) != (self._lens.sae, self._lens.feature)
        self._lens = lens
        self.query_one("#boosted", PaneTable).fill(lens.boosted, anew)
        self.query_one("#suppressed", PaneTable).fill(lens.suppressed, anew)
        self.query_one("#neighbours", PaneTable).fill(self._neighbours, anew)

    def on_table_selected(self, message: PaneTable.Selected) -> None:
        message.stop()
        if message.table.id == "neighbours":
            self.post_message(self.FeatureChosen(Selected(message.row.sae, message.row.feature)))

    def twins(self, feature: int, encoder: list[str]) -> list[str]:
        return [command("lens", feature, "--top", 20, *encoder), command("neighbours", feature, *encoder)]

    def as_text(self) -> str:
        if self._lens is None:
            return ""
        lines = [
            f"{kind}\t{row.token}\t{row.logit:.4f}"
            for kind, rows in (("boosted", self._lens.boosted), ("suppressed", self._lens.suppressed))
            for row in rows
        ]
        lines += [f"neighbour\t{n.sae} {n.feature}\t{n.cosine:.4f}" for n in self._neighbours]
        return "\n".join(lines)
