"""Measures the speed of prefill and decode against llama.cpp and transformers, all in one run.

`python -m benchmarks.decode [MODEL.gguf …] [--threads 2] [--pairs 5] [--prompt-tokens 512] [--generate-tokens 64]`.
Without a model the full-size ones of `full_size` are written first, with random weights. Each side is a process that
has loaded the model and waits; they alternate (A B A B), and a ratio is the median of the pairs' ratios. The machine's
read bandwidth is measured in between, by summing arrays with NumPy on as many threads.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.full_size import SHAPES, write_model

Speak = Callable[[list[int], int], dict[str, float]]


@dataclass(frozen=True)
class Turn:
    """Tokens per second of one request."""

    prefill: float
    decode: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--generate-tokens", type=int, default=64)
    parser.add_argument("--mode", default="fast", choices=["exact", "verify", "fast"])
    parser.add_argument("--sides", default="ours,llama.cpp", help="of ours, llama.cpp and transformers")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        serve(SIDES[options.side](options.models[0], options.threads, options.mode))
        return
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {options.threads} threads, "
        f"mode {options.mode}, {options.prompt_tokens} tokens read, {options.generate_tokens} written\n"
    )
    print("| model | side | prefill tokens/s | decode tokens/s | prefill ratio | decode ratio | read GB/s |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        for model in options.models or full_size(Path(folder)):
            measure(model, options)


def full_size(folder: Path) -> Iterator[Path]:
    """Write the models of `full_size`, one on the disk at a time, and yield their paths."""
    for name, shape in SHAPES.items():
        path = folder / f"{name}.gguf"
        write_model(shape(), path)
        yield path
        path.unlink()


def measure(model: Path, options: argparse.Namespace) -> None:
    """Measure a model and print a line for each side."""
    names = options.sides.split(",")
    taken: dict[str, list[Turn]] = {name: [] for name in names}
    read = []
    generator = np.random.default_rng(0)
    with start_sides(model, names, options) as sides:
        for pair in range(options.pairs + 1):
            prompt = generator.integers(300, 20000, options.prompt_tokens).tolist()
            for name in names:
                answer = ask(sides[name], prompt, options.generate_tokens)
                if pair:  # not the first turn, which compiles and reads the model into memory
                    taken[name].append(Turn(answer["prefill"], answer["decode"]))
            read.append(read_bandwidth(options.threads))
    for name, turns in taken.items():
        pairs = list(zip(taken[names[0]], turns, strict=True))
        ratios = [
            statistics.median(getattr(own, what) / getattr(other, what) for own, other in pairs)
            for what in ("prefill", "decode")
        ]
        figures = [statistics.median(getattr(turn, what) for turn in turns) for what in ("prefill", "decode")]
        print(
            f"| {model.stem} | {name} | {figures[0]:.1f} | {figures[1]:.1f} | {ratios[0]:.2f} | {ratios[1]:.2f} "
            f"| {statistics.median(read) / 1e9:.1f} |",
            flush=True,
        )


@contextmanager
def start_sides(
    model: Path, names: Sequence[str], options: argparse.Namespace
) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """Start a waiting process for each side; killed at the end of the `with` block."""
    common = [
        sys.executable,
        "-m",
        "benchmarks.decode",
        str(model),
        "--threads",
        str(options.threads),
        "--mode",
        options.mode,
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    sides = {
        name: subprocess.Popen(
            [*common, "--side", name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, env=environment,
        )
        for name in names
    }  # fmt: skip
    try:
        yield sides
    finally:
        for process in sides.values():
            process.kill()
            process.wait()


def ask(process: subprocess.Popen[str], prompt: list[int], new: int) -> dict[str, float]:
    """Send one request to a side and return its rates."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps([prompt, new]) + "\n")
    process.stdin.flush()
    for line in process.stdout:
        if line.startswith("answer "):
            answer: dict[str, float] = json.loads(line.removeprefix("answer "))
            return answer
    raise RuntimeError("a side ended before it answered")


def serve(speak: Speak) -> None:
    """Answer requests in a side's process until its input ends."""
    for line in sys.stdin:
        print("answer", json.dumps(speak(*json.loads(line))), flush=True)
    os._exit(0)  # llama.cpp's server does not stop by itself


def ours(model: Path, threads: int, mode: str) -> Speak:
    import torch

    from llorch import runtime

    torch.set_num_threads(threads)
    loaded = runtime.load(model, mode=mode)

    @torch.inference_mode()
    def speak(prompt: list[int], new: int) -> dict[str, float]:
        cache = loaded.new_cache(len(prompt) + new)
        begun = time.perf_counter()
        logits = loaded.decoder.logits(loaded.hidden(torch.tensor(prompt), cache)[-1:])
        read = time.perf_counter()
        for _ in range(new):
            token = logits[0].argmax()[None]
            logits = loaded.decoder.logits(loaded.hidden(token, cache))
        return rates(begun, read, time.perf_counter(), len(prompt), new)

    return speak


def llama_cpp(model: Path, threads: int, _mode: str) -> Speak:
    import xllamacpp

    params: Any = xllamacpp.CommonParams()
    params.model.path, params.n_ctx, params.n_parallel = str(model), 2048, 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    server = xllamacpp.Server(params)

    def speak(prompt: list[int], new: int) -> dict[str, float]:
        request = {
            "prompt": prompt,
            "n_predict": new,
            "temperature": 0,
            "cache_prompt": False,
            "ignore_eos": True,
        }
        answer = server.handle_completions(request)
        timings = (answer if isinstance(answer, dict) else json.loads(answer))["timings"]
        return {"prefill": timings["prompt_per_second"], "decode": timings["predicted_per_second"]}

    return speak


def transformers(model: Path, threads: int, _mode: str) -> Speak:
    """Return the side of transformers, which dequantizes the file itself, to float32."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        model.parent, gguf_file=model.name, dtype=torch.float32
    ).eval()

    @torch.inference_mode()
    def speak(prompt: list[int], new: int) -> dict[str, float]:
        begun = time.perf_counter()
        out = loaded(torch.tensor([prompt]), use_cache=True, logits_to_keep=1)
        read = time.perf_counter()
        for _ in range(new):
            token = out.logits[:, -1].argmax(-1)[:, None]
            out = loaded(token, past_key_values=out.past_key_values, use_cache=True)
        return rates(begun, read, time.perf_counter(), len(prompt), new)

    return speak


def rates(begun: float, read: float, ended: float, prompt: int, new: int) -> dict[str, float]:
    """Return the tokens per second of prefill and decode of a request."""
    return {"prefill": prompt / (read - begun), "decode": new / (ended - read)}


def read_bandwidth(threads: int) -> float:
    """Return the bytes per second that `threads` threads can sum from memory."""
    parts = [np.ones(1 << 24, np.uint64) for _ in range(threads)]
    workers = [threading.Thread(target=part.sum) for part in parts]
    begun = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(part.nbytes for part in parts) / (time.perf_counter() - begun)


SIDES: dict[str, Callable[[Path, int, str], Speak]] = {
    "ours": ours,
    "llama.cpp": llama_cpp,
    "transformers": transformers,
}

if __name__ == "__main__":
    main()
