"""The sparse path of a training step: only active (token, feature) pairs are decoded and collect gradients.

``TorchOperators`` does it with torch's own operators; ``saetui.split.training.compiled`` is the same in
compiled loops, several times faster, where Numba is installed. Up to which share of active features either
costs less than the dense path was measured in CPU seconds, all ways taking turns on one thread, and is what
``crossover`` goes by (``benchmarks.crossover``, 256 → 1024 and 512 → 4096, the smaller share of the two):
torch 0.11 against fp32 products and 0.034 against bfloat16 ones, compiled 0.26 and 0.08.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib.util import find_spec
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from saetui.split.training.screen import WORTH, integer_products, quantise, screening_speedup, tokens_at_once

SCREEN_AT_MOST = 0.3
"""Share of all pairs that a screen may let through; beyond it the whole product in fp32 is faster."""
WORTH_TRYING = 2**17
"""Weights of an encoder from which on a faster engine saves more than looking for it costs."""


@dataclass(frozen=True)
class ActivePairs:
    """The active pairs of a batch, token by token: those of token t are ``first[t]`` to ``first[t + 1]``."""

    first: Tensor
    """``[tokens + 1]``, int32."""
    features: Tensor
    """``[pairs]``, int32, ascending within a token."""
    activations: Tensor
    """``[pairs]``, fp32, above zero."""


@dataclass(frozen=True)
class SparseSums:
    """What the gradients' pass sums up on its way."""

    squared_error: Tensor
    """0-d: Σ_t |x̂_t - y_t|²."""
    activations: Tensor
    """``[d_sae]``, fp32: Σ_t activations."""
    firings: Tensor
    """``[d_sae]``, fp32: tokens on which each feature fired."""


@dataclass(frozen=True)
class Reconstruction:
    """What a sparse step's gradients are gradients of: ``y [tokens, d_in]`` reconstructed from ``x`` (same
    shape). All tensors are fp32, on the CPU and contiguous."""

    x: Tensor
    y: Tensor
    W_dec: Tensor
    b_dec: Tensor
    scale: float
    """Times which the error is the gradient with respect to the reconstruction."""
    l1: Tensor
    """``[d_sae]``: the L1 term's gradient with respect to an activation of each feature."""
    tangent: bool = False
    """Whether W_dec's gradient is without its component along each row, as ``without_parallel``."""


@dataclass(frozen=True)
class Crossover:
    """Shares of active features: below ``below`` the sparse path is taken, above ``above`` it is left. The
    gap keeps a noisy share from switching back and forth."""

    below: float
    above: float


class SparseOperators(ABC):
    """The two halves of a sparse step.

    ``screened``: whether active pairs are looked for with 8-bit integers first
    (``saetui.split.training.screen``) where few features fire. Turns itself off where a screen lets too much
    through all the same; part of what an exact resume needs.
    """

    crossover: ClassVar[dict[str, Crossover]]
    """By the dtype of the dense products that the sparse path is measured against."""
    screen_below: ClassVar[float]
    """Share of active features from which on the whole product in fp32 finds them as fast."""

    def __init__(self, screened: bool = False) -> None:
        self.screened = screened

    def active(
        self, x: Tensor, W_encT: Tensor, b_enc: Tensor, silent: int | None, share: float = 0.0
    ) -> ActivePairs:
        """The pairs of ``x [tokens, d_in]`` for which ``x · W_encT[f] + b_enc[f] > 0``, those of feature
        ``silent`` left out; about ``share`` of all pairs are expected to be."""
        if not self.screened or share >= self.screen_below:
            return product_pairs(x, W_encT, b_enc, silent)
        pairs, passed = self._screen(x, W_encT, b_enc, silent)
        self.screened = passed <= SCREEN_AT_MOST * len(x) * len(W_encT)
        return pairs

    @abstractmethod
    def _screen(
        self, x: Tensor, W_encT: Tensor, b_enc: Tensor, silent: int | None
    ) -> tuple[ActivePairs, int]:
        """The active pairs by way of a screen, and how many pairs that let through."""

    @abstractmethod
    def gradients(
        self, pairs: ActivePairs, of: Reconstruction, g: Tensor, grads: dict[str, Tensor]
    ) -> SparseSums:
        """Fills ``g [tokens, d_in]`` with the gradient with respect to the reconstruction, and ``grads``'
        W_dec, W_encT and b_enc."""


@dataclass(frozen=True)
class SparseEngine:
    """How sparse steps are made; a resumed run keeps what it began with, for the sake of the last bits."""

    screened: bool = False
    compiled: bool = False


def choose_sparse_engine(d_in: int, d_sae: int) -> tuple[SparseEngine, str]:
    """What is fastest here, tried out, and a line that says so. Small SAEs are not worth the trial."""
    if d_in * d_sae < WORTH_TRYING:
        return SparseEngine(), "sparse steps: torch's operators (a small SAE)"
    speedup = screening_speedup(d_in, d_sae)
    screened, compiled = speedup > WORTH, False
    loops = "torch's operators (pip install 'saetui[fast]' for compiled loops)"
    if has_numba():
        from saetui.split.training.compiled import check

        compiled, loops = check()
    how = "screened by" if screened else "not screened by"
    line = f"sparse steps: {loops}, {how} 8-bit products (these are {speedup:.1f}× as fast as fp32)"
    return SparseEngine(screened, compiled), line


def has_numba() -> bool:
    return find_spec("numba") is not None


def sparse_operators(engine: SparseEngine | None = None) -> SparseOperators:
    """The operators of ``engine``, plain torch where there is none; torch's, too, where compiled ones are
    asked for and Numba is gone."""
    engine = engine or SparseEngine()
    if engine.compiled and has_numba():
        from saetui.split.training.compiled import CompiledOperators

        return CompiledOperators(engine.screened)
    return TorchOperators(engine.screened)


class TorchOperators(SparseOperators):
    """``SparseOperators`` by torch's embedding_bag and its gradients."""

    crossover: ClassVar = {"float32": Crossover(0.10, 0.13), "bfloat16": Crossover(0.035, 0.045)}
    screen_below = 0.01

    def _screen(
        self, x: Tensor, W_encT: Tensor, b_enc: Tensor, silent: int | None
    ) -> tuple[ActivePairs, int]:
        d_sae = len(W_encT)
        W, tokens_of, features, step = quantise(W_encT), [], [], tokens_at_once(d_sae)
        # Everything but the product, divided by the token's scale, is a product of three columns.
        by_feature = torch.stack([b_enc, W.norm, W.error])
        for start in range(0, len(x), step):
            part = quantise(x[start : start + step])
            products = integer_products(part.low, W.low, torch.empty(len(part.low), d_sae, dtype=torch.int32))
            tiny = torch.finfo(torch.float32).tiny
            by_token = torch.stack([torch.ones_like(part.scale), part.error, part.norm], 1)
            bound = (products * W.scale).addmm_(
                by_token / part.scale.clamp_min(tiny).unsqueeze(1), by_feature
            )
            flat = torch.from_numpy(np.flatnonzero((bound > 0).numpy()))
            token = torch.div(flat, d_sae, rounding_mode="floor")
            features.append(flat - token * d_sae)
            tokens_of.append(token + start)
        tokens, candidates = torch.cat(tokens_of), torch.cat(features)
        first = _first(torch.bincount(tokens, minlength=len(x)))
        pre = _products_of_pairs(x, W_encT, tokens, candidates, first) + b_enc[candidates]
        on = pre > 0 if silent is None else (pre > 0) & (candidates != silent)
        counts = torch.bincount(tokens[on], minlength=len(x))
        return ActivePairs(_first(counts), candidates[on].int(), pre[on]), len(tokens)

    def gradients(
        self, pairs: ActivePairs, of: Reconstruction, g: Tensor, grads: dict[str, Tensor]
    ) -> SparseSums:
        d_sae = len(of.W_dec)
        features, activations = pairs.features, pairs.activations
        # Decoding is a weighted sum of the decoder rows in each token's bag.
        error = torch.sub(_bag(features, of.W_dec, pairs.first, activations) + of.b_dec, of.y, out=g)
        squared_error = error.square().sum(1).sum()
        g.mul_(of.scale)
        tokens = torch.repeat_interleave(torch.arange(len(g)), pairs.first.diff().long())
        df = _products_of_pairs(g, of.W_dec, tokens, features, pairs.first) + of.l1[features]

        # The same pairs by feature: a feature's gradient is a weighted sum over the tokens in its bag.
        order = torch.argsort(features.short() if d_sae <= 2**15 else features, stable=True)
        counts = torch.bincount(features, minlength=d_sae)
        first = _first(counts)
        tokens, activations, df = tokens[order].int(), activations[order], df[order]
        grads["W_dec"].copy_(_bag(tokens, g, first, activations))
        if of.tangent:
            without_parallel(grads["W_dec"], of.W_dec)
        grads["W_encT"].copy_(_bag(tokens, of.x, first, df))
        features = features[order]
        grads["b_enc"].copy_(torch.bincount(features, weights=df, minlength=d_sae))
        sums = torch.bincount(features, weights=activations, minlength=d_sae).float()
        return SparseSums(squared_error, sums, counts.float())


def product_pairs(x: Tensor, W_encT: Tensor, b_enc: Tensor, silent: int | None) -> ActivePairs:
    """The active pairs by the whole product in fp32, some tokens at a time."""
    d_sae, step = len(W_encT), max(256, tokens_at_once(len(W_encT)))
    counts, features, activations = [], [], []
    pre = torch.empty(min(step, len(x)), d_sae)
    for start in range(0, len(x), step):
        part = x[start : start + step]
        pre = torch.addmm(b_enc, part, W_encT.T, out=pre[: len(part)])
        if silent is not None:
            pre[:, silent] = 0
        # NumPy finds them several times faster than torch.
        flat = torch.from_numpy(np.flatnonzero((pre > 0).numpy()))
        tokens = torch.div(flat, d_sae, rounding_mode="floor")
        counts.append(torch.bincount(tokens, minlength=len(part)))
        features.append((flat - tokens * d_sae).int())
        activations.append(pre.view(-1).take(flat))
    return ActivePairs(_first(torch.cat(counts)), torch.cat(features), torch.cat(activations))


def without_parallel(gradient: Tensor, W_dec: Tensor) -> None:
    """Takes off every row's component along its row of ``W_dec``, the one that renormalising would undo."""
    unit = W_dec / W_dec.norm(dim=1, keepdim=True)
    gradient.addcmul_((gradient * unit).sum(1, keepdim=True), unit, value=-1)


def _first(counts: Tensor) -> Tensor:
    return F.pad(counts.cumsum(0), (1, 0)).int()


def _bag(indices: Tensor, rows: Tensor, first: Tensor, weights: Tensor) -> Tensor:
    """``out[i] = Σ weights[p] * rows[indices[p]]`` over the p from ``first[i]`` to ``first[i + 1]``."""
    return F.embedding_bag(
        indices, rows, first, mode="sum", per_sample_weights=weights, include_last_offset=True
    )


def _products_of_pairs(a: Tensor, b: Tensor, in_a: Tensor, in_b: Tensor, first: Tensor) -> Tensor:
    """``a[in_a[p]] · b[in_b[p]]`` for every pair p: embedding_bag's gradient with respect to its weights."""
    in_a, in_b, first = in_a.int(), in_b.int(), first[:-1]
    return torch.ops.aten._embedding_bag_per_sample_weights_backward(a, b, in_b, first, in_a, 0)
