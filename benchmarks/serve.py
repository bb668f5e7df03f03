"""Prints what a server gives to 1, 2, 4 and 8 clients at once: tokens a second, and how long a first token takes.

`python -m benchmarks.serve MODEL [--clients 1,2,4,8] [--rounds 5] [--prompt-tokens 32] [--generate-tokens 96]`. The
server is `llorch run serve MODEL` in a process of its own; the clients are threads of this one, each with a prompt of
its own, and ask for a stream. With `--engine` there is no HTTP: the requests go to the scheduler of this process, which
a machine without uvicorn can run. In a round every number of clients has its turn; ratios are medians of the rounds'.
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

# One request with these token ids and so many new tokens, begun at once: when the first token came, and when the last.
Ask = Callable[[list[int], int], tuple[float, float]]


@dataclass(frozen=True)
class Turn:
    """Of so many clients at once: new tokens a second of all together, and seconds until each had its first one."""

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
    os.environ["OMP_NUM_THREADS"] = str(
        options.threads
    )  # of every thread, the scheduler's too; before torch is loaded
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
                if round:  # the first one compiles, and reads into memory
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
    """One turn of so many clients, none of whose prompts was seen before."""
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
    """The command, asked over HTTP as llama-server is: by token ids, and without an end that a model chooses."""
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
    """A stream of /completion."""
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
    """An observer of the scheduler that keeps nothing."""

    def prompt_tokens(self, count: int) -> None:
        """Nothing."""

    def new_tokens(self, count: int) -> None:
        """Nothing."""

    def first_token(self, seconds: float) -> None:
        """Nothing."""

    def ended(self, how: str) -> None:
        """Nothing."""


@contextmanager
def engine(options: argparse.Namespace, clients: int) -> Iterator[Ask]:
    """The scheduler that a server has, in this process."""
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
