"""A vocabulary without an optional key, or with an odd one, gives valid files or a one-line error."""

from __future__ import annotations

from pathlib import Path

import pytest
import sentencepiece
import tokenizers

from llorch.base.errors import InputError
from llorch.converter import TokenizerFolder, convert_tokenizer
from tests.formats.tokenizer.vocabularies import Given, write_vocabulary
from tests.models import vocabularies
from tests.models.vocabularies import PIECES, VOCAB, Keys

PREFIX = "tokenizer.ggml."
TEXTS = ("hello he", "  hello\n", "naïve 日本")


def unigram() -> Keys:
    """T5's: padding, end of text and unknown, then pieces; of two ways to split a text the likelier one counts."""
    tokens = ["<pad>", "</s>", "<unk>", *PIECES, *"nav", "\n"]
    scored = len(tokens) - 3
    return {
        f"{PREFIX}model": "t5",
        f"{PREFIX}tokens": tokens,
        f"{PREFIX}scores": [0.0] * 3 + [-1.0 - n for n in range(scored)],
        f"{PREFIX}token_type": [3, 3, 2] + [1] * scored,
        **{f"{PREFIX}{name}_token_id": index for index, name in enumerate(("padding", "eos", "unknown"))},
        f"{PREFIX}add_bos_token": False,
        f"{PREFIX}add_eos_token": True,
        f"{PREFIX}add_space_prefix": True,
        f"{PREFIX}remove_extra_whitespaces": True,
    }


def wordpiece() -> Keys:
    """BERT's: words and parts of words."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    tokens = [*special, *(f"▁{letter}" for letter in letters), *letters, "▁hello"]
    names = ("padding", "unknown", "cls", "seperator", "mask")  # the key is spelt so
    return {
        f"{PREFIX}model": "bert",
        f"{PREFIX}tokens": tokens,
        f"{PREFIX}token_type": [3] * len(special) + [1] * (len(tokens) - len(special)),
        f"{PREFIX}scores": [-1000.0] * len(tokens),
        **{f"{PREFIX}{name}_token_id": index for index, name in enumerate(names)},
    }


KINDS = {
    "byte-level": vocabularies.byte_level(),
    "sentencepiece": vocabularies.sentencepiece(),
    "gemma4": vocabularies.gemma4(),
    "unigram": unigram(),
    "wordpiece": wordpiece(),
}
NEEDED = {"model", "tokens"}
NEEDED_BY = {
    "byte-level": {"merges"},
    "gemma4": {"merges"},
    "unigram": {"scores", "unknown_token_id"},
    "wordpiece": {"unknown_token_id"},
}
HAS_MODEL = {"sentencepiece", "unigram"}
OPTIONAL = [
    (kind, key)
    for kind, keys in KINDS.items()
    for key in sorted(name.removeprefix(PREFIX) for name in keys)
    if key not in NEEDED | NEEDED_BY.get(kind, set())
]
ODD: dict[str, list[Given]] = {
    "add_space_prefix": [True, False, 1, "yes"],
    "add_bos_token": [True, 1, "yes"],
    "add_eos_token": [True, 1],
    "add_sep_token": [True],
    "bos_token_id": [-1, VOCAB, 1.5],
    "eos_token_id": [VOCAB],
    "escape_whitespaces": [False],
    "merges": [["h"], ["h e l"], [" "], ["x y"]],
    "model": ["", "none", "no_vocab", "rwkv", "plamo2"],
    "padding_token_id": [-1, VOCAB],
    "pre": ["", "nonsense"],
    "precompiled_charsmap": [b"", b"\x01", bytes(4), [1, 2]],
    "remove_extra_whitespaces": [True, False],
    "scores": [[0.5], [float("nan")] * VOCAB, [float("inf")] * VOCAB, [0] * VOCAB],
    "token_type": [[1], [0] * VOCAB, [1] * VOCAB, [2] * VOCAB, [6] * VOCAB, [7] * VOCAB],
    "unknown_token_id": [-1, VOCAB],
}


def check(folder: Path) -> bool:
    """Require that each tokenizer file is readable by its own library; return whether there is a tokenizer.model."""
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    for text in TEXTS:
        tokenizer.decode(tokenizer.encode(text).ids)
    model = folder / "tokenizer.model"
    if not model.exists():
        return False
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(model))
    for text in TEXTS:
        assert pieces.encode(text) == tokenizer.encode(text, add_special_tokens=False).ids
    return True


@pytest.mark.parametrize(("kind", "missing"), OPTIONAL)
def test_a_vocabulary_without_an_optional_key_gives_all_files(
    kind: str, missing: str, tmp_path: Path
) -> None:
    keys = {name: value for name, value in KINDS[kind].items() if name != f"{PREFIX}{missing}"}
    result = convert_tokenizer(write_vocabulary(tmp_path / "vocabulary.gguf", keys), tmp_path / "folder")
    has_model = check(tmp_path / "folder")
    assert has_model == (kind in HAS_MODEL and missing != "scores")
    assert is_noted(result) == (kind in HAS_MODEL and not has_model)


@pytest.mark.parametrize("kind", KINDS)
def test_a_vocabulary_with_only_required_keys_gives_valid_files(kind: str, tmp_path: Path) -> None:
    needed = {f"{PREFIX}{key}" for key in NEEDED | NEEDED_BY.get(kind, set())}
    keys = {name: value for name, value in KINDS[kind].items() if name in needed}
    result = convert_tokenizer(write_vocabulary(tmp_path / "vocabulary.gguf", keys), tmp_path / "folder")
    assert check(tmp_path / "folder") or is_noted(result) == (kind in HAS_MODEL)


def is_noted(result: TokenizerFolder) -> bool:
    """Return whether a note says why there is no tokenizer.model."""
    return any("tokenizer.model" in note for note in result.notes)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("key", ODD)
def test_an_odd_key_gives_valid_files_or_one_line_that_names_it(kind: str, key: str, tmp_path: Path) -> None:
    for index, value in enumerate(ODD[key]):
        folder = tmp_path / str(index)
        file = write_vocabulary(tmp_path / "vocabulary.gguf", {**KINDS[kind], f"{PREFIX}{key}": value})
        said = refusal(file, folder)
        if said is None:
            check_files_alone(folder)
        else:
            assert not folder.exists()
            assert "\n" not in said
            assert f"'{PREFIX}{key}'" in said


def refusal(file: Path, folder: Path) -> str | None:
    """Return the error for a file that is not converted."""
    try:
        convert_tokenizer(file, folder)
    except InputError as error:
        return str(error)
    return None


def check_files_alone(folder: Path) -> None:
    """Require only that each file is readable by its own library; libraries differ in what an odd token type means."""
    tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")).encode(TEXTS[0])
    model = folder / "tokenizer.model"
    if model.exists():
        sentencepiece.SentencePieceProcessor(model_file=str(model)).encode(TEXTS[0])
