"""Models in TransformerLens's own old format on the hub: ``config.json`` and ``*final.pth``.

gelu-1l is one. TransformerLens 4 loads them too, but asks the hub for a file list even when everything
lies in the local cache, so they are read here. A one-layer GELU model runs through the direct forward,
after that has been compared with TransformerLens on the same weights.
"""

from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from saetui.corpus.tokenizer import Tokenizer
from saetui.errors import UserError
from saetui.hub import snapshot
from saetui.lm import bridge as bridges
from saetui.lm import checked
from saetui.lm.base import LanguageModel
from saetui.lm.bridge import BridgeModel
from saetui.lm.direct import HOOK_NAME, DirectModel
from saetui.lm.one_layer import OneLayer, OneLayerConfig, compatibility_form
from saetui.settings import cache_root
from saetui.weights import read_json, read_pickled_tensors

ALIASES = {"gelu-1l": "NeelNanda/GELU_1L512W_C4_Code"}
OWNERS = ("NeelNanda/", "ArthurConmy/", "Baidicoot/")
"""Whose repositories have this format."""

_WRITERS = ("W_E", "W_pos", "W_O", "b_O", "W_out", "b_out")
"""What writes to the residual stream, and is centred in compatibility mode."""


def is_legacy(name: str) -> bool:
    """Whether ``name`` is a hub repository in the old format."""
    return ALIASES.get(name, name).startswith(OWNERS) and not Path(name).exists()


def load(name: str, hook_name: str, device: torch.device, centred: bool = True) -> LanguageModel:
    """The model ``name`` read at ``hook_name``, from the hub or from the local hub cache.

    UserError where it is in neither, is damaged, or is computed differently by TransformerLens.
    """
    repo = ALIASES.get(name, name)
    folder = snapshot(repo, ["config.json", "*final.pth"])
    weights_path = next(iter(sorted(folder.rglob("*final.pth"))), None)
    if weights_path is None or not (folder / "config.json").is_file():
        raise UserError(
            f"{folder} is not a model in TransformerLens's format: config.json and *final.pth are needed"
        )
    config = read_json(folder / "config.json")
    tokenizer = _tokenizer(config.get("tokenizer_name"), repo)
    state = read_pickled_tensors(weights_path)
    if not _is_one_layer_gelu(config):
        bridge = bridges.boot_legacy(repo, state, device, centred)
        return BridgeModel(bridge, tokenizer, name, hook_name, device)
    raw = _one_layer(config, state, weights_path)
    if hook_name not in (HOOK_NAME, "blocks.0.mlp.hook_out"):
        bridge = bridges.boot_one_layer(raw, device, process=True, centred=centred)
        return BridgeModel(bridge, tokenizer, name, hook_name, device)
    model = _processed(raw, centred)
    stamp = _stamp(weights_path, centred)
    if not stamp.exists():
        checked.difference(name, model, bridges.boot_one_layer(raw, "cpu", process=True, centred=centred))
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.touch()
    return DirectModel(model, tokenizer, name, device)


def _is_one_layer_gelu(config: dict[str, Any]) -> bool:
    """Whether ``OneLayer`` computes this model."""
    return (
        config.get("n_layers") == 1
        and config.get("act_fn") == "gelu"
        and not config.get("attn_only")
        and not config.get("shortformer_pos")
        and not config.get("final_rms")
        and config.get("architecture", "neel") == "neel"
        and config.get("normalization", config.get("normalization_type")) in ("LN", "LNPre")
    )


def _one_layer(config: dict[str, Any], state: dict[str, Any], path: Path) -> OneLayer:
    """The checkpoint's weights as they are, in ``OneLayer``'s names and in fp32."""
    try:
        sizes = OneLayerConfig(
            **{key: config[key] for key in ("d_model", "n_heads", "d_head", "d_mlp", "n_ctx", "d_vocab")}
        )
    except KeyError as error:
        raise UserError(f"{path.parent / 'config.json'} lacks {error}") from None
    d = sizes.d_model
    # What a checkpoint may leave out: LayerNorm without gain (LNPre), an unembedding without bias.
    weights: dict[str, Tensor] = {"b_U": torch.zeros(sizes.d_vocab)}
    for ln in ("ln1", "ln2", "ln_final"):
        weights |= {f"{ln}.w": torch.ones(d), f"{ln}.b": torch.zeros(d)}
    for key, value in state.items():
        name = key.removeprefix("blocks.0.")
        for module in ("attn.", "mlp.", "embed.", "pos_embed.", "unembed."):
            name = name.removeprefix(module)
        if isinstance(value, Tensor) and name not in ("mask", "IGNORE"):
            weights[name] = value.float()
    try:
        return OneLayer(sizes, weights)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _processed(raw: OneLayer, centred: bool) -> OneLayer:
    """The weights in compatibility mode, or in all of it but the centring of the residual stream."""
    processed = compatibility_form(raw)
    if centred:
        return processed
    return OneLayer(raw.config, processed.weights | {name: raw.weights[name] for name in _WRITERS})


def _stamp(weights_path: Path, centred: bool) -> Path:
    """A file that exists once these very weights were compared with this very TransformerLens."""
    file = weights_path.resolve().stat()
    identity = f"{weights_path.resolve()} {file.st_size} {file.st_mtime_ns} {centred}"
    versions = f"{version('transformer_lens')} {version('torch')} {version('saetui')}"
    return cache_root() / "lm-checked" / sha256(f"{identity} {versions}".encode()).hexdigest()[:16]


def _tokenizer(repo: str | None, model: str) -> Tokenizer:
    if not repo:
        raise UserError(f"{model} names no tokenizer in its config.json")
    folder = Path(repo) if Path(repo).is_dir() else snapshot(repo, ["*.json"])
    bos_token = None
    if (folder / "tokenizer_config.json").is_file():
        bos_token = read_json(folder / "tokenizer_config.json").get("bos_token")
        bos_token = bos_token.get("content") if isinstance(bos_token, dict) else bos_token
    return Tokenizer.from_file(folder / "tokenizer.json", bos_token)
