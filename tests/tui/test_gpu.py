"""Reading a GPU: with a stand-in for the driver's library, as no test machine need have one."""

import sys
from types import SimpleNamespace

import pytest

from saetui.tui.gpu import Gpu, GpuReading, index_of


class NVMLError(Exception):
    pass


def library(**answers):
    def refuse(*_):
        raise NVMLError("not supported")

    names = ("nvmlInit", "nvmlDeviceGetHandleByIndex", "nvmlDeviceGetUtilizationRates")
    known = {name: refuse for name in (*names, "nvmlDeviceGetMemoryInfo")}
    module = SimpleNamespace(NVMLError=NVMLError, **(known | answers))
    NVMLError.__module__ = "pynvml"
    return module


def test_every_question_is_asked_on_its_own(monkeypatch):
    driver = library(
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(used=12, total=80),
    )
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    assert Gpu(1).read() == GpuReading(None, 12, 80)


def test_no_driver_and_no_library_are_found_out_once(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", library())
    gpu = Gpu()
    assert gpu.read() is None and gpu.read() is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert Gpu().read() is None


@pytest.mark.parametrize(
    ("device", "visible", "index"),
    [("cpu", None, None), ("cuda:1", None, 1), ("cuda:1", "4,6", 6), ("cuda", "GPU-ab", None)],
)
def test_the_gpu_of_a_run(monkeypatch, device, visible, index):
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert index_of(device) == index
