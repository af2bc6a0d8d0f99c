"""The workbench's only way to a model: one engine process, what it has opened, and how it is doing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saetui.embedded import WORLDS, World, world
from saetui.errors import UsageError, UserError
from saetui.setup import Setup
from saetui.tui.connection import Connect, Engine, EngineState, Phase, Progress, connect_engine
from saetui.tui.selection import Selected

if TYPE_CHECKING:
    from saetui.census.results import Census
    from saetui.engine.messages import EncoderInfo, Grafted, Opened, Status
    from saetui.features.results import (
        Children,
        Contexts,
        Findings,
        Firings,
        Kept,
        Lens,
        Neighbour,
        Pair,
        PromptProbe,
    )
    from saetui.split.comparison import Comparison
    from saetui.split.finding.report import SplitReport
    from saetui.split.judging.verdict import Judgement
    from saetui.split.pace import Trial
    from saetui.split.recipe import GraftRecipe, SplitRecipe

NARROW = "narrow"
"""The engine's name of the SAE that the setup names."""

PROMPT = "I'm a multi-millionaire"
"""The seed's first probe prompt, for a setup that names none of its own."""


class Session:
    """One setup, opened in one engine that is restarted once by itself and then by the person."""

    def __init__(self, setup: Setup, connect: Connect = connect_engine) -> None:
        self.setup = setup
        self.world: World | None = world(setup.model) if setup.model in WORLDS else None
        self.opened: Opened | None = None
        self.narrow_features = self.world.narrow_features if self.world and not setup.sae else None
        """Features of the narrow SAE, also before it is open where that is known."""
        self.state = EngineState(Phase.LOADING, "starting the engine …")
        self.encoders: dict[str, EncoderInfo] = {}
        self.indexed: dict[str, float] = {}
        """Share of the corpus read, by encoder."""
        self._connect = connect
        self._engine: Engine | None = None
        self._restarted = False
        self._listeners: list[Callable[[], None]] = []
        self._runs: dict[str, str] = {}
        """The run that an encoder came from, by the encoder's name."""
        self._names: dict[str, str] = {}
        """What the engine calls an encoder now that it had to open again."""

    # -- what is known without the engine

    @property
    def target(self) -> int:
        """The feature that the setup is about."""
        return self.world.target if self.world else 0

    @property
    def prompts(self) -> tuple[str, ...]:
        return self.world.prompts if self.world and self.world.prompts else (PROMPT,)

    @property
    def hook_name(self) -> str:
        return self.opened.hook_name if self.opened else self.setup.hook_name

    @property
    def sizes(self) -> dict[str, int]:
        """Features of every encoder that is open, by name, and of the narrow one where they are known."""
        known = {} if self.narrow_features is None else {NARROW: self.narrow_features}
        return known | {name: info.d_sae for name, info in self.encoders.items()}

    def size(self, sae: str) -> int | None:
        """Features of an encoder, where it is open or the narrow one's are known all the same."""
        info = self.encoders.get(self._names.get(sae, sae))
        return info.d_sae if info else self.narrow_features if sae == NARROW else None

    def title(self, sae: str) -> str:
        """What a person calls an encoder."""
        if sae == NARROW or sae in self._runs:
            return self._runs.get(sae, sae)
        info = self.encoders.get(sae)
        return Path(info.title).name if info else sae

    def kind(self, sae: str) -> str:
        """What an encoder is to the narrow one, in a word."""
        info = self.encoders.get(sae)
        return NARROW if sae == NARROW else "graft" if info and info.kind == "graft" else "wide"

    def place(self, sae: str) -> str | None:
        """What an encoder is called where marks are kept: ``narrow``, its run's id or its path; None for a
        graft that is no run (yet), of which nothing outlives the engine."""
        if sae == NARROW or sae in self._runs:
            return self._runs.get(sae, sae)
        info = self.encoders.get(sae)
        return info.title if info and info.kind == "sae" else None

    def is_run(self, sae: str) -> bool:
        """Whether an encoder is what a run ended with."""
        return sae in self._runs

    async def at_place(self, place: str) -> str:
        """The encoder of a ``place``, opened if need be. UserError where that is gone."""
        for name in (NARROW, *self.encoders):
            if self.place(name) == place:
                return name
        path = any(sep in place for sep in "/\\") or await asyncio.to_thread(Path(place).exists)
        return (await (self.open_sae(Path(place)) if path else self.open_run(place))).name

    def split_recipe(self, target: int) -> SplitRecipe:
        """What ``saetui split --target`` takes by itself: the recipe's defaults, 8 times the narrow SAE's
        features, and the world's own values over both."""
        from saetui.split.recipe import SplitRecipe

        width = {"d_sae": 8 * self.sizes[NARROW]} if NARROW in self.sizes else {}
        return SplitRecipe.from_dict({**width, **self._world_values("split"), "target": target})

    def graft_recipe(self, target: int) -> GraftRecipe:
        """The same for ``saetui graft``."""
        from saetui.split.recipe import GraftRecipe

        return GraftRecipe.from_dict({**self._world_values("graft"), "target": target})

    def threshold(self, target: int, strongest: float | None) -> float | None:
        """Above what any other feature than the world's target counts as firing. None for that target,
        which has its own threshold, or if nothing is known."""
        from saetui.split.threshold import has_own_threshold, threshold_of

        return None if strongest is None or has_own_threshold(self.setup, target) else threshold_of(strongest)

    def _world_values(self, kind: str) -> dict[str, Any]:
        if self.world is None or self.setup.sae:  # another SAE's features are other ones
            return {}
        return {"threshold": self.world.threshold, **getattr(self.world, kind)}

    def made(self, setup: dict[str, Any]) -> bool:
        """Whether a run of ``setup`` is about this session's model and narrow SAE."""
        return self.setup.made(setup)

    # -- the engine's life

    def listen(self, changed: Callable[[], None]) -> None:
        """Calls ``changed`` whenever the engine's state or what it has opened changes."""
        self._listeners.append(changed)

    def forget(self, changed: Callable[[], None]) -> None:
        self._listeners.remove(changed)

    async def start(self) -> None:
        """Starts the engine and opens the setup; how it went is in ``state``."""
        if self._engine is None:
            self._engine = self._connect(self._notice, self._died)
        try:
            await self._engine.start()
        except OSError as error:  # no place for its log, no memory for a process
            self._say(Phase.DIED, f"the engine cannot be started: {error}; ctrl+r tries again")
            return
        await self._open()

    async def restart(self) -> None:
        """Starts the engine again, because it died or because the person wants it."""
        self.opened = None
        self.encoders, self.indexed = {}, {}
        self._say(Phase.LOADING, "starting the engine again …")
        await self.close()
        await self.start()

    async def close(self) -> None:
        if self._engine is not None:
            await self._engine.close()

    async def _open(self) -> None:
        assert self._engine is not None
        self._say(Phase.LOADING, f"loading {self.setup.model} …")
        try:
            opened: Opened = await self._engine.request(
                "open", on_progress=self._opening, setup=self.setup.to_dict()
            )
        except UserError as error:
            if self.state.phase is not Phase.DIED:
                self._say(Phase.REFUSED, str(error))
            return
        self.opened = opened
        self.encoders[NARROW] = opened.narrow
        self.narrow_features = opened.narrow.d_sae
        self._ready()

    def _opening(self, message: dict[str, Any]) -> None:
        self._say(Phase.LOADING, f"loading {self.setup.model}: {message.get('message', '…')}")

    def _ready(self) -> None:
        assert self.opened is not None
        share = self.indexed.get(NARROW, 1.0)
        reading = f" · reading the corpus {100 * share:.0f} %" if share < 1 else ""
        warnings = "".join(f" · {line}" for line in self.opened.warnings)
        self._say(Phase.READY, f"{self.opened.model} on {self.opened.device}{reading}{warnings}")

    def _say(self, phase: Phase, line: str) -> None:
        state = EngineState(phase, line)
        if state == self.state and phase is not Phase.READY:
            return
        self.state = state
        for changed in list(self._listeners):
            changed()

    def _notice(self, message: dict[str, Any]) -> None:
        if message.get("notice") == "index":
            wanted = message.get("wanted") or 0
            done = message.get("complete") or not wanted
            self.indexed[message["sae"]] = 1.0 if done else message["tokens"] / wanted
            if self.opened is not None:
                self._ready()

    def _died(self, line: str) -> None:
        self.opened = None
        self.encoders, self.indexed = {}, {}
        if self._restarted:
            what, _, where = line.partition("; ")
            self._say(Phase.DIED, f"{what.partition(':')[0]}: ctrl+r starts it again; {where}")
            return
        self._restarted = True
        self._say(Phase.LOADING, f"{line.partition(':')[0]}; starting it again …")
        self._restart = asyncio.ensure_future(self.restart())

    # -- questions, each a record of saetui.features.results; all raise UserError with one line

    async def _ask(self, op: str, on_progress: Progress | None = None, **args: Any) -> Any:
        if self._engine is None or self.opened is None:
            raise UserError(f"the engine is not ready: {self.state.line}")
        return await self._engine.request(op, on_progress=on_progress, **args)

    async def _ask_of(self, sae: str, op: str, on_progress: Progress | None = None, **args: Any) -> Any:
        """Asks about an encoder. The engine keeps only the last few open, and none over its death: one
        that came from a run is opened again."""
        try:
            return await self._ask(op, on_progress, sae=self._names.get(sae, sae), **args)
        except UserError:
            if not await self._reopened(sae):
                raise
        return await self._ask(op, on_progress, sae=self._names[sae], **args)

    async def _reopened(self, sae: str) -> bool:
        """Opens ``sae`` again, if it is not open any more and came from a run; whether it did."""
        if (run := self._runs.get(sae)) is None:
            return False
        status: Status = await self._ask("status")
        if self._names.get(sae, sae) in (info.name for info in status.encoders):
            return False
        self._names[sae] = (await self.open_run(run)).name
        return True

    async def probe(self, prompt: str, sae: str, follow: list[int]) -> PromptProbe:
        return await self._ask_of(sae, "probe", prompt=prompt, top=12, follow=follow)

    async def contexts(self, selected: Selected, before: int = 5, after: int = 4) -> Contexts:
        return await self._ask_of(
            selected.sae, "contexts", feature=selected.feature, before=before, after=after
        )

    async def kept(self, feature: int, threshold: float) -> Kept:
        """What a filter by a feature of the narrow SAE keeps, of the text that is read so far."""
        return await self._ask("kept", feature=feature, threshold=threshold)

    async def trial(self, recipe: SplitRecipe) -> Trial:
        """A few steps of a split tried out: what it would cost here."""
        return await self._ask("trial", recipe=recipe.to_dict())

    async def find(self, sae: str, text: str) -> Findings:
        """Features of an encoder that fire on ``text`` or boost it."""
        return await self._ask_of(sae, "find", text=text)

    async def firings(
        self, selected: Selected, start: int, count: int, before: int, after: int, on_progress: Progress
    ) -> Firings:
        """A page of all the contexts on which a feature fires."""
        return await self._ask_of(
            selected.sae, "firings", on_progress,
            feature=selected.feature, start=start, count=count, before=before, after=after,
        )  # fmt: skip

    async def lens(self, selected: Selected) -> Lens:
        return await self._ask_of(selected.sae, "lens", feature=selected.feature, top=20)

    async def neighbours(self, selected: Selected) -> list[Neighbour]:
        """Features of its own SAE that point the same way and, where another is open, of that one."""
        others = [name for name in self.encoders if name != selected.sae]
        within = [selected.sae, *([NARROW] if selected.sae != NARROW else others[-1:])]
        found: list[Neighbour] = []
        for name in within:
            found += await self._ask_of(
                selected.sae, "neighbours", feature=selected.feature, within=name, top=10
            )
        return sorted(found, key=lambda neighbour: -neighbour.cosine)

    async def pair(self, first: Selected, second: Selected, on_progress: Progress) -> Pair:
        """Two features on the same held-out tokens."""
        within = self._names.get(second.sae, second.sae)
        return await self._ask_of(
            first.sae, "pair", on_progress, first=first.feature, second=second.feature, within=within
        )

    async def census(self, go_on: bool, on_progress: Progress) -> Census:
        """The census of the narrow SAE as far as it was taken, and with ``go_on`` the rest of it."""
        return await self._ask("census", on_progress, go_on=go_on)

    async def graft(self, recipe: GraftRecipe, on_progress: Progress) -> Grafted:
        """Children in the place of the recipe's target."""
        grafted: Grafted = await self._ask("graft", on_progress=on_progress, recipe=recipe.to_dict())
        self._know(grafted.sae)
        return grafted

    async def store_graft(self, sae: str) -> EncoderInfo:
        """Makes a run of a graft, so that it can be judged, and found another day."""
        return self._know(await self._ask("store_graft", sae=sae))

    async def open_run(self, run_id: str) -> EncoderInfo:
        """Opens the SAE or graft of a finished run; the engine answers at once where it is open."""
        return self._know(await self._ask("open_run", run=run_id))

    async def open_sae(self, path: Path) -> EncoderInfo:
        return self._know(await self._ask("open_sae", path=str(path)))

    async def children(self, sae: str, target: int, on_progress: Progress | None = None) -> Children:
        return await self._ask_of(sae, "children", on_progress, target=target)

    async def report(self, sae: str, target: int, on_progress: Progress | None = None) -> SplitReport:
        """What became of ``target`` in ``sae``, held against control features where it has any."""
        return await self._ask_of(sae, "report", on_progress, target=target, controls=True)

    async def compare(self, first: str, second: str, on_progress: Progress) -> Comparison:
        """Two finished runs of one feature, child by child."""
        return await self._ask("compare", on_progress, first=first, second=second)

    async def judge(self, run_id: str, on_progress: Progress | None = None) -> Judgement:
        """What is opened for the judge alone is not what a person has opened: nothing is shown beside it."""
        info: EncoderInfo = await self._ask("open_run", run=run_id)
        return await self._ask("judge", on_progress=on_progress, sae=info.name)

    async def counterpart(self, sae: str) -> str:
        """The encoder to show beside ``sae``: the narrow one, or the last that was opened, or the
        wide SAE that the world ships. UserError where there is none."""
        if sae != NARROW:
            return NARROW
        others = [name for name in self.encoders if name != NARROW]
        if others:
            return others[-1]
        if self.world and self.world.wide_saes:
            return (await self.open_sae(self.world.wide_saes[-1])).name
        raise UsageError("there is no wide SAE yet: g grafts this feature, s launches a split")

    def _know(self, info: EncoderInfo) -> EncoderInfo:
        self.encoders[info.name] = info
        if info.run:
            self._runs[info.name] = info.run
        for changed in list(self._listeners):
            changed()
        return info
