"""A model is recognized by its weights, whatever its name and format; an unknown one is not."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from llorch.commands.convert.command import main as convert
from llorch.commands.registry.command import main as registry
from tests.commands.conftest import invoke
from tests.models.gguf_writer import STRING, Model, one
from tests.models.tiny import random_llama

U16, I32 = 2, 5
TEMPLATES = [
    "{{ messages }}",
    "{% for m in messages %}{{ m.content }}{% endfor %}",
    "x{{ messages[0].content }}",
]


def relabelled_gguf(model: Model, folder: Path, chance: random.Random) -> tuple[Path, set[str]]:
    """A copy of a model with other metadata, and the answer that `whence` must give."""
    copy = Model(keys=list(model.keys), tensors=[row.copy() for row in model.tensors])
    differs = set()
    if chance.random() < 0.7:
        key = chance.choice(["tokenizer.chat_template", "general.name", "general.author", "x.y"])
        copy.key(key, one(STRING, f"{chance.choice(TEMPLATES)}{chance.random()}"))
        differs.add(f"key {key}")
    if chance.random() < 0.5:
        chance.shuffle(copy.keys)
    how = chance.choice(["order", "split", "names", "as it was"])
    if how == "order":
        chance.shuffle(copy.tensors)
        moved = [row.name for row in copy.tensors] != [row.name for row in model.tensors]
        differs |= {"order of the tensors"} if moved else set()
    elif how == "names":
        for number, row in enumerate(copy.tensors):
            row.name = f"{chance.choice('abc')}.{number}"
        differs.add(f"names of {len(copy.tensors)} tensors")
    elif how == "split":
        count = chance.randint(2, 4)
        differs.add(f"{count} files of weights")
        return split(copy, folder, count), differs
    if not differs:
        copy.key("general.url", one(STRING, str(chance.random())))
        differs.add("key general.url")
    return copy.write(folder / f"{chance.randrange(10**6)}.gguf"), differs


def split(model: Model, folder: Path, count: int) -> Path:
    """Write the model in several files, as gguf-split does; return the first."""
    total = len(model.tensors)
    paths = [folder / f"m-{number + 1:05}-of-{count:05}.gguf" for number in range(count)]
    for number, path in enumerate(paths):
        part = Model(keys=list(model.keys) if number == 0 else [])
        part.tensors = model.tensors[number * total // count : (number + 1) * total // count]
        part.key("split.no", one(U16, number)).key("split.count", one(U16, count))
        part.key("split.tensors.count", one(I32, total)).write(path)
    return paths[0]


def relabelled_folder(made: Path, folder: Path, chance: random.Random) -> tuple[Path, set[str]]:
    """Copy a folder with other shards and other metadata."""
    from safetensors.numpy import load_file, save_file

    copy = folder / f"f{chance.randrange(10**6)}"
    shutil.copytree(
        made, copy, ignore=shutil.ignore_patterns("*.safetensors", "conversion.json", "*.intoto.json")
    )
    tensors = load_file(made / "model.safetensors")
    names = list(tensors)
    chance.shuffle(names)
    cut = chance.randint(1, len(names) - 1)
    renamed = chance.random() < 0.3
    for number, some in enumerate((names[:cut], names[cut:])):
        kept = {f"z.{name}" if renamed else name: np.ascontiguousarray(tensors[name]) for name in some}
        save_file(
            kept, copy / f"part{number}.safetensors", metadata={"format": "pt", "x": str(chance.random())}
        )
    (copy / "README.md").write_text(f"# {chance.random()}")
    said = {"file README.md", "file model.safetensors", "file part0.safetensors", "file part1.safetensors"}
    return copy, said | ({f"names of {len(names)} tensors"} if renamed else {"2 files of weights"})


def stranger(model: Model, folder: Path, chance: random.Random) -> Path:
    """Copy the model with one bit changed."""
    copy = Model(keys=list(model.keys), tensors=[row.copy() for row in model.tensors])
    row = chance.choice(copy.tensors)
    data = bytearray(row.data)
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    row.data = bytes(data)
    return copy.write(folder / "stranger.gguf")


@pytest.mark.parametrize("count", [30, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_relabelled_copy_is_known_by_its_weights_and_a_stranger_is_not(alone: Path, count: int) -> None:
    chance = random.Random(count)
    model = random_llama().key("tokenizer.chat_template", one(STRING, "{{ messages[0].content }}"))
    model.write(alone / "model.gguf")
    assert invoke(convert, "model.gguf", "-o", "made", "--verify", "none").exit_code == 0
    for number in range(count):
        folder = alone / f"copy{number}"
        folder.mkdir()
        if number % 3 == 2:
            path, differs = relabelled_folder(alone / "made", folder, chance)
        else:
            path, differs = relabelled_gguf(model, folder, chance)
        answer = whence(path)
        assert answer["known"] in ("weights", "content"), (number, differs)
        assert set(answer["origins"][0]["differs"]) == differs, number
        assert answer["origins"][0]["kind"] == ("hf-folder" if number % 3 == 2 else "gguf")
        if number % 3 == 1:
            assert whence(stranger(model, folder, chance))["known"] == "tensors"
        shutil.rmtree(folder)
    random_llama(seed=7).write(alone / "other.gguf")
    assert whence(alone / "other.gguf")["known"] is None


def whence(path: Path) -> Mapping[str, Any]:
    """Return the command's answer for one path."""
    (answer,) = json.loads(invoke(registry, "whence", path, "--json").stdout)["answers"]
    return cast("Mapping[str, Any]", answer)
