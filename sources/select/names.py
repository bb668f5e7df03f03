"""Checks of file names from a server, before they become paths, by the rules of both POSIX and Windows.

Both apply on every system: a name that is harmless here could be an escape on another system that shares the folder.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from llorch.base.printable import printable
from llorch.sources.errors import UnsafeName

LONGEST_PART = 255  # bytes of one file name: ext4, APFS and NTFS alike

# Names that Windows treats as devices, with any suffix. Source: "Naming Files, Paths, and Namespaces".
DEVICES = frozenset(
    ["con", "prn", "aux", "nul"] + [f"{port}{digit}" for port in ("com", "lpt") for digit in "0123456789¹²³"]
)
FORBIDDEN = re.compile(r'[\\:*?"<>|\0]')


def require_safe(name: str, source: str) -> str:
    """Return the name unchanged. Raises UnsafeName if as a path it could leave its folder, or look like another."""
    if what := fault_of(name):
        raise UnsafeName(
            source, f"it names a file {printable(name)}: {what}", hint="nothing of it was fetched"
        )
    return name


def require_distinct(names: Iterable[str], source: str) -> None:
    """Raise UnsafeName for two names that are the same on a file system that folds case or Unicode forms."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if other != name:
            what = f"{printable(other)} and {printable(name)} are one file where case does not count"
            raise UnsafeName(source, what, hint="name one of them")


def fault_of(name: str) -> str:
    """Return what is wrong with a name, parts separated by `/`; "" if nothing is."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return "it is not UTF-8"
    if not name.isprintable():  # covers control characters, line ends and bidirectional marks
        return "it has a character that cannot be printed"
    if found := FORBIDDEN.search(name):
        return f"it has a {printable(found[0])}"
    for part in name.split("/"):
        if part in ("", ".", ".."):
            return "it has an empty part" if not part else f"it has the part {printable(part)}"
        if part[-1] in " .":
            return "a part of it ends in a dot or blank"
        if len(part.encode()) > LONGEST_PART:
            return f"a part of it is longer than {LONGEST_PART} bytes"
        if part.split(".")[0].rstrip().casefold() in DEVICES:
            return f"{printable(part)} is a device on Windows"
    return ""
