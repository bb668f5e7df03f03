"""Measures building a tokenizer.json from a GGUF vocabulary on one core, and transformers' reading of the same file.

    python -m benchmarks.tokenizer [FILE.gguf …]

Without files: two generated vocabularies of 262,144 tokens, the size of gemma's, one with half a million merges and one
with scores from which merges are derived.
"""

from __future__ import annotations

import itertools
import resource
import string
import sys
import tempfile
import time
from pathlib import Path

from llorch.formats.gguf.file import read_header
from llorch.formats.tokenizer import build_tokenizer, load_tokenizer
from llorch.formats.tokenizer.bpe import byte_characters
from tests.formats.tokenizer.vocabularies import Given, write_vocabulary

SIZE = 262_144


def words(letters: str, count: int) -> tuple[list[str], list[str]]:
    """Return `count` tokens of two to four letters, all of whose parts are tokens too, and up to two merges each."""
    every = ("".join(word) for length in (2, 3, 4) for word in itertools.product(letters, repeat=length))
    tokens = list(itertools.islice(every, count))
    return tokens, [f"{token[:cut]} {token[cut:]}" for cut in (1, 2) for token in tokens if cut < len(token)]


def make_vocabularies(folder: Path) -> list[Path]:
    """Write the two vocabularies; return their paths."""
    letters = string.ascii_lowercase[:23]
    characters = byte_characters()
    tokens, merges = words(letters, SIZE - len(characters))
    bpe: dict[str, Given] = {
        "general.architecture": "llama",
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "llama-bpe",
        "tokenizer.ggml.tokens": characters + tokens,
        "tokenizer.ggml.token_type": [1] * SIZE,
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.bos_token_id": SIZE - 1,
    }
    special = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    tokens = words(letters, SIZE - len(special))[0]
    spm: dict[str, Given] = {
        "general.architecture": "gemma2",
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": special + tokens,
        "tokenizer.ggml.scores": [0.0] * len(special) + [-float(rank) for rank in range(len(tokens))],
        "tokenizer.ggml.token_type": [3, 3, 3, 2] + [6] * 256 + [1] * (SIZE - 260),
        "tokenizer.ggml.add_space_prefix": False,
    }
    return [
        write_vocabulary(folder / "262k-merges.gguf", bpe),
        write_vocabulary(folder / "262k-scores.gguf", spm),
    ]


def seconds_of_transformers(file: Path) -> float:
    """Return the CPU seconds in which transformers reads the file, before it builds a tokenizer from it."""
    from transformers.modeling_gguf_pytorch_utils import (
        load_gguf_checkpoint,  # five seconds, not to be counted
    )

    start = time.process_time()
    load_gguf_checkpoint(str(file))
    return time.process_time() - start


def main(files: list[Path]) -> None:
    """Print a line per file: CPU seconds of each step, and the peak memory so far."""
    print(
        f"{'vocabulary':20} {'tokens':>8} {'merges':>8} {'read':>6} {'build':>6} {'write':>6} {'check':>6} "
        f"{'MiB':>5} {'transformers':>12}"
    )
    for file in files:
        at = [time.process_time()]
        metadata = read_header(file).metadata
        at.append(time.process_time())
        built = build_tokenizer(metadata)
        at.append(time.process_time())
        built.files()
        at.append(time.process_time())
        load_tokenizer(built)
        at.append(time.process_time())
        steps = " ".join(f"{after - before:6.2f}" for before, after in itertools.pairwise(at))
        merges = len(built.tokenizer_json["model"].get("merges", []))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        theirs = seconds_of_transformers(file)
        print(f"{file.stem:20} {built.size:8} {merges:8} {steps} {peak:5} {theirs:12.2f}", flush=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main([Path(name) for name in sys.argv[1:]] or make_vocabularies(Path(folder)))
