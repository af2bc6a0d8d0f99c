"""Neel Nanda's files: ``{version}.pt``, a state dict, beside ``{version}_cfg.json``.

Written by the trainer of neelnanda-io/1L-Sparse-Autoencoder and its descendants (wenxus/sae-feature-splitting
among them): ``W_enc [d_in, d_sae]``, ``W_dec [d_sae, d_in]``, ``b_enc``, ``b_dec``, and
``relu((x - b_dec) @ W_enc + b_enc)``, which is our own convention.
"""

from pathlib import Path
from typing import Any

from saetui.errors import UserError
from saetui.sae.formats import files
from saetui.sae.sae import SAE, SAEMetadata
from saetui.weights import read_json, read_pickled_tensors

_SITES = {
    "mlp_out": "hook_mlp_out",
    "attn_out": "hook_attn_out",
    "resid_pre": "hook_resid_pre",
    "resid_mid": "hook_resid_mid",
    "resid_post": "hook_resid_post",
    "post": "mlp.hook_post",
    "z": "attn.hook_z",
}
"""Hook point within its block by the configuration's ``site``."""


def find(path: Path) -> Path | None:
    """The weights file where ``path`` is one, or a folder with exactly one; None where it is neither.

    UserError for a folder with several: one must be named.
    """
    if path.is_file():
        return path if path.suffix == ".pt" else None
    weights = sorted(file for file in path.glob("*.pt") if _config_path(file).is_file())
    if len(weights) > 1:
        names = ", ".join(file.name for file in weights)
        raise UserError(f"{path} holds several SAEs: name one of {names}")
    return weights[0] if weights else None


def read(weights: Path) -> SAE:
    """The SAE in a ``.pt`` file; the configuration beside it is optional and checked where it is there."""
    config = read_json(_config_path(weights)) if _config_path(weights).is_file() else {}
    tensors = files.take(
        read_pickled_tensors(weights),
        files.PLAIN,
        weights,
        {
            "d_in": config.get("act_size"),
            "d_sae": config.get("dict_size"),
            "dtype": config.get("enc_dtype"),
        },
    )
    metadata = SAEMetadata(
        name=str(config.get("name") or weights.stem),
        model_name=config.get("model_name", ""),
        hook_name=_hook_name(config, d_in=tensors["b_dec"].shape[0]),
        context_size=config.get("seq_len"),
        prepend_bos=True,  # the trainer writes BOS over the first token of every row
        extra={
            # HookedTransformer.from_pretrained, which the trainer called, processed weights by default.
            "model_from_pretrained_kwargs": {"fold_ln": True, "center_writing_weights": True},
            "source_format": "neel",
            "source_cfg": config,
        },
    )
    return files.plain(tensors, metadata)


def _config_path(weights: Path) -> Path:
    return weights.with_name(f"{weights.stem}_cfg.json")


def _hook_name(config: dict[str, Any], d_in: int) -> str:
    """``act_name``, or what ``site`` and ``layer`` mean; the oldest files say only ``d_mlp``."""
    if name := config.get("act_name"):
        return name
    if (site := config.get("site")) in _SITES:
        return f"blocks.{config.get('layer', 0)}.{_SITES[site]}"
    if config.get("d_mlp") == d_in:
        return f"blocks.{config.get('layer', 0)}.mlp.hook_post"
    return ""
