"""Axis III: the stream of training activations, from rows of tokens to shuffled batches."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from saetui.corpus.rows import TokenRows
from saetui.errors import UserError
from saetui.lm.base import LanguageModel
from saetui.sae.sae import SAE
from saetui.split.loss import narrow_sae
from saetui.split.recipe import SplitRecipe

SCAN_LIMIT = 4_000_000
"""Tokens read without one that the filter keeps before it is called an error."""
SCAN_RATIO = 8
"""A block is closed early, to get on with training, once so many times its size has been read for it."""
POLL_S = 0.5
"""Seconds between two polls of a long wait."""


Poll = Callable[[int], None]


@dataclass(frozen=True)
class SourceState:
    """Where a source stands: ``tensors`` and JSON ``values`` that ``restore`` takes back."""

    tensors: dict[str, Tensor]
    values: dict[str, Any]


class ActivationSource(Protocol):
    """An endless stream of training activations."""

    @property
    def kept(self) -> float:
        """Share of the tokens read so far that the filter kept."""
        ...

    @property
    def seconds(self) -> float:
        """Time spent so far on reading tokens, on the language model and on the filter."""
        ...

    def next(self, n: int, poll: Poll = lambda read: None) -> Tensor:
        """The next activations ``[n, d_in]``, fp32, on the language model's device.

        ``poll`` is called every half second of a long wait, with the tokens read in it, and may raise,
        which loses nothing: the state is then the one before the wait. UserError where the filter leaves
        no token.
        """
        ...

    def state(self) -> SourceState: ...

    def restore(self, state: SourceState) -> None: ...


class LMActivations:
    """Activations computed from rows of tokens, filtered as the recipe says, and shuffled.

    A *block* of ``buffer_tokens`` kept tokens is collected, shuffled as a whole and handed out batch by
    batch, ``buffer_passes`` times in a new order each, and then the next block is collected. The first
    blocks are smaller (an eighth, a quarter, a half), so that training starts early. BOS positions are
    left out. At its end the corpus starts again from its first row.

    - ``row``: a row is kept, whole, if the target fires above the threshold on any of its tokens;
    - ``token``: only the tokens on which it does;
    - ``mixed``: all tokens, of which ``mixed_share`` of every block are replaced by tokens on which it does,
      drawn with replacement from those met last.

    Deterministic in the recipe's seed; ``state`` holds the block itself, so that resuming costs no forward.
    """

    def __init__(
        self,
        lm: LanguageModel,
        rows: TokenRows,
        recipe: SplitRecipe,
        narrow: SAE | None = None,
        rows_per_forward: int | None = None,
    ) -> None:
        self._lm, self._rows, self._recipe = lm, rows, recipe
        filtered = recipe.data == "filtered"
        self._narrow = narrow_sae(recipe, narrow).to(lm.device) if filtered else None
        self._rows_per_forward = rows_per_forward or (32 if lm.device.type == "cpu" else 512)
        self._generator = torch.Generator().manual_seed(recipe.seed + 1)  # initialisation has the seed itself
        self._block = torch.empty(0, lm.d_in, device=lm.device)
        self._order = torch.empty(0, dtype=torch.long)
        self._hot = torch.empty(0, lm.d_in, device=lm.device)
        self._cursor = 0
        self._passes = 0
        self._blocks = 0
        self._row = 0
        self._tokens_read = 0
        self._tokens_kept = 0
        self._seconds = 0.0

    @property
    def kept(self) -> float:
        return self._tokens_kept / self._tokens_read if self._tokens_read else 0.0

    @property
    def tokens_read(self) -> int:
        return self._tokens_read

    @property
    def seconds(self) -> float:
        return self._seconds

    def next(self, n: int, poll: Poll = lambda read: None) -> Tensor:
        if self._cursor + n > len(self._order):
            if 0 < self._passes < self._recipe.buffer_passes and len(self._block) >= n:
                self._shuffle()
            else:
                self._fill(n, poll)
        indices = self._order[self._cursor : self._cursor + n].to(self._block.device)
        self._cursor += n
        return self._block[indices]

    def state(self) -> SourceState:
        tensors = {
            "block": self._block,
            "order": self._order,
            "hot": self._hot,
            "generator": self._generator.get_state(),
        }
        values = {name: getattr(self, f"_{name}") for name in _COUNTERS}
        return SourceState(tensors, {**values, "corpus": self._rows.fingerprint})

    def restore(self, state: SourceState) -> None:
        if state.values["corpus"] != self._rows.fingerprint:
            raise UserError(
                f"{self._rows.name} has changed since the run was interrupted, which can therefore not go on "
                "where it was: start a new run"
            )
        device = self._lm.device
        self._block = state.tensors["block"].to(device)
        self._order = state.tensors["order"]
        self._hot = state.tensors["hot"].to(device)
        self._generator.set_state(state.tensors["generator"])
        for name in _COUNTERS:
            setattr(self, f"_{name}", state.values[name])

    def _shuffle(self) -> None:
        self._order = torch.randperm(len(self._block), generator=self._generator)
        self._cursor = 0
        self._passes += 1

    def _fill(self, n: int, poll: Poll) -> None:
        """Collects the next block, of at least ``n`` tokens; ``self`` changes once it is whole."""
        start = time.perf_counter()
        recipe = self._recipe
        size = max(n, recipe.buffer_tokens >> max(0, 3 - self._blocks))
        drawn = round(size * recipe.mixed_share) if self._mixed else 0
        chunks = [self._block[self._order[self._cursor :].to(self._block.device)]]  # left from the last block
        hot_chunks = [self._hot]
        have, hot, row = len(chunks[0]), len(self._hot), self._row
        read, kept, ends, strongest = 0, 0, 0, 0.0
        polled = start
        while True:
            enough = have >= size - drawn or (read > SCAN_RATIO * size and have >= n)
            if enough and (hot or not self._mixed):
                break
            tokens = self._rows.read(row, self._rows_per_forward)
            row += len(tokens)
            if len(tokens) < self._rows_per_forward:
                row, ends = 0, ends + 1
            if len(tokens):
                x, firing = self._activations(tokens)
                chunk, hot_chunk = self._filter(x, firing)
                if firing is not None:
                    strongest = max(strongest, float(firing.max()))
                chunks.append(chunk)
                hot_chunks.append(hot_chunk)
                have += len(chunk)
                hot += len(hot_chunk)
                read += x.shape[0] * x.shape[1]
                kept += len(chunk)
            if ends > 1 or read > SCAN_LIMIT:  # a whole pass over the corpus, or enough of it
                self._check_kept(hot if self._mixed else kept, read, strongest)
            if time.perf_counter() - polled > POLL_S:
                poll(read)
                polled = time.perf_counter()
        if self._mixed:
            self._hot = torch.cat(hot_chunks)[-recipe.buffer_tokens // 4 :]
            drawn = round(have * recipe.mixed_share / (1 - recipe.mixed_share))
            indices = torch.randint(len(self._hot), (drawn,), generator=self._generator)
            chunks.append(self._hot[indices.to(self._hot.device)])
        self._block, self._row = torch.cat(chunks), row
        self._tokens_read += read
        self._tokens_kept += kept
        self._blocks += 1
        self._passes = 0
        self._shuffle()
        self._seconds += time.perf_counter() - start

    @property
    def _mixed(self) -> bool:
        return self._recipe.data == "filtered" and self._recipe.granularity == "mixed"

    def _activations(self, tokens: Any) -> tuple[Tensor, Tensor | None]:
        """Activations ``[rows, positions, d_in]`` and the target's ``[rows, positions]``, BOS left out."""
        x = activations(self._lm, tokens, self._rows.bos)
        if self._narrow is None:
            return x, None
        return x, self._narrow.encode_feature(x, self._recipe.target)

    def _filter(self, x: Tensor, firing: Tensor | None) -> tuple[Tensor, Tensor]:
        """The tokens kept, ``[n, d_in]``, and those on which the target fires."""
        if firing is None:
            return x.flatten(0, 1), x[:0, 0]
        fires = firing > self._recipe.threshold
        if self._recipe.granularity == "row":
            return x[fires.any(1)].flatten(0, 1), x[:0, 0]
        if self._recipe.granularity == "token":
            return x[fires], x[:0, 0]
        return x.flatten(0, 1), x[fires]

    def _check_kept(self, kept: int, read: int, strongest: float) -> None:
        if read == 0:
            raise UserError(f"{self._rows.name} has no rows")
        if kept == 0:
            raise UserError(
                nothing_fires(self._rows.name, self._recipe.target, self._recipe.threshold, read, strongest)
            )


_COUNTERS = ("cursor", "passes", "blocks", "row", "tokens_read", "tokens_kept", "seconds")


@torch.no_grad()
def activations(lm: LanguageModel, tokens: Any, bos: bool) -> Tensor:
    """Activations ``[rows, positions, d_in]`` of integer ``tokens`` (NumPy, ``[rows, seq]``), without the BOS
    position where there is one."""
    x = lm.activations(torch.from_numpy(tokens.astype("int64")).to(lm.device))
    return x[:, 1:] if bos else x


def nothing_fires(corpus: str, target: int, threshold: float, read: int, strongest: float) -> str:
    """The line that says so."""
    return (
        f"feature {target} never fires above {threshold:g} on the {read:,} tokens read of {corpus} "
        f"(its strongest activation there: {strongest:.3g}): lower --threshold, or choose another target"
    )
