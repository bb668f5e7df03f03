"""Scan of a GGUF header's texts: descriptions, names, special tokens, chat templates, licences."""

from __future__ import annotations

from collections.abc import Iterator

from llorch.formats.gguf import Metadata
from llorch.formats.scan.licences import licence_findings
from llorch.formats.scan.rules import Finding, distinct
from llorch.formats.scan.template import scan_template
from llorch.formats.scan.text import scan_characters, scan_text

TEMPLATE = "tokenizer.chat_template"
TOKENS, TYPES, CONTROL = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type", 3
MOST_TEXT = 1 << 16  # characters scanned of one text
PATTERNS = ("tokenizer.ggml.pre", "tokenizer.ggml.precompiled_charsmap")  # not meant to be read by people


def scan_metadata(metadata: Metadata, *, templates: bool = True) -> list[Finding]:
    """Scan a header before its model is converted or loaded.

    templates: whether to scan the chat templates, which `formats.tokenizer` reports on too.
    """
    return distinct(_scan(metadata, templates=templates))


def _scan(metadata: Metadata, *, templates: bool) -> Iterator[Finding]:
    for key, value in metadata.items():
        if not isinstance(value.data, str) or key in PATTERNS:
            continue
        if key == TEMPLATE or key.startswith(f"{TEMPLATE}."):
            if templates and "{" in value.data:
                yield from scan_template(value.data, key)
        else:
            yield from scan_text(value.data[:MOST_TEXT], f"key {key}", lines=False)
    yield from _special_tokens(metadata)
    facts = {
        "licence": ", ".join(metadata.descriptive_texts("general.license")),
        "licence_name": ", ".join(metadata.descriptive_texts("general.license.name")),
        "licence_link": ", ".join(metadata.descriptive_texts("general.license.link")),
    }
    bases = [
        value.data
        for key, value in metadata.items()
        if key.startswith("general.base_model.") and isinstance(value.data, str)
    ]
    bases += [*metadata.descriptive_texts("general.name"), *metadata.descriptive_texts("general.basename")]
    yield from licence_findings("key general.license", facts["licence"], bases, [*facts.values()][1:])


def _special_tokens(metadata: Metadata) -> Iterator[Finding]:
    """Scan control tokens, the texts that separate turns."""
    tokens, types = metadata.texts(TOKENS, None), metadata.integers(TYPES, None)
    if tokens is None or types is None:
        return
    for index in (types[: len(tokens)] == CONTROL).nonzero()[0]:
        token = tokens.raw(int(index)).decode("utf-8", "replace")
        yield from scan_characters(token[:256], f"token {index}", lines=False)
