"""A split report to read: every number beside the limit that a word stands on."""

from saetui.reports.split_report import WIDTH, control_rows, measures, report_blocks, report_text
from saetui.split.finding.report import SplitReport, Spread
from tests.split_report_support import REPORT


def test_every_limit_stands_beside_its_number_and_says_whether_it_holds() -> None:
    by = {one.name: one for one in measures(REPORT)}
    assert {name: (one.limit, one.holds) for name, one in by.items() if one.limit} == {
        "coverage": ("≥ 0.8", True),
        "specificity": ("≥ 0.8", False),
        "effective children": ("≥ 1.5", True),
        "highest recall": ("≤ 0.9", False),
        "distinctness": ("> 0.05", True),
        "told by next": ("p < 0.01", True),
    }
    assert by["coverage"].value == "0.97 [0.95, 0.98]" and by["told by current"].holds is None


def test_the_text_fits_a_narrow_terminal_and_leaves_nothing_out() -> None:
    lines = report_text(REPORT).splitlines()
    assert max(map(len, lines)) <= WIDTH
    text = "\n".join(lines)
    assert "✗ specificity         0.79 [0.70, 0.85]    ≥ 0.8" in text
    # 240 has as many effective children as one of three controls: (1 + 1) / (1 + 3).
    assert "by chance: p 0.50" in text and "3 control features of like density" in text
    assert " 40 have recall ≥ 0.1" in text and "3 leak" in text and "5 (0.42), 6 (0.10)" in text
    assert "left out as duplicates: 9, 11" in text
    assert "child 240 (began as the target)" in text
    for limit in ("lost below coverage 0.5", "general 0.6", "copy_cosine 0.95", "duplicate 0.9"):
        assert limit in text


def test_controls_are_listed_with_the_target_before_them() -> None:
    _, target, first, *_ = control_rows(REPORT)
    assert target == ("240 (target)", "1,234", "partly", "2", "2.10", "0.97")
    assert first == ("4", "900", "split", "2", "2.50", "0.90")


def test_a_report_without_children_or_controls_says_what_it_has() -> None:
    lost = SplitReport(7, 0.5, 1000, 12, "lost", "nothing there", [], [], Spread(0, 0, 0), 0.5, 0.6)
    text = report_text(lost)
    assert text.startswith("feature 7: lost: nothing there")
    assert "control" not in text and "fell away" not in text
    assert [one.name for one in measures(lost)] == ["coverage", "FVU", "  narrow SAE"]
    assert len(report_blocks(lost)) == 5
