"""A run that this process carries out itself, in seconds: no worker, no queue, nothing to resume."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from saetui.errors import UserError
from saetui.runs import lock
from saetui.runs.context import RunContext, RunPaused, RunStopped
from saetui.runs.store import create_run, remove_run
from saetui.setup import Setup
from saetui.split.recipe import GraftRecipe


@contextmanager
def own_run(root: Path, setup: Setup, recipe: GraftRecipe, note: str = "") -> Iterator[RunContext]:
    """A new graft run for the body to work for; finished when the body is.

    Where the body raises, the run is removed: whoever began it is waiting for it and hears why, and it holds
    nothing that a second attempt would not make again. UserError where somebody else asked it to end.
    """
    run = create_run(root, "graft", setup, recipe, note)
    fd = lock.take(run.lock_path)
    try:
        try:
            with RunContext(run) as context:
                context.event("running", pid=os.getpid())
                yield context
                context.event("exit", state="finished")
                context.sync()
        finally:
            if fd is not None:
                os.close(fd)
    except (RunStopped, RunPaused):
        remove_run(run)
        raise UserError(f"{run.id} was asked to end before it was done: nothing is kept of it") from None
    except BaseException:
        remove_run(run)
        raise
