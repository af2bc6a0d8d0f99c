"""``saetui delete``: runs that are needed no more."""

import click

from saetui.commands.options import json_option
from saetui.commands.output import emit_json, say
from saetui.deleting import losses, total
from saetui.runs.store import find_run, remove_run
from saetui.settings import runs_root


@click.command()
@click.argument("run_ids", metavar="ID…", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="delete them; without it they are only listed")
@json_option
def command(run_ids: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """Delete the runs ID… and all their files: what goes with each is listed, and with --yes it goes.

    Where a process still works for one of them, none is deleted: `saetui stop` or `pause` it first.
    """
    runs = list(dict.fromkeys(find_run(runs_root(), name) for name in run_ids))
    lost = losses(runs)
    if as_json:
        emit_json(lost)
    else:
        for loss in lost:
            click.echo(loss.line)
    if not yes:
        say(f"nothing is deleted: --yes deletes {total(lost)}")
        return
    for run in runs:
        remove_run(run)
    say(f"deleted: {total(lost)}")
