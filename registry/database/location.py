"""The database's location: from an option, the environment, the current folder or the platform's, in this order."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llorch.base.home import expand_home

VARIABLE = "LLORCH_REGISTRY"
FILE = "registry.db"

SQLITE_URL = re.compile(r"sqlite(?:\+[a-z]+)?:///(?P<path>[^?]+).*")
PASSWORD = re.compile(r"(?<=://)(?P<user>[^/:@]*):.*(?=@)|(?<=[?&]password=)[^&]*")


@dataclass(frozen=True, slots=True)
class Location:
    """The location of a database: an absolute path or a SQLAlchemy URL. why: how it was chosen."""

    url: str
    why: str

    @property
    def shown(self) -> str:
        """The path or URL without a password."""
        return without_password(self.url)

    @property
    def path(self) -> Path | None:
        """The SQLite file; None for a server."""
        found = SQLITE_URL.fullmatch(self.url)
        return Path(found["path"]) if found else None if "://" in self.url else Path(self.url)

    @property
    def is_there(self) -> bool:
        """Whether the file exists; True for a server, where it is unknown before connecting."""
        return self.path is None or self.path.exists()

    @property
    def spool(self) -> Path:
        """The folder of notes of unrecorded runs: beside the file, or in the platform's data folder for a server."""
        if self.path is not None:
            return self.path.with_name(f"{self.path.name}.runs")
        return (data_folder() or Path.cwd()) / f"runs-{hashlib.sha256(self.shown.encode()).hexdigest()[:16]}"


def locate(option: str | None, env: Mapping[str, str], cwd: Path) -> Location:
    """Return the location of the registry that a command uses.

    option: the value of --registry. env: the environment variables, of which LLORCH_REGISTRY is read. cwd: the folder
    for relative paths.
    """
    if option:
        return Location(absolute(option, cwd), "--registry says so")
    if env.get(VARIABLE):
        return Location(absolute(env[VARIABLE], cwd), f"{VARIABLE} says so")
    if (cwd / FILE).exists():
        return Location(str(cwd / FILE), f"the current folder has a {FILE}")
    if folder := data_folder():
        return Location(str(folder / FILE), "the platform's folder for data; nothing says otherwise")
    return Location(str(cwd / FILE), "the current folder; this user has no home folder")


def data_folder() -> Path | None:
    """Return the platform's folder for user data; None for a user without a home folder, as in some containers."""
    import platformdirs  # reads the environment itself, and is not always needed

    try:
        found = platformdirs.user_data_path("llorch", appauthor=False)
    except RuntimeError:
        return None
    return found if found.is_absolute() else None  # earlier versions of platformdirs keep the ~


def absolute(text: str, cwd: Path) -> str:
    """Return a URL unchanged, a path as an absolute one."""
    return text if "://" in text else str(cwd / expand_home(text))


def without_password(url: str) -> str:
    """Return a URL with its password replaced by ***, for messages, records and logs."""
    return PASSWORD.sub(lambda found: f"{found['user']}:***" if found["user"] is not None else "***", url)
