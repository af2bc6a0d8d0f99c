"""The work of splitting a feature: which one, into what, and whether it split."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from saetui import embedded
from saetui.census.census import rank, take_census
from saetui.census.defaults import census_recipe
from saetui.census.results import Census, CensusProgress, CensusRecipe, Evidence
from saetui.engine.background import Background
from saetui.engine.job import Job
from saetui.engine.messages import EncoderInfo, Grafted
from saetui.engine.shelf import Grafting, OpenEncoder, Shelf
from saetui.engine.traffic import Lane, Traffic
from saetui.errors import UsageError, UserError
from saetui.features.encoder import check_feature
from saetui.features.graft_index import GraftIndex
from saetui.features.index import FeatureIndex
from saetui.features.results import Children
from saetui.loading import open_rows
from saetui.quantities import duration
from saetui.runs.own import own_run
from saetui.runs.store import find_run
from saetui.sae.sae import SAE
from saetui.settings import runs_root
from saetui.split.compare import compare_runs
from saetui.split.comparison import Comparison
from saetui.split.defaults import check_fits, split_limits
from saetui.split.finding.children import CONTROLS, split_report
from saetui.split.finding.report import SplitReport
from saetui.split.grafting.graft import Graft, GraftProgress
from saetui.split.grafting.graft_run import conclude, graft_hot, step_metrics
from saetui.split.grafting.hot import ENOUGH_HOT, HotTokens
from saetui.split.judging.criteria import load_criteria
from saetui.split.judging.found import found_judgement
from saetui.split.judging.judge import DEFAULT_TOKENS, judge
from saetui.split.judging.verdict import Judgement
from saetui.split.outcome import criteria_for, judge_run, report_run
from saetui.split.pace import Trial
from saetui.split.recipe import GraftRecipe, SplitRecipe
from saetui.split.threshold import has_own_threshold, threshold_of
from saetui.split.training.trial import try_out

CHILDREN_SECONDS = 1.0
"""Spent on reading the children's contexts before they are answered, once the target has fired; the rest is
read in the background."""


class Splitting:
    """Grafts and judges what lies on ``shelf``; jobs, which wait for the index in ``background``."""

    def __init__(self, shelf: Shelf, traffic: Traffic, background: Background) -> None:
        self._shelf, self._traffic, self._background = shelf, traffic, background

    def rank(self, job: Job, tokens: int = CensusRecipe.tokens) -> list[Evidence]:
        """``saetui.census.census.rank`` over the narrow SAE's index."""
        narrow, index, recipe = self._for_census(job, tokens)
        with self._traffic.on(job.lane):
            return rank(narrow, index, recipe, _census_progress(job))

    def census(self, job: Job, tokens: int = CensusRecipe.tokens, go_on: bool = True) -> Census:
        """``saetui.census.census.take_census`` over the narrow SAE's index; a cancelled one goes on when it
        is asked for again. Reports the features measured meanwhile."""
        narrow, index, recipe = self._for_census(job, tokens)
        with self._traffic.on(job.lane):
            return take_census(narrow, index, recipe, _census_progress(job), go_on)

    def trial(self, job: Job, recipe: dict[str, Any]) -> Trial:
        """``saetui.split.training.trial`` of a wide split's recipe: what it would cost here."""
        asked = SplitRecipe.from_dict(recipe)
        narrow, index = self._shelf.narrow()
        check_fits(asked, narrow.d_sae)
        with self._traffic.on(Lane.JOB):
            say = partial(job.progress, 0.5, "trying a few steps")
            return try_out(asked, self._shelf.lm, narrow, index.store.rows, say)

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
            while not children.caught_up and (time.perf_counter() < until or not children.hot):
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
    ) -> Children:
        """The children of a target: a graft's own over the corpus read so far, as long as its activations are
        stored; otherwise those that ``report`` finds."""
        index = self._shelf.get(sae).index
        if isinstance(index, GraftIndex) and self._wait_for_children(job, index):
            return index.children()
        found = self.report(job, sae, target, threshold)
        return Children(found.children, found.threshold, found.tokens_fired, found.tokens_read, held_out=True)

    def report(
        self,
        job: Job,
        sae: str,
        target: int | None = None,
        threshold: float | None = None,
        controls: bool = False,
    ) -> SplitReport:
        """``saetui.split.finding.children.split_report`` over held-out rows; with ``controls``, where it has
        any."""
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
                inherited=opened.inherited,
                limits=split_limits(),
                control_features=CONTROLS if controls else 0,
                on_progress=job.tokens("reading held-out text"),
            )

    def compare(self, job: Job, first: str, second: str) -> Comparison:
        """``saetui.split.compare.compare_runs`` of two finished runs."""
        runs = [find_run(runs_root(), run) for run in (first, second)]
        with self._traffic.on(Lane.JOB):
            return compare_runs(
                *runs,
                lm=self._shelf.lm,
                limits=split_limits(),
                on_progress=job.tokens("reading held-out text"),
            )

    def judge(self, job: Job, sae: str, criteria: str = "", tokens: int = DEFAULT_TOKENS) -> Judgement:
        """``saetui.split.judging.judge`` on held-out rows, by a criteria file (empty: the run's or the
        world's); of a run for which there is none, the children found without one (``found_judgement``)."""
        opened, lm = self._shelf.get(sae), self._shelf.lm
        on_progress = job.tokens("judging")
        with self._traffic.on(Lane.JOB):
            if opened.info.run:
                run = find_run(runs_root(), opened.info.run)
                if (by := criteria_for(run, criteria or None)) is None:
                    report = report_run(run, lm=lm, on_progress=on_progress)
                    return found_judgement(report, run.id, "the held-out rows", split_limits())
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

    def _wait_for_children(self, job: Job, index: GraftIndex) -> bool:
        """Until the index, perhaps opened only now, can tell of the children; whether it ever will."""
        until = time.perf_counter() + CHILDREN_SECONDS
        store = index.store
        while not index.complete and self._background.reads(index):
            if not store.activation_rows and index.narrow.tokens_read:
                break  # no room for activations: nothing will be stored
            if index.hot and (index.caught_up or time.perf_counter() > until):
                break
            job.progress(0.0, f"reading the children's contexts: {index.tokens_read:,} tokens")
            self._background.wait_for_step(0.2)
        return index.hot > 0

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
        line = f"{now.stage}: {now.done:,} of {now.total:,}{eta}"
        job.progress(now.done / max(now.total, 1), line, list(now.measured) or None)

    return on_progress


def _hot_tokens(index: FeatureIndex, recipe: GraftRecipe) -> HotTokens:
    """Out of the row store; UserError where there are none, with the reason."""
    store = index.store
    if store.activation_rows == 0 and index.tokens_read:
        why = store.warning or "cache_gb in the settings leaves no room for activations"
        raise UserError(f"there are no stored activations to graft on: {why}")
    begun, begun_cpu = time.perf_counter(), time.process_time()
    found = index.hot_tokens(recipe.target, recipe.threshold, recipe.hot_tokens)
    if len(found.x) == 0:
        highest = float(index.statistics.max_activation[recipe.target])
        raise UserError(
            f"feature {recipe.target} is above {recipe.threshold:g} on none of {index.tokens_read:,} tokens "
            f"(its largest activation is {highest:.2f}): lower the threshold"
        )
    spent, spent_cpu = time.perf_counter() - begun, time.process_time() - begun_cpu
    return HotTokens(found.x, found.tokens_read, spent, spent_cpu)
