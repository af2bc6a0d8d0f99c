"""Training of the one-layer language models that ship: warm-up, a constant rate, a linear decay.

Up to the decay a training does not depend on its length, so one that is under way can be ended
earlier or later than it was begun for: stopped, and resumed with another ``tokens``, it gives exactly
the model that a training of that length from scratch gives. The data's order is a function of the step.
"""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from saetui.errors import UserError
from saetui.lm.one_layer import OneLayer, OneLayerConfig
from saetui.worlds.muon import Muon
from saetui.worlds.recipes import LMRecipe

log = logging.getLogger(__name__)

CHECKPOINT_TOKENS = 500_000
VALIDATE_TOKENS = 2_000_000


class Trainable(nn.Module):
    """The weights of a one-layer model as parameters; attention's as single matrices, as Muon wants them."""

    MATRICES = ("Q", "K", "V", "O", "in", "out")

    def __init__(self, config: OneLayerConfig, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.config = config
        d, inner = config.d_model, config.n_heads * config.d_head
        for name, shape in config.shapes().items():
            kind, _, part = name.partition("_")
            if kind == "W" and part in self.MATRICES:
                rows, columns = {"O": (inner, d), "in": (d, config.d_mlp), "out": (config.d_mlp, d)}.get(
                    part, (d, inner)
                )
                value = torch.randn(rows, columns, generator=generator) * rows**-0.5
            elif kind == "W":
                value = torch.randn(shape, generator=generator) * 0.02
            else:
                value = torch.ones(shape) if name.endswith(".w") else torch.zeros(shape)
            self.register_parameter(name.replace(".", "/"), nn.Parameter(value))

    def model(self) -> OneLayer:
        """The model whose forward these parameters go through; gradients reach them."""
        h, k, d = self.config.n_heads, self.config.d_head, self.config.d_model
        weights: dict[str, Tensor] = {
            name.replace("/", "."): param for name, param in self.named_parameters()
        }
        for part in "QKV":
            weights[f"W_{part}"] = weights[f"W_{part}"].view(d, h, k).transpose(0, 1)
        weights["W_O"] = weights["W_O"].view(h, k, d)
        return OneLayer(self.config, weights)

    def optimizers(self, recipe: LMRecipe) -> list[torch.optim.Optimizer]:
        """Muon for the hidden matrices, AdamW for the rest (biases and norms without weight decay)."""
        params = dict(self.named_parameters())
        hidden = [params.pop(f"W_{part}") for part in self.MATRICES]
        groups = [
            {"params": [p for name, p in params.items() if name.startswith("W_")]},
            {"params": [p for name, p in params.items() if not name.startswith("W_")], "weight_decay": 0.0},
        ]
        return [
            Muon(hidden, lr=recipe.muon_lr, weight_decay=recipe.weight_decay),
            torch.optim.AdamW(groups, lr=recipe.adam_lr, betas=(0.9, 0.98), weight_decay=recipe.weight_decay),
        ]


class ChunkedCrossEntropy(torch.autograd.Function):
    """Mean cross-entropy of an unembedding, a few hundred tokens at a time.

    The logits of a whole batch would be by far the largest tensor of the training, written and read
    several times over; a chunk of them stays in the cache, and its gradient is taken on the spot.
    """

    CHUNK = 512

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        """``x [n, d]``, ``weight [d, vocab]``, ``bias [vocab]``, ``targets [n]`` → nats per token."""
        x_grad, weight_grad, bias_grad = torch.empty_like(x), torch.zeros_like(weight), torch.zeros_like(bias)
        total = x.new_zeros(())
        for start in range(0, len(x), ChunkedCrossEntropy.CHUNK):
            part = slice(start, start + ChunkedCrossEntropy.CHUNK)
            target = targets[part, None]
            logits = torch.addmm(bias, x[part], weight)
            log_z = logits.logsumexp(-1, keepdim=True)
            total += (log_z - logits.gather(1, target)).sum()
            grad = logits.sub_(log_z).exp_()
            grad.scatter_add_(1, target, grad.new_full(target.shape, -1.0))
            torch.mm(grad, weight.T, out=x_grad[part])
            weight_grad.addmm_(x[part].T, grad)
            bias_grad += grad.sum(0)
        ctx.save_for_backward(x_grad, weight_grad, bias_grad)
        return total / len(x)

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x_grad, weight_grad, bias_grad = ctx.saved_tensors
        scale = grads[0] / len(x_grad)
        return x_grad * scale, weight_grad * scale, bias_grad * scale, None


class NextTokens:
    """Training batches ``[batch_rows, n_ctx + 1]``: every position of a row with the token that follows it.

    The text of a row goes on in the next one, so the last position has its target there; without it
    the last row of ``W_pos`` would never be trained. Epochs are shuffled, each by a permutation that
    depends on the seed and the epoch alone.
    """

    def __init__(self, rows: NDArray[np.integer], batch_rows: int, seed: int) -> None:
        self._rows = rows
        self._batch_rows = batch_rows
        self._seed = seed
        self._batches = (len(rows) - 1) // batch_rows  # the very last row has no next one
        self._epoch: int | None = None

    def __call__(self, step: int) -> Tensor:
        epoch, index = divmod(step, self._batches)
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = np.random.default_rng((self._seed, epoch)).permutation(len(self._rows) - 1)
        return with_next(self._rows, self._order[index * self._batch_rows : (index + 1) * self._batch_rows])


def with_next(rows: NDArray[np.integer], indices: NDArray[np.integer]) -> Tensor:
    """Rows of running text with the first token of the row after each, ``[len(indices), seq + 1]`` int64."""
    return torch.from_numpy(np.hstack([rows[indices], rows[indices + 1, 1:2]]).astype(np.int64))


def learning_rate(recipe: LMRecipe, step: int) -> float:
    """The factor on the learning rates at ``step`` (0 … 1)."""
    warm = min(1.0, (step + 1) / recipe.warmup_steps)
    return warm * min(1.0, (recipe.steps - step) / max(1, recipe.steps - recipe.decay_start))


@torch.no_grad()
def validation_loss(model: OneLayer, rows: Tensor, batch_rows: int = 64) -> float:
    """Cross-entropy in nats per token over ``rows [n, n_ctx + 1]``, every position counted."""
    losses = [
        nn.functional.cross_entropy(
            model.logits(part[:, :-1]).flatten(0, 1), part[:, 1:].flatten(), reduction="sum"
        )
        for part in rows.split(batch_rows)
    ]
    return float(sum(losses)) / rows[:, 1:].numel()


def train_lm(
    recipe: LMRecipe,
    batch: Callable[[int], Tensor],
    validation: Tensor,
    chars_per_token: float,
    folder: Path,
) -> OneLayer:
    """Train, or go on with, the model of ``recipe``; checkpoints and ``log.jsonl`` lie in ``folder``.

    ``batch(step)`` gives ``[batch_rows, n_ctx + 1]`` int64, ``validation`` is of the same width and
    ``chars_per_token`` is its text's. Raises UserError if the checkpoint in ``folder`` is past the point
    where ``recipe`` begins its decay.
    """
    folder.mkdir(parents=True, exist_ok=True)
    net = Trainable(recipe.model, recipe.seed)
    optimizers = net.optimizers(recipe)
    step = _restore(folder / "checkpoint.pt", recipe, net, optimizers)
    batch_tokens = recipe.batch_rows * recipe.model.n_ctx
    every, validate = max(1, CHECKPOINT_TOKENS // batch_tokens), max(1, VALIDATE_TOKENS // batch_tokens)
    log.info(f"{recipe.name}: step {step} of {recipe.steps}, decay from {recipe.decay_start}")
    began, began_at, smooth = time.perf_counter(), step, None
    while step < recipe.steps:
        loss = _train_step(recipe, net, optimizers, batch(step), step)
        smooth = loss if smooth is None else 0.98 * smooth + 0.02 * loss
        step += 1
        if step % every == 0 or step == recipe.steps:
            _save(folder / "checkpoint.pt", recipe, net, optimizers, step)
            rate = (step - began_at) * batch_tokens / (time.perf_counter() - began)
            log.info(
                f"{step * batch_tokens / 1e6:.2f} M tokens, train loss {smooth:.4f}, {rate:,.0f} tokens/s"
            )
        if step % validate == 0 or step == recipe.steps:
            loss = validation_loss(net.model(), validation)
            record = {
                "step": step, "tokens": step * batch_tokens, "train_loss": smooth, "val_loss": loss,
                "val_loss_per_char": loss / chars_per_token, "lr_factor": learning_rate(recipe, step - 1),
                "seconds": time.perf_counter() - began, "clock": time.strftime("%H:%M:%S"),
            }  # fmt: skip
            with (folder / "log.jsonl").open("a") as file:
                file.write(json.dumps(record) + "\n")
            log.info(f"validation loss {loss:.4f} nats/token, {loss / chars_per_token:.4f} nats/character")
    return _frozen(net)


def checkpointed(folder: Path) -> tuple[OneLayer, int]:
    """The model of the last checkpoint in ``folder``, and the tokens it had seen; UserError without one."""
    if not (folder / "checkpoint.pt").exists():
        raise UserError(f"no checkpoint in {folder}")
    saved = torch.load(folder / "checkpoint.pt", weights_only=True)
    net = Trainable(OneLayerConfig(**saved["model"]), 0)
    net.load_state_dict(saved["net"])
    return _frozen(net), saved["step"] * saved["batch_rows"] * net.config.n_ctx


def _frozen(net: Trainable) -> OneLayer:
    model = net.model()
    return OneLayer(model.config, {name: weight.detach().clone() for name, weight in model.weights.items()})


def _train_step(recipe: LMRecipe, net: Trainable, optimizers: list, rows: Tensor, step: int) -> float:
    factor = learning_rate(recipe, step)
    for optimizer, lr in zip(optimizers, (recipe.muon_lr, recipe.adam_lr), strict=True):
        optimizer.zero_grad(set_to_none=True)
        for group in optimizer.param_groups:
            group["lr"] = lr * factor
    model = net.model()
    resid_mid = model.resid_mid(rows[:, :-1])
    final = model.normalised(resid_mid + model.mlp(resid_mid)).flatten(0, 1)
    loss = ChunkedCrossEntropy.apply(final, model.weights["W_U"], model.weights["b_U"], rows[:, 1:].flatten())
    loss.backward()
    nn.utils.clip_grad_norm_(net.parameters(), recipe.clip)
    for optimizer in optimizers:
        optimizer.step()
    return float(loss.detach())


def _save(path: Path, recipe: LMRecipe, net: Trainable, optimizers: list, step: int) -> None:
    state = {
        "step": step,
        "model": asdict(recipe.model),
        "batch_rows": recipe.batch_rows,
        "decay": [recipe.decay_start, recipe.steps],
        "net": net.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
    }
    torch.save(state, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)


def _restore(path: Path, recipe: LMRecipe, net: Trainable, optimizers: list) -> int:
    if not path.exists():
        return 0
    saved = torch.load(path, weights_only=True)
    if saved["model"] != asdict(recipe.model) or saved["batch_rows"] != recipe.batch_rows:
        raise UserError(f"{path} is of another recipe")
    if saved["step"] > recipe.decay_start and saved["decay"] != [recipe.decay_start, recipe.steps]:
        raise UserError(
            f"{path} is at step {saved['step']}, past the decay's beginning at {recipe.decay_start}"
        )
    net.load_state_dict(saved["net"])
    for optimizer, state in zip(optimizers, saved["optimizers"], strict=True):
        optimizer.load_state_dict(state)
    return saved["step"]
