"""What a look at a feature gives back: plain records, without torch, that the engine sends as JSON,
the shell prints with ``--json`` and the workbench shows."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class FeatureActivation:
    feature: int
    activation: float


@dataclass(frozen=True)
class TokenProbe:
    """One token of a prompt: its most active features, strongest first.

    ``margin = 1 - a_2 / a_1`` for the two strongest of *all* features (0: a tie; 1: the first
    stands alone; None: nothing fires). ``followed``: the activations of features asked for by index.
    ``bos``: the BOS token, which stands before every prompt and counts in no statistic.
    """

    position: int
    text: str
    top: list[FeatureActivation]
    margin: float | None
    followed: list[FeatureActivation]
    l0: int
    bos: bool = False


@dataclass(frozen=True)
class PromptProbe:
    prompt: str
    sae: str
    tokens: list[TokenProbe]


@dataclass(frozen=True)
class Context:
    """A token with its neighbours. ``tokens[center]`` is the token; ``activations`` runs beside
    ``tokens``; ``row`` and ``position`` say where in the corpus it stands."""

    row: int
    position: int
    center: int
    tokens: list[str]
    activations: list[float]

    @property
    def activation(self) -> float:
        return self.activations[self.center]


@dataclass(frozen=True)
class Interval:
    """Contexts sampled from one interval of activation: ``low < activation <= high``."""

    low: float
    high: float
    count: int
    contexts: list[Context]


@dataclass(frozen=True)
class Contexts:
    """What a feature fires on over ``tokens_read`` tokens (BOS positions are not counted).

    ``density = fired / tokens_read``. ``histogram[i]`` counts activations in
    ``(edges[i], edges[i+1]]``, zeros left out. ``top`` is strongest first; ``intervals`` are the
    quantile intervals, strongest first. ``complete`` is False while the corpus is still being read.
    """

    sae: str
    feature: int
    tokens_read: int
    fired: int
    density: float
    max_activation: float
    edges: list[float]
    histogram: list[int]
    top: list[Context]
    intervals: list[Interval]
    complete: bool


@dataclass(frozen=True)
class Densities:
    """Every feature of an SAE at a glance, indexed by feature; as ``Contexts`` defines them."""

    sae: str
    tokens_read: int
    density: list[float]
    max_activation: list[float]
    complete: bool


@dataclass(frozen=True)
class Firings:
    """A stretch of all the contexts on which a feature fires, strongest first: from the ``start``-th of
    ``fired`` on, found among ``tokens_read`` stored tokens."""

    sae: str
    feature: int
    tokens_read: int
    fired: int
    start: int
    contexts: list[Context]


FoundBy = Literal["number", "token", "boosted"]


@dataclass(frozen=True)
class Found:
    """A feature, and why it was found.

    ``by`` token: ``count`` of its ``of`` top-activating tokens are among ``tokens`` (the commonest first).
    ``by`` boosted: ``tokens`` are among its most boosted ones, the first at place ``rank`` (1: the most) with
    ``logit``. ``exact``: these are what was asked for, rather than begin with it. ``density`` and
    ``max_activation`` as in ``Contexts``.
    """

    feature: int
    by: FoundBy
    exact: bool
    density: float
    max_activation: float
    tokens: list[str] = field(default_factory=list[str])
    count: int = 0
    of: int = 0
    rank: int | None = None
    logit: float | None = None


@dataclass(frozen=True)
class Findings:
    """Features found: by number first, then exact matches before others. ``note`` says what could not be
    looked at, or not yet; ``complete``: there was nothing of the kind."""

    sae: str
    query: str
    found: list[Found]
    note: str
    complete: bool


@dataclass(frozen=True)
class TokenLogit:
    token: str
    logit: float


@dataclass(frozen=True)
class Lens:
    """Logit lens of a feature: ``W_dec[f] @ W_U``, the mean over the vocabulary taken off."""

    sae: str
    feature: int
    boosted: list[TokenLogit]
    suppressed: list[TokenLogit]


@dataclass(frozen=True)
class Neighbour:
    """A feature whose decoder row points the same way: ``cosine`` of the two rows."""

    sae: str
    feature: int
    cosine: float


@dataclass(frozen=True)
class Child:
    """One child of a split target, as a list shows it.

    ``share``: of the target's firing tokens, the share on which this child is the strongest child;
    ``recall``: the share on which it fires at all; ``precision``: the share of the child's activation that
    is where the target fires; ``cosine``: of the decoder rows; ``masked_cosine``: of the activations, on the
    target's tokens, None where they were not compared.
    """

    feature: int
    share: float
    recall: float
    precision: float
    cosine: float
    contexts: list[Context]
    boosted: list[TokenLogit]
    masked_cosine: float | None = None


@dataclass(frozen=True)
class Children:
    """The children of a target, largest share first, and the tokens that their shares are of: those
    (``fired``) on which the target is above ``threshold`` among ``tokens_read`` of the corpus, as far as it
    is indexed, or of ``held_out`` rows. ``complete`` is False while the corpus is still being read."""

    children: list[Child]
    threshold: float
    fired: int
    tokens_read: int
    held_out: bool
    complete: bool = True


@dataclass(frozen=True)
class PairContext:
    """A token with its neighbours and what both features of a pair are on each: ``first`` and ``second``
    run beside ``tokens``, as ``Context`` says of the rest."""

    row: int
    position: int
    center: int
    tokens: list[str]
    first: list[float]
    second: list[float]


@dataclass(frozen=True)
class PairSide:
    """One feature of a pair over the tokens that both were read on.

    ``density = fired / tokens_read``. ``covered``: of its firing tokens, the share on which the other one
    fires too. ``masked_cosine``: Σ ab / (‖a‖ ‖b‖) of the two features' activations over its firing tokens
    alone (Bricken et al. 2023, "Towards Monosemanticity"), 0 where they never fire together.
    """

    sae: str
    feature: int
    fired: int
    density: float
    max_activation: float
    covered: float
    masked_cosine: float


@dataclass(frozen=True)
class Pair:
    """Two features on the same held-out tokens (BOS positions are not counted).

    ``cosine``: of the decoder rows. ``jaccard``: tokens on which both fire over tokens on which either does.
    ``correlation``: Pearson's, of the activations over all tokens read; None where one never fires.
    ``points``: activations ``(first, second)`` on tokens where either fires, at most so many as were asked
    for, evenly spaced in the corpus. The lists of contexts are strongest first, alike ones once;
    ``only_first`` and ``only_second`` hold those on which the other feature is zero.
    """

    first: PairSide
    second: PairSide
    tokens_read: int
    both: int
    cosine: float
    jaccard: float
    correlation: float | None
    points: list[list[float]]
    by_first: list[PairContext]
    by_second: list[PairContext]
    only_first: list[PairContext]
    only_second: list[PairContext]


@dataclass(frozen=True)
class Kept:
    """What a filter by one feature keeps of the tokens that have been indexed."""

    tokens_read: int
    """Tokens that this is counted on, BOS not counted."""
    tokens: float
    """Share of them on which the feature is above the threshold, and …"""
    rows: float
    """… of their rows, those with such a token."""
