"""The most boosted tokens of every feature, computed a few features at a time and kept on disk."""

from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from saetui.atomic import write_atomic
from saetui.features.encoder import Encoder
from saetui.lm.base import LanguageModel

BOOSTED = 20
"""Tokens kept of every feature."""
_STEP_FLOPS = 2e9
"""Of one step: some tens of milliseconds on one core, which is what a query may have to wait."""


class LensTable:
    """Logit lens (``saetui.features.lens``) of every feature of ``encoder``: ids ``tokens [d_sae, k]`` of its
    most boosted tokens, the first one first, and their ``logits [d_sae, k]``, for the features before
    ``done``. Kept in ``folder`` where one is given. One thread advances, any may read.
    """

    def __init__(self, lm: LanguageModel, encoder: Encoder, folder: Path | None = None) -> None:
        self._W_U, self._W_dec = lm.W_U, encoder.W_dec
        self._file = folder / "lens.safetensors" if folder else None
        self.readable = self._W_dec.shape[1] == self._W_U.shape[0]
        """Whether the hook point writes to the residual stream: else there is no logit lens."""
        self._step = max(1, int(_STEP_FLOPS // (2 * self._W_U.numel())))
        self.k = min(BOOSTED, self._W_U.shape[1])
        self.done = 0
        self.tokens = torch.zeros(encoder.d_sae, self.k, dtype=torch.int32)
        self.logits = torch.zeros(encoder.d_sae, self.k)
        self._load()

    @property
    def complete(self) -> bool:
        return not self.readable or self.done == len(self.tokens)

    @torch.no_grad()
    def advance(self) -> None:
        """Reads some features more; the last step keeps the table on disk, if that takes it."""
        if self.complete:
            return
        stop = min(self.done + self._step, len(self.tokens))
        logits = self._W_dec[self.done : stop].to(self._W_U) @ self._W_U
        best = (logits - logits.mean(-1, keepdim=True)).topk(self.k)
        self.tokens[self.done : stop] = best.indices.int().cpu()
        self.logits[self.done : stop] = best.values.float().cpu()
        self.done = stop
        if self.complete and self._file:
            with suppress(OSError):  # then it is computed again
                write_atomic(self._file, save({"tokens": self.tokens, "logits": self.logits}))

    def _load(self) -> None:
        if self._file is None or not self._file.exists():
            return
        try:
            with safe_open(self._file, framework="pt") as file:
                tokens: Tensor = file.get_tensor("tokens")
                logits: Tensor = file.get_tensor("logits")
        except (OSError, SafetensorError):
            return  # a cache: what cannot be read is computed again
        if tokens.shape == self.tokens.shape == logits.shape:
            self.tokens, self.logits, self.done = tokens, logits, len(tokens)
