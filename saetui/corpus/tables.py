"""Hub data sets and local files, as rows of tokens.

``datasets`` maps tables into memory (Arrow, or Parquet and JSON lines converted to it once); a column
``tokens`` or ``input_ids`` holds token ids, a column ``text`` or ``content`` the documents.

**Held out**: the last 2 % of the table's rows, at least one, are the split ``eval``; ``train`` never
touches them. The cut is between rows of the table, so no document is in both.
"""

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from saetui.corpus.packed import Documents, PackedRows, Progress
from saetui.corpus.rows import TokenRows, as_tokens
from saetui.corpus.tokenizer import Tokenizer
from saetui.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

Split = Literal["train", "eval"]
TOKEN_COLUMNS = ("tokens", "input_ids")
TEXT_COLUMNS = ("text", "content")
EOS_NAMES = ("<|EOS|>", "<|endoftext|>", "</s>", "<eos>", "<|end_of_text|>")
HELD_OUT = 0.02


def held_out(rows: int) -> int:
    """How many rows at the end of ``rows`` are held out for evaluation: 2 %, at least one."""
    return max(1, int(rows * HELD_OUT))


def rows_of(
    dataset: "Dataset",
    name: str,
    fingerprint: str,
    tokenizer: Tokenizer,
    seq_len: int,
    split: Split,
    paragraphs: bool = False,
    progress: Progress | None = None,
) -> TokenRows:
    """One split of a table as rows of ``seq_len`` tokens.

    Token rows of one length (1024, say) are cut into pieces whose first token is overwritten by BOS, as
    Neel Nanda's training code does. Texts, and token rows of many lengths, are joined and packed into rows
    that begin with BOS; an end-of-text token stands between documents where the vocabulary has one
    (``paragraphs``: two line breaks instead). UserError where no column fits or nothing is there.
    """
    if len(dataset) < 2:
        raise UserError(f"{name} has {len(dataset)} rows: two are needed, one of them to be held out")
    column = next((c for c in (*TOKEN_COLUMNS, *TEXT_COLUMNS) if c in dataset.column_names), None)
    if column is None:
        raise UserError(
            f"{name} has the columns {', '.join(dataset.column_names)}: "
            f"one of {', '.join((*TOKEN_COLUMNS, *TEXT_COLUMNS))} is needed"
        )
    is_tokens = column in TOKEN_COLUMNS
    _check_type(dataset, column, name, is_tokens)
    fingerprint = f"{fingerprint}-{column}"
    if is_tokens and (length := _common_length(dataset, column)) is not None and length >= seq_len:
        return CutRows(dataset, column, length, name, fingerprint, tokenizer, seq_len, split)
    documents = _documents(dataset, column, name, tokenizer, paragraphs)
    return PackedRows(documents, name, fingerprint, tokenizer, seq_len, split, held_out, progress)


class CutRows:
    """Rows cut out of a memory-mapped column of equally long token rows (``TokenRows``).

    Row ``i`` is piece ``i % (length // seq_len)`` of table row ``i // (length // seq_len)``; what is
    left at a table row's end is dropped. A vocabulary without BOS leaves the tokens as they are.
    """

    def __init__(
        self,
        dataset: "Dataset",
        column: str,
        length: int,
        name: str,
        fingerprint: str,
        tokenizer: Tokenizer,
        seq_len: int,
        split: Split,
    ) -> None:
        self.name = name
        self.seq_len = seq_len
        self.bos = tokenizer.bos_token_id is not None
        self.fingerprint = f"{fingerprint}-{tokenizer.fingerprint[:8]}-{seq_len}-{split}"
        self._bos_token_id = tokenizer.bos_token_id
        self._d_vocab = tokenizer.d_vocab
        self._column = _Column(dataset, column)
        self._length = length
        self._pieces = length // seq_len
        cut = len(dataset) - held_out(len(dataset))
        self._first, self._last = (0, cut) if split == "train" else (cut, len(dataset))

    def read(self, start: int, count: int) -> NDArray[np.integer]:
        """Rows ``start … start+count``, ``[≤count, seq_len]``, uint16 where the vocabulary allows it.
        UserError for a token that is not in the vocabulary."""
        total = (self._last - self._first) * self._pieces
        start, stop = min(start, total), min(start + count, total)
        first, last = start // self._pieces, -(-stop // self._pieces)
        tokens = self._column.flat(self._first + first, self._first + last)
        rows = tokens.reshape(-1, self._length)[:, : self._pieces * self.seq_len].reshape(-1, self.seq_len)
        rows = rows[start - first * self._pieces : stop - first * self._pieces]
        rows = as_tokens(rows, self._d_vocab, self.name)
        if self._bos_token_id is not None:
            rows[:, 0] = self._bos_token_id
        return rows


def _documents(
    dataset: "Dataset", column: str, name: str, tokenizer: Tokenizer, paragraphs: bool
) -> Documents:
    values = _Column(dataset, column)
    eos = next((id for eos in EOS_NAMES if (id := tokenizer.token_id(eos)) is not None), None)
    end = [] if eos is None or paragraphs else [eos]

    def text(start: int, stop: int) -> list[list[int]]:
        texts = [text or "" for text in values.read(start, stop)]
        return [ids + end for ids in tokenizer.encode_batch([t + "\n\n" if paragraphs else t for t in texts])]

    def tokens(start: int, stop: int) -> list[list[int]]:
        return [list(ids or ()) + end for ids in values.read(start, stop)]

    return Documents(len(dataset), tokens if column in TOKEN_COLUMNS else text)


def _check_type(dataset: "Dataset", column: str, name: str, is_tokens: bool) -> None:
    import pyarrow as pa

    kind = dataset.data.schema.field(column).type
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if is_tokens and not (lists and pa.types.is_integer(kind.value_type)):
        raise UserError(f"{name}: the column {column} holds {kind}, but lists of token ids are needed")
    if not is_tokens and not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise UserError(f"{name}: the column {column} holds {kind}, but text is needed")


def _common_length(dataset: "Dataset", column: str) -> int | None:
    """Tokens in every row of the table, or None where rows differ (or one is missing)."""
    import pyarrow.compute

    compute: Any = pyarrow.compute  # its functions are made at run time, unknown to a type checker
    lengths = compute.list_value_length(dataset.data.column(column))  # reads offsets, not tokens
    extremes = compute.min_max(lengths).as_py()
    return extremes["min"] if extremes["min"] == extremes["max"] and not lengths.null_count else None


class _Column:
    """A memory-mapped column, by position."""

    def __init__(self, dataset: "Dataset", name: str) -> None:
        self._table: Any = dataset.with_format("arrow")
        self._name = name

    def read(self, start: int, stop: int) -> list[Any]:
        """The values from ``start`` up to ``stop`` as Python objects."""
        return self._table[start:stop].column(self._name).to_pylist()

    def flat(self, start: int, stop: int) -> NDArray:
        """All items of the lists from ``start`` up to ``stop``, one after the other."""
        chunks = self._table[start:stop].column(self._name).chunks if start < stop else []
        items = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in chunks]
        return np.concatenate(items) if items else np.empty(0, np.int64)
