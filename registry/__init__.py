"""What came from what, and was it checked: artifacts by digest, runs, checks, names.

    with Registry("registry.db") as registry:
        registry.record(run, names={"smollm2": digest})
        registry.list()
        registry.show("smollm2")

The registry imports no other room and is told plain records; it never stores weights. `locate` says which
database a command means. Names here load what they need when they are first used: SQLAlchemy costs 0.2 s.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llorch.registry.listing import Filter
    from llorch.registry.location import Location, locate
    from llorch.registry.processes import Process, this_process
    from llorch.registry.records import (
        ArtifactRecord,
        CheckRecord,
        EdgeRecord,
        FileRecord,
        RunRecord,
        SourceRecord,
        TensorRecord,
    )
    from llorch.registry.reference import name_from, parse_alias
    from llorch.registry.spool import Spool
    from llorch.registry.store import Registry
    from llorch.registry.uids import time_of, uuid7, uuid7_at

WHERE = {
    "ArtifactRecord": "records",
    "CheckRecord": "records",
    "EdgeRecord": "records",
    "FileRecord": "records",
    "Filter": "listing",
    "Location": "location",
    "Process": "processes",
    "Registry": "store",
    "RunRecord": "records",
    "SourceRecord": "records",
    "Spool": "spool",
    "TensorRecord": "records",
    "locate": "location",
    "name_from": "reference",
    "parse_alias": "reference",
    "this_process": "processes",
    "time_of": "uids",
    "uuid7": "uids",
    "uuid7_at": "uids",
}

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


def __getattr__(name: str) -> Any:
    if name not in WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{WHERE[name]}"), name)
