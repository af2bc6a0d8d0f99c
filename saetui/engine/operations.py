"""What the engine can do: one method an operation, its keywords the request's ``args``.

Methods without a ``Job`` are queries: they answer from what is there, in milliseconds. The others are
work that reports its progress and can be cancelled.
"""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from saetui import embedded
from saetui.census.census import rank, take_census
from saetui.census.defaults import census_recipe
from saetui.census.results import Census, CensusProgress, CensusRecipe, Evidence
from saetui.engine.background import Background
from saetui.engine.exclusive import ExclusiveModel
from saetui.engine.messages import NARROW, EncoderInfo, Grafted, IndexProgress, Opened, Status
from saetui.engine.shelf import Grafting, OpenEncoder, Shelf
from saetui.engine.traffic import Lane, Traffic
from saetui.errors import UsageError, UserError
from saetui.features.encoder import check_feature
from saetui.features.graft_index import GraftIndex
from saetui.features.index import FeatureIndex
from saetui.features.lens import lens
from saetui.features.neighbours import neighbours
from saetui.features.pair import DEFAULT_TOKENS as DEFAULT_PAIR_TOKENS
from saetui.features.pair import Feature, pair
from saetui.features.probe import probe
from saetui.features.results import Child, Contexts, Densities, Lens, Neighbour, Pair, PromptProbe
from saetui.loading import check_fit, load_lm, load_sae, open_rows
from saetui.quantities import duration
from saetui.runs.own import own_run
from saetui.runs.store import find_run
from saetui.sae.formats import load as load_sae_file
from saetui.sae.sae import SAE
from saetui.settings import runs_root
from saetui.setup import Setup
from saetui.split.children import split_report
from saetui.split.criteria import load_criteria
from saetui.split.graft import Graft, GraftProgress
from saetui.split.graft_run import conclude, graft_hot, step_metrics
from saetui.split.hot import ENOUGH_HOT, HotTokens
from saetui.split.judge import DEFAULT_TOKENS, judge
from saetui.split.outcome import criteria_for, judge_run, open_outcome
from saetui.split.recipe import GraftRecipe
from saetui.split.report import SplitReport
from saetui.split.threshold import has_own_threshold, threshold_of
from saetui.split.verdict import Judgement

INDEX_TOKENS = 2_000_000
"""Tokens indexed of every encoder where the request does not say."""
CHILDREN_SECONDS = 1.0
"""Spent on reading the children's contexts before they are answered; the rest is read in the background."""


class Cancelled(Exception):
    """Nobody waits for the answer any more."""


class Job:
    """What an operation that takes time is given: a way to report, and to learn that it was cancelled."""

    def __init__(self, traffic: Traffic, report: Callable[[float, str], None], cancelled: Callable[[], bool]):
        self._traffic, self._report, self._cancelled = traffic, report, cancelled

    def progress(self, share: float, message: str) -> None:
        """To be called between steps: lets queries go first. Raises Cancelled."""
        if self._cancelled():
            raise Cancelled
        self._traffic.give_way(Lane.JOB)
        self._report(share, message)

    def tokens(self, what: str) -> Callable[[int, int], None]:
        """A progress callback that counts tokens."""

        def on_progress(done: int, total: int) -> None:
            self.progress(done / max(total, 1), f"{what}: {done:,} of {total:,} tokens")

        return on_progress


class Operations:
    """The operations over one shelf of open things."""

    def __init__(
        self,
        traffic: Traffic,
        notify: Callable[[IndexProgress], None],
        warn: Callable[[str], None],
        building: Callable[[float, str], None] = lambda share, line: None,
    ) -> None:
        """``building`` is told how far a corpus is that is built while it is first read."""
        self._traffic, self._building = traffic, building
        self._background = Background(traffic, notify, warn)
        self._shelf = Shelf(self._background)

    # What is open

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

    # Looking at features

    def probe(
        self, prompt: str, sae: str = NARROW, top: int = 5, follow: list[int] | None = None
    ) -> PromptProbe:
        """``saetui.features.probe``."""
        return probe(self._shelf.lm, self._shelf.get(sae).encoder, prompt, top, follow or (), sae)

    def contexts(self, feature: int, sae: str = NARROW, **options: Any) -> Contexts:
        """``saetui.features.contexts``, of what is indexed so far; ``options`` as there."""
        return self._shelf.get(sae).index.contexts(feature, **options)

    def densities(self, sae: str = NARROW) -> Densities:
        """Density and largest activation of every feature, of what is indexed so far."""
        return self._shelf.get(sae).index.densities()

    def lens(self, feature: int, sae: str = NARROW, top: int = 10) -> Lens:
        """``saetui.features.lens``."""
        return lens(self._shelf.lm, self._shelf.get(sae).encoder, feature, top, sae)

    def neighbours(self, feature: int, sae: str = NARROW, within: str = "", top: int = 10) -> list[Neighbour]:
        """``saetui.features.neighbours``, among the features of ``within`` (empty: of ``sae`` itself)."""
        encoder, other = self._shelf.get(sae).encoder, self._shelf.get(within or sae).encoder
        return neighbours(encoder, feature, within=other, top=top, name=sae, within_name=within or sae)

    def pair(
        self,
        job: Job,
        first: int,
        second: int,
        sae: str = NARROW,
        within: str = "",
        tokens: int = DEFAULT_PAIR_TOKENS,
    ) -> Pair:
        """``saetui.features.pair`` over held-out rows: ``first`` of ``sae`` and ``second`` of ``within``
        (empty: of ``sae`` too)."""
        one, other, lm = self._shelf.get(sae), self._shelf.get(within or sae), self._shelf.lm
        with self._traffic.on(Lane.JOB):
            return pair(
                lm,
                Feature(one.encoder, first, sae),
                Feature(other.encoder, second, within or sae),
                open_rows(self._shelf.setup, lm.tokenizer, "eval"),
                tokens=tokens,
                on_progress=job.tokens("reading held-out text"),
            )

    # Which feature to split

    def rank(self, job: Job, tokens: int = CensusRecipe.tokens) -> list[Evidence]:
        """``saetui.census.census.rank`` over the narrow SAE's index."""
        narrow, index, recipe = self._for_census(job, tokens)
        with self._traffic.on(Lane.JOB):
            return rank(narrow, index, recipe, _census_progress(job))

    def census(self, job: Job, tokens: int = CensusRecipe.tokens) -> Census:
        """``saetui.census.census.take_census`` over the narrow SAE's index; a cancelled one goes on when it
        is asked for again."""
        narrow, index, recipe = self._for_census(job, tokens)
        with self._traffic.on(Lane.JOB):
            return take_census(narrow, index, recipe, _census_progress(job))

    # Splitting and judging

    def graft(self, job: Job, recipe: dict[str, Any]) -> Grafted:
        """Splits a feature of the narrow SAE in place; the graft stays open as an encoder."""
        asked = GraftRecipe.from_dict(recipe)
        narrow, index = self._shelf.narrow()
        check_feature(narrow, asked.target, "the narrow SAE")
        self._wait_for_hot(job, index, asked)
        begun = time.perf_counter()
        with self._traffic.on(Lane.JOB):
            job.progress(0.0, "collecting the tokens on which the target fires")
            hot = _hot_tokens(index, asked)
            history: list[GraftProgress] = []

            def on_progress(now: GraftProgress) -> None:
                history.append(now)
                job.progress(
                    0.05 + 0.8 * now.step / now.steps,
                    f"step {now.step} of {now.steps} · error {now.error:.1f} · L0 {now.l0:.1f}",
                )

            result, report = graft_hot(narrow, hot, asked, on_progress)
            name = self._shelf.free_name(f"graft-{asked.target}")
            children = GraftIndex(index, result, name)
            until = time.perf_counter() + CHILDREN_SECONDS
            while children.rows_read < index.store.activation_rows and time.perf_counter() < until:
                job.progress(0.9, "reading the children's contexts")
                children.advance()
            info = EncoderInfo(
                name=name,
                kind="graft",
                title=f"graft of {asked.target}",
                d_sae=result.d_sae,
                target=asked.target,
                children=list(result.children),
            )
            grafting = Grafting(asked, report, tuple(history))
            self._shelf.add(OpenEncoder(info, result, children, asked.target, asked.threshold, grafting))
            return Grafted(
                sae=info,
                children=children.children(),
                hot_tokens=report.hot_tokens,
                tokens_read=children.tokens_read,
                seconds=time.perf_counter() - begun,
                error_before=report.error_before,
                error_after=report.error_after,
            )

    def store_graft(self, job: Job, sae: str, note: str = "") -> EncoderInfo:
        """Makes a finished run of a graft, which can then be judged, exported and opened again."""
        opened = self._shelf.get(sae)
        if opened.info.run:
            return opened.info
        if not isinstance(opened.encoder, Graft) or opened.grafting is None:
            raise UsageError(f"{sae} is not a graft made here: only such a one is stored")
        job.progress(0.0, "evaluating the graft on held-out text")
        recipe = opened.grafting.recipe
        with self._traffic.on(Lane.JOB), own_run(runs_root(), self._shelf.setup, recipe, note) as context:
            for now in opened.grafting.history:
                context.metric(**step_metrics(now, recipe))
            conclude(
                context,
                self._shelf.setup,
                recipe,
                self._shelf.lm,
                opened.encoder,
                opened.grafting.report,
            )
        opened.info = replace(opened.info, run=context.run.id)
        return opened.info

    def children(
        self, job: Job, sae: str, target: int | None = None, threshold: float | None = None
    ) -> list[Child]:
        """The children of a target: a graft's own over the corpus read so far; otherwise those that
        ``report`` finds."""
        index = self._shelf.get(sae).index
        if isinstance(index, GraftIndex):
            return index.children()
        return self.report(job, sae, target, threshold).children

    def report(
        self, job: Job, sae: str, target: int | None = None, threshold: float | None = None
    ) -> SplitReport:
        """``saetui.split.children.split_report`` over held-out rows."""
        opened, lm = self._shelf.get(sae), self._shelf.lm
        target = opened.info.target if target is None else target
        if target is None:
            raise UsageError(f"{sae} does not say which feature it split: name the target")
        if threshold is None:
            threshold = self._threshold(opened, target)
        with self._traffic.on(Lane.JOB):
            return split_report(
                lm,
                opened.encoder,
                self._shelf.narrow()[0],
                target,
                threshold,
                open_rows(self._shelf.setup, lm.tokenizer, "eval"),
                candidates=opened.info.children or None,
                on_progress=job.tokens("reading held-out text"),
            )

    def judge(self, job: Job, sae: str, criteria: str = "", tokens: int = DEFAULT_TOKENS) -> Judgement:
        """``saetui.split.judge`` on held-out rows, by a criteria file (empty: the run's or the world's)."""
        opened, lm = self._shelf.get(sae), self._shelf.lm
        on_progress = job.tokens("judging")
        with self._traffic.on(Lane.JOB):
            if opened.info.run:
                run = find_run(runs_root(), opened.info.run)
                if (by := criteria_for(run, criteria or None)) is None:
                    raise UsageError(f"no criteria file fits {run.id}: name one")
                return judge_run(run, by, lm=lm, tokens=tokens, on_progress=on_progress)
            return judge(
                lm,
                opened.encoder,
                load_criteria(criteria or self._world_criteria()),
                open_rows(self._shelf.setup, lm.tokenizer, "eval"),
                name=opened.info.title,
                target=opened.inherited,
                candidates=opened.info.children or None,
                tokens=tokens,
                on_progress=on_progress,
            )

    def _for_census(self, job: Job, tokens: int) -> tuple[SAE, FeatureIndex, CensusRecipe]:
        """Once the index has read ``tokens`` tokens, or reads no more."""
        narrow, index = self._shelf.narrow()
        while not index.complete and index.tokens_read < tokens:
            job.progress(0.0, f"reading text: {index.tokens_read:,} of {min(tokens, index.wanted):,} tokens")
            self._background.wait_for_step(0.2)
        return narrow, index, census_recipe(self._shelf.setup, tokens)

    def _wait_for_hot(self, job: Job, index: FeatureIndex, recipe: GraftRecipe) -> None:
        """Until there are enough hot tokens to train on, or no more will come."""
        enough = min(recipe.hot_tokens, ENOUGH_HOT)
        while not index.complete and (n := index.statistics.above(recipe.target, recipe.threshold)) < enough:
            job.progress(
                0.0,
                f"reading text: feature {recipe.target} is above {recipe.threshold:g} on {n:,} of "
                f"{index.tokens_read:,} tokens, {enough:,} are needed",
            )
            self._background.wait_for_step(0.2)

    def _prepare_target(self, setup: Setup) -> None:
        """Collects the hot tokens of the world's target beforehand: most will graft it first."""
        if setup.model not in embedded.WORLDS or setup.sae:
            return
        world, (_, index) = embedded.world(setup.model), self._shelf.narrow()
        recipe = GraftRecipe.from_dict({"target": world.target, "threshold": world.threshold, **world.graft})

        def collect() -> None:
            index.hot_tokens(recipe.target, recipe.threshold, recipe.hot_tokens)

        self._background.after_step(collect)

    def _threshold(self, opened: OpenEncoder, target: int) -> float:
        """Above which ``target`` counts as firing: the run's, the world's, or by the rule for all others."""
        if opened.threshold is not None:
            return opened.threshold
        if has_own_threshold(self._shelf.setup, target):
            return embedded.world(self._shelf.setup.model).threshold
        narrow, index = self._shelf.narrow()
        check_feature(narrow, target, "the narrow SAE")
        return threshold_of(float(index.statistics.max_activation[target]))

    def _world_criteria(self) -> str:
        if self._shelf.setup.model not in embedded.WORLDS:
            raise UsageError("no criteria are known for this: name a criteria file")
        return str(embedded.world(self._shelf.setup.model).criteria)


def _census_progress(job: Job) -> Callable[[CensusProgress], None]:
    def on_progress(now: CensusProgress) -> None:
        eta = "" if now.eta_s is None else f", {duration(now.eta_s)} to go"
        job.progress(now.done / max(now.total, 1), f"{now.stage}: {now.done:,} of {now.total:,}{eta}")

    return on_progress


def _hot_tokens(index: FeatureIndex, recipe: GraftRecipe) -> HotTokens:
    """Out of the row store; UserError where there are none, with the reason."""
    store = index.store
    if store.activation_rows == 0 and index.tokens_read:
        why = store.warning or "cache_gb in the settings leaves no room for activations"
        raise UserError(f"there are no stored activations to graft on: {why}")
    begun = time.perf_counter()
    found = index.hot_tokens(recipe.target, recipe.threshold, recipe.hot_tokens)
    if len(found.x) == 0:
        highest = float(index.statistics.max_activation[recipe.target])
        raise UserError(
            f"feature {recipe.target} is above {recipe.threshold:g} on none of {index.tokens_read:,} tokens "
            f"(its largest activation is {highest:.2f}): lower the threshold"
        )
    return HotTokens(found.x, found.tokens_read, time.perf_counter() - begun)
