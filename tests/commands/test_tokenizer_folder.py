"""`llorch-convert` of a vocabulary: only the tokenizer's files, and the same ids as the vocabulary."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from llorch.commands.convert.command import main
from tests.commands.conftest import invoke
from tests.models.tiny import TOKENS, tiny_llama

FILES = [
    "chat_template.jinja",
    "conversion.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
]


@pytest.fixture
def vocabulary(alone: Path) -> Path:
    model = tiny_llama()
    model.tensors.clear()
    (alone / "vocabulary.gguf").write_bytes(model.build())
    return alone / "vocabulary.gguf"


def test_a_file_without_tensors_becomes_its_tokenizer(vocabulary: Path) -> None:
    result = invoke(main, vocabulary)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in Path("vocabulary").iterdir()) == FILES
    ids = Tokenizer.from_file("vocabulary/tokenizer.json").encode("hello w").ids
    assert ids == [TOKENS.index("hello"), TOKENS.index("Ġw")]


def test_of_a_model_the_tokenizer_alone_can_be_written(source: Path) -> None:
    result = invoke(main, source, "--tokenizer-only", "-o", "t", "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["tokens"] == len(TOKENS)
    assert sorted(file["path"] for file in document["files"]) == sorted(p.name for p in Path("t").iterdir())
    assert not Path("registry.db").exists()


def test_it_is_written_whole_or_not_at_all(vocabulary: Path) -> None:
    Path("vocabulary").mkdir()
    Path("vocabulary/mine").touch()
    assert invoke(main, vocabulary, "--force").exit_code == 6
    Path("vocabulary/mine").unlink()
    assert invoke(main, vocabulary).exit_code == 0
    assert invoke(main, vocabulary).exit_code == 6
    assert invoke(main, vocabulary, "--force").exit_code == 0


def test_a_vocabulary_that_cannot_be_ends_in_one_line(alone: Path) -> None:
    model = tiny_llama().drop("tokenizer.ggml.merges")
    model.tensors.clear()
    (alone / "broken.gguf").write_bytes(model.build())
    result = invoke(main, "broken.gguf")
    assert result.exit_code == 3
    assert "tokenizer.ggml.merges" in result.stderr
    assert not Path("broken").exists()
