"""Names that come from a server, before any of them becomes a path: POSIX's rules and Windows' alike.

A name that is fine here and an escape there would be found out by whoever shares the folder, so both hold
everywhere.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from llorch.base.printable import printable
from llorch.sources.errors import UnsafeName

LONGEST_PART = 255  # bytes of one file name: ext4, APFS and NTFS alike

# Names that Windows takes for devices, whatever their ending. Source: "Naming Files, Paths, and Namespaces".
DEVICES = frozenset(
    ["con", "prn", "aux", "nul"] + [f"{port}{digit}" for port in ("com", "lpt") for digit in "0123456789¹²³"]
)
FORBIDDEN = re.compile(r'[\\:*?"<>|\0]')


def require_safe(name: str, source: str) -> str:
    """The name as it is. Raises UnsafeName if as a path it could leave its folder, or show as another name."""
    if what := fault_of(name):
        raise UnsafeName(
            source, f"it names a file {printable(name)}: {what}", hint="nothing of it was fetched"
        )
    return name


def require_distinct(names: Iterable[str], source: str) -> None:
    """Raises UnsafeName for two names that are one on a file system that folds case or Unicode forms."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if other != name:
            what = f"{printable(other)} and {printable(name)} are one file where case does not count"
            raise UnsafeName(source, what, hint="name one of them")


def fault_of(name: str) -> str:
    """What is wrong with a name, `/` between its parts; empty if nothing is."""
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
