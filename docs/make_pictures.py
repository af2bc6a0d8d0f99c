"""Makes the README's pictures: drives the workbench through a real graft and saves what it shows.

python docs/make_pictures.py [--world real] [--size 120x36]     writes docs/workbench.svg, docs/review.svg
"""

import argparse
import asyncio
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


async def until(holds: Callable[[], Any], seconds: float = 300) -> None:
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.1)


async def main(world: str, size: tuple[int, int]) -> None:
    from saetui.setup import Setup
    from saetui.tui.app import Workbench
    from saetui.tui.selection import Selected
    from saetui.tui.session import NARROW

    app = Workbench(Setup(model=world))
    async with app.run_test(size=size) as pilot:
        screen = app.feature_screen
        target = Selected(NARROW, app.session.target)
        await until(lambda: (known := screen.contexts.known_for(target)) and known.complete)
        await pilot.press("g")
        await until(lambda: screen.children_pane.run is not None)
        await pilot.pause(1.5)
        (FOLDER / "workbench.svg").write_text(app.export_screenshot(title="saetui"))
        await pilot.press("v")
        await until(lambda: "answered" in str(app.screen.query_one("#progress").render()))
        await pilot.press("a", "a")
        await pilot.pause()
        (FOLDER / "review.svg").write_text(app.export_screenshot(title="saetui: judging"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--world", default="real", choices=("real", "synthetic"))
    parser.add_argument("--size", default="120x36")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as places:
        for name in ("STATE", "RUNS"):
            os.environ[f"SAETUI_{name}"] = f"{places}/{name.lower()}"
        columns, rows = map(int, options.size.split("x"))
        asyncio.run(main(options.world, (columns, rows)))
