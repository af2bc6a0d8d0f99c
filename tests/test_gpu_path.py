"""What the training path promises on a GPU, as far as a machine without one can tell.

Tensors on the meta device have no values: whatever would wait for a GPU to hand one over raises there.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from saetui.split.activations.activation_cache import ActivationCache
from saetui.split.activations.data import ShuffledActivations
from saetui.split.activations.filtered import FilteredRows, Piece, on_device
from saetui.split.activations.resident import ResidentPieces
from saetui.split.training.cuda_graph import Replayed
from saetui.split.training.matmul import gpu_products
from saetui.split.training.step import TrainStep
from saetui.split.training.stopwatch import Stopwatch
from saetui.split.training.trainer import Trainer
from tests.split_support import random_sae, recipe, world
from tests.tiny import TinyLM, TinyRows

META = torch.device("meta")


class Transfers(TorchDispatchMode):
    """Records what is copied from one device to another."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = [item for value in args for item in (value if isinstance(value, list) else [value])]
        places = {item.device for item in (*given, result) if isinstance(item, Tensor) and item.ndim > 0}
        if len(places) > 1:
            self.found.append(str(func))
        return result


@contextmanager
def no_transfers() -> Iterator[None]:
    with Transfers() as transfers:
        yield
    assert transfers.found == []


class MetaPieces:
    """Pieces without values."""

    rows = TinyRows()
    rows_per_piece, d_in, device = 100, 16, META

    def read(self, number: int, poll: Any = None) -> Piece:
        x = torch.empty(1100, self.d_in, dtype=torch.float16, device=META)
        return Piece(x, torch.empty(0, dtype=torch.long), self.rows_per_piece, 0.0)


VARIANTS = [
    {"init": "random", "data": "all"},
    {"init": "random", "data": "all", "dtype": "bfloat16", "decoder_norm": "free", "l1_reduction": "sum"},
    {"init": "random", "data": "all", "dtype": "tf32", "loss": "residual"},
    {"init": "narrow", "data": "all", "loss": "target_zeroed"},
]


@pytest.mark.parametrize("values", VARIANTS, ids=lambda v: "-".join(map(str, v.values())))
def test_a_step_reads_nothing_back_and_moves_nothing(values: dict[str, Any]) -> None:
    given = recipe(**values)
    trainer = Trainer(given, ShuffledActivations(MetaPieces(), given), 16, world()[2], META)
    trainer.source.next(128)  # fills the buffer
    with no_transfers():
        trainer.advance()
    assert trainer.step == 1
    with pytest.raises((RuntimeError, NotImplementedError)):  # a record is what is waited for
        trainer.metrics()


def test_the_oracle_sees_what_waits_and_what_moves() -> None:
    x = torch.empty(4, device=META)
    for waits in (lambda: float(x.sum()), lambda: x.nonzero(), lambda: x[x > 0], lambda: bool(x[0])):
        with pytest.raises((RuntimeError, NotImplementedError)):
            waits()
    for moves in (lambda: torch.arange(4).to(META), lambda: x[torch.arange(2)]):
        with pytest.raises(AssertionError), no_transfers():
            moves()


def test_numbers_that_lie_on_the_device_make_the_same_step() -> None:
    sae, x = random_sae(16, 48, -0.5), torch.randn(32, 16)
    steps = [TrainStep(sae, batch_size=32, decoder_norm="free") for _ in range(2)]
    for i in range(3):
        lr, l1_coeff = 1e-2 / (i + 1), 0.1 * i
        steps[0](x, x, lr=lr, l1_coeff=l1_coeff)
        steps[1](x, x, lr=torch.tensor(lr), l1_coeff=torch.tensor(l1_coeff))
    for name, weight in steps[0].weights.items():
        assert torch.allclose(weight, steps[1].weights[name], rtol=1e-5, atol=1e-6), name


def test_products_are_rounded_only_where_a_recipe_says_so() -> None:
    def precision() -> str:
        return torch.backends.cuda.matmul.fp32_precision  # pyright: ignore[reportAttributeAccessIssue]

    before = precision()
    with gpu_products("tf32"):
        assert precision() == "tf32"
    assert precision() == before
    sae, x = random_sae(16, 48, -0.5), torch.randn(32, 16)
    steps = [TrainStep(sae, batch_size=32, dtype=dtype) for dtype in ("float32", "tf32")]
    for step in steps:
        step(x, x, lr=1e-2, l1_coeff=0.1)
    assert torch.equal(steps[0].W_dec, steps[1].W_dec)  # on a CPU they are one


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_tokens_are_moved_in_their_own_size(dtype: type[np.integer]) -> None:
    tokens = np.array([[0, 1, 30_000], [40_000, 5, 65_535]], dtype)[:, ::2]
    moved = on_device(tokens, torch.device("cpu"))
    assert moved.dtype == torch.long and moved.tolist() == tokens.tolist()


def filtered() -> FilteredRows:
    _, rows, narrow = world()
    pieces = FilteredRows(TinyLM(), rows, recipe(), narrow)
    pieces.rows_per_piece = 200
    return pieces


def test_what_fits_stays_and_is_computed_once() -> None:
    plain = [filtered().read(number) for number in range(5)]
    sizes = [piece.x.nbytes + piece.places.nbytes for piece in plain]
    pieces = filtered()
    resident = ResidentPieces(pieces, lambda: sum(sizes[:3]))
    for turn in range(2):
        for number, piece in enumerate(plain):
            found = resident.read(number)
            assert torch.equal(found.x, piece.x) and torch.equal(found.places, piece.places)
            assert found.rows == piece.rows and found.strongest == piece.strongest
            assert found.computed == (turn == 0 or number >= 3)
    assert pieces.lm.forwards == (5 + 2) * -(-200 // 32)  # pyright: ignore[reportAttributeAccessIssue]


def test_where_the_model_is_faster_than_the_disk_nothing_more_is_stored(isolated_places: object) -> None:
    said: list[str] = []
    cache = ActivationCache(filtered(), recipe(), said.append)

    def weigh(*seconds: tuple[float, float]) -> bool:
        cache._seconds.clear()
        for computing, storing in seconds:
            cache._weigh(computing, storing)
        return cache._storing

    faster = ((9.0, 0.5), (0.01, 0.5), (0.02, 0.4), (0.01, 0.3))
    assert weigh(*faster)  # on a CPU it never is
    cache.device = META
    assert weigh(*faster[:3])  # too early to tell
    assert weigh((9.0, 0.5), (0.4, 0.3), (0.4, 0.1), (0.2, 0.3))
    assert not weigh(*faster) and "faster than the disk" in said[-1]


def test_a_stopwatch_goes_on_from_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([1.0, 3.5, 10.0, 11.0])
    watch = Stopwatch(torch.device("cpu"))
    watch.seconds = 100.0
    monkeypatch.setattr(watch, "_mark", lambda: next(times))
    monkeypatch.setattr("saetui.split.training.stopwatch.time.perf_counter", lambda: next(times))
    for _ in range(2):
        watch.start()
        watch.stop()
    assert watch.seconds == 103.5


def test_the_smallest_blocks_of_a_mixed_recipe_have_room_for_what_was_left() -> None:
    lm, rows, narrow = world()
    given = replace(recipe(granularity="mixed", mixed_share=0.4), buffer_tokens=128, batch_size=100)
    source = ShuffledActivations(FilteredRows(lm, rows, given, narrow), given, narrow)
    assert all(source.next(100).shape == (100, 16) for _ in range(20))


class FakeGraph:
    """In the place of ``torch.cuda.CUDAGraph``."""

    made: ClassVar[list["FakeGraph"]] = []

    def __init__(self) -> None:
        self.replays = 0
        FakeGraph.made.append(self)

    def replay(self) -> None:
        self.replays += 1


@pytest.mark.parametrize("fails", [False, True])
def test_a_step_is_recorded_after_warming_up_and_runs_without_where_that_fails(
    monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    recording: list[bool] = []

    @contextmanager
    def record(graph: FakeGraph) -> Iterator[None]:
        recording.append(True)
        yield
        recording.clear()
        if fails:
            raise RuntimeError("operation not permitted\nwhen stream is capturing")

    FakeGraph.made.clear()
    monkeypatch.setattr(torch.cuda, "CUDAGraph", FakeGraph)
    monkeypatch.setattr(torch.cuda, "graph", record)
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(Replayed, "_aside", lambda self, call: call())
    made: list[tuple[bool, Any, float, float]] = []
    said: list[str] = []

    def update(x: Tensor, lr: Any, l1_coeff: Any) -> None:
        made.append((bool(recording), lr, float(lr), float(l1_coeff) + float(x.sum())))

    step = Replayed(update, torch.device("cpu"), said.append)
    step._records = True
    for i in range(6):
        step(torch.full((2,), float(i)), lr=i / 8, l1_coeff=i / 4)
    for i, (recorded, lr, value, rest) in enumerate(made[:3]):
        assert not recorded and isinstance(lr, Tensor) and (value, rest) == (i / 8, i / 4 + 2 * i)
    assert made[3][0] and len(FakeGraph.made) == 1
    if fails:  # recording carried nothing out: the step is made then
        assert [(m[0], m[1], m[3]) for m in made[4:]] == [(False, i / 8, i / 4 + 2 * i) for i in (3, 4, 5)]
        assert FakeGraph.made[0].replays == 0
        assert said == [
            "the step cannot be recorded as a CUDA graph (operation not permitted); it runs kernel by kernel"
        ]
    else:
        assert len(made) == 4 and FakeGraph.made[0].replays == 3 and said == []
        assert step._given is not None and step._given[0].tolist() == [5.0, 5.0]  # what a replay works on
        assert float(step._given[1]) == 5 / 8 and float(step._given[2]) == 5 / 4
