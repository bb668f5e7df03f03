"""Requests on a GPU: their caches, and decode steps recorded as CUDA graphs and replayed for every token."""

from __future__ import annotations

import threading
import weakref
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from llorch.runtime.blocks.cache import Cache
from llorch.runtime.blocks.rope import rotation
from llorch.runtime.decoder import Decoder
from llorch.runtime.errors import ContextFull
from llorch.runtime.gpu.draw import parameters
from llorch.runtime.gpu.fuse import fuse
from llorch.runtime.gpu.matrix import on_device
from llorch.runtime.gpu.memory import GpuCache, StepCache, no_place, ropes
from llorch.runtime.gpu.prefill import Prefill
from llorch.runtime.gpu.recorded import RecordedStep
from llorch.runtime.gpu.slots import Slot, SlotCache, can_record
from llorch.runtime.gpu.step import DecodeStep
from llorch.runtime.sampling import Choice
from llorch.runtime.traits import Rope

# positions of the smallest cache; capacities double from there, so that few graphs are recorded
SMALLEST = 256
MOST_ROWS = 32  # requests in a step; smaller steps have 1, 2, 4 … rows, of which some may be duplicates
DRAWS = 64  # steps whose random numbers are copied to the device at once, since the copy makes it wait for the host
AHEAD = 3  # steps in flight while the host handles a token


class Sessions:
    """The recorded steps and prefills of one model; thread-safe."""

    def __init__(self, decoder: Decoder, device: torch.device) -> None:
        self._decoder, self._device = decoder, device
        numbers = decoder.weights.head.weight.numbers
        one = numbers.dtype == torch.float32 and not decoder.weights.devices  # a graph belongs to one device
        self.fused = one and fuse(decoder.traits, decoder.weights)
        self.records = self.fused or (one and can_record(decoder.traits, decoder.weights))
        self._slots: dict[int, list[Slot]] = defaultdict(list)
        self._place = no_place(device)
        self._steps: dict[tuple[int, int], RecordedStep] = {}
        self._prefills: dict[int, Prefill] = {}
        self._angles: dict[tuple[Rope, int, tuple[float, ...]], Tensor] = {}
        self._lock = threading.RLock()  # launches of different requests must not interleave

    @torch.inference_mode()
    def new_cache(self, planned: int) -> StepCache:
        """See `Model.new_cache`; for models whose steps are recorded."""
        traits = self._decoder.traits
        if planned > traits.n_ctx:
            raise ContextFull(planned, traits.n_ctx, "the request")
        capacity = SMALLEST
        while capacity < planned:
            capacity *= 2
        capacity = min(capacity, traits.n_ctx)
        if not self.fused:
            return self._slot_cache(capacity, planned)
        shape = (traits.n_layers, 2, traits.kv_heads, capacity, traits.head_dim)
        with self._lock:
            stored = torch.empty(shape, device=self._device)
            angles = {rope: self._angles_of(rope, capacity, planned) for rope in ropes(traits)}
        return GpuCache(stored, angles, planned)

    def _slot_cache(self, capacity: int, planned: int) -> SlotCache:
        with self._lock, on_device(self._device):
            free = self._slots[capacity]
            slot = free.pop() if free else Slot(self._decoder, capacity, self._device)
            slot.begin(self._decoder.traits, planned)
        cache = SlotCache(slot, planned)
        weakref.finalize(cache, free.append, slot)
        return cache

    def _angles_of(self, rope: Rope, capacity: int, planned: int) -> Tensor:
        """Cosines and sines of all positions of a cache, (2, capacity, n_rot / 2)."""
        key = rope, capacity, tuple(rope.planned_for(planned))
        if key not in self._angles:
            self._angles[key] = torch.stack(rotation(rope, range(capacity), planned, self._place))
        return self._angles[key]

    @torch.inference_mode()
    def next_logits(self, ids: Sequence[int], cache: Cache) -> Tensor | None:
        """Logits after the last of the given tokens, (vocabulary,) on the device; None without kernels for it."""
        if len(ids) > 1:
            hidden = self.prefill_last(ids, cache)
            return None if hidden is None else self._decoder.logits(hidden)[0]
        logits = self.logits_together(ids, [cache])
        return None if logits is None else logits[0]

    @torch.inference_mode()
    def logits_together(self, ids: Sequence[int], caches: Sequence[Cache]) -> Tensor | None:
        """Logits of several requests after one more token each, (requests, vocabulary); None for other caches."""
        mine = self._ours(caches)
        if mine is None:
            return None
        made: dict[int, Tensor] = {}
        with self._lock, on_device(self._device):
            for places, recorded in self._begin(ids, mine):
                recorded.launch()
                made |= zip(places, recorded.step.logits.clone(), strict=False)
        return torch.stack([made[place] for place in range(len(ids))])

    @torch.inference_mode()
    def choose_together(
        self, ids: Sequence[int], caches: Sequence[Cache], choices: Sequence[Choice]
    ) -> Callable[[], list[int]]:
        """See `Model.choose_together`."""
        mine = self._ours(caches)
        assert mine is not None
        order, made = list[int](), list[Tensor]()
        with self._lock, on_device(self._device):
            for places, recorded in self._begin(ids, mine):
                chosen = [choices[place] for place in places]
                padding = chosen[:1] * (recorded.step.rows - len(places))
                how = parameters([*chosen, *padding], recorded.step.logits)
                recorded.choose([choice.never for choice in chosen], how)
                order += places
                made.append(recorded.step.token[: len(places)].clone())
        return lambda: [token for _, token in sorted(zip(order, torch.cat(made).tolist(), strict=True))]

    @torch.inference_mode()
    def tokens_after(self, token: int, cache: Cache, wanted: int, choice: Choice) -> Iterator[int] | None:
        """See `Model.tokens_after`; None for a cache of another kind."""
        mine = self._ours([cache])
        if mine is None:
            return None
        with self._lock, on_device(self._device):
            recorded = self._step(mine[0])
            recorded.begin([token], mine)
            mine[0].table = recorded.step.table.clone()
        return self._ahead(mine[0], recorded, wanted, choice)

    @torch.inference_mode()
    def prefill_last(self, ids: Sequence[int], cache: Cache) -> Tensor | None:
        """The normed hidden state of the last of the given tokens, (1, hidden_size); None without kernels for it."""
        if not self.fused or not isinstance(cache, GpuCache):
            return None
        _require_place(cache, len(ids))
        with self._lock, on_device(self._device):
            prefill = self._prefills.get(cache.capacity)
            if prefill is None:
                prefill = Prefill(self._decoder, self._place, cache.capacity)
                self._prefills[cache.capacity] = prefill
            hidden = prefill.last_hidden(ids, cache)
        cache.advance(len(ids))
        return hidden

    def _ours(self, caches: Sequence[Cache]) -> list[StepCache] | None:
        mine = [cache for cache in caches if isinstance(cache, StepCache)]
        if len(mine) < len(caches):
            return None
        for cache in mine:
            _require_place(cache, 1)
        return mine

    def _begin(
        self, ids: Sequence[int], caches: Sequence[StepCache]
    ) -> Iterator[tuple[list[int], RecordedStep]]:
        """Yield loaded steps with the indices of their requests; each must be launched before the next is requested.

        Requests with caches of equal capacity share a step, except those in slots. Their positions are advanced.
        """
        groups = defaultdict[object, list[int]](list)
        for place, cache in enumerate(caches):
            groups[cache.capacity if isinstance(cache, GpuCache) else cache].append(place)
        for members in groups.values():
            for first in range(0, len(members), MOST_ROWS):
                places = members[first : first + MOST_ROWS]
                recorded = self._step(caches[places[0]], len(places))
                recorded.begin([ids[place] for place in places], [caches[place] for place in places])
                for place in places:
                    caches[place].advance(1)
                yield places, recorded

    def _step(self, cache: StepCache, requests: int = 1) -> RecordedStep:
        """The recorded step for this number of requests, with caches like this one."""
        if isinstance(cache, SlotCache):
            return cache.slot.recorded
        assert isinstance(cache, GpuCache)
        key = cache.capacity, 1 << (requests - 1).bit_length()
        if key not in self._steps:
            self._steps[key] = RecordedStep(DecodeStep(self._decoder, self._place, *key))
        return self._steps[key]

    def _ahead(self, cache: StepCache, recorded: RecordedStep, wanted: int, choice: Choice) -> Iterator[int]:
        on_gpu = self._device.type == "cuda"
        places = [torch.empty(1, dtype=torch.int64, pin_memory=on_gpu) for _ in range(AHEAD)]
        done = [_event() if on_gpu else None for _ in range(AHEAD)]
        waiting: deque[int] = deque()
        hows: Tensor | None = None
        for n in range(wanted):
            if len(waiting) == AHEAD:
                yield _take(places, done, waiting.popleft())
            with self._lock, on_device(self._device), torch.inference_mode():
                recorded.resume(cache)
                if n % DRAWS == 0:
                    hows = parameters(
                        [replace(choice, step=choice.step + n + i) for i in range(DRAWS)],
                        recorded.step.logits,
                    )
                how = None if hows is None else hows[:, n % DRAWS, None]
                recorded.choose([choice.never], how)
                places[n % AHEAD].copy_(recorded.step.token, non_blocking=True)
                event = done[n % AHEAD]
                if event is not None:
                    event.record()
            cache.advance(1)
            waiting.append(n % AHEAD)
        while waiting:
            yield _take(places, done, waiting.popleft())


def _require_place(cache: Cache, new: int) -> None:
    if cache.length + new > cache.planned:
        raise ContextFull(cache.length + new, cache.planned, "the next step", "its cache")


def _event() -> torch.cuda.Event:
    return torch.cuda.Event()  # type: ignore[no-untyped-call]


def _take(places: list[Tensor], done: list[torch.cuda.Event | None], at: int) -> int:
    event = done[at]
    if event is not None:
        event.synchronize()
    return int(places[at])
