"""A repository as huggingface_hub's cache has it, for when HF_HUB_OFFLINE forbids to ask: nothing is fetched.

A blob's name is the digest that the hub promised when it came, so what is here can be proven here.
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
    """Files of one repository at the commit that the cache has; a context manager, for the sake of its likes."""

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
    def goes_on(self) -> bool:
        """No: a copy is begun again."""
        return False

    def read(self, file: RemoteFile, count: int, at: int) -> bytes:
        """A range of a file."""
        with (self._folder / file.path).open("rb") as stream:
            stream.seek(at)
            return stream.read(count)

    def download(
        self, file: RemoteFile, folder: Path, advance: Callable[[int], None]
    ) -> tuple[Path, str | None]:
        """A copy of the file under `folder`."""
        copied = folder / file.name
        shutil.copyfile(self._folder / file.path, copied)
        advance(copied.stat().st_size)
        return copied, None


def cached_file(snapshot: Path, path: Path) -> RemoteFile | None:
    """A file of a snapshot, with the digest that its blob's name is; None for what is no link to a blob."""
    if not path.is_symlink() or not path.exists():
        return None
    blob = path.readlink().name
    return RemoteFile(
        path.relative_to(snapshot).as_posix(),
        path.stat().st_size,
        sha256=blob if SHA256.fullmatch(blob) else None,
        git_sha1=blob if GIT_SHA1.fullmatch(blob) else None,
    )
