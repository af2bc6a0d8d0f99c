"""Whether the direct forward computes what TransformerLens' own hook sees, for given weights.

The comparison imports TransformerLens, which takes seconds. So it is made once for given weights, and its
record kept: beside weights that ship, by ``python -m saetui.worlds``, and in the cache folder for others. A
record is that of the weights whose SHA-256 it holds; of any other weights it says nothing.
"""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from saetui.atomic import write_atomic
from saetui.errors import UserError
from saetui.lm import bridge as bridges
from saetui.lm.direct import HOOK_NAME
from saetui.lm.one_layer import OneLayer
from saetui.settings import cache_root

RECORD = "transformer_lens.json"
AGREE = 1e-5
"""Largest difference from TransformerLens that rounding explains."""


@dataclass(frozen=True)
class Comparison:
    """A record. ``difference``: the largest at ``hook_name``, relative to the largest activation there."""

    transformer_lens: str
    hook_name: str
    difference: float
    sha256: str


def difference(name: str, model: OneLayer, bridge: Any) -> float:
    """Of ``model``'s activations at the hook point from those of TransformerLens' ``bridge``, on a few
    tokens, relative to the largest. UserError where rounding does not explain it."""
    config = model.config
    tokens = torch.arange(4 * 16).reshape(4, 16)[:, : config.n_ctx] * 997 % config.d_vocab
    theirs = bridges.activations_at(bridge, HOOK_NAME, tokens)
    found = float((model.mlp_out(tokens) - theirs).abs().max() / theirs.abs().max())
    if not found < AGREE:
        raise UserError(
            f"{name}: at {HOOK_NAME} our activations and those of TransformerLens "
            f"{version('transformer_lens')} differ by {found:.1e} of the largest "
            f"(at most {AGREE:.0e} is allowed): report this"
        )
    return found


def record(folder: Path, name: str) -> Comparison:
    """Compares the weights in ``folder``, as ``OneLayer.save`` wrote them, and writes the record beside them.
    UserError as ``difference``."""
    comparison = _compared(OneLayer.load(folder), name, _digest(folder))
    _write(folder / RECORD, comparison)
    return comparison


def require(folder: Path, model: OneLayer, name: str) -> None:
    """UserError unless ``model``, loaded from ``folder``, has been compared, or now is and agrees."""
    digest = _digest(folder)
    kept = cache_root() / "lm-checked" / f"{digest}.json"
    if digest in (_recorded(folder / RECORD), _recorded(kept)):
        return
    comparison = _compared(model, name, digest)
    with suppress(OSError):  # then it is made again next time
        kept.parent.mkdir(parents=True, exist_ok=True)
        _write(kept, comparison)


def _compared(model: OneLayer, name: str, digest: str) -> Comparison:
    bridge = bridges.boot_one_layer(model, "cpu", process=False)
    return Comparison(version("transformer_lens"), HOOK_NAME, difference(name, model, bridge), digest)


def _digest(folder: Path) -> str:
    return sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def _recorded(path: Path) -> str | None:
    """The SHA-256 of the weights that a record is of; None where it is none."""
    with suppress(OSError, ValueError, TypeError):
        return Comparison(**json.loads(path.read_text())).sha256
    return None


def _write(path: Path, comparison: Comparison) -> None:
    """Writes a record."""
    write_atomic(path, (json.dumps(asdict(comparison), indent=1) + "\n").encode())
