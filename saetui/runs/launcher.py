"""Starting workers that outlive whoever starts them, and asking them to leave."""

import getpass
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Literal

from saetui.errors import UserError
from saetui.runs import lock
from saetui.runs.journal import Journal
from saetui.runs.queue import DeviceQueue
from saetui.runs.store import LIVE, Run

WORKER = "saetui.runs.worker"
"""The module that a run's process executes."""

LAUNCH_LINE = "--- launched"
"""What the first line of each launch in worker.log begins with."""


def claim(run: Run) -> int:
    """Takes the run for a new process: its lock's descriptor. Puts the launch on record, forgets old
    requests, and takes a place in the device's queue.

    UserError where a process works for the run already.
    """
    if run.state() in LIVE or (fd := lock.take(run.lock_path)) is None:
        raise UserError(f"{run.id} is at work already: `saetui watch {run.id}` follows it")
    try:
        run.control.mkdir(exist_ok=True)
        for asked in run.control.iterdir():
            asked.unlink()
        with Journal(run.events_path) as events:
            events.append(kind="launched", host=socket.gethostname())
        DeviceQueue(run).enter()
    except BaseException:
        os.close(fd)
        raise
    return fd


def launch(run: Run, at_once: int = 1) -> None:
    """Starts the run's worker: in its own session, so that it outlives this process and its terminal.
    ``at_once``: runs that may share its device.

    The worker inherits the held lock, so the run is alive from here on or, should it fail to start, at
    once visibly crashed. UserError where a process works for the run already.
    """
    run.manifest  # noqa: B018  (a run that cannot be read cannot be launched)
    try:
        fd = claim(run)
        start_detached([WORKER, str(run.folder.resolve()), "--at-once", str(at_once)], fd, run.log_path)
    except OSError as error:
        if not run.folder.is_dir():
            raise UserError(f"{run.id} is there no more: it has been deleted") from None
        raise UserError(f"{run.id} cannot be launched: {error.strerror}") from None


def start_detached(arguments: list[str], fd: int, log_path: Path) -> None:
    """Starts ``python -m`` with ``arguments`` and ``--lock-fd``, in its own session, printing into
    ``log_path``. The new process inherits the lock that ``fd`` holds; ours is closed, however it goes.
    OSError where it cannot be started."""
    try:
        with log_path.open("ab") as log:
            log.write(f"{LAUNCH_LINE} {time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode())
            log.flush()
            process = subprocess.Popen(
                [sys.executable, "-m", *arguments, "--lock-fd", str(fd)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",  # keeps no file system busy, and no module of the person's shadows an import
                start_new_session=True,
                close_fds=True,
                pass_fds=(fd,),
            )
    finally:
        os.close(fd)
    # Somebody must take note of its end as long as this process lives, or a zombie stays.
    threading.Thread(target=process.wait, daemon=True).start()


def resume(run: Run, at_once: int = 1) -> None:
    """Starts the run again, from its last checkpoint. UserError where it is at work or finished."""
    if run.state() == "finished":
        raise UserError(f"{run.id} is finished: there is nothing to resume")
    launch(run, at_once)


def request(run: Run, what: Literal["pause", "stop"]) -> None:
    """Asks the run's process to save a checkpoint and leave; it does between two steps.

    UserError where there is no process to ask.
    """
    if (state := run.state()) not in LIVE:
        raise UserError(f"{run.id} is {state}: there is nothing to {what}")
    (run.control / what).touch()  # empty: on a full disk there is still room for it


def survives_logout() -> str | None:
    """None where a launched run goes on after logout; otherwise one line saying what would end it."""
    if job := os.environ.get("SLURM_JOB_ID"):
        return f"runs end with the SLURM job {job} that this shell belongs to"
    try:
        cgroup = Path("/proc/self/cgroup").read_text()
    except OSError:
        return None
    if not re.search(r"/session-\w+\.scope", cgroup) or not (loginctl := shutil.which("loginctl")):
        return None
    asked = [loginctl, "show-session", "--property=KillUserProcesses", "--value"]
    try:
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=2).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return None
    if answer != "yes":
        return None
    return (
        "systemd ends this login's processes at logout (KillUserProcesses=yes): for runs that go on, start "
        f"saetui with `loginctl enable-linger {getpass.getuser()} && systemd-run --user --scope saetui`"
    )
