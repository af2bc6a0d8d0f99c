"""``saetui resume``: go on with a run from its last checkpoint."""

import click

from saetui.commands.options import json_option
from saetui.commands.output import emit_json, say
from saetui.runs.launcher import resume, survives_logout
from saetui.runs.status import status
from saetui.runs.store import find_run
from saetui.settings import runs_root


@click.command()
@click.argument("run_id", metavar="ID")
@json_option
def command(run_id: str, as_json: bool) -> None:
    """Go on with the run ID, paused, stopped, failed or crashed, from its last checkpoint."""
    run = find_run(runs_root(), run_id)
    resume(run)
    if warning := survives_logout():
        say(warning)
    if as_json:
        emit_json(status(run))
    else:
        say(f"{run.id} is launched: `saetui watch {run.id}` follows it")
