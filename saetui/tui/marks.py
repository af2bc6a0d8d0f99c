"""Runs that a person has marked, to see their curves in one plot."""

from saetui.plots.palette import COUNT


class Marks:
    """Run ids, each with the colour and sign that it keeps as long as it is marked.

    A run asks for the same colour whenever it is marked, and gets it where no other has it, so that a curve
    looks the same tomorrow. There are as many marks as there are colours that can be told apart.
    """

    MOST = COUNT

    def __init__(self) -> None:
        self._colours: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._colours)

    @property
    def runs(self) -> list[str]:
        """As they were marked."""
        return list(self._colours)

    def colour(self, run: str | None) -> int | None:
        """The colour of a marked run; None of any other."""
        return self._colours.get(run or "")

    def toggle(self, run: str) -> bool:
        """Marks ``run``, or takes its mark away; False where there is no mark left for it."""
        if run in self._colours:
            del self._colours[run]
            return True
        taken = self._colours.values()
        wanted = sum(run.encode()) % COUNT
        free = [colour for colour in range(wanted, wanted + COUNT) if colour % COUNT not in taken]
        if free:
            self._colours[run] = free[0] % COUNT
        return bool(free)

    def ensure(self, run: str) -> None:
        """Marks ``run`` where it is not; where no mark is left, it gets that of the run marked last."""
        if run not in self._colours and not self.toggle(run):
            self._colours.popitem()
            self.toggle(run)

    def copy(self) -> "Marks":
        other = Marks()
        other.become(self)
        return other

    def become(self, other: "Marks") -> None:
        """Marks the runs that ``other`` marks, and no more."""
        self._colours = dict(other._colours)
