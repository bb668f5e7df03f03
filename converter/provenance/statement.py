"""A conversion as an in-toto Statement v1 with SLSA provenance v1, for tools that do not know ours.

By itself it says who claims what; `llorch sign` puts a signature over it. SLSA's build level 1, no more. Numbers are
strings, since readers of the predicate pass numbers through doubles. Sources: the in-toto attestation specification,
Statement v1; slsa.dev, provenance v1.
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
    """The statement about a conversion whose conversion.json is `record`."""
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
    """The source's files, with who signed them where that was verified."""
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
    """The files that hold the source's signatures, so that they can be verified again."""
    files: Any = () if conversion.source_signature is None else conversion.source_signature["files"]
    return [
        {"name": "input-signature", "uri": f"file:{quote(one['name'])}", "digest": {"sha256": one["sha256"]}}
        for one in files
    ]


def _run_of(conversion: Conversion, record: WrittenFile) -> uuid.UUID:
    """The run's id; one made of the record's digest where the caller had none."""
    return uuid.UUID(conversion.run) if conversion.run else uuid.uuid5(uuid.NAMESPACE_OID, record.sha256)


def _texts(options: Mapping[str, str | int | bool]) -> dict[str, str]:
    """snake_case → camelCase as SLSA spells its fields, and every value as text."""
    return {
        head + "".join(word.capitalize() for word in rest): str(value).lower()
        for (head, *rest), value in ((name.split("_"), value) for name, value in options.items())
    }
