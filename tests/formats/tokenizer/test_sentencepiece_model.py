"""tokenizer.model against the sentencepiece package, the originals and llama.cpp's vocabularies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llorch.formats.gguf.file import read_header
from llorch.formats.tokenizer import build_tokenizer, sentencepiece_model
from tests.formats.tokenizer.llama_cpp import llama_cpp_ids
from tests.formats.tokenizer.vocabularies import Given, Trained, hard_texts, vocabulary_metadata

T = "tokenizer.ggml."
ORIGINALS = ("gemma2", "gemma3", "mistral", "mixtral", "phi3")
LOST = {"character_coverage", "num_threads", "pad_piece"}  # settings of the trainer, which GGUF does not hold
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]

sentencepiece = pytest.importorskip("sentencepiece")


def parsed(content: bytes | None) -> Any:
    from sentencepiece import sentencepiece_model_pb2

    assert content is not None
    return sentencepiece_model_pb2.ModelProto.FromString(content)


def rows(model: Any) -> list[tuple[str, float, int]]:
    return [(piece.piece, piece.score, piece.type) for piece in model.pieces]


def keys(tokens: dict[str, tuple[float, int]], **more: Given) -> dict[str, Given]:
    """Keys of a `llama` vocabulary: text → score and type."""
    return {
        "general.architecture": "llama",
        f"{T}model": "llama",
        f"{T}tokens": list(tokens),
        f"{T}scores": [score for score, _ in tokens.values()],
        f"{T}token_type": [kind for _, kind in tokens.values()],
        **{f"{T}{key}": value for key, value in more.items()},
    }


BASE: dict[str, tuple[float, int]] = {
    "<unk>": (0.0, 2), "<s>": (0.0, 3), "</s>": (0.0, 3), **dict.fromkeys(BYTES, (0.0, 6)),
    "▁a": (-1.0, 1), "▁": (-2.0, 1), "a": (-3.0, 1),
}  # fmt: skip


@pytest.mark.parametrize("name", ORIGINALS)
def test_pieces_scores_types_and_normalizer_are_the_originals(name: str, test_data: Path) -> None:
    folder = test_data / "tiny" / name
    original = parsed((folder / "tokenizer" / "tokenizer.model").read_bytes())
    ours = parsed(sentencepiece_model(read_header(folder / "f32.gguf").metadata).content)
    assert rows(ours) == rows(original)
    assert ours.normalizer_spec == original.normalizer_spec
    for setting in LOST:
        ours.trainer_spec.ClearField(setting)
        original.trainer_spec.ClearField(setting)
    assert ours.trainer_spec == original.trainer_spec


VOCABULARIES = ("vocab/ggml-vocab-llama-spm.gguf", *(f"tiny/{name}/f32.gguf" for name in ORIGINALS))


def test_llama_2s_vocabulary_gives_llama_cpps_ids(test_data: Path) -> None:
    path = test_data / VOCABULARIES[0]
    processor = sentencepiece.SentencePieceProcessor(
        model_proto=sentencepiece_model(read_header(path).metadata).content
    )
    texts = path.with_name(f"{path.name}.inp").read_text().split("\n__ggml_vocab_test__\n")
    expected = path.with_name(f"{path.name}.out").read_text().splitlines()
    for text, ids in zip(texts, expected, strict=False):
        assert processor.encode(text) == [int(token) for token in ids.split()]


@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", VOCABULARIES)
def test_random_texts_have_llama_cpps_ids(name: str, count: int, test_data: Path) -> None:
    file = test_data / name
    content = sentencepiece_model(read_header(file).metadata).content
    processor = sentencepiece.SentencePieceProcessor(model_proto=content)
    texts = [text for text in hard_texts(count, seed=len(name)) if text]
    if "gemma" in name:
        # Its runs of blanks are user-defined pieces, ▁▁ in tokenizer.model and blanks in the GGUF file: so a ▁ of the
        # text is a blank to sentencepiece, with the original's file too, and a character to llama.cpp.
        texts = [text for text in texts if "▁" not in text]
    (expected,) = llama_cpp_ids([file], texts)
    ours = [processor.encode(text) for text in texts]
    assert [row for row in zip(texts, ours, expected, strict=True) if row[1] != row[2]] == []


def test_a_unigram_model_is_the_one_that_was_trained(unigram: Trained, tmp_path: Path) -> None:
    metadata = vocabulary_metadata(
        tmp_path / "v.gguf",
        {
            "general.architecture": "t5",
            f"{T}model": "t5",
            f"{T}tokens": unigram.pieces,
            f"{T}scores": unigram.scores,
            f"{T}token_type": unigram.types,
            f"{T}unknown_token_id": unigram.types.index(2),
            f"{T}remove_extra_whitespaces": True,
            f"{T}add_space_prefix": True,
            f"{T}precompiled_charsmap": unigram.charsmap,
        },
    )
    model = sentencepiece_model(metadata)
    assert model == sentencepiece_model(metadata)
    ours = parsed(model.content)
    assert ours.trainer_spec.model_type == ours.trainer_spec.UNIGRAM
    assert [row[0] for row in rows(ours)] == unigram.pieces
    assert [row[1] for row in rows(ours)] == unigram.scores
    assert ours.normalizer_spec.precompiled_charsmap == unigram.charsmap


def test_tokens_added_after_the_pieces_are_in_tokenizer_config_alone(tmp_path: Path) -> None:
    added: dict[str, tuple[float, int]] = {
        "<|end|>": (-1000.0, 3),
        "<tag>": (-1000.0, 4),
        "[PAD264]": (-10000.0, 5),
    }
    metadata = vocabulary_metadata(tmp_path / "v.gguf", keys({**BASE, **added}, eos_token_id=262))
    ours = parsed(sentencepiece_model(metadata).content)
    assert [row[0] for row in rows(ours)] == list(BASE)
    assert (ours.trainer_spec.unk_id, ours.trainer_spec.bos_id, ours.trainer_spec.eos_id) == (0, 1, 2)
    files = build_tokenizer(metadata)
    decoder = files.tokenizer_config["added_tokens_decoder"]
    assert {index: (token["content"], token["special"]) for index, token in decoder.items()} == {
        "262": ("<|end|>", True), "263": ("<tag>", False)
    }  # fmt: skip
    assert files.size == 264
    assert any("1 tokens from id 264" in note for note in files.notes)


def test_blanks_of_user_defined_pieces_are_written_as_sentencepiece_has_them(tmp_path: Path) -> None:
    tokens = {**BASE, "  ": (-1000.0, 4), "z": (-4.0, 1)}
    ours = parsed(sentencepiece_model(vocabulary_metadata(tmp_path / "v.gguf", keys(tokens))).content)
    assert rows(ours)[262] == ("▁▁", 0.0, 4)


@pytest.mark.parametrize(
    ("tokens", "why"),
    [
        ({token: (-1.0, kind) for token, (_, kind) in BASE.items()}, "one score"),
        ({"▁▁": (-5.0, 1), **BASE, "  ": (-1000.0, 4), "z": (-4.0, 1)}, "refuses it"),
        ({token: row for token, row in BASE.items() if token != "<0x41>"}, "refuses it"),
    ],
)
def test_an_invalid_sentencepiece_model_is_not_written_and_a_note_says_why(
    tokens: dict[str, tuple[float, int]], why: str, tmp_path: Path
) -> None:
    found = sentencepiece_model(
        vocabulary_metadata(tmp_path / "v.gguf", keys(tokens, unknown_token_id=list(tokens).index("<unk>")))
    )
    assert found.content is None
    assert why in found.note


def test_other_kinds_have_none_and_no_note(test_data: Path) -> None:
    found = sentencepiece_model(read_header(test_data / "tiny" / "qwen2" / "f32.gguf").metadata)
    assert (found.content, found.note) == (None, "")
