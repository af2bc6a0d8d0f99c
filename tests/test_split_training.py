"""Initialisation, data, schedules and the trainer: the axes of a recipe, and resuming."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from saetui.errors import UsageError, UserError
from saetui.lm.base import AtHook
from saetui.sae.sae import SAE
from saetui.split.recipe import SplitRecipe
from saetui.split.training import evaluate
from saetui.split.training.evaluate import Evaluation
from saetui.split.training.init import initial_sae
from saetui.split.training.loss import deployed, without_target
from saetui.split.training.schedule import l1_coefficient, learning_rate, total_steps
from saetui.split.training.trace import Trace, next_record
from saetui.split.training.trainer import Trainer
from tests.split_support import (
    FixedSource,
    all_activations,
    hot_feature,
    random_sae,
    recipe,
    shuffled,
    world,
)
from tests.tiny import TinyLM, TinyRows, losses

WEIGHTS = ("W_enc", "b_enc", "W_dec", "b_dec")


def same(a: SAE, b: SAE) -> bool:
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in WEIGHTS)


# I and II


def test_random_initialisation_is_kaiming_uniform() -> None:
    sae = initial_sae(recipe(init="random", normalize_init=False, d_sae=512), 64)
    torch.manual_seed(0)
    theirs_enc = torch.nn.init.kaiming_uniform_(torch.empty(64, 512))
    theirs_dec = torch.nn.init.kaiming_uniform_(torch.empty(512, 64))
    for ours, theirs in ((sae.W_enc, theirs_enc), (sae.W_dec, theirs_dec)):
        assert ours.std() == pytest.approx(float(theirs.std()), rel=0.02)
        assert ours.abs().max() == pytest.approx(float(theirs.abs().max()), rel=0.01)
    assert not sae.b_enc.any() and not sae.b_dec.any()
    normalised = initial_sae(recipe(init="random", d_sae=512), 64)
    assert torch.allclose(normalised.W_dec.norm(dim=1), torch.ones(512), atol=1e-6)
    assert torch.equal(normalised.W_enc, sae.W_enc)


def test_narrow_initialisation_begins_with_the_narrow_sae() -> None:
    narrow = world()[2]
    n, d = narrow.d_sae, narrow.d_in
    narrow = replace(narrow, W_dec=narrow.W_dec * 1.5)
    given = recipe(init="narrow", normalize_init=False)
    sae = initial_sae(given, d, narrow)
    assert torch.equal(sae.W_enc[:, :n], narrow.W_enc)
    assert torch.equal(sae.b_enc[:n], narrow.b_enc) and not sae.b_enc[n:].any()
    assert torch.equal(sae.W_dec[:n], narrow.W_dec)
    assert torch.equal(sae.b_dec, narrow.b_dec)
    plain = initial_sae(replace(given, init="random"), d)
    assert torch.allclose(sae.W_enc[:, n:], given.new_rows_scale * plain.W_enc[:, n:])
    assert torch.equal(sae.W_dec[n:], plain.W_dec[n:])
    assert same(sae, initial_sae(given, d, narrow))
    normalised = initial_sae(replace(given, normalize_init=True), d, narrow)
    assert torch.allclose(normalised.W_dec.norm(dim=1), torch.ones(given.d_sae), atol=1e-6)

    reset = initial_sae(replace(given, init="narrow_reset"), d, narrow)
    others = torch.arange(given.d_sae) != given.target
    assert torch.equal(reset.W_dec[others], sae.W_dec[others])
    row, was = reset.W_dec[given.target], sae.W_dec[given.target]
    assert torch.cosine_similarity(row, was, dim=0) < 0.9
    assert float(row.norm()) == pytest.approx(float(was.norm()), rel=1e-5)


@pytest.mark.parametrize(
    ("values", "narrow", "words"),
    [
        ({"d_sae": 16}, True, "d_sae is 16"),
        ({"target": 32}, True, "0 to 31"),
        ({}, False, "--sae"),
    ],
)
def test_initialisations_that_cannot_be(values: dict[str, Any], narrow: bool, words: str) -> None:
    given = recipe(init="narrow", **values)
    with pytest.raises(UsageError, match=words):
        initial_sae(given, world()[0].d_in, world()[2] if narrow else None)


@pytest.mark.parametrize(
    ("init", "loss"), [("random", "target_zeroed"), ("narrow", "residual"), ("narrow_reset", "residual")]
)
def test_losses_that_do_not_go_with_an_initialisation(init: Any, loss: Any) -> None:
    with pytest.raises(UsageError, match=f"loss {loss}"):
        SplitRecipe(init=init, loss=loss)


# III


def test_filtered_data_is_what_the_filter_says() -> None:
    lm, rows, narrow = world()
    target, threshold = hot_feature()

    def firing(**values: Any) -> torch.Tensor:
        given = recipe(**values)
        source = shuffled(lm, rows, given, narrow)
        x = torch.cat([source.next(128) for _ in range(40)])
        return narrow.encode_feature(x, target) > threshold

    everywhere = float((narrow.encode_feature(all_activations(), target) > threshold).double().mean())
    assert 0.01 < everywhere < 0.15
    assert firing(granularity="token").all()
    assert float(firing(data="all").double().mean()) == pytest.approx(everywhere, rel=0.3)
    mixed = float(firing(granularity="mixed", mixed_share=0.4).double().mean())
    assert mixed == pytest.approx(0.4 + 0.6 * everywhere, abs=0.04)
    per_row = float(firing(granularity="row").double().mean())
    assert 1.5 * everywhere < per_row < 1


def test_row_filter_keeps_whole_rows_and_only_those_with_a_hot_token() -> None:
    lm, _, narrow = world()
    target, threshold = hot_feature()
    rows = TinyRows(64, seed=3)
    given = recipe(granularity="row", buffer_tokens=512, batch_size=8)
    source = shuffled(lm, rows, given, narrow)
    x = lm.activations(torch.from_numpy(rows.tokens.astype("int64")))[:, 1:].half().float()
    hot_rows = (narrow.encode_feature(x, target) > threshold).any(1)
    assert 0 < hot_rows.sum() < len(hot_rows)
    kept = {tuple(token.tolist()) for token in x[hot_rows].flatten(0, 1)}
    seen = {tuple(token.tolist()) for _ in range(400) for token in source.next(8)}
    assert seen == kept
    assert source.kept == pytest.approx(float(hot_rows.double().mean()), abs=0.1)


def test_a_buffer_is_passed_over_several_times_without_a_forward() -> None:
    lm, rows, _ = world()
    given = recipe(init="random", data="all", buffer_tokens=1024, buffer_passes=3)
    source = shuffled(lm, rows, given)
    for _ in range(4):  # past the first blocks, which are smaller
        block = source.state().values["blocks"]
        while source.state().values["blocks"] == block:
            source.next(128)
    forwards, once = lm.forwards, source.state().tensors["block"].clone()
    batches = torch.cat([source.next(128) for _ in range(len(once) // 128 * 3 - 1)])
    assert lm.forwards == forwards
    assert {tuple(t.tolist()) for t in batches} <= {tuple(t.tolist()) for t in once}


def test_no_token_left_after_the_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saetui.split.activations.data.SCAN_LIMIT", 30_000)
    lm, rows, narrow = world()
    for granularity in ("row", "token", "mixed"):
        source = shuffled(lm, rows, recipe(threshold=1e6, granularity=granularity), narrow)
        with pytest.raises(UserError, match=r"never fires above 1e\+06 .* tokens read of tiny rows.*lower"):
            source.next(128)


def test_a_wait_that_is_broken_off_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, rows, narrow = world()
    source = shuffled(lm, rows, recipe(), narrow)
    undisturbed = shuffled(lm, rows, recipe(), narrow)

    class Asked(Exception):
        pass

    def poll(read: int) -> None:
        assert read > 0
        raise Asked

    monkeypatch.setattr("saetui.split.activations.data.POLL_S", 0.0)
    for _ in range(2):
        with pytest.raises(Asked):
            source.next(128, poll)
    assert torch.equal(source.next(128), undisturbed.next(128))


# Schedules


def test_schedules() -> None:
    given = recipe(tokens=128 * 1000, lr=1.0, lr_warmup_steps=10, lr_decay=0.2, l1_coeff=2.0, l1_warmup=0.4)
    assert total_steps(given) == 1000
    assert learning_rate(given, 0) == pytest.approx(1 / 11)
    assert learning_rate(given, 10) == learning_rate(given, 799) == 1.0
    assert learning_rate(given, 900) == pytest.approx(0.525)
    assert 0.05 < learning_rate(given, 999) < 0.06
    assert l1_coefficient(given, 0) == 0
    assert l1_coefficient(given, 200) == pytest.approx(1.0)
    assert l1_coefficient(given, 400) == l1_coefficient(given, 999) == 2.0
    assert l1_coefficient(replace(given, l1_warmup=0.0), 0) == 2.0


def test_records_are_dense_at_first() -> None:
    steps, at = [], 0
    while at < 1000:
        steps.append(at)
        at = next_record(at)
    assert steps[:6] == [0, 1, 2, 3, 4, 5] and len(steps) < 40


# The trainer


VARIANTS = [
    {},
    {"granularity": "mixed", "init": "random"},
    {"granularity": "token", "loss": "target_zeroed", "buffer_passes": 2},
    {"loss": "residual", "init": "random", "decoder_norm": "free", "l1_reduction": "sum", "l1_coeff": 0.002},
    {"data": "all", "init": "narrow_reset", "resample_every": 128 * 15, "dead_after": 500},
    {"dtype": "bfloat16"},
]


@pytest.mark.parametrize("values", VARIANTS, ids=lambda v: "-".join(map(str, v.values())) or "defaults")
def test_resumed_training_ends_in_the_same_bits(values: dict[str, Any]) -> None:
    lm, rows, narrow = world()
    given = recipe(**values)

    def trainer() -> Trainer:
        return Trainer(given, shuffled(lm, rows, given, narrow), lm.d_in, narrow)

    whole = trainer()
    saved = None
    while not whole.done:
        whole.advance()
        if whole.step == 29:
            tensors, state = whole.state()
            saved = {name: tensor.clone() for name, tensor in tensors.items()}, state
    assert saved is not None
    rest = trainer()
    rest.restore(*saved)
    while not rest.done:
        rest.advance()
    assert same(whole.core.sae(), rest.core.sae())
    for name, tensor in whole.state()[0].items():
        assert torch.equal(tensor, rest.state()[0][name]), name


def test_training_reconstructs_better_and_reports_it() -> None:
    lm, rows, narrow = world()
    given = recipe(tokens=128 * 150, l1_warmup=0.0)
    trainer = Trainer(given, shuffled(lm, rows, given, narrow), lm.d_in, narrow)
    evaluation = Evaluation(lm, TinyRows(200, seed=9), 1000, 300)
    before = evaluation.quality(narrow)
    trainer.advance()
    first = trainer.metrics()
    while not trainer.done:
        trainer.advance()
    last = trainer.metrics()
    assert last["loss"] < first["loss"] and last["fvu"] < first["fvu"]
    assert last["tokens"] == 128 * 150 and 0 < last["kept"] < 1
    after = evaluation.quality(trainer.sae())
    assert after.fvu < before.fvu
    assert after.l0 == pytest.approx(float(after.density.sum()), rel=1e-4)


def test_metrics_are_what_they_say() -> None:
    x = all_activations()[:256]
    given = recipe(
        init="random", data="all", loss="standard", l1_reduction="sum", l1_coeff=0.01, l1_warmup=0.0
    )
    trainer = Trainer(given, FixedSource(x), x.shape[1])
    start = trainer.sae()
    trainer.advance()
    got = trainer.metrics()
    batch = x[:128]
    f = start.encode(batch)
    error = (start.decode(f) - batch).square().sum(1)
    assert got["mse"] == pytest.approx(float(error.mean()), rel=1e-4)
    assert got["l1"] == pytest.approx(float(f.sum(1).mean()), rel=1e-4)
    assert got["loss"] == pytest.approx(got["mse"] + 0.01 * float(f.sum()), rel=1e-4)
    assert got["l0"] == pytest.approx(float((f > 0).sum(1).double().mean()), rel=1e-6)
    variance = (batch - batch.mean(0)).square().sum()
    assert got["fvu"] == pytest.approx(float(error.sum() / variance), rel=1e-4)


def test_resampling_gives_dead_features_badly_reconstructed_directions() -> None:
    x = all_activations()
    given = recipe(init="random", data="all", resample_every=128 * 5, dead_after=128 * 3, d_sae=64)
    trainer = Trainer(given, FixedSource(x), x.shape[1])
    trainer.core.b_enc[:20] = -1e3
    for _ in range(4):
        trainer.advance()
    assert float(trainer.metrics()["dead"]) == pytest.approx(20 / 64)
    trainer.advance()
    sae = trainer.core.sae()
    assert not sae.b_enc[:20].any()
    directions = torch.nn.functional.normalize(x[:640] - sae.b_dec, dim=1)
    assert float((sae.W_dec[:20] @ directions.T).max(1).values.min()) > 1 - 1e-5
    assert not trainer.core.adam.state[trainer.core.W_dec]["exp_avg"][:20].any()
    trainer.advance()
    assert trainer.metrics()["dead"] < 20 / 64


# IV, as it is deployed


def test_the_deployed_sae_reconstructs_what_the_loss_measured() -> None:
    narrow, x = world()[2], all_activations()[:200]
    target = hot_feature()[0]
    wide = random_sae(narrow.d_in, 96, -0.2)

    zeroed = deployed(recipe(loss="target_zeroed"), wide, narrow)
    f = wide.encode(x)
    assert f[:, target].any()
    f[:, target] = 0
    assert torch.allclose(zeroed.decode(zeroed.encode(x)), wide.decode(f), atol=1e-4)
    assert not zeroed.encode(x)[:, target].any()

    both = deployed(recipe(loss="residual", init="random"), wide, narrow)
    assert both.d_sae == narrow.d_sae + 96
    expected = without_target(narrow, target, x) + wide.decode(wide.encode(x))
    assert torch.allclose(both.decode(both.encode(x)), expected, atol=1e-4)


# Evaluation and trace


def test_evaluation_against_plain_arithmetic() -> None:
    lm, _, narrow = world()
    rows = TinyRows(100, seed=4)
    got = Evaluation(lm, rows, 100 * 11, 100 * 11)
    quality, loss = got.quality(narrow), got.loss_recovered(narrow)
    tokens = torch.from_numpy(rows.tokens.astype("int64"))
    x = lm.activations(tokens)[:, 1:].flatten(0, 1).double()
    error = (narrow.decode(narrow.encode(x.float())).double() - x).square().sum()
    assert quality.tokens == 1100
    assert quality.fvu == pytest.approx(float(error / (x - x.mean(0)).square().sum()), rel=1e-5)

    def replaced(x: torch.Tensor) -> torch.Tensor:
        out = narrow.decode(narrow.encode(x))
        out[:, 0] = x[:, 0]
        return out

    assert loss.ce == pytest.approx(float(losses(lm, tokens)[:, 1:].mean()), rel=1e-5)
    assert loss.ce_sae == pytest.approx(float(losses(lm, tokens, replaced)[:, 1:].mean()), rel=1e-5)
    assert loss.ce_recovered == (loss.ce_zero - loss.ce_sae) / (loss.ce_zero - loss.ce)


def test_the_losses_without_an_sae_are_computed_once_on_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, _, narrow = world()
    calls: list[int] = []
    at_hook = lm.at_hook

    def counted(tokens: torch.Tensor) -> AtHook:
        forward = at_hook(tokens)

        def counted_losses(activations: torch.Tensor) -> torch.Tensor:
            calls.append(len(activations))
            return forward.losses(activations)

        return AtHook(forward.activations, counted_losses)

    monkeypatch.setattr(lm, "at_hook", counted)
    first = Evaluation(lm, TinyRows(20, seed=4), 220, 220).loss_recovered(narrow)
    assert len(calls) == 3
    assert Evaluation(lm, TinyRows(20, seed=4), 220, 220).loss_recovered(narrow) == first
    assert len(calls) == 4
    other = Evaluation(lm, TinyRows(20, seed=5), 220, 220).loss_recovered(narrow)
    assert other.ce != first.ce and len(calls) == 7


def test_an_evaluation_reads_its_rows_once_where_they_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, rows, saes = TinyLM(), TinyRows(100, seed=4), [random_sae(16, 48, bias) for bias in (-0.2, -1.0)]
    evaluation = Evaluation(lm, rows, 1100, 500)
    first = evaluation.quality(saes[0]), evaluation.loss_recovered(saes[0])
    read = lm.forwards
    assert read == len(range(0, 100, 32)) + len(range(0, 46, 32))  # in batches of 32 rows
    again = evaluation.quality(saes[1]), evaluation.loss_recovered(saes[1])
    assert lm.forwards == read

    monkeypatch.setattr(evaluate, "_KEPT_NUMBERS", 100 * 12 * 16 - 1)  # one number too few
    short = Evaluation(lm, rows, 1100, 500)
    for sae, (quality, loss) in zip(saes, (first, again), strict=True):
        fresh = short.quality(sae)
        assert (fresh.fvu, fresh.l0) == (quality.fvu, quality.l0)
        assert torch.equal(fresh.density, quality.density)
        assert short.loss_recovered(sae) == loss
    assert lm.forwards == read + 2 * len(range(0, 100, 32)) + len(range(0, 46, 32))  # the loss's rows fit


def test_the_trace_follows_the_target() -> None:
    lm, _, narrow = world()
    target = hot_feature()[0]
    trace = Trace.of(lm, ["a b-", "", "x" * 50, "no-"], recipe())
    assert trace.prompts == ["a b-", "no-"] and trace.tokens == ["-", "-"]
    f = narrow.encode(trace.x)
    records = trace.record(f)
    assert [r["target"] for r in records] == f[:, target].tolist()
    top = records[0]["top"]
    assert top[0][0] == int(f[0].argmax()) and top[0][1] == pytest.approx(float(f[0].max()))
    assert Trace.of(lm, ["no-"], recipe(init="random")).record(f[1:])[0]["target"] is None
