"""The real-text world: its corpus, its tokenizer and its language model."""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from saetui.corpus import extract, installed
from saetui.corpus.local_docs import LocalDocs
from saetui.corpus.tokenizer import Tokenizer
from saetui.line_pace import LinePace
from saetui.lm.one_layer import OneLayer
from saetui.worlds.recipes import REAL_LM, TOKENIZER_CHARACTERS, LMRecipe
from saetui.worlds.train_lm import NextTokens, train_lm, with_next
from saetui.worlds.train_tokenizer import first_characters, train_tokenizer

log = logging.getLogger(__name__)

VALIDATION_ROWS = 2_000


def rows(tokenizer: Tokenizer) -> tuple[LocalDocs, LocalDocs]:
    """Training rows and held-out rows."""
    pace = LinePace()

    def say(_: float, line: str) -> None:
        if pace.due():
            log.info(line)

    return LocalDocs(tokenizer, progress=say), LocalDocs(tokenizer, "eval")


def learn_tokenizer(lm: Path) -> None:
    """Write ``tokenizer.json`` into ``lm``, learnt from the beginning of the training documents."""
    lm.mkdir(parents=True, exist_ok=True)
    train_tokenizer(
        first_characters(_training_paragraphs(), TOKENIZER_CHARACTERS), REAL_LM.model.d_vocab
    ).save(str(lm / "tokenizer.json"))


def train(recipe: LMRecipe, lm: Path, folder: Path) -> OneLayer:
    """Train the language model with the tokenizer in ``lm``; see ``train_lm`` for ``folder``."""
    tokenizer = Tokenizer.from_file(lm / "tokenizer.json")
    corpus, held_out_rows = rows(tokenizer)
    tokens = corpus.read(0, corpus.build_all())
    held_out = held_out_rows.read(0, VALIDATION_ROWS + 1)
    characters = len(tokenizer.decode(held_out[:, 1:].ravel().tolist()))
    return train_lm(
        recipe,
        NextTokens(tokens, recipe.batch_rows, recipe.seed),
        with_next(held_out, np.arange(len(held_out) - 1)),
        characters / held_out[:, 1:].size,
        folder,
    )


def _training_paragraphs() -> Iterator[str]:
    seen: set[bytes] = set()
    for source in installed.sources():
        if source.split == "train":
            for paragraph in extract.paragraphs(
                extract.read_text(source.path), is_python=source.path.endswith(".py")
            ):
                identity = extract.identity(paragraph)
                if identity not in seen:
                    seen.add(identity)
                    yield paragraph
