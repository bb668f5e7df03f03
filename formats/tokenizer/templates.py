"""Chat templates of a GGUF file: their texts, and a report on each without running it.

A template is an untrusted program. Here it is only copied and searched as text; `formats.chat_template.sandbox`
runs it, in a child process.
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
MOST = 50  # entries of a list in a report

_NAME = re.compile(r"[A-Za-z0-9_]{1,64}")  # it becomes a file's name; converters write no others
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
    """What a template refers to, found without running it.

    names: used but not defined in it, filters and tests included. urls, dunder_names: found in its text. findings: of a
    scan of the program, which also sees names put together from pieces. All lists are sorted and bounded.
    """

    characters: int
    names: list[str]
    urls: list[str]
    dunder_names: list[str]
    findings: list[Finding] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Templates:
    """The default template and the named ones, verbatim, with a report on each by its file's name."""

    default: str | None
    named: dict[str, str]
    reports: dict[str, TemplateReport] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def read_templates(metadata: Metadata) -> Templates:
    """Read the templates of a file; MalformedInput for a name unfit for a file, or a value that is not a string."""
    metadata.texts(NAMES, None)  # only its type is checked: the keys say which templates there are
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
        # Old files name one of llama.cpp's built-in templates here; as a template the name would be the whole prompt.
        warnings.append(f"{TEMPLATE} is {printable(default)}, which is no template: not written")
        default = None
    reports = {name: report(text, name) for name, text in files_of(default, named).items()}
    return Templates(default, named, reports, warnings)


def files_of(default: str | None, named: Mapping[str, str]) -> dict[str, str]:
    """Return the templates by their path in a folder."""
    files = {} if default is None else {DEFAULT_FILE: default}
    return {**files, **{f"additional_chat_templates/{name}.jinja": text for name, text in named.items()}}


def report(template: str, where: str = DEFAULT_FILE) -> TemplateReport:
    """Report what a template refers to, in bounded time. where: the file's name in the findings."""
    # Imports jinja2, which takes 60 ms and is not needed for a file without a template.
    from llorch.formats.scan import scan_template

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
    """Yield the code between {{ and }} and between {% and %}, without comments."""
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
