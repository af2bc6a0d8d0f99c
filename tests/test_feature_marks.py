"""Notes and bookmarks: kept at once, never lost to another process, exported with the runs they are about."""

import json
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from saetui import settings
from saetui.cli import cli
from saetui.commands.export import written
from saetui.commands.notes import command
from saetui.embedded import world
from saetui.feature_marks import NARROW, FeatureMarks, Mark
from saetui.setup import Setup
from tests.tui.fabricate import FakeRun

SETUP = Setup("gelu-1l")


def test_the_last_word_on_a_feature_holds_and_the_newest_comes_first():
    marks = FeatureMarks(SETUP)
    marks.note(NARROW, 3, "a\tfirst\nword ")
    marks.bookmark(NARROW, 240, True)
    marks.bookmark(NARROW, 3, True)
    assert marks.kept() == [Mark(NARROW, 3, True, "a first word"), Mark(NARROW, 240, True)]
    marks.note(NARROW, 3, "")
    marks.bookmark(NARROW, 240, False)
    assert FeatureMarks(SETUP).kept() == [Mark(NARROW, 3, True)]
    assert not FeatureMarks(SETUP).of(NARROW, 240) and not FeatureMarks(Setup("gelu-1l", sae="other")).kept()


def test_a_damaged_file_costs_the_damaged_lines_only():
    marks = FeatureMarks(SETUP)
    marks.note(NARROW, 1, "before")
    with marks.path.open("ab") as file:
        file.write(b'{"sae": 3}\nnonsense\n{"sae": "narrow", "feat')
    marks.note(NARROW, 2, "after")
    assert [mark.note for mark in FeatureMarks(SETUP).kept()] == ["after", "before"]
    marks.path.write_text("")
    assert marks.stale() and not marks.refresh() and marks.kept() == []


def test_processes_that_write_at_once_lose_nothing():
    program = (
        "import sys; from saetui.feature_marks import FeatureMarks; from saetui.setup import Setup\n"
        "marks, who = FeatureMarks(Setup('gelu-1l')), int(sys.argv[1])\n"
        "for i in range(30): marks.note('narrow', 100 * who + i, f'{who} {i}')"
    )
    writers = [subprocess.Popen([sys.executable, "-c", program, str(who)]) for who in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    kept = {mark.feature: mark.note for mark in FeatureMarks(SETUP).kept()}
    assert kept == {100 * who + i: f"{who} {i}" for who in range(3) for i in range(30)}


def test_the_command_reads_and_writes_what_the_workbench_does():
    def run(*arguments: str) -> str:
        result = CliRunner().invoke(command, [*arguments, "--model", "gelu-1l"], catch_exceptions=False)
        assert result.exit_code == 0
        return result.stdout

    assert run("3", "numbers") == "     3  numbers\n".rjust(18)
    FeatureMarks(SETUP).bookmark("1122-k7q", 513, True)
    assert json.loads(run("--json"))["marks"][0] == {
        "sae": "1122-k7q", "feature": 513, "bookmarked": True, "note": "",
    }  # fmt: skip
    assert run("513", "--run", "1122-k7q") == "★    513 of 1122-k7q\n"
    assert run("7") == ""


def test_nothing_is_noted_of_a_feature_that_does_not_exist():
    graft = FakeRun(settings.runs_root(), "1122-1403-f240-k7q", graft=True)
    last = world("real").narrow_features + graft.run.manifest.recipe["children"] - 1

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(cli, ["notes", *arguments])
        return str(result.exception or "") + result.stdout + result.stderr

    assert "there is no feature 9999: the narrow SAE has features 0 to 255" in run("9999", "hello")
    said = f"there is no feature {last + 1}: {graft.run.id} has features 0 to {last}"
    assert said in run(str(last + 1), "hello", "--run", graft.run.id)
    assert "no run" in run("3", "hello", "--run", "gone")
    assert FeatureMarks(Setup()).kept() == []
    assert "hello" in run("255", "hello") and "hello" in run(str(last), "hello", "--run", graft.run.id)
    FeatureMarks(Setup()).note(NARROW, 9999, "of an older version")
    assert "nothing is noted" in run("9999", ""), "what should not be there can be taken away"


def test_a_run_is_exported_with_the_notes_on_its_features(tmp_path: Path):
    fake = FakeRun(settings.runs_root(), "1122-1403-f0-k7q", graft=True)
    path = fake.run.folder / "manifest.json"
    manifest = {**json.loads(path.read_text()), "setup": SETUP.to_dict()}
    manifest["recipe"]["target"] = 240
    path.write_text(json.dumps(manifest))
    fake.event("exit", state="finished")
    marks = FeatureMarks(SETUP)
    marks.note(NARROW, 240, "hyphens of | all kinds")
    marks.note(fake.run.id, 513, "adverbs")
    marks.note(NARROW, 7, "another feature")
    marks.bookmark(NARROW, 240, True)
    text = written(fake.run, "md")
    assert "## Notes on its features" in text or "Notes on its features" in text
    assert text.index("240 of narrow") < text.index(f"513 of {fake.run.id}")
    assert "adverbs" in text and "another feature" not in text
    notes = json.loads(written(fake.run, "json"))["feature_notes"]
    assert [(note["sae"], note["feature"]) for note in notes] == [(NARROW, 240), (fake.run.id, 513)]
