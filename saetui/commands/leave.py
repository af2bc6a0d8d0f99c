"""What ``saetui stop`` and ``saetui pause`` share."""

from typing import Literal

from saetui.commands.output import emit_json, say
from saetui.commands.watch import ending
from saetui.runs.follow import follow
from saetui.runs.launcher import request
from saetui.runs.store import find_run
from saetui.settings import runs_root


def leave(run_id: str, what: Literal["pause", "stop"], as_json: bool) -> None:
    """Asks the run ``run_id`` to leave and waits until it has. UserError where nothing works for it."""
    run = find_run(runs_root(), run_id)
    request(run, what)
    say(f"{run.id} is asked to {what}; it saves a checkpoint first")
    end = follow(run, lambda _: None, poll_s=0.1)
    if as_json:
        emit_json(end)
    else:
        say(ending(end))
