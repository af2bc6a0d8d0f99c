"""The index of a dictionary over a setup's corpus, for the commands that look things up in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from saetui.commands.encoders import Opened
from saetui.commands.output import say
from saetui.commands.reading import Reading
from saetui.setup import Setup

if TYPE_CHECKING:
    from saetui.features.graft_index import GraftIndex
    from saetui.features.index import FeatureIndex
    from saetui.lm.base import LanguageModel


def build_index(setup: Setup, lm: LanguageModel, opened: Opened, tokens: int) -> FeatureIndex | GraftIndex:
    """The index over ``tokens`` tokens of the setup's corpus, as far as it is not kept already; progress on
    stderr."""
    from saetui.features.graft_index import GraftIndex
    from saetui.features.index import FeatureIndex
    from saetui.features.row_store import RowStore
    from saetui.loading import open_rows
    from saetui.split.grafting.graft import Graft

    progress = Reading()
    store = RowStore(lm, open_rows(setup, lm.tokenizer, "train", lambda share, line: progress.say(line)))
    encoder = opened.encoder
    plain = FeatureIndex(store, encoder.narrow if isinstance(encoder, Graft) else encoder, opened.name)
    plain.build(tokens, progress)
    progress.end()
    if store.warning:
        say(store.warning)
    if not isinstance(encoder, Graft):
        return plain
    index = GraftIndex(plain, encoder, opened.name)
    while not index.complete:
        index.advance()
    return index
