"""Arbitrary bytes give an InputError of one printable line, or a header that can be written again unchanged."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llorch.base.errors import InputError
from llorch.formats.gguf.file import read_header
from tests.corpus.split import split_parts
from tests.formats.reencoding import require_same_again
from tests.models.gguf_writer import BOOL, F32, F64, I16, STRING, U64, Model, array, one
from tests.models.tiny import tiny_llama

FIELDS = [0, 1, 2, 7, 8, 9, 12, 13, 31, 33, 255, 256, 1 << 16, 1 << 31, (1 << 32) - 1, 1 << 62, (1 << 64) - 1]


def small() -> Model:
    """Every kind of value and two tensors in little more than half a kilobyte, so that most bytes matter."""
    model = Model()
    model.key("general.alignment", one(4, 8)).align = 8
    for key, value in {
        "a": one(STRING, "é"),
        "b": array(STRING, ["", "xyz", "\0"]),
        "c": array(BOOL, [1, 0]),
        "d": one(F32, float("nan")),
        "e": array(F64, [1.5, float("nan")]),
        "f": one(I16, -3),
        "g": one(U64, 1 << 63),
        "h": one(BOOL, 1),
    }.items():
        model.key(key, value)
    return model.tensor("t", [32, 2]).tensor("u", [3], 0)


def big_endian() -> Model:
    model = small()
    model.order = ">"
    return model


SEEDS = {"small": small().build(), "big-endian": big_endian().build(), "llama": tiny_llama().build()}


def judge(content: bytes, path: Path) -> bool:
    """Return whether the file was read; AssertionError if it was read wrongly or the error is bad."""
    path.unlink(missing_ok=True)  # a new file: truncating and refilling an old one would wait for the disk
    path.write_bytes(content)
    try:
        header = read_header(path)
    except InputError as error:
        message = str(error)
        assert message.isprintable()
        assert len(message) < 600
        return False
    require_same_again(header, path)
    return True


def mutated(seed: bytes, rng: random.Random) -> bytes:
    """Return the seed with up to four bytes, fields or runs of bytes changed, inserted, removed or moved."""
    content = bytearray(seed)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(content) + 1)
        match rng.randrange(6):
            case 0:
                content[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                content[at : at + 8] = struct.pack(rng.choice("<>") + "Q", rng.choice(FIELDS))
            case 2:
                content[at : at + 4] = struct.pack(rng.choice("<>") + "I", rng.choice(FIELDS) & 0xFFFFFFFF)
            case 3:
                del content[at : at + rng.randint(1, 40)]
            case 4:
                start = rng.randrange(len(seed))
                content[at:at] = seed[start : start + rng.randint(1, 40)]
            case _:
                del content[at:]
        if not content:
            break
    return bytes(content)


def sweep(folder: Path, per_seed: int) -> int:
    path, read = folder / "m.gguf", 0
    for name, seed in SEEDS.items():
        rng = random.Random(name)
        for _ in range(per_seed):
            read += judge(mutated(seed, rng), path)
    return read


@pytest.mark.parametrize("name", SEEDS)
def test_a_seed_is_read(name: str, tmp_path: Path) -> None:
    assert judge(SEEDS[name], tmp_path / "m.gguf")


def test_mutated_files_are_refused_well_or_read_right(tmp_path: Path) -> None:
    assert sweep(tmp_path, 1500) > 50, "some changes are harmless, and those files must still be read"


@pytest.mark.slow
def test_many_mutated_files_are_refused_well_or_read_right(tmp_path: Path) -> None:
    assert sweep(tmp_path, 30_000) > 1000


def test_every_single_byte_may_be_anything(tmp_path: Path) -> None:
    seed, path = SEEDS["small"], tmp_path / "m.gguf"
    for at in range(len(seed)):
        for value in (0, 1, 0x7F, 0x80, 0xFF, seed[at] ^ 1):
            judge(seed[:at] + bytes([value]) + seed[at + 1 :], path)


@given(content=st.binary(max_size=200), version=st.sampled_from([2, 3, 3 << 24]))
@example(content=bytes(16), version=3)
def test_anything_after_the_version(
    content: bytes, version: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    judge(b"GGUF" + struct.pack("<I", version) + content, tmp_path_factory.getbasetemp() / "anything.gguf")


def test_mutated_parts_of_a_set_are_refused_well(tmp_path: Path) -> None:
    rng, parts = random.Random(5), [part.build() for part in split_parts(2)]
    paths = [tmp_path / f"m-0000{n}-of-00002.gguf" for n in (1, 2)]
    refused = 0
    for turn in range(400):
        for index, path in enumerate(paths):
            path.write_bytes(mutated(parts[index], rng) if turn % 2 == index else parts[index])
        try:
            message = ""
            header = read_header(paths[turn // 2 % 2])
            assert len(header.parts) in (1, 2)
        except InputError as error:
            message = str(error)
        assert message.isprintable()
        assert len(message) < 600
        refused += bool(message)
    assert refused > 100
