"""What the GPU is doing, where there is one and nvidia-ml-py is installed."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from saetui.runs.queue import device_key


@dataclass(frozen=True)
class GpuReading:
    """``use`` is a share of the last sampling period; memory in bytes. None: this driver does not say."""

    use: float | None
    memory_used: int | None
    memory_total: int | None


class Gpu:
    """One GPU, as the driver counts them. Read it in a thread: the first call loads the library."""

    def __init__(self, index: int = 0) -> None:
        self._index = index
        self._nvml: Any = None
        self._handle: Any = None
        self._tried = False

    def read(self) -> GpuReading | None:
        """None where there is no GPU, no driver or no library; found out once."""
        if not self._tried:
            self._tried = True
            try:
                import pynvml  # pyright: ignore[reportMissingImports]  (the optional extra "gpu")

                pynvml.nvmlInit()
                self._handle = pynvml.nvmlDeviceGetHandleByIndex(self._index)
                self._nvml = pynvml
            except ImportError:
                return None
            except Exception as error:  # NVML's own errors share no importable base before it is loaded
                if type(error).__module__ != "pynvml":
                    raise
                return None
        if self._nvml is None:
            return None
        use = used = total = None
        with suppress(self._nvml.NVMLError):  # each question on its own: drivers answer some of them
            use = self._nvml.nvmlDeviceGetUtilizationRates(self._handle).gpu / 100
        with suppress(self._nvml.NVMLError):
            memory = self._nvml.nvmlDeviceGetMemoryInfo(self._handle)
            used, total = memory.used, memory.total
        return GpuReading(use, used, total)


def index_of(device: str) -> int | None:
    """The GPU that a setup's device is on, of several the first, as the driver counts them; None for the CPU,
    and for GPUs that ``CUDA_VISIBLE_DEVICES`` names otherwise than by number."""
    name, _, index = device_key(device.partition(",")[0]).partition("-")
    return int(index) if name == "cuda" and index.isdigit() else None
