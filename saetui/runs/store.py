"""The folder of one run, and the folder of all runs.

<root>/<id>/  manifest.json     what was asked for; written once
              events.jsonl      launched, running, checkpoint, resumed, exit …
              metrics.jsonl     one record a report of the trainer
              worker.lock       held as long as the run's process lives
              heartbeat         touched by the process; for file systems without locks
              control/          requests: stop, pause
              worker.log        what the process printed
              checkpoints/      <tokens>/, the last two; empty once the run is finished
              sae/ or graft/    what a finished run ends with
              judgements.jsonl  verdicts
"""

import json
import os
import random
import shutil
import socket
import sys
import time
from dataclasses import asdict, dataclass, fields
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

from saetui.atomic import sync_folder, write_atomic
from saetui.errors import UsageError, UserError
from saetui.removal import remove_whole, sweep
from saetui.runs import lock
from saetui.runs.files import signature
from saetui.runs.tail import read_records
from saetui.setup import Setup
from saetui.split.recipe import GraftRecipe, SplitRecipe

State = Literal["queued", "running", "paused", "finished", "failed", "stopped", "crashed"]

LIVE: tuple[State, ...] = ("queued", "running")
"""States in which a process works for the run. From all others but ``finished`` it can be resumed."""

HEARTBEAT_S = 5.0
"""Seconds between two touches of the heartbeat file."""
HEARTBEAT_STALE_S = 6 * HEARTBEAT_S
"""Without locks, a run is taken for dead after so long a silence."""

_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # none that are read for another


@dataclass(frozen=True)
class Manifest:
    """What a run was asked to do. ``setup`` and ``recipe`` are the records' ``to_dict``; ``created`` is
    Unix time; ``cwd`` is where relative paths in the setup count from; ``versions`` of what computes."""

    v: int
    id: str
    kind: str
    created: float
    setup: dict[str, Any]
    recipe: dict[str, Any]
    note: str
    cwd: str
    versions: dict[str, str]

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Manifest":
        """ValueError for a format this program does not know."""
        if values.get("v") != 1:
            raise ValueError(f"format {values.get('v')!r} is not known (a newer saetui wrote it?)")
        if missing := [f.name for f in fields(cls) if f.name not in values]:
            raise ValueError(f"{missing[0]} is missing")
        return cls(**{f.name: values[f.name] for f in fields(cls)})


@dataclass(frozen=True)
class Run:
    """A run, by its folder; what it holds is read when asked for; the manifest, which never changes, once."""

    folder: Path

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def root(self) -> Path:
        return self.folder.parent

    @property
    def metrics_path(self) -> Path:
        return self.folder / "metrics.jsonl"

    @property
    def events_path(self) -> Path:
        return self.folder / "events.jsonl"

    @property
    def judgements_path(self) -> Path:
        return self.folder / "judgements.jsonl"

    @property
    def log_path(self) -> Path:
        return self.folder / "worker.log"

    @property
    def lock_path(self) -> Path:
        return self.folder / "worker.lock"

    @property
    def heartbeat_path(self) -> Path:
        return self.folder / "heartbeat"

    @property
    def control(self) -> Path:
        return self.folder / "control"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @cached_property
    def manifest(self) -> Manifest:
        """UserError where it is missing or damaged."""
        path = self.folder / "manifest.json"
        return _manifest(path, *signature(path))

    def read_events(self) -> list[dict[str, Any]]:
        return read_records(self.events_path)

    def read_metrics(self) -> list[dict[str, Any]]:
        """The raw records, oldest first; ``metrics.curve`` takes out those that a resume superseded."""
        return read_records(self.metrics_path)

    def last_event(self) -> dict[str, Any] | None:
        """The last ``launched``, ``running`` or ``exit`` event: what the process said last of itself."""
        return _life(self.events_path, *signature(self.events_path))[1]

    def alive(self) -> bool:
        """Whether a process works for the run, here or on another machine with the same file system."""
        held = lock.is_held(self.lock_path)
        if held:
            return True
        # A free lock is proof on the machine that the process was started on. On another one the mount
        # may keep locks to itself.
        launched = _life(self.events_path, *signature(self.events_path))[0]
        if launched is None or (held is False and launched.get("host") == socket.gethostname()):
            return False
        try:
            beat = self.heartbeat_path.stat().st_mtime
        except FileNotFoundError:
            beat = launched["t"]
        return time.time() - beat < HEARTBEAT_STALE_S

    def state(self) -> State:
        """Where the run stands.

        Its last ``launched``, ``running`` or ``exit`` event says so, unless the process that wrote it is
        gone without an exit event: then it crashed. A run that was never launched counts as stopped.
        """
        last = self.last_event()
        while True:
            if last is None:
                return "queued" if self.alive() else "stopped"
            if last["kind"] == "exit":
                return last["state"]
            if self.alive():
                return "running" if last["kind"] == "running" else "queued"
            # Dead without an exit event, unless the process wrote one (or a new process took over)
            # between the two looks above.
            before, last = last, self.last_event()
            if last == before:
                return "crashed"


_Event = dict[str, Any] | None


@lru_cache(4096)
def _life(events: Path, size: int, changed: int) -> tuple[_Event, _Event]:
    """The last ``launched`` event, and the last event that says where the run stands."""
    records = [r for r in read_records(events) if r.get("kind") in ("launched", "running", "exit")]
    launched = [record for record in records if record["kind"] == "launched"]
    return launched[-1] if launched else None, records[-1] if records else None


@lru_cache(4096)
def _manifest(path: Path, size: int, changed: int) -> Manifest:
    try:
        return Manifest.from_dict(json.loads(path.read_bytes()))
    except FileNotFoundError:
        raise UserError(f"{path.parent} is not a run: it has no {path.name}") from None
    except ValueError as error:
        raise UserError(f"{path} cannot be read: {error}") from None


def create_run(
    root: Path,
    kind: str,
    setup: Setup,
    recipe: SplitRecipe | GraftRecipe,
    note: str = "",
) -> Run:
    """Makes the folder of a new run of ``kind`` (``split``, ``graft``); ``launcher.launch`` starts it.

    The id is date, time, target and three random letters: ``1122-1403-f41-k7q``. UserError where the
    folder cannot be written.
    """
    from importlib.metadata import version

    now = time.time()
    folder = None
    try:
        root.mkdir(parents=True, exist_ok=True)
        folder = _new_folder(root, f"{time.strftime('%m%d-%H%M', time.localtime(now))}-f{recipe.target}")
        (folder / "control").mkdir()
        (folder / "checkpoints").mkdir()
        manifest = Manifest(
            v=1,
            id=folder.name,
            kind=kind,
            created=now,
            setup=setup.to_dict(),
            recipe=recipe.to_dict(),
            note=note,
            cwd=str(Path.cwd()),
            versions={
                "python": ".".join(map(str, sys.version_info[:3])),
                **{name: version(name) for name in ("saetui", "torch", "transformer_lens")},
            },
        )
        write_atomic(folder / "manifest.json", json.dumps(asdict(manifest), indent=1).encode() + b"\n")
        sync_folder(root)
    except OSError as error:
        if folder:
            shutil.rmtree(folder, ignore_errors=True)
        raise UserError(
            f"no run can be made in {root}: {error.strerror}; SAETUI_RUNS names another place"
        ) from None
    return Run(folder)


def _new_folder(root: Path, stem: str) -> Path:
    while True:
        folder = root / f"{stem}-{''.join(random.SystemRandom().choices(_LETTERS, k=3))}"
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            continue


def list_runs(root: Path) -> list[Run]:
    """The runs in ``root``, newest first. Folders without a readable manifest are none."""
    runs: list[Run] = []
    try:
        folders = [path for path in root.iterdir() if not path.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []
    for run in map(Run, folders):
        try:
            run.manifest  # noqa: B018  (reads it)
        except (UserError, NotADirectoryError):
            continue
        runs.append(run)
    return sorted(runs, key=lambda run: (run.manifest.created, run.id), reverse=True)


def find_run(root: Path, name: str) -> Run:
    """The run whose id is ``name``, begins with it, or ends in it as its last part (the three letters).

    UsageError where none or several do.
    """
    runs = list_runs(root)
    fitting = (
        [run for run in runs if run.id == name]
        or [run for run in runs if name and run.id.startswith(name)]
        or [run for run in runs if run.id.rsplit("-", 1)[-1] == name]
    )
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise UsageError(f"no run {name!r} in {root}: `saetui runs` lists them")
    shown = ", ".join(run.id for run in fitting[:4]) + (" …" if len(fitting) > 4 else "")
    raise UsageError(
        f"{name!r} fits {len(fitting)} runs: {shown}; type more of it, or the last three letters"
    )


def remove_run(run: Run) -> None:
    """Deletes the run's folder, and what interrupted deletions left of others. UserError while a process
    works for it, where another deleted it meanwhile, or where the disk does not let go of it."""
    try:
        # Held until it is gone: who would resume it at this moment finds the lock taken, and then no run.
        if run.alive() or (fd := lock.take(run.lock_path)) is None:
            state = run.state()
            if state in LIVE:
                raise UserError(f"{run.id} is {state}: `saetui stop {run.id}` first")
            raise UserError(f"another process works on {run.id}: try again when it has ended")
        try:
            # Out of the list in one step: half a run must never be seen.
            doomed = remove_whole(run.folder)
        finally:
            os.close(fd)
    except FileNotFoundError:
        raise UserError(f"{run.id} is there no more: it has been deleted elsewhere") from None
    except OSError as error:
        raise UserError(f"{run.id} cannot be deleted: {error.strerror}") from None
    sweep(run.root)
    if doomed.exists():
        raise UserError(
            f"{run.id} is out of the list, but its files are not all gone: {doomed} is tried again with the "
            "next run that is deleted"
        )
