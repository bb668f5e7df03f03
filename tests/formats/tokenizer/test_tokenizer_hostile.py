"""Inconsistent vocabularies: each is one error that names its key, and none reaches the tokenizers library."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llorch.base.errors import InputError, MalformedInput, UnsupportedInput
from llorch.formats.gguf.file import read_header
from llorch.formats.tokenizer import REFUSED, build_tokenizer, guard, load_tokenizer
from llorch.formats.tokenizer.bpe import byte_characters
from llorch.formats.tokenizer.charsmap import read_charsmap
from llorch.formats.tokenizer.pretokenizers import PRETOKENIZERS
from tests.formats.tokenizer.vocabularies import Given, Trained, vocabulary_metadata, write_vocabulary

T = "tokenizer.ggml."
BYTES = byte_characters()
GPT2: dict[str, Given] = {
    "general.architecture": "llama",
    f"{T}model": "gpt2",
    f"{T}pre": "gpt-2",
    f"{T}tokens": [*BYTES, "he", "ll", "<|bos|>", "<|eos|>"],
    f"{T}token_type": [1] * 258 + [3, 3],
    f"{T}merges": ["h e", "l l"],
    f"{T}bos_token_id": 258,
    f"{T}eos_token_id": 259,
}
SPM: dict[str, Given] = {
    "general.architecture": "llama",
    f"{T}model": "llama",
    f"{T}tokens": ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "▁a"],
    f"{T}scores": [0.0] * 259 + [-1.0, -2.0, -3.0],
    f"{T}token_type": [2, 3, 3] + [6] * 256 + [1] * 3,
}
BERT: dict[str, Given] = {
    "general.architecture": "bert",
    f"{T}model": "bert",
    f"{T}tokens": ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "▁a", "b"],
    f"{T}token_type": [3, 3, 3, 3, 1, 1],
    f"{T}unknown_token_id": 1,
    f"{T}cls_token_id": 2,
    f"{T}seperator_token_id": 3,
}
UNIGRAM: dict[str, Given] = {
    "general.architecture": "t5",
    f"{T}model": "t5",
    f"{T}tokens": ["<pad>", "</s>", "<unk>", "▁", "a"],
    f"{T}scores": [0.0, 0.0, 0.0, -1.0, -2.0],
    f"{T}token_type": [3, 3, 2, 1, 1],
}


def with_token(keys: Mapping[str, Given], index: int, text: str) -> list[str]:
    tokens = [str(token) for token in keys[f"{T}tokens"]]  # type: ignore[union-attr]
    tokens[index] = text
    return tokens


CASES: dict[str, tuple[Mapping[str, Given], dict[str, Given | None], str]] = {
    "no model": (GPT2, {f"{T}model": None}, r"key 'tokenizer.ggml.model': is missing"),
    "an unknown model": (GPT2, {f"{T}model": "nosuch"}, "unknown tokenizer 'nosuch'"),
    "an escape as model": (GPT2, {f"{T}model": "x\x1b[2J"}, r"unknown tokenizer 'x\\x1b\[2J'"),
    "an unknown pre-tokenizer": (GPT2, {f"{T}pre": "nosuch"}, "'tokenizer.ggml.pre': unknown pre-tokenizer 'nosuch'"),
    "a pre-tokenizer that drops blanks": (GPT2, {f"{T}pre": "whitespace"}, "'whitespace' is not converted: it drops"),
    "a number as pre-tokenizer": (GPT2, {f"{T}pre": 7}, "'tokenizer.ggml.pre': has type u32"),
    "no tokens": (GPT2, {f"{T}tokens": None}, "'tokenizer.ggml.tokens': is missing"),
    "a repeated token": (GPT2, {f"{T}tokens": with_token(GPT2, 9, "he")}, "token 256 repeats token 9, 'he'"),
    "types cut short": (GPT2, {f"{T}token_type": [1] * 259}, "token_type': has 259 elements for 260 tokens"),
    "types too long": (GPT2, {f"{T}token_type": [1] * 261}, "token_type': has 261 elements for 260 tokens"),
    "an unknown type": (GPT2, {f"{T}token_type": [1] * 259 + [7]}, "token 259 has the unknown type 7"),
    "a negative type": (GPT2, {f"{T}token_type": [-1] + [1] * 259}, "token 0 has the unknown type -1"),
    "scores cut short": (GPT2, {f"{T}scores": [0.0] * 9}, "scores': has 9 elements for 260 tokens"),
    "no merges": (GPT2, {f"{T}merges": None}, "'tokenizer.ggml.merges': is missing"),
    "a merge of an absent token": (GPT2, {f"{T}merges": ["qq h"]}, "merges': merge 'qq h' is about 'qq', which is not"),
    "a merge into an absent token": (GPT2, {f"{T}merges": ["h e", "h l"]}, "merge 'h l' is about 'hl', which is not"),
    "a merge without a blank": (GPT2, {f"{T}merges": ["he"]}, "merges': 'he' is not two parts"),
    "a merge with one part": (GPT2, {f"{T}merges": ["he "]}, "merges': 'he ' is not two parts"),
    "an empty merge": (GPT2, {f"{T}merges": ["h e", ""]}, "merges': '' is not two parts"),
    "a BOS beyond": (GPT2, {f"{T}bos_token_id": 260}, "bos_token_id': is 260, but the vocabulary has 260"),
    "a negative EOS": (GPT2, {f"{T}eos_token_id": -2}, "eos_token_id': is -2"),
    "an EOS of -1": (GPT2, {f"{T}eos_token_id": -1}, "eos_token_id': is -1"),
    "an EOS of 2^32-1": (GPT2, {f"{T}eos_token_id": 4294967295}, "eos_token_id': is 4294967295"),
    "an EOT beyond": (GPT2, {f"{T}eot_token_id": 4294967294}, "eot_token_id': is 4294967294"),
    "a text as add_bos": (GPT2, {f"{T}add_bos_token": "yes"}, "add_bos_token': has type string, not bool"),
    "a template's name that climbs": (GPT2, {"tokenizer.chat_template.../x": "{{ 1 }}"}, "is no name for a template"),
    "a template's name that is empty": (GPT2, {"tokenizer.chat_template.": "{{ 1 }}"}, "is no name for a template"),
    "a number as template": (GPT2, {"tokenizer.chat_template": 1}, "'tokenizer.chat_template': has type u32"),
    "a score that is no number": (SPM, {f"{T}scores": [float("nan")] * 262}, "the score of token 0 is nan"),
    "an infinite score": (SPM, {f"{T}scores": [0.0] * 261 + [float("inf")]}, "the score of token 261 is inf"),
    "tokens too long to cut": (
        SPM,
        {f"{T}tokens": with_token(SPM, 261, "a" * 40_000)},
        "'tokenizer.ggml.tokens': tokens are too long to find their merges",
    ),
    "a Unigram without scores": (UNIGRAM, {f"{T}scores": None}, "'tokenizer.ggml.scores': is missing"),
    "an unknown token beyond": (UNIGRAM, {f"{T}unknown_token_id": 5}, "unknown_token_id': is 5"),
    "a map too small": (UNIGRAM, {f"{T}precompiled_charsmap": b"\1"}, "precompiled_charsmap': is damaged"),
    "a map of zeros": (UNIGRAM, {f"{T}precompiled_charsmap": bytes(64)}, "precompiled_charsmap': is damaged"),
    "a map cut off": (UNIGRAM, {f"{T}precompiled_charsmap": b"\xff\0\0\0" * 2}, "precompiled_charsmap': is damaged"),
    "a map of wide elements": (UNIGRAM, {f"{T}precompiled_charsmap": [1, 2]}, "has elements of 4 bytes"),
    "words that become the same": (
        BERT,
        {f"{T}tokens": ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "▁##a", "a"]},
        "two tokens are '##a'",
    ),
}  # fmt: skip


def changed(keys: Mapping[str, Given], changes: Mapping[str, Given | None]) -> dict[str, Given]:
    return {key: value for key, value in {**keys, **changes}.items() if value is not None}


@pytest.mark.parametrize(("keys", "changes", "message"), CASES.values(), ids=CASES.keys())
def test_an_inconsistency_is_one_error_that_names_its_key(
    keys: Mapping[str, Given], changes: Mapping[str, Given | None], message: str, tmp_path: Path
) -> None:
    load_tokenizer(build_tokenizer(vocabulary_metadata(tmp_path / "good.gguf", keys)))
    metadata = vocabulary_metadata(tmp_path / "bad.gguf", changed(keys, changes))
    with pytest.raises(InputError, match=message) as caught:
        build_tokenizer(metadata)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("model", REFUSED)
def test_a_tokenizer_that_cannot_be_written_is_refused_with_its_reason(model: str, tmp_path: Path) -> None:
    metadata = vocabulary_metadata(tmp_path / "v.gguf", {**GPT2, f"{T}model": model})
    with pytest.raises(UnsupportedInput, match=f"tokenizer '{model}' is not converted: "):
        build_tokenizer(metadata)


@pytest.mark.parametrize("key", ["tokens", "merges"])
def test_bytes_that_are_not_utf8_are_named(key: str, tmp_path: Path) -> None:
    file = write_vocabulary(tmp_path / "v.gguf", {**GPT2, f"{T}{key}": [*GPT2[f"{T}{key}"][:1], "%%"]})  # type: ignore[index]
    file.write_bytes(file.read_bytes().replace(b"%%", b"\xc3("))
    with pytest.raises(
        MalformedInput, match=rf"'tokenizer.ggml.{key}': \w+ 1 is not UTF-8: '\\{{1,2}}xc3\('"
    ):
        build_tokenizer(read_header(file).metadata)


def test_errors_come_without_the_tokenizers_library(tmp_path: Path) -> None:
    write_vocabulary(tmp_path / "v.gguf", {**GPT2, f"{T}merges": ["qq h"]})
    code = (
        "import sys\n"
        "from llorch.base.errors import InputError\n"
        "from llorch.formats.gguf.file import read_header\n"
        "from llorch.formats.tokenizer import build_tokenizer\n"
        "try:\n"
        "    build_tokenizer(read_header(sys.argv[1]).metadata)\n"
        "except InputError:\n"
        "    print(sorted({'tokenizers', 'jinja2', 'transformers'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "v.gguf")],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    assert done.stdout == "[]\n"


def test_a_panic_of_the_library_is_an_input_error(unigram: Trained) -> None:
    import base64

    from tokenizers import normalizers

    def walk_out_of_the_map() -> Any:
        charsmap = b"\4\0\0\0" + b"\0\xfc\xff\xff" + b"a\0"
        return normalizers.Precompiled(base64.b64decode(base64.b64encode(charsmap))).normalize_str("abc")

    with pytest.raises(BaseException) as raw:
        walk_out_of_the_map()
    assert not isinstance(raw.value, Exception)
    with pytest.raises(MalformedInput, match="the tokenizers library refuses the vocabulary"):
        guard(walk_out_of_the_map)


def test_an_interrupt_is_no_input_error() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        guard(interrupt)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_map_that_passes_causes_no_panic(data: st.DataObject, unigram: Trained, tmp_path: Path) -> None:
    charsmap = bytearray(unigram.charsmap[: data.draw(st.sampled_from([200, 4000, len(unigram.charsmap)]))])
    if data.draw(st.booleans()):
        charsmap[:4] = data.draw(st.integers(0, len(charsmap) // 4)).__mul__(4).to_bytes(4, "little")
    for _ in range(data.draw(st.integers(0, 8))):
        charsmap[data.draw(st.integers(0, len(charsmap) - 1))] = data.draw(st.integers(0, 255))
    metadata = vocabulary_metadata(tmp_path / "v.gguf", {f"{T}precompiled_charsmap": bytes(charsmap)})
    try:
        checked = read_charsmap(metadata)
    except MalformedInput:
        return
    from tokenizers import normalizers

    normalizer = normalizers.Precompiled(checked)
    for character in map(chr, [*range(1, 0x500), *range(0x2000, 0x2100), *range(0xFF00, 0xFFF0)]):
        normalizer.normalize_str(character + "\u0301")


UNFIT: list[Callable[[dict[str, Given]], None]] = [
    lambda keys: keys.update({f"{T}add_bos_token": True}),
    lambda keys: keys.update({f"{T}add_eos_token": True}),
    lambda keys: keys.__delitem__(f"{T}token_type"),
    lambda keys: keys.__delitem__(f"{T}bos_token_id"),
    lambda keys: keys.update({f"{T}padding_token_id": 256}),
    lambda keys: keys.update({f"{T}token_type": [4] * 260}),
    lambda keys: keys.update({f"{T}merges": ["h e", "l l", "h e"]}),
    lambda keys: keys.update({f"{T}pre": ""}),
]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(which=st.sets(st.sampled_from(range(len(UNFIT)))), pre=st.sampled_from(sorted(PRETOKENIZERS)))
def test_odd_but_consistent_vocabularies_load(which: set[int], pre: str, tmp_path: Path) -> None:
    keys = {**GPT2, f"{T}pre": pre}
    for index in which:
        UNFIT[index](keys)
    files = build_tokenizer(vocabulary_metadata(tmp_path / "v.gguf", keys))
    assert load_tokenizer(files).get_vocab_size() == files.size == 260
