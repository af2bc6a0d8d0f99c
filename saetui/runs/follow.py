"""Following a run by reading its folder, as it goes or after the fact."""

import time
from collections.abc import Callable
from typing import Any

from saetui.runs.status import RunStatus, status
from saetui.runs.store import LIVE, Run
from saetui.runs.tail import Tail

POLL_S = 0.5
"""Files are looked at by polling: change notices do not come over NFS."""


def follow(
    run: Run,
    on_record: Callable[[dict[str, Any]], None],
    on_look: Callable[[RunStatus], None] | None = None,
    poll_s: float = POLL_S,
) -> RunStatus:
    """Hands every record of the run, from its first one, to ``on_record`` until no process works for it
    any more; gives back where it then stands. ``on_look`` gets the status after every look.

    Events have a ``kind``; what has none is a metrics record (``"eval": true``: an evaluation). Damage in
    a file is told by a ``damaged`` event of our own. Raising from a callback, KeyboardInterrupt included,
    ends the following and not the run.
    """
    events, metrics = tails = Tail(run.events_path), Tail(run.metrics_path)
    told = [0, 0]
    while True:
        # First the status, then the files: once no process works, the files hold all there will be.
        now = status(run)
        records = events.poll() + [record for record in metrics.poll() if "kind" not in record]
        for record in sorted(records, key=lambda record: record.get("t", 0)):
            on_record(record)
        for number, tail in enumerate(tails):
            if tail.corrupt > told[number]:
                told[number] = tail.corrupt
                plural = "s" if tail.corrupt > 1 else ""
                message = f"{tail.corrupt} damaged record{plural} in {tail.path.name} left out"
                on_record({"kind": "damaged", "file": tail.path.name, "message": message})
        if on_look:
            on_look(now)
        if now.state not in LIVE:
            return now
        time.sleep(poll_s)
