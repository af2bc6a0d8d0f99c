"""The progress of a run as lines of text: on a terminal one line that is kept up to date, and above it a
line per evaluation and event; in a pipe whole lines, and of the training only one every few seconds."""

from typing import Any, TextIO

from saetui.commands.live_line import LiveLine
from saetui.line_pace import LinePace
from saetui.quantities import duration, si
from saetui.runs.status import RunStatus


def _number(record: dict[str, Any], key: str, form: str) -> str:
    value = record.get(key)
    return form.format(value) if isinstance(value, (int, float)) else ""


def _joined(*parts: str) -> str:
    return "  ".join(part for part in parts if part)


def metrics_line(record: dict[str, Any], total: int | None) -> str:
    """One line of a training record."""
    tokens = record.get("tokens", 0)
    done = f"{si(tokens)} of {si(total)} ({tokens / total:.0%})" if total else si(tokens)
    speed, eta = record.get("tokens_per_s"), record.get("eta_s")
    return _joined(
        done,
        _number(record, "loss", "loss {:.4g}"),
        _number(record, "fvu", "FVU {:.3f}"),
        _number(record, "l0", "L0 {:.1f}"),
        f"{si(speed)} tok/s" if speed else "",
        f"ETA {duration(eta)}" if eta is not None else "",
    )


def evaluation_lines(record: dict[str, Any]) -> list[str]:
    """An evaluation on held-out rows, with a line for each probe prompt."""
    head = _joined(
        f"evaluation at {si(record.get('tokens', 0))}:",
        _number(record, "fvu", "FVU {:.3f}"),
        _number(record, "l0", "L0 {:.1f}"),
        _number(record, "ce_recovered", "CE recovered {:.1%}"),
    )
    lines = [head]
    for probe in record.get("probes") or []:
        top = "  ".join(f"{feature}: {activation:.2f}" for feature, activation in probe["top"][:3])
        target = _number(probe, "target", "target {:.2f}")
        lines.append(f"  {probe['prompt']!r}  {_joined(target, '| ' + top if top else '')}")
    return lines


def event_line(event: dict[str, Any]) -> str | None:
    """A line for an event that a person wants to know of; None for the others."""
    if message := event.get("message"):
        return str(message)
    match event["kind"]:
        case "running":
            return "running"
        case "resumed":
            return f"goes on from {si(event['tokens'])} tokens"
        case _:
            return None


class Progress:
    """Prints a run's progress on ``stream``; its two methods are what ``follow`` calls."""

    def __init__(self, stream: TextIO, total: int | None) -> None:
        self._line = LiveLine(stream)
        self._total = total
        self._said = ""
        self._latest: dict[str, Any] | None = None
        self._pace = LinePace()

    def record(self, record: dict[str, Any]) -> None:
        if "kind" in record:
            if line := event_line(record):
                self._line.say(line)
        elif record.get("eval"):
            for line in evaluation_lines(record):
                self._line.say(line)
        else:
            self._latest = {**(self._latest or {}), **record}  # not every record has all

    def look(self, status: RunStatus) -> None:
        if status.state == "queued" and status.ahead:
            line = f"queued: {status.ahead} run{'s' if status.ahead > 1 else ''} ahead on its device"
        elif self._latest:
            line = metrics_line(self._latest, self._total)
        else:
            line = "starting" if status.state in ("queued", "running") else ""
        self._line.draw(line)
        if not self._line.live and line and line != self._said and self._pace.due():
            self._say(line)

    def close(self) -> None:
        """Leaves the last line standing."""
        if not self._line.live and self._latest:
            self._say(metrics_line(self._latest, self._total))
        self._line.close()

    def _say(self, line: str) -> None:
        if line != self._said:
            self._line.say(line)
            self._said = line
