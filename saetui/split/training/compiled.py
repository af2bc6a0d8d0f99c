"""The sparse path in loops that Numba compiles (the extra ``saetui[fast]``).

``saetui.split.training.sparse.TorchOperators`` computes the same: it is the oracle, and stands in where Numba
is not installed. Every token and every feature is worked off by one thread in a fixed order, so that results
do not depend on the number of threads. Loops are compiled when first called, and kept in saetui's cache
folder.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import Any, ClassVar

import numba  # pyright: ignore[reportMissingImports]
import numpy as np
import torch
from numba.core import config  # pyright: ignore[reportMissingImports]
from numpy.typing import NDArray
from torch import Tensor

from saetui.settings import cache_root
from saetui.split.training.screen import ROUNDING, Quantised, integer_products, tokens_at_once
from saetui.split.training.sparse import (
    ActivePairs,
    Crossover,
    Reconstruction,
    SparseOperators,
    SparseSums,
    TorchOperators,
)

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

config.CACHE_DIR = str(cache_root() / "numba")  # pyright: ignore[reportAttributeAccessIssue]


def _compiled(function: Any) -> Any:
    # Sums may be reordered, as in any BLAS; NaN and infinity keep their meaning.
    options = {"fastmath": {"reassoc", "contract", "nsz"}, "error_model": "numpy"}
    return numba.njit(nogil=True, cache=True, **options)(function)


class CompiledOperators(SparseOperators):
    """``SparseOperators`` by the loops below."""

    crossover: ClassVar = {"float32": Crossover(0.20, 0.25), "bfloat16": Crossover(0.065, 0.08)}
    screen_below = 0.10

    def _screen(
        self, x: Tensor, W_encT: Tensor, b_enc: Tensor, silent: int | None
    ) -> tuple[ActivePairs, int]:
        d_sae = len(W_encT)
        W, tokens = quantise(W_encT), quantise(x)
        step = min(len(x), tokens_at_once(d_sae) * torch.get_num_threads())
        products = torch.empty(step, d_sae, dtype=torch.int32)
        per_feature = [_numpy(v) for v in (b_enc, W.scale, W.norm, W.error)]
        rows, weights, bias = _numpy(x), _numpy(W_encT), per_feature[0]
        counts = np.empty(len(x), np.int32)

        def candidates_of(start: int, begin: int, end: int) -> Ints:
            here = slice(start + begin, start + end)
            per_token = [_numpy(v[here]) for v in (tokens.scale, tokens.norm, tokens.error)]
            return _candidates(_numpy(products)[begin:end], *per_feature, *per_token, counts[here])

        found: list[Ints] = []
        for start in range(0, len(x), step):
            stop = min(start + step, len(x))
            integer_products(tokens.low[start:stop], W.low, products[: stop - start])
            found += _in_parts(stop - start, partial(candidates_of, start))
        # Not before all are found: so threads are sent once for the batch, not once for every part of it.
        candidates = np.concatenate(found)
        values = np.empty(len(candidates), np.float32)
        first = _starts(counts)

        def evaluate(begin: int, end: int) -> slice:
            start, stop = first[begin], first[end]
            kept = _evaluate(
                rows[begin:end],
                weights,
                bias,
                -1 if silent is None else silent,
                counts[begin:end],
                candidates[start:stop],
                values[start:stop],
            )
            return slice(start, start + kept)

        kept = _in_parts(len(x), evaluate)
        features, activations = (
            torch.from_numpy(np.concatenate([of[part] for part in kept])) for of in (candidates, values)
        )
        return ActivePairs(torch.from_numpy(_starts(counts)), features, activations), len(candidates)

    def gradients(
        self, pairs: ActivePairs, of: Reconstruction, g: Tensor, grads: dict[str, Tensor]
    ) -> SparseSums:
        first, features, activations = map(_numpy, (pairs.first, pairs.features, pairs.activations))
        x, W_dec, b_dec, y, l1, into_g = map(_numpy, (of.x, of.W_dec, of.b_dec, of.y, of.l1, g))
        many, d_sae = len(features), len(W_dec)
        df = np.empty(many, np.float32)
        squared_errors = np.empty(len(x))
        _in_parts(
            len(x),
            lambda begin, end: _errors(
                first, features, activations, W_dec, b_dec, y, np.float32(of.scale), l1, into_g, df,
                squared_errors, begin, end,
            ),
        )  # fmt: skip
        first_of, tokens_of = np.empty(d_sae + 1, np.int32), np.empty(many, np.int32)
        activations_of, df_of = np.empty(many, np.float32), np.empty(many, np.float32)
        _sort_by_feature(first, features, activations, df, first_of, tokens_of, activations_of, df_of)
        sums = np.empty(d_sae, np.float32)
        into_dec, into_enc, into_b = (_numpy(grads[name]) for name in ("W_dec", "W_encT", "b_enc"))

        def collect(begin: int, end: int) -> None:
            _collect(first_of, tokens_of, activations_of, into_g, into_dec, sums, begin, end)
            _collect(first_of, tokens_of, df_of, x, into_enc, into_b, begin, end)
            if of.tangent:
                _take_off_parallel(into_dec, W_dec, begin, end)

        _in_parts(d_sae, collect)
        return SparseSums(
            torch.tensor(squared_errors.sum(), dtype=torch.float32),
            torch.from_numpy(sums),
            torch.from_numpy(np.diff(first_of).astype(np.float32)),
        )


def check() -> tuple[bool, str]:
    """Whether the loops compile here and agree with torch's operators on a small case, and a few words."""
    generator = torch.Generator().manual_seed(0)
    x, W_encT = torch.randn(40, 24, generator=generator), torch.randn(64, 24, generator=generator)
    b, l1 = torch.full((64,), -4.0), torch.full((64,), 0.1)
    found = []
    for operators in (TorchOperators(screened=True), CompiledOperators(screened=True)):
        grads = {"W_dec": torch.empty(64, 24), "W_encT": torch.empty(64, 24), "b_enc": torch.empty(64)}
        g = torch.empty(40, 24)
        try:
            pairs = operators.active(x, W_encT, b, None)
            of = Reconstruction(x, x, W_encT, x[0], 0.1, l1, tangent=True)
            sums = operators.gradients(pairs, of, g, grads)
        except Exception as error:  # whatever a compiler may raise: the run goes on without it
            reason = (str(error) or repr(error)).splitlines()[0]
            return False, f"torch's operators (Numba failed: {reason})"
        found.append([pairs.features.float(), pairs.activations, sums.squared_error, g, *grads.values()])
    agree = (
        a.shape == b.shape and torch.allclose(a, b, rtol=1e-4, atol=1e-4) for a, b in zip(*found, strict=True)
    )
    if not all(agree):
        return False, "torch's operators (Numba's loops disagree with them here)"
    return True, f"loops compiled by Numba {numba.__version__}"


def quantise(rows: Tensor) -> Quantised:
    """As ``saetui.split.training.screen.quantise``."""
    low = torch.empty(rows.shape, dtype=torch.int8)
    scale, norm, error = (torch.empty(len(rows)) for _ in range(3))
    out = [_numpy(v) for v in (low, scale, norm, error)]
    _in_parts(len(rows), lambda begin, end: _quantise(_numpy(rows), *out, begin, end))
    return Quantised(low, scale, norm, error)


def _numpy(tensor: Tensor) -> NDArray[Any]:
    return tensor.detach().numpy()


def _starts(counts: Ints) -> Ints:
    """Where each of so many begins, and the last one ends."""
    starts = np.zeros(len(counts) + 1, np.int32)
    np.cumsum(counts, out=starts[1:])
    return starts


def _in_parts(count: int, work: Callable[[int, int], Any]) -> list[Any]:
    """``work(begin, end)`` for every thread's part of ``range(count)``; results in order."""
    threads = min(torch.get_num_threads(), count)
    if threads <= 1:
        return [work(0, count)]
    ends = [count * i // threads for i in range(threads + 1)]
    return list(_threads(threads).map(work, ends[:-1], ends[1:]))


@lru_cache(maxsize=1)
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, "sparse step")


@_compiled
def _quantise(rows, low, scale, norm, error, begin, end):  # pyright: ignore
    d = rows.shape[1]
    magnitudes = rows.view(np.int32)
    for i in range(begin, end):
        row, into, bits = rows[i], low[i], magnitudes[i]
        # Without their sign the largest float has the largest bits, which are compared eight times faster.
        largest = np.int32(0)
        for j in range(d):
            largest = max(largest, bits[j] & np.int32(0x7FFFFFFF))
        step = np.int32(largest).view(np.float32) / np.float32(127)
        inverse = np.float32(1) / step if step > 0 else np.float32(0)
        squares, kept_squares, errors = np.float32(0), np.float32(0), np.float32(0)
        for j in range(d):
            value = row[j] * inverse
            kept = np.rint(value)
            into[j] = np.int8(kept)
            squares += value * value
            kept_squares += kept * kept
            errors += (value - kept) * (value - kept)
        larger = np.sqrt(max(squares, kept_squares))
        scale[i], norm[i] = step, step * larger
        error[i] = step * (np.sqrt(errors) * np.float32(1.0001) + np.float32(ROUNDING) * larger)


@_compiled
def _candidates(products, b_enc, W_scale, W_norm, W_error, scale, norm, error, counts):  # pyright: ignore
    """The pairs that the screen lets through, by token; ``counts``: how many of each."""
    tokens, d_sae = products.shape
    hits = np.zeros((4, (d_sae + 7) // 8 * 8), np.uint8)
    hits0, hits1, hits2, hits3 = hits[0], hits[1], hits[2], hits[3]
    eights = hits.view(np.uint64)
    some = np.empty(eights.shape[1], np.int32)
    found = np.empty(tokens * d_sae + 1, np.int32)  # memory that is not written to is not taken
    total = 0
    for t in range(0, tokens, 4):  # what is read of a feature is used for four tokens
        t1, t2, t3 = min(t + 1, tokens - 1), min(t + 2, tokens - 1), min(t + 3, tokens - 1)
        p0, p1, p2, p3 = products[t], products[t1], products[t2], products[t3]
        a0, a1, a2, a3 = scale[t], scale[t1], scale[t2], scale[t3]
        n0, n1, n2, n3 = norm[t], norm[t1], norm[t2], norm[t3]
        e0, e1, e2, e3 = error[t], error[t1], error[t2], error[t3]
        for f in range(d_sae):
            a, b, n, e = W_scale[f], b_enc[f], W_norm[f], W_error[f]
            hits0[f] = np.float32(p0[f]) * a * a0 + b + (n * e0 + e * n0) > np.float32(0)
            hits1[f] = np.float32(p1[f]) * a * a1 + b + (n * e1 + e * n1) > np.float32(0)
            hits2[f] = np.float32(p2[f]) * a * a2 + b + (n * e2 + e * n2) > np.float32(0)
            hits3[f] = np.float32(p3[f]) * a * a3 + b + (n * e3 + e * n3) > np.float32(0)
        for k in range(min(4, tokens - t)):
            before, hit, eight, many = total, hits[k], eights[k], 0
            for i in range(len(eight)):  # both lists are written without a branch
                some[many] = i
                many += eight[i] != 0
            for m in range(many):
                for f in range(8 * some[m], 8 * some[m] + 8):  # beyond d_sae there are no hits
                    found[total] = f
                    total += hit[f]
            counts[t + k] = total - before
    return found[:total].copy()


@_compiled
def _evaluate(x, W_encT, b_enc, silent, counts, candidates, values):  # pyright: ignore
    """Candidates become active pairs, in place; ``counts`` and the result: how many there are."""
    kept, begin = 0, 0
    for t in range(len(x)):
        before, end = kept, begin + counts[t]
        _dot_rows(x[t], W_encT, candidates[begin:end], values[begin:end])
        for i in range(begin, end):  # about every other one is kept: without a branch
            f = candidates[i]
            value = values[i] + b_enc[f]
            candidates[kept], values[kept] = f, value
            kept += (value > 0) & (f != silent)
        counts[t], begin = kept - before, end
    return kept


@_compiled
def _dot_rows(x, rows, indices, values):  # pyright: ignore
    """``values[i] = x · rows[indices[i]]``: four rows at a time, so that ``x`` is read once for them."""
    d, i = len(x), 0
    while i + 4 <= len(indices):
        w0, w1, w2, w3 = rows[indices[i]], rows[indices[i + 1]], rows[indices[i + 2]], rows[indices[i + 3]]
        v0, v1, v2, v3 = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        for j in range(d):
            v0 += x[j] * w0[j]
            v1 += x[j] * w1[j]
            v2 += x[j] * w2[j]
            v3 += x[j] * w3[j]
        values[i], values[i + 1], values[i + 2], values[i + 3] = v0, v1, v2, v3
        i += 4
    while i < len(indices):
        w0, v0 = rows[indices[i]], np.float32(0)
        for j in range(d):
            v0 += x[j] * w0[j]
        values[i] = v0
        i += 1


@_compiled
def _errors(first, features, activations, W_dec, b_dec, y, scale, l1, g, df, squared_errors, begin, end):  # pyright: ignore
    d = y.shape[1]
    for t in range(begin, end):
        into, target = g[t], y[t]
        for j in range(d):
            into[j] = b_dec[j] - target[j]
        _add_rows(first[t], first[t + 1], features, activations, W_dec, into)
        squares = np.float32(0)
        for j in range(d):
            squares += into[j] * into[j]
            into[j] *= scale
        squared_errors[t] = squares
        here = slice(first[t], first[t + 1])
        _dot_rows(into, W_dec, features[here], df[here])
        for i in range(first[t], first[t + 1]):
            df[i] += l1[features[i]]


@_compiled
def _sort_by_feature(first, features, activations, df, first_of, tokens_of, activations_of, df_of):  # pyright: ignore
    """The pairs by feature, and by token within one."""
    d_sae = len(first_of) - 1
    first_of[:] = 0
    for i in range(len(features)):
        first_of[features[i] + 1] += 1
    for f in range(d_sae):
        first_of[f + 1] += first_of[f]
    at = first_of[:d_sae].copy()
    for t in range(len(first) - 1):
        for i in range(first[t], first[t + 1]):
            f = features[i]
            to = at[f]
            at[f] = to + 1
            tokens_of[to], activations_of[to], df_of[to] = t, activations[i], df[i]


@_compiled
def _collect(first_of, tokens_of, weights_of, rows, out, sums, begin, end):  # pyright: ignore
    """``out[f] = Σ weight * rows[token]`` over f's pairs, and ``sums[f] = Σ weight``."""
    for f in range(begin, end):
        out[f] = 0
        _add_rows(first_of[f], first_of[f + 1], tokens_of, weights_of, rows, out[f])
        total = 0.0
        for i in range(first_of[f], first_of[f + 1]):
            total += weights_of[i]
        sums[f] = total


@_compiled
def _take_off_parallel(gradient, W_dec, begin, end):  # pyright: ignore
    d = W_dec.shape[1]
    for f in range(begin, end):
        row, into = W_dec[f], gradient[f]
        along, squares = np.float32(0), np.float32(0)
        for j in range(d):
            along += into[j] * row[j]
            squares += row[j] * row[j]
        along /= squares
        for j in range(d):
            into[j] -= along * row[j]


@_compiled
def _add_rows(begin, end, indices, weights, rows, into):  # pyright: ignore
    """``into += Σ weights[i] * rows[indices[i]]``: four rows at a time, each read once."""
    d, i = len(into), begin
    while i + 4 <= end:
        r0, r1, r2, r3 = rows[indices[i]], rows[indices[i + 1]], rows[indices[i + 2]], rows[indices[i + 3]]
        w0, w1, w2, w3 = weights[i], weights[i + 1], weights[i + 2], weights[i + 3]
        for j in range(d):
            into[j] += w0 * r0[j] + w1 * r1[j] + w2 * r2[j] + w3 * r3[j]
        i += 4
    while i < end:
        row, w0 = rows[indices[i]], weights[i]
        for j in range(d):
            into[j] += w0 * row[j]
        i += 1
