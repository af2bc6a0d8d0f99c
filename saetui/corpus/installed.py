"""Which files the real-text corpus is made of: the standard library's and saetui's own dependencies'.

Only the *dependency closure* counts, never all of ``site-packages``: a development tool that happens
to be installed must not change the corpus, and with it every cache and every number.
"""

import importlib.metadata as metadata
import os
import platform
import re
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Literal

from packaging.requirements import InvalidRequirement, Requirement

ROOTS = ("torch", "transformer_lens", "datasets", "textual", "rich", "safetensors", "click", "platformdirs")
"""The distributions that saetui itself asks for; what they require is added, without extras."""

Split = Literal["train", "eval"]

EVAL_SHARE = 0.08
"""Share of the documents that is held out."""


@dataclass(frozen=True)
class Source:
    """One document: where it lies, and the name that decides its place and its split.

    ``name`` is relative to the folder of its package, with ``/``, so that it is the same on every
    machine with the same versions.
    """

    name: str
    path: str

    @property
    def digest(self) -> bytes:
        """A stable hash of the name: its order among the documents, and its split."""
        return blake2b(self.name.encode(), digest_size=16).digest()

    @property
    def split(self) -> Split:
        """``eval`` for a fixed pseudo-random share of the documents, otherwise ``train``.

        Other bytes of the digest than those which order the documents: every prefix of the
        corpus holds out the same share.
        """
        bucket = int.from_bytes(self.digest[8:], "big") / 2**64
        return "eval" if bucket < EVAL_SHARE else "train"


def in_order(sources: Iterable[Source]) -> list[Source]:
    """The documents in the corpus's order: pseudo-random, so that any prefix is a fair sample."""
    return sorted(sources, key=lambda source: (source.digest, source.name))


def dependency_closure(roots: Iterable[str] = ROOTS) -> dict[str, metadata.Distribution]:
    """Installed distributions reachable from ``roots``, by normalised name; missing ones are left out."""
    found: dict[str, metadata.Distribution] = {}
    missing: set[str] = set()
    queue = list(roots)
    while queue:
        name = re.sub(r"[-_.]+", "-", queue.pop()).lower()
        if name in found or name in missing:
            continue
        try:
            found[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            missing.add(name)
            continue
        for line in found[name].requires or ():
            try:
                requirement = Requirement(line)
            except InvalidRequirement:
                continue
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                queue.append(requirement.name)
    return dict(sorted(found.items()))


def versions(roots: Iterable[str] = ROOTS) -> list[str]:
    """``name==version`` of Python and of the closure: what the corpus's text depends on."""
    closure = dependency_closure(roots)
    return [
        f"python=={platform.python_version()}",
        *(f"{name}=={found.version}" for name, found in closure.items()),
    ]


def sources(roots: Iterable[str] = ROOTS) -> list[Source]:
    """Every document of the corpus, in the corpus's order."""
    return in_order([*_standard_library(), *_distributions(roots)])


def _is_document(name: str) -> bool:
    base = name.rsplit("/", 1)[-1]
    return (
        base.endswith((".py", ".md", ".rst")) or base == "METADATA" or base.startswith(("LICENSE", "README"))
    )


def _standard_library() -> Iterator[Source]:
    root = Path(sysconfig.get_path("stdlib"))
    # Several systems package the test suite apart, so the corpus never counts on it.
    apart = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = [name for name in subfolders if name not in apart]
        inside = Path(folder).relative_to(root).as_posix()
        for file in files:
            if file.endswith(".py"):
                name = file if inside == "." else f"{inside}/{file}"
                yield Source(name=f"python/{name}", path=f"{folder}{os.sep}{file}")


def _distributions(roots: Iterable[str]) -> Iterator[Source]:
    for distribution in dependency_closure(roots).values():
        for file in distribution.files or ():
            name = file.as_posix()
            # A name that climbs out of site-packages is a script or a manual page of the environment.
            if _is_document(name) and not name.startswith(".."):
                yield Source(name=name, path=str(file.locate()))
