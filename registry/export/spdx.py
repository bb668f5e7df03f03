"""An artifact as an SPDX 3.0.1 document with the AI profile: the model's package, its files, and its source.

Written without the bindings, which a test uses to validate it. Ids of elements are derived from the artifact's digest,
so the same records give the same document. Source: the SPDX specification 3.0.1, AI, Core, Software and
SimpleLicensing profiles.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Sequence

from llorch.base.times import rfc3339_seconds
from llorch.registry.export.cyclonedx import FAMILIES, NAMESPACE, SPDX
from llorch.registry.export.subject import Input, Subject, as_bytes
from llorch.registry.records.answers import ArtifactAnswer
from llorch.registry.records.records import FileRecord

CONTEXT = "https://spdx.org/rdf/3.0.1/spdx-context.jsonld"
VERSION = "3.0.1"
CREATION = "_:creation"
DOMAIN = "natural language processing"

Element = dict[str, object]


def spdx(subject: Subject) -> bytes:
    """Return the SPDX document of an artifact."""
    ids = Ids(subject.artifact.digest)
    elements = [*packages(subject, ids), *licences(subject, ids)]
    listed = [str(one["spdxId"]) for one in elements]
    document = {
        **element("SpdxDocument", ids.of("document")),
        "name": subject.name,
        "profileConformance": ["core", "software", "ai", "simpleLicensing"],
        "rootElement": [ids.of("model")],
        "element": sorted([ids.of("llorch"), *listed]),
    }
    return as_bytes({"@context": CONTEXT, "@graph": [*origin(subject, ids), document, *elements]})


class Ids:
    """The IRIs of a document's elements, by name."""

    def __init__(self, digest: str) -> None:
        self._base = uuid.uuid5(NAMESPACE, f"{digest} spdx-{VERSION}").urn

    def of(self, name: str) -> str:
        """Return the id of the element `name`."""
        return f"{self._base}#{re.sub(r'[^A-Za-z0-9._-]', lambda found: f'%{ord(found[0]):X}', name)}"


def element(kind: str, id_: str) -> Element:
    """Return the fields that every element has."""
    return {"type": kind, "spdxId": id_, "creationInfo": CREATION}


def origin(subject: Subject, ids: Ids) -> list[Element]:
    """Return the creation info: the run's end and its version of llorch, not the exporter's time and version."""
    ended = subject.run.finished_at or subject.run.started_at
    version = subject.run.tools.get("llorch", "of an unknown version")
    return [
        {
            "type": "CreationInfo",
            "@id": CREATION,
            "specVersion": VERSION,
            "created": rfc3339_seconds(ended),
            "createdBy": [ids.of("llorch")],
        },
        {**element("SoftwareAgent", ids.of("llorch")), "name": f"llorch {version}"},
    ]


def packages(subject: Subject, ids: Ids) -> Iterator[Element]:
    """Yield the model with its files, and its sources."""
    artifact = subject.artifact
    model = {
        **ai_package(artifact, subject.name, ids.of("model")),
        "releaseTime": rfc3339_seconds(subject.run.finished_at or subject.run.started_at),
        "suppliedBy": ids.of("llorch"),
        "ai_informationAboutApplication": "The weights were dequantized and renamed, not trained.",
    }
    if metrics := measurements(artifact):
        model["ai_metric"] = metrics
    yield model
    for number, file in enumerate(subject.files):
        yield file_element(file, ids.of(f"file-{number}"))
    names = [ids.of(f"file-{number}") for number in range(len(subject.files))]
    yield relationship(ids.of("contains"), ids.of("model"), "contains", names)
    for number, one in enumerate(subject.inputs):
        yield source_package(one, ids.of(f"source-{number}"))
    if subject.inputs:
        sources = [ids.of(f"source-{number}") for number in range(len(subject.inputs))]
        yield relationship(ids.of("descent"), ids.of("model"), "descendantOf", sources)


def ai_package(artifact: ArtifactAnswer, name: str, id_: str) -> Element:
    """Return a model's package with its digest: as a hash for a single file, only as an identifier for a folder."""
    found: Element = {
        **element("ai_AIPackage", id_),
        "name": name,
        "software_packageVersion": artifact.digest,
        "software_primaryPurpose": "model",
        "ai_domain": [DOMAIN],
        "externalIdentifier": [
            {"type": "ExternalIdentifier", "externalIdentifierType": "other", "identifier": digest}
            for digest in (artifact.digest, artifact.weights_digest)
            if digest is not None
        ],
    }
    if artifact.architecture is not None:
        found["ai_typeOfModel"] = [FAMILIES.get(artifact.architecture, "transformer"), artifact.architecture]
    if artifact.dtype is not None:
        found["ai_hyperparameter"] = [entry("dtype", artifact.dtype)]
    if artifact.digest.startswith("sha256:"):
        found["verifiedUsing"] = [sha256(artifact.digest.removeprefix("sha256:"))]
    return found


def source_package(one: Input, id_: str) -> Element:
    """Return the package of an input, with its download location and the base model it names."""
    found = ai_package(one.artifact, one.label or one.artifact.digest, id_)
    if one.sources:
        found["software_downloadLocation"] = one.uris[0]
    bases = one.artifact.facts.get("base_model")
    named = bases if isinstance(bases, list | tuple) else [bases]
    if texts := [base for base in named if isinstance(base, str)]:
        found["comment"] = f"base model: {', '.join(texts)}"
    return found


def file_element(file: FileRecord, id_: str) -> Element:
    """Return the element of one file of the artifact."""
    purpose = {"weights": "model", "config": "configuration", "card": "documentation"}.get(file.role, "data")
    return {
        **element("software_File", id_),
        "name": file.path,
        "software_primaryPurpose": purpose,
        "verifiedUsing": [sha256(file.sha256)],
    }


def licences(subject: Subject, ids: Ids) -> Iterator[Element]:
    """Yield the licence of the model or its source; one without an SPDX id gets a LicenseRef."""
    if subject.licence is None:
        return
    own = re.sub(r"[^A-Za-z0-9.-]+", "-", subject.licence).strip("-") or "unnamed"
    expression = SPDX.get(subject.licence.lower(), f"LicenseRef-{own}")
    yield {
        **element("simplelicensing_LicenseExpression", ids.of("licence")),
        "simplelicensing_licenseExpression": expression,
        **({} if expression == subject.licence else {"comment": f"named as {subject.licence!r}"}),
    }
    yield relationship(ids.of("licensing"), ids.of("model"), "hasDeclaredLicense", [ids.of("licence")])


def relationship(id_: str, one: str, kind: str, others: Sequence[str]) -> Element:
    """Return a relationship from one element to others."""
    return {**element("Relationship", id_), "from": one, "relationshipType": kind, "to": list(others)}


def measurements(artifact: ArtifactAnswer) -> list[Element]:
    """Return the results of the latest verification."""
    latest = artifact.checks[0].run if artifact.checks else None
    rows = [check.result for check in artifact.checks if check.run == latest]
    return [entry(row.name, row.value) for row in rows if row.value is not None]


def entry(key: str, value: str) -> Element:
    """Return a dictionary entry."""
    return {"type": "DictionaryEntry", "key": key, "value": value}


def sha256(digits: str) -> Element:
    """Return a SHA-256 hash element."""
    return {"type": "Hash", "algorithm": "sha256", "hashValue": digits}
