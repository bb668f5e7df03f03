"""Models that other programs have stored are found, checked against their digests, and left in place."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from huggingface_hub import snapshot_download

from llorch.base.errors import InputError, MalformedInput
from llorch.sources.errors import Damaged, Missing
from llorch.sources.scan import LocalModel, find_models, prove_in_place
from tests.hub import Hub
from tests.sources.models import FILE, REPOSITORY, folder_files, gguf, split_gguf

SHA256 = hashlib.sha256(gguf()).hexdigest()


def the_one(path: Path) -> LocalModel:
    (model,) = find_models(path)
    return model


def tree(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return everything about a folder that an adoption must not change."""
    return {
        str(path): (path.lstat().st_ino, path.lstat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_file_and_a_split_set_are_models_with_no_promise(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(gguf())
    model = the_one(tmp_path / FILE)
    files, checks = prove_in_place(model)
    assert [(one.proven.sha256, one.proven.promised) for one in files] == [(SHA256, None)]
    assert checks == {"gguf.structure": 1}
    (tmp_path / "set").mkdir()
    for name, content in split_gguf(3).items():
        (tmp_path / "set" / name).write_bytes(content)
    files, checks = prove_in_place(the_one(tmp_path / "set" / "m-00002-of-00003.gguf"))
    assert [one.path.name for one in files] == list(split_gguf(3))
    assert checks == {"gguf.structure": 3}


def test_lm_studio_keeps_models_by_publisher(tmp_path: Path) -> None:
    for name in (
        "lmstudio-community/a-GGUF/a-Q4_0.gguf",
        "other/b-GGUF/b-Q8_0.gguf",
        "other/b-GGUF/mmproj-b.gguf",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(gguf())
    before = tree(tmp_path)
    assert [model.files[0][0].path for model in find_models(tmp_path)] == [
        "lmstudio-community/a-GGUF/a-Q4_0.gguf",
        "other/b-GGUF/b-Q8_0.gguf",
    ]
    assert tree(tmp_path) == before


def test_the_hubs_cache_says_where_a_model_is_from(hub: Hub) -> None:
    repository = hub.repository(REPOSITORY, {FILE: gguf(), "README.md": b"#"})
    commit = repository.commit({})
    hub.repository("owner/tiny", folder_files())
    snapshot_download(REPOSITORY)
    snapshot_download("owner/tiny", ignore_patterns=["*.bin", "*.h5"])
    cache = hub.home / "hub"
    before = tree(cache)
    found = find_models(cache)
    assert [(model.kind, model.repository, model.requested) for model in found] == [
        ("hub", "owner/tiny", "main"),
        ("hub", REPOSITORY, "main"),
    ]
    folder, file = found
    assert file.revision == commit
    files, _ = prove_in_place(file)
    assert [one.proven.promised for one in files] == [f"sha256:{SHA256}"]
    files, checks = prove_in_place(folder)
    assert {one.proven.path for one in files} == {"README.md", "config.json", "model.safetensors"}
    assert all(one.proven.promised for one in files)
    assert checks == {"json.readable": 1, "safetensors.structure": 1}
    snapshot = cache / "models--owner--tiny-GGUF" / "snapshots" / commit
    for path in (snapshot, snapshot.parent.parent, snapshot / FILE):
        assert find_models(path) == [file]
    assert tree(cache) == before


def ollama(folder: Path, content: bytes, digest: str, tag: str = "latest") -> Path:
    """Write Ollama's store with one model. Source: ollama, server/manifest.go, and a real store."""
    blobs = folder / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    (blobs / f"sha256-{hashlib.sha256(content).hexdigest()}").write_bytes(content)
    manifest = folder / "manifests" / "registry.ollama.ai" / "library" / "tiny" / tag
    manifest.parent.mkdir(parents=True, exist_ok=True)
    layers = [
        {"mediaType": "application/vnd.ollama.image.model", "digest": digest, "size": len(content)},
        {"mediaType": "application/vnd.ollama.image.template", "digest": "sha256:" + "1" * 64, "size": 9},
    ]
    manifest.write_text(json.dumps({"schemaVersion": 2, "config": {}, "layers": layers}))
    return manifest


def test_ollama_names_its_blobs_by_their_digests(tmp_path: Path) -> None:
    manifest = ollama(tmp_path, gguf(), f"sha256:{SHA256}")
    before = tree(tmp_path)
    for path in (tmp_path, manifest):
        model = the_one(path)
        assert (model.repository, model.requested) == ("registry.ollama.ai/library/tiny", "latest")
        files, checks = prove_in_place(model)
        assert [one.proven.promised for one in files] == [f"sha256:{SHA256}"]
        assert files[0].path == tmp_path / "blobs" / f"sha256-{SHA256}"
        assert checks == {"gguf.structure": 1}
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    "digest", ["sha256:../../etc/passwd", "sha256:" + "A" * 64, "md5:" + "0" * 32, "", "sha256:"]
)
def test_a_manifest_cannot_lead_out_of_its_store(digest: str, tmp_path: Path) -> None:
    with pytest.raises(MalformedInput, match="which is no digest"):
        find_models(ollama(tmp_path, gguf(), digest))


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"layers": 3}', '{"layers": [3]}', '{"layers": [{}]}', "[" * 100_000]
)
def test_what_is_no_manifest_is_refused(text: str, tmp_path: Path) -> None:
    manifest = ollama(tmp_path, gguf(), f"sha256:{SHA256}")
    manifest.write_text(text)
    with pytest.raises(MalformedInput, match="is no manifest"):
        find_models(manifest)


def test_damage_is_named_and_nothing_is_moved(tmp_path: Path) -> None:
    manifest = ollama(tmp_path, gguf(), f"sha256:{SHA256}")
    blob = tmp_path / "blobs" / f"sha256-{SHA256}"
    blob.write_bytes(gguf()[:-1] + b"!")
    with pytest.raises(Damaged, match=f"{blob.name}: its SHA-256 is"):
        prove_in_place(the_one(manifest))
    assert blob.exists()
    page = tmp_path / "page.gguf"
    page.write_bytes(b"<html>")
    with pytest.raises(InputError, match=r"page\.gguf: is no GGUF file.*it is a page of HTML") as raised:
        prove_in_place(the_one(page))
    assert raised.value.path == page


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of git-lfs"),
        (b"\n<!doctype html>", "a page of HTML"),
        (b"v", ""),
        (b"", ""),
    ],
)
def test_what_is_sent_in_place_of_a_model_is_told(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(content)
    with pytest.raises(InputError) as raised:
        prove_in_place(the_one(tmp_path / "m.gguf"))
    assert said in str(raised.value)
    assert bool(said) == (": it is a" in str(raised.value))


def test_where_there_is_no_model_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(Missing, match="there is no model"):
        find_models(tmp_path)
    with pytest.raises(FileNotFoundError):
        find_models(tmp_path / "nowhere")
    with pytest.raises(MalformedInput, match=r"neither a \.gguf file nor a manifest"):
        find_models(tmp_path / "notes.txt")


def test_shards_whose_names_say_that_there_are_more_of_them_are_not_adopted(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    for number in (1, 3):
        (tmp_path / f"model-0000{number}-of-00004.safetensors").write_bytes(b"")
    with pytest.raises(
        MalformedInput, match=r"lacks 'model-00002-of-00004\.safetensors' and 1 more of 4 files"
    ):
        find_models(tmp_path)


def test_a_folder_is_called_by_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "README.md").write_text("a card")
    (tmp_path / "model.safetensors").write_bytes(b"")
    [model] = find_models(tmp_path)
    assert model.title == str(tmp_path)
