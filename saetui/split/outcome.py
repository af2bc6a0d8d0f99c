"""What a finished run left, opened to be judged: its dictionary, its target, its criteria."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from saetui import embedded
from saetui.errors import UserError
from saetui.features.stored_lm import reading_stored
from saetui.features.top_tokens import Progress
from saetui.lm.base import LanguageModel
from saetui.loading import check_fit, load_lm, load_sae, open_rows
from saetui.runs.store import Run
from saetui.sae.formats import load
from saetui.sae.sae import SAE
from saetui.setup import Setup
from saetui.split.defaults import split_limits
from saetui.split.finding.children import CONTROLS, split_report
from saetui.split.finding.report import SplitReport, SplitThresholds
from saetui.split.grafting.graft import Graft
from saetui.split.judging.criteria import Criteria, load_criteria
from saetui.split.judging.judge import DEFAULT_TOKENS, judge
from saetui.split.judging.review import CRITERIA_FILE
from saetui.split.judging.verdict import Judgement
from saetui.split.recipe import GraftRecipe, SplitRecipe


@dataclass(frozen=True)
class Outcome:
    """A run's dictionary and what its recipe says about the target in it."""

    run: Run
    encoder: SAE | Graft
    target: int
    """In the narrow SAE."""
    threshold: float
    inherited: int | None
    """The feature of the encoder that began as the target, and still may fire for it; None: there is none."""
    children: Sequence[int] | None
    """A graft's children; None where any feature may be one."""

    @property
    def name(self) -> str:
        return f"{'graft' if self.children is not None else 'wide SAE'} of {self.run.id}"


def open_outcome(run: Run) -> Outcome:
    """The dictionary that ``run`` ended with. UserError where it has not ended with one yet."""
    manifest = run.manifest
    folder = run.folder / ("graft" if manifest.kind == "graft" else "sae")
    if not folder.is_dir():
        raise UserError(
            f"{run.id} is {run.state()} and has left no {folder.name} yet: it is judged when finished"
        )
    if manifest.kind == "graft":
        graft = Graft.load(folder)
        recipe = GraftRecipe.from_dict(manifest.recipe)
        return Outcome(run, graft, recipe.target, recipe.threshold, recipe.target, graft.children)
    sae = load(str(folder))
    recipe = SplitRecipe.from_dict(manifest.recipe)
    return Outcome(run, sae, recipe.target, recipe.threshold, inherited_target(recipe), None)


def inherited_target(recipe: SplitRecipe) -> int | None:
    """The feature of a recipe's SAE that began as the target and still may fire for it; None: there is none.
    Under other losses than the standard one nothing trains the target: it never fires
    (``saetui.split.training.loss.deployed``)."""
    return recipe.target if recipe.init != "random" and recipe.loss == "standard" else None


def criteria_for(run: Run, path: str | Path | None = None) -> Criteria | None:
    """The criteria to judge ``run`` by: the file named, else the run's own, else the one that ships for its
    model, if it is about the run's target. None where there is none; UsageError as ``load_criteria``."""
    if path is not None:
        return load_criteria(path)
    own = run.folder / CRITERIA_FILE
    if own.is_file():
        return load_criteria(own)
    model, target = run.manifest.setup.get("model", ""), run.manifest.recipe.get("target")
    shipped = embedded.models_folder() / Path(model).name / CRITERIA_FILE
    if not shipped.is_file():
        return None
    criteria = load_criteria(shipped)
    about = criteria.target
    if about is None and model in embedded.WORLDS:
        about = embedded.world(model).target
    return criteria if about in (None, target) else None


def setup_of(run: Run) -> Setup:
    """The run's setup, its relative paths made absolute: they count from where the run was launched."""
    return Setup.from_dict(run.manifest.setup).anchored(Path(run.manifest.cwd))


def judge_run(
    run: Run,
    criteria: Criteria,
    *,
    lm: LanguageModel | None = None,
    tokens: int = DEFAULT_TOKENS,
    on_progress: Progress | None = None,
) -> Judgement:
    """Judge a finished run on the held-out rows of its own setup. ``lm``: that setup's language model, where
    the caller has it open. Raises as ``judge``."""
    outcome, setup = open_outcome(run), setup_of(run)
    lm = lm or load_lm(setup)
    encoder = _on(lm, outcome.encoder)
    rows = open_rows(setup, lm.tokenizer, "eval")
    with reading_stored(lm, rows, tokens) as lm:
        return judge(
            lm,
            encoder,
            criteria,
            rows,
            name=outcome.name,
            target=outcome.inherited,
            candidates=outcome.children,
            tokens=tokens,
            on_progress=on_progress,
        )


def report_run(
    run: Run,
    *,
    lm: LanguageModel | None = None,
    tokens: int = DEFAULT_TOKENS,
    limits: SplitThresholds | None = None,
    on_progress: Progress | None = None,
) -> SplitReport:
    """The split report of a finished run, which needs no criteria, with control features for a wide one.
    ``limits``: those of the settings where none are given. Raises as ``split_report``."""
    outcome, setup = open_outcome(run), setup_of(run)
    lm = lm or load_lm(setup)
    encoder = _on(lm, outcome.encoder)
    narrow = encoder.narrow if isinstance(encoder, Graft) else load_sae(setup).to(lm.device)
    rows = open_rows(setup, lm.tokenizer, "eval")
    with reading_stored(lm, rows, tokens) as lm:
        return split_report(
            lm,
            encoder,
            narrow,
            outcome.target,
            outcome.threshold,
            rows,
            candidates=outcome.children,
            inherited=outcome.inherited,
            tokens=tokens,
            limits=limits or split_limits(),
            control_features=CONTROLS,
            on_progress=on_progress,
        )


def _on(lm: LanguageModel, encoder: SAE | Graft) -> SAE | Graft:
    """The encoder on the model's device, after a look whether the two fit."""
    check_fit(lm, encoder.narrow if isinstance(encoder, Graft) else encoder)
    return encoder.to(lm.device)
