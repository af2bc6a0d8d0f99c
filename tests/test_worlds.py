"""The worlds that ship: their files load, fit, and are what their cards say."""

import json
from copy import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from saetui import embedded
from saetui.corpus.grammar import LABELS, SyntheticRows
from saetui.lm import bridge
from saetui.lm.base import LanguageModel
from saetui.lm.direct import DirectModel
from saetui.lm.one_layer import OneLayer
from saetui.loading import check_fit, load_lm, load_sae
from saetui.sae import formats
from saetui.sae.sae import SAE
from saetui.setup import Setup
from saetui.split.defaults import world_values
from saetui.split.judging.criteria import load_criteria
from saetui.split.judging.judge import probe_position
from saetui.split.recipe import GraftRecipe, SplitRecipe
from saetui.worlds import card
from saetui.worlds.measure import HeldOut

SETUP = {name: Setup(model=name, device="cpu") for name in embedded.WORLDS}


@pytest.fixture(scope="module", params=embedded.WORLDS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def lm(name: str) -> LanguageModel:
    return load_lm(SETUP[name])


@pytest.fixture(scope="module")
def synthetic() -> HeldOut:
    return HeldOut(load_lm(SETUP["synthetic"]), SyntheticRows("eval"), "-", 30_000)


def numbers(name: str) -> dict:
    return json.loads((embedded.models_folder() / name / "card.json").read_text())


def test_saes_fit_their_model(name: str, lm: LanguageModel):
    world, narrow = embedded.world(name), load_sae(SETUP[name])
    for sae in (narrow, *map(formats.load, world.wide_saes)):
        assert check_fit(lm, sae) == []
        assert sae.metadata.model_name == name
        assert sae.metadata.context_size == world.seq_len
        torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(sae.d_sae), rtol=0, atol=1e-4)
    assert world.target < narrow.d_sae
    assert world.seq_len <= lm.n_ctx


def test_an_sae_of_something_else_does_not_fit(name: str, lm: LanguageModel):
    assert isinstance(lm, DirectModel)
    narrow = load_sae(SETUP[name])
    generator = torch.Generator().manual_seed(0)
    read, write = torch.randn(2, narrow.d_sae, narrow.d_in, generator=generator) / narrow.d_in**0.5
    random = SAE(read.T.contiguous(), torch.zeros(narrow.d_sae), write, torch.zeros(narrow.d_in))
    # As if trained on activations ten times these.
    scaled = replace(narrow, b_enc=10 * narrow.b_enc, b_dec=10 * narrow.b_dec)
    elsewhere = copy(lm)
    elsewhere.activations = lm.model.resid_mid
    for model, sae in ((lm, random), (lm, scaled), (elsewhere, narrow)):
        (warning,) = check_fit(model, sae)
        assert "worse than the mean does" in warning


def test_the_centring_of_an_sae_is_seen_in_what_it_reconstructs(name: str, lm: LanguageModel):
    assert isinstance(lm, DirectModel)
    tokens = _tokens(name, lm)
    own = _PrincipalAxes(lm.activations(tokens)[:, 1:].flatten(0, 1))
    # The same function before centring: a part along (1, ..., 1), which every LayerNorm takes off again.
    weights = dict(lm.model.weights)
    for part in ("W_out", "b_out"):
        weights[part] = weights[part] + (weights[part] @ own.first)[..., None] / lm.d_in**0.5
    uncentred = DirectModel(OneLayer(lm.model.config, weights), lm.tokenizer, name)
    theirs = _PrincipalAxes(uncentred.activations(tokens)[:, 1:].flatten(0, 1))
    assert check_fit(lm, own.sae) == check_fit(uncentred, theirs.sae) == []
    (warning,) = check_fit(lm, theirs.sae)
    assert "trained on uncentred activations" in warning
    (warning,) = check_fit(uncentred, own.sae)
    assert f"trained on centred activations, and {name}'s are uncentred" in warning
    for sae in map(formats.load, embedded.world(name).wide_saes):
        assert check_fit(uncentred, sae)


class _PrincipalAxes:
    """The SAE that principal components make, two features an axis: trained without training."""

    def __init__(self, x: torch.Tensor) -> None:
        mean = x.mean(0)
        axes = torch.linalg.svd(x - mean, full_matrices=False)[2][: x.shape[1] // 2]
        both = torch.cat([axes, -axes])
        self.first = axes[0]
        self.sae = SAE(both.T.contiguous(), torch.zeros(len(both)), both, mean)


def _tokens(name: str, lm: LanguageModel) -> torch.Tensor:
    """The world's prompts and as many rows of random tokens, so that there are enough; ``[32, seq]``."""
    generator = torch.Generator().manual_seed(0)
    prompts = lm.tokenizer.encode(" ".join(embedded.world(name).prompts), bos=True)
    rows = torch.randint(0, lm.tokenizer.d_vocab, (32, len(prompts)), generator=generator)
    rows[::2] = torch.tensor(prompts)
    return rows


def test_recipes_of_the_world_are_recipes(name: str):
    for kind in (SplitRecipe, GraftRecipe):
        values = world_values(kind, SETUP[name])
        recipe = kind.from_dict(values)
        assert (recipe.target, recipe.threshold) == (values["target"], values["threshold"])


def test_probe_tokens_of_the_criteria_are_tokens(name: str, lm: LanguageModel):
    criteria = load_criteria(embedded.world(name).criteria)
    assert len(criteria.children) == 3
    for child in criteria.children:
        for prompt in (*child.prompts, *child.contrasts):
            ids, position = probe_position(lm, prompt, "")
            assert lm.tokenizer.token_str(ids[position]) == criteria.token == "-"
            # The pattern is about what stands before the hyphen, and fits the child's own prompt only.
            assert child.follows(prompt.text[: prompt.start]) == (prompt in child.prompts)


@pytest.mark.parametrize(
    ("world", "text"),
    [
        ("real", "Return a low-level view of a multi-dimensional array, given as a 2-tuple."),
        ("real", "The user-defined function is a built-in one."),
        ("synthetic", "It was a multi-part plan. The long-term deal was good. He saw a 3-day trip."),
    ],
)
def test_the_target_is_the_hyphen(world: str, text: str):
    lm, narrow = load_lm(SETUP[world]), load_sae(SETUP[world])
    here = embedded.world(world)
    ids = lm.tokenizer.encode(text, bos=True)
    f = narrow.encode_feature(lm.activations(torch.tensor([ids]))[0, 1:], here.target)  # without the BOS
    hyphens = [lm.tokenizer.token_str(id) == "-" for id in ids[1:]]
    assert sum(hyphens) >= 2
    assert (f > here.threshold).tolist() == hyphens


def test_the_narrow_hyphen_covers_the_labelled_ones(synthetic: HeldOut):
    rows = SyntheticRows("eval")
    labels = rows.labels(0, 30_000 // (rows.seq_len - 1))[:, 1:].ravel()
    assert (synthetic.is_token.numpy() == (labels >= 0)).all()
    narrow, world = load_sae(SETUP["synthetic"]), embedded.world("synthetic")
    assert synthetic.best_feature(narrow) == world.target
    f = synthetic.encode(narrow, [world.target])[:, 0].numpy()
    for label in range(len(LABELS)):
        assert (f[labels == label] > world.threshold).mean() > 0.99
    assert (f[labels < 0] > world.threshold).mean() < 0.001


def test_numbers_of_the_synthetic_card(synthetic: HeldOut):
    said, world = numbers("synthetic"), embedded.world("synthetic")
    criteria = load_criteria(world.criteria)
    narrow, wide = load_sae(SETUP["synthetic"]), formats.load(world.wide_saes[0])
    for sae, one in ((narrow, said["narrow"]), (wide, said["wide"])):
        found = synthetic.quality(sae)[0]
        assert found.fvu == pytest.approx(one["quality"]["fvu"], rel=0.05)
        assert found.l0 == pytest.approx(one["quality"]["l0"], rel=0.05)
        assert found.ce == pytest.approx(said["lm"]["loss"], rel=0.02)
        assert found.ce_recovered == pytest.approx(one["quality"]["ce_recovered"], abs=0.03)
    coverage = synthetic.coverage(narrow, world.target, world.threshold)
    assert coverage.auc == pytest.approx(said["narrow"]["target"]["auc"], abs=0.01)
    for child, one in zip(synthetic.children(wide, criteria), said["wide"]["children"], strict=True):
        assert child.f1 == pytest.approx(one["f1"], abs=0.03) and child.f1 > 0.95
        assert child.feature == one["feature"]


def test_the_criteria_of_the_synthetic_world_are_its_labels():
    rows, lm = SyntheticRows("eval"), load_lm(SETUP["synthetic"])
    held_out = HeldOut(lm, rows, "-", 30_000)
    labels = rows.labels(0, 30_000 // (rows.seq_len - 1))[:, 1:].ravel()
    for label, child in enumerate(load_criteria(embedded.world("synthetic").criteria).children):
        followed = np.array([child.follows(text) for text in held_out.before])
        cut = np.array([text == "" for text in held_out.before])  # a hyphen may begin a row
        assert ((followed == (labels[labels >= 0] == label)) | cut).all()


def test_cards_are_written_from_their_numbers(name: str):
    folder = embedded.models_folder() / name
    assert (folder / "CARD.md").read_text() == card.text(numbers(name))


def test_what_ships_is_small():
    files = [path for path in embedded.models_folder().rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 30e6
    assert {path.suffix for path in files} <= {".json", ".toml", ".md", ".safetensors"}


def test_transformer_lens_computes_the_same(name: str, lm: LanguageModel):
    """Its native model in compatibility mode, with all the processing of weights that entails."""
    assert isinstance(lm, DirectModel)
    booted = bridge.boot_one_layer(lm.model, "cpu", process=True)
    tokens = torch.randint(lm.tokenizer.d_vocab, (2, 16), generator=torch.Generator().manual_seed(0))
    _, cache = booted.run_with_cache(tokens)
    theirs, ours = cache[lm.hook_name], lm.activations(tokens)
    assert float((theirs - ours).norm() / ours.norm()) < 1e-4
