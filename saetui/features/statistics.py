"""What is remembered of every feature while activations stream by: top, sample, histogram, counts."""

import threading
from dataclasses import dataclass

import torch
from torch import Tensor

from saetui.features.best import BestPerFeature, Entries

TOP = 64
"""Top-activating tokens kept of every feature."""
SAMPLE = 192
"""Firings kept of every feature as a uniform sample, for contexts from quantile intervals."""
BINS = 128
"""Histogram bins; a power of two, so that two neighbours merge when the range doubles."""


@dataclass(frozen=True)
class Counts:
    """One feature's counts at one moment. Bin ``i`` counts ``(i * bin_width, (i + 1) * bin_width]``."""

    tokens: int
    fired: int
    bin_width: float
    histogram: list[int]


class FeatureStatistics:
    """Bounded statistics of ``d_sae`` features over a stream of tokens.

    A *place* is a token's number in its corpus: ``row * seq_len + position``. Results depend on the
    tokens alone, not on how the stream was cut, and never more than one chunk ``[n, d_sae]`` is held.

    The histogram of a feature has ``BINS`` equal bins over ``(0, 2^e]``, ``2^e`` the smallest power of
    two that holds its largest activation: exact at every moment, since a range that doubles merges
    bins in pairs. One thread adds, any may read.
    """

    def __init__(self, d_sae: int, device: torch.device | str = "cpu") -> None:
        self.d_sae = d_sae
        self.tokens = 0
        """Tokens seen."""
        self.top = BestPerFeature(d_sae, TOP, device)
        self.sample = BestPerFeature(d_sae, SAMPLE, device)
        self.histogram = torch.zeros(d_sae, BINS, dtype=torch.int64, device=device)
        self.exponent = torch.full((d_sae,), _NONE, dtype=torch.int32, device=device)
        self._lock = threading.Lock()  # tokens, histogram and exponent change together

    def add(self, f: Tensor, places: Tensor, tokens: int | None = None) -> Entries:
        """Feature activations ``[n, d_sae]`` of the tokens at ``places [n]``, rising from call to call; their
        firings, in that order.

        ``tokens``: how many these stand for, where tokens on which nothing fires are left out.
        """
        token, feature = f.nonzero(as_tuple=True)
        activation, place = f[token, feature].float(), places[token]
        with self._lock:
            self._count(feature, activation)
            self.tokens += len(f) if tokens is None else tokens
        fired = Entries(feature, place, activation, activation)
        self.top.offer(fired)
        self.sample.offer(Entries(feature, place, lot(feature, place), activation))
        return fired

    def count(self, f: Tensor) -> None:
        """Takes activations ``[n, d_sae]`` into counts and histograms alone."""
        token, feature = f.nonzero(as_tuple=True)
        with self._lock:
            self._count(feature, f[token, feature].float())
            self.tokens += len(f)

    def counts(self, feature: int) -> Counts:
        """Histogram and counts of one feature."""
        with self._lock:
            histogram = self.histogram[feature].tolist()
            width = 2.0 ** int(self.exponent[feature]) / BINS
            return Counts(self.tokens, sum(histogram), width, histogram)

    def above(self, feature: int, threshold: float) -> int:
        """Tokens on which ``feature`` fired above ``threshold``, to the accuracy of a histogram bin."""
        counts = self.counts(feature)
        return sum(n for i, n in enumerate(counts.histogram) if i * counts.bin_width >= threshold)

    def densities(self) -> tuple[int, Tensor]:
        """Tokens seen, and of these the number on which each feature fired, int64 ``[d_sae]``."""
        with self._lock:
            return self.tokens, self.histogram.sum(-1)

    @property
    def max_activation(self) -> Tensor:
        """``[d_sae]``, 0 for a feature that never fired."""
        return self.top.highest()

    def tensors(self) -> dict[str, Tensor]:
        """State for a file, without what follows from the rest; ``load`` takes it back."""
        parts = {"histogram": self.histogram, "exponent": self.exponent}
        parts |= {f"top.{name}": value for name, value in self.top.tensors().items() if name != "score"}
        parts |= {f"sample.{name}": value for name, value in self.sample.tensors().items() if name != "score"}
        return {name: _narrowed(value).cpu().contiguous() for name, value in parts.items()}

    def load(self, tensors: dict[str, Tensor], tokens: int) -> None:
        device = self.histogram.device
        loaded = {name: value.to(device) for name, value in tensors.items()}
        self.tokens = tokens
        self.histogram, self.exponent = loaded["histogram"].long(), loaded["exponent"]
        place, activation = loaded["top.place"].long(), loaded["top.activation"]
        self.top.load({"score": activation, "place": place, "activation": activation})
        place, activation = loaded["sample.place"].long(), loaded["sample.activation"]
        feature = torch.arange(self.d_sae, device=device)[:, None].expand_as(place)
        score = lot(feature, place).where(place >= 0, 0.0)
        self.sample.load({"score": score, "place": place, "activation": activation})

    def _count(self, feature: Tensor, activation: Tensor) -> None:
        highest = torch.zeros(self.d_sae, device=activation.device)
        highest.scatter_reduce_(0, feature, activation, "amax")
        self._widen(torch.where(highest > 0, _exponent(highest), _NONE))
        width = torch.ldexp(torch.ones_like(activation), self.exponent[feature]) / BINS
        bins = (activation / width).ceil().long().sub_(1).clamp_(0, BINS - 1)
        self.histogram.view(-1).index_add_(0, feature * BINS + bins, torch.ones_like(bins))

    def _widen(self, needed: Tensor) -> None:
        """Doubles the range of every feature until its exponent is the ``needed`` one."""
        empty = self.exponent == _NONE
        self.exponent = torch.where(empty, needed, self.exponent)
        while len(small := (needed > self.exponent).nonzero().flatten()):
            pairs = self.histogram[small].view(-1, BINS // 2, 2).sum(-1)
            self.histogram[small] = torch.cat([pairs, torch.zeros_like(pairs)], dim=-1)
            self.exponent[small] += 1


def _narrowed(counts: Tensor) -> Tensor:
    """Integers as int32 where they all fit."""
    if counts.dtype != torch.int64 or (counts.numel() and counts.max() >= 2**31):
        return counts
    return counts.int()


_NONE = -1000
"""Exponent of a feature that never fired."""


def _exponent(x: Tensor) -> Tensor:
    """The smallest ``e`` with ``x <= 2^e``, int32; exact, which a logarithm would not be."""
    mantissa, exponent = torch.frexp(x)  # x = mantissa * 2^exponent, .5 <= mantissa < 1
    return (exponent - (mantissa == 0.5).int()).int()


def lot(feature: Tensor, place: Tensor) -> Tensor:
    """A number in (0, 1) per firing that a hash of feature and place decides.

    The firings of highest lot are a uniform sample that is the same however the stream is cut,
    resumed or read again. 23 bits, which fp32 holds exactly.
    """
    h = place * 0x9E3779B97F4A7C1 + feature * 0x2545F4914F6CDD1D
    h = (h ^ (h >> 31)) * 0x7FB5D329728EA185
    h = (h ^ (h >> 27)) * 0x1D8E4E27C47D124F
    return ((h >> 32) & 0x7FFFFF).float().add_(0.5) / 0x800000
