"""A double of the engine at the edge of its pipe: it answers at once, in the engine's own records.

The world it speaks of is made up but consistent: feature 240 of a narrow SAE of 512 fires on hyphens, and
a graft of it has three children, one for each kind of word before the hyphen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from saetui.census import results as taken
from saetui.engine.messages import EncoderInfo, Grafted, Opened, Status
from saetui.errors import UsageError
from saetui.features.results import (
    Child,
    Children,
    Context,
    Contexts,
    FeatureActivation,
    Findings,
    Firings,
    Found,
    Interval,
    Kept,
    Lens,
    Neighbour,
    Pair,
    PairContext,
    PairSide,
    PromptProbe,
    TokenLogit,
    TokenProbe,
)  # fmt: skip
from saetui.runs.cost import Cost
from saetui.split.comparison import ComparedRun, Comparison, Match
from saetui.split.finding.report import SplitReport
from saetui.split.judging.verdict import (
    ChildVerdict,
    CriterionResult,
    Evidence,
    Judgement,
    PromptReading,
    ReadContext,
)
from saetui.split.pace import Trial
from tests.split_report_support import REPORT

NARROW = EncoderInfo("narrow", "narrow", "narrow", 512)
WIDE = EncoderInfo("wide", "sae", "wide-2048", 2048)
KINDS = {
    "count": ("multi", "single", "two", "dual"),
    "adverb": ("long", "well", "newly", "far"),
    "number": ("8", "60", "3", "12"),
}
AFTER = {"count": " channel", "adverb": " standing", "number": " day"}


def context(kind: str, index: int, activation: float) -> Context:
    word = KINDS[kind][index % 4]
    tokens = [" It", " was", " a", " ", word, "-", AFTER[kind], " test", "\n", "and"]
    return Context(index, 6 + index, 5, tokens, [0.0] * 5 + [activation] + [0.0] * 4)


def contexts(sae: str, feature: int, complete: bool = True) -> Contexts:
    kinds = list(KINDS)
    found = [context(kinds[i % 3], i, 9.0 - i * 0.2) for i in range(30)]
    return Contexts(
        sae, feature, 1_000_000, 12_000, 0.012, 9.0, [0.0, 3.0, 6.0, 9.0], [8000, 3000, 1000], found,
        [Interval(6.0, 9.0, 1000, found[:5]), Interval(3.0, 6.0, 3000, found[5:10])], complete,
    )  # fmt: skip


def child(feature: int, kind: str, share: float) -> Child:
    return Child(
        feature, share, share + 0.1, 0.99, 0.6, [context(kind, i, 8.0 - i) for i in range(6)],
        [TokenLogit(AFTER[kind], 2.0), TokenLogit(" lap", 1.5)],
    )  # fmt: skip


CHILDREN = [child(512, "count", 0.5), child(513, "adverb", 0.3), child(514, "number", 0.15)]
OF_GRAFT = Children(CHILDREN, 1.8, 12_000, 1_000_000, held_out=False)
OF_SPLIT = Children(CHILDREN, 1.8, 1_800, 150_000, held_out=True)


EVIDENCE = [
    taken.Evidence(
        feature=feature,
        tokens=2048,
        threshold=2.5,
        density=0.012 / k,
        context_share=0.84 / k,
        side="previous",
        unexplained=0.45,
        commonest=token,
        commonest_share=0.9 / k,
        nearest=31 + k,
        nearest_cosine=0.3,
        bimodality=0.5,
    )
    for k, (feature, token) in enumerate(((240, "-"), (17, " the"), (3, "\n")), 1)
]
FOUND = [
    taken.FeatureCensus(
        240, 0.012, 2.5, 2048, 4, (0.4, 0.8, 0.81, 0.82), 0.8, 0.87, 3, 1.1, 0.0, 0.86, 0.2, 0.02
    ),
    taken.FeatureCensus(3, 0.004, 0.7, 900, 2, (0.3, 0.31, 0.3, 0.3), 0.3, 0.5, 2, 0.7, 0.6, 0.01, 0.0, 0.9),
    taken.FeatureCensus(17, 0.006, 1.2, 1200, 1, (0.0, 0.0, 0.0, 0.0)),
    *(taken.FeatureCensus(f, 0.0001, 0.1, 4) for f in range(512) if f not in (3, 17, 240)),
]


HITS = (taken.Hits(1, 1, 1, 3, 0.33),)


def census(measured: list[taken.FeatureCensus]) -> taken.Census:
    agreement = [taken.Agreement("context_share", 3, 0.5, 0.1, 0.9, 0.33, HITS, HITS)] if measured else []
    recipe = taken.CensusRecipe().to_dict()
    return taken.Census("narrow", 1_000_000, recipe, measured, EVIDENCE, agreement, 12.0)


def judgement(sae: str) -> Judgement:
    def criteria(kind: str, passes: bool) -> list[CriterionResult]:
        reading = PromptReading(f"I'm a {KINDS[kind][0]}«-»thing", 7.5, [FeatureActivation(512, 7.5)])
        read = [ReadContext(context(kind, i, 8.0 - i), True, i != 3) for i in range(5)]
        evidence = (
            Evidence("strongest other 1.20", prompts=[reading]), Evidence("19 of 20 follow", contexts=read),
            Evidence("4 of 10 expected"), Evidence("strongest contrast 0.30", prompts=[reading]),
        )  # fmt: skip
        numbers, thresholds = (0.84, 0.95, 0.4, 0.04), (0.1, 0.5, 0.2, 0.3)
        return [
            CriterionResult(n, numbers[n - 1], thresholds[n - 1], passes or n != 3, evidence[n - 1])
            for n in (1, 2, 3, 4)
        ]

    children = [ChildVerdict(k, 512 + i, criteria(k, k != "number")) for i, k in enumerate(KINDS)]
    return Judgement(sae, "hyphens", "criteria.toml", "0" * 64, "-", 200_000, "held-out rows", children)


class FakeEngine:
    """``gates`` holds operations back until a test sets the event; ``errors`` makes them fail."""

    def __init__(self, on_notice: Callable[[dict[str, Any]], None], on_death: Callable[[str], None]) -> None:
        self.on_notice, self.on_death = on_notice, on_death
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.cancelled: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.errors: dict[str, Exception] = {}
        self.starts = 0
        self.complete = True
        self.children: Children | None = None
        """What is said of any run's; None: as its kind has it."""
        self.measured: list[taken.FeatureCensus] = []
        """Features of the census that are stored."""
        self.fired = 2500
        self.read = 1_000_000
        """Tokens that a filter is counted on."""
        self.store: Callable[[str], str] = lambda sae: ""
        self.runs: dict[str, EncoderInfo] = {}

    async def start(self) -> None:
        if "start" in self.errors:
            raise self.errors["start"]
        self.starts += 1

    async def restart(self) -> None:
        await self.start()

    async def close(self) -> None:
        pass

    def die(self) -> None:
        self.on_death("the engine was ended by SIGKILL, perhaps for want of memory: restart it")

    async def request(
        self, op: str, on_progress: Callable[[dict[str, Any]], None] | None = None, **args: Any
    ) -> Any:
        self.asked.append((op, args))
        if op in self.errors:
            raise self.errors[op]
        if op in self.gates:
            if on_progress:
                on_progress({"progress": 0.4, "message": f"{op} under way"})
            try:
                await self.gates[op].wait()
            except asyncio.CancelledError:
                self.cancelled.append(op)
                raise
        await asyncio.sleep(0)
        return getattr(self, f"_{op}")(**args)

    def _open(self, setup: dict[str, Any]) -> Opened:
        return Opened(setup["model"], "blocks.0.hook_mlp_out", "cpu", 512, 128, "", NARROW, [])

    def _open_sae(self, path: str) -> EncoderInfo:
        return WIDE

    def _open_run(self, run: str) -> EncoderInfo:
        return self.runs.get(run) or EncoderInfo(run, "sae", run, 2048, run, 240)

    def _probe(self, prompt: str, sae: str, top: int, follow: list[int]) -> PromptProbe:
        if not prompt:
            raise UsageError("the prompt has no tokens: give it at least one character")
        words = prompt.replace("-", " - ").split()
        tokens = [
            TokenProbe(
                i, word,
                [FeatureActivation(240 if word == "-" else 7 + i, 6.0), FeatureActivation(31, 2.5)],
                0.58, [FeatureActivation(f, 6.0 if word == "-" else 0.0) for f in follow], 9,
            )
            for i, word in enumerate(words)
        ]  # fmt: skip
        return PromptProbe(prompt, sae, tokens)

    def _contexts(self, sae: str, feature: int, before: int, after: int) -> Contexts:
        return contexts(sae, feature, self.complete)

    def _kept(self, feature: int, threshold: float) -> Kept:
        """A row has 20 tokens; nothing fires above 9."""
        share = 0.012 * max(0.0, 1 - threshold / 9)
        return Kept(self.read, share, min(1.0, 20 * share))

    def _trial(self, recipe: dict[str, Any]) -> Trial:
        """A microsecond a token of text; of a dense step 10 for each thousand features, of a sparse one 1."""
        return Trial(1e-6, 1e-8 * recipe["d_sae"], 1e-9 * recipe["d_sae"])

    def _find(self, text: str, sae: str, by: str | None = None) -> Findings:
        """``-`` is what 240 fires on and 31 boosts, ``lap`` what 31 boosts; nothing else is known."""
        hits = [
            Found(240, "token", True, 0.012, 9.0, ["-", " -"], 61, 64),
            Found(31, "boosted", True, 0.004, 3.5, [" -"], rank=2, logit=1.25),
        ]
        known = {"-": hits, "lap": hits[1:]}.get(text, [])
        found = [hit for hit in known if by in (None, hit.by)]
        return Findings(sae, text, found, "", True)

    def _firings(self, sae: str, feature: int, start: int, count: int, before: int, after: int) -> Firings:
        kinds = list(KINDS)
        stop = min(start + count, self.fired)
        found = [context(kinds[i % 3], i, 9.0 - i * 0.003) for i in range(start, stop)]
        return Firings(sae, feature, 1_000_000, self.fired, start, found)

    def _lens(self, sae: str, feature: int, top: int) -> Lens:
        boosted = [TokenLogit(f" up{i}", 3.0 - i / 10) for i in range(10)]
        return Lens(sae, feature, boosted, [TokenLogit(f" down{i}", -2.0 + i / 10) for i in range(10)])

    def _neighbours(self, sae: str, feature: int, within: str, top: int) -> list[Neighbour]:
        return [Neighbour(within, (feature + i) % 512, 0.9 - i / 10) for i in range(1, 6)]

    def _pair(self, sae: str, first: int, second: int, within: str) -> Pair:
        def side(name: str, feature: int, fired: int) -> PairSide:
            return PairSide(name, feature, fired, fired / 1000, 9.0, 1.0, 0.75)

        def at(kind: str, index: int, a: float, b: float) -> PairContext:
            found = context(kind, index, a)
            around = [0.0] * 5 + [b] + [0.0] * 4
            return PairContext(found.row, found.position, 5, found.tokens, found.activations, around)

        shared = [at("count", i, 9.0 - i, 5.0 + i) for i in range(3)]
        alone = [at("number", i, 4.0 - i, 0.0) for i in range(3, 5)]
        return Pair(
            side(sae, first, 50), side(within, second, 30), 1000, 30, 0.812, 0.6, None,
            [[9.0, 5.0], [8.0, 6.0], [1.0, 0.0]], shared, shared[::-1], alone, [],
        )  # fmt: skip

    def _census(self, go_on: bool) -> taken.Census:
        if go_on:
            self.measured = list(FOUND)
        return census(self.measured)

    def _graft(self, recipe: dict[str, Any]) -> Grafted:
        info = EncoderInfo(
            "graft-1", "graft", f"graft of {recipe['target']}", 515, "", recipe["target"], [512, 513, 514]
        )
        return Grafted(info, OF_GRAFT, 65_536, 2.4)

    def _store_graft(self, sae: str) -> EncoderInfo:
        info = EncoderInfo("graft-1", "graft", "graft of 240", 515, self.store(sae), 240, [512, 513, 514])
        self.runs[info.run] = info
        return info

    def _children(self, sae: str, target: int) -> Children:
        return self.children or (OF_GRAFT if "graft" in sae else OF_SPLIT)

    def _report(self, sae: str, target: int, controls: bool) -> SplitReport:
        return replace(REPORT, target=target, controls=REPORT.controls if controls else [])

    def _compare(self, first: str, second: str) -> Comparison:
        """One child is in both, one in either; the runs are of one kind where their ids end alike."""
        cost = Cost(819_200, 1_000_000, 0, 2.0, 3.0, 6.5, 1.5, 2.5)
        kinds = ("graft", "split" if second.endswith("bbb") else "graft")
        one, other = (
            ComparedRun(first, kinds[0], cost, [child(512, "count", 0.5), child(513, "adverb", 0.3)], [513]),
            ComparedRun(second, kinds[1], cost, [child(17, "count", 0.6), child(99, "number", 0.2)], [99]),
        )
        return Comparison(
            240, 1.8, 50_000, 640, one, other, [Match(512, 17, 0.71, 0.93)],
            [Match(513, 17, 0.3, 0.45), Match(513, 99, 0.2, 0.4)],
        )  # fmt: skip

    def _status(self) -> Status:
        return Status("gelu-1l", "cpu", [NARROW], [], 1)

    def _judge(self, sae: str) -> Judgement:
        return judgement(sae)
