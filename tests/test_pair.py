"""Two features side by side: every number against the dense activations of the same tokens."""

import importlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from saetui.errors import UsageError
from saetui.features.pair import Feature, pair
from saetui.features.results import Pair, PairContext
from saetui.sae.sae import SAE
from tests.tiny import SEQ_LEN, TinyLM, TinyRows, tiny_sae, write_world

ROWS, A, B, DEAD = 90, 2, 23, 39


@cache
def seen() -> tuple[TinyLM, SAE, SAE, Pair]:
    lm, narrow, wide = TinyLM(), tiny_sae(bias=-0.5), tiny_sae(d_sae=64, seed=2, bias=-0.5)
    tokens = ROWS * (SEQ_LEN - 1)
    found = pair(
        lm, Feature(narrow, A, "narrow"), Feature(wide, B, "wide"), TinyRows(), tokens=tokens, points=50
    )
    return lm, narrow, wide, found


@cache
def dense() -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Activations ``[rows, seq - 1]`` of both features, BOS left out."""
    lm, narrow, wide, _ = seen()
    x = lm.activations(torch.from_numpy(TinyRows().read(0, ROWS).astype(np.int64)))[:, 1:]
    return narrow.encode(x)[..., A].double().numpy(), wide.encode(x)[..., B].double().numpy()


def test_the_numbers_are_those_of_the_dense_activations():
    _, narrow, wide, found = seen()
    a, b = (values.ravel() for values in dense())
    on_a, on_b = a > 0, b > 0
    assert 20 < (on_a & on_b).sum() < on_a.sum()
    assert found.tokens_read == len(a) and found.both == (on_a & on_b).sum()
    assert found.jaccard == pytest.approx((on_a & on_b).sum() / (on_a | on_b).sum())
    assert found.correlation == pytest.approx(np.corrcoef(a, b)[0, 1], rel=1e-4)
    d, e = narrow.W_dec[A], wide.W_dec[B]
    assert found.cosine == pytest.approx(float(torch.cosine_similarity(d, e, 0)), rel=1e-4)
    for side, own, other in ((found.first, a, b), (found.second, b, a)):
        on = own > 0
        assert side.fired == on.sum() and side.density == pytest.approx(on.mean())
        assert side.max_activation == pytest.approx(own.max(), rel=1e-4)
        assert side.covered == pytest.approx((other[on] > 0).mean())
        masked = own[on] @ other[on] / np.linalg.norm(own[on]) / np.linalg.norm(other[on])
        assert side.masked_cosine == pytest.approx(masked, rel=1e-4)


def test_the_lists_are_sorted_and_hold_what_they_say():
    found, (a, b) = seen()[3], dense()

    def at(context: PairContext) -> tuple[float, float]:
        values = context.first[context.center], context.second[context.center]
        place = context.row, context.position - 1
        assert values == pytest.approx((a[place], b[place]), abs=1e-4)
        assert len(context.tokens) == len(context.first) == len(context.second)
        return values

    first = [at(context)[0] for context in found.by_first]
    second = [at(context)[1] for context in found.by_second]
    assert first == sorted(first, reverse=True) and first[0] == pytest.approx(a.max(), abs=1e-4)
    assert second == sorted(second, reverse=True) and second[0] == pytest.approx(b.max(), abs=1e-4)
    assert found.only_first and all(at(c)[0] > 0 == at(c)[1] for c in found.only_first)
    assert found.only_second and all(at(c)[1] > 0 == at(c)[0] for c in found.only_second)
    strongest_alone = np.where(b > 0, 0, a).max()
    assert at(found.only_first[0])[0] == pytest.approx(strongest_alone, abs=1e-4)
    assert 25 <= len(found.points) <= 50
    firing = {(round(x, 3), round(y, 3)) for x, y in zip(a.ravel(), b.ravel(), strict=True) if x > 0 or y > 0}
    assert all((round(x, 3), round(y, 3)) in firing for x, y in found.points)


def test_a_dead_feature_and_a_feature_with_itself():
    lm, narrow, _, _ = seen()
    dead = pair(lm, Feature(narrow, A, "narrow"), Feature(narrow, DEAD, "narrow"), TinyRows(), tokens=500)
    assert (dead.both, dead.jaccard, dead.correlation) == (0, 0, None)
    assert dead.second.masked_cosine == 0 and not dead.by_second and dead.only_first
    same = pair(lm, Feature(narrow, A, "narrow"), Feature(narrow, A, "narrow"), TinyRows(), tokens=500)
    assert (
        same.cosine == pytest.approx(1, rel=1e-5)
        and same.correlation == pytest.approx(1)
        and same.jaccard == 1
    )
    assert not same.only_first and not same.only_second
    with pytest.raises(UsageError, match="feature 40 is out of range: narrow has"):
        pair(lm, Feature(narrow, 40, "narrow"), Feature(narrow, A, "narrow"), TinyRows())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    root = tmp_path_factory.mktemp("world")
    return [*write_world(root, texts=900), "--device", "cpu", "--tokens", "2000"]


def shell(*arguments: str) -> Result:
    command = importlib.import_module("saetui.commands.pair").command
    return CliRunner().invoke(command, list(arguments), standalone_mode=False, env={"COLUMNS": "80"})


def test_from_the_shell(world: list[str]):
    wide = world[5].replace("narrow", "wide")
    said = shell(str(A), str(B), "--in", wide, *world)
    assert said.exception is None, said.exception
    lines = said.stdout.splitlines()
    assert all(len(line) <= 80 for line in lines), "fits a terminal of 80 columns"
    found: Any = json.loads(shell(str(A), str(B), "--in", wide, "--json", *world).stdout)
    assert (found["first"]["sae"], found["second"]["sae"]) == ("narrow", "wide")
    assert f"both fire on {found['both']:,} of {found['tokens_read']:,} held-out tokens" in lines
    headings = [line for line in lines if line.startswith(("strongest", "only"))]
    assert len(headings) == 4
    top = found["by_first"][0]
    assert f"{top['first'][top['center']]:.2f}" in lines[lines.index("strongest of the first") + 1]
    error = shell("99", "3", *world).exception
    assert isinstance(error, UsageError) and "feature 99 is out of range" in str(error)
    of = json.loads(shell(str(B), str(B), "--of", wide, "--json", *world).stdout)
    assert of["cosine"] == pytest.approx(1, rel=1e-5) and of["second"]["sae"] == "wide"


def test_a_context_is_text(tmp_path: Path):
    """Control characters in a token do not reach the terminal."""
    from saetui.commands.concordance import concordance

    (line,) = concordance([("1.00", ["a\x1b[31m", "\n", "b"], 1)], 60)
    assert "\x1b" not in line and "\n" not in line
