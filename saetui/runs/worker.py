"""``python -m saetui.runs.worker RUN_DIR``: the process of one run.

It holds the run's lock for as long as it lives, waits for its turn on the device without having loaded
torch, hands the trainer a ``RunContext``, and writes an exit event. SIGTERM and SIGINT mean checkpoint
and stop; SIGHUP, the terminal's end, means nothing.
"""

import argparse
import contextlib
import faulthandler
import importlib
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

from saetui.errors import UserError
from saetui.priority import RUN, give_way
from saetui.runs import checkpoint, lock
from saetui.runs.context import RunContext, RunPaused, RunStopped
from saetui.runs.failure import failure_line
from saetui.runs.launcher import claim
from saetui.runs.queue import DeviceQueue
from saetui.runs.store import HEARTBEAT_S, Run, State
from saetui.setup import Setup

TRAINERS = {"split": "saetui.split.training.wide:run", "graft": "saetui.split.grafting.graft_run:run"}
"""The trainer of each kind of run: a function of a ``RunContext`` that returns when it is done."""
SPREADING = {"split"}
"""Kinds whose trainer works on several devices together, in a process on each."""

_WAIT_S = 0.25


def main(arguments: list[str] | None = None) -> int:
    """Works for one run; 0 where it finished, was paused or stopped, 1 where it failed."""
    parser = argparse.ArgumentParser(prog="python -m saetui.runs.worker")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--lock-fd", type=int, help="descriptor of the run's lock, held by the launcher")
    parser.add_argument("--at-once", type=int, default=1, help="runs that may share the device")
    options = parser.parse_args(arguments)
    run = Run(options.folder.resolve())
    try:
        fd = claim(run) if options.lock_fd is None else options.lock_fd
    except UserError as error:
        parser.exit(1, f"saetui: {error}\n")
    os.set_inheritable(fd, False)
    lock.keep_from_forks(fd)
    faulthandler.enable()
    give_way(RUN)
    with RunContext(run) as context:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: context.ask("stop"))
        threading.Thread(target=_beat, args=(run.heartbeat_path,), daemon=True).start()
        state, message = _work(context, options.at_once)
        context.event("exit", state=state, **({"message": message} if message else {}))
        context.sync()
        if state == "finished":  # there is nothing to go on with, and two copies of Adam's state are large
            checkpoint.remove_all(run.checkpoints)
    os.close(fd)  # torch takes its time to end, and the run may be resumed from here on
    return int(state == "failed")


def _work(context: RunContext, at_once: int) -> tuple[State, str | None]:
    """Runs the trainer when it is its turn; how that ended, and a line about it where it failed."""
    queue = DeviceQueue(context.run, at_once)
    devices = Setup.from_dict(context.manifest.setup).devices if context.manifest.kind in SPREADING else [""]
    processes = at_once * len(devices)
    if processes > 1:  # each its part of the cores, or they would be in each other's way
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    try:
        with contextlib.suppress(OSError):  # gone since: then relative names find nothing, and say so
            os.chdir(context.manifest.cwd)
        if not _wait_for_turn(context, queue):
            context.leave(context.control())
        context.event("running", pid=os.getpid())
        name = _trainer(context.manifest.kind)
        if len(devices) > 1:
            from saetui.runs.spread import spread

            return spread(context, name, devices)
        module, _, function = name.partition(":")
        getattr(importlib.import_module(module), function)(context)
    except RunStopped:
        return "stopped", None
    except RunPaused:
        return "paused", None
    except Exception as error:
        if not isinstance(error, UserError):
            traceback.print_exc()
        return "failed", failure_line(error)
    finally:
        queue.leave()
    return "finished", None


def _wait_for_turn(context: RunContext, queue: DeviceQueue) -> bool:
    """Waits until the run has its device; False where it was asked to leave before."""
    while context.control() == "go":
        if (held := queue.take()) is not None:
            for fd in held:
                lock.keep_from_forks(fd)  # held until this process ends
            return True
        time.sleep(_WAIT_S)
    return False


def _trainer(kind: str) -> str:
    if kind not in TRAINERS:
        raise UserError(f"a run of kind {kind!r} is not known; known are {', '.join(TRAINERS)}")
    return TRAINERS[kind]


def _beat(path: Path) -> None:
    """Touches ``path``, which holds the process id, as long as this process lives."""
    with contextlib.suppress(OSError):  # a full disk; the lock still says that the run lives
        path.write_text(f"{os.getpid()}\n")
    while True:
        with contextlib.suppress(OSError):
            path.touch()
        time.sleep(HEARTBEAT_S)


if __name__ == "__main__":
    sys.exit(main())
