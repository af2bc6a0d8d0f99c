"""A finished graft run gets its plain SAE: trained, measured, written beside the gated graft."""

import os
import time
from contextlib import closing
from dataclasses import asdict, replace
from statistics import mean

from saetui.errors import UsageError
from saetui.features.row_store import RowStore
from saetui.lm.base import LanguageModel
from saetui.loading import load_lm, open_rows
from saetui.runs import lock
from saetui.runs.cost import Cost
from saetui.runs.journal import Journal
from saetui.runs.store import Run
from saetui.sae.formats import save_saelens
from saetui.sae.sae import SAE
from saetui.split.grafting.graft import Graft
from saetui.split.grafting.hot import gather_hot
from saetui.split.grafting.ungated import UngatedReport, measure_ungated, stream, ungate
from saetui.split.judging.expected import ExpectedChildren
from saetui.split.outcome import open_outcome, setup_of
from saetui.split.recipe import GraftRecipe


def ungate_run(run: Run, lm: LanguageModel | None = None) -> UngatedReport:
    """Trains the children of a finished graft run to do without their gate
    (``saetui.split.grafting.ungated``), on the tokens that its recipe names; leaves a SAELens folder in the
    run's ``sae/`` and an ``ungated`` event with the report. An earlier one is replaced. ``lm``: the language
    model of the run's setup, where the caller has it open. UsageError for a run that is no graft, or that
    another process works on."""
    if run.manifest.kind != "graft":
        raise UsageError(f"{run.id} is a wide run: only a graft has a gate")
    if (fd := lock.take(run.lock_path)) is None:
        raise UsageError(f"another process works on {run.id}: try again when it has ended")
    try:
        return _ungate(run, lm)
    finally:
        os.close(fd)


def _ungate(run: Run, lm: LanguageModel | None) -> UngatedReport:
    graft = open_outcome(run).encoder
    assert isinstance(graft, Graft)
    recipe, setup = GraftRecipe.from_dict(run.manifest.recipe), setup_of(run)
    lm = lm or load_lm(setup)
    graft = graft.to(lm.device)
    rows, held_out = open_rows(setup, lm.tokenizer, "train"), open_rows(setup, lm.tokenizer, "eval")
    plain, cost = _trained(lm, graft, recipe, RowStore(lm, rows))
    with closing(RowStore(lm, held_out)) as store:
        report = measure_ungated(graft, plain, stream(store), cost)
    if expected := ExpectedChildren.of(lm, run, held_out):
        report = replace(
            report,
            f1_gated=_mean_f1(expected, graft, graft.children),
            f1_ungated=_mean_f1(expected, plain, graft.children),
        )
    metadata = replace(
        plain.metadata,
        name=f"{run.id}-ungated",
        model_name=lm.name,
        hook_name=lm.hook_name,
        dataset=rows.name,
        context_size=rows.seq_len,
        prepend_bos=rows.bos,
        extra={**plain.metadata.extra, "saetui_recipe": recipe.to_dict()},
    )
    save_saelens(replace(plain, metadata=metadata), run.folder / "sae")
    with Journal(run.events_path) as events:
        events.append(kind="ungated", **asdict(report))
        events.sync()
    return report


def _trained(lm: LanguageModel, graft: Graft, recipe: GraftRecipe, store: RowStore) -> tuple[SAE, Cost]:
    """The plain SAE, from the training rows in ``store``, which is closed."""
    begun, begun_cpu = time.perf_counter(), time.process_time()
    with closing(store):
        stored = store.activation_rows * store.tokens_per_row
        hot = gather_hot(
            lm,
            store.rows,
            graft.narrow,
            recipe.target,
            recipe.threshold,
            recipe.hot_tokens,
            recipe.scan_tokens,
            store=store,
        )
        x = stream(store)
    read = max(hot.tokens_read, len(x))  # the same first rows
    background = x[~graft.gate(x)]
    reading, reading_cpu = time.perf_counter() - begun, time.process_time() - begun_cpu
    begun, begun_cpu = time.perf_counter(), time.process_time()
    plain = ungate(graft, hot.x, background, recipe)
    steps, steps_cpu = time.perf_counter() - begun, time.process_time() - begun_cpu
    return plain, Cost(
        tokens=recipe.steps * 2 * recipe.batch_size,
        tokens_read=read,
        tokens_computed=max(0, read - stored),
        lm_s=reading,
        sae_s=steps,
        wall_s=reading + steps,
        lm_cpu_s=reading_cpu,
        sae_cpu_s=steps_cpu,
        gpu=lm.device.type == "cuda",
    )


def _mean_f1(expected: ExpectedChildren, encoder: SAE | Graft, children: range) -> float | None:
    found = expected.f1(encoder, children).get("children")
    return mean(child["f1"] for child in found) if found else None
