"""Arbitrary bytes give an InputError of one printable line, or what the safetensors library reads."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from safetensors import safe_open

from llorch.base.errors import InputError
from llorch.formats.safetensors import lay_out, read_safetensors

LAYOUT = lay_out(
    [("w", "F32", (2, 3)), ("a.b", "F16", (3,)), ("é", "U8", ()), ("none", "I64", (0, 2))], 10**9
)
SEED = LAYOUT.files[0].header + bytes(range(LAYOUT.files[0].size_bytes - len(LAYOUT.files[0].header)))
PIECES = [
    b"0",
    b"-1",
    b"1e3",
    b"9" * 30,
    b"true",
    b"null",
    b"[]",
    b"{}",
    b'"',
    b",",
    b"\\u0000",
    b"\\ud800",
    b"\xff",
]


def mutated(rng: random.Random) -> bytes:
    """Return the seed with a number, a run of bytes or one byte changed; usually the header's length is corrected."""
    text = bytearray(SEED[8 : len(LAYOUT.files[0].header)])
    for _ in range(rng.randint(1, 2)):
        numbers = [match.span() for match in re.finditer(rb"\d+|\"[^\"]*\"", bytes(text))]
        start, stop = (
            rng.choice(numbers) if numbers and rng.random() < 0.6 else (rng.randrange(len(text) + 1),) * 2
        )
        text[start : stop + rng.choice([0, 0, 1])] = rng.choice([*PIECES, bytes([rng.randrange(256)])])
    length = len(text) if rng.random() < 0.9 else rng.choice([0, 1, len(text) + 1, 1 << 40])
    data = SEED[len(LAYOUT.files[0].header) :]
    return length.to_bytes(8, "little") + bytes(text) + data[: rng.choice([len(data)] * 9 + [len(data) - 1])]


def sweep(path: Path, count: int, seed: int) -> int:
    """Return how many of `count` mutated files were read; AssertionError if the library reads a different model."""
    rng, accepted = random.Random(seed), 0
    for _ in range(count):
        path.unlink(missing_ok=True)  # as the GGUF fuzzing does: a file cut to nothing waits for the disk
        path.write_bytes(mutated(rng))
        try:
            stored = read_safetensors(path)
        except InputError as error:
            message = str(error)
            assert message.isprintable()
            assert len(message) < 600
            continue
        accepted += 1
        with safe_open(path, framework="np") as file:
            assert set(file.keys()) == set(stored.tensors)
            for name, tensor in stored.tensors.items():
                assert tuple(file.get_slice(name).get_shape()) == tensor.shape
                assert file.get_slice(name).get_dtype() == tensor.dtype
    return accepted


def test_mutated_files_are_refused_well_or_read_as_the_library_reads_them(tmp_path: Path) -> None:
    assert sweep(tmp_path / "m.safetensors", 1500, seed=1) > 5


@pytest.mark.slow
def test_many_mutated_files_are_refused_well_or_read_as_the_library_reads_them(tmp_path: Path) -> None:
    assert sweep(tmp_path / "m.safetensors", 30_000, seed=2) > 150
