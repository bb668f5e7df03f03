"""An artifact's provenance as an in-toto Statement v1 with SLSA provenance v1.

It is unsigned, so only a claim: SLSA build level 1. Numbers are strings, since readers pass a predicate's numbers
through doubles. Sources: in-toto attestation, Statement v1; slsa.dev, provenance v1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from llorch.base.provenance import BUILD_TYPE, BUILDER_ID
from llorch.base.times import rfc3339_seconds
from llorch.registry.digests import HashedFile, tree_manifest
from llorch.registry.export.subject import Input, Subject, as_bytes
from llorch.registry.records.records import Json

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"


def slsa(subject: Subject) -> bytes:
    """Return the statement about an artifact's files."""
    run = subject.run
    return as_bytes(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": file.path, "digest": {"sha256": file.sha256}} for file in subject.files],
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "buildDefinition": {
                    "buildType": BUILD_TYPE,
                    "externalParameters": parameters(run.params),
                    "internalParameters": {},
                    "resolvedDependencies": [row for one in subject.inputs for row in dependencies(one)],
                },
                "runDetails": {
                    "builder": {"id": BUILDER_ID, "version": dict(sorted(run.tools.items()))},
                    "metadata": {
                        "invocationId": f"urn:uuid:{run.uid}",
                        "startedOn": rfc3339_seconds(run.started_at),
                        "finishedOn": rfc3339_seconds(run.finished_at or run.started_at),
                    },
                    "byproducts": byproducts(subject),
                },
            },
        }
    )


def dependencies(one: Input) -> list[dict[str, object]]:
    """Return the files of an input, each with its SHA-256; its download's URI only if the input is a single file."""
    files = one.artifact.files
    signed = ", ".join(signature.signer for signature in one.artifact.signatures)
    signers = {"signedBy": signed} if signed else {}
    return [
        {
            "name": "input",
            "uri": one.uris[0] if len(files) == 1 else f"file:{file.path}",
            "digest": {"sha256": file.sha256},
            "annotations": {"size": str(file.size_bytes), **signers},
        }
        for file in sorted(files, key=lambda file: file.path.encode())
    ]


def byproducts(subject: Subject) -> list[dict[str, object]]:
    """Return the manifest whose SHA-256 is in a folder's `tree1:` digest, since SLSA has no digest for folders."""
    if not subject.artifact.digest.startswith("tree1:"):
        return []
    manifest = tree_manifest(HashedFile(one.path, one.sha256, one.size_bytes) for one in subject.files)
    return [{"name": "tree-manifest.json", "digest": {"sha256": hashlib.sha256(manifest).hexdigest()}}]


def parameters(params: Mapping[str, Json]) -> dict[str, str]:
    """Return the user's options, with names in camelCase like SLSA's, and values as text."""
    return {
        head + "".join(word.capitalize() for word in rest): str(value).lower()
        for (head, *rest), value in ((name.split("_"), value) for name, value in sorted(params.items()))
        if value is not None
    }
