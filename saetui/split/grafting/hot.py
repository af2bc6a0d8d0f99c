"""The tokens on which a target fires: what a graft is trained on."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from saetui.corpus.rows import TokenRows
from saetui.errors import UserError
from saetui.features.row_store import RowStore
from saetui.lm.base import LanguageModel
from saetui.sae.sae import SAE
from saetui.split.activations.data import nothing_fires
from saetui.split.activations.filtered import activations
from saetui.split.training.loss import check_target


@dataclass(frozen=True)
class HotTokens:
    """Activations ``x [n, d_in]`` of tokens on which the target fires above the threshold, in the corpus's
    order; ``tokens_read`` were read for them (BOS not counted), ``tokens_computed`` of these by the language
    model and not from a store, in ``seconds``, or ``cpu_seconds`` of this process."""

    x: Tensor
    tokens_read: int
    seconds: float
    cpu_seconds: float = 0.0
    tokens_computed: int = 0


ENOUGH_HOT = 4096
"""Hot tokens for which a graft waits while the corpus is being read. With fewer, children are noise; more
are taken where they are at hand."""


@torch.no_grad()
def gather_hot(
    lm: LanguageModel,
    rows: TokenRows,
    narrow: SAE,
    target: int,
    threshold: float,
    limit: int,
    scan_limit: int,
    on_progress: Callable[[int, int], None] = lambda found, read: None,
    should_stop: Callable[[], bool] = lambda: False,
    store: RowStore | None = None,
) -> HotTokens:
    """Reads ``rows`` from the first until ``limit`` hot tokens are found, ``scan_limit`` tokens are read or
    the corpus ends; ``should_stop`` ends it early, with what there is. From the ``store`` of these rows, what
    it holds is read as far, and the language model goes on only until there are ``ENOUGH_HOT``.

    UserError where none was found, UsageError for a target out of range.
    """
    check_target(narrow, target)
    start, start_cpu = time.perf_counter(), time.process_time()
    rows_per_forward = 32 if lm.device.type == "cpu" else 512
    chunks: list[Tensor] = []
    row, read, computed, found, strongest = 0, 0, 0, 0, 0.0
    while read < scan_limit and not should_stop():
        if found >= (limit if store is None or row < store.activation_rows else min(limit, ENOUGH_HOT)):
            break
        stored = store.activation_rows if store else 0
        if store:
            x = store.read(row, rows_per_forward)[:, store.first :]
        elif len(tokens := rows.read(row, rows_per_forward)):
            x = activations(lm, tokens, rows.bos)
        else:
            break
        if len(x) == 0:
            break
        computed += (len(x) - min(max(stored - row, 0), len(x))) * x.shape[1]
        row += len(x)
        x = x.flatten(0, 1)
        firing = narrow.encode_feature(x, target)
        chunks.append(x[firing > threshold])
        strongest = max(strongest, float(firing.max()))
        read += len(x)
        found += len(chunks[-1])
        on_progress(found, read)
    if found == 0:
        raise UserError(nothing_fires(rows.name, target, threshold, read, strongest))
    return HotTokens(
        torch.cat(chunks)[:limit],
        read,
        time.perf_counter() - start,
        time.process_time() - start_cpu,
        computed,
    )
