"""``python -m saetui.engine.server``: one inference process, asked over pipes (``messages``).

The main thread reads requests and never computes, so that a cancellation or the end of the workbench is
noticed at any moment; queries and jobs have a thread each, the index passes a third. Torch is imported
after the first line is out. Stdout belongs to the protocol: whatever else is printed goes to stderr,
which the client keeps in a log.
"""

import faulthandler
import inspect
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import IO, TYPE_CHECKING, Any

from saetui.engine import messages
from saetui.engine.messages import IndexProgress, encode
from saetui.engine.traffic import Lane, Traffic
from saetui.errors import UsageError, UserError
from saetui.priority import ENGINE, give_way

if TYPE_CHECKING:
    from saetui.engine.operations import Operations

PROGRESS_EVERY = 0.05
"""Seconds between two progress messages of one request."""
BUILDING_EVERY = 0.5
"""The same for notices about a corpus that is being built."""
_CENSUS = frozenset({"census", "rank"})
_QUERIES = frozenset({"probe", "contexts", "find", "kept", "densities", "lens", "neighbours"})


@dataclass
class _Request:
    id: int
    op: str
    args: dict[str, Any]
    cancelled: threading.Event = field(default_factory=threading.Event)
    reported: float = 0.0
    """When its last progress message was sent."""


class Server:
    """Reads requests from ``source`` until it ends, writes messages to ``sink``."""

    def __init__(self, source: IO[bytes], sink: IO[bytes]) -> None:
        self._source, self._sink = source, sink
        self._writing = threading.Lock()
        self._traffic = Traffic()
        self._requests: dict[int, _Request] = {}
        self._lock = threading.Lock()  # of _requests, _opening and _parked
        self._opening = 0
        """Requests to open a model that are not answered yet."""
        self._parked: list[_Request] = []
        """Queries that arrived meanwhile."""
        self._lanes = {lane: queue.SimpleQueue[_Request]() for lane in (Lane.QUERY, Lane.JOB, Lane.CENSUS)}
        self._loaded = threading.Event()
        self._built = 0.0
        """When the last notice about a corpus being built was sent."""
        self._operations: Operations | None = None

    def serve(self) -> None:
        """Returns when ``source`` ends."""
        self._send({"notice": "hello", "pid": os.getpid()})
        for lane in self._lanes:
            threading.Thread(target=self._work, args=(lane,), name=lane.name, daemon=True).start()
        threading.Thread(target=self._load, name="load", daemon=True).start()
        for line in self._source:
            try:
                self._take(messages.load(line))
            except (ValueError, KeyError, TypeError) as error:
                self._warn(f"the engine was sent what it cannot read: {error}")

    def _load(self) -> None:
        """Imports torch and all that stands on it, while requests are already taken."""
        try:
            from saetui.engine.operations import Operations
        except BaseException:
            traceback.print_exc()
            os._exit(3)
        self._operations = Operations(self._traffic, self._notify, self._warn, self._building)
        self._loaded.set()

    def _take(self, message: dict[str, Any]) -> None:
        if "cancel" in message:
            with self._lock:
                request = self._requests.get(message["cancel"])
            if request:
                request.cancelled.set()
            return
        request = _Request(message["id"], message["op"], message.get("args") or {})
        if request.op not in messages.OPERATIONS:
            self._refuse(request, f"the engine has no operation {request.op!r}", "usage")
            return
        with self._lock:
            self._requests[request.id] = request
            self._opening += request.op == "open"
            if self._opening and request.op in _QUERIES:
                self._parked.append(request)
                return
        self._lanes[_lane(request.op)].put(request)

    def _work(self, lane: Lane) -> None:
        self._loaded.wait()
        while True:
            request = self._lanes[lane].get()
            self._perform(request, lane)
            with self._lock:
                self._requests.pop(request.id, None)
                self._opening -= request.op == "open"
                waited, self._parked = ([], self._parked) if self._opening else (self._parked, [])
            for query in waited:
                self._lanes[Lane.QUERY].put(query)

    def _perform(self, request: _Request, lane: Lane) -> None:
        from saetui.engine.job import Cancelled, Job

        try:
            if request.cancelled.is_set():
                raise Cancelled
            assert self._operations is not None  # a lane works only once they are loaded
            operation = self._operations.find(request.op)
            if lane is Lane.QUERY:
                with self._traffic.on(lane):
                    result = _call(operation, request)
            else:
                report = partial(self._progress, request)
                result = _call(operation, request, Job(self._traffic, report, request.cancelled.is_set, lane))
            self._send({"id": request.id, "result": result})
        except UsageError as error:
            self._refuse(request, str(error), "usage")
        except UserError as error:
            self._refuse(request, str(error), "user")
        except Cancelled:
            self._refuse(request, "cancelled", "cancelled")
        except Exception as error:
            traceback.print_exc()
            first = (str(error).strip().splitlines() or [""])[0]
            self._refuse(request, f"{type(error).__name__}: {first}", "internal")

    def _progress(self, request: _Request, share: float, message: str, results: Any) -> None:
        now = time.monotonic()
        if results is not None or now - request.reported >= PROGRESS_EVERY:
            request.reported = now
            said = {"id": request.id, "progress": share, "message": message}
            self._send(said if results is None else said | {"partial": results})

    def _refuse(self, request: _Request, error: str, kind: str) -> None:
        self._send({"id": request.id, "error": error, "kind": kind})

    def _notify(self, progress: IndexProgress) -> None:
        self._send({"notice": "index", **encode(progress)})

    def _building(self, share: float, line: str) -> None:
        now = time.monotonic()
        if now - self._built >= BUILDING_EVERY:
            self._built = now
            self._send({"notice": "corpus", "progress": share, "message": line})

    def _warn(self, line: str) -> None:
        self._send({"notice": "warning", "message": line})

    def _send(self, message: dict[str, Any]) -> None:
        line = messages.dump(message)
        with self._writing, suppress(BrokenPipeError):  # the reader is gone, and stdin will end too
            view = memoryview(line)
            while view:
                view = view[self._sink.write(view) :]


def _lane(op: str) -> Lane:
    if op in _QUERIES or op == "status":
        return Lane.QUERY
    return Lane.CENSUS if op in _CENSUS else Lane.JOB


def _call(operation: Callable[..., Any], request: _Request, *first: Any) -> Any:
    try:
        inspect.signature(operation).bind(*first, **request.args)
    except TypeError as error:
        raise UsageError(f"{request.op}: {error}") from None
    return operation(*first, **request.args)


def main() -> None:
    """Serves stdin and stdout, and ends at once when stdin does, whatever is under way."""
    faulthandler.enable()
    give_way(ENGINE)
    sink = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    Server(sys.stdin.buffer, sink).serve()
    # Not sys.exit: threads of torch and of ours may be in the middle of something, and all that is
    # written is written atomically.
    os._exit(0)


if __name__ == "__main__":
    main()
