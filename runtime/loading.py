"""Open a GGUF file or a folder as a `Model`."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Literal

import torch

from llorch.base.errors import InputError
from llorch.base.printable import printable
from llorch.formats import read_safetensors
from llorch.formats.gguf import Header, TensorData, read_header
from llorch.formats.gguf import Tensor as StoredTensor
from llorch.runtime import from_folder, from_gguf
from llorch.runtime.blocks.linear import Numbers, has_triton
from llorch.runtime.devices import choose_device, spread
from llorch.runtime.errors import DoesNotFit, RequestError
from llorch.runtime.from_folder.shards import OpenShards
from llorch.runtime.from_folder.text import folder_text
from llorch.runtime.from_folder.weights import build_weights as build_folder_weights
from llorch.runtime.from_gguf.weights import build_weights
from llorch.runtime.kernels.cpu.grouped import GROUPED
from llorch.runtime.memory import DEQUANTIZED_BYTES
from llorch.runtime.mode import Mode
from llorch.runtime.model import Model
from llorch.runtime.text.model_text import Text

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from llorch.formats.tokenizer import TokenizerFiles

LOG = logging.getLogger("llorch.runtime")
DTYPES = {"float32": torch.float32, "float64": torch.float64, "float16": torch.float16}
ROUNDED = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def load(
    path: str | os.PathLike[str] | Header,
    device: str = "cpu",
    dtype: Literal["float32", "float64", "float16"] = "float32",
    rounded: Literal["bfloat16", "float16"] | None = None,
    *,
    mode: Mode | str = Mode.EXACT,
    dequantized_bytes: int = DEQUANTIZED_BYTES,
    lazy: bool = False,
) -> Model:
    """Load a model from a .gguf file, its header (already read), or a folder with config.json and safetensors.

    device: any that torch knows, or "auto": cuda if present and the model fits, else cpu. On CUDA the weights are held
    as they are stored. Several, as in "cuda:0,cuda:1": the layers in order, divided in proportion to free memory;
    the devices compute one after the other, without CUDA graphs.
    dtype: of all arithmetic; float64 is for measuring float32's noise, float16 for finding what overflows in it.
    rounded: for a GGUF, every dequantized weight is rounded once to this type before use, so that it equals
        the weight of a folder converted to it.
    mode: arithmetic of products with packed weights; a model that has none is exact. On CUDA,
        where exact products cost little more, VERIFY is exact too, and FAST also computes folders, in bfloat16.
        VERIFY and FAST are float32 on the weights of the file: with `dtype` or `rounded` they are a RequestError.
    dequantized_bytes: a model whose weights take at most this in the arithmetic's dtype is kept dequantized after first
        use; a larger one stays as stored and is dequantized tile by tile at each use.
    lazy: on CUDA a matrix is read when it is first used, and no decode step is recorded: for a caller that runs some
        of the layers. On other devices it is always so.

    Raises InputError if the files cannot be understood, OSError if they cannot be read, RequestError for a device that
    is not there.

    >>> model = load("folder")
    >>> model.logits(model.tokenizer.encode("Once upon").ids).dtype
    torch.float32
    """
    file = path if isinstance(path, Header) else Path(path)
    devices = device.split(",")
    if len(devices) > 1:
        numbers, layer_devices = _several_devices(devices, dtype, rounded, Mode(mode))
        return _load(file, replace(numbers, lazy=lazy), layer_devices, dequantized_bytes)
    numbers = replace(_in_mode(_numbers(choose_device(device), dtype, rounded), Mode(mode)), lazy=lazy)
    try:
        return _load(file, numbers, (), dequantized_bytes)
    except DoesNotFit as error:
        if device != "auto":
            raise
        LOG.warning("%s: it is computed on the processor", error)
    return load(file, "cpu", dtype, rounded, mode=mode, dequantized_bytes=dequantized_bytes)


def _several_devices(
    devices: Sequence[str], dtype: str, rounded: str | None, mode: Mode
) -> tuple[Numbers, tuple[torch.device, ...]]:
    """The arithmetic on the first device, and all devices; RequestError if they are of different kinds."""
    each = [_in_mode(_numbers(device, dtype, rounded), mode) for device in devices]
    if len({numbers.device.type for numbers in each}) > 1:
        raise RequestError(f"the devices {', '.join(devices)} are of several kinds")
    return each[0], tuple(numbers.device for numbers in each)


def _load(
    file: Path | Header, numbers: Numbers, devices: Sequence[torch.device], dequantized_bytes: int
) -> Model:
    if isinstance(file, Header) or not file.is_dir():
        return _load_gguf(_header(file), numbers, devices, dequantized_bytes)
    if numbers.rounded is not None:
        raise ValueError("rounded is for GGUF files: a folder's weights are used as they are")
    return _load_folder(file, numbers, devices, dequantized_bytes)


def require_memory(
    readings: Sequence[tuple[str | os.PathLike[str], Literal["bfloat16", "float16"] | None]], device: str
) -> None:
    """Raise DoesNotFit, before reading any, if models to be held at once need more memory than the GPU has free.

    readings: for each model its file or folder, and the type its weights are rounded to.
    """
    total, numbers = 0, _numbers(device, "float32", None)
    for path, rounded in readings:
        held = replace(numbers, rounded=None if rounded is None else ROUNDED[rounded])
        file = Path(path)
        if file.is_dir():
            total += sum(tensor.nbytes for tensor in read_safetensors(file, links=True).tensors.values())
        else:
            total += sum(_stored_bytes(tensor, held) for tensor in read_header(file).tensors.values())
    free, whole = _free_bytes(numbers.device)
    if numbers.on_gpu and total > free:
        raise DoesNotFit(Path(readings[0][0]), device, total, free, whole)


def read_text(
    path: str | os.PathLike[str] | Header,
    files: TokenizerFiles | None = None,
    tokenizer: Tokenizer | None = None,
) -> Text:
    """Read the tokenizer and text facts of a .gguf file or a folder, without weights; a vocabulary-only file will do.

    path: also a header that was already read. files: for a .gguf file, its tokenizer files, if already built.
    tokenizer: loaded from that tokenizer.json, if already loaded.
    Raises InputError if there is no tokenizer or it cannot be understood, OSError if it cannot be read.
    """
    if not isinstance(path, Header) and Path(path).is_dir():
        return folder_text(Path(path))
    return _gguf_text(_header(path), files, tokenizer)


def _header(file: str | os.PathLike[str] | Header) -> Header:
    return file if isinstance(file, Header) else read_header(file)


def _numbers(device: str, dtype: str, rounded: str | None) -> Numbers:
    if dtype not in DTYPES:
        raise ValueError(f"dtype is {dtype!r}, expected one of {', '.join(DTYPES)}")
    if rounded is not None and rounded not in ROUNDED:
        raise ValueError(f"rounded is {rounded!r}, expected one of {', '.join(ROUNDED)}")
    # importing Triton takes a quarter of a second, about as long as creating the CUDA context: do both at once
    kernels = Thread(target=import_module, args=("llorch.runtime.gpu.sessions",), daemon=True)
    if device.startswith("cuda") and has_triton():
        kernels.start()
    try:
        torch.empty(0, device=device)
    except (
        RuntimeError,
        AssertionError,
    ) as error:  # torch built without CUDA raises AssertionError
        raise RequestError(
            f"the device {printable(device)} cannot be used: {printable(str(error), 200)}"
        ) from error
    if kernels.ident is not None:
        kernels.join()
    return Numbers(DTYPES[dtype], torch.device(device), None if rounded is None else ROUNDED[rounded])


def _in_mode(numbers: Numbers, mode: Mode) -> Numbers:
    if mode is Mode.EXACT or (mode is Mode.VERIFY and numbers.on_gpu):
        return numbers
    if not (numbers.on_gpu or numbers.device.type == "cpu"):
        return numbers
    if numbers.dtype != torch.float32 or numbers.rounded is not None:
        raise RequestError(f"the mode {mode} computes in float32 with the weights as they are stored")
    return replace(numbers, mode=mode)


def _load_gguf(
    header: Header, numbers: Numbers, devices: Sequence[torch.device], dequantized_bytes: int
) -> Model:
    path = header.path
    with ExitStack() as opened:
        data = opened.enter_context(TensorData(header))
        try:
            traits, family = from_gguf.read_traits(header, data)
            numbers = _keep(numbers, sum(t.weights for t in header.tensors.values()), dequantized_bytes)
            if not numbers.on_gpu and not any(t.type.name in GROUPED for t in header.tensors.values()):
                numbers = replace(numbers, mode=Mode.EXACT)
            sizes = {name: _stored_bytes(tensor, numbers) for name, tensor in header.tensors.items()}
            layer_devices = _assign_devices(path, numbers, devices, sizes, "blk.", traits.n_layers)
            weights = build_weights(header, data, family, traits, numbers, layer_devices)
        except InputError as error:
            raise error.in_file(path) from error.__cause__
        close = opened.pop_all().close
    return Model(path, "gguf", traits, weights, numbers, lambda: _gguf_text(header), close)


def _load_folder(
    folder: Path, numbers: Numbers, devices: Sequence[torch.device], dequantized_bytes: int
) -> Model:
    read = from_folder.read_traits(folder)
    if not numbers.on_gpu:
        numbers = replace(numbers, mode=Mode.EXACT)  # a folder's weights are floats, not packed
    sizes = {name: tensor.nbytes for name, tensor in read.stored.tensors.items()}
    layer_devices = _assign_devices(
        folder, numbers, devices, sizes, f"{read.family.layers}.", read.sizes.layers
    )
    numbers = _keep(numbers, sum(t.weights for t in read.stored.tensors.values()), dequantized_bytes)
    with ExitStack() as opened:
        shards = opened.enter_context(closing(OpenShards(read.stored)))
        weights = build_folder_weights(read, shards, numbers, layer_devices)
        close = opened.pop_all().close
    return Model(folder, "safetensors", read.traits, weights, numbers, lambda: folder_text(folder), close)


def _stored_bytes(tensor: StoredTensor, numbers: Numbers) -> int:
    """Bytes that a tensor's weights take in memory: as stored, or on a GPU in its plane layout."""
    if not numbers.on_gpu:
        return tensor.nbytes
    from llorch.runtime.gpu.transfer import held_bytes  # Triton: only a GPU needs it

    return held_bytes(tensor.type, tensor.weights // tensor.shape[-1], tensor.shape[-1], numbers.rounded)


def _assign_devices(
    path: Path,
    numbers: Numbers,
    devices: Sequence[torch.device],
    sizes: Mapping[str, int],
    stem: str,
    layers: int,
) -> tuple[torch.device, ...]:
    """Device of each layer, empty if there is only one; DoesNotFit, before reading, if a device's memory is too small.

    sizes: bytes of the tensors by name; a layer's names start with `stem` and its number.
    """
    parts = [0] * layers
    for name, nbytes in sizes.items():
        number = name.removeprefix(stem).partition(".")[0] if name.startswith(stem) else ""
        if number.isdigit() and int(number) < layers:
            parts[int(number)] += nbytes
    outside = sum(sizes.values()) - sum(parts)
    memory = [_free_bytes(device) for device in devices or [numbers.device]]
    indices = spread(parts, [free for free, _ in memory])
    for index, (free, whole) in enumerate(memory):
        needed = sum(size for size, at in zip(parts, indices, strict=True) if at == index)
        needed += outside if index == len(memory) - 1 else 0  # the head is on the last device
        if numbers.on_gpu and needed > free:
            raise DoesNotFit(path, str((devices or [numbers.device])[index]), needed, free, whole)
    return tuple(devices[index] for index in indices) if devices else ()


def _free_bytes(device: torch.device) -> tuple[int, int]:
    """Free and total bytes of a GPU's memory; unlimited for other devices."""
    return torch.cuda.mem_get_info(device) if device.type == "cuda" else (sys.maxsize, sys.maxsize)


def _gguf_text(header: Header, files: TokenizerFiles | None = None, loaded: Tokenizer | None = None) -> Text:
    # the tokenizer is built when text is first needed: comparing logits never needs it
    from llorch.formats.tokenizer import build_tokenizer, load_tokenizer

    try:
        files = files or build_tokenizer(header.metadata)
        tokenizer = load_tokenizer(files, loaded)
    except InputError as error:
        raise error.in_file(header.path) from error.__cause__
    never = header.metadata.integers("tokenizer.ggml.suppress_tokens", None)
    suppressed = () if never is None else tuple(never.tolist())
    return Text(
        tokenizer,
        tuple(files.eos_token_ids),
        files.chat_template,
        files.special_tokens_map,
        (*suppressed, *files.unused_ids),
        files.size,
    )


def _keep(numbers: Numbers, weights: int, dequantized_bytes: int) -> Numbers:
    return replace(numbers, keep=weights * numbers.dtype.itemsize <= dequantized_bytes)
