"""Training a wide SAE step by step, with or without a run around it."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from saetui.errors import UsageError
from saetui.runs.ranks import Ranks
from saetui.sae.sae import SAE
from saetui.split.activations.data import ActivationSource, Poll, SourceState
from saetui.split.recipe import SplitRecipe
from saetui.split.training.cuda_graph import Number, Replayed
from saetui.split.training.init import initial_sae
from saetui.split.training.loss import deployed, silent_feature, training_target
from saetui.split.training.schedule import l1_coefficient, learning_rate, total_steps
from saetui.split.training.sparse import SparseEngine, sparse_operators
from saetui.split.training.step import StepStats, TrainStep
from saetui.split.training.stopwatch import Stopwatch


class Trainer:
    """A wide SAE on its way from ``recipe``'s initialisation to its last token.

    ``narrow`` is needed where the recipe starts from it, filters by it or trains on what it leaves. All
    that decides the final bits is in ``state``.

    Of several ``ranks`` each has a trainer, whose ``source`` hands out the same batches: every one takes its
    part of a batch, and all of them go through the same states.
    """

    def __init__(
        self,
        recipe: SplitRecipe,
        source: ActivationSource,
        d_in: int,
        narrow: SAE | None = None,
        device: torch.device | str = "cpu",
        ranks: Ranks | None = None,
        sparse_engine: SparseEngine | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        ranks = ranks or Ranks()
        self._part = ranks.part(recipe.batch_size)
        if recipe.batch_size < ranks.count:
            raise UsageError(
                f"batch_size is {recipe.batch_size}: too few tokens for {ranks.count} devices to share"
            )
        self.recipe = recipe
        self.source = source
        self.narrow = narrow.to(device) if narrow is not None else None
        self.step = 0
        """Steps done."""
        self._clock = Stopwatch(torch.device(device))
        self.cpu_seconds = 0.0
        """As ``seconds``, in CPU time of this process."""
        self.core = TrainStep(
            initial_sae(recipe, d_in, narrow),
            batch_size=recipe.batch_size,
            rows=self._part.stop - self._part.start,
            add_up=ranks.add_up if ranks.count > 1 else None,
            device=device,
            betas=(recipe.beta1, recipe.beta2),
            l1_reduction=recipe.l1_reduction,
            decoder_norm=recipe.decoder_norm,
            dtype=recipe.dtype,
            silent=silent_feature(recipe),
            operators=sparse_operators(sparse_engine),
        )
        self._silent_tokens = torch.zeros(recipe.d_sae, dtype=torch.long, device=device)
        self._generator = torch.Generator().manual_seed(recipe.seed + 2)
        self._window = _Window(recipe, d_in, device)
        # NCCL's sums stay out of graphs: a run that hangs in one cannot be told why.
        where = torch.device(device) if ranks.count == 1 else torch.device("cpu")
        self._make = Replayed(self._update, where, say)

    @property
    def tokens(self) -> int:
        """Tokens trained on."""
        return self.step * self.recipe.batch_size

    @property
    def seconds(self) -> float:
        """Spent in steps (not on data, which ``source.seconds`` counts)."""
        return self._clock.seconds

    @property
    def done(self) -> bool:
        return self.step >= total_steps(self.recipe)

    def advance(self, poll: Poll = lambda read: None) -> None:
        """One step. ``poll`` as in ``ActivationSource.next``: where it raises, no step has been made."""
        recipe = self.recipe
        x = self.source.next(recipe.batch_size, poll)
        start_cpu = time.process_time()
        self._clock.start()
        lr, l1_coeff = learning_rate(recipe, self.step), l1_coefficient(recipe, self.step)
        self._make(x, lr, l1_coeff)
        self._window.count(lr, l1_coeff)
        self.step += 1
        every = recipe.resample_every
        if every and self.tokens // every > (self.tokens - recipe.batch_size) // every:
            self._resample(x)
        self._clock.stop()
        self.cpu_seconds += time.process_time() - start_cpu

    def _update(self, x: Tensor, lr: Number, l1_coeff: Number) -> None:
        """The step on the device: nothing is read back from it, so that a GPU never waits for Python."""
        own = x[self._part]
        y = training_target(self.recipe, own, self.narrow)
        stats = self.core(own, y, lr=lr, l1_coeff=l1_coeff)
        self._silent_tokens.add_(self.recipe.batch_size).masked_fill_(stats.firings > 0, 0)
        self._window.add(x, stats, l1_coeff)

    def metrics(self) -> dict[str, Any]:
        """Means over the steps since the last call (one at least), and where the training stands.

        ``l1`` is Σ_f per token whatever the reduction, ``fvu = Σ|x̂ - x|² / Σ|x - x̄|²`` over the training
        tokens, ``dead`` the share of features that have not fired for ``dead_after`` tokens; the rest as
        ``costs``.
        """
        dead = float((self._silent_tokens > self.recipe.dead_after).double().mean())
        return {
            "tokens": self.tokens,
            "step": self.step,
            **self._window.take(),
            "dead": dead,
            **self.costs(),
        }

    def costs(self) -> dict[str, Any]:
        """What has been paid since the start: ``tokens_read`` of the corpus, ``tokens_computed``, those of
        them that went through the language model, ``kept``, the share that the filter kept, and seconds:
        ``lm_s`` on reading, forwards and filter, ``sae_s`` on steps; ``lm_cpu_s`` and ``sae_cpu_s`` are the
        same in CPU time."""
        return {
            "kept": self.source.kept,
            "tokens_read": self.source.tokens_read,
            "tokens_computed": self.source.tokens_computed,
            "lm_s": self.source.seconds,
            "sae_s": self.seconds,
            "lm_cpu_s": self.source.cpu_seconds,
            "sae_cpu_s": self.cpu_seconds,
        }

    def sae(self) -> SAE:
        """The result as it stands: a plain SAE of x, see ``deployed``."""
        return deployed(self.recipe, self.core.sae(), self.narrow)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and JSON values that ``restore`` takes back."""
        source = self.source.state()
        tensors = {
            **{f"sae.{name}": value for name, value in self.core.tensors().items()},
            **{f"source.{name}": value for name, value in source.tensors.items()},
            "silent_tokens": self._silent_tokens,
            "generator": self._generator.get_state(),
        }
        values = {
            "step": self.step,
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "share": self.core.share,
            "sparse": self.core.sparse,
            "screened": self.core.operators.screened,
            "source": source.values,
        }
        return tensors, {"tokens": self.tokens, **values}

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        self.core.load_tensors(_under("sae.", tensors))
        self.source.restore(SourceState(_under("source.", tensors), values["source"]))
        self._silent_tokens.copy_(tensors["silent_tokens"])
        self._generator.set_state(tensors["generator"])
        self.step, self._clock.seconds = values["step"], values["seconds"]
        self.core.share, self.core.sparse = values["share"], values["sparse"]
        self.core.operators.screened = values["screened"]
        self.cpu_seconds = values["cpu_seconds"]

    @torch.no_grad()
    def _resample(self, x: Tensor) -> None:
        """Gives dead features the directions of badly reconstructed tokens of this batch, as in Bricken et
        al. 2023 (there from 819,200 tokens): drawn in proportion to the squared loss; the decoder row is the
        token's own direction, the encoder the same at 0.2 of the mean norm of the living ones."""
        core = self.core
        dead = self._silent_tokens > self.recipe.dead_after
        if core.silent is not None:
            dead[core.silent] = False
        indices = dead.nonzero().squeeze(1)
        if len(indices) == 0 or len(indices) == len(dead):
            return
        y = training_target(self.recipe, x, self.narrow)
        f = core.encode(x)
        if core.silent is not None:
            f[:, core.silent] = 0
        loss = (f @ core.W_dec + core.b_dec - y).square().sum(1)
        weights = loss.square().cpu().double()
        drawn = torch.multinomial(weights, len(indices), replacement=True, generator=self._generator)
        directions = (y - core.b_dec)[drawn.to(y.device)]
        directions /= directions.norm(dim=1, keepdim=True)
        core.W_dec[indices] = directions
        core.W_encT[indices] = directions * 0.2 * core.W_encT[~dead].norm(dim=1).mean()
        core.b_enc[indices] = 0
        core.forget(indices)
        self._silent_tokens[indices] = 0


class _Window:
    """Sums over the steps since metrics were last taken, on the device: a step reads nothing back."""

    def __init__(self, recipe: SplitRecipe, d_in: int, device: torch.device | str) -> None:
        self._batch_size = recipe.batch_size
        self._l1_scale = recipe.batch_size if recipe.l1_reduction == "sum" else 1
        self._sums = torch.zeros(5, dtype=torch.float64, device=device)
        self._sum_x = torch.zeros(d_in, dtype=torch.float64, device=device)
        self._steps = 0
        self._lr = self._l1_coeff = 0.0

    def add(self, x: Tensor, stats: StepStats, l1_coeff: Number) -> None:
        # Sums over a row in fp32, over rows in fp64: in fp64 alone it would be a tenth of a sparse step.
        sum_x2 = x.norm(dim=1).double().square().sum()
        penalty = stats.squared_error + l1_coeff * self._l1_scale * stats.l1
        parts = stats.squared_error, stats.l1, stats.firings.sum(), sum_x2, penalty
        self._sums += torch.stack([part.double() for part in parts])
        self._sum_x += torch.ones(len(x), device=x.device) @ x

    def count(self, lr: float, l1_coeff: float) -> None:
        """A step was made."""
        self._steps += 1
        self._lr, self._l1_coeff = lr, l1_coeff

    def take(self) -> dict[str, float]:
        tokens = self._steps * self._batch_size
        squared_error, l1, firings, sum_x2, loss = self._sums.tolist()
        variance = sum_x2 - float(self._sum_x.square().sum()) / tokens
        self._sums.zero_()
        self._sum_x.zero_()
        self._steps = 0
        return {
            "loss": loss / tokens,
            "mse": squared_error / tokens,
            "l1": l1 / tokens,
            "l0": firings / tokens,
            "fvu": squared_error / variance,
            "lr": self._lr,
            "l1_coeff": self._l1_coeff,
        }


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def train(
    recipe: SplitRecipe,
    source: ActivationSource,
    d_in: int,
    narrow: SAE | None = None,
    device: torch.device | str = "cpu",
    on_metrics: Callable[[dict[str, Any]], None] = lambda _: None,
    every_s: float = 1.0,
) -> SAE:
    """Trains to the end and gives back the SAE; ``on_metrics`` gets ``Trainer.metrics`` every ``every_s``
    seconds and at the end. With ``init="random", data="all", loss="standard"`` no narrow SAE is needed."""
    trainer = Trainer(recipe, source, d_in, narrow, device)
    reported = time.monotonic()
    while not trainer.done:
        trainer.advance()
        if trainer.done or time.monotonic() - reported > every_s:
            on_metrics(trainer.metrics())
            reported = time.monotonic()
    return trainer.sae()
