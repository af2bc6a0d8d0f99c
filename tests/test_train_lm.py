"""The training of the shipped language models: the loss, the optimiser, and a length decided late."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from saetui.errors import UserError
from saetui.lm.one_layer import OneLayer, OneLayerConfig
from saetui.worlds import train_lm as training
from saetui.worlds.muon import Muon, orthogonalised
from saetui.worlds.recipes import LMRecipe
from saetui.worlds.train_lm import (
    ChunkedCrossEntropy,
    NextTokens,
    Trainable,
    checkpointed,
    train_lm,
    with_next,
)

MODEL = OneLayerConfig(d_model=16, n_heads=2, d_head=8, d_mlp=24, n_ctx=8, d_vocab=30)
RECIPE = LMRecipe("tiny", MODEL, tokens=8 * 4 * 40, batch_rows=4, muon_lr=0.01, adam_lr=0.01, warmup_steps=4)
ROWS = np.random.default_rng(0).integers(0, 30, (60, 8), dtype=np.uint16)


def trained(folder: Path, recipe: LMRecipe) -> OneLayer:
    return train_lm(recipe, NextTokens(ROWS, 4, 0), with_next(ROWS, np.arange(20)), 3.0, folder)


def same(one: OneLayer, two: OneLayer) -> bool:
    return all(torch.equal(one.weights[name], two.weights[name]) for name in one.weights)


def test_the_chunked_loss_is_cross_entropy_with_its_gradients():
    x, weight, bias = (torch.randn(*shape, requires_grad=True) for shape in ((1200, 8), (8, 30), (30,)))
    targets = torch.randint(0, 30, (1200,))
    loss = ChunkedCrossEntropy.apply(x, weight, bias, targets)
    grads = torch.autograd.grad(2 * loss, (x, weight, bias))
    expected = torch.nn.functional.cross_entropy(x @ weight + bias, targets)
    torch.testing.assert_close(loss, expected)
    for grad, other in zip(grads, torch.autograd.grad(2 * expected, (x, weight, bias)), strict=True):
        torch.testing.assert_close(grad, other)


def test_a_step_of_muon_is_torch_s_but_for_its_bfloat16():
    start, *grads = torch.randn(3, 12, 20, generator=torch.Generator().manual_seed(0))
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    optimizers = (
        Muon([ours], lr=0.1),
        torch.optim.Muon([theirs], lr=0.1, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
    )
    for optimizer, param in zip(optimizers, (ours, theirs), strict=True):
        for grad in grads:
            param.grad = grad.clone()
            optimizer.step()
    moved = (theirs - start).norm()
    assert (ours - theirs).norm() < 0.02 * moved
    assert (
        0.5
        < torch.linalg.svdvals(orthogonalised(grad)).min()
        < torch.linalg.svdvals(orthogonalised(grad)).max()
        < 1.3
    )


def test_batches_show_every_position_its_next_token_and_every_row_once_an_epoch():
    batches = NextTokens(ROWS, 4, seed=3)
    first = batches(0)
    assert first.shape == (4, 9)
    epoch = torch.cat([batches(step) for step in range(14)])
    index = {row.tobytes(): i for i, row in enumerate(ROWS)}
    seen = [index[row[:8].numpy().astype(np.uint16).tobytes()] for row in epoch]
    assert len(set(seen)) == 56
    assert all(row[8] == ROWS[i + 1, 1] for row, i in zip(epoch, seen, strict=True))
    assert not torch.equal(batches(14), first) and torch.equal(NextTokens(ROWS, 4, seed=3)(0), first)


def test_every_weight_of_the_architecture_is_trained():
    net = Trainable(MODEL, 0)
    model = net.model()
    batch = with_next(ROWS, np.arange(50))
    torch.nn.functional.cross_entropy(
        model.logits(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten()
    ).backward()
    unused = [name for name, param in net.named_parameters() if param.grad is None or not param.grad.any()]
    assert unused == ["b_K"] or not unused  # softmax does not see a constant in the keys
    assert net.get_parameter("W_pos").grad is not None and net.get_parameter("W_pos").grad.any(1).all()


def test_training_learns_and_keeps_a_log(tmp_path: Path):
    model = trained(tmp_path, RECIPE)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert log[-1]["step"] == 40 and log[-1]["val_loss"] < np.log(30) + 0.1
    assert log[-1]["val_loss_per_char"] == pytest.approx(log[-1]["val_loss"] / 3.0)
    saved, tokens = checkpointed(tmp_path)
    assert same(saved, model) and tokens == RECIPE.tokens


def test_a_training_ended_earlier_is_the_one_of_that_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(training, "CHECKPOINT_TOKENS", 8 * 4 * 7)
    step, left = training._train_step, [25]

    def killed(*arguments):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return step(*arguments)

    monkeypatch.setattr(training, "_train_step", killed)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "long", replace(RECIPE, tokens=8 * 4 * 1000))
    monkeypatch.setattr(training, "_train_step", step)
    assert checkpointed(tmp_path / "long")[1] == 8 * 4 * 21
    assert same(trained(tmp_path / "long", RECIPE), trained(tmp_path / "short", RECIPE))


def test_past_the_decay_s_beginning_a_training_keeps_its_length(tmp_path: Path):
    trained(tmp_path, RECIPE)
    with pytest.raises(UserError, match="past the decay's beginning"):
        trained(tmp_path, replace(RECIPE, tokens=8 * 4 * 44))
    with pytest.raises(UserError, match="another recipe"):
        trained(tmp_path, replace(RECIPE, batch_rows=2))
    with pytest.raises(UserError, match="no checkpoint"):
        checkpointed(tmp_path / "nothing")
