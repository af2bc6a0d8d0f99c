"""Tensors of an SAE, checked against each other and against what their configuration declares."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from saetui.errors import UserError
from saetui.sae.sae import SAE, SAEMetadata

DTYPES = {
    "float32": torch.float32, "fp32": torch.float32, "torch.float32": torch.float32,
    "float16": torch.float16, "fp16": torch.float16, "torch.float16": torch.float16,
    "bfloat16": torch.bfloat16, "bf16": torch.bfloat16, "torch.bfloat16": torch.bfloat16,
    "float64": torch.float64, "torch.float64": torch.float64,
}  # fmt: skip
"""What configurations call the dtypes of weights."""

PLAIN = {"W_enc": ("d_in", "d_sae"), "b_enc": ("d_sae",), "W_dec": ("d_sae", "d_in"), "b_dec": ("d_in",)}
"""Axes of an SAE's tensors in our own convention."""


def take(
    tensors: dict[str, Any], shapes: dict[str, tuple[str, ...]], path: Path, declared: dict[str, Any]
) -> dict[str, Tensor]:
    """The named tensors as fp32, checked against each other and against what the configuration declares.

    ``shapes`` gives the axes of every tensor by name, e.g. ``{"W_enc": ("d_in", "d_sae")}``; an axis has
    one length wherever it occurs. ``declared`` gives the lengths and the ``dtype`` that the configuration
    says, as far as it does (None: it does not). UserError, naming both sides, for a tensor that is
    missing, not of floating point, not finite, or at odds with another or with the configuration.
    """
    said = {key: value for key, value in declared.items() if value is not None}
    dtype: tuple[torch.dtype, str] | None = None
    if (name := said.pop("dtype", None)) is not None:
        if not isinstance(name, str) or name not in DTYPES:
            raise UserError(f"{path}: the configuration's dtype {name!r} is unknown")
        dtype = (DTYPES[name], "its configuration")
    # Where each length was first met, so that a contradiction can name both sides.
    lengths: dict[str, tuple[int, str]] = {
        axis: (length, "its configuration") for axis, length in said.items()
    }
    found: dict[str, Tensor] = {}
    for name, axes in shapes.items():
        tensor = tensors.get(name)
        if not isinstance(tensor, Tensor):
            raise UserError(
                f"{path} has no tensor {name}; it holds {', '.join(map(str, tensors)) or 'nothing'}"
            )
        if tensor.ndim == len(axes) + 1 and tensor.shape[0] == 1:
            tensor = tensor[0]  # code that trains several SAEs at once leaves an instance axis
        if tensor.ndim != len(axes):
            raise UserError(
                f"{path}: {name} has shape {list(tensor.shape)}, but [{', '.join(axes)}] is needed"
            )
        if not tensor.is_floating_point():
            raise UserError(f"{path}: {name} is {_name(tensor.dtype)}, but floating point is needed")
        for axis, length in zip(axes, tensor.shape, strict=True):
            expected, where = lengths.setdefault(axis, (length, name))
            if length != expected:
                raise UserError(f"{path}: {axis} is {length} in {name} but {expected} in {where}")
        expected_dtype, where = dtype = dtype or (tensor.dtype, name)
        if tensor.dtype != expected_dtype:
            raise UserError(
                f"{path}: {name} is {_name(tensor.dtype)} but {where} says {_name(expected_dtype)}"
            )
        if not torch.isfinite(tensor).all():
            raise UserError(f"{path}: {name} holds NaN or infinity")
        found[name] = tensor.float().contiguous()
    return found


def plain(found: dict[str, Tensor], metadata: SAEMetadata) -> SAE:
    """The ReLU SAE of tensors that bear our own names, with their ``threshold`` if there is one."""
    W_enc, b_enc, W_dec, b_dec = (found[name] for name in PLAIN)
    return SAE(W_enc, b_enc, W_dec, b_dec, threshold=found.get("threshold"), metadata=metadata)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
