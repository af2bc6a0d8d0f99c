"""A graft without its gate: a plain ReLU SAE, which every tool opens, its children silent off the target
because they were trained to be.

A gate is what makes a graft exact, and what no other tool knows. Without it the children fire on nearly
every token, and if they are trained on background tokens for what is unexplained there, they become features
of those. Here they learn what a gate would do: on the target's tokens the residual, off them *nothing*.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from saetui.errors import UsageError
from saetui.features.row_store import RowStore
from saetui.runs.cost import Cost
from saetui.sae.sae import SAE
from saetui.split.grafting.graft import Graft, hot_residual
from saetui.split.recipe import GraftRecipe
from saetui.split.training.loss import silenced
from saetui.split.training.step import TrainStep

STREAM_TOKENS = 65_536
"""Consecutive tokens: of the training rows for the background, of the held-out rows to measure on."""
OFFENDERS = 0.9
"""Of the background tokens in a step, the share drawn from those on which a child fires: nearly all others
are silent already and teach nothing."""
LOOK_EVERY = 50
"""Steps between two looks at which these are."""


@dataclass(frozen=True)
class UngatedReport:
    """What doing without the gate costs, on ``tokens`` consecutive held-out tokens, ``hot`` of them the
    target's (above its threshold).

    ``error_*``: mean over the target's tokens of Σ_d (x - x̂)²; ``fvu_*``: over all tokens; both of the narrow
    SAE, the gated graft and the ungated one. ``off_target``: of the other tokens, the share on which a child
    fires; ``off_target_untrained``: the same of the gated children with the gate merely left out.
    ``precision``: of all firings of children, the share on the target's tokens. ``covered``: of the target's
    tokens, the share on which a child fires. ``fvu_off_*``: over the other tokens, where the gated graft is
    the narrow SAE; what the frozen features lose. ``agreement``: Σ ab / (‖a‖ ‖b‖) of the children's
    activations with and without the gate, over all tokens and children: 1 where nothing was lost or leaks.
    ``f1_*``: mean over the expected children, where criteria name some (``saetui.split.judging.child_f1``).
    ``cost``: of the training and of reading for it, beside the graft's own.
    """

    tokens: int
    hot: int
    error_narrow: float
    error_gated: float
    error_ungated: float
    fvu_narrow: float
    fvu_gated: float
    fvu_ungated: float
    off_target: float
    off_target_untrained: float
    precision: float
    covered: float
    fvu_off_narrow: float
    fvu_off_ungated: float
    agreement: float
    cost: Cost
    f1_gated: float | None = None
    f1_ungated: float | None = None


@torch.no_grad()
def ungate(graft: Graft, x_hot: Tensor, background: Tensor, recipe: GraftRecipe) -> SAE:
    """The plain SAE that ``graft`` becomes: the narrow SAE with its target silent, followed by the children.

    From the gated children on, half of every step's tokens are the target's (of ``x_hot [n, d_in]``), where
    the children learn the residual as before; the others are ``background [m, d_in]``, where what they are to
    add up to is zero. The squared error and the L1 term then both silence them there, while the background's
    own error, which would pay them for firing, is not part of the loss. Features keep the graft's numbers.

    The target is silent everywhere, also where it fired below the threshold. UsageError for a narrow SAE
    that is not a ReLU one: its result would be none either.
    """
    narrow = graft.narrow
    if narrow.activation != "relu":
        raise UsageError(
            f"without its gate a graft needs a ReLU narrow SAE, and this one is {narrow.activation}"
        )
    x, y = hot_residual(narrow, x_hot, recipe)
    y = y + narrow.b_dec  # which the step adds to the children's sum, as in any SAE
    n = recipe.batch_size
    children = SAE(graft.child_W_enc, graft.child_b_enc, graft.child_W_dec, narrow.b_dec)
    core = TrainStep(children, batch_size=2 * n, device=x.device, train_b_dec=False)
    generator = torch.Generator().manual_seed(recipe.seed)

    def drawn(tokens: Tensor, count: int) -> Tensor:
        return torch.randint(len(tokens), (count,), generator=generator).to(x.device)

    offenders = background
    for step in range(recipe.steps):
        if step % LOOK_EVERY == 0:
            fires = (core.encode(background) > 0).any(1)
            offenders = background[fires] if fires.any() else background
        of_offenders = round(n * OFFENDERS)
        hot = drawn(x, n)
        cold = background[drawn(background, n - of_offenders)]
        worst = offenders[drawn(offenders, of_offenders)]
        core(
            torch.cat([x[hot], cold, worst]),
            torch.cat([y[hot], narrow.b_dec.expand(n, -1)]),
            lr=recipe.lr,
            l1_coeff=recipe.l1_coeff,
        )
    rest = silenced(narrow, graft.target)
    return replace(
        rest,
        W_enc=torch.cat([rest.W_enc, core.W_encT.T], 1),
        b_enc=torch.cat([rest.b_enc, core.b_enc]),
        W_dec=torch.cat([rest.W_dec, core.W_dec]),
    )


@torch.no_grad()
def measure_ungated(graft: Graft, plain: SAE, x: Tensor, cost: Cost) -> UngatedReport:
    """``graft`` and what ``ungate`` made of it, on held-out activations ``x [n, d_in]`` in the
    corpus's own proportions."""
    hot = graft.gate(x)
    children = plain.encode(x)[:, graft.narrow.d_sae :]
    fires = children > 0
    untrained = (x - graft.b_dec) @ graft.child_W_enc + graft.child_b_enc > 0
    errors = {
        name: (x - reconstruction).double().square().sum(1)
        for name, reconstruction in (
            ("narrow", graft.narrow.decode(graft.narrow.encode(x))),
            ("gated", graft.reconstruct(x)),
            ("ungated", plain.decode(plain.encode(x))),
        )
    }
    return UngatedReport(
        tokens=len(x),
        hot=int(hot.sum()),
        **{f"error_{name}": _mean(error[hot]) for name, error in errors.items()},
        **{f"fvu_{name}": _unexplained(error, x) for name, error in errors.items()},
        off_target=_mean(fires[~hot].any(1)),
        off_target_untrained=_mean(untrained[~hot].any(1)),
        precision=int(fires[hot].sum()) / max(int(fires.sum()), 1),
        covered=_mean(fires[hot].any(1)),
        fvu_off_narrow=_unexplained(errors["narrow"][~hot], x[~hot]),
        fvu_off_ungated=_unexplained(errors["ungated"][~hot], x[~hot]),
        agreement=_agreement(graft.children_encode(x), children),
        cost=cost,
    )


def stream(store: RowStore) -> Tensor:
    """Activations ``[n, d_in]`` of the first ``STREAM_TOKENS`` tokens of the store's rows, BOS left out."""
    count = max(1, STREAM_TOKENS // store.tokens_per_row)
    step = 32 if store.lm.device.type == "cpu" else 512
    parts: list[Tensor] = []
    for start in range(0, count, step):
        x = store.read(start, min(step, count - start))[:, store.first :]
        if not len(x):
            break
        parts.append(x.flatten(0, 1))
    return torch.cat(parts)


def _unexplained(error: Tensor, x: Tensor) -> float:
    """FVU: Σ‖x - x̂‖² / Σ‖x - x̄‖² of squared errors ``[n]`` on ``x [n, d_in]``; 0 without tokens."""
    if not len(x):
        return 0.0
    return float(error.sum()) / max(float((x - x.mean(0)).double().square().sum()), 1e-12)


def _agreement(gated: Tensor, plain: Tensor) -> float:
    """Cosine of two matrices of activations ``[n, k]`` as vectors."""
    return float(torch.cosine_similarity(gated.double().flatten(), plain.double().flatten(), dim=0))


def _mean(values: Tensor) -> float:
    return float(values.double().mean()) if len(values) else 0.0
