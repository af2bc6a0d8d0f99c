"""SAELens folders: ``cfg.json`` and ``sae_weights.safetensors``. The format that saetui writes.

Read: architectures standard, topk and jumprelu, of SAELens 6 and, with their flat ``cfg.json``, of
earlier versions. What SAELens leaves to run time is folded into the weights, or refused where it is not
a linear map.
"""

import json
import math
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors.torch import save_file
from torch import Tensor

from saetui.errors import UsageError, UserError
from saetui.sae.fold import fold_input_scale, fold_uncentred_input, fold_W_dec_norm_of_rescaled_topk
from saetui.sae.formats import files
from saetui.sae.sae import SAE, ActivationFunction, SAEMetadata
from saetui.weights import read_json, read_safetensors

CONFIG, WEIGHTS, SPARSITY, SCALER = (
    "cfg.json",
    "sae_weights.safetensors",
    "sparsity.safetensors",
    "activation_scaler.json",
)
FORMAT_VERSION = "6.54.12"
"""The SAELens version whose ``cfg.json`` we write; readers take anything below 6 for the flat layout."""

_ARCHITECTURES: dict[str, ActivationFunction] = {"standard": "relu", "topk": "topk", "jumprelu": "jumprelu"}
_OUR_METADATA = ("model_name", "hook_name", "dataset_path", "context_size", "prepend_bos", "name")


def find(path: Path) -> Path | None:
    """The folder of an SAE, from itself or from one of its two files; None where it is none."""
    folder = path.parent if path.is_file() and path.name in (CONFIG, WEIGHTS) else path
    return folder if (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file() else None


def read(folder: Path) -> SAE:
    """The SAE in a folder. UserError for an architecture or an input normalisation that is not supported."""
    path = folder / CONFIG
    config = _modern(read_json(path))
    architecture = config.get("architecture", "standard")
    if architecture not in _ARCHITECTURES:
        raise UserError(
            f"{path}: architecture {architecture!r} is not supported: {', '.join(_ARCHITECTURES)} are"
        )
    shapes = {**files.PLAIN, "threshold": ("d_sae",)} if architecture == "jumprelu" else files.PLAIN
    tensors = read_safetensors(folder / WEIGHTS)
    _refuse_finetuned(config, tensors, path)
    declared = {key: config.get(key) for key in ("d_in", "d_sae", "dtype")}
    found = files.take(tensors, shapes, folder / WEIGHTS, declared)
    sae = replace(
        files.plain(found, _metadata(config, folder)),
        activation=_ARCHITECTURES[architecture],
        k=_k(config, path) if architecture == "topk" else None,
    )
    if not config.get("apply_b_dec_to_input", True):
        sae = fold_uncentred_input(sae)
    if config.get("rescale_acts_by_decoder_norm") and architecture == "topk":
        sae = fold_W_dec_norm_of_rescaled_topk(sae)
    return _fold_normalisation(sae, config, folder)


def read_density(folder: Path) -> Tensor | None:
    """Share of tokens on which each feature fires, ``[d_sae]``; None without ``sparsity.safetensors``."""
    if not (folder / SPARSITY).is_file():
        return None
    tensors = read_safetensors(folder / SPARSITY)
    if "sparsity" not in tensors:
        raise UserError(f"{folder / SPARSITY} has no tensor sparsity")
    return (10 ** tensors["sparsity"].float() - 1e-10).clamp(min=0)


def save_saelens(sae: SAE, folder: str | Path, density: Tensor | None = None) -> None:
    """Write ``sae`` as a folder that SAELens 6 opens; it appears whole or not at all.

    ``density [d_sae]`` is kept as SAELens keeps it, the log10 of the share of tokens. An SAE already in
    the folder is replaced; UsageError for a folder with anything else in it.
    """
    folder = Path(folder)
    if folder.exists() and find(folder) is None and (folder.is_file() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists and is not an SAE: choose another place")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.new")
    replaced = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    try:
        temporary.mkdir()
        tensors = {"W_enc": sae.W_enc, "b_enc": sae.b_enc, "W_dec": sae.W_dec, "b_dec": sae.b_dec}
        if sae.threshold is not None:
            tensors["threshold"] = sae.threshold
        save_file(
            {name: t.detach().cpu().float().contiguous() for name, t in tensors.items()}, temporary / WEIGHTS
        )
        if density is not None:
            save_file({"sparsity": torch.log10(density.detach().cpu().float() + 1e-10)}, temporary / SPARSITY)
        (temporary / CONFIG).write_text(json.dumps(_config(sae), indent=2) + "\n", encoding="utf-8")
        for file in temporary.iterdir():
            _sync(file)
        if folder.exists():
            folder.replace(replaced)
        temporary.replace(folder)
        _sync(folder.parent)
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


def _config(sae: SAE) -> dict[str, Any]:
    meta = sae.metadata
    metadata = {
        **meta.extra,
        "sae_lens_version": FORMAT_VERSION,
        "name": meta.name,
        "model_name": meta.model_name,
        "hook_name": meta.hook_name,
        "dataset_path": meta.dataset,
        "context_size": meta.context_size,
        "prepend_bos": meta.prepend_bos,
    }
    architecture = next(name for name, act in _ARCHITECTURES.items() if act == sae.activation)
    assert sae.activation in get_args(ActivationFunction)
    return {
        "architecture": architecture,
        "d_in": sae.d_in,
        "d_sae": sae.d_sae,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "hook_z" if meta.hook_name.endswith("_z") else "none",
        **({"k": sae.k, "rescale_acts_by_decoder_norm": False} if sae.activation == "topk" else {}),
        "metadata": {key: value for key, value in metadata.items() if value not in ("", None)},
    }


def _modern(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration as SAELens 6 writes it, from either layout: before 6 all keys were in one table."""
    metadata = config.get("metadata")
    version = str(config.get("sae_lens_version") or (metadata or {}).get("sae_lens_version") or "0")
    if isinstance(metadata, dict) and not version.startswith(("0", "1.", "2.", "3.", "4.", "5.")):
        return config
    flat = {**config, **(metadata if isinstance(metadata, dict) else {})}
    for old, new in (("hook_point", "hook_name"), ("activation_fn_str", "activation_fn")):
        if old in flat:
            flat.setdefault(new, flat.pop(old))
    if flat.get("activation_fn") == "topk":
        flat["architecture"] = "topk"
        flat["k"] = (flat.get("activation_fn_kwargs") or {}).get("k")
    normalisation = flat.get("normalize_activations")
    if not isinstance(normalisation, str):
        flat["normalize_activations"] = "expected_average_only_in" if normalisation else "none"
    consumed = {"architecture", "d_in", "d_sae", "dtype", "device", "k", "metadata", "apply_b_dec_to_input"}
    flat["metadata"] = {key: value for key, value in flat.items() if key not in consumed}
    return flat


def _metadata(config: dict[str, Any], folder: Path) -> SAEMetadata:
    metadata = config.get("metadata") or {}
    return SAEMetadata(
        name=metadata.get("name") or folder.name,
        model_name=metadata.get("model_name") or "",
        hook_name=metadata.get("hook_name") or "",
        dataset=metadata.get("dataset_path") or "",
        context_size=metadata.get("context_size"),
        prepend_bos=metadata.get("prepend_bos"),
        extra={
            key: value for key, value in metadata.items() if key not in (*_OUR_METADATA, "sae_lens_version")
        },
    )


def _k(config: dict[str, Any], path: Path) -> int:
    if not isinstance(config.get("k"), int) or config["k"] < 1:
        raise UserError(f"{path}: a topk SAE needs k, the number of features kept; found {config.get('k')!r}")
    return config["k"]


def _refuse_finetuned(config: dict[str, Any], tensors: dict[str, Tensor], path: Path) -> None:
    """Scaling factors fitted after training change decoding only, which no ``f @ W_dec + b_dec`` can say."""
    factor = tensors.get("finetuning_scaling_factor", tensors.get("scaling_factor"))
    if config.get("finetuning_scaling_factor") or (factor is not None and not torch.all(factor == 1)):
        raise UserError(f"{path}: an SAE with fine-tuned scaling factors is not supported")


def _fold_normalisation(sae: SAE, config: dict[str, Any], folder: Path) -> SAE:
    normalisation = config.get("normalize_activations") or "none"
    if normalisation == "none":
        return sae
    if normalisation != "expected_average_only_in":
        raise UserError(
            f"{folder / CONFIG}: normalize_activations {normalisation!r} is not supported: "
            "only a constant input scale can be folded into the weights"
        )
    if not (folder / SCALER).is_file():
        raise UserError(
            f"{folder}: normalize_activations is {normalisation!r} but its scale is missing ({SCALER}): "
            "save it again from SAELens with the scale folded in"
        )
    scale = read_json(folder / SCALER).get("scaling_factor")
    if not isinstance(scale, (int, float)) or not math.isfinite(scale) or scale <= 0:
        raise UserError(f"{folder / SCALER}: scaling_factor is {scale!r}, but a positive number is needed")
    return fold_input_scale(sae, float(scale))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
