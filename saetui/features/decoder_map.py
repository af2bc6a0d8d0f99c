"""Decoder rows of several dictionaries in one plane: features that write alike lie together."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from saetui.errors import UsageError, UserError

Method = Literal["pca", "umap"]
NEIGHBOURS = 15
"""Of UMAP: its own default. Fewer show finer groups, more the whole."""


@dataclass(frozen=True)
class DecoderMap:
    """``x`` and ``y`` of every feature of every dictionary, by the dictionary's name. ``explained``: with PCA
    the share of the directions' variance along x and y together, with UMAP None: its plane is not linear,
    and only who is near whom means anything."""

    method: Method
    explained: float | None
    x: dict[str, list[float]]
    y: dict[str, list[float]]


def decoder_map(dictionaries: Mapping[str, Tensor], method: Method = "pca", seed: int = 0) -> DecoderMap:
    """Maps decoder rows ``[d_sae, d_in]``, given by the names of their dictionaries, by their directions
    alone: rows are normalised, and one of zeros stays what it is.

    UMAP by cosine distance (McInnes, Healy, Melville, arXiv 1802.03426), the same for the same ``seed``.
    UsageError for rows of different widths or too few of them; UserError where umap-learn is not installed.
    """
    if len({rows.shape[1] for rows in dictionaries.values()}) != 1:
        raise UsageError("only dictionaries of one hook point can be on one map: their widths differ")
    rows = torch.cat(
        [torch.nn.functional.normalize(w.detach().cpu().double(), dim=1) for w in dictionaries.values()]
    )
    if len(rows) < 3:
        raise UsageError(f"a map of {len(rows)} features shows nothing: at least 3 are needed")
    plane, explained = _pca(rows) if method == "pca" else (_umap(rows, seed), None)
    parts = dict(zip(dictionaries, plane.split([len(w) for w in dictionaries.values()]), strict=True))
    return DecoderMap(
        method,
        explained,
        {name: part[:, 0].tolist() for name, part in parts.items()},
        {name: part[:, 1].tolist() for name, part in parts.items()},
    )


def _pca(rows: Tensor) -> tuple[Tensor, float]:
    """The two directions of most variance; of their two signs that with the larger entries positive."""
    centred = rows - rows.mean(0)
    values, vectors = torch.linalg.eigh(centred.T @ centred)
    axes = vectors[:, -2:].flip(1)
    axes = axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()
    return centred @ axes, float(values[-2:].sum() / values.clamp(min=0).sum().clamp(min=1e-30))


def _umap(rows: Tensor, seed: int) -> Tensor:
    try:
        from umap import UMAP  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError(
            "UMAP needs a package that is not installed: pip install 'saetui[map]', or use --method pca"
        ) from None
    neighbours = min(NEIGHBOURS, len(rows) - 1)
    embed = UMAP(n_neighbors=neighbours, metric="cosine", random_state=seed, n_jobs=1)
    return torch.from_numpy(embed.fit_transform(rows.float().numpy())).double()
