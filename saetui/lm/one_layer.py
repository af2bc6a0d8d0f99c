"""The one-layer GELU transformer of the embedded worlds, as a direct forward over plain tensors.

The same architecture as TransformerLens's native model with one layer, LayerNorm and separate
embedding and unembedding, with its weights under its names and in its shapes. The activations at
``blocks.0.hook_mlp_out`` cost no unembedding here, which is most of such a model's arithmetic, and no
hooks. TransformerLens computes the same numbers (tests/test_one_layer.py).
"""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_safetensors
from torch import Tensor

from saetui.errors import UserError


@dataclass(frozen=True)
class OneLayerConfig:
    """Sizes of a one-layer model; ``d_head * n_heads`` need not be ``d_model``."""

    d_model: int
    n_heads: int
    d_head: int
    d_mlp: int
    n_ctx: int
    d_vocab: int
    eps: float = 1e-5
    """Of every LayerNorm."""

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every weight, by its TransformerLens name."""
        d, h, k, m, v = self.d_model, self.n_heads, self.d_head, self.d_mlp, self.d_vocab
        norms = {f"{ln}.{p}": (d,) for ln in ("ln1", "ln2", "ln_final") for p in ("w", "b")}
        return {
            "W_E": (v, d), "W_pos": (self.n_ctx, d),
            "W_Q": (h, d, k), "b_Q": (h, k), "W_K": (h, d, k), "b_K": (h, k), "W_V": (h, d, k), "b_V": (h, k),
            "W_O": (h, k, d), "b_O": (d,),
            "W_in": (d, m), "b_in": (m,), "W_out": (m, d), "b_out": (d,),
            "W_U": (d, v), "b_U": (v,),
            **norms,
        }  # fmt: skip


class OneLayer:
    """The weights and the forward through them, on whatever device and dtype the weights have.

    ``weights`` maps every name of ``config.shapes()`` to its tensor. A token tensor is ``[rows, seq]``
    of any integer dtype, ``seq <= n_ctx``; attention is causal. Raises UserError for a missing name or
    a wrong shape.
    """

    def __init__(self, config: OneLayerConfig, weights: dict[str, Tensor]) -> None:
        for name, shape in config.shapes().items():
            if name not in weights:
                raise UserError(f"the language model's weights lack {name}")
            if tuple(weights[name].shape) != shape:
                raise UserError(
                    f"{name} has shape {list(weights[name].shape)}, the configuration says {list(shape)}"
                )
        self.config = config
        self.weights = {name: weights[name] for name in config.shapes()}
        w, d = self.weights, config.d_model
        # [3 * heads * d_head, d] as F.linear wants it: one product instead of three times n_heads.
        self.qkv = torch.cat([w[f"W_{x}"].transpose(1, 2).reshape(-1, d) for x in "QKV"])
        self.qkv_bias = torch.cat([w[f"b_{x}"].reshape(-1) for x in "QKV"])
        self.out = w["W_O"].reshape(-1, d).T.contiguous()

    def resid_mid(self, tokens: Tensor) -> Tensor:
        """The residual stream between attention and MLP, ``[rows, seq, d_model]``."""
        w, (rows, seq) = self.weights, tokens.shape
        resid = F.embedding(tokens.long(), w["W_E"]) + w["W_pos"][:seq]
        qkv = F.linear(self._norm(resid, "ln1"), self.qkv, self.qkv_bias)
        q, k, v = qkv.view(rows, seq, 3, self.config.n_heads, self.config.d_head).permute(2, 0, 3, 1, 4)
        z = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return resid + F.linear(z.transpose(1, 2).flatten(2), self.out, w["b_O"])

    def mlp(self, resid_mid: Tensor) -> Tensor:
        """What the MLP adds to ``resid_mid``: the activations at ``blocks.0.hook_mlp_out``, same shape."""
        w = self.weights
        hidden = F.gelu(F.linear(self._norm(resid_mid, "ln2"), w["W_in"].T, w["b_in"]))
        return F.linear(hidden, w["W_out"].T, w["b_out"])

    def mlp_out(self, tokens: Tensor) -> Tensor:
        """The activations at ``blocks.0.hook_mlp_out``, ``[rows, seq, d_model]``; no unembedding."""
        return self.mlp(self.resid_mid(tokens))

    def unembed(self, resid_post: Tensor) -> Tensor:
        """Logits ``[rows, seq, d_vocab]`` of a final residual stream: of ``resid_mid`` plus an MLP output,
        the model's own or a patched one."""
        return F.linear(self.normalised(resid_post), self.weights["W_U"].T, self.weights["b_U"])

    def normalised(self, resid_post: Tensor) -> Tensor:
        """What the unembedding reads: ``ln_final`` of a final residual stream, same shape."""
        return self._norm(resid_post, "ln_final")

    def logits(self, tokens: Tensor) -> Tensor:
        """Next-token logits ``[rows, seq, d_vocab]``."""
        resid_mid = self.resid_mid(tokens)
        return self.unembed(resid_mid + self.mlp(resid_mid))

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "OneLayer":
        """A copy on another device or in another dtype."""
        return OneLayer(
            self.config, {name: weight.to(device, dtype) for name, weight in self.weights.items()}
        )

    def _norm(self, x: Tensor, ln: str) -> Tensor:
        return F.layer_norm(
            x, x.shape[-1:], self.weights[f"{ln}.w"], self.weights[f"{ln}.b"], self.config.eps
        )

    def save(self, folder: str | Path, dtype: torch.dtype = torch.float16) -> None:
        """Write ``model.safetensors`` and ``config.json`` into ``folder``, each atomically."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        weights = {name: weight.to("cpu", dtype).contiguous() for name, weight in self.weights.items()}
        config = {"architecture": "one_layer_gelu", **asdict(self.config)}
        for name, data in (
            ("model.safetensors", to_safetensors(weights)),
            ("config.json", (json.dumps(config, indent=2) + "\n").encode()),
        ):
            (folder / f".{name}").write_bytes(data)
            (folder / f".{name}").replace(folder / name)

    @classmethod
    def load(cls, folder: str | Path, dtype: torch.dtype = torch.float32) -> "OneLayer":
        """Read what ``save`` wrote. Raises UserError where a file is missing, damaged or does not fit."""
        folder = Path(folder)
        try:
            config = json.loads((folder / "config.json").read_text())
            weights = load_file(folder / "model.safetensors")
        except (OSError, ValueError, SafetensorError) as error:
            raise UserError(f"no one-layer language model in {folder}: {error}") from error
        try:
            sizes = OneLayerConfig(**{field.name: config[field.name] for field in fields(OneLayerConfig)})
        except KeyError as error:
            raise UserError(f"{folder / 'config.json'} lacks {error}") from error
        return cls(sizes, {name: weight.to(dtype) for name, weight in weights.items()})


def compatibility_form(model: OneLayer) -> OneLayer:
    """The same function of the tokens, in the form that TransformerLens calls compatibility mode.

    LayerNorm gains and biases are folded into the matrices that read from them (the norms stay, with
    gain 1 and bias 0), whatever writes to the residual stream is centred over ``d_model``, and the
    unembedding over the vocabulary. LayerNorm subtracts the mean and softmax a constant, so probabilities
    stay. The activations at ``hook_mlp_out`` do change, by their mean over ``d_model``: tools that
    process weights and tools that do not see different activations of the same model, unless, as here,
    the weights already are in the processed form.
    """
    w = {
        name: weight.double() for name, weight in model.weights.items()
    }  # so that folding costs no precision
    for ln, readers in (("ln1", ("Q", "K", "V")), ("ln2", ("in",)), ("ln_final", ("U",))):
        gain, bias = w[f"{ln}.w"], w[f"{ln}.b"]
        for reader in readers:
            matrix = w[f"W_{reader}"]  # [..., d_model, out]
            w[f"b_{reader}"] = w[f"b_{reader}"] + bias @ matrix
            # A normalised residual is centred over d_model, so the matrix's mean over it reads nothing.
            folded = gain[:, None] * matrix
            w[f"W_{reader}"] = folded - folded.mean(-2, keepdim=True)
        w[f"{ln}.w"], w[f"{ln}.b"] = torch.ones_like(gain), torch.zeros_like(bias)
    for writer in ("W_E", "W_pos", "W_O", "b_O", "W_out", "b_out"):
        w[writer] = w[writer] - w[writer].mean(-1, keepdim=True)
    w["W_U"] = w["W_U"] - w["W_U"].mean(-1, keepdim=True)
    w["b_U"] = w["b_U"] - w["b_U"].mean()
    dtype = model.weights["W_E"].dtype
    return OneLayer(model.config, {name: weight.to(dtype) for name, weight in w.items()})
