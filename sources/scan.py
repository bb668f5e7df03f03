"""Finding and checking models that are already on the disk, in the layouts of several programs; nothing is moved.

    a .gguf file, or any part of a split set
    a folder with config.json and safetensors
    a folder of GGUF files at any depth, as LM Studio keeps them
    huggingface_hub's cache, one repository of it (models--OWNER--NAME), or one snapshot
    Ollama's `models` folder, or one of its manifests

Blobs in the hub's cache and in Ollama's store are named by their digests, so these can be checked; other files have
nothing to compare with.
"""

from __future__ import annotations

import errno
import json
import os
import re
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from llorch.base.errors import InputError, MalformedInput
from llorch.base.printable import printable
from llorch.base.progress import Progress
from llorch.sources.download import FetchedFile
from llorch.sources.errors import Damaged, Missing
from llorch.sources.local.proof import NotAsPromised, prove, require_sound
from llorch.sources.offer import Kind, RemoteFile
from llorch.sources.remote.hub_cache import cached_file
from llorch.sources.select.files import ending, models_of, parts_of

REPOSITORY = re.compile(r"models--(?P<owner>[^/]+?)--(?P<name>[^/]+)")
BLOB = re.compile(r"sha256:([0-9a-f]{64})")
SHARD = re.compile(r"(.+)-\d{5}-of-(\d{5})(\.safetensors)")
MODEL_LAYER = "application/vnd.ollama.image.model"
MOST_MANIFEST = 1 << 20  # bytes; a real manifest has a few hundred

Found = list[tuple[RemoteFile, Path]]


@dataclass(frozen=True, slots=True)
class LocalModel:
    """The files of one model. files: (as its source lists it, path on the disk).

    repository: where they came from, if the store says, else the folder. requested, revision: of a repository.
    """

    kind: Kind
    repository: str
    requested: str | None
    revision: str | None
    files: tuple[tuple[RemoteFile, Path], ...]

    @property
    def title(self) -> str:
        """The model's name in a table."""
        file, path = self.files[0]
        if self.kind != "file":
            return f"{self.repository}:{file.path}"
        return path.as_posix() if ending(path.name) == ".gguf" else self.repository


def find_models(path: Path) -> Sequence[LocalModel]:
    """Return the models at a path. Raises Missing if there are none, MalformedInput for a bad manifest, and OSError."""
    path = path.absolute()
    models = list(_found_at(path))
    if not models:
        raise Missing(
            str(path), "there is no model", hint="a .gguf file, or config.json and safetensors, make one"
        )
    return models


def prove_in_place(
    model: LocalModel, progress: Progress | None = None
) -> tuple[Sequence[FetchedFile], Mapping[str, int]]:
    """Check a model in place; return its files, and check → number of files it covered.

    progress: called with (bytes done, total bytes). Raises Damaged for a wrong digest, InputError for a file that is
    not what its name says.
    """
    files, done = list[FetchedFile](), 0
    total = sum(path.stat().st_size for _, path in model.files)
    for file, path in model.files:
        within = None if progress is None else partial(_within, progress, done, total)
        try:
            files.append(FetchedFile(path, prove(file, path, progress=within), "here"))
        except NotAsPromised as error:
            raise Damaged(str(path), str(error), hint="fetch it again") from None
        done += files[-1].proven.size
    with tempfile.TemporaryDirectory(prefix="llorch-") as name:
        for file, path in model.files:
            link = Path(name) / file.path
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
        try:
            return files, require_sound(Path(name), [file for file, _ in model.files])
        except InputError as error:
            broken = Path(error.path or name)
            error.path = next(
                (path for file, path in model.files if Path(name) / file.path == broken), broken
            )
            raise


def _within(progress: Progress, before: int, total: int, read: int) -> None:
    """Report `read` bytes of one file as progress of all files; `before`: bytes of the files before it."""
    progress(before + read, total)


def _found_at(path: Path) -> Iterator[LocalModel]:
    if path.is_file() and ending(path.name) == ".gguf":
        yield from _gguf_file(path)
    elif path.is_file():
        yield from _ollama_manifest(path)
    elif (path / "manifests").is_dir() and (path / "blobs").is_dir():
        for manifest in sorted(path.glob("manifests/**/*")):
            if manifest.is_file():
                yield from _ollama_manifest(manifest)
    elif snapshots := _snapshots(path):
        for snapshot in snapshots:
            yield from _hub_snapshot(snapshot)
    elif path.is_dir():
        yield from _folder(path)
    else:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(path))


def _gguf_file(path: Path) -> Iterator[LocalModel]:
    """Yield the model of a GGUF file with all parts of its set, with its origin if it is in the hub's cache."""
    if snapshot := next((parent for parent in path.parents if _is_snapshot(parent)), None):
        yield from (model for model in _hub_snapshot(snapshot) if path in (place for _, place in model.files))
        return
    parts = [path.with_name(name) for name in parts_of(path.name)]
    yield _without_promise(path.parent, [part for part in parts if part.is_file()])


def _folder(folder: Path) -> Iterator[LocalModel]:
    """Yield the models of a converted or downloaded folder, or of a tree of GGUF files."""
    if (folder / "config.json").is_file() and any(folder.glob("*.safetensors")):
        names = sorted(path for path in folder.iterdir() if path.is_file() and ending(path.name) != ".gguf")
        _require_all_shards(folder, {path.name for path in names})
        yield _without_promise(folder, names)
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and ending(path.name) == ".gguf"]
    for model in models_of([_list_file(folder, path) for path in paths]):
        yield _without_promise(folder, [folder / file.path for file in model])


def _require_all_shards(folder: Path, names: Collection[str]) -> None:
    """Raise MalformedInput if shards are missing, judging by the names of those that exist."""
    for found in filter(None, map(SHARD.fullmatch, sorted(names))):
        every = [f"{found[1]}-{n:05}-of-{found[2]}{found[3]}" for n in range(1, int(found[2]) + 1)]
        if missing := [name for name in every if name not in names]:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            what = f"lacks {printable(missing[0])}{more} of {len(every)} files of weights"
            raise MalformedInput(what, path=folder, hint="fetch or copy what is missing")


def _snapshots(path: Path) -> list[Path]:
    """Return the snapshots of the hub's cache at or below a path."""
    if _is_snapshot(path):
        return [path]
    repositories = [path] if REPOSITORY.fullmatch(path.name) else sorted(path.glob("models--*--*"))
    return [
        snapshot
        for repository in repositories
        for snapshot in sorted((repository / "snapshots").glob("*"))
        if _is_snapshot(snapshot)
    ]


def _is_snapshot(path: Path) -> bool:
    return path.parent.name == "snapshots" and REPOSITORY.fullmatch(path.parent.parent.name) is not None


def _hub_snapshot(snapshot: Path) -> Iterator[LocalModel]:
    repository = snapshot.parent.parent
    found = REPOSITORY.fullmatch(repository.name)
    assert found is not None, "it is a snapshot"
    branches = sorted(
        path.relative_to(repository / "refs").as_posix()
        for path in (repository / "refs").rglob("*")
        if path.is_file() and path.read_text(errors="replace").strip() == snapshot.name
    )
    listed = [
        (file, path)
        for path in sorted(snapshot.rglob("*"))
        if (file := cached_file(snapshot, path)) is not None
    ]
    for files in _models(listed):
        yield LocalModel(
            kind="hub",
            repository=f"{found['owner']}/{found['name']}",
            requested=branches[0] if branches else None,
            revision=snapshot.name,
            files=tuple(files),
        )


def _models(listed: Found) -> Iterator[Found]:
    """Group files by model: each GGUF model, and the safetensors with all other files except GGUF."""
    places = dict(listed)
    for model in models_of(list(places)):
        yield [(file, places[file]) for file in model]
    if any(ending(file.path) == ".safetensors" for file, _ in listed):
        yield [(file, path) for file, path in listed if ending(file.path) != ".gguf"]


def _ollama_manifest(path: Path) -> Iterator[LocalModel]:
    """Yield the model of a manifest, `manifests/HOST/OWNER/NAME/TAG`; its blobs are `blobs/sha256-…`."""
    store = next((parent.parent for parent in path.parents if parent.name == "manifests"), None)
    if store is None:
        raise MalformedInput("is neither a .gguf file nor a manifest of Ollama", path=path)
    host, *names, tag = path.relative_to(store / "manifests").parts
    for digest, size in _model_layers(path):
        file = RemoteFile(f"{names[-1] if names else host}-{tag}.gguf", size, sha256=digest)
        blob = store / "blobs" / f"sha256-{digest}"
        yield LocalModel("url", "/".join([host, *names]), tag, None, ((file, blob),))


def _model_layers(path: Path) -> Iterator[tuple[str, int | None]]:
    """Yield (SHA-256, size) of the layers that are models. A digest must be 64 hex digits, so it can't be a path."""
    try:
        if path.stat().st_size > MOST_MANIFEST:
            raise MalformedInput(f"has more than the {MOST_MANIFEST} bytes of a manifest", path=path)
        layers = json.loads(path.read_bytes())["layers"]
        models = [layer for layer in layers if layer["mediaType"] == MODEL_LAYER]
        for layer in models:
            if (found := BLOB.fullmatch(layer["digest"])) is None:
                raise MalformedInput(
                    f"names the blob {printable(str(layer['digest']))}, which is no digest", path=path
                )
            yield found[1], layer["size"] if isinstance(layer.get("size"), int) else None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise MalformedInput("is no manifest of Ollama", path=path) from error


def _without_promise(folder: Path, paths: Sequence[Path]) -> LocalModel:
    """Return a model of files without expected digests."""
    return LocalModel(
        "file", str(folder), None, None, tuple((_list_file(folder, path), path) for path in paths)
    )


def _list_file(folder: Path, path: Path) -> RemoteFile:
    return RemoteFile(path.relative_to(folder).as_posix(), path.stat().st_size)
