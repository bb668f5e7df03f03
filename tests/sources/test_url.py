"""A file of any web server is read by ranges, resumed where it was cut, and compared with the user's digest."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from llorch import sources
from llorch.base.errors import MalformedInput
from llorch.sources.download import Download
from llorch.sources.errors import ChoiceNeeded, Damaged, Missing, Unreachable
from llorch.sources.local.proof import Proven
from tests.hub import Cut, Endless, Fault, Html, Hub, IgnoreRange, RedirectTo, Replaced, Status, WrongRange
from tests.sources.models import gguf, loadable, split_gguf

CONTENT = gguf()
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def fetch(url: str, folder: Path, sha256: str | None = None) -> Download:
    with sources.open_source(sources.parse_source(url), sha256=sha256) as remote:
        return sources.fetch(remote, sources.destination_for(remote, folder, "the file"), "the file")


def test_a_file_comes_and_is_what_the_user_says_it_is(hub: Hub, folder: Path) -> None:
    url = hub.publish("m.gguf", CONTENT, etag='"tag"')
    found = fetch(url, folder, SHA256)
    assert (folder / "m.gguf").read_bytes() == CONTENT
    assert [one.proven for one in found.files] == [
        Proven("m.gguf", len(CONTENT), SHA256, f"sha256:{SHA256}", '"tag"')
    ]
    assert (found.offer.kind, found.offer.repository) == ("url", url.rpartition("/")[0])


def test_another_digest_is_set_aside(hub: Hub, folder: Path) -> None:
    url = hub.publish("m.gguf", CONTENT)
    with pytest.raises(Damaged, match=f"its SHA-256 is {SHA256}, {'0' * 64} was promised; set aside"):
        fetch(url, folder, "0" * 64)
    assert loadable(folder) == []
    assert (folder / "m.gguf.rejected").read_bytes() == CONTENT


@pytest.mark.parametrize("etag", ["", 'W/"weak"', None])
def test_a_cut_file_goes_on_only_if_it_is_known_to_be_the_same(
    etag: str | None, hub: Hub, folder: Path
) -> None:
    url = hub.publish("m.gguf", CONTENT, etag=etag)
    hub.fault("site", "*", Cut(after=200_000, times=1), skip=0)
    fetch(url, folder, SHA256)
    asked = [row.headers.get("range") for row in hub.requests if row.headers.get("range") != "bytes=0-0"]
    assert asked == ([None, "bytes=200000-"] if etag == "" else [None, None])
    assert (folder / "m.gguf").read_bytes() == CONTENT


def test_it_goes_on_as_long_as_it_comes_nearer(hub: Hub, folder: Path) -> None:
    url = hub.publish("m.gguf", CONTENT)
    hub.fault("site", "*", Cut(after=50_000))
    fetch(url, folder, SHA256)
    assert (folder / "m.gguf").read_bytes() == CONTENT
    assert hub.sent("*") == len(CONTENT) + 1


def test_the_next_run_goes_on_with_what_an_earlier_one_left(hub: Hub, folder: Path) -> None:
    url = hub.publish("m.gguf", CONTENT)
    hub.fault("site", "*", Cut(after=200_000, times=1))
    hub.fault("site", "*", Status(500), skip=2)
    with pytest.raises(Unreachable):
        fetch(url, folder, SHA256)
    assert loadable(folder) == []
    hub.mend()
    hub.clear()
    fetch(url, folder, SHA256)
    assert hub.sent("*") == len(CONTENT) - 200_000 + 1
    assert (folder / "m.gguf").read_bytes() == CONTENT
    assert [path.name for path in folder.iterdir()] == ["m.gguf"]


@pytest.mark.parametrize("keep_etag", [False, True])
def test_a_file_that_changes_on_the_way_is_never_a_mixture(keep_etag: bool, hub: Hub, folder: Path) -> None:
    other = CONTENT[:-8] + bytes(8)
    url = hub.publish("m.gguf", CONTENT)
    hub.fault("site", "*", Replaced(other, after=200_000, keep_etag=keep_etag))
    if keep_etag:
        with pytest.raises(Damaged):
            fetch(url, folder, SHA256)
        assert loadable(folder) == []
    else:
        fetch(url, folder)
        assert (folder / "m.gguf").read_bytes() == other


@pytest.mark.parametrize(
    ("fault", "error", "says"),
    [
        (Status(404), Missing, "there is no"),
        (Status(500), Unreachable, "answers 500, 3 times"),
        (RedirectTo("http://127.0.0.1:9/"), Unreachable, "cannot be reached"),
        (RedirectTo("http://example.com/m.gguf"), Unreachable, "a connection that anybody can change"),
        (Endless(), Damaged, "more bytes"),
        (WrongRange(), Damaged, "another range"),
    ],
    ids=["404", "500", "nowhere", "plain http", "endless", "wrong range"],
)
def test_a_fault_leaves_nothing_to_load(
    fault: Fault, error: type[Exception], says: str, hub: Hub, folder: Path
) -> None:
    url = hub.publish("m.gguf", CONTENT)
    if isinstance(fault, WrongRange):
        hub.fault("site", "*", Cut(after=200_000, times=1))
        hub.fault("site", "*", fault, skip=1)
    else:
        hub.fault("site", "*", fault, skip=isinstance(fault, Endless))
    with pytest.raises(error, match=says):
        fetch(url, folder, SHA256)
    assert loadable(folder) == []


def test_a_page_instead_of_a_model_is_told_and_set_aside(hub: Hub, folder: Path) -> None:
    url = hub.publish("m.gguf", CONTENT)
    hub.fault("site", "*", Html())
    with pytest.raises(MalformedInput, match="it is a page of HTML") as raised:
        fetch(url, folder)
    assert "set aside as m.gguf.rejected" in str(raised.value)
    assert loadable(folder) == []


def test_a_server_without_ranges_is_fetched_whole(hub: Hub, folder: Path) -> None:
    url = hub.publish("m.gguf", CONTENT)
    hub.fault("site", "*", IgnoreRange())
    hub.fault("site", "*", Cut(after=200_000, times=1), skip=1)
    fetch(url, folder, SHA256)
    assert (folder / "m.gguf").read_bytes() == CONTENT


def test_a_split_set_comes_whole_from_the_url_of_one_part(hub: Hub, folder: Path) -> None:
    parts = split_gguf(2)
    urls = [hub.publish(name, content) for name, content in parts.items()]
    fetch(urls[1], folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == parts
    with pytest.raises(ChoiceNeeded, match="a set of 2"):
        fetch(urls[0], folder, SHA256)


def test_what_a_url_has_not_is_refused(hub: Hub, folder: Path) -> None:
    url = hub.publish("m.gguf", CONTENT)
    with (
        pytest.raises(ChoiceNeeded, match="nothing to choose from"),
        sources.open_source(sources.parse_source(url), sources.FileFilter(quant="Q4_0")),
    ):
        pass
    with (
        pytest.raises(ChoiceNeeded, match="--sha256 is for a URL"),
        sources.open_source(sources.parse_source("owner/repo"), sha256=SHA256),
    ):
        pass
