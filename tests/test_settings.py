"""The settings file: what it may say, where it is, and keys that are remapped."""

import json
import tomllib
from itertools import combinations

import pytest
from click.testing import CliRunner

from saetui.commands.settings import command
from saetui.errors import UsageError
from saetui.settings import Settings, load_settings, settings_path
from saetui.setup import Setup
from saetui.tui.actions import ACTIONS
from saetui.tui.app import Workbench
from saetui.tui.keymap import MAIN, checked, keys_of


def write(text: str) -> None:
    settings_path().write_text(text)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("theme = ", "is not valid TOML"),
        ("symbol = 'ascii'", "unknown setting 'symbol'; did you mean 'symbols'?"),
        ("xyzzy = 1", "unknown setting 'xyzzy'; known are theme, runs"),
        ("theme = 3", "theme is 3, but a text is needed"),
        ("cache_gb = true", "cache_gb is True, but a number is needed"),
        ("cache_gb = -1", "0 turns the caches off"),
        ("symbols = 'dots'", "symbols is 'dots', but there are braille, block, ascii"),
        ("keys = 'g'", "keys is 'g', but a table is needed"),
        ("[keys]\ngraft = 3", "graft is 3, but a key is needed"),
    ],
)
def test_what_is_wrong_is_one_line_with_the_file(text: str, line: str):
    write(text)
    with pytest.raises(UsageError) as caught:
        load_settings()
    assert line in str(caught.value) and str(settings_path()) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_file_is_the_defaults():
    assert load_settings() == Settings()


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"grft": "x"}, "no action 'grft'; did you mean 'graft'?"),
        ({"graft": "s"}, "graft = 's' is the key of split (Split) too"),
        ({"graft": "S"}, "graft = 'S' is the key of studies"),
        ({"pause_run": "x"}, "pause_run = 'x' is the key of stop_run"),
        ({"graft": "j"}, "'j' walks lists"),
        ({"graft": "ctl+g"}, "'ctl+g' is no key"),
        ({"graft": "gg"}, "'gg' is no key"),
        ({"graft": ""}, "'' is no key"),
    ],
)
def test_keys_that_cannot_be_are_refused(keys: dict[str, str], line: str):
    with pytest.raises(UsageError) as caught:
        checked(keys)
    assert line in str(caught.value)


def test_keys_are_named_as_a_person_writes_them():
    assert checked({"find": "&", "graft": "ctrl+g, f5"}) == {"find": "ampersand", "graft": "ctrl+g,f5"}
    assert checked({"graft": "s", "split": "g"}) == {"graft": "s", "split": "g"}  # two that change places
    assert checked({"pause_run": "q"})  # a screen's own key goes before one that works everywhere


def test_the_keys_that_ship_are_no_conflict():
    for one, other in combinations(ACTIONS, 2):
        if one.where == other.where or {one.where, other.where} <= MAIN:
            assert not set(keys_of(one, {})) & set(keys_of(other, {})), (one.id, other.id)


def test_a_conflict_keeps_the_workbench_from_opening():
    write('[keys]\ngraft = "s"')
    with pytest.raises(UsageError, match=r"settings\.toml: \[keys\]: graft = 's'"):
        Workbench(Setup("gelu-1l"))


def test_the_command_says_where_and_what():
    write('theme = "nord"\n[keys]\ngraft = "ctrl+g"')
    found = json.loads(CliRunner().invoke(command, ["--json"]).stdout)
    assert found["path"] == str(settings_path()) and found["exists"]
    assert found["settings"]["theme"] == "nord" and set(found["places"]) == {
        "runs",
        "cache",
        "marks",
        "state",
    }
    plain = CliRunner().invoke(command, []).stdout
    assert tomllib.loads(plain)["keys"] == {"graft": "ctrl+g"}
    table = tomllib.loads(CliRunner().invoke(command, ["--keys"]).stdout)["keys"]
    assert table == {"graft": "ctrl+g"}
    listed = CliRunner().invoke(command, ["--keys"]).stdout
    assert all(f"{action.id} = " in listed for action in ACTIONS)
