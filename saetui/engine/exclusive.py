"""A language model that several threads may ask."""

import threading

import torch
from torch import Tensor

from saetui.corpus.tokenizer import Tokenizer
from saetui.lm.base import AtHook, LanguageModel


class ExclusiveModel:
    """One forward at a time: models that are read through hooks are not made for two."""

    def __init__(self, lm: LanguageModel) -> None:
        self._lm, self._lock = lm, threading.Lock()
        self.name: str = lm.name
        self.hook_name: str = lm.hook_name
        self.fingerprint: str = lm.fingerprint
        self.d_in: int = lm.d_in
        self.n_ctx: int = lm.n_ctx
        self.tokenizer: Tokenizer = lm.tokenizer
        self.device: torch.device = lm.device
        self._W_U = lm.W_U

    @property
    def W_U(self) -> Tensor:
        return self._W_U

    def activations(self, tokens: Tensor) -> Tensor:
        with self._lock:
            return self._lm.activations(tokens)

    def at_hook(self, tokens: Tensor) -> AtHook:
        with self._lock:
            held = self._lm.at_hook(tokens)

        def losses(activations: Tensor) -> Tensor:
            with self._lock:
                return held.losses(activations)

        return AtHook(held.activations, losses)
