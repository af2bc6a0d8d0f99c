"""Axis IV: what a wide SAE is trained to minimise, in the plainest form (autograd works on it).

``saetui.split.training.step`` computes the same gradients by hand; this is what its tests hold it against,
and where the terms are defined. With a batch of B tokens ``x``, features ``f``, and target activations ``y``:

    loss = mse + l1_coeff * l1
    mse  = mean over tokens of the squared error, summed over d_in:   1/B Σ_t |x̂_t - y_t|²
    l1   = Σ_f activations, averaged over the batch ("mean") or summed over it ("sum", the convention of
           Neel Nanda's training code, under which the coefficient depends on the batch size);
           with free decoder norms every activation counts times the norm of its decoder row.

- ``standard``: y = x.
- ``target_zeroed``: y = x, and the target's activation is set to zero before decoding and before the L1
  term. Its encoder and decoder rows then get no gradient: they stay as they were initialised, and what the
  target explained has to be explained by others.
- ``residual``: y = x - (the narrow SAE's reconstruction with its target's activation set to zero). The SAE
  still *reads* x: its features are then functions of the activations like those of any other SAE, so that
  probes, contexts and the judge need no special case, and together with the frozen rest of the narrow SAE
  it is again one plain SAE of x (``deployed``). Reading y instead would make every feature a function of
  the narrow SAE's error, which nothing outside training has at hand.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from saetui.errors import UsageError
from saetui.sae.sae import SAE
from saetui.split.defaults import check_narrow_feature
from saetui.split.recipe import SplitRecipe


@dataclass(frozen=True)
class LossParts:
    """0-d tensors; ``total = mse + l1_coeff * l1``."""

    total: Tensor
    mse: Tensor
    l1: Tensor


def sae_loss(sae: SAE, x: Tensor, y: Tensor, l1_coeff: float, recipe: SplitRecipe) -> LossParts:
    """The loss of activations ``x [tokens, d_in]`` against ``y`` (same shape), see above."""
    f = torch.relu((x - sae.b_dec) @ sae.W_enc + sae.b_enc)
    if (silent := silent_feature(recipe)) is not None:
        keep = torch.ones(sae.d_sae, dtype=f.dtype, device=f.device)
        keep[silent] = 0
        f = f * keep
    error = f @ sae.W_dec + sae.b_dec - y
    mse = error.square().sum(1).mean()
    weighted = f * sae.W_dec.norm(dim=1) if recipe.decoder_norm == "free" else f
    l1 = weighted.sum() if recipe.l1_reduction == "sum" else weighted.sum(1).mean()
    return LossParts(mse + l1_coeff * l1, mse, l1)


def silent_feature(recipe: SplitRecipe) -> int | None:
    """The wide SAE's feature that the loss sees at zero."""
    return recipe.target if recipe.loss == "target_zeroed" else None


def training_target(recipe: SplitRecipe, x: Tensor, narrow: SAE | None) -> Tensor:
    """``y`` for activations ``x [tokens, d_in]``. UsageError where the loss needs a narrow SAE."""
    if recipe.loss != "residual":
        return x
    return x - without_target(narrow_sae(recipe, narrow), recipe.target, x)


def without_target(narrow: SAE, target: int, x: Tensor) -> Tensor:
    """The narrow SAE's reconstruction of ``x [..., d_in]`` with its target's activation set to zero."""
    f = narrow.encode(x)
    f[..., target] = 0
    return narrow.decode(f)


def narrow_sae(recipe: SplitRecipe, narrow: SAE | None) -> SAE:
    """The narrow SAE, which this recipe needs. UsageError where there is none or the target is not in it."""
    if narrow is None:
        raise UsageError("this recipe needs the narrow SAE of its target: name one with --sae")
    check_target(narrow, recipe.target)
    return narrow


def check_target(narrow: SAE, target: int) -> None:
    """UsageError for a target that the narrow SAE does not have."""
    check_narrow_feature(narrow.d_sae, target)


def deployed(recipe: SplitRecipe, sae: SAE, narrow: SAE | None) -> SAE:
    """The plain SAE of x that a run's result is: its reconstruction is the one that the loss measured.

    ``target_zeroed``: the target's encoder is zero, so that it never fires (its decoder row is kept).
    ``residual``: the narrow SAE's features, the target never firing, followed by the trained ones.
    """
    if recipe.loss == "target_zeroed":
        return silenced(sae, recipe.target)
    if recipe.loss != "residual":
        return sae
    rest = silenced(narrow_sae(recipe, narrow).to(sae.device, sae.W_enc.dtype), recipe.target)
    if rest.activation != "relu":
        raise UsageError(f"loss residual needs a ReLU narrow SAE, this one is {rest.activation}")
    b_dec = rest.b_dec + sae.b_dec
    # Each encoder keeps the offset that it was made for: (x - b) W + b_enc' with the common b.
    b_enc = [part.b_enc + (b_dec - part.b_dec) @ part.W_enc for part in (rest, sae)]
    return replace(
        sae,
        W_enc=torch.cat([rest.W_enc, sae.W_enc], 1),
        b_enc=torch.cat(b_enc),
        W_dec=torch.cat([rest.W_dec, sae.W_dec]),
        b_dec=b_dec,
    )


def silenced(sae: SAE, feature: int) -> SAE:
    """``sae`` with a feature that never fires; its decoder row stays."""
    W_enc, b_enc = sae.W_enc.clone(), sae.b_enc.clone()
    W_enc[:, feature] = 0
    b_enc[feature] = 0
    return replace(sae, W_enc=W_enc, b_enc=b_enc)
