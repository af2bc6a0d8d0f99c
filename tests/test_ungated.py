"""A graft without its gate: silent off the target by training, a plain SAE that the SAELens reader opens."""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import pytest
import torch
from click.testing import CliRunner, Result
from torch import Tensor

from saetui import embedded
from saetui.cli import cli
from saetui.errors import UsageError, UserError
from saetui.runs import lock
from saetui.runs.cost import Cost
from saetui.runs.own import own_run
from saetui.runs.store import Run, create_run, remove_run
from saetui.sae.formats import load
from saetui.sae.sae import SAE
from saetui.settings import runs_root
from saetui.setup import Setup
from saetui.split.grafting.graft import Graft, graft
from saetui.split.grafting.graft_run import GraftReport
from saetui.split.grafting.ungated import _agreement, measure_ungated, ungate
from saetui.split.recipe import GraftRecipe, SplitRecipe
from saetui.split.training.loss import without_target
from tests.split_support import random_sae

D, N, TARGET = 32, 12, 5
COST = Cost(1000, 200, 0, 0.1, 1.5, 1.6)
RECIPE = GraftRecipe(target=TARGET, threshold=3.0, children=6, steps=600, batch_size=128)


def tokens(count: int, hot_share: float, seed: int) -> Tensor:
    """Some along the target's direction with one of three contexts, the others along directions of their own
    to which the contexts belong as well: a child that reads its context alone fires there too."""
    g = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(D, D, generator=torch.Generator().manual_seed(0))).Q
    hot = (torch.rand(count, generator=g) < hot_share)[:, None]
    context = basis[1 + torch.randint(3, (count,), generator=g)]
    other = basis[8 + torch.randint(8, (count,), generator=g)]
    x = torch.where(hot, 6 * basis[0] + 4 * context, 6 * other + 4 * context)
    return x + 0.2 * torch.randn(count, D, generator=g)


@cache
def trained() -> tuple[Graft, SAE]:
    parent = torch.linalg.qr(torch.randn(D, D, generator=torch.Generator().manual_seed(0))).Q[0]
    narrow = random_sae(D, N, -2.0)
    W_enc, W_dec, b_enc = narrow.W_enc.clone(), narrow.W_dec.clone(), narrow.b_enc.clone()
    W_enc[:, TARGET], W_dec[TARGET], b_enc[TARGET] = parent, parent, 0
    narrow = replace(narrow, W_enc=W_enc, W_dec=W_dec, b_enc=b_enc)
    x = tokens(8000, 0.2, seed=1)
    gated = graft(narrow, x, RECIPE)
    return gated, ungate(gated, x, x[~gated.gate(x)], RECIPE)


def test_off_the_target_the_children_are_silent_and_on_it_they_explain() -> None:
    gated, plain = trained()
    report = measure_ungated(gated, plain, tokens(4000, 0.2, seed=2), COST)
    assert report.off_target_untrained > 0.3, "without training the gate would be missed"
    assert report.off_target < 0.02
    assert report.precision > 0.95 and report.covered > 0.99
    assert report.error_ungated < report.error_gated + 0.1 * (report.error_narrow - report.error_gated)
    assert report.fvu_ungated < report.fvu_narrow


def test_the_result_is_the_rest_of_the_narrow_sae_and_the_children() -> None:
    gated, plain = trained()
    x = tokens(500, 0.5, seed=3)
    f = plain.encode(x)
    assert plain.activation == "relu" and f.shape == (500, N + 6)
    assert not f[:, TARGET].any()
    others = [i for i in range(N) if i != TARGET]
    assert torch.equal(f[:, others], gated.narrow.encode(x)[:, others])
    children = f[:, N:] @ plain.W_dec[N:]
    expected = without_target(gated.narrow, TARGET, x) + children
    assert torch.allclose(plain.decode(f), expected, atol=1e-4)
    assert torch.allclose(plain.W_dec[N:].norm(dim=1), torch.ones(6), atol=1e-6)
    # They stay the children that they were: each still fires where it did.
    hot = gated.gate(x)
    before, after = gated.children_encode(x)[hot], f[hot, N:]
    alike = torch.cosine_similarity(before.double(), after.double(), dim=0)
    used = (before > 0).double().mean(0) > 0.1
    assert used.sum() >= 3 and alike[used].min() > 0.9


def test_the_numbers_are_what_they_say() -> None:
    gated, plain = trained()
    x = tokens(600, 0.3, seed=4)
    report = measure_ungated(gated, plain, x, COST)
    hot = gated.gate(x)
    fires = plain.encode(x)[:, N:] > 0
    assert (report.tokens, report.hot, report.cost) == (600, int(hot.sum()), COST)
    assert report.off_target == pytest.approx(float(fires[~hot].any(1).float().mean()))
    assert report.precision == pytest.approx(float(fires[hot].sum() / fires.sum()))
    error = x - plain.decode(plain.encode(x))
    assert report.error_ungated == pytest.approx(float(error[hot].square().sum(1).mean()), rel=1e-4)
    variance = (x - x.mean(0)).square().sum()
    assert report.fvu_ungated == pytest.approx(float(error.square().sum() / variance), rel=1e-4)
    off = x[~hot]
    variance = float((off - off.mean(0)).square().sum())
    for fvu, whole in ((report.fvu_off_narrow, gated), (report.fvu_off_ungated, plain)):
        left = off - whole.decode(whole.encode(off))
        assert fvu == pytest.approx(float(left.square().sum()) / variance, rel=1e-4)
    a, b = gated.children_encode(x), plain.encode(x)[:, N:]
    assert report.agreement == pytest.approx(float((a * b).sum() / (a.norm() * b.norm())), rel=1e-4)


def test_children_that_lost_nothing_agree_wholly_and_one_that_leaks_does_not() -> None:
    gated, _ = trained()
    x = tokens(600, 0.3, seed=4)
    same = gated.children_encode(x)
    assert _agreement(same, same) == pytest.approx(1.0)
    leaking = same.clone()
    leaking[~gated.gate(x)] = 5.0
    assert _agreement(same, leaking) < 0.9


def test_a_narrow_sae_of_another_kind_is_refused() -> None:
    gated, _ = trained()
    other = replace(gated, narrow=replace(gated.narrow, activation="topk", k=3))
    with pytest.raises(UsageError, match="needs a ReLU narrow SAE, and this one is topk"):
        ungate(other, tokens(50, 1.0, seed=1), tokens(50, 0.0, seed=1), RECIPE)


@pytest.fixture
def run() -> Iterator[Run]:
    """A graft of the synthetic world's narrow SAE, trained for a moment."""
    world = embedded.world("synthetic")
    narrow = load(str(world.narrow_sae))
    recipe = GraftRecipe(
        target=world.target, threshold=world.threshold, children=3, steps=20, batch_size=64,
        hot_tokens=400, scan_tokens=40_000,
    )  # fmt: skip
    g = torch.Generator().manual_seed(0)
    W_dec = torch.nn.functional.normalize(torch.randn(3, narrow.d_in, generator=g), dim=1)
    with own_run(runs_root(), Setup("synthetic", device="cpu"), recipe) as context:
        made = Graft(narrow, world.target, world.threshold, W_dec.T.contiguous(), torch.zeros(3), W_dec)
        made.save(context.folder / "graft")
        report = GraftReport(400, 40_000, 40, 2.0, 1.0, 1.0, 1.0, 0.1, 0.1)
        context.event("grafted", **vars(report))
    yield context.run


def shell(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["ungate", *arguments])


def test_a_run_gets_its_plain_sae(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saetui.split.grafting.ungated.STREAM_TOKENS", 5_000)
    said = json.loads(shell(run.id, "--json").stdout)
    plain, gated = load(said["sae"]), Graft.load(run.folder / "graft")
    assert plain.d_sae == gated.d_sae and plain.activation == "relu"
    assert plain.metadata.hook_name == "blocks.0.hook_mlp_out" and plain.metadata.model_name == "synthetic"
    assert json.loads((run.folder / "sae" / "cfg.json").read_text())["architecture"] == "standard"
    (event,) = [event for event in run.read_events() if event["kind"] == "ungated"]
    assert said["report"].items() <= event.items()
    cost = said["report"]["cost"]
    assert cost["tokens"] == 20 * 2 * 64 and 4_800 <= cost["tokens_computed"] == cost["tokens_read"] < 40_000
    assert said["report"]["f1_gated"] is not None and said["report"]["f1_ungated"] is not None
    assert run.state() == "finished"
    lines = shell(run.id).stdout
    assert "off the target a child fires on" in lines and f"{event['error_narrow']:.1f}" in lines


def test_nobody_else_works_on_it_meanwhile(run: Run) -> None:
    fd = lock.take(run.lock_path)
    assert fd is not None
    error = shell(run.id).exception
    assert isinstance(error, UserError) and f"another process works on {run.id}" in str(error)
    with pytest.raises(UserError, match="another process works on"):
        remove_run(run)
    os.close(fd)
    assert run.read_events()[-1]["kind"] == "exit"


def test_a_wide_run_has_no_gate() -> None:
    run = create_run(runs_root(), "split", Setup("synthetic", device="cpu"), SplitRecipe())
    error = shell(run.id).exception
    assert isinstance(error, UserError) and "only a graft has a gate" in str(error)
