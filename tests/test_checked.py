"""A language model in saetui's own format is held against TransformerLens' hook, once for given weights."""

import json
import subprocess
import sys
from argparse import Namespace
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from torch import Tensor

from saetui import embedded
from saetui.errors import UserError
from saetui.lm import bridge as bridges
from saetui.lm import checked
from saetui.lm.direct import DirectModel
from saetui.lm.one_layer import OneLayer, compatibility_form
from saetui.loading import load_lm
from saetui.setup import Setup
from saetui.worlds import __main__ as worlds
from tests.tiny import TinyLM

LOAD = """
import sys
from saetui.loading import load_lm
from saetui.setup import Setup
for model in sys.argv[1:]:
    load_lm(Setup(model, "blocks.0.hook_mlp_out", device="cpu"))
print(sorted(name for name in sys.modules if name.partition(".")[0] in ("transformer_lens", "transformers")))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lm = TinyLM()
    folder = tmp_path / "tiny" / "lm"
    compatibility_form(lm.inner).save(folder)
    lm.tokenizer.save(folder / "tokenizer.json")
    return folder


def load(folder: Path) -> DirectModel:
    lm = load_lm(Setup(str(folder), "blocks.0.hook_mlp_out", device="cpu"))
    assert isinstance(lm, DirectModel)
    return lm


def weights_digest(folder: Path) -> str:
    return sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def transformer_lens_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("TransformerLens was asked")

    monkeypatch.setattr(bridges, "boot_one_layer", fail)


def test_with_its_record_a_model_loads_without_transformer_lens(folder: Path) -> None:
    written = checked.record(folder, "tiny")
    assert 0 < written.difference < 1e-5
    models = [str(folder), *embedded.WORLDS]
    said = subprocess.run([sys.executable, "-c", LOAD, *models], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def test_without_one_the_comparison_is_made_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(folder)
    assert not (folder / checked.RECORD).exists()  # the folder is someone else's
    transformer_lens_gone(monkeypatch)
    load(folder)
    # Other weights: no longer what was compared.
    changed = OneLayer.load(folder)
    OneLayer(changed.config, changed.weights | {"b_out": changed.weights["b_out"] + 1}).save(folder)
    with pytest.raises(AssertionError, match="was asked"):
        load(folder)


def test_a_record_of_other_weights_says_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = checked.record(folder, "tiny")
    (folder / checked.RECORD).write_text(json.dumps(asdict(replace(written, sha256="0" * 64))))
    transformer_lens_gone(monkeypatch)
    for torn in (None, "", "{}", "[1]"):
        if torn is not None:
            (folder / checked.RECORD).write_text(torn)
        with pytest.raises(AssertionError, match="was asked"):
            load(folder)


def test_a_direct_forward_that_disagrees_is_refused(
    folder: Path, isolated_places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlp_out = OneLayer.mlp_out

    def off(model: OneLayer, tokens: Tensor) -> Tensor:
        return mlp_out(model, tokens) + 2e-5 * mlp_out(model, tokens).abs().max()

    monkeypatch.setattr(OneLayer, "mlp_out", off)
    for attempt in (load, lambda folder: checked.record(folder, "lm")):
        with pytest.raises(UserError, match=r"lm: at blocks.0.hook_mlp_out our activations .* differ by 2"):
            attempt(folder)
    assert not (folder / checked.RECORD).exists()
    assert not list((isolated_places / "cache").rglob("lm-checked/*"))


def test_the_worlds_command_records_weights_that_are_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worlds, "MODELS", folder.parents[1])
    (folder.parents[1] / "synthetic").symlink_to(folder.parent)
    before, threads = weights_digest(folder), torch.get_num_threads()
    try:
        worlds.run(Namespace(command="check", world="synthetic", folder=None))
    finally:
        torch.set_num_threads(threads)
    assert weights_digest(folder) == before == json.loads((folder / checked.RECORD).read_text())["sha256"]


@pytest.mark.parametrize("name", embedded.WORLDS)
def test_what_ships_has_a_record_of_its_weights(name: str) -> None:
    folder = embedded.world(name).lm
    said = checked.Comparison(**json.loads((folder / checked.RECORD).read_text()))
    assert said.sha256 == weights_digest(folder)
    assert said.difference < 1e-5 and said.hook_name == embedded.world(name).hook_name
