"""What lies in a folder beside the weights: code, pickles, a tokenizer or settings that change what is said.

Nothing is imported, unpickled or rendered; files are read as text and JSON, up to a size.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from llorch.base.errors import InputError
from llorch.base.shown import shown
from llorch.formats.gguf import read_header
from llorch.formats.scan.licences import licence_findings
from llorch.formats.scan.metadata import TEMPLATE, scan_metadata
from llorch.formats.scan.rules import Finding, distinct
from llorch.formats.scan.template import scan_template
from llorch.formats.scan.text import scan_characters, scan_text

MOST_JSON = 64 << 20  # bytes of one file; the largest tokenizer.json has some 35 MB
MOST_TEXT = 1 << 20
MOST_FILES = 10_000
PICKLES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".dill", ".npy", ".npz"})
ARRAYS = frozenset({".npy", ".npz"})  # pickles only if their header says so
PROGRAMS = frozenset(
    {".so", ".dll", ".dylib", ".exe", ".sh", ".bat", ".cmd", ".ps1", ".pyd", ".pyc", ".pyz", ".whl", ".jar"}
)
PICKLE_START = re.compile(rb"\x80[\x02-\x05]|\(?[cC](?:os|posix|builtins|__builtin__|subprocess)\n")
BINARIES = (b"\x7fELF", b"MZ", b"\xcf\xfa\xed\xfe", b"\xfe\xed\xfa", b"#!")
TEXTS = frozenset({".md", ".txt", ".json", ".jinja", ".yaml", ".yml", ""})

SUPPRESSING = ("suppress_tokens", "begin_suppress_tokens", "bad_words_ids")
FORCING = (
    "forced_decoder_ids", "forced_bos_token_id", "forced_eos_token_id", "force_words_ids", "sequence_bias",
    "constraints",
)  # fmt: skip


def scan_folder(folder: Path) -> list[Finding]:
    """All that is to be told of a folder, or of one file, before anything loads it. OSError for what cannot be read."""
    return scan_files([(folder, folder.name)] if folder.is_file() else _files(folder))


def scan_files(files: Iterable[tuple[Path, str]]) -> list[Finding]:
    """All that is to be told of a model's files, wherever they lie, each with the name that it goes by."""
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
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in (".git", ".cache"))
        for name in sorted(names):
            path = Path(parent) / name
            yield path, path.relative_to(folder).as_posix()


def _file(path: Path, relative: str) -> Iterator[Finding]:
    """One file, by its name and its first bytes, then by what it says."""
    yield from scan_characters(relative.encode("utf-8", "replace").decode(), relative, lines=False)
    if not path.is_file():
        return
    suffix = path.suffix.lower()
    with path.open("rb") as stream:
        start = stream.read(64)
    if suffix in (".py", ".pyw", ".pyi", ".ipynb"):
        yield Finding("python-file", relative, None, f"{path.stat().st_size} bytes")
    elif suffix in PROGRAMS or start.startswith(BINARIES):
        yield Finding("executable-file", relative, None, suffix or "a program by its first bytes")
    elif _is_pickle(suffix, path, start):
        yield Finding("pickle", relative, None, suffix or "a pickle by its first bytes")
    elif suffix == ".gguf" and start[:4] in (b"GGUF", b"FUGG"):
        yield from _gguf(path, relative)
    elif suffix in TEXTS:
        yield from _text(path, relative, suffix)


def _is_pickle(suffix: str, path: Path, start: bytes) -> bool:
    if suffix in ARRAYS:
        with path.open("rb") as stream:
            return b"'|O'" in stream.read(4096) or b"'O'" in start
    if PICKLE_START.match(start):
        return True
    return suffix in PICKLES and not start.startswith(b"GGUF")


def _gguf(path: Path, relative: str) -> Iterator[Finding]:
    try:
        header = read_header(path)
    except InputError as error:
        yield Finding("unreadable-file", relative, None, shown(str(error), 200, quoted=False))
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
            yield Finding("unreadable-file", relative, None, shown(f"no JSON: {error}", 120, quoted=False))
            return
        if isinstance(document, dict):
            yield from _json(document, path.name, relative)
    elif suffix in (".md", ".txt") or path.name.upper().startswith(("LICEN", "NOTICE", "README")):
        text = path.read_bytes()[:MOST_TEXT].decode("utf-8", "replace")
        yield from scan_text(text, relative)
        if path.name == "README.md":
            yield from _card(text, relative)


def _json(document: Mapping[str, Any], name: str, relative: str) -> Iterator[Finding]:
    if document.get("auto_map"):
        yield Finding(
            "remote-code", relative, None, shown(json.dumps(document["auto_map"]), 120, quoted=False)
        )
    if name == "tokenizer.json":
        yield from _tokenizer(document, relative)
    elif name == "tokenizer_config.json":
        yield from _tokenizer_config(document, relative)
    if name in ("generation_config.json", "config.json"):
        yield from _generation(document, relative)


def _tokenizer(document: Mapping[str, Any], relative: str) -> Iterator[Finding]:
    """Normalizers and decoders that replace words, special tokens that are not what they seem."""
    for part, rule in (("normalizer", "rewriting-normalizer"), ("pre_tokenizer", "rewriting-normalizer"),
                       ("decoder", "rewriting-decoder")):  # fmt: skip
        for step in _steps(document.get(part)):
            if step.get("type") == "Replace" and not _is_space_handling(step):
                pattern = step.get("pattern")
                sought = next(iter(pattern.values()), "") if isinstance(pattern, dict) else pattern
                what = f"{part} writes {shown(str(step.get('content')), 40)} for {shown(str(sought), 60)}"
                yield Finding(rule, relative, None, what)
    for token in document.get("added_tokens") or ():
        if isinstance(token, dict) and token.get("special") and isinstance(token.get("content"), str):
            yield from scan_characters(
                token["content"][:256], f"{relative}: token {token.get('id')}", lines=False
            )


def _steps(part: object) -> Iterator[Mapping[str, Any]]:
    """A normalizer's steps, however they are nested."""
    left, seen = [part], 0
    while left and seen < 1000:
        seen += 1
        one = left.pop()
        if isinstance(one, dict):
            yield one
            for name in ("normalizers", "pretokenizers", "decoders"):
                left += one[name] if isinstance(one.get(name), list) else []


def _is_space_handling(step: Mapping[str, Any]) -> bool:
    """Whether a Replace only turns one kind of blank, mark or quote into another, as published tokenizers do."""
    pattern, content = step.get("pattern"), step.get("content")
    sought = next(iter(pattern.values()), "") if isinstance(pattern, dict) else pattern
    if not isinstance(sought, str) or not isinstance(content, str):
        return False
    letters = [
        one for one in re.sub(r"\\[a-zA-Z]|\{\d+,?\d*\}|\\p\{\w+\}", "", sought) + content if one.isalnum()
    ]
    return not letters and len(content) <= 4 and ".*" not in sought and ".+" not in sought


def _tokenizer_config(document: Mapping[str, Any], relative: str) -> Iterator[Finding]:
    for name, text in templates_of_config(document).items():
        yield from scan_template(text, f"{relative}: {name}")
    for key, value in document.items():
        content = value.get("content") if isinstance(value, dict) else value
        if key.endswith("_token") and isinstance(content, str):
            yield from scan_characters(content[:256], f"{relative}: {key}", lines=False)


def templates_of_config(document: Mapping[str, Any]) -> dict[str, str]:
    """The chat templates of a tokenizer_config.json by name, in both forms that it has had."""
    found = document.get("chat_template")
    if isinstance(found, str):
        return {"chat_template": found}
    return {
        f"chat_template {one.get('name')}": one["template"]
        for one in found or ()
        if isinstance(one, dict) and isinstance(one.get("template"), str)
    }


def _templates(path: Path, name: str) -> dict[str, str]:
    """The default template of a file, by the file's name, for comparing."""
    if name.endswith(".gguf"):
        try:
            inside = read_header(path).metadata.text(TEMPLATE, "")
        except InputError:  # which was said
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


def _generation(document: Mapping[str, Any], relative: str) -> Iterator[Finding]:
    """Settings that decide what is said, whoever asks."""
    for key in SUPPRESSING:
        if document.get(key):
            yield Finding(
                "suppressed-end",
                relative,
                None,
                f"{key}: {shown(json.dumps(document[key]), 80, quoted=False)}",
            )
    for key in FORCING:
        if document.get(key) is not None and document[key] != []:
            yield Finding(
                "forced-tokens",
                relative,
                None,
                f"{key}: {shown(json.dumps(document[key]), 80, quoted=False)}",
            )
    smallest = document.get("min_new_tokens") or document.get("min_length")
    if isinstance(smallest, int | float) and smallest > 256:
        yield Finding("suppressed-end", relative, None, f"at least {smallest} tokens in every answer")
    if (
        relative.endswith("generation_config.json")
        and "eos_token_id" in document
        and document["eos_token_id"] in (-1, [])
    ):
        yield Finding("suppressed-end", relative, None, "eos_token_id names no token")


def _card(text: str, relative: str) -> Iterator[Finding]:
    """The licence and the base model in a card's first block."""
    block = re.match(r"---\s*\n(.*?)\n---", text, re.DOTALL)
    if block is None:
        return
    fields: dict[str, list[str]] = {}
    key = ""
    for line in block[1].splitlines():
        if found := re.match(r"([A-Za-z_]+):\s*(.*)$", line):
            key, value = found[1], found[2]
            fields[key] = [value.strip("'\" ")] if value.strip() else []
        elif key and (item := re.match(r"\s*-\s+(.+)$", line)):
            fields[key].append(item[1].strip("'\" "))
    details = [*fields.get("license_name", []), *fields.get("license_link", [])]
    yield from licence_findings(
        relative, next(iter(fields.get("license", [])), ""), fields.get("base_model", []), details
    )
