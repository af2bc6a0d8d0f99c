"""TOML files that people write, and what is said about their mistakes. Without torch."""

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from saetui.errors import UsageError


def read_toml(path: Path, what: str) -> tuple[dict[str, Any], bytes]:
    """The file's values and its bytes. UsageError, naming it as ``what``, where it cannot be read or is not
    TOML."""
    try:
        raw = path.read_bytes()
        return tomllib.loads(raw.decode()), raw
    except OSError as error:
        raise UsageError(f"cannot read {what} {path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{what} {path} is not valid TOML: {error}") from None


def check_keys(table: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    """UsageError, beginning with ``where``, for a key that is not known, with the nearest that is."""
    known = list(known)
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            raise UsageError(f"{where}: unknown key {key!r}; {hint}")
