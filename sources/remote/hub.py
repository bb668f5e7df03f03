"""A repository on a Hugging Face hub, by huggingface_hub, which handles resume, proxies, token, endpoint and xet.

Added here: errors that name the source and hold no secrets, a revision that is resolved once and then pinned, checks of
file names, and the hooks of `http.Listener` on the library's client.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import huggingface_hub
from huggingface_hub import HfApi, RepoFile, constants
from huggingface_hub.utils import build_hf_headers, disable_progress_bars, http_stream_backoff, logging
from tqdm import tqdm

from llorch.base.printable import printable
from llorch.sources.errors import ChoiceNeeded, Missing, NoRanges, Unreachable
from llorch.sources.offer import Offer, RemoteFile
from llorch.sources.remote.http import Listener, Patience
from llorch.sources.remote.hub_errors import translated_errors
from llorch.sources.remote.retry import first_bytes, with_retries
from llorch.sources.select.files import parts_of
from llorch.sources.select.names import require_distinct, require_safe
from llorch.sources.select.reference import HubReference
from llorch.sources.urls import without_secrets

MOST_LISTED = 10_000  # files; a model has some dozens, and datasets are not fetched
READ_TIMEOUT_S = 30.0

T = TypeVar("T")
Hooks = list[Callable[..., Any]]
Choose = Callable[[Sequence[RemoteFile]], tuple[Sequence[RemoteFile], Sequence[tuple[str, str]]]]


# Where transformers looks for a chat template, in its order.
TEMPLATES = ("chat_template.jinja", "chat_template.json", "tokenizer_config.json")


class HubRepository:
    """Files of one repository at one commit; a context manager that sets hooks on huggingface_hub's client.

    choose: splits the listed files into selected ones and (path, why not); for a reference to one file it is given that
    file and the parts of its set. Entering queries the hub; raises SourceError.
    """

    def __init__(self, reference: HubReference, choose: Choose, *, patience: Patience | None = None) -> None:
        self._reference = reference
        self._choose = choose
        self._api = HfApi()
        self._listener = Listener(str(reference), constants.ENDPOINT, patience)
        self._offer: Offer | None = None

    def __enter__(self) -> HubRepository:
        logging.set_verbosity_error()  # our errors report what it would warn of
        disable_progress_bars()
        self._plain_asks = list(huggingface_hub.get_session().event_hooks["request"])
        self._set_client([*self._plain_asks, self._listener.asked], [self._listener.answered])
        try:
            self._offer = self._resolve()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._set_client(self._plain_asks, [])

    def _set_client(self, asked: Hooks, answered: Hooks) -> None:
        """Make huggingface_hub create its client as usual, but with these hooks."""
        hooks = {"request": asked, "response": answered}
        huggingface_hub.set_client_factory(
            lambda: httpx2.Client(event_hooks=hooks, follow_redirects=True, timeout=READ_TIMEOUT_S)
        )

    @property
    def resumes(self) -> bool:
        """False: huggingface_hub resumes only within one process."""
        return False

    @property
    def offer(self) -> Offer:
        """The selected files."""
        assert self._offer is not None, "it was not entered"
        return self._offer

    def read(self, file: RemoteFile, count: int, at: int) -> bytes:
        """Read a range of a file. Raises NoRanges if the server ignores the range."""
        url = self._url(file)
        headers = {
            **build_hf_headers(),
            "Range": f"bytes={at}-{at + count - 1}",
            "Accept-Encoding": "identity",
        }

        def ask() -> bytes:
            # The body is streamed: a server that ignores the range would send gigabytes.
            with http_stream_backoff(
                "GET", url, headers=headers, timeout=READ_TIMEOUT_S, max_retries=0
            ) as answer:
                huggingface_hub.hf_raise_for_status(answer)
                if answer.status_code != 206 and at:
                    raise NoRanges(str(self._reference), f"{printable(file.path)} cannot be read in parts")
                return first_bytes(answer.iter_raw(), count)

        return self._patiently(ask, file)

    def download(
        self, file: RemoteFile, folder: Path, advance: Callable[[int], None]
    ) -> tuple[Path, str | None]:
        """Download the file to `folder`; return its path, and its SHA-256 if it was received in one piece."""
        with self._listener.watching(file.size) as witness:
            path = Path(self._patiently(lambda: self._download(file, folder, advance), file))
        return path, witness.digest(path.stat().st_size)

    def _download(self, file: RemoteFile, folder: Path, advance: Callable[[int], None]) -> str:
        done = 0

        def count(number: int) -> None:
            nonlocal done
            done += number
            advance(number)

        try:
            path: str = huggingface_hub.hf_hub_download(
                self.offer.repository,
                file.path,
                revision=self.offer.revision,
                local_dir=folder,
                tqdm_class=_counting(count),
            )
        except BaseException:
            advance(-done)  # a retry starts from the beginning
            raise
        return path

    def _url(self, file: RemoteFile) -> str:
        return str(huggingface_hub.hf_hub_url(self.offer.repository, file.path, revision=self.offer.revision))

    def _resolve(self) -> Offer:
        wanted = self._reference
        info = self._patiently(
            lambda: self._api.model_info(
                wanted.repository,
                revision=wanted.revision,
                expand=["sha", "cardData", "gated"],
                timeout=READ_TIMEOUT_S,
            )
        )
        if not info.sha:
            raise Unreachable(str(wanted), "the hub names no commit")
        listed = self._one(info.sha, wanted.path) if wanted.path else self._list(info.sha)
        files, left_out = self._choose(listed)
        licence = info.card_data.get("license") if info.card_data else None
        return Offer(
            kind="hub",
            repository=wanted.repository,
            endpoint=without_secrets(constants.ENDPOINT),
            requested=wanted.revision,
            revision=info.sha,
            licence=licence if isinstance(licence, str) else None,
            gated=bool(info.gated),
            files=tuple(files),
            left_out=tuple(left_out),
            templates=tuple(one for one in listed if one.path in TEMPLATES and one not in files),
        )

    def _list(self, commit: str) -> list[RemoteFile]:
        """Return all files of the repository. Raises UnsafeName for unsafe or ambiguous names."""
        source = str(self._reference)

        def ask() -> list[RemoteFile]:
            rows = self._api.list_repo_tree(self._reference.repository, recursive=True, revision=commit)
            files = (row for row in rows if isinstance(row, RepoFile))
            return [_file(row, source) for row in itertools.islice(files, MOST_LISTED + 1)]

        found = self._patiently(ask)
        if len(found) > MOST_LISTED:
            what = f"it lists more than {MOST_LISTED:,} files"
            raise ChoiceNeeded(source, what, hint=f"name one, as {self._reference.repository}:model.gguf")
        if not found:
            raise Missing(source, "the repository is empty")
        require_distinct((file.path for file in found), source)
        return found

    def _one(self, commit: str, path: str) -> list[RemoteFile]:
        """Return one file; for a part of a split set, all its parts by their names."""
        source = str(self._reference)
        rows = self._patiently(
            lambda: self._api.get_paths_info(self._reference.repository, parts_of(path), revision=commit)
        )
        found = {row.path: row for row in rows if isinstance(row, RepoFile)}
        if absent := [part for part in parts_of(path) if part not in found]:
            raise Missing(
                source,
                f"there is no file {printable(absent[0])} in {self._reference.repository} at {commit[:12]}",
                hint="without a file's name all of them are listed",
            )
        return [_file(found[part], source) for part in parts_of(path)]

    def _patiently(self, ask: Callable[[], T], file: RemoteFile | None = None) -> T:
        """Call a function of huggingface_hub, retry transient errors, and translate its errors to ours."""

        def once() -> T:
            with translated_errors(str(self._reference), None if file is None else file.path):
                return ask()

        return with_retries(once)


def _file(row: RepoFile, source: str) -> RemoteFile:
    require_safe(row.path, source)
    if row.lfs is not None:
        return RemoteFile(row.path, row.lfs.size, sha256=row.lfs.sha256)
    return RemoteFile(row.path, row.size, git_sha1=row.blob_id)


def _counting(advance: Callable[[int], None]) -> type[tqdm]:
    """Return a progress bar class that only counts. Of xet's two bars, the first counts the bytes on the disk."""
    bars: list[tqdm] = []

    class Bar(tqdm):  # type: ignore[misc]  # tqdm has no types
        def __init__(self, *args: object, **options: object) -> None:
            super().__init__(*args, **{**options, "disable": True})
            bars.append(self)

        def update(self, n: float | None = 1) -> None:
            if bars[0] is self:
                advance(int(n or 0))

    return Bar
