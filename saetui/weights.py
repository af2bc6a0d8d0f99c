"""Reading weights files that others wrote: nothing is ever executed, and every damage is one line."""

import json
import pickle
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from saetui.errors import UserError


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. UserError where the file is missing, torn or something else."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{path} is damaged: not valid JSON ({error}); copy it again") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} does not hold a configuration: a JSON object is needed")
    return values


def read_pickled_tensors(path: Path) -> dict[str, Any]:
    """A state dict written by ``torch.save``, on the CPU. Only tensors and plain values are unpickled:
    a file that needs code to be run is refused with a UserError, and so is a torn one."""
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except pickle.UnpicklingError:
        raise UserError(
            f"{path} is damaged, or holds objects beside tensors: copy it again, or ask for it as "
            "safetensors (saetui never runs code from a weights file)"
        ) from None
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError, AttributeError):
        # What torch raises for a torn archive depends on where it is torn.
        raise UserError(f"{path} is damaged: not a file that torch can read; copy it again") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} holds a {type(values).__name__}, not the weights of an SAE")
    return values


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, on the CPU. UserError where it is missing or torn."""
    try:
        return load_file(path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except SafetensorError as error:
        raise UserError(f"{path} is damaged: {error}; copy it again") from None


def fingerprint(weights: Iterable[Tensor]) -> str:
    """Sixteen hex digits of a sample of every tensor: no training, folding or centring leaves them as they
    were, and of a large model only a little is read."""
    digest = sha256()
    for weight in weights:
        flat = weight.detach().flatten()
        digest.update(repr(tuple(weight.shape)).encode())
        digest.update(flat[:: max(1, len(flat) // 1024)].cpu().float().numpy().tobytes())
    return digest.hexdigest()[:16]
