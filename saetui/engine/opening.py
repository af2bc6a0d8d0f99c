"""What is open: the language model, the narrow SAE, and whatever is opened beside it."""

import os
from collections.abc import Callable
from typing import Any

from saetui import embedded
from saetui.engine.background import Background
from saetui.engine.exclusive import ExclusiveModel
from saetui.engine.job import Job
from saetui.engine.messages import EncoderInfo, Opened, Status
from saetui.engine.shelf import OpenEncoder, Shelf
from saetui.loading import check_fit, load_lm, load_sae, open_rows
from saetui.runs.store import find_run
from saetui.sae.formats import load as load_sae_file
from saetui.sae.sae import SAE
from saetui.settings import runs_root
from saetui.setup import Setup
from saetui.split.grafting.graft import Graft
from saetui.split.outcome import open_outcome
from saetui.split.recipe import GraftRecipe

INDEX_TOKENS = 2_000_000
"""Tokens indexed of every encoder where the request does not say."""


class Opening:
    """Opens things on ``shelf``; ``building`` is told how far a corpus is that is built while it is first
    read."""

    def __init__(self, shelf: Shelf, background: Background, building: Callable[[float, str], None]) -> None:
        self._shelf, self._background, self._building = shelf, background, building

    def open(self, job: Job, setup: dict[str, Any], tokens: int = INDEX_TOKENS) -> Opened:
        """Loads the language model and the narrow SAE of a ``Setup`` and begins to index ``tokens`` tokens.
        What was open before is closed, unless loading fails."""
        wanted = Setup.from_dict(setup)
        job.progress(0.0, f"loading {wanted.model}")
        lm = ExclusiveModel(load_lm(wanted))
        job.progress(0.6, "loading the narrow SAE")
        narrow = load_sae(wanted).to(lm.device)
        warnings = check_fit(lm, narrow)
        job.progress(0.8, "opening the corpus")
        rows = open_rows(wanted, lm.tokenizer, "train", self._building)
        info = self._shelf.replace(wanted, lm, rows, narrow, tokens)
        self._prepare_target(wanted)
        return Opened(
            model=lm.name,
            hook_name=lm.hook_name,
            device=str(lm.device),
            d_in=lm.d_in,
            n_ctx=lm.n_ctx,
            dataset=rows.name,
            narrow=info,
            warnings=warnings,
        )

    def open_sae(self, job: Job, path: str) -> EncoderInfo:
        """Opens another SAE of the same hook point, by anything that ``--sae`` takes."""
        lm = self._shelf.lm
        if found := next((one for one in self._shelf.encoders if one.info.title == path), None):
            return found.info
        job.progress(0.0, f"loading {path}")
        sae = load_sae_file(path).to(lm.device)
        check_fit(lm, sae)
        name = self._shelf.free_name("sae")
        info = EncoderInfo(name, "sae", path, sae.d_sae)
        self._shelf.add(OpenEncoder(info, sae, self._shelf.index(sae, name)))
        return info

    def open_run(self, job: Job, run: str) -> EncoderInfo:
        """Opens the wide SAE or the graft that a finished run ended with."""
        lm = self._shelf.lm
        outcome = open_outcome(find_run(runs_root(), run))
        id = outcome.run.id
        if found := next((one for one in self._shelf.encoders if one.info.run == id), None):
            return found.info
        job.progress(0.0, f"loading {id}")
        assert isinstance(outcome.encoder, (SAE, Graft))
        encoder = outcome.encoder.to(lm.device)
        check_fit(lm, encoder.narrow if isinstance(encoder, Graft) else encoder)
        kind = "graft" if isinstance(encoder, Graft) else "sae"
        info = EncoderInfo(id, kind, id, encoder.d_sae, id, outcome.target, list(outcome.children or ()))
        index = self._shelf.index(encoder, id)
        self._shelf.add(OpenEncoder(info, encoder, index, outcome.inherited, outcome.threshold))
        return info

    def status(self) -> Status:
        """What is open and how far it is indexed."""
        lm = None if self._shelf.is_empty else self._shelf.lm
        return Status(
            model=lm.name if lm else "",
            device=str(lm.device) if lm else "",
            encoders=[opened.info for opened in self._shelf.encoders],
            indexes=self._background.progress(),
            pid=os.getpid(),
        )

    def _prepare_target(self, setup: Setup) -> None:
        """Collects the hot tokens of the world's target beforehand: most will graft it first."""
        if setup.model not in embedded.WORLDS or setup.sae:
            return
        world, (_, index) = embedded.world(setup.model), self._shelf.narrow()
        recipe = GraftRecipe.from_dict({"target": world.target, "threshold": world.threshold, **world.graft})

        def collect() -> None:
            index.hot_tokens(recipe.target, recipe.threshold, recipe.hot_tokens)

        self._background.after_step(collect)
