"""A graft from its hot tokens to its numbers, with or without a run directory around it."""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from saetui.corpus.rows import TokenRows
from saetui.features.row_store import RowStore
from saetui.lm.base import LanguageModel
from saetui.loading import check_fit, load_lm, load_sae, open_rows
from saetui.runs.context import RunContext
from saetui.sae.sae import SAE
from saetui.setup import Setup
from saetui.split.grafting.graft import Graft, GraftProgress, graft
from saetui.split.grafting.hot import HotTokens, gather_hot
from saetui.split.inputs import record_inputs
from saetui.split.judging.expected import ExpectedChildren
from saetui.split.recipe import GraftRecipe
from saetui.split.training.evaluate import Evaluation, as_metrics

HELD_OUT = 0.1
"""Share of the hot tokens, the last ones in the corpus's order, that a graft is measured on, not trained."""
EVAL_TOKENS = {"cpu": (16_384, 4_096), "cuda": (131_072, 65_536)}


@dataclass(frozen=True)
class GraftReport:
    """``error_before`` and ``error_after``: mean over held-out hot tokens of Σ_d (x - x̂)², of the narrow SAE
    and of the graft; ``l0``: children above zero per hot token; ``covered``: the share of hot tokens on which
    one is. ``tokens_computed``: of the tokens read, those that no store held. ``seconds``: of the training;
    ``gather_seconds``: of finding the hot tokens; both also as CPU time of the process."""

    hot_tokens: int
    tokens_read: int
    held_out: int
    error_before: float
    error_after: float
    l0: float
    covered: float
    seconds: float
    gather_seconds: float
    cpu_seconds: float = 0.0
    gather_cpu_seconds: float = 0.0
    tokens_computed: int = 0


def graft_target(
    lm: LanguageModel,
    narrow: SAE,
    rows: TokenRows,
    recipe: GraftRecipe,
    on_gather: Callable[[int, int], None] = lambda found, read: None,
    on_progress: Callable[[GraftProgress], None] = lambda progress: None,
    should_stop: Callable[[], bool] = lambda: False,
    store: RowStore | None = None,
) -> tuple[Graft, GraftReport]:
    """Finds the hot tokens of ``recipe.target`` in ``rows``, grafts, and measures. Raises as ``graft`` and
    ``gather_hot`` do."""
    hot = gather_hot(
        lm,
        rows,
        narrow,
        recipe.target,
        recipe.threshold,
        recipe.hot_tokens,
        recipe.scan_tokens,
        on_gather,
        should_stop,
        store,
    )
    return graft_hot(narrow, hot, recipe, on_progress, should_stop)


def graft_hot(
    narrow: SAE,
    hot: HotTokens,
    recipe: GraftRecipe,
    on_progress: Callable[[GraftProgress], None] = lambda progress: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[Graft, GraftReport]:
    """Grafts on hot tokens that are at hand, all but the last ``HELD_OUT`` of them, and measures on those."""
    kept = round(len(hot.x) * (1 - HELD_OUT))
    start, start_cpu = time.perf_counter(), time.process_time()
    result = graft(narrow, hot.x[:kept], recipe, on_progress, should_stop)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - start_cpu
    report = measure(result, hot.x[kept:] if kept < len(hot.x) else hot.x)
    return result, GraftReport(
        hot_tokens=len(hot.x),
        tokens_read=hot.tokens_read,
        seconds=seconds,
        gather_seconds=hot.seconds,
        cpu_seconds=cpu_seconds,
        gather_cpu_seconds=hot.cpu_seconds,
        tokens_computed=hot.tokens_computed,
        **report,
    )


@torch.no_grad()
def measure(graft: Graft, x: Tensor) -> dict[str, Any]:
    """``held_out``, ``error_before``, ``error_after``, ``l0`` and ``covered`` of ``GraftReport``, on hot
    tokens ``x [n, d_in]``."""
    narrow = graft.narrow
    children = graft.children_encode(x) > 0
    return {
        "held_out": len(x),
        "error_before": float((x - narrow.decode(narrow.encode(x))).square().sum(1).mean()),
        "error_after": float((x - graft.reconstruct(x)).square().sum(1).mean()),
        "l0": float(children.sum(1).double().mean()),
        "covered": float(children.any(1).double().mean()),
    }


def run(context: RunContext) -> None:
    """Grafts as the run's recipe says and leaves the graft in ``graft/``.

    A graft takes seconds: it has no checkpoints, is not paused but ended, and a resumed run begins again.
    """
    setup = Setup.from_dict(context.manifest.setup)
    recipe = GraftRecipe.from_dict(context.manifest.recipe)
    context.latest_checkpoint()  # there is none: marks what an earlier attempt reported as superseded
    lm, narrow = load_lm(setup), load_sae(setup)
    for warning in check_fit(lm, narrow):
        context.event("warning", message=warning)
    with closing(RowStore(lm, open_rows(setup, lm.tokenizer, "train"))) as store:
        record(context, setup, recipe, lm, narrow.to(lm.device), store)


def record(
    context: RunContext,
    setup: Setup,
    recipe: GraftRecipe,
    lm: LanguageModel,
    narrow: SAE,
    store: RowStore,
    on_gather: Callable[[int, int], None] = lambda found, read: None,
) -> tuple[Graft, GraftReport]:
    """Grafts on the rows of ``store`` and writes the run: metrics, an evaluation on held-out rows, ``graft/``
    and a ``grafted`` event with the report. Leaves the run where it is asked to."""

    def should_stop() -> bool:
        return context.control() != "go"

    def progress(now: GraftProgress) -> None:
        nonlocal since
        if since is None:  # before that its tokens were gathered, which says nothing of the steps to come
            since = (time.perf_counter(), now.step)
        seconds, steps = time.perf_counter() - since[0], now.step - since[1]
        eta = {"eta_s": seconds / steps * (now.steps - now.step)} if steps else {}
        context.metric(**step_metrics(now, recipe), **eta)

    record_inputs(context, lm, narrow, store.rows)
    since: tuple[float, int] | None = None
    result, report = graft_target(
        lm,
        narrow,
        store.rows,
        recipe,
        on_gather,
        on_progress=progress,
        should_stop=should_stop,
        store=store,
    )
    if should_stop():
        context.leave(context.control())
    conclude(context, setup, recipe, lm, result, report)
    return result, report


def step_metrics(now: GraftProgress, recipe: GraftRecipe) -> dict[str, float]:
    """A metrics record of a graft's training, in the names of a wide run's."""
    return {
        "tokens": now.step * recipe.batch_size,
        "step": now.step,
        "loss": now.loss,
        "mse": now.error,
        "l1": now.l1,
        "l0": now.l0,
        "lr": now.lr,
        "l1_coeff": now.l1_coeff,
    }


def conclude(
    context: RunContext,
    setup: Setup,
    recipe: GraftRecipe,
    lm: LanguageModel,
    result: Graft,
    report: GraftReport,
) -> None:
    """Writes what a graft run ends with: an evaluation on held-out rows, as a wide run's, ``graft/``, a
    ``grafted`` event."""
    quality_tokens, ce_tokens = EVAL_TOKENS["cpu" if lm.device.type == "cpu" else "cuda"]
    held_out = open_rows(setup, lm.tokenizer, "eval")
    evaluation = Evaluation(lm, held_out, quality_tokens, ce_tokens)
    children: dict[str, Any] = {}
    if expected := ExpectedChildren.of(lm, context.run, held_out):
        children = expected.f1(result, result.children)
    context.metric(
        **as_metrics(evaluation.quality(result), evaluation.loss_recovered(result)),
        **children,
        tokens=recipe.steps * recipe.batch_size,
        step=recipe.steps,
        error_before=report.error_before,
        error_after=report.error_after,
    )
    result.save(context.folder / "graft")
    context.event(
        "grafted",
        **vars(report),
        message=f"{recipe.children} children of feature {recipe.target} in {report.seconds:.1f} s on "
        f"{report.hot_tokens:,} hot tokens: squared error there {report.error_before:.1f} → "
        f"{report.error_after:.1f}, {report.l0:.1f} children a token",
    )
