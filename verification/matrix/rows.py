"""The matrix: every model of a folder, run on each device from each format, and what came of it.

A model is a .gguf file, or a folder with config.json and safetensors; two of one name are one model in two formats.
Each is run in a process of its own: its peak of memory is its own, and a crash is a row.
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
SPLIT = re.compile(r"-(\d{5})-of-\d{5}$")  # gguf-split's ending: the first part stands for all
PROJECTOR = "mmproj"
FORMATS = ("gguf", "folder")
LOGITS_APART = 1e-2  # nats that log-probabilities may differ by: another device sums in another order
HASHED_BYTES = 4 << 30  # a model up to this size has the digest of its bytes as a receipt
TOP = 8  # tokens whose log-probabilities a row keeps to be compared


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model found: its name, format, and where it is."""

    name: str
    format: str
    path: Path


@dataclass(frozen=True, slots=True)
class Row:
    """One run, or why there was none.

    status: passed, failed or skipped. ids: greedy, after `prompt`. top: the most probable tokens after the prompt with
    their log-probabilities. speed: generated tokens a second. memory: the process's peak, in bytes; on cuda the
    device's. receipt: SHA-256 of the model's files, sizes and names if they are large.
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
        """The row of which `to_json` made this document."""
        lists = {name: tuple(document[name]) for name in ("end_ids", "ids")}
        return cls(**{**document, **lists})

    def to_json(self) -> dict[str, object]:
        """For a program, and for a receipt."""
        return asdict(self)


def candidates(folder: Path, formats: Sequence[str] = FORMATS) -> Iterator[Candidate]:
    """The models below a folder, by name; parts of a split one once, projectors not at all."""
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
    """The rows; failed, where greedy text or logits are not those of the first row of that model and format.

    A folder of 16-bit weights and a quantized file hold other numbers: between formats nothing is compared.
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
    """Between the log-probabilities of the tokens that both rows kept; infinite where there is none."""
    mine, theirs = one.top or {}, other.top or {}
    return max(
        (abs(mine[token] - theirs[token]) for token in mine.keys() & theirs.keys()), default=float("inf")
    )


def digest_of_model(path: Path) -> str:
    """SHA-256 of a model's files; of their names and sizes where they are large."""
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
    """Rows of an earlier run that need not be run again, by model, format and device.

    Those that passed, with the same versions, prompt and number of tokens. Whether the model is still the same bytes
    is to be asked of `digest_of_model`.
    """
    if (receipt["tools"], receipt["prompt"], receipt.get("tokens")) != (dict(tools), prompt, tokens):
        return {}
    rows = [Row.from_json(row) for row in receipt["rows"]]
    return {(row.model, row.format, row.device): row for row in rows if row.status == "passed"}


def counts(rows: Sequence[Row]) -> dict[str, int]:
    """How many passed, failed and were skipped."""
    return {status: sum(row.status == status for row in rows) for status in ("passed", "failed", "skipped")}


def document(
    rows: Sequence[Row], *, made: str, tools: Mapping[str, str], prompt: str, tokens: int
) -> dict[str, object]:
    """What --json prints, and what a receipt is. tokens: at most so many were generated in each row."""
    return {
        "schema": SCHEMA,
        "made": made,
        "tools": dict(tools),
        "prompt": prompt,
        "tokens": tokens,
        "counts": counts(rows),
        "rows": [row.to_json() for row in rows],
    }
