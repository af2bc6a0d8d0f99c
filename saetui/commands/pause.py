"""``saetui pause``: save a checkpoint and free the device."""

import click

from saetui.commands.leave import leave
from saetui.commands.options import json_option


@click.command()
@click.argument("run_id", metavar="ID")
@json_option
def command(run_id: str, as_json: bool) -> None:
    """Pause the run ID: it saves a checkpoint and frees its device until `saetui resume ID`."""
    leave(run_id, "pause", as_json)
