"""One feature of a census: its grafts, measured on held-out hot tokens."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from saetui.census.results import CensusRecipe, FeatureCensus
from saetui.census.tokens import Neighbourhood
from saetui.split.finding import measures
from saetui.split.finding.context_information import information
from saetui.split.finding.measures import Observed
from saetui.split.finding.report import SplitThresholds
from saetui.split.grafting.graft import Graft

PERMUTATIONS = 99


@torch.no_grad()
def measured(
    grafts: Mapping[int, Graft],
    x: Tensor,
    y: Tensor,
    around: Neighbourhood,
    density: float,
    recipe: CensusRecipe,
) -> FeatureCensus:
    """What the grafts of one feature, by their number of children, do on held-out hot tokens ``x [n, d_in]``,
    of which the narrow SAE without the feature leaves ``y`` unexplained."""
    some = next(iter(grafts.values()))
    narrow, feature = some.narrow, some.target
    before = _error(y - narrow.encode_feature(x, feature)[:, None] * narrow.W_dec[feature])
    children = {k: graft.children_encode(x) for k, graft in grafts.items()}
    explained = {k: 1 - _error(y - f @ grafts[k].child_W_dec) / before for k, f in children.items()}
    k = choose_children(explained, recipe.least_gain)
    about = FeatureCensus(
        feature=feature,
        density=density,
        threshold=some.threshold,
        held_out=len(x),
        children=k,
        explained=tuple(explained.values()),
        gain=explained.get(k, 0.0),
    )
    if k == 1:
        return about
    return _told_apart(about, _observed(grafts[k], children[k], x, around))


def choose_children(explained: Mapping[int, float], least_gain: float) -> int:
    """The number of children by held-out gain: from 1, the feature as it is, which explains nothing more, to
    the next larger number each of whose additional children adds ``least_gain`` to the explained share, and
    so on; a number that does not pay is passed over."""
    chosen, reached = 1, 0.0
    for k, share in sorted(explained.items()):
        if (share - reached) / (k - chosen) >= least_gain:
            chosen, reached = k, share
    return chosen


def _told_apart(about: FeatureCensus, seen: Observed) -> FeatureCensus:
    """With the numbers of the children chosen."""
    limits = SplitThresholds()
    won = measures.winner(seen)
    covered = won >= 0
    nothing = np.zeros(int(covered.sum()), np.int64)
    rng = np.random.default_rng(0)
    current, previous, following = (part[covered] for part in (seen.current, seen.previous, seen.next))
    token = information(won[covered], current, nothing, rng, PERMUTATIONS)
    before = information(won[covered], previous, current, rng, PERMUTATIONS)
    after = information(won[covered], following, current, rng, PERMUTATIONS)
    repeated = measures.duplicates(seen, limits)
    shares = measures.share(seen)
    margins = measures.token_margins(seen.children)[covered]
    return replace(
        about,
        margin=float(margins.mean()) if len(margins) else 0.0,
        holding=sum(share >= limits.recall and c not in repeated for c, share in enumerate(shares.tolist())),
        entropy=max(0.0, token.entropy),
        by_token=token.corrected,
        by_previous=before.corrected,
        by_next=after.corrected,
        p_value=min(1.0, 2 * max(before, after, key=lambda told: told.corrected).p_value),
    )


def _observed(graft: Graft, children: Tensor, x: Tensor, around: Neighbourhood) -> Observed:
    f = children.double().cpu().numpy()
    mass = np.zeros((int(around.row.max()) + 1, graft.k))
    np.add.at(mass, around.row, f)
    return Observed(
        parent=graft.narrow.encode_feature(x, graft.target).double().cpu().numpy(),
        children=f,
        row=around.row,
        previous=around.previous,
        current=around.current,
        next=around.next,
        mass=mass,
        inside=mass,
        decoder=graft.child_W_dec.double().cpu().numpy(),
        parent_decoder=graft.narrow.W_dec[graft.target].double().cpu().numpy(),
    )


def _error(rest: Tensor) -> float:
    return float(rest.double().square().sum())
