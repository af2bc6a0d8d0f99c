"""Two methods over seeds and targets: runs whose children are known by the synthetic world's labels."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from saetui.census.census import rank
from saetui.census.results import CensusRecipe, Evidence, Hits
from saetui.cli import cli
from saetui.commands.census import open_index
from saetui.errors import UsageError, UserError
from saetui.reports.census import study_table
from saetui.reports.study_tables import targets_table
from saetui.runs.cost import Cost
from saetui.runs.journal import Journal
from saetui.runs.store import Run, create_run
from saetui.sae.formats import save_saelens
from saetui.sae.sae import SAEMetadata
from saetui.settings import runs_root
from saetui.setup import Setup
from saetui.split.grafting.graft import Graft
from saetui.split.recipe import GraftRecipe, SplitRecipe
from saetui.studies.cells import Cell
from saetui.studies.expected import ranked, study_agreement
from saetui.studies.file import load_study_file
from saetui.studies.methods import compare_methods
from saetui.studies.results import CellResult, Found, Over
from saetui.studies.store import FOLDER, Plan, Study
from saetui.studies.targets import TargetResult, over_targets
from saetui.studies.verdicts import REPORT_FILE
from tests.labelled import ADJ, COUNT, DIGIT, LM_FOLDER, OTHER, Classes, fitted, narrow

TOKENS = 12_000
SAID = SAEMetadata(hook_name="blocks.0.hook_mlp_out")


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    save_saelens(replace(narrow(), metadata=SAID), tmp_path / "narrow")
    return Setup(str(LM_FOLDER), SAID.hook_name, str(tmp_path / "narrow"), "synthetic", 48, "cpu")


def study(setup: Setup, name: str, kind: str, by_seed: dict[int, tuple[Classes, ...]], *more: Cell) -> Study:
    """A study with a finished run of the hyphen for every seed, whose children are of the given classes."""
    cells, runs = [], {}
    for seed, classes in by_seed.items():
        if kind == "graft":
            recipe = GraftRecipe(threshold=0.0, seed=seed, children=len(classes))
        else:
            recipe = SplitRecipe(threshold=0.0, seed=seed, d_sae=len(classes), init="random")
        cells.append(Cell(f"recipe.f0.s{seed}", "recipe", "", recipe.to_dict()))
        run = create_run(runs_root(), kind, setup, recipe)
        children = fitted(*classes)
        if kind == "graft":
            made = Graft(narrow(), 0, 0.0, children.W_enc, children.b_enc, children.W_dec)
            made.save(run.folder / "graft")
        else:
            save_saelens(replace(children, metadata=SAID), run.folder / "sae")
        finish(run, seed)
        runs[cells[-1].id] = run.id
    folder = runs_root() / FOLDER / name
    folder.mkdir(parents=True)
    plan = Plan(name, kind, setup.to_dict(), (*cells, *more))
    (folder / "plan.json").write_text(json.dumps(plan, default=vars))
    with Journal(folder / "events.jsonl") as events:
        for cell, run_id in runs.items():
            events.append(kind="run", cell=cell, run=run_id)
    return Study(folder)


def finish(run: Run, seconds: float) -> None:
    with Journal(run.events_path) as events:
        events.append(kind="running", t=100.0)
        events.append(kind="exit", state="finished", t=100.0 + seconds)


def shell(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["study", "compare", *arguments, "--tokens", str(TOKENS)])


def test_what_both_find_and_what_one_does(setup: Setup) -> None:
    grafts = study(
        setup, "grafts", "graft", {1: ((COUNT,), (ADJ,), (DIGIT,)), 2: ((COUNT,), (ADJ,), (OTHER,))}
    )
    wides = study(
        setup, "wides", "split", {1: ((DIGIT,), (COUNT,)), 2: ((ADJ,), (OTHER,), (COUNT,)), 3: ((OTHER,),)}
    )
    told: list[float] = []
    report = compare_methods(grafts, wides, tokens=TOKENS, on_progress=lambda done, total: told.append(done))
    (found,) = report.targets
    # Two runs of each: the first ends with a quarter of the only target done.
    assert told == sorted(told) and {0.25, 0.5, 0.75, 1.0} <= set(told) and told[-1] == 1
    assert (found.target, found.seeds) == (0, (1, 2))
    # Seed by seed: count and digit are found by both, then all three.
    assert [len(pair.matches) for pair in report.comparisons] == [2, 3]
    assert [pair.first.only for pair in report.comparisons] == [[2], []]
    between = found.between
    assert between.pairs == 2 and between.matched and between.only_first and between.share
    assert (between.matched.low, between.matched.high) == (2, 3)
    assert (between.only_first.low, between.only_first.high) == (0, 1)
    assert (between.share.low, between.share.high) == (pytest.approx(4 / 5), 1.0)
    assert between.agreement and between.agreement.low > 0.99
    # Each method with its own other seed.
    assert found.first.within and found.first.within.matched and found.second.within
    assert found.first.within.matched.median == 2
    assert found.second.within.share and found.second.within.share.median == pytest.approx(2 / 5)
    assert len(report.left_out) == 1 and found.second.children and found.second.children.high == 3
    assert found.first.ungated is None
    # "adjective" is the graft's alone with seed 1, and its run with seed 2 has it too.
    assert found.first.only_again == Over(0.5, 0, 1, 2) and found.second.only_again == Over(0, 0, 0, 2)
    # Over all targets, of which there is one: the sums of the seeds.
    total = report.total
    assert total and total.seeds == (1, 2)
    assert (total.first, total.second) == (Over(3, 3, 3, 2), Over(2.5, 2, 3, 2))
    assert (total.matched, total.only_first) == (Over(2.5, 2, 3, 2), Over(0.5, 0, 1, 2))
    assert found.first.cost.wall_s == Over(1.5, 1, 2, 2)


def test_from_the_shell(setup: Setup) -> None:
    grafts = study(setup, "grafts", "graft", {1: ((COUNT,), (ADJ,), (DIGIT,))})
    study(setup, "wides", "split", {1: ((DIGIT,), (COUNT,))})
    run = next(iter(grafts.runs().values()))
    (run.folder / REPORT_FILE).write_text('{"kind": "absorbed"}')
    with Journal(run.events_path) as events:
        cost = Cost(2_000, 700, 600, 1.0, 2.0, 3.0, 0.9, 1.9)
        events.append(
            kind="ungated", fvu_off_narrow=0.3, fvu_off_ungated=0.31, off_target=0.002, cost=vars(cost)
        )
        events.append(kind="exit", state="finished")
    said = shell("grafts", "wides")
    assert said.exit_code == 0, said.output
    assert "loading the language model" in said.stderr
    assert (
        "2 children are found by both, of 3 of the graft and 2 of the wide runs (67% and 100%)" in said.stdout
    )
    assert "Without the gate" in said.stdout and "0.3100" in said.stdout and "0.20%" in said.stdout
    written = shell("grafts", "wides", "--markdown").stdout
    for row in (
        "| target | seeds | graft | wide | both | graft only | again | wide only | again | share |",
        "| 0 | 1 | 3 | 2 | 2 | 1 |  | 0 |  | 80% |",
        "| 0 | absorbed 1 |  |",
        "| 0 | without the gate | 700 | 600 | 2.00k | 2.8 | 3.0 |",
        f"| 1 | {narrow().d_sae + 1} | (",
        "saetui study compare grafts wides --tokens 12000",
    ):
        assert row in written
    values = json.loads(shell("grafts", "wides", "--json", "--limit", "recall=0.5").stdout)
    assert values["limits"]["recall"] == 0.5 and values["targets"][0]["between"]["matched"]["median"] == 0


def test_one_comparison_in_several_files(setup: Setup, tmp_path: Path) -> None:
    study(setup, "grafts", "graft", {1: ((COUNT,), (ADJ,), (DIGIT,))})
    study(setup, "wides", "split", {1: ((DIGIT,), (COUNT,))})
    files = [tmp_path / f"both.{ending}" for ending in ("md", "html", "json")]
    said = shell("grafts", "wides", *(part for file in files for part in ("-o", str(file))))
    assert said.exit_code == 0 and said.stdout == "", said.output
    text, page, values = (file.read_text() for file in files)
    assert text.startswith("# grafts and wides, child by child\n") and "### Feature 0, child by child" in text
    assert page.startswith("<!doctype html>") and "Feature 0, child by child" in page
    assert "in none, with the nearest" in page and page.count("<circle") + page.count("<rect") > 2
    made = json.loads(values)["made"]
    assert len(made) == 2 and all(one["files"][-1]["sha256"] in text for one in made.values())
    refused = shell("grafts", "wides", "-o", "both.txt").exception
    assert isinstance(refused, UsageError) and "one of md, html, json" in str(refused)


def test_the_next_features_are_a_study(monkeypatch: pytest.MonkeyPatch) -> None:
    """Targets of the rank, with the thresholds that it looked above, in the plan and in the file."""
    recipe = CensusRecipe(tokens=60_000, fewest=64, l1_coeff=5.0)
    monkeypatch.setattr("saetui.commands.study.census_recipe", lambda setup: recipe)
    run = ["study", "run", "methods-graft", "--model", "synthetic", "--next", "3", "--dry-run", "--json"]
    said = CliRunner().invoke(cli, run)
    assert said.exit_code == 0, said.output
    cells = json.loads(said.stdout)["cells"]
    narrow, index = open_index(Setup("synthetic", device="cpu"), recipe)
    try:
        first = rank(narrow, index, recipe)[:3]
    finally:
        index.close()
        index.store.close()
    expected = [(one.feature, round(one.threshold, 4)) for one in first]
    assert list(dict.fromkeys((c["recipe"]["target"], c["recipe"]["threshold"]) for c in cells)) == expected
    assert len(cells) == 15


def test_a_file_with_targets_of_its_own_takes_no_others(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('title = "mine"\nmethod = "graft"\n[axes]\nseed = [1, 2]\n')
    file = load_study_file(path).with_targets(
        [{"target": 3, "threshold": 0.5}, {"target": 4, "threshold": 1.0}]
    )
    path.write_text(file.text)  # what is kept says the same
    again = load_study_file(path)
    assert again.targets == file.targets and len(list(again.combinations({}))) == 4
    with pytest.raises(UsageError, match=r"mine.toml names its targets: take them out, or leave out --next"):
        again.with_targets([{"target": 5}])


def test_how_many_targets_split() -> None:
    def cell(target: int, seed: int, kind: str | None, effective: float | None) -> CellResult:
        recipe = GraftRecipe(target=target, seed=seed).to_dict()
        found = Found(kind, "", 3, effective, 1.0) if kind else None
        return CellResult(Cell(f"a.f{target}.s{seed}", "a", "", recipe), "r", "finished", found=found)

    assert over_targets([cell(4, 1, "split", 3.0)]) == ()
    found = over_targets(
        [
            *(cell(9, 1, "split", 3.0), cell(9, 2, "split", 4.0), cell(9, 3, "partly", 2.0)),
            *(cell(4, 1, "unsplit", 1.0), cell(4, 2, None, None)),
        ]
    )
    assert [(one.target, one.runs, one.judged, one.split) for one in found] == [(9, 3, 3, 2), (4, 2, 1, 0)]
    assert found[0].kinds == {"split": 2, "partly": 1} and found[0].mostly_split and not found[1].mostly_split
    table = targets_table(found)
    assert "1 of 2 targets split in most of their runs; 2 of 4 runs" in table.note
    assert table.rows[0] == ("9", "3 of 3", "2 of 3", "partly 1", "3.0 (2.0 … 4.0)")


def test_studies_that_do_not_compare(setup: Setup) -> None:
    one = study(setup, "one", "graft", {1: ((COUNT,), (ADJ,))})
    other = study(setup, "other", "split", {2: ((COUNT,),)})
    with pytest.raises(UserError, match="one and other have no target and seed in common"):
        compare_methods(one, other, tokens=TOKENS)
    twice = Cell("b.f0.s1", "b", "", next(iter(one.plan.cells)).recipe | {"children": 2, "steps": 7})
    several = study(setup, "several", "graft", {1: ((COUNT,), (ADJ,))}, twice)
    run = create_run(runs_root(), "graft", setup, GraftRecipe.from_dict(twice.recipe))
    finish(run, 1)
    with Journal(several.events_path) as events:
        events.append(kind="run", cell=twice.id, run=run.id)
    with pytest.raises(UserError, match="several has several recipes for target 0 and seed 1"):
        compare_methods(several, one, tokens=TOKENS)


def test_the_rank_against_what_a_study_made_of_its_targets() -> None:
    def evidence(feature: int, share: float) -> Evidence:
        return Evidence(feature, 500, 1.0, 0.1, share, "previous", 0.5, "-", 0.5, 0, 0.1, 0.5)

    def result(target: int, split: int, effective: float) -> TargetResult:
        kinds = {"split": split, "unsplit": 4 - split}
        return TargetResult(target, 5, 4, kinds, Over(effective, effective, effective, 4))

    rank = [evidence(7, 0.8), evidence(1, 0.5), evidence(2, 0.3), evidence(9, 0.2), evidence(4, 0.1)]
    results = [result(4, 0, 1.0), result(9, 3, 2.0), result(7, 4, 4.0), result(2, 2, 3.0)]
    unjudged = TargetResult(1, 5, 0, {}, None)
    found = ranked("mine", rank, [*results, unjudged])
    assert [(one.target, one.place, one.split) for one in found.targets] == [
        (7, 1, 4), (2, 3, 2), (9, 4, 3), (4, 5, 0),
    ]  # fmt: skip
    against = found.agreement
    assert found.ranked == 5 and against and against.rho == pytest.approx(1.0) and against.features == 4
    # Two of the four split in more than half of their runs, one of them among the first two: 5 of 6 pairs.
    (hits,) = against.split
    assert hits == Hits(2, 1, 2, 4, hits.p_value) and hits.p_value == pytest.approx(5 / 6)
    table = study_table(found)
    assert table.rows[1] == ("3", "2", "30.0%", "2 of 4", "3.0")
    assert "of the first 2, 1 (p 0.83)" in table.note
    assert ranked("few", rank, results[:2]).agreement is None


def test_a_study_of_another_sae_is_not_held_against_the_rank(setup: Setup) -> None:
    mine = study(setup, "mine", "graft", {1: ((COUNT,),)})
    with pytest.raises(UsageError, match="mine is a study of another narrow SAE"):
        study_agreement(mine, replace(setup, sae="other"), [])
    with pytest.raises(UsageError, match="mine has a single target"):
        study_agreement(mine, setup, [])
