"""SAEs fitted to the labels of the synthetic world: which feature stands for which context is known.

Encoders are fitted by least squares, on the activations of the shipped language model; decoder rows are the
means of what they are to write.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from saetui.corpus.grammar import SyntheticRows
from saetui.lm.base import LanguageModel
from saetui.loading import load_lm, load_sae
from saetui.sae.sae import SAE
from saetui.setup import Setup

SETUP = Setup("synthetic", device="cpu")
COUNT, ADJ, DIGIT, OTHER = range(4)
EACH = (COUNT, ADJ, DIGIT, OTHER)
Classes = tuple[int, ...]
"""Classes of a hyphen, by their place in ``LABELS``."""

_ROWS = 2000
"""Training rows that encoders are fitted to."""
_ON_HYPHENS = 20.0
"""Weight of a hyphen in a fit, beside any other token's."""


@dataclass(frozen=True)
class Labelled:
    """Tokens of the synthetic world with what is known of them, ``[rows, seq_len]`` each, BOS left out."""

    tokens: NDArray[np.integer]
    previous: NDArray[np.integer]
    label: NDArray[np.integer]
    """The class of a hyphen, -1 for any other token."""

    @classmethod
    def read(cls, rows: SyntheticRows, start: int, count: int) -> "Labelled":
        tokens = rows.read(start, count).astype(np.int64)
        return cls(tokens[:, 1:], tokens[:, :-1], rows.labels(start, count)[:, 1:].astype(np.int64))

    def of(self, classes: Sequence[int]) -> NDArray[np.bool_]:
        """Hyphens of the classes."""
        return np.isin(self.label, classes)

    def commonest(self, label: int, count: int) -> tuple[int, ...]:
        """The words most often before hyphens of a class, as token ids."""
        words, counts = np.unique(self.previous[self.label == label], return_counts=True)
        return tuple(words[np.argsort(-counts, kind="stable")[:count]].tolist())

    def words_of(self, classes: Sequence[int]) -> NDArray[np.bool_]:
        """Tokens, wherever they stand, that come before hyphens of the classes."""
        return np.isin(self.tokens, np.unique(self.previous[self.of(classes)]))


@dataclass(frozen=True)
class Context:
    """What one child stands for: hyphens of some classes after some words, or after all others."""

    classes: Classes
    words: tuple[int, ...] = ()
    """Token ids; empty: any."""
    others: bool = False
    """Whether it is after all words but these."""

    def holds(self, of: Labelled) -> NDArray[np.bool_]:
        at = of.of(self.classes)
        return at & (np.isin(of.previous, self.words) != self.others) if self.words else at


class World:
    """The shipped language model and narrow SAE, and what encoders are fitted to."""

    @cached_property
    def lm(self) -> LanguageModel:
        return load_lm(SETUP)

    @cached_property
    def narrow(self) -> SAE:
        return load_sae(SETUP)

    @cached_property
    def seen(self) -> Labelled:
        return Labelled.read(SyntheticRows("train"), 0, _ROWS)

    @cached_property
    def x(self) -> Tensor:
        """Activations of ``seen``, ``[n, d_in]``."""
        tokens = torch.from_numpy(SyntheticRows("train").read(0, _ROWS).astype(np.int64))
        return self.lm.activations(tokens)[:, 1:].flatten(0, 1)

    @cached_property
    def whitening(self) -> Tensor:
        """``[d_in, d_in]``: directions on which the activations' projections are independent, of spread 1."""
        x = (self.x - self.x.mean(0)).double()
        values, vectors = torch.linalg.eigh(x.T @ x / len(x))
        return (vectors / values.clamp(min=1e-6 * float(values[-1])).sqrt()).float()

    def fitted(
        self,
        fires: Sequence[NDArray[np.floating | np.bool_]],
        writes: Sequence[NDArray[np.bool_]] = (),
        cut: float = 1.0,
        noise: float = 0.0,
    ) -> SAE:
        """An SAE whose feature i is ``fires[i]`` (0 … 1) on the tokens of ``seen`` and writes the mean of
        those of ``writes[i]`` (of the same, where not given).

        It fires where the fit is above ``cut`` times what tells the tokens best; ``noise``: what is added to
        the encoder adds so much of a feature's spread to its input.
        """
        x, mean = self.x, self.x.mean(0)
        wanted = torch.from_numpy(np.stack([mask.reshape(-1) for mask in fires], 1).astype(float))
        design = torch.cat([x - mean, torch.ones(len(x), 1)], 1).double()
        weight = 1 + (_ON_HYPHENS - 1) * torch.from_numpy(self.seen.label.reshape(-1) >= 0)[:, None]
        fit = torch.linalg.lstsq(design * weight.sqrt(), wanted * weight.sqrt()).solution
        cuts = torch.stack([_best_cut(*pair) for pair in zip((design @ fit).T, wanted.T > 0, strict=True)])
        weights = fit.float()
        if noise:
            random = torch.randn(weights[:-1].shape, generator=torch.Generator().manual_seed(0))
            spread = ((x - mean) @ weights[:-1]).std(0)
            weights[:-1] += noise * spread * (self.whitening @ random)
        told = [torch.from_numpy(mask.reshape(-1) > 0) for mask in (*writes, *fires[len(writes) :])]
        return SAE(
            W_enc=10 * weights[:-1],
            b_enc=10 * (weights[-1] - cut * cuts.float()),
            W_dec=torch.nn.functional.normalize(torch.stack([x[at].mean(0) - mean for at in told]), dim=1),
            b_dec=mean,
        )


def _best_cut(values: Tensor, wanted: Tensor) -> Tensor:
    """Above which ``values [n]`` have the best F1 for ``wanted [n]``."""
    order = values.argsort(descending=True)
    hits = wanted[order].cumsum(0)
    f1 = 2 * hits / (torch.arange(1, len(order) + 1) + wanted.sum())
    place = int(f1.argmax())
    return (values[order[place]] + values[order[min(place + 1, len(order) - 1)]]) / 2


@cache
def the_world() -> World:
    return World()


def fit(*contexts: Context, writes: Sequence[Context] = (), cut: float = 0.4, noise: float = 0.0) -> SAE:
    """An SAE whose feature i fires in ``contexts[i]`` and writes the mean of ``writes[i]`` (of the same,
    where not given); ``cut`` and ``noise`` as in ``World.fitted``."""
    world = the_world()
    return world.fitted(
        [c.holds(world.seen) for c in contexts], [c.holds(world.seen) for c in writes], cut, noise
    )


def contexts_of(*classes: Classes) -> tuple[Context, ...]:
    """One for each group of classes, after any words."""
    return tuple(Context(one) for one in classes)


def fitted_target() -> SAE:
    """A narrow SAE with one feature: the hyphen."""
    return fit(Context(EACH))
