"""What came from what, and was it checked: artifacts by digest, runs, checks, names.

    with Registry("registry.db") as registry:
        registry.record(run, names={"smollm2": digest})
        registry.list()
        registry.show("smollm2")

The registry imports no other room and is told plain records; it never stores weights. `locate` says which
database a command means. Names here load what they need when they are first used: SQLAlchemy costs 0.2 s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llorch.base.lazy import lazy_names

if TYPE_CHECKING:
    from llorch.registry.database.location import Location, locate
    from llorch.registry.query.listing import Filter
    from llorch.registry.query.reference import name_from, parse_alias
    from llorch.registry.records.processes import Process, this_process
    from llorch.registry.records.records import (
        ArtifactRecord,
        CheckRecord,
        EdgeRecord,
        FileRecord,
        RunRecord,
        SourceRecord,
        TensorRecord,
    )
    from llorch.registry.records.run_ids import time_of, uuid7, uuid7_at
    from llorch.registry.spool import Spool
    from llorch.registry.store import Registry

__all__ = [
    "ArtifactRecord",
    "CheckRecord",
    "EdgeRecord",
    "FileRecord",
    "Filter",
    "Location",
    "Process",
    "Registry",
    "RunRecord",
    "SourceRecord",
    "Spool",
    "TensorRecord",
    "locate",
    "name_from",
    "parse_alias",
    "this_process",
    "time_of",
    "uuid7",
    "uuid7_at",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "database.location": ["Location", "locate"],
        "query.listing": ["Filter"],
        "query.reference": ["name_from", "parse_alias"],
        "records.processes": ["Process", "this_process"],
        "records.records": [
            "ArtifactRecord",
            "CheckRecord",
            "EdgeRecord",
            "FileRecord",
            "RunRecord",
            "SourceRecord",
            "TensorRecord",
        ],
        "records.run_ids": ["time_of", "uuid7", "uuid7_at"],
        "spool": ["Spool"],
        "store": ["Registry"],
    },
)
