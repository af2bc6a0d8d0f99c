"""Export from where one looks: lists, screens and commands, into new files only."""

from __future__ import annotations

import csv
import json
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from saetui import settings
from saetui.cli import cli
from saetui.record_text import csv_text, json_text, markdown_text
from saetui.tui.app import Workbench
from saetui.tui.exporting import write_new
from saetui.tui.screens.export import ExportScreen
from saetui.tui.screens.find import FindScreen
from tests.tui.bench import GELU, Bench, bench, finished_graft
from tests.tui.fabricate_study import half_done
from tests.tui.fake_engine import FakeEngine
from tests.tui.host import until
from tests.tui.snapshot import check_snapshot, screen_text


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def copied() -> list[str]:
    return (settings.state_root() / "clipboard.txt").read_text().splitlines()


def said(it: Bench) -> str:
    return list(it.app._notifications)[-1].message


async def test_the_list_with_the_focus_becomes_a_file(here: Path) -> None:
    async with bench() as it:
        await it.press("2", "e")
        assert isinstance(it.app.screen, ExportScreen)
        await it.press("c")
        path = here / "narrow-0-contexts.csv"
        assert said(it).startswith(f"written: {path.name}\nin {here}\nits path is copied")
        assert copied() == [str(path)]
        rows = list(csv.DictReader(path.open()))
        assert len(rows) == 30 and rows[0]["token"] == "-" and rows[0]["after"] == " channel test\nand"
        assert float(rows[0]["activation"]) == 9.0 and rows[3]["before"] == " It was a dual"
        await it.press("e", "o", "e", "c")  # nothing is ever written over
        assert json.loads((here / "narrow-0-contexts.json").read_text())[0]["row"] == 0
        assert (here / "narrow-0-contexts-2.csv").read_text() == path.read_text()


async def test_every_list_has_a_name_of_its_own() -> None:
    async with bench() as it:
        await it.press("g", "down", "e")
        assert isinstance(it.app.screen, ExportScreen)
        names = [name for name, _ in it.app.screen._lists]
        assert len(names) == len(set(names)) and "first" not in names
        assert {"contexts", "contexts of the child", "features on the token"} <= set(names)


async def test_a_notice_is_read_to_its_end_on_a_narrow_screen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / "experiments [draft]" / "-".join(["a-folder-with-a-long-name"] * 4)
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    app = Workbench(GELU, lambda notice, death: FakeEngine(notice, death))
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await until(pilot, lambda: "multi" in screen_text(app))
        await pilot.press("e", "t")
        await until(pilot, lambda: "written: narrow-0.txt" in screen_text(app))
        shown = "".join(line.replace("▌", "").strip() for line in screen_text(app).splitlines())
        assert str(deep).replace(" ", "") in shown.replace(" ", "")  # brackets are no markup


async def test_another_list_on_the_screen_can_be_chosen(here: Path) -> None:
    async with bench() as it:
        await it.press("3", "e", "down", "m")
        lines = next(here.glob("narrow-0-boosted.md")).read_text().splitlines()
        assert lines[0] == "| boosted | logit |" and lines[2] == "| ·up0 | 3 |"


async def test_the_screen_becomes_text_and_a_picture(here: Path) -> None:
    async with bench() as it:
        before = screen_text(it.app)
        await it.press("e", "t")
        assert (here / "narrow-0.txt").read_text() == before
        await it.press("e", "s")
        picture = (here / "narrow-0.svg").read_text()
        assert picture.startswith("<svg") and "multi" in picture and "Export" not in picture


async def test_every_view_names_a_command_that_the_shell_takes() -> None:
    finished_graft()
    async with bench() as it:
        await it.wait_for(lambda: it.screen.run_pane.run is not None)
        await it.settle()
        seen: list[str] = []
        for keys in (("1",), ("2",), ("i",), ("3",), ("4",), ("5",), ("r",), ("escape", "5", "enter"),
                     ("escape", "v"), ("escape", "n", "d")):  # fmt: skip
            await it.press(*keys, "C")
            seen += copied()
        assert seen[0] == ("saetui probe 'I'\"'\"'m a multi-millionaire' --top 12 --follow 0 --model gelu-1l")
        assert "saetui contexts 0 --intervals 5 --top 0 --before 5 --after 4 --model gelu-1l" in seen
        assert "saetui judge 1122-1403-f0-k7q --report" in seen and "saetui runs" in seen
        assert "saetui judge 1122-1403-f0-k7q --show" in seen
        assert "saetui pair 0 1 --model gelu-1l" in seen
        for line in seen:
            name, *arguments = shlex.split(line)[1:]
            command = cli.get_command(click.Context(cli), name)
            assert command is not None
            command.make_context(name, arguments)  # a UsageError where an option is not known


async def test_the_commands_of_runs_curves_and_studies_say_what_the_screens_say() -> None:
    """They do not only parse: they read the same files."""
    half_done(settings.runs_root())
    said: dict[str, list[str]] = {}
    async with bench(size=(160, 40)) as it:
        for name, key, shown in (
            ("runs", "r", "1 running"),
            ("marked", "space", "1 running"),
            ("curves", "o", "tokens"),
            ("runs again", "escape", "1 running"),
            ("workbench", "escape", "feature 0"),
            ("studies", "S", "1 begun"),
            ("study", "enter", "2 of 6 finished"),
            ("over seeds", "t", "1 of 2"),
        ):
            await it.press(key)
            await it.wait_for(lambda shown=shown: shown in screen_text(it.app))
            await it.press("C")
            said[name] = copied()
    run = "1122-1403-f240-ddd"
    assert said["runs"] == ["saetui runs"] and said["curves"] == [f"saetui export {run} --format csv"]
    assert said["studies"] == ["saetui study list"]
    assert said["study"] == said["over seeds"] == ["saetui study report reliable"]
    for name, words in {
        "runs": (run, "running"),
        "curves": ("tokens", "fvu", "l0"),
        "studies": ("reliable", "2 of 6 finished", "seed-table"),
        "study": ("narrow · filtered", "1 of 2"),
    }.items():
        answer = CliRunner().invoke(cli, shlex.split(said[name][0])[1:])
        assert answer.exit_code == 0, answer.output
        assert all(word in answer.output for word in words), (name, answer.output)


async def test_a_feature_of_a_run_is_named_by_the_run() -> None:
    finished_graft()
    async with bench() as it:
        await it.wait_for(lambda: it.screen.children_pane.children_shown)
        await it.press("4", "enter", "2", "C")
        assert copied() == ["saetui contexts 512 --top 20 --before 5 --after 4 --run 1122-1403-f0-k7q"]


async def test_a_graft_that_is_no_run_has_no_command() -> None:
    async with bench() as it:
        await it.press("g", "4", "enter", "2", "C")
        assert "nothing here that a command could show" in said(it)


async def test_letters_typed_into_a_search_export_nothing(here: Path) -> None:
    async with bench() as it:
        await it.press("slash", "e", "C")
        assert isinstance(it.app.screen, FindScreen) and not list(here.iterdir())


async def test_the_dialog_at_its_sizes() -> None:
    for size, name in (((80, 24), "export-80"), ((120, 40), "export-120")):
        async with bench(size=size) as it:
            await it.press("3", "e")
            it.app.screen.query_one("#export").border_subtitle = "into here"
            await it.pilot.pause()
            check_snapshot(it.app, name)


def test_where_nothing_can_be_written_the_home_folder_takes_it(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = here / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    gone = here / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert write_new("a/b c", "txt", "x") == home / "a-b-c.txt"


def test_records_as_text() -> None:
    records = [{"word": "a|b", "n": 1.23456789}, {"word": "*c*\nd", "more": "é"}]
    assert csv_text(records) == 'word,n,more\na|b,1.23456789,\n"*c*\nd",,é'
    assert json.loads(json_text(records)) == records
    assert markdown_text(records).splitlines()[2:] == ["| a\\|b | 1.23457 |  |", "| \\*c\\* d |  | é |"]
