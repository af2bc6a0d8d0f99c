"""The first lines of the monitor: which run, where it stands, and the numbers that have no plot."""

from typing import Any, ClassVar

from rich.cells import cell_len

from saetui.quantities import duration, percent, short, si, size
from saetui.tui.gpu import GpuReading
from saetui.tui.run_follower import Snapshot
from saetui.tui.run_text import STYLES, progress_bar, state_text
from saetui.tui.widgets.canvas import Grid, Symbols
from saetui.tui.widgets.cell_widget import CellWidget
from saetui.visible import head


def fields(snapshot: Snapshot, gpu: GpuReading | None) -> list[tuple[str, str]]:
    """(label, value) in the order of importance; what a run does not report is left out."""
    status, latest = snapshot.status, snapshot.latest
    out: list[tuple[str, str]] = []

    def add(label: str, value: str | None) -> None:
        if value is not None:
            out.append((label, value))

    if status.ahead is not None:
        add("queue", f"{status.ahead} ahead" if status.ahead else "next")
    total, done = _plan(snapshot)
    if total:
        add("", f"{short(done)} of {short(total)} {_unit(snapshot)}")
    if status.state == "running":
        add("", f"{si(status.tokens_per_s)} tok/s" if status.tokens_per_s is not None else None)
        add("ETA", duration(status.eta_s) if status.eta_s is not None else None)
    elif snapshot.wall_s:
        add("took", duration(snapshot.wall_s))
    add("CE recovered", _percent(latest, "eval/ce_recovered"))
    add("kept", _percent(latest, "kept"))
    used = _number(latest, "gpu_memory")
    if gpu is not None or used is not None:
        use = gpu.use if gpu else None
        memory = gpu.memory_used if gpu and gpu.memory_used is not None else used
        of = f" of {size(gpu.memory_total)}" if gpu and gpu.memory_total else ""
        parts = [percent(use, 2) if use is not None else "", size(memory) + of if memory else ""]
        add("GPU", " ".join(filter(None, parts)) or None)
    add("lr", si(_number(latest, "lr"), 2) if "lr" in latest else None)
    add("verdict", f"{status.verdict} children" if status.verdict else None)
    if snapshot.corrupt:
        add("!", f"{snapshot.corrupt} damaged lines")
    return out


def _number(latest: Any, name: str) -> float | None:
    value = latest.get(name)
    return float(value) if isinstance(value, (int, float)) else None


def _percent(latest: Any, name: str) -> str | None:
    value = _number(latest, name)
    return None if value is None else percent(value)


def _plan(snapshot: Snapshot) -> tuple[float | None, float]:
    """How much is planned (None: not known) and done, in the unit that the recipe counts in."""
    recipe = snapshot.run.manifest.recipe
    if recipe.get("tokens"):
        return recipe["tokens"], snapshot.status.tokens
    return recipe.get("steps"), snapshot.latest.get("step", 0)


def _unit(snapshot: Snapshot) -> str:
    return "tokens" if snapshot.run.manifest.recipe.get("tokens") else "steps"


class RunHeader(CellWidget):
    """State, name and recipe; then a bar and as many fields as there is room for."""

    STYLE_PREFIX = "run-header"
    COMPONENT_CLASSES: ClassVar = {
        f"run-header--{part}"
        for part in ("good", "bad", "busy", "idle", "id", "what", "label", "value", "bar", "rest", "note")
    }
    DEFAULT_CSS = """
    RunHeader {
        height: 2; width: 1fr;
        & > .run-header--good { color: $text-success; text-style: bold; }
        & > .run-header--bad { color: $text-error; text-style: bold; }
        & > .run-header--busy { color: $text-accent; text-style: bold; }
        & > .run-header--idle { color: $foreground 70%; text-style: bold; }
        & > .run-header--id { text-style: bold; }
        & > .run-header--what { color: $foreground 75%; }
        & > .run-header--label { color: $foreground 55%; }
        & > .run-header--value { color: $foreground; }
        & > .run-header--bar { color: $text-accent; }
        & > .run-header--rest { color: $foreground 35%; }
        & > .run-header--note { color: $text-warning; text-style: bold; }
    }
    """

    def __init__(self, symbols: Symbols = "braille", id: str | None = None) -> None:
        super().__init__(id=id)
        self.symbols: Symbols = symbols
        self.snapshot: Snapshot | None = None
        self.gpu: GpuReading | None = None
        self.note = ""

    def draw(self, width: int, height: int) -> Grid:
        grid = Grid(width, height)
        snapshot = self.snapshot
        if snapshot is None:
            grid.text(0, 0, self.note or "reading …", "what")
            return grid
        status, manifest = snapshot.status, snapshot.run.manifest
        x = grid.text(0, 0, state_text(status.state, self.symbols), STYLES.get(status.state, "idle"))
        x = grid.text(x + 2, 0, status.id, "id")
        what = f"{manifest.kind} of feature {status.target} · {status.summary} · {status.model}"
        room = width - x - 2 - (cell_len(self.note) + 2 if self.note else 0)
        grid.text(x + 2, 0, head(what, max(0, room)), "what")
        if self.note:
            grid.text(max(0, width - cell_len(self.note)), 0, self.note, "note")
        if status.message and height > 1:
            grid.text(0, height - 1, head(status.message, width), "bad")
            height -= 1
        self._draw_fields(grid, snapshot, height)
        return grid

    def _draw_fields(self, grid: Grid, snapshot: Snapshot, height: int) -> None:
        if height < 2:
            return
        x, y = 0, 1
        total, done = _plan(snapshot)
        if total:
            share = min(1.0, done / total)
            full, rest = progress_bar(share, max(8, min(30, grid.width // 5)), self.symbols)
            x = grid.text(x, y, full, "bar")
            x = grid.text(x, y, rest, "rest")
            x = grid.text(x + 1, y, f"{share * 100:.0f} %", "value") + 2
        for label, value in fields(snapshot, self.gpu):
            needed = cell_len(label) + (1 if label else 0) + cell_len(value)
            if x + needed > grid.width and x:
                x, y = 0, y + 1
            if y >= height:
                return
            if label:
                x = grid.text(x, y, label, "label") + 1
            x = grid.text(x, y, value, "value") + 2
