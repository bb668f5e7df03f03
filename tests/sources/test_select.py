"""One model is chosen, or the user must choose; files that run code when loaded are never fetched."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llorch.sources.errors import ChoiceNeeded
from llorch.sources.offer import RemoteFile
from llorch.sources.select.files import FileFilter, models_of, parts_of, quant_of, select_files

QWEN = [
    "README.md",
    "LICENSE",
    "qwen2.5-0.5b-instruct-fp16.gguf",
    "qwen2.5-0.5b-instruct-q2_k.gguf",
    "qwen2.5-0.5b-instruct-q4_k_m.gguf",
    "qwen2.5-0.5b-instruct-q8_0.gguf",
]
FOLDER = [
    "README.md",
    "config.json",
    "model.safetensors",
    "pytorch_model.bin",
    "tokenizer.json",
    "tf_model.h5",
]
SPLIT = [
    "README.md",
    *(f"Q8_0/m-Q8_0-{n:05}-of-00003.gguf" for n in (1, 2, 3)),
    "m-Q4_0.gguf",
    "mmproj-m-f16.gguf",
]


def files(names: list[str]) -> list[RemoteFile]:
    return [RemoteFile(name, 10, sha256="0" * 64) for name in names]


def taken(names: list[str], **wish: object) -> list[str]:
    kept, left = select_files(files(names), FileFilter(**wish), "owner/repo", named=False)  # type: ignore[arg-type]
    assert sorted([file.path for file in kept] + [path for path, _ in left]) == sorted(names)
    return [file.path for file in kept]


@pytest.mark.parametrize(
    ("quant", "expected"),
    [
        ("Q4_K_M", "qwen2.5-0.5b-instruct-q4_k_m.gguf"),
        ("q8_0", "qwen2.5-0.5b-instruct-q8_0.gguf"),
        ("FP16", "qwen2.5-0.5b-instruct-fp16.gguf"),
        ("F16", "qwen2.5-0.5b-instruct-fp16.gguf"),
    ],
)
def test_a_quantization_names_one_file(quant: str, expected: str) -> None:
    assert taken(QWEN, quant=quant) == [expected]


def test_a_quantization_that_is_not_there_is_told_which_are() -> None:
    with pytest.raises(ChoiceNeeded, match="there are F16, Q2_K, Q4_K_M, Q8_0"):
        taken(QWEN, quant="Q6_K")
    with pytest.raises(ChoiceNeeded, match="is no quantization"):
        taken(QWEN, quant="small")


def test_several_models_are_not_chosen_between() -> None:
    with pytest.raises(ChoiceNeeded, match=r"4 GGUF models \(F16, Q2_K, Q4_K_M, Q8_0\); say which"):
        taken(QWEN)
    with pytest.raises(ChoiceNeeded, match=r"1 GGUF model \(.*\) and safetensors"):
        taken([*FOLDER, "m.gguf"])


def test_a_folder_comes_without_pickles_and_other_frameworks() -> None:
    assert taken(FOLDER) == ["README.md", "config.json", "model.safetensors", "tokenizer.json"]


def test_pickles_alone_are_refused_with_the_reason() -> None:
    with pytest.raises(ChoiceNeeded, match=r"\.bin files alone; a pickle is a program"):
        taken(["config.json", "pytorch_model.bin"])
    with pytest.raises(ChoiceNeeded, match=r"'pytorch_model\.bin' is not fetched"):
        taken(FOLDER, include=("*.bin",))
    with pytest.raises(ChoiceNeeded):
        select_files(files(["a.pt"]), FileFilter(), "owner/repo", named=True)


def test_a_split_set_is_one_model_and_a_projector_is_none() -> None:
    assert taken(SPLIT, quant="Q8_0") == SPLIT[1:4]
    assert taken(["README.md", "m-Q4_0.gguf", "mmproj-m-f16.gguf"]) == ["README.md", "m-Q4_0.gguf"]


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        ({"include": ("*.json",)}, ["config.json", "tokenizer.json"]),
        ({"exclude": ("README*", "tok*")}, ["config.json", "model.safetensors"]),
        ({"include": ("*.json", "*.md"), "exclude": ("tok*",)}, ["README.md", "config.json"]),
    ],
)
def test_patterns_choose_as_those_of_hf_download(
    wish: dict[str, tuple[str, ...]], expected: list[str]
) -> None:
    from huggingface_hub.utils import filter_repo_objects

    assert taken(FOLDER, **wish) == expected
    asked = filter_repo_objects(
        FOLDER,
        allow_patterns=list(wish.get("include", ())) or None,
        ignore_patterns=list(wish.get("exclude", ())),
    )
    assert set(expected) == {name for name in asked if not name.endswith((".bin", ".h5"))}


def test_patterns_that_match_nothing_say_so() -> None:
    with pytest.raises(ChoiceNeeded, match=r"none of its 6 files is left: not in --include \*\.onnx"):
        taken(FOLDER, include=("*.onnx",))


QUANTS = {
    "Llama-3.2-1B-Instruct-Q4_K_M.gguf": "Q4_K_M",
    "phi-3-mini-4k-instruct-q4.gguf": "Q4",
    "SmolLM2-135M-Instruct.Q4_1.gguf": "Q4_1",
    "model-UD-IQ1_S.gguf": "UD-IQ1_S",
    "gpt-oss-20b-mxfp4.gguf": "MXFP4",
    "Q8_0/m-Q8_0-00001-of-00003.gguf": "Q8_0",
    "BF16/m-00001-of-00003.gguf": "BF16",
    "m.f32.gguf": "F32",
    "qwen2.5-7b.gguf": None,
    "tq1.gguf": None,
}


@pytest.mark.parametrize(("path", "expected"), QUANTS.items())
def test_the_quantization_is_read_off_a_name(path: str, expected: str | None) -> None:
    assert quant_of(path) == expected


@given(st.integers(1, 40), st.integers(1, 40))
def test_any_part_leads_to_all_parts(count: int, number: int) -> None:
    names = [f"a/m-{n:05}-of-{count:05}.gguf" for n in range(1, count + 1)]
    if number <= count:
        assert parts_of(names[number - 1]) == names
        assert [[file.path for file in model] for model in models_of(files(names))] == [names]
    else:
        assert parts_of(f"a/m-{number:05}-of-{count:05}.gguf") == [f"a/m-{number:05}-of-{count:05}.gguf"]
