"""What held-out rows show of targets and their children: the arrays that ``measures`` counts on."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from saetui.features.encoder import Dictionary, Encoder
from saetui.features.top_tokens import Progress, activation_batches, encode_features
from saetui.lm.base import LanguageModel
from saetui.sae.sae import SAE
from saetui.split.finding.candidates import Parent
from saetui.split.finding.measures import Observed


@dataclass(frozen=True)
class Unexplained:
    """Fraction of variance unexplained on a target's tokens."""

    before: float
    """By the narrow SAE."""
    after: float
    """By the encoder."""
    without: float
    """By the encoder with the children's activations set to zero."""


@dataclass(frozen=True)
class Observation:
    seen: Observed
    places: NDArray[np.integer]
    """``[n, 2]``: row and position of each token of S."""
    fvu: Unexplained | None


def observe(
    lm: LanguageModel,
    encoder: Dictionary,
    narrow: SAE,
    parents: Sequence[Parent],
    children: Sequence[Sequence[int]],
    tokens: NDArray[np.integer],
    bos: bool,
    on_progress: Progress | None = None,
) -> list[Observation]:
    """Every parent with its ``children``, in one pass over ``tokens [rows, seq_len]``. FVU is taken of the
    first parent alone."""
    n_rows, seq_len = tokens.shape
    union = sorted({feature for features in children for feature in features})
    columns = [[union.index(feature) for feature in features] for features in children]
    parts = [_Part(np.zeros((n_rows, len(c))), np.zeros((n_rows, len(c)))) for c in columns]
    fvu = [_Variance() for _ in range(3)]
    for start, batch, x in activation_batches(lm, tokens):
        a = encode_features(narrow, x, [parent.feature for parent in parents])
        f = encode_features(encoder, x, union)
        if bos:
            a[:, 0], f[:, 0] = 0, 0
        mass = f.sum(1)
        rows = slice(start, start + len(batch))
        for i, (parent, part) in enumerate(zip(parents, parts, strict=True)):
            fires = a[..., i] > 0
            part.mass[rows] = mass[:, columns[i]].cpu().numpy()
            part.inside[rows] = (f[..., columns[i]] * fires[..., None]).sum(1).cpu().numpy()
            at = a[..., i] > parent.threshold
            part.parent.append(a[..., i][at].cpu().numpy().astype(float))
            part.children.append(f[at][:, columns[i]].cpu().numpy().astype(float))
            part.places.append(at.nonzero().cpu().numpy() + np.array([start, 0]))
        _explain(fvu, x[a[..., 0] > parents[0].threshold], narrow, encoder, list(children[0]))
        if on_progress:
            on_progress((start + len(batch)) * (seq_len - bos), n_rows * (seq_len - bos))
    before, after, without = (one.unexplained for one in fvu)
    return [
        Observation(
            _observed(part, parent, features, tokens, encoder, narrow),
            np.concatenate(part.places),
            Unexplained(before, after, without) if i == 0 else None,
        )
        for i, (parent, features, part) in enumerate(zip(parents, children, parts, strict=True))
    ]


@dataclass
class _Part:
    """One parent's arrays while batches come."""

    mass: NDArray[np.floating]
    inside: NDArray[np.floating]
    parent: list[NDArray[np.floating]] = field(default_factory=list[NDArray[np.floating]])
    children: list[NDArray[np.floating]] = field(default_factory=list[NDArray[np.floating]])
    places: list[NDArray[np.integer]] = field(default_factory=list[NDArray[np.integer]])


def _observed(
    part: _Part,
    parent: Parent,
    features: Sequence[int],
    tokens: NDArray[np.integer],
    encoder: Encoder,
    narrow: SAE,
) -> Observed:
    row, position = np.concatenate(part.places).T
    padded = np.pad(tokens.astype(np.int64), ((0, 0), (1, 1)), constant_values=-1)
    return Observed(
        parent=np.concatenate(part.parent),
        children=np.concatenate(part.children),
        row=row,
        previous=padded[row, position],
        current=padded[row, position + 1],
        next=padded[row, position + 2],
        mass=part.mass,
        inside=part.inside,
        decoder=encoder.W_dec[list(features)].cpu().numpy().astype(float),
        parent_decoder=narrow.W_dec[parent.feature].cpu().numpy().astype(float),
    )


def _explain(
    fvu: "list[_Variance]", x: Tensor, narrow: SAE, encoder: Dictionary, children: list[int]
) -> None:
    """Adds tokens ``x [n, d_in]`` to the three that ``Unexplained`` has."""
    before, after, without = fvu
    before.add(x, narrow.decode(narrow.encode(x)))
    f = encoder.encode(x)
    after.add(x, encoder.decode(f))
    f = f.clone()
    f[:, children] = 0
    without.add(x, encoder.decode(f))


class _Variance:
    """Σ‖x - x̂‖² / Σ‖x - x̄‖² over tokens as they come, x̄ their mean; sums in fp64."""

    def __init__(self) -> None:
        self._tokens, self._error, self._square = 0, 0.0, 0.0
        self._sum: Tensor | float = 0.0

    def add(self, x: Tensor, reconstruction: Tensor) -> None:
        self._error += float((x.float() - reconstruction).double().square().sum())
        self._square += float(x.double().square().sum())
        self._sum = self._sum + x.double().sum(0)
        self._tokens += len(x)

    @property
    def unexplained(self) -> float:
        total = self._square - float(torch.as_tensor(self._sum).square().sum()) / max(self._tokens, 1)
        return self._error / max(total, 1e-12)
