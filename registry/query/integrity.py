"""`verify`: compare files on the disk with their records, and name the damaged files and tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sqlalchemy import Connection, select

from llorch.base.progress import Progress
from llorch.registry.database.schema import artifact, file, location, tensor
from llorch.registry.digests import is_excluded, part_of, sha256_of, walk
from llorch.registry.query.current import names_of, sorted_names
from llorch.registry.query.tensor_ranges import sha256_of_range
from llorch.registry.records.answers import as_json
from llorch.registry.records.records import FileRecord, Json

Level = Literal["quick", "full"]


@dataclass(frozen=True, slots=True)
class RecordedTensor:
    """A tensor's byte range in its file, and the SHA-256 of its bytes."""

    name: str
    file: str
    start: int
    end: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ExpectedArtifact:
    """The artifact that should be at a path: its files and tensors. names: of the artifact."""

    digest: str
    names: Sequence[str]
    path: str
    is_folder: bool
    files: Sequence[FileRecord]
    tensors: Sequence[RecordedTensor]


@dataclass(frozen=True, slots=True)
class Damage:
    """A file that differs from its record. tensor, start, end: the damaged tensor and its byte range in the file."""

    file: str
    what: Literal["missing", "size", "content", "added"]
    tensor: str | None = None
    start: int | None = None
    end: int | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Integrity:
    """The result for one artifact at one path. level: `quick` compares only names and sizes, which proves nothing."""

    digest: str
    names: Sequence[str]
    path: str
    level: Level
    files: int
    damages: Sequence[Damage]

    @property
    def is_intact(self) -> bool:
        """Whether no damage was found; at level `quick` this is no proof."""
        return not self.damages

    @property
    def is_gone(self) -> bool:
        """Whether all of its files are missing."""
        return len(self.damages) == self.files and all(damage.what == "missing" for damage in self.damages)

    def to_json(self) -> dict[str, Json]:
        """Return the answer as one JSON object."""
        verified = self.level == "full" and self.is_intact
        return {**as_json(self), "verified": verified}


def expected_at(connection: Connection, host: str, artifact_id: int | None) -> list[ExpectedArtifact]:
    """Return what should be where on a host: one artifact, or all that were seen there and aren't recorded as gone."""
    wanted = (
        select(
            artifact.c.id,
            artifact.c.digest,
            artifact.c.kind,
            location.c.path,
            names_of(artifact).label("names"),
        )
        .join(location, location.c.artifact_id == artifact.c.id)
        .where(location.c.host == host)
        .order_by(location.c.path)
    )
    if artifact_id is None:
        wanted = wanted.where(location.c.gone_at.is_(None))
    else:
        wanted = wanted.where(artifact.c.id == artifact_id)
    return [
        ExpectedArtifact(
            digest=row.digest,
            names=sorted_names(row.names),
            path=row.path,
            is_folder=row.kind in ("hf-folder", "adapter"),
            files=recorded_files(connection, row.id),
            tensors=recorded_tensors(connection, row.id),
        )
        for row in connection.execute(wanted)
    ]


def recorded_files(connection: Connection, artifact_id: int) -> list[FileRecord]:
    """Return all recorded files of an artifact; a record file may have several versions."""
    rows = connection.execute(select(file).where(file.c.artifact_id == artifact_id).order_by(file.c.path))
    return [FileRecord(row.path, row.sha256, row.size_bytes, row.role) for row in rows]


def recorded_tensors(connection: Connection, artifact_id: int) -> list[RecordedTensor]:
    """Return an artifact's tensors, sorted by file and offset."""
    rows = connection.execute(
        select(tensor)
        .where(tensor.c.artifact_id == artifact_id)
        .order_by(tensor.c.file, tensor.c.offset_bytes, tensor.c.name)
    )
    return [
        RecordedTensor(row.name, row.file, row.offset_bytes, row.offset_bytes + row.size_bytes, row.sha256)
        for row in rows
    ]


def verify_place(expected: ExpectedArtifact, level: Level, progress: Progress | None = None) -> Integrity:
    """Compare the files at a path with their records; reads every byte if `level` is "full".

    Raises OSError for a file that cannot be read.
    """
    versions: dict[str, list[FileRecord]] = {}
    is_one_file = expected.digest.startswith("sha256:")
    for one in expected.files:
        versions.setdefault(expected.files[0].path if is_one_file else one.path, []).append(one)
    place = Path(expected.path)
    total, done = sum(known[0].size_bytes for known in versions.values()), 0
    damages: list[Damage] = []
    for path, known in versions.items():
        # A single file is the place itself; the parts of a split one are beside the first.
        at = place / path if expected.is_folder else place if is_one_file else place.parent / path
        within = None if progress is None else part_of(progress, done, total)
        damages += file_damages(at, path, known, expected.tensors, level, within)
        done += known[0].size_bytes
    if expected.is_folder and place.is_dir():
        damages += [
            Damage(path, "added", detail="is not recorded")
            for path, _ in walk(place)
            if path not in versions and not is_excluded(path)
        ]
    return Integrity(expected.digest, expected.names, expected.path, level, len(versions), damages)


def file_damages(
    at: Path,
    path: str,
    known: Sequence[FileRecord],
    tensors: Sequence[RecordedTensor],
    level: Level,
    progress: Progress | None = None,
) -> list[Damage]:
    """Return the damages of one file, one for each damaged tensor. known: its recorded versions."""
    try:
        size = at.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return [Damage(path, "missing")]
    sizes = sorted({one.size_bytes for one in known})
    if size not in sizes:
        detail = f"has {size} bytes, {' or '.join(map(str, sizes))} are recorded"
        named = damaged_tensors(at, path, tensors, detail) if level == "full" else []
        return named or [Damage(path, "size", detail=detail)]
    if level == "quick" or sha256_of(at, progress) in {one.sha256 for one in known}:
        return []
    detail = "other bytes than recorded"
    outside = Damage(path, "content", detail=f"{detail}, in no tensor: in the header or between tensors")
    of_file = [one for one in tensors if one.file == path]
    return damaged_tensors(at, path, tensors, detail) or [
        outside if of_file else Damage(path, "content", detail=detail)
    ]


def damaged_tensors(at: Path, path: str, tensors: Sequence[RecordedTensor], detail: str) -> list[Damage]:
    """Return a damage for each tensor of a file whose bytes differ from its record."""
    with at.open("rb") as opened:
        return [
            Damage(path, "content", one.name, one.start, one.end, detail)
            for one in tensors
            if one.file == path and sha256_of_range(opened, one.start, one.end) != one.sha256
        ]
