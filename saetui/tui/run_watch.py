"""Which runs there are and how they stand, looked at once a second by ``stat`` alone.

A run's files are read only when they have changed, or while it is alive (a process that dies changes
no file).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from saetui.errors import UserError
from saetui.tui.known import Known

if TYPE_CHECKING:
    from saetui.runs.cost import Pace
    from saetui.runs.status import RunStatus
    from saetui.runs.store import Run, State


Made = Callable[[dict[str, Any]], bool]
"""Tells the setups that are meant."""


@dataclass(frozen=True)
class Seen:
    """A run as it was last looked at."""

    run: Run
    status: RunStatus
    setup: dict[str, Any]
    """What its manifest says that it was made with."""

    @property
    def live(self) -> bool:
        return self.status.state in ("queued", "running")


class RunWatch:
    """All that shows runs looks through one watch, each from its own polling thread."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.runs: list[Seen] = []
        """Newest first."""
        self._changes = 0
        self._shown: list[RunStatus] | None = None
        self._known: dict[str, Known[Seen]] = {}
        self._looking = Lock()

    def poll(self) -> int:
        """Looks again; how many looks, by whomever, have found anything new so far: the first one has.
        OSError where the root is unreadable."""
        with self._looking:
            return self._look()

    def _look(self) -> int:
        try:
            names = [path.name for path in self.root.iterdir() if not path.name.startswith(".")]
        except (FileNotFoundError, NotADirectoryError):
            names = []
        self._known = {name: self._known.get(name) or _known(self.root / name) for name in names}
        runs: list[Seen] = []
        for known in self._known.values():
            try:
                runs.append(known.look())
            except (UserError, OSError, KeyError, TypeError, ValueError):
                continue  # not a run, not one yet, or one of another program
        runs.sort(key=lambda seen: (seen.status.created, seen.run.id), reverse=True)
        self.runs = runs
        # The age of a run changes all the time, and is not worth telling.
        before, self._shown = self._shown, [replace(seen.status, age_s=0.0) for seen in runs]
        self._changes += self._shown != before
        return self._changes

    def newest(self, *states: State, made: Made = lambda setup: True) -> Seen | None:
        """The newest run in one of ``states`` (any, if none is named), of the setups for which ``made``."""
        return next(
            (seen for seen in self.runs if (not states or seen.status.state in states) and made(seen.setup)),
            None,
        )

    def current(self, made: Made = lambda setup: True) -> Seen | None:
        """The newest that is running, else the newest that waits, else the newest of all."""
        states: tuple[tuple[State, ...], ...] = (("running",), ("queued",), ())
        return next((seen for some in states if (seen := self.newest(*some, made=made))), None)

    def run(self, id: str | None) -> Run | None:
        """The run of that id; None where there is none."""
        return next((seen.run for seen in self.runs if seen.run.id == id), None)

    def finished(self, made: Made, target: int) -> list[Seen]:
        """Finished runs that split feature ``target``, of the setups for which ``made``; newest first."""
        return [
            seen
            for seen in self.runs
            if seen.status.state == "finished" and seen.status.target == target and made(seen.setup)
        ]

    def pace(self, made: Made, d_sae: int) -> Pace | None:
        """That of a finished split of the setups for which ``made``: into ``d_sae`` features, or else into as
        near a number as there is; the newest of several. None: there is none."""
        from saetui.runs.cost import pace

        def distance(seen: Seen) -> float:
            return abs(math.log(seen.run.manifest.recipe["d_sae"] / d_sae))

        for seen in sorted(self._finished("split", made), key=distance):
            if found := pace(seen.run):
                return found
        return None

    def graft_seconds(self, made: Callable[[dict[str, Any]], bool]) -> float | None:
        """What the newest finished graft of the setups for which ``made`` took. None: there is none."""
        from saetui.runs.cost import wall_seconds

        for seen in self._finished("graft", made):
            return wall_seconds(seen.run.read_events()) or None
        return None

    def _finished(self, kind: str, made: Callable[[dict[str, Any]], bool]) -> list[Seen]:
        """Newest first."""
        done = [s for s in self.runs if s.status.kind == kind and s.status.state == "finished"]
        return [seen for seen in done if made(seen.setup)]


def _known(folder: Path) -> Known[Seen]:
    # Imported here because the poller's thread looks only after the first frame.
    from saetui.runs.files import signature
    from saetui.runs.status import status
    from saetui.runs.store import Run

    run = Run(folder)

    def stamp(_: Seen | None) -> dict[Hashable, Hashable]:
        paths = (run.events_path, run.metrics_path, run.judgements_path)
        return {path: signature(path) for path in paths}

    return Known(lambda: Seen(run, status(run), run.manifest.setup), stamp, lambda seen: seen.live)
