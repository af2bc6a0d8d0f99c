"""How cleanly a graft tells the words before the hyphen, on the real-text world, and what it costs.

A word is clean if one child's F1 for it is at least 0.8, child and cut chosen on one half of the held-out
hyphens and scored on the other (``saetui.split.judging.word_contexts``). To reach: 10 of 26 with 64 children.
The words are the 26 that stand before it most often in all held-out documents.
"""

import sys
import time
from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks import _results
from saetui import embedded
from saetui.loading import load_lm, load_sae, open_rows
from saetui.setup import Setup
from saetui.split.grafting.graft import Graft, graft
from saetui.split.grafting.hot import gather_hot
from saetui.split.judging.word_contexts import occurrences
from saetui.split.recipe import GraftRecipe

REACH = 10
CHILDREN = (8, 16, 32, 64)
WORDS = 26
HELD_OUT_TOKENS = 10_000_000
"""More than there are: all of them."""
SCAN_TOKENS = 8_000_000
CUTS = (0.0, 0.1, 0.2, 0.3)
CUT = 0.2


@dataclass(frozen=True)
class Several:
    """The children of several grafts side by side, so that the corpus is read once for all."""

    grafts: list[Graft]

    @property
    def d_sae(self) -> int:
        return sum(one.k for one in self.grafts)

    @property
    def W_dec(self) -> Tensor:
        return torch.cat([one.child_W_dec for one in self.grafts])

    def encode(self, x: Tensor) -> Tensor:
        return torch.cat([one.children_encode(x) for one in self.grafts], -1)


def main() -> int:
    world, setup = embedded.world("real"), Setup(model="real")
    lm, narrow = load_lm(setup), load_sae(setup)
    train, held_out = (open_rows(setup, lm.tokenizer, split) for split in ("train", "eval"))
    recipe = GraftRecipe.from_dict({**world.graft, "target": world.target, "threshold": world.threshold})
    hot = gather_hot(lm, train, narrow, recipe.target, recipe.threshold, recipe.hot_tokens, SCAN_TOKENS)
    print(f"{len(hot.x):,} hot tokens, found in {hot.tokens_read:,} in {hot.seconds:.1f} s")
    grafts: list[Graft] = []
    seconds: list[float] = []
    for children in CHILDREN:
        start = time.perf_counter()
        grafts.append(graft(narrow, hot.x, GraftRecipe.from_dict({**recipe.to_dict(), "children": children})))
        seconds.append(time.perf_counter() - start)
    read = occurrences(lm, Several(grafts), "-", held_out, tokens=HELD_OUT_TOKENS)
    common = Counter(word for word in read.before if word).most_common(WORDS)
    threads = torch.get_num_threads()
    print(f"{len(read.before):,} held-out hyphens in {read.tokens_read:,} tokens, {threads} threads")
    print("words: " + " ".join(f"{word} {count}" for word, count in common))
    print(
        f"words before it with a child of F1 ≥ .8, by the cut on its mass on the hyphen; at {CUT} also those"
    )
    print("on most of whose hyphens (≥ .6) that child is the strongest")
    print(
        "children  seconds  "
        + "  ".join(f"cut {cut:.1f}" for cut in CUTS)
        + f"  strongest  best words at {CUT}"
    )
    clean, words, first = 0, 0, 0
    figures: list[dict[str, object]] = []
    for one, took in zip(grafts, seconds, strict=True):
        features = range(first, first + one.k)
        first += one.k
        at = {cut: read.words(cut, common[-1][1], features) for cut in CUTS}
        clean, words = at[CUT].clean, len(at[CUT].words)
        counts = "  ".join(f"{at[cut].clean:>7}" for cut in CUTS)
        best = " ".join(f"{word.word}- {word.f1:.2f}" for word in at[CUT].words[:4])
        print(f"{one.k:>8}  {took:>7.1f}  {counts}  {at[CUT].clean_winners:>9}  {best}")
        figures.append(
            {
                "children": one.k,
                "seconds": took,
                "clean": {cut: at[cut].clean for cut in CUTS},
                "words": words,
            }
        )
    _results.store("graft_words", figures)
    print(f"{clean} of {words} words with {CHILDREN[-1]} children; to reach: {REACH}")
    return 0 if clean >= REACH else 1


if __name__ == "__main__":
    sys.exit(main())
