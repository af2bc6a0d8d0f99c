"""From names to objects: a ``Setup`` becomes a language model, an SAE and rows that fit together."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from saetui import embedded
from saetui.corpus.packed import Progress
from saetui.corpus.rows import TokenRows
from saetui.corpus.tokenizer import Tokenizer
from saetui.errors import UsageError, UserError
from saetui.lm import checked, direct, legacy
from saetui.lm.base import LanguageModel
from saetui.lm.one_layer import OneLayer
from saetui.sae import formats
from saetui.sae.sae import SAE, SAEMetadata
from saetui.setup import Setup
from saetui.split.training.matmul import settled_matmul
from saetui.weights import read_json

SEQ_LEN = 128
"""Tokens in a row where nothing else is said: what gelu-1l's SAEs were trained on."""

_DEFAULT_DATASETS = {"gelu-1l": "NeelNanda/c4-code-20k"}
_SAMPLE = (
    "The new low-level interface was written in a hurry, so most of the well-known problems came back within "
    "two weeks. A 10-year-old could have told them: if you copy the file by hand, somebody will forget it. "
    "We read the numbers again (there were 48,262 of them), and then def f(x): return x * 2 + 1 was all that "
    "the team could agree on. In London, the weather is said to be better than its reputation."
)
"""Text of several kinds on which a model and an SAE are tried together."""


def resolve_device(name: str) -> torch.device:
    """The device that a person named; ``auto`` is the first GPU where there is one. Of several
    (``cuda:0,cuda:1``) the first, if all of them are there.

    UserError where a GPU is asked for and there is none, UsageError for an unknown name.
    """
    if "," in name:
        first, *_ = [resolve_device(part.strip()) for part in name.split(",")]
        return first
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"no device {name!r}: choose auto, cpu, cuda or cuda:1") from None
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            raise UserError(f"--device {name}: torch sees no GPU here; use --device cpu")
        if (device.index or 0) >= count:
            raise UserError(f"--device {name}: this machine's GPUs are cuda:0 to cuda:{count - 1}")
    elif device.type != "cpu":
        raise UsageError(f"--device {name} is not supported: choose auto, cpu, cuda or cuda:1")
    return device


def resolve(setup: Setup) -> Setup:
    """``setup`` with model, hook point and data filled in from what the SAE's metadata and the embedded
    world say. A name that is given wins, but for the default model: an SAE of another one brings its own."""
    said = _metadata(setup.sae) if setup.sae else SAEMetadata()
    model = setup.model
    if model == Setup.model and said.model_name and said.model_name != model:
        model = said.model_name
    world = embedded.world(model) if model in embedded.WORLDS else None
    hook_name = setup.hook_name or said.hook_name or (world.hook_name if world else "")
    if not hook_name and model in legacy.ALIASES:
        hook_name = direct.HOOK_NAME
    dataset = setup.dataset or (model if world else _DEFAULT_DATASETS.get(model, said.dataset))
    seq_len = setup.seq_len or (world.seq_len if world else SEQ_LEN)
    return replace(setup, model=model, hook_name=hook_name, dataset=dataset, seq_len=seq_len)


def load_lm(setup: Setup) -> LanguageModel:
    """The language model of ``setup`` on its device, read at its hook point.

    Its weights are in compatibility mode (LayerNorm folded, centred), or uncentred where the SAE's
    metadata says that it was trained so. UserError or UsageError where it cannot be.

    On the CPU this process multiplies by the engine that is settled on for this width from here on, so that
    whoever computes the same activations gets the same bits.
    """
    device, setup = resolve_device(setup.device), resolve(setup)
    if not setup.hook_name:
        raise UsageError(
            f"{setup.model!r} is no embedded world ({', '.join(embedded.WORLDS)}), and no SAE says which "
            "hook point to read: name it with --hook, e.g. --hook blocks.0.hook_mlp_out, or an SAE with --sae"
        )
    lm = _load_lm(setup, device, centred=_centred(setup.sae))
    if device.type == "cpu":
        settled_matmul(1024, lm.d_in, min(8 * lm.d_in, 4096))
    d_vocab = lm.W_U.shape[1]
    if lm.tokenizer.d_vocab > d_vocab:
        raise UserError(
            f"{lm.name}: its tokenizer has {lm.tokenizer.d_vocab} tokens but its vocabulary is {d_vocab}"
        )
    return lm


def load_sae(setup: Setup) -> SAE:
    """The narrow SAE of ``setup``, on the CPU; an embedded world's own where none is named."""
    if setup.sae:
        return formats.load(setup.sae)
    if setup.model in embedded.WORLDS:
        return formats.load(embedded.world(setup.model).narrow_sae)
    raise UsageError(f"which SAE of {setup.model}? Name it with --sae: a folder, a file or a hub path")


def open_rows(
    setup: Setup, tokenizer: Tokenizer, split: Literal["train", "eval"], progress: Progress | None = None
) -> TokenRows:
    """One split of the data of ``setup``; ``progress`` is called while rows are being built.

    Data of one's own: the last 2 % of a table's rows are ``eval``. UserError where it is missing, empty
    or made for another vocabulary.
    """
    setup = resolve(setup)
    name, seq_len = setup.dataset, setup.seq_len or SEQ_LEN
    if seq_len < 2:
        raise UsageError(f"--seq-len {seq_len}: a row needs at least 2 tokens")
    if name == "real":
        from saetui.corpus.local_docs import LocalDocs

        return LocalDocs(tokenizer, split, seq_len=seq_len, progress=progress)
    if name == "synthetic":
        from saetui.corpus.grammar import SyntheticRows, grammar

        if grammar().tokenizer().fingerprint != tokenizer.fingerprint:
            raise UsageError(f"the synthetic corpus is for the synthetic model only, not for {setup.model}")
        return SyntheticRows(split, seq_len=seq_len)
    if not name:
        raise UsageError(
            f"which data for {setup.model}? Name it with --dataset: a hub name, a file or a folder"
        )
    if (path := Path(name).expanduser()).exists():
        from saetui.corpus.files import open_files

        rows = open_files(path, tokenizer, seq_len, split, progress)
    elif name.count("/") == 1 and not name.startswith(("/", ".", "~")):
        from saetui.corpus.hub import open_hub

        rows = open_hub(name, tokenizer, seq_len, split, progress)
    else:
        raise UsageError(
            f"no data at {name}: there is no such file or folder, and it is no hub name (owner/name)"
        )
    if len(rows.read(0, 1)) == 0:
        raise UserError(f"{name} does not fill one row of {seq_len} tokens: choose a shorter --seq-len")
    return rows


def check_fit(lm: LanguageModel, sae: SAE) -> list[str]:
    """Refuse an SAE that is not of this model, and say what looks wrong with one that may be.

    UsageError, naming both sides, for another width, hook point or (where both names are well known)
    model. The warnings returned are about what no file states: both are tried on a few sentences.
    """
    said = sae.metadata
    label = said.name or "the SAE"
    if sae.d_in != lm.d_in:
        raise UsageError(
            f"{label} reads activations of width {sae.d_in}, but {lm.name} has {lm.d_in} at {lm.hook_name}"
        )
    if said.hook_name and _canonical(said.hook_name) != _canonical(lm.hook_name):
        raise UsageError(f"{label} reads {said.hook_name}, but {lm.name} is read at {lm.hook_name}")
    warnings = []
    theirs, ours = (legacy.ALIASES.get(name, name) for name in (said.model_name, lm.name))
    if theirs and theirs != ours:
        if {theirs, ours} <= {*embedded.WORLDS, *legacy.ALIASES.values()}:
            raise UsageError(f"{label} is an SAE of {said.model_name}, but the model is {lm.name}")
        warnings.append(f"{label} says that it is an SAE of {said.model_name}; the model is {lm.name}")
    return warnings + _try_together(lm, sae, label)


def _load_lm(setup: Setup, device: torch.device, centred: bool) -> LanguageModel:
    name, hook_name = setup.model, setup.hook_name
    folder = embedded.world(name).lm if name in embedded.WORLDS else Path(name).expanduser()
    if _is_one_layer(folder):
        model = OneLayer.load(folder)
        tokenizer = Tokenizer.from_file(folder / "tokenizer.json")
        if _canonical(hook_name) == direct.HOOK_NAME:
            checked.require(folder, model, name)
            return direct.DirectModel(model, tokenizer, name, device)
        from saetui.lm import bridge as bridges

        own = bridges.boot_one_layer(model, device, process=False)
        return bridges.BridgeModel(own, tokenizer, name, hook_name, device)
    if legacy.is_legacy(name):
        return legacy.load(name, hook_name, device, centred)
    from saetui.lm import bridge as bridges

    official = name if folder.exists() else bridges.official_name(name)
    if legacy.is_legacy(official):
        lm = legacy.load(official, hook_name, device, centred)
        lm.name = name
        return lm
    booted = bridges.boot(str(folder) if folder.exists() else official, device, centred)
    return bridges.BridgeModel(booted, bridges.tokenizer_of(booted, name), name, hook_name, device)


def _is_one_layer(folder: Path) -> bool:
    """Whether a folder holds a model in the format of the embedded worlds."""
    config = folder / "config.json"
    return config.is_file() and read_json(config).get("architecture") == "one_layer_gelu"


@lru_cache(maxsize=8)
def _metadata(source: str) -> SAEMetadata:
    return formats.load(source).metadata


def _centred(sae: str) -> bool:
    """Whether the SAE was trained on activations of a model with centred weights: SAELens writes it down,
    and everyone else, Neel Nanda first, took what TransformerLens did by default."""
    loaded_with = _metadata(sae).extra.get("model_from_pretrained_kwargs") if sae else None
    return bool((loaded_with or {}).get("center_writing_weights", True))


def _canonical(hook_name: str) -> str:
    """TransformerLens 4 has two names for some hook points; the older one."""
    for new, old in (
        ("mlp.hook_out", "hook_mlp_out"),
        ("attn.hook_out", "hook_attn_out"),
        ("hook_in", "hook_resid_pre"),
        ("hook_out", "hook_resid_post"),
    ):
        block, found, _ = hook_name.partition(f".{new}")
        if found and hook_name.endswith(new) and block.count(".") == 1:
            return f"{block}.{old}"
    return hook_name


@torch.no_grad()
def _try_together(lm: LanguageModel, sae: SAE, label: str) -> list[str]:
    """What one small forward makes doubtful: a reconstruction that is no better than the mean, or
    activations centred on one side only (``center_writing_weights``).

    The decoder alone does not tell the centring: nothing moves the part along (1, …, 1) of a row that is
    hardly trained. What tells is the reconstruction. Of uncentred activations, an SAE of centred ones
    reconstructs nothing along (1, …, 1); into centred ones, an SAE of uncentred ones brings it back. Where
    that is too little to matter it is not seen either.
    """
    # A world's own words: the synthetic one does not know any other.
    text = " ".join(embedded.world(lm.name).prompts) if lm.name in embedded.WORLDS else _SAMPLE
    ids = lm.tokenizer.encode(text, bos=lm.tokenizer.bos_token_id is not None)[: lm.n_ctx]
    x = lm.activations(torch.tensor([ids]))[0, 1:].to(sae.device)
    error = x - sae.decode(sae.encode(x))
    fvu = float(error.square().sum() / (x - x.mean(0)).square().sum())
    if not fvu < 1:
        return [
            f"{label} reconstructs {lm.hook_name} of {lm.name} worse than the mean does (FVU {fvu:.2g} on a "
            "sample): wrong hook point, model, input scale or centring?"
        ]
    of_activations, of_error, size = _along_ones(x), _along_ones(error), float(x.square().sum())
    rounding = 1e-6 * size
    if of_activations < rounding < of_error and of_error > 0.1 * float(error.square().sum()):
        return [_mismatch(lm, label, "uncentred", "centred")]
    # A fifth of what any direction has: less is not worth a question.
    if of_activations > 0.2 * size / lm.d_in and of_error > 0.9 * of_activations:
        return [_mismatch(lm, label, "centred", "uncentred")]
    return []


def _mismatch(lm: LanguageModel, label: str, sae_side: str, lm_side: str) -> str:
    return (
        f"{label} seems to be trained on {sae_side} activations, and {lm.name}'s are {lm_side} "
        "(center_writing_weights): its features may not be as in training"
    )


def _along_ones(x: Tensor) -> float:
    """Squared norm of the part of the rows ``x [n, d_in]`` along (1, …, 1)."""
    return float(x.mean(-1).square().sum() * x.shape[-1])
