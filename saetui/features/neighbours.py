"""Features whose decoder rows point the same way, within one dictionary and across dictionaries."""

import torch
from torch import Tensor

from saetui.errors import UsageError
from saetui.features.encoder import Encoder, check_feature
from saetui.features.results import Neighbour


@torch.inference_mode()
def neighbours(
    encoder: Encoder,
    feature: int,
    *,
    within: Encoder | None = None,
    top: int = 10,
    name: str = "narrow",
    within_name: str = "",
) -> list[Neighbour]:
    """The ``top`` features of ``within`` (None: of ``encoder`` itself) with the highest decoder cosine.

    The feature is no neighbour of itself. A zero decoder row has cosine 0 with everything.
    UsageError for a feature out of range and for dictionaries of different widths.
    """
    check_feature(encoder, feature, name)
    other = encoder if within is None else within
    other_name = within_name or name
    direction, rows = encoder.W_dec[feature], other.W_dec
    if rows.shape[1] != direction.shape[0]:
        raise UsageError(
            f"{name} reads {direction.shape[0]} dimensions and {other_name} {rows.shape[1]}: "
            "only dictionaries of one hook point compare"
        )
    cosine = cosines(direction, rows)
    if other is encoder:
        cosine[feature] = -2  # below every cosine: never among the best
    best = cosine.topk(min(top, other.d_sae - (other is encoder)))
    return [
        Neighbour(other_name, index, value)
        for value, index in zip(best.values.tolist(), best.indices.tolist(), strict=True)
    ]


def cosines(direction: Tensor, rows: Tensor) -> Tensor:
    """Cosine ``[n]`` of ``direction [d]`` with each of ``rows [n, d]``; 0 for a row of zeros."""
    direction = direction.to(rows)
    floor = torch.finfo(rows.dtype).tiny
    return rows @ direction / (rows.norm(dim=-1) * direction.norm()).clamp_min(floor)
