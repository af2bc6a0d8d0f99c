"""What a graft's children fire on, against the plain computation over all tokens."""

from pathlib import Path

import numpy as np
import pytest
import torch

from saetui.errors import UsageError, UserError
from saetui.features import graft_index, postings
from saetui.features.graft_index import GraftIndex
from saetui.features.index import FeatureIndex
from saetui.features.row_store import RowStore
from saetui.split.grafting.graft import Graft, graft
from saetui.split.recipe import GraftRecipe
from tests.tiny import SEQ_LEN, TinyLM, TinyRows, tiny_sae

TARGET, THRESHOLD = 3, 0.5


@pytest.fixture(params=["looked up", "in small steps", "scanned", "looked up, then scanned"])
def indexed(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[FeatureIndex, Graft]:
    """The target's firings: all kept by the index, taken in a few at a time; none kept; the first ones."""
    if request.param == "in small steps":
        monkeypatch.setattr(graft_index, "STEP", 7)
    if request.param == "looked up, then scanned":
        monkeypatch.setattr(postings, "MOST_OF_ONE", 100)
    index = FeatureIndex(RowStore(TinyLM(), TinyRows(), tmp_path), tiny_sae(bias=-1.0))
    if request.param == "scanned":
        index.postings._adds = False
    index._step_rows = 50
    index.build(10**9)
    hot = index.hot_tokens(TARGET, THRESHOLD, 10**6)
    recipe = GraftRecipe(target=TARGET, children=5, threshold=THRESHOLD, steps=80, batch_size=256)
    return index, graft(tiny_sae(bias=-1.0), hot.x, recipe)


def built(index: FeatureIndex, graft: Graft) -> GraftIndex:
    found = GraftIndex(index, graft, "graft")
    while not found.complete:
        found.advance()
    return found


def test_equals_the_plain_computation(indexed: tuple[FeatureIndex, Graft]):
    narrow, graft = indexed
    found = built(*indexed)
    x = narrow.store.lm.activations(torch.from_numpy(TinyRows().tokens.astype(np.int64))).half().float()
    f = graft.encode(x)
    f[:, 0] = 0
    assert found.tokens_read == found.wanted == 700 * (SEQ_LEN - 1)
    for feature in (TARGET, *graft.children):
        fired = f[..., feature] > 0
        contexts = found.contexts(feature, top=10)
        assert contexts.sae == "graft" and contexts.fired == int(fired.sum()) == sum(contexts.histogram)
        best = f[..., feature].flatten().sort(descending=True, stable=True)
        assert [c.activation for c in contexts.top] == pytest.approx(
            best.values[: len(contexts.top)].tolist(), abs=1e-4
        )
    inherited = found.contexts(7)
    assert inherited.fired == narrow.contexts(7).fired and inherited.sae == "graft"
    densities = found.densities()
    assert len(densities.density) == graft.d_sae
    assert densities.density[graft.children[0]] == found.contexts(graft.children[0]).density
    with pytest.raises(UsageError, match="graft has features 0 to 44"):
        found.contexts(45)


def test_children(indexed: tuple[FeatureIndex, Graft]):
    narrow, graft = indexed
    found = built(*indexed).children(shown=4, boosted=3)
    children = found.children
    x = narrow.store.lm.activations(torch.from_numpy(TinyRows().tokens.astype(np.int64))).half().float()
    f = graft.children_encode(x[:, 1:].flatten(0, 1))
    hot = f[graft.gate(x[:, 1:].flatten(0, 1))]
    assert (found.fired, found.tokens_read) == (len(hot), 700 * (SEQ_LEN - 1)) and found.complete
    assert sorted(child.feature for child in children) == list(graft.children)
    for child in children:
        own = hot[:, child.feature - graft.narrow.d_sae]
        rivals = hot.max(-1).values
        assert child.recall == pytest.approx(float((own > 0).double().mean()))
        assert child.share == pytest.approx(float(((own == rivals) & (own > 0)).double().mean()))
        cosine = torch.cosine_similarity(graft.W_dec[child.feature], graft.W_dec[TARGET], dim=0)
        assert child.cosine == pytest.approx(float(cosine), abs=1e-5)
        assert len(child.boosted) == 3 and len(child.contexts) <= 4
        alike = {tuple(c.tokens[max(0, c.center - 3) : c.center + 1]) for c in child.contexts}
        assert len(alike) == len(child.contexts)


def test_of_nothing_read_nothing_is_said(indexed: tuple[FeatureIndex, Graft]):
    with pytest.raises(UserError, match=r"feature 3 is above 0\.5 on none of the 0 tokens read so far"):
        GraftIndex(*indexed, "graft").children()


def test_follows_the_narrow_index(tmp_path: Path):
    """Rows that are stored later are read later."""
    index = FeatureIndex(RowStore(TinyLM(), TinyRows(), tmp_path), tiny_sae(bias=-1.0))
    index.build(2000)
    hot = index.hot_tokens(TARGET, THRESHOLD, 10**6)
    result = graft(
        tiny_sae(bias=-1.0), hot.x, GraftRecipe(target=TARGET, children=2, threshold=THRESHOLD, steps=1)
    )
    found = built(index, result)
    first = found.contexts(result.children[0])
    index.build(10**9)
    assert not found.complete
    while not found.complete:
        found.advance()
    later = found.contexts(result.children[0])
    assert first.tokens_read < later.tokens_read == 7700 and first.fired < later.fired
