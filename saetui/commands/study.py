"""``saetui study``: a grid of runs, described in a file, carried out in the background, read as one table."""

import re
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from saetui.census.defaults import census_recipe
from saetui.commands.census import open_index
from saetui.commands.live_line import LiveLine
from saetui.commands.options import json_option, setup_options
from saetui.commands.output import emit_json, print_table, say
from saetui.commands.study_compare import compare_command
from saetui.errors import UsageError
from saetui.quantities import si
from saetui.record_text import csv_text
from saetui.reports import markdown
from saetui.reports.document import Table
from saetui.reports.study_tables import cell_records, curve_records, tables
from saetui.runs.launcher import survives_logout
from saetui.settings import runs_root
from saetui.setup import Setup
from saetui.studies.file import METHODS, StudyFile, load_study_file
from saetui.studies.shipped import shipped
from saetui.studies.status import CellStatus, study_status, summary
from saetui.studies.store import FOLDER, Plan, Study, find_study, list_studies, save_study
from saetui.toml_file import check_keys

_LOOK_S = 1.0
_EXIT_CODES = {"finished": 0, "failed": 1, "unfinished": 3}


@click.group()
def command() -> None:
    """A study: many recipes × seeds × targets, described in one TOML file.

    Its runs are ordinary runs: runs, watch, judge and export know them.
    """


command.add_command(compare_command)


@command.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """The studies that ship with saetui, and those that were begun."""
    files = {name: load_study_file(path).title for name, path in shipped().items()}
    begun = [study_status(study) for study in list_studies(runs_root())]
    if as_json:
        emit_json({"shipped": files, "begun": begun})
        return
    width = max(len(name) for name in (*files, *(status.name for status in begun)))
    for name, title in files.items():
        click.echo(f"{name:<{width}}  {title}  (shipped)")
    for status in begun:
        click.echo(f"{status.name:<{width}}  {status.title}: {summary(status)}")


@command.command("show")
@click.argument("study", metavar="STUDY")
def show_command(study: str) -> None:
    """Print the file of STUDY: a shipped one, to begin one's own with, or that of a study that was begun."""
    path = shipped().get(study) or find_study(runs_root(), study).folder / "study.toml"
    click.echo(path.read_text(encoding="utf-8"), nl=False)


@command.command("run")
@click.argument("study_file", metavar="FILE")
@setup_options
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="a recipe value for all runs; repeatable"
)
@click.option("--name", help="what to call the study  [default: its file, and the model where that is open]")
@click.option(
    "--at-once", type=click.IntRange(min=1), default=1, show_default=True, help="runs on one device"
)
@click.option(
    "--next", "next_count", type=click.IntRange(min=1), help="targets: so many of the features to split next"
)
@click.option("--dry-run", is_flag=True, help="list the runs that it would come to, and start none")
@click.option("--detach", is_flag=True, help="launch, print the study's name and return")
@json_option
def run_command(
    study_file: str,
    setup: Setup,
    settings: tuple[str, ...],
    name: str | None,
    at_once: int,
    next_count: int | None,
    dry_run: bool,
    detach: bool,
    as_json: bool,
) -> None:
    """Carry out the study FILE and follow it: a TOML file, a shipped study's name, or that of one begun.

    Repeated, it goes on: finished runs are kept, missing and unfinished ones are queued. Model, SAE and data
    named here override the file's. With --next its targets are the features that the rank before a census
    expects to split first, and the report says how many of them did. Exit code: 0 all finished, 1 some
    failed, 3 stopped, 130 left.
    """
    path = shipped().get(study_file) or Path(study_file)
    begun = next((study for study in list_studies(runs_root()) if study.name == study_file), None)
    if begun and not path.exists():  # as it was planned
        if _given(setup) or settings or name or next_count:
            raise UsageError(f"{study_file} is a study that was begun: to change it, run its file")
        study, plan = begun, begun.plan
    else:
        file = load_study_file(path)
        setup = _setup(file, path, _given(setup))
        if next_count:
            file = file.with_targets(_next_targets(setup, next_count))
        plan = _plan(file, setup, _values(settings, file))
        study = Study(runs_root() / FOLDER / (name or _name(path, file, plan)))
        if not dry_run:
            save_study(study, file, plan)
    if dry_run:
        _print_plan(plan, as_json)
        return
    from saetui.studies.launcher import start

    if not start(study, at_once):
        say(f"{study.name} is at work already")
    elif warning := survives_logout():
        say(warning)
    if not detach:
        sys.exit(_EXIT_CODES[_follow(study, as_json)])
    if as_json:
        emit_json(study_status(study))
    else:
        click.echo(study.name)
        say(f"it goes on by itself: `saetui study status {study.name}` says how far it is")


@command.command("status")
@click.argument("study", metavar="STUDY")
@json_option
def status_command(study: str, as_json: bool) -> None:
    """Where every run of STUDY stands, and how long the rest will take."""
    status = study_status(find_study(runs_root(), study))
    if as_json:
        emit_json(status)
        return
    headings = ("cell", "state", "done", "run", "verdict")
    rows = [
        (
            cell.cell.id,
            cell.state,
            f"{cell.run.progress:.0%}" if cell.run and cell.run.progress is not None else "",
            cell.run.id if cell.run else "",
            (cell.run.verdict or "") if cell.run else "",
        )
        for cell in status.cells
    ]
    print_table(Table(status.title, headings, rows))
    click.echo(f"{status.name}: {summary(status)}")
    for cell in status.failed:
        say(_failure(cell))
    if status.state == "unfinished":
        say(f"no process works for it: `saetui study run {status.name}` goes on with it")


@command.command("stop")
@click.argument("study", metavar="STUDY")
def stop_command(study: str) -> None:
    """Stop STUDY: its runs save a checkpoint and end. `saetui study run` goes on with it."""
    from saetui.studies.launcher import stop

    found = find_study(runs_root(), study)
    stop(found)
    while found.alive():
        time.sleep(_LOOK_S / 5)
    say(f"{found.name} is stopped: {summary(study_status(found))}")


@command.command("report")
@click.argument("study", metavar="STUDY")
@click.option("--json", "form", flag_value="json", help="print everything as JSON")
@click.option("--csv", "form", flag_value="csv", help="print a line per run as CSV")
@click.option("--curves", "form", flag_value="curves", help="print split quality against tokens as CSV")
@click.option("--markdown", "form", flag_value="markdown", help="print the tables as Markdown")
def report_command(study: str, form: str | None) -> None:
    """The results of STUDY: run by run, over seeds, what the filter buys, how the target was replaced."""
    from saetui.studies.report import study_report

    report = study_report(find_study(runs_root(), study))
    if form == "json":
        emit_json(report)
    elif form == "csv":
        click.echo(csv_text(cell_records(report)))
    elif form == "curves":
        click.echo(csv_text(curve_records(report.curves)))
    elif form == "markdown":
        click.echo(f"# {report.name}: {report.title}\n")
        click.echo("\n\n".join(markdown.table(table, level=2) for table in tables(report)))
    else:
        for table in tables(report):
            print_table(table)
            click.echo()


def _given(setup: Setup) -> dict[str, Any]:
    """Of a setup, what was named on the command line."""
    source = click.get_current_context().get_parameter_source
    values = setup.to_dict()
    return {name: values[name] for name in values if source(name) is ParameterSource.COMMANDLINE}


def _values(settings: tuple[str, ...], file: StudyFile) -> dict[str, Any]:
    """``--set`` as recipe values: TOML, or a text where that is all it can be."""
    values: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise UsageError(f"--set {setting!r}: write KEY=VALUE, as in tokens=200000")
        try:
            values[key.strip()] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            values[key.strip()] = text.strip()
    check_keys(values, METHODS[file.method][1].__dataclass_fields__, "--set")
    return values


def _setup(file: StudyFile, path: Path, given: dict[str, Any]) -> Setup:
    in_file = Setup.from_dict({"model": "real"} | file.setup).anchored(path.resolve().parent)
    return Setup.from_dict(in_file.to_dict() | given).anchored(Path.cwd())


def _next_targets(setup: Setup, count: int) -> list[dict[str, Any]]:
    """The features that the census's rank expects to split first."""
    from saetui.census.census import rank
    from saetui.studies.targets import next_targets

    recipe = census_recipe(setup)
    narrow, index = open_index(setup, recipe)
    try:
        return next_targets(rank(narrow, index, recipe), count)
    finally:
        index.close()
        index.store.close()


def _plan(file: StudyFile, setup: Setup, values: dict[str, Any]) -> Plan:
    from saetui.loading import load_sae
    from saetui.studies.grid import expand
    from saetui.studies.thresholds import measured_thresholds

    narrow = load_sae(setup)
    return Plan.of(file, setup, expand(file, setup, values, narrow, measured_thresholds(setup, narrow)))


def _name(path: Path, file: StudyFile, plan: Plan) -> str:
    """The file's name; a file that is for any model, or is used with another, says with which."""
    model = Path(plan.setup["model"]).name
    stem = path.stem if file.setup.get("model") == plan.setup["model"] else f"{path.stem}-{model}"
    return re.sub(r"[^\w.-]+", "-", stem)


def _print_plan(plan: Plan, as_json: bool) -> None:
    if as_json:
        emit_json(plan)
        return
    for cell in plan.cells:
        click.echo(f"{cell.id}  {si(cell.recipe['tokens'])} tokens" if "tokens" in cell.recipe else cell.id)
    say(f"{len(plan.cells)} runs")


def _follow(study: Study, as_json: bool) -> str:
    """Shows how the study goes until no process works for it; ``finished``, ``failed`` or ``unfinished``."""
    line = LiveLine(sys.stderr)
    told: dict[str, str] = {}
    try:
        while True:
            status = study_status(study)
            for cell in status.cells:
                if told.get(cell.cell.id) != cell.state and (news := _news(cell)):
                    line.say(news)
                told[cell.cell.id] = cell.state
            line.draw(summary(status))
            if status.state != "running":
                break
            time.sleep(_LOOK_S)
    except KeyboardInterrupt:
        line.close()
        say(
            f"\n{study.name} goes on: `saetui study run {study.name}` comes back to it, "
            f"`saetui study stop {study.name}` ends it"
        )
        raise
    line.close()
    if as_json:
        emit_json(status)
    say(f"{study.name}: {summary(status)}; `saetui study report {study.name}` shows what came out")
    return "failed" if status.failed else "finished" if status.state == "finished" else "unfinished"


def _news(cell: CellStatus) -> str | None:
    """A line about a cell that came to its present state."""
    if cell.message or cell.state in ("failed", "crashed"):
        return _failure(cell)
    if cell.state == "running" and cell.run:
        return f"{cell.cell.id} runs as {cell.run.id}"
    if cell.state == "finished" and cell.run:
        return f"{cell.cell.id} is finished{f': {cell.run.verdict} children' if cell.run.verdict else ''}"
    return None


def _failure(cell: CellStatus) -> str:
    run = f" ({cell.run.id})" if cell.run else ""
    return f"{cell.cell.id}{run} {cell.state}: {cell.message or 'it does not say why'}"
