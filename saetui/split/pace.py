"""How fast a run goes, and how long it will still take."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

RECENT_S = 20.0
"""Steps grow cheaper as the SAE becomes sparse: the latest say what the next will cost."""
KNOWN_S = 3.0
"""Seconds in which the time left is not guessed at."""


@dataclass(frozen=True)
class Trial:
    """Seconds a token in a few steps that were tried out (``saetui.split.training.trial``): of text through
    the language model, of a step while the SAE is dense, and once it is sparse."""

    text_s: float
    dense_s: float
    sparse_s: float

    def seconds(self, tokens: int, text: float, l1_warmup: float) -> float:
        """A guess: an SAE is taken to be dense for the first half of the L1 term's rise."""
        dense = l1_warmup / 2
        return text * self.text_s + tokens * (dense * self.dense_s + (1 - dense) * self.sparse_s)


class _Sample(NamedTuple):
    now: float
    tokens: int
    lm_s: float
    sae_s: float


class Pace:
    """Of one process of a run. ``take`` is called about once a second, after a step.

    A token costs its share of a step and its share of the block of activations that it comes in, and the
    two fall due at different times: a block is collected before the first of its tokens is trained on.
    Reckoned as one rate, a run's first seconds would promise many times what it takes. So each part has a
    rate of its own, and the tokens that are collected already owe only steps. The first step, in which
    everything is allocated and tuned, counts for nothing.
    """

    def __init__(self, tokens: int, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        """``tokens``: trained on so far, by earlier processes of the run too."""
        self._total = total
        self._clock = clock
        self._taken = (clock(), tokens)
        self._recent: deque[_Sample] = deque()
        self._first: _Sample | None = None

    def due(self, every_s: float) -> bool:
        return self._clock() - self._taken[0] >= every_s

    def take(self, tokens: int, ready: int, lm_s: float, sae_s: float) -> dict[str, float]:
        """``tokens_per_s`` since the last time and, once it can be told, ``eta_s``.

        ``ready``: tokens that are collected and not yet trained on; ``lm_s``, ``sae_s``: seconds of the whole
        run so far in collecting and in steps.
        """
        sample = _Sample(self._clock(), tokens, lm_s, sae_s)
        then, before = self._taken
        self._taken = (sample.now, tokens)
        rate = (tokens - before) / max(sample.now - then, 1e-9)
        self._first = self._first or sample
        self._recent.append(sample)
        while len(self._recent) > 2 and sample.now - self._recent[1].now >= RECENT_S:
            self._recent.popleft()
        left = self._left(sample, ready)
        return {"tokens_per_s": rate} if left is None else {"tokens_per_s": rate, "eta_s": left}

    def _left(self, now: _Sample, ready: int) -> float | None:
        first, since = self._first or now, self._recent[0]
        remaining = max(0, self._total - now.tokens)
        if not remaining:
            return 0.0
        elapsed, trained = now.now - first.now, now.tokens - first.tokens
        if elapsed < KNOWN_S or now.tokens == since.tokens:
            return None
        step = (now.sae_s - since.sae_s) / (now.tokens - since.tokens)
        collect = now.lm_s / (now.tokens + ready)
        # Evaluations and checkpoints are neither.
        other = max(0.0, elapsed - (now.lm_s - first.lm_s) - (now.sae_s - first.sae_s)) / trained
        return remaining * (step + other) + max(0, remaining - ready) * collect
