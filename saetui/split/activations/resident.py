"""Pieces of filtered activations that stay on the GPU: a set passed over many times is computed once."""

from collections.abc import Callable
from dataclasses import replace

import torch

from saetui.split.activations.filtered import Piece, Pieces, Poll

LEFT_FREE = 4 * 2**30
"""Bytes of GPU memory left to everything else at least; of a large GPU a quarter is."""


class ResidentPieces:
    """``Pieces`` that are kept where they are, once read, as long as ``room()``, bytes, lasts; it is asked at
    the first read. What finds no room is read again on every pass."""

    def __init__(self, pieces: Pieces, room: Callable[[], int]) -> None:
        self._pieces, self._ask = pieces, room
        self.rows, self.rows_per_piece = pieces.rows, pieces.rows_per_piece
        self.d_in, self.device = pieces.d_in, pieces.device
        self._held: dict[int, Piece] = {}
        self._room: int | None = None

    def read(self, number: int, poll: Poll = lambda read: None) -> Piece:
        """As ``Pieces.read``."""
        if held := self._held.get(number):
            return held
        piece = self._pieces.read(number, poll)
        if self._room is None:
            self._room = self._ask()
        size = piece.x.nbytes + piece.places.nbytes
        if size <= self._room:
            self._room -= size
            self._held[number] = replace(piece, computed=False)
        return piece


def free_memory(device: torch.device) -> int:
    """Bytes of a GPU that may be filled."""
    free, total = torch.cuda.mem_get_info(device)
    return max(0, free - max(LEFT_FREE, total // 4))
