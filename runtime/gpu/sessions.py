"""Requests on a GPU: a cache each, and a decode step that is recorded once and replayed for every token."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from llorch.runtime.blocks.cache import Cache
from llorch.runtime.decoder import Decoder
from llorch.runtime.errors import ContextFull
from llorch.runtime.gpu.fuse import fuse
from llorch.runtime.gpu.matrix import on_device
from llorch.runtime.gpu.prefill import Prefill
from llorch.runtime.gpu.step import DecodeStep

SMALLEST = 256  # positions of a cache; from there on they double, so that few graphs are made
AHEAD = 3  # steps that are on their way while the host looks at a token
KEPT = 2  # caches of a size that are kept for the next request


class Slot:
    """A cache's memory, and the step that was recorded over it; one request's at a time."""

    def __init__(self, decoder: Decoder, positions: int, device: torch.device) -> None:
        traits = decoder.traits
        shape = (traits.n_layers, 2, traits.kv_heads, positions, traits.head_dim)
        self.decoder = decoder
        self.stored = torch.empty(shape, device=device)
        self.step: DecodeStep | None = None
        self.prefill: Prefill | None = None
        self.graph: torch.cuda.CUDAGraph | None = None
        self.planned = 0

    def ready(self, planned: int) -> DecodeStep:
        """The step, with the rotary embeddings of a request that may grow to so many positions."""
        if self.step is None:
            self.step = DecodeStep(self.decoder, self.stored, planned)
        elif planned != self.planned:
            self.step.plan(planned)
        self.planned = planned
        return self.step

    def launch(self) -> None:
        """One step. The first one is run as it is, which compiles its kernels, and recorded then."""
        assert self.step is not None
        with on_device(self.stored.device):
            self._launch(self.step)

    def _launch(self, step: DecodeStep) -> None:
        if self.graph is not None:
            self.graph.replay()
            return
        step.run()
        if self.stored.is_cuda:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                step.run()
            self.graph = graph


class GpuCache(Cache):
    """A request's cache in a slot's memory."""

    def __init__(self, slot: Slot, planned: int) -> None:
        self.planned = planned
        self.length = 0
        self.slot = slot
        self._stored = slot.stored
        self._keys = dict(enumerate(slot.stored))
        self._latents = {}
        self._states = {}


class Sessions:
    """The slots of one model; any number of threads may ask."""

    def __init__(self, decoder: Decoder, device: torch.device) -> None:
        self._decoder, self._device = decoder, device
        numbers = decoder.weights.head.weight.numbers
        one = numbers.dtype == torch.float32 and not decoder.weights.devices  # a step is one device's graph
        self.fused = one and decoder.traits.is_plain and fuse(decoder.weights)
        self._free: dict[int, list[Slot]] = {}
        self._lock = threading.RLock()  # a collected cache may give its slot back while this thread takes one

    @torch.inference_mode()
    def new_cache(self, planned: int) -> GpuCache:
        """As `Model.new_cache`."""
        traits = self._decoder.traits
        if planned > traits.n_ctx:
            raise ContextFull(planned, traits.n_ctx, "the request")
        positions = SMALLEST
        while positions < planned:
            positions *= 2
        positions = min(positions, traits.n_ctx)
        with self._lock:
            free = self._free.setdefault(positions, [])
            slot = free.pop() if free else None
        slot = slot or Slot(self._decoder, positions, self._device)
        cache = GpuCache(slot, planned)
        weakref.finalize(cache, self._give_back, positions, slot)
        return cache

    def _give_back(self, positions: int, slot: Slot) -> None:
        with self._lock:
            if len(self._free[positions]) < KEPT:
                self._free[positions].append(slot)

    @torch.inference_mode()
    def next_logits(self, ids: Sequence[int], cache: Cache) -> Tensor | None:
        """Logits after the last of some more tokens, (vocabulary,) on the device; None where that is not fused."""
        if len(ids) > 1:
            hidden = self.prefilled(ids, cache)
            return None if hidden is None else self._decoder.logits(hidden)[0]
        step = self._begun(ids[0], cache)
        if step is None:
            return None
        assert isinstance(cache, GpuCache)
        cache.slot.launch()
        cache.advance(1)
        return step.logits.clone()

    @torch.inference_mode()
    def most_probable(
        self, token: int, cache: Cache, wanted: int, never: Sequence[int]
    ) -> Iterator[int] | None:
        """The tokens after `token`, each the most probable one, as many as are taken; None where not fused.

        Steps run ahead of what is taken: the cache is not to be used for anything else. never: ids that are not taken.
        """
        step = self._begun(token, cache)
        if step is None:
            return None
        step.never.zero_()
        step.never[list(never)] = float("-inf")
        assert isinstance(cache, GpuCache)
        return _ahead(cache, step, wanted)

    @torch.inference_mode()
    def prefilled(self, ids: Sequence[int], cache: Cache) -> Tensor | None:
        """The last hidden state of more tokens, (1, hidden_size), normed; None where that is not fused."""
        if not self.fused or not isinstance(cache, GpuCache):
            return None
        _require_place(cache, len(ids))
        step = cache.slot.ready(cache.planned)
        with on_device(self._device):
            if cache.slot.prefill is None:
                cache.slot.prefill = Prefill(self._decoder, cache.slot.stored, step.angles)
            hidden = cache.slot.prefill.last_hidden(ids, cache.length)
        cache.advance(len(ids))
        return hidden

    def _begun(self, token: int, cache: Cache) -> DecodeStep | None:
        if not self.fused or not isinstance(cache, GpuCache):
            return None
        _require_place(cache, 1)
        step = cache.slot.ready(cache.planned)
        step.token.fill_(token)
        step.position.fill_(cache.length)
        return step


def _require_place(cache: Cache, new: int) -> None:
    if cache.length + new > cache.planned:
        raise ContextFull(cache.length + new, cache.planned, "the next step", "its cache")


def _ahead(cache: GpuCache, step: DecodeStep, wanted: int) -> Iterator[int]:
    on_gpu = step.token.is_cuda
    places = [torch.empty(1, dtype=torch.int64, pin_memory=on_gpu) for _ in range(AHEAD)]
    done = [_event() if on_gpu else None for _ in range(AHEAD)]
    waiting: deque[int] = deque()
    for n in range(wanted):
        if len(waiting) == AHEAD:
            yield _taken(places, done, waiting.popleft())
        with torch.inference_mode():
            cache.slot.launch()
            cache.advance(1)
            places[n % AHEAD].copy_(step.token, non_blocking=True)
        event = done[n % AHEAD]
        if event is not None:
            event.record()
        waiting.append(n % AHEAD)
    while waiting:
        yield _taken(places, done, waiting.popleft())


def _event() -> torch.cuda.Event:
    return torch.cuda.Event()  # type: ignore[no-untyped-call]


def _taken(places: list[Tensor], done: list[torch.cuda.Event | None], at: int) -> int:
    event = done[at]
    if event is not None:
        event.synchronize()
    return int(places[at])
