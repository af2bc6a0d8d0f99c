"""Above what a study's targets count as firing, where neither its file nor the embedded world says."""

from collections.abc import Callable
from contextlib import closing
from functools import cache

import torch

from saetui.features.row_store import RowStore
from saetui.features.top_tokens import BATCH_TOKENS
from saetui.loading import load_lm, open_rows
from saetui.sae.sae import SAE
from saetui.setup import Setup
from saetui.split.threshold import threshold_of

TOKENS = 65_536
"""The first of the training rows, and no more where more is indexed: a study that goes on finds the same."""


def measured_thresholds(setup: Setup, narrow: SAE) -> Callable[[int], float]:
    """The threshold of any target: a fifth of its strongest activation. Reads once, when first asked."""

    @cache
    def strongest() -> list[float]:
        lm = load_lm(setup)
        return strongest_activations(
            narrow.to(lm.device), RowStore(lm, open_rows(setup, lm.tokenizer, "train"))
        )

    return lambda target: threshold_of(strongest()[target])


@torch.inference_mode()
def strongest_activations(narrow: SAE, store: RowStore) -> list[float]:
    """Of every feature, over the first ``TOKENS`` tokens of the store's rows. Closes the store."""
    highest = torch.zeros(narrow.d_sae, device=store.lm.device)
    step = max(1, BATCH_TOKENS // store.seq_len)
    with closing(store):
        for start in range(0, max(1, TOKENS // store.tokens_per_row), step):
            x = store.read(start, step)[:, store.first :]
            if not len(x):
                break
            highest = torch.maximum(highest, narrow.encode(x).flatten(0, 1).amax(0))
    return highest.tolist()
