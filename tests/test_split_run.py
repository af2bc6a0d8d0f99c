"""Runs of the two trainers in real run directories, and the commands that start them."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from saetui import embedded
from saetui.commands import graft as graft_command
from saetui.commands import split as split_command
from saetui.commands.recipe_options import build_recipe
from saetui.errors import UsageError, UserError
from saetui.features.index import FeatureIndex
from saetui.features.row_store import RowStore
from saetui.loading import load_lm, load_sae, open_rows
from saetui.runs.context import RunContext, RunPaused
from saetui.runs.launcher import launch, resume
from saetui.runs.own import own_run
from saetui.runs.store import Run, create_run, list_runs
from saetui.sae.formats import load, read_density, save_saelens
from saetui.sae.sae import SAEMetadata
from saetui.settings import runs_root
from saetui.setup import Setup
from saetui.split.activations.disk import checkpoint_bytes
from saetui.split.grafting import graft_run
from saetui.split.grafting.graft import Graft
from saetui.split.recipe import GraftRecipe, SplitRecipe
from saetui.split.threshold import threshold_of
from saetui.split.training import sparse, wide
from tests.runs_support import eventually
from tests.split_support import hot_feature, recipe, world
from tests.tiny import CHARACTERS, say_checked, tiny_tokenizer


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    """The tiny world as files: a model folder, a SAELens folder and a text."""
    from dataclasses import replace

    folder = tmp_path_factory.mktemp("tiny world")
    lm, _, narrow = world()
    lm.inner.save(folder / "lm", dtype=torch.float32)
    say_checked(folder / "lm")
    tiny_tokenizer()._inner.save(str(folder / "lm" / "tokenizer.json"))
    save_saelens(replace(narrow, metadata=SAEMetadata(hook_name=lm.hook_name)), folder / "narrow")
    letters = np.random.default_rng(0).choice(list(CHARACTERS), 60_000)
    (folder / "text.txt").write_text("".join(letters))
    return Setup(
        model=str(folder / "lm"),
        sae=str(folder / "narrow"),
        dataset=str(folder / "text.txt"),
        seq_len=12,
        device="cpu",
    )


def criteria_file(path: Path) -> Path:
    path.write_text(
        'name = "tiny"\ntoken = "-"\n'
        '[[child]]\nname = "after a"\nprompt = "b a-c"\nwords = ["a"]\nlogits = ["b"]\n'
        '[[child]]\nname = "after no"\nprompt = "no-"\nwords = ["no"]\nlogits = ["b"]\n'
    )
    return path


def weights(run: Run) -> dict[str, torch.Tensor]:
    return load_file(run.folder / "sae" / "sae_weights.safetensors")


def finish(run: Run) -> None:
    eventually(lambda: run.state() not in ("queued", "running"))
    assert run.state() == "finished", (run.log_path.read_text(), run.read_events())


def test_a_finished_run_keeps_no_checkpoints(setup: Setup, isolated_places: Path) -> None:
    given = recipe(tokens=128 * 40, checkpoint_every=128 * 10)
    run = create_run(runs_root(), "split", setup, given)
    launch(run)
    finish(run)
    eventually(lambda: not run.alive())  # they go after the run has said that it is finished
    written = [event["bytes"] for event in run.read_events() if event["kind"] == "checkpoint"]
    assert not list(run.checkpoints.iterdir())
    sae = load(str(run.folder / "sae"))
    assert sae.d_sae == given.d_sae
    # What the launch form says beforehand; beside the tensors a checkpoint has a few KB of JSON.
    foretold = checkpoint_bytes(given, sae.d_in)
    assert 0.3 * foretold < max(written) < foretold + 8_000


def test_a_run_that_is_killed_or_paused_ends_in_the_same_bits(setup: Setup, isolated_places: Path) -> None:
    root = runs_root()
    given = recipe(tokens=128 * 900, checkpoint_every=128 * 100, eval_every=128 * 300, dead_after=5000)
    whole, killed, paused = (create_run(root, "split", setup, given) for _ in range(3))
    with RunContext(whole) as context:
        wide.run(context)

    launch(killed)
    eventually(lambda: any(event["kind"] == "checkpoint" for event in killed.read_events()))
    pid = next(event["pid"] for event in killed.read_events() if event["kind"] == "running")
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not killed.alive())
    assert killed.state() == "crashed"
    resume(killed)
    finish(killed)

    with RunContext(paused) as context:
        context.ask("pause")
        with pytest.raises(RunPaused):
            wide.run(context)
    with RunContext(paused) as context:
        wide.run(context)

    for other in (killed, paused):
        for name, tensor in weights(whole).items():
            assert torch.equal(tensor, weights(other)[name]), name


def test_the_fast_ways_resume_to_the_same_bits(
    setup: Setup, isolated_places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sparse, "WORTH_TRYING", 1)
    monkeypatch.setattr(sparse, "screening_speedup", lambda *sizes: 9.0)
    given = recipe(tokens=128 * 200, eval_every=128 * 1000, dead_after=5000, dtype="bfloat16")
    whole, paused = (create_run(runs_root(), "split", setup, given) for _ in range(2))
    with RunContext(whole) as context:
        wide.run(context)
    assert any("screened by 8-bit" in event.get("message", "") for event in whole.read_events())
    advance = wide.Trainer.advance

    def advance_and_ask(trainer: wide.Trainer, poll: Any) -> None:
        advance(trainer, poll)
        if trainer.step == 150:
            context.ask("pause")

    with RunContext(paused) as context:
        monkeypatch.setattr(wide.Trainer, "advance", advance_and_ask)
        with pytest.raises(RunPaused):
            wide.run(context)
    with RunContext(paused) as context:
        wide.run(context)
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(paused)[name]), name


def test_a_split_run_leaves_metrics_and_an_sae(setup: Setup, isolated_places: Path) -> None:
    given = recipe(tokens=128 * 100, eval_every=128 * 40, loss="target_zeroed")
    run = create_run(runs_root(), "split", setup, given)
    criteria_file(run.folder / "criteria.toml")
    with RunContext(run) as context:
        wide.run(context)
    records = run.read_metrics()
    training = [r for r in records if "loss" in r]
    assert training[-1]["tokens"] == given.tokens
    keys = {
        "step",
        "loss",
        "mse",
        "l1",
        "l0",
        "fvu",
        "dead",
        "lr",
        "l1_coeff",
        "kept",
        "tokens_per_s",
        "eta_s",
    }
    assert keys <= set(training[-1])
    evaluations = [r for r in records if r.get("eval")]
    assert [r["tokens"] for r in evaluations] == [0, 128 * 40, 128 * 80, given.tokens]
    assert evaluations[-1]["fvu"] < evaluations[0]["fvu"]
    assert {"ce", "ce_sae", "ce_zero", "ce_recovered", "l0"} <= set(evaluations[-1])
    assert [child["child"] for child in evaluations[0]["children"]] == ["after a", "after no"]
    assert "passed" not in evaluations[0]
    assert all(set(r["passed"]) <= {"after a", "after no"} for r in evaluations[1:])
    assert training[-1]["lm_cpu_s"] > 0
    assert training[-1]["sae_cpu_s"] > 0
    traced = [r for r in records if "probes" in r and not r.get("eval")]
    assert [r["step"] for r in traced[:5]] == [1, 2, 3, 4, 5]
    assert [p["prompt"] for p in traced[0]["probes"]] == ["b a-", "no-"]
    assert {p["token"] for p in traced[0]["probes"]} == {"-"}
    assert all(p["target"] is not None for p in traced[0]["probes"])

    sae = load(run.folder / "sae")
    assert sae.d_sae == given.d_sae and sae.metadata.hook_name == "blocks.0.hook_mlp_out"
    assert torch.allclose(sae.W_dec.norm(dim=1), torch.ones(given.d_sae), atol=1e-6)
    assert not sae.W_enc[:, given.target].any()
    density = read_density(run.folder / "sae")
    assert density is not None and density[given.target] < 1e-9


def test_a_run_on_which_the_filter_leaves_nothing_says_so(setup: Setup, isolated_places: Path) -> None:
    run = create_run(runs_root(), "split", setup, recipe(threshold=1e6))
    with RunContext(run) as context, pytest.raises(UserError, match=r"never fires above .*--threshold"):
        wide.run(context)


def test_what_the_index_knows_to_leave_nothing_is_refused_at_once(
    setup: Setup, isolated_places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = load_lm(setup)
    store = RowStore(lm, open_rows(setup, lm.tokenizer, "train"))
    index = FeatureIndex(store, load_sae(setup))
    index.build(10**9)
    index.close()
    store.close()
    monkeypatch.setattr("saetui.split.training.wide.ShuffledActivations", None)  # nothing is read
    run = create_run(runs_root(), "split", setup, recipe(threshold=1e6))
    with RunContext(run) as context, pytest.raises(UserError, match=r"never fires above .*--threshold"):
        wide.run(context)


def test_a_graft_run_leaves_a_graft(setup: Setup, isolated_places: Path) -> None:
    target, threshold = hot_feature()
    given = GraftRecipe(
        target=target, threshold=threshold, children=8, steps=100, batch_size=128, l1_coeff=0.3
    )
    runs = [create_run(runs_root(), "graft", setup, given) for _ in range(2)]
    criteria_file(runs[1].folder / "criteria.toml")
    for run in runs:
        with RunContext(run) as context:
            graft_run.run(context)
    first, second = (Graft.load(run.folder / "graft") for run in runs)
    assert torch.equal(first.child_W_enc, second.child_W_enc)
    records = runs[0].read_metrics()
    assert records[-2]["step"] == 100 and records[-1]["eval"]
    assert records[-1]["error_after"] < records[-1]["error_before"]
    assert "children" not in records[-1]
    found = runs[1].read_metrics()[-1]["children"]
    assert [child["child"] for child in found] == ["after a", "after no"]
    assert {child["feature"] for child in found} <= {-1, *second.children}
    event = runs[0].read_events()[-1]
    assert event["kind"] == "grafted" and event["hot_tokens"] > 100


# Commands


def options(setup: Setup) -> list[str]:
    return [
        f"--model={setup.model}", f"--sae={setup.sae}", f"--dataset={setup.dataset}",
        f"--seq-len={setup.seq_len}", "--device=cpu",
    ]  # fmt: skip


def test_a_run_on_a_gpu_records_the_memory_that_it_took(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[torch.device] = []

    def reserved(device: torch.device) -> int:
        asked.append(device)
        return 3 * 2**30

    monkeypatch.setattr("torch.cuda.max_memory_reserved", reserved)
    assert wide.gpu_load(torch.device("cuda:1")) == {"gpu_memory": 3 * 2**30}
    assert wide.gpu_load(torch.device("cpu")) == {} and asked == [torch.device("cuda:1")]


def test_the_graft_command_lists_children_and_keeps_a_run(setup: Setup, isolated_places: Path) -> None:
    target, threshold = hot_feature()
    arguments = [
        *options(setup), f"--target={target}", f"--threshold={threshold}", "--children=6", "--steps=60",
        "--batch-size=128", "--l1-coeff=0.3",
    ]  # fmt: skip
    shown = CliRunner().invoke(graft_command.command, [*arguments, "--show=2"], catch_exceptions=False)
    assert shown.exit_code == 0
    assert "squared error on held-out hot tokens" in shown.stdout
    assert "of the target's tokens" in shown.stdout and "«" in shown.stdout
    (run,) = list_runs(runs_root())
    assert run.state() == "finished" and run.manifest.recipe["children"] == 6

    plain = CliRunner().invoke(
        graft_command.command, [*arguments, "--no-save", "--json"], catch_exceptions=False
    )
    output = json.loads(plain.stdout)
    assert output["run"] == "" and len(list_runs(runs_root())) == 1
    assert output["report"]["error_after"] < output["report"]["error_before"]
    children = output["children"]
    assert [c["share"] for c in children] == sorted((c["share"] for c in children), reverse=True)


def test_a_threshold_that_nobody_says_is_a_fifth_of_the_strongest_activation(
    setup: Setup, isolated_places: Path
) -> None:
    target, _ = hot_feature()
    lm, narrow = load_lm(setup), load_sae(setup)
    tokens = open_rows(setup, lm.tokenizer, "train").read(0, 10**6)  # fewer than are sought: all of them
    x = lm.activations(torch.from_numpy(tokens.astype(np.int64)))[:, 1:].half().float()
    expected = threshold_of(float(narrow.encode_feature(x, target).max()))
    assert 0 < expected < 2  # the recipe's own default would not do
    arguments = [*options(setup), f"--target={target}", "--batch-size=128"]
    grafted = CliRunner().invoke(
        graft_command.command, [*arguments, "--no-save", "--json", "--steps=20"], catch_exceptions=False
    )
    assert json.loads(grafted.stdout)["recipe"]["threshold"] == expected
    values = {"target": target}
    assert split_command.choose_recipe(setup, None, values).threshold == expected
    assert split_command.choose_recipe(setup, None, {**values, "threshold": 0.25}).threshold == 0.25
    world, chosen = embedded.world("synthetic"), Setup(model="synthetic", device="cpu")
    assert split_command.choose_recipe(chosen, None, {}).threshold == world.threshold


def test_the_split_command_launches_a_run(setup: Setup, isolated_places: Path) -> None:
    target, threshold = hot_feature()
    (isolated_places / "r.toml").write_text(f"target = {target}\nthreshold = {threshold}\nseed = 3\n")
    arguments = [
        *options(setup), "--recipe", str(isolated_places / "r.toml"), "--tokens=25600", "--batch-size=128",
        "--lr=3e-3", "--no-normalize-init", "--buffer-tokens=2048", "--seed=4",
        "--criteria", str(criteria_file(isolated_places / "c.toml")),
    ]  # fmt: skip
    result = CliRunner().invoke(
        split_command.command, [*arguments, "--note=once", "--detach"], catch_exceptions=False
    )
    assert result.exit_code == 0
    run = Run(runs_root() / result.stdout.strip())
    chosen = SplitRecipe.from_dict(run.manifest.recipe)
    assert (chosen.target, chosen.seed, chosen.normalize_init, chosen.d_sae) == (target, 4, False, 8 * 32)
    assert run.manifest.note == "once" and (run.folder / "criteria.toml").is_file()
    finish(run)
    assert load(run.folder / "sae").d_sae == 256


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["32"], "0 to 31"),
        (["--target=32"], "0 to 31"),
        (["3", "--target=4"], "two features to split, 3 and --target 4"),
        (["3", "--d-sae=16"], "d_sae is 16"),
        (["--loss=residual"], "--init random|init random"),
        (["--threshold=-1"], "threshold is -1"),
        (["--recipe=nowhere.toml"], "nowhere.toml"),
        (["--criteria=nowhere.toml"], "nowhere.toml"),
    ],
)
def test_splits_that_cannot_be_are_refused_before_a_run_is_made(
    setup: Setup, isolated_places: Path, given: list[str], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        CliRunner().invoke(split_command.command, [*options(setup), *given], catch_exceptions=False)
    assert not list_runs(runs_root())


def test_a_graft_of_a_feature_that_is_not_there(setup: Setup, isolated_places: Path) -> None:
    with pytest.raises(UsageError, match="0 to 31"):
        CliRunner().invoke(graft_command.command, [*options(setup), "32"], catch_exceptions=False)
    with pytest.raises(UsageError, match="which feature"):
        CliRunner().invoke(graft_command.command, options(setup), catch_exceptions=False)
    assert not list_runs(runs_root())


def test_a_graft_that_fails_leaves_a_message_and_no_run(setup: Setup, isolated_places: Path) -> None:
    with pytest.raises(UserError, match="never fires above 1e\\+06"):
        CliRunner().invoke(
            graft_command.command,
            [*options(setup), "--target=3", "--threshold=1e6", "--scan-tokens=2000"],
            catch_exceptions=False,
        )
    with (
        pytest.raises(UserError, match="asked to end"),
        own_run(runs_root(), setup, GraftRecipe()) as context,
    ):
        context.leave("stop")
    assert not list(runs_root().iterdir())


def test_a_recipe_is_what_was_given_over_the_file_over_the_defaults(tmp_path: Path) -> None:
    def build(text: str, given: dict[str, Any]) -> SplitRecipe:
        (tmp_path / "r.toml").write_text(text)
        setup = Setup(model="gelu-1l")
        return build_recipe(SplitRecipe, setup, tmp_path / "r.toml", given)

    chosen = build("seed = 5\nlr = 0.01\ntarget = 2", {"seed": 6})
    assert (chosen.seed, chosen.lr, chosen.d_sae, chosen.init) == (6, 0.01, 4096, "narrow")
    for text, words in (
        ("lrr = 1", "unknown recipe key 'lrr'"),
        ("lr = [", "not valid TOML"),
        ('lr = "a"', "lr is 'a'"),
    ):
        with pytest.raises(UsageError, match=words):
            build(text, {})
