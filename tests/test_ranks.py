"""A run over several devices follows the run on one: two real processes on the CPU, against one."""

from pathlib import Path
from typing import Any

import pytest
import torch

from saetui.errors import UserError
from saetui.runs.ranks import Ranks
from saetui.sae.sae import SAE
from saetui.split.activations.data import ShuffledActivations
from saetui.split.activations.filtered import FilteredRows, WaitEnded
from saetui.split.activations.shared_pieces import SharedPieces
from saetui.split.recipe import SplitRecipe
from saetui.split.training.trainer import Trainer
from tests.ranks_support import on_ranks, save_for_rank, saved_by_rank
from tests.split_support import recipe, relative, world
from tests.tiny import TinyLM, TinyRows

WEIGHTS = ("W_enc", "b_enc", "W_dec", "b_dec")
STEPS = 20
VARIANTS: dict[str, tuple[dict[str, Any], bool]] = {
    "mean": ({}, False),
    "mean sparse": ({}, True),
    "sum": ({"l1_reduction": "sum", "l1_coeff": 0.002}, False),
    "sum sparse": ({"l1_reduction": "sum", "l1_coeff": 0.002}, True),
    "free residual": ({"decoder_norm": "free", "loss": "residual", "init": "random"}, False),
    "mixed target_zeroed": ({"granularity": "mixed", "loss": "target_zeroed"}, False),
    "uneven": ({"batch_size": 127}, False),
    "resampled": ({"data": "all", "init": "random", "resample_every": 128 * 8, "dead_after": 400}, False),
}
"""Recipes, and whether the step is held on its sparse path."""


def trained(given: SplitRecipe, narrow: SAE, sparse: bool, steps: int = STEPS) -> tuple[Trainer, list[float]]:
    """The trainer after some steps, by itself or as a rank, and the losses of the steps."""
    lm, rows, ranks = TinyLM(), TinyRows(6000), Ranks()
    pieces = FilteredRows(lm, rows, given, narrow)
    pieces.rows_per_piece = 100
    source = ShuffledActivations(SharedPieces(pieces, ranks) if ranks.count > 1 else pieces, given, narrow)
    trainer = Trainer(given, source, lm.d_in, narrow, ranks=ranks)
    losses = []
    for _ in range(steps):
        trainer.core.sparse = sparse
        trainer.advance()
        losses.append(trainer.metrics()["loss"])
    return trainer, losses


def work_on_all(folder: Path, recipes: dict[str, tuple[SplitRecipe, bool]], narrow: SAE) -> None:
    for name, (given, sparse) in recipes.items():
        trainer, losses = trained(given, narrow, sparse)
        save_for_rank(folder, name, (trainer.state(), trainer.core.sae(), losses))


def test_two_ranks_reach_the_loss_and_weights_of_one_process(tmp_path: Path) -> None:
    narrow = world()[2]
    recipes = {name: (recipe(**values), sparse) for name, (values, sparse) in VARIANTS.items()}
    on_ranks(work_on_all, tmp_path, recipes, narrow)
    for name, (given, sparse) in recipes.items():
        alone, losses = trained(given, narrow, sparse)
        (state, sae, shared_losses), other = saved_by_rank(tmp_path, name)
        for key, tensor in state[0].items():
            assert torch.equal(tensor, other[0][0][key]), (name, key)  # ranks are alike, bit by bit
        for key in ("source.block", "source.order", "silent_tokens"):
            assert torch.equal(state[0][key], alone.state()[0][key]), (name, key)
        assert shared_losses == pytest.approx(losses, rel=1e-5), name
        for weight in WEIGHTS:
            assert relative(getattr(sae, weight), getattr(alone.core.sae(), weight)) < 1e-5, (name, weight)
        # Two processes each compute half of the pieces, and all of them once.
        assert state[1]["source"]["tokens_computed"] == alone.state()[1]["source"]["tokens_computed"], name


def meet_problems(folder: Path, given: SplitRecipe, narrow: SAE) -> None:
    ranks = Ranks()

    class Broken(FilteredRows):
        def read(self, number: int, poll: Any = lambda read: None) -> Any:
            if number == 3:
                raise UserError("the file is gone")
            return super().read(number, poll)

    def poll(read: int) -> None:
        if ranks.leads:
            raise WaitEnded

    pieces = SharedPieces(Broken(TinyLM(), TinyRows(6000), given, narrow), ranks)
    with pytest.raises(WaitEnded):  # on all ranks, though one was asked
        pieces.read(0, poll)
    first = pieces.read(0)
    with pytest.raises(UserError, match="the file is gone"):  # on all ranks, though one met it
        pieces.read(2)
    save_for_rank(folder, "first", first.x)


def test_what_ends_a_wait_on_one_rank_ends_it_on_all(tmp_path: Path) -> None:
    narrow = world()[2]
    on_ranks(meet_problems, tmp_path, recipe(), narrow)
    first = FilteredRows(TinyLM(), TinyRows(6000), recipe(), narrow).read(0)
    for x in saved_by_rank(tmp_path, "first"):
        assert torch.equal(x, first.x)


def test_a_batch_is_shared_out_whole() -> None:
    ranks = Ranks()
    assert (ranks.rank, ranks.count, ranks.part(7)) == (0, 1, slice(0, 7))
    for count, n in ((2, 7), (3, 7), (4, 8)):
        parts = []
        for ranks.rank in range(count):
            ranks.count = count
            parts += range(n)[ranks.part(n)]
        assert parts == list(range(n))
