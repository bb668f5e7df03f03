"""Which kind of file or folder a path is: a GGUF model, or something that was given instead of one.

`model_path` is called before a model is read, so that the error for another kind of file names that kind and what to
do, rather than the first field that a GGUF reader misses in it.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Sequence
from pathlib import Path

from llorch.base.errors import InputError, UnsupportedInput
from llorch.base.printable import printable
from llorch.formats.gguf.file import read_texts
from llorch.formats.model_file import open_model_file, read_exactly
from llorch.formats.safetensors import INDEX, SINGLE

GGUF = b"GGUF"
HEAD_BYTES = 4096
CONFIG, ADAPTER_CONFIG = "config.json", "adapter_config.json"
CONVERT = "convert a .gguf file"

# First bytes of files that are not GGUF, what they are, and what to do. Sources: the Git LFS specification v1; PKWARE's
# APPNOTE; Python's pickle protocol 2 to 5; llama.cpp before GGUF (ggml, ggmf, ggjt, ggla; little-endian words);
# RFC 1952; the XZ, Zstandard and 7z formats; PDF; HDF5, which Keras uses; NumPy's .npy.
BEGINNINGS: Sequence[tuple[bytes, str, str]] = (
    (
        b"version https://git-lfs.github.com/spec/",
        "is a Git LFS pointer, not the file that it stands for",
        "git lfs pull",
    ),
    (b"PK\x03\x04", "is a zip archive, as PyTorch writes its pickles, and no GGUF file", CONVERT),
    (b"\x80\x02", "is a pickle, as PyTorch writes, and no GGUF file", CONVERT),
    (b"\x80\x03", "is a pickle and no GGUF file", CONVERT),
    (b"\x80\x04", "is a pickle and no GGUF file", CONVERT),
    (b"\x80\x05", "is a pickle and no GGUF file", CONVERT),
    *(
        (
            magic,
            f"is a model of an old ggml format (magic {name}), from before GGUF",
            "fetch the model as .gguf: it was published anew",
        )
        for magic, name in ((b"lmgg", "ggml"), (b"fmgg", "ggmf"), (b"tjgg", "ggjt"), (b"algg", "ggla"))
    ),
    (b"\x1f\x8b", "is compressed by gzip", "unpack it first"),
    (b"\xfd7zXZ\x00", "is compressed by xz", "unpack it first"),
    (b"\x28\xb5\x2f\xfd", "is compressed by zstd", "unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "is a 7z archive", "unpack it first"),
    (b"%PDF-", "is a PDF document and no model", CONVERT),
    (b"\x89HDF\r\n", "is an HDF5 file, as Keras writes, and no GGUF file", CONVERT),
    (b"\x93NUMPY", "is an array of NumPy and no GGUF file", CONVERT),
)
HTML = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html|head|body|\?xml)", re.IGNORECASE)
# ModelProto: ir_version (field 1, a small number), then producer_name (2), producer_version (3) or graph (7).
ONNX = re.compile(rb"\x08[\x01-\x20](?:\x12[\x00-\x40][ -~]*|\x1a|:)", re.DOTALL)
SAFETENSORS = re.compile(rb".{4}\x00{4}\{\s*[\"}]", re.DOTALL)
# llama-imatrix's format before GGUF: a count, then the length of a tensor's name and the name.
IMATRIX = re.compile(rb".{4}.\x00{3}(?:blk\.|output|token_embd)", re.DOTALL)

# general.type of GGUF files that are not language models → what they are; without it, general.architecture says.
NO_LANGUAGE_MODEL = {
    "mmproj": "a projector of images or sound",
    "imatrix": "an importance matrix, which quantization was guided by",
    "adapter": "a LoRA adapter",
}
OF_ARCHITECTURE = {"clip": "mmproj", "mmproj": "mmproj", "imatrix": "imatrix"}

URL = re.compile(r"(?:https?|hf)://?\S+", re.IGNORECASE)  # a Path has one slash where a URL had two
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(?:@[\w./-]+)?(?::\S+)?", re.ASCII)
PART = re.compile(r"(?P<prefix>.*)-(?P<number>\d{5})-of-\d{5}\.gguf", re.IGNORECASE | re.DOTALL)
NAMES_SHOWN = 8


def model_path(path: str | os.PathLike[str], *, folders: bool = False) -> Path:
    """Return the GGUF file that `path` means: itself, or for a folder with one model that model's file.

    folders: also accept a folder of safetensors with a config.json, and return the folder.

    Raises UnsupportedInput, which names the kind, for what is not a language model in GGUF; InputError for a folder
    with no model or with several, which it lists, and for a GGUF header that cannot be read; FileNotFoundError, with
    the command that fetches it if `path` looks like `owner/repo` or a URL; OSError.

    >>> model_path("folder-with-one")
    PosixPath('folder-with-one/model.Q4_K_M.gguf')
    """
    file = Path(path)
    if not file.exists() and (fetched := _to_fetch(os.fspath(path))):
        raise FileNotFoundError(
            errno.ENOENT, f"is no file or folder here: llorch-fetch {fetched} gets it", fetched
        )
    if file.is_dir():
        return _in_folder(file, folders=folders)
    _require_model(file)
    return file


def _to_fetch(text: str) -> str:
    """Return `text` as llorch-fetch takes it if it is an owner/repo or a URL, else ""."""
    if URL.fullmatch(text):
        return re.sub(r"^(\w+):/+", r"\1://", text)
    repository = text.partition(":")[0]
    is_repository = REPOSITORY.fullmatch(text) and not repository.lower().endswith(".gguf")
    return text if is_repository and not Path(text).parent.exists() else ""


def _in_folder(folder: Path, *, folders: bool) -> Path:
    """Return the model's path in a folder, or the folder itself; see `model_path`."""
    names = {entry.name for entry in folder.iterdir() if entry.is_file()}
    converted = bool(names & {SINGLE, INDEX}) and CONFIG in names
    if converted and folders:
        return folder
    models = [
        name for name in sorted(names) if name.lower().endswith(".gguf") and _is_first_part(folder / name)
    ]
    models = [name for name in models if not _is_accessory(folder / name)] if len(models) > 1 else models
    if len(models) == 1:
        _require_model(folder / models[0])
        return folder / models[0]
    if models:
        more = f" and {len(models) - NAMES_SHOWN} more" if len(models) > NAMES_SHOWN else ""
        listed = ", ".join(printable(name, 100, quoted=False) for name in models[:NAMES_SHOWN])
        raise InputError(
            f"holds several GGUF models: {listed}{more}", path=folder, hint="name one of the files"
        )
    if converted:
        raise UnsupportedInput(
            "is a folder of safetensors: it is converted already",
            path=folder,
            hint="llorch-run runs it and llorch-verify checks it",
        )
    if folders and CONFIG in names:
        return folder  # the reader of the folder says which weights are missing
    raise UnsupportedInput(
        _folder_kind(folder, names), path=folder, hint="give a .gguf file or a folder with one"
    )


def _is_first_part(file: Path) -> bool:
    """Return whether the file begins a model: an unsplit GGUF file, or the first part of a split one."""
    part = PART.fullmatch(file.name)
    return part is None or int(part["number"]) == 1


def _is_accessory(file: Path) -> bool:
    """Return whether a GGUF file says that it is not a language model."""
    try:
        _require_model(file)
    except UnsupportedInput:
        return True
    except InputError:
        return False
    return False


def _folder_kind(folder: Path, names: set[str]) -> str:
    """Return what a folder without a model is, as a phrase."""
    if ADAPTER_CONFIG in names:
        return "is a LoRA adapter (PEFT) and no model of its own"
    if (folder / "manifests").is_dir() and (folder / "blobs").is_dir():
        return "is a store of Ollama: `llorch-fetch --adopt` finds its models"
    if any(name.endswith(".safetensors") for name in names):
        return f"holds safetensors without {CONFIG} or their index"
    if any(name.endswith((".bin", ".pt", ".pth", ".ckpt")) for name in names):
        return "holds pickles of PyTorch and no GGUF file"
    if any(name.endswith(".onnx") for name in names):
        return "holds an ONNX model and no GGUF file"
    return "is a folder without a GGUF file" if names else "is a folder without a file"


def _require_model(file: Path) -> None:
    """Raise UnsupportedInput if the file is of a known kind other than a language model in GGUF."""
    with open_model_file(file) as fd:
        view = memoryview(bytearray(HEAD_BYTES))
        head = bytes(view[: read_exactly(fd, view, 0)])
    if head.startswith(GGUF):
        _require_language_model(file)
        return
    for beginning, what, hint in BEGINNINGS:
        if head.startswith(beginning):
            raise UnsupportedInput(what, path=file, hint=hint)
    if HTML.match(head):
        raise UnsupportedInput(
            "is a page of HTML, as servers send for a file that is not there or asks for a login",
            path=file,
            hint="llorch-fetch says why",
        )
    if SAFETENSORS.match(head):
        raise UnsupportedInput(
            "is a safetensors file: it is converted already",
            path=file,
            hint="llorch-run runs the folder that it is in, with its config.json",
        )
    if IMATRIX.match(head):
        raise UnsupportedInput(f"is {NO_LANGUAGE_MODEL['imatrix']}, and no model", path=file, hint=CONVERT)
    if ONNX.match(head):
        raise UnsupportedInput("is an ONNX model and no GGUF file", path=file, hint=CONVERT)


def _require_language_model(file: Path) -> None:
    """Raise UnsupportedInput for a GGUF file that is a projector, an importance matrix or an adapter."""
    try:
        texts = read_texts(file, ("general.type", "general.architecture"))
    except InputError:
        return  # malformed: the reader of the model says so
    kind, architecture = texts.get("general.type", ""), texts.get("general.architecture", "")
    what = NO_LANGUAGE_MODEL.get(kind) or NO_LANGUAGE_MODEL.get(OF_ARCHITECTURE.get(architecture, ""))
    if what is None:
        return
    key_text = (
        f"general.type is {kind}" if kind in NO_LANGUAGE_MODEL else f"general.architecture is {architecture}"
    )
    hint = "merge it into the model that it is for" if kind == "adapter" else "give the model that it is for"
    raise UnsupportedInput(f"{key_text}: {what}, not a language model", path=file, hint=hint)
