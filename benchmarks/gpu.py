"""How fast a CUDA device runs full-size models: loading, decoding, prefill; medians, one model and mode a process.

    python -m benchmarks.gpu DIRECTORY [--mode exact --mode fast] [--device cuda]

The models are written into DIRECTORY where they are not there yet (4 GB). On a GPU an absolute time holds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.full_size import SHAPES, write_model

if TYPE_CHECKING:
    from llorch.runtime import Model

CONTEXT, NEW, PREFILL, REPEATS = 8, 128, 512, 5


def measure(path: Path, device: str, mode: str) -> dict[str, float]:
    """Seconds to load, tokens a second of decoding after a few tokens and of a prompt of 512, and bytes held."""
    import torch

    start = time.perf_counter()
    from llorch import runtime  # after torch, whose import is not ours to shorten

    model = runtime.load(path, device=device, mode=mode)
    torch.cuda.synchronize()
    loaded = time.perf_counter() - start
    context = [(37 * n + 11) % 30000 for n in range(CONTEXT)]
    prompt = [(91 * n + 5) % 30000 for n in range(PREFILL)]
    first = time.perf_counter()
    _decode(model, context)
    _prefill(model, prompt)
    first = time.perf_counter() - first
    return {
        "load_s": loaded,
        "first_s": first,
        "decode": statistics.median(_decode(model, context) for _ in range(REPEATS)),
        "prefill": statistics.median(_prefill(model, prompt) for _ in range(REPEATS)),
        "held_gb": torch.cuda.memory_allocated() / 1e9,
    }


def _decode(model: Model, context: list[int]) -> float:
    """Tokens a second from the second new token on."""
    stream = model.stream(context, max_new_tokens=NEW)
    times = [(time.perf_counter(), len(stream.ids)) for _ in stream]
    (start, before), (stop, made) = times[0], times[-1]
    return (made - before) / (stop - start)


def _prefill(model: Model, prompt: list[int]) -> float:
    """Tokens a second of a prompt, up to the first new token."""
    start = time.perf_counter()
    for _ in model.stream(prompt, max_new_tokens=1):
        pass
    return len(prompt) / (time.perf_counter() - start)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--mode", action="append", choices=("exact", "fast"))
    parser.add_argument("--model", action="append", choices=tuple(SHAPES))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--one", nargs=2, metavar=("FILE", "MODE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(Path(options.one[0]), options.device, options.one[1])))
        return
    print("| model | mode | load, s | first tokens, s | decode, tokens/s | prefill 512, tokens/s | GB held |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for name in options.model or SHAPES:
        path = options.directory / f"{name}.gguf"
        if not path.exists():
            write_model(SHAPES[name](), path)
        for mode in options.mode or ("exact", "fast"):
            command = [
                sys.executable,
                "-m",
                "benchmarks.gpu",
                str(options.directory),
                "--device",
                options.device,
            ]
            made = subprocess.run([*command, "--one", str(path), mode], stdout=subprocess.PIPE, check=True)
            got = json.loads(made.stdout)
            print(
                f"| {name} | {mode} | {got['load_s']:.2f} | {got['first_s']:.1f} | {got['decode']:,.1f} | "
                f"{got['prefill']:,.0f} | {got['held_gb']:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
