"""Checkpoints: whole or not used."""

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from saetui.errors import UserError
from saetui.runs import checkpoint
from saetui.runs.context import RunContext, RunPaused, RunStopped
from saetui.runs.metrics import curve
from tests.runs_support import new_run


def tensors(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "W_enc": torch.randn(5, 7, generator=generator).T,  # not contiguous
        "bf16": torch.randn(3, generator=generator).to(torch.bfloat16),
        "step": torch.tensor(3.0),
        "rng": generator.get_state(),
        "rows": torch.arange(4),
    }


@pytest.fixture
def context(tmp_path: Path) -> RunContext:
    return RunContext(new_run(tmp_path, "split"))


def named(context: RunContext, kind: str) -> list[dict[str, Any]]:
    return [event for event in context.run.read_events() if event["kind"] == kind]


def test_what_is_saved_is_loaded_bit_by_bit(context: RunContext) -> None:
    state = {"tokens": 1234, "position": [1, 2], "lr": 0.1 + 0.2, "note": "«-»"}
    context.save_checkpoint(tensors(0), state)
    found = context.latest_checkpoint()
    assert found is not None
    loaded, loaded_state = found
    assert loaded_state == state
    for name, tensor in tensors(0).items():
        assert loaded[name].dtype == tensor.dtype and torch.equal(loaded[name], tensor), name
    place = context.run.checkpoints / "000000001234"
    assert sorted(p.name for p in place.iterdir()) == ["checksums.json", "state.json", "tensors.safetensors"]
    assert torch.equal(safetensors.torch.load_file(place / "tensors.safetensors")["rows"], torch.arange(4))


def test_the_last_two_are_kept_and_nothing_else(context: RunContext) -> None:
    (context.run.checkpoints / ".writing-000000000005").mkdir()  # left by a killed process
    for tokens in (10, 20, 30):
        context.save_checkpoint(tensors(tokens), {"tokens": tokens})
    context.save_checkpoint(tensors(31), {"tokens": 30})
    assert sorted(p.name for p in context.run.checkpoints.iterdir()) == ["000000000020", "000000000030"]
    found = context.latest_checkpoint()
    assert found and torch.equal(found[0]["W_enc"], tensors(31)["W_enc"])
    assert [event["tokens"] for event in named(context, "checkpoint")] == [10, 20, 30, 30]


def tear(place: Path, how: str) -> None:
    data = place / "tensors.safetensors"
    if how == "cut":
        data.write_bytes(data.read_bytes()[:-7])
    elif how == "flipped":
        content = bytearray(data.read_bytes())
        content[-3] ^= 1
        data.write_bytes(content)
    elif how == "state":
        (place / "state.json").write_text('{"tokens": 21}')
    elif how == "sums":
        (place / "checksums.json").write_text("")
    else:
        (place / how).unlink()


@pytest.mark.parametrize("how", ["cut", "flipped", "state", "sums", "state.json", "checksums.json"])
def test_a_torn_checkpoint_is_skipped_and_named(context: RunContext, how: str) -> None:
    for tokens in (10, 20):
        context.metric(tokens=tokens)
        context.save_checkpoint(tensors(tokens), {"tokens": tokens})
    tear(context.run.checkpoints / "000000000020", how)
    found = context.latest_checkpoint()
    assert found and found[1] == {"tokens": 10} and torch.equal(found[0]["W_enc"], tensors(10)["W_enc"])
    (event,) = named(context, "checkpoint_torn")
    assert (event["checkpoint"], event["used"]) == ("000000000020", "000000000010")
    assert "going on from 000000000010" in event["message"]
    assert [r["tokens"] for r in curve(context.run.read_metrics())] == [10]
    context.save_checkpoint(tensors(20), {"tokens": 20})  # the torn one goes once there is a better one
    assert sorted(p.name for p in context.run.checkpoints.iterdir()) == ["000000000010", "000000000020"]


def test_with_every_checkpoint_torn_the_run_starts_over_and_says_so(context: RunContext) -> None:
    context.metric(tokens=10)
    context.save_checkpoint(tensors(10), {"tokens": 10})
    tear(context.run.checkpoints / "000000000010", "cut")
    assert context.latest_checkpoint() is None
    (event,) = named(context, "checkpoint_torn")
    assert event["used"] is None and "starting over" in event["message"]
    assert curve(context.run.read_metrics()) == []


def test_a_new_run_has_nothing_to_go_on_from(context: RunContext) -> None:
    assert context.latest_checkpoint() is None
    assert context.run.read_metrics() == [] and context.run.read_events() == []


def test_a_full_disk_leaves_the_earlier_checkpoints(
    context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    context.save_checkpoint(tensors(10), {"tokens": 10})

    def fsync(fd: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", fsync)
        patch.setattr(context, "sync", lambda: None)
        with pytest.raises(
            UserError, match=r"no room .*needs 0\.\d MB, [\d,.]+ MB are free; make room and resume"
        ):
            context.save_checkpoint({"x": torch.zeros(50_000)}, {"tokens": 20})
    (event,) = named(context, "disk_full")
    assert event["needed"] > 200_000 and event["free"] > 0
    assert [p.name for p in context.run.checkpoints.iterdir()] == ["000000000010"]
    assert checkpoint.load(context.run.checkpoints / "000000000010")[1] == {"tokens": 10}


def test_requests_reach_the_trainer(context: RunContext, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    assert context.control() == "go"
    (context.run.control / "pause").touch()
    clock[0] += 1
    assert context.control() == "pause"
    with pytest.raises(RunPaused):
        context.leave(context.control())
    context.ask("stop")
    with pytest.raises(RunStopped):
        context.leave(context.control())
