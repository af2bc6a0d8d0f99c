"""``saetui watch``: follow a run, from its first record, until it ends or Ctrl-C."""

import sys
from dataclasses import asdict
from typing import TextIO

import click

from saetui.commands.options import json_option
from saetui.commands.output import emit_json, say
from saetui.commands.progress import Progress
from saetui.runs.follow import follow
from saetui.runs.status import RunStatus
from saetui.runs.store import Run, find_run
from saetui.settings import runs_root

EXIT_CODES = {"finished": 0, "failed": 1, "crashed": 1, "paused": 3, "stopped": 3}


@click.command()
@click.argument("run_id", metavar="ID")
@json_option
def command(run_id: str, as_json: bool) -> None:
    """Follow the run ID (its beginning or its last three letters will do). Ctrl-C leaves it running.

    Exit code: 0 finished, 1 failed or crashed, 3 paused or stopped, 130 left with Ctrl-C.
    """
    run = find_run(runs_root(), run_id)
    sys.exit(EXIT_CODES[watch(run, as_json).state])


def watch(run: Run, as_json: bool = False, stream: TextIO | None = None) -> RunStatus:
    """Shows the run's progress on ``stream`` (standard output) until no process works for it; where it
    then stands. With ``as_json`` its records as JSON lines, the last one its status.

    Ctrl-C ends the watching only: KeyboardInterrupt goes on after a line that says how to come back.
    """
    try:
        if as_json:
            end = follow(run, emit_json)
            emit_json({"kind": "status", "status": asdict(end)})
            return end
        progress = Progress(stream or sys.stdout, run.manifest.recipe.get("tokens"))
        try:
            end = follow(run, progress.record, progress.look)
        finally:
            progress.close()
    except KeyboardInterrupt:
        say(f"\n{run.id} goes on: `saetui watch {run.id}` comes back to it, `saetui stop {run.id}` ends it")
        raise
    say(ending(end))
    return end


def ending(end: RunStatus) -> str:
    """A line about a run that no process works for, and what can be done next."""
    line = f"{end.id} {'is' if end.state in ('paused', 'stopped') else 'has'} {end.state}"
    if end.state == "finished":
        return f"{line}: `saetui judge {end.id}` judges it"
    reason = f": {end.message}" if end.message and end.state == "crashed" else ""
    return f"{line}{reason}; `saetui resume {end.id}` goes on from its last checkpoint"
