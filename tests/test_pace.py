"""The time that a run still takes, told from what it has paid: a run with known costs is the oracle."""

from pathlib import Path

import pytest

from saetui.runs.cost import pace
from saetui.split.pace import KNOWN_S, Pace
from tests.tui.fabricate import FakeRun

BATCH, TOTAL = 1_000, 400_000


def promises(
    step_s: float, collect_s: float, block: int, sparse_at: int = TOTAL, first_s: float = 2.0
) -> list[tuple[float, float, float]]:
    """(seconds since the start, promised, true time left) at every record of a run whose step takes
    ``step_s``, a third of it from ``sparse_at`` tokens on, and whose blocks take ``collect_s`` a token."""
    now = 0.0
    pace = Pace(0, TOTAL, lambda: now)
    tokens = ready = 0
    lm_s = sae_s = 0.0
    said: list[tuple[float, float]] = []
    while tokens < TOTAL:
        if not ready:
            ready = min(block, TOTAL - tokens)
            now += ready * collect_s
            lm_s += ready * collect_s
        took = first_s if not tokens else step_s / (3 if tokens >= sparse_at else 1)
        now, sae_s = now + took, sae_s + took
        tokens, ready = tokens + BATCH, ready - BATCH
        if pace.due(1.0):
            taken = pace.take(tokens, ready, lm_s, sae_s)
            assert taken["tokens_per_s"] > 0
            if "eta_s" in taken:
                said.append((now, taken["eta_s"]))
    return [(at, eta, now - at) for at, eta in said]


@pytest.mark.parametrize("block", [8_000, 64_000, TOTAL])
@pytest.mark.parametrize("collect_s", [0.0, 2e-5, 2e-4])
def test_the_first_promise_is_kept(block: int, collect_s: float) -> None:
    """Although the first block and the first step are paid for before anything is trained."""
    said = promises(0.1, collect_s, block)
    first, eta, left = said[0]
    assert first <= 2.0 + block * collect_s + 2 * KNOWN_S + 1
    assert left > 10
    for _, eta, left in said:
        assert eta == pytest.approx(left, rel=0.05, abs=1.0)


def test_steps_that_became_cheaper_are_believed_soon() -> None:
    said = promises(0.1, 2e-5, 32_000, sparse_at=100_000)
    assert all(eta == pytest.approx(left, rel=0.05, abs=1) for at, eta, left in said if at > 40)


def test_a_resumed_run_promises_by_what_it_does_now() -> None:
    now = 0.0
    pace = Pace(300_000, TOTAL, lambda: now)
    lm_s, sae_s = 50.0, 500.0  # of earlier processes, on a slower machine
    taken: dict[str, float] = {}
    for step in range(1, 81):
        now, sae_s = now + 0.1, sae_s + 0.1
        taken = pace.take(300_000 + step * BATCH, 100_000, lm_s, sae_s) if step % 10 == 0 else {}
    assert taken["eta_s"] == pytest.approx(2.0, abs=0.1)


def test_another_width_costs_its_share_of_steps_and_the_same_text(tmp_path: Path) -> None:
    fake = FakeRun(tmp_path, tokens=1_000_000, d_sae=1024).begin()
    assert pace(fake.run) is None
    fake.t += 50
    fake.metric(tokens=1_000_000, sae_s=40.0)
    fake.finish()
    found = pace(fake.run)
    assert found is not None
    assert found.seconds(1_000_000, 1024) == pytest.approx(50)
    assert found.seconds(2_000_000, 2048) == pytest.approx(2 * (10 + 80))
