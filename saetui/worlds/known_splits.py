"""Splits and impostors of the synthetic world's hyphen whose truth is known: what tries a children finder.

Most are made, not trained: encoders fitted by least squares to the labels, on the activations of the shipped
language model, so that which feature stands for which context is known. The impostors are those of which each
passes some measure of a split: a copy, duplicates, a random partition, absorption, features elsewhere.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from saetui import embedded
from saetui.corpus.grammar import LABELS, SyntheticRows
from saetui.lm.base import LanguageModel
from saetui.loading import load_lm, load_sae
from saetui.sae.formats import load
from saetui.sae.sae import SAE
from saetui.setup import Setup
from saetui.split.graft_run import graft_target
from saetui.split.observing import Dictionary
from saetui.split.recipe import GraftRecipe
from saetui.split.report import SplitKind

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


def _best_cut(fit: Tensor, wanted: Tensor) -> Tensor:
    """Above which ``fit [n]`` has the best F1 for ``wanted [n]``."""
    order = fit.argsort(descending=True)
    hits = wanted[order].cumsum(0)
    f1 = 2 * hits / (torch.arange(1, len(order) + 1) + wanted.sum())
    place = int(f1.argmax())
    return (fit[order[place]] + fit[order[min(place + 1, len(order) - 1)]]) / 2


@cache
def the_world() -> World:
    return World()


@dataclass(frozen=True)
class RandomPartition:
    """One feature of ``sae`` cut into ``parts`` by the last digits of the activations, which tell nothing;
    each part with a direction of its own. Implements ``Dictionary``."""

    sae: SAE
    parts: int

    @property
    def d_sae(self) -> int:
        return self.parts

    @property
    def W_dec(self) -> Tensor:
        apart = torch.randn(self.parts, self.sae.d_in, generator=torch.Generator().manual_seed(1))
        return torch.nn.functional.normalize(self.sae.W_dec + 0.06 * apart, dim=1)

    def encode(self, x: Tensor) -> Tensor:
        part = (x.float() * 4096).round().long().sum(-1) % self.parts
        return torch.nn.functional.one_hot(part, self.parts) * self.sae.encode(x)

    def decode(self, f: Tensor) -> Tensor:
        return f @ self.W_dec + self.sae.b_dec


Group = Literal["split", "partial", "impostor", "trained"]


@dataclass(frozen=True)
class Case:
    """One dictionary to be judged. ``expected``: the verdicts that are right; ``known``: the contexts that
    children of it stand for, None where the labels are to say (a trained dictionary)."""

    name: str
    group: Group
    make: Callable[[], Dictionary]
    expected: tuple[SplitKind, ...]
    known: tuple[Context, ...] | None
    shipped: bool = False
    """Whether the target is that of the narrow SAE that ships; else one fitted to all hyphens."""
    named: bool = False
    """Whether the dictionary names its children, as a graft does."""


def fitted_target() -> SAE:
    """A narrow SAE with one feature: the hyphen."""
    return _fit(Context(EACH))


def cases(seeds: Sequence[int] = (0, 1, 2)) -> list[Case]:
    """All of them; the trained ones over ``seeds``."""
    return [*_splits(), *_partial(), *_impostors(), *_trained(seeds)]


def _fit(*contexts: Context, writes: tuple[Context, ...] = (), cut: float = 0.4, noise: float = 0.0) -> SAE:
    world = the_world()
    return world.fitted(
        [c.holds(world.seen) for c in contexts], [c.holds(world.seen) for c in writes], cut, noise
    )


def _classes(*classes: Classes) -> tuple[Context, ...]:
    return tuple(Context(one) for one in classes)


def _words(label: int) -> tuple[Context, Context]:
    """A class taken apart: after its two commonest words, and after any other."""
    words = the_world().seen.commonest(label, 2)
    return Context((label,), words), Context((label,), words, others=True)


def _splits() -> list[Case]:
    four = _classes((COUNT,), (ADJ,), (DIGIT,), (OTHER,))
    divided = {
        "four classes": four,
        "count+adj, digit, other": _classes((COUNT, ADJ), (DIGIT,), (OTHER,)),
        "count, adj+digit, other": _classes((COUNT,), (ADJ, DIGIT), (OTHER,)),
        "count+digit, adj+other": _classes((COUNT, DIGIT), (ADJ, OTHER)),
        "count+adj, digit+other": _classes((COUNT, ADJ), (DIGIT, OTHER)),
        "count+other, adj+digit": _classes((COUNT, OTHER), (ADJ, DIGIT)),
        "other by words, five": (*four[:3], *_words(OTHER)),
    }
    found = [Case(name, "split", lambda c=c: _fit(*c), ("split",), c) for name, c in divided.items()]
    return [
        *found,
        Case(
            "count+adj+other, digit",
            "split",
            lambda: _fit(*_classes((COUNT, ADJ, OTHER), (DIGIT,))),
            ("split", "absorbed"),  # what is left of a target without a quarter of it points its way still
            _classes((COUNT, ADJ, OTHER), (DIGIT,)),
        ),
        Case("four, timid", "split", lambda: _fit(*four, cut=1.5), ("split", "partly"), four),
        Case("four, loose", "split", lambda: _fit(*four, cut=0.6), ("split",), four),
        Case("four, encoder noise .05", "split", lambda: _fit(*four, noise=0.05), ("split",), four),
        Case("four, encoder noise .1", "split", lambda: _fit(*four, noise=0.1), ("split", "partly"), four),
        Case("four, one of them twice", "split", lambda: _fit(*four, four[DIGIT]), ("split",), four),
    ]


def _partial() -> list[Case]:
    four = _classes((COUNT,), (ADJ,), (DIGIT,), (OTHER,))
    found = [
        Case(f"{LABELS[gone]} lost", "partial", lambda c=c: _fit(*c), ("partly",), c)
        for gone in (COUNT, ADJ, DIGIT)
        for c in [tuple(one for one in four if one.classes != (gone,))]
    ]

    def beside(strength: float) -> Dictionary:
        """The target itself, its activations scaled, and the four beside it."""
        sae = _fit(Context(EACH), *four)
        scale = torch.tensor([strength, 1, 1, 1, 1])
        return replace(sae, W_enc=sae.W_enc * scale, b_enc=sae.b_enc * scale)

    return [
        *found,
        Case("target weak beside four", "partial", lambda: beside(0.3), ("partly",), four),
        Case("target strong beside four", "partial", lambda: beside(3.0), ("unsplit", "partly"), ()),
    ]


def _impostors() -> list[Case]:
    world = the_world()
    target = fitted_target

    def copies(count: int, noise: float) -> Dictionary:
        return _fit(*[Context(EACH)] * count, noise=noise)

    def absorbed(*exceptions: Context) -> Dictionary:
        taken = [one.holds(world.seen) for one in exceptions]
        general = Context(EACH).holds(world.seen) & ~np.any(taken, axis=0)
        return world.fitted([general, *taken], [Context(EACH).holds(world.seen)])

    def word_features(strength: float) -> Dictionary:
        """Features of the words themselves, so many times as strong there as on the hyphen after them."""
        masks = [one.holds(world.seen) for one in _classes((COUNT,), (ADJ,), (DIGIT,), (OTHER,))]
        words = [world.seen.words_of((c,)) for c in EACH]
        return world.fitted([a + strength * b for a, b in zip(masks, words, strict=True)], masks)

    def elsewhere() -> Dictionary:
        """No feature of the hyphen at all: the words alone."""
        return world.fitted([world.seen.words_of((c,)) for c in EACH])

    exceptions = {
        "count": (Context((COUNT,)),),
        "adj": (Context((ADJ,)),),
        "digit": (Context((DIGIT,)),),
        "two words of other": (_words(OTHER)[0],),
        "two words of adj": (_words(ADJ)[0],),
        "words of adj, words of other": (_words(ADJ)[0], _words(OTHER)[0]),
    }
    unsplit: tuple[SplitKind, ...] = ("unsplit",)
    return [
        Case("copy of the target", "impostor", target, unsplit, ()),
        Case("copy, encoder noise .1", "impostor", lambda: copies(1, 0.1), unsplit, ()),
        Case("two duplicates", "impostor", lambda: copies(2, 0.1), unsplit, ()),
        Case("three duplicates", "impostor", lambda: copies(3, 0.1), unsplit, ()),
        *(
            Case(
                f"random partition in {n}", "impostor", lambda n=n: RandomPartition(target(), n), unsplit, ()
            )
            for n in (2, 3, 5)
        ),
        *(
            Case(f"absorbed: {name}", "impostor", lambda e=e: absorbed(*e), ("absorbed",), e)
            for name, e in exceptions.items()
        ),
        Case("gone: words alone", "impostor", elsewhere, ("lost",), ()),
        Case("leaky: words as much as hyphens", "impostor", lambda: word_features(1), ("lost",), ()),
        Case("leaky: words half as much", "impostor", lambda: word_features(0.5), ("lost", "partly"), ()),
        Case("one class left", "impostor", lambda: _fit(Context((DIGIT,))), ("lost",), ()),
    ]


def _trained(seeds: Sequence[int]) -> list[Case]:
    world, folder = the_world(), embedded.models_folder() / "synthetic"
    about = embedded.world("synthetic")

    def grafted(seed: int, children: int) -> Dictionary:
        values = {**about.graft, "children": children, "seed": seed}
        recipe = GraftRecipe(**{"target": about.target, "threshold": about.threshold, **values})
        return graft_target(world.lm, world.narrow, SyntheticRows("train"), recipe)[0]

    wide = [
        Case("wide, filtered (ships)", "trained", lambda: load(str(folder / "wide")), ("split",), None, True),
        Case(
            "wide, all data (ships)",
            "trained",
            lambda: load(str(folder / "wide-all")),
            ("unsplit",),
            None,
            True,
        ),
    ]
    grafts = [
        Case(
            f"graft, k {k}, seed {s}", "trained", lambda s=s, k=k: grafted(s, k), ("split",), None, True, True
        )
        for k in (4, 6, 12)
        for s in seeds
    ]
    return [*wide, *grafts]
