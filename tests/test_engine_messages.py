"""Records through JSON and back, and what the torch-free half of the engine imports."""

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from saetui.engine import messages
from saetui.features.results import Child, Context, Contexts, Interval, TokenLogit


@dataclass(frozen=True)
class Mixed:
    kind: Literal["a", "b"]
    pairs: list[tuple[int, int]]
    table: dict[str, list[float]]
    maybe: int | None
    anything: Any
    other: TokenLogit | None = None


def there_and_back(kind: Any, value: Any) -> Any:
    line = messages.dump({"id": 1, "result": value})
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    return messages.decode(kind, messages.load(line)["result"])


def test_records_survive():
    context = Context(3, 4, 1, [" low", "-\n", "\udcff"[:0] + "level"], [0.0, 2.5, 0.0])
    record = Contexts(
        "narrow", 7, 100, 2, 0.02, 2.5, [0.0, 4.0], [2], [context], [Interval(0, 4.0, 2, [context])], False
    )
    assert there_and_back(Contexts, record) == record
    assert there_and_back(Contexts, record).top[0].activation == 2.5
    child = Child(1, 0.5, 0.5, 1.0, 0.2, [context], [TokenLogit("a", 1.0)])
    assert there_and_back(list[Child], [child, child]) == [child, child]


def test_optional_nested_and_not_finite_values():
    record = Mixed("a", [], {"x": [float("inf"), float("-inf")]}, None, {"free": [1]}, TokenLogit("t", 1.0))
    assert there_and_back(Mixed, record) == record
    nan = there_and_back(TokenLogit, TokenLogit("t", float("nan")))
    assert nan.logit != nan.logit


def test_unknown_keys_are_passed_over_and_missing_ones_are_not():
    assert messages.decode(TokenLogit, {"token": "a", "logit": 1, "later": 2}) == TokenLogit("a", 1.0)
    with pytest.raises(TypeError):
        messages.decode(TokenLogit, {"token": "a"})


def test_what_does_not_travel_is_refused():
    with pytest.raises(TypeError, match="object does not travel"):
        messages.dump({"x": object()})
    with pytest.raises(ValueError):
        messages.load(b"[1]\n")


def test_every_operation_has_its_type():
    for operation in messages.OPERATIONS:
        assert messages.result_type(operation)


def test_client_side_imports_neither_torch_nor_numpy():
    program = (
        "import sys, json, saetui.engine.client, saetui.engine.messages as m\n"
        "for op in m.OPERATIONS: m.result_type(op)\n"
        "print(json.dumps([n for n in ('torch', 'numpy', 'transformer_lens') if n in sys.modules]))"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert json.loads(out) == []


def test_server_says_hello_before_it_imports_torch():
    program = "import sys, saetui.engine.server; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "False"
