"""Measure how fast a model runs on this machine, and how close that is to the memory bandwidth."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from llorch.runtime.blocks.experts import FeedForward, Mixture
from llorch.runtime.blocks.linear import Linear
from llorch.runtime.errors import RequestError
from llorch.runtime.loading import load
from llorch.runtime.mode import Mode
from llorch.runtime.model import Model
from llorch.runtime.sampling import Choice, Sampling
from llorch.runtime.weights import Attention, Weights

READ_BYTES = 1 << 28  # summed by each thread: larger than any cache


@dataclass(frozen=True, slots=True)
class Speed:
    """A model's measured speed.

    prefill, decode: tokens per second. load, first_token: seconds, both from the start of loading.
    peak_bytes: the process's peak memory so far, None if the system does not say. weight_bytes: read per token, None if
    some layer's kind is not counted. read_bandwidth: bytes per second that this many threads sum from memory.
    """

    mode: Mode
    threads: int
    prompt_tokens: int
    generate_tokens: int
    depth: int
    load: float
    first_token: float
    prefill: float
    decode: float
    peak_bytes: int | None
    weight_bytes: int | None
    read_bandwidth: float

    @property
    def bandwidth_share(self) -> float | None:
        """Fraction of the read bandwidth that reading the weights takes during decoding."""
        return None if self.weight_bytes is None else self.weight_bytes * self.decode / self.read_bandwidth


@torch.inference_mode()
def measure_speed(
    path: str | os.PathLike[str],
    *,
    prompt_tokens: int = 512,
    generate_tokens: int = 128,
    depth: int = 0,
    threads: int | None = None,
    mode: Mode | str = Mode.FAST,
    device: str = "cpu",
    progress: Callable[[str], None] | None = None,
) -> Speed:
    """Load a model and measure it; ContextFull if it has fewer positions than are asked for.

    depth: positions in the cache before either measurement. threads: torch's number by default.
    progress: called with what is measured next.
    """
    if min(prompt_tokens, generate_tokens) < 1 or depth < 0:
        raise RequestError("a speed is measured over at least one token of each, at a depth of at least 0")
    tell = progress or (lambda _what: None)
    with _threads(threads) as count:
        begun = time.perf_counter()
        tell("load")
        with load(path, device, mode=mode) as model:
            loaded = time.perf_counter()
            _time_prefill(model, [1 % model.vocabulary_size], 0)
            first = time.perf_counter()
            tell("prefill")
            # warm-up: compiles the kernels for many tokens
            _time_prefill(model, _tokens(model, prompt_tokens), 0)
            prefill = _time_prefill(model, _tokens(model, prompt_tokens), depth)
            tell("decode")
            decode = _time_decode(model, generate_tokens, depth)
            tell("memory")
            return Speed(
                mode=model.mode,
                threads=count,
                prompt_tokens=prompt_tokens,
                generate_tokens=generate_tokens,
                depth=depth,
                load=loaded - begun,
                first_token=first - begun,
                prefill=prompt_tokens / prefill,
                decode=generate_tokens / decode,
                peak_bytes=peak_bytes(),
                weight_bytes=weight_bytes(model.decoder.weights),
                read_bandwidth=read_bandwidth(count),
            )


@contextmanager
def _threads(asked: int | None) -> Iterator[int]:
    """Set torch's number of threads, which the kernels use too, for the duration of the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(asked or before)
    try:
        yield asked or before
    finally:
        torch.set_num_threads(before)


def _tokens(model: Model, count: int) -> list[int]:
    """Token ids that do not repeat soon, the same in every run."""
    return [(place * 7919 + 13) % model.vocabulary_size for place in range(count)]


def _time_prefill(model: Model, tokens: list[int], depth: int) -> float:
    """Seconds for one prefill of these tokens, with `depth` positions already in the cache."""
    cache = model.new_cache(depth + len(tokens))
    if depth:
        model.step(_tokens(model, depth), cache)
    begun = time.perf_counter()
    model.step(tokens, cache)
    return time.perf_counter() - begun


def _time_decode(model: Model, count: int, depth: int) -> float:
    """Seconds for `count` greedy decode steps."""
    ahead = max(1, depth)
    cache = model.new_cache(ahead + count)
    token = int(model.step(_tokens(model, ahead), cache).argmax())
    begun = time.perf_counter()
    choice = Choice(Sampling())
    made = model.tokens_after(token, cache, count, choice)  # sampled on the device if it can, as requests are
    if made is not None:
        for _ in made:
            pass
    else:
        for _ in range(count):
            token = int(model.step([token], cache).argmax())
    return time.perf_counter() - begun


def weight_bytes(weights: Weights) -> int | None:
    """Bytes of the matrices that one token is multiplied with; of a mixture, only the experts that it uses."""
    total = _bytes(weights.head)
    for layer in weights.layers:
        attention = layer.attention
        if not isinstance(attention, Attention) or not isinstance(layer.ffn, FeedForward | Mixture):
            return None
        own = (attention.q, attention.k, attention.v, attention.output)
        total += sum(_bytes(linear) for linear in own if linear is not None)
        total += _network_bytes(layer.ffn)
    return total


def _network_bytes(ffn: FeedForward | Mixture) -> int:
    if isinstance(ffn, FeedForward):
        return sum(map(_bytes, ffn.linears()))
    around = sum(map(_bytes, filter(None, (ffn.router, ffn.shared_gate))))
    shared = 0 if ffn.shared is None else _network_bytes(ffn.shared)
    return around + shared + ffn.routing.used * _network_bytes(ffn.experts[0])


def _bytes(linear: Linear) -> int:
    blocks = linear.weight.blocks()
    if blocks is None:
        return linear.weight.rows * linear.weight.columns * linear.weight.numbers.dtype.itemsize
    return blocks.raw.nbytes


def read_bandwidth(threads: int) -> float:
    """Bytes per second that this many threads sum from memory, the best of three runs."""
    parts = [np.ones(READ_BYTES // 8, np.uint64) for _ in range(threads)]
    best = 0.0
    for _ in range(3):
        workers = [threading.Thread(target=part.sum) for part in parts]
        begun = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        best = max(best, threads * READ_BYTES / (time.perf_counter() - begun))
    return best


def peak_bytes() -> int | None:
    """Peak memory of this process in bytes; None if the system does not say."""
    try:
        import resource  # not on Windows
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
