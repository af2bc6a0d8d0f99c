"""Probe, logit lens and neighbours against direct computation."""

import pytest
import torch

from saetui.errors import UsageError
from saetui.features.lens import lens
from saetui.features.neighbours import neighbours
from saetui.features.probe import probe
from tests.tiny import TinyLM, tiny_sae


@pytest.fixture
def lm() -> TinyLM:
    return TinyLM()


def test_probe_equals_direct_computation(lm: TinyLM):
    sae = tiny_sae()
    found = probe(lm, sae, "non-zero", top=3, follow=[7, 0], name="narrow")
    ids = lm.tokenizer.encode("non-zero", bos=True)
    f = sae.encode(lm.activations(torch.tensor([ids])))[0]
    assert [token.text for token in found.tokens] == ["<|BOS|>", *"non-zero"]
    assert [token.bos for token in found.tokens] == [True] + [False] * 8
    for token in found.tokens:
        row = f[token.position]
        values, features = row.sort(descending=True)
        active = int((row > 0).sum())
        assert token.l0 == active
        assert [a.feature for a in token.top] == features[: min(3, active)].tolist()
        assert [a.activation for a in token.top] == pytest.approx(values[: min(3, active)].tolist())
        assert [(a.feature, a.activation) for a in token.followed] == [
            (7, pytest.approx(float(row[7]))),
            (0, pytest.approx(float(row[0]))),
        ]
        if active == 0:
            assert token.margin is None
        else:
            assert token.margin == pytest.approx(float(1 - values[1] / values[0]))


def test_margin_is_over_all_features_even_with_top_1(lm: TinyLM):
    one = probe(lm, tiny_sae(), "abc", top=1)
    three = probe(lm, tiny_sae(), "abc", top=3)
    assert [token.margin for token in one.tokens] == [token.margin for token in three.tokens]
    assert all(len(token.top) <= 1 for token in one.tokens)


def test_nothing_fires(lm: TinyLM):
    found = probe(lm, tiny_sae(bias=-1e6), "abc")
    assert all(t.top == [] and t.margin is None and t.l0 == 0 for t in found.tokens)


def test_probe_refuses(lm: TinyLM):
    with pytest.raises(UsageError, match="no tokens"):
        probe(lm, tiny_sae(), "")
    with pytest.raises(UsageError, match=r"has 20 tokens, tiny takes 15: shorten it by 5"):
        probe(lm, tiny_sae(), "a" * 20)
    with pytest.raises(UsageError, match="feature 99 is out of range: narrow has features 0 to 39"):
        probe(lm, tiny_sae(), "a", follow=[99])
    assert len(probe(lm, tiny_sae(), "a" * 15).tokens) == 16


def test_lens_equals_direct_computation(lm: TinyLM):
    sae = tiny_sae()
    found = lens(lm, sae, 4, top=5)
    logits = sae.W_dec[4] @ lm.W_U
    logits = logits - logits.mean()
    order = logits.argsort(descending=True).tolist()
    assert [t.token for t in found.boosted] == [lm.tokenizer.token_str(i) for i in order[:5]]
    assert [t.token for t in found.suppressed] == [lm.tokenizer.token_str(i) for i in order[::-1][:5]]
    assert [t.logit for t in found.boosted] == pytest.approx(logits[order[:5]].tolist(), abs=1e-6)


def test_lens_does_not_see_a_constant(lm: TinyLM):
    """A constant added to every column of W_U moves no probability, and no number here."""
    before = lens(lm, tiny_sae(), 4)
    lm.inner.weights["W_U"] = lm.inner.weights["W_U"] + torch.randn(16, 1)
    after = lens(lm, tiny_sae(), 4)
    assert [t.token for t in before.boosted] == [t.token for t in after.boosted]
    assert [t.logit for t in before.boosted] == pytest.approx([t.logit for t in after.boosted], abs=1e-4)


def test_lens_refuses_another_width(lm: TinyLM):
    with pytest.raises(UsageError, match=r"its 24 dimensions are not the residual stream's 16"):
        lens(lm, tiny_sae(d_in=24), 0)


def test_neighbours_within_and_across():
    narrow, wide = tiny_sae(), tiny_sae(d_sae=64, seed=2)
    cosine = torch.nn.functional.cosine_similarity(narrow.W_dec[3][None], narrow.W_dec, dim=-1)
    order = [i for i in cosine.argsort(descending=True).tolist() if i != 3]
    found = neighbours(narrow, 3, top=4)
    assert [n.feature for n in found] == order[:4]
    assert [n.cosine for n in found] == pytest.approx(cosine[order[:4]].tolist(), abs=1e-6)
    wide.W_dec[11] = 5 * narrow.W_dec[3]
    across = neighbours(narrow, 3, within=wide, top=1, within_name="wide")
    assert (across[0].sae, across[0].feature, across[0].cosine) == ("wide", 11, pytest.approx(1, abs=1e-6))
    assert len(neighbours(narrow, 3, top=1000)) == narrow.d_sae - 1
    with pytest.raises(UsageError, match="only dictionaries of one hook point compare"):
        neighbours(narrow, 3, within=tiny_sae(d_in=8))
