"""The children pane: what the selected feature splits into, by a graft made now or by an earlier run."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from textual.app import ComposeResult
from textual.message import Message
from textual.widget import Widget

from saetui.errors import UserError
from saetui.quantities import percent
from saetui.tui.panes.pane import Pane
from saetui.tui.panes.pane_table import PaneTable
from saetui.tui.run_watch import RunWatch
from saetui.tui.selection import Selected
from saetui.tui.session import NARROW, Progress, Session
from saetui.tui.shell_words import command, setup_words
from saetui.tui.underway import Underway
from saetui.tui.widgets.context_list import ContextList
from saetui.tui.widgets.table import Column
from saetui.visible import visible

if TYPE_CHECKING:
    from collections.abc import Callable

    from saetui.engine.messages import EncoderInfo
    from saetui.features.results import Child, Context
    from saetui.runs.store import Run
    from saetui.split.finding.report import SplitReport
    from saetui.split.recipe import GraftRecipe

GISTS = 5
"""Different words before the token that tell a child apart in one line."""


class ChildrenPane(Pane):
    """Follows features of the narrow SAE; while a child is looked at, its siblings stay listed."""

    NUMBER = 4
    TITLE = "children"

    class Changed(Message):
        """Children came, went, or were judged."""

    def __init__(self, session: Session, watch: RunWatch) -> None:
        super().__init__(session)
        self._watch = watch
        self.parent_feature: int | None = None
        self.source: EncoderInfo | None = None
        self.children_shown: list[Child] = []
        self.grafting = False
        self._offered: list[str] = []
        """The earlier runs that there were when the pane last looked for them."""

    def compose_content(self) -> ComposeResult:
        yield PaneTable(
            [
                Column("child", lambda child: str(child.feature), 6, right=True),
                Column("share", lambda child: percent(child.share, 2), 7, right=True),
                Column("in context", gist, 14, grow=True),
                Column("boosts", boosts, 14, grow=True, drop=1),
            ],
            key=lambda child: child.feature,
            empty="g grafts this feature: children appear here in seconds",
            id="children",
        )
        yield ContextList(empty="")

    def on_mount(self) -> None:
        self.query_one(ContextList).display = False
        super().on_mount()

    @property
    def main(self) -> Widget:
        return self.query_one(PaneTable)

    @property
    def run(self) -> Run | None:
        """The run that the children come from."""
        from saetui.runs.store import Run

        return Run(self._watch.root / self.source.run) if self.source and self.source.run else None

    @property
    def judged(self) -> bool:
        return any(
            seen.status.verdict for seen in self._watch.runs if self.source and seen.run.id == self.source.run
        )

    # -- children of earlier runs

    def follow(self, selected: Selected | None) -> None:
        if selected is not None and selected.sae != NARROW:
            return
        super().follow(selected)

    async def load(self, selected: Selected) -> None:
        if self.grafting or selected.feature == self.parent_feature:
            return
        self._clear(selected.feature)
        self._offered = self._earlier(selected.feature)
        if self._offered:
            await self._show_run(self._offered[0], selected.feature)

    def _earlier(self, target: int) -> list[str]:
        """Finished runs that split ``target``, newest first."""
        return [seen.run.id for seen in self._watch.finished(self.session.made, target)]

    def runs_changed(self) -> None:
        """A run of the feature that came to light after the feature was selected shows its children."""
        if self.source is not None or self.grafting or self.parent_feature is None:
            return
        if self._earlier(self.parent_feature) != self._offered:
            self.parent_feature = None
            self.reload()

    async def _show_run(self, run_id: str, parent: int) -> None:
        self.say(f"opening {run_id} …")
        info = await self.session.open_run(run_id)
        children = await self.session.children(info.name, parent, self._progress(run_id))
        self._show(info, children)

    def _clear(self, parent: int) -> None:
        self.parent_feature, self.source = parent, None
        self._fill([])
        self.border_subtitle = ""
        self.post_message(self.Changed())

    def show_run(self, run_id: str, parent: int) -> None:
        """Shows the children that the run ``run_id`` made of feature ``parent``."""

        async def show() -> None:
            try:
                with self.asking():
                    await self._show_run(run_id, parent)
                self.parent_feature = parent
                self.say("")
            except UserError as error:
                self.say(str(error), error=True)

        self.run_worker(show(), group=f"load-{self.id}", exclusive=True)

    def show_other_run(self) -> None:
        """The children of the next run of the same feature: do the same ones come out?"""
        if self.parent_feature is None:
            return
        ids = self._earlier(self.parent_feature)
        if len(ids) < 2:
            self.notify("no other finished run of this feature")
            return
        at = ids.index(self.source.run) if self.source and self.source.run in ids else -1
        self.show_run(ids[(at + 1) % len(ids)], self.parent_feature)

    def open_report(self) -> None:
        """The split report of what is shown: the run's own where it has one, else as the engine finds it."""
        from saetui.tui.screens.split_report import SplitReportScreen, stored_report

        if (source := self.source) is None or (target := self.parent_feature) is None:
            self.notify("no children are shown yet: g grafts this feature")
            return

        async def read(say: Callable[[str], None]) -> SplitReport:
            underway = Underway("reading held-out text")
            return await self.session.report(source.name, target, lambda m: say(underway.line(m)))

        report = stored_report(self.run) if self.run else None
        title = f"feature {target} in {source.run or source.title}"
        self.app.push_screen(SplitReportScreen(title, report or read, self.headless()))

    # -- grafting

    def graft(self, recipe: GraftRecipe, keep: bool = True) -> None:
        """Makes the graft; its children appear here. ``keep``: as a run, to be judged and found again."""
        if self.grafting:
            self.notify("a graft is under way: esc stops it")
        elif self.session.opened is None:
            self.notify(f"the engine is not ready: {self.session.state.line}", severity="warning")
        else:
            self.grafting = True
            self.run_worker(self._graft(recipe, keep), group="graft", exclusive=True)

    def cancel(self) -> bool:
        """Stops the graft or the question under way; whether there was one."""
        if not self.grafting:
            return super().cancel()
        self.workers.cancel_group(self, "graft")
        self.grafting = False  # a worker that has not begun yet never comes to say so itself
        return True

    async def _graft(self, recipe: GraftRecipe, keep: bool) -> None:
        target = recipe.target
        self._clear(target)
        self.say(f"grafting feature {target} … esc stops it")
        try:
            grafted = await self.session.graft(recipe, self._progress(f"grafting feature {target}"))
            self._show(grafted.sae, grafted.children)
            if not keep:
                self.say(f"{len(grafted.children)} children by the census's recipe · g grafts and keeps them")
                return
            self.say(f"{len(grafted.children)} children in {grafted.seconds:.1f} s; storing the run …")
            self.source = await self.session.store_graft(grafted.sae.name)
            self._show(self.source, grafted.children)
            self.say(
                f"{len(grafted.children)} children in {grafted.seconds:.1f} s "
                f"from {grafted.hot_tokens:,} tokens · v judges them"
            )
        except UserError as error:
            self.say(str(error), error=True)
        except asyncio.CancelledError:
            self.say("graft stopped")
            raise
        finally:
            self.grafting = False
            self.post_message(self.Changed())

    def _progress(self, what: str) -> Progress:
        underway = Underway(what)

        def show(message: dict[str, Any]) -> None:
            self.say(underway.line(message))
            if partial := message.get("partial"):
                from saetui.engine.messages import decode
                from saetui.features.results import Child

                self._fill(decode(list[Child], partial))

        return show

    # -- showing

    def _show(self, source: EncoderInfo, children: list[Child]) -> None:
        self.source = source
        self._fill(children)
        kept = f"{source.run} · R report · o other run" if source.run else "not kept as a run · R report"
        self.border_subtitle = f"of {self.parent_feature} · {kept}"
        self.post_message(self.Changed())

    def _fill(self, children: list[Child]) -> None:
        self.children_shown = sorted(children, key=lambda child: -child.share)
        self.query_one(PaneTable).fill(self.children_shown)
        contexts = self.query_one(ContextList)
        contexts.display = bool(children)
        if not children:
            contexts.show([])

    def on_table_highlighted(self, message: PaneTable.Highlighted) -> None:
        message.stop()
        self.query_one(ContextList).show(message.row.contexts)

    def on_table_selected(self, message: PaneTable.Selected) -> None:
        message.stop()
        if self.source is not None:
            self.post_message(self.FeatureChosen(Selected(self.source.name, message.row.feature)))

    def headless(self) -> list[str]:
        if self.run is not None:
            return [command("judge", self.run.id, "--report")]
        if self.parent_feature is None:
            return []
        return [command("graft", "--target", self.parent_feature, *setup_words(self.session.setup))]

    def as_text(self) -> str:
        return "\n".join(
            f"{child.feature}\t{child.share:.4f}\t{gist(child)}\t{boosts(child)}"
            for child in self.children_shown
        )


def gist(child: Child) -> str:
    """The words in which the child's top contexts differ: ``low- high- non-``."""
    return " ".join(list(dict.fromkeys(map(_ending, child.contexts)))[:GISTS])


def _ending(context: Context) -> str:
    left = "".join(context.tokens[: context.center]).split()
    return visible(left[-1][-12:] if left else "") + visible(context.tokens[context.center], dots=True)


def boosts(child: Child) -> str:
    return " ".join(visible(row.token.strip()) for row in child.boosted[:6])
