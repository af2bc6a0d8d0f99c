"""Studies in the workbench: the list, one study's table, and what their keys do. No engine is needed."""

import asyncio

import pytest
from textual.widgets import Static

from saetui import settings
from saetui.reports.split_report import report_text
from saetui.setup import Setup
from saetui.studies.shipped import shipped
from saetui.studies.status import study_status
from saetui.studies.store import Plan
from saetui.studies.verdicts import REPORT_FILE, store_report
from saetui.tui.exporting import exportable, stem
from saetui.tui.marks import Marks
from saetui.tui.run_messages import CurvesRequested, JudgeRequested, MonitorRequested
from saetui.tui.run_watch import RunWatch
from saetui.tui.screens.line_input import LineInput
from saetui.tui.screens.split_report import SplitReportScreen
from saetui.tui.screens.studies import StudiesScreen, StudyLine
from saetui.tui.screens.study import StudyScreen
from saetui.tui.screens.study_tables import StudyTablesScreen
from saetui.tui.study_watch import all_studies, one_study
from saetui.tui.widgets.table import Table
from tests.split_report_support import REPORT
from tests.tui.fabricate_study import FakeStudy, half_done
from tests.tui.host import Host, until
from tests.tui.snapshot import check_snapshot, screen_text

SIZES = [(80, 24), (120, 40), (200, 60)]


def page(fake: FakeStudy, marks: Marks | None = None) -> StudyScreen:
    return StudyScreen(fake.study, Marks() if marks is None else marks, interval=0.02)


def listed(root) -> StudiesScreen:
    return StudiesScreen(RunWatch(root), Setup("synthetic"), Marks(), interval=0.02)


def messages(pilot):
    """Those that reached the application."""
    return pilot.app.seen


def shows(pilot, text: str):
    return lambda: text in screen_text(pilot.app)


# -- one study


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
async def test_a_study_half_done(tmp_path, size):
    marks = Marks()
    async with Host(page(half_done(tmp_path), marks)).run_test(size=size) as pilot:
        await until(pilot, shows(pilot, "1 running"))
        await pilot.press("space", "space")
        check_snapshot(pilot.app, f"study-{size[0]}x{size[1]}")
        assert len(marks) == 2


async def test_over_seeds(tmp_path):
    async with Host(page(half_done(tmp_path))).run_test(size=(120, 40)) as pilot:
        await until(pilot, shows(pilot, "1 running"))
        await pilot.press("t")
        check_snapshot(pilot.app, "study-seeds")
        await pilot.press("enter", "v", "space", "t")
        assert not any(isinstance(m, MonitorRequested) for m in messages(pilot))


async def test_keys_are_about_the_run_under_the_cursor(tmp_path):
    marks = Marks()
    async with Host(page(half_done(tmp_path), marks)).run_test(size=(120, 40)) as pilot:
        await until(pilot, shows(pilot, "1 running"))
        await pilot.press("enter", "v", "o")
        asked = [m for m in messages(pilot) if isinstance(m, (MonitorRequested, JudgeRequested))]
        assert {m.run.id for m in asked} == {"1122-1400-f240-aaa"} and len(asked) == 2
        assert marks.runs == ["1122-1400-f240-aaa"], "no mark: the run under the cursor"
        assert any(isinstance(m, CurvesRequested) for m in messages(pilot))
        await pilot.press("end", "enter", "space")  # a cell without a run
        assert len(marks) == 1


async def test_the_table_is_sorted_by_number_and_the_cursor_stays(tmp_path):
    screen = page(half_done(tmp_path))
    async with Host(screen).run_test(size=(120, 40)) as pilot:
        await until(pilot, shows(pilot, "1 running"))
        screen.cells.sort_by("F1", reverse=True)
        f1 = [row.result.mean_f1 for row in screen.cells.rows]
        assert f1[0] == pytest.approx(0.85) and f1[1] == pytest.approx(0.8) and set(f1[2:]) == {None}
        screen.cells.sort_by("verdict")
        assert screen.cells.highlighted and screen.cells.highlighted.result.cell.id == "narrow.f240.s1"
        await pilot.press("slash", *"failed", "enter")
        assert [row.status.state for row in screen.cells.rows] == ["failed"]
        assert "lower the threshold" in screen_text(pilot.app)


async def test_what_is_exported_reads_as_the_table_does(tmp_path):
    screen = page(half_done(tmp_path))
    async with Host(screen).run_test(size=(80, 24)) as pilot:
        await until(pilot, shows(pilot, "1 running"))
        ((name, table),) = exportable(screen)
        first = table.records()[0]
        assert (name, first["run"], first["verdict"], first["seed"]) == (
            "cells",
            "narrow · filtered",
            "(2 of 2)",
            1,
        )
        assert first["F1"] == pytest.approx(0.85) and first["FVU"] == 0.2, "numbers are numbers, at any width"
        assert screen.headless() == ["saetui study report reliable"] and stem(screen) == "reliable"
        await pilot.press("t")
        ((name, table),) = exportable(screen)
        assert (name, table.records()[0]["split"]) == ("seeds", "1 of 2")


async def test_a_run_that_ends_is_seen_and_the_sort_is_kept(tmp_path):
    fake = half_done(tmp_path)
    screen = page(fake)
    async with Host(screen).run_test(size=(120, 40)) as pilot:
        await until(pilot, shows(pilot, "1 running"))
        screen.cells.sort_by("seed", reverse=True)
        fake.finished("narrow.f240.s3", 5)
        await until(pilot, shows(pilot, "3 of 6 finished"))
        assert "split 2 of 3 judged" in screen_text(pilot.app)
        assert [row.result.cell.seed for row in screen.cells.rows] == [3, 3, 2, 2, 1, 1]


async def test_a_damaged_study_is_named(tmp_path):
    fake = FakeStudy(tmp_path)
    (fake.study.folder / "plan.json").write_text("{")
    async with Host(page(fake)).run_test(size=(80, 24)) as pilot:
        await until(pilot, shows(pilot, "cannot be"))
        await pilot.press("enter", "v", "o", "space", "t", "t", "escape")


async def test_stop_asks_first_and_what_fails_is_said(tmp_path):
    fake = FakeStudy(tmp_path)
    async with Host(page(fake)).run_test(size=(80, 24), notifications=True) as pilot:
        await until(pilot, shows(pilot, "0 of 6 finished"))
        await pilot.press("x", "n")
        assert not fake.study.stop_path.exists()
        await pilot.press("x", "y")
        await until(pilot, shows(pilot, "nothing to stop"))


async def test_stop_and_go_on_reach_the_study(tmp_path, monkeypatch):
    fake = half_done(tmp_path)
    begun: list[str] = []
    monkeypatch.setattr("saetui.tui.screens.study.start", lambda study: begun.append(study.name) or True)
    async with Host(page(fake)).run_test(size=(80, 24)) as pilot:
        await until(pilot, shows(pilot, "1 running"))
        await pilot.press("x", "y")
        await until(pilot, fake.study.stop_path.exists)
        await pilot.press("g")
        await until(pilot, lambda: begun == ["reliable"])


# -- all studies


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
async def test_list(tmp_path, monkeypatch, size):
    monkeypatch.chdir(tmp_path)
    from pathlib import Path

    half_done(Path("runs"))
    async with Host(listed(Path("runs"))).run_test(size=size) as pilot:
        await until(pilot, shows(pilot, "1 begun"))
        check_snapshot(pilot.app, f"studies-{size[0]}x{size[1]}")
        await pilot.press("enter")
        await until(pilot, shows(pilot, "2 of 6 finished"))
        assert isinstance(pilot.app.screen, StudyScreen)


async def test_before_any_study_those_that_ship_are_offered(tmp_path):
    async with Host(listed(tmp_path)).run_test(size=(80, 24)) as pilot:
        await until(pilot, shows(pilot, "none begun"))
        names = [line.name for line in pilot.app.screen.query_one(Table).rows]
        assert names == list(shipped()) and names[-1] == "seed-table"
        await pilot.press("x", "end", "enter")
        dialog = pilot.app.screen
        assert isinstance(dialog, LineInput) and dialog._value == "seed-table --model synthetic"


async def test_a_study_is_started_by_the_same_words_as_in_the_shell(tmp_path, monkeypatch):
    asked: list[list[str]] = []

    plan = FakeStudy(tmp_path / "elsewhere").study.plan

    async def comes_to(words: list[str]) -> Plan:
        asked.append(words)
        return plan

    async def start(words: list[str]) -> str:
        asked.append(words)
        return FakeStudy(tmp_path, "seed-table-synthetic").study.name

    monkeypatch.setattr("saetui.tui.screens.studies.plan_study", comes_to)
    monkeypatch.setattr("saetui.tui.screens.studies.start_study", start)
    async with Host(listed(tmp_path)).run_test(size=(120, 40), notifications=True) as pilot:
        await until(pilot, shows(pilot, "none begun"))
        await pilot.press("end", "n", *" --set tokens=9000".replace(" ", "|").split("|")[0], "end")
        await pilot.press(
            *["space" if c == " " else "equals_sign" if c == "=" else c for c in " --set tokens=9 --dry-run"]
        )
        assert getattr(pilot.app.screen, "_does", "") == "enter shows what it comes to · esc leaves it"
        await pilot.press("enter")
        await until(pilot, shows(pilot, "6 runs on real, of 6M tokens each; how long"))
        words = ["seed-table", "--model", "synthetic", "--set", "tokens=9"]
        assert asked == [words]
        await pilot.press("enter")  # starts nothing: y does
        assert asked == [words]
        await pilot.press("y")
        await until(pilot, shows(pilot, "seed-table-synthetic is on its way"))
        assert asked == [words, words]
        await until(pilot, shows(pilot, "1 begun"))
        line = pilot.app.screen.query_one(Table).highlighted
        assert isinstance(line, StudyLine) and line.seen and line.name == "seed-table-synthetic"


async def test_planning_can_be_left_and_its_failure_is_said(tmp_path, monkeypatch):
    held = asyncio.Event()
    cancelled: list[bool] = []

    async def comes_to(words: list[str]) -> Plan:
        try:
            await held.wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise
        raise AssertionError

    monkeypatch.setattr("saetui.tui.screens.studies.plan_study", comes_to)
    async with Host(listed(tmp_path)).run_test(size=(120, 40), notifications=True) as pilot:
        await until(pilot, shows(pilot, "none begun"))
        await pilot.press("enter", "enter")
        await until(pilot, shows(pilot, "planning matrix --model synthetic"))
        await pilot.press("escape")
        await until(pilot, lambda: cancelled == [True])
        assert isinstance(pilot.app.screen, StudiesScreen) and "planning matrix" not in screen_text(pilot.app)
        monkeypatch.undo()
        screen = pilot.app.screen
        screen._start("no-such-file.toml")
        await until(pilot, shows(pilot, "cannot read the study"))


# -- what the screens read


def test_a_study_at_rest_is_not_read_again(tmp_path, monkeypatch):
    fake = FakeStudy(tmp_path)
    run = fake.finished("narrow.f240.s1", 0)
    watch = one_study(fake.study)
    assert watch.poll() is not None
    reads: list[int] = []
    monkeypatch.setattr(
        "saetui.tui.study_watch.study_status", lambda study: reads.append(1) or study_status(study)
    )
    assert watch.poll() is None and reads == []
    run.event("note")
    watch.poll()
    assert reads == [1]


def test_a_run_that_has_not_changed_is_not_read_again(tmp_path, monkeypatch):
    fake = half_done(tmp_path)
    watch = one_study(fake.study)
    assert watch.poll() is not None
    from saetui.studies import report

    read: list[str] = []
    one = report.read_cell
    monkeypatch.setattr(report, "read_cell", lambda cell, *rest: read.append(cell.id) or one(cell, *rest))
    fake.finished("narrow.f240.s3", 5)
    assert watch.poll() is not None
    assert read == ["narrow.f240.s3"]


def test_a_list_reads_no_curve_and_says_the_same(tmp_path, monkeypatch):
    fake = half_done(tmp_path)
    seen = one_study(fake.study).poll()
    monkeypatch.setattr("saetui.studies.report.read_cell", lambda *all: pytest.fail("the whole run is read"))
    listed = all_studies(tmp_path).poll()
    assert listed and seen
    states = [[cell.state for cell in found.studies[0].status.cells] for found in (listed, seen)]
    assert states[0] == states[1]
    assert listed.studies[0].splits == seen.studies[0].splits == (True, False, None, None, None, None)
    assert [cell.success for cell in seen.studies[0].report.cells] == list(listed.studies[0].splits)


# -- what came out


async def test_the_tables_of_a_study(tmp_path):
    fake = half_done(tmp_path)
    fake.finished("random.f240.s1", 5, passed=False)
    async with Host(page(fake)).run_test(size=(80, 24)) as pilot:
        await until(pilot, shows(pilot, "1 running"))
        await pilot.press("T")
        screen = pilot.app.screen
        assert isinstance(screen, StudyTablesScreen)
        await until(pilot, shows(pilot, "Over seeds"))
        seen: list[str] = []
        while screen.shown and screen.shown.title not in seen:
            seen.append(screen.shown.title)
            await pilot.press("tab")
        assert seen == [
            "Over seeds",
            "Where children fail",
            "What the filter buys",
            "How soon",
            "Split quality on the way",
        ]
        await pilot.press("tab", "tab")
        check_snapshot(pilot.app, "study-tables")
        # What the narrow screen has no room for is in the line below, and in an export.
        line = str(screen.query_one("#tables-row", Static).content)
        assert "data filtered row · init narrow · split 1 of 2 · " in line and "trained 6.00M" in line
        assert "the forwards that a run of its own pays" in screen_text(pilot.app).replace("\n", " ")
        ((name, table),) = exportable(screen)
        record = table.records()[0]
        assert (name, record["data"], record["mean F1"]) == ("table", "filtered row", "0.83 (0.80 … 0.85)")
        await pilot.press("escape")
        assert isinstance(pilot.app.screen, StudyScreen)


async def test_a_study_without_a_finished_run_has_no_tables(tmp_path):
    async with Host(StudyTablesScreen(FakeStudy(tmp_path).study, 0.02)).run_test(size=(80, 24)) as pilot:
        await until(pilot, shows(pilot, "reliable"))
        await pilot.press("tab", "escape")


async def test_the_split_report_of_a_run(tmp_path):
    fake = half_done(tmp_path)
    run = fake.finished("narrow.f240.s3", 5).run
    async with Host(page(fake)).run_test(size=(80, 24), notifications=True) as pilot:
        await until(pilot, shows(pilot, "3 of 6 finished"))
        store_report(run.folder, REPORT)
        await pilot.press("down", "down", "R")
        assert isinstance(pilot.app.screen, SplitReportScreen)
        await until(pilot, shows(pilot, "≥ 0.8"))
        check_snapshot(pilot.app, "split-report")
        await pilot.press("end")
        await until(pilot, shows(pilot, "child 240 (began as the target)"))
        assert pilot.app.screen.headless() == [f"saetui judge {run.id} --report"]
        await pilot.press("c")
        kept = settings.state_root() / "clipboard.txt"
        await until(pilot, lambda: kept.is_file() and kept.read_text() == report_text(REPORT))
        await pilot.press("escape", "home", "R")
        await until(pilot, shows(pilot, "no split report"))
        (run.folder / REPORT_FILE).write_text('{"kind": "split"}')  # of another version
        await pilot.press("down", "down", "R")
        assert isinstance(pilot.app.screen, StudyScreen)
