"""A database of provenance: artifacts by digest, the runs that made them, checks, and names.

    with Registry("registry.db") as registry:
        registry.record(run, names={"smollm2": digest})
        registry.list()
        registry.show("smollm2")

The registry imports no room but base, takes plain records, and never stores weights. `locate` finds the database that
a command uses. Names here are imported on first use, since SQLAlchemy takes 0.2 s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llorch.base.lazy import lazy_names

if TYPE_CHECKING:
    from llorch.registry.database.location import Location, locate
    from llorch.registry.digests import HashedFile, hashed_files, sha256_of, tree1
    from llorch.registry.errors import (
        InvalidReference,
        RefusedByPolicy,
        RefusedRequest,
        RegistryError,
        UnknownReference,
    )
    from llorch.registry.query.affected import Affected
    from llorch.registry.query.diff import ArtifactDiff
    from llorch.registry.query.history import ListedRun
    from llorch.registry.query.identify import Identification
    from llorch.registry.query.integrity import Integrity
    from llorch.registry.query.lineage import Lineage
    from llorch.registry.query.listing import Filter
    from llorch.registry.query.reference import name_from, parse_alias
    from llorch.registry.query.reproduce import Reproduction
    from llorch.registry.records.answers import ArtifactAnswer, Check, ListedArtifact, Policy, RunAnswer
    from llorch.registry.records.processes import Process, this_process
    from llorch.registry.records.records import (
        ArtifactKind,
        ArtifactRecord,
        CheckRecord,
        CheckStatus,
        EdgeRecord,
        FileRecord,
        FileRole,
        Json,
        RunKind,
        RunRecord,
        SignatureRecord,
        SourceKind,
        SourceRecord,
        TensorRecord,
    )
    from llorch.registry.records.run_ids import time_of, uuid7, uuid7_at
    from llorch.registry.spool import Spool
    from llorch.registry.store import Registry
    from llorch.registry.write.aliases import AliasChange
    from llorch.registry.write.prune import Prunable

__all__ = [
    "Affected",
    "AliasChange",
    "ArtifactAnswer",
    "ArtifactDiff",
    "ArtifactKind",
    "ArtifactRecord",
    "Check",
    "CheckRecord",
    "CheckStatus",
    "EdgeRecord",
    "FileRecord",
    "FileRole",
    "Filter",
    "HashedFile",
    "Identification",
    "Integrity",
    "InvalidReference",
    "Json",
    "Lineage",
    "ListedArtifact",
    "ListedRun",
    "Location",
    "Policy",
    "Process",
    "Prunable",
    "RefusedByPolicy",
    "RefusedRequest",
    "Registry",
    "RegistryError",
    "Reproduction",
    "RunAnswer",
    "RunKind",
    "RunRecord",
    "SignatureRecord",
    "SourceKind",
    "SourceRecord",
    "Spool",
    "TensorRecord",
    "UnknownReference",
    "hashed_files",
    "locate",
    "name_from",
    "parse_alias",
    "sha256_of",
    "this_process",
    "time_of",
    "tree1",
    "uuid7",
    "uuid7_at",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "database.location": ["Location", "locate"],
        "digests": ["HashedFile", "hashed_files", "sha256_of", "tree1"],
        "errors": [
            "InvalidReference",
            "RefusedByPolicy",
            "RefusedRequest",
            "RegistryError",
            "UnknownReference",
        ],
        "query.affected": ["Affected"],
        "query.diff": ["ArtifactDiff"],
        "query.history": ["ListedRun"],
        "query.identify": ["Identification"],
        "query.integrity": ["Integrity"],
        "query.lineage": ["Lineage"],
        "query.listing": ["Filter"],
        "query.reference": ["name_from", "parse_alias"],
        "query.reproduce": ["Reproduction"],
        "records.answers": ["ArtifactAnswer", "Check", "ListedArtifact", "Policy", "RunAnswer"],
        "records.processes": ["Process", "this_process"],
        "records.records": [
            "ArtifactKind",
            "ArtifactRecord",
            "CheckRecord",
            "CheckStatus",
            "EdgeRecord",
            "FileRecord",
            "FileRole",
            "Json",
            "RunKind",
            "RunRecord",
            "SignatureRecord",
            "SourceKind",
            "SourceRecord",
            "TensorRecord",
        ],
        "records.run_ids": ["time_of", "uuid7", "uuid7_at"],
        "spool": ["Spool"],
        "store": ["Registry"],
        "write.aliases": ["AliasChange"],
        "write.prune": ["Prunable"],
    },
)
