"""Looking at features: what the engine answers from what is open."""

from typing import Any

from saetui.engine.job import Job
from saetui.engine.messages import NARROW
from saetui.engine.shelf import Shelf
from saetui.engine.traffic import Lane, Traffic
from saetui.features.find import find
from saetui.features.firings import FiringScan
from saetui.features.lens import lens
from saetui.features.neighbours import neighbours
from saetui.features.pair import DEFAULT_TOKENS as DEFAULT_PAIR_TOKENS
from saetui.features.pair import Feature, pair
from saetui.features.probe import probe
from saetui.features.results import (
    Contexts,
    Densities,
    Findings,
    Firings,
    FoundBy,
    Kept,
    Lens,
    Neighbour,
    Pair,
    PromptProbe,
)
from saetui.loading import open_rows


class Reading:
    """Questions about the features of what lies on ``shelf``."""

    def __init__(self, shelf: Shelf, traffic: Traffic) -> None:
        self._shelf, self._traffic = shelf, traffic
        self._scan: FiringScan | None = None
        """Of the feature whose firings were asked for last."""

    def probe(
        self, prompt: str, sae: str = NARROW, top: int = 5, follow: list[int] | None = None
    ) -> PromptProbe:
        """``saetui.features.probe``."""
        return probe(self._shelf.lm, self._shelf.get(sae).encoder, prompt, top, follow or (), sae)

    def contexts(self, feature: int, sae: str = NARROW, **options: Any) -> Contexts:
        """``saetui.features.contexts``, of what is indexed so far; ``options`` as there."""
        return self._shelf.get(sae).index.contexts(feature, **options)

    def find(self, text: str, sae: str = NARROW, by: FoundBy | None = None, top: int = 50) -> Findings:
        """``saetui.features.find``, in what is indexed so far."""
        opened = self._shelf.get(sae)
        return find(opened.index, opened.lens_table, text, by, top)

    def firings(
        self, job: Job, feature: int, sae: str = NARROW, start: int = 0, count: int = 200, **window: int
    ) -> Firings:
        """All tokens on which a feature fires, a page at a time; the first page scans what is stored."""
        opened, scan = self._shelf.get(sae), self._scan
        if scan is None or scan.index is not opened.index or scan.feature != feature:
            scan = FiringScan(opened.index, feature)
        if start == 0:
            with self._traffic.on(Lane.JOB):
                scan.read(job.tokens("scanning"))
        self._scan = scan
        return scan.page(start, count, **window)

    def kept(self, feature: int, threshold: float) -> Kept:
        """``FeatureIndex.kept`` of the narrow SAE: what a filtered run would train on, of what is indexed."""
        return self._shelf.narrow()[1].kept(feature, threshold)

    def densities(self, sae: str = NARROW) -> Densities:
        """Density and largest activation of every feature, of what is indexed so far."""
        return self._shelf.get(sae).index.densities()

    def lens(self, feature: int, sae: str = NARROW, top: int = 10) -> Lens:
        """``saetui.features.lens``."""
        return lens(self._shelf.lm, self._shelf.get(sae).encoder, feature, top, sae)

    def neighbours(self, feature: int, sae: str = NARROW, within: str = "", top: int = 10) -> list[Neighbour]:
        """``saetui.features.neighbours``, among the features of ``within`` (empty: of ``sae`` itself)."""
        encoder, other = self._shelf.get(sae).encoder, self._shelf.get(within or sae).encoder
        return neighbours(encoder, feature, within=other, top=top, name=sae, within_name=within or sae)

    def pair(
        self,
        job: Job,
        first: int,
        second: int,
        sae: str = NARROW,
        within: str = "",
        tokens: int = DEFAULT_PAIR_TOKENS,
    ) -> Pair:
        """``saetui.features.pair`` over held-out rows: ``first`` of ``sae`` and ``second`` of ``within``
        (empty: of ``sae`` too)."""
        one, other, lm = self._shelf.get(sae), self._shelf.get(within or sae), self._shelf.lm
        with self._traffic.on(Lane.JOB):
            return pair(
                lm,
                Feature(one.encoder, first, sae),
                Feature(other.encoder, second, within or sae),
                open_rows(self._shelf.setup, lm.tokenizer, "eval"),
                tokens=tokens,
                on_progress=job.tokens("reading held-out text"),
            )
