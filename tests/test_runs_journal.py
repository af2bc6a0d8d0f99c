"""Journal and tail: what is written is read, whatever happens to the end of the file."""

import json
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from saetui.runs.journal import Journal
from saetui.runs.tail import Tail, last_records, read_records

RECORDS = [
    {"tokens": 10, "loss": 0.5},
    {"text": "naïve « - » \n line", "n": None},
    {"nested": {"a": [1, {}]}},
]


def written(path: Path) -> bytes:
    with Journal(path) as journal:
        for record in RECORDS:
            journal.append(**record)
    return path.read_bytes()


def test_records_come_back_with_version_number_and_time(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    written(path)
    read = read_records(path)
    assert [{k: v for k, v in r.items() if k not in "vit"} for r in read] == RECORDS
    assert [r["v"] for r in read] == [1, 1, 1]
    assert [r["i"] for r in read] == [0, 1, 2]
    assert all(r["t"] > 1.7e9 for r in read)


def test_what_json_cannot_carry_becomes_null(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as journal:
        journal.append(loss=float("nan"), parts=[float("inf"), 1.0], by={"x": float("-inf")})
    line = (tmp_path / "j").read_text()
    record = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert (record["loss"], record["parts"], record["by"]) == (None, [None, 1.0], {"x": None})


def test_a_cut_at_every_byte_loses_only_the_unfinished_record(tmp_path: Path) -> None:
    whole = written(tmp_path / "whole")
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(len(whole) + 1):
        path = tmp_path / f"cut-{cut}"
        path.write_bytes(whole[:cut])
        tail = Tail(path)
        finished = sum(end <= cut for end in ends)
        assert [r["i"] for r in tail.poll()] == list(range(finished))
        assert tail.corrupt == 0
        # The writer comes back: what was torn stays one damaged line, and everything after it is read.
        with Journal(path) as journal:
            journal.append(healed=True)
        complete = sum(end - 1 <= cut for end in ends)  # all but the newline was there
        torn = cut not in (0, *ends, *(end - 1 for end in ends))
        news = tail.poll()
        assert news[-1]["healed"] and news[-1]["i"] == complete
        assert [r["i"] for r in read_records(path)] == list(range(complete + 1))
        assert tail.corrupt == torn


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, 400), max_size=12))
def test_however_the_bytes_arrive_each_record_is_read_once(tmp_path: Path, cuts: list[int]) -> None:
    if not (tmp_path / "whole").exists():
        written(tmp_path / "whole")
    whole = (tmp_path / "whole").read_bytes()
    path = tmp_path / "arriving"
    path.unlink(missing_ok=True)
    tail, read, before = Tail(path), [], 0
    for cut in sorted({min(cut, len(whole)) for cut in cuts} | {len(whole)}):
        with path.open("ab") as file:
            file.write(whole[before:cut])
        before = cut
        read += tail.poll()
    assert [r["i"] for r in read] == [0, 1, 2]
    assert (tail.corrupt, tail.restarts) == (0, 0)


@pytest.mark.parametrize(
    "damage", [b"{not json}\n", b"\xff\xfe\n", b"[1, 2]\n", b"\0" * 40 + b"\n", b'{"i": 3\n']
)
def test_damage_in_the_middle_is_counted_and_the_rest_read(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "j"
    whole = written(path)
    first = whole.index(b"\n") + 1
    path.write_bytes(whole[:first] + damage + whole[first:])
    tail = Tail(path)
    assert [r["i"] for r in tail.poll()] == [0, 1, 2]
    assert tail.corrupt == 1


def test_a_file_that_is_replaced_or_cut_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "j"
    tail = Tail(path)
    assert tail.poll() == []
    whole = written(path)
    assert len(tail.poll()) == 3 and tail.poll() == []
    (tmp_path / "other").write_bytes(whole)
    (tmp_path / "other").replace(path)
    assert len(tail.poll()) == 3 and tail.restarts == 1
    path.write_bytes(whole[: whole.index(b"\n") + 1])
    assert len(tail.poll()) == 1 and tail.restarts == 2


def test_numbers_rise_across_writers_and_long_records(tmp_path: Path) -> None:
    path = tmp_path / "j"
    for _ in range(3):
        with Journal(path) as journal:
            journal.append(text="x" * 200_000)
    assert [r["i"] for r in read_records(path)] == [0, 1, 2]


def test_a_reader_sees_whole_records_while_they_are_written(tmp_path: Path) -> None:
    path, total = tmp_path / "j", 3000
    tail, read = Tail(path), []

    def write() -> None:
        with Journal(path) as journal:
            for number in range(total):
                journal.append(number=number, text="x" * (number % 300))

    writer = threading.Thread(target=write)
    writer.start()
    polls = 0
    while writer.is_alive():
        read += tail.poll()
        polls += 1
    read += tail.poll()
    assert [r["number"] for r in read] == list(range(total))
    assert tail.corrupt == 0 and polls > 1


def test_a_disk_that_takes_a_part_spoils_no_other_record(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    path = tmp_path / "j"
    journal = Journal(path)
    journal.append(text="before")
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, old[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            journal.append(text="does not fit")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    journal.append(text="after")
    journal.close()
    tail = Tail(path)
    assert [r["text"] for r in tail.poll()] == ["before", "after"]
    assert tail.corrupt == 1


def test_the_last_records_are_those_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "j"
    assert last_records(path) == []
    with Journal(path) as journal:
        for number in range(1000):
            journal.append(number=number)
    last = last_records(path, 500)
    assert 5 < len(last) < 20
    assert [r["number"] for r in last] == list(range(1000 - len(last), 1000))
