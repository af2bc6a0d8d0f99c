"""dictionary_learning's files: ``ae.pt``, a state dict, and ``config.json`` with its ``trainer``.

Torch's linear layers keep their weights as ``[out, in]``: ``encoder.weight`` is ``W_encᵀ`` and
``decoder.weight`` is ``W_decᵀ``. BatchTopK (Matryoshka's too) is a JumpReLU at inference, with one
threshold for all features. The library folds an AutoEncoder's decoder norms into its encoder when it
loads one, so its activations are on that scale. Its JumpReLU and its AutoEncoderNew do not subtract
``b_dec`` from their input.
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from saetui.errors import UserError
from saetui.sae.fold import fold_uncentred_input, fold_W_dec_norm
from saetui.sae.formats import files
from saetui.sae.sae import SAE, SAEMetadata
from saetui.weights import read_json, read_pickled_tensors

_LINEAR = {
    "encoder.weight": ("d_sae", "d_in"),
    "encoder.bias": ("d_sae",),
    "decoder.weight": ("d_in", "d_sae"),
}
_SUBMODULE = re.compile(r"(resid_post|resid_pre|mlp_out|attn_out)_layer_(\d+)")


def find(path: Path) -> Path | None:
    """The weights file of a folder with ``ae.pt`` and ``config.json``, or of a checkpoint in it
    (``checkpoints/ae_1000.pt``); None where there is none."""
    weights = path / "ae.pt" if path.is_dir() else path
    is_ours = weights.is_file() and weights.suffix == ".pt" and weights.stem.split("_")[0] == "ae"
    return weights if is_ours and _config_path(weights).is_file() else None


def read(weights: Path) -> SAE:
    """The SAE in ``ae.pt``. UserError for a dictionary class that is not supported, and for the backup of
    an unfinished training run, whose biases are not on the scale of the activations yet."""
    config = read_json(_config_path(weights))
    trainer = config.get("trainer") or {}
    tensors = read_pickled_tensors(weights)
    if "optimizer" in tensors:
        raise UserError(
            f"{weights} is the backup of an unfinished training run: name the ae.pt that the run ended with"
        )
    kind = trainer.get("dict_class") or _class_of(tensors)
    declared = {"d_in": trainer.get("activation_dim"), "d_sae": trainer.get("dict_size")}
    metadata = _metadata(config, weights)

    def linear(bias: str) -> SAE:
        found = files.take(tensors, {**_LINEAR, bias: ("d_in",)}, weights, declared)
        W_enc, W_dec = (found[f"{layer}.weight"].T.contiguous() for layer in ("encoder", "decoder"))
        return SAE(W_enc, found["encoder.bias"], W_dec, found[bias], metadata=metadata)

    def plain(**more: tuple[str, ...]) -> SAE:
        return files.plain(files.take(tensors, {**files.PLAIN, **more}, weights, declared), metadata)

    if kind == "AutoEncoder":
        return fold_W_dec_norm(linear("bias"))
    if kind == "AutoEncoderNew":
        return fold_uncentred_input(linear("decoder.bias"))
    if kind == "AutoEncoderTopK":
        return replace(linear("b_dec"), activation="topk", k=int(_scalar(tensors, "k", weights)))
    if kind in ("BatchTopKSAE", "MatryoshkaBatchTopKSAE"):
        sae = linear("b_dec") if kind == "BatchTopKSAE" else plain()
        threshold = torch.full_like(sae.b_enc, _scalar(tensors, "threshold", weights))
        return replace(sae, activation="jumprelu", threshold=threshold)
    if kind == "JumpReluAutoEncoder":
        return fold_uncentred_input(replace(plain(threshold=("d_sae",)), activation="jumprelu"))
    raise UserError(
        f"{weights}: dictionary class {kind!r} is not supported: AutoEncoder, AutoEncoderNew, "
        "AutoEncoderTopK, BatchTopKSAE, MatryoshkaBatchTopKSAE and JumpReluAutoEncoder are"
    )


def _config_path(weights: Path) -> Path:
    folder = weights.parent.parent if weights.parent.name == "checkpoints" else weights.parent
    return folder / "config.json"


def _class_of(tensors: dict[str, Any]) -> str:
    """The dictionary class where the configuration does not name it and the tensors leave no doubt."""
    if "bias" in tensors and "encoder.weight" in tensors:
        return "AutoEncoder"
    if "group_sizes" in tensors:
        return "MatryoshkaBatchTopKSAE"
    return "JumpReluAutoEncoder" if "threshold" in tensors and "W_enc" in tensors else "unknown"


def _scalar(tensors: dict[str, Any], name: str, path: Path) -> float:
    value = tensors.get(name)
    if not isinstance(value, Tensor) or value.numel() != 1:
        raise UserError(f"{path} has no single number {name}")
    return float(value)


def _metadata(config: dict[str, Any], weights: Path) -> SAEMetadata:
    trainer, buffer = config.get("trainer") or {}, config.get("buffer") or {}
    # The library names modules of the Hugging Face model; only its own demo's names say which hook point.
    match = _SUBMODULE.fullmatch(str(trainer.get("submodule_name")))
    return SAEMetadata(
        name=str(trainer.get("wandb_name") or weights.parent.name),
        model_name=trainer.get("lm_name") or "",
        hook_name=f"blocks.{match[2]}.hook_{match[1]}" if match else "",
        context_size=buffer.get("ctx_len"),
        extra={
            # The library reads activations of the Hugging Face model, whose weights nobody has processed.
            "model_from_pretrained_kwargs": {"center_writing_weights": False},
            "source_format": "dictionary_learning",
            "source_cfg": config,
        },
    )
