"""A fetch downloads and verifies the requested files, into a folder or the hub's cache; a second one nothing."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import snapshot_download

from llorch import sources
from llorch.sources.download import Download
from llorch.sources.errors import ChoiceNeeded, Denied, DestinationError, Missing, Unreachable
from llorch.sources.local.proof import digests
from llorch.sources.local.staging import DownloadStaging
from tests.hub import Cut, Gzip, Hub
from tests.sources.models import FILE, REPOSITORY, folder_files, gguf, loadable, split_gguf


def fetch(source: str, folder: Path | None = None, *, overwrite: bool = False, **wish: object) -> Download:
    """Fetch as the command does."""
    reference = sources.parse_source(source)
    with sources.open_source(reference, sources.FileFilter(**wish)) as remote:  # type: ignore[arg-type]
        place = sources.destination_for(remote, folder, source, overwrite=overwrite)
        return sources.fetch(remote, place, source)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_a_whole_repository_comes_without_what_runs_when_it_is_loaded(hub: Hub, folder: Path) -> None:
    files = folder_files()
    commit = hub.repository("owner/tiny", files, license="mit").commit({}, branch="main")
    found = fetch("owner/tiny", folder)
    expected = {name: files[name] for name in ("README.md", "config.json", "model.safetensors")}
    assert contents(folder) == expected
    assert {one.proven.path: one.proven.sha256 for one in found.files} == {
        name: hashlib.sha256(content).hexdigest() for name, content in expected.items()
    }
    assert (found.offer.licence, found.offer.revision) == ("mit", commit)
    assert dict(found.offer.left_out).keys() == {"pytorch_model.bin", "tf_model.h5"}
    assert found.checks == {"json.readable": 1, "safetensors.structure": 1}


def test_one_file_comes_without_listing_the_repository(hub: Hub, folder: Path) -> None:
    hub.repository(REPOSITORY, {FILE: gguf(), "other-Q4_0.gguf": b"GGUF", "README.md": b"#"})
    fetch(f"{REPOSITORY}:{FILE}", folder)
    assert contents(folder) == {FILE: gguf()}
    assert not [row for row in hub.requests if "/tree/" in row.path]


@pytest.mark.parametrize("part", [1, 3])
def test_a_split_set_comes_whole_from_any_part(part: int, hub: Hub, folder: Path) -> None:
    parts = split_gguf(3)
    hub.repository(
        REPOSITORY, {f"Q8_0/{name}": content for name, content in parts.items()} | {"m-Q4_0.gguf": b"x"}
    )
    found = fetch(f"{REPOSITORY}:Q8_0/m-{part:05}-of-00003.gguf", folder)
    assert contents(folder) == {f"Q8_0/{name}": content for name, content in parts.items()}
    assert found.checks == {"gguf.structure": 3}


def test_a_missing_part_is_named(hub: Hub, folder: Path) -> None:
    parts = split_gguf(3)
    del parts["m-00002-of-00003.gguf"]
    hub.repository(REPOSITORY, parts)
    with pytest.raises(Missing, match=r"'m-00002-of-00003\.gguf'"):
        fetch(f"{REPOSITORY}:m-00001-of-00003.gguf", folder)
    assert not folder.exists()


def test_a_revision_stays_what_it_was_and_a_branch_moves(hub: Hub, folder: Path, tmp_path: Path) -> None:
    repository = hub.repository(REPOSITORY, {"config.json": b'{"a": 1}', "m.gguf": gguf()})
    before = fetch(REPOSITORY).offer.revision
    after_commit = repository.commit({"config.json": b'{"a": 2}'})
    after = fetch(REPOSITORY, folder)
    assert after.offer.revision == after_commit != before
    assert (folder / "config.json").read_bytes() == b'{"a": 2}'
    assert {one.proven.path: one.how for one in after.files} == {
        "config.json": "fetched",
        "m.gguf": "fetched",
    }
    pinned = fetch(f"{REPOSITORY}@{before}", tmp_path / "pinned")
    assert (tmp_path / "pinned" / "config.json").read_bytes() == b'{"a": 1}'
    assert pinned.offer.revision == before


def test_what_is_here_and_proven_is_not_fetched_again(hub: Hub, folder: Path) -> None:
    hub.repository(REPOSITORY, {FILE: gguf(), "README.md": b"#"})
    fetch(REPOSITORY, folder)
    hub.clear()
    again = fetch(REPOSITORY, folder)
    assert [one.how for one in again.files] == ["here", "here"]
    assert again.bytes_fetched == 0
    assert not [row for row in hub.requests if "/resolve/" in row.path or row.server == "cdn"]


def test_the_cache_is_the_one_that_others_share(hub: Hub) -> None:
    files = folder_files()
    commit = hub.repository("owner/tiny", files).commit({})
    found = fetch("owner/tiny")
    assert found.folder == hub.home / "hub" / "models--owner--tiny" / "snapshots" / commit
    hub.clear()
    theirs = snapshot_download(
        "owner/tiny", local_files_only=True, allow_patterns=[one.proven.path for one in found.files]
    )
    assert Path(theirs) == found.folder
    assert contents(found.folder)["model.safetensors"] == files["model.safetensors"]
    assert hub.requests == []
    hub.clear()
    assert [one.how for one in fetch("owner/tiny").files] == ["here"] * 3
    assert not [row for row in hub.requests if row.server == "cdn"]


def test_what_others_put_into_the_cache_is_proven_and_kept(hub: Hub) -> None:
    hub.repository(REPOSITORY, {FILE: gguf()})
    snapshot_download(REPOSITORY)
    hub.clear()
    assert [one.how for one in fetch(REPOSITORY).files] == ["here"]
    assert not [row for row in hub.requests if row.server == "cdn"]


def test_a_damaged_blob_of_the_cache_is_set_aside_and_fetched_again(hub: Hub) -> None:
    hub.repository(REPOSITORY, {FILE: gguf()})
    snapshot = Path(snapshot_download(REPOSITORY))
    blob = (snapshot / FILE).resolve()
    blob.write_bytes(gguf()[:-1] + b"!")
    assert [one.how for one in fetch(REPOSITORY).files] == ["fetched"]
    assert (snapshot / FILE).read_bytes() == gguf()
    aside = snapshot.parent.parent / f"{FILE}.rejected"
    assert aside.read_bytes() == gguf()[:-1] + b"!"
    assert "its SHA-256 is" in aside.with_name(f"{aside.name}.txt").read_text()


def test_a_gated_repository_wants_a_token(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.token = "hf_" + "a" * 34
    hub.repository(REPOSITORY, {FILE: gguf()}, gated="auto")
    with pytest.raises(Denied, match=r"it is gated.*HF_TOKEN"):
        fetch(REPOSITORY, folder)
    assert loadable(folder) == []
    monkeypatch.setenv("HF_TOKEN", hub.token)
    fetch(REPOSITORY, folder)
    assert loadable(folder) == [FILE]
    cdn = [row for row in hub.requests if row.server == "cdn"]
    assert cdn
    assert not [row for row in cdn if "authorization" in row.headers]


def test_offline_a_full_cache_serves_and_an_empty_one_says_so(
    hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repository(REPOSITORY, {FILE: gguf(), "README.md": b"#"})
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(Unreachable, match="not in the cache, and HF_HUB_OFFLINE forbids"):
        fetch(REPOSITORY)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    online = fetch(REPOSITORY)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    hub.clear()
    offline = fetch(REPOSITORY)
    assert offline.offer.revision == online.offer.revision
    assert {one.proven.path: (one.proven, one.how) for one in offline.files} == {
        one.proven.path: (one.proven, "here") for one in online.files
    }
    fetch(f"{REPOSITORY}:{FILE}", folder)
    assert contents(folder) == {FILE: gguf()}
    with pytest.raises(Unreachable, match=r"other\.gguf is not in the cache"):
        fetch(f"{REPOSITORY}:other.gguf")
    assert hub.requests == []


def test_a_cut_connection_goes_on_with_the_rest(
    hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)
    content = gguf()
    hub.repository(REPOSITORY, {FILE: content})
    for after in (0, 1, 999, 1000, 77_777, len(content) - 1):
        hub.mend()
        hub.clear()
        cut = hub.fault("cdn", "*", Cut(after=after, times=1))
        target = folder / str(after)
        fetch(REPOSITORY, target)
        assert cut.fired == 1
        assert contents(target) == {FILE: content}
        resumes = after // 1000 * 1000  # huggingface_hub writes whole chunks
        ranges = [row.headers.get("range") for row in hub.requests if row.server == "cdn"]
        assert ranges == [None, f"bytes={resumes}-" if resumes else None]
        assert hub.sent("*", server="cdn") == after + len(content) - resumes


def test_the_bytes_that_came_are_not_read_again(
    hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repository(REPOSITORY, {FILE: gguf(), "README.md": b"#"})
    read: list[str] = []

    def counted(path: Path, **options: Any) -> tuple[str, str | None]:
        read.append(path.name)
        return digests(path, **options)

    monkeypatch.setattr("llorch.sources.local.proof.digests", counted)
    fetch(REPOSITORY, folder)
    assert read == ["README.md"]  # of which git's id has to be computed; the model was hashed as it came


def test_small_files_may_come_compressed(hub: Hub, folder: Path) -> None:
    content = b'{"x": "' + b"y" * 5000 + b'"}'
    hub.repository(REPOSITORY, {"config.json": content, FILE: gguf()})
    packed = hub.fault("hub", "*config.json", Gzip())
    fetch(REPOSITORY, folder)
    assert packed.fired
    assert (folder / "config.json").read_bytes() == content


def test_a_file_of_the_users_is_not_replaced_unless_asked(hub: Hub, folder: Path) -> None:
    hub.repository(REPOSITORY, {FILE: gguf()})
    folder.mkdir()
    (folder / FILE).write_bytes(b"mine")
    with pytest.raises(DestinationError, match=r"is there and is another file.*--overwrite"):
        fetch(REPOSITORY, folder)
    assert contents(folder) == {FILE: b"mine"}
    fetch(REPOSITORY, folder, overwrite=True)
    assert contents(folder) == {FILE: gguf()}


def test_two_fetches_into_one_folder_do_not_meet(hub: Hub, folder: Path) -> None:
    hub.repository(REPOSITORY, {FILE: gguf()})
    with (
        DownloadStaging(folder, REPOSITORY),
        pytest.raises(DestinationError, match="another process fetches it"),
    ):
        fetch(REPOSITORY, folder)
    fetch(REPOSITORY, folder)
    assert [path.name for path in folder.iterdir()] == [FILE]


def test_what_an_interrupted_run_had_whole_is_not_fetched_again(
    hub: Hub, folder: Path, interrupted: Callable[[str], None]
) -> None:
    parts = split_gguf(3)
    hub.repository(REPOSITORY, parts)
    interrupted("m-00003-of-00003.gguf")
    with pytest.raises(KeyboardInterrupt):
        fetch(f"{REPOSITORY}:m-00001-of-00003.gguf", folder)
    assert loadable(folder) == []
    hub.clear()
    interrupted("")
    again = fetch(f"{REPOSITORY}:m-00001-of-00003.gguf", folder)
    assert [one.how for one in again.files] == ["kept", "kept", "fetched"]
    assert hub.sent("*", server="cdn") == len(parts["m-00003-of-00003.gguf"])
    assert contents(folder) == parts


def test_an_empty_repository_and_one_of_nothing_that_fits_are_told_apart(hub: Hub) -> None:
    hub.repository("owner/empty", {})
    with pytest.raises(Missing, match="the repository is empty"):
        fetch("owner/empty")
    hub.repository(REPOSITORY, {FILE: gguf()})
    with pytest.raises(ChoiceNeeded, match=r"none of its 1 files is left: not Q2_K; there are Q8_0"):
        fetch(REPOSITORY, quant="Q2_K")


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EOPNOTSUPP])
def test_it_comes_where_the_file_system_has_no_flock(
    hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def flock(*_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    url = hub.publish(FILE, gguf())
    with (
        DownloadStaging(folder, url),
        pytest.raises(DestinationError, match="if that process is gone, remove 'lock' in"),
    ):
        fetch(url, folder)
    fetch(url, folder)
    assert contents(folder) == {FILE: gguf()}
