"""tokenizer.model gives llama.cpp's ids whatever flags a file sets or leaves out."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from llorch.formats.gguf import read_header
from llorch.formats.tokenizer import sentencepiece_model
from tests.formats.tokenizer.llama_cpp import llama_cpp_ids
from tests.formats.tokenizer.vocabularies import Given, Trained, hard_texts, write_vocabulary

sentencepiece = pytest.importorskip("sentencepiece")

T = "tokenizer.ggml."
FLAGS = [
    {f"{T}{name}": flag for name, flag in zip(("add_space_prefix", "remove_extra_whitespaces"), flags, strict=True)}
    for flags in itertools.product((True, False, None), repeat=2)
]  # fmt: skip
TEXTS = [text for text in ("a", " a", "a ", "  a  b", " ", *hard_texts(150, seed=4)) if text]


def different(files: list[Path], texts: list[str]) -> list[tuple[str, str, list[int], list[int]]]:
    """File, text, ids of the sentencepiece package with our tokenizer.model, llama.cpp's ids."""
    found = []
    for file, expected in zip(files, llama_cpp_ids(files, texts), strict=True):
        content = sentencepiece_model(read_header(file).metadata).content
        assert content is not None
        processor = sentencepiece.SentencePieceProcessor(model_proto=content)
        ids = [processor.encode(text) for text in texts]
        found += [(file.stem, *row) for row in zip(texts, ids, expected, strict=True) if row[1] != row[2]]
    return found


def files_of(folder: Path, keys: dict[str, Given]) -> list[Path]:
    files = [folder / f"{number}.gguf" for number in range(len(FLAGS))]
    for file, flags in zip(files, FLAGS, strict=True):
        given = {name: flag for name, flag in flags.items() if flag is not None}
        write_vocabulary(file, {**keys, **given})
    return files


def test_a_vocabulary_with_merges_by_score(test_data: Path, tmp_path: Path) -> None:
    metadata = read_header(test_data / "vocab" / "ggml-vocab-llama-spm.gguf").metadata
    keys: dict[str, Given] = {
        "general.architecture": "llama",
        f"{T}model": "llama",
        f"{T}tokens": metadata.texts(f"{T}tokens").tolist(),
        f"{T}scores": metadata.numbers(f"{T}scores").tolist(),
        f"{T}token_type": metadata.integers(f"{T}token_type").tolist(),
    }
    assert different(files_of(tmp_path, keys), TEXTS) == []


@pytest.mark.parametrize("mapped", [True, False])
def test_a_unigram_vocabulary(mapped: bool, unigram: Trained, tmp_path: Path) -> None:
    keys: dict[str, Given] = {
        "general.architecture": "t5",
        f"{T}model": "t5",
        f"{T}tokens": unigram.pieces,
        f"{T}scores": unigram.scores,
        f"{T}token_type": unigram.types,
        f"{T}unknown_token_id": unigram.types.index(2),
        **({f"{T}precompiled_charsmap": unigram.charsmap} if mapped else {}),
    }
    # The package itself adds a blank before a text of only blanks, and treats a ▁ in the text as one.
    texts = [text for text in TEXTS if "▁" not in text and text.replace("\ufeff", "").strip()]
    assert different(files_of(tmp_path, keys), texts) == []
