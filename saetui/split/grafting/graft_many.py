"""Many grafts trained at once: the same children as one by one, without a Python step for each of them."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from saetui.errors import UsageError
from saetui.sae.sae import SAE
from saetui.split.grafting.graft import Graft, assembled, child_shares, hot_residual, initial_children
from saetui.split.recipe import GraftRecipe
from saetui.split.training.adam import FusedAdam
from saetui.split.training.schedule import rising_share

BETAS = (0.9, 0.99)
"""As ``TrainStep`` has them."""


def graft_many(narrow: SAE, x_hot: Sequence[Tensor], recipes: Sequence[GraftRecipe]) -> list[Graft]:
    """``[graft(narrow, x, recipe) for x, recipe in zip(x_hot, recipes)]`` up to rounding: the same
    initialisation and the same draws, but every step is one batched matrix product over all grafts.

    Recipes may differ in target, threshold and seed. UsageError where they differ in more, and as ``graft``.
    """
    pairs = [hot_residual(narrow, x, recipe) for x, recipe in zip(x_hot, recipes, strict=True)]
    return train_children(narrow, [x for x, _ in pairs], [y for _, y in pairs], recipes)


@torch.no_grad()
def train_children(
    narrow: SAE,
    x: Sequence[Tensor],
    y: Sequence[Tensor],
    recipes: Sequence[GraftRecipe],
    on_progress: Callable[[], None] = lambda: None,
) -> list[Graft]:
    """Trains on what ``hot_residual`` gave for every recipe: ``x`` and ``y``, ``[n, d_in]`` each, n any.
    ``on_progress`` is called every 20 steps and may raise to stop."""
    recipe = _in_common(recipes)
    step = _BatchedStep(narrow, torch.cat(list(x)), torch.cat(list(y)), recipes, recipe)
    starts = torch.tensor([0, *(len(one) for one in x[:-1])]).cumsum(0)[:, None]
    sizes = [len(one) for one in x]
    for i in range(recipe.steps):
        drawn = torch.stack(
            [
                torch.randint(size, (recipe.batch_size,), generator=generator)
                for size, generator in zip(sizes, step.generators, strict=True)
            ]
        )
        places = (drawn + starts).flatten().to(narrow.device)
        l1_coeff = recipe.l1_coeff * rising_share(i, recipe.steps, recipe.l1_warmup)
        step(places, lr=recipe.lr, l1_coeff=l1_coeff)
        if i % 20 == 0:
            on_progress()
    return [
        assembled(narrow, own, W_encT, b_enc, W_dec, child_shares(_encode(narrow, one, W_encT, b_enc)))
        for own, one, W_encT, b_enc, W_dec in zip(
            recipes, x, step.W_encT, step.b_enc, step.W_dec, strict=True
        )
    ]


class _BatchedStep:
    """The step of ``saetui.split.training.step`` for g grafts of k children, each on its own batch: the dense
    one, unit decoder rows, L1 averaged over the batch, ``b_dec`` frozen. Weights are ``[g, k, d_in]``."""

    def __init__(
        self, narrow: SAE, x: Tensor, y: Tensor, recipes: Sequence[GraftRecipe], recipe: GraftRecipe
    ) -> None:
        self.generators = [torch.Generator().manual_seed(own.seed) for own in recipes]
        children = [initial_children(narrow, recipe, generator) for generator in self.generators]
        self.W_encT = torch.stack([one.W_enc.T for one in children]).contiguous()
        self.b_enc = torch.stack([one.b_enc for one in children]).to(narrow.device)
        self.W_dec = torch.stack([one.W_dec for one in children])
        weights = [self.W_encT, self.b_enc, self.W_dec]
        self.grads = [torch.zeros_like(weight) for weight in weights]
        self.adam = FusedAdam(weights, self.grads, BETAS)
        self._centred, self._y = x - narrow.b_dec, y
        # Most of a step is reading tokens: they go through buffers that stay.
        self._batch = recipe.batch_size
        shape = (len(recipes), recipe.batch_size, narrow.d_in)
        self._x_drawn, self._g = (torch.empty(shape, device=x.device) for _ in range(2))

    def __call__(self, places: Tensor, *, lr: float, l1_coeff: float) -> None:
        """One update from the tokens at ``places [g * batch_size]`` of the pool, graft by graft."""
        dW_encT, db_enc, dW_dec = self.grads
        x, g = self._x_drawn, self._g
        # index_select: on a CPU several times as fast as indexing with a tensor.
        torch.index_select(self._centred, 0, places, out=x.view(-1, x.shape[-1]))
        torch.index_select(self._y, 0, places, out=g.view(-1, g.shape[-1]))
        f = torch.baddbmm(self.b_enc[:, None], x, self.W_encT.mT).relu_()
        g.baddbmm_(f, self.W_dec, beta=-2 / self._batch, alpha=2 / self._batch)  # 2/batch (f W_dec - y)
        torch.bmm(f.mT, g, out=dW_dec)
        df = torch.bmm(g, self.W_dec.mT).add_(l1_coeff / self._batch).mul_(f > 0)
        torch.bmm(df.mT, x, out=dW_encT)
        torch.sum(df, 1, out=db_enc)
        dW_dec -= (dW_dec * self.W_dec).sum(-1, keepdim=True) * self.W_dec
        self.adam.step(lr)
        self.W_dec /= self.W_dec.norm(dim=-1, keepdim=True)


def _encode(narrow: SAE, x: Tensor, W_encT: Tensor, b_enc: Tensor) -> Tensor:
    return torch.relu(torch.addmm(b_enc, x - narrow.b_dec, W_encT.T))


def _in_common(recipes: Sequence[GraftRecipe]) -> GraftRecipe:
    def shared(recipe: GraftRecipe) -> dict[str, object]:
        return {k: v for k, v in recipe.to_dict().items() if k not in ("target", "threshold", "seed")}

    if any(shared(recipe) != shared(recipes[0]) for recipe in recipes):
        raise UsageError("grafts trained together differ in target, threshold and seed only")
    return recipes[0]
