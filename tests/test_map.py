"""The map of decoder rows: the plane against a singular value decomposition, the marks against the run."""

import importlib.util
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from click.testing import CliRunner, Result
from torch import Tensor

from saetui.cli import cli
from saetui.errors import UsageError, UserError
from saetui.features.decoder_map import DecoderMap, decoder_map
from saetui.runs.store import Run, create_run
from saetui.sae.formats import save_saelens
from saetui.settings import runs_root
from saetui.setup import Setup
from saetui.split.grafting.graft import Graft
from saetui.split.recipe import GraftRecipe, SplitRecipe
from tests.split_support import random_sae

D = 12


def clusters() -> tuple[Tensor, Tensor]:
    """Two groups of directions, in both dictionaries, with lengths that must not matter."""
    g = torch.Generator().manual_seed(0)
    centres = torch.eye(D)[[0, 5]].repeat_interleave(20, 0)
    rows = [centres + 0.1 * torch.randn(40, D, generator=g) for _ in range(2)]
    return rows[0], rows[1] * torch.rand(40, 1, generator=g) * 9


def planes(found: DecoderMap) -> Tensor:
    return torch.tensor([found.x["a"] + found.x["b"], found.y["a"] + found.y["b"]]).double().T


def test_pca_is_the_plane_of_most_variance() -> None:
    a, b = clusters()
    found = decoder_map({"a": a, "b": b})
    rows = torch.nn.functional.normalize(torch.cat([a, b]).double(), dim=1)
    U, S, _ = torch.linalg.svd(rows - rows.mean(0), full_matrices=False)
    assert torch.allclose(planes(found).abs(), (U[:, :2] * S[:2]).abs(), atol=1e-6)
    assert found.explained == pytest.approx(float(S[:2].square().sum() / S.square().sum()))
    side = torch.tensor(found.x["a"]).sign(), torch.tensor(found.x["b"]).sign()
    assert torch.equal(*side) and len(side[0].unique()) == 2, "a group is on one side in both dictionaries"
    assert decoder_map({"a": a, "b": b}) == found


def test_maps_that_cannot_be() -> None:
    with pytest.raises(UsageError, match="their widths differ"):
        decoder_map({"a": torch.ones(4, 3), "b": torch.ones(4, 2)})
    with pytest.raises(UsageError, match="at least 3 are needed"):
        decoder_map({"a": torch.ones(2, 3)})


def test_umap_keeps_groups_apart_or_says_what_is_missing() -> None:
    a, b = clusters()
    if importlib.util.find_spec("umap") is None:
        with pytest.raises(UserError, match=re.escape("pip install 'saetui[map]'")):
            decoder_map({"a": a, "b": b}, "umap")
        return
    found = decoder_map({"a": a, "b": b}, "umap")
    points = planes(found)
    first = torch.arange(80) % 40 < 20
    centres = torch.stack([points[first].mean(0), points[~first].mean(0)])
    assert torch.equal(torch.cdist(points, centres).argmin(1) == 0, first)
    assert found.explained is None


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    save_saelens(random_sae(D, 20, -1.0), tmp_path / "narrow")
    return Setup("synthetic", sae=str(tmp_path / "narrow"), device="cpu")


@pytest.fixture
def wide(setup: Setup) -> Run:
    run = create_run(runs_root(), "split", setup, SplitRecipe(target=4, d_sae=50, init="random"))
    save_saelens(random_sae(D, 50, -1.0, seed=1), run.folder / "sae")
    return run


def shell(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["map", *arguments], env={"COLUMNS": "100"})


def titles(svg: str) -> list[str | None]:
    """What the points are called, those drawn last at the end."""
    return [title.text for title in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}title")]


def test_the_target_and_its_children_are_marked(wide: Run, tmp_path: Path) -> None:
    found = json.loads(shell(wide.id, "--mark", "7", "--mark", "30", "--json").stdout)
    assert (found["target"], found["children"]) == (4, [7, 30])
    assert len(found["x"]["narrow"]) == 20 and len(found["y"]["run"]) == 50
    assert shell(wide.id, "--mark", "7", "--mark", "30", "-o", str(tmp_path / "m.svg")).exit_code == 0
    named = titles((tmp_path / "m.svg").read_text())
    assert len(named) == 70 == len(set(named)), "every feature once"
    assert set(named[-3:-1]) == {"run 7", "run 30"} and named[-1] == "narrow 4", "the target on top"
    shown = shell(wide.id, "--mark", "7").stdout
    assert "target 4" in shown and "children (1)" in shown and "of the variance" in shown
    assert "no children are known" in shell(wide.id).stderr


def test_a_graft_shows_its_own_children(setup: Setup, tmp_path: Path) -> None:
    run = create_run(runs_root(), "graft", setup, GraftRecipe(target=4, children=3))
    children = random_sae(D, 3, 0.0, seed=2)
    narrow = random_sae(D, 20, -1.0)
    Graft(narrow, 4, 1.0, children.W_enc, children.b_enc, children.W_dec).save(run.folder / "graft")
    assert shell(run.id, "-o", str(tmp_path / "m.html")).exit_code == 0
    page = (tmp_path / "m.html").read_text()
    svg = page[page.index("<svg") : page.index("</svg>") + 6]
    named = titles(svg)
    assert len(named) == 23 and set(named[-4:-1]) == {"run 20", "run 21", "run 22"}


def test_where_a_map_cannot_go(wide: Run, tmp_path: Path) -> None:
    assert "written as .svg or .html" in str(shell(wide.id, "-o", str(tmp_path / "m.png")).exception)
    assert "cannot write" in str(shell(wide.id, "-o", str(tmp_path / "no" / "m.svg")).exception)
    assert "feature 50 is out of range" in str(shell(wide.id, "--mark", "50").exception)
