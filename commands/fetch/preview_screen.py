"""The output of `llorch-fetch --dry-run`: a preview of models that are not downloaded."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llorch import runtime
from llorch.base.errors import InputError
from llorch.commands.cli import size, text, write_rows

if TYPE_CHECKING:
    from llorch.sources import Offer, Preview

CONVERSION_MEMORY = 500 * 10**6  # bytes; a conversion of a model of any size stays below: docs/benchmarks.md
SHOWN_FILES, SHOWN_TYPES = 3, 6


def write(offer: Offer, previews: Sequence[Preview], folder: Path) -> None:
    """Print the preview. folder: where the files would go; it need not exist."""
    rows = source_rows(offer)
    for preview in previews:
        rows += model_rows(preview)
    rows.append(("free space", f"{size(free_bytes(folder)).brief} at {folder}"))
    write_rows([[text(title), text(value)] for title, value in rows])


def source_rows(offer: Offer) -> list[tuple[str, str]]:
    """Return (title, value) rows about the source: repository, revision, licence, files, digest."""
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
    """Return the expected digest of the largest file that has one, and how many files have one."""
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
    """Return (title, value) rows about one model: architecture, support, types, sizes, memory."""
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
    """Return the bytes of memory our runtime needs for the full context; None for an unsupported model."""
    if preview.stand_in is None or not preview.supported:
        return None
    try:
        return runtime.describe(preview.stand_in).memory.total
    except InputError:
        return None


def free_bytes(folder: Path) -> int:
    """Return the free bytes of the file system that `folder` is on, or would be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def document(offer: Offer, previews: Iterable[Preview], folder: Path) -> dict[str, object]:
    """Return the preview as the document for --json; sizes are in bytes."""
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
    """Return one model's part of the --json document."""
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
