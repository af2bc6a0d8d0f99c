"""The census as the workbench knows it: what is stored, what the engine is measuring, and how far it is.

It goes on while the person looks elsewhere; screens come and go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from saetui.errors import UserError
from saetui.tui.connection import Phase
from saetui.tui.session import NARROW, Session

if TYPE_CHECKING:
    from saetui.census.results import Agreement, Census, Evidence, FeatureCensus
    from saetui.split.recipe import GraftRecipe


_SHARED = ("hot_tokens", "steps", "batch_size", "lr", "l1_coeff", "l1_warmup", "seed")
"""What a census's recipe says of a graft."""


class Stage(StrEnum):
    UNKNOWN = "unknown"
    LOOKING = "looking"
    """The engine ranks the features and finds what is stored."""
    KNOWN = "known"
    TAKING = "taking"


@dataclass(frozen=True)
class Line:
    """One feature: what its tokens say without any training, and what a graft of it came to."""

    feature: int
    place: int | None
    """By the rank before training, from 1; None for a feature too rare to be ranked."""
    evidence: Evidence | None
    found: FeatureCensus | None


class CensusTaking:
    """Asks the engine, one question at a time. ``listen`` is told of every change."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.stage = Stage.UNKNOWN
        self.share = 0.0
        self.message = ""
        """Of the progress."""
        self.error = ""
        self.agreement: list[Agreement] = []
        self.tokens_read = 0
        self._recipe: dict[str, Any] = {}
        self._evidence: list[Evidence] = []
        self._found: dict[int, FeatureCensus] = {}
        self._task: asyncio.Task[None] | None = None
        self._listeners: list[Callable[[], None]] = []

    # -- what is known

    @property
    def lines(self) -> list[Line]:
        """By the rank before training; features too rare for it last."""
        ranked = [
            Line(one.feature, place, one, self._found.get(one.feature))
            for place, one in enumerate(self._evidence, 1)
        ]
        known = {line.feature for line in ranked}
        rest = [feature for feature in sorted(self._found) if feature not in known]
        return ranked + [Line(feature, None, None, self._found[feature]) for feature in rest]

    @property
    def measured(self) -> int:
        return len(self._found)

    @property
    def features(self) -> int | None:
        """Features of the narrow SAE, where it is open."""
        return self.session.size(NARROW)

    @property
    def complete(self) -> bool:
        return self.features is not None and self.measured >= self.features

    @property
    def busy(self) -> bool:
        return self.stage in (Stage.LOOKING, Stage.TAKING)

    def graft_recipe(self, found: FeatureCensus) -> GraftRecipe:
        """The recipe by which the census grafted a feature, with the number of children that it chose."""
        own = replace(self.session.graft_recipe(found.feature), threshold=found.threshold)
        return replace(own, children=max(2, found.children), **{name: self._recipe[name] for name in _SHARED})

    # -- asking

    def listen(self, changed: Callable[[], None]) -> None:
        self._listeners.append(changed)

    def forget(self, changed: Callable[[], None]) -> None:
        self._listeners.remove(changed)

    def look(self) -> None:
        """What is stored, and the rank before training; nothing where that is known or asked already."""
        if self.stage is Stage.UNKNOWN and self.session.state.phase is Phase.READY:
            self._begin(Stage.LOOKING, go_on=False)

    def take(self) -> None:
        """Measures what is not measured yet."""
        if not self.busy and not self.complete and self.session.state.phase is Phase.READY:
            self._begin(Stage.TAKING, go_on=True)

    def cancel(self) -> bool:
        """Stops asking; what was measured is kept. False where nothing was asked."""
        if self._task is None:
            return False
        self._task.cancel()
        return True

    def _begin(self, stage: Stage, go_on: bool) -> None:
        self.stage, self.share, self.message, self.error = stage, 0.0, "", ""
        self._task = asyncio.ensure_future(self._ask(go_on))
        self._changed()

    async def _ask(self, go_on: bool) -> None:
        try:
            self._know(await self.session.census(go_on, self._progress))
        except UserError as error:
            # An engine that died says so itself, and what to do.
            self.error = str(error) if self.session.state.phase is Phase.READY else ""
        finally:
            self._task = None
            self.stage = Stage.KNOWN if self._evidence else Stage.UNKNOWN
            self._changed()

    def _progress(self, message: dict[str, Any]) -> None:
        self.share = float(message.get("progress") or 0.0)
        self.message = str(message.get("message") or "")
        if partial := message.get("partial"):
            from saetui.census.results import FeatureCensus
            from saetui.engine.messages import decode

            self._found |= {one.feature: one for one in decode(list[FeatureCensus], partial)}
        self._changed()

    def _know(self, census: Census) -> None:
        self._recipe, self._evidence, self.agreement = census.recipe, census.evidence, census.agreement
        self._found = {one.feature: one for one in census.features}
        self.tokens_read = census.tokens_read

    def _changed(self) -> None:
        for changed in list(self._listeners):
            changed()
