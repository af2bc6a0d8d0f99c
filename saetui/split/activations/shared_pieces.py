"""Pieces of filtered activations for several ranks: each is computed by one of them and handed to all."""

from dataclasses import dataclass

import torch

from saetui.errors import UserError
from saetui.runs.ranks import Ranks
from saetui.split.activations.filtered import Piece, Pieces, Poll, WaitEnded


@dataclass(frozen=True)
class _Notice:
    """What a rank says of its piece before it hands it over, or why it has none."""

    kept: int = 0
    rows: int = 0
    strongest: float = 0.0
    computed: bool = False
    problem: Exception | None = None


class SharedPieces:
    """``Pieces`` that every rank reads in the same order: of as many as there are ranks, each computes one.

    So a language model's work is divided by the ranks, and all of them still see the whole stream, in the
    corpus's order: which tokens make a batch does not depend on how many ranks there are. A wait that ends
    on one rank, or data that cannot be read there, ends with the same exception on all.
    """

    def __init__(self, pieces: Pieces, ranks: Ranks) -> None:
        self._pieces, self._ranks = pieces, ranks
        self.rows, self.rows_per_piece = pieces.rows, pieces.rows_per_piece
        self.d_in, self.device = pieces.d_in, pieces.device
        self._held: dict[int, Piece] = {}

    def read(self, number: int, poll: Poll = lambda read: None) -> Piece:
        """As ``Pieces.read``."""
        if number not in self._held:
            self._held = {}  # before its successors need the room
            self._held = self._exchange(number - number % self._ranks.count, poll)
        return self._held[number]

    def _exchange(self, first: int, poll: Poll) -> dict[int, Piece]:
        own, problem = None, None
        try:
            own = self._pieces.read(first + self._ranks.rank, poll)
        except (UserError, WaitEnded) as error:
            problem = error
        notices = self._ranks.gathered(
            _Notice(problem=problem)
            if own is None
            else _Notice(len(own.x), own.rows, own.strongest, own.computed)
        )
        for notice in notices:
            if notice.problem is not None:
                raise problem or notice.problem
        return {first + rank: self._handed(own, rank, notice) for rank, notice in enumerate(notices)}

    def _handed(self, own: Piece | None, source: int, notice: _Notice) -> Piece:
        """The piece of rank ``source``, on every rank."""
        if source == self._ranks.rank and own is not None:
            x, places = own.x.contiguous(), own.places
        else:
            x = torch.empty(notice.kept, self.d_in, dtype=torch.float16, device=self.device)
            places = torch.empty(notice.kept, dtype=torch.long)
        if notice.kept:
            self._ranks.shared(x, source)
            self._ranks.shared(places, source)
        return Piece(x, places, notice.rows, notice.strongest, notice.computed)
