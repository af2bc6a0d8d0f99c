"""What the monitor's polling thread does: it reads the files of a run, and of those laid over it."""

from __future__ import annotations

from dataclasses import dataclass

from saetui.errors import UserError
from saetui.runs.store import Run
from saetui.tui.gpu import Gpu, GpuReading, index_of
from saetui.tui.run_follower import RunFollower, Snapshot


@dataclass(frozen=True)
class View:
    """What one look at the files gave."""

    snapshot: Snapshot | None
    overlays: tuple[Snapshot, ...]
    gpu: GpuReading | None
    problem: str = ""


class Looker:
    """Its thread calls :meth:`look` only; the screen's calls the others, which swap one attribute each."""

    def __init__(self, run: Run) -> None:
        self._overlays: tuple[RunFollower, ...] = ()
        self._last: View | None = None
        self.follow(run)

    def follow(self, run: Run) -> None:
        """Another run, with none laid over it."""
        self._overlays = ()
        self._follower = RunFollower(run)
        self._gpu: Gpu | None = None
        self._gpu_known = False

    @property
    def laid_over(self) -> list[Run]:
        return [each.run for each in self._overlays]

    def lay_over(self, runs: list[Run]) -> None:
        """Those that are laid over already are not read from their start again."""
        kept = {each.run.id: each for each in self._overlays}
        self._overlays = tuple(kept.get(run.id) or RunFollower(run) for run in runs)

    def look(self) -> View | None:
        """A new view, or None where nothing has changed."""
        follower, overlays = self._follower, self._overlays
        problem, new = "", False
        try:
            for each in (follower, *overlays):
                new |= each.poll()
        except (UserError, OSError) as error:
            problem = str(error)
        snapshot = follower.snapshot
        view = View(
            snapshot,
            tuple(each.snapshot for each in overlays if each.snapshot),
            self._read_gpu(snapshot),
            problem,
        )
        if not new and view == self._last:
            return None
        self._last = view
        return view

    def _read_gpu(self, snapshot: Snapshot | None) -> GpuReading | None:
        if snapshot is None or snapshot.status.state != "running":
            return None
        if not self._gpu_known:
            self._gpu_known = True
            index = index_of(str(snapshot.run.manifest.setup.get("device", "auto")))
            self._gpu = None if index is None else Gpu(index)
        return self._gpu.read() if self._gpu else None
