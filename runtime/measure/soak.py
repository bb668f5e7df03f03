"""A soak: many requests of every length at once for a while, each answered as a fresh process answers it, to the bit.

What is wrong in a fresh process too, such as positions of a second chunk, is found there: a prompt in chunks may be
as far from the same prompt as a whole as rounding explains, which is measured against float64.
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

KINDS: Sequence[Kind] = ("rapid", "long", "chunks", "rapid")  # in turns
REQUESTS = 24  # different ones, of which each comes again and again
AT_ONCE = 2  # threads that ask
RAPID, LONG = (8, 4), (192, 48)  # tokens of the prompt, and new ones, at most
CANCELLED = 0.25  # share of the requests that are cancelled after a random piece
TOP = 8  # tokens whose log-probabilities are compared, after a prompt that is read in chunks
NOISE_POSITIONS = 32  # of each prompt in chunks that are computed in float64 too
# Mean KL in nats between a prompt in chunks and as a whole: so many times the mode's own from float64, since another
# chunk sums in another order; at least that of verification's checks. Fast mode's positions and caches are looked at in
# the finer mode that has the same steps: its own rounding is as large as what positions off by one do.
NOISES, LEAST_LIMIT = 10, 1e-10
FINE = {Mode.FAST: Mode.VERIFY}
GROWTH_BYTES = 32 << 20  # that a process may keep more than when each request was made a few times
HOT = Sampling(temperature=0.8, seed=11)


@dataclass(frozen=True, slots=True)
class Ask:
    """A request. kind: what is compared, the new tokens or, read in chunks, the probabilities after the prompt.

    chunk: tokens of a prompt at a time, where it is read in chunks.
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
    """What a model says that has answered nothing before. answers: to each request. wrong: what it says of itself."""

    answers: list[list[Any]]
    wrong: list[str]


@dataclass(slots=True)
class Soak:
    """What came of it. wrong: answers that were not the fresh process's, in words. grown: bytes."""

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
        """Memory at the end beside that after the first round of requests."""
        return max(0, self.end_bytes - self.warm_bytes)

    @property
    def passed(self) -> bool:
        """Whether every answer was right, and the memory flat."""
        return self.asked > 0 and not self.wrong and self.grown <= GROWTH_BYTES


def asks(seed: int, vocabulary: int, n_ctx: int) -> list[Ask]:
    """The requests of a seed, of a model of this size."""
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
    """Of a request that nobody cancels: the new tokens, or (token, log-probability) of the most probable."""
    if ask.kind != "chunks":
        return list(model.generate(ask.prompt, max_new_tokens=ask.tokens, sampling=ask.sampling).ids)
    last = model.logits(ask.prompt, chunk=ask.chunk)[-1].double().log_softmax(-1)
    best = last.topk(min(TOP, len(last)))
    # in hexadecimal, which loses no bit and has a word for what is no number
    return [
        [token, value.hex()] for token, value in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]


def fresh_answers(path: Path, seed: int, device: str, mode: str) -> Fresh:
    """The answer to each request by a model that has answered nothing before, and whether chunks of it are right."""
    from llorch.runtime.loading import load

    with load(path, device, mode=mode) as model:
        requests = asks(seed, model.vocabulary_size, model.n_ctx)
    answers = []
    for ask in requests:
        with load(path, device, mode=mode) as model:
            answers.append(answer(model, ask))
    # by tiles, on the processor: every device's noise is measured against the same
    with (
        load(path, device, mode=FINE.get(Mode(mode), mode)) as model,
        load(path, "cpu", "float64", widened_bytes=0) as exact,
    ):
        return Fresh(answers, _apart(model, exact, [ask for ask in requests if ask.kind == "chunks"]))


def _apart(model: Model, exact: Model, requests: Sequence[Ask]) -> list[str]:
    """Which prompts say something else in chunks than as a whole, by more than rounding does."""
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
    """Asks at random for so long, each request at least once a thread. fresh: `fresh_answers` of the same seed."""
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
        list(threads.map(in_order, draws))  # so that what is kept between requests is there
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
    """One request, cancelled as chance has it, and its answer beside the fresh one."""
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
    except Exception as error:  # noqa: BLE001  # a request that falls over is a wrong answer
        wrong = f"{type(error).__name__}: {error}"
    with lock:
        found.asked += 1
        found.cancelled += cancelled
        found.chunked += ask.kind == "chunks"
        found.tokens += 0 if ask.kind == "chunks" else len(got)
        if wrong:
            found.wrong.append(f"{ask}{', cancelled' if cancelled else ''}: {wrong}")


def held_bytes() -> int:
    """Memory of this process that is in use: now where the system says it, else at its peak.

    glibc keeps what was freed, some of it for each thread, to give it out again, up to 64 MiB behind the last piece in
    use. That it has to give back first: it is neither kept by a request, nor does it grow without end.
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
