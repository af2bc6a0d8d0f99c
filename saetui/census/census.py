"""The census: every feature of a narrow SAE grafted, so that which ones hide several contexts is measured."""

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from functools import partial
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor

from saetui.atomic import write_atomic
from saetui.census.agreement import agreements
from saetui.census.evidence import rank_features
from saetui.census.measure import measured
from saetui.census.results import Census, CensusProgress, CensusRecipe, Evidence, FeatureCensus
from saetui.census.tokens import HotSample, sample_hot, sample_rows
from saetui.features.index import FeatureIndex
from saetui.sae.sae import SAE
from saetui.split.grafting.graft import Graft
from saetui.split.grafting.graft_many import train_children
from saetui.split.recipe import GraftRecipe
from saetui.split.training.loss import without_target

POOL_BYTES = {"cpu": 2**27, "cuda": 2**31}
"""Activations of the features that are trained together: what decides how many these are."""

_VERSION = 2
"""Part of the file's name: raise it when a number comes to mean something else."""

OnProgress = Callable[[CensusProgress], None]
"""May raise to stop, which loses at most one group of features."""


def rank(
    narrow: SAE, index: FeatureIndex, recipe: CensusRecipe, on_progress: OnProgress = lambda progress: None
) -> list[Evidence]:
    """Which feature to split next: the evidence before any training, strongest first.

    Over what ``index`` has read, ``recipe.tokens`` at most. UserError where no activations are stored.
    """
    return _evidence(narrow, _sample(index, recipe, on_progress), recipe, on_progress)


def take_census(
    narrow: SAE,
    index: FeatureIndex,
    recipe: CensusRecipe,
    on_progress: OnProgress = lambda progress: None,
    go_on: bool = True,
) -> Census:
    """Grafts every feature of ``narrow`` on what its ``index`` has read, ``recipe.tokens`` at most, and
    measures on held-out rows of it.

    After every group of features what is measured is written beside the index, and a census that was
    interrupted goes on from there, to the same numbers; one that was finished answers from the file. Without
    ``go_on`` it measures nothing: the features are those that were measured before. The order that was
    expected (``rank``) is held against the one that came out. Raises as ``rank``.
    """
    begun = time.perf_counter()
    tokens_read = sample_rows(index, recipe) * index.store.tokens_per_row
    so_far = PartialCensus(index.folder, tokens_read, recipe)
    left = go_on and len(so_far.features) < narrow.d_sae
    if left or so_far.evidence is None:
        sample = _sample(index, recipe, on_progress)
        if so_far.evidence is None:
            so_far.expect(_evidence(narrow, sample, recipe, on_progress))
        if left:
            _measure(narrow, sample, recipe, so_far, on_progress)
    evidence = so_far.evidence or []
    features = sorted(so_far.features.values(), key=lambda one: (not one.children, -one.by_context))
    return Census(
        sae=index.name,
        tokens_read=tokens_read,
        recipe=recipe.to_dict(),
        features=features,
        evidence=evidence,
        agreement=agreements(evidence, features),
        seconds=time.perf_counter() - begun,
    )


def _measure(
    narrow: SAE, sample: HotSample, recipe: CensusRecipe, so_far: "PartialCensus", on_progress: OnProgress
) -> None:
    """Every feature that is not measured yet, a group at a time."""
    new: tuple[FeatureCensus, ...] = tuple(so_far.features.values())
    while group := _next_group(narrow, recipe, so_far.features):
        now = CensusProgress("grafting", len(so_far.features), narrow.d_sae, so_far.eta(narrow.d_sae))
        on_progress(replace(now, measured=new))
        new = tuple(_graft_group(narrow, sample, group, recipe, partial(on_progress, now)))
        so_far.add(new)


class PartialCensus:
    """The evidence and the features measured so far, in a file that names the tokens and the recipe that they
    belong to; it lies with the index, which names the SAE and the corpus."""

    def __init__(self, folder: Path, tokens_read: int, recipe: CensusRecipe) -> None:
        about = repr((_VERSION, tokens_read, recipe)).encode()
        self.path = folder / f"census-{sha256(about).hexdigest()[:16]}.json"
        self.features: dict[int, FeatureCensus] = {}
        self.evidence: list[Evidence] | None = None
        self._added, self._opened = 0, time.perf_counter()
        try:
            values = json.loads(self.path.read_text(encoding="utf-8"))
            found = [
                FeatureCensus(**{**one, "explained": tuple(one["explained"])}) for one in values["features"]
            ]
            self.evidence = [Evidence(**one) for one in values["evidence"]]
        except (OSError, ValueError, TypeError, KeyError):
            return  # a cache: what cannot be read is measured again
        self.features = {one.feature: one for one in found}

    def eta(self, total: int) -> float | None:
        """Seconds until ``total`` features are measured, from those measured since it was opened."""
        if not self._added:
            return None
        return (time.perf_counter() - self._opened) / self._added * (total - len(self.features))

    def expect(self, evidence: list[Evidence]) -> None:
        """Takes and writes the evidence before any training."""
        self.evidence = evidence
        self._write()

    def add(self, features: Iterable[FeatureCensus]) -> None:
        """Takes and writes them."""
        found = {one.feature: one for one in features}
        self.features |= found
        self._added += len(found)
        self._write()

    def _write(self) -> None:
        """Where the disk does not take the file, the census is merely not kept."""
        values = {
            "features": [asdict(one) for one in self.features.values()],
            "evidence": [asdict(one) for one in self.evidence or []],
        }
        try:
            write_atomic(self.path, json.dumps(values).encode())
        except OSError:
            return


def _sample(index: FeatureIndex, recipe: CensusRecipe, on_progress: OnProgress) -> HotSample:
    begun = time.perf_counter()

    def on_tokens(done: int, total: int) -> None:
        spent = time.perf_counter() - begun
        eta = spent / done * (total - done) if spent > 1 else None
        on_progress(CensusProgress("sampling", done, total, eta))

    return sample_hot(index, recipe, on_tokens)


def _evidence(
    narrow: SAE, sample: HotSample, recipe: CensusRecipe, on_progress: OnProgress
) -> list[Evidence]:
    return rank_features(
        narrow,
        sample,
        recipe.fewest,
        lambda done, total: on_progress(CensusProgress("ranking", done, total)),
    )


def _next_group(narrow: SAE, recipe: CensusRecipe, done: dict[int, FeatureCensus]) -> list[int]:
    """The features to graft together next, as many as memory allows."""
    pool = POOL_BYTES["cpu" if narrow.device.type == "cpu" else "cuda"]
    size = max(1, pool // (2 * 4 * recipe.hot_tokens * narrow.d_in))
    return [feature for feature in range(narrow.d_sae) if feature not in done][:size]


@torch.no_grad()
def _graft_group(
    narrow: SAE,
    sample: HotSample,
    group: list[int],
    recipe: CensusRecipe,
    on_progress: Callable[[], None],
) -> list[FeatureCensus]:
    held_out = {feature: sample.held_out_places(feature) for feature in group}
    train = {feature: sample.train_places(feature) for feature in group}
    kept = [f for f in group if min(len(held_out[f]), len(train[f])) >= recipe.fewest]
    rare = [
        FeatureCensus(
            feature, sample.density(feature), float(sample.threshold[feature]), len(held_out[feature])
        )
        for feature in group
        if feature not in kept
    ]
    if not kept:
        return rare
    pairs = [_pair(narrow, sample, feature, train[feature]) for feature in kept]
    x, y = [x for x, _ in pairs], [y for _, y in pairs]
    grafts: dict[int, list[Graft]] = {}
    for k in recipe.children:
        recipes = [_recipe(sample, feature, k, recipe) for feature in kept]
        grafts[k] = train_children(narrow, x, y, recipes, on_progress)
    return rare + [
        measured(
            {k: several[i] for k, several in grafts.items()},
            *_pair(narrow, sample, feature, held_out[feature]),
            sample.neighbourhood(held_out[feature]),
            sample.density(feature),
            recipe,
        )
        for i, feature in enumerate(kept)
    ]


def _pair(narrow: SAE, sample: HotSample, feature: int, places: Tensor) -> tuple[Tensor, Tensor]:
    """``hot_residual`` of tokens that are known to be hot."""
    x = sample.activations(places)
    return x, x - without_target(narrow, feature, x)


def _recipe(sample: HotSample, feature: int, k: int, recipe: CensusRecipe) -> GraftRecipe:
    return GraftRecipe(
        target=feature,
        children=k,
        seed=recipe.seed,
        threshold=float(sample.threshold[feature]),
        steps=recipe.steps,
        batch_size=recipe.batch_size,
        lr=recipe.lr,
        l1_coeff=recipe.l1_coeff,
        l1_warmup=recipe.l1_warmup,
    )
