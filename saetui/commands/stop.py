"""``saetui stop``: save a checkpoint and end a run."""

import click

from saetui.commands.leave import leave
from saetui.commands.options import json_option


@click.command()
@click.argument("run_id", metavar="ID")
@json_option
def command(run_id: str, as_json: bool) -> None:
    """Stop the run ID: it saves a checkpoint and ends. `saetui resume ID` goes on with it."""
    leave(run_id, "stop", as_json)
