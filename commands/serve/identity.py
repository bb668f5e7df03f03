"""The identity of the served model: its name, digest, and what the registry knows about it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from llorch.commands.ledger import registry_location

if TYPE_CHECKING:
    from llorch.registry import Identification, Registry
    from llorch.runtime.serving import Card

SUFFIX = ".gguf"


def served_name(model: Path) -> str:
    """Return the default name for clients: the registry's name, or the file's or folder's name without .gguf."""
    name = model.name if model.name not in ("", ".", "..") else model.resolve().name
    return name.removesuffix(SUFFIX) or "model"


def identify(path: Path, card: Card, registry: str | None) -> Card:
    """Return the card completed with format, digest, provenance and verification. Slow: hashes the model's files."""
    from llorch import runtime

    description = runtime.describe(path)
    card = replace(card, format=description.format, architecture=description.architecture)
    from llorch.registry import Registry

    with Registry(registry_location(registry).url) as store:
        found = store.whence(path)
        card = replace(card, digest=found.digest, provenance=provenance(found))
        if found.known == "artifact":
            card = replace(card, verification=verification(store, found.digest))
    return card


def provenance(found: Identification) -> dict[str, object]:
    """Return the model's provenance for clients, without this machine's paths."""
    return {
        "known": found.known,
        "origins": [
            {
                "digest": origin.digest,
                "kind": origin.kind,
                "names": list(origin.names),
                "made_by": origin.made_by,
                "made_from": list(origin.made_from),
                "sources": [
                    {
                        "kind": source.kind,
                        "repository": source.repository if source.kind != "file" else None,
                        "path": Path(source.path).name,
                        "revision": source.revision_resolved,
                    }
                    for source in origin.sources
                ],
            }
            for origin in found.origins
        ],
    }


def verification(store: Registry, digest: str) -> dict[str, object] | None:
    """Return the outcome and the checks of the model's latest verification; None if there was none."""
    from llorch.registry import ArtifactAnswer

    answer = store.show(digest)
    if not isinstance(answer, ArtifactAnswer) or answer.verified is None:
        return None
    latest = answer.checks[0].run if answer.checks else None
    return {
        "outcome": answer.verified,
        "run": latest,
        "checks": [
            {
                "name": check.result.name,
                "status": check.result.status,
                "value": check.result.value,
                "threshold": check.result.threshold,
                "op": check.result.op,
                "unit": check.result.unit,
            }
            for check in answer.checks
            if check.run == latest
        ],
    }
