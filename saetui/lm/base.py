"""What saetui asks of a language model: activations at one hook point, and losses with them replaced."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from saetui.corpus.tokenizer import Tokenizer


@dataclass(frozen=True)
class AtHook:
    """A forward over tokens ``[rows, seq]`` that stands at the hook point: it goes on from there as often as
    it is asked to, each time with other activations, and what came before is not computed again."""

    activations: Tensor
    """``[rows, seq, d_in]``, fp32: the model's own."""
    losses: Callable[[Tensor], Tensor]
    """Next-token cross-entropy ``[rows, seq - 1]`` in nats with these activations, shaped as the model's own,
    at the hook point."""


class LanguageModel(Protocol):
    """A language model read at one hook point."""

    name: str
    """As the person gave it: ``gelu-1l``, a hub name, a folder, an embedded world's name."""
    hook_name: str
    """TransformerLens name of the hook point, e.g. ``blocks.0.hook_mlp_out``."""
    fingerprint: str
    """Equal fingerprints promise equal weights, folded and centred alike; caches are keyed by it."""
    d_in: int
    """Width of the activations at the hook point."""
    n_ctx: int
    """Longest row that the model takes."""
    tokenizer: Tokenizer
    device: torch.device

    @property
    def W_U(self) -> Tensor:
        """The unembedding ``[d_model, d_vocab]``, fp32, on the model's device; LN folded and centred
        over the vocabulary wherever the model allows it (the logit lens reads it as it is)."""
        ...

    def activations(self, tokens: Tensor) -> Tensor:
        """Activations ``[rows, seq, d_in]``, fp32, of integer tokens ``[rows, seq]``; the forward
        stops at the hook point."""
        ...

    def at_hook(self, tokens: Tensor) -> AtHook:
        """The forward of integer tokens ``[rows, seq]`` up to the hook point, to go on from there."""
        ...
