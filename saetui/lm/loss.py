"""Next-token losses without ever holding the logits of more than a few rows."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from saetui.errors import UsageError

LOGITS_AT_ONCE = 2**26
"""Logits held at a time (256 MB in fp32): with 50 k tokens in a vocabulary they dwarf everything else."""


def next_token_losses(
    tokens: Tensor, d_vocab: int, logits: Callable[[slice], Tensor], device: torch.device
) -> Tensor:
    """Cross-entropy ``[rows, seq - 1]`` in nats of ``tokens [rows, seq]``: position ``t`` predicts ``t + 1``.

    ``logits(part)`` gives the logits ``[part, seq, d_vocab]`` of a slice of the rows.
    """
    rows, seq = tokens.shape
    losses = torch.empty(rows, seq - 1, device=device)
    step = max(1, LOGITS_AT_ONCE // (seq * d_vocab))
    for start in range(0, rows, step):
        part = slice(start, start + step)
        predicted, actual = logits(part)[:, :-1].float(), tokens[part, 1:]
        # One row of logits a token: with the vocabulary in the second of three axes, which is what
        # cross_entropy takes too, it takes five times as long on a CPU, and sums with ten times the error.
        found = F.cross_entropy(predicted.flatten(0, 1), actual.flatten(), reduction="none")
        losses[part] = found.view(actual.shape)
    return losses


def check_tokens(tokens: Tensor, n_ctx: int, d_vocab: int) -> None:
    """UsageError for what would otherwise be an index error deep in the model (on a GPU: a dead process)."""
    if tokens.ndim != 2:
        raise UsageError(f"tokens have shape {list(tokens.shape)}, but [rows, seq] is needed")
    if tokens.shape[1] > n_ctx:
        raise UsageError(f"a row has {tokens.shape[1]} tokens, but the model takes at most {n_ctx}")
    if tokens.numel() and not 0 <= int(tokens.min()) <= int(tokens.max()) < d_vocab:
        raise UsageError(
            f"token {int(tokens.max())} is not in the model's vocabulary of {d_vocab}: "
            "the data was tokenised for another model"
        )
