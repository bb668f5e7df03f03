"""Measures a server with 1, 2, 4 and 8 concurrent clients: tokens per second, and time to the first token.

`python -m benchmarks.serve MODEL [--clients 1,2,4,8] [--rounds 5] [--prompt-tokens 32] [--generate-tokens 96]`. The
server is `llorch run serve MODEL` in its own process; the clients are threads of this one, each streaming the answer to
its own prompt. With `--engine` the requests go to the scheduler in this process, without HTTP, which works without
uvicorn. Each round has a turn of every number of clients; ratios are medians over the rounds.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

# (token ids of a prompt, number of new tokens) → times of the first and of the last new token.
Ask = Callable[[list[int], int], tuple[float, float]]


@dataclass(frozen=True)
class Turn:
    """One turn of concurrent clients. rate: new tokens per second of all. first_s: seconds to each first token."""

    rate: float
    first_s: list[float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--clients", default="1,2,4,8")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prompt-tokens", type=int, default=32)
    parser.add_argument("--generate-tokens", type=int, default=96)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--mode", default="fast", choices=["exact", "verify", "fast"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--engine", action="store_true", help="the scheduler in this process, without HTTP")
    options = parser.parse_args()
    # Set before torch is loaded, so that it applies to all threads, including the scheduler's.
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    counts = [int(count) for count in options.clients.split(",")]
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
        f"{options.threads} threads, device {options.device}, mode "
        f"{options.mode}, {options.prompt_tokens} tokens read, {options.generate_tokens} written, "
        f"{'scheduler alone' if options.engine else 'streamed over HTTP'}, medians of {options.rounds} rounds\n"
    )
    with (engine if options.engine else server)(options, max(counts)) as ask:
        turns: dict[int, list[Turn]] = {count: [] for count in counts}
        for round in range(options.rounds + 1):
            for count in counts:
                turn = together(ask, count, round, options)
                if round:  # not the first, which compiles and reads the model into memory
                    turns[count].append(turn)
    print("| clients | tokens/s | times one client | first token, median s | first token, worst s |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    for count, taken in turns.items():
        ratio = statistics.median(
            own.rate / one.rate for own, one in zip(taken, turns[counts[0]], strict=True)
        )
        firsts = [first for turn in taken for first in turn.first_s]
        print(
            f"| {count} | {statistics.median(turn.rate for turn in taken):.1f} | {ratio:.2f} "
            f"| {statistics.median(firsts):.3f} | {max(firsts):.3f} |"
        )


def together(ask: Ask, count: int, round: int, options: argparse.Namespace) -> Turn:
    """Run one turn of `count` clients with prompts that were not used before."""
    found: list[tuple[float, float]] = [(0.0, 0.0)] * count
    ready = threading.Barrier(count + 1)

    def one(client: int) -> None:
        prompt = [
            300 + (97 * (client + 64 * round) + 7 * place) % 5000 for place in range(options.prompt_tokens)
        ]
        ready.wait()
        found[client] = ask(prompt, options.generate_tokens)

    clients = [threading.Thread(target=one, args=(client,)) for client in range(count)]
    for client in clients:
        client.start()
    ready.wait()
    begun = time.perf_counter()
    for client in clients:
        client.join()
    last = max(ended for _, ended in found)
    return Turn(count * options.generate_tokens / (last - begun), [first - begun for first, _ in found])


@contextmanager
def server(options: argparse.Namespace, clients: int) -> Iterator[Ask]:
    """Start the command; yields a function that requests like llama-server's, by token ids, ignoring the end token."""
    command = [sys.executable, "-m", "llorch.commands.run", "serve", options.model, "--slots", str(clients)]
    command += ["--mode", options.mode, "--device", options.device]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            address = re.search(r"http://(\S+)", line)
            if address is None:
                raise SystemExit(f"the server did not begin: {line}")
            yield lambda prompt, new: stream(address.group(1), prompt, new)
        finally:
            process.terminate()


def stream(address: str, prompt: list[int], new: int) -> tuple[float, float]:
    """Stream a request of /completion; return the times of its first and last token."""
    connection = http.client.HTTPConnection(address, timeout=300)
    body = {"prompt": prompt, "n_predict": new, "temperature": 0, "ignore_eos": True, "stream": True}
    connection.request("POST", "/completion", json.dumps(body), {"content-type": "application/json"})
    answer = connection.getresponse()
    if answer.status != 200:
        raise SystemExit(f"{answer.status}: {answer.read()!r}")
    first = 0.0
    while line := answer.readline():
        first = first or (time.perf_counter() if line.startswith(b"data:") else 0.0)
    connection.close()
    return first, time.perf_counter()


class Unheard:
    """An observer of the scheduler that ignores everything."""

    def prompt_tokens(self, count: int) -> None:
        """Ignore it."""

    def new_tokens(self, count: int) -> None:
        """Ignore it."""

    def first_token(self, seconds: float) -> None:
        """Ignore it."""

    def ended(self, how: str) -> None:
        """Ignore it."""


@contextmanager
def engine(options: argparse.Namespace, clients: int) -> Iterator[Ask]:
    """Start a server's scheduler in this process; yields a function that sends requests to it."""
    from llorch import runtime
    from llorch.runtime.request import Request
    from llorch.runtime.sampling import Sampling
    from llorch.runtime.serving.job import Event, Failed, Finished, Job, Token
    from llorch.runtime.serving.scheduler import Scheduler

    model = runtime.load(options.model, mode=options.mode, device=options.device)
    scheduler = Scheduler(model, slots=clients, max_queue=0, cache_bytes=1 << 40, observer=Unheard())

    def ask(prompt: list[int], new: int) -> tuple[float, float]:
        first, failed, over = [0.0], list[Any](), threading.Event()

        def heard(event: Event) -> None:
            if isinstance(event, Token):
                first[0] = first[0] or time.perf_counter()
            elif isinstance(event, Finished | Failed):
                failed.extend([event] if isinstance(event, Failed) else [])
                over.set()

        scheduler.submit([Job(Request(model, prompt, new, Sampling(), (), ignore_end=True), heard)])
        over.wait()
        if failed:
            raise SystemExit(f"a request failed: {failed[0].message}")
        return first[0], time.perf_counter()

    try:
        yield ask
    finally:
        scheduler.close()
        model.close()


if __name__ == "__main__":
    main()
