"""Scan of a model's JSON files and card: code to load, words that a tokenizer replaces, tokens that are forced."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from llorch.base.printable import printable
from llorch.formats.scan.licences import licence_findings
from llorch.formats.scan.rules import Finding
from llorch.formats.scan.template import scan_template
from llorch.formats.scan.text import scan_characters

SUPPRESSING = ("suppress_tokens", "begin_suppress_tokens", "bad_words_ids")
FORCING = (
    "forced_decoder_ids", "forced_bos_token_id", "forced_eos_token_id", "force_words_ids", "sequence_bias",
    "constraints",
)  # fmt: skip
# Keys, at any depth, that make a library load Python: transformers, diffusers, peft.
CODE_KEYS = ("auto_map", "custom_pipelines", "custom_generate", "trust_remote_code")
OUR_LIBRARIES = ("transformers", "peft", "diffusers", "sentence_transformers", "torch.")
MOST_NODES = 100_000  # nodes of a document that are searched for such keys
NAMES_OF_TOKENS = ("tokenizer_config.json", "special_tokens_map.json")


def scan_settings(document: Any, relative: str) -> Iterator[Finding]:
    """Scan a JSON file of a model. relative: its path in the folder."""
    name = PurePosixPath(relative).name
    yield from _code(document, name, relative)
    if not isinstance(document, dict):
        return
    for title, text in templates_of_config(document).items():
        yield from scan_template(text, f"{relative}: {title}")
    if name == "tokenizer.json":
        yield from _tokenizer(document, relative)
    elif name in NAMES_OF_TOKENS:
        yield from _names_of_tokens(document, relative)
    elif name.endswith(".index.json"):
        yield from _index(document, relative)
    if name in ("generation_config.json", "config.json"):
        yield from _generation(document, relative)


def _code(document: Any, name: str, relative: str) -> Iterator[Finding]:
    """Find Python code that a document names, at any depth."""
    left, seen = [document], 0
    while left and seen < MOST_NODES and name != "tokenizer.json":
        seen += 1
        one = left.pop()
        if isinstance(one, list):
            left += one
        if not isinstance(one, dict):
            continue
        left += one.values()
        for key in CODE_KEYS:
            if one.get(key):
                what = printable(json.dumps({key: one[key]}), 120, quoted=False)
                yield Finding("remote-code", relative, None, what)
        classes = [one.get("parent_library"), one.get("type") if name == "modules.json" else None]
        for named in classes:
            if isinstance(named, str) and "." in f"{named}." and not named.startswith(OUR_LIBRARIES):
                yield Finding("remote-code", relative, None, printable(named, 120))


def _index(document: Mapping[str, Any], relative: str) -> Iterator[Finding]:
    """Find weights that an index places outside the folder."""
    weights = document.get("weight_map")
    files = set(map(str, weights.values())) if isinstance(weights, dict) else set()
    for file in sorted(files):
        if file.startswith("/") or ".." in PurePosixPath(file).parts:
            yield Finding("outside-path", relative, None, printable(file, 120))


def _tokenizer(document: Mapping[str, Any], relative: str) -> Iterator[Finding]:
    """Find normalizers and decoders that replace words, and special tokens with deceptive texts."""
    for part, rule in (("normalizer", "rewriting-normalizer"), ("pre_tokenizer", "rewriting-normalizer"),
                       ("decoder", "rewriting-decoder")):  # fmt: skip
        for step in _steps(document.get(part)):
            if what := _describe_rewriting(step):
                yield Finding(rule, relative, None, f"{part} {what}")
    for step in _steps(document.get("post_processor")):
        added = step.get("special_tokens")
        for token in added.values() if isinstance(added, dict) else ():
            ids = token.get("ids") if isinstance(token, dict) else None
            if isinstance(ids, list) and len(ids) > 1:
                what = f"post_processor adds {len(ids)} tokens to every text"
                yield Finding("rewriting-normalizer", relative, None, what)
    for token in document.get("added_tokens") or ():
        if isinstance(token, dict) and token.get("special") and isinstance(token.get("content"), str):
            yield from scan_characters(
                token["content"][:256], f"{relative}: token {token.get('id')}", lines=False
            )


def _steps(part: object) -> Iterator[Mapping[str, Any]]:
    """Yield a normalizer's steps, however they are nested."""
    left, seen = [part], 0
    while left and seen < 1000:
        seen += 1
        one = left.pop()
        if isinstance(one, dict):
            yield one
            for name in ("normalizers", "pretokenizers", "decoders", "processors"):
                left += one[name] if isinstance(one.get(name), list) else []


def _describe_rewriting(step: Mapping[str, Any]) -> str | None:
    """Describe what a step does to words; None if it leaves them."""
    pattern = step.get("pattern")
    sought = str(next(iter(pattern.values()), "") if isinstance(pattern, dict) else pattern)
    kind = step.get("type")
    if kind == "Replace" and not _is_space_handling(sought, step.get("content")):
        return f"writes {printable(str(step.get('content')), 40)} for {printable(sought, 60)}"
    if kind == "Split" and step.get("behavior") == "Removed" and _letters(sought):
        return f"takes out {printable(sought, 60)}"
    if kind == "Prepend" and _letters(str(step.get("prepend"))):
        return f"puts {printable(str(step.get('prepend')), 40)} before every text"
    if kind == "Strip" and _letters(str(step.get("content", ""))):
        return f"strips {printable(str(step.get('content')), 40)}"
    return None


def _letters(pattern: str) -> str:
    """Return the letters and digits that a pattern matches literally, without classes and counts."""
    bare = re.sub(r"\\[a-zA-Z]|\{\d+,?\d*\}|\\p\{\w+\}", "", pattern)
    return "".join(filter(str.isalnum, bare))


def _is_space_handling(sought: str, content: object) -> bool:
    """Return whether a Replace only maps blanks, marks or quotes to each other, as published tokenizers do."""
    if not isinstance(content, str) or _letters(sought) or any(map(str.isalnum, content)):
        return False
    return len(content) <= 4 and ".*" not in sought and ".+" not in sought


def _names_of_tokens(document: Mapping[str, Any], relative: str) -> Iterator[Finding]:
    """Scan the texts of special tokens that a file names."""
    named = {key: value for key, value in document.items() if key.endswith("_token")}
    more = document.get("additional_special_tokens")
    named |= {
        f"additional_special_tokens {at}": one
        for at, one in enumerate(more if isinstance(more, list) else ())
    }
    decoder = document.get("added_tokens_decoder")
    named |= {f"token {id_}": one for id_, one in (decoder if isinstance(decoder, dict) else {}).items()}
    for key, value in named.items():
        content = value.get("content") if isinstance(value, dict) else value
        if isinstance(content, str):
            yield from scan_characters(content[:256], f"{relative}: {key}", lines=False)


def templates_of_config(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the chat templates of a tokenizer's or processor's config by name, in any of the forms used so far."""
    found = document.get("chat_template")
    if isinstance(found, str):
        return {"chat_template": found}
    if isinstance(found, dict):
        return {f"chat_template {name}": text for name, text in found.items() if isinstance(text, str)}
    return {
        f"chat_template {one.get('name')}": one["template"]
        for one in (found if isinstance(found, list) else ())
        if isinstance(one, dict) and isinstance(one.get("template"), str)
    }


def _generation(document: Mapping[str, Any], relative: str) -> Iterator[Finding]:
    """Find settings that decide the output whatever the prompt is."""
    for key in SUPPRESSING:
        if document.get(key):
            yield Finding(
                "suppressed-end",
                relative,
                None,
                f"{key}: {printable(json.dumps(document[key]), 80, quoted=False)}",
            )
    for key in FORCING:
        if document.get(key) is not None and document[key] != []:
            yield Finding(
                "forced-tokens",
                relative,
                None,
                f"{key}: {printable(json.dumps(document[key]), 80, quoted=False)}",
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


def scan_card(text: str, relative: str) -> Iterator[Finding]:
    """Check the licence and base model in a model card's front matter."""
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
