"""Preview of a model from its headers, read from the server: what it is, and whether it is supported.

The header of every GGUF and safetensors file is read by range requests, and of the small files config.json; then the
conversion is planned as if the file were local. Without support for ranges a file is examined after its download.
"""

from __future__ import annotations

import functools
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from llorch.base.errors import InputError, MalformedInput
from llorch.converter.plan import TABLES, UNQUANTIZED, Plan, make_plan, require_decoder
from llorch.formats import HEADER_BYTES, INDEX, read_safetensors
from llorch.formats.gguf import Header, read_header
from llorch.formats.tokenizer import build_tokenizer
from llorch.sources.errors import NoRanges
from llorch.sources.offer import Remote, RemoteFile
from llorch.sources.preview.sparse_file import SparseFile, read_remote_header
from llorch.sources.select.files import models_of

CONFIG = "config.json"
MOST_JSON = 64 << 20  # bytes of config.json or an index
LENGTH_BYTES = 8  # a safetensors file starts with the length of its header
FIRST_BYTES = 1 << 16  # the first read of a safetensors file; contains the whole header of most shards
SIXTEEN_BITS = frozenset({"F16", "BF16"})

Here = Callable[[RemoteFile], Path | None]
Format = Literal["gguf", "safetensors", "other"]


@dataclass(frozen=True, slots=True)
class TypeMix:
    """The tensors of one type. size: in bytes."""

    type: str
    tensors: int
    size: int


@dataclass(frozen=True, slots=True)
class Preview:
    """A model as its headers describe it.

    name: its first file. why_not: why it is not supported, else None. types: the largest first. tokenizer, tokens: its
    kind and number of tokens; unknown for a folder before its download. context: positions. converted_size: bytes of
    the weights that a conversion writes by default, None if there is nothing to convert; at_most: it may be fewer.
    stand_in: a path from which the model's headers can be read, valid while its folder exists. fetched: number of bytes
    downloaded for the preview.
    """

    format: Format
    architecture: str | None
    why_not: str | None
    name: str = ""
    types: tuple[TypeMix, ...] = ()
    weights: int = 0
    tokenizer: str = ""
    tokens: int = 0
    context: int | None = None
    converted_size: int | None = None
    at_most: bool = False
    stand_in: Path | None = None
    fetched: int = 0

    @property
    def supported(self) -> bool:
        """Whether the model is supported."""
        return self.why_not is None


def preview_models(remote: Remote, folder: Path, here: Here = lambda _: None) -> Sequence[Preview]:
    """Return a preview of each model offered; sparse files with the headers are written to the empty `folder`.

    here: returns the path of a file that is on the disk already, or None; its header is then read there. Raises
    SourceError and OSError if something cannot be read. A fault of a model is in its preview's `why_not`.
    """
    models = models_of(remote.offer.files)
    if models:
        return [_of_gguf(remote, files, folder, here) for files in models]
    if remote.offer.of(".safetensors"):
        return [_of_folder(remote, folder, here)]
    return [Preview("other", None, "it holds neither a GGUF nor a safetensors file")]


def preview_file(path: Path) -> Preview:
    """Return the preview of a GGUF model on the disk; `path`: the file, or any part of a split one. Raises OSError."""
    try:
        found = _describe(read_header(path), path.parent)
    except InputError as error:
        found = Preview("gguf", None, _why_not(error, path.parent))
    return replace(found, name=path.name, stand_in=path)


def _of_gguf(remote: Remote, files: Sequence[RemoteFile], folder: Path, here: Here) -> Preview:
    """Return the preview of one GGUF file or split set."""
    with ExitStack() as stack:
        stand_ins = [stack.enter_context(_stand_in(remote, file, folder, here)) for file in files]
        try:
            for stand_in in stand_ins:
                tensors = read_remote_header(stand_in).tensors
                for table in filter(None, map(tensors.get, TABLES)):
                    stand_in.fill(table.offset, table.nbytes)
            # Read the header only now: the planner rejects a file that was modified after its header was read.
            header = read_header(stand_ins[0].path)
            found = _describe(header, folder)
        except InputError as error:
            found = Preview("gguf", None, _why_not(error, folder))
        fetched = sum(one.fetched for one in stand_ins)
        return replace(found, name=files[0].path, stand_in=stand_ins[0].path, fetched=fetched)


def _describe(header: Header, folder: Path) -> Preview:
    """Return the preview of a GGUF model from its header."""
    metadata = header.metadata
    architecture = metadata.text("general.architecture", "") or None
    tokens = metadata.texts("tokenizer.ggml.tokens", None)
    why_not, converted, at_most = None, None, False
    try:
        require_decoder(header)
        tokenizer = build_tokenizer(metadata)
        if header.tensors:  # else it has only a vocabulary: only the tokenizer can be written
            converted, at_most = _converted_size(make_plan(header, tokenizer, keep_blocks=True))
    except InputError as error:
        why_not = _why_not(error, folder)
    return Preview(
        format="gguf",
        architecture=architecture,
        why_not=why_not,
        types=_mix((tensor.type.name, tensor.nbytes) for tensor in header.tensors.values()),
        weights=sum(tensor.weights for tensor in header.tensors.values()),
        tokenizer=metadata.text("tokenizer.ggml.model", ""),
        tokens=0 if tokens is None else len(tokens),
        context=_context(header, architecture),
        converted_size=converted,
        at_most=at_most,
    )


def _context(header: Header, architecture: str | None) -> int | None:
    try:
        return header.metadata.integer(f"{architecture}.context_length", None)
    except InputError:  # already reported in why_not
        return None


def _converted_size(planned: Plan) -> tuple[int, bool]:
    """Return the bytes of the weights that a conversion writes by default, and whether that is only an upper bound.

    A quantized source becomes bfloat16, except for blocks that are kept. Whether float32 weights fit into 16 bits is
    known only from their values.
    """
    size = sum(output.weights for output in planned.outputs if output.part is not None)
    rounded = [output for output in planned.outputs if output.part is None]
    types = {segment.source.type.name for output in rounded for segment in output.segments}
    quantized = bool(types - UNQUANTIZED)
    for output in rounded:
        stored = {segment.source.type.name for segment in output.segments}
        size += output.weights * (2 if quantized or stored <= SIXTEEN_BITS else 4)
    return size, not quantized and not types <= SIXTEEN_BITS


def _of_folder(remote: Remote, folder: Path, here: Here) -> Preview:
    """Return the preview of safetensors files and their config.json."""
    with ExitStack() as stack:
        stand_ins = []
        for file in remote.offer.files:
            wanted = file.path.endswith(".safetensors") or file.path in (CONFIG, INDEX)
            if wanted:
                stand_ins.append(stack.enter_context(_stand_in(remote, file, folder, here)))
        try:
            for stand_in in stand_ins:
                _read_head(stand_in)
            config = _read_config(folder / CONFIG)
            stored = read_safetensors(folder).tensors.values()
        except InputError as error:
            return Preview(
                "safetensors", None, _why_not(error, folder), fetched=sum(o.fetched for o in stand_ins)
            )
        architecture = config.get("model_type")
        context = config.get("max_position_embeddings")
        return Preview(
            format="safetensors",
            architecture=architecture if isinstance(architecture, str) else None,
            why_not=None if isinstance(architecture, str) else f"{CONFIG} names no model_type",
            types=_mix((tensor.dtype, tensor.nbytes) for tensor in stored),
            weights=sum(math.prod(tensor.shape) for tensor in stored),
            context=context if isinstance(context, int) else None,
            stand_in=folder,
            fetched=sum(one.fetched for one in stand_ins),
        )


def _read_head(stand_in: SparseFile) -> None:
    """Download the header of a safetensors file, or all of a JSON file."""
    if stand_in.path.suffix != ".safetensors":
        stand_in.require(stand_in.size, MOST_JSON)
        return
    stand_in.require(min(FIRST_BYTES, stand_in.size), FIRST_BYTES)
    length = int.from_bytes(stand_in.read(LENGTH_BYTES, 0), "little")
    if length <= HEADER_BYTES:  # a longer one is refused by the reader
        stand_in.require(min(LENGTH_BYTES + length, stand_in.size), LENGTH_BYTES + HEADER_BYTES)


def _read_config(path: Path) -> Mapping[str, object]:
    if not path.exists():
        raise MalformedInput(f"there is no {CONFIG}")
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise MalformedInput(f"is no JSON: {error}", path=path) from None
    if not isinstance(document, dict):
        raise MalformedInput("is no JSON object", path=path)
    return document


def _stand_in(remote: Remote, file: RemoteFile, folder: Path, here: Here) -> SparseFile:
    path = here(file)
    if path is not None and path.stat().st_size == file.size:
        return SparseFile(folder / file.path, file, functools.partial(_read_here, path), counted=False)
    if file.size is None:
        raise NoRanges(remote.offer.repository, f"the server does not say how large {file} is")
    return SparseFile(folder / file.path, file, functools.partial(remote.read, file))


def _read_here(path: Path, count: int, at: int) -> bytes:
    with path.open("rb") as stream:
        stream.seek(at)
        return stream.read(count)


def _mix(tensors: Iterable[tuple[str, int]]) -> tuple[TypeMix, ...]:
    """Sum up tensors, given as (type, bytes), by type; the largest first."""
    counts, sizes = Counter[str](), Counter[str]()
    for type, size in tensors:
        counts[type] += 1
        sizes[type] += size
    return tuple(TypeMix(type, counts[type], size) for type, size in sizes.most_common())


def _why_not(error: InputError, folder: Path) -> str:
    """Return the error's text, with its file's path relative to `folder`, as the source names it."""
    if error.path is not None:
        path = Path(error.path)
        error.path = path.relative_to(folder) if path.is_relative_to(folder) else path
    return str(error)
