"""Describe a file or folder in figures: read from headers and config, without torch and without any weights."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from llorch.base.errors import InputError
from llorch.formats.gguf import Header, TensorData, read_header
from llorch.formats.tokenizer.templates import TemplateReport, read_templates, report
from llorch.runtime import from_folder, from_gguf
from llorch.runtime.from_folder.config import read_json
from llorch.runtime.from_folder.template import chat_template
from llorch.runtime.memory import DEQUANTIZED_BYTES, HeldBytes, Memory, memory_needed
from llorch.runtime.programs.known_traits import supports
from llorch.runtime.traits import Traits

EMBEDDINGS = ("token_embd.weight", "model.embed_tokens.weight")
HEADS = ("output.weight", "lm_head.weight")


@dataclass(frozen=True, slots=True)
class TypeTotal:
    """All tensors of one type: how many, of how many weights, in how many bytes."""

    type: str
    tensors: int
    weights: int
    size_bytes: int


class Totals:
    """Sums over the tensors of all types."""

    __slots__ = ()
    types: tuple[TypeTotal, ...]

    @property
    def tensors(self) -> int:
        """Number of tensors; tied ones count once."""
        return sum(stored.tensors for stored in self.types)

    @property
    def weights(self) -> int:
        """Number of weights."""
        return sum(stored.weights for stored in self.types)

    @property
    def size_bytes(self) -> int:
        """Bytes of all tensors as stored."""
        return sum(stored.size_bytes for stored in self.types)


@dataclass(frozen=True, slots=True)
class Description(Totals):
    """A model's files in figures.

    architecture: `general.architecture`, or `model_type`. name: the name in the file, or "".
    types: the largest first. tokenizer: its kind, or "" if there is none; tokens: its size.
    template: what the chat template uses, None if there is none.
    held: what the runtime keeps in memory once the model is loaded and used.
    """

    path: Path
    format: str
    architecture: str
    name: str
    traits: Traits
    types: tuple[TypeTotal, ...]
    tokenizer: str
    tokens: int
    template: TemplateReport | None
    held: HeldBytes

    @property
    def bits_per_weight(self) -> float:
        """Average over all tensors."""
        return 8 * self.size_bytes / self.weights

    @property
    def memory(self) -> Memory:
        """Memory for one request that fills the whole context."""
        return self.for_positions(self.traits.n_ctx)

    def for_positions(self, positions: int) -> Memory:
        """Memory for one request of this many positions, prompt and answer together."""
        return memory_needed(self.traits, self.held, positions, by_programs=supports(self.traits))


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor as its header describes it; size_bytes as stored."""

    name: str
    type: str
    shape: tuple[int, ...]
    size_bytes: int

    @property
    def weights(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)


def describe(path: str | os.PathLike[str]) -> Description:
    """Describe a .gguf file or a folder; InputError if the runtime could not load it."""
    file = Path(path)
    try:
        return _describe_folder(file) if file.is_dir() else _describe_gguf(file)
    except InputError as error:
        raise error.in_file(file) from error.__cause__


def _describe_gguf(path: Path) -> Description:
    header = read_header(path)
    with TensorData(header) as data:
        traits, _ = from_gguf.read_traits(header, data)
    tensors = [StoredTensor(t.name, t.type.name, t.shape, t.nbytes) for t in header.tensors.values()]
    return _describe(
        path,
        "gguf",
        header.metadata.text("general.architecture"),
        header.metadata.text("general.name", ""),
        traits,
        tensors,
        _gguf_tokenizer(header),
        read_templates(header.metadata).default,
    )


def _gguf_tokenizer(header: Header) -> tuple[str, int]:
    tokens = header.metadata.texts("tokenizer.ggml.tokens", None)
    return header.metadata.text("tokenizer.ggml.model", ""), 0 if tokens is None else len(tokens)


def _describe_folder(folder: Path) -> Description:
    read = from_folder.read_traits(folder)
    config = read_json(folder / "config.json")
    tensors = [StoredTensor(t.name, t.dtype, t.shape, t.nbytes) for t in read.stored.tensors.values()]
    tokenizer_config = (
        read_json(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").is_file() else {}
    )
    return _describe(
        folder,
        "safetensors",
        str(config["model_type"]),
        str(config.get("_name_or_path") or ""),
        read.traits,
        tensors,
        _folder_tokenizer(folder),
        chat_template(folder, tokenizer_config),
        transposed=bool(read.family.transposed) or read.family.experts_transposed,
    )


def _folder_tokenizer(folder: Path) -> tuple[str, int]:
    path = folder / "tokenizer.json"
    if not path.is_file():
        return "", 0
    document = read_json(path)
    model, added = document.get("model"), document.get("added_tokens")
    if not isinstance(model, dict):
        return "", 0
    vocabulary = model.get("vocab") or ()
    texts = vocabulary if isinstance(vocabulary, dict) else {row[0]: 0 for row in vocabulary}
    extra = {entry.get("content") for entry in added} if isinstance(added, list) else set()
    return str(model.get("type") or ""), len(texts.keys() | extra)


def _describe(
    path: Path,
    format: str,
    architecture: str,
    name: str,
    traits: Traits,
    tensors: list[StoredTensor],
    tokenizer: tuple[str, int],
    template: str | None,
    *,
    transposed: bool = False,
) -> Description:
    kind, tokens = tokenizer
    held = _held_bytes(tensors, tokens, transposed=transposed)
    return Description(
        path,
        format,
        architecture,
        name,
        traits,
        totals_by_type(tensors),
        kind,
        tokens,
        None if template is None else report(template),
        held,
    )


def totals_by_type(tensors: Iterable[StoredTensor]) -> tuple[TypeTotal, ...]:
    """Totals per tensor type, the largest first."""
    found: dict[str, TypeTotal] = {}
    for t in tensors:
        old = found.get(t.type, TypeTotal(t.type, 0, 0, 0))
        found[t.type] = TypeTotal(
            t.type, old.tensors + 1, old.weights + t.weights, old.size_bytes + t.size_bytes
        )
    return tuple(sorted(found.values(), key=lambda stored: -stored.size_bytes))


def _held_bytes(tensors: list[StoredTensor], tokens: int, *, transposed: bool) -> HeldBytes:
    """Bytes held after loading: as stored, or as float32 if matrices are stored transposed and fit DEQUANTIZED_BYTES.

    An embedding that is not also the head is never dequantized as a whole, only the rows that are looked up.
    """
    widened = transposed and 4 * sum(t.weights for t in tensors) <= DEQUANTIZED_BYTES
    untied = any(t.name in HEADS for t in tensors)
    asleep = EMBEDDINGS if untied else ()
    weights = sum(4 * t.weights if widened and t.name not in asleep else t.size_bytes for t in tensors)
    whole = 0  # no tensor is read whole before it is converted
    widest = max(
        (t.shape[-2] for t in tensors if len(t.shape) > 1 and t.name not in EMBEDDINGS + HEADS), default=0
    )
    return HeldBytes(weights, whole, widest, tokens)
