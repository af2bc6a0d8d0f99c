"""``saetui probe | contexts | lens | neighbours`` over a tiny model, SAE and text on disk."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from saetui.errors import UsageError, UserError
from tests.tiny import tiny_sae, write_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The options that name it."""
    root = tmp_path_factory.mktemp("world")
    return write_world(root)


def run(name: str, *arguments: str) -> Result:
    """As the front door calls it, which turns a UserError into its line."""
    import importlib

    command = importlib.import_module(f"saetui.commands.{name}").command
    return CliRunner().invoke(command, list(arguments), standalone_mode=False, env={"COLUMNS": "80"})


def answer(name: str, *arguments: str) -> Any:
    result = run(name, *arguments, "--json")
    assert result.exception is None, result.exception
    return json.loads(result.stdout)


def lines(name: str, *arguments: str) -> list[str]:
    result = run(name, *arguments)
    assert result.exception is None, result.exception
    found = result.stdout.splitlines()
    assert all(len(line) <= 80 for line in found), "fits a terminal of 80 columns"
    return found


def test_probe(world: list[str]):
    (found,) = answer("probe", "a low-level", "--top", "3", "--follow", "7", *world)
    assert [t["text"] for t in found["tokens"][1:]] == list("a low-level")
    shown = lines("probe", "a low-level", "--top", "3", "--follow", "7", *world)
    assert shown[0] == "a low-level" and len(shown) == 2 + len(found["tokens"])
    hyphen = found["tokens"][6]
    assert f"{hyphen['top'][0]['feature']}: " in shown[8] and f"{hyphen['margin']:.2f}" in shown[8]
    assert "7: " in shown[8]


def test_probe_side_by_side(world: list[str]):
    wide = world[5].replace("narrow", "wide")
    narrow_probe, wide_probe = answer("probe", "low-", "--compare", wide, *world)
    assert (narrow_probe["sae"], wide_probe["sae"]) == ("narrow", "wide")
    result = run("probe", "low-", "--compare", wide, *world)
    assert result.exception is None
    assert len({line.index("│") for line in result.stdout.splitlines()[1:]}) == 1, "one column"
    hyphen = result.stdout.splitlines()[-1]
    left, right = hyphen.split("│")
    assert f"{narrow_probe['tokens'][-1]['top'][0]['feature']}: " in left
    assert f"{wide_probe['tokens'][-1]['top'][0]['feature']}: " in right


def test_contexts(world: list[str]):
    found = answer("contexts", "3", "--tokens", "2000", "--top", "5", "--intervals", "3", *world)
    assert found["complete"] and found["tokens_read"] >= 2000 and found["fired"] > 0
    shown = lines("contexts", "3", "--tokens", "2000", "--top", "5", "--intervals", "3", *world)
    assert f"fires on {found['fired']:,} of {found['tokens_read']:,} tokens" in shown[0]
    shares = r"a filter above ([\d.]+) keeps ([\d.]+) % of the tokens, ([\d.]+) % of the rows"
    kept = re.fullmatch(shares, shown[2])
    assert kept
    threshold, tokens, rows = map(float, kept.groups())
    assert threshold == pytest.approx(found["max_activation"] / 5, rel=0.05)
    bins = list(zip(found["edges"], found["edges"][1:], found["histogram"], strict=False))
    least, most = (sum(n for *edges, n in bins if edges[i] >= threshold) for i in (0, 1))
    assert 100 * least / found["tokens_read"] * 0.99 <= tokens <= 100 * most / found["tokens_read"] * 1.01
    assert tokens < rows <= 100
    top = shown[4 : 4 + len(found["top"])]
    columns = {line.index("«") for line in top}
    assert len(columns) == 1, "the tokens stand in one column"
    assert f"{found['top'][0]['activations'][found['top'][0]['center']]:.2f}" in top[0]
    assert sum("tokens (" in line for line in shown[3:]) == len(found["intervals"]) == 3
    dead = lines("contexts", "39", "--tokens", "2000", *world)
    assert "it never fired" in dead[1]


def test_contexts_without_end(world: list[str]):
    found = answer("contexts", "3", "--tokens", "2000", "--top", "1000000", *world)
    assert len(found["top"]) == found["fired"] > 64
    strengths = [context["activations"][context["center"]] for context in found["top"]]
    assert strengths == sorted(strengths, reverse=True) and strengths[-1] > 0


def test_find(world: list[str]):
    found = answer("find", "a", "--tokens", "2000", *world)["found"]
    token = next(one for one in found if one["by"] == "token")
    assert 0 < token["count"] <= token["of"] <= 64
    boosted = next(one for one in found if one["by"] == "boosted")
    assert boosted["tokens"][0].strip().lower().startswith("a")
    lens = answer("lens", str(boosted["feature"]), "--top", "20", *world)
    assert lens["boosted"][boosted["rank"] - 1]["token"] == boosted["tokens"][0]
    shown = lines("find", "a", "--tokens", "2000", "--by", "boosted", *world)
    assert shown[0].split()[-1] == "why" and "boosts" in shown[1]


def test_lens_and_neighbours(world: list[str]):
    lens = answer("lens", "3", "--top", "4", *world)
    shown = lines("lens", "3", "--top", "4", *world)
    assert len(lens["boosted"]) == 4 and f"{lens['boosted'][0]['logit']:.3f}" in shown[2]
    near = answer("neighbours", "3", "--top", "4", *world)
    assert len(near) == 4 and 3 not in [n["feature"] for n in near]
    wide = world[5].replace("narrow", "wide")
    across = lines("neighbours", "3", "--in", wide, "--top", "4", *world)
    assert across[0] == "closest to feature 3 of narrow, in wide" and len(across) == 6


def test_census(world: list[str]):
    few = ["--tokens", "6000", *world]
    found = answer("census", *few)
    assert sorted(one["feature"] for one in found["features"]) == list(range(40))
    grafted = [one for one in found["features"] if one["children"]]
    by_context = [one["by_context"] for one in grafted]
    assert len(grafted) >= 5 and by_context == sorted(by_context, reverse=True)
    shown = lines("census", "--top", "3", *few)
    assert shown[0].startswith(f"{len(grafted)} features grafted on 6,006 tokens")
    heading = shown.index("feature      hot   k  hold  explained  effective  margin  token  context  before")
    assert [int(line.split()[0]) for line in shown[heading + 1 : heading + 4]] == [
        one["feature"] for one in grafted[:3]
    ]
    rows = run("census", "--csv", *few).stdout.splitlines()
    assert rows[0].startswith("feature,density,") and len(rows) == 41
    ranked = answer("census", "--before", *few)
    assert ranked == found["evidence"]
    assert f"{ranked[0]['context_share']:.1%} told by the" in lines("census", "--before", *few)[1]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("contexts", "40"), "feature 40 is out of range"),
        (("lens", "99"), "feature 99 is out of range"),
        (("neighbours", "99"), "feature 99 is out of range"),
        (("probe", ""), "the prompt has no tokens"),
        (("probe", "a" * 16), "has 16 tokens"),
        (("probe",), "no prompt: give one in quotes"),
        (("probe", "a", "--run", "nope"), "no run 'nope'"),
        (("probe", "a", "--compare", "/nowhere"), "/nowhere"),
    ],
)
def test_bad_input_is_one_line(world: list[str], arguments: tuple[str, ...], line: str):
    error = run(*arguments, *world).exception
    assert isinstance(error, UserError) and line in str(error) and "\n" not in str(error)
    assert isinstance(error, UsageError) == (error.exit_code == 2)


def test_a_run_is_looked_at_in_its_own_setup(world: list[str], tmp_path: Path, isolated_places: Path):
    import torch

    from saetui.runs.store import create_run
    from saetui.setup import Setup
    from saetui.split.grafting.graft import Graft
    from saetui.split.recipe import GraftRecipe

    setup = Setup(model=world[1], hook_name=world[3], sae=world[5], dataset=world[7], seq_len=12)
    made = create_run(isolated_places / "runs", "graft", setup, GraftRecipe(target=3, threshold=0.1))
    generator = torch.Generator().manual_seed(0)
    W_dec = torch.nn.functional.normalize(torch.randn(2, 16, generator=generator), dim=-1)
    narrow = tiny_sae(bias=-0.5)
    Graft(narrow, 3, 0.1, W_dec.T.contiguous(), torch.zeros(2), W_dec).save(made.folder / "graft")
    found = answer("contexts", "40", "--run", made.id, "--tokens", "2000")
    assert found["sae"] == made.id and found["fired"] > 0
    target = answer("contexts", "3", "--run", made.id, "--tokens", "2000")
    whole = answer("contexts", "3", *world, "--tokens", "2000")
    assert target["max_activation"] <= 0.1 < whole["max_activation"], "above the threshold its children fire"
    (probe,) = answer("probe", "low-", "--run", made.id)
    assert probe["sae"] == made.id
