"""Special tokens: ids by key and by default, what is added to a text, what is split off, what ends an answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from llorch.formats.tokenizer import TokenizerFiles, build_tokenizer, load_tokenizer
from llorch.formats.tokenizer.bpe import byte_characters
from tests.formats.tokenizer.vocabularies import Given, vocabulary_metadata

T = "tokenizer.ggml."
BYTES = byte_characters()


def files_of(tmp_path: Path, special: dict[str, int], **keys: Given) -> TokenizerFiles:
    """Build a byte-level vocabulary: 256 bytes, "he", then these texts with their types."""
    return build_tokenizer(
        vocabulary_metadata(
            tmp_path / "v.gguf",
            {
                "general.architecture": "llama",
                f"{T}model": "gpt2",
                f"{T}pre": "gpt-2",
                f"{T}tokens": [*BYTES, "he", *special],
                f"{T}token_type": [1] * 257 + list(special.values()),
                f"{T}merges": ["h e"],
                **{(key if "." in key else f"{T}{key}"): value for key, value in keys.items()},
            },
        )
    )


def test_bos_and_eos_are_added_as_the_flags_say(tmp_path: Path) -> None:
    special = {"<s>": 3, "</s>": 3}
    ids: dict[str, Given] = {"bos_token_id": 257, "eos_token_id": 258}
    for bos in (False, True):
        for eos in (False, True):
            files = files_of(tmp_path, special, **ids, add_bos_token=bos, add_eos_token=eos)
            tokenizer = load_tokenizer(files)
            assert tokenizer.encode("he").ids == [257] * bos + [256] + [258] * eos
            pair = tokenizer.encode("he", "he")
            assert pair.ids == [257] * bos + [256] + [258] * eos + [257] * bos + [256] + [258] * eos
            assert files.tokenizer_config["add_bos_token"] is bos
            assert files.tokenizer_config["add_eos_token"] is eos


def test_a_name_of_a_pretokenizer_adds_bos_where_no_flag_says_otherwise(tmp_path: Path) -> None:
    added = files_of(tmp_path, {"<s>": 3}, pre="llama-bpe", bos_token_id=257)
    assert load_tokenizer(added).encode("he").ids == [257, 256]
    kept = files_of(tmp_path, {"<s>": 3}, pre="llama-bpe", bos_token_id=257, add_bos_token=False)
    assert load_tokenizer(kept).encode("he").ids == [256]


def test_default_eleven_counts_only_for_a_control_token(tmp_path: Path) -> None:
    assert files_of(tmp_path, {}).ids == {}
    types = [1] * 257
    types[11] = 3
    assert files_of(tmp_path, {}, token_type=types).ids == {"bos": 11, "eos": 11}
    demanded = files_of(tmp_path, {}, add_bos_token=True)
    assert demanded.ids == {"bos": 11}
    assert "tokenizer.ggml.bos_token_id" in demanded.warnings[0]


def test_a_bos_that_no_one_knows_is_not_added(tmp_path: Path) -> None:
    files = files_of(tmp_path, {}, pre="glm4", add_bos_token=True)
    assert files.tokenizer_json["post_processor"] is None
    assert files.tokenizer_config["add_bos_token"] is False
    assert len(files.warnings) == 1


def test_control_unknown_and_user_defined_tokens_are_cut_out_and_others_are_not(tmp_path: Path) -> None:
    special = {"<c>": 3, "<u>": 2, "<d>": 4, "<n>": 1, "<x>": 5}
    tokenizer = load_tokenizer(files_of(tmp_path, special))
    for index, text in enumerate(special):
        cut_out = tokenizer.encode(f"he{text}he").ids == [256, 257 + index, 256]
        assert cut_out == (special[text] in (2, 3, 4))
    assert tokenizer.decode([256, 257, 259], skip_special_tokens=True) == "he<d>"


def test_an_ordinary_word_is_not_made_special_by_a_key(tmp_path: Path) -> None:
    files = files_of(tmp_path, {"<pad>": 1}, padding_token_id=256, unknown_token_id=257)
    assert files.special_tokens_map == {"unk_token": "<pad>"}
    assert files.ids["pad"] == 256
    assert [entry["content"] for entry in files.tokenizer_json["added_tokens"]] == ["<pad>"]


def test_every_end_of_an_answer_is_found(tmp_path: Path) -> None:
    special = {"<|endoftext|>": 3, "<|im_end|>": 3, "</s>": 1, "<|eot_id|>": 4, "<stop>": 3, "<fim_pad>": 3}
    files = files_of(tmp_path, special, eos_token_id=258, eom_token_id=261, fim_pad_token_id=262)
    assert files.eos_token_ids == [258, 261, 257, 259, 260]  # no merges make </s>, so it is not a word


@pytest.mark.parametrize(
    ("texts", "ends"),
    [
        (["<|end|>", "<|return|>"], ["<|end|>", "<|return|>"]),
        (["<|end|>", "<|return|>", "<|call|>"], ["<|return|>", "<|call|>"]),
        (["<|end|>", "<|flush|>", "<|calls|>"], ["<|flush|>", "<|calls|>"]),
        (["</s>", "<|tool_response>"], ["<|tool_response>"]),
    ],
)
def test_what_only_ends_a_message_does_not_end_an_answer(
    texts: list[str], ends: list[str], tmp_path: Path
) -> None:
    files = files_of(tmp_path, dict.fromkeys(texts, 3))
    assert [files.tokens[index] for index in files.eos_token_ids] == ends


def test_phi_3s_special_tokens_take_the_blanks_after_them(tmp_path: Path) -> None:
    special = {"<s>": 3, "</s>": 3, "<|user|>": 3}
    name: dict[str, Given] = {"general.name": "Phi 3 Mini, Phi-3"}
    entries = files_of(tmp_path, special, **name).tokenizer_json["added_tokens"]
    assert {entry["content"]: entry["rstrip"] for entry in entries} == {
        "<s>": False,
        "</s>": True,
        "<|user|>": True,
    }
    assert not any(entry["rstrip"] for entry in files_of(tmp_path, special).tokenizer_json["added_tokens"])


def test_a_mask_takes_the_blanks_before_it_where_the_model_wants_that(tmp_path: Path) -> None:
    entry = files_of(tmp_path, {"<mask>": 3}, pre="jina-v2-de").tokenizer_json["added_tokens"][0]
    assert entry["lstrip"]
    name: dict[str, Given] = {"general.name": "modern-bert"}
    assert files_of(tmp_path, {"[MASK]": 3}, **name).tokenizer_json["added_tokens"][0]["lstrip"]
    assert not files_of(tmp_path, {"<mask>": 3}).tokenizer_json["added_tokens"][0]["lstrip"]


def test_without_types_the_ids_of_keys_are_special(tmp_path: Path) -> None:
    metadata = vocabulary_metadata(
        tmp_path / "v.gguf",
        {
            f"{T}model": "llama",
            f"{T}tokens": ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a"],
            f"{T}scores": [0.0] * 259 + [-1.0, -2.0],
        },
    )
    tokenizer = load_tokenizer(build_tokenizer(metadata))
    assert tokenizer.encode("a</s>a").ids == [1, 259, 260, 2, 259, 260]


def test_without_a_pretokenizers_name_the_default_is_used_with_a_warning(tmp_path: Path) -> None:
    assert "tokenizer.ggml.pre is missing" in files_of(tmp_path, {}, pre="").warnings[0]
    assert files_of(tmp_path, {}, pre="default").warnings == []


def test_a_class_that_transformers_forces_is_a_warning(tmp_path: Path) -> None:
    qwen: dict[str, Given] = {"general.architecture": "qwen2"}
    assert "cuts this model's text as qwen2" in files_of(tmp_path, {}, **qwen).warnings[0]
    assert files_of(tmp_path, {}, pre="qwen2", **qwen).warnings == []


def test_a_class_that_transformers_forces_is_a_warning_for_other_tokenizers_too(tmp_path: Path) -> None:
    keys: dict[str, Given] = {
        "general.architecture": "qwen2",
        f"{T}model": "llama",
        f"{T}tokens": ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a"],
        f"{T}scores": [0.0] * 259 + [-1.0, -2.0],
        f"{T}token_type": [2, 3, 3] + [6] * 256 + [1] * 2,
    }
    warnings = build_tokenizer(vocabulary_metadata(tmp_path / "v.gguf", keys)).warnings
    assert any(
        "as qwen2 whatever tokenizer.json says, and tokenizer.ggml.model is llama" in w for w in warnings
    )


CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}"


def test_delimiters_typed_as_words_are_cut_out_and_end_an_answer(tmp_path: Path) -> None:
    """The end ids are llama.cpp's, whose list of texts counts whatever the type is."""
    given = {"<|im_start|>": 1, "<|im_end|>": 1, "<end_of_turn>": 1, "<think>": 1}
    files = files_of(tmp_path, given, eos_token_id=256, **{"tokenizer.chat_template": CHATML})
    assert files.eos_token_ids == [256, 258, 259]
    special = {row["content"] for row in files.tokenizer_json["added_tokens"] if row["special"]}
    assert special == {"<|im_start|>", "<|im_end|>", "<end_of_turn>"} | {"he"} & special
    assert load_tokenizer(files).encode("he<|im_end|>").ids[-1] == 258
    assert any(
        "'<|im_start|>', '<|im_end|>', '<end_of_turn>': typed as ordinary words" in w for w in files.warnings
    )


@pytest.mark.parametrize("kind", [0, 1, 5])
def test_a_delimiter_ends_an_answer_whatever_word_it_is_typed_as(tmp_path: Path, kind: int) -> None:
    """UNDEFINED, NORMAL, UNUSED: llama.cpp overrides the type of a token that its list names."""
    given = {"<|im_end|>": kind}
    files = files_of(tmp_path, given, eos_token_id=256, **{"tokenizer.chat_template": CHATML})
    assert files.eos_token_ids == [256, 257]
    assert files.unused_ids == []
    assert load_tokenizer(files).encode("he<|im_end|>").ids[-1] == 257


def test_an_ordinary_word_that_merges_make_stays_a_word(tmp_path: Path) -> None:
    merges = ["h e", "< /", "</ s", "</s >"]
    tokens = [*BYTES, "he", "</", "</s", "</s>"]
    files = files_of(tmp_path, {}, tokens=tokens, token_type=[1] * 260, merges=merges, eos_token_id=256)
    assert files.eos_token_ids == [256]
    assert files.warnings == []


def test_a_word_that_the_template_writes_and_merges_make_is_a_warning(tmp_path: Path) -> None:
    merges = ["h e", "[ A", "[A B", "[AB ]"]
    tokens = [*BYTES, "he", "[A", "[AB", "[AB]"]
    template: dict[str, Given] = {"tokenizer.chat_template": "[AB]{{ messages }}"}
    files = files_of(tmp_path, {}, tokens=tokens, token_type=[1] * 260, merges=merges, **template)
    assert files.warnings == [
        "'[AB]': the chat template writes them, and as ordinary words they are cut into pieces"
    ]


@pytest.mark.parametrize("none", [-1, 0xFFFFFFFF])
def test_minus_one_in_either_sign_is_no_id(tmp_path: Path, none: int) -> None:
    files = files_of(tmp_path, {"<pad>": 3}, padding_token_id=none, eos_token_id=256)
    assert files.ids == {"eos": 256}
    assert files.tokenizer_config["pad_token"] is None


@pytest.mark.parametrize(
    ("key", "bad"),
    [
        ("padding_token_id", 258),
        ("padding_token_id", -2),
        ("mask_token_id", 4294967294),
        ("fim_pre_token_id", 999),
    ],
)
def test_an_id_of_no_token_is_left_out_as_llama_cpp_does(tmp_path: Path, key: str, bad: int) -> None:
    files = files_of(tmp_path, {"<pad>": 3}, eos_token_id=256, **{key: bad})
    assert files.ids == {"eos": 256}
    assert f"key 'tokenizer.ggml.{key}' is {bad}, and the vocabulary has 258 tokens" in files.warnings[0]


def test_empty_tokens_have_llama_cpps_names(tmp_path: Path) -> None:
    tokens = [*BYTES, "he", "", ""]
    files = files_of(tmp_path, {}, tokens=tokens, token_type=[1] * 259)
    assert files.tokens[257:] == ["[EMPTY_257]", "[EMPTY_258]"]
    assert load_tokenizer(files).token_to_id("[EMPTY_258]") == 258
    assert files.warnings == ["token 257 and 1 more is empty: called [EMPTY_id], as llama.cpp does"]


def test_one_score_for_all_is_a_warning_and_merges_are_used(tmp_path: Path) -> None:
    keys: dict[str, Given] = {
        f"{T}model": "llama",
        f"{T}tokens": [
            "<unk>",
            "<s>",
            "</s>",
            *(f"<0x{byte:02X}>" for byte in range(256)),
            *"▁abc",
            "bc",
            "ab",
        ],
        f"{T}scores": [-1000.0] * 265,
        f"{T}token_type": [2, 3, 3] + [6] * 256 + [1] * 6,
    }
    guessed = build_tokenizer(vocabulary_metadata(tmp_path / "v.gguf", keys))
    assert "one score" in guessed.warnings[0]
    merged = build_tokenizer(vocabulary_metadata(tmp_path / "v.gguf", {**keys, f"{T}merges": ["b c", "a b"]}))
    assert merged.warnings == []
    assert load_tokenizer(merged).encode("abc", add_special_tokens=False).tokens == ["▁", "a", "bc"]


def test_used_keys_are_listed(tmp_path: Path) -> None:
    files = files_of(tmp_path, {"<s>": 3}, bos_token_id=257, nosuch_key=1)
    assert files.used_keys == {
        f"{T}{key}" for key in ("model", "pre", "tokens", "token_type", "merges", "bos_token_id")
    }
