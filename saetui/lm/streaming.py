"""The one-layer model for long streams of tokens on the CPU: the same activations for two thirds of the work.

- In one layer, what attention reads depends on the token and its position alone, through a LayerNorm whose
  scale can be taken out: ``LN(e + p) W = r (e W + p W)`` with ``r = 1/σ(e + p)``. Both products are tables,
  of all tokens and of all positions, and a quarter of the arithmetic becomes a look-up. The first table costs
  one forward of the vocabulary and ``3 d_head n_heads`` numbers a token of memory.
- Linear maps go to oneDNN, GELU with them, where torch has that operator.
- In bfloat16, products are; residual stream, LayerNorm and sums stay fp32.

Every piece of a stream must be the same bits whenever it is computed, so the choice is made once for a run.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from saetui.lm.base import LanguageModel
from saetui.lm.direct import DirectModel

TABLE_BYTES = 320 * 2**20
"""Largest table of tokens: gelu-1l's is 296 MB in fp32."""
TABLE_AFTER = 2
"""Vocabularies' worth of tokens in a stream from which on the table pays."""
OFF_AT_MOST = {"float32": 1e-5, "bfloat16": 2e-2}
"""Relative difference from the model's own activations beyond which the stream goes through the model."""
_TOKENS_AT_ONCE = 2048
_BLOCK = 4096
"""Rows of a table that are computed together, all of them when the first is needed."""


def streaming(lm: LanguageModel, dtype: str, tokens: int) -> tuple[LanguageModel, str]:
    """``lm`` for a stream of about ``tokens`` tokens, with products in ``dtype``, and a line about it; ``lm``
    itself where there is nothing to gain, or where the result would be off."""
    if not isinstance(lm, DirectModel) or lm.device.type != "cpu":
        return lm, f"language model: {lm.name} as it is, in fp32"
    fast = StreamingModel(lm, getattr(torch, dtype), table=tokens > TABLE_AFTER * lm.d_vocab)
    sample = torch.randint(
        min(lm.d_vocab, _BLOCK), (2, min(64, lm.n_ctx)), generator=torch.Generator().manual_seed(0)
    )
    own = lm.activations(sample)
    off = float((fast.activations(sample) - own).norm() / own.norm())
    if not off < OFF_AT_MOST[dtype]:
        return lm, f"language model: in fp32 as it is, {dtype} by the faster way is off by {off:.0e}"
    how = "queries, keys and values from a table" if fast.has_table else "no table"
    return fast, f"language model: products in {dtype}, {how} (off by {off:.0e} of the activations)"


class StreamingModel(DirectModel):
    """A ``DirectModel`` whose ``activations`` are computed as above; whatever else it does is ``lm``'s."""

    def __init__(self, lm: DirectModel, dtype: torch.dtype, table: bool) -> None:
        self.__dict__.update(vars(lm))
        model, w = lm.model, lm.model.weights
        self._dtype = dtype
        self._qkv_bias = model.qkv_bias
        self._qkv = _Linear(model.qkv, self._qkv_bias, dtype)
        self._out = _Linear(model.out, w["b_O"], dtype)
        self._in = _Linear(w["W_in"].T, w["b_in"], dtype, gelu=True)
        self._mlp_out = _Linear(w["W_out"].T, w["b_out"], dtype)
        size = self.d_vocab * len(model.qkv) * dtype.itemsize
        self.has_table = table and size <= TABLE_BYTES
        if self.has_table:
            self._by_token = _Table(w["W_E"], w["ln1.w"], model.qkv, dtype)
            self._by_position = _Table(w["W_pos"], w["ln1.w"], model.qkv, dtype)
            self._table_bias = (w["ln1.b"] @ model.qkv.T + self._qkv_bias).to(dtype)
        self.fingerprint = f"{lm.fingerprint} {dtype} {self.has_table}"

    @torch.no_grad()
    def activations(self, tokens: Tensor) -> Tensor:
        """As ``LanguageModel.activations``."""
        tokens = self._checked(tokens)
        rows, seq = tokens.shape
        out = torch.empty(rows, seq, self.d_in)
        step = max(1, _TOKENS_AT_ONCE // max(1, seq))
        for start in range(0, rows, step):
            out[start : start + step] = self._mlp(self._resid_mid(tokens[start : start + step]))
        return out

    def _resid_mid(self, tokens: Tensor) -> Tensor:
        model, w, (rows, seq) = self.model, self.model.weights, tokens.shape
        resid = F.embedding(tokens, w["W_E"]).add_(w["W_pos"][:seq])
        shape = resid.shape[-1:]
        normed, _, scale = torch.native_layer_norm(resid, shape, w["ln1.w"], w["ln1.b"], model.config.eps)
        if self.has_table:
            qkv = self._by_token(tokens).add_(self._by_position(torch.arange(seq)))
            torch.addcmul(self._table_bias, qkv, scale.to(self._dtype), out=qkv)
        else:
            qkv = self._qkv(normed)
        q, k, v = qkv.view(rows, seq, 3, model.config.n_heads, model.config.d_head).permute(2, 0, 3, 1, 4)
        z = _attention(q, k, v)
        return self._out(z.transpose(1, 2).flatten(2)).float().add_(resid)

    def _mlp(self, resid_mid: Tensor) -> Tensor:
        w = self.model.weights
        normed = F.layer_norm(resid_mid, resid_mid.shape[-1:], w["ln2.w"], w["ln2.b"], self.model.config.eps)
        return self._mlp_out(self._in(normed)).float()


class _Table:
    """What attention reads of embeddings ``[n, d_model]`` before LayerNorm's scale: ``(e - ē) gain W``."""

    def __init__(self, embeddings: Tensor, gain: Tensor, weight: Tensor, dtype: torch.dtype) -> None:
        self._embeddings, self._gain, self._weight = embeddings, gain, weight
        self._rows = torch.empty(len(embeddings), len(weight), dtype=dtype)
        self._missing = set(range(-(-len(embeddings) // _BLOCK)))

    def __call__(self, indices: Tensor) -> Tensor:
        if self._missing:
            for block in self._missing & set((indices // _BLOCK).unique().tolist()):
                here = slice(block * _BLOCK, (block + 1) * _BLOCK)
                part = self._embeddings[here]
                self._rows[here] = ((part - part.mean(1, keepdim=True)) * self._gain) @ self._weight.T
                self._missing.remove(block)
        return F.embedding(indices, self._rows)


def _attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal, ``[rows, heads, seq, d_head]``. Torch's own is slow in bf16, and in fp32 with products sent to
    oneDNN (``saetui.split.training.matmul``)."""
    to_onednn = torch.backends.mkldnn.matmul.fp32_precision == "bf16"  # pyright: ignore[reportAttributeAccessIssue]
    if q.dtype == torch.float32 and not to_onednn:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    seq = q.shape[2]
    later = torch.full((seq, seq), float("-inf"), dtype=q.dtype).triu(1)
    scores = torch.matmul(q, k.transpose(-1, -2)).mul_(q.shape[-1] ** -0.5).add_(later)
    return torch.matmul(torch.softmax(scores, -1), v)


class _Linear:
    """``x @ weight.T + bias``, then GELU if so; ``weight [out, in]``."""

    def __init__(self, weight: Tensor, bias: Tensor, dtype: torch.dtype, gelu: bool = False) -> None:
        self._weight = weight.to(dtype).contiguous()
        self._bias = bias.to(dtype)
        self._gelu = gelu

    def __call__(self, x: Tensor) -> Tensor:
        x = x.to(self._weight.dtype)
        if torch.backends.mkldnn.is_available():
            then = "gelu" if self._gelu else "none"
            return torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, then, [], "none")
        out = F.linear(x, self._weight, self._bias)
        return F.gelu(out) if self._gelu else out
