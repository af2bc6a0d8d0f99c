"""Finding features by token, by boosted word and by number, against the same found the plain way."""

from pathlib import Path

import numpy as np
import pytest
import torch

from saetui.errors import UsageError
from saetui.features.encoder import Encoder
from saetui.features.find import find
from saetui.features.firings import FiringScan
from saetui.features.graft_index import GraftIndex
from saetui.features.index import FeatureIndex
from saetui.features.lens import lens
from saetui.features.lens_table import BOOSTED, LensTable
from saetui.features.row_store import RowStore
from saetui.features.statistics import TOP
from saetui.lm.base import LanguageModel
from saetui.split.grafting.graft import Graft
from tests.tiny import SEQ_LEN, TinyLM, TinyRows, tiny_sae


def filled(lm: LanguageModel, encoder: Encoder, folder: Path | None = None) -> LensTable:
    table = LensTable(lm, encoder, folder)
    while not table.complete:
        table.advance()
    return table


@pytest.fixture
def index(tmp_path: Path) -> FeatureIndex:
    index = FeatureIndex(RowStore(TinyLM(), TinyRows(), tmp_path), tiny_sae())
    index.build(10**9)
    return index


def test_by_token_counts_the_top_contexts(index: FeatureIndex):
    found = find(index, filled(index.store.lm, index.encoder), "E", "token", top=100)
    counted = {}
    for feature in range(index.encoder.d_sae):
        top = index.contexts(feature, top=TOP).top
        if count := sum(context.tokens[context.center] == "e" for context in top):
            counted[feature] = (count, len(top))
    assert {one.feature: (one.count, one.of) for one in found.found} == counted and counted
    counts = [one.count for one in found.found]
    assert counts == sorted(counts, reverse=True)
    assert all(one.by == "token" and one.exact and one.tokens == ["e"] for one in found.found)
    assert found.complete and not found.note


def test_several_tokens_are_looked_for_up_to_the_top_token(index: FeatureIndex):
    # One token a character: the pair is a spelling of two tokens.
    pairs = [
        "".join(context.tokens[context.center - 1 : context.center + 1])
        for context in index.contexts(3, top=TOP).top
        if context.center
    ]
    wanted = next(pair for pair in pairs if pair.strip() == pair)
    found = {one.feature: one for one in find(index, filled(index.store.lm, index.encoder), wanted).found}
    for feature in range(index.encoder.d_sae):
        top = index.contexts(feature, top=TOP).top
        count = sum("".join(c.tokens[: c.center + 1]).endswith(wanted) for c in top)
        assert (found[feature].count if feature in found else 0) == count


def test_by_boosted_is_the_logit_lens(index: FeatureIndex):
    lm = index.store.lm
    found = {one.feature: one for one in find(index, filled(lm, index.encoder), "q", "boosted", 100).found}
    assert found
    for feature in range(index.encoder.d_sae):
        boosted = lens(lm, index.encoder, feature, BOOSTED).boosted
        rank = next((i for i, row in enumerate(boosted, 1) if row.token == "q"), None)
        assert (found[feature].rank if feature in found else None) == rank
        if rank:
            assert found[feature].logit == pytest.approx(boosted[rank - 1].logit, abs=1e-5)
    assert [one.rank for one in found.values()] == sorted(one.rank or 0 for one in found.values())


def test_by_number_and_what_cannot_be_found(index: FeatureIndex):
    table = filled(index.store.lm, index.encoder)
    first = find(index, table, "7").found[0]
    assert (first.feature, first.by) == (7, "number")
    assert first.density == index.densities().density[7]
    assert "narrow has features 0 to 39" in find(index, table, "40").note
    with pytest.raises(UsageError, match="nothing to look for"):
        find(index, table, "  ")
    with pytest.raises(UsageError, match="not found by 'smell'"):
        find(index, table, "a", "smell")  # pyright: ignore[reportArgumentType]


def test_an_index_on_its_way_says_so(tmp_path: Path):
    index = FeatureIndex(RowStore(TinyLM(), TinyRows(), tmp_path), tiny_sae())
    index.wanted = 10**9
    index.advance()
    table = LensTable(index.store.lm, index.encoder)
    found = find(index, table, "e")
    assert not found.complete and "tokens are read so far" in found.note
    assert "logit lens of 0 features" in found.note
    assert all(one.by == "token" for one in found.found) and found.found


def test_the_table_is_kept(tmp_path: Path):
    lm, sae = TinyLM(), tiny_sae()
    first = filled(lm, sae, tmp_path)
    again = LensTable(lm, sae, tmp_path)
    assert again.complete and torch.equal(again.tokens, first.tokens)
    (tmp_path / "lens.safetensors").write_bytes(b"torn")
    assert not LensTable(lm, sae, tmp_path).complete


def test_a_process_that_does_not_store_finds_the_same(index: FeatureIndex, tmp_path: Path):
    table = filled(index.store.lm, index.encoder)
    other = FeatureIndex(RowStore(TinyLM(), TinyRows(), tmp_path / "other"), tiny_sae())
    other.store._files = None  # another process holds the lock: nothing is stored here
    other.build(10**9)
    assert other.store.token_rows == 0
    assert find(other, table, "e") == find(index, table, "e")


def test_a_grafts_children_are_found(index: FeatureIndex):
    lm, narrow = index.store.lm, tiny_sae()
    W_dec = torch.randn(3, lm.d_in, generator=torch.Generator().manual_seed(3))
    graft = Graft(narrow, 1, 0.0, W_dec.T.contiguous(), torch.zeros(3), W_dec)
    grafted = GraftIndex(index, graft, "graft")
    while not grafted.complete:
        grafted.advance()
    found = {one.feature: one for one in find(grafted, filled(lm, graft), "e", "token", 100).found}
    for feature in range(graft.d_sae):
        top = grafted.contexts(feature, top=TOP).top
        count = sum(context.tokens[context.center] == "e" for context in top)
        assert (found[feature].count if feature in found else 0) == count
    children = set(found) & set(graft.children)
    assert children
    for child in children:
        assert found[child].density == pytest.approx(grafted.contexts(child).density)
        assert found[child].max_activation == pytest.approx(grafted.contexts(child).max_activation)


def test_all_firings_are_found_in_order(index: FeatureIndex):
    lm, rows = index.store.lm, TinyRows()
    feature = int(torch.tensor(index.densities().density).argmax())
    x = lm.activations(torch.from_numpy(rows.tokens.astype(np.int64))).half().float()
    f = index.encoder.encode(x)[..., feature]
    f[:, 0] = 0
    values, places = f.flatten().sort(descending=True, stable=True)
    scan = FiringScan(index, feature)
    said: list[tuple[int, int]] = []
    scan.read(lambda done, total: said.append((done, total)))
    assert said and said[-1][0] <= said[-1][1] == index.tokens_read
    fired = int((values > 0).sum())
    assert fired > TOP
    pages = [scan.page(start, 50) for start in range(0, fired, 50)]
    shown = [context for page in pages for context in page.contexts]
    assert len(shown) == fired == pages[0].fired
    assert [c.activation for c in shown] == pytest.approx(values[:fired].tolist(), rel=1e-4)
    assert sorted(c.row * SEQ_LEN + c.position for c in shown) == sorted(places[:fired].tolist())
    assert scan.page(fired, 50).contexts == []
