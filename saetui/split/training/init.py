"""Axes I and II: the weights that a wide SAE starts from."""

import torch
from torch import Tensor

from saetui.errors import UsageError
from saetui.sae.sae import SAE
from saetui.split.recipe import SplitRecipe
from saetui.split.training.loss import check_target


def initial_sae(recipe: SplitRecipe, d_in: int, narrow: SAE | None = None) -> SAE:
    """The SAE of ``recipe.d_sae`` features before its first step, fp32 on the CPU.

    ``random``: both matrices Kaiming uniform over their second dimension, biases zero, as in Neel
    Nanda's 1L-Sparse-Autoencoder, which the seed's runs started from. ``narrow``: the narrow SAE's
    ``W_enc``, ``b_enc``, ``W_dec`` in the first features, so that the target keeps its index, and its
    ``b_dec``; the others random, with ``W_enc`` scaled by ``new_rows_scale`` (at 1 their noise hides what
    the narrow SAE already explains). ``narrow_reset``: the same, the target's decoder row random.

    ``normalize_init`` divides every decoder row by its norm and leaves the encoder alone, as the seed did.
    The random draws depend on the seed and the shapes only: the features that two initialisations both
    draw at random are equal up to scale. UsageError where the narrow SAE does not fit.
    """
    generator = torch.Generator().manual_seed(recipe.seed)
    W_enc = kaiming_uniform(d_in, recipe.d_sae, generator)
    W_dec = kaiming_uniform(recipe.d_sae, d_in, generator)
    b_enc, b_dec = torch.zeros(recipe.d_sae), torch.zeros(d_in)
    if recipe.init != "random":
        narrow = _fitting(recipe, d_in, narrow).to("cpu", torch.float32)
        n, reset_row = narrow.d_sae, W_dec[recipe.target].clone()
        W_enc[:, n:] *= recipe.new_rows_scale
        W_enc[:, :n], b_enc[:n], W_dec[:n] = narrow.W_enc, narrow.b_enc, narrow.W_dec
        b_dec = narrow.b_dec.clone()
        if recipe.init == "narrow_reset":
            # At the norm that it had, so that only the direction is new.
            W_dec[recipe.target] = reset_row * (narrow.W_dec[recipe.target].norm() / reset_row.norm())
    if recipe.normalize_init:
        W_dec /= W_dec.norm(dim=1, keepdim=True)
    return SAE(W_enc=W_enc, b_enc=b_enc, W_dec=W_dec, b_dec=b_dec)


def kaiming_uniform(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """``[rows, columns]`` uniform in ±sqrt(6 / columns): torch's ``kaiming_uniform_`` with its defaults."""
    return (torch.rand(rows, columns, generator=generator) * 2 - 1) * (6 / columns) ** 0.5


def _fitting(recipe: SplitRecipe, d_in: int, narrow: SAE | None) -> SAE:
    if narrow is None:
        raise UsageError(
            f"init {recipe.init} starts from a narrow SAE: name one with --sae, or use --init random"
        )
    if narrow.activation != "relu":
        raise UsageError(
            f"init {recipe.init} needs a ReLU SAE, this one is {narrow.activation}: use --init random"
        )
    if narrow.d_in != d_in:
        raise UsageError(f"the narrow SAE reads {narrow.d_in} dimensions, the activations have {d_in}")
    if narrow.d_sae > recipe.d_sae:
        raise UsageError(
            f"d_sae is {recipe.d_sae}, but the narrow SAE already has {narrow.d_sae} features: "
            f"choose at least {narrow.d_sae}, or --init random"
        )
    check_target(narrow, recipe.target)
    return narrow
