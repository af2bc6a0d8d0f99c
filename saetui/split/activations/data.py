"""The stream of training activations: pieces of a corpus, shuffled and handed out in batches."""

import time
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from saetui.errors import UserError
from saetui.sae.sae import SAE
from saetui.split.activations.filtered import Piece, Pieces, Poll
from saetui.split.recipe import SplitRecipe
from saetui.split.training.loss import narrow_sae
from saetui.split.training.stopwatch import wait_for

SCAN_LIMIT = 4_000_000
"""Tokens read without one that the filter keeps before it is called an error."""
SCAN_RATIO = 8
"""A block is closed early, to get on with training, once so many times its size has been read for it."""
STORED = torch.float16
"""What pieces and blocks are held in."""
POLL_S = 0.5
"""Seconds between two polls of a long wait."""


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
    def tokens_read(self) -> int:
        """Tokens of the corpus read so far, BOS positions apart: what the filter chose from."""
        ...

    @property
    def tokens_computed(self) -> int:
        """Of these, tokens that went through the language model; the others' activations were at hand."""
        ...

    @property
    def ready(self) -> int:
        """Activations that can be handed out before any more are collected."""
        ...

    @property
    def seconds(self) -> float:
        """Time spent so far on reading tokens, on the language model and on the filter."""
        ...

    @property
    def cpu_seconds(self) -> float:
        """The same in CPU time of this process, which what else the machine does leaves alone."""
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


class ShuffledActivations:
    """The tokens of ``pieces``, shuffled.

    A *block* of ``buffer_tokens`` tokens is collected, shuffled as a whole and handed out batch by batch,
    ``buffer_passes`` times in a new order each, and then the next block is collected. The first blocks are
    smaller (an eighth, a quarter, a half), so that training starts early. At its end the corpus starts again
    from its first piece.

    With granularity ``mixed``, for which ``narrow`` is needed, ``mixed_share`` of every block are tokens on
    which the target fires above the threshold, drawn with replacement from those met last.

    Deterministic in the recipe's seed; ``state`` holds the block itself, so that resuming costs no forward.
    """

    def __init__(self, pieces: Pieces, recipe: SplitRecipe, narrow: SAE | None = None) -> None:
        self._pieces, self._recipe = pieces, recipe
        mixed = recipe.data == "filtered" and recipe.granularity == "mixed"
        self._narrow = narrow_sae(recipe, narrow).to(pieces.device) if mixed else None
        self._generator = torch.Generator().manual_seed(recipe.seed + 1)  # initialisation has the seed itself
        empty = torch.empty(0, pieces.d_in, dtype=STORED, device=pieces.device)
        self._block, self._hot = empty, empty
        self._rest = empty
        """What the last block left of the piece that it ended in."""
        self._order = torch.empty(0, dtype=torch.long, device=pieces.device)
        self._cursor = 0
        self._passes = 0
        self._blocks = 0
        self._piece = 0
        self._tokens_read = 0
        self._tokens_computed = 0
        self._tokens_kept = 0
        self._seconds = 0.0
        self._cpu_seconds = 0.0

    @property
    def kept(self) -> float:
        return self._tokens_kept / self._tokens_read if self._tokens_read else 0.0

    @property
    def tokens_read(self) -> int:
        return self._tokens_read

    @property
    def tokens_computed(self) -> int:
        return self._tokens_computed

    @property
    def ready(self) -> int:
        passes_left = max(0, self._recipe.buffer_passes - self._passes)
        return len(self._order) - self._cursor + passes_left * len(self._block)

    @property
    def seconds(self) -> float:
        return self._seconds

    @property
    def cpu_seconds(self) -> float:
        return self._cpu_seconds

    def next(self, n: int, poll: Poll = lambda read: None) -> Tensor:
        if self._cursor + n > len(self._order):
            if 0 < self._passes < self._recipe.buffer_passes and len(self._block) >= n:
                self._shuffle()
            else:
                self._fill(n, poll)
        indices = self._order[self._cursor : self._cursor + n]
        self._cursor += n
        return self._block.index_select(0, indices).float()  # indexing takes three times as long

    def state(self) -> SourceState:
        tensors = {name: getattr(self, f"_{name}") for name in _TENSORS}
        tensors["generator"] = self._generator.get_state()
        values = {name: getattr(self, f"_{name}") for name in _COUNTERS}
        return SourceState(tensors, {**values, "corpus": self._pieces.rows.fingerprint})

    def restore(self, state: SourceState) -> None:
        if state.values["corpus"] != self._pieces.rows.fingerprint:
            raise UserError(
                f"{self._pieces.rows.name} has changed since the run was interrupted, which can therefore "
                "not go on where it was: start a new run"
            )
        for name in _TENSORS:
            setattr(self, f"_{name}", state.tensors[name].to(getattr(self, f"_{name}").device))
        self._generator.set_state(state.tensors["generator"])
        for name in _COUNTERS:
            setattr(self, f"_{name}", state.values[name])

    def _shuffle(self) -> None:
        # On the device as a whole: moving a part of it for every batch would wait for the GPU every time.
        self._order = torch.randperm(len(self._block), generator=self._generator).to(self._block.device)
        self._cursor = 0
        self._passes += 1

    def _fill(self, n: int, poll: Poll) -> None:
        """Collects the next block, of at least ``n`` tokens; ``self`` changes once it is whole."""
        wait_for(self._pieces.device)
        start, start_cpu = time.perf_counter(), time.process_time()
        polled = start
        recipe, pieces = self._recipe, self._pieces
        size = max(n, recipe.buffer_tokens >> max(0, 3 - self._blocks))
        share = recipe.mixed_share if self._narrow else 0.0
        size -= round(size * share)
        self._drop_used()
        room = max(size, len(self._block))
        room += _drawn(room, share)
        block = torch.empty(room, pieces.d_in, dtype=STORED, device=pieces.device)
        block[: len(self._block)] = self._block
        hot_chunks = [self._hot]
        have, hot, rest, number = len(self._block), len(self._hot), self._rest, self._piece
        read, computed, kept, ends, strongest = 0, 0, 0, 0, 0.0

        def poll_now_and_then(more: int) -> None:
            nonlocal polled
            if time.perf_counter() - polled > POLL_S:
                poll(read + more)
                polled = time.perf_counter()

        while True:
            taken = rest[: max(0, size - have)]
            block[have : have + len(taken)] = taken
            have += len(taken)
            rest = rest[len(taken) :]
            enough = have >= size or (read > SCAN_RATIO * size and have >= n)
            if enough and (hot or not self._narrow):
                break
            piece = pieces.read(number, poll_now_and_then)
            number += 1
            if piece.rows < pieces.rows_per_piece:
                number, ends = 0, ends + 1
            if have < size:  # else all that is missing is a token on which the target fires
                rest = piece.x
            hot_chunk, highest = self._firing(piece)
            hot_chunks.append(hot_chunk)
            hot += len(hot_chunk)
            strongest = max(strongest, highest)
            tokens = piece.rows * (pieces.rows.seq_len - int(pieces.rows.bos))
            read += tokens
            computed += tokens if piece.computed else 0
            kept += len(piece.x)
            if ends > 1 or read > SCAN_LIMIT:  # a whole pass over the corpus, or enough of it
                self._check_kept(hot if self._narrow else kept, read, strongest)
        if self._narrow:
            self._hot = torch.cat(hot_chunks)[-recipe.buffer_tokens // 4 :]
            drawn = _drawn(have, share)
            indices = torch.randint(len(self._hot), (drawn,), generator=self._generator)
            block[have : have + drawn] = self._hot.index_select(0, indices.to(self._hot.device))
            have += drawn
        self._block, self._rest, self._piece = block[:have], rest.clone(), number
        self._tokens_read += read
        self._tokens_computed += computed
        self._tokens_kept += kept
        self._blocks += 1
        self._passes = 0
        self._shuffle()
        self._seconds += time.perf_counter() - start
        self._cpu_seconds += time.process_time() - start_cpu

    def _drop_used(self) -> None:
        """Leaves of the block what has not been handed out, so that no two blocks are held."""
        self._block = self._block.index_select(0, self._order[self._cursor :])
        self._order = torch.arange(len(self._block), device=self._block.device)
        self._cursor = 0

    @torch.no_grad()
    def _firing(self, piece: Piece) -> tuple[Tensor, float]:
        """The tokens of a piece that are mixed in, and the target's largest activation on it."""
        if self._narrow is None or len(piece.x) == 0:
            return piece.x[:0], piece.strongest
        firing = self._narrow.encode_feature(piece.x.float(), self._recipe.target)
        return piece.x[firing > self._recipe.threshold], float(firing.max())

    def _check_kept(self, kept: int, read: int, strongest: float) -> None:
        rows, recipe = self._pieces.rows, self._recipe
        if read == 0:
            raise UserError(f"{rows.name} has no rows")
        if kept == 0:
            raise UserError(nothing_fires(rows.name, recipe.target, recipe.threshold, read, strongest))


def _drawn(others: int, share: float) -> int:
    """How many tokens make up ``share`` of a block of which ``others`` are the rest."""
    return round(others * share / (1 - share))


_TENSORS = ("block", "order", "hot", "rest")
_COUNTERS = (
    "cursor",
    "passes",
    "blocks",
    "piece",
    "tokens_read",
    "tokens_computed",
    "tokens_kept",
    "seconds",
    "cpu_seconds",
)


def nothing_fires(corpus: str, target: int, threshold: float, read: int, strongest: float) -> str:
    """The line that says so."""
    return (
        f"feature {target} never fires above {threshold:g} on the {read:,} tokens read of {corpus} "
        f"(its strongest activation there: {strongest:.3g}): lower --threshold, or choose another target"
    )
