"""The sparse autoencoder, in one convention; every file format is converted to it when read."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

ActivationFunction = Literal["relu", "topk", "jumprelu"]


@dataclass(frozen=True)
class SAEMetadata:
    """Where an SAE came from and what it reads; empty where its file did not say."""

    name: str = ""
    model_name: str = ""
    hook_name: str = ""
    dataset: str = ""
    context_size: int | None = None
    prepend_bos: bool | None = None
    extra: dict[str, Any] = field(default_factory=dict[str, Any])
    """Whatever else the file said, kept so that writing it back loses nothing."""


@dataclass(frozen=True)
class SAE:
    """``f(x) = act((x - b_dec) @ W_enc + b_enc)``, ``x̂ = f @ W_dec + b_dec``.

    Shapes: ``W_enc [d_in, d_sae]``, ``b_enc [d_sae]``, ``W_dec [d_sae, d_in]``, ``b_dec [d_in]``.
    ``act`` is ReLU; TopK (the ``k`` largest of ReLU per token); or JumpReLU (kept where it exceeds
    ``threshold [d_sae]``). A *feature activation* is always after ``b_enc`` and ``act``.
    Folding of input scales and of decoder norms into the weights is the file formats' work.
    """

    W_enc: Tensor
    b_enc: Tensor
    W_dec: Tensor
    b_dec: Tensor
    activation: ActivationFunction = "relu"
    k: int | None = None
    threshold: Tensor | None = None
    metadata: SAEMetadata = SAEMetadata()

    @property
    def d_in(self) -> int:
        return self.W_enc.shape[0]

    @property
    def d_sae(self) -> int:
        return self.W_enc.shape[1]

    @property
    def device(self) -> torch.device:
        return self.W_enc.device

    def encode(self, x: Tensor) -> Tensor:
        """Feature activations ``[..., d_sae]`` of activations ``[..., d_in]``."""
        # b_dec folded into the bias: the same function with one pass over x less.
        pre = torch.addmm(self.b_enc - self.b_dec @ self.W_enc, x.reshape(-1, self.d_in), self.W_enc)
        return self._act(pre).reshape(*x.shape[:-1], self.d_sae)

    def encode_feature(self, x: Tensor, feature: int) -> Tensor:
        """Activations ``[...]`` of one feature alone: one dot product per token (not for TopK,
        whose features compete: the full encoding is computed there)."""
        if self.activation == "topk":
            return self.encode(x)[..., feature]
        pre = x @ self.W_enc[:, feature] + (self.b_enc[feature] - self.b_dec @ self.W_enc[:, feature])
        f = torch.relu(pre)
        if self.threshold is not None:
            f = f * (pre > self.threshold[feature])
        return f

    def decode(self, f: Tensor) -> Tensor:
        """Reconstructions ``[..., d_in]`` of feature activations ``[..., d_sae]``."""
        return f @ self.W_dec + self.b_dec

    def to(self, device: str | torch.device | None = None, dtype: torch.dtype | None = None) -> "SAE":
        """A copy on another device or in another dtype."""
        moved = {
            name: value.to(device=device, dtype=dtype)
            for name in ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")
            if (value := getattr(self, name)) is not None
        }
        return replace(self, **moved)

    def _act(self, pre: Tensor) -> Tensor:
        f = torch.relu(pre)
        if self.activation == "jumprelu":
            assert self.threshold is not None
            return f * (pre > self.threshold)
        if self.activation == "topk":
            assert self.k is not None
            values, indices = f.topk(min(self.k, self.d_sae), dim=-1)
            return torch.zeros_like(f).scatter_(-1, indices, values)
        return f
