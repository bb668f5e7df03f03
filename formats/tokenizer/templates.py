"""Chat templates of a GGUF file: their texts, and what can be said of them without running them.

A template is a program by a stranger. Here it is copied and looked at as text only; `formats.chat_template.sandbox`
runs one, in a process of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from llorch.base.errors import MalformedInput
from llorch.base.printable import printable
from llorch.formats.gguf.metadata import Metadata
from llorch.formats.scan import Finding

TEMPLATE = "tokenizer.chat_template"
NAMES = "tokenizer.chat_templates"
DEFAULT_FILE = "chat_template.jinja"
MOST = 50  # of a kind in a report

_NAME = re.compile(r"[A-Za-z0-9_]{1,64}")  # it becomes a file's name; converters write no other
_STRING = re.compile(r"""'(?:[^'\\]|\\.)*(?:'|\Z)|"(?:[^"\\]|\\.)*(?:"|\Z)""", re.DOTALL)
_WORD = re.compile(r"(?<![\w.])[A-Za-z_]\w*")
_BOUND = re.compile(r"\b(?:set|macro|for)\s+([A-Za-z_]\w*(?:\s*,\s*[A-Za-z_]\w*)*)")
_URL = re.compile(r"\b(?:https?|ftp|file|data|wss?)://[^\s'\"<>{}\\]{1,200}")
_DUNDER = re.compile(r"(?<!\w)(?:_[A-Za-z]\w{0,60}?)?__[A-Za-z]\w{0,60}")  # also _Class__private
_KEYWORDS = frozenset(
    re.findall(
        r"\w+",
        """and as block break call continue do elif else endblock endcall endfilter endfor endgeneration endif
        endmacro endraw endset endwith extends false False filter for from generation if import in include is
        macro none None not or raw recursive set true True with without context loop""",
    )
)


@dataclass(frozen=True, slots=True)
class TemplateReport:
    """What a template reaches for, without running it.

    names: what it uses and does not define, filters and tests included. urls, dunder_names: in its text. findings: what
    a scan of its program objects to, which also sees what is put together. All lists are sorted and bounded.
    """

    characters: int
    names: list[str]
    urls: list[str]
    dunder_names: list[str]
    findings: list[Finding] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Templates:
    """The default template and the named ones, verbatim, with a report on each by the file that it becomes."""

    default: str | None
    named: dict[str, str]
    reports: dict[str, TemplateReport] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def read_templates(metadata: Metadata) -> Templates:
    """The templates of a file; MalformedInput for a name no file may have, or a value that is no text."""
    metadata.texts(NAMES, None)  # the keys themselves say which there are; the list may lack some
    default = metadata.text(TEMPLATE, None)
    named = {}
    for key in metadata:
        if key.startswith(f"{TEMPLATE}."):
            name = key[len(TEMPLATE) + 1 :]
            if not _NAME.fullmatch(name):
                raise MalformedInput("is no name for a template", where=f"key {printable(key)}")
            named[name] = metadata.text(key)
    warnings = []
    if default is not None and "{" not in default:
        # Old files name one of llama.cpp's own templates here; written out it would be every answer's text.
        warnings.append(f"{TEMPLATE} is {printable(default)}, which is no template: not written")
        default = None
    reports = {name: report(text, name) for name, text in files_of(default, named).items()}
    return Templates(default, named, reports, warnings)


def files_of(default: str | None, named: Mapping[str, str]) -> dict[str, str]:
    """The templates by the path of their files in a folder."""
    files = {} if default is None else {DEFAULT_FILE: default}
    return {**files, **{f"additional_chat_templates/{name}.jinja": text for name, text in named.items()}}


def report(template: str, where: str = DEFAULT_FILE) -> TemplateReport:
    """What a template reaches for, in bounded time whatever it holds. where: the file, as findings name it."""
    from llorch.formats.scan import (
        scan_template,  # jinja2: 60 ms that a file without a template does not need
    )

    used: set[str] = set()
    bound: set[str] = set()
    for code in _code(template):
        bare = _STRING.sub("''", code)
        used.update(_WORD.findall(bare))
        for names in _BOUND.findall(bare):
            bound.update(name.strip() for name in names.split(","))
    return TemplateReport(
        len(template),
        sorted(used - bound - _KEYWORDS)[:MOST],
        sorted(set(_URL.findall(template)))[:MOST],
        sorted(set(_DUNDER.findall(template)))[:MOST],
        scan_template(template, where),
    )


def _code(template: str) -> Iterator[str]:
    """What stands between {{ and }}, and between {% and %}; comments are passed over."""
    at = 0
    while (start := template.find("{", at)) >= 0 and start + 1 < len(template):
        closing = {"{": "}}", "%": "%}", "#": "#}"}.get(template[start + 1])
        if closing is None:
            at = start + 1
            continue
        end = template.find(closing, start + 2)
        if end < 0:
            return
        if closing != "#}":
            yield template[start + 2 : end]
        at = end + 2
