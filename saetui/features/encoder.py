"""What reading a feature asks of a dictionary: a narrow SAE, a wide one and a graft are looked at alike."""

from hashlib import sha256
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from saetui.errors import UsageError


class Encoder(Protocol):
    """Turns activations into feature activations."""

    @property
    def d_sae(self) -> int:
        """Number of features."""
        ...

    @property
    def W_dec(self) -> Tensor:
        """Decoder rows ``[d_sae, d_in]``."""
        ...

    def encode(self, x: Tensor) -> Tensor:
        """Feature activations ``[..., d_sae]`` of activations ``[..., d_in]``."""
        ...


class Dictionary(Encoder, Protocol):
    """An encoder that also reconstructs: an SAE or a graft."""

    def decode(self, f: Tensor) -> Tensor:
        """Reconstructions ``[..., d_in]`` of feature activations ``[..., d_sae]``."""
        ...


@runtime_checkable
class _ReadsOneFeature(Protocol):
    def encode_feature(self, x: Tensor, feature: int) -> Tensor: ...


def encode_feature(encoder: Encoder, x: Tensor, feature: int) -> Tensor:
    """Activations ``[...]`` of one feature, by the encoder's own shortcut where it has one."""
    if isinstance(encoder, _ReadsOneFeature):
        return encoder.encode_feature(x, feature)
    return encoder.encode(x)[..., feature]


def check_feature(encoder: Encoder, feature: int, name: str) -> None:
    """UsageError for an index that is out of range, with the range."""
    if not 0 <= feature < encoder.d_sae:
        raise UsageError(f"feature {feature} is out of range: {name} has features 0 to {encoder.d_sae - 1}")


def encoder_hash(encoder: Encoder) -> str:
    """Hexadecimal digest of every tensor and number of the encoder: caches are keyed by it."""
    digest = sha256(type(encoder).__name__.encode())
    for name, value in sorted(vars(encoder).items()):
        if isinstance(value, Tensor):
            digest.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
            digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        elif isinstance(value, (str, int, float)) or value is None:
            digest.update(f"{name}={value}".encode())
        elif hasattr(value, "W_dec"):  # a graft holds its narrow SAE
            digest.update(encoder_hash(value).encode())
    return digest.hexdigest()[:16]
