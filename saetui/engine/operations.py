"""What the engine can do: one method an operation, its keywords the request's ``args``.

Methods without a ``Job`` are queries: they answer from what is there, in milliseconds. The others are
work that reports its progress and can be cancelled.
"""

from collections.abc import Callable
from typing import Any

from saetui.engine.background import Background
from saetui.engine.messages import IndexProgress
from saetui.engine.opening import Opening
from saetui.engine.reading import Reading
from saetui.engine.shelf import Shelf
from saetui.engine.splitting import Splitting
from saetui.engine.traffic import Traffic


class Operations:
    """All operations, over one shelf of open things."""

    def __init__(
        self,
        traffic: Traffic,
        notify: Callable[[IndexProgress], None],
        warn: Callable[[str], None],
        building: Callable[[float, str], None] = lambda share, line: None,
    ) -> None:
        """``building`` is told how far a corpus is that is built while it is first read."""
        background = Background(traffic, notify, warn)
        shelf = Shelf(background)
        self._parts = (
            Opening(shelf, background, building),
            Reading(shelf, traffic),
            Splitting(shelf, traffic, background),
        )

    def find(self, op: str) -> Callable[..., Any]:
        """The method of one of ``messages.OPERATIONS``."""
        return next(getattr(part, op) for part in self._parts if hasattr(part, op))
