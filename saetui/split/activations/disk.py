"""The disk space that a split run takes, known before it begins. No torch: the launch form asks."""

import os
import shutil
from pathlib import Path

from saetui.split.recipe import SplitRecipe

PIECE_TOKENS = 16_384
"""Tokens, BOS included, of the rows of a piece: about a second of a small language model on one core."""
CHECKPOINTS = 3
"""At most at a time: the two that are kept, and the one that is being written."""


def checkpoint_bytes(recipe: SplitRecipe, d_in: int) -> int:
    """Of one checkpoint, at most: weights and Adam's two moments in fp32, a full shuffle buffer in fp16 with
    its order (int64), and what is left of a piece."""
    weights = 2 * recipe.d_sae * d_in + recipe.d_sae + d_in
    return 3 * 4 * weights + recipe.buffer_tokens * (2 * d_in + 8) + PIECE_TOKENS * 2 * d_in


def run_bytes(recipe: SplitRecipe, d_in: int) -> int:
    """The most that the run's folder holds while it goes on."""
    written = max(1, recipe.tokens // recipe.checkpoint_every)
    return min(CHECKPOINTS, written) * checkpoint_bytes(recipe, d_in)


def activation_bytes(recipe: SplitRecipe, d_in: int) -> int:
    """Of all activations that it trains on, in fp16 with their places (int64), if the cache keeps them."""
    mixed = recipe.mixed_share if recipe.granularity == "mixed" and recipe.data == "filtered" else 0.0
    return round(recipe.tokens / recipe.buffer_passes * (1 - mixed) * (2 * d_in + 8))


def free_bytes(folder: Path) -> int:
    """On the file system that ``folder`` is on, or will be on. OSError where that is away."""
    folder = folder.absolute()
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free
