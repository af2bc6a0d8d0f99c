"""A run over several devices: a process on each, started and watched by torchrun's own launcher.

The worker holds the run's lock, waits in the queue for all devices and says how it ended, as for one device.
In between it does not train but watches: when one rank dies, torchrun ends the others, and the run fails with
a line that says which. When the worker dies, the kernel ends the ranks.
"""

import os
import signal
import tempfile
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from saetui.runs.context import RunContext
from saetui.runs.store import State

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure


def spread(context: RunContext, trainer: str, devices: list[str]) -> tuple[State, str | None]:
    """Has ``trainer`` (``module:function``) carry out the run on all ``devices``; how that ended, and a line
    about it where it failed."""
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    from saetui.runs.rank import work

    def ask_to_stop(*_: object) -> None:
        context.ask("stop")
        (context.run.control / "stop").touch()  # rank 0 looks there

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask_to_stop)
    if context.control() != "go":
        context.leave(context.control())
    # torchrun takes over the signals of a main thread, in which it would mean death.
    with (
        tempfile.TemporaryDirectory() as scratch,
        ThreadPoolExecutor(1) as thread,
        context.lent(),
    ):
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=len(devices),
            run_id=context.run.id,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="localhost",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=scratch),
        )
        try:
            ends = thread.submit(elastic_launch(config, work), context.folder, trainer, os.getpid()).result()
        except ChildFailedError as error:
            rank, failure = error.get_first_failure()
            return "failed", _line(rank, devices[rank], failure)
    return ends[0], None


def _line(rank: int, device: str, failure: "ProcessFailure") -> str:
    where = f"rank {rank} on {device}"
    if failure.exitcode < 0:
        return (
            f"{where} was killed ({failure.signal_name()}, process {failure.pid}); "
            "resuming goes on from the last checkpoint"
        )
    said = failure.message if isinstance(failure.message, str) else failure.message["message"]
    return f"{where}: {said.removeprefix('RankFailed: ')}"
