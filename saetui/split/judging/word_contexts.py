"""Word contexts: how many of the words before a token have a feature of their own.

A measure of a split that needs no criteria: on real text the natural unit of a child is the word before the
token (``multi-``, ``user-``), and the corpus says which words there are.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from saetui.corpus.rows import TokenRows
from saetui.corpus.tokenizer import Tokenizer
from saetui.errors import UserError
from saetui.features.encoder import Encoder
from saetui.features.top_tokens import BATCH_TOKENS, Progress, encode_features, read_tokens
from saetui.lm.base import LanguageModel

MIN_COUNT = 40
"""A word is a context from so many occurrences before the token on."""
CLEAN_F1 = 0.8
CLEAN_SHARE = 0.6
DEFAULT_TOKENS = 600_000
WORD_PIECES = 6
"""Tokens read to the left of the token for the word that ends there."""

_WORD = re.compile(r"[A-Za-z]+\Z")


@dataclass(frozen=True)
class WordContext:
    """The feature that best tells one word before the token.

    On the token's occurrences: ``f1`` of "this feature fires above a cut" for "the word stands before",
    feature and cut chosen on one half of the occurrences, F1 taken on the other. ``mass``: share of the
    feature's total activation, over all tokens, that is on the token. ``winner``: share of the word's
    occurrences on which the feature is the strongest of those that were looked at.
    """

    word: str
    count: int
    feature: int | None
    """None: no feature with enough mass on the token tells the word at all."""
    f1: float
    mass: float
    winner: float


@dataclass(frozen=True)
class WordContexts:
    token: str
    tokens_read: int
    occurrences: int
    """Of the token, BOS positions apart."""
    cut: float
    """Features with less of their mass on the token were left out."""
    words: list[WordContext]
    """Best first."""

    @property
    def clean(self) -> int:
        """Words with a feature of F1 at least 0.8."""
        return sum(word.f1 >= CLEAN_F1 for word in self.words)

    @property
    def clean_winners(self) -> int:
        """Of these, words on which that feature is also the strongest, on a share of at least 0.6."""
        return sum(word.f1 >= CLEAN_F1 and word.winner >= CLEAN_SHARE for word in self.words)


@dataclass(frozen=True)
class Occurrences:
    """The token's n occurrences on held-out rows, and k features on them: all that a cut needs."""

    token: str
    features: list[int]
    activations: NDArray[np.floating]
    """``[n, k]``"""
    mass: NDArray[np.floating]
    """Share of each feature's total activation that is on the token, ``[k]``."""
    before: list[str]
    """The word before each occurrence; empty where there is none."""
    tokens_read: int
    rows: str
    """The name of the corpus."""

    def words(
        self, cut: float = 0.2, min_count: int = MIN_COUNT, features: Sequence[int] | None = None
    ) -> WordContexts:
        """How well the features (all, or some of them) tell the words.

        Without a ``cut`` on the mass, features of the words themselves pass, which fire on the word and
        carry over to the token; with it, those that live on the token are left. UserError where no word
        stands before the token ``min_count`` times.
        """
        counts = Counter(word for word in self.before if word)
        words = sorted(word for word, count in counts.items() if count >= min_count)
        if not words:
            raise UserError(
                f"no word stands {min_count} times before {self.token!r} in {self.tokens_read} tokens of "
                f"{self.rows}: read more tokens"
            )
        chosen = set(self.features if features is None else features)
        columns = [i for i, feature in enumerate(self.features) if feature in chosen]
        f, mass = self.activations[:, columns], self.mass[columns]
        is_word = np.array(self.before)[:, None] == np.array(words)[None]  # [n, words]
        best, f1 = best_features(f, is_word, mass >= cut)
        strongest = np.where(f.max(1) > 0, f.argmax(1), -1)
        found = [
            WordContext(
                word=word,
                count=counts[word],
                feature=None if best[w] < 0 else self.features[columns[best[w]]],
                f1=float(f1[w]),
                mass=float(mass[best[w]]) if best[w] >= 0 else 0.0,
                winner=float((strongest[is_word[:, w]] == best[w]).mean()) if best[w] >= 0 else 0.0,
            )
            for w, word in enumerate(words)
        ]
        return WordContexts(
            token=self.token,
            tokens_read=self.tokens_read,
            occurrences=len(self.before),
            cut=cut,
            words=sorted(found, key=lambda context: -context.f1),
        )


@torch.inference_mode()
def occurrences(
    lm: LanguageModel,
    encoder: Encoder,
    token: str,
    rows: TokenRows,
    *,
    features: Sequence[int] | None = None,
    tokens: int = DEFAULT_TOKENS,
    on_progress: Progress | None = None,
) -> Occurrences:
    """Reads ``features`` (None: all) wherever ``token`` stands in the first ``tokens`` of held-out ``rows``.

    UserError where ``token`` is not one token of the model.
    """
    token_id = lm.tokenizer.token_id(token)
    if token_id is None:
        raise UserError(f"{token!r} is not one token of {lm.name}")
    looked_at = list(range(encoder.d_sae) if features is None else features)
    held_out = read_tokens(rows, tokens)
    f, mass = _on_token(lm, encoder, looked_at, held_out, token_id, rows.bos, on_progress)
    return Occurrences(
        token=token,
        features=looked_at,
        activations=f,
        mass=mass,
        before=words_before(lm.tokenizer, held_out, token_id, rows.bos),
        tokens_read=len(held_out) * (rows.seq_len - rows.bos),
        rows=rows.name,
    )


def words_before(tokenizer: Tokenizer, tokens: NDArray[np.integer], token_id: int, bos: bool) -> list[str]:
    """The word that ends right before every occurrence of the token, in lower case; empty where none does."""
    words: list[str] = []
    for row, position in np.argwhere(_places(tokens, token_id, bos)).tolist():
        left = tokens[row, max(int(bos), position - WORD_PIECES) : position].tolist()
        found = _WORD.search("".join(tokenizer.token_str(id) for id in left))
        words.append(found.group().lower() if found else "")
    return words


def _places(tokens: NDArray[np.integer], token_id: int, bos: bool) -> NDArray[np.bool_]:
    at = tokens == token_id
    at[:, : int(bos)] = False
    return at


def _on_token(
    lm: LanguageModel,
    encoder: Encoder,
    features: list[int],
    tokens: NDArray[np.integer],
    token_id: int,
    bos: bool,
    on_progress: Progress | None,
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Activations ``[n, features]`` on the token's occurrences, and each feature's share of mass there."""
    n_rows, seq_len = tokens.shape
    step = max(1, BATCH_TOKENS // seq_len)
    total = torch.zeros(len(features), dtype=torch.float64)
    parts: list[NDArray[np.floating]] = []
    for start in range(0, n_rows, step):
        some = tokens[start : start + step]
        x = lm.activations(torch.as_tensor(some.astype(np.int64), device=lm.device))[:, int(bos) :]
        f = encode_features(encoder, x, features)
        total += f.sum((0, 1)).double().cpu()
        at = torch.as_tensor(_places(some, token_id, bos)[:, int(bos) :], device=f.device)
        parts.append(f[at].float().cpu().numpy())
        if on_progress:
            on_progress(min(start + step, n_rows) * (seq_len - bos), n_rows * (seq_len - bos))
    on = np.concatenate(parts)
    return on, on.sum(0, dtype=np.float64) / np.maximum(total.numpy(), 1e-12)


def best_features(
    f: NDArray[np.floating], is_word: NDArray[np.bool_], selective: NDArray[np.bool_]
) -> tuple[NDArray[np.integer], NDArray[np.floating]]:
    """For every word the feature with the best F1 on the even occurrences, -1 if none, and its F1 on the
    odd ones at the cut that was best on the even ones."""
    columns = np.flatnonzero(selective)
    chosen, scored = f[::2, columns], f[1::2, columns]
    y_chosen, y_scored = is_word[::2], is_word[1::2]
    order = np.argsort(-chosen, axis=0, kind="stable")  # [n, features]
    ranked = np.take_along_axis(chosen, order, 0)
    # A cut lies between two different activations, and above zero.
    usable = (ranked > 0) & np.vstack([ranked[:-1] > ranked[1:], np.ones((1, len(columns)), bool)])
    n = np.arange(1, len(chosen) + 1)[:, None]
    best = np.full(is_word.shape[1], -1)
    f1 = np.zeros(is_word.shape[1])
    if not len(columns):
        return best, f1
    for w in range(is_word.shape[1]):
        hits = np.cumsum(y_chosen[order, w], axis=0)
        scores = np.where(usable, 2 * hits / (n + y_chosen[:, w].sum()), 0.0)
        place = np.unravel_index(scores.argmax(), scores.shape)
        if scores[place] > 0:
            column = int(place[1])
            best[w] = columns[column]
            f1[w] = _f1(scored[:, column] >= ranked[place], y_scored[:, w])
    return best, f1


def _f1(said: NDArray[np.bool_], true: NDArray[np.bool_]) -> float:
    return 2 * float((said & true).sum()) / max(1.0, float(said.sum() + true.sum()))
