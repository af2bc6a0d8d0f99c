"""Starting and stopping the process of a study."""

from saetui.errors import UserError
from saetui.runs import lock
from saetui.runs.journal import Journal
from saetui.runs.launcher import request, start_detached
from saetui.runs.store import Run
from saetui.studies.store import Study, live_runs

CONDUCTOR = "saetui.studies.conductor"
"""The module that a study's process executes."""


def start(study: Study, at_once: int = 1) -> bool:
    """Starts the study's process, in its own session; False where one works for it already. ``at_once``:
    runs on one device. UserError where it cannot be started."""
    study.plan  # noqa: B018  (a plan that cannot be read cannot be carried out)
    try:
        if (fd := lock.take(study.lock_path)) is None:
            return False
        study.stop_path.unlink(missing_ok=True)
        with Journal(study.events_path) as events:
            events.append(kind="launched", at_once=at_once)
        start_detached(
            [CONDUCTOR, str(study.folder.resolve()), "--at-once", str(at_once)], fd, study.log_path
        )
    except OSError as error:
        raise UserError(f"{study.name} cannot be launched: {error.strerror}") from None
    return True


def stop(study: Study) -> None:
    """Asks the study's process and its runs to leave; runs save a checkpoint first. UserError where there is
    nothing to stop."""
    running = live_runs(study)
    if not study.alive() and not running:
        raise UserError(f"{study.name} is not at work: there is nothing to stop")
    study.stop_path.touch()
    for run in running:
        ask_to_stop(run)


def ask_to_stop(run: Run) -> None:
    """A run that has ended in between is left alone."""
    try:
        request(run, "stop")
    except UserError:
        return
