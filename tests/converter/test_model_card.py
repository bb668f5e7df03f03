"""README.md has what general.* says of a model, and gguf-py, which llama.cpp's converter uses, finds it there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from gguf.metadata import Metadata as Card

from llorch.converter import convert
from llorch.converter.model_card import model_card
from tests.models.gguf_writer import STRING, U32, Value, array, one
from tests.models.tiny import tiny_llama

SAID: dict[str, Value] = {
    "name": one(STRING, "Tiny: a “model”\n---\nlicense: other"),
    "author": one(STRING, "Somebody"),
    "organization": one(STRING, "An Org"),
    "version": one(STRING, "1.10"),
    "finetune": one(STRING, "no"),
    "basename": one(STRING, "tiny"),
    "size_label": one(STRING, "0.1M"),
    "description": one(STRING, "- a list?"),
    "license": one(STRING, "apache-2.0"),
    "license.name": one(STRING, "Apache"),
    "license.link": one(STRING, "https://example.org/licence"),
    "source.url": one(STRING, "https://example.org/tiny"),
    "languages": array(STRING, ["en", "no"]),
    "tags": array(STRING, ["text-generation", "on"]),
    "base_model.count": one(U32, 1),
    "base_model.0.name": one(STRING, "Base"),
    "base_model.0.repo_url": one(STRING, "https://huggingface.co/org/base-1b"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = tiny_llama()
    for key, value in SAID.items():
        model.key(f"general.{key}", value)
    (tmp_path / "tiny.gguf").write_bytes(model.build())
    convert(tmp_path / "tiny.gguf", tmp_path / "folder")
    return tmp_path / "folder"


def test_gguf_py_finds_everything_in_the_card(folder: Path) -> None:
    card: Any = Card.load(model_path=folder)
    assert card.name == "Tiny: a “model”\n---\nlicense: other"
    assert (card.author, card.organization, card.version) == ("Somebody", "An Org", "1.10")
    assert (card.finetune, card.basename, card.size_label) == ("no", "tiny", "0.1M")
    assert (card.license, card.license_name) == ("apache-2.0", "Apache")
    assert card.license_link == "https://example.org/licence"
    assert card.description == "- a list?"
    assert card.source_url == "https://example.org/tiny"
    assert (card.languages, card.tags) == (["en", "no"], ["text-generation", "on"])
    assert [base["repo_url"] for base in card.base_models] == ["https://huggingface.co/org/base-1b"]


def test_the_card_is_listed_among_the_files_with_digests(folder: Path) -> None:
    assert "README.md" in (folder / "conversion.json").read_text()


def test_facts_that_the_file_lacks_are_not_in_the_card(tmp_path: Path) -> None:
    from llorch.formats.gguf import read_header

    path = tmp_path / "tiny.gguf"
    path.write_bytes(tiny_llama().drop("general.name").build())
    card = model_card(read_header(path).metadata).decode()
    assert card.split("---")[1] == '\nlibrary_name: "transformers"\n'


def test_all_of_several_licences_are_in_the_card(tmp_path: Path) -> None:
    model = tiny_llama()
    model.key("general.license", array(STRING, ["mit", "apache-2.0"]))
    model.key("general.author", array(STRING, ["Somebody"]))
    model.key("general.languages", one(STRING, "en"))
    (tmp_path / "tiny.gguf").write_bytes(model.build())
    convert(tmp_path / "tiny.gguf", tmp_path / "folder")
    card: Any = Card.load(model_path=tmp_path / "folder")
    assert (card.license, card.author, card.languages) == (["mit", "apache-2.0"], "Somebody", ["en"])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("license", one(U32, 7)),
        ("license.link", array(U32, [7])),
        ("tags", one(U32, 7)),
        ("base_model.count", one(STRING, "1")),
        ("base_model.0.repo_url", one(U32, 7)),
    ],
)
def test_a_description_of_another_type_is_not_an_error(key: str, value: Value, tmp_path: Path) -> None:
    model = tiny_llama().key("general.base_model.count", one(U32, 1))
    model.key(f"general.{key}", value)
    (tmp_path / "tiny.gguf").write_bytes(model.build())
    convert(tmp_path / "tiny.gguf", tmp_path / "folder")
    assert "7" not in (tmp_path / "folder" / "README.md").read_text()
