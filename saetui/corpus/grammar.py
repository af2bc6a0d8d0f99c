"""The synthetic corpus: a probabilistic grammar in which the context of every hyphen is known.

It is what proves a method right: whether a feature split into *count-*, *adj-* and *digit-* can be
measured against the labels instead of judged by eye.
"""

import re
from dataclasses import dataclass
from functools import cache, cached_property
from hashlib import sha256
from typing import Literal

import numpy as np
import tokenizers
from numpy.typing import NDArray
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers

from saetui.corpus.grammar_rules import PREFIXES, QUALIFIERS, RULES
from saetui.corpus.tokenizer import Tokenizer
from saetui.errors import UserError

VERSION = 1
"""Raise it when the same rules and seed come to draw other rows."""

LABELS = ("count", "adj", "digit", "other")
"""The classes of a hyphen, by what is left of it: ``multi-``, ``long-``, ``60-``; ``self-`` and the like."""

BOS, UNKNOWN = "<|BOS|>", "<|UNK|>"
BLOCK_ROWS = 512
"""Rows drawn together from one random state; a block is the unit of random access."""

SENTENCES = 12
"""Sentences drawn for a row, of which it keeps as many tokens as it holds."""

LONGEST_ROW = 1 + SENTENCES * 4
"""With the BOS, and sentences of four tokens (``He was old.``), than which none is shorter."""

ROWS = {"train": 2**18, "eval": 2**15}

_HYPHEN = re.compile(r"\+-(\w+)")


class SyntheticRows:
    """One split of the synthetic world, as ``TokenRows``: BOS, then sentences cut where the row ends.

    Row ``i`` depends on the seed, the split and ``i``; ``seq_len`` only cuts it, so a row of 49 tokens
    begins with the row of 48. Raises UserError for a row longer than its sentences.
    """

    bos = True

    def __init__(
        self, split: Literal["train", "eval"] = "train", *, seed: int = 0, seq_len: int = 48
    ) -> None:
        if not 2 <= seq_len <= LONGEST_ROW:
            raise UserError(f"a synthetic row has 2 to {LONGEST_ROW} tokens, not {seq_len}")
        self.name = "synthetic" if split == "train" else f"synthetic:{split}"
        self.seq_len = seq_len
        self.split = split
        self._key = (seed, *split.encode())
        self._grammar = grammar()
        rules = f"{BLOCK_ROWS} {SENTENCES} {seed} {seq_len} {self._grammar.fingerprint}"
        self.fingerprint = f"synthetic-{sha256(rules.encode()).hexdigest()[:16]}-{split}"
        self._recent: dict[int, tuple[NDArray[np.uint16], NDArray[np.int8]]] = {}

    def read(self, start: int, count: int) -> NDArray[np.uint16]:
        """Rows ``start … start+count``, ``[≤count, seq_len]`` uint16."""
        return self._gather(start, count, 0)

    def labels(self, start: int, count: int) -> NDArray[np.int8]:
        """For every token of the same rows its class, an index into ``LABELS``, or -1 off the hyphen."""
        return self._gather(start, count, 1)

    def _gather(self, start: int, count: int, which: int) -> NDArray:
        stop = min(start + count, ROWS[self.split])
        pieces = [np.empty((0, self.seq_len), (np.uint16, np.int8)[which])]
        for block in range(start // BLOCK_ROWS, -(-stop // BLOCK_ROWS)):
            first = block * BLOCK_ROWS
            pieces.append(self._block(block)[which][max(0, start - first) : stop - first])
        return np.concatenate(pieces)

    def _block(self, block: int) -> tuple[NDArray[np.uint16], NDArray[np.int8]]:
        if block not in self._recent:
            while len(self._recent) >= 4:  # tokens and labels of the same rows are asked for in turn
                self._recent.pop(next(iter(self._recent)))
            rng = np.random.default_rng((*self._key, block))
            self._recent[block] = self._grammar.draw(rng, BLOCK_ROWS, self.seq_len)
        return self._recent[block]


@dataclass(frozen=True)
class Grammar:
    """Rules compiled to arrays, expanded for many rows at once.

    Symbols are integers: below ``len(terminals)`` a token to be, from there on a rule's name. All
    alternatives of all rules lie one after the other: rule ``r`` owns those whose ``cumulative``
    probability is in ``(r, r + 1]``, so one ``searchsorted`` of ``r + uniform`` chooses for every symbol.
    """

    vocabulary: tuple[str, ...]
    """Token strings by id, BOS first; a leading space belongs to the word."""
    terminals: NDArray[np.uint16]
    """The token id of every terminal symbol; the hyphens of the four classes are four symbols, one token."""
    classes: NDArray[np.int8]
    """The label of every terminal symbol, -1 for all but the hyphens."""
    cumulative: NDArray[np.float64]
    lengths: NDArray[np.int64]
    symbols: NDArray[np.int64]
    """``[alternatives, longest]``, padded."""
    start: int

    def draw(
        self, rng: np.random.Generator, rows: int, seq_len: int
    ) -> tuple[NDArray[np.uint16], NDArray[np.int8]]:
        """Tokens and labels of ``rows`` random rows, both ``[rows, seq_len]``, BOS at position 0."""
        row = np.repeat(np.arange(rows), SENTENCES)
        symbol = np.full(len(row), self.start)
        while (rules := symbol >= len(self.terminals)).any():
            draws = symbol[rules] - len(self.terminals) + rng.random(int(rules.sum()))
            chosen = np.searchsorted(self.cumulative, draws, side="right")
            widths = np.ones(len(symbol), np.int64)
            widths[rules] = self.lengths[chosen]
            alternative = np.full(len(symbol), -1)
            alternative[rules] = chosen
            origin = np.repeat(np.arange(len(symbol)), widths)
            within = np.arange(len(origin)) - np.repeat(np.cumsum(widths) - widths, widths)
            expanded = alternative[origin]
            symbol = np.where(expanded < 0, symbol[origin], self.symbols[expanded, within])
            row = row[origin]
            # Every symbol becomes a token at least, so what lies past the longest row never counts.
            inside = np.arange(len(row)) - np.searchsorted(row, np.arange(rows))[row] < LONGEST_ROW
            symbol, row = symbol[inside], row[inside]
        token = self.terminals[symbol]
        before_vowel = np.append(self._vowels[token[1:]], False)
        for article, other in ((" a", " an"), ("A", "An")):
            token[before_vowel & (token == self.vocabulary.index(article))] = self.vocabulary.index(other)
        first = np.searchsorted(row, np.arange(rows))
        keep = first[:, None] + np.arange(seq_len - 1)
        tokens = np.full((rows, seq_len), self.vocabulary.index(BOS), np.uint16)
        labels = np.full((rows, seq_len), -1, np.int8)
        tokens[:, 1:], labels[:, 1:] = token[keep], self.classes[symbol[keep]]
        return tokens, labels

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the vocabulary and the compiled rules: equal fingerprints draw equal rows."""
        arrays = (self.terminals, self.classes, self.cumulative, self.lengths, self.symbols)
        data = b"".join(array.tobytes() for array in arrays)
        return sha256(f"{VERSION} {self.start} {self.vocabulary}".encode() + data).hexdigest()

    @cached_property
    def _vowels(self) -> NDArray[np.bool_]:
        return np.array([token.strip()[:1] in set("aeio") for token in self.vocabulary])

    def tokenizer(self) -> Tokenizer:
        """The word-level tokenizer of this vocabulary.

        A prompt may begin in the middle of a sentence: a lower-case first word or a number is given the
        space that it would have there.
        """
        model = models.WordLevel({token: id for id, token in enumerate(self.vocabulary)}, unk_token=UNKNOWN)
        inner = tokenizers.Tokenizer(model)
        inner.normalizer = normalizers.Replace(Regex(r"\A(?=[a-z0-9])"), " ")
        inner.pre_tokenizer = pre_tokenizers.Split(
            Regex(r" ?[A-Za-z]+| ?[0-9]|[.!?] ?|\S| "), behavior="isolated"
        )
        inner.decoder = decoders.Fuse()
        inner.add_special_tokens([BOS, UNKNOWN])
        return Tokenizer(inner)


@cache
def grammar() -> Grammar:
    """The grammar of ``grammar_rules``, compiled once."""
    rules = _parse(RULES)
    for name, label, table in (("QUALIFIED", "adj", QUALIFIERS), ("PREFIXED", "other", PREFIXES)):
        shared = [f"+{word}" for words in table.values() for word in words.split()]
        rules[name + "-ANY"] = [(1.0, [word]) for word in shared]
        rules[name] = _zipf([f"{name}-{prefix}" for prefix in table])
        for prefix, words in table.items():
            rules[f"{name}-{prefix}-OWN"] = _zipf([f"+{word}" for word in words.split()])
            rules[f"{name}-{prefix}-SECOND"] = [
                (0.5, ["HALF"]),
                (0.35, [name + "-ANY"]),
                (0.15, [f"{name}-{prefix}-OWN"]),
            ]
            rules[f"{name}-{prefix}"] = [(1.0, [prefix, f"+-{label}", f"{name}-{prefix}-SECOND"])]
    return _compile(rules)


Rules = dict[str, list[tuple[float, list[str]]]]


def _parse(text: str) -> Rules:
    """Rules by name, each a list of (weight, symbols); see ``grammar_rules`` for the notation."""
    rules: Rules = {}
    for line in re.sub(r"\n +", " ", text).splitlines():
        if words := re.match(r"([A-Z]+) = (.*)", line):
            rules[words[1]] = _zipf(list(dict.fromkeys(words[2].split())))
        elif rule := re.match(r"([A-Z]+): (.*)", line):
            alternatives = [alternative.split() for alternative in rule[2].split("|")]
            rules[rule[1]] = [
                (float(symbols[0]), symbols[1:]) if re.fullmatch(r"[\d.]+", symbols[0]) else (1.0, symbols)
                for symbols in alternatives
            ]
    return rules


def _zipf(words: list[str]) -> list[tuple[float, list[str]]]:
    return [(1.0 / (rank + 3), [word]) for rank, word in enumerate(words)]


def _compile(rules: Rules) -> Grammar:
    names = list(rules)
    words = list(
        dict.fromkeys(s for alternatives in rules.values() for _, side in alternatives for s in side)
    )
    terminals = [word for word in words if word not in rules]
    hyphens = [_HYPHEN.fullmatch(word) for word in terminals]
    strings = ["-" if hyphen else _string(word) for word, hyphen in zip(terminals, hyphens, strict=True)]
    vocabulary = tuple(dict.fromkeys([BOS, UNKNOWN, " an", "An", *strings]))
    ids = {token: id for id, token in enumerate(vocabulary)}
    number = {symbol: index for index, symbol in enumerate([*terminals, *names])}
    sides = [[number[s] for s in side] for name in names for _, side in rules[name]]
    longest = max(map(len, sides))
    cumulative = [
        rule + np.cumsum([weight for weight, _ in rules[name]]) / sum(weight for weight, _ in rules[name])
        for rule, name in enumerate(names)
    ]
    return Grammar(
        vocabulary=vocabulary,
        terminals=np.array([ids[string] for string in strings], np.uint16),
        classes=np.array([LABELS.index(h[1]) if h else -1 for h in hyphens], np.int8),
        cumulative=np.concatenate(cumulative),
        lengths=np.array([len(side) for side in sides]),
        symbols=np.array([side + [0] * (longest - len(side)) for side in sides]),
        start=number["SENTENCE"],
    )


def _string(word: str) -> str:
    """A terminal as it stands in the text. A sentence's last mark takes the space after it, so that its
    first word is the same token at the beginning of a row, of a prompt and of any other sentence."""
    if word.lstrip("+") in {".", "!", "?"}:
        return word.lstrip("+") + " "
    if word == ",":
        return word
    return word[1:] if word.startswith("+") else word if word[0].isupper() else f" {word}"
