"""Tokenizers built from llama.cpp's vocabularies and generated models, against the original tokenizers' ids."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from llorch import runtime
from llorch.formats.gguf.file import read_header
from llorch.formats.tokenizer import TokenizerFiles, build_tokenizer, load_tokenizer
from llorch.formats.tokenizer.bpe import merges_from_ranks, read_merges
from llorch.formats.tokenizer.vocabulary import read_vocabulary

SEPARATOR = "\n__ggml_vocab_test__\n"
VOCABULARIES = ["llama-spm", "llama-bpe", "phi-3", "qwen2", "gpt-2", "falcon", "starcoder", "bert-bge"]
# The model type that such a model's config.json would name: transformers chooses its tokenizer class by it.
MODEL_TYPES = {
    "llama-spm": "llama",
    "llama-bpe": "llama",
    "phi-3": "phi3",
    "gpt-2": "gpt2",
    "bert-bge": "bert",
}
MODELS = ["llama", "mistral", "mixtral", "phi2", "phi3", "qwen2", "qwen3", "qwen2moe", "gemma2", "gemma3"]
# transformers' LlamaTokenizer adds the leading blank by a rule (Metaspace, "first") that is not in the file: none
# before a text that begins with one, none after a special token. llama.cpp adds it in both cases.
NOT_IN_THE_FILE = {
    "mixtral": {
        " leading space",
        "  two leading spaces",
        "▁already has the mark▁",
        "A sentence</s>and another one",
    }
}


def vectors(folder: Path, name: str) -> list[tuple[str, list[int]]]:
    file = folder / "vocab" / f"ggml-vocab-{name}.gguf"
    texts = Path(f"{file}.inp").read_bytes().decode().split(SEPARATOR)[:-1]
    ids = [[int(word) for word in line.split()] for line in Path(f"{file}.out").read_text().split("\n")[:-1]]
    assert len(texts) == len(ids) == 46
    return list(zip(texts, ids, strict=True))


@cache
def built(folder: Path, name: str) -> TokenizerFiles:
    return build_tokenizer(read_header(folder / "vocab" / f"ggml-vocab-{name}.gguf").metadata)


def made(folder: Path, model: str) -> TokenizerFiles:
    return build_tokenizer(read_header(folder / "tiny" / model / "f32.gguf").metadata)


def written(files: TokenizerFiles, folder: Path) -> Path:
    for name, content in files.files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def auto_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("name", VOCABULARIES)
def test_the_runtime_reads_the_same_ids_from_the_file(name: str, test_data: Path) -> None:
    text = runtime.read_text(test_data / "vocab" / f"ggml-vocab-{name}.gguf")
    assert text.tokenizer.get_vocab_size() == built(test_data, name).size
    for line, ids in vectors(test_data, name):
        assert text.tokenizer.encode(line, add_special_tokens=False).ids == ids


@pytest.mark.parametrize("name", VOCABULARIES)
def test_every_line_has_the_expected_ids_and_round_trips(name: str, test_data: Path, tmp_path: Path) -> None:
    files = built(test_data, name)
    tokenizer = Tokenizer.from_file(str(written(files, tmp_path) / "tokenizer.json"))
    assert tokenizer.get_vocab_size() == files.size
    for text, ids in vectors(test_data, name):
        assert tokenizer.encode(text, add_special_tokens=False).ids == ids
        if name != "bert-bge":  # which drops case and blanks by design
            assert tokenizer.decode(ids, skip_special_tokens=False) == text


@pytest.mark.parametrize("name", VOCABULARIES)
def test_transformers_gives_the_same_ids_from_the_folder(name: str, test_data: Path, tmp_path: Path) -> None:
    files = built(test_data, name)
    written(files, tmp_path)
    for config in ({}, {"model_type": MODEL_TYPES.get(name, name)}):  # without a model type, and with one
        (tmp_path / "config.json").write_text(json.dumps(config))
        tokenizer = auto_tokenizer(tmp_path)
        assert len(tokenizer) == files.size
        for text, ids in vectors(test_data, name):
            assert tokenizer.encode(text, add_special_tokens=False) == ids
            if name != "bert-bge":
                assert tokenizer.decode(ids) == text


@pytest.mark.parametrize("model", MODELS)
def test_a_made_models_texts_have_the_original_tokenizers_ids(model: str, test_data: Path) -> None:
    tokenizer = load_tokenizer(made(test_data, model))
    cases = json.loads((test_data / "tiny" / model / "tokenizer_cases.json").read_text())
    assert len(cases) == 20
    differing = {
        case["text"]
        for case in cases
        if tokenizer.encode(case["text"], add_special_tokens=False).ids != case["ids"]
    }
    assert differing == NOT_IN_THE_FILE.get(model, set())
    assert not [case for case in cases if case["llama_cpp_agrees"] and case["text"] in differing]


@pytest.mark.parametrize("model", MODELS)
def test_a_made_models_folder_loads_in_transformers(model: str, test_data: Path, tmp_path: Path) -> None:
    files = made(test_data, model)
    written(files, tmp_path)
    config = (test_data / "tiny" / model / "config.json").read_text()
    (tmp_path / "config.json").write_text(config)
    tokenizer = auto_tokenizer(tmp_path)
    original = auto_tokenizer(test_data / "tiny" / model / "tokenizer")
    assert len(tokenizer) == files.size == len(original)
    assert tokenizer.bos_token == original.bos_token
    assert tokenizer.eos_token == original.eos_token
    assert tokenizer.pad_token == original.pad_token
    assert tokenizer.chat_template == original.chat_template
    assert tokenizer("The harbour")["input_ids"] == original("The harbour")["input_ids"]
    for case in json.loads((test_data / "tiny" / model / "tokenizer_cases.json").read_text()):
        if case["text"] not in NOT_IN_THE_FILE.get(model, set()):
            assert tokenizer.encode(case["text"], add_special_tokens=False) == case["ids"]


@pytest.mark.parametrize("model", MODELS)
def test_every_id_that_ended_an_answer_still_does(model: str, test_data: Path) -> None:
    wanted = json.loads((test_data / "tiny" / model / "generation_config.json").read_text())["eos_token_id"]
    ends = made(test_data, model).eos_token_ids
    assert set(wanted if isinstance(wanted, list) else [wanted]) <= set(ends)


def test_the_real_model_loads_and_ends_its_answers(real_model: Path, tmp_path: Path) -> None:
    files = build_tokenizer(read_header(real_model).metadata)
    tokenizer = load_tokenizer(files)
    assert tokenizer.get_vocab_size() == files.size == 49152
    assert [files.tokens[index] for index in files.eos_token_ids] == ["<|im_end|>", "<|endoftext|>"]
    text = "Hello, it's 12345 o'clock.\n\tdéjà vu 你好 🦙"
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids) == text
    assert auto_tokenizer(written(files, tmp_path)).encode(text) == tokenizer.encode(text).ids


def test_merges_follow_from_the_order_in_which_tokens_were_learnt(test_data: Path) -> None:
    metadata = read_header(test_data / "vocab" / "ggml-vocab-gpt-2.gguf").metadata
    vocabulary = read_vocabulary(metadata)
    assert [*merges_from_ranks(vocabulary)] == [*read_merges(metadata, vocabulary, raw=False)]
