"""Selecting the files of one model in a repository, without files that would run code when loaded."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from llorch.base.printable import printable
from llorch.sources.errors import ChoiceNeeded
from llorch.sources.offer import RemoteFile

PART = re.compile(r"(?P<prefix>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL | re.IGNORECASE)
MOST_PARTS = 1000

# Suffixes that are never fetched, and why.
PICKLES = "a pickle is a program that runs when it is loaded"
OTHER_FRAMEWORK = "weights of another framework"
UNWANTED: Mapping[str, str] = {
    **dict.fromkeys((".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"), PICKLES),
    **dict.fromkeys(
        (".h5", ".msgpack", ".onnx", ".onnx_data", ".ot", ".tflite", ".mlmodel", ".npz"), OTHER_FRAMEWORK
    ),
}

# A quantization in a file's name, between separators. Source: llama.cpp, `llama_ftype` names.
QUANT = re.compile(
    r"(?:^|[-._/])((?:UD-)?(?:I?Q\d_[A-Z0-9_]+|TQ\d_\d|I?Q\d|MXFP4(?:_MOE)?|NVFP4|BF16|FP?16|FP?32))(?=[-._/]|$)",
    re.IGNORECASE,
)
PROJECTOR = "mmproj"  # prefix of the image part of a model, which isn't a model by itself
NAMED_AT_MOST = 12  # choices in one message


@dataclass(frozen=True, slots=True)
class FileFilter:
    """Which files to fetch. quant: such as Q4_K_M. include, exclude: glob patterns as for `hf download`."""

    quant: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


def select_files(
    files: Sequence[RemoteFile], wish: FileFilter, source: str, *, named: bool
) -> tuple[list[RemoteFile], list[tuple[str, str]]]:
    """Return the selected files, and (path, why not) of the others.

    named: the files were requested by name, so all are selected. Raises ChoiceNeeded for several models, or none.
    """
    if named:
        require_loadable(files, source)
        return list(files), []
    kept, left_out = list(files), []
    for reason, fits in _filters(wish, source):
        left_out += [(file.path, reason) for file in kept if not fits(file.path)]
        kept = [file for file in kept if fits(file.path)]
        if not kept:
            raise ChoiceNeeded(
                source, f"none of its {len(files)} files is left: {reason}", hint=_quants_of(files)
            )
    if wish.include:
        require_loadable(kept, source)
    else:
        unwanted = {file.path: why for file in kept if (why := _why_unwanted(file.path))}
        kept = [file for file in kept if file.path not in unwanted]
        left_out += sorted(unwanted.items())
        if unwanted and not any(is_weights(file.path) for file in kept):
            what = f"its weights are {', '.join(sorted({ending(path) for path in unwanted}))} files alone"
            raise ChoiceNeeded(
                source, what, hint=next(iter(unwanted.values())) + "; look for safetensors or GGUF"
            )
        kept, others = _one_model(kept, source, by_quant=wish.quant is not None)
        left_out += others
    return kept, left_out


def parts_of(path: str) -> list[str]:
    """Return the names of all parts of the split set that a name belongs to, in order; else the name alone."""
    found = PART.fullmatch(path)
    count = int(found["count"]) if found else 1
    if found is None or not 1 <= int(found["number"]) <= count <= MOST_PARTS:
        return [path]
    tail = path[-len(".gguf") :]
    return [f"{found['prefix']}-{number:05}-of-{count:05}{tail}" for number in range(1, count + 1)]


def models_of(files: Sequence[RemoteFile]) -> list[list[RemoteFile]]:
    """Return the GGUF models among files, each a file or a split set; projectors are not models."""
    models: dict[str, list[RemoteFile]] = {}
    for file in files:
        if file.path.lower().endswith(".gguf") and not file.name.lower().startswith(PROJECTOR):
            models.setdefault(parts_of(file.path)[0], []).append(file)
    return list(models.values())


def quant_of(path: str) -> str | None:
    """Return the quantization in a file's name, in upper case: Q4_K_M, F16; None if there is none."""
    found = QUANT.findall(re.sub(r"(-\d{5}-of-\d{5})?\.gguf$", "", path, flags=re.IGNORECASE))
    return _normal(found[-1]) if found else None


def require_loadable(files: Sequence[RemoteFile], source: str) -> None:
    """Raise ChoiceNeeded for requested files that are never fetched (pickles)."""
    for file in files:
        if ending(file.path) in UNWANTED and UNWANTED[ending(file.path)] is PICKLES:
            raise ChoiceNeeded(source, f"{printable(file.path)} is not fetched: {PICKLES}")


def is_weights(path: str) -> bool:
    """Return whether a file's name ends in .gguf or .safetensors."""
    return ending(path) in (".gguf", ".safetensors")


def ending(path: str) -> str:
    """Return a file name's suffix in lower case, with the dot; "" if it has none."""
    name = path.rpartition("/")[2]
    return f".{name.rpartition('.')[2].lower()}" if "." in name else ""


def matches(path: str, pattern: str) -> bool:
    """Match as `hf download` does: `*` also matches `/`, and a pattern that ends in `/` matches all files below."""
    return fnmatchcase(path, f"{pattern}*" if pattern.endswith("/") else pattern)


def _filters(wish: FileFilter, source: str) -> list[tuple[str, Callable[[str], bool]]]:
    """Return (reason for leaving a path out, predicate on a path) for each option of the filter."""
    filters: list[tuple[str, Callable[[str], bool]]] = []
    if wish.include:
        said = f"--include {' '.join(wish.include)}"
        filters.append((f"not in {said}", lambda path: any(matches(path, one) for one in wish.include)))
    if wish.exclude:
        said = f"--exclude {' '.join(wish.exclude)}"
        filters.append((f"in {said}", lambda path: not any(matches(path, one) for one in wish.exclude)))
    if wish.quant is not None:
        wanted = _normal(wish.quant)
        if not QUANT.fullmatch(wanted):
            raise ChoiceNeeded(source, f"{printable(wish.quant)} is no quantization, as Q4_K_M is")
        filters.append(
            (f"not {wanted}", lambda path: path.lower().endswith(".gguf") and quant_of(path) == wanted)
        )
    return filters


def _one_model(
    files: Sequence[RemoteFile], source: str, *, by_quant: bool
) -> tuple[list[RemoteFile], list[tuple[str, str]]]:
    """Return the files of the only model among `files`, and (path, why not). ChoiceNeeded for several models."""
    models = models_of(files)
    folder = any(ending(file.path) == ".safetensors" for file in files)
    if len(models) + folder > 1:
        names = ", ".join(
            printable(quant_of(m[0].path) or m[0].name, quoted=False) for m in models[:NAMED_AT_MOST]
        )
        more = f" and {len(models) - NAMED_AT_MOST} more" if len(models) > NAMED_AT_MOST else ""
        count = f"{len(models)} GGUF model{'s' if len(models) > 1 else ''}"
        what = f"it holds {count} ({names}{more})" + (" and safetensors" if folder else "")
        hint = (
            "name one, as REPO:FILE.gguf" if by_quant else "say which: --quant, REPO:FILE.gguf or --include"
        )
        raise ChoiceNeeded(source, what, hint=hint)
    if not models:
        return list(files), []
    projectors = [file for file in files if file.path.lower().endswith(".gguf") and file not in models[0]]
    kept = [file for file in files if file not in projectors]
    return kept, [(file.path, "the part of a model that sees, which is not converted") for file in projectors]


def _why_unwanted(path: str) -> str:
    return UNWANTED.get(ending(path), "")


def _quants_of(files: Sequence[RemoteFile]) -> str:
    """Return the quantizations among the files, as a hint; "" for none."""
    found = sorted({quant for model in models_of(files) if (quant := quant_of(model[0].path))})
    return f"there are {', '.join(found)}" if found else ""


def _normal(quant: str) -> str:
    """Return the quantization in its usual spelling: upper case, and F16 for FP16."""
    return re.sub(r"\bFP(?=16|32)", "F", quant.upper())
