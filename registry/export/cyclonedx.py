"""An artifact as a CycloneDX machine-learning bill of materials, version 1.6 or 1.7.

Written without the format's Python library, which doesn't support model cards and drops them. Faults that the schema
does not catch (two components with one reference, upper-case hashes) cannot occur here. Source: the CycloneDX 1.6 and
1.7 JSON schemas.
"""

from __future__ import annotations

import re
import uuid
from typing import Literal

from llorch.base.times import rfc3339_seconds
from llorch.registry.export.subject import Input, Subject, as_bytes
from llorch.registry.records.records import FileRecord

Version = Literal["1.6", "1.7"]

# Licences of models that have an SPDX id; others are given by name, as the schema requires.
SPDX = {name.lower(): name for name in ("Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "CC-BY-4.0",
        "CC-BY-SA-4.0", "CC-BY-NC-4.0", "CC0-1.0", "GPL-3.0-only", "AGPL-3.0-only", "LGPL-3.0-only",
        "MPL-2.0", "OpenRAIL", "Unlicense")}  # fmt: skip
# GGUF architecture → family; all others are transformers.
FAMILIES = {
    "mamba": "state space model",
    "rwkv6": "recurrent",
}
# of our serial numbers; chosen once, never changed
NAMESPACE = uuid.UUID("7b0c1f5e-1f0b-5d0c-9a54-6c6c6f726368")
NOT_IN_REFERENCES = re.compile(r"[^A-Za-z0-9:._/-]")


def cyclonedx(subject: Subject, version: Version = "1.7") -> bytes:
    """Return the bill of materials of an artifact: its files, its source, and the results of its checks."""
    serial = uuid.uuid5(NAMESPACE, f"{subject.artifact.digest} {version}")
    ended = subject.run.finished_at or subject.run.started_at
    return as_bytes(
        {
            "bomFormat": "CycloneDX",
            "specVersion": version,
            "serialNumber": serial.urn,
            "version": 1,
            "metadata": {
                "timestamp": rfc3339_seconds(ended),
                "tools": {
                    "components": [
                        {"type": "application", "name": name, "version": tool_version}
                        for name, tool_version in sorted(subject.run.tools.items())
                    ]
                },
                "component": component(subject),
            },
        }
    )


def component(subject: Subject) -> dict[str, object]:
    """Return the component of the artifact. A folder's digest is a property, since it isn't the hash of a file."""
    artifact = subject.artifact
    recorded: dict[str, object] = {
        "type": "machine-learning-model",
        "bom-ref": artifact.digest,
        "name": subject.name,
        "version": artifact.digest,
        "modelCard": model_card(subject),
        "pedigree": {
            "ancestors": [ancestor(one) for one in subject.inputs],
            "notes": "The weights were dequantized and renamed, not trained.",
        },
        "properties": [
            {"name": f"llorch:{name}", "value": str(value)}
            for name, value in (
                ("digest", artifact.digest),
                ("dtype", artifact.dtype),
                ("run", subject.run.uid),
                ("verified", artifact.verified),
                ("weights-digest", artifact.weights_digest),
            )
            if value is not None
        ],
        "components": [file_component(artifact.digest, file) for file in subject.files],
    }
    if artifact.digest.startswith("sha256:"):
        recorded["hashes"] = sha256(artifact.digest.removeprefix("sha256:"))
    if subject.licence:
        recorded["licenses"] = [{"license": licence(subject.licence)}]
    return recorded


def model_card(subject: Subject) -> dict[str, object]:
    """Return the model card: the architecture, and the results of the latest verification."""
    artifact = subject.artifact
    parameters: dict[str, object] = {"task": "text-generation"}
    if artifact.architecture:
        parameters["architectureFamily"] = FAMILIES.get(artifact.architecture, "transformer")
        parameters["modelArchitecture"] = artifact.architecture
    latest = artifact.checks[0].run if artifact.checks else None
    measured = [
        {"type": check.result.name, "value": check.result.value}
        for check in artifact.checks
        if check.run == latest and check.result.value is not None
    ]
    card: dict[str, object] = {"modelParameters": parameters}
    if measured:
        card["quantitativeAnalysis"] = {"performanceMetrics": measured}
    return card


def ancestor(one: Input) -> dict[str, object]:
    """Return the component of an input that the artifact was made from."""
    found = one.artifact
    recorded: dict[str, object] = {
        "type": "machine-learning-model",
        "bom-ref": found.digest,
        "name": one.label or found.digest,
        "version": found.digest,
    }
    if found.digest.startswith("sha256:"):
        recorded["hashes"] = sha256(found.digest.removeprefix("sha256:"))
    if one.sources:
        recorded["externalReferences"] = [{"type": "distribution", "url": url} for url in one.uris]
    return recorded


def file_component(digest: str, file: FileRecord) -> dict[str, object]:
    """Return the component of one file of the artifact."""
    return {
        "type": "file",
        "bom-ref": f"{digest}/{NOT_IN_REFERENCES.sub(lambda found: f'%{ord(found[0]):x}', file.path)}",
        "name": file.path,
        "hashes": sha256(file.sha256),
        "properties": [{"name": "llorch:size", "value": str(file.size_bytes)}],
    }


def sha256(digits: str) -> list[dict[str, str]]:
    """Return a SHA-256 in the format's form."""
    return [{"alg": "SHA-256", "content": digits}]


def licence(name: str) -> dict[str, str]:
    """Return a licence by its SPDX id if it has one, else by name."""
    spdx = SPDX.get(name.lower())
    return {"id": spdx} if spdx else {"name": name}
