"""One rank of a run over several devices: what ``spread`` has torchrun start on each of them.

Rank 0 keeps the run's directory; the others write nothing.
"""

import faulthandler
import importlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.distributed as dist

from saetui.loading import resolve_device
from saetui.runs import checkpoint
from saetui.runs.context import Control, RunContext, RunPaused, RunStopped
from saetui.runs.failure import failure_line
from saetui.runs.ranks import PeerLost, Ranks
from saetui.runs.store import Run

if TYPE_CHECKING:
    from torch import Tensor

End = Literal["finished", "paused", "stopped"]

PATIENCE = timedelta(days=1)
"""Longest wait of a rank for another, which may be evaluating: torchrun sees to it that none waits for the
dead."""
_GRACE_S = 60.0


class RankFailed(Exception):
    """``str`` is the line that a person reads."""


def work(folder: Path, trainer: str, worker: int) -> End:
    """The rank's whole life; how it ended, the same on every rank. RankFailed where this rank failed.
    ``worker`` is the process that started it."""
    faulthandler.enable()
    told: list[int] = []
    # What the kernel sends when the worker dies, as torch asked it to, if it has not died before.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if os.getppid() != worker:
        sys.exit(1)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # Asking to stop is rank 0's to hear. The others only must know that torchrun wants them gone.
    signal.signal(signal.SIGTERM, lambda *_: told.append(signal.SIGTERM))
    try:
        _join(Run(folder).manifest.setup["device"])
        with _context(Run(folder)) as context:
            if Ranks().leads:
                signal.signal(signal.SIGTERM, lambda *_: (told.append(signal.SIGTERM), context.ask("stop")))
            try:
                _function(trainer)(context)
                end: End = "finished"
            except RunPaused:
                end = "paused"
            except RunStopped:
                end = "stopped"
            context.sync()
            Ranks().agreed(end)  # all are done: none takes the group down while another uses it
        dist.destroy_process_group()
        return end
    except PeerLost:
        # The one that failed has more to say, and torchrun, which asks the others to go, must hear it first.
        traceback.print_exc()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if not told:
            time.sleep(_GRACE_S)
        sys.exit(1)
    except Exception as error:
        traceback.print_exc()
        raise RankFailed(failure_line(error)) from None


def _join(devices: str) -> None:
    """Takes this process's place among the ranks, on its device."""
    device = resolve_device(devices.split(",")[int(os.environ["RANK"])].strip())
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)


def _context(run: Run) -> RunContext:
    return _Leader(run) if Ranks().leads else _Follower(run)


def _function(name: str) -> Callable[[RunContext], None]:
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


class _Leader(RunContext):
    """Rank 0's view of the run: what it goes on from, the others go on from."""

    def latest_checkpoint(self) -> "tuple[dict[str, Tensor], dict[str, Any]] | None":
        found = super().latest_checkpoint()
        Ranks().agreed(f"{found[1]['tokens']:012d}" if found else None)
        return found


class _Follower(RunContext):
    """The run as the other ranks see it: they write nothing, and are asked nothing."""

    def metric(self, **values: Any) -> None: ...

    def event(self, kind: str, **values: Any) -> None: ...

    def sync(self) -> None: ...

    def ask(self, what: Literal["pause", "stop"]) -> None: ...

    def control(self) -> Control:
        return "go"

    def save_checkpoint(self, tensors: "dict[str, Tensor]", state: dict[str, Any]) -> None: ...

    def latest_checkpoint(self) -> "tuple[dict[str, Tensor], dict[str, Any]] | None":
        name: str | None = Ranks().agreed(None)
        return checkpoint.load(self.run.checkpoints / name) if name else None
