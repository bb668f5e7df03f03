"""What `llorch-fetch --dry-run` shows: one screen about models that are still where they are."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llorch import runtime
from llorch.base.errors import InputError
from llorch.commands.cli import Cell, digest, size, text, write_rows

if TYPE_CHECKING:
    from llorch.sources import Offer, Preview

CONVERSION_MEMORY = 500 * 10**6  # bytes that a conversion of any size stays below; docs/benchmarks.md
SHOWN_FILES, SHOWN_TYPES = 3, 6


def write(offer: Offer, previews: Sequence[Preview], folder: Path) -> None:
    """Prints the screen. folder: where the files would go, or the nearest that is there."""
    rows = source_rows(offer)
    for preview in previews:
        rows += model_rows(preview)
    rows.append(("free space", f"{size(free_bytes(folder)).brief} at {folder}"))
    write_rows([[text(title), text(value)] for title, value in rows])


def source_rows(offer: Offer) -> list[tuple[str, str]]:
    """Where it comes from, and what is promised of it."""
    revision = f"{offer.requested} → {offer.revision}" if offer.revision else "none: a URL has no revisions"
    names = [file.path for file in offer.files]
    more = f" and {len(names) - SHOWN_FILES} more" if len(names) > SHOWN_FILES else ""
    left = f"; {len(offer.left_out)} left out" if offer.left_out else ""
    files = f"{', '.join(names[:SHOWN_FILES])}{more}, {size(offer.size).brief}{left}"
    return [
        ("source", f"{offer.repository}{' (gated)' if offer.gated else ''}"),
        ("revision", revision),
        ("licence", offer.licence or "not said"),
        ("files", files),
        ("digest", digest_text(offer)),
    ]


def digest_text(offer: Offer) -> str:
    """The digest to expect of the largest file, and how many have one."""
    known = [file for file in offer.files if file.promised]
    if not known:
        return "none: there is nothing to compare with"
    largest = max(known, key=lambda file: file.size or 0)
    others = (
        f" ({largest.path}); {len(known)} of {len(offer.files)} files have one"
        if len(offer.files) > 1
        else ""
    )
    return f"{largest.promised}{others}"


def model_rows(preview: Preview) -> list[tuple[str, str]]:
    """What one model is, whether it will serve, and what it will take."""
    verdict = "supported" if preview.supported else f"NOT SUPPORTED: {preview.why_not}"
    rows = [("model", f"{preview.architecture or 'of no known architecture'} ({preview.format}): {verdict}")]
    if preview.types:
        total = sum(one.size for one in preview.types)
        mix = ", ".join(f"{one.tensors} {one.type}" for one in preview.types[:SHOWN_TYPES])
        bits = f"{8 * total / max(1, preview.weights):.2f} bits a weight"
        rows.append(("weights", f"{preview.weights:,}: {mix}; {bits}"))
    if preview.context:
        rows.append(("context", f"{preview.context:,} positions"))
    if preview.tokenizer:
        rows.append(("tokenizer", f"{preview.tokenizer}, {preview.tokens:,} tokens"))
    if preview.converted_size is not None:
        most = "at most " if preview.at_most else ""
        written = f"{most}{size(preview.converted_size).brief} of safetensors"
        rows.append(("conversion", f"{written}, below {size(CONVERSION_MEMORY).brief} of memory"))
    elif preview.format == "safetensors" and preview.supported:
        rows.append(("conversion", "none is needed"))
    if (memory := running_memory(preview)) is not None:
        rows.append(("running", f"{size(memory).brief} of memory for all of the context"))
    return rows


def running_memory(preview: Preview) -> int | None:
    """Bytes that our runtime takes for all of the context; None for a model that it does not know."""
    if preview.stand_in is None or not preview.supported:
        return None
    try:
        return runtime.describe(preview.stand_in).memory.total
    except InputError:
        return None


def free_bytes(folder: Path) -> int:
    """Of the file system that `folder` is on, or would be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def document(offer: Offer, previews: Iterable[Preview], folder: Path) -> dict[str, object]:
    """The same for --json; sizes are bytes."""
    return {
        "schema": "llorch.preview/v1",
        "kind": offer.kind,
        "repository": offer.repository,
        "endpoint": offer.endpoint,
        "revision_requested": offer.requested,
        "revision_resolved": offer.revision,
        "licence": offer.licence,
        "gated": offer.gated,
        "files": [
            {"path": file.path, "size_bytes": file.size, "expected_digest": file.promised}
            for file in offer.files
        ],
        "left_out": [{"path": path, "why": why} for path, why in offer.left_out],
        "models": [model_document(preview) for preview in previews],
        "folder": os.fspath(folder),
        "free_bytes": free_bytes(folder),
    }


def model_document(preview: Preview) -> dict[str, object]:
    """One model."""
    return {
        "name": preview.name,
        "format": preview.format,
        "architecture": preview.architecture,
        "supported": preview.supported,
        "why_not": preview.why_not,
        "weights": preview.weights,
        "types": [
            {"type": one.type, "tensors": one.tensors, "size_bytes": one.size} for one in preview.types
        ],
        "context": preview.context,
        "tokenizer": preview.tokenizer,
        "tokens": preview.tokens,
        "converted_bytes": preview.converted_size,
        "converted_bytes_at_most": preview.at_most,
        "running_memory_bytes": running_memory(preview),
        "read_bytes": preview.fetched,
    }


def fetched_rows(rows: Iterable[tuple[str, int, str, str]]) -> list[list[Cell]]:
    """A table of files: path, size, digest, how it came to be here."""
    return [
        [text(path), size(count), digest(f"sha256:{sha256}"), text(how)] for path, count, sha256, how in rows
    ]
