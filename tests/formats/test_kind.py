"""The kind of a file or folder: files written by other programs, and paths that mean a model."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
import safetensors.numpy
import torch

from llorch.base.errors import InputError, UnsupportedInput
from llorch.formats import model_path
from tests.models.gguf_writer import STRING, U32, one
from tests.models.tiny import random_llama

Write = Callable[[Path], object]


def archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("data.pkl", b"")


def written_by_gguf_py(architecture: str, kind: str | None) -> Write:
    """Write a file with gguf-py's own writer, with one tensor and no vocabulary."""

    def write(path: Path) -> None:
        writer = gguf.GGUFWriter(path, architecture)
        if kind is not None:
            writer.add_key_value("general.type", kind, gguf.GGUFValueType.STRING)
        writer.add_tensor("v.blk.0.attn_q.weight", np.zeros((32, 32), np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()

    return write


def torch_pickle(path: Path) -> None:
    torch.save({"a": torch.zeros(2)}, path, _use_new_zipfile_serialization=False)


def onnx(path: Path) -> None:
    path.write_bytes(b"\x08\x08\x12\x07pytorch\x1a\x052.1.0:\x10")


FILES: dict[str, tuple[Write, str]] = {
    "git-lfs pointer": (
        lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64),
        "is a Git LFS pointer, not the file that it stands for; git lfs pull",
    ),
    "html": (lambda path: path.write_text("\n<!DOCTYPE html><html>404"), "is a page of HTML"),
    "html with a mark": (
        lambda path: path.write_bytes(b"\xef\xbb\xbf<HTML>"),
        "is a page of HTML",
    ),
    "zip": (archive, "is a zip archive"),
    "torch": (lambda path: torch.save(torch.zeros(2), path), "is a zip archive"),
    "torch before zip": (torch_pickle, "is a pickle"),
    "pickle": (lambda path: path.write_bytes(pickle.dumps([1], protocol=4)), "is a pickle"),
    "onnx": (onnx, "is an ONNX model"),
    "ggml": (lambda path: path.write_bytes(0x67676D6C.to_bytes(4, "little") + bytes(60)), "old ggml format"),
    "ggjt": (lambda path: path.write_bytes(0x67676A74.to_bytes(4, "little") + bytes(60)), "(magic ggjt)"),
    "imatrix of llama.cpp before GGUF": (
        lambda path: path.write_bytes(b"\x01\0\0\0\x14\0\0\0blk.0.ffn_down.weight"),
        "is an importance matrix",
    ),
    "safetensors": (
        lambda path: safetensors.numpy.save_file({"a": np.zeros(2, np.float32)}, path),
        "is a safetensors file: it is converted already; llorch-run runs the folder",
    ),
    "mmproj": (
        written_by_gguf_py("clip", "mmproj"),
        "general.type is mmproj: a projector of images or sound, not a language model",
    ),
    "clip": (written_by_gguf_py("clip", None), "general.architecture is clip: a projector"),
    "imatrix": (written_by_gguf_py("imatrix", "imatrix"), "general.type is imatrix: an importance matrix"),
    "lora": (written_by_gguf_py("llama", "adapter"), "general.type is adapter: a LoRA adapter"),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_is_no_language_model_is_refused_by_its_kind(kind: str, tmp_path: Path) -> None:
    write, told = FILES[kind]
    path = tmp_path / "model.gguf"
    write(path)
    with pytest.raises(UnsupportedInput) as raised:
        model_path(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert told in str(raised.value)


def test_a_model_is_recognized_under_any_name(tmp_path: Path) -> None:
    for name in ("model.gguf", "sha256-" + "a" * 64, "model.bin"):
        path = random_llama(layers=1).write(tmp_path / name)
        assert model_path(path) == path


@pytest.mark.parametrize("bytes_", [b"", b"GGUF", b"no such kind"], ids=["empty", "cut", "unknown"])
def test_an_unknown_kind_is_left_to_the_reader(bytes_: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(bytes_)
    assert model_path(path) == path


def test_a_key_of_another_type_is_left_to_the_reader(tmp_path: Path) -> None:
    path = random_llama(layers=1).key("general.type", one(U32, 1)).write(tmp_path / "model.gguf")
    assert model_path(path) == path


def test_a_folder_with_one_model_means_that_model(tmp_path: Path) -> None:
    model = random_llama(layers=1).write(tmp_path / "Tiny.Q4.GGUF")
    (tmp_path / "README.md").write_text("a card")
    assert model_path(tmp_path) == model
    written_by_gguf_py("clip", "mmproj")(tmp_path / "mmproj.gguf")
    written_by_gguf_py("imatrix", "imatrix")(tmp_path / "a.imatrix.gguf")
    assert model_path(tmp_path) == model


def test_the_parts_of_a_set_are_one_model(tmp_path: Path) -> None:
    for part in (1, 2):
        random_llama(layers=1).write(tmp_path / f"big-{part:05}-of-00002.gguf")
    assert model_path(tmp_path) == tmp_path / "big-00001-of-00002.gguf"


def test_a_folder_with_several_models_lists_them(tmp_path: Path) -> None:
    for name in ("b.Q8_0.gguf", "a.Q4_K.gguf"):
        random_llama(layers=1).write(tmp_path / name)
    with pytest.raises(InputError, match=r"several GGUF models: a\.Q4_K\.gguf, b\.Q8_0\.gguf; name one"):
        model_path(tmp_path)


def test_a_folder_with_only_a_projector_is_refused_as_that(tmp_path: Path) -> None:
    written_by_gguf_py("clip", "mmproj")(tmp_path / "mmproj.gguf")
    with pytest.raises(UnsupportedInput, match=r"mmproj\.gguf: general\.type is mmproj"):
        model_path(tmp_path)


FOLDERS: dict[str, tuple[tuple[str, ...], str]] = {
    "empty": ((), "is a folder without a file"),
    "a folder of safetensors": (("config.json", "model.safetensors"), "it is converted already"),
    "shards": (("config.json", "model.safetensors.index.json"), "it is converted already"),
    "peft": (("adapter_config.json", "adapter_model.safetensors"), "is a LoRA adapter"),
    "pickles": (("config.json", "pytorch_model.bin"), "holds pickles of PyTorch"),
    "onnx": (("model.onnx",), "holds an ONNX model"),
    "ollama": (("manifests/registry.ollama.ai/a", "blobs/sha256-a"), "llorch-fetch --adopt"),
    "text": (("notes.txt",), "is a folder without a GGUF file"),
}


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_folder_without_a_gguf_model_is_refused_by_its_kind(kind: str, tmp_path: Path) -> None:
    names, told = FOLDERS[kind]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(UnsupportedInput) as raised:
        model_path(tmp_path)
    assert told in str(raised.value)


def test_a_converted_folder_is_returned_if_folders_are_accepted_else_its_gguf_file(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    safetensors.numpy.save_file({"a": np.zeros(2, np.float32)}, tmp_path / "model.safetensors")
    model = random_llama(layers=1).write(tmp_path / "model.gguf")
    assert model_path(tmp_path, folders=True) == tmp_path
    assert model_path(tmp_path) == model


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("Qwen/Qwen3-0.6B-GGUF", "Qwen/Qwen3-0.6B-GGUF"),
        ("Qwen/Qwen3-0.6B-GGUF:qwen3.gguf", "Qwen/Qwen3-0.6B-GGUF:qwen3.gguf"),
        ("owner/repo@main", "owner/repo@main"),
        ("https://example.org/a.gguf", "https://example.org/a.gguf"),
        (Path("https://example.org/a.gguf"), "https://example.org/a.gguf"),
    ],
)
def test_names_of_remote_models_point_to_llorch_fetch(given: str | Path, told: str) -> None:
    with pytest.raises(FileNotFoundError, match=f"llorch-fetch {told} gets it"):
        model_path(given)


@pytest.mark.parametrize("given", ["models/a.gguf", "a.gguf", "/no/such", "../a/b"])
def test_a_missing_file_is_a_plain_error(given: str) -> None:
    with pytest.raises(FileNotFoundError) as raised:
        model_path(given)
    assert "llorch-fetch" not in str(raised.value)


def test_a_wrong_architecture_is_no_kind(tmp_path: Path) -> None:
    path = (
        random_llama(layers=1).key("general.architecture", one(STRING, "nobody")).write(tmp_path / "a.gguf")
    )
    assert model_path(path) == path
