"""Split quality while a run trains: how well its best features tell the expected children's contexts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from saetui.corpus.rows import TokenRows
from saetui.features.top_tokens import BATCH_TOKENS
from saetui.lm.base import LanguageModel
from saetui.split.activations.filtered import activations
from saetui.split.judging.criteria import Criteria
from saetui.split.judging.judge import CONTEXT_BEFORE
from saetui.split.judging.word_contexts import best_features

CUT = 0.2
"""A child lives on the token: at least this share of its activation is there."""
OCCURRENCES = 1_000
"""Of the token, at most: a row of this many activations is encoded at every evaluation."""
OTHERS = 8_192
"""Tokens on which the features' activation elsewhere is measured."""
AT_ONCE = 1_024
"""Tokens encoded at a time: a wide dictionary's activations are many."""
SCANNED_ROWS = 8_192
"""Held-out rows in which they are sought, at most: a corpus may be built only as far as it is read."""
_ROWS_AT_ONCE = 512


@dataclass(frozen=True)
class ChildF1:
    """The feature that best tells one child's contexts among the token's occurrences: feature and cut chosen
    on one half of them, ``f1`` on the other; features with less than ``CUT`` of their ``mass`` on the token
    do not count. ``count`` occurrences follow the child's pattern. ``feature`` is -1 where there is none."""

    child: str
    count: int
    feature: int
    f1: float
    mass: float


@dataclass(frozen=True)
class ChildContexts:
    """Occurrences of the criteria's token on held-out rows, kept as activations so that any number of
    dictionaries can be measured on them.

    The mass is estimated: occurrences and other tokens are sampled apart and weighted by ``frequency``.
    """

    children: tuple[str, ...]
    x: Tensor
    """``[n, d_in]``, at the token."""
    follows: NDArray[np.bool_]
    """Whether an occurrence follows a child's pattern, ``[n, children]``."""
    others: Tensor
    """``[m, d_in]``, at other tokens."""
    frequency: float
    """Share of the tokens that are the token."""

    @classmethod
    @torch.no_grad()
    def of(cls, lm: LanguageModel, criteria: Criteria, rows: TokenRows) -> "ChildContexts | None":
        """Read from the first held-out ``rows``; None where the token is none of the model's, or stands too
        seldom there (ten times at least) to say anything."""
        token_id = lm.tokenizer.token_id(criteria.token)
        if token_id is None:
            return None
        first = int(rows.bos)
        tokens = _rows_with(token_id, rows)
        at = tokens == token_id
        at[:, :first] = False
        frequency = float(at[:, first:].mean()) if len(tokens) else 0.0
        holding = np.flatnonzero(at.any(1))
        enough = int(np.searchsorted(np.cumsum(at[holding].sum(1)), OCCURRENCES)) + 1
        holding = holding[:enough]
        if at[holding].sum() < 10:
            return None
        x = torch.cat([part[:, first:] for part in _read(lm, tokens[holding])])
        elsewhere = torch.cat(_read(lm, tokens[: -(-OTHERS // (rows.seq_len - first))]))[:, first:]
        marks = torch.from_numpy(at[:, first:]).to(x.device)
        before = [
            "".join(map(lm.tokenizer.token_str, row[max(first, place - CONTEXT_BEFORE) : place].tolist()))
            for row in tokens[holding]
            for place in np.flatnonzero(row[first:] == token_id) + first
        ]
        return cls(
            children=tuple(child.name for child in criteria.children),
            x=x[marks[torch.from_numpy(holding).to(x.device)]],
            follows=np.array([[child.follows(text) for child in criteria.children] for text in before]),
            others=elsewhere[~marks[: len(elsewhere)]],
            frequency=frequency,
        )

    @torch.no_grad()
    def measure(
        self, encode: Callable[[Tensor], Tensor], features: Sequence[int] | None = None
    ) -> list[ChildF1]:
        """One for every child; ``encode`` is the dictionary's, ``[n, d_in]`` to ``[n, d_sae]``. ``features``:
        those that may be one (a graft's children); None: any."""
        f = encode(self.x).float()
        on = self.frequency * f.mean(0)
        elsewhere = sum(encode(part).float().sum(0) for part in self.others.split(AT_ONCE)) / len(self.others)
        off = (1 - self.frequency) * elsewhere
        may_be = np.ones(f.shape[1], bool)
        if features is not None:
            may_be[:] = False
            may_be[list(features)] = True
        mass = (on / (on + off).clamp_min(1e-12)).cpu().numpy()
        best, f1 = best_features(f.cpu().numpy(), self.follows, may_be & (mass >= CUT))
        return [
            ChildF1(
                child=child,
                count=int(self.follows[:, c].sum()),
                feature=int(best[c]),
                f1=float(f1[c]),
                mass=float(mass[best[c]]) if best[c] >= 0 else 0.0,
            )
            for c, child in enumerate(self.children)
        ]


def _read(lm: LanguageModel, tokens: NDArray[np.integer]) -> list[Tensor]:
    """Activations ``[rows, seq, d_in]`` in batches of rows."""
    step = max(1, BATCH_TOKENS // tokens.shape[1])
    return [activations(lm, tokens[i : i + step], bos=False) for i in range(0, len(tokens), step)]


def _rows_with(token_id: int, rows: TokenRows) -> NDArray[np.integer]:
    """The first rows, until they hold ``OCCURRENCES`` of the token and ``OTHERS`` tokens."""
    parts, found = [rows.read(0, 0)], 0
    for start in range(0, SCANNED_ROWS, _ROWS_AT_ONCE):
        parts.append(rows.read(start, _ROWS_AT_ONCE))
        found += int((parts[-1][:, int(rows.bos) :] == token_id).sum())
        read = start + len(parts[-1])
        if len(parts[-1]) < _ROWS_AT_ONCE or (found >= OCCURRENCES and read * (rows.seq_len - 1) >= OTHERS):
            break
    return np.concatenate(parts)
