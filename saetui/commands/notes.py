"""``saetui notes``: what a person noted and bookmarked, of the features of a model's SAEs."""

from pathlib import Path

import click

from saetui.commands.options import json_option, setup_options
from saetui.commands.output import emit_json, say
from saetui.embedded import WORLDS, world
from saetui.errors import UserError
from saetui.feature_marks import NARROW, FeatureMarks, check_exists
from saetui.setup import Setup


@click.command()
@click.argument("feature", type=click.IntRange(0), required=False)
@click.argument("text", required=False)
@setup_options
@click.option("--run", metavar="ID", default=NARROW, help="a feature of what this run ended with")
@json_option
def command(feature: int | None, text: str | None, setup: Setup, run: str, as_json: bool) -> None:
    """The notes and bookmarks of a model and SAE, of one FEATURE, or, with TEXT, that feature's note anew.

    They are the workbench's: it shows at once what is written here. An empty TEXT takes a note away.
    """
    marks = FeatureMarks(setup)
    if feature is not None and text is not None:
        if text.strip() and (size := _size(setup, run)) is not None:
            check_exists(feature, size, "the narrow SAE" if run == NARROW else run)
        try:
            marks.note(run, feature, text)
        except OSError as error:
            raise UserError(f"cannot write {marks.path}: {error.strerror}") from None
    kept = marks.kept() if feature is None else [mark for mark in [marks.of(run, feature)] if mark]
    if as_json:
        emit_json({"path": str(marks.path), "marks": kept})
        return
    if not kept:
        say("nothing is noted or bookmarked" if feature is None else f"nothing is noted of {feature}")
    for mark in kept:
        star = "★" if mark.bookmarked else " "
        where = "" if mark.sae == NARROW else f" of {mark.sae}"
        click.echo(f"{star} {mark.feature:>6}{where}  {mark.note}".rstrip())


def _size(setup: Setup, sae: str) -> int | None:
    """Features of what a mark calls ``sae``; None for an SAE that would have to be fetched to know. UserError
    where there is no such thing."""
    if sae == NARROW:
        if setup.model in WORLDS and not setup.sae:
            return world(setup.model).narrow_features
        return _size_of_file(setup.sae)
    if (size := _size_of_file(sae)) is not None:
        return size
    from saetui.runs.store import find_run
    from saetui.settings import runs_root

    manifest = find_run(runs_root(), sae).manifest
    if manifest.kind == "split":
        return manifest.recipe["d_sae"]
    narrow = _size(Setup.from_dict(manifest.setup), NARROW)
    return None if narrow is None else narrow + manifest.recipe["children"]


def _size_of_file(path: str) -> int | None:
    """Features of the SAE at ``path``; None where that is no file or folder."""
    if not path or not Path(path).expanduser().exists():
        return None
    from saetui.sae.formats import load

    return load(path).d_sae
