"""What the tests of the split share: rows and a narrow SAE fitted to the tiny model."""

from functools import cache
from typing import Any

import torch
from torch import Tensor

from saetui.sae.sae import SAE
from saetui.split.activations.data import Poll, ShuffledActivations, SourceState
from saetui.split.activations.filtered import FilteredRows, activations
from saetui.split.recipe import SplitRecipe
from saetui.split.training.trainer import train
from tests.tiny import TinyLM, TinyRows


@cache
def world() -> tuple[TinyLM, TinyRows, SAE]:
    """The tiny language model, its rows, and a narrow SAE of 32 features trained on them."""
    lm, rows = TinyLM(), TinyRows(2000)
    recipe = SplitRecipe(
        init="random", data="all", d_sae=32, tokens=128 * 300, batch_size=128, lr=3e-3, l1_coeff=0.5,
        buffer_tokens=2048,
    )  # fmt: skip
    return lm, rows, train(recipe, shuffled(lm, rows, recipe), lm.d_in)


@cache
def hot_feature() -> tuple[int, float]:
    """A feature that fires on about a tenth of the tokens, and a threshold above which it does on fewer."""
    f = world()[2].encode(all_activations())
    density = (f > 0).double().mean(0)
    target = int((density - 0.1).abs().argmin())
    return target, 0.25 * float(f[:, target].max())


@cache
def all_activations() -> Tensor:
    """Activations ``[tokens, d_in]`` of the first rows, BOS left out."""
    lm, rows, _ = world()
    return activations(lm, rows.read(0, 300), bos=True).flatten(0, 1)


def recipe(**values: Any) -> SplitRecipe:
    """A recipe for the tiny world, small enough for a test."""
    target, threshold = hot_feature()
    usual: dict[str, Any] = {
        "target": target, "threshold": threshold, "d_sae": 96, "tokens": 128 * 60, "batch_size": 128,
        "lr": 3e-3, "l1_coeff": 0.3, "buffer_tokens": 2048,
    }  # fmt: skip
    return SplitRecipe(**(usual | values))


def shuffled(
    lm: TinyLM, rows: TinyRows, recipe: SplitRecipe, narrow: SAE | None = None
) -> ShuffledActivations:
    """The stream that a run of ``recipe`` trains on, without a cache."""
    return ShuffledActivations(FilteredRows(lm, rows, recipe, narrow), recipe, narrow)


class FixedSource:
    """Batches of a tensor in order, over and over: the simplest ``ActivationSource``."""

    kept = 1.0
    tokens_read = tokens_computed = 0
    seconds = cpu_seconds = 0.0

    def __init__(self, x: Tensor) -> None:
        self.x, self.at = x, 0

    def next(self, n: int, poll: Poll = lambda read: None) -> Tensor:
        if self.at + n > len(self.x):
            self.at = 0
        self.at += n
        return self.x[self.at - n : self.at]

    def state(self) -> SourceState:
        return SourceState({}, {"at": self.at})

    def restore(self, state: SourceState) -> None:
        self.at = state.values["at"]


def relative(a: Tensor, b: Tensor) -> float:
    """``|a - b| / |b|`` in fp64."""
    return float((a.double() - b.double()).norm() / b.double().norm().clamp_min(1e-30))


def random_sae(d_in: int, d_sae: int, bias: float, seed: int = 0) -> SAE:
    """Unit decoder rows, an encoder of its own, and biases that are not zero."""
    g = torch.Generator().manual_seed(seed)
    W_dec = torch.nn.functional.normalize(torch.randn(d_sae, d_in, generator=g), dim=1)
    return SAE(
        W_enc=torch.randn(d_in, d_sae, generator=g) / d_in**0.5,
        b_enc=torch.randn(d_sae, generator=g) * 0.1 + bias,
        W_dec=W_dec,
        b_dec=torch.randn(d_in, generator=g) * 0.1,
    )
