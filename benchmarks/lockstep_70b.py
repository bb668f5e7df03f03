"""Measures the memory of the lockstep for a model of 70 billion weights, with sparse files.

    python -m benchmarks.lockstep_70b DIRECTORY [--layers 80]

Only three layers have weights: the first, the last and the one that quick chooses between them. The others are zeros,
which are not stored in a sparse file. Some 5 GB are written into DIRECTORY unless they exist.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import shutil
import struct
import time
from pathlib import Path

import numpy as np

from benchmarks.full_size import Shape, write_model
from llorch import converter
from llorch.formats import read_safetensors
from llorch.formats.gguf import read_header
from llorch.verification.checks.behaviour import lockstep, logits_worst
from llorch.verification.subject import Subject

HIDDEN, FF, KV, VOCABULARY, BETWEEN = 8192, 28672, 1024, 32000, 66
PIECE = 1 << 24


def llama_70b(layers: int) -> Shape:
    """Llama 2 70B, every matrix in Q4_K."""
    matrices = {
        "attn_q": (HIDDEN, HIDDEN), "attn_k": (KV, HIDDEN), "attn_v": (KV, HIDDEN), "attn_output": (HIDDEN, HIDDEN),
        "ffn_gate": (FF, HIDDEN), "ffn_up": (FF, HIDDEN), "ffn_down": (HIDDEN, FF),
    }  # fmt: skip
    tensors: list[tuple[str, tuple[int, ...], str]] = [("token_embd.weight", (VOCABULARY, HIDDEN), "Q4_K")]
    for index in range(layers):
        tensors += [(f"blk.{index}.{name}_norm.weight", (HIDDEN,), "F32") for name in ("attn", "ffn")]
        tensors += [(f"blk.{index}.{name}.weight", shape, "Q4_K") for name, shape in matrices.items()]
    tensors += [("output_norm.weight", (HIDDEN,), "F32"), ("output.weight", (VOCABULARY, HIDDEN), "Q4_K")]
    keys = {
        "block_count": layers, "context_length": 4096, "embedding_length": HIDDEN, "feed_forward_length": FF,
        "attention.head_count": 64, "attention.head_count_kv": 8, "attention.layer_norm_rms_epsilon": 1e-5,
        "rope.freq_base": 1e4, "rope.dimension_count": 128,
    }  # fmt: skip
    return Shape("llama", VOCABULARY, VOCABULARY - 300, keys, tuple(tensors))


def place_layers(layers: int) -> dict[int, int]:
    """Return layer of the large model → layer of the small one whose weights it has."""
    return {0: 0, min(BETWEEN, layers - 2): 1, layers - 1: 2}


def write_pair(place: Path, layers: int) -> tuple[Path, Path]:
    """Write the GGUF file and the folder, from those of a model with three layers; return their paths."""
    source, folder = place / "70b.gguf", place / "70b"
    small, made = place / "three.gguf", place / "three"
    place.mkdir(parents=True, exist_ok=True)
    write_model(llama_70b(3), small)
    converter.convert(small, made, dtype="bfloat16", force=True)
    write_model(llama_70b(layers), source, weights=False)
    where = {f"blk.{old}.": f"blk.{new}." for new, old in place_layers(layers).items()}
    before, after = read_header(small).tensors, read_header(source).tensors
    _copy(
        small,
        source,
        [(t.offset, after[_rename(name, where)].offset, t.nbytes) for name, t in before.items()],
    )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for path in made.iterdir():
        if path.suffix != ".safetensors" and "index" not in path.name and path.name != "conversion.json":
            shutil.copy(path, folder / path.name)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": layers}))
    _write_folder(made, folder, layers)
    for path in (small, *made.glob("*.safetensors")):
        path.unlink()
    return source, folder


def _rename(name: str, where: dict[str, str]) -> str:
    for old, new in where.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def _copy(source: Path, target: Path, pieces: list[tuple[int, int, int]]) -> None:
    with source.open("rb") as read, target.open("r+b") as write:
        for at, to, nbytes in pieces:
            read.seek(at)
            write.seek(to)
            for start in range(0, nbytes, PIECE):
                write.write(read.read(min(PIECE, nbytes - start)))


def _write_folder(made: Path, folder: Path, layers: int) -> None:
    """Write one safetensors file with the tensors of all layers, of which three are copied and the rest holes."""
    small = read_safetensors(made)
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    copies, at = list[tuple[int, int, int, int]](), 0
    old_of = place_layers(layers)
    for index in range(-1, layers):
        prefix = f"model.layers.{old_of.get(index, 0)}."
        for name, tensor in small.tensors.items():
            of_layer = name.startswith("model.layers.")
            if of_layer != (index >= 0) or (of_layer and not name.startswith(prefix)):
                continue
            new = name.replace(prefix, f"model.layers.{index}.") if of_layer else name
            header[new] = {
                "dtype": tensor.dtype,
                "shape": list(tensor.shape),
                "data_offsets": [at, at + tensor.nbytes],
            }
            if index < 0 or index in old_of:
                copies.append((tensor.part, tensor.offset, at, tensor.nbytes))
            at += tensor.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    target = folder / "model.safetensors"
    with target.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + at)
    for part, start, to, nbytes in copies:
        _copy(small.parts[part].path, target, [(start, 8 + len(text) + to, nbytes)])


def main() -> None:
    """Run the checks and print results, memory and time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--layers", type=int, default=80)
    parser.add_argument("--level", choices=("quick", "full"), default="quick")
    options = parser.parse_args()
    source, folder = options.directory / "70b.gguf", options.directory / "70b"
    if not (source.exists() and folder.exists()):
        source, folder = write_pair(options.directory, options.layers)
    begun, spent = time.perf_counter(), time.process_time()
    with Subject(folder, source, level=options.level, device="cpu") as subject:
        weights = sum(math.prod(tensor.shape) for tensor in subject.tensors.values())
        print(f"{weights:,} weights; {np.ceil(subject.sizes.bound / 1e6):,.0f} MB are needed at most")
        for check in (lockstep, logits_worst):
            found = check(subject)
            print(
                f"{found.name}: {found.status}, {found.value} of {found.at_most}; {found.where}; {found.detail}"
            )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    seconds, processor = time.perf_counter() - begun, time.process_time() - spent
    print(f"peak {peak:,.0f} MB, {seconds:.0f} s, {processor:.0f} s of processor")


if __name__ == "__main__":
    main()
