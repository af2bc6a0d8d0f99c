"""A split report that has everything, for the tests of what shows one."""

from saetui.features.results import Child
from saetui.split.finding.report import (
    ContextInformation,
    Control,
    Funnel,
    Leak,
    SplitKind,
    SplitReport,
    SplitThresholds,
    Spread,
)


def child(feature: int, recall: float) -> Child:
    return Child(feature, 0.4, recall, 0.95, 0.7, [], [], 0.5)


def control(feature: int, kind: SplitKind, effective: float) -> Control:
    return Control(feature, 900, kind, 2, effective, 0.9)


REPORT = SplitReport(
    target=240,
    threshold=2.0,
    tokens_read=100_000,
    tokens_fired=1_234,
    kind="partly",
    why="one child still fires on 95% of the target's tokens",
    children=[child(700, 0.95), child(240, 0.4)],
    duplicates=[9, 11],
    coverage=Spread(0.97, 0.95, 0.98),
    fvu_before=0.5,
    fvu_after=0.3,
    fvu_without=0.9,
    specificity=Spread(0.79, 0.7, 0.85),
    effective=Spread(2.1, 2.0, 2.2),
    margin=Spread(0.6, 0.5, 0.7),
    overlap=0.1,
    distinctness=0.4,
    context=[ContextInformation("next", 0.8, 0.006), ContextInformation("current", 0.1, 0.4)],
    limits=SplitThresholds(recall=0.1),
    inherited=240,
    funnel=Funnel(511, 40, 12, 9, 3, [Leak(5, 0.42), Leak(6, 0.1), Leak(8, 0.05)]),
    controls=[control(3, "unsplit", 1.0), control(4, "split", 2.5), control(5, "lost", 0.0)],
)
