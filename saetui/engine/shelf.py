"""What the engine has open: one language model and corpus, the narrow SAE, and a few other encoders."""

import itertools
import threading
from collections import OrderedDict
from dataclasses import dataclass, field

from saetui.corpus.rows import TokenRows
from saetui.engine.background import Background, Index
from saetui.engine.exclusive import ExclusiveModel
from saetui.engine.messages import NARROW, EncoderInfo
from saetui.errors import UsageError
from saetui.features.graft_index import GraftIndex
from saetui.features.index import FeatureIndex
from saetui.features.lens_table import LensTable
from saetui.features.row_store import RowStore
from saetui.sae.sae import SAE
from saetui.setup import Setup
from saetui.split.grafting.graft import Graft, GraftProgress
from saetui.split.grafting.graft_run import GraftReport
from saetui.split.recipe import GraftRecipe

MOST_OTHERS = 4
"""Encoders beside the narrow SAE; the one opened longest ago makes room for another."""


@dataclass(frozen=True)
class Grafting:
    """How a graft was made here: what a run of it is written from."""

    recipe: GraftRecipe
    report: GraftReport
    history: tuple[GraftProgress, ...]


@dataclass
class OpenEncoder:
    """An encoder that requests can name, and its index."""

    info: EncoderInfo
    encoder: SAE | Graft
    index: Index
    inherited: int | None = None
    """The feature that began as the target and may still fire for it."""
    threshold: float | None = None
    """Above which the target counts as firing, where it is known."""
    grafting: Grafting | None = None
    lens_table: LensTable = field(init=False)
    """Filled in the background, from when the shelf has it."""


class Shelf:
    """Encoders by name. Raises UsageError for what is not open. One thread opens, any may look."""

    def __init__(self, background: Background) -> None:
        self._background = background
        self._encoders: OrderedDict[str, OpenEncoder] = OrderedDict()
        self._lm: ExclusiveModel | None = None
        self._store: RowStore | None = None
        self._tokens = 0
        self.setup = Setup()

    @property
    def is_empty(self) -> bool:
        return self._lm is None

    @property
    def lm(self) -> ExclusiveModel:
        if self._lm is None:
            raise UsageError("nothing is open yet: open a model first")
        return self._lm

    @property
    def encoders(self) -> list[OpenEncoder]:
        """The narrow SAE first, then the others as they were opened."""
        return list(self._encoders.values())

    def get(self, name: str) -> OpenEncoder:
        _ = self.lm
        opened = self._encoders.get(name)
        if opened is None:
            known = ", ".join(one.info.name for one in self.encoders)
            raise UsageError(f"no encoder {name!r} is open: there are {known}")
        return opened

    def narrow(self) -> tuple[SAE, FeatureIndex]:
        opened = self.get(NARROW)
        assert isinstance(opened.encoder, SAE) and isinstance(opened.index, FeatureIndex)
        return opened.encoder, opened.index

    def replace(
        self, setup: Setup, lm: ExclusiveModel, rows: TokenRows, narrow: SAE, tokens: int
    ) -> EncoderInfo:
        """Closes everything and opens this; ``tokens`` are indexed of every encoder."""
        for opened in self.encoders:
            self._drop(opened)
        if self._store is not None:
            closed = threading.Event()
            self._background.after_step(self._store.close)
            self._background.after_step(closed.set)
            # Its lock may be the new one's. A step that waits for a corpus is not waited for: then the
            # new store only reads what is there.
            closed.wait(5)
        self._encoders = OrderedDict()
        self.setup, self._lm, self._tokens = setup, lm, tokens
        self._store = RowStore(lm, rows)
        info = EncoderInfo(NARROW, "narrow", narrow.metadata.name or NARROW, narrow.d_sae)
        self.add(OpenEncoder(info, narrow, self.index(narrow, NARROW)))
        return info

    def index(self, encoder: SAE | Graft, name: str) -> Index:
        """An index for an encoder that is to be added."""
        if isinstance(encoder, Graft):
            return GraftIndex(self.narrow()[1], encoder, name)
        assert self._store is not None
        index = FeatureIndex(self._store, encoder, name)
        index.wanted = self._tokens
        return index

    def add(self, opened: OpenEncoder) -> None:
        """Makes room, adds the encoder, and has it indexed in the background."""
        others = [one for one in self.encoders if one.info.name != NARROW]
        for gone in others[: max(0, len(others) - MOST_OTHERS + 1)]:
            del self._encoders[gone.info.name]
            self._drop(gone)
        index = opened.index
        folder = index.folder if isinstance(index, FeatureIndex) else None
        opened.lens_table = LensTable(self.lm, opened.encoder, folder)
        self._encoders[opened.info.name] = opened
        self._background.add(index)
        self._background.after_step(lambda: self._read_lens(opened.lens_table))

    def free_name(self, stem: str) -> str:
        """``stem``, or that with the first number that makes it new."""
        names = itertools.chain([stem], (f"{stem}-{n}" for n in itertools.count(2)))
        return next(name for name in names if name not in self._encoders)

    def _read_lens(self, table: LensTable) -> None:
        """A step, and the next one after the index's."""
        table.advance()
        if not table.complete:
            self._background.after_step(lambda: self._read_lens(table))

    def _drop(self, opened: OpenEncoder) -> None:
        self._background.remove(opened.index)
        if isinstance(opened.index, FeatureIndex):
            self._background.after_step(opened.index.close)
