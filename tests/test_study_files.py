"""Study files: what they come to, and what is said about the mistakes in them."""

from contextlib import closing
from pathlib import Path

import pytest
import torch

from saetui.embedded import world
from saetui.errors import UsageError
from saetui.features.row_store import RowStore
from saetui.loading import load_lm, load_sae, open_rows
from saetui.studies.conductor import by_turns
from saetui.studies.file import load_study_file
from saetui.studies.grid import expand
from saetui.studies.shipped import shipped
from saetui.studies.thresholds import TOKENS, measured_thresholds
from tests.studies_support import SETUP, cells_of, write


def test_rows_targets_and_axes_multiply_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
[[row]]
name = "plain"
init = "random"
[[row]]
name = "one seed only"
init = "narrow"
seed = 7
[[target]]
target = 3
threshold = 0.5
[[target]]
target = 5
[axes]
data = ["all", "filtered"]
seed = [1, 2]
""",
    )
    cells = cells_of(path)
    assert [cell.id for cell in cells][:5] == [
        "plain-all.f3.s1", "plain-all.f3.s2", "plain-filtered.f3.s1", "plain-filtered.f3.s2",
        "plain-all.f5.s1",
    ]  # fmt: skip
    assert [cell.id for cell in cells][8:] == [
        "one-seed-only-all.f3.s7", "one-seed-only-filtered.f3.s7", "one-seed-only-all.f5.s7",
        "one-seed-only-filtered.f5.s7",
    ]  # fmt: skip
    assert {(cell.target, cell.recipe["threshold"]) for cell in cells} == {
        (3, 0.5),
        (5, world("synthetic").threshold),
    }
    assert {cell.row for cell in cells} == {
        "plain · all", "plain · filtered", "one seed only · all", "one seed only · filtered",
    }  # fmt: skip
    recipe = cells[0].recipe
    assert (recipe["d_sae"], recipe["tokens"], recipe["eval_every"]) == (2 * 64, 8192, 4096)
    assert recipe["lr"] == world("synthetic").split["lr"]  # what the file does not say is the world's
    assert cells == cells_of(path)


def test_what_is_set_from_outside_is_over_the_base_and_under_what_is_told_apart(tmp_path: Path) -> None:
    file = load_study_file(write(tmp_path, "[axes]\nseed = [1, 2]\n"))
    cells = expand(file, SETUP, {"tokens": 2048, "seed": 9}, load_sae(SETUP))
    assert [(cell.seed, cell.recipe["tokens"], cell.recipe["eval_every"]) for cell in cells] == [
        (1, 2048, 1024),
        (2, 2048, 1024),
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[axis]\nseed = [1]\n", "unknown key 'axis'; did you mean 'axes'?"),
        ("[axes]\nseeds = [1]\n", "[axes]: unknown key 'seeds'; did you mean 'seed'?"),
        ("[axes]\nseed = 3\n", "[axes]: seed is 3: a list of values is needed"),
        ("[axes]\nseed = [1, 1]\n", "[axes]: seed has a value twice"),
        ('[[row]]\ninit = "narrow"\n', "[[row]] 1: name is missing: a text is needed"),
        ('[[row]]\nname = "a"\nint = 1\n', "row 'a': unknown key 'int'; did you mean 'init'?"),
        ('[[row]]\nname = "a"\n[[row]]\nname = "a"\n', "two rows are called 'a'"),
        ('[row]\nname = "a"\n', "row: tables [[row]] are needed"),
        ("[[target]]\nthreshold = 1.0\n", "target is missing"),
        ("[axes]\ntarget = [64]\n", "recipe: no feature 64: the narrow SAE has 64, 0 to 63"),
        ('[axes]\ninit = ["narrwo"]\n', "narrwo: init is 'narrwo': choose one of random, narrow"),
        ('[axes]\ntokens = ["many"]\n', "tokens is 'many': a number is needed"),
        ('[axes]\nnormalize_init = ["yes"]\n', "normalize_init is 'yes': true or false is needed"),
        ('[axes]\nd_sae = ["0x"]\n', "d_sae is '0x': a number is needed"),
        (
            '[axes]\ninit = ["random", "narrow"]\nloss = ["target_zeroed"]\n',
            "random · target zeroed: loss target_zeroed needs init narrow",
        ),
        ("[[exclude]]\nseed = 5\n", "[[exclude]] 1 (seed = 5) fits no combination"),
        ("[axes]\nseed = [1]\n[[exclude]]\nseed = 1\n", "everything is excluded"),
        ('[[row]]\nname = "a b"\n[[row]]\nname = "a/b"\n', "two runs are a-b.f49.s0"),
        ("[axes\n", "is not valid TOML"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_that_names_file_and_place(tmp_path: Path, text: str, line: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UsageError) as raised:
        cells_of(path)
    assert line in str(raised.value)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("whole", "line"),
    [
        ("", "title is missing"),
        ('title = "x"\nmethod = "wider"\n', "method is 'wider': choose one of wide, graft"),
        ('title = "x"\n[setup]\nmodell = "real"\n', "[setup]: unknown key 'modell'; did you mean 'model'?"),
        ('title = "x"\n[setup]\nseq_len = "9"\n', "[setup]: seq_len is '9', but a int is needed"),
        ('title = "x"\nsetup = 3\n', "setup is 3: a table [setup] is needed"),
    ],
)
def test_mistakes_at_the_top(tmp_path: Path, whole: str, line: str) -> None:
    path = tmp_path / "study.toml"
    path.write_text(whole)
    with pytest.raises(UsageError) as raised:
        load_study_file(path)
    assert line in str(raised.value)


def test_grafts_are_a_study_too(tmp_path: Path) -> None:
    path = tmp_path / "grafts.toml"
    path.write_text('title = "grafts"\nmethod = "graft"\n[axes]\nchildren = [4, 8]\nseed = [1, 2]\n')
    assert [cell.id for cell in cells_of(path)] == [
        "children-4.f49.s1", "children-4.f49.s2", "children-8.f49.s1", "children-8.f49.s2",
    ]  # fmt: skip


def test_the_shipped_table_is_the_seeds() -> None:
    """Against the table of the post: run, size, seed, initialisation, normalised, filtered, loss change."""
    seed = """
1 4096 40 512 YES NO zero
2 4096 10 512 YES NO zero
3 4096 10 512 NO NO zero
4 4096 10 NO YES YES NO
5 4096 49 NO YES YES NO
6 4096 42 NO YES YES NO
7 4096 42 512 NO YES NO
8 4096 48 512 NO YES NO
9 4096 43 512 NO YES NO
10 4096 42 512 YES YES NO
11 4096 43 512 NO YES zero
12 512 42 NO YES YES NO
"""
    cells = cells_of(shipped()["seed-table"])
    wide, narrow = world("synthetic").split["d_sae"], load_sae(SETUP).d_sae
    for cell, line in zip(cells, seed.split("\n")[1:-1], strict=True):
        run, size, number, init, normalised, filtered, loss = line.split()
        recipe = cell.recipe
        assert (cell.row, recipe["seed"]) == (run, int(number))
        assert recipe["d_sae"] == {"4096": wide, "512": narrow}[size]
        assert recipe["init"] == {"512": "narrow", "NO": "random"}[init]
        assert recipe["normalize_init"] == (normalised == "YES")
        assert recipe["data"] == ("filtered" if filtered == "YES" else "all")
        assert recipe["loss"] == ("target_zeroed" if loss == "zero" else "standard")
        assert recipe["granularity"] == "row" and cell.purpose


def test_the_shipped_matrix_has_every_combination_that_can_be_five_times() -> None:
    cells = cells_of(shipped()["matrix"])
    points = {(c.recipe["init"], c.recipe["data"], c.recipe["granularity"], c.recipe["loss"]) for c in cells}
    assert len(points) == 12 and len(cells) == 60
    assert {c.seed for c in cells} == {1, 2, 3, 4, 5}
    assert {p[1:3] for p in points if p[1] == "filtered"} == {("filtered", "row"), ("filtered", "mixed")}
    assert not {p for p in points if p[0] == "random" and p[3] == "target_zeroed"}
    assert len(cells_of(shipped()["replacing"])) == 20


def test_runs_go_seed_by_seed_so_that_what_is_there_compares() -> None:
    cells = cells_of(shipped()["matrix"])
    first = by_turns(cells, cells)
    assert [cell.seed for cell in first] == sorted(cell.seed for cell in cells)
    assert [cell.row for cell in first[:12]] == list(dict.fromkeys(cell.row for cell in cells))
    left = by_turns(cells, [cell for cell in cells if cell.seed != 1 or cell.row != cells[0].row])
    assert left == first[1:]


def test_a_target_for_which_nobody_says_a_threshold_gets_a_measured_one(tmp_path: Path) -> None:
    text = "[[target]]\ntarget = 3\nthreshold = 0.5\n[[target]]\ntarget = 5\n[[target]]\ntarget = 49\n"
    file = load_study_file(write(tmp_path, text))
    narrow = load_sae(SETUP)
    asked: list[int] = []

    def threshold_of(target: int) -> float:
        asked.append(target)
        return 1.25

    found = [cell.recipe["threshold"] for cell in expand(file, SETUP, {}, narrow, threshold_of)]
    assert found == [0.5, 1.25, world("synthetic").threshold] and asked == [5]
    assert [c.recipe["threshold"] for c in expand(file, SETUP, {"threshold": 2.0}, narrow, threshold_of)] == [
        0.5,
        2.0,
        2.0,
    ]


def test_a_measured_threshold_is_a_fifth_of_the_strongest_activation_and_stays_so() -> None:
    narrow = load_sae(SETUP)
    lm = load_lm(SETUP)
    rows = open_rows(SETUP, lm.tokenizer, "train")
    tokens = torch.from_numpy(rows.read(0, TOKENS // 47).astype("int64"))
    x = lm.activations(tokens)[:, 1:].half().float()
    first = measured_thresholds(SETUP, narrow)(5)
    assert first == pytest.approx(float(narrow.encode_feature(x, 5).max()) / 5, rel=0.05)
    with closing(RowStore(lm, rows)) as store:
        store.read(0, 3000)  # more is indexed now
    assert measured_thresholds(SETUP, narrow)(5) == first
