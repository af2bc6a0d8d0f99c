"""The children of a run that has only just been opened: their index reads on while they are asked for."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from saetui.engine.job import Job
from saetui.engine.splitting import Splitting
from saetui.engine.traffic import Traffic
from saetui.features.graft_index import GraftIndex
from saetui.features.index import FeatureIndex
from saetui.features.row_store import RowStore
from saetui.split.grafting.graft import graft
from saetui.split.recipe import GraftRecipe
from tests.split_report_support import REPORT
from tests.tiny import TinyLM, TinyRows, tiny_sae

TARGET, THRESHOLD = 3, 0.5


@pytest.fixture
def index(tmp_path: Path) -> GraftIndex:
    """Of a narrow index that is complete; nothing of the graft's own is read yet."""
    narrow = FeatureIndex(RowStore(TinyLM(), TinyRows(), tmp_path), tiny_sae(bias=-1.0))
    narrow.build(10**9)
    hot = narrow.hot_tokens(TARGET, THRESHOLD, 10**6)
    recipe = GraftRecipe(target=TARGET, children=4, threshold=THRESHOLD, steps=20, batch_size=256)
    return GraftIndex(narrow, graft(tiny_sae(bias=-1.0), hot.x, recipe), "graft")


class Background:
    """Advances when it is waited for, or (``gave_up``) never."""

    def __init__(self, index: GraftIndex, gave_up: bool = False) -> None:
        self.index, self.gave_up = index, gave_up

    def reads(self, index: GraftIndex) -> bool:
        return not self.gave_up

    def wait_for_step(self, timeout: float) -> None:
        self.index.advance()


def asked(index: GraftIndex, background: Background) -> tuple[Splitting, Job]:
    shelf: Any = SimpleNamespace(get=lambda name: SimpleNamespace(index=index))
    traffic, any_background = Traffic(), background
    splitting = Splitting(shelf, traffic, any_background)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    return splitting, Job(traffic, lambda *_: None, lambda: False)


def test_a_share_is_never_of_nothing_read(index: GraftIndex):
    splitting, job = asked(index, Background(index))
    found = splitting.children(job, "graft")
    assert found.fired == index.hot > 0 and found.tokens_read == index.tokens_read
    assert 0.5 < sum(child.share for child in found.children) <= 1.0001


def test_what_no_index_will_tell_is_found_on_held_out_rows(
    index: GraftIndex, monkeypatch: pytest.MonkeyPatch
):
    splitting, job = asked(index, Background(index, gave_up=True))
    monkeypatch.setattr(splitting, "report", lambda *_: REPORT)
    found = splitting.children(job, "graft")
    assert found.held_out and found.children == REPORT.children
    assert (found.fired, found.tokens_read) == (REPORT.tokens_fired, REPORT.tokens_read)
