"""What the feature index has stored of a run's rows: activations that the run need not compute.

The index stores activations themselves, not only where features fire, so that a run filters them by whatever
target and threshold, exactly. Where its positions would do in their stead (rows known to be cold are not run
through the language model) they buy nothing: they are kept for about as many tokens as activations are.
"""

from collections.abc import Callable

import torch

from saetui.corpus.rows import TokenRows
from saetui.features.row_store import FP16_MAX, RowStore
from saetui.lm.base import LanguageModel
from saetui.split.activations.filtered import activations

_TRIED = 4
"""Rows at each end of the store that are computed again."""


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
        try:
            stored = store.rounded(start, start + len(tokens))
        except OSError:  # removed just now, to make room
            return None
        if not torch.equal(stored, computed):
            say(
                f"what the feature index has stored in {store.folder} is not what the language model "
                "computes here: it is not used (delete it, and it is made anew)"
            )
            return None
    say(f"{count * store.tokens_per_row:,} tokens need no language model: the feature index has read them")
    return store
