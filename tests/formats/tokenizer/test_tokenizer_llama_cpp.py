"""Against llama.cpp itself, on texts that are hard to split, for every pre-tokenizer and every family."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from llorch.formats.gguf.file import read_header
from llorch.formats.tokenizer import Form, build_tokenizer, load_tokenizer
from llorch.formats.tokenizer.pretokenizers import PRETOKENIZERS
from tests.formats.tokenizer.llama_cpp import llama_cpp_ids
from tests.formats.tokenizer.vocabularies import (
    Given,
    Trained,
    byte_pair_keys,
    hard_texts,
    write_vocabulary,
)

BYTE_LEVEL = [name for name, row in PRETOKENIZERS.items() if not row.raw]
RAW = [name for name, row in PRETOKENIZERS.items() if row.raw]


def ours(file: Path, texts: list[str], form: Form = "llama.cpp") -> list[list[int]]:
    tokenizer = load_tokenizer(build_tokenizer(read_header(file).metadata, form=form))
    return [encoding.ids for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)]


def differing(texts: list[str], mine: list[list[int]], theirs: list[list[int]]) -> list[str]:
    return [text for text, a, b in zip(texts, mine, theirs, strict=True) if a != b]


def test_every_byte_level_pretokenizer_splits_as_llama_cpp_does(tmp_path: Path) -> None:
    texts = hard_texts(120, seed=1)
    files = [write_vocabulary(tmp_path / f"{name}.gguf", byte_pair_keys(name, texts)) for name in BYTE_LEVEL]
    answers = llama_cpp_ids(files, texts)
    wrong = {
        name: differing(texts, ours(file, texts), theirs)
        for name, file, theirs in zip(BYTE_LEVEL, files, answers, strict=True)
    }
    assert {name: texts for name, texts in wrong.items() if texts} == {}


def raw_keys(pre: str, texts: list[str]) -> dict[str, Given]:
    """Byte tokens, the texts' characters, and pairs of characters that occur in the texts."""
    spaced = [text.replace(" ", "▁") for text in texts]
    characters = sorted({character for text in spaced for character in text})
    pairs = sorted({text[i : i + 2] for text in spaced for i in range(len(text) - 1)} - set(characters))
    tokens = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *characters[: len(characters) // 2]]
    known = set(tokens)
    pairs = [pair for pair in pairs if pair[0] in known and pair[1] in known]
    return {
        "general.architecture": "llama",
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens + pairs,
        "tokenizer.ggml.token_type": [2] + [6] * 256 + [1] * (len(tokens) - 257 + len(pairs)),
        "tokenizer.ggml.merges": [f"{pair[0]} {pair[1]}" for pair in pairs],
    }


def test_every_raw_pretokenizer_splits_as_llama_cpp_does(tmp_path: Path) -> None:
    texts = hard_texts(200, seed=2)
    files = [write_vocabulary(tmp_path / f"{name}.gguf", raw_keys(name, texts)) for name in RAW]
    for name, file, theirs in zip(RAW, files, llama_cpp_ids(files, texts), strict=True):
        assert differing(texts, ours(file, texts), theirs) == [], name


@pytest.mark.parametrize("name", ["gpt-2", "falcon", "starcoder", "llama-bpe", "qwen2", "llama-spm", "phi-3"])
def test_random_texts_have_llama_cpps_ids(name: str, test_data: Path) -> None:
    file = test_data / "vocab" / f"ggml-vocab-{name}.gguf"
    texts = hard_texts(300, seed=3)
    assert differing(texts, ours(file, texts), llama_cpp_ids([file], texts)[0]) == []


def test_bert_has_llama_cpps_ids_but_for_single_jamo_and_its_own_mark(test_data: Path) -> None:
    file = test_data / "vocab" / "ggml-vocab-bert-bge.gguf"
    texts = [text for text in hard_texts(300, seed=4) if not {"ㄱ", "▁"} & set(text)]
    assert differing(texts, ours(file, texts), llama_cpp_ids([file], texts)[0]) == []


@pytest.mark.parametrize("model", ["llama", "mistral", "phi2", "phi3", "qwen2", "gemma2", "gemma3"])
def test_special_tokens_in_a_text_are_cut_out_as_llama_cpp_does(model: str, test_data: Path) -> None:
    file = test_data / "tiny" / model / "f32.gguf"
    files = build_tokenizer(read_header(file).metadata, form="llama.cpp")
    special = [entry["content"] for entry in files.tokenizer_json["added_tokens"]]
    plain = hard_texts(60, seed=5)
    texts = [a + special[i % len(special)] + b for i, (a, b) in enumerate(pairwise(plain))]
    texts = [
        text for text in texts if model != "phi3" or text.isascii()
    ]  # strips other blanks than llama.cpp
    assert differing(texts, ours(file, texts), llama_cpp_ids([file], texts, special=True)[0]) == []


def unigram_keys(trained: Trained, remove: bool, prefix: bool, mapped: bool) -> dict[str, Given]:
    keys: dict[str, Given] = {
        "general.architecture": "t5",
        "tokenizer.ggml.model": "t5",
        "tokenizer.ggml.tokens": trained.pieces,
        "tokenizer.ggml.scores": trained.scores,
        "tokenizer.ggml.token_type": trained.types,
        "tokenizer.ggml.remove_extra_whitespaces": remove,
        "tokenizer.ggml.add_space_prefix": prefix,
    }
    return {**keys, "tokenizer.ggml.precompiled_charsmap": trained.charsmap} if mapped else keys


@pytest.mark.parametrize("remove", [False, True])
@pytest.mark.parametrize("prefix", [False, True])
@pytest.mark.parametrize("mapped", [False, True])
def test_unigram_has_llama_cpps_ids(
    unigram: Trained,
    remove: bool,
    prefix: bool,
    mapped: bool,
    tmp_path: Path,
) -> None:
    file = write_vocabulary(tmp_path / "t5.gguf", unigram_keys(unigram, remove, prefix, mapped))
    # Two marks on one letter: the library replaces the whole cluster where its beginning is in the map.
    texts = [text for text in hard_texts(300, seed=7) if not mapped or "\u0308\u0301" not in text]
    assert differing(texts, ours(file, texts), llama_cpp_ids([file], texts)[0]) == []
