"""A soak: many requests of every length at once for a while, each answered as a fresh process answers it."""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

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
# Nats between a prompt in chunks and in one: another chunk sums in another order. After random tokens FAST is up to
# 0.22 from exact itself (SmolLM2-135M, Q4_1), so that two of its readings may be twice as far from each other.
CHUNKS_APART = {Mode.EXACT: 1e-3, Mode.VERIFY: 1e-3, Mode.FAST: 0.5}
GROWTH_BYTES = (
    64 << 20
)  # that the process may grow by after each request was answered once: the allocator's slack
HOT = Sampling(temperature=0.8, seed=11)


@dataclass(frozen=True, slots=True)
class Ask:
    """A request. kind: what is compared, the new tokens or, read in chunks, the probabilities after the prompt."""

    kind: Kind
    prompt: tuple[int, ...]
    tokens: int
    sampling: Sampling


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
        found.append(Ask(kind, prompt, tokens, draw.choice((GREEDY, HOT))))
    return found


def answer(model: Model, ask: Ask, chunk: int | None = None) -> list[Any]:
    """Of a request that nobody cancels: the new tokens, or (token, log-probability) of the most probable ones."""
    if ask.kind != "chunks":
        return list(model.generate(ask.prompt, max_new_tokens=ask.tokens, sampling=ask.sampling).ids)
    last = model.logits(ask.prompt, chunk=chunk)[-1].double().log_softmax(-1)
    best = last.topk(min(TOP, len(last)))
    return [[token, value] for token, value in zip(best.indices.tolist(), best.values.tolist(), strict=True)]


def fresh_answers(path: Path, seed: int, device: str, mode: str) -> list[list[Any]]:
    """The answer to each request by a model that has answered nothing before."""
    from llorch.runtime.loading import load

    found = []
    with load(path, device, mode=mode) as model:
        requests = asks(seed, model.vocabulary_size, model.n_ctx)
    for ask in requests:
        with load(path, device, mode=mode) as model:
            found.append(answer(model, ask))
    return found


def soak(
    model: Model,
    expected: Sequence[list[Any]],
    *,
    seed: int,
    seconds: float,
    progress: Callable[[int, int], None] | None = None,
) -> Soak:
    """Asks at random for so long; each request at least once. expected: `fresh_answers` of the same seed."""
    requests, found, lock = asks(seed, model.vocabulary_size, model.n_ctx), Soak(), threading.Lock()
    begun = time.monotonic()
    for number, ask in enumerate(requests):  # in order, so that what is kept between requests is there
        _judge(model, ask, expected[number], random.Random(number), found, lock)  # noqa: S311
    found.warm_bytes = resident_bytes()

    def work(worker: int) -> None:
        draw = random.Random(f"{seed}.{worker}")  # noqa: S311
        while (spent := time.monotonic() - begun) < seconds:
            number = draw.randrange(len(requests))
            _judge(model, requests[number], expected[number], draw, found, lock)
            if progress is not None and worker == 0:
                progress(int(spent), int(seconds))

    others = [threading.Thread(target=work, args=(worker,)) for worker in range(1, AT_ONCE)]
    for other in others:
        other.start()
    work(0)
    for other in others:
        other.join()
    found.end_bytes, found.seconds = resident_bytes(), time.monotonic() - begun
    return found


def _judge(
    model: Model, ask: Ask, expected: list[Any], draw: random.Random, found: Soak, lock: threading.Lock
) -> None:
    """One request, cancelled or read in chunks as chance has it, and its answer beside the fresh one."""
    cancelled = ask.kind != "chunks" and draw.random() < CANCELLED
    what, made, wrong = str(ask.kind), 0, ""
    try:
        if cancelled:
            stream = model.stream(ask.prompt, max_new_tokens=ask.tokens, sampling=ask.sampling)
            for _ in range(draw.randint(0, ask.tokens)):
                next(stream, None)
            stream.cancel()
            for _ in stream:
                pass
            got, what, made = list(stream.ids), f"{ask.kind}, cancelled", len(stream.ids)
            wrong = "" if got == expected[: len(got)] else f"{got[:8]}"
        elif ask.kind == "chunks":
            chunk = draw.randint(1, len(ask.prompt))
            what = f"chunks of {chunk}"
            apart = _apart(dict(answer(model, ask, chunk)), dict(expected))
            wrong = "" if apart <= CHUNKS_APART[model.mode] else f"log-probabilities {apart:.2g} apart"
        else:
            got = answer(model, ask)
            made = len(got)
            wrong = "" if got == expected else f"{got[:8]}"
    except Exception as error:  # noqa: BLE001  # a request that falls over is a wrong answer
        wrong = f"{type(error).__name__}: {error}"
    with lock:
        found.asked += 1
        found.cancelled += cancelled
        found.chunked += ask.kind == "chunks"
        found.tokens += made
        if wrong:
            found.wrong.append(f"{what}, a prompt of {len(ask.prompt)} tokens: {wrong}")


def _apart(one: Mapping[int, float], other: Mapping[int, float]) -> float:
    """The largest difference among the tokens that both have; infinite where there is none."""
    return max((abs(one[token] - other[token]) for token in one.keys() & other.keys()), default=float("inf"))


def resident_bytes() -> int:
    """Memory of this process: now where the system says it, else at its peak."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        import resource  # not on Windows, where there is no /proc either

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return pages * os.sysconf("SC_PAGE_SIZE")
