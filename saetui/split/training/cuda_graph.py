"""A training step as one CUDA graph.

Launched one by one from Python, the step's forty or so kernels take about as long as the GPU needs to work
through them; recorded once and replayed, they are one launch. ``torch.compile`` would fuse the small ones as
well, but most of the time goes into matrix products, which it does not make faster, and it begins with half a
minute of compiling, longer than many a run takes, for which the machine needs a compiler.
"""

from collections.abc import Callable

import torch
from torch import Tensor

WARM_UP = 3
"""Calls before the recording, in which libraries allocate what they keep. They count like any other."""

Number = float | Tensor
"""A number, or on a GPU a 0-d tensor that holds it: a graph can be given another one."""

Update = Callable[[Tensor, Number, Number], None]


class Replayed:
    """``update(x, lr, l1_coeff)``, recorded on a GPU and replayed from then on.

    ``update`` changes tensors in place, the same ones every time, and reads none back. Where recording fails,
    ``say`` is told, and every call runs as it would without.
    """

    def __init__(
        self, update: Update, device: torch.device, say: Callable[[str], None] = lambda line: None
    ) -> None:
        self._update, self._device, self._say = update, device, say
        self._records = device.type == "cuda"
        self._calls = 0
        self._given: tuple[Tensor, Tensor, Tensor] | None = None
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, x: Tensor, lr: float, l1_coeff: float) -> None:
        if self._records:
            self._on_gpu(x, lr, l1_coeff)
        else:
            self._update(x, lr, l1_coeff)

    def _on_gpu(self, x: Tensor, lr: float, l1_coeff: float) -> None:
        given = self._given = self._given or (torch.empty_like(x), self._number(), self._number())
        given[0].copy_(x)
        given[1].fill_(lr)
        given[2].fill_(l1_coeff)
        self._calls += 1
        if self._calls <= WARM_UP:
            self._aside(lambda: self._update(*given))
        elif graph := self._graph or self._recorded(given):
            graph.replay()
        else:
            self._update(x, lr, l1_coeff)

    def _number(self) -> Tensor:
        return torch.zeros((), device=self._device)

    def _aside(self, call: Callable[[], None]) -> None:
        """On a stream of its own, as warming up for a graph requires."""
        main, side = torch.cuda.current_stream(self._device), torch.cuda.Stream(self._device)
        side.wait_stream(main)
        with torch.cuda.stream(side):
            call()
        main.wait_stream(side)

    def _recorded(self, given: tuple[Tensor, Tensor, Tensor]) -> "torch.cuda.CUDAGraph | None":
        """One call as a graph; it is not carried out."""
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.device(self._device), torch.cuda.graph(graph):
                self._update(*given)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self._records = False
            first = str(error).splitlines()[0]
            self._say(f"the step cannot be recorded as a CUDA graph ({first}); it runs kernel by kernel")
            return None
        self._graph = graph
        return graph
