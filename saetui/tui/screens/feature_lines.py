"""The lines around the panes: what is selected, what to do next, how the runs are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from saetui.quantities import duration, percent, short
from saetui.tui.connection import Phase
from saetui.tui.session import Session

if TYPE_CHECKING:
    from saetui.features.results import Contexts
    from saetui.tui.panes.children import ChildrenPane
    from saetui.tui.run_watch import RunWatch
    from saetui.tui.selection import Selected


def feature_line(session: Session, selected: Selected, known: Contexts | None, bookmarked: bool) -> str:
    """The selected feature, and where it belongs."""
    size = session.size(selected.sae)
    of = f" of {size}" if size else ""
    star = "★ " if bookmarked else ""
    parts = [f"{star}feature {selected.feature}{of} · {session.title(selected.sae)}"]
    if known:
        density = f"{percent(known.density)} of {short(known.tokens_read)} tokens"
        parts.append(f"fires on {density} · max {known.max_activation:.2f}")
    parts.append(f"{session.setup.model} {session.hook_name}")
    return "   ".join(parts)


def first_steps(session: Session, selected: Selected, children: ChildrenPane, active: int) -> str:
    """The next step for someone who has not yet come to a verdict and is in pane ``active``."""
    if session.state.phase in (Phase.DIED, Phase.REFUSED):
        return "Nothing is lost: what the panes show is from before."
    if session.opened is None:
        return "The model is loading in the background. Keys work already: tab goes round the panes, ? helps."
    if children.grafting:
        return "Children take the feature's place, trained where it fires. esc stops it."
    if children.children_shown and children.run:
        if active != children.NUMBER:
            return f"{children.NUMBER} goes to the children; v judges there: did the feature split?"
        return "↑↓ walks the children, enter looks at one. Then v judges: did the feature split?"
    if selected.feature != session.target:
        return "g splits this feature now, in seconds. t goes back to the one that fires in several contexts."
    return (
        "This feature fires in several contexts (2) and on several prompts (1). g splits it now, in seconds."
    )


def run_line(watch: RunWatch) -> str:
    """The newest live run, else the newest of all, in a few words."""
    if (seen := watch.current()) is None:
        return ""
    status = seen.status
    done = f" {100 * status.progress:.0f} %" if status.progress is not None and seen.live else ""
    eta = f" ETA {duration(status.eta_s)}" if status.eta_s is not None else ""
    live = sum(other.live for other in watch.runs)
    return f"{status.id} {status.state}{done}{eta}" + (f" (+{live - 1} more)" if live > 1 else "")
