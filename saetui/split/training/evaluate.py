"""How good an SAE is on held-out rows, each number by its one definition."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from saetui.atomic import write_atomic
from saetui.corpus.rows import TokenRows, batches
from saetui.errors import UserError
from saetui.features.encoder import Dictionary
from saetui.features.row_store import identity
from saetui.lm.base import AtHook, LanguageModel
from saetui.settings import cache_root
from saetui.split.activations.filtered import activations, on_device

_KEPT_NUMBERS = 16_000_000
"""Numbers that an evaluation keeps for the next one, at most: 64 MB for FVU and L0, 64 MB for the loss."""
_BASELINES = 2
"""Part of the key of the losses that are kept on disk: raise it when they are computed another way."""


@dataclass(frozen=True)
class Quality:
    """Of an SAE on ``tokens`` held-out tokens, which no filter has touched; BOS positions do not count.

    ``fvu = Σ|x - x̂|² / Σ|x - x̄|²``, x̄ the mean over all the tokens; ``l0``: mean number of features above
    zero; ``density [d_sae]``: share of tokens on which each feature is above zero.
    """

    tokens: int
    fvu: float
    l0: float
    density: Tensor


@dataclass(frozen=True)
class LossRecovered:
    """Next-token cross-entropy in nats, over the predictions made at all positions but BOS: of the model
    (``ce``), with the activations at the hook point replaced by their reconstructions (``ce_sae``) and by
    zero (``ce_zero``), BOS's left as they are. ``ce_recovered = (ce_zero - ce_sae) / (ce_zero - ce)``."""

    ce: float
    ce_sae: float
    ce_zero: float

    @property
    def ce_recovered(self) -> float:
        return (self.ce_zero - self.ce_sae) / (self.ce_zero - self.ce)


def as_metrics(quality: Quality, loss: LossRecovered) -> dict[str, Any]:
    """What an evaluation record says of both."""
    return {
        "eval": True,
        "eval_tokens": quality.tokens,
        "fvu": quality.fvu,
        "l0": quality.l0,
        "ce": loss.ce,
        "ce_sae": loss.ce_sae,
        "ce_zero": loss.ce_zero,
        "ce_recovered": loss.ce_recovered,
    }


class Evaluation:
    """Evaluates SAEs on the first rows of ``rows``: quality on about ``tokens`` tokens, and the loss on
    about ``ce_tokens`` of them. What does not depend on the SAE is computed once: activations and what goes
    on from them to the loss where they fit into memory (``_KEPT_NUMBERS``), the losses without an SAE once on
    a machine (they are kept in the cache folder)."""

    def __init__(self, lm: LanguageModel, rows: TokenRows, tokens: int, ce_tokens: int) -> None:
        self._lm, self._bos, self._identity = lm, rows.bos, identity(lm, rows)
        self._rows_per_forward = 32 if lm.device.type == "cpu" else 256
        per_row = rows.seq_len - rows.bos
        count = -(-max(tokens, ce_tokens) // per_row)
        read = list(batches(rows, 0, count, self._rows_per_forward))
        if not read:
            raise UserError(f"{rows.name} has no rows held out for evaluation")
        self._tokens = np.concatenate(read)
        self._quality_rows = min(-(-tokens // per_row), len(self._tokens))
        self._ce_rows = min(-(-ce_tokens // per_row), len(self._tokens))
        self._baseline: tuple[float, float] | None = None
        self._x: list[Tensor] | None = None
        self._at_hook: list[AtHook] | None = None

    @torch.no_grad()
    def quality(self, sae: Dictionary) -> Quality:
        device = self._lm.device
        squared_error = sum_x2 = torch.zeros((), dtype=torch.float64, device=device)
        sum_x = torch.zeros(self._lm.d_in, dtype=torch.float64, device=device)
        firings = torch.zeros(sae.d_sae, dtype=torch.float64, device=device)
        tokens = 0
        for x in self._activations():
            f = sae.encode(x)
            squared_error = squared_error + (sae.decode(f) - x).double().square().sum()
            sum_x += x.double().sum(0)
            sum_x2 = sum_x2 + x.double().square().sum()
            firings += torch.ones(len(f), device=device) @ torch.sign(f)  # 4 times as fast as (f > 0).sum(0)
            tokens += len(x)
        variance = sum_x2 - sum_x.square().sum() / tokens
        return Quality(
            tokens=tokens,
            fvu=float(squared_error / variance),
            l0=float(firings.sum() / tokens),
            density=(firings / tokens).float().cpu(),
        )

    def _activations(self) -> Iterator[Tensor]:
        """Of the rows that quality is measured on, ``[n, d_in]`` batch by batch; read once where they fit."""
        if self._x is not None:
            yield from self._x
            return
        read: list[Tensor] = []
        for batch in self._batches(self._quality_rows):
            x = activations(self._lm, batch, self._bos).flatten(0, 1)
            if self._fits(self._quality_rows):
                read.append(x)
            yield x
        self._x = read or None

    def _forwards(self) -> Iterator[AtHook]:
        """Of the rows that the loss is measured on, batch by batch, likewise."""
        if self._at_hook is not None:
            yield from self._at_hook
            return
        held: list[AtHook] = []
        for batch in self._batches(self._ce_rows):
            forward = self._lm.at_hook(on_device(batch, self._lm.device))
            if self._fits(2 * self._ce_rows):  # the residual stream too
                held.append(forward)
            yield forward
        self._at_hook = held or None

    def _fits(self, rows: int) -> bool:
        return rows * self._tokens.shape[1] * self._lm.d_in <= _KEPT_NUMBERS

    @torch.no_grad()
    def loss_recovered(self, sae: Dictionary) -> LossRecovered:
        self._baseline = self._baseline or self._kept_baseline()
        ce, ce_zero = self._baseline
        return LossRecovered(ce=ce, ce_sae=self._ce(lambda x: sae.decode(sae.encode(x))), ce_zero=ce_zero)

    def _kept_baseline(self) -> tuple[float, float]:
        """The loss with the activations as they are, and with zero in their place."""
        key = f"{_BASELINES} {self._identity} {self._ce_rows} {self._rows_per_forward}"
        about = sha256(key.encode()).hexdigest()[:16]
        path = cache_root() / "baselines" / f"{about}.json"
        with suppress(OSError, ValueError):
            ce, ce_zero = json.loads(path.read_text())
            return ce, ce_zero
        found = self._ce(lambda x: x), self._ce(torch.zeros_like)
        with suppress(OSError):  # then they are computed again next time
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, json.dumps(found).encode())
        return found

    def _ce(self, replace: Callable[[Tensor], Tensor]) -> float:
        """The loss with ``replace(x)`` in the place of the activations ``x``, BOS's apart."""
        skip = int(self._bos)
        total, count = 0.0, 0
        for forward in self._forwards():
            own = forward.activations
            losses = forward.losses(torch.cat([own[:, :skip], replace(own[:, skip:])], 1))[:, skip:]
            total += float(losses.double().sum())
            count += losses.numel()
        return total / count

    def _batches(self, rows: int) -> list[NDArray[np.integer]]:
        size = self._rows_per_forward
        return [self._tokens[start : min(start + size, rows)] for start in range(0, rows, size)]
