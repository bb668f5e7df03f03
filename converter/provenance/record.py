"""The record of a conversion, as data and as conversion.json: which bytes became which, by which rules."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from llorch.base.version import __version__
from llorch.converter.digests import tree_digest, weights_digest
from llorch.converter.quantization.stats import Quantization
from llorch.formats.tokenizer import TemplateReport

SCHEMA = "llorch.conversion/v1"

# Libraries that the bytes may depend on: they decode, compute and format numbers.
LIBRARIES = ("numpy", "llvmlite")


@dataclass(frozen=True, slots=True)
class Source:
    """A source file. relative: its path relative to the written folder."""

    path: Path
    relative: str
    sha256: str
    size: int

    @property
    def name(self) -> str:
        """The file's name, as text."""
        return text_of(self.path.name)


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file of the folder; its role is weights, config, tokenizer or record."""

    path: str
    sha256: str
    size: int
    role: str


@dataclass(frozen=True, slots=True)
class SourceRows:
    """Rows of a source tensor that went into an output, and their type.

    scale: what they were multiplied by, if anything. operation: what was done to these rows, if not the same was done
    to all of the output's rows.
    """

    tensor: str
    quant: str
    first_row: int
    rows: int
    scale: float | None = None
    operation: str | None = None


@dataclass(frozen=True, slots=True)
class TensorRow:
    """A written tensor; offset is of its first byte in its file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    sources: tuple[SourceRows, ...]
    operation: str | None
    parameters: Mapping[str, int | str]
    file: str
    offset: int
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class SourceTensor:
    """A source tensor, converted or left out; offset is of its first byte in its file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: str
    offset: int
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Conversion:
    """A finished conversion.

    folder: where it is. sources, files: every file that was read and written, except the records; records:
    conversion.json and provenance.intoto.json, which describe the others. options: what the caller chose that
    determines the bytes; threads does not. assumed, keys_not_needed, unused: as in `llorch.converter.plan.plan.Plan`.
    notes: what the tokenizer assumed. templates: reports on the chat templates, by the path of their file. run: the
    caller's UUID of this run, if given. started, finished: RFC 3339, UTC, with milliseconds.
    card: what the source says of itself (licence, base model, …) by the names of a model card. source_signature: the
    source's signer, if it was verified.
    """

    folder: Path
    architecture: str
    dtype: str
    sources: tuple[Source, ...]
    files: tuple[WrittenFile, ...]
    tensors: tuple[TensorRow, ...]
    quantization: Quantization
    options: Mapping[str, str | int | bool]
    threads: int
    tools: Mapping[str, str]
    assumed: Mapping[str, object]
    keys_not_needed: Mapping[str, str]
    unused: Mapping[str, str]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    run: str | None
    templates: Mapping[str, TemplateReport]
    findings: tuple[Mapping[str, object], ...]
    source_tensors: tuple[SourceTensor, ...]
    source_metadata: Mapping[str, str]
    started: str
    finished: str
    card: Mapping[str, str | list[str]] = field(default_factory=dict)
    source_signature: Mapping[str, object] | None = None
    records: tuple[WrittenFile, ...] = field(default=())

    @property
    def tree(self) -> str:
        """The digest of the folder without its records; equal conversions have equal ones."""
        return tree_digest((file.path, file.sha256, file.size) for file in self.files)

    @property
    def weights(self) -> str:
        """The digest of the weights, however they are sharded."""
        return weights_digest((row.name, row.dtype, row.shape, row.sha256) for row in self.tensors)

    def to_json(self) -> dict[str, object]:
        """Return the content of conversion.json. Two conversions of a file differ only in `run` and `times`."""
        return {
            "schema": SCHEMA,
            "run": self.run,
            "architecture": self.architecture,
            "dtype": self.dtype,
            "tree": self.tree,
            "weights": self.weights,
            "sources": [
                {"name": s.name, "path": text_of(s.relative), "sha256": s.sha256, "size": s.size}
                for s in self.sources
            ],
            "source_weights": weights_digest(
                (t.name, t.dtype, t.shape, t.sha256) for t in self.source_tensors
            ),
            "source_tensors": [asdict(tensor) for tensor in self.source_tensors],
            "source_metadata": dict(self.source_metadata),
            "card": dict(self.card),
            "source_signature": None if self.source_signature is None else dict(self.source_signature),
            "options": dict(self.options),
            "tools": dict(self.tools),
            "times": {"started": self.started, "finished": self.finished},
            "quantization": self.quantization.to_json(),
            "assumed": dict(self.assumed),
            "keys_not_needed": dict(self.keys_not_needed),
            "unused_tensors": dict(self.unused),
            "notes": list(self.notes),
            "warnings": list(self.warnings),
            "chat_templates": {path: asdict(report) for path, report in self.templates.items()},
            "findings": [dict(one) for one in self.findings],
            "files": [asdict(file) for file in self.files],
            "tensors": [_tensor_json(row) for row in self.tensors],
        }


def text_of(path: str) -> str:
    r"""Return a path as text that can be written: bytes that are not UTF-8 become \xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def tools() -> dict[str, str]:
    """Return name → version of the software that the bytes may depend on."""
    return {
        "llorch": __version__,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in LIBRARIES},
    }


def _tensor_json(row: TensorRow) -> dict[str, object]:
    operation = None if row.operation is None else {"name": row.operation, "parameters": dict(row.parameters)}
    return {
        "name": row.name,
        "dtype": row.dtype,
        "shape": list(row.shape),
        "sources": [
            {key: value for key, value in asdict(rows).items() if value is not None} for rows in row.sources
        ],
        "operation": operation,
        "file": row.file,
        "offset": row.offset,
        "size": row.size,
        "sha256": row.sha256,
    }
