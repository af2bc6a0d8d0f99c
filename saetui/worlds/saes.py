"""The SAEs of a world, what they measure, and the files that say so: everything beside the language model."""

import json
import logging
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from saetui.corpus.rows import TokenRows
from saetui.corpus.tokenizer import Tokenizer
from saetui.lm.direct import HOOK_NAME, DirectModel
from saetui.lm.one_layer import OneLayer
from saetui.sae.formats import save_saelens
from saetui.sae.sae import SAE, SAEMetadata
from saetui.split.activations.data import ShuffledActivations
from saetui.split.activations.filtered import FilteredRows
from saetui.split.grafting.graft import Graft
from saetui.split.grafting.graft_run import graft_target
from saetui.split.judging.criteria import Criteria, load_criteria
from saetui.split.judging.judge import judge
from saetui.split.recipe import GraftRecipe, SplitRecipe
from saetui.split.training.trainer import train
from saetui.worlds import card
from saetui.worlds.measure import Coverage, HeldOut
from saetui.worlds.recipes import LMRecipe, WorldRecipe

log = logging.getLogger(__name__)

TOKEN = "-"
JUDGED_TOKENS = 200_000
WIDE = ("wide", "wide-all")
"""Folders of the two reference wide SAEs: filtered as in the world's own runs, and on all data."""


def build(
    name: str,
    lm_recipe: LMRecipe,
    recipe: WorldRecipe,
    folder: Path,
    train_rows: TokenRows,
    held_out: TokenRows,
) -> None:
    """Make the narrow SAE, the reference wide SAEs, ``world.toml``, ``card.json`` and ``CARD.md`` in
    ``folder``, which has the language model and the criteria. Takes minutes."""
    lm = DirectModel(
        OneLayer.load(folder / "lm"), Tokenizer.from_file(folder / "lm" / "tokenizer.json"), name
    )
    criteria = load_criteria(folder / "criteria.toml")
    read = HeldOut(lm, held_out, TOKEN, recipe.measured_tokens)

    narrow_recipe, narrow, covers = _covering(recipe, lm, train_rows, read)
    target = covers.feature
    quality, density = read.quality(narrow)
    _save(narrow, folder / "narrow", density, narrow_recipe, lm, train_rows)
    numbers: dict[str, Any] = {
        "world": name,
        "lm": {
            "model": asdict(lm_recipe.model),
            "parameters": sum(weight.numel() for weight in lm.model.weights.values()),
            "tokens": lm_recipe.steps * lm_recipe.batch_rows * lm_recipe.model.n_ctx,
            "loss": quality.ce,
            "loss_per_char": quality.ce / read.characters_per_token,
            "versions": {package: version(package) for package in ("torch", "saetui")},
        },
        "held_out_tokens": len(read.is_token),
        "occurrences": int(read.is_token.sum()),
        "narrow": {
            "recipe": changes(narrow_recipe),
            "quality": asdict(quality),
            "target": asdict(covers),
            "children": [asdict(child) for child in read.children(narrow, criteria)],
        },
    }
    log.info("narrow: %s", numbers["narrow"])

    split = SplitRecipe(**{"target": target, "threshold": recipe.threshold, **recipe.split})
    for wide, one in zip(WIDE, (split, replace(split, **recipe.split_all)), strict=True):
        sae = _trained(one, lm, train_rows, narrow, wide)
        quality, density = read.quality(sae)
        _save(sae, folder / wide, density, one, lm, train_rows)
        numbers[wide] = {
            "recipe": changes(one),
            "quality": asdict(quality),
            "children": [asdict(child) for child in read.children(sae, criteria)],
            "verdict": _verdict(lm, sae, criteria, held_out, target if one.init != "random" else None),
        }
        log.info("%s: %s", wide, numbers[wide])

    graft_recipe = GraftRecipe(**{"target": target, "threshold": recipe.threshold, **recipe.graft})
    graft, report = graft_target(lm, narrow, train_rows, graft_recipe)
    numbers["graft"] = {
        "recipe": changes(graft_recipe),
        "report": {k: v for k, v in asdict(report).items() if "seconds" not in k},
        "children": [asdict(child) for child in read.children(graft, criteria, graft.children)],
        "verdict": _verdict(lm, graft, criteria, held_out, None),
    }
    log.info("graft: %s", numbers["graft"])

    (folder / "world.toml").write_text(_world_toml(recipe, train_rows.seq_len, target), encoding="utf-8")
    rounded = _rounded(numbers)
    (folder / "card.json").write_text(json.dumps(rounded, indent=1) + "\n", encoding="utf-8")
    (folder / "CARD.md").write_text(card.text(rounded), encoding="utf-8")


def changes(recipe: SplitRecipe | GraftRecipe) -> dict[str, Any]:
    """What a recipe has other than the general defaults."""
    defaults = type(recipe)().to_dict()
    return {key: value for key, value in recipe.to_dict().items() if value != defaults[key]}


def _covering(
    recipe: WorldRecipe, lm: DirectModel, rows: TokenRows, read: HeldOut
) -> tuple[SplitRecipe, SAE, Coverage]:
    """The first narrow SAE of which one feature covers the token well enough, or the best of all tried; its
    recipe, and that feature."""
    tried: list[tuple[SplitRecipe, SAE, Coverage]] = []
    for seed in range(recipe.narrow.seed, recipe.narrow.seed + recipe.narrow_seeds):
        one = replace(recipe.narrow, seed=seed)
        sae = _trained(one, lm, rows, None, f"narrow, seed {seed}")
        covers = read.coverage(sae, read.best_feature(sae), recipe.threshold)
        log.info("narrow, seed %d: feature %d covers it with AUC %.3f", seed, covers.feature, covers.auc)
        tried.append((one, sae, covers))
        if covers.auc >= recipe.covered:
            break
    return max(tried, key=lambda one: one[2].auc)


def _trained(recipe: SplitRecipe, lm: DirectModel, rows: TokenRows, narrow: SAE | None, label: str) -> SAE:
    def progress(now: dict[str, Any]) -> None:
        log.info("%s: %.2f M tokens, loss %.2f, L0 %.1f", label, now["tokens"] / 1e6, now["loss"], now["l0"])

    source = ShuffledActivations(FilteredRows(lm, rows, recipe, narrow), recipe, narrow)
    return train(recipe, source, lm.d_in, narrow, "cpu", progress, every_s=10)


def _save(
    sae: SAE, folder: Path, density: Any, recipe: SplitRecipe, lm: DirectModel, rows: TokenRows
) -> None:
    metadata = SAEMetadata(
        name=f"{lm.name}/{folder.name}",
        model_name=lm.name,
        hook_name=HOOK_NAME,
        dataset=rows.name,
        context_size=rows.seq_len,
        prepend_bos=True,
        extra={"saetui_recipe": recipe.to_dict()},
    )
    save_saelens(replace(sae, metadata=metadata), folder, density)


def _verdict(
    lm: DirectModel, encoder: SAE | Graft, criteria: Criteria, rows: TokenRows, target: int | None
) -> dict[str, Any]:
    candidates = encoder.children if isinstance(encoder, Graft) else None
    found = judge(lm, encoder, criteria, rows, target=target, candidates=candidates, tokens=JUDGED_TOKENS)
    return {
        "passed": found.passed,
        "of": len(found.children),
        "children": {
            child.child: {"feature": child.feature, "criteria": [c.number for c in child.criteria]}
            for child in found.children
        },
    }


def _world_toml(recipe: WorldRecipe, seq_len: int, target: int) -> str:
    def table(values: dict[str, Any]) -> str:
        # JSON's strings, numbers, booleans and arrays are TOML's.
        return "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())

    top = {
        "title": recipe.title,
        "hook_name": HOOK_NAME,
        "seq_len": seq_len,
        "lm": "lm",
        "narrow_sae": "narrow",
        "wide_saes": list(WIDE),
        "criteria": "criteria.toml",
        "target": target,
        "threshold": recipe.threshold,
        "prompts": list(recipe.prompts),
    }
    split, graft = table(recipe.split), table(recipe.graft)
    return f"# Written by `python -m saetui.worlds`.\n{table(top)}\n[split]\n{split}\n[graft]\n{graft}"


def _rounded(value: Any) -> Any:
    """Four significant digits: what the sample supports, and what differs between machines is beyond."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list) else value
