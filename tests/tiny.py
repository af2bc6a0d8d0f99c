"""A real one-layer model of a few thousand random weights, its tokenizer, rows and SAE."""

import json
from collections.abc import Callable
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

import numpy as np
import tokenizers
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from torch import Tensor

from saetui.corpus.tokenizer import Tokenizer
from saetui.lm import checked
from saetui.lm.base import AtHook, LanguageModel
from saetui.lm.one_layer import OneLayer, OneLayerConfig, compatibility_form
from saetui.sae.formats import save_saelens
from saetui.sae.sae import SAE
from saetui.weights import fingerprint

CHARACTERS = " abcdefghijklmnopqrstuvwxyz-\n."
SEQ_LEN = 12


def tiny_tokenizer() -> Tokenizer:
    """One token per character, BOS first."""
    vocab = {"<|BOS|>": 0, **{character: i + 1 for i, character in enumerate(CHARACTERS)}}
    inner = tokenizers.Tokenizer(WordLevel(vocab, unk_token="."))
    inner.pre_tokenizer = Split("", "isolated")
    inner.add_special_tokens(["<|BOS|>"])
    return Tokenizer(inner)


class TinyLM:
    """Implements ``LanguageModel`` over a random ``OneLayer``, read at ``hook_mlp_out``."""

    name = "tiny"
    hook_name = "blocks.0.hook_mlp_out"

    def __init__(self, seed: int = 0, d_model: int = 16) -> None:
        self.tokenizer = tiny_tokenizer()
        self.d_in, self.n_ctx, self.device = d_model, 16, torch.device("cpu")
        config = OneLayerConfig(d_model, 2, 8, 4 * d_model, self.n_ctx, self.tokenizer.d_vocab)
        generator = torch.Generator().manual_seed(seed)
        weights = {n: torch.randn(s, generator=generator) * 0.5 for n, s in config.shapes().items()}
        self.inner = OneLayer(config, weights)
        self.fingerprint = fingerprint(weights.values())
        self.forwards = 0
        """Forwards so far: what is looked up must not cost one."""

    @property
    def W_U(self) -> Tensor:
        return self.inner.weights["W_U"]

    def activations(self, tokens: Tensor) -> Tensor:
        self.forwards += 1
        return self.inner.mlp_out(tokens)

    def at_hook(self, tokens: Tensor) -> AtHook:
        self.forwards += 1
        mid = self.inner.resid_mid(tokens)

        def losses(activations: Tensor) -> Tensor:
            logits = self.inner.unembed(mid + activations)
            return F.cross_entropy(logits[:, :-1].transpose(1, 2), tokens[:, 1:].long(), reduction="none")

        return AtHook(self.inner.mlp(mid), losses)


def losses(lm: LanguageModel, tokens: Tensor, replace: Callable[[Tensor], Tensor] = lambda x: x) -> Tensor:
    """Next-token losses ``[rows, seq - 1]`` with the activations at the hook point replaced."""
    forward = lm.at_hook(tokens)
    return forward.losses(replace(forward.activations))


class TinyRows:
    """``count`` random rows with BOS first."""

    name = "tiny rows"
    seq_len = SEQ_LEN
    bos = True

    def __init__(self, count: int = 700, seed: int = 0) -> None:
        self.fingerprint = f"tiny-{count}-{seed}"
        self.tokens = np.random.default_rng(seed).integers(
            1, len(CHARACTERS) + 1, (count, SEQ_LEN), np.uint16
        )
        self.tokens[:, 0] = 0

    def read(self, start: int, count: int) -> NDArray[np.integer]:
        return self.tokens[start : start + count]


def tiny_sae(d_in: int = 16, d_sae: int = 40, seed: int = 1, bias: float = -3.0) -> SAE:
    """Random unit decoder rows read by their own directions; the last feature never fires."""
    generator = torch.Generator().manual_seed(seed)
    W_dec = F.normalize(torch.randn(d_sae, d_in, generator=generator), dim=-1)
    b_enc = torch.full((d_sae,), bias)
    b_enc[-1] = -1e6
    return SAE(W_dec.T.contiguous(), b_enc, W_dec, torch.randn(d_in, generator=generator) * 0.1)


def say_checked(lm: Path) -> None:
    """Writes a record that the weights in ``lm`` were compared with TransformerLens, whose import takes
    seconds: that the two agree on random weights is a test of its own."""
    digest = sha256((lm / "model.safetensors").read_bytes()).hexdigest()
    comparison = checked.Comparison("not asked", "blocks.0.hook_mlp_out", 0.0, digest)
    (lm / checked.RECORD).write_text(json.dumps(asdict(comparison)))


def write_world(root: Path, texts: int = 200) -> list[str]:
    """The tiny model, two SAEs (``narrow``, ``wide``) and some text as files; the options that name them."""
    lm = TinyLM()
    compatibility_form(lm.inner).save(root / "lm")
    say_checked(root / "lm")
    lm.tokenizer.save(root / "lm" / "tokenizer.json")
    save_saelens(tiny_sae(bias=-0.5), root / "narrow")
    save_saelens(tiny_sae(d_sae=64, seed=2, bias=-0.5), root / "wide")
    words = ["low-level", "high-level", "multi-part", "of the", "a long", "well known", "index.", "by hand"]
    lines = (" ".join(words[(i * j) % 8] for j in range(1, 40)) for i in range(texts))
    (root / "text.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in lines))
    return [
        *("--model", str(root / "lm"), "--hook", "blocks.0.hook_mlp_out", "--sae", str(root / "narrow")),
        *("--dataset", str(root / "text.jsonl"), "--seq-len", "12"),
    ]
