"""decode(encode(s)) is s: for 10,000 strings of random Unicode, for tokenizers whose original has that property.

In the normal suite eight vocabularies share them; in the slow one each vocabulary gets as many.
"""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llorch.formats.gguf.file import read_header
from llorch.formats.tokenizer import build_tokenizer, load_tokenizer
from llorch.formats.tokenizer.bpe import byte_characters
from tests.formats.tokenizer.vocabularies import hard_texts, vocabulary_metadata

EACH = 1250
# Vocabularies whose original tokenizer round-trips every string, or a condition on the strings that it does.
KEPT: dict[str, Callable[[str], bool]] = {
    "vocab/ggml-vocab-gpt-2.gguf": lambda text: True,
    "vocab/ggml-vocab-llama-bpe.gguf": lambda text: True,
    "vocab/ggml-vocab-qwen2.gguf": lambda text: unicodedata.is_normalized("NFC", text),
    "vocab/ggml-vocab-llama-spm.gguf": lambda text: "▁" not in text,  # which stands for a blank
    "vocab/ggml-vocab-phi-3.gguf": lambda text: "▁" not in text,
    "tiny/gemma3/f32.gguf": lambda text: "▁" not in text,
    "tiny/mistral/f32.gguf": lambda text: "▁" not in text,
    "tiny/phi2/f32.gguf": lambda text: True,
}


def random_texts(count: int, seed: int) -> list[str]:
    """Half are words and blanks of many scripts, half any code points, so that every plane occurs."""
    rng = random.Random(seed)
    ranges = [
        (0x20, 0x7F),
        (0, 0x300),
        (0x300, 0x3000),
        (0x3000, 0xD800),
        (0xE000, 0x10000),
        (0x10000, 0x110000),
    ]
    texts = hard_texts(count // 2, seed)
    while len(texts) < count:
        span = rng.choice(ranges)
        texts.append(
            "".join(
                chr(rng.randrange(*rng.choice((span, span, ranges[0])))) for _ in range(rng.randrange(24))
            )
        )
    return texts


@pytest.mark.parametrize("count", [EACH, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", KEPT)
def test_random_unicode_comes_back(name: str, count: int, test_data: Path) -> None:
    tokenizer = load_tokenizer(build_tokenizer(read_header(test_data / name).metadata))
    texts = random_texts(10 * count if "qwen2" in name else 2 * count, seed=len(name) + count)
    texts = [text for text in texts if KEPT[name](text)][:count]
    assert len(texts) == count
    encodings = tokenizer.encode_batch(texts, add_special_tokens=False)
    back = tokenizer.decode_batch([encoding.ids for encoding in encodings], skip_special_tokens=False)
    assert [pair for pair in zip(texts, back, strict=True) if pair[0] != pair[1]] == []


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The smallest byte-level tokenizer, the 256 bytes and one merge, for which hypothesis can shrink texts."""
    metadata = vocabulary_metadata(
        tmp_path_factory.mktemp("bare") / "v.gguf",
        {
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.pre": "gpt-4o",
            "tokenizer.ggml.tokens": [*byte_characters(), "he"],
            "tokenizer.ggml.merges": ["h e"],
        },
    )
    return load_tokenizer(build_tokenizer(metadata))


@settings(max_examples=300, deadline=None)
@given(text=st.text())
def test_byte_tokens_alone_round_trip_every_text(bare: Any, text: str) -> None:
    assert bare.decode(bare.encode(text).ids) == text
