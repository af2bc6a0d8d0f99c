"""A language model that does not read its held-out rows twice: what it read of them is on disk.

Verdicts and split reports go over the same first rows of a corpus for every dictionary; the language model's
part of that is the same each time, and most of the work.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from saetui.corpus.rows import TokenRows
from saetui.features.row_store import RowStore
from saetui.features.top_tokens import read_tokens
from saetui.lm.base import AtHook, LanguageModel


@contextmanager
def reading_stored(lm: LanguageModel, rows: TokenRows, tokens: int) -> Iterator[LanguageModel]:
    """``lm`` to be used on the first ``tokens`` tokens of ``rows``, any of them, as often as needed.

    Their activations are rounded to fp16 whether they come from the disk or not, so that nothing depends on
    which it was. Where nothing can be stored it is ``lm`` itself.
    """
    store = None
    with suppress(OSError):
        store = RowStore(lm, rows)
    if store is None:
        yield lm
        return
    with closing(store):
        yield _StoredLM(lm, store, read_tokens(rows, tokens))


class _StoredLM:
    """``lm``, but for ``activations`` of whole rows that ``store`` begins with."""

    def __init__(self, lm: LanguageModel, store: RowStore, tokens: NDArray[np.integer]) -> None:
        self._lm, self._store = lm, store
        self._number = {row.tobytes(): i for i, row in enumerate(tokens.astype(np.int64))}
        self.name, self.hook_name, self.fingerprint = lm.name, lm.hook_name, lm.fingerprint
        self.d_in, self.n_ctx, self.tokenizer, self.device = lm.d_in, lm.n_ctx, lm.tokenizer, lm.device

    @property
    def W_U(self) -> Tensor:
        return self._lm.W_U

    def activations(self, tokens: Tensor) -> Tensor:
        numbers = [self._number.get(row.tobytes()) for row in tokens.cpu().numpy().astype(np.int64)]
        rows = [number for number in numbers if number is not None]
        if not rows or len(rows) < len(numbers):
            return self._lm.activations(tokens)
        first, last = min(rows), max(rows)
        if rows == list(range(first, last + 1)):
            return self._store.read(first, len(rows))
        seq_len = self._store.seq_len
        return torch.stack(self._store.windows([(row, 0, seq_len) for row in rows]))

    def at_hook(self, tokens: Tensor) -> AtHook:
        return self._lm.at_hook(tokens)
