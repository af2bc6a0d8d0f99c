"""Two ranks on the CPU, for the tests of training over several devices."""

import socket
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

COUNT = 2


def on_ranks(work: Callable[..., None], *arguments: Any) -> None:
    """Runs ``work(*arguments)`` in two processes that are ranks 0 and 1; it can be pickled. Raises what one
    of them raises."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    mp.start_processes(_rank, (address, work, arguments), nprocs=COUNT, start_method="spawn")


def _rank(rank: int, address: str, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", address, timedelta(seconds=60), COUNT, rank)
    try:
        work(*arguments)
    finally:
        dist.destroy_process_group()


def saved_by_rank(folder: Path, name: str) -> list[Any]:
    """What each rank left in ``folder`` under ``name``."""
    return [torch.load(folder / f"{name}.{rank}", weights_only=False) for rank in range(COUNT)]


def save_for_rank(folder: Path, name: str, value: Any) -> None:
    torch.save(value, folder / f"{name}.{dist.get_rank()}")
