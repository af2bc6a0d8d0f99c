"""Above what a feature counts as firing where nobody says. Without torch: the launch form asks too."""

from saetui import embedded
from saetui.setup import Setup


def has_own_threshold(setup: Setup, target: int) -> bool:
    """Whether the embedded world says above what ``target`` counts as firing."""
    return setup.model in embedded.WORLDS and not setup.sae and target == embedded.world(setup.model).target


def threshold_of(strongest: float) -> float:
    """Above what a feature counts as firing where nobody says: a fifth of its strongest activation."""
    return float(f"{strongest / 5:.2g}")
