"""The forward for long streams against the model that it stands in for."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from saetui.lm import streaming as module
from saetui.lm.direct import DirectModel
from saetui.lm.one_layer import OneLayer, OneLayerConfig
from saetui.lm.streaming import StreamingModel, streaming
from saetui.split.training.matmul import use_matmul
from tests.split_support import relative
from tests.tiny import losses, tiny_tokenizer

CONFIG = OneLayerConfig(24, 3, 8, 96, 16, 50)


@pytest.fixture(scope="module")
def lm() -> DirectModel:
    generator = torch.Generator().manual_seed(0)
    weights = {
        name: torch.randn(shape, generator=generator) * 24**-0.5 for name, shape in CONFIG.shapes().items()
    }
    return DirectModel(OneLayer(CONFIG, weights), tiny_tokenizer(), "random")


def tokens(rows: int = 40, seq: int = 13) -> Tensor:
    return torch.randint(CONFIG.d_vocab, (rows, seq), generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def default_products() -> Iterator[None]:
    yield
    use_matmul("default")


@pytest.mark.parametrize("onednn", [False, True])
@pytest.mark.parametrize("table", [False, True])
@pytest.mark.parametrize(("dtype", "off"), [(torch.float32, 2e-6), (torch.bfloat16, 2e-2)])
def test_its_activations_are_the_models(
    lm: DirectModel,
    dtype: torch.dtype,
    off: float,
    table: bool,
    onednn: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_TOKENS_AT_ONCE", 100)
    monkeypatch.setattr(module, "_BLOCK", 16)
    use_matmul("onednn" if onednn else "default")
    fast = StreamingModel(lm, dtype, table)
    found = fast.activations(tokens())
    assert found.dtype == torch.float32
    assert relative(found, lm.activations(tokens())) < off
    # A row's bits depend on neither what was asked before nor what is.
    again = StreamingModel(lm, dtype, table)
    again.activations(tokens()[30:])
    assert torch.equal(again.activations(tokens()), found)


def test_the_choice_is_said_and_part_of_what_caches_are_keyed_by(lm: DirectModel) -> None:
    plain, line = streaming(lm, "float32", 10)
    assert "float32" in line and "no table" in line
    table, line = streaming(lm, "float32", 1000)
    assert "from a table" in line
    low, line = streaming(lm, "bfloat16", 1000)
    assert "bfloat16" in line
    assert len({lm.fingerprint, plain.fingerprint, table.fingerprint, low.fingerprint}) == 4
    assert torch.equal(losses(table, tokens()), losses(lm, tokens()))


def test_a_stream_that_would_be_off_goes_through_the_model(
    lm: DirectModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "OFF_AT_MOST", {"bfloat16": 1e-4})
    same, line = streaming(lm, "bfloat16", 1000)
    assert same is lm and "off by" in line
