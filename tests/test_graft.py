"""The graft: what it computes, that it leaves the rest alone, and its files."""

import json
from contextlib import closing
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from saetui.errors import UsageError, UserError
from saetui.features.row_store import RowStore
from saetui.sae.sae import SAE
from saetui.split.grafting.graft import Graft, GraftProgress, child_shares, graft
from saetui.split.grafting.graft_run import graft_target, measure
from saetui.split.grafting.hot import HotTokens, gather_hot
from saetui.split.recipe import GraftRecipe
from tests.split_support import hot_feature, random_sae, world
from tests.tiny import TinyRows

D, TARGET, CONTEXTS = 32, 5, 6


@cache
def bundled() -> tuple[SAE, Tensor, Tensor]:
    """A narrow SAE whose target bundles six contexts, tokens of them, and which context each token is of."""
    g = torch.Generator().manual_seed(0)
    directions = torch.linalg.qr(torch.randn(D, D, generator=g)).Q
    parent, own = directions[0], directions[1 : 1 + CONTEXTS]
    context = torch.randint(CONTEXTS, (3000,), generator=g)
    x = 6 * parent + 4 * own[context] + 0.2 * torch.randn(3000, D, generator=g)
    narrow = random_sae(D, 12, -2.0)
    W_enc, W_dec, b_enc = narrow.W_enc.clone(), narrow.W_dec.clone(), narrow.b_enc.clone()
    W_enc[:, TARGET], W_dec[TARGET], b_enc[TARGET] = parent, parent, 0
    return replace(narrow, W_enc=W_enc, W_dec=W_dec, b_enc=b_enc), x, context


def recipe(**values: object) -> GraftRecipe:
    usual = {"target": TARGET, "threshold": 3.0, "children": 12, "steps": 400, "batch_size": 256}
    return GraftRecipe.from_dict(usual | values)


@cache
def grafted() -> Graft:
    narrow, x, _ = bundled()
    return graft(narrow, x, recipe())


def test_contexts_that_the_target_bundles_get_children_of_their_own() -> None:
    _, x, context = bundled()
    winner = grafted().children_encode(x).argmax(1)
    # Several children may share a context; none may win in several.
    purity = sum(int(torch.bincount(context[winner == j]).max()) for j in winner.unique()) / len(x)
    assert purity > 0.98
    used = {int(torch.bincount(winner[context == c]).argmax()) for c in range(CONTEXTS)}
    assert len(used) == CONTEXTS
    report = measure(grafted(), x)
    assert report["error_after"] < 0.3 * report["error_before"]
    assert report["covered"] > 0.99


def test_off_the_target_the_graft_is_the_narrow_sae_bit_for_bit() -> None:
    narrow, hot, _ = bundled()
    cold = torch.randn(500, D, generator=torch.Generator().manual_seed(1)) * 3
    x = torch.cat([cold, hot[:500]])[torch.randperm(1000, generator=torch.Generator().manual_seed(2))]
    for sae in (grafted(), grafted().to(dtype=torch.float64)):
        x = x.to(sae.narrow.W_enc.dtype)
        off = ~sae.gate(x)
        assert 300 < off.sum() < 600
        f, f_narrow = sae.encode(x), sae.narrow.encode(x)
        assert torch.equal(f[off][:, : narrow.d_sae], f_narrow[off])
        assert not f[off][:, narrow.d_sae :].any()
        assert torch.equal(sae.reconstruct(x)[off], sae.narrow.decode(f_narrow)[off])
    assert f_narrow[off][:, TARGET].any(), "below the threshold the target itself still fires"


def test_where_the_target_fires_its_place_is_taken_by_children() -> None:
    _, x, _ = bundled()
    sae = grafted()
    f = sae.encode(x)
    gate = sae.gate(x)
    assert gate.all()
    assert not f[:, TARGET].any()
    assert torch.equal(f[:, list(sae.children)], sae.children_encode(x))
    expected = torch.relu((x - sae.b_dec) @ sae.child_W_enc + sae.child_b_enc)
    assert torch.allclose(sae.children_encode(x), expected)
    assert torch.allclose(sae.decode(f), f @ sae.W_dec + sae.b_dec, atol=1e-4)
    assert torch.allclose(sae.child_W_dec.norm(dim=1), torch.ones(sae.k), atol=1e-6)
    assert sae.encode(x.view(30, 100, D)).shape == (30, 100, sae.d_sae)


def test_children_are_ordered_by_share() -> None:
    _, x, _ = bundled()
    shares = child_shares(grafted().children_encode(x)).tolist()
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(measure(grafted(), x)["covered"])


def test_the_same_seed_gives_the_same_graft() -> None:
    narrow, x, _ = bundled()
    again = graft(narrow, x, recipe())
    assert torch.equal(again.child_W_enc, grafted().child_W_enc)
    other = graft(narrow, x, recipe(seed=1))
    assert not torch.equal(other.child_W_enc, grafted().child_W_enc)


def test_progress_is_reported_and_training_can_be_stopped() -> None:
    narrow, x, _ = bundled()
    seen: list[GraftProgress] = []
    graft(narrow, x, recipe(), on_progress=seen.append)
    assert seen[0].step == 1 and seen[-1].step == 400 == seen[-1].steps
    assert seen[-1].error < 0.2 * seen[0].error
    seen.clear()
    stopped = graft(narrow, x, recipe(), on_progress=seen.append, should_stop=lambda: len(seen) == 2)
    assert seen[-1].step == 21
    assert stopped.k == 12


def test_a_saved_graft_loads_as_it_was(tmp_path: Path) -> None:
    _, x, _ = bundled()
    grafted().save(tmp_path / "g")
    loaded = Graft.load(tmp_path / "g")
    assert torch.equal(loaded.encode(x), grafted().encode(x))
    assert (loaded.target, loaded.threshold, loaded.k) == (TARGET, 3.0, 12)
    assert {p.name for p in (tmp_path / "g").iterdir()} == {"config.json", "graft.safetensors"}
    narrow = replace(grafted().narrow, activation="jumprelu", threshold=torch.full((12,), 0.1))
    replace(grafted(), narrow=narrow).save(tmp_path / "j")
    assert torch.equal(Graft.load(tmp_path / "j").encode(x), replace(grafted(), narrow=narrow).encode(x))


def test_damaged_graft_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no graft in"):
        Graft.load(tmp_path)
    grafted().save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for change, words in (
        ({"format": "other"}, "is not a graft"),
        ({"k": 3}, "disagree"),
        ({"target": None, "narrow": {}}, "damaged"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(UserError, match=words):
            Graft.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    data = (tmp_path / "graft.safetensors").read_bytes()
    (tmp_path / "graft.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match="no graft in"):
        Graft.load(tmp_path)


def test_grafts_that_cannot_be() -> None:
    narrow, x, _ = bundled()
    with pytest.raises(UsageError, match="0 to 11"):
        graft(narrow, x, recipe(target=12))
    with pytest.raises(UserError, match="lower --threshold"):
        graft(narrow, x, recipe(threshold=1e6))


def test_hot_tokens_are_those_of_the_corpus() -> None:
    lm, rows, narrow = world()
    target, threshold = hot_feature()
    seen: list[tuple[int, int]] = []
    hot = gather_hot(
        lm, rows, narrow, target, threshold, 50, 10_000, on_progress=lambda *found: seen.append(found)
    )
    assert len(hot.x) == 50 and seen[-1][0] >= 50 and seen[-1][1] == hot.tokens_read
    assert (narrow.encode_feature(hot.x, target) > threshold).all()
    x = lm.activations(torch.from_numpy(rows.read(0, 2000).astype("int64")))[:, 1:].flatten(0, 1)
    first = x[narrow.encode_feature(x, target) > threshold][:50]
    assert torch.allclose(hot.x, first, atol=1e-5)

    short = TinyRows(40)
    ended = gather_hot(lm, short, narrow, target, 0.0, 10_000, 10_000)
    assert ended.tokens_read == 40 * 11
    bounded = gather_hot(lm, rows, narrow, target, threshold, 10_000, 1000)
    assert 1000 <= bounded.tokens_read < 1400
    with pytest.raises(UserError, match="never fires above"):
        gather_hot(lm, rows, narrow, target, 1e6, 50, 1000)
    with pytest.raises(UsageError, match="0 to 31"):
        gather_hot(lm, rows, narrow, 32, 1.0, 50, 1000)


def test_stored_rows_give_all_their_hot_tokens_and_the_model_reads_on_only_for_enough(
    isolated_places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm, rows, narrow = world()
    target, threshold = hot_feature()
    monkeypatch.setattr("saetui.split.grafting.hot.ENOUGH_HOT", 20)

    def gather(limit: int) -> HotTokens:
        lm.forwards = 0
        return gather_hot(lm, rows, narrow, target, threshold, limit, 10_000, store=store)

    with closing(RowStore(lm, rows)) as store:
        first = gather(1000)
        assert 20 <= len(first.x) < 1000 and lm.forwards > 0
        again = gather(1000)
        assert torch.equal(again.x, first.x) and lm.forwards == 0
        store.read(store.activation_rows, 320)  # as an index that goes on
        more = gather(1000)
        assert len(more.x) > 2 * len(first.x) and more.tokens_read > first.tokens_read and lm.forwards == 0
        plain = gather_hot(lm, rows, narrow, target, threshold, len(more.x), 10_000)
        torch.testing.assert_close(more.x, plain.x, rtol=1e-3, atol=1e-3)  # stored as fp16


def test_a_graft_from_rows_reports_held_out_numbers() -> None:
    lm, rows, narrow = world()
    target, threshold = hot_feature()
    given = recipe(target=target, threshold=threshold, children=8, batch_size=128, l1_coeff=0.3)
    sae, report = graft_target(lm, narrow, rows, given)
    assert sae.k == 8
    assert report.held_out == pytest.approx(0.1 * report.hot_tokens, abs=1)
    assert report.error_after < report.error_before
    assert 0 < report.l0 <= 8 and 0 < report.covered <= 1
