"""A one-layer model read at its MLP's output, without hooks: nothing is computed that is not asked for."""

from collections.abc import Callable

import torch
from torch import Tensor

from saetui.corpus.tokenizer import Tokenizer
from saetui.lm.base import AtHook
from saetui.lm.loss import check_tokens, next_token_losses
from saetui.lm.one_layer import OneLayer
from saetui.weights import fingerprint

HOOK_NAME = "blocks.0.hook_mlp_out"
"""The hook point that the direct forward reads; every other one goes through the bridge."""

_TOKENS_AT_ONCE = {"cpu": 4096, "cuda": 65536}
"""Tokens in one forward: what stays in a CPU's cache, and what fills a GPU."""


class DirectModel:
    """``LanguageModel`` over the direct forward of ``OneLayer``, whose weights must already be in the
    form in which they are read (``one_layer.compatibility_form``).

    Whoever loads weights has held them against TransformerLens' own hook (``saetui.lm.checked``).
    """

    def __init__(
        self, model: OneLayer, tokenizer: Tokenizer, name: str, device: torch.device | str = "cpu"
    ) -> None:
        self.name = name
        self.hook_name = HOOK_NAME
        self.device = torch.device(device)
        self.tokenizer = tokenizer
        self.model = model.to(self.device)
        self.fingerprint = fingerprint(self.model.weights.values())
        self.d_in = model.config.d_model
        self.n_ctx = model.config.n_ctx
        self.d_vocab = model.config.d_vocab

    @property
    def W_U(self) -> Tensor:
        """The unembedding ``[d_model, d_vocab]``."""
        return self.model.weights["W_U"]

    @torch.no_grad()
    def activations(self, tokens: Tensor) -> Tensor:
        """Activations ``[rows, seq, d_in]`` of ``tokens [rows, seq]``; UsageError for rows that are too
        long and for tokens outside the vocabulary."""
        return self._by_rows(self.model.mlp_out, self._checked(tokens))

    @torch.no_grad()
    def at_hook(self, tokens: Tensor) -> AtHook:
        """As ``LanguageModel.at_hook``; holds as many numbers again as there are activations."""
        tokens = self._checked(tokens)
        resid_mid = self._by_rows(self.model.resid_mid, tokens)

        @torch.no_grad()
        def losses(activations: Tensor) -> Tensor:
            resid_post = resid_mid + activations
            return next_token_losses(
                tokens, self.d_vocab, lambda part: self.model.unembed(resid_post[part]), self.device
            )

        return AtHook(self.model.mlp(resid_mid), losses)

    def _checked(self, tokens: Tensor) -> Tensor:
        check_tokens(tokens, self.n_ctx, self.d_vocab)
        return tokens.to(self.device).long()

    def _by_rows(self, forward: Callable[[Tensor], Tensor], tokens: Tensor) -> Tensor:
        rows, seq = tokens.shape
        out = torch.empty(rows, seq, self.d_in, device=self.device)
        step = max(1, _TOKENS_AT_ONCE.get(self.device.type, 4096) // max(1, seq))
        for start in range(0, rows, step):
            out[start : start + step] = forward(tokens[start : start + step])
        return out
