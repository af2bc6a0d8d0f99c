"""``saetui runs``: what runs there are, and where they stand."""

import sys

import click

from saetui.commands.options import json_option
from saetui.commands.output import emit_json, say
from saetui.quantities import duration
from saetui.runs.status import RunStatus, list_status
from saetui.settings import runs_root

_WIDE = 100
"""Columns from which model and recipe are shown too."""
_STYLES = {"running": "bold", "queued": "dim", "failed": "red", "crashed": "red", "finished": "green"}


@click.command()
@json_option
def command(as_json: bool) -> None:
    """List the runs, newest first."""
    root = runs_root()
    rows = list_status(root)
    if as_json:
        emit_json(rows)
    elif not rows:
        say(f"no runs in {root} yet: `saetui split` starts one")
    else:
        _print_table(rows)


def _print_table(rows: list[RunStatus]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # A pipe has no width of its own: nothing is cut there.
    console = Console(width=None if sys.stdout.isatty() else 200)
    wide = console.width >= _WIDE
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("id", "state"):
        table.add_column(heading, no_wrap=True)
    for heading in ("done", "FVU", "L0", "ETA", "age", "verdict"):
        table.add_column(heading, justify="right", no_wrap=True)
    if wide:
        table.add_column("model", no_wrap=True)
        table.add_column("recipe")  # the only one that may be broken
    for row in rows:
        table.add_row(
            row.id,
            Text(row.state, style=_STYLES.get(row.state, "")),
            "" if row.progress is None else f"{row.progress:.0%}",
            "" if row.fvu is None else f"{row.fvu:.3f}",
            "" if row.l0 is None else f"{row.l0:.1f}",
            "" if row.eta_s is None else duration(row.eta_s),
            duration(row.age_s),
            row.verdict or "",
            *([row.model, row.summary] if wide else []),
        )
    console.print(table)
    for row in rows:
        if row.message:
            say(f"{row.id} {row.state}: {row.message}")
        elif row.ahead:
            say(f"{row.id} waits for its device: {row.ahead} run{'s' if row.ahead > 1 else ''} ahead of it")
