"""A cell of a study: one run that it asks for, with its recipe complete and checked. Without torch."""

from dataclasses import asdict, dataclass
from typing import Any

from saetui.split.recipe import GraftRecipe, SplitRecipe
from saetui.studies.file import METHODS, Values


@dataclass(frozen=True)
class Cell:
    """One run of a study. ``recipe`` is a ``SplitRecipe`` or ``GraftRecipe`` as ``to_dict`` gives it."""

    id: str
    """``4.f49.s10``: row, target, seed. The same file gives the same ids, in the same order."""
    row: str
    purpose: str
    recipe: Values

    @property
    def target(self) -> int:
        return self.recipe["target"]

    @property
    def seed(self) -> int:
        return self.recipe["seed"]

    def to_dict(self) -> Values:
        return asdict(self)


def recipe_of(kind: str, values: dict[str, Any]) -> SplitRecipe | GraftRecipe:
    """The recipe of a run of ``kind``, what is missing in ``values`` by default."""
    return next(recipe for name, recipe in METHODS.values() if name == kind).from_dict(values)
