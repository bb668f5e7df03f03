"""Registry records of a fetch, an adoption, and the smoke test of a fetched model, built from results of `sources`."""

from __future__ import annotations

import os
import platform
import socket
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from llorch.base.errors import InputError
from llorch.base.record_files import PROVENANCE, RECORD
from llorch.base.version import __version__
from llorch.commands.cli import Failure, progress
from llorch.commands.ledger.conversion import check_record
from llorch.commands.ledger.record import RecordResult, record_named, recording_failure
from llorch.formats.gguf import read_header
from llorch.registry import (
    ArtifactKind,
    ArtifactRecord,
    CheckRecord,
    CheckStatus,
    EdgeRecord,
    FileRecord,
    FileRole,
    HashedFile,
    Json,
    RefusedRequest,
    RegistryError,
    RunRecord,
    SourceKind,
    SourceRecord,
    name_from,
    tree1,
)
from llorch.sources import RemoteFile, ending, models_of

if TYPE_CHECKING:
    from llorch.commands.ledger.run import TrackedRun
    from llorch.registry import Location
    from llorch.sources import Download, FetchedFile, LocalModel, Preview
    from llorch.verification import Report

ROLES: Mapping[str, FileRole] = {
    "config.json": "config",
    "generation_config.json": "config",
    "README.md": "card",
}
TOKENIZER = ("tokenizer", "vocab", "merges", "special_tokens_map", "added_tokens", "chat_template", "spiece")
LIBRARIES = ("huggingface_hub", "httpx2")


@dataclass(frozen=True, slots=True)
class FetchedModel:
    """One artifact among the fetched files: a GGUF file or split set, or safetensors with the files that go with them.

    folder: the folder that contains the files. title: its name. architecture, dtype: from its header, None if that
    was not read.
    """

    files: Sequence[FetchedFile]
    folder: Path
    title: str
    architecture: str | None = None
    dtype: str | None = None

    @property
    def kind(self) -> ArtifactKind:
        """The kind of artifact in the registry."""
        if ending(self.files[0].proven.path) == ".gguf":
            return "gguf" if len(self.files) == 1 else "gguf-split"
        return "hf-folder" if any(ending(one.proven.path) == ".safetensors" for one in self.files) else "file"

    @property
    def lacks_tokenizer(self) -> bool:
        """Whether it is a folder without any tokenizer file."""
        return self.kind == "hf-folder" and all(role_of(one.proven.path) != "tokenizer" for one in self.files)

    @property
    def path(self) -> Path:
        """The path to pass to a command: the folder, or the (first) GGUF file."""
        return self.folder if self.kind == "hf-folder" else self.files[0].path

    def artifact(self, licence: str | None) -> ArtifactRecord:
        """Return its registry record; parts of a split set have bare file names, as in a conversion's record."""
        whole = self.kind == "hf-folder"
        files = [
            FileRecord(
                path if whole else path.rpartition("/")[2], one.proven.sha256, one.proven.size, role_of(path)
            )
            for one in self.files
            for path in [one.proven.path]
        ]
        single = f"sha256:{files[0].sha256}"
        tree = tree1(HashedFile(file.path, file.sha256, file.size_bytes) for file in files)
        return ArtifactRecord(
            digest=single if self.kind in ("gguf", "file") else tree,
            kind=self.kind,
            size_bytes=sum(file.size_bytes for file in files if file.path not in (RECORD, PROVENANCE)),
            files=files,
            architecture=self.architecture,
            dtype=self.dtype,
            facts={"license": licence} if licence else {},
        )


@dataclass(frozen=True, slots=True)
class FetchResult:
    """The result of a fetch or an adoption. checks: check → number of files it was run on."""

    run: Literal["fetch", "adopt"]
    kind: SourceKind
    repository: str
    endpoint: str | None
    requested: str | None
    revision: str | None
    licence: str | None
    folder: Path
    files: Sequence[FetchedFile]
    checks: Mapping[str, int]
    models: Sequence[FetchedModel]
    left_out: Sequence[tuple[str, str]] = ()

    @property
    def bytes_fetched(self) -> int:
        """The number of bytes downloaded by this run."""
        return sum(file.proven.size for file in self.files if file.how == "fetched")

    def to_json(self) -> dict[str, object]:
        """Return the fields for --json."""
        return {
            "kind": self.kind,
            "repository": self.repository,
            "endpoint": self.endpoint,
            "revision_requested": self.requested,
            "revision_resolved": self.revision,
            "licence": self.licence,
            "folder": os.fspath(self.folder.absolute()),
            "fetched_bytes": self.bytes_fetched,
            "files": [
                {
                    "path": one.proven.path,
                    "at": os.fspath(one.path.absolute()),
                    "size_bytes": one.proven.size,
                    "sha256": one.proven.sha256,
                    "expected_digest": one.proven.promised,
                    "how": one.how,
                }
                for one in self.files
            ],
            "checks": dict(self.checks),
            "models": [
                {"name": one.title, "kind": one.kind, "at": os.fspath(one.path.absolute())}
                for one in self.models
            ],
            "left_out": [{"path": path, "why": why} for path, why in self.left_out],
        }


def from_fetch(fetched: Download, previews: Sequence[Preview]) -> FetchResult:
    """Return the result of a download. previews: of the same models."""
    offer = fetched.offer
    seen = {preview.name: preview for preview in previews}
    return FetchResult(
        run="fetch",
        kind=offer.kind,
        repository=offer.repository,
        endpoint=offer.endpoint,
        requested=offer.requested,
        revision=offer.revision,
        licence=offer.licence,
        folder=fetched.folder,
        files=fetched.files,
        checks=fetched.checks,
        models=models_among(fetched.files, fetched.folder, offer.repository.rpartition("/")[2], seen),
        left_out=offer.left_out,
    )


def from_adoption(local: LocalModel, files: Sequence[FetchedFile], checks: Mapping[str, int]) -> FetchResult:
    """Return the result of an adoption: a model that was on the disk already."""
    folder = Path(local.repository) if local.kind == "file" else files[0].path.parent
    return FetchResult(
        run="adopt",
        kind=local.kind,
        repository=local.repository,
        endpoint=None,
        requested=local.requested,
        revision=local.revision,
        licence=None,
        folder=folder,
        files=files,
        checks=checks,
        models=models_among(files, folder, local.repository.rpartition("/")[2], {}),
    )


def models_among(
    files: Sequence[FetchedFile], folder: Path, title: str, previews: Mapping[str, Preview]
) -> list[FetchedModel]:
    """Group files into models. title: of a safetensors folder. previews: by the name of a model's first file."""
    by_path = {one.proven.path: one for one in files}
    found = []
    for group in models_of([RemoteFile(path, one.proven.size) for path, one in by_path.items()]):
        parts = [by_path[file.path] for file in group]
        seen = previews.get(group[0].path)
        run_record = (
            (seen.architecture, seen.types[0].type)
            if seen and seen.types
            else architecture_and_type(parts[0].path)
        )
        found.append(FetchedModel(parts, folder, group[0].path, *run_record))
    if any(ending(path) == ".safetensors" for path in by_path):
        seen = previews.get("")
        rest = [one for path, one in by_path.items() if ending(path) != ".gguf"]
        found.append(FetchedModel(rest, folder, title, seen.architecture if seen else None))
    return found


def architecture_and_type(path: Path) -> tuple[str | None, str | None]:
    """Return a GGUF file's architecture and the type of most of its bytes; (None, None) if its header is unreadable."""
    try:
        header = read_header(path)
        sizes = Counter[str]()
        for tensor in header.tensors.values():
            sizes[tensor.type.name] += tensor.nbytes
        return header.metadata.text("general.architecture", None), next(
            (t for t, _ in sizes.most_common(1)), None
        )
    except InputError:
        return None, None


def record_fetch(
    came: FetchResult, run: TrackedRun, params: Mapping[str, Json], name: str | None, location: Location
) -> list[RecordResult] | Failure:
    """Record the fetched models under the run's id and name them; a Failure says how to record them later.

    name: of the model, if there is only one; several are named after their files.
    """
    from importlib.metadata import version  # 20 ms that --help does not need

    from llorch.registry import Registry  # SQLAlchemy: half a second, after the work

    try:
        artifacts = [model.artifact(came.licence) for model in came.models]
        edges = [
            EdgeRecord("output", artifact, model.title, os.fspath(model.path.absolute()))
            for model, artifact in zip(came.models, artifacts, strict=True)
        ]
        run_record = RunRecord(
            uid=run.id,
            kind=came.run,
            status="succeeded",
            started_at=run.started,
            finished_at=datetime.now(UTC),
            host=socket.gethostname(),
            params=dict(params),
            tools={"llorch": __version__, "python": platform.python_version()}
            | {library: version(library) for library in LIBRARIES},
            edges=edges,
            checks=[one for artifact in artifacts for one in check_records(artifact, came)],
            sources=[source_record(one, came, artifacts) for one in came.files],
            exit_code=0,
        )
        names = {
            name if name and len(artifacts) == 1 else name_from(model.title): artifact.digest
            for model, artifact in zip(came.models, artifacts, strict=True)
        }
        with Registry(location.url, waiting=progress) as store:
            refused = record_named(store, run_record, names)
    except (RegistryError, RefusedRequest, OSError) as error:
        return recording_failure(location, error, "the files are kept, `llorch-fetch --adopt` records them")
    if refused:
        return Failure(1, "policy", f"recorded, but: {'; '.join(refused)}")
    return [RecordResult(location.shown, title, digest) for title, digest in names.items()]


def check_records(artifact: ArtifactRecord, came: FetchResult) -> list[CheckRecord]:
    """Return the checks that a fetch makes: the digests of this artifact's files, and the structure of all files."""
    mine = {file.sha256 for file in artifact.files}
    promised = sum(one.proven.promised is not None for one in came.files if one.proven.sha256 in mine)
    detail = {"compared": promised, "of": len(artifact.files)}
    status: CheckStatus = "PASSED" if promised == len(artifact.files) else "SKIPPED"
    digests = CheckRecord(artifact.digest, "digest.promised", status, "0", "0", "<=", "files", detail)
    structure = [
        CheckRecord(artifact.digest, check, "PASSED", "0", "0", "<=", "files", {"of": count})
        for check, count in sorted(came.checks.items())
    ]
    return [digests, *structure]


def source_record(file: FetchedFile, came: FetchResult, artifacts: Sequence[ArtifactRecord]) -> SourceRecord:
    """Return where one file came from, with its expected and its actual digest."""
    proven = file.proven
    promised, _, digits = (proven.promised or "").partition(":")
    owner = next((a.digest for a in artifacts if any(f.sha256 == proven.sha256 for f in a.files)), None)
    return SourceRecord(
        kind=came.kind,
        repository=came.repository,
        path=proven.path,
        artifact=owner,
        revision_requested=came.requested,
        revision_resolved=came.revision,
        etag=digits if came.kind == "hub" else proven.etag,
        etag_kind=promised if came.kind == "hub" else "opaque" if proven.etag else None,
        expected_digest=proven.promised if promised == "sha256" else None,
        observed_digest=f"sha256:{proven.sha256}",
        observed_size=proven.size,
    )


def record_smoke_test(
    model: FetchedModel, licence: str | None, report: Report | Failure, run: TrackedRun, location: Location
) -> Failure | None:
    """Record a model's smoke test under the run's id; returns a Failure, which says how to repeat it, or None."""
    from llorch.registry import Registry  # as above

    try:
        artifact = model.artifact(licence)
        edges = [EdgeRecord("input", artifact, model.title, os.fspath(model.path.absolute()))]
        if isinstance(report, Failure):
            now = datetime.now(UTC)
            run_record = RunRecord(
                run.id, "verify", "failed", now, now, socket.gethostname(),
                edges=edges, error=report.message, exit_code=report.exit_code,
            )  # fmt: skip
        else:
            run_record = RunRecord(
                uid=run.id,
                kind="verify",
                status="succeeded",
                started_at=datetime.fromisoformat(report.started),
                finished_at=datetime.fromisoformat(report.finished),
                host=socket.gethostname(),
                params={"level": report.level, "device": report.device, "alone": True},
                tools=report.tools,
                edges=edges,
                checks=[check_record(artifact.digest, result) for result in report.results],
                exit_code=1 if report.outcome == "FAILED" else 0,
            )
        with Registry(location.url, waiting=progress) as store:
            store.record(run_record)
    except (RegistryError, RefusedRequest, OSError) as error:
        return recording_failure(location, error, f"`llorch-verify {model.path}` tries again")
    return None


def role_of(path: str) -> FileRole:
    """Return the role of a file of a model, by its path."""
    if path in ROLES:
        return ROLES[path]
    if ending(path) in (".gguf", ".safetensors") or path.endswith(".safetensors.index.json"):
        return "weights"
    return "tokenizer" if path.startswith(TOKENIZER) else "other"
