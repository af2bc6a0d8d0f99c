"""Two runs compared: the matching against brute force, the children against the synthetic world's labels."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from saetui.cli import cli
from saetui.corpus.grammar import SyntheticRows
from saetui.errors import UsageError, UserError
from saetui.runs.cost import Cost, cost
from saetui.runs.journal import Journal
from saetui.runs.store import Run, create_run
from saetui.sae.formats import save_saelens
from saetui.sae.sae import SAE, SAEMetadata
from saetui.settings import runs_root
from saetui.setup import Setup
from saetui.split.compare import Side, compare
from saetui.split.comparison import Comparison, Match
from saetui.split.finding.matching import best_matching
from saetui.split.grafting.graft import Graft
from saetui.split.recipe import GraftRecipe, SplitRecipe
from tests.labelled import ADJ, COUNT, DIGIT, LM_FOLDER, OTHER, SPLIT, Classes, fitted, narrow, synthetic_lm

COST = Cost(500, 1000, 1000, 1.0, 1.0, 2.0)
TOKENS = 12_000


def test_the_matching_is_the_best_one() -> None:
    random = np.random.default_rng(0)
    for trial in range(200):
        n, m = random.integers(0, 6, 2).tolist()
        # Whole numbers give ties.
        score = random.normal(size=(n, m)) if trial % 2 else random.integers(-2, 3, (n, m)).astype(float)
        pairs = best_matching(score)
        assert len(pairs) == min(n, m) == len({i for i, _ in pairs}) == len({j for _, j in pairs})
        fewer = score if n <= m else score.T
        best = max(
            sum(fewer[i, j] for i, j in enumerate(columns))
            for columns in itertools.permutations(range(max(n, m)), min(n, m))
        )
        assert sum(score[i, j] for i, j in pairs) == pytest.approx(best)


def side(*features: Classes, run: str) -> Side:
    return Side(fitted(*features), None, run, "split", COST, 0, 0.0)


def compared(first: Side, second: Side) -> Comparison:
    lm = synthetic_lm()
    return compare(lm, narrow(), first, second, SyntheticRows("eval"), tokens=TOKENS)


def test_children_of_one_class_are_matched_and_the_rest_named() -> None:
    found = compared(side((COUNT,), (ADJ,), (DIGIT,), run="a"), side((DIGIT,), (OTHER,), (COUNT,), run="b"))
    assert {(m.first, m.second) for m in found.matches} == {(0, 2), (2, 0)}
    for match in found.matches:
        assert match.agreement > 0.99 and match.cosine == pytest.approx(1, abs=1e-5)
    assert found.first.only == [1] and found.second.only == [1]
    assert all(m.agreement < 0.5 for m in found.nearest) and len(found.nearest) == 2
    assert 0 < found.tokens_fired < found.tokens_read < TOKENS


def test_a_duplicate_is_left_over_beside_its_twin() -> None:
    found = compared(side((COUNT,), (ADJ,), run="a"), side((ADJ,), (COUNT,), (COUNT, ADJ), run="b"))
    assert {(m.first, m.second) for m in found.matches} == {(0, 1), (1, 0)}
    (left,) = found.nearest
    assert left.second == 2 == found.second.only[0] and left.agreement > 0.5


def test_the_nearest_of_a_child_is_the_one_that_it_agrees_with_most() -> None:
    found = compared(side((COUNT,), run="a"), side((ADJ,), (DIGIT,), run="b"))
    own, other = Match(0, 1, 0.3, 0.45), Match(0, 0, 0.2, 0.4)
    for nearest in ([own, other], [other, own]):  # the second is there because child 0 of b is nearest to it
        assert replace(found, nearest=nearest).nearest_to(0, of_first=True) is own
        assert replace(found, nearest=nearest).nearest_to(0, of_first=False) is other
    assert found.nearest_to(7, of_first=False) is None


def test_nothing_in_common() -> None:
    found = compared(side((COUNT,), run="a"), side((DIGIT,), run="b"))
    assert found.matches == [] and found.first.only == [0] and found.second.only == [0]


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Run, Run]:
    """A graft and a wide run of the hyphen, with what they cost."""
    said = SAEMetadata(hook_name="blocks.0.hook_mlp_out")
    save_saelens(replace(narrow(), metadata=said), tmp_path / "narrow")
    setup = Setup(str(LM_FOLDER), "blocks.0.hook_mlp_out", str(tmp_path / "narrow"), "synthetic", 48, "cpu")
    children = fitted(*SPLIT)
    grafted = create_run(runs_root(), "graft", setup, GraftRecipe(threshold=0.0, steps=10, batch_size=8))
    Graft(narrow(), 0, 0.0, children.W_enc, children.b_enc, children.W_dec).save(grafted.folder / "graft")
    with Journal(grafted.events_path) as events:
        events.append(kind="grafted", tokens_read=5000, tokens_computed=1200, seconds=1.5, gather_seconds=2.0)
    with Journal(grafted.folder / "metrics.jsonl") as metrics:
        metrics.append(tokens=80, loss=1.0)
    wide = create_run(runs_root(), "split", setup, SplitRecipe(threshold=0.0, d_sae=3, init="random"))
    save_saelens(replace(fitted(*SPLIT[:3]), metadata=said), wide.folder / "sae")
    with Journal(wide.folder / "metrics.jsonl") as metrics:
        metrics.append(tokens=4096, tokens_read=9000, lm_s=3.0, sae_s=4.0)
    return grafted, wide


def shell(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["compare", *arguments, "--tokens", str(TOKENS)])


def test_a_graft_and_a_wide_run_from_the_shell(runs: tuple[Run, Run]) -> None:
    grafted, wide = runs
    found = json.loads(shell(grafted.id, wide.id, "--json").stdout)
    assert {(m["first"], m["second"]) for m in found["matches"]} == {(1, 0), (2, 1), (3, 2)}
    assert found["first"]["only"] == [4] and found["second"]["only"] == []
    assert found["first"]["cost"] == {
        "tokens": 80, "tokens_read": 5000, "tokens_computed": 1200, "lm_s": 2.0, "sae_s": 1.5, "wall_s": None,
        "lm_cpu_s": None, "sae_cpu_s": None, "gpu": False,
    }  # fmt: skip
    assert cost(wide) == Cost(4096, 9000, 9000, 3.0, 4.0, None)
    lines = shell(grafted.id, wide.id).stdout.splitlines()
    assert "3 children are found by both" in lines and f"1 only in {grafted.id}" in lines
    assert f"0 only in {wide.id}" in lines
    common = shell(grafted.id, wide.id, "--recall", "1.0", "--json")
    assert json.loads(common.stdout)["matches"] == []


def test_runs_that_do_not_compare(runs: tuple[Run, Run]) -> None:
    grafted, wide = runs
    setup = Setup.from_dict(wide.manifest.setup)

    def refused(setup: Setup, sae: SAE | None, target: int = 0) -> UserError:
        other = create_run(runs_root(), "split", setup, SplitRecipe(target=target, d_sae=3, init="random"))
        if sae is not None:
            save_saelens(sae, other.folder / "sae")
        error = shell(grafted.id, other.id).exception
        assert isinstance(error, UserError) and "\n" not in str(error)
        return error

    assert "only runs of one target compare" in str(refused(setup, fitted(*SPLIT), target=1))
    assert "has left no sae yet" in str(refused(setup, None))
    save_saelens(fitted((COUNT,)), Path(setup.sae).with_name("other"))
    elsewhere = replace(setup, sae=str(Path(setup.sae).with_name("other")))
    assert isinstance(refused(elsewhere, fitted(*SPLIT)), UsageError)
    assert "different narrow SAEs" in str(refused(elsewhere, fitted(*SPLIT)))
