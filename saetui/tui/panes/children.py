"""The children pane: what the selected feature splits into, by a graft made now or by an earlier run."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static

from saetui.errors import UserError
from saetui.quantities import percent, short
from saetui.tui.connection import Progress
from saetui.tui.panes.pane import Pane
from saetui.tui.panes.pane_table import PaneTable
from saetui.tui.run_watch import RunWatch, Seen
from saetui.tui.selection import Selected
from saetui.tui.session import NARROW, Session
from saetui.tui.shell_words import command, setup_words
from saetui.tui.underway import Underway
from saetui.tui.widgets.context_list import ContextList
from saetui.tui.widgets.table import Column
from saetui.visible import visible

if TYPE_CHECKING:
    from collections.abc import Callable

    from saetui.engine.messages import EncoderInfo, Opened
    from saetui.features.results import Child, Children, Context
    from saetui.runs.store import Run
    from saetui.split.finding.report import SplitReport
    from saetui.split.recipe import GraftRecipe

GISTS = 5
"""Different words before the token that tell a child apart in one line."""
STAY_S = 0.15
"""Seconds on one run after which it is opened: runs that are only stepped over are not."""


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
        self.run_id = ""
        """The run whose children are shown or being opened; empty: none, or a graft that is no run (yet)."""
        self.source: EncoderInfo | None = None
        self.found: Children | None = None
        self.grafting = False
        self._offered: list[str] = []
        """The earlier runs that there were when the pane last looked for them."""
        self._read = 0.0
        """Share of the corpus that was read when ``found`` was told."""
        self._tried: Opened | None = None
        """The engine that was asked for the children of ``parent_feature``: another one may have them."""

    def compose_content(self) -> ComposeResult:
        yield Static("", classes="facts", markup=False)
        yield PaneTable(
            [
                Column("child", lambda child: str(child.feature), 6, right=True),
                Column("share", lambda child: percent(child.share, 2), 7, right=True),
                Column("in context", gist, 14, grow=True),
                Column("boosts", boosts, 14, grow=True, drop=1),
            ],
            key=lambda child: child.feature,
            empty="",
            id="children",
        )
        yield ContextList(empty="", name="contexts of the child")

    def on_mount(self) -> None:
        self._clear(None)
        super().on_mount()

    @property
    def main(self) -> Widget:
        return self.query_one(PaneTable)

    @property
    def children_shown(self) -> list[Child]:
        return self.found.children if self.found else []

    @property
    def run(self) -> Run | None:
        """The run that the children come from, or that is being opened."""
        from saetui.runs.store import Run

        return Run(self._watch.root / self.run_id) if self.run_id else None

    @property
    def judged(self) -> bool:
        return any(seen.status.verdict for seen in self._watch.runs if seen.run.id == self.run_id)

    # -- children of earlier runs

    def follow(self, selected: Selected | None) -> None:
        if selected is not None and selected.sae != NARROW:
            return
        super().follow(selected)

    def freshen(self) -> None:
        if self.grafting:
            self._loaded = self.selected  # the graft's children stay, whatever is selected meanwhile
        elif not self._known:
            super().freshen()
        elif self.display and self._grown and not self.loading_now:
            self.run_worker(self._look_again(), group=f"load-{self.id}", exclusive=True)

    @property
    def _grown(self) -> bool:
        """Whether twice as much of the corpus is read as the children are known of, or all of it."""
        read = self.session.indexed.get(NARROW, 1.0)
        return self.found is not None and not self.found.complete and (read >= 2 * self._read or read == 1)

    async def _look_again(self) -> None:
        source, parent = self.source, self.parent_feature
        if source is not None and parent is not None:
            with self.asking(), suppress(UserError):  # what is shown is still true
                self._show(source, await self.session.children(source.name, parent))

    @property
    def _known(self) -> bool:
        """Whether the children of the selected feature are shown, or this engine could not tell them."""
        if self.selected is None or self.selected.feature != self.parent_feature:
            return False
        return self.source is not None or self._tried is self.session.opened is not None

    async def load(self, selected: Selected) -> None:
        self._clear(selected.feature)
        self._offered = self._earlier(selected.feature)
        if self._offered:
            await self._open(self._offered[0], selected.feature)

    def _earlier(self, target: int) -> list[str]:
        """Finished runs that split ``target``, newest first."""
        return [seen.run.id for seen in self._finished(target)]

    def _finished(self, target: int) -> list[Seen]:
        return self._watch.finished(self.session.made, target)

    def runs_changed(self) -> None:
        """A run of the feature that came to light after the feature was selected shows its children."""
        if self.parent_feature is None:
            return
        if self.source is None and not self.grafting and not self.loading_now:
            if self._earlier(self.parent_feature) != self._offered:
                self.parent_feature = None
                self.reload()
        else:
            self._say_what()

    def show_other_run(self) -> None:
        """The children of the next run of the same feature: do the same ones come out?"""
        if (parent := self.parent_feature) is None:
            return
        if self.grafting:
            self.notify("a graft is under way: esc stops it")
            return
        ids = self._earlier(parent)
        if len(ids) < 2:
            self.notify("no other finished run of this feature")
            return
        at = ids.index(self.run_id) if self.run_id in ids else -1
        self._clear(parent, ids[(at + 1) % len(ids)])
        self.run_worker(self._stay(self.run_id, parent), group=f"load-{self.id}", exclusive=True)

    async def _stay(self, run_id: str, parent: int) -> None:
        try:
            with self.asking():
                await asyncio.sleep(STAY_S)
                await self._open(run_id, parent)
        except UserError as error:
            self.say(str(error), error=True)
        else:
            self.say("")

    async def _open(self, run_id: str, parent: int) -> None:
        """Shows the children that the run ``run_id`` made of feature ``parent``."""
        self.run_id, self._tried = run_id, self.session.opened
        self._say_what()
        self.say(f"opening {run_id} …")
        info = await self.session.open_run(run_id)
        self._show(info, await self.session.children(info.name, parent, self._progress(run_id)))

    def comparable(self) -> tuple[int, str, list[str]] | None:
        """The feature, the run that is shown, and the others of it: first those of the other kind, as how a
        graft and a wide SAE differ is asked most. None, and says why, where there are no two runs."""
        target = self.selected.feature if self.selected and not self._known else self.parent_feature
        seen = [] if target is None else self._finished(target)
        if target is None or len(seen) < 2:
            self.notify("it takes two finished runs of a feature: g grafts it, s launches a wide split")
            return None
        first = next((one for one in seen if one.run.id == self.run_id), seen[0])
        others = [one for one in seen if one is not first]
        others.sort(key=lambda one: one.status.kind == first.status.kind)
        return target, first.run.id, [one.run.id for one in others]

    def open_report(self) -> None:
        """The split report of what is shown: the run's own where it has one, else as the engine finds it."""
        from saetui.tui.screens.split_report import SplitReportScreen, stored_report

        if (source := self.source) is None or (target := self.parent_feature) is None:
            self.notify("no children are shown yet: g grafts this feature")
            return

        run = self.run

        async def read(say: Callable[[str], None]) -> SplitReport:
            if run and (report := await asyncio.to_thread(stored_report, run)):
                return report
            underway = Underway("reading held-out text")
            return await self.session.report(source.name, target, lambda m: say(underway.line(m)))

        title = f"feature {target} in {source.run or source.title}"
        self.app.push_screen(SplitReportScreen(title, read, self.headless()))

    # -- grafting

    def graft(self, recipe: GraftRecipe, keep: bool = True) -> None:
        """Makes the graft; its children appear here. ``keep``: as a run, to be judged and found again."""
        if self.grafting:
            self.notify("a graft is under way: esc stops it")
        elif self.session.opened is None:
            self.notify(f"the engine is not ready: {self.session.state.line}", severity="warning")
        else:
            self.workers.cancel_group(self, f"load-{self.id}")
            self.grafting = True
            self.run_worker(self._graft(recipe, keep), group="graft", exclusive=True)

    def cancel(self) -> bool:
        """Stops the graft or the question under way; whether there was one."""
        if not self.grafting:
            self._tried = None
            return super().cancel()
        self.workers.cancel_group(self, "graft")
        self.grafting = False  # a worker that has not begun yet never comes to say so itself
        self._say_what()
        return True

    async def _graft(self, recipe: GraftRecipe, keep: bool) -> None:
        target = recipe.target
        self._clear(target)
        self.say(f"grafting feature {target} … esc stops it")
        try:
            grafted = await self.session.graft(recipe, self._progress(f"grafting feature {target}"))
            self._show(grafted.sae, grafted.children)
            made = f"{len(self.children_shown)} children"
            if not keep:
                self.say(f"{made} by the census's recipe · g grafts and keeps them")
                return
            made += f" in {grafted.seconds:.1f} s"
            self.say(f"{made}; storing the run …")
            self._show(await self.session.store_graft(grafted.sae.name), grafted.children)
            self.say(f"{made} from {grafted.hot_tokens:,} tokens · v judges them")
        except UserError as error:
            self.say(str(error), error=True)
        except asyncio.CancelledError:
            self.say("graft stopped")
            raise
        finally:
            self.grafting = False
            self._say_what()
            self.post_message(self.Changed())

    def _progress(self, what: str) -> Progress:
        underway = Underway(what)
        return lambda message: self.say(underway.line(message))

    # -- showing

    def _show(self, source: EncoderInfo, found: Children) -> None:
        self.source, self.run_id, self.found = source, source.run, found
        self._read = self.session.indexed.get(NARROW, 1.0)
        self._fill()

    def _clear(self, parent: int | None, run_id: str = "") -> None:
        """``run_id``: the run that is to be opened next."""
        self.parent_feature, self.run_id, self.source, self.found = parent, run_id, None, None
        self._fill()

    def _fill(self) -> None:
        contexts = self.query_one(ContextList)
        contexts.display = bool(self.children_shown)
        if not self.children_shown:
            contexts.show([])
        self._say_what()
        table = self.query_one(PaneTable)
        table.fill(self.children_shown)
        if table.highlighted:
            contexts.show(table.highlighted.contexts)
        self.post_message(self.Changed())

    def _say_what(self) -> None:
        """Which run this is, and of how many tokens its shares are; the keys that do something now."""
        ids = [] if self.parent_feature is None else self._earlier(self.parent_feature)
        facts = self.query_one(".facts", Static)
        facts.update(" · ".join(filter(None, (self._which(ids), shares_of(self.found)))))
        facts.display = bool(self.run_id or self.found)
        keys = ["R report"] if self.source else []
        if len(ids) > 1 and not self.grafting:
            keys += ["o other run", "O compare"]
        self.border_subtitle = " · ".join([f"of {self.parent_feature}", *keys]) if self.source or keys else ""
        table = self.query_one(PaneTable)
        offered = not (self.grafting or self.run_id)
        empty = "g grafts this feature: children appear here in seconds" if offered else ""
        if table.empty != empty:
            table.empty = empty
            table.refresh()

    def _which(self, ids: list[str]) -> str:
        if not self.run_id:
            return "not kept as a run" if self.source and not self.grafting else ""
        several = len(ids) > 1 and self.run_id in ids
        return self.run_id + (f" ({ids.index(self.run_id) + 1} of {len(ids)})" if several else "")

    def on_table_highlighted(self, message: PaneTable.Highlighted) -> None:
        message.stop()
        self.query_one(ContextList).show(message.row.contexts, anew=True)

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


def shares_of(found: Children | None) -> str:
    """What the shares are shares of."""
    if found is None:
        return ""
    where = "held-out tokens" if found.held_out else "tokens of the corpus"
    so_far = "" if found.complete else " so far"
    return (
        f"share: of the {short(found.fired)} above {found.threshold:g} in {short(found.tokens_read)} "
        f"{where}{so_far}"
    )


def gist(child: Child) -> str:
    """The words in which the child's top contexts differ: ``low- high- non-``."""
    return " ".join(list(dict.fromkeys(map(_ending, child.contexts)))[:GISTS])


def _ending(context: Context) -> str:
    left = "".join(context.tokens[: context.center]).split()
    return visible(left[-1][-12:] if left else "") + visible(context.tokens[context.center], dots=True)


def boosts(child: Child) -> str:
    return " ".join(visible(row.token.strip()) for row in child.boosted[:6])
