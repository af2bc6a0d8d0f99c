"""A metric as it grows: bounded memory, and the cost of drawing it independent of its length."""

import math
from collections.abc import Sequence
from math import isfinite

_LARGEST = 1e290
"""Values are clamped to this, so that no sum or difference of them overflows."""


class Series:
    """Points in the order in which they came, kept as at most ``capacity`` buckets.

    A bucket holds ``stride`` consecutive points: how many were finite, their sum, minimum and
    maximum. When all buckets are full, neighbours merge in pairs and the stride doubles; so a point
    costs O(1), and 50 000 points draw as fast as 500.

    ``x`` has a coordinate for each axis the plot can be turned to (tokens, steps, seconds …); the
    first one must rise: a point that falls back behind others takes their place.
    """

    __slots__ = ("_filled", "bad", "capacity", "counts", "last", "maxima", "minima", "stride", "sums", "xs")

    def __init__(self, capacity: int = 512) -> None:
        self.capacity = max(2, capacity + capacity % 2)
        self.stride = 1
        self._filled = 0
        self.xs: list[Sequence[float]] = []
        self.counts: list[int] = []
        self.sums: list[float] = []
        self.minima: list[float] = []
        self.maxima: list[float] = []
        self.bad = 0
        """NaN and infinite values so far."""
        self.last = math.nan
        """The latest value, finite or not."""

    def __len__(self) -> int:
        return len(self.xs)

    def append(self, x: Sequence[float], y: float) -> None:
        """Adds a point; NaN or infinite ``y`` is a gap. A point whose ``x`` is not finite is left out."""
        if not all(map(isfinite, x)):
            return
        xs = self.xs
        if xs and xs[-1][0] > x[0]:
            self.rewind(x[0])
        if self._filled == self.stride or not xs:
            if len(xs) == self.capacity:
                self._merge_pairs()
            self.xs.append(x)
            self.counts.append(0)
            self.sums.append(0.0)
            self.minima.append(math.inf)
            self.maxima.append(-math.inf)
            self._filled = 0
        else:
            xs[-1] = x
        self._filled += 1
        self.last = y
        if not isfinite(y):
            self.bad += 1
            return
        if y > _LARGEST or y < -_LARGEST:
            y = math.copysign(_LARGEST, y)
        self.counts[-1] += 1
        self.sums[-1] += y
        if y < self.minima[-1]:
            self.minima[-1] = y
        if y > self.maxima[-1]:
            self.maxima[-1] = y

    def rewind(self, x: float) -> None:
        """Takes back what lies beyond ``x`` on the first axis: a resumed run repeats that stretch."""
        while self.xs and self.xs[-1][0] > x:
            for column in (self.xs, self.counts, self.sums, self.minima, self.maxima):
                column.pop()
            self._filled = self.stride  # every bucket but the last one is full

    def copy(self) -> "Series":
        """A snapshot that stays as it is while this one grows."""
        other = Series(self.capacity)
        other.stride, other._filled, other.bad, other.last = self.stride, self._filled, self.bad, self.last
        for name in ("xs", "counts", "sums", "minima", "maxima"):
            setattr(other, name, list(getattr(self, name)))
        return other

    def gap(self, x: Sequence[float]) -> None:
        """Nothing was reported at ``x``: a gap as NaN makes one, but nothing that went wrong."""
        self.append(x, math.nan)
        self.bad -= all(map(isfinite, x))

    def smoothed(self, length: float) -> list[float]:
        """Exponential moving average at each bucket, NaN where no point of it was finite.

        ``m_i = k m_{i-1} + (1 - k) y_i`` with ``k = exp(-(x_i - x_{i-1}) / length)`` on the first axis, so
        that it forgets by distance, however often was reported; divided by ``1 - Π k`` as Adam does, so that
        the first points are not pulled towards zero. A bucket enters as its mean. ``length = 0`` gives
        the means themselves.
        """
        out: list[float] = []
        finite = [x[0] for x, count in zip(self.xs, self.counts, strict=True) if count]
        # The first point has none before it: as far as the second one is from it.
        before = 2 * finite[0] - finite[1] if len(finite) > 1 else -math.inf
        average = weight = 0.0
        for x, count, total in zip(self.xs, self.counts, self.sums, strict=True):
            if count == 0:
                out.append(math.nan)
                continue
            keep = math.exp((before - x[0]) / length) if length else 0.0
            before = x[0]
            average = keep * average + (1 - keep) * (total / count)
            weight = keep * weight + (1 - keep)
            out.append(average / weight if weight else total / count)
        return out

    def _merge_pairs(self) -> None:
        pairs = range(0, len(self.xs), 2)
        self.xs = [self.xs[i + 1] for i in pairs]
        self.counts = [self.counts[i] + self.counts[i + 1] for i in pairs]
        self.sums = [self.sums[i] + self.sums[i + 1] for i in pairs]
        self.minima = [min(self.minima[i], self.minima[i + 1]) for i in pairs]
        self.maxima = [max(self.maxima[i], self.maxima[i + 1]) for i in pairs]
        self.stride *= 2
        self._filled = self.stride
