"""The shipped tokenizer: byte-level BPE whose pre-tokenizer keeps a glued hyphen a token of its own."""

from collections.abc import Iterable, Iterator

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

BOS = "<|BOS|>"

PIECES = r" ?->| ?-+| ?[A-Za-z]+|[0-9]| ?[^\sA-Za-z0-9\-]+|\n[ ]*| +(?=\S)|\s+"
"""A run of hyphens is one piece, never part of a word: in ``multi-line`` the hyphen is the token ``-``, as in
GELU-1L's vocabulary, while `` -``, ``--`` and ``->`` are others. Digits stand alone; a line break takes its
indentation with it."""


def train_tokenizer(texts: Iterable[str], d_vocab: int) -> Tokenizer:
    """A BPE vocabulary of ``d_vocab`` ids, BOS (id 0) and the 256 bytes included, learnt from ``texts``."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=d_vocab,
        special_tokens=[BOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def first_characters(texts: Iterable[str], characters: int) -> Iterator[str]:
    """The beginning of a stream of texts, up to about so many characters."""
    for text in texts:
        if characters <= 0:
            return
        characters -= len(text)
        yield text
