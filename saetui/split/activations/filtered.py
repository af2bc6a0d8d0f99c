"""Axis III: what of a corpus a run trains on, piece by piece, in the corpus's order.

A *piece* is what the filter keeps of a fixed number of rows. It depends on the language model, the rows and
the filter, and on nothing else of the recipe: seeds, initialisations, losses and shuffle buffers are free to
differ between two runs that train on the same pieces (``saetui.split.activations.activation_cache`` keeps
them).
"""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from saetui.corpus.rows import TokenRows
from saetui.features.row_store import FP16_MAX, RowStore, identity
from saetui.lm.base import LanguageModel
from saetui.sae.sae import SAE
from saetui.split.activations.disk import PIECE_TOKENS
from saetui.split.recipe import SplitRecipe
from saetui.split.training.loss import narrow_sae

Poll = Callable[[int], None]
"""Called now and then in a long wait, with the tokens read in it; may raise, which ends the wait."""


class WaitEnded(Exception):
    """Raised by a poll because the run was asked to pause or stop."""


@dataclass(frozen=True)
class Piece:
    """``x [kept, d_in]``: the activations kept, rounded to fp16 (2⁻¹¹ of their size), on the CPU or the
    model's device; ``places [kept]``: where each is, ``row * seq_len + position``, int64.

    ``rows`` were read, fewer than others of the corpus where it ends. ``strongest``: the target's largest
    activation on their tokens, whether kept or not; 0 without a filter. ``computed``: by the language model
    just now, not read back.
    """

    x: Tensor
    places: Tensor
    rows: int
    strongest: float
    computed: bool = True


class Pieces(Protocol):
    """The pieces of a corpus, numbered from 0 on."""

    rows: TokenRows
    rows_per_piece: int
    """Rows of every piece but the last."""
    d_in: int
    device: torch.device

    def read(self, number: int, poll: Poll = lambda read: None) -> Piece:
        """Piece ``number``, always the same bits; past the end of the corpus one of no rows."""
        ...


class FilteredRows:
    """Pieces computed by the language model and filtered as the recipe says. BOS positions are left out.

    - ``row``: a row is kept, whole, if the target fires above the threshold on any of its tokens;
    - ``token``: only the tokens on which it does;
    - ``mixed``, and without a filter: all tokens.

    Activations are rounded before they are filtered, so that nothing depends on whether a piece was computed
    or read back. Pieces whose rows are all in ``store`` (``saetui.split.activations.indexed``) are filtered
    from there, to the same bits.
    """

    def __init__(
        self,
        lm: LanguageModel,
        rows: TokenRows,
        recipe: SplitRecipe,
        narrow: SAE | None = None,
        store: RowStore | None = None,
    ) -> None:
        self.lm, self.rows, self._store = lm, rows, store
        self.d_in, self.device = lm.d_in, lm.device
        self.rows_per_piece = max(1, PIECE_TOKENS // rows.seq_len)
        self._rows_per_forward = 32 if lm.device.type == "cpu" else 512
        filtered = recipe.data == "filtered" and recipe.granularity != "mixed"
        self._narrow = narrow_sae(recipe, narrow).to(lm.device) if filtered else None
        self._recipe = recipe

    def key(self) -> str:
        """Equal keys promise equal pieces: what ``identity`` says, and the filter."""
        recipe = self._recipe
        parts: list[Any] = [identity(self.lm, self.rows), self.rows_per_piece]
        if self._narrow is not None:
            parts += [recipe.granularity, recipe.threshold, _reading(self._narrow, recipe.target)]
        return sha256(repr(parts).encode()).hexdigest()[:16]

    def about(self) -> dict[str, Any]:
        """What ``key`` stands for, as far as it has names."""
        recipe = self._recipe
        chosen = {"target": recipe.target, "threshold": recipe.threshold, "granularity": recipe.granularity}
        return {
            "model": self.lm.name,
            "hook_name": self.lm.hook_name,
            "corpus": self.rows.name,
            "filter": chosen if self._narrow is not None else None,
        }

    @torch.no_grad()
    def read(self, number: int, poll: Poll = lambda read: None) -> Piece:
        """As ``Pieces.read``."""
        first = number * self.rows_per_piece
        tokens = self.rows.read(first, self.rows_per_piece)
        parts = [torch.empty(0, self.d_in, dtype=torch.float16, device=self.lm.device)]
        places = [torch.empty(0, dtype=torch.long)]
        strongest, read = 0.0, 0
        stored = self._store is not None and first + len(tokens) <= self._store.activation_rows
        for start in range(0, len(tokens), self._rows_per_forward):
            some = tokens[start : start + self._rows_per_forward]
            if self._store is not None and stored:
                x = self._store.rounded(first + start, first + start + len(some)).to(self.device)
            else:
                x = activations(self.lm, some, self.rows.bos).clamp(-FP16_MAX, FP16_MAX).half()
            kept, highest = self._keep(x)
            where = kept.flatten().nonzero().squeeze(1)
            parts.append(x.flatten(0, 1).index_select(0, where))  # several times as fast as x[kept]
            where = where.cpu()
            row, position = where // x.shape[1], where % x.shape[1]
            places.append((first + start + row) * self.rows.seq_len + position + int(self.rows.bos))
            strongest = max(strongest, highest)
            read += x.shape[0] * x.shape[1]
            poll(read)
        return Piece(torch.cat(parts), torch.cat(places), len(tokens), strongest, computed=not stored)

    def _keep(self, x: Tensor) -> tuple[Tensor, float]:
        """A mask ``[rows, positions]`` of the tokens kept, and the target's largest activation."""
        if self._narrow is None:
            return torch.ones(x.shape[:2], dtype=torch.bool, device=x.device), 0.0
        firing = self._narrow.encode_feature(x.float(), self._recipe.target)
        fires = firing > self._recipe.threshold
        if self._recipe.granularity == "row":
            fires = fires.any(1, keepdim=True).expand_as(fires)
        return fires, float(firing.max())


@torch.no_grad()
def activations(lm: LanguageModel, tokens: Any, bos: bool) -> Tensor:
    """Activations ``[rows, positions, d_in]`` of integer ``tokens`` (NumPy, ``[rows, seq]``), without the BOS
    position where there is one."""
    x = lm.activations(on_device(tokens, lm.device))
    return x[:, 1:] if bos else x


def on_device(tokens: NDArray[np.integer], device: torch.device) -> Tensor:
    """``tokens``, uint16 or int32, as int64 on ``device``, moved there in their own size; a GPU is not waited
    for."""
    signed = np.ascontiguousarray(tokens).view(f"int{8 * tokens.itemsize}")  # torch's uint16 can do little
    moved = torch.from_numpy(signed)
    moved = moved.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else moved.to(device)
    wide = moved.long()
    return wide.bitwise_and_(0xFFFF) if tokens.dtype == np.uint16 else wide


def _reading(narrow: SAE, target: int) -> str:
    """The weights that decide when the target fires: its own, or all of a TopK SAE's, which compete."""
    columns = slice(None) if narrow.activation == "topk" else slice(target, target + 1)
    weights = [narrow.W_enc[:, columns], narrow.b_enc[columns], narrow.b_dec]
    if narrow.threshold is not None:
        weights.append(narrow.threshold[columns])
    data = b"".join(weight.detach().cpu().float().contiguous().numpy().tobytes() for weight in weights)
    return sha256(data + f"{narrow.activation} {narrow.k} {target if narrow.k else ''}".encode()).hexdigest()
