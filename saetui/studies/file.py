"""Study files: a grid of recipes, written down before anything is trained.

    title = "what it asks"
    method = "wide"            # or "graft"
    criteria = "mine.toml"     # optional, beside this file; without it the model's own

    [setup]                    # any option of a setup; what is left out is a default, or given when it runs
    model = "synthetic"
    [recipe]                   # what every run has; the rest is the embedded world's, then the recipe's own
    granularity = "row"
    [[row]]                    # named recipes, each over [recipe]; without any there is one
    name = "4"
    init = "random"
    [[target]]                 # optional: targets, with what belongs to each of them
    target = 49
    threshold = 2.5            # where nobody says: the world's, or a fifth of the strongest activation
    [axes]                     # lists: every row and target with every combination of these values
    seed = [1, 2, 3]
    [[exclude]]                # combinations to leave out: all that have all of these values
    init = "random"
    loss = "target_zeroed"

``d_sae`` may be a multiple of the narrow SAE's (``"8x"``) and a cadence a share of the run (``"10%"``), so
that one file fits models of any size.
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from saetui.errors import UsageError
from saetui.setup import Setup
from saetui.split.recipe import GraftRecipe, SplitRecipe
from saetui.toml_file import check_keys, read_toml

METHODS: dict[str, tuple[str, type[SplitRecipe] | type[GraftRecipe]]] = {
    "wide": ("split", SplitRecipe),
    "graft": ("graft", GraftRecipe),
}
"""The kind of run and the recipe of each method."""

MULTIPLE = re.compile(r"([1-9]\d*)x")
"""``d_sae`` as a multiple of the narrow SAE's."""
SHARE = re.compile(r"([1-9]\d?)%")
"""``eval_every`` and ``checkpoint_every`` as a share of ``tokens``."""

_FILE_KEYS = ("title", "method", "criteria", "setup", "recipe", "row", "target", "axes", "exclude")
_NAMED = ("target", "seed")  # a cell's id says them anyway

Values = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """A named recipe: ``values`` over those of all runs; ``purpose`` is a line for the reader."""

    name: str
    purpose: str
    values: Values


@dataclass(frozen=True)
class Combination:
    """One run's row and all its values, before defaults."""

    row: str
    purpose: str
    values: Values


@dataclass(frozen=True)
class StudyFile:
    source: str
    text: str
    title: str
    method: str
    criteria: Path | None
    setup: Values
    recipe: Values
    rows: tuple[Row, ...]
    targets: tuple[Values, ...]
    axes: dict[str, list[Any]] = field(default_factory=dict[str, list[Any]])
    excluded: tuple[Values, ...] = ()

    def with_targets(self, targets: Sequence[Values]) -> "StudyFile":
        """The file with these targets, also in its text. UsageError where it names its own."""
        own = [*(row.values for row in self.rows), self.recipe, self.axes, *self.targets]
        if any("target" in values for values in own):
            raise UsageError(f"{self.source} names its targets: take them out, or leave out --next")
        tables = ("\n[[target]]\n" + "".join(f"{k} = {v!r}\n" for k, v in t.items()) for t in targets)
        return replace(self, targets=tuple(targets), text=self.text.rstrip() + "\n" + "".join(tables))

    def combinations(self, given: Values) -> Iterator[Combination]:
        """Every run that the file asks for, in its order: rows, then targets, then axes, the first axis
        slowest. ``given`` overrides ``[recipe]``, not what is told apart."""
        used = [False] * len(self.excluded)
        for row, target in itertools.product(self.rows or (Row("", "", {}),), self.targets or ({},)):
            fixed = row.values | target
            axes = {key: values for key, values in self.axes.items() if key not in fixed}
            for point in itertools.product(*axes.values()):
                chosen = dict(zip(axes, point, strict=True))
                values = self.recipe | given | fixed | chosen
                hit = [all(values.get(k) == v for k, v in out.items()) for out in self.excluded]
                used = [u or h for u, h in zip(used, hit, strict=True)]
                if not any(hit):
                    yield Combination(_label(row.name, chosen), row.purpose, values)
        for number, (out, hit) in enumerate(zip(self.excluded, used, strict=True), 1):
            if not hit:
                raise UsageError(
                    f"{self.source}: [[exclude]] {number} ({_shown(out)}) fits no combination: take it out"
                )


def load_study_file(path: Path) -> StudyFile:
    """Reads a study file. UsageError, one line that names the file and the place in it: not readable, not
    TOML, an unknown key (with the nearest known one), a missing one, or a value of the wrong kind."""
    values, raw = read_toml(path, "the study")
    source = str(path)
    check_keys(values, _FILE_KEYS, source)
    method = values.get("method", "wide")
    if method not in METHODS:
        raise UsageError(f"{source}: method is {method!r}: choose one of {', '.join(METHODS)}")
    recipe = METHODS[method][1]
    known = tuple(f.name for f in fields(recipe))
    rows = tuple(_row(table, known, source, n) for n, table in enumerate(_tables(values, "row", source), 1))
    for name in [row.name for row in rows]:
        if [row.name for row in rows].count(name) > 1:
            raise UsageError(f"{source}: two rows are called {name!r}: give each its own name")
    criteria = values.get("criteria")
    if criteria is not None and not isinstance(criteria, str):
        raise UsageError(f"{source}: criteria is {criteria!r}: the name of a file is needed")
    return StudyFile(
        source=source,
        text=raw.decode(),
        title=_text(values, "title", source),
        method=method,
        criteria=path.parent / criteria if criteria else None,
        setup=_setup(_table(values, "setup", source), f"{source}: [setup]"),
        recipe=_known(_table(values, "recipe", source), known, f"{source}: [recipe]"),
        rows=rows,
        targets=tuple(_target(t, known, source) for t in _tables(values, "target", source)),
        axes=_axes(_table(values, "axes", source), known, f"{source}: [axes]"),
        excluded=tuple(
            _known(table, known, f"{source}: [[exclude]] {n}")
            for n, table in enumerate(_tables(values, "exclude", source), 1)
        ),
    )


def _row(table: Values, known: tuple[str, ...], source: str, number: int) -> Row:
    where = f"{source}: [[row]] {number}"
    name = _text(table, "name", where)
    purpose = _text(table, "purpose", where) if "purpose" in table else ""
    values = {key: value for key, value in table.items() if key not in ("name", "purpose")}
    check_keys(values, (*known, "name", "purpose"), f"{source}: row {name!r}")
    return Row(name, purpose, values)


def _target(table: Values, known: tuple[str, ...], source: str) -> Values:
    if "target" not in table:
        raise UsageError(f"{source}: [[target]]: target is missing: the index of a feature")
    return _known(table, known, f"{source}: target {table['target']!r}")


def _axes(table: Values, known: tuple[str, ...], where: str) -> dict[str, list[Any]]:
    for key, values in _known(table, known, where).items():
        if not isinstance(values, list) or not values:
            raise UsageError(f"{where}: {key} is {values!r}: a list of values is needed")
        if any(values.count(value) > 1 for value in values):
            raise UsageError(f"{where}: {key} has a value twice: {values}")
    return table


def _setup(table: Values, where: str) -> Values:
    for key, value in _known(table, tuple(f.name for f in fields(Setup)), where).items():
        kind = int if key == "seq_len" else str
        if not isinstance(value, kind) or isinstance(value, bool):
            raise UsageError(f"{where}: {key} is {value!r}, but a {kind.__name__} is needed")
    return table


def _known(table: Values, known: tuple[str, ...], where: str) -> Values:
    check_keys(table, known, where)
    return table


def _table(values: Values, key: str, source: str) -> Values:
    table = values.get(key, {})
    if not isinstance(table, dict):
        raise UsageError(f"{source}: {key} is {table!r}: a table [{key}] is needed")
    return table


def _tables(values: Values, key: str, source: str) -> list[Values]:
    tables = values.get(key, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise UsageError(f"{source}: {key}: tables [[{key}]] are needed")
    return tables


def _text(table: Values, key: str, where: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f"{where}: {key} is {'missing' if value is None else repr(value)}: a text is needed")
    return value


def _label(row: str, chosen: Values) -> str:
    axes = [_value(key, value) for key, value in chosen.items() if key not in _NAMED]
    return " · ".join([row, *axes] if row else axes) or "recipe"


def _value(key: str, value: Any) -> str:
    return value.replace("_", " ") if isinstance(value, str) else f"{key} {value}"


def _shown(values: Values) -> str:
    return ", ".join(f"{key} = {value!r}" for key, value in values.items())
