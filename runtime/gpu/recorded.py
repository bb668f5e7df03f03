"""A decode step that is run once, recorded then, and replayed for every further token."""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from llorch.runtime.gpu.draw import drawn
from llorch.runtime.gpu.memory import StepCache


class Step(ABC):
    """One token of each of some requests, a row each, by the same operations every time.

    table: the input, int64: a column for each row, first its token, then its position. never: (rows, vocabulary), −∞
    where an id is not taken. logits: the output, (rows, vocabulary) float32; the table is then that of the next step,
    each token the most probable.
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
        """A request's part of the table, after one more token."""

    @abstractmethod
    def run(self) -> None:
        """Launches it."""


class RecordedStep:
    """A decode step, its graph once it was run, and whose state stays in it from one token to the next."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self._graph: torch.cuda.CUDAGraph | None = None
        self._never: list[Sequence[int]] = [()] * step.rows
        self._holder: weakref.ref[StepCache] | None = None

    def begin(self, ids: Sequence[int], caches: Sequence[StepCache]) -> None:
        """Takes requests in, after one more token each; rows that are left compute the first one once more."""
        self._leave()
        columns = [self.step.column(token, cache) for token, cache in zip(ids, caches, strict=True)]
        columns += columns[:1] * (self.step.rows - len(columns))
        self.step.table.copy_(torch.tensor(columns).T)

    def resume(self, cache: StepCache) -> None:
        """Takes a request in that goes on from its last token here, without a look at it by the host."""
        if self._holder is None or self._holder() is not cache:
            self._leave()
            assert cache.table is not None
            self.step.table.copy_(cache.table)
            self._holder = weakref.ref(cache)

    def _leave(self) -> None:
        """Leaves the state of a request that is to be resumed with its cache."""
        left = None if self._holder is None else self._holder()
        if left is not None and left.table is not None:
            left.table.copy_(self.step.table)
        self._holder = None

    def choose(self, never: Sequence[Sequence[int]], how: Tensor | None) -> None:
        """One step, after which its tokens are those chosen.

        never: of each request the ids that are not taken. how: as `parameters` gives it, for every row; None takes the
        most probable.
        """
        for row, ids in enumerate(never):
            if self._never[row] is not ids:
                self._never[row] = ids
                self.step.never[row].zero_()
                self.step.never[row, list(ids)] = float("-inf")
        self.launch()
        if how is not None:
            token = drawn(self.step.logits + self.step.never, how)
            self.step.token.copy_(torch.where(how[0] > 0, token, self.step.token))

    def launch(self) -> None:
        """One step. The first one is run as it is, which compiles its kernels, and recorded then."""
        if self._graph is not None:
            self._graph.replay()
            return
        self.step.run()
        if self.step.device.type == "cuda":
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self.step.run()
            self._graph = graph
