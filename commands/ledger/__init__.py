"""Recording the runs of commands in the registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llorch.base.lazy import lazy_names

if TYPE_CHECKING:
    from llorch.commands.ledger.earlier import finished_checks
    from llorch.commands.ledger.fetch import (
        FetchedModel,
        FetchResult,
        from_adoption,
        from_fetch,
        record_fetch,
        record_smoke_test,
    )
    from llorch.commands.ledger.locate import INSPECTED_MODEL, MODEL, locate_model, registry_location
    from llorch.commands.ledger.record import (
        RecordResult,
        adopt_folder,
        checked_name,
        load_registry_ahead,
        name_taken,
        record_conversion,
        record_signature,
        record_verification,
    )
    from llorch.commands.ledger.run import TrackedRun, tracked_run

__all__ = [
    "INSPECTED_MODEL",
    "MODEL",
    "FetchResult",
    "FetchedModel",
    "RecordResult",
    "TrackedRun",
    "adopt_folder",
    "checked_name",
    "finished_checks",
    "from_adoption",
    "from_fetch",
    "load_registry_ahead",
    "locate_model",
    "name_taken",
    "record_conversion",
    "record_fetch",
    "record_signature",
    "record_smoke_test",
    "record_verification",
    "registry_location",
    "tracked_run",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "earlier": ["finished_checks"],
        "fetch": [
            "FetchResult",
            "FetchedModel",
            "from_adoption",
            "from_fetch",
            "record_fetch",
            "record_smoke_test",
        ],
        "locate": ["INSPECTED_MODEL", "MODEL", "locate_model", "registry_location"],
        "record": [
            "RecordResult",
            "adopt_folder",
            "checked_name",
            "load_registry_ahead",
            "name_taken",
            "record_conversion",
            "record_signature",
            "record_verification",
        ],
        "run": ["TrackedRun", "tracked_run"],
    },
)
