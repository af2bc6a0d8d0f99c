"""A few steps of a split, tried out: what it would cost here, where no run has been to go by."""

import time
from collections.abc import Callable

import torch
from torch import Tensor

from saetui.corpus.rows import TokenRows
from saetui.errors import UsageError
from saetui.lm.base import LanguageModel
from saetui.sae.sae import SAE
from saetui.split.memory import training_bytes
from saetui.split.pace import Trial
from saetui.split.recipe import SplitRecipe
from saetui.split.training.init import initial_sae
from saetui.split.training.step import TrainStep

MOST_ACTIVATIONS = 1 << 22
"""Of a step of the trial, tokens × features: a wide SAE is tried on fewer tokens."""
LEAST_TOKENS = 128
MOST_BYTES = 2**30
"""Of the weights and what training adds: a number that is still being typed must not fill the memory."""
STEPS = 2
"""That are timed, after one that allocates and tunes."""
SPARSE_L0 = 32
"""Features that fire on a token of the SAE that is taken for a sparse one."""


def try_out(
    recipe: SplitRecipe,
    lm: LanguageModel,
    narrow: SAE,
    rows: TokenRows,
    between: Callable[[], None] = lambda: None,
) -> Trial:
    """Seconds a token (wall) of ``recipe`` on the first of ``rows``. A guess: a wide SAE is tried on fewer
    tokens than a batch has, and its sparse steps by torch's operators, which is the slower way. ``between``
    is called between steps, and may raise. UsageError for an SAE that is too large to be tried."""
    if training_bytes(recipe, lm.d_in) > MOST_BYTES:
        raise UsageError(f"{recipe.d_sae:,} features are too many to be tried out beforehand")
    batch = max(LEAST_TOKENS, min(recipe.batch_size, MOST_ACTIVATIONS // recipe.d_sae))
    tokens = torch.as_tensor(rows.read(0, -(-batch // (rows.seq_len - 1))).astype("int64"), device=lm.device)
    text_s = _seconds(lambda: lm.activations(tokens), 1, between) / tokens.numel()
    x = lm.activations(tokens).reshape(-1, lm.d_in)[:batch].float()
    core = TrainStep(
        initial_sae(recipe, lm.d_in, narrow),
        batch_size=len(x),
        device=lm.device,
        l1_reduction=recipe.l1_reduction,
        decoder_norm=recipe.decoder_norm,
        dtype=recipe.dtype,
    )

    def step() -> Tensor:
        return core(x, x, lr=0.0, l1_coeff=0.0).squared_error

    dense_s = _seconds(step, STEPS, between) / len(x)
    _make_sparse(core, x)
    return Trial(text_s, dense_s, _seconds(step, STEPS, between) / len(x))


@torch.no_grad()
def _make_sparse(core: TrainStep, x: Tensor) -> None:
    """Lowers the biases until ``SPARSE_L0`` features fire on a token."""
    before = (x[:LEAST_TOKENS] - core.b_dec) @ core.W_encT.T + core.b_enc
    most = min(SPARSE_L0, before.shape[1])
    core.b_enc -= before.topk(most, dim=1).values[:, -1].mean()


def _seconds(work: Callable[[], Tensor], times: int, between: Callable[[], None]) -> float:
    """Of one, after a first that is not timed."""
    float(work().sum())  # read back, so that a GPU is waited for
    between()
    begun = time.perf_counter()
    done = [work() for _ in range(times)]
    float(done[-1].sum())
    took = (time.perf_counter() - begun) / times
    between()
    return took
