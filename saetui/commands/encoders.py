"""Which dictionary a reading command looks at: the setup's SAE, another one, or what a run ended with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from saetui.commands.output import say
from saetui.errors import UsageError
from saetui.setup import Setup

if TYPE_CHECKING:
    from saetui.lm.base import LanguageModel
    from saetui.sae.sae import SAE
    from saetui.split.grafting.graft import Graft


@dataclass(frozen=True)
class Opened:
    """A dictionary and what the output calls it."""

    name: str
    encoder: SAE | Graft


def run_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds ``--run ID``: the run's setup replaces ``setup``, and the command gets ``run: str | None``.
    Goes below ``setup_options``."""

    @wraps(command)
    def with_run(*args: Any, setup: Setup, run: str | None, **kwargs: Any) -> Any:
        if run is not None:
            from saetui.runs.store import find_run
            from saetui.settings import runs_root

            found = find_run(runs_root(), run)
            run, setup = found.id, Setup.from_dict({**found.manifest.setup, "device": setup.device})
        return command(*args, setup=setup, run=run, **kwargs)

    return click.option("--run", metavar="ID", help="look at what this run ended with, in its own setup")(
        with_run
    )


def open_model(setup: Setup) -> LanguageModel:
    """The language model of a setup."""
    from saetui.loading import load_lm

    return load_lm(setup)


def open_encoder(setup: Setup, lm: LanguageModel, run: str | None = None) -> Opened:
    """The result of ``run``, or else the setup's SAE, on the model's device. A misfit that can be lived
    with is said on stderr."""
    if run is not None:
        return _of_run(lm, run)
    from saetui.loading import load_sae

    return _fitting(lm, Opened(_short(setup.sae) or "narrow", load_sae(setup)))


def open_other(lm: LanguageModel, name: str) -> Opened:
    """A dictionary by anything that names one: a folder, a file, a hub path or a run."""
    from saetui.runs.store import find_run
    from saetui.sae.formats import load
    from saetui.settings import runs_root

    try:
        run = find_run(runs_root(), name)
    except UsageError:
        return _fitting(lm, Opened(_short(name), load(name)))
    return _of_run(lm, run.id)


def _short(path: str) -> str:
    return path.rstrip("/").rsplit("/", 1)[-1]


def _of_run(lm: LanguageModel, run: str) -> Opened:
    from saetui.runs.store import find_run
    from saetui.sae.sae import SAE
    from saetui.settings import runs_root
    from saetui.split.grafting.graft import Graft
    from saetui.split.outcome import open_outcome

    encoder = open_outcome(find_run(runs_root(), run)).encoder
    assert isinstance(encoder, (SAE, Graft))
    return _fitting(lm, Opened(run, encoder))


def _fitting(lm: LanguageModel, opened: Opened) -> Opened:
    from saetui.loading import check_fit
    from saetui.split.grafting.graft import Graft

    encoder = opened.encoder
    for warning in check_fit(lm, encoder.narrow if isinstance(encoder, Graft) else encoder) or ():
        say(f"{opened.name}: {warning}")
    return replace(opened, encoder=encoder.to(lm.device))
