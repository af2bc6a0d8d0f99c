"""The synthetic world: the language model of the grammar."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from saetui.corpus.grammar import SyntheticRows, grammar
from saetui.corpus.tokenizer import Tokenizer
from saetui.lm.one_layer import OneLayer
from saetui.worlds.recipes import LMRecipe
from saetui.worlds.train_lm import train_lm

VALIDATION_ROWS = 2_000


def rows(tokenizer: Tokenizer) -> tuple[SyntheticRows, SyntheticRows]:
    """Training rows and held-out rows; their vocabulary is the grammar's own."""
    return SyntheticRows("train"), SyntheticRows("eval")


def train(recipe: LMRecipe, lm: Path, folder: Path) -> OneLayer:
    """Write the tokenizer into ``lm`` and train the language model; see ``train_lm`` for ``folder``."""
    lm.mkdir(parents=True, exist_ok=True)
    tokenizer = grammar().tokenizer()
    tokenizer.save(lm / "tokenizer.json")
    width = recipe.model.n_ctx + 1  # one token more: the last position's target
    corpus = SyntheticRows("train", seq_len=width)
    held_out = SyntheticRows("eval", seq_len=width).read(0, VALIDATION_ROWS)

    def batch(step: int) -> Tensor:
        return torch.from_numpy(corpus.read(step * recipe.batch_rows, recipe.batch_rows).astype(np.int64))

    return train_lm(
        recipe,
        batch,
        torch.from_numpy(held_out.astype(np.int64)),
        len(tokenizer.decode(held_out[:, 1:].ravel().tolist())) / held_out[:, 1:].size,
        folder,
    )
