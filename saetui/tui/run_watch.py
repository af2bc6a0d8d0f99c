"""Which runs there are and how they stand, looked at once a second by ``stat`` alone.

A run's files are read only when they have changed, or while it is alive (a process that dies changes
no file).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saetui.errors import UserError

if TYPE_CHECKING:
    from saetui.runs.status import RunStatus
    from saetui.runs.store import Run, State

Stamp = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Seen:
    """A run as it was last looked at."""

    run: Run
    status: RunStatus

    @property
    def live(self) -> bool:
        return self.status.state in ("queued", "running")


class RunWatch:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.runs: list[Seen] = []
        """Newest first."""
        self._shown: list[RunStatus] | None = None
        self._known: dict[str, tuple[Stamp, Seen]] = {}

    def poll(self) -> bool:
        """Looks again; whether anything differs from the last look, as it does at the first one.
        OSError where the root is unreadable."""
        # Imported here because the poller's thread looks only after the first frame.
        from saetui.runs.status import status
        from saetui.runs.store import Run

        try:
            names = [path.name for path in self.root.iterdir() if not path.name.startswith(".")]
        except (FileNotFoundError, NotADirectoryError):
            names = []
        known: dict[str, tuple[Stamp, Seen]] = {}
        for name in names:
            old = self._known.get(name)
            run = old[1].run if old else Run(self.root / name)
            stamp = tuple(map(_stamp, (run.events_path, run.metrics_path, run.judgements_path)))
            if old is not None and old[0] == stamp and not old[1].live:
                known[name] = old
                continue
            try:
                known[name] = (stamp, Seen(run, status(run)))
            except (UserError, OSError, KeyError, TypeError, ValueError):
                continue  # not a run, not one yet, or one of another program
        self._known = known
        self.runs = sorted(
            (seen for _, seen in known.values()),
            key=lambda seen: (seen.status.created, seen.run.id),
            reverse=True,
        )
        # The age of a run changes all the time, and is not worth telling.
        before, self._shown = self._shown, [replace(seen.status, age_s=0.0) for seen in self.runs]
        return self._shown != before

    def newest(self, *states: State) -> Seen | None:
        """The newest run in one of ``states`` (any, if none is named)."""
        return next((seen for seen in self.runs if not states or seen.status.state in states), None)

    def finished(self, made: Callable[[dict[str, Any]], bool], target: int) -> list[Seen]:
        """Finished runs that split feature ``target``, of the setups for which ``made``; newest first."""
        return [
            seen
            for seen in self.runs
            if seen.status.state == "finished"
            and seen.status.target == target
            and made(seen.run.manifest.setup)
        ]

    def pace(self, made: Callable[[dict[str, Any]], bool], d_sae: int) -> float | None:
        """Tokens a second, evaluations included, of the newest finished split into ``d_sae`` features, of the
        setups for which ``made``. None: there is none."""
        from saetui.runs.cost import wall_seconds

        for seen in self.runs:
            if seen.status.kind != "split" or seen.status.state != "finished":
                continue
            manifest = seen.run.manifest
            if manifest.recipe["d_sae"] == d_sae and made(manifest.setup):
                seconds = wall_seconds(seen.run.read_events())
                return seen.status.tokens / seconds if seconds else None
        return None


def _stamp(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return (0, 0)
    return (stat.st_size, stat.st_mtime_ns)
