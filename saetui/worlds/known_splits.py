"""Splits and impostors of the synthetic world's hyphen whose truth is known: what tries a children finder.

Most are made, not trained (``saetui.worlds.fitted``), so that it is known which feature stands for which
context. The impostors are those of which each passes some measure of a split: a copy, duplicates, a random
partition, absorption, features elsewhere.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from saetui import embedded
from saetui.corpus.grammar import LABELS, SyntheticRows
from saetui.features.encoder import Dictionary
from saetui.sae.formats import load
from saetui.sae.sae import SAE
from saetui.split.finding.report import SplitKind
from saetui.split.grafting.graft_run import graft_target
from saetui.split.recipe import GraftRecipe
from saetui.worlds.fitted import (
    ADJ,
    COUNT,
    DIGIT,
    EACH,
    OTHER,
    Context,
    contexts_of,
    fit,
    fitted_target,
    the_world,
)


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


def cases(seeds: Sequence[int] = (0, 1, 2)) -> list[Case]:
    """All of them; the trained ones over ``seeds``."""
    return [*_splits(), *_partial(), *_impostors(), *_trained(seeds)]


def _words(label: int) -> tuple[Context, Context]:
    """A class taken apart: after its two commonest words, and after any other."""
    words = the_world().seen.commonest(label, 2)
    return Context((label,), words), Context((label,), words, others=True)


def _splits() -> list[Case]:
    four = contexts_of((COUNT,), (ADJ,), (DIGIT,), (OTHER,))
    divided = {
        "four classes": four,
        "count+adj, digit, other": contexts_of((COUNT, ADJ), (DIGIT,), (OTHER,)),
        "count, adj+digit, other": contexts_of((COUNT,), (ADJ, DIGIT), (OTHER,)),
        "count+digit, adj+other": contexts_of((COUNT, DIGIT), (ADJ, OTHER)),
        "count+adj, digit+other": contexts_of((COUNT, ADJ), (DIGIT, OTHER)),
        "count+other, adj+digit": contexts_of((COUNT, OTHER), (ADJ, DIGIT)),
        "other by words, five": (*four[:3], *_words(OTHER)),
    }
    found = [Case(name, "split", lambda c=c: fit(*c), ("split",), c) for name, c in divided.items()]
    return [
        *found,
        Case(
            "count+adj+other, digit",
            "split",
            lambda: fit(*contexts_of((COUNT, ADJ, OTHER), (DIGIT,))),
            ("split", "absorbed"),  # what is left of a target without a quarter of it points its way still
            contexts_of((COUNT, ADJ, OTHER), (DIGIT,)),
        ),
        Case("four, timid", "split", lambda: fit(*four, cut=1.5), ("split", "partly"), four),
        Case("four, loose", "split", lambda: fit(*four, cut=0.6), ("split",), four),
        Case("four, encoder noise .05", "split", lambda: fit(*four, noise=0.05), ("split",), four),
        Case("four, encoder noise .1", "split", lambda: fit(*four, noise=0.1), ("split", "partly"), four),
        Case("four, one of them twice", "split", lambda: fit(*four, four[DIGIT]), ("split",), four),
    ]


def _partial() -> list[Case]:
    four = contexts_of((COUNT,), (ADJ,), (DIGIT,), (OTHER,))
    found = [
        Case(f"{LABELS[gone]} lost", "partial", lambda c=c: fit(*c), ("partly",), c)
        for gone in (COUNT, ADJ, DIGIT)
        for c in [tuple(one for one in four if one.classes != (gone,))]
    ]

    def beside(strength: float) -> Dictionary:
        """The target itself, its activations scaled, and the four beside it."""
        sae = fit(Context(EACH), *four)
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
        return fit(*[Context(EACH)] * count, noise=noise)

    def absorbed(*exceptions: Context) -> Dictionary:
        taken = [one.holds(world.seen) for one in exceptions]
        general = Context(EACH).holds(world.seen) & ~np.any(taken, axis=0)
        return world.fitted([general, *taken], [Context(EACH).holds(world.seen)])

    def word_features(strength: float) -> Dictionary:
        """Features of the words themselves, so many times as strong there as on the hyphen after them."""
        masks = [one.holds(world.seen) for one in contexts_of((COUNT,), (ADJ,), (DIGIT,), (OTHER,))]
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
        Case("one class left", "impostor", lambda: fit(Context((DIGIT,))), ("lost",), ()),
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
