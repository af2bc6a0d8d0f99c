"""A wide run: the seed's method, carried out in a run directory."""

import contextlib
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from saetui import embedded
from saetui.errors import UsageError
from saetui.features.row_store import RowStore
from saetui.features.stored_lm import reading_stored
from saetui.lm.base import LanguageModel
from saetui.lm.streaming import streaming
from saetui.loading import check_fit, load_lm, load_sae, open_rows
from saetui.runs.context import RunContext
from saetui.runs.ranks import Listener, Ranks
from saetui.sae.formats import save_saelens
from saetui.sae.sae import SAE
from saetui.setup import Setup
from saetui.split.activations.activation_cache import ActivationCache
from saetui.split.activations.data import ShuffledActivations
from saetui.split.activations.disk import activation_bytes
from saetui.split.activations.filtered import FilteredRows, WaitEnded
from saetui.split.activations.indexed import check_fires, open_indexed
from saetui.split.activations.resident import ResidentPieces, free_memory
from saetui.split.activations.shared_pieces import SharedPieces
from saetui.split.inputs import record_inputs
from saetui.split.judging.criteria import load_criteria
from saetui.split.judging.expected import ExpectedChildren
from saetui.split.outcome import inherited_target
from saetui.split.pace import Pace
from saetui.split.recipe import SplitRecipe
from saetui.split.training.evaluate import Evaluation, LossRecovered, Quality, as_metrics
from saetui.split.training.loss import narrow_sae
from saetui.split.training.matmul import settled_matmul, use_matmul
from saetui.split.training.sparse import SparseEngine, choose_sparse_engine, has_numba
from saetui.split.training.trace import Trace, next_record
from saetui.split.training.trainer import Trainer

METRICS_EVERY_S = 1.0
WAITING_EVERY_S = 15.0
# Tokens of an evaluation: for FVU and L0, and (each costs an unembedding) for the loss.
# The last one counts firings on more of them, for the densities that are saved.
EVAL_TOKENS = {"cpu": (8_192, 4_096, 65_536), "cuda": (131_072, 65_536, 1_048_576)}


def run(context: RunContext) -> None:
    """Trains the wide SAE of the run's recipe and leaves it in ``sae/``, a SAELens folder.

    Metrics records: ``Trainer.metrics`` with what ``Pace`` says, about once a second; records
    with ``probes`` alone, densely at first; and evaluations with ``"eval": true``, where there are criteria
    with ``children``, a ``ChildF1`` each, and ``passed``, the names of those that the judge finds. Goes on
    from the last checkpoint, on the CPU to the same bits as without the interruption.

    Where this process is one of several ranks, all of them train together and rank 0 alone reports.
    """
    _WideRun(context).train()


class _WideRun:
    def __init__(self, context: RunContext) -> None:
        self.context = context
        self.ranks = Ranks()
        self.listener = Listener(context, self.ranks)
        setup = Setup.from_dict(context.manifest.setup)
        self.setup = replace(setup, device=setup.devices[self.ranks.rank])
        self.recipe = recipe = SplitRecipe.from_dict(context.manifest.recipe)
        lm = load_lm(self.setup)
        if lm.device.type == "cuda":
            torch.cuda.set_device(lm.device)
        narrow = None
        if recipe.init != "random" or recipe.data == "filtered" or recipe.loss != "standard":
            narrow = narrow_sae(recipe, load_sae(self.setup))
            for warning in check_fit(lm, narrow):
                context.event("warning", message=warning)
        self.lm = lm
        checkpoint = context.latest_checkpoint()
        self._choose_matmul(checkpoint[1]["matmul"] if checkpoint else None)
        sparse_engine = self._choose_sparse_engine(checkpoint[1]["sparse_engine"] if checkpoint else None)
        self.rows = open_rows(self.setup, lm.tokenizer, "train")
        record_inputs(context, lm, narrow, self.rows)
        if narrow is not None and not checkpoint:
            check_fires(RowStore(lm, self.rows, writes=False), narrow, recipe, self._say_warning)
        stream, stored = self._choose_stream(checkpoint[1]["streamed"] if checkpoint else None)
        filtered = FilteredRows(stream, self.rows, recipe, narrow, stored)
        pieces = ActivationCache(filtered, recipe, self._say_cache)
        if lm.device.type == "cuda":
            needed = activation_bytes(recipe, lm.d_in)
            pieces = ResidentPieces(pieces, lambda: min(needed, free_memory(lm.device)))
        if self.ranks.count > 1:
            pieces = SharedPieces(pieces, self.ranks)
        source = ShuffledActivations(pieces, recipe, narrow)
        self.trainer = Trainer(
            recipe, source, lm.d_in, narrow, lm.device, self.ranks, sparse_engine, self._say_warning
        )
        if checkpoint:
            self.trainer.restore(*checkpoint)
        if not self.ranks.leads:
            return
        self.trace = Trace.of(lm, probe_prompts(self.setup, context.folder), recipe)
        quality, ce, self._final_quality = EVAL_TOKENS["cpu" if lm.device.type == "cpu" else "cuda"]
        self._held_out = open_rows(self.setup, lm.tokenizer, "eval")
        self._evaluation = Evaluation(lm, self._held_out, quality, ce)
        self._expected = ExpectedChildren.of(lm, context.run, self._held_out)
        self._said = 0.0  # when a person last heard of the present step

    def train(self) -> None:
        context, trainer, recipe = self.context, self.trainer, self.recipe
        record_at = trainer.step
        if trainer.step == 0 and self.ranks.leads:
            self._evaluate()
        pace = Pace(trainer.tokens, recipe.tokens)
        while not trainer.done:
            if (asked := self.listener.asked(trainer.step)) != "go":
                self._save_checkpoint()
                context.leave(asked)
            before = trainer.tokens
            try:
                self._said = time.monotonic()
                trainer.advance(self._poll)
            except WaitEnded:
                self.listener.listen()
                continue
            if not self.ranks.leads:
                continue
            if trainer.done or pace.due(METRICS_EVERY_S):
                source = trainer.source
                paces = pace.take(trainer.tokens, source.ready, source.seconds, trainer.seconds)
                context.metric(**trainer.metrics(), **paces, **gpu_load(self.lm.device))
            if trainer.step >= record_at and self.trace.prompts:
                context.metric(tokens=trainer.tokens, step=trainer.step, probes=self._probes())
                record_at = next_record(trainer.step)
            if _crossed(recipe.eval_every, before, trainer.tokens) and not trainer.done:
                self._evaluate()
            if _crossed(recipe.checkpoint_every, before, trainer.tokens) and not trainer.done:
                self._save_checkpoint()
        if self.ranks.leads:
            self._finish()

    def _poll(self, read: int) -> None:
        if self.context.control() != "go":
            raise WaitEnded
        if time.monotonic() - self._said > WAITING_EVERY_S:
            self._said = time.monotonic()
            self.context.event("waiting", message=f"filling the buffer: {read:,} tokens read for it so far")

    def _say_cache(self, line: str) -> None:
        self.context.event("cache", message=line)

    def _say_warning(self, line: str) -> None:
        self.context.event("warning", message=line)

    def _probes(self) -> list[dict[str, Any]]:
        return self.trace.record(self.trainer.core.encode(self.trace.x))

    def _evaluate(self) -> None:
        sae = self.trainer.sae()
        self._report(sae, self._evaluation.quality(sae), self._evaluation.loss_recovered(sae))

    def _report(self, sae: SAE, quality: Quality, loss: LossRecovered) -> None:
        where = {"tokens": self.trainer.tokens, "step": self.trainer.step, **self.trainer.costs()}
        children: dict[str, Any] = {}
        if self._expected:
            children = self._expected.f1(sae)
            if self.trainer.step:  # before, nothing is to be judged, and the person waits for the first step
                children |= self._expected.passed(sae, inherited_target(self.recipe))
        self.context.metric(**as_metrics(quality, loss), **where, **children, probes=self._probes())

    def _save_checkpoint(self) -> None:
        tensors, values = self.trainer.state()
        ways = {
            "matmul": self._matmul,
            "sparse_engine": asdict(self._sparse_engine),
            "streamed": self._streamed,
        }
        self.context.save_checkpoint(tensors, {**values, **ways})

    def _finish(self) -> None:
        sae = self.trainer.sae()
        with reading_stored(self.lm, self._held_out, self._final_quality) as lm:
            quality = Evaluation(lm, self._held_out, self._final_quality, 1).quality(sae)
        self._report(sae, quality, self._evaluation.loss_recovered(sae))
        metadata = replace(
            sae.metadata,
            name=self.context.manifest.id,
            model_name=self.lm.name,
            hook_name=self.lm.hook_name,
            dataset=self.rows.name,
            context_size=self.rows.seq_len,
            prepend_bos=self.rows.bos,
            extra={"saetui_recipe": self.recipe.to_dict(), **self._weights_convention()},
        )
        folder = self.context.folder / "sae"
        save_saelens(replace(sae, metadata=metadata), folder, quality.density)
        self.context.event("saved", path=str(folder), message=f"the wide SAE is in {folder}")

    def _weights_convention(self) -> dict[str, Any]:
        """How the language model's weights were processed, as the narrow SAE's file says: the wide SAE has
        seen the same activations, and its file must say the same."""
        narrow = self.trainer.narrow
        said = narrow.metadata.extra if narrow else {}
        return {key: said[key] for key in ("model_from_pretrained_kwargs",) if key in said}

    def _choose_matmul(self, engine: str | None) -> None:
        """A resumed run keeps the engine that it began with: another one gives other last bits."""
        self._matmul = engine or "default"
        if self.lm.device.type != "cpu":
            return
        if engine is None:
            self._matmul = self.ranks.agreed(self._fastest_matmul() if self.ranks.leads else "")
        use_matmul(self._matmul)

    def _fastest_matmul(self) -> str:
        found = settled_matmul(min(self.recipe.batch_size, 2048), self.lm.d_in, self.recipe.d_sae)
        self.context.event(
            "matmul",
            engine=found.engine,
            error=found.error,
            speedup=found.speedup,
            message=f"fp32 products: {found.engine} (oneDNN is {found.speedup:.2f}× the default, "
            f"relative difference {found.error:.0e})",
        )
        return found.engine

    def _choose_sparse_engine(self, known: dict[str, bool] | None) -> SparseEngine:
        """As ``_choose_matmul``, for the sparse steps; to be called after it."""
        self._sparse_engine = SparseEngine(**known) if known else SparseEngine()
        if self.lm.device.type == "cpu" and known is None:
            chosen = self._fastest_sparse_engine() if self.ranks.leads else self._sparse_engine
            self._sparse_engine = self.ranks.agreed(chosen)
        elif self._sparse_engine.compiled and not has_numba():
            self.context.event(
                "warning", message="the run began with Numba, which is gone: it ends in other last bits"
            )
        return self._sparse_engine

    def _fastest_sparse_engine(self) -> SparseEngine:
        engine, line = choose_sparse_engine(self.lm.d_in, self.recipe.d_sae)
        self.context.event("sparse", **asdict(engine), message=line)
        return engine

    def _choose_stream(self, streamed: bool | None) -> tuple[LanguageModel, RowStore | None]:
        """What computes the run's activations, and the index that has some of them, if it is used: it keeps
        them as the plain forward computes them, which is taken where most of the run can be read there."""
        recipe, stored, said = self.recipe, None, list[str]()
        tokens = recipe.tokens // recipe.buffer_passes
        dtype = "bfloat16" if recipe.dtype == "bfloat16" else "float32"
        if not streamed and dtype == "float32":
            stored = open_indexed(self.lm, self.rows, said.append)
        if streamed is None:
            few = stored is None or stored.activation_rows * self.rows.seq_len < tokens / 2
            streamed = self.ranks.agreed(few)
        self._streamed = streamed
        if stored is None or not streamed:
            for line in said:
                self._say_cache(line)
        if not streamed:
            return self.lm, stored
        stream, line = streaming(self.lm, dtype, tokens)
        self.context.event("language_model", message=line)
        return stream, None


def gpu_load(device: torch.device) -> dict[str, float]:
    """Of a GPU, ``gpu_memory``: the most bytes that PyTorch has held of it, its cache included; ``gpu_use``:
    the share of the last moments in which it was at work, where nvidia-ml-py is installed."""
    if device.type != "cuda":
        return {}
    load: dict[str, float] = {"gpu_memory": torch.cuda.max_memory_reserved(device)}
    with contextlib.suppress(Exception):  # NVML's errors share no importable base, and none is worth a run
        load["gpu_use"] = torch.cuda.utilization(device) / 100
    return load


def _crossed(every: int, before: int, after: int) -> bool:
    return after // every > before // every


def probe_prompts(setup: Setup, folder: Path) -> list[str]:
    """Prompts up to their probe tokens: those of the criteria file in the run's ``folder`` or, failing that,
    of the embedded world; none for other models without a criteria file."""
    world = embedded.world(setup.model) if setup.model in embedded.WORLDS else None
    path = folder / "criteria.toml"
    if not path.is_file():
        if world is None:
            return []
        path = world.criteria
        if not path.is_file():
            return list(world.prompts)
    try:
        criteria = load_criteria(path)
    except UsageError:
        # The criteria are the judge's to complain about; training needs only somewhere to look.
        return list(world.prompts) if world else []
    return [prompt.text[: prompt.stop] for child in criteria.children for prompt in child.prompts]
