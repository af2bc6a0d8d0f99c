"""The one selected feature that every pane follows, and the way back to those selected before."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Selected:
    """A feature of one SAE (or graft), by the name under which the engine knows it."""

    sae: str
    feature: int


class History:
    """Visited features, as a browser keeps pages: selecting anew drops what was ahead."""

    def __init__(self, limit: int = 200) -> None:
        self._visited: list[Selected] = []
        self._at = -1
        self._limit = limit
        self._passing = False
        """Whether the current one was only walked over."""

    @property
    def current(self) -> Selected | None:
        return self._visited[self._at] if self._visited else None

    def visit(self, selected: Selected, passing: bool = False) -> None:
        """``passing``: walked over, on the way to another, which takes its place: a walk is one step back."""
        before = self._at if self._passing and passing else self._at + 1
        if selected != self.current:
            self._visited = [*self._visited[:before], selected][-self._limit :]
            self._at = len(self._visited) - 1
            self._passing = passing
        elif not passing:
            self._passing = False

    def step(self, by: int) -> Selected | None:
        """Moves ``by`` (-1 back, +1 forward); None, and no move, at either end."""
        if not 0 <= self._at + by < len(self._visited):
            return None
        self._at += by
        self._passing = False
        return self._visited[self._at]

    def recent(self, count: int) -> list[Selected]:
        """The last ``count`` different features visited, the newest first."""
        return list(dict.fromkeys(reversed(self._visited)))[:count]
