"""``saetui open``: the workbench."""

import sys

import click

from saetui.commands.options import setup_options
from saetui.setup import Setup


@click.command("open")
@setup_options
def command(setup: Setup) -> None:
    """Open the workbench, on an embedded world or on any model."""
    from saetui.tui import collector

    collector.postpone()
    from saetui.tui.terminal import prepare_terminal

    prepare_terminal(sys.stdin.isatty() and sys.stdout.isatty())
    from saetui.tui.app import run_workbench

    run_workbench(setup)
