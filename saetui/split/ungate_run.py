"""A finished graft run gets its plain SAE: trained, measured, written beside the gated graft."""

import time
from contextlib import closing
from dataclasses import asdict, replace

from saetui.errors import UsageError
from saetui.features.row_store import RowStore
from saetui.lm.base import LanguageModel
from saetui.loading import load_lm, open_rows
from saetui.runs.journal import Journal
from saetui.runs.store import Run
from saetui.sae.formats import save_saelens
from saetui.split.graft import Graft
from saetui.split.hot import gather_hot
from saetui.split.outcome import open_outcome, setup_of
from saetui.split.recipe import GraftRecipe
from saetui.split.ungated import UngatedReport, measure_ungated, stream, ungate


def ungate_run(run: Run, lm: LanguageModel | None = None) -> UngatedReport:
    """Trains the children of a finished graft run to do without their gate (``saetui.split.ungated``), on
    the tokens that its recipe names; leaves a SAELens folder in the run's ``sae/`` and an ``ungated`` event
    with the report. An earlier one is replaced. UsageError for a run that is no graft."""
    if run.manifest.kind != "graft":
        raise UsageError(f"{run.id} is a wide run: only a graft has a gate")
    graft = open_outcome(run).encoder
    assert isinstance(graft, Graft)
    recipe, setup = GraftRecipe.from_dict(run.manifest.recipe), setup_of(run)
    lm = lm or load_lm(setup)
    graft = graft.to(lm.device)
    rows = open_rows(setup, lm.tokenizer, "train")
    with closing(RowStore(lm, rows)) as store:
        hot = gather_hot(
            lm,
            rows,
            graft.narrow,
            recipe.target,
            recipe.threshold,
            recipe.hot_tokens,
            recipe.scan_tokens,
            store=store,
        )
    x = stream(lm, rows)
    begun = time.perf_counter()
    plain = ungate(graft, hot.x, x[~graft.gate(x)], recipe)
    seconds = time.perf_counter() - begun
    report = measure_ungated(graft, plain, stream(lm, open_rows(setup, lm.tokenizer, "eval")), seconds)
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
