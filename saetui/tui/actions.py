"""Every action of the workbench, once: bindings, footer, help screen and command palette read this table.

A binding's ``id`` is the action's id, so that ``[keys]`` in the settings file can remap it. Keys of
lists (arrows, ``j``/``k``, page keys) belong to the widgets and are named in the help screen only.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from textual.binding import Binding, BindingType


@dataclass(frozen=True)
class Action:
    id: str
    """What the settings file calls it; the method is ``action_<id>`` unless ``call`` says otherwise."""
    keys: str
    """Textual key names, comma-separated; the first one is shown."""
    label: str
    """For the footer and the palette."""
    help: str
    """One sentence, for the help screen and the palette."""
    where: str
    """The screen or pane that offers it: a key of ``PLACES``."""
    footer: bool = False
    call: str = ""

    def binding(self) -> Binding:
        return Binding(
            self.keys, self.call or self.id, self.label, show=self.footer, id=self.id, tooltip=self.help
        )


PLACES = {
    "app": "Everywhere",
    "workbench": "The selected feature",
    "panes": "Panes",
    "prompt": "Prompt pane",
    "contexts": "Contexts pane",
    "children": "Children pane",
    "split report": "Split report",
    "compare": "Two runs compared",
    "values": "Histogram and scatter",
    "pair": "Pair of features",
    "monitor": "Monitor",
    "runs": "Runs list",
    "curves": "Curves of runs",
    "studies": "Studies",
    "study": "One study",
    "study tables": "Tables of a study",
    "census": "Census",
    "launch": "Launch form",
    "review": "Judging",
}

ACTIONS = (
    Action("help", "f1,question_mark", "Help", "Keys and what they do", "app", footer=True),
    Action("runs", "r", "Runs", "All runs: watch, stop, pause, resume, judge", "app", footer=True),
    Action("studies", "S", "Studies", "All studies: follow, start, stop, compare", "app"),
    Action("review_all", "V", "Judge all", "Every finished run with open questions, in a row", "app"),
    Action("export", "e", "Export", "A list or the screen as a file, or its command", "app"),
    Action("copy_twin", "C", "Copy as command", "The command that shows the same in a shell", "app"),
    Action("census", "A", "Census", "Which features hide several contexts; which to split next", "app"),
    Action("restart_engine", "ctrl+r", "Restart engine", "Start the inference process again", "app"),
    Action("quit", "q", "Quit", "Leave; runs go on and are found again", "app", footer=True),
    Action("graft", "g", "Graft", "Split the selected feature now, in seconds", "workbench", footer=True),
    Action(
        "graft_form", "G", "Graft with …", "Graft with other settings: children, threshold, L1", "workbench"
    ),
    Action("split", "s", "Split", "Launch a wide split of the selected feature", "workbench", footer=True),
    Action(
        "judge",
        "v",
        "Judge",
        "Judge the run that the children come from, or the newest one",
        "workbench",
        footer=True,
    ),
    Action(
        "find",
        "slash,colon",
        "Find",
        "Find a feature: by number, by a token that it fires on, by a boosted word, in your notes",
        "workbench",
        footer=True,
    ),
    Action("back", "left_square_bracket,alt+left", "Back", "The feature visited before", "workbench"),
    Action("forward", "right_square_bracket,alt+right", "Forward", "The feature visited after", "workbench"),
    Action("next_feature", "n", "Next feature", "The feature with the next number", "workbench"),
    Action("previous_feature", "N", "Previous feature", "The feature with the number before", "workbench"),
    Action("target", "t", "Target", "Back to the feature that this world is about", "workbench"),
    Action("bookmark", "b", "Bookmark", "Keep this feature, or let it go; / lists them", "workbench"),
    Action(
        "note_feature",
        "m",
        "Note",
        "Write a note on this feature; its runs are exported with it",
        "workbench",
    ),
    Action(
        "pair", "d", "Pair", "This feature beside the one before it: a child beside its target", "workbench"
    ),
    Action("copy", "c", "Copy", "Copy what the pane shows as text", "workbench"),
    Action("cancel", "escape", "Cancel", "Stop what is going on, or undo the zoom", "workbench"),
    Action("zoom", "z,plus", "Zoom", "The pane alone, or all panes again", "panes"),
    Action("next_pane", "tab", "Next pane", "Move to the next pane", "panes"),
    Action("previous_pane", "shift+tab", "Previous pane", "Move to the pane before", "panes"),
    Action("pane_1", "1", "Prompt pane", "Move to the prompt", "panes", call="pane(1)"),
    Action("pane_2", "2", "Contexts pane", "Move to the top-activating tokens", "panes", call="pane(2)"),
    Action("pane_3", "3", "Lens pane", "Move to the logit lens and neighbours", "panes", call="pane(3)"),
    Action("pane_4", "4", "Children pane", "Move to the children", "panes", call="pane(4)"),
    Action("pane_5", "5", "Run pane", "Move to the newest run", "panes", call="pane(5)"),
    Action("prompt", "p", "Prompt", "Write a prompt; enter probes it", "prompt", footer=True),
    Action("beside", "w", "Wide beside", "A wide SAE's features beside the narrow one's", "prompt"),
    Action("lead", "f", "Follow", "The panes follow the walk over the tokens, or stay", "prompt"),
    Action("intervals", "i", "Intervals", "Top contexts, or samples from quantile intervals", "contexts"),
    Action("all_contexts", "a", "All", "Every token that it fires on, strongest first", "contexts"),
    Action("widen", "x", "More context", "More tokens around each context", "contexts"),
    Action("other_children", "o", "Other run", "The children that another run made of it", "children"),
    Action(
        "split_report",
        "R",
        "Report",
        "The split report: limits, controls, candidates",
        "children",
    ),
    Action(
        "compare_runs",
        "O",
        "Compare runs",
        "Two runs of the feature, child by child: a graft beside a wide SAE",
        "children",
    ),
    Action("other_compared", "o", "Other run", "Another run beside the first", "compare", footer=True),
    Action("leave_compare", "escape,q,O", "Back", "Back to the children", "compare", footer=True),
    Action("copy_report", "c", "Copy", "Copy it as text", "split report", footer=True),
    Action("leave_report", "escape,q,R", "Back", "Back to where you came from", "split report", footer=True),
    Action("read_left", "left", "Values", "Read values off, going left", "values", call="read(-1)"),
    Action("read_right", "right", "Values", "Read values off, going right", "values", call="read(1)"),
    Action("sort_pair", "t", "Sort", "By the other feature, strongest first", "pair", footer=True),
    Action("only_pair", "o", "Only one", "Tokens of both, or that only one of them has", "pair", footer=True),
    Action("close_pair", "escape,q,d", "Back", "Back to the panes", "pair", footer=True),
    Action(
        "pause_run", "p", "Pause", "Pause the run: it saves a checkpoint and leaves", "monitor", footer=True
    ),
    Action("resume_run", "r", "Resume", "Go on from the last checkpoint", "monitor", footer=True),
    Action("stop_run", "x", "Stop", "Stop the run (asks first; it can be resumed)", "monitor", footer=True),
    Action("judge_run", "v", "Verdict", "Judge the run, or look at its verdict", "monitor", footer=True),
    Action(
        "log_scale", "y", "Log axis", "Logarithmic scale of the plot with the focus", "monitor", footer=True
    ),
    Action("smooth", "s", "Smooth", "The next degree of smoothing", "monitor", footer=True),
    Action("x_axis", "a", "Axis", "Over tokens, steps or wall time", "monitor", footer=True),
    Action("leave_monitor", "escape", "Back", "Back to where you came from", "monitor", footer=True),
    Action(
        "enlarge", "z,plus", "Zoom", "The plot with the focus alone, or all again", "monitor", footer=True
    ),
    Action("overlay", "o", "Overlay", "Lay other runs over this one", "monitor", footer=True),
    Action("run_log", "L", "Worker's log", "What the run's process printed", "monitor", footer=True),
    Action(
        "freeze", "space", "Freeze", "Hold the display still, or go on; the run is not touched", "monitor"
    ),
    Action(
        "next_probe", "full_stop", "Next prompt", "The next probe prompt", "monitor", call="next_probe(1)"
    ),
    Action(
        "previous_probe",
        "comma",
        "Prompt before",
        "The probe prompt before",
        "monitor",
        call="next_probe(-1)",
    ),
    Action(
        "newer_run", "right_square_bracket", "Newer run", "The run made after", "monitor", call="other_run(1)"
    ),
    Action(
        "older_run",
        "left_square_bracket",
        "Older run",
        "The run made before",
        "monitor",
        call="other_run(-1)",
    ),
    Action(
        "pause_listed", "p", "Pause", "Pause the run: it saves a checkpoint and leaves", "runs", footer=True
    ),
    Action("resume_listed", "r", "Resume", "Go on from the last checkpoint", "runs", footer=True),
    Action("stop_listed", "x", "Stop", "Stop the run (asks first; it can be resumed)", "runs", footer=True),
    Action(
        "delete_listed",
        "D,delete",
        "Delete",
        "Delete the marked runs, or this one (asks first)",
        "runs",
        True,
    ),
    Action("judge_listed", "v", "Verdict", "Judge the run, or look at its verdict", "runs", footer=True),
    Action("log_listed", "L", "Log", "What the run's process printed", "runs", footer=True),
    Action("mark_listed", "space", "Mark", "Mark the run: for the curves, for deleting", "runs", footer=True),
    Action("curves_listed", "o", "Curves", "The curves of the marked runs in one plot", "runs", footer=True),
    Action("leave_runs", "escape", "Back", "Back to where you came from", "runs", footer=True),
    Action(
        "next_curve",
        "tab",
        "Next",
        "Another metric, child or prompt",
        "curves",
        footer=True,
        call="next_curve(1)",
    ),
    Action("previous_curve", "shift+tab", "Before", "The one before", "curves", call="next_curve(-1)"),
    Action("choose_runs", "o", "Runs", "Choose the runs", "curves", footer=True),
    Action("unmark", "space", "Unmark", "Take the run under the cursor out", "curves", footer=True),
    Action("curve_axis", "a", "Axis", "Over tokens, steps or wall time", "curves", footer=True),
    Action("curve_log", "y", "Log axis", "Logarithmic scale", "curves", footer=True),
    Action("curve_smooth", "s", "Smooth", "The next degree of smoothing", "curves", footer=True),
    Action("curve_right", "right", "Crosshair", "Read the values off", "curves", call="curve_crosshair(1)"),
    Action("curve_left", "left", "Crosshair", "Read the values off", "curves", call="curve_crosshair(-1)"),
    Action("leave_curves", "escape", "Back", "Back to where you came from", "curves", footer=True),
    Action("new_study", "n", "Start …", "Start a study: a file, or one that ships", "studies", footer=True),
    Action("continue_listed", "g", "Go on", "Queue what is missing of the study", "studies", footer=True),
    Action("stop_study_listed", "x", "Stop", "Stop it and its runs (asks first)", "studies", footer=True),
    Action("leave_studies", "escape", "Back", "Back to where you came from", "studies", footer=True),
    Action("judge_cell", "v", "Verdict", "Judge the run, or look at its verdict", "study", footer=True),
    Action("report_cell", "R", "Report", "The run's split report: its limits, controls", "study"),
    Action("study_tables", "T", "Tables", "What each axis does, what the filter buys", "study", footer=True),
    Action("mark_cell", "space", "Mark", "Mark the run for the curves", "study", footer=True),
    Action("curves_study", "o", "Curves", "The curves of the marked runs in one plot", "study", footer=True),
    Action("over_seeds", "t", "Seeds", "Each recipe over its seeds, or each run", "study", footer=True),
    Action("continue_study", "g", "Go on", "Queue what is missing of the study", "study", footer=True),
    Action("stop_study", "x", "Stop", "Stop it and its runs (asks first)", "study", footer=True),
    Action("study_log", "L", "Worker's log", "What the study's process printed", "study"),
    Action("leave_study", "escape", "Back", "Back to the studies", "study", footer=True),
    Action("next_table", "tab", "Next", "The next table", "study tables", footer=True, call="next_table(1)"),
    Action("previous_table", "shift+tab", "Before", "The one before", "study tables", call="next_table(-1)"),
    Action("leave_tables", "escape,q,T", "Back", "Back to the study", "study tables", footer=True),
    Action(
        "take_census",
        "c",
        "Take",
        "Graft and measure every feature; it resumes",
        "census",
        footer=True,
    ),
    Action("turn_census", "tab", "Other list", "The census, or the rank before it", "census", footer=True),
    Action("graft_line", "g", "Graft", "Go to the feature and graft it", "census", footer=True),
    Action("split_line", "s", "Split", "Go to it, to the form of a wide split", "census", footer=True),
    Action("top_study", "n", "Study …", "A study of the first features of the list", "census", footer=True),
    Action("leave_census", "escape", "Back", "Stop the census, then leave", "census", footer=True),
    Action("launch", "enter", "Launch", "Start the run in the background", "launch", footer=True),
    Action("copy_command", "f2", "Copy command", "Copy the same launch as a command", "launch", footer=True),
    Action(
        "all_fields", "f3", "All settings", "Every setting, or the ones that matter", "launch", footer=True
    ),
    Action("close_launch", "escape", "Back", "Close the form; nothing is started", "launch", footer=True),
    Action("yes", "y", "Holds", "The criterion holds; go to the next", "review", footer=True),
    Action("no", "n", "Fails", "The criterion does not hold; go to the next", "review", footer=True),
    Action(
        "unsure",
        "question_mark",
        "Unsure",
        "Cannot tell: the judge's word stands; go to the next",
        "review",
        footer=True,
    ),
    Action("accept", "a", "Agree", "Answer as the judge suggests; go to the next", "review", footer=True),
    Action(
        "accept_child",
        "A",
        "Rest",
        "Answer the rest of the child as the judge suggests, but for what is close to its limit",
        "review",
        footer=True,
    ),
    Action("undo", "u", "Undo", "Take back what the last key answered", "review", footer=True),
    Action("note", "t", "Note", "Write a note on this criterion", "review", footer=True),
    Action("next_subject", "tab,greater_than_sign", "Next run", "The next run of the queue", "review"),
    Action("previous_subject", "shift+tab,less_than_sign", "Run before", "The run before", "review"),
    Action("next_question", "down,j", "Next", "The question below", "review"),
    Action("previous_question", "up,k", "Previous", "The question above", "review"),
    Action("close_review", "escape,q", "Back", "Leave; answers are kept", "review", footer=True),
)


def bindings(*places: str) -> list[BindingType]:
    """The bindings of ``places``, for a class's ``BINDINGS``."""
    return [action.binding() for action in ACTIONS if action.where in places]


def by_id(action_id: str) -> Action | None:
    return next((action for action in ACTIONS if action.id == action_id), None)


def grouped() -> Iterable[tuple[str, list[Action]]]:
    """Title and actions of every place, in the order of ``PLACES``."""
    for place, title in PLACES.items():
        if actions := [action for action in ACTIONS if action.where == place]:
            yield title, actions


def pretty_key(key: str) -> str:
    """A Textual key name as a person reads it."""
    names = {
        "question_mark": "?",
        "slash": "/",
        "full_stop": ".",
        "comma": ",",
        "colon": ":",
        "left_square_bracket": "[",
        "right_square_bracket": "]",
        "plus": "+",
        "escape": "esc",
        "left": "←",
        "right": "→",
        "shift+tab": "⇧tab",
        "less_than_sign": "<",
        "greater_than_sign": ">",
    }
    return names.get(key, key).replace("ctrl+", "^").replace("alt+", "alt-")
