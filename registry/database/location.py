"""Where the database is: an option, the environment, the current folder or the platform's, in this order."""

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
    """A database as `Registry` takes it: an absolute path or a SQLAlchemy URL. why: how it was found."""

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
        """Whether there is something to open; of a server that is not known before."""
        return self.path is None or self.path.exists()

    @property
    def spool(self) -> Path:
        """The folder of runs that it was not told of yet: beside a file, and in the platform's for a server."""
        if self.path is not None:
            return self.path.with_name(f"{self.path.name}.runs")
        return (data_folder() or Path.cwd()) / f"runs-{hashlib.sha256(self.shown.encode()).hexdigest()[:16]}"


def locate(option: str | None, env: Mapping[str, str], cwd: Path) -> Location:
    """The registry that a command means.

    option: what --registry was given. env: the environment, of which LLORCH_REGISTRY is read. cwd: the folder
    that relative paths start from.
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
    """Where the platform keeps a user's data; None for a user without a home folder, as a container may run us."""
    import platformdirs  # asks the environment itself, and is not always needed

    try:
        found = platformdirs.user_data_path("llorch", appauthor=False)
    except RuntimeError:
        return None
    return found if found.is_absolute() else None  # earlier versions of platformdirs keep the ~


def absolute(text: str, cwd: Path) -> str:
    """A URL as it is, a path from the root."""
    return text if "://" in text else str(cwd / expand_home(text))


def without_password(url: str) -> str:
    """A URL as it may be shown, recorded and logged."""
    return PASSWORD.sub(lambda found: f"{found['user']}:***" if found["user"] is not None else "***", url)
