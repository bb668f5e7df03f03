"""Requests on a GPU: a cache each, and decode steps that are recorded once and replayed for every token."""

from __future__ import annotations

import threading
import weakref
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from llorch.runtime.blocks.cache import Cache
from llorch.runtime.blocks.rope import rotation
from llorch.runtime.decoder import Decoder
from llorch.runtime.errors import ContextFull
from llorch.runtime.gpu.draw import drawn, parameters
from llorch.runtime.gpu.fuse import fuse
from llorch.runtime.gpu.matrix import on_device
from llorch.runtime.gpu.memory import GpuCache, no_place, ropes
from llorch.runtime.gpu.prefill import Prefill
from llorch.runtime.gpu.step import DecodeStep
from llorch.runtime.sampling import Choice
from llorch.runtime.traits import Rope

SMALLEST = 256  # positions of a cache; from there on they double, so that few graphs are made
MOST_ROWS = (
    32  # requests of a step; of fewer there are steps for 1, 2, 4 …, of which some rows may be computed twice
)
AHEAD = 3  # steps that are on their way while the host looks at a token


class RecordedStep:
    """A decode step, its graph once it was run, and whose state stays in it from one token to the next."""

    def __init__(self, step: DecodeStep) -> None:
        self.step = step
        self._graph: torch.cuda.CUDAGraph | None = None
        self._never: list[Sequence[int]] = [()] * step.rows
        self._holder: weakref.ref[GpuCache] | None = None

    def begin(self, ids: Sequence[int], caches: Sequence[GpuCache]) -> None:
        """Takes requests in, after one more token each; rows that are left compute the first one once more."""
        self._leave()
        place = self.step.caches.stored
        columns = [
            [token, cache.length, *cache.offsets(place, self.step.ropes)]
            for token, cache in zip(ids, caches, strict=True)
        ]
        columns += columns[:1] * (self.step.rows - len(columns))
        self.step.table.copy_(torch.tensor(columns).T)

    def resume(self, cache: GpuCache) -> None:
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

    def choose(self, choices: Sequence[Choice]) -> None:
        """One step, after which its tokens are those chosen."""
        for row, choice in enumerate(choices):
            if self._never[row] is not choice.never:
                self._never[row] = choice.never
                self.step.never[row].zero_()
                self.step.never[row, list(choice.never)] = float("-inf")
        self.launch()
        if any(choice.sampling.temperature for choice in choices):
            how = parameters([*choices, *[choices[0]] * (self.step.rows - len(choices))], self.step.logits)
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


class Sessions:
    """The steps and prefills of one model; any number of threads may ask."""

    def __init__(self, decoder: Decoder, device: torch.device) -> None:
        self._decoder, self._device = decoder, device
        numbers = decoder.weights.head.weight.numbers
        one = numbers.dtype == torch.float32 and not decoder.weights.devices  # a step is one device's graph
        self.fused = one and decoder.traits.is_plain and fuse(decoder.weights)
        self._place = no_place(device)
        self._steps: dict[tuple[int, int], RecordedStep] = {}
        self._prefills: dict[int, Prefill] = {}
        self._angles: dict[tuple[Rope, int, tuple[float, ...]], Tensor] = {}
        self._lock = threading.RLock()  # what is launched for one request stays together

    @torch.inference_mode()
    def new_cache(self, planned: int) -> GpuCache:
        """As `Model.new_cache`."""
        traits = self._decoder.traits
        if planned > traits.n_ctx:
            raise ContextFull(planned, traits.n_ctx, "the request")
        capacity = SMALLEST
        while capacity < planned:
            capacity *= 2
        capacity = min(capacity, traits.n_ctx)
        shape = (traits.n_layers, 2, traits.kv_heads, capacity, traits.head_dim)
        with self._lock:
            stored = torch.empty(shape, device=self._device)
            angles = {rope: self._angles_of(rope, capacity, planned) for rope in ropes(traits)}
        return GpuCache(stored, angles, planned)

    def _angles_of(self, rope: Rope, capacity: int, planned: int) -> Tensor:
        """Cosines and sines of all positions of a cache, (2, capacity, n_rot / 2)."""
        key = rope, capacity, tuple(rope.planned_for(planned))
        if key not in self._angles:
            self._angles[key] = torch.stack(rotation(rope, range(capacity), planned, self._place))
        return self._angles[key]

    @torch.inference_mode()
    def next_logits(self, ids: Sequence[int], cache: Cache) -> Tensor | None:
        """Logits after the last of some more tokens, (vocabulary,) on the device; None where that is not fused."""
        if len(ids) > 1:
            hidden = self.prefilled(ids, cache)
            return None if hidden is None else self._decoder.logits(hidden)[0]
        logits = self.logits_together(ids, [cache])
        return None if logits is None else logits[0]

    @torch.inference_mode()
    def logits_together(self, ids: Sequence[int], caches: Sequence[Cache]) -> Tensor | None:
        """Logits of some requests, each after one more token, (requests, vocabulary); None where not fused."""
        mine = self._ours(caches)
        if mine is None:
            return None
        made: dict[int, Tensor] = {}
        with self._lock, on_device(self._device):
            for places, recorded in self._begun(ids, mine):
                recorded.launch()
                made |= zip(places, recorded.step.logits.clone(), strict=False)
        return torch.stack([made[place] for place in range(len(ids))])

    @torch.inference_mode()
    def choose_together(
        self, ids: Sequence[int], caches: Sequence[Cache], choices: Sequence[Choice]
    ) -> list[int]:
        """As `Model.choose_together`."""
        mine = self._ours(caches)
        assert mine is not None
        order, made = list[int](), list[Tensor]()
        with self._lock, on_device(self._device):
            for places, recorded in self._begun(ids, mine):
                recorded.choose([choices[place] for place in places])
                order += places
                made.append(recorded.step.token[: len(places)].clone())
            tokens = torch.cat(made).tolist()
        return [token for _, token in sorted(zip(order, tokens, strict=True))]

    @torch.inference_mode()
    def tokens_after(self, token: int, cache: Cache, wanted: int, choice: Choice) -> Iterator[int] | None:
        """As `Model.tokens_after`; None where not fused."""
        mine = self._ours([cache])
        if mine is None:
            return None
        with self._lock, on_device(self._device):
            recorded = self._step(mine[0].capacity, 1)
            recorded.begin([token], mine)
            mine[0].table = recorded.step.table.clone()
        return self._ahead(mine[0], recorded, wanted, choice)

    @torch.inference_mode()
    def prefilled(self, ids: Sequence[int], cache: Cache) -> Tensor | None:
        """The last hidden state of more tokens, (1, hidden_size), normed; None where that is not fused."""
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

    def _ours(self, caches: Sequence[Cache]) -> list[GpuCache] | None:
        mine = [cache for cache in caches if isinstance(cache, GpuCache)]
        if not self.fused or len(mine) < len(caches):
            return None
        for cache in mine:
            _require_place(cache, 1)
        return mine

    def _begun(
        self, ids: Sequence[int], caches: Sequence[GpuCache]
    ) -> Iterator[tuple[list[int], RecordedStep]]:
        """Steps that have taken all requests in, and the places of these; to be launched before the next is asked for.

        Requests of equal caches share a step. Their positions are counted on.
        """
        groups = defaultdict[int, list[int]](list)
        for place, cache in enumerate(caches):
            groups[cache.capacity].append(place)
        for capacity, members in groups.items():
            for first in range(0, len(members), MOST_ROWS):
                places = members[first : first + MOST_ROWS]
                recorded = self._step(capacity, 1 << (len(places) - 1).bit_length())
                recorded.begin([ids[place] for place in places], [caches[place] for place in places])
                for place in places:
                    caches[place].advance(1)
                yield places, recorded

    def _step(self, capacity: int, rows: int) -> RecordedStep:
        key = capacity, rows
        if key not in self._steps:
            self._steps[key] = RecordedStep(DecodeStep(self._decoder, self._place, capacity, rows))
        return self._steps[key]

    def _ahead(self, cache: GpuCache, recorded: RecordedStep, wanted: int, choice: Choice) -> Iterator[int]:
        on_gpu = self._device.type == "cuda"
        places = [torch.empty(1, dtype=torch.int64, pin_memory=on_gpu) for _ in range(AHEAD)]
        done = [_event() if on_gpu else None for _ in range(AHEAD)]
        waiting: deque[int] = deque()
        for n in range(wanted):
            if len(waiting) == AHEAD:
                yield _taken(places, done, waiting.popleft())
            with self._lock, on_device(self._device), torch.inference_mode():
                recorded.resume(cache)
                recorded.choose([Choice(choice.sampling, choice.step + n, choice.never)])
                places[n % AHEAD].copy_(recorded.step.token, non_blocking=True)
                event = done[n % AHEAD]
                if event is not None:
                    event.record()
            cache.advance(1)
            waiting.append(n % AHEAD)
        while waiting:
            yield _taken(places, done, waiting.popleft())


def _require_place(cache: Cache, new: int) -> None:
    if cache.length + new > cache.planned:
        raise ContextFull(cache.length + new, cache.planned, "the next step", "its cache")


def _event() -> torch.cuda.Event:
    return torch.cuda.Event()  # type: ignore[no-untyped-call]


def _taken(places: list[Tensor], done: list[torch.cuda.Event | None], at: int) -> int:
    event = done[at]
    if event is not None:
        event.synchronize()
    return int(places[at])
