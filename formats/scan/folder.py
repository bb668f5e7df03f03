"""Scan of a model's folder: code, pickles, programs, and tokenizers or settings that change the output.

Nothing is imported, unpickled or rendered; files are read as text and JSON, up to a size.
"""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from llorch.base.errors import InputError
from llorch.base.folder_walk import walk
from llorch.base.printable import printable
from llorch.formats.gguf import read_header
from llorch.formats.scan.metadata import TEMPLATE, scan_metadata
from llorch.formats.scan.rules import Finding, distinct
from llorch.formats.scan.settings import scan_card, scan_settings
from llorch.formats.scan.template import scan_template
from llorch.formats.scan.text import scan_characters, scan_text

MOST_JSON = 64 << 20  # bytes of one file; the largest tokenizer.json has some 35 MB
MOST_TEXT = 1 << 20
MOST_FILES = 10_000
PICKLES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".dill", ".npy", ".npz"})
ARRAYS = frozenset({".npy", ".npz"})  # contain pickles only if their header has the dtype O
PROGRAMS = frozenset(
    """.so .dll .dylib .exe .sh .bash .zsh .bat .cmd .ps1 .pyd .pyc .pyo .pyz .whl .egg .jar .js .mjs .cjs .vbs .wsf
    .hta .msi .scr .com .lnk .desktop .command .scpt .appimage .wasm .reg .rb .pl .php .lua""".split()  # noqa: SIM905
)
NUMBERED = re.compile(r"\.so(?:\.\d+)+$")  # libx.so.1
# Pickles of protocols 2 and later by their first opcode; of 0 and 1 by the beginning of a list, a dict or a global.
PICKLE_START = re.compile(
    rb"\x80[\x02-\x05]|\([dl]p\d+\n|[\]})]q[\x00-\xff]|\(?c(?:[A-Za-z_][\w.]*)\n[A-Za-z_][\w.]*\n"
)
# Keras lambdas, TensorFlow graphs, NeMo archives and R objects can run code when they are loaded.
CODE_FORMATS = frozenset({".keras", ".h5", ".hdf5", ".pb", ".nemo", ".rds", ".rda"})
ARCHIVES = frozenset({".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar"})
ARCHIVE_STARTS = (b"PK\x03\x04", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!")
BINARIES = (b"\x7fELF", b"MZ", b"\xcf\xfa\xed\xfe", b"\xfe\xed\xfa", b"#!", b"\0asm")
PROSE = frozenset({".md", ".txt", ".html", ".htm", ".svg"})
TEXTS = PROSE | {".json", ".jinja", ".yaml", ".yml", ""}


def scan_folder(folder: Path) -> list[Finding]:
    """Scan a folder, or one file, before anything loads it. OSError for what cannot be read."""
    return scan_files([(folder, folder.name)] if folder.is_file() else _files(folder))


def scan_files(files: Iterable[tuple[Path, str]]) -> list[Finding]:
    """Scan a model's files, wherever they are; each path comes with the name to report it by."""
    return distinct(_scan(files))


def _scan(files: Iterable[tuple[Path, str]]) -> Iterator[Finding]:
    templates: dict[str, str] = {}
    for number, (path, relative) in enumerate(files):
        if number >= MOST_FILES:
            yield Finding(
                "unreadable-file",
                relative,
                None,
                f"more than {MOST_FILES} files: the others were not looked at",
            )
            return
        yield from _file(path, relative)
        if "/" not in relative:
            templates |= _templates(path, relative)
    first = next(iter(templates.values()), None)
    for name, text in templates.items():
        if text.strip() != str(first).strip():
            what = f"is not the template of {next(iter(templates))}"
            yield Finding("template-differs", name, None, what)


def _files(folder: Path) -> Iterator[tuple[Path, str]]:
    for parent, folders, names in walk(folder):
        folders[:] = sorted(name for name in folders if name not in (".git", ".cache"))
        links = [name for name in folders if (Path(parent) / name).is_symlink()]
        for name in sorted([*names, *links]):
            path = Path(parent) / name
            yield path, path.relative_to(folder).as_posix()


def _file(path: Path, relative: str) -> Iterator[Finding]:
    """Scan one file by its name and first bytes, then its content."""
    yield from scan_characters(relative.encode("utf-8", "replace").decode(), relative, lines=False)
    if path.is_symlink() and path.readlink().is_absolute():
        yield Finding(
            "outside-path", relative, None, "a link to " + printable(os.fspath(path.readlink()), 100)
        )
    if not path.is_file():
        return
    suffix = path.suffix.lower()
    with path.open("rb") as stream:
        start = stream.read(64)
    if suffix in (".py", ".pyw", ".pyi", ".ipynb"):
        yield Finding("python-file", relative, None, f"{path.stat().st_size} bytes")
    elif suffix in PROGRAMS or NUMBERED.search(path.name.lower()) or start.startswith(BINARIES):
        yield Finding("executable-file", relative, None, suffix or "a program by its first bytes")
    elif _is_pickle(suffix, path, start):
        yield Finding("pickle", relative, None, suffix or "a pickle by its first bytes")
    elif suffix in CODE_FORMATS:
        yield Finding("code-format", relative, None, suffix)
    elif suffix in ARCHIVES or start.startswith(ARCHIVE_STARTS):
        yield Finding("archive", relative, None, suffix or "an archive by its first bytes")
    elif suffix == ".gguf" and start[:4] in (b"GGUF", b"FUGG"):
        yield from _gguf(path, relative)
    elif suffix in TEXTS:
        yield from _text(path, relative, suffix)


def _is_pickle(suffix: str, path: Path, start: bytes) -> bool:
    if suffix in ARRAYS:
        with path.open("rb") as stream:
            return b"'|O'" in stream.read(4096) or b"'O'" in start
    if PICKLE_START.match(start) or (start.startswith(b"PK") and _holds_pickle(path)):
        return True
    return suffix in PICKLES and not start.startswith(b"GGUF")


def _holds_pickle(path: Path) -> bool:
    """Return whether a zip file contains a pickle, as torch's files do, whatever the file is called."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith((".pkl", ".pickle")) for name in archive.namelist()[:MOST_FILES])
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False


def _gguf(path: Path, relative: str) -> Iterator[Finding]:
    try:
        header = read_header(path)
    except InputError as error:
        # Without the file's name, which the finding has already.
        what = str(error).removeprefix(f"{printable(path, 200, quoted=False)}: ")
        yield Finding("unreadable-file", relative, None, printable(what, 200, quoted=False))
        return
    for one in scan_metadata(header.metadata):
        yield Finding(one.rule, f"{relative}: {one.where}", one.line, one.what)


def _text(path: Path, relative: str, suffix: str) -> Iterator[Finding]:
    size = path.stat().st_size
    if suffix == ".jinja":
        yield from scan_template(path.read_bytes()[:MOST_TEXT].decode("utf-8", "replace"), relative)
    elif suffix == ".json":
        if size > MOST_JSON:
            yield Finding("unreadable-file", relative, None, f"has {size} bytes, at most {MOST_JSON}")
            return
        try:
            document = json.loads(path.read_bytes())
        except (ValueError, RecursionError) as error:
            yield Finding(
                "unreadable-file", relative, None, printable(f"no JSON: {error}", 120, quoted=False)
            )
            return
        yield from scan_settings(document, relative)
    elif suffix in PROSE or path.name.upper().startswith(("LICEN", "NOTICE", "README")):
        text = path.read_bytes()[:MOST_TEXT].decode("utf-8", "replace")
        yield from scan_text(text, relative)
        if path.name == "README.md":
            yield from scan_card(text, relative)


def _templates(path: Path, name: str) -> dict[str, str]:
    """Return a file's default template by the file's name, for comparison with other files'."""
    if name.endswith(".gguf"):
        try:
            inside = read_header(path).metadata.text(TEMPLATE, "")
        except InputError:  # already reported by the scan of the file
            return {}
        return {name: inside} if "{" in inside else {}
    if name == "chat_template.jinja":
        return {name: path.read_bytes()[:MOST_TEXT].decode("utf-8", "replace")}
    if name in ("tokenizer_config.json", "chat_template.json") and path.stat().st_size <= MOST_JSON:
        try:
            document = json.loads(path.read_bytes())
        except (ValueError, RecursionError):
            return {}
        found = document.get("chat_template") if isinstance(document, dict) else None
        return {name: found} if isinstance(found, str) else {}
    return {}
