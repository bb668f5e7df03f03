"""A decode step that is recorded as a CUDA graph on its first use and replayed afterwards."""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from llorch.runtime.gpu.draw import draw_tokens
from llorch.runtime.gpu.memory import StepCache


class Step(ABC):
    """One decode step for several requests, one row each, with the same operations every time.

    table: the input, int64, one column per row: its token, its position, and more that the subclass needs. never:
    (rows, vocabulary), −∞ for forbidden ids. logits: the output, (rows, vocabulary) float32. After a step the table is
    the input of the next one, with the most probable tokens.
    """

    rows: int
    device: torch.device
    table: Tensor
    token: Tensor
    position: Tensor
    never: Tensor
    logits: Tensor

    @abstractmethod
    def column(self, token: int, cache: StepCache) -> list[int]:
        """A request's column of the table, for one more token."""

    @abstractmethod
    def run(self) -> None:
        """Launch the operations."""


class RecordedStep:
    """A decode step with its CUDA graph, and the request whose state is in its table between tokens."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self._graph: torch.cuda.CUDAGraph | None = None
        self._never: list[Sequence[int]] = [()] * step.rows
        self._holder: weakref.ref[StepCache] | None = None

    def begin(self, ids: Sequence[int], caches: Sequence[StepCache]) -> None:
        """Load requests with one more token each; unused rows repeat the first request."""
        self._leave()
        columns = [self.step.column(token, cache) for token, cache in zip(ids, caches, strict=True)]
        columns += columns[:1] * (self.step.rows - len(columns))
        self.step.table.copy_(torch.tensor(columns).T)

    def resume(self, cache: StepCache) -> None:
        """Load a request that continues from the token its last step chose, without a copy to the host."""
        if self._holder is None or self._holder() is not cache:
            self._leave()
            assert cache.table is not None
            self.step.table.copy_(cache.table)
            self._holder = weakref.ref(cache)

    def _leave(self) -> None:
        """Save the state of the current request with its cache, so that it can be resumed."""
        left = None if self._holder is None else self._holder()
        if left is not None and left.table is not None:
            left.table.copy_(self.step.table)
        self._holder = None

    def choose(self, never: Sequence[Sequence[int]], how: Tensor | None) -> None:
        """Run one step and choose its tokens.

        never: forbidden ids of each request. how: see `draw.parameters`, for every row; None is greedy.
        """
        for row, ids in enumerate(never):
            if self._never[row] is not ids:
                self._never[row] = ids
                self.step.never[row].zero_()
                self.step.never[row, list(ids)] = float("-inf")
        self.launch()
        if how is not None:
            token = draw_tokens(self.step.logits + self.step.never, how)
            self.step.token.copy_(torch.where(how[0] > 0, token, self.step.token))

    def launch(self) -> None:
        """Run one step. The first one is run eagerly, which compiles the kernels, and then recorded."""
        if self._graph is not None:
            self._graph.replay()
            return
        self.step.run()
        if self.step.device.type == "cuda":
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self.step.run()
            self._graph = graph
