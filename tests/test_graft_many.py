"""Grafts trained together are the grafts trained one by one."""

import pytest
import torch

from saetui.errors import UsageError, UserError
from saetui.split.grafting.graft import graft
from saetui.split.grafting.graft_many import graft_many
from saetui.split.recipe import GraftRecipe
from tests.split_support import all_activations, relative, world

FEATURES = ((3, 0.0), (7, 0.1), (3, 0.2), (11, 0.0))


def recipes(**values: float) -> list[GraftRecipe]:
    usual = {"children": 6, "steps": 60, "batch_size": 64, "l1_coeff": 0.3, "lr": 3e-3}
    return [
        GraftRecipe.from_dict({"target": target, "threshold": threshold, "seed": seed, **usual, **values})
        for seed, (target, threshold) in enumerate(FEATURES)
    ]


def test_together_as_one_by_one() -> None:
    _, _, narrow = world()
    x = all_activations()
    pools = [x, x[:2000], x, x[500:]]  # of different lengths
    together = graft_many(narrow, pools, recipes())
    for many, pool, recipe in zip(together, pools, recipes(), strict=True):
        one = graft(narrow, pool, recipe)
        assert (many.target, many.threshold) == (one.target, one.threshold)
        for name in ("child_W_enc", "child_b_enc", "child_W_dec"):
            assert relative(getattr(many, name), getattr(one, name)) < 1e-3, name
        assert torch.equal(many.encode(pool)[:, : narrow.d_sae], one.encode(pool)[:, : narrow.d_sae])


def test_what_cannot_be_trained_together() -> None:
    _, _, narrow = world()
    x = all_activations()
    with pytest.raises(UsageError, match="target, threshold and seed only"):
        graft_many(narrow, [x, x], [*recipes()[:1], *recipes(steps=61)[1:2]])
    with pytest.raises(UserError, match="never fires above"):
        graft_many(narrow, [x], [GraftRecipe(target=3, threshold=1e6)])
