"""The line about a question that takes a while."""

from saetui.tui.underway import Underway


def test_time_left_is_told_once_it_is_known_and_worth_telling() -> None:
    now = 0.0
    underway = Underway("grafting feature 7", lambda: now)
    assert underway.line({}).endswith("0 % grafting feature 7")
    lines = []
    for step in range(11):
        now += 2
        lines.append(underway.line({"progress": step / 10, "message": f"step {step}"}))
    assert "left" not in lines[0]
    assert lines[5].startswith("━━━━━━━━━━──────────") and "50 % step 5" in lines[5]
    assert lines[5].endswith("about 12s left")  # from 0 s: a tenth takes 2.4 s, the start included
    assert "left" not in lines[9] and "left" not in lines[10]
    now += 2
    assert "left" not in underway.line({"progress": 0.1}), "another stage begins anew"
