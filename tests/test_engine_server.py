"""The engine as a process: the real server and client over pipes, on the tiny model."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from saetui.engine import client as client_module
from saetui.engine.client import EngineClient, EngineDied
from saetui.engine.messages import Grafted, Opened, Status
from saetui.errors import UsageError, UserError
from saetui.features.probe import probe
from saetui.features.results import Contexts, PromptProbe
from saetui.setup import Setup
from saetui.split.comparison import Comparison
from saetui.split.pace import Trial
from saetui.split.recipe import GraftRecipe, SplitRecipe
from tests.tiny import TinyLM, tiny_sae

pytestmark = pytest.mark.asyncio(loop_scope="module")

FAST = {"setup": Setup("tiny").to_dict(), "tokens": 10**9}


def slow(dataset: str) -> dict[str, Any]:
    """A corpus of that name, which comes a little at a time when it is first read."""
    return {"setup": Setup("slow", dataset=dataset).to_dict(), "tokens": 10**9}


class Engine(EngineClient):
    """Remembers its notices."""

    def __init__(self) -> None:
        self.notices: list[dict[str, Any]] = []
        super().__init__(on_notice=self.notices.append)

    def noticed(self, kind: str) -> list[dict[str, Any]]:
        return [notice for notice in self.notices if notice["notice"] == kind]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One folder for all engines of this module, so that they share runs and caches."""
    root = tmp_path_factory.mktemp("engine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client_module, "SERVER", "tests.tiny_engine")
        in_places(root, patch)
        yield root


@pytest.fixture(autouse=True)
def shared_places(isolated_places: Path, places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_places(places, monkeypatch)


def in_places(root: Path, patch: pytest.MonkeyPatch) -> None:
    for name in ("CACHE", "RUNS", "STATE"):
        patch.setenv(f"SAETUI_{name}", str(root / name.lower()))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(places: Path) -> AsyncIterator[Engine]:
    """Its start is most of a test's time, so tests share one; each opens what it needs."""
    engine = Engine()
    await engine.start()
    yield engine
    await engine.close()


@pytest_asyncio.fixture(loop_scope="module")
async def own(places: Path) -> AsyncIterator[Engine]:
    """One to be killed."""
    engine = Engine()
    await engine.start()
    yield engine
    await engine.close()


async def until(engine: Engine, holds: Callable[[], bool]) -> None:
    """Messages come in order, so asking for something brings all earlier notices."""
    async with asyncio.timeout(60):
        while not holds():
            await engine.request("status")


async def complete(engine: Engine, sae: str = "narrow") -> Contexts:
    async with asyncio.timeout(60):
        while not (found := await engine.request("contexts", feature=3, sae=sae)).complete:
            await asyncio.sleep(0.02)
    return found


async def test_opens_and_answers(shared: Engine):
    engine = shared
    # Asked at once: the probe waits until what was asked before it is open.
    opening = asyncio.create_task(engine.request("open", **FAST))
    await asyncio.sleep(0)
    found = await engine.request("probe", prompt="non-zero", follow=[1], top=3)
    opened = await opening
    assert isinstance(opened, Opened) and opened.narrow.d_sae == 40 and opened.warnings == ["a warning"]
    expected = probe(TinyLM(), tiny_sae(bias=-1.0), "non-zero", top=3, follow=[1])
    assert isinstance(found, PromptProbe)
    assert [t.text for t in found.tokens] == [t.text for t in expected.tokens]
    assert [t.top[0].feature for t in found.tokens] == [t.top[0].feature for t in expected.tokens]
    assert found.tokens[2].margin == pytest.approx(expected.tokens[2].margin, abs=1e-5)
    lens = await engine.request("lens", feature=2, top=3)
    near = await engine.request("neighbours", feature=2, top=3)
    pair = await engine.request("pair", first=2, second=3, tokens=2000)
    assert (pair.first.feature, pair.second.feature) == (2, 3) and pair.both <= pair.first.fired
    densities = await engine.request("densities")
    assert len(lens.boosted) == len(near) == 3 and len(densities.density) == 40
    assert (await complete(engine)).tokens_read == 4000 * 11
    kept = await engine.request("kept", feature=3, threshold=1.0)
    assert kept.tokens_read == 4000 * 11 and 0 < kept.tokens < kept.rows < 1
    tried = await engine.request("trial", recipe=SplitRecipe(target=3, d_sae=64, batch_size=256).to_dict())
    assert isinstance(tried, Trial) and min(tried.text_s, tried.dense_s, tried.sparse_s) > 0
    with pytest.raises(UserError, match="narrow SAE already has 40"):
        await engine.request("trial", recipe=SplitRecipe(target=3, d_sae=8).to_dict())
    with pytest.raises(UserError, match="too many to be tried out"):  # nothing of that size is allocated
        await engine.request("trial", recipe=SplitRecipe(target=3, d_sae=10**9).to_dict())
    assert engine.noticed("hello")[0]["pid"] == engine.pid
    assert engine.noticed("corpus")[0]["message"] == "building the corpus"
    await until(engine, lambda: engine.noticed("index")[-1]["complete"])  # it follows the last step


async def test_queries_while_indexing(shared: Engine):
    engine = shared
    await engine.request("open", **slow("a"))
    read: list[int] = []
    slowest = 0.0
    while True:
        begun = time.perf_counter()
        await engine.request("probe", prompt="non-zero")
        slowest = max(slowest, time.perf_counter() - begun)
        found = await engine.request("contexts", feature=3)
        read.append(found.tokens_read)
        if found.complete:
            break
    assert len(set(read)) > 5 and read == sorted(read), "contexts grew while queries were answered"
    assert found.tokens_read == 4000 * 11
    assert slowest < 0.5


async def test_bad_input_is_one_line_and_the_engine_lives(shared: Engine):
    engine = shared
    with pytest.raises(UserError, match="broken has no weights: train it first"):
        await engine.request("open", setup=Setup("broken").to_dict())
    await engine.request("open", **FAST)
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("probe", {"prompt": ""}, "the prompt has no tokens"),
        ("probe", {"prompt": "a" * 99}, "has 99 tokens, tiny takes 15: shorten it by 84"),
        ("probe", {"prompt": "a", "sae": "wide"}, "no encoder 'wide' is open: there are narrow"),
        ("probe", {"prompt": "a", "typo": 1}, "probe: got an unexpected keyword argument 'typo'"),
        ("probe", {}, "probe: missing a required argument: 'prompt'"),
        ("contexts", {"feature": 40}, "feature 40 is out of range: narrow has features 0 to 39"),
        ("lens", {"feature": -1}, "feature -1 is out of range"),
        ("graft", {"recipe": {"target": 99}}, "feature 99 is out of range"),
        ("graft", {"recipe": {"no": 1}}, "unknown recipe key 'no'"),
        ("open_run", {"run": "nope"}, "no run 'nope'"),
        ("store_graft", {"sae": "narrow"}, "is not a graft made here"),
        ("judge", {"sae": "narrow", "criteria": "/nowhere.toml"}, "/nowhere.toml"),
    ]
    for op, args, line in cases:
        with pytest.raises(UserError) as caught:
            await engine.request(op, **args)
        assert line in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="no operation 'dance'"):
        await engine.request("dance")
    assert isinstance(await engine.request("status"), Status)


async def test_a_bug_is_answered_and_logged(shared: Engine):
    engine = shared
    await engine.request("open", setup=Setup("faulty", dataset="faulty").to_dict())
    with pytest.raises(UserError, match=r"^RuntimeError: a bug$"):
        await engine.request("probe", prompt="a")
    log = engine.log_path.read_text()
    assert "Traceback" in log and "a stray print" in log
    await until(engine, lambda: bool(engine.noticed("warning")))
    assert "the contexts of narrow stop at 0 tokens: RuntimeError" in engine.noticed("warning")[0]["message"]


async def test_graft(shared: Engine):
    engine = shared
    await engine.request("open", **FAST)
    await complete(engine)
    recipe = GraftRecipe(target=3, children=4, threshold=0.5, steps=60, batch_size=256)
    progress: list[dict[str, Any]] = []
    found = await engine.request("graft", progress.append, recipe=recipe.to_dict())
    assert isinstance(found, Grafted)
    assert found.sae.target == 3 and found.sae.children == [40, 41, 42, 43]
    assert found.hot_tokens > 100 and found.children.tokens_read == 4000 * 11
    assert progress and all(0 <= p["progress"] <= 1 and p["message"] for p in progress)
    shares = [child.share for child in found.children.children]
    assert shares == sorted(shares, reverse=True) and 0.5 < sum(shares) <= 1.0001
    strongest = found.children.children[0]
    assert strongest.contexts and strongest.boosted
    # The child's contexts as the index gives them: only where the target is above its threshold.
    contexts = await engine.request("contexts", feature=strongest.feature, sae=found.sae.name)
    assert contexts.complete and contexts.fired == pytest.approx(strongest.recall * found.hot_tokens, abs=1)
    target = await engine.request("contexts", feature=3)
    where = {(c.row, c.position) for c in target.top}
    assert contexts.fired <= target.fired and where
    on_both = await engine.request("probe", prompt="non-zero", sae=found.sae.name)
    assert len(on_both.tokens) == 9
    asked = await engine.request("children", sae=found.sae.name)
    assert asked.children[0].feature == strongest.feature
    assert asked.fired == found.hot_tokens and not asked.held_out and asked.complete

    stored = await engine.request("store_graft", sae=found.sae.name)
    again = await engine.request("open_run", run=stored.run)
    assert again.run == stored.run
    compared = await engine.request("compare", progress.append, first=stored.run, second=stored.run)
    assert isinstance(compared, Comparison) and compared.target == 3 and compared.tokens_fired > 0
    assert compared.matches and all(m.first == m.second and m.agreement > 0.999 for m in compared.matches)
    assert compared.first.only == [] and compared.first.cost.wall_s is not None
    reopened = Engine()
    await reopened.start()
    try:
        await reopened.request("open", **FAST)
        of_run = await reopened.request("open_run", run=stored.run)
        assert of_run.kind == "graft" and of_run.children == [40, 41, 42, 43]
        assert await reopened.request("children", sae=of_run.name) == asked
        same = await reopened.request("probe", prompt="non-zero", sae=of_run.name)
        assert same.tokens == on_both.tokens
    finally:
        await reopened.close()


async def test_graft_waits_for_hot_tokens_and_can_be_cancelled(shared: Engine):
    engine = shared
    await engine.request("open", **slow("b"))
    recipe = GraftRecipe(target=3, children=4, threshold=0.5, steps=10**9, batch_size=256)
    progress: list[str] = []
    under_way = asyncio.Event()

    def on_progress(message: dict[str, Any]) -> None:
        progress.append(message["message"])
        if message["message"].startswith("step"):
            under_way.set()

    grafting = asyncio.create_task(engine.request("graft", on_progress, recipe=recipe.to_dict()))
    await asyncio.wait_for(under_way.wait(), 30)
    assert "are needed" in progress[0]
    grafting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await grafting
    # The job's thread is free again: the next job is answered.
    with pytest.raises(UsageError):
        await asyncio.wait_for(engine.request("open_run", run="nope"), 10)
    assert [e.name for e in (await engine.request("status")).encoders] == ["narrow"]


async def test_census_and_rank(shared: Engine):
    engine = shared
    await engine.request("open", **FAST)
    progress: list[dict[str, Any]] = []
    ranked = await engine.request("rank", tokens=20_000)
    census = await engine.request("census", progress.append, tokens=20_000)
    assert ranked == census.evidence
    assert sorted(one.feature for one in census.features) == list(range(40))
    grafted = [one for one in census.features if one.children]
    assert len(grafted) > 10 and grafted == census.features[: len(grafted)]
    assert any(p["message"].startswith("grafting: 0 of 40") for p in progress)
    again = await engine.request("census", tokens=20_000)
    assert again.features == census.features


async def test_no_hot_token(shared: Engine):
    engine = shared
    await engine.request("open", **FAST)
    with pytest.raises(UserError, match=r"feature 3 is above 1000 on none of 44,000 tokens .* lower the thr"):
        await engine.request("graft", recipe=GraftRecipe(target=3, threshold=1000).to_dict())


async def test_killed_engine_is_noticed_and_restarted(own: Engine):
    deaths: list[str] = []
    own.on_death = deaths.append
    with pytest.raises(UsageError, match="nothing is open yet"):
        await own.request("probe", prompt="a")
    await own.request("open", **FAST)
    before = await complete(own)
    recipe = GraftRecipe(target=3, threshold=0.5, steps=10**9)
    pending = asyncio.create_task(own.request("graft", recipe=recipe.to_dict()))
    await asyncio.sleep(0)
    first = own.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    line = await asyncio.wait_for(own.wait_died(), 10)
    with pytest.raises(EngineDied, match="ended by SIGKILL, perhaps for want of memory: restart it"):
        await pending
    assert deaths == [line] and not own.alive
    with pytest.raises(EngineDied, match="not running"):
        await own.request("status")
    await own.restart()
    assert own.pid != first
    assert await own.request("contexts", feature=3) == before, "open again, and nothing read again"


async def test_death_while_starting(places: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(client_module, "SERVER", "tests.no_such_module")
    engine = Engine()
    with pytest.raises(EngineDied, match="not running"):
        await engine.request("status")
    await engine.start()
    assert "exit code 1" in await asyncio.wait_for(engine.wait_died(), 10)
    with pytest.raises(EngineDied):
        await engine.request("status")
    await engine.close()


async def test_encoders_are_evicted(shared: Engine):
    engine = shared
    await engine.request("open", **FAST)
    await complete(engine)
    recipe = GraftRecipe(target=3, children=2, threshold=0.5, steps=1, batch_size=32)
    grafted = [await engine.request("graft", recipe=recipe.to_dict()) for _ in range(6)]
    names = [e.name for e in (await engine.request("status")).encoders]
    assert len(names) == 5 and names[0] == "narrow" and names[-1] == grafted[-1].sae.name
    assert len(set(names)) == 5


async def test_ends_at_once_with_its_stdin():
    """No orphan when the workbench is killed: neither while it imports nor in the middle of a pass."""
    for module, request in (
        ("saetui.engine.server", None),
        ("tests.tiny_engine", {"id": 1, "op": "open", "args": slow("c")}),
    ):
        process = subprocess.Popen(
            [sys.executable, "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdin and process.stdout
        assert json.loads(process.stdout.readline())["notice"] == "hello"
        if request:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            while "result" not in json.loads(process.stdout.readline()):
                pass
        process.stdin.close()
        begun = time.monotonic()
        assert process.wait(10) == 0
        assert time.monotonic() - begun < 3
        process.stdout.close()


async def test_garbage_is_answered_by_a_warning():
    lines = b'not json\n[1]\n{"id": 1}\n{"id": 2, "op": "dance"}\n{"cancel": 77}\n'
    process = subprocess.run(
        [sys.executable, "-m", "saetui.engine.server"], input=lines, capture_output=True, check=True
    )
    answers = [json.loads(line) for line in process.stdout.splitlines()]
    kinds = [a.get("notice") or a.get("kind") for a in answers]
    assert kinds == ["hello", "warning", "warning", "warning", "usage"]
