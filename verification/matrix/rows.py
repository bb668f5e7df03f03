"""The rows of the matrix: every model of a folder, run on each device from each format.

A model is a .gguf file, or a folder with config.json and safetensors; two with the same name are one model in two
formats. Each row is run in its own process, so that its peak memory can be measured, and a crash is just a failed row.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from llorch.base.file_digests import sha256

SCHEMA = "llorch.matrix/v1"
SPLIT = re.compile(r"-(\d{5})-of-\d{5}$")  # gguf-split's suffix; the first part stands for all
PROJECTOR = "mmproj"
FORMATS = ("gguf", "folder")
LOGITS_APART = 1e-2  # nats by which log-probabilities may differ between devices, which sum in other orders
HASHED_BYTES = 4 << 30  # the receipt of a model up to this size is the digest of its bytes
TOP = 8  # tokens whose log-probabilities a row has for comparison


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model in the folder: its name, format and path."""

    name: str
    format: str
    path: Path


@dataclass(frozen=True, slots=True)
class Row:
    """One run of a model, or why it was not run.

    status: passed, failed or skipped. ids: greedy tokens after the prompt. top: the most probable tokens after the
    prompt → log-probability. speed: generated tokens per second. memory: peak of the process, in bytes; on cuda of the
    device. receipt: SHA-256 of the model's files, or of their names and sizes if they are large.
    """

    model: str
    format: str
    device: str
    status: str
    why: str = ""
    architecture: str = ""
    tokenizer: str = ""
    end_ids: tuple[int, ...] = ()
    cache: str = ""
    types: str = ""
    ids: tuple[int, ...] = ()
    text: str = ""
    top: Mapping[str, float] | None = None
    speed: float | None = None
    memory: int | None = None
    seconds: float = 0.0
    receipt: str = ""
    device_name: str = ""

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Row:
        """Return the row of a document made by `to_json`."""
        lists = {name: tuple(document[name]) for name in ("end_ids", "ids")}
        return cls(**{**document, **lists})

    def to_json(self) -> dict[str, object]:
        """Return the row for --json and for a receipt."""
        return asdict(self)


def candidates(folder: Path, formats: Sequence[str] = FORMATS) -> Iterator[Candidate]:
    """Yield the models below a folder, sorted by name; a split one once, without projectors."""
    found = []
    for path in sorted(folder.rglob("*")):
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        if path.suffix == ".gguf" and "gguf" in formats and not path.name.startswith(PROJECTOR):
            part = SPLIT.search(path.stem)
            if part is None or int(part[1]) == 1:
                found.append(Candidate(SPLIT.sub("", path.stem), "gguf", path))
        elif path.name == "config.json" and "folder" in formats and any(path.parent.glob("*.safetensors")):
            found.append(Candidate(path.parent.name, "folder", path.parent))
    yield from sorted(found, key=lambda one: (one.name, one.format))


def compare_rows(rows: Sequence[Row]) -> list[Row]:
    """Return the rows, failed if greedy text or logits differ from those of the first row of that model and format.

    Formats are not compared with each other: a folder of 16-bit weights and a quantized file have different weights.
    """
    first: dict[tuple[str, str], Row] = {}
    out = []
    for row in rows:
        if row.status == "passed":
            reference = first.setdefault((row.model, row.format), row)
            if row.ids != reference.ids:
                why = f"its greedy text is another than on {reference.device}"
                row = replace(row, status="failed", why=why)
            elif (apart := largest_gap(reference, row)) > LOGITS_APART:
                why = f"its log-probabilities are {apart:.2g} from {reference.device}'s"
                row = replace(row, status="failed", why=why)
        out.append(row)
    return out


def largest_gap(one: Row, other: Row) -> float:
    """Return the largest difference of log-probabilities of tokens that both rows have; infinity if there is none."""
    mine, theirs = one.top or {}, other.top or {}
    return max(
        (abs(mine[token] - theirs[token]) for token in mine.keys() & theirs.keys()), default=float("inf")
    )


def digest_of_model(path: Path) -> str:
    """Return the SHA-256 of a model's files; of their names and sizes if they are large."""
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    if sum(file.stat().st_size for file in files) > HASHED_BYTES:
        listing = "\n".join(f"{file.name} {file.stat().st_size}" for file in files)
        return f"sizes:{hashlib.sha256(listing.encode()).hexdigest()}"
    digests = [sha256(file) for file in files]
    return (
        f"sha256:{digests[0] if len(digests) == 1 else hashlib.sha256(''.join(digests).encode()).hexdigest()}"
    )


def passed_before(
    receipt: Mapping[str, Any], *, tools: Mapping[str, str], prompt: str, tokens: int
) -> dict[tuple[str, str, str], Row]:
    """Return the rows of an earlier run that need not be repeated, by model, format and device.

    These passed with the same versions, prompt and number of tokens. The caller compares the model's bytes by
    `digest_of_model`.
    """
    if (receipt["tools"], receipt["prompt"], receipt.get("tokens")) != (dict(tools), prompt, tokens):
        return {}
    rows = [Row.from_json(row) for row in receipt["rows"]]
    return {(row.model, row.format, row.device): row for row in rows if row.status == "passed"}


def counts(rows: Sequence[Row]) -> dict[str, int]:
    """Return the number of rows that passed, failed and were skipped."""
    return {status: sum(row.status == status for row in rows) for status in ("passed", "failed", "skipped")}


def document(
    rows: Sequence[Row], *, made: str, tools: Mapping[str, str], prompt: str, tokens: int
) -> dict[str, object]:
    """Return the document for --json and for a receipt. tokens: the most that were generated per row."""
    return {
        "schema": SCHEMA,
        "made": made,
        "tools": dict(tools),
        "prompt": prompt,
        "tokens": tokens,
        "counts": counts(rows),
        "rows": [row.to_json() for row in rows],
    }
