"""What a census says of every feature: plain records, without torch."""

from dataclasses import asdict, dataclass
from math import exp
from typing import Any, Literal

from saetui.split.finding.report import SplitThresholds

SplitBy = Literal["context", "token", "neither", "rare"]
Side = Literal["previous", "next"]

P_VALUE = 0.05
"""Chance of a context that tells nothing: what *split by context* asks for beside its size in nats."""


@dataclass(frozen=True)
class CensusRecipe:
    """How every feature is grafted and measured: the same for all, and cheaper than a graft by hand, since a
    census answers "which feature", not "into what"."""

    tokens: int = 1_000_000
    """Tokens read, …"""
    held_out: float = 0.25
    """… of which the rows of the last share are measured on, not trained on."""
    threshold_share: float = 0.3
    """A feature is hot above this share of the 95th percentile of its activations."""
    hot_tokens: int = 8192
    """Hot tokens of a feature that its children are trained on, at most."""
    held_out_tokens: int = 2048
    """Hot tokens of a feature that are measured on, at most."""
    fewest: int = 256
    """With fewer of either a feature is *rare*, and not grafted."""
    children: tuple[int, ...] = (2, 4, 8, 16)
    """Numbers of children tried, rising. 32 doubled the time and paid for none of the synthetic world's 62
    features and of the first 24 of the real one's."""
    least_gain: float = 0.01
    """More children are taken as long as each adds so much to the explained share of the error."""
    steps: int = 300
    batch_size: int = 256
    lr: float = 3e-3
    l1_coeff: float = 3.0
    l1_warmup: float = 0.3
    seed: int = 0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class FeatureCensus:
    """One feature and the children that a graft of it gets, measured on held-out hot tokens.

    With w the strongest child on a token and I and H in nats, I less its mean over permutations of w (0 at
    least): ``entropy`` = H(w), ``by_token`` = I(w; current token), ``by_previous`` and ``by_next`` =
    I(w; that token | current token), permuted within equal current tokens. By the chain rule ``by_token`` and
    either of the other two are parts of ``entropy`` that do not overlap: what the token itself tells, and
    what its context tells beyond it.
    """

    feature: int
    density: float
    """Share of the tokens read on which it is above its threshold."""
    threshold: float
    held_out: int
    """Held-out hot tokens; where these are too few nothing below is measured."""
    children: int = 0
    """Chosen by held-out gain; 1, the feature as it is, where more would not pay; 0 for a rare feature."""
    explained: tuple[float, ...] = ()
    """Of the numbers of children tried: 1 - Σ|x - x̂|² of the graft / Σ|x - x̂|² of the narrow SAE."""
    gain: float = 0.0
    """The one of these that belongs to the number chosen."""
    margin: float = 0.0
    """Mean over covered tokens of 1 - a₂/a₁ among the children (the split report's)."""
    holding: int = 0
    """Children that win at least 5 % of the tokens (``SplitThresholds.recall``) and repeat no other."""
    entropy: float = 0.0
    by_token: float = 0.0
    by_previous: float = 0.0
    by_next: float = 0.0
    p_value: float = 1.0
    """Of the larger of ``by_previous`` and ``by_next``, doubled for having tried two."""

    @property
    def side(self) -> Side:
        """The side whose token tells more of the child."""
        return "previous" if self.by_previous >= self.by_next else "next"

    @property
    def by_context(self) -> float:
        """Nats that the context tells of the child beyond the token: what a census is sorted by."""
        return max(self.by_previous, self.by_next)

    @property
    def effective(self) -> float:
        """Effective number of children, exp(H(w))."""
        return exp(self.entropy)

    @property
    def contexts(self) -> float:
        """exp(``by_context``): effective number of contexts that the children tell apart within a token."""
        return exp(self.by_context)

    @property
    def split_by(self) -> SplitBy:
        """What tells the children apart, where it tells at least 1.5 of them (``SplitThresholds.effective``):
        context goes before token, being the rarer one."""
        if not self.children:
            return "rare"
        if self.contexts >= SplitThresholds.effective and self.p_value < P_VALUE:
            return "context"
        return "token" if exp(self.by_token) >= SplitThresholds.effective else "neither"


@dataclass(frozen=True)
class Evidence:
    """What speaks for a feature hiding several contexts, before anything is trained.

    ``context_share`` ranks. Of the narrow SAE's error e = x - x̂ on the feature's hot tokens it is the part
    that depends on the neighbouring token (``side``) where the current token is the same: with SS_c the sum
    of squares of e around its mean of each current token (C of them), SS_g around that of each pair of
    current token and neighbour (G), N tokens,

        context_share = [1 - (SS_g / (N - G)) / (SS_c / (N - C))] · SS_c / Σ|e|²

    the bracket being the adjusted R² of a one-way analysis of variance (Ezekiel 1930), 0 at least: pairs seen
    once prove nothing and count for nothing. The other numbers are reasons to read, not part of the rank.
    """

    feature: int
    tokens: int
    """Hot tokens looked at, …"""
    threshold: float
    """… its activation being above this on them: what a split of it would have as its own."""
    density: float
    context_share: float
    side: Side
    unexplained: float
    """Σ|e|² / Σ|e + a d|²: what the feature leaves of what is left to it."""
    commonest: str
    """Its commonest hot token, …"""
    commonest_share: float
    """… and that one's share of them."""
    nearest: int
    """The feature with the highest decoder cosine, …"""
    nearest_cosine: float
    """… and that cosine: a feature that was split already has near ones."""
    bimodality: float
    """(skewness² + 1) / kurtosis of its hot activations (Sarle): 1/3 for a normal one, 5/9 for a uniform one,
    1 for two points."""


@dataclass(frozen=True)
class Hits:
    """Of the first ``at`` things of an order, ``found`` are wanted; in all ``wanted`` of ``of`` are.
    ``p_value``: share of random orders that find as many (hypergeometric, exact)."""

    at: int
    found: int
    wanted: int
    of: int
    p_value: float

    @property
    def precision(self) -> float:
        return self.found / self.at

    @property
    def by_chance(self) -> float:
        """The precision that a random order has on average."""
        return self.wanted / self.of


@dataclass(frozen=True)
class Agreement:
    """How well an order of features made before any training predicts what came out.

    ``rho``: Spearman's rank correlation with the outcome (a census': ``by_context``) over the features that
    have one; ``low`` and ``high``: its 95 % interval, by bootstrap over features; ``p_value``: share of
    random orders that reach it, one-sided. ``precision``: the order's first N among the outcome's first N;
    ``split``: among those that did split (a census': by context).
    """

    by: str
    """The field of ``Evidence``."""
    features: int
    rho: float
    low: float
    high: float
    p_value: float
    precision: tuple[Hits, ...]
    split: tuple[Hits, ...]


@dataclass(frozen=True)
class Census:
    """Every feature of an SAE, most context first, rare ones last; and what would have predicted it."""

    sae: str
    tokens_read: int
    recipe: dict[str, Any]
    features: list[FeatureCensus]
    evidence: list[Evidence]
    """Of the same features, by their rank before the census."""
    agreement: list[Agreement]
    """The rank's own first."""
    seconds: float
    """Spent by this call; an interrupted census goes on from what it had."""


@dataclass(frozen=True)
class CensusProgress:
    """``done`` of ``total`` in a stage: tokens sampled, features ranked, features grafted."""

    stage: Literal["sampling", "ranking", "grafting"]
    done: int
    total: int
    eta_s: float | None = None
    """Seconds to the end of the stage, once that can be said."""
    measured: tuple[FeatureCensus, ...] = ()
    """Features that were measured since the progress before."""
