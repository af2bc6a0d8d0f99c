"""``saetui settings``: where the settings are, and what they say."""

import json
from dataclasses import asdict, replace

import click

from saetui.commands.options import json_option
from saetui.commands.output import emit_json, say
from saetui.settings import cache_root, load_settings, marks_root, runs_root, settings_path, state_root
from saetui.split.defaults import split_limits


@click.command("settings")
@json_option
def command(as_json: bool) -> None:
    """Print the settings in force, as TOML that the settings file could hold, and the places in use."""
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
