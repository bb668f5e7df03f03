"""A soak test: concurrent requests of all lengths, each to be answered bit for bit as a fresh model answers it.

An error that a fresh model makes too, such as wrong positions in a second chunk, is found by another check: a prompt
read in chunks may differ from the whole prompt only by rounding, whose size is measured against float64.
"""

from __future__ import annotations

import ctypes
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from llorch.runtime.measure.compare import compare_logits
from llorch.runtime.mode import Mode
from llorch.runtime.model import GREEDY, Model
from llorch.runtime.sampling import Sampling

Kind = Literal["rapid", "long", "chunks"]

KINDS: Sequence[Kind] = ("rapid", "long", "chunks", "rapid")  # the requests' kinds, in turn
REQUESTS = 24  # distinct requests, each made many times
AT_ONCE = 2  # threads that make requests
RAPID, LONG = (8, 4), (192, 48)  # most tokens of the prompt, and most new ones
CANCELLED = 0.25  # fraction of requests that are cancelled after a random piece
TOP = 8  # tokens whose log probabilities are compared, after a prompt read in chunks
NOISE_POSITIONS = 32  # of each prompt read in chunks, that are computed in float64 too
# Limit of the mean KL in nats between a prompt in chunks and as a whole: this multiple of the mode's own distance from
# float64, because chunks are summed in another order; at least the limit of verification's checks. Fast mode is tested
# in the finer mode with the same steps: its own rounding is as large as the effect of positions off by one.
NOISES, LEAST_LIMIT = 10, 1e-10
FINE = {Mode.FAST: Mode.VERIFY}
GROWTH_BYTES = 32 << 20  # allowed growth of a process after each request was made a few times
HOT = Sampling(temperature=0.8, seed=11)


@dataclass(frozen=True, slots=True)
class Ask:
    """A request.

    kind: `chunks` compares the probabilities after a prompt read in chunks, the others the new tokens. chunk: size of
    the prompt's chunks.
    """

    kind: Kind
    prompt: tuple[int, ...]
    tokens: int
    sampling: Sampling
    chunk: int

    def __str__(self) -> str:
        how = f"chunks of {self.chunk}" if self.kind == "chunks" else self.kind
        return f"{how}, a prompt of {len(self.prompt)} tokens"


@dataclass(frozen=True, slots=True)
class Fresh:
    """What a model that has answered nothing before says.

    answers: one per request. wrong: errors that it shows by itself.
    """

    answers: list[list[Any]]
    wrong: list[str]


@dataclass(slots=True)
class Soak:
    """The result of a soak test.

    asked, cancelled, chunked: numbers of requests. tokens: new ones. wrong: descriptions of answers that differ from
    the fresh model's.
    """

    asked: int = 0
    cancelled: int = 0
    chunked: int = 0
    tokens: int = 0
    wrong: list[str] = field(default_factory=list)
    warm_bytes: int = 0
    end_bytes: int = 0
    seconds: float = 0.0

    @property
    def grown(self) -> int:
        """Bytes by which memory grew since the end of the first round of requests."""
        return max(0, self.end_bytes - self.warm_bytes)

    @property
    def passed(self) -> bool:
        """Whether every answer was right and memory did not grow."""
        return self.asked > 0 and not self.wrong and self.grown <= GROWTH_BYTES


def asks(seed: int, vocabulary: int, n_ctx: int) -> list[Ask]:
    """The requests for a seed, for a model of this vocabulary and context."""
    draw, found = random.Random(seed), list[Ask]()  # noqa: S311  # no secret
    for number in range(REQUESTS):
        kind = KINDS[number % len(KINDS)]
        most, new = RAPID if kind == "rapid" else LONG
        room = max(1, n_ctx - new)
        prompt = tuple(draw.randrange(vocabulary) for _ in range(draw.randint(1, min(most, room))))
        tokens = min(draw.randint(1, new), n_ctx - len(prompt))
        found.append(Ask(kind, prompt, tokens, draw.choice((GREEDY, HOT)), draw.randint(1, len(prompt))))
    return found


def answer(model: Model, ask: Ask) -> list[Any]:
    """Answer a request: the new tokens, or (token, log probability) of the most probable."""
    if ask.kind != "chunks":
        return list(model.generate(ask.prompt, max_new_tokens=ask.tokens, sampling=ask.sampling).ids)
    last = model.logits(ask.prompt, chunk=ask.chunk)[-1].double().log_softmax(-1)
    best = last.topk(min(TOP, len(last)))
    # in hexadecimal, which is exact and can express NaN
    return [
        [token, value.hex()] for token, value in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]


def fresh_answers(path: Path, seed: int, device: str, mode: str) -> Fresh:
    """Answer each request by a freshly loaded model, and check prompts in chunks against whole ones."""
    from llorch.runtime.loading import load

    with load(path, device, mode=mode) as model:
        requests = asks(seed, model.vocabulary_size, model.n_ctx)
    answers = []
    for ask in requests:
        with load(path, device, mode=mode) as model:
            answers.append(answer(model, ask))
    # the float64 model is tile by tile on the CPU: every device's noise is measured against the same reference
    with (
        load(path, device, mode=FINE.get(Mode(mode), mode)) as model,
        load(path, "cpu", "float64", dequantized_bytes=0) as exact,
    ):
        return Fresh(answers, _apart(model, exact, [ask for ask in requests if ask.kind == "chunks"]))


def _apart(model: Model, exact: Model, requests: Sequence[Ask]) -> list[str]:
    """Describe the prompts whose logits in chunks differ from those of the whole prompt by more than rounding."""
    apart, noise = [], 0.0
    for ask in requests:
        whole = model.logits(ask.prompt)
        apart.append(compare_logits(whole, model.logits(ask.prompt, chunk=ask.chunk)).kl_mean)
        few = exact.logits(ask.prompt[:NOISE_POSITIONS])
        noise = max(noise, compare_logits(few, whole[: len(few)]).kl_mean)
    limit = max(NOISES * noise, LEAST_LIMIT)
    return [
        f"{ask}: {kl:.2g} nats from the prompt as a whole, rounding explains {limit:.2g}"
        for ask, kl in zip(requests, apart, strict=True)
        if not kl <= limit
    ]


def soak(
    model: Model,
    fresh: Fresh,
    *,
    seed: int,
    seconds: float,
    progress: Callable[[int, int], None] | None = None,
) -> Soak:
    """Make random requests for `seconds`, and each of them at least once per thread.

    fresh: `fresh_answers` for the same seed.
    """
    requests, found = asks(seed, model.vocabulary_size, model.n_ctx), Soak(wrong=list(fresh.wrong))
    begun, lock, over = time.monotonic(), threading.Lock(), threading.Event()

    def in_order(draw: random.Random) -> None:
        for ask, expected in zip(requests, fresh.answers, strict=True):
            _judge(model, ask, expected, draw, found, lock)

    def at_random(draw: random.Random) -> None:
        while not over.is_set():
            number = draw.randrange(len(requests))
            _judge(model, requests[number], fresh.answers[number], draw, found, lock)

    draws = [random.Random(f"{seed}.{thread}") for thread in range(AT_ONCE)]  # noqa: S311
    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(in_order, draws))  # first, so that caches are filled before memory is measured
        found.warm_bytes = held_bytes()
        asking = [threads.submit(at_random, draw) for draw in draws]
        try:
            while (spent := time.monotonic() - begun) < seconds:
                if progress is not None:
                    progress(int(spent), int(seconds))
                time.sleep(min(1, seconds - spent))
        finally:
            over.set()
        for one in asking:
            one.result()
    found.end_bytes, found.seconds = held_bytes(), time.monotonic() - begun
    return found


def _judge(
    model: Model, ask: Ask, expected: list[Any], draw: random.Random, found: Soak, lock: threading.Lock
) -> None:
    """Make one request, cancelled at random, and compare its answer with the fresh one."""
    cancelled = ask.kind != "chunks" and draw.random() < CANCELLED
    got, wrong = list[Any](), ""
    try:
        if cancelled:
            stream = model.stream(ask.prompt, max_new_tokens=ask.tokens, sampling=ask.sampling)
            for _ in range(draw.randint(0, ask.tokens)):
                next(stream, None)
            stream.cancel()
            for _ in stream:
                pass
            got = list(stream.ids)
            expected = expected[: len(got)]
        else:
            got = answer(model, ask)
        if got != expected:
            at = next((i for i, pair in enumerate(zip(got, expected, strict=False)) if pair[0] != pair[1]), 0)
            wrong = f"{got[at : at + 1]} at {at}, a fresh process has {expected[at : at + 1]}"
    except Exception as error:  # noqa: BLE001  # a request that raises is a wrong answer
        wrong = f"{type(error).__name__}: {error}"
    with lock:
        found.asked += 1
        found.cancelled += cancelled
        found.chunked += ask.kind == "chunks"
        found.tokens += 0 if ask.kind == "chunks" else len(got)
        if wrong:
            found.wrong.append(f"{ask}{', cancelled' if cancelled else ''}: {wrong}")


def held_bytes() -> int:
    """Resident memory of this process in bytes; its peak where the system does not say the current value.

    glibc keeps freed memory for reuse, partly per thread, up to 64 MiB beyond the last piece in use. It is trimmed
    first: it is neither held by a request nor does it grow without bound.
    """
    trim = None if sys.platform == "win32" else getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        import resource  # not on Windows, where there is no /proc either

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return pages * os.sysconf("SC_PAGE_SIZE")
