"""A conversion as an in-toto Statement v1 with SLSA provenance v1, for other tools.

The statement itself is only a claim; `llorch sign` signs it. It meets SLSA build level 1, no more. Numbers are
strings, because readers of the predicate pass numbers through doubles. Sources: the in-toto attestation
specification, Statement v1; slsa.dev, provenance v1.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from llorch.base.provenance import BUILD_TYPE, BUILDER_ID
from llorch.converter.digests import tree_manifest
from llorch.converter.provenance.record import Conversion, WrittenFile

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"


def statement(conversion: Conversion, record: WrittenFile) -> dict[str, object]:
    """Return the statement about a conversion whose conversion.json is `record`."""
    manifest = tree_manifest((file.path, file.sha256, file.size) for file in conversion.files)
    byproducts = [
        {"name": record.path, "digest": {"sha256": record.sha256}},
        {"name": "tree-manifest.json", "digest": {"sha256": hashlib.sha256(manifest).hexdigest()}},
    ]
    return {
        "_type": STATEMENT_TYPE,
        "subject": [
            {"name": file.path, "digest": {"sha256": file.sha256}}
            for file in sorted(conversion.files, key=lambda file: file.path.encode())
        ],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": _texts(conversion.options),
                "internalParameters": {"threads": str(conversion.threads)},
                "resolvedDependencies": [*_inputs(conversion), *_signatures(conversion)],
            },
            "runDetails": {
                "builder": {"id": BUILDER_ID, "version": dict(conversion.tools)},
                "metadata": {
                    "invocationId": _run_of(conversion, record).urn,
                    "startedOn": conversion.started,
                    "finishedOn": conversion.finished,
                },
                "byproducts": byproducts,
            },
        },
    }


def _inputs(conversion: Conversion) -> list[dict[str, object]]:
    """Return the source's files, with their signer if it was verified."""
    signed = conversion.source_signature
    signer = {} if signed is None else {"signedBy": str(signed["signer"])}
    return [
        {
            "name": "input",
            "uri": f"file:{quote(source.name)}",
            "digest": {"sha256": source.sha256},
            "annotations": {"size": str(source.size), **signer},
        }
        for source in conversion.sources
    ]


def _signatures(conversion: Conversion) -> list[dict[str, object]]:
    """Return the files with the source's signatures, so that they can be verified again."""
    files: Any = () if conversion.source_signature is None else conversion.source_signature["files"]
    return [
        {"name": "input-signature", "uri": f"file:{quote(one['name'])}", "digest": {"sha256": one["sha256"]}}
        for one in files
    ]


def _run_of(conversion: Conversion, record: WrittenFile) -> uuid.UUID:
    """Return the run's id; without one, an id made from the record's digest."""
    return uuid.UUID(conversion.run) if conversion.run else uuid.uuid5(uuid.NAMESPACE_OID, record.sha256)


def _texts(options: Mapping[str, str | int | bool]) -> dict[str, str]:
    """Convert snake_case names to SLSA's camelCase, and every value to text."""
    return {
        head + "".join(word.capitalize() for word in rest): str(value).lower()
        for (head, *rest), value in ((name.split("_"), value) for name, value in options.items())
    }
