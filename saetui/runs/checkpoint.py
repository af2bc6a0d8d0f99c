"""Checkpoints: everything that a run needs to go on, in a folder that is whole or is not used.

    checkpoints/<tokens>/  tensors.safetensors   the trainer's tensors
                           state.json            the rest of its state, as it gave it
                           checksums.json        bytes and SHA-256 of the two, written last

A checkpoint is written under a temporary name, synced, and renamed. Checksums guard against what that
cannot: a disk or a copy that lost a part.
"""

import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saetui.atomic import sync_folder
from saetui.errors import UserError
from saetui.runs.files import DISK_FULL

if TYPE_CHECKING:
    from torch import Tensor

KEPT = 2
"""Checkpoints of a run that are kept: the last one, and one to fall back on should it be torn."""

_NAME = re.compile(r"\d{12}")


class Torn(Exception):
    """A checkpoint that is not what was written; ``str`` says how."""


class DiskFull(UserError):
    """No room for a checkpoint: ``needed`` and ``free`` are bytes."""

    def __init__(self, folder: Path, reason: str, needed: int) -> None:
        self.needed, self.free = needed, shutil.disk_usage(folder).free
        super().__init__(
            f"no room for a checkpoint in {folder} ({reason}): it needs {needed / 1e6:,.1f} MB, "
            f"{self.free / 1e6:,.1f} MB are free; make room and resume the run"
        )


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a run's ``checkpoints/``, last one first."""
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if _NAME.fullmatch(path.name)), reverse=True)


def save(folder: Path, tensors: "dict[str, Tensor]", state: dict[str, Any]) -> tuple[Path, int]:
    """Writes the checkpoint at ``state["tokens"]`` and removes all but the last two; gives its folder and
    size in bytes.

    DiskFull where there is no room: the earlier checkpoints are as they were.
    """
    chunks = {"tensors.safetensors": _safetensors(tensors), "state.json": [json.dumps(state).encode()]}
    sums = {name: {"bytes": sum(map(len, data)), "sha256": _sha256(*data)} for name, data in chunks.items()}
    chunks["checksums.json"] = [json.dumps(sums, indent=1).encode()]
    size = sum(len(chunk) for data in chunks.values() for chunk in data)
    place = folder / f"{state['tokens']:012d}"
    temporary = folder / f".writing-{place.name}"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        for name, data in chunks.items():
            with (temporary / name).open("wb") as file:
                file.writelines(data)
                file.flush()
                os.fsync(file.fileno())
        sync_folder(temporary)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise DiskFull(folder, error.strerror or str(error), size) from None
        raise
    if place.exists():  # written again at the same token: should this be cut off here, the one before serves
        shutil.rmtree(place)
    temporary.rename(place)
    sync_folder(folder)
    kept = list_checkpoints(folder)[:KEPT]
    for path in folder.iterdir():
        if path not in kept:
            shutil.rmtree(path)
    return place, size


def load(place: Path) -> "tuple[dict[str, Tensor], dict[str, Any]]":
    """The tensors (on the CPU) and the state that ``save`` was given. Torn where a byte is not as it was."""
    from safetensors import safe_open

    try:
        sums = json.loads((place / "checksums.json").read_bytes())
        for name in ("tensors.safetensors", "state.json"):
            if (size := (place / name).stat().st_size) != sums[name]["bytes"]:
                raise Torn(f"{name} has {size} bytes, {sums[name]['bytes']} were written")
            with (place / name).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != sums[name]["sha256"]:
                    raise Torn(f"{name} is not what was written (SHA-256 differs)")
    except FileNotFoundError as error:
        raise Torn(f"{Path(error.filename).name} is missing") from None
    except (ValueError, KeyError, TypeError):
        raise Torn("checksums.json cannot be read") from None
    with safe_open(place / "tensors.safetensors", "pt") as file:  # copies: the file will be removed
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    return tensors, json.loads((place / "state.json").read_bytes())


def set_aside(place: Path) -> None:
    """Takes a torn checkpoint out of the list; the next ``save`` removes it."""
    aside = place.with_name(f".torn-{place.name}")
    shutil.rmtree(aside, ignore_errors=True)
    place.rename(aside)


def remove_all(folder: Path) -> None:
    """Removes the checkpoints of a run that needs none any more."""
    for place in folder.iterdir():
        shutil.rmtree(place, ignore_errors=True)


def _sha256(*chunks: "bytes | memoryview") -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def _safetensors(tensors: "dict[str, Tensor]") -> "list[bytes | memoryview]":
    """A safetensors file in chunks: its header, and the tensors' own memory, of which no copy is made."""
    import torch
    from safetensors.torch import save

    header, chunks, offset = {}, [], 0
    for name, tensor in sorted(tensors.items(), key=lambda item: -item[1].element_size()):  # aligned
        tensor = tensor.detach().cpu().contiguous()
        # How the format calls a dtype, the library says of one element.
        one = save({"one": torch.zeros(1, dtype=tensor.dtype)})
        dtype = json.loads(one[8 : 8 + int.from_bytes(one[:8], "little")])["one"]["dtype"]
        end = offset + tensor.nbytes
        header[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [offset, end]}
        chunks.append(tensor.reshape(-1).view(torch.uint8).numpy().data)
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return [len(text).to_bytes(8, "little"), text, *chunks]
