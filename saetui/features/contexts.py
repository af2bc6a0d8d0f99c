"""From statistics to what a person reads: the contexts, histogram and density of one feature."""

import torch

from saetui.features.best import Entries
from saetui.features.encoder import Encoder, check_feature, encode_feature
from saetui.features.results import Context, Contexts, Interval
from saetui.features.row_store import RowStore
from saetui.features.statistics import TOP, Counts, FeatureStatistics

_SHOWN_BINS = 40


@torch.no_grad()
def contexts(
    store: RowStore,
    encoder: Encoder,
    statistics: FeatureStatistics,
    feature: int,
    *,
    name: str,
    complete: bool,
    top: int = 20,
    intervals: int = 5,
    per_interval: int = 5,
    before: int = 5,
    after: int = 4,
) -> Contexts:
    """What ``feature`` fires on: top-activating tokens (``TOP`` at most), histogram, density, and a sample
    from each of ``intervals`` quantile intervals of its activations.

    The intervals' limits are the histogram's, so their counts are exact and near, not at, equal shares.
    Windows stay within their row; BOS is not shown. UsageError for an index out of range.
    """
    check_feature(encoder, feature, name)
    counts = statistics.counts(feature)
    strongest = statistics.top.of(feature)[: min(top, TOP)]
    sample = statistics.sample.of(feature)  # in random order
    limits = _quantiles(counts, intervals)
    chosen = [
        sample[(sample.activation > low) & (sample.activation <= high)][:per_interval]
        for low, high, _ in limits
    ]
    chosen = [part[torch.argsort(part.activation, descending=True, stable=True)] for part in chosen]
    found = iter(windows(store, encoder, Entries.cat([strongest, *chosen]), feature, before, after))
    edges, histogram = _shown(counts)
    return Contexts(
        sae=name,
        feature=feature,
        tokens_read=counts.tokens,
        fired=counts.fired,
        density=counts.fired / max(counts.tokens, 1),
        max_activation=float(statistics.top.highest()[feature]),
        edges=edges,
        histogram=histogram,
        top=[next(found) for _ in range(len(strongest))],
        intervals=[
            Interval(low, high, count, [next(found) for _ in range(len(part))])
            for (low, high, count), part in zip(limits, chosen, strict=True)
        ],
        complete=complete,
    )


@torch.no_grad()
def windows(
    store: RowStore, encoder: Encoder, entries: Entries, feature: int, before: int, after: int
) -> list[Context]:
    """The tokens of ``entries`` with up to ``before`` and ``after`` neighbours, in the entries' order."""
    spans: list[tuple[int, int, int]] = []
    centers: list[int] = []
    for place in entries.place.tolist():
        row, position = divmod(place, store.seq_len)
        start = max(store.first, position - before)
        spans.append((row, start, min(store.seq_len, position + after + 1)))
        centers.append(position - start)
    if not spans:
        return []
    x = store.windows(spans)
    f = encode_feature(encoder, torch.cat(x), feature).split([len(window) for window in x])
    token_str = store.lm.tokenizer.token_str
    found: list[Context] = []
    for (row, start, stop), center, window, activation in zip(
        spans, centers, f, entries.activation.tolist(), strict=True
    ):
        activations = window.tolist()
        activations[center] = activation  # as it was ranked: another batch may change its last bit
        tokens = [token_str(int(token)) for token in store.row_tokens(row)[start:stop]]
        found.append(Context(row, start + center, center, tokens, activations))
    return found


def _quantiles(counts: Counts, n: int) -> list[tuple[float, float, int]]:
    """``(low, high, count)`` of up to ``n`` intervals between bin limits, each with about an equal share of
    the firings, strongest first. Fewer where one bin holds several shares."""
    intervals: list[tuple[float, float, int]] = []
    seen = start = within = 0
    share = 1  # the interval ends once so many n-ths of all firings are seen
    for i, count in enumerate(counts.histogram):
        seen += count
        within += count
        if within and seen * n >= counts.fired * share:
            intervals.append((start * counts.bin_width, (i + 1) * counts.bin_width, within))
            start, within = i + 1, 0
            share = seen * n // counts.fired + 1
    return intervals[::-1]


def _shown(counts: Counts) -> tuple[list[float], list[int]]:
    """Edges and histogram up to the last bin in use, neighbours merged until it fits a screen."""
    used = max((i + 1 for i, count in enumerate(counts.histogram) if count), default=0)
    group = 1
    while used > group * _SHOWN_BINS:
        group *= 2
    bins = range(0, used, group)
    histogram = [sum(counts.histogram[i : i + group]) for i in bins]
    return [i * counts.bin_width for i in (*bins, len(bins) * group)] if used else [], histogram
