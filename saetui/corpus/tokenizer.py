"""The tokenizer, as the rest of saetui sees it: a thin wrapper over a Hugging Face ``tokenizer.json``."""

from functools import lru_cache
from hashlib import sha256
from pathlib import Path

import tokenizers

from saetui.errors import UserError

BOS_NAMES = ("<|BOS|>", "<|begin_of_text|>", "<s>", "<bos>", "[BOS]", "<|endoftext|>", "<|EOS|>")
"""What vocabularies call their first token, in the order of trust; GPT-2's kind reuses its end of text."""


class Tokenizer:
    """Text to token ids and back.

    ``d_vocab`` is the number of ids, ``bos_token_id`` the id that begins a row (None: the vocabulary
    has none), ``fingerprint`` the SHA-256 of the tokenizer's JSON form.
    """

    def __init__(self, inner: tokenizers.Tokenizer, bos_token: str | None = None) -> None:
        self._inner = inner
        self.d_vocab: int = inner.get_vocab_size(with_added_tokens=True)
        names = BOS_NAMES if bos_token is None else (bos_token,)
        ids = (inner.token_to_id(name) for name in names)
        self.bos_token_id: int | None = next((id for id in ids if id is not None), None)
        self.token_str = lru_cache(maxsize=None)(self._token_str)

    @classmethod
    def from_file(cls, path: str | Path, bos_token: str | None = None) -> "Tokenizer":
        """Read a ``tokenizer.json``. ``bos_token`` names the BOS where it is not one of the usual names.

        Raises UserError where there is no such file or it is not a tokenizer.
        """
        if not Path(path).is_file():
            raise UserError(f"no tokenizer at {path}")
        try:
            return cls(tokenizers.Tokenizer.from_file(str(path)), bos_token)
        except Exception as error:  # the Rust side raises bare Exception
            raise UserError(f"{path} is not a tokenizer: {error}") from error

    def save(self, path: str | Path) -> None:
        """Write the ``tokenizer.json`` that ``from_file`` reads."""
        self._inner.save(str(path))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the JSON form: equal fingerprints give equal ids."""
        return sha256(self._inner.to_str().encode()).hexdigest()

    def encode(self, text: str, *, bos: bool = False) -> list[int]:
        """Ids of a text; the BOS comes first only where it is asked for."""
        ids = self._inner.encode(text, add_special_tokens=False).ids
        if not bos:
            return ids
        if self.bos_token_id is None:
            raise UserError("this tokenizer has no BOS token")
        return [self.bos_token_id, *ids]

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """Ids of several texts, without BOS, on all cores."""
        return [encoding.ids for encoding in self._inner.encode_batch_fast(texts, add_special_tokens=False)]

    def decode(self, ids: list[int]) -> str:
        """The text of some ids, special tokens included: what is on the screen is what the model read."""
        return self._inner.decode(list(map(int, ids)), skip_special_tokens=False)

    def token_id(self, token: str) -> int | None:
        """The id of a text that is exactly one token (``-``, `` the``), otherwise None."""
        exact = self._inner.token_to_id(
            token
        )  # special tokens, and words that a vocabulary spells as they are
        if exact is not None:
            return exact
        ids = self.encode(token)
        return ids[0] if len(ids) == 1 and self.decode(ids) == token else None

    def _token_str(self, id: int) -> str:
        """One token as text, its leading space kept (a part of a character shows as ``�``)."""
        return self._inner.decode([int(id)], skip_special_tokens=False)
