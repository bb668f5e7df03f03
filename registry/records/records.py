"""The registry's inputs as plain dataclasses, which refuse values that could not be stored unchanged.

Sizes are in bytes, times are aware datetimes (stored in UTC), digests are those of `llorch.registry.digests`. Text may
contain anything but NUL and half a surrogate pair, which one of the databases changes or refuses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from llorch.registry.digests import HashedTensor, require_digest, require_path, require_sha256, weights1
from llorch.registry.errors import RefusedRecord, quote_text
from llorch.registry.records.processes import Process
from llorch.registry.records.run_ids import UID

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]

ArtifactKind = Literal["gguf", "gguf-split", "hf-folder", "adapter", "file"]
FileRole = Literal["weights", "config", "tokenizer", "card", "record", "other"]
RunKind = Literal["fetch", "convert", "verify", "adopt", "export"]
RunStatus = Literal["running", "failed", "succeeded"]
SourceKind = Literal["hub", "url", "file"]
Role = Literal["input", "output", "reference", "byproduct"]
CheckStatus = Literal["PASSED", "WARNED", "FAILED", "SKIPPED", "ERROR"]
Verdict = Literal["PASSED", "INCOMPLETE", "FAILED"]

# A key by the SHA-256 of its PEM, as in OpenSSF model signing; or an identity with the issuer that vouches for it.
SIGNER = re.compile(r"key:[0-9a-f]{64}|identity:[^\s,\x00-\x1f\x7f]+ issuer:[^\s,\x00-\x1f\x7f]+")

LARGEST = 2**63 - 1  # the largest BIGINT of both databases
LONGEST_JSON = 4 << 20  # bytes; a chat template with a long list of tools is some 100 kB


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One file of an artifact. path: within the artifact, with `/`; for a single file its name."""

    path: str
    sha256: str
    size_bytes: int
    role: FileRole = "other"

    def __post_init__(self) -> None:
        require_path(self.path)
        require_sha256(self.sha256)
        require_size(self.size_bytes, self.path)
        require_choice(self.role, FileRole, "a file's role")


@dataclass(frozen=True, slots=True)
class TensorRecord:
    """One tensor of an artifact.

    shape: outermost dimension first. file: the path of the file that holds it. offset_bytes: of its first byte
    in that file. sha256: of its bytes, without padding.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: str
    offset_bytes: int
    size_bytes: int
    sha256: str

    def __post_init__(self) -> None:
        for text in (self.name, self.dtype):
            require_text(text, f"tensor {quote_text(self.name)}")
        require_path(self.file)
        require_sha256(self.sha256)
        for number in (*self.shape, self.offset_bytes, self.size_bytes):
            require_size(number, self.name)


@dataclass(frozen=True, slots=True)
class ArtifactRecord:
    """A file, a split set or a folder, identified by its digest.

    digest: `sha256:` of one file, else `tree1:`. size_bytes: of the files in the digest, so without records of runs,
    though `files` may list these. weights_digest: `weights1:`, if the tensors were hashed. facts: what the artifact
    says about itself (licence, base model, context length …), as JSON.
    """

    digest: str
    kind: ArtifactKind
    size_bytes: int
    files: Sequence[FileRecord] = ()
    weights_digest: str | None = None
    architecture: str | None = None
    dtype: str | None = None
    facts: Mapping[str, Json] = field(default_factory=dict)
    tensors: Sequence[TensorRecord] = ()

    def __post_init__(self) -> None:
        require_digest(self.digest)
        require_choice(self.kind, ArtifactKind, "an artifact's kind")
        require_size(self.size_bytes, self.digest)
        if self.weights_digest is not None and not require_digest(self.weights_digest).startswith(
            "weights1:"
        ):
            raise RefusedRecord(f"{quote_text(self.weights_digest)} is no digest of weights: weights1:…")
        if self.tensors and self.weights_digest not in (None, digest_of_tensors(self.tensors)):
            raise RefusedRecord(f"{self.weights_digest} is not the digest of the tensors told with it")
        for text in (self.architecture, self.dtype):
            require_text(text, f"a fact of {self.digest}")
        require_json(self.facts, f"the facts of {self.digest}")


def digest_of_tensors(tensors: Sequence[TensorRecord]) -> str:
    """Return the `weights1:` digest of tensors."""
    return weights1(HashedTensor(one.name, one.dtype, one.shape, one.sha256) for one in tensors)


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """One downloaded file: what was requested and what was received.

    repository: `owner/name` of a hub, else the URL without query, or the folder. revision_requested: such as "main";
    revision_resolved: the commit. etag_kind: of the etag, such as "sha256" or "git-sha1", which are never compared.
    expected_digest, observed_digest: the promised one and that of the received bytes.
    """

    kind: SourceKind
    repository: str
    path: str
    artifact: str | None = None
    revision_requested: str | None = None
    revision_resolved: str | None = None
    etag: str | None = None
    etag_kind: str | None = None
    expected_digest: str | None = None
    observed_digest: str | None = None
    observed_size: int | None = None

    def __post_init__(self) -> None:
        require_choice(self.kind, SourceKind, "a source's kind")
        for digest in (self.artifact, self.expected_digest, self.observed_digest):
            if digest is not None:
                require_digest(digest)
        recorded = (self.repository, self.path, self.revision_requested, self.revision_resolved)
        for text in (*recorded, self.etag, self.etag_kind):
            require_text(text, f"a source in {quote_text(self.repository)}")
        require_size(self.observed_size or 0, self.path)


@dataclass(frozen=True, slots=True)
class EdgeRecord:
    """An artifact of a run. label: its name in the run. path: where it was on the run's host, absolute."""

    role: Role
    artifact: ArtifactRecord
    label: str | None = None
    path: str | None = None

    def __post_init__(self) -> None:
        require_choice(self.role, Role, "a role")
        require_text(self.label, "a label")
        require_text(self.path, "a path")


@dataclass(frozen=True, slots=True)
class CheckRecord:
    """The result of one check on an artifact.

    value, threshold: as text, since databases can't store NaN, -0.0 and 2^64-1 as numbers. op: the comparison of the
    two that a passed check meets, such as "<=". detail: further results, as JSON.
    """

    artifact: str
    name: str
    status: CheckStatus
    value: str | None = None
    threshold: str | None = None
    op: str | None = None
    unit: str | None = None
    detail: Json = None

    def __post_init__(self) -> None:
        require_digest(self.artifact)
        require_choice(self.status, CheckStatus, "a check's status")
        for text in (self.name, self.value, self.threshold, self.op, self.unit):
            require_text(text, f"check {quote_text(self.name)}")
        require_json(self.detail, f"the detail of check {quote_text(self.name)}")


@dataclass(frozen=True, slots=True)
class SignatureRecord:
    """A verified signature of an artifact's files. file: the signature file. verified_at: when it was verified."""

    artifact: str
    signer: str
    file: str
    verified_at: datetime

    def __post_init__(self) -> None:
        require_digest(self.artifact)
        require_signer(self.signer)
        require_path(self.file)
        require_aware(self.verified_at)


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run of a command, finished or not.

    uid: a version 7 UUID, see `run_ids`; recording it twice has no effect. params: the user's options, complete, so
    that the run can be repeated. tools: name → version. error: why it failed, on one line. process: of a run with
    status `running`, see `llorch.registry.records.processes`.
    """

    uid: str
    kind: RunKind
    status: RunStatus
    started_at: datetime
    finished_at: datetime | None = None
    host: str | None = None
    params: Mapping[str, Json] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)
    edges: Sequence[EdgeRecord] = ()
    checks: Sequence[CheckRecord] = ()
    error: str | None = None
    exit_code: int | None = None
    sources: Sequence[SourceRecord] = ()
    process: Process | None = None

    def __post_init__(self) -> None:
        if not UID.fullmatch(self.uid):
            raise RefusedRecord(f"{quote_text(self.uid)} is no run id: a version 7 UUID in lower case")
        require_choice(self.kind, RunKind, "a run's kind")
        require_choice(self.status, RunStatus, "a run's status")
        for when in (self.started_at, self.finished_at):
            require_aware(when)
        require_json(self.params, "a run's parameters")
        for text in (self.host, self.error, *self.tools, *self.tools.values()):
            require_text(text, f"run {self.uid}")
        recorded = {edge.artifact.digest for edge in self.edges}
        spoken_of = {check.artifact for check in self.checks}
        spoken_of |= {source.artifact for source in self.sources if source.artifact}
        if unknown := sorted(spoken_of - recorded):
            raise RefusedRecord(
                f"run {self.uid} speaks of {', '.join(unknown)}, which is none of its artifacts"
            )

    def output(self) -> ArtifactRecord | None:
        """Return the first output; None if there is none."""
        return next((edge.artifact for edge in self.edges if edge.role == "output"), None)


def require_text(text: str | None, what: str) -> None:
    """Raise RefusedRecord for text that a database would cut, change or refuse."""
    if text is None:
        return
    if "\0" in text:
        raise RefusedRecord(f"{what} holds a NUL character: {quote_text(text)}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise RefusedRecord(
            f"{what} holds half a surrogate pair, so it is not UTF-8: {quote_text(text)}"
        ) from None


def require_json(document: Json, what: str) -> None:
    """Raise RefusedRecord for a document that isn't valid JSON, is too large, or that a database would refuse."""
    try:
        text = json.dumps(document, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise RefusedRecord(f"{what} cannot be written as JSON: {str(error)[:200]}") from None
    require_text("".join(strings_of(document)), what)
    if len(text.encode()) > LONGEST_JSON:
        raise RefusedRecord(f"{what} take {len(text.encode()):,} bytes, of {LONGEST_JSON:,} at most")


def strings_of(document: Json) -> list[str]:
    """Return all strings in a document, including keys."""
    if isinstance(document, str):
        return [document]
    if isinstance(document, Mapping):
        return [text for key, value in document.items() for text in (str(key), *strings_of(value))]
    if isinstance(document, Sequence):
        return [text for value in document for text in strings_of(value)]
    return []


def require_signer(signer: str) -> str:
    """Return `signer` if it is a valid signer; else raise RefusedRecord.

    >>> require_signer("identity:release@example.org issuer:https://accounts.example.org")
    'identity:release@example.org issuer:https://accounts.example.org'
    """
    if not SIGNER.fullmatch(signer):
        what = "key: and 64 hex digits, or identity:WHO issuer:URL"
        raise RefusedRecord(f"{quote_text(signer)} names no signer: {what}")
    require_text(signer, "a signer")
    return signer


def require_size(size: int, of: str) -> None:
    """Raise RefusedRecord for a size that is negative or too large for a database."""
    if not 0 <= size <= LARGEST:
        raise RefusedRecord(f"{quote_text(of)} has a size of {size}, of at most 2^63-1 bytes")


def require_aware(when: datetime | None) -> None:
    """Raise RefusedRecord for a time without a time zone."""
    if when is not None and when.utcoffset() is None:
        raise RefusedRecord(f"the time {when.isoformat()} says no time zone")


def require_choice(value: str, choices: object, what: str) -> None:
    """Raise RefusedRecord for a value that isn't one of a Literal's."""
    words: tuple[str, ...] = choices.__args__  # type: ignore[attr-defined]
    if value not in words:
        raise RefusedRecord(f"{what} is one of {', '.join(words)}, not {quote_text(value)}")
