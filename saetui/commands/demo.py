"""``saetui demo``: the whole job headless on an embedded world, each step the command that does it."""

import sys
import time

import click

from saetui import embedded
from saetui.commands.output import say
from saetui.runs.store import list_runs
from saetui.settings import runs_root


@click.command()
@click.option("--model", type=click.Choice(embedded.WORLDS), default="real", show_default=True)
def command(model: str) -> None:
    """Look at an embedded world's hyphen feature, graft it, train a wide SAE that splits it, judge both.

    Every step is one of saetui's own commands, shown before it runs. Exit code: that of the first step
    that fails.
    """
    world = embedded.world(model)
    begun = time.monotonic()
    at = f"--model {model}"
    _step(
        f"Feature {world.target} of the narrow SAE: where it fires", f"contexts {world.target} {at} --top 12"
    )
    _step("What it makes the model say next", f"lens {world.target} {at}")
    _step("Split it in place, in seconds: a graft", f"graft {world.target} {at} --show 6")
    grafted = _newest_run()
    _step("The graft's verdict", f"judge {grafted}")
    _step(
        "Check it in an unrestricted dictionary: a wide split, in a background run",
        f"split {world.target} {at}",
    )
    split = _newest_run()
    _step("The wide run's verdict", f"judge {split}")
    click.echo(
        f"\nDone in {time.monotonic() - begun:.0f} s. Both runs are kept: {grafted} (graft), {split} (wide)."
        "\nOpen the workbench on them with `saetui` in a terminal (`make run` does)."
    )


def _step(title: str, arguments: str) -> None:
    from saetui.cli import cli

    click.echo(f"\n── {title}\n$ saetui {arguments}")
    begun = time.monotonic()
    try:
        code = cli.main(arguments.split(), standalone_mode=False)
    except SystemExit as end:
        code = end.code
    if code:
        say(f"the step failed (exit code {code}): the command above repeats it alone")
        sys.exit(code)
    say(f"({time.monotonic() - begun:.1f} s)")
    sys.stdout.flush()


def _newest_run() -> str:
    return max(list_runs(runs_root()), key=lambda run: run.manifest.created).id
