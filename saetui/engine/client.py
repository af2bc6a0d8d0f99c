"""The workbench's end of the engine: starts it, asks it, notices its death. asyncio, without torch."""

import asyncio
import contextlib
import itertools
import signal
import sys
from collections.abc import Callable
from typing import Any

from saetui.engine import messages
from saetui.errors import UsageError, UserError
from saetui.settings import state_root

Progress = Callable[[dict[str, Any]], None]
"""Called with each progress message: ``progress`` from 0 to 1, ``message``, and ``partial`` or not."""

SERVER = "saetui.engine.server"
"""The module that the engine's process executes."""

_LONGEST_LINE = 2**28
"""Bytes of one answer; a limit only so that a broken stream cannot take all memory."""

_LONGEST_LOG = 2**20
"""Bytes of log after which the next engine begins a new one."""


class EngineDied(UserError):
    """The engine ended while an answer was awaited, or was not running."""


class EngineClient:
    """One engine process and the requests under way.

    ``on_notice`` gets every notice of the engine, ``on_death`` one line when it ends unasked. Both are
    called in the event loop. Nothing here blocks it.
    """

    def __init__(
        self,
        on_notice: Callable[[dict[str, Any]], None] | None = None,
        on_death: Callable[[str], None] | None = None,
    ) -> None:
        self.on_notice, self.on_death = on_notice, on_death
        self.log_path = state_root() / "engine.log"
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._died: asyncio.Future[str] | None = None
        self._ids = itertools.count(1)
        self._waiting: dict[int, tuple[str, asyncio.Future[Any], Progress | None]] = {}
        self._setup: dict[str, Any] | None = None

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Starts the engine; requests may follow at once, it answers when its imports are done."""
        if self.alive:
            return
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        long = self.log_path.exists() and self.log_path.stat().st_size > _LONGEST_LOG
        with self.log_path.open("wb" if long else "ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", SERVER),  # no file of the current folder shadows a module
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                limit=_LONGEST_LINE,
                # Its own session: a ^C or a hang-up meant for the workbench is not meant for it, and it
                # ends anyway when its stdin closes.
                start_new_session=True,
            )
        self._died = asyncio.get_running_loop().create_future()
        self._reader = asyncio.create_task(self._read(self._process, self._died))

    async def restart(self) -> None:
        """Ends what is left of the engine, starts another and opens what was open."""
        await self.close()
        await self.start()
        if self._setup is not None:
            await self.request("open", **self._setup)

    async def request(self, op: str, on_progress: Progress | None = None, **args: Any) -> Any:
        """The answer of ``saetui.engine.server``'s operation ``op``, a record of the type that
        ``messages.OPERATIONS`` names.

        Raises UsageError and UserError as the engine did, EngineDied where it is not running or ends.
        Cancelling the awaiting task cancels the operation.
        """
        if op not in messages.OPERATIONS:
            raise UsageError(f"the engine has no operation {op!r}")
        process = self._process
        if process is None or process.returncode is not None or process.stdin is None:
            raise EngineDied("the engine is not running: restart it")
        if op == "open":
            self._setup = args
        id = next(self._ids)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[id] = (op, answer, on_progress)
        try:
            await self._send(process, {"id": id, "op": op, "args": args})
            return await answer
        except asyncio.CancelledError:
            if self._waiting.pop(id, None) and process.returncode is None:
                with contextlib.suppress(OSError):
                    process.stdin.write(messages.dump({"cancel": id}))
            raise
        finally:
            self._waiting.pop(id, None)

    async def wait_died(self) -> str:
        """Waits until the engine ends, and says how in one line."""
        if self._died is None:
            return "the engine was never started"
        return await asyncio.shield(self._died)

    async def close(self) -> None:
        """Ends the engine: its stdin closes, and it goes at once. Requests under way raise EngineDied."""
        process, reader = self._process, self._reader
        self._process = self._reader = None
        if process is None or reader is None:
            return
        if process.stdin:
            process.stdin.close()
        try:
            await asyncio.wait_for(asyncio.shield(reader), 2)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await reader

    async def _send(self, process: asyncio.subprocess.Process, message: dict[str, Any]) -> None:
        assert process.stdin is not None
        try:
            process.stdin.write(messages.dump(message))
            await process.stdin.drain()
        except OSError:
            pass  # it died; the reader sees the end of the stream and fails what waits

    async def _read(self, process: asyncio.subprocess.Process, died: asyncio.Future[str]) -> None:
        assert process.stdout is not None
        try:
            while line := await process.stdout.readline():
                self._handle(messages.load(line))
        except ValueError as error:  # a line too long or no JSON: the stream cannot be trusted any more
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            reason = f"the engine sent what cannot be read ({error})"
        else:
            reason = ""
        code = await process.wait()
        line = f"{reason or _obituary(code)}: restart it; its log is {self.log_path}"
        for _, answer, _ in self._waiting.values():
            if not answer.done():
                answer.set_exception(EngineDied(line))
        self._waiting.clear()
        died.set_result(line)
        if self._process is process and self.on_death:
            self.on_death(line)

    def _handle(self, message: dict[str, Any]) -> None:
        if "notice" in message:
            if self.on_notice:
                self.on_notice(message)
            return
        op, answer, on_progress = self._waiting.get(message["id"], ("", None, None))
        if answer is None or answer.done():
            return  # cancelled meanwhile
        if "progress" in message:
            if on_progress:
                on_progress(message)
        elif "error" in message:
            kinds = {"usage": UsageError, "user": UserError, "internal": UserError}
            answer.set_exception(kinds.get(message["kind"], UserError)(message["error"]))
        else:
            answer.set_result(messages.decode(messages.result_type(op), message["result"]))


def _obituary(code: int) -> str:
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        hint = ", perhaps for want of memory" if -code == signal.SIGKILL else ""
        return f"the engine was ended by {name}{hint}"
    return f"the engine ended with exit code {code}"
