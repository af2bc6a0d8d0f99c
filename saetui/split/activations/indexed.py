"""What the feature index has stored of a run's rows: activations that the run need not compute.

The index stores activations themselves, not only where features fire, so that a run filters them by whatever
target and threshold, exactly. Where its positions would do in their stead (rows known to be cold are not run
through the language model) they buy nothing: they are kept for about as many tokens as activations are.
"""

from collections.abc import Callable

import torch

from saetui.corpus.rows import TokenRows
from saetui.errors import UserError
from saetui.features.index import highest_saved
from saetui.features.row_store import FP16_MAX, RowStore
from saetui.lm.base import LanguageModel
from saetui.sae.sae import SAE
from saetui.split.activations.data import nothing_fires
from saetui.split.activations.filtered import activations
from saetui.split.recipe import SplitRecipe

_TRIED = 4
"""Rows at each end of the store that are computed again."""

ENOUGH = 1_000_000
"""Tokens read without one above the threshold after which no more are tried."""
_ROUNDING = 2**-10
"""Of an activation, by which rounding to fp16 may have lowered it."""


def check_fires(
    store: RowStore, narrow: SAE, recipe: SplitRecipe, say: Callable[[str], None] = lambda line: None
) -> None:
    """Before anything is read: UserError where the index of ``narrow`` over the rows of ``store`` has read
    enough of them to know that the filter keeps nothing; a line where it has read less."""
    if recipe.data != "filtered":
        return
    found = highest_saved(store, narrow, recipe.target)
    if found is None or found.activation > recipe.threshold * (1 - _ROUNDING):
        return
    name, read, strongest = store.rows.name, found.tokens_read, found.activation
    line = nothing_fires(name, recipe.target, recipe.threshold, read, strongest)
    if found.whole or read >= ENOUGH:
        raise UserError(line)
    say(f"so far {line}; more is read")


def open_indexed(
    lm: LanguageModel,
    rows: TokenRows,
    say: Callable[[str], None] = lambda line: None,
) -> RowStore | None:
    """The row store of ``rows``, only to be read; None where it has no activations, and where its first or
    last ones are not bit by bit what ``lm`` computes (which is said). None on a GPU: it computes faster than
    a disk is read. What is stored from now on is not seen, so that a run reads one and the same store."""
    if lm.device.type != "cpu":
        return None
    store = RowStore(lm, rows, writes=False)
    count = store.activation_rows
    if count == 0:
        return None
    for start in (0, max(0, count - _TRIED)):
        tokens = rows.read(start, min(_TRIED, count))
        computed = activations(lm, tokens, rows.bos).clamp(-FP16_MAX, FP16_MAX).half()
        if not torch.equal(store.rounded(start, start + len(tokens)), computed):
            say(
                f"what the feature index has stored in {store.folder} is not what the language model "
                "computes here: it is not used (delete it, and it is made anew)"
            )
            return None
    say(f"{count * store.tokens_per_row:,} tokens need no language model: the feature index has read them")
    return store
