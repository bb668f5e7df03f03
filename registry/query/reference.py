"""Parsing a REF, a user's reference to an artifact or a run. Its kind is decided by its form alone, not by what exists.

sha256:3f5a91c…   tree1:…   weights1:…      a digest, whole or at least 7 hex digits of it
run:019a8f3…      019a8f3e-…-…-…-…          a run, by the start or the end of its id, or by all of it
./folder   /a/model.gguf   ~/x   A/B        a path: begins with . / ~, or has a / and is no name
name   name@alias   name@alias~2            a name; without alias `latest`; ~2 is two changes back
3f5a91c…                                    7 hex digits or more: a digest of any label, else a run
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from llorch.registry.digests import LABELS
from llorch.registry.errors import InvalidReference, quote_text
from llorch.registry.records.run_ids import UID

LEAST_DIGITS = 7
LATEST = "latest"

LABELLED = re.compile(rf"(?P<label>{'|'.join(LABELS)}):(?P<hex>[0-9a-f]{{{LEAST_DIGITS},64}})")
RUN = re.compile(rf"run:(?P<part>[0-9a-f-]{{{LEAST_DIGITS},36}})")
BARE = re.compile(rf"[0-9a-f]{{{LEAST_DIGITS},64}}")
IN_NAMES = "LMN"  # Unicode's letters, marks and numbers
ALIAS = re.compile(r"[a-z][a-z0-9-]*")
NAMED = re.compile(r"(?P<name>[^@~]*)(?:@(?P<alias>[^@~]*))?(?:~(?P<back>[0-9]{1,6}))?")


@dataclass(frozen=True, slots=True)
class DigestReference:
    """A digest or the start of one. label: None for any."""

    label: str | None
    hex: str


@dataclass(frozen=True, slots=True)
class RunReference:
    """A run's id, or its start or end."""

    part: str


@dataclass(frozen=True, slots=True)
class PathReference:
    """A file or folder on this machine, as written."""

    path: str


@dataclass(frozen=True, slots=True)
class NameReference:
    """The artifact that a name's alias refers to, or referred to `back` changes ago."""

    name: str
    alias: str = LATEST
    back: int = 0


Reference = DigestReference | RunReference | PathReference | NameReference


def parse_reference(text: str) -> Reference:
    """Parse a reference by its form. Raises InvalidReference if it has none of the forms."""
    if found := LABELLED.fullmatch(text):
        return DigestReference(found["label"], found["hex"])
    if UID.fullmatch(text):
        return RunReference(text)
    if found := RUN.fullmatch(text):
        return RunReference(found["part"])
    if text.startswith((".", "/", "~")):
        return PathReference(text)
    if BARE.fullmatch(text):
        return DigestReference(None, text)
    if found := NAMED.fullmatch(unicodedata.normalize("NFC", text)):
        alias = LATEST if found["alias"] is None else found["alias"]
        if is_name(found["name"]) and ALIAS.fullmatch(alias):
            return NameReference(found["name"], alias, int(found["back"] or 0))
    if "/" in text and "\0" not in text:
        return PathReference(text)
    raise InvalidReference(
        f"{quote_text(text)} is no reference: a name, name@alias, label:digits, run:digits, {LEAST_DIGITS} hex"
        " digits or more, or a path that begins with ./"
    )


def is_name(text: str) -> bool:
    """Return whether `text` is a valid name: lower case, at most one `/`, and not like a digest or a run id.

    Letters and digits of any script, in composed form (NFC), with dots, dashes and underscores between.
    """
    if text != fold_case(text) or BARE.fullmatch(text) or UID.fullmatch(text):
        return False
    parts = text.split("/")
    return len(parts) <= 2 and all(
        part and unicodedata.category(part[0])[0] in "LN" and all(map(may_be_in_name, part)) for part in parts
    )


def may_be_in_name(character: str) -> bool:
    """Return whether a name may contain a character."""
    return character in "._-" or unicodedata.category(character)[0] in IN_NAMES


def fold_case(text: str) -> str:
    """Return a name's canonical spelling: lower case, NFC."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower())


def parse_alias(text: str) -> tuple[str, str]:
    """Parse `name` or `name@alias` for naming an artifact; return (name, alias). Raises InvalidReference."""
    name, at, alias = unicodedata.normalize("NFC", text).partition("@")
    alias = alias if at else LATEST
    if not is_name(name) or not ALIAS.fullmatch(alias):
        raise InvalidReference(
            f"{quote_text(text)} is no name: lower-case letters of any script, digits, dot, dash and underscore, one /"
            " between two parts, and not like a digest; an alias after @ begins with a letter"
        )
    return name, alias


def name_from(text: str) -> str:
    """Return a valid name made from a file's name: `SmolLM2-135M.Q4_1` becomes `smollm2-135m.q4_1`."""
    kept = "".join(c if may_be_in_name(c) else " " for c in fold_case(text))
    name = "-".join(kept.split()).strip("-._")
    return name if is_name(name) else f"model-{name}".rstrip("-")
