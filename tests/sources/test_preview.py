"""Before a download only headers are read, a few megabytes, which show whether the model is supported."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import full_size
from llorch import sources
from llorch.formats.gguf.file import read_header
from llorch.formats.quants import QuantType
from llorch.sources.preview.preview import Preview
from tests.hub import Cut, DiskFile, Hub, IgnoreRange
from tests.models.gguf_writer import STRING, U32, one
from tests.models.tiny import llama3_scaled, random_llama
from tests.sources.models import FILE, REPOSITORY, folder_files, gguf, safetensors, split_gguf

GEMMA_4_HEADER = 15_800_000  # bytes: the largest header of a published model


def previews(
    hub: Hub, tmp_path: Path, files: dict[str, bytes] | dict[str, DiskFile], source: str = ""
) -> list[Preview]:
    hub.repository(REPOSITORY, files)
    with sources.open_source(sources.parse_source(source or REPOSITORY)) as remote:
        return list(sources.preview_models(remote, tmp_path / "scratch"))


def sparse(shape: full_size.Shape, path: Path, monkeypatch: pytest.MonkeyPatch) -> DiskFile:
    """Write a model of this shape as a sparse file: a header, and a hole instead of the weights."""

    def hole(
        file: io.BufferedWriter,
        extents: Sequence[int],
        quant: QuantType,
        _: np.random.Generator,
        *,
        negative: bool,
    ) -> None:
        size = int(np.prod(extents)) // quant.weights * quant.block_bytes
        file.seek(size + -size % full_size.ALIGNMENT, io.SEEK_CUR)
        file.truncate()

    monkeypatch.setattr(full_size, "_write_weights", hole)
    full_size.write_model(shape, path)
    return DiskFile(path, sha256="0" * 64)


def test_a_phi_3_of_gigabytes_is_known_from_8_megabytes(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = full_size.phi_3_mini()
    in_8_bits = [(name, extents, "F32" if type == "F32" else "Q8_0") for name, extents, type in shape.tensors]
    model = sparse(replace(shape, tensors=tuple(in_8_bits)), tmp_path / "phi.gguf", monkeypatch)
    (found,) = previews(hub, tmp_path, {"phi-3-mini-q8_0.gguf": model})
    assert found.supported
    assert (found.architecture, found.context, found.tokens) == ("phi3", 4096, 32064)
    assert found.weights == 3_821_079_552  # as published
    assert (found.converted_size, found.at_most) == (2 * found.weights, False)
    assert [one.type for one in found.types] == ["Q8_0", "F32"]
    assert hub.sent("*", server="cdn") == found.fetched <= 8_000_000
    assert model.path.stat().st_size > 4_000_000_000


def test_a_vocabulary_of_262_thousand_takes_at_most_24_megabytes(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(full_size, "vocabulary", long_vocabulary)
    shape = replace(full_size.qwen2_5_0_5b(), vocabulary=262_144)
    tensors = (("token_embd.weight", (262_144, 896), "Q8_0"), *shape.tensors[1:])
    model = sparse(replace(shape, tensors=tensors), tmp_path / "m.gguf", monkeypatch)
    header = read_header(model.path)
    assert header.parts[0].data_offset >= GEMMA_4_HEADER
    (found,) = previews(hub, tmp_path, {"m-Q4_K_M.gguf": model})
    assert found.tokens == 262_144
    assert hub.sent("*", server="cdn") == found.fetched <= 24_000_000


def long_vocabulary(size: int, _: int) -> dict[str, full_size.Value]:
    """Return metadata with `size` tokens so long that the header is as large as the largest published one."""
    tokens = [f"token-{number:07}-{'x' * 34}" for number in range(size)]
    merges = [f"{token[:9]} {token[9:]}" for token in tokens[: size // 8]]
    return {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "qwen2", "tokenizer.ggml.tokens": tokens,
            "tokenizer.ggml.merges": merges}  # fmt: skip


def with_rope_table(*, padded: int = 0) -> bytes:
    return llama3_scaled().key("general.description", one(STRING, "x" * padded)).build()


def test_a_model_with_rope_tables_is_looked_at(hub: Hub, tmp_path: Path) -> None:
    (found,) = previews(hub, tmp_path, {FILE: with_rope_table(padded=3_000_000)})
    assert (found.why_not, found.architecture) == (None, "llama")


def test_a_server_without_ranges_tells_what_the_first_window_holds(hub: Hub, tmp_path: Path) -> None:
    hub.fault("cdn", "*", IgnoreRange())
    (found,) = previews(hub, tmp_path, {FILE: with_rope_table()})
    assert (found.why_not, found.architecture) == (None, "llama")


def test_what_is_said_is_what_the_whole_file_says(hub: Hub, tmp_path: Path) -> None:
    content = random_llama().build()
    (tmp_path / "whole.gguf").write_bytes(content)
    (found,) = previews(hub, tmp_path, {FILE: content})
    header = read_header(tmp_path / "whole.gguf")
    assert found.supported
    assert found.weights == sum(tensor.weights for tensor in header.tensors.values())
    assert sum(one.size for one in found.types) == sum(tensor.nbytes for tensor in header.tensors.values())
    assert found.stand_in is not None
    assert read_header(found.stand_in).tensors == header.tensors


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (random_llama().key("general.architecture", one(STRING, "rwkv7")), "architecture"),
        (random_llama().key("general.type", one(STRING, "adapter")), "'general.type'"),
        (random_llama().key("tokenizer.ggml.pre", one(STRING, "klingon")), "klingon"),
        (random_llama().key("llama.block_count", one(U32, 3)), "llama.block_count"),
        (random_llama().drop("blk.0.attn_q.weight"), "attn_q"),
        (random_llama().change("blk.0.attn_q.weight", type=4), FILE),
    ],
    ids=["architecture", "adapter", "pre-tokenizer", "layers", "missing tensor", "removed type"],
)
def test_a_model_that_will_not_serve_says_why(model: object, says: str, hub: Hub, tmp_path: Path) -> None:
    (found,) = previews(hub, tmp_path, {FILE: model.build()})  # type: ignore[attr-defined]
    assert not found.supported
    assert found.why_not is not None
    assert says in found.why_not
    assert str(tmp_path) not in found.why_not


@pytest.mark.parametrize(
    "content", [b"<!doctype html>\n<html></html>", b"version https://git-lfs.github.com/spec/v1\n"]
)
def test_what_is_no_model_is_told_by_its_first_bytes(content: bytes, hub: Hub, tmp_path: Path) -> None:
    (found,) = previews(hub, tmp_path, {FILE: content})
    assert found.why_not is not None
    assert f"{FILE}: is no GGUF file" in found.why_not


def test_a_file_that_ends_before_its_header_is_truncated(hub: Hub, tmp_path: Path) -> None:
    (found,) = previews(hub, tmp_path, {FILE: gguf()[:1000]})
    assert "truncated" in str(found.why_not)


def test_a_split_set_is_one_model_and_its_parts_are_read_together(hub: Hub, tmp_path: Path) -> None:
    parts = split_gguf(3)
    (found,) = previews(hub, tmp_path, parts)
    (tmp_path / "here").mkdir()
    for name, content in parts.items():
        (tmp_path / "here" / name).write_bytes(content)
    header = read_header(tmp_path / "here" / "m-00001-of-00003.gguf")
    assert found.weights == sum(tensor.weights for tensor in header.tensors.values())
    parts["m-00003-of-00003.gguf"] = parts["m-00002-of-00003.gguf"]
    hub.repositories.clear()
    with_a_wrong_part = previews(hub, tmp_path / "again", parts)
    assert "split.no" in str(with_a_wrong_part[0].why_not)


def test_a_folder_is_known_by_its_config_and_headers(hub: Hub, tmp_path: Path) -> None:
    large = b"\0" * 5_000_000
    head = json.dumps({"w": {"dtype": "U8", "shape": [len(large)], "data_offsets": [0, len(large)]}}).encode()
    content = len(head).to_bytes(8, "little") + head + large
    (found,) = previews(hub, tmp_path, {**folder_files(), "model.safetensors": content})
    assert (found.format, found.architecture, found.why_not) == ("safetensors", "llama", None)
    assert (found.weights, found.context) == (len(large), 128)
    assert hub.sent("*", server="cdn") == 65_536


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"model.safetensors": safetensors()[:-1]}, "truncated"),
        ({"model.safetensors": b"<html></html>"}, "model.safetensors"),
        ({"config.json": b"{"}, "config.json: is no JSON"),
        ({"config.json": b"{}"}, "model_type"),
        ({"model.safetensors.index.json": b"{}"}, "readers differ"),
    ],
)
def test_a_folder_that_will_not_load_says_why(
    changed: dict[str, bytes], says: str, hub: Hub, tmp_path: Path
) -> None:
    (found,) = previews(hub, tmp_path, {**folder_files(), **changed})
    assert says in str(found.why_not)


def test_a_server_without_ranges_is_not_read_to_its_end(hub: Hub, tmp_path: Path) -> None:
    model = tmp_path / "large.gguf"
    model.write_bytes(random_llama().key("general.description", one(STRING, "x" * 6_000_000)).build())
    hub.fault("cdn", "*", IgnoreRange())
    with pytest.raises(sources.errors.NoRanges, match="cannot be read in parts"):
        previews(hub, tmp_path, {FILE: DiskFile(model)})


def test_a_cut_range_is_asked_for_again(hub: Hub, tmp_path: Path) -> None:
    cut = hub.fault("cdn", "*", Cut(after=1000, times=2))
    (found,) = previews(hub, tmp_path, {FILE: gguf()})
    assert cut.fired == 2
    assert found.supported
