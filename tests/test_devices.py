"""Several GPUs, of which this machine needs none: who gets which, and in what order."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from saetui.runs import lock
from saetui.runs.launcher import claim
from saetui.runs.queue import DeviceQueue, device_key, devices
from saetui.runs.store import Run, create_run
from saetui.settings import runs_root
from saetui.setup import Setup
from saetui.split.recipe import SplitRecipe
from saetui.studies.file import load_study_file
from saetui.studies.launcher import start
from saetui.studies.store import FOLDER, Plan, Study, save_study
from saetui.tui.gpu import index_of
from tests.runs_support import eventually, kill_workers
from tests.studies_support import SETUP, cells_of, use_test_processes, write

TWO = "cuda:0,cuda:1"


@pytest.fixture(autouse=True)
def no_worker_outlives_its_test(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    yield
    kill_workers(runs_root())


def run_on(root: Path, device: str) -> Run:
    return create_run(root, "split", Setup(device=device), SplitRecipe())


def release(held: list[int] | None) -> None:
    for fd in held or []:
        os.close(fd)


def test_a_run_over_two_devices_takes_both_or_none_in_its_turn(tmp_path: Path) -> None:
    alone, both, later = (run_on(tmp_path, device) for device in ("cuda:1", TWO, "cuda:0"))
    claims = [claim(run) for run in (alone, both, later)]
    queues = [DeviceQueue(run) for run in (alone, both, later)]
    assert [queue.ahead() for queue in queues] == [0, 1, 1]
    first = queues[0].take()
    assert first is not None and len(first) == 1
    assert queues[1].take() is None
    assert queues[2].take() is None  # cuda:0 is free, but it is another's turn
    release(first)
    os.close(claims[0])
    pair = queues[1].take()
    assert pair is not None and len(pair) == 2
    queues[1].leave()
    assert queues[2].ahead() == 0 and queues[2].take() is None  # held, whatever the tickets say
    release(pair)
    last = queues[2].take()
    assert last is not None and len(last) == 1
    release([*last, *claims[1:]])


def test_what_is_taken_is_given_back_where_another_is_missing(tmp_path: Path) -> None:
    both, other = run_on(tmp_path, TWO), run_on(tmp_path, "cuda:1")
    claims = [claim(run) for run in (both, other)]
    queue, held = DeviceQueue(both), DeviceQueue(other, at_once=2).take()
    assert held is not None and queue.take() is None
    (path,) = (tmp_path / ".devices").glob("*/cuda-0.lock")
    first = lock.take(path, patience_s=0)
    assert first is not None  # it was let go of
    release([first, *held])
    pair = queue.take()
    assert pair is not None and len(pair) == 2
    release(pair + claims)


def test_two_runs_that_name_the_same_devices_in_another_order_do_not_wait_for_each_other(
    tmp_path: Path,
) -> None:
    runs = [run_on(tmp_path, device) for device in (TWO, "cuda:1, cuda:0")]
    claims = [claim(run) for run in runs]
    queues = [DeviceQueue(run) for run in runs]
    first = queues[0].take()
    assert first is not None and len(first) == 2 and queues[1].take() is None
    release(first)
    os.close(claims[0])
    second = queues[1].take()
    assert second is not None and len(second) == 2
    release(second + claims[1:])


def test_names_of_several_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Setup(device="cuda:0, cuda:1").devices == ["cuda:0", "cuda:1"] and Setup().devices == ["auto"]
    assert devices(TWO) == ["cuda:0", "cuda:1"] and devices("cpu,cpu") == ["cpu"]
    assert index_of("cuda:1,cuda:0") == 1
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert [device_key(name) for name in devices(TWO)] == ["cuda-4", "cuda-6"]


def test_a_study_has_a_run_on_every_device_and_one_at_a_time_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_test_processes(monkeypatch)
    path = write(tmp_path, "[axes]\nseed = [1, 2, 3, 4]\n")
    file, study = load_study_file(path), Study(runs_root() / FOLDER / path.stem)
    setup = replace(SETUP, device=TWO)  # the test's trainer asks for no device
    save_study(study, file, Plan.of(file, setup, cells_of(path, tokens=600, checkpoint_every=300)))
    assert start(study)
    eventually(lambda: not study.alive(), 300.0)
    runs = list(study.runs().values())
    assert [run.state() for run in runs] == ["finished"] * 4
    at_work: dict[str, list[tuple[float, float]]] = {}
    for run in runs:
        times = {event["kind"]: event["t"] for event in run.read_events()}
        at_work.setdefault(run.manifest.setup["device"], []).append((times["running"], times["exit"]))
    assert sorted(map(len, at_work.values())) == [2, 2] and set(at_work) == {"cuda:0", "cuda:1"}
    for spans in at_work.values():
        (_, first_end), (second_begin, _) = sorted(spans)
        assert first_end <= second_begin
    (begin, end), (other_begin, other_end) = (min(spans) for spans in at_work.values())
    assert begin < other_end and other_begin < end  # side by side on two
