"""A hub cache in the hub client's own layout, made of tiny things: for tests without network."""

import json
from pathlib import Path

import tokenizers
import torch
from tokenizers import decoders, models, pre_tokenizers, trainers

TEXT = [
    "The low-level API of a multi-line text, re-read at once.",
    "A high-level view: 10-bit words, 3-way merges and non-empty lists.",
    "Well-known one-time costs are paid by the end-user in the long run.",
] * 4


def small_tokenizer(bos: str = "<|BOS|>", eos: str = "<|EOS|>", size: int = 300) -> tokenizers.Tokenizer:
    """A byte-level BPE with the special tokens of gelu-1l's tokenizer."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[eos, bos, "<|PAD|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    return tokenizer


def add_repo(cache: Path, repo: str, kind: str = "models") -> Path:
    """The snapshot folder of a repository that the cache now holds, with no file in it yet."""
    folder = cache / f"{kind}--{repo.replace('/', '--')}"
    commit = "0123456789abcdef" * 2 + "01234567"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit)
    (folder / "blobs").mkdir()
    snapshot = folder / "snapshots" / commit
    snapshot.mkdir(parents=True)
    return snapshot


def add_file(snapshot: Path, name: str, data: bytes) -> None:
    """A file as the hub client leaves it: a link to a blob that is named by its hash."""
    blob = snapshot.parent.parent / "blobs" / f"{abs(hash((name, data))):x}"
    blob.write_bytes(data)
    (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
    (snapshot / name).symlink_to(blob)


def add_tokenizer(cache: Path, repo: str, tokenizer: tokenizers.Tokenizer) -> None:
    snapshot = add_repo(cache, repo)
    add_file(snapshot, "tokenizer.json", tokenizer.to_str().encode())
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|BOS|>", "eos_token": "<|EOS|>"}
    add_file(snapshot, "tokenizer_config.json", json.dumps(config).encode())


def legacy_config(d_vocab: int, **changes: object) -> dict:
    """``config.json`` of NeelNanda/GELU_1L512W_C4_Code, but for its sizes."""
    return {
        "n_layers": 1, "d_model": 32, "d_mlp": 64, "d_head": 8, "n_heads": 4, "n_ctx": 64, "d_vocab": d_vocab,
        "act_fn": "gelu", "attn_only": False, "final_rms": False, "normalization": "LN",
        "shortformer_pos": False, "tokenizer_name": "NeelNanda/gpt-neox-tokenizer-digits", **changes,
    }  # fmt: skip


def legacy_state(config: dict, seed: int = 0) -> dict[str, torch.Tensor]:
    """A checkpoint in the old format, random, with the buffers that real ones contain."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int, scale: float = 0.3) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) * scale

    d, h, k, m, v = (config[key] for key in ("d_model", "n_heads", "d_head", "d_mlp", "d_vocab"))
    state = {"embed.W_E": draw(v, d), "pos_embed.W_pos": draw(config["n_ctx"], d), "unembed.W_U": draw(d, v)}
    for layer in range(config["n_layers"]):
        block = {
            **{f"attn.W_{x}": draw(h, d, k) for x in "QKV"}, **{f"attn.b_{x}": draw(h, k) for x in "QKV"},
            "attn.W_O": draw(h, k, d), "attn.b_O": draw(d),
            "attn.mask": torch.ones(4, 4).tril().bool(), "attn.IGNORE": torch.tensor(-1e5),
            "mlp.W_in": draw(d, m), "mlp.b_in": draw(m), "mlp.W_out": draw(m, d), "mlp.b_out": draw(d) + 0.2,
        }  # fmt: skip
        state |= {f"blocks.{layer}.{name}": value for name, value in block.items()}
    norms = [f"blocks.{layer}.ln{i}" for layer in range(config["n_layers"]) for i in (1, 2)] + ["ln_final"]
    if config["normalization"] == "LN":
        for norm in norms:
            state |= {f"{norm}.w": 1 + draw(d), f"{norm}.b": draw(d)}
    return state


def add_legacy_model(cache: Path, repo: str, config: dict, state: dict[str, torch.Tensor]) -> Path:
    snapshot = add_repo(cache, repo)
    add_file(snapshot, "config.json", json.dumps(config).encode())
    torch.save(state, cache / "weights.pth")
    add_file(snapshot, "model_final.pth", (cache / "weights.pth").read_bytes())
    return snapshot
