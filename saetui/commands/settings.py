"""``saetui settings``: where the settings are, and what they say."""

import json
from dataclasses import asdict, replace

import click

from saetui.commands.options import json_option
from saetui.commands.output import emit_json, say
from saetui.errors import UsageError
from saetui.settings import cache_root, load_settings, marks_root, runs_root, settings_path, state_root
from saetui.split.defaults import split_limits


@click.command("settings")
@click.option("--keys", "with_keys", is_flag=True, help="every action of the workbench with its key")
@json_option
def command(with_keys: bool, as_json: bool) -> None:
    """Print the settings in force, as TOML that the settings file could hold, and the places in use."""
    if with_keys:
        _print_keys()
        return
    settings, path = replace(load_settings(), limits=asdict(split_limits())), settings_path()
    places = {
        "runs": str(runs_root()),
        "cache": str(cache_root()),
        "marks": str(marks_root()),
        "state": str(state_root()),
    }
    if as_json:
        emit_json(
            {"path": str(path), "exists": path.exists(), "settings": asdict(settings), "places": places}
        )
        return
    say(f"# {path}{'' if path.exists() else ' (not there: these are the defaults)'}")
    for name, place in places.items():
        say(f"# {name}: {place}")
    tables = {}
    for key, value in asdict(settings).items():
        if isinstance(value, dict):
            tables[key] = value
        else:
            click.echo(f"{key} = {json.dumps(value)}")
    for name, values in tables.items():
        click.echo(f"\n[{name}]")
        for key, value in values.items():
            click.echo(f"{key} = {json.dumps(value)}")


def _print_keys() -> None:
    """All actions as a ``[keys]`` table: the remapped ones as they are, the others as comments."""
    from saetui.tui.actions import grouped
    from saetui.tui.keymap import checked

    keys = load_settings().keys
    try:
        checked(keys)
    except UsageError as error:
        raise UsageError(f"{settings_path()}: {error}") from None
    click.echo("[keys]")
    for title, actions in grouped():
        click.echo(f"\n# {title}")
        for action in actions:
            key = json.dumps(keys.get(action.id, action.keys), ensure_ascii=False)
            click.echo(f"{'' if action.id in keys else '# '}{action.id} = {key}  # {action.help}")
