"""A repository in huggingface_hub's cache, for HF_HUB_OFFLINE: nothing is downloaded.

A blob is named by the digest that the hub promised, so files can be checked offline.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
from huggingface_hub import errors as hub

from llorch.sources.errors import Missing, Unreachable
from llorch.sources.offer import Offer, RemoteFile
from llorch.sources.remote.hub import Choose
from llorch.sources.select.files import parts_of
from llorch.sources.select.reference import HubReference

SHA256, GIT_SHA1 = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{40}")
OFFLINE = "HF_HUB_OFFLINE forbids to fetch it"


class CachedRepository:
    """Files of one repository at the cached commit; a context manager like the other sources."""

    def __init__(self, reference: HubReference, choose: Choose) -> None:
        self._reference = reference
        self._choose = choose
        self._folder = Path()

    def __enter__(self) -> CachedRepository:
        wanted, source = self._reference, str(self._reference)
        try:
            found = huggingface_hub.snapshot_download(
                wanted.repository, revision=wanted.revision, local_files_only=True, allow_patterns=[]
            )
        except (hub.LocalEntryNotFoundError, OSError) as error:
            raise Unreachable(source, f"it is not in the cache, and {OFFLINE}") from error
        self._folder = Path(found)
        listed = [
            file for path in sorted(self._folder.rglob("*")) if (file := cached_file(self._folder, path))
        ]
        if wanted.path:
            here = {file.path: file for file in listed}
            if absent := [part for part in parts_of(wanted.path) if part not in here]:
                raise Unreachable(source, f"{absent[0]} is not in the cache, and {OFFLINE}")
            listed = [here[part] for part in parts_of(wanted.path)]
        if not listed:
            raise Missing(source, f"the cache holds no file of it, and {OFFLINE}")
        files, left_out = self._choose(listed)
        self.offer = Offer(
            kind="hub",
            repository=wanted.repository,
            endpoint=None,
            requested=wanted.revision,
            revision=self._folder.name,
            licence=None,
            gated=False,
            files=tuple(files),
            left_out=tuple(left_out),
        )
        return self

    def __exit__(self, *_: object) -> None:
        pass

    @property
    def resumes(self) -> bool:
        """False: a copy starts from the beginning."""
        return False

    def read(self, file: RemoteFile, count: int, at: int) -> bytes:
        """Read a range of a file."""
        with (self._folder / file.path).open("rb") as stream:
            stream.seek(at)
            return stream.read(count)

    def download(
        self, file: RemoteFile, folder: Path, advance: Callable[[int], None]
    ) -> tuple[Path, str | None]:
        """Copy the file to `folder`; return the copy's path."""
        copied = folder / file.name
        shutil.copyfile(self._folder / file.path, copied)
        advance(copied.stat().st_size)
        return copied, None


def cached_file(snapshot: Path, path: Path) -> RemoteFile | None:
    """Return a file of a snapshot, with its blob's name as the digest; None if it isn't a link to a blob."""
    if not path.is_symlink() or not path.exists():
        return None
    blob = path.readlink().name
    return RemoteFile(
        path.relative_to(snapshot).as_posix(),
        path.stat().st_size,
        sha256=blob if SHA256.fullmatch(blob) else None,
        git_sha1=blob if GIT_SHA1.fullmatch(blob) else None,
    )
