"""The front door: ``saetui`` opens the workbench, every sub-command is the headless twin of a screen.

Sub-commands are imported only when they are called, so that ``saetui --help`` costs no more than click.
"""

import importlib
import os
import sys

import click

from saetui.errors import UserError

COMMANDS = {
    "open": "open the workbench (what saetui alone does)",
    "demo": "the whole job headless on an embedded world: look, graft, split, judge",
    "probe": "top features of every token of a prompt",
    "contexts": "top-activating tokens of a feature, with density and histogram",
    "find": "features by a token that they fire on, or by a word that they boost",
    "lens": "tokens that a feature boosts and suppresses",
    "neighbours": "features whose decoder points the same way",
    "pair": "two features side by side on the same tokens",
    "census": "which features hide several contexts: every one grafted, or ranked before",
    "graft": "split a feature in place, in seconds",
    "ungate": "a graft as a plain SAE that other tools open",
    "split": "train a wide SAE that splits a feature, in a background run",
    "runs": "list the runs",
    "watch": "follow a run",
    "stop": "stop a run (it can be resumed)",
    "pause": "pause a run",
    "resume": "resume a paused, stopped or crashed run",
    "delete": "delete runs and all their files (what goes with them is listed first)",
    "notes": "your notes and bookmarks of features",
    "judge": "judge a run by the four success criteria",
    "compare": "which children two runs of one target share, and at what cost",
    "replacing": "when the target of a run was overtaken, and by which feature",
    "study": "a grid of runs from one file: run it, follow it, its table",
    "map": "the features of a run and of its narrow SAE in one plane",
    "export": "write a run or a study as Markdown, HTML, JSON or CSV",
    "settings": "where the settings are, and what they say",
}


class _Commands(click.Group):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = {name for parameter in self.get_params(ctx) for name in parameter.opts}
        if args and args[0].startswith("-") and args[0].partition("=")[0] not in own:
            args = ["open", *args]  # `saetui --model gelu-1l` means the workbench
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return importlib.import_module(f"saetui.commands.{cmd_name}").command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # The table above rather than each command's own help: nothing is imported to print it.
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=_Commands, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(package_name="saetui")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """A terminal workbench for splitting one feature of a sparse autoencoder."""
    if ctx.invoked_subcommand is None:
        opening = cli.get_command(ctx, "open")
        assert opening is not None
        ctx.invoke(opening)


def main() -> None:
    """Runs the command line and exits: 0 done, 1 failure, 2 wrong usage, 130 interrupted."""
    try:
        sys.exit(cli.main(standalone_mode=False))  # click returns the code of its own exits
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except UserError as error:
        click.echo(f"saetui: {error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader went away (``| head``): nothing is wrong, and nothing more can be said.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
