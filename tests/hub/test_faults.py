"""Ranges are served by RFC 9110, and each fault has its effect, as a plain client sees."""

from __future__ import annotations

import gzip
import hashlib
import random
import threading
from collections.abc import Iterator

import httpx2
import pytest

from tests.hub import (
    Cut,
    Drip,
    Endless,
    Fault,
    FlipByte,
    Gzip,
    Html,
    Hub,
    IgnoreRange,
    LyingSize,
    RedirectLoop,
    RedirectTo,
    Replaced,
    Status,
    WrongDigest,
    WrongRange,
)

DATA = random.Random(1).randbytes(200_000)
NEW = random.Random(2).randbytes(150_000)
TEXT = b'{"vocab": "' + b"a" * 5000 + b'"}'


@pytest.fixture
def client() -> Iterator[httpx2.Client]:
    """A client that follows no redirects and requests no compression."""
    with httpx2.Client(headers={"accept-encoding": "identity"}) as client:
        yield client


@pytest.fixture
def url(hub: Hub) -> str:
    """The URL of a file of the website."""
    return hub.publish("data.bin", DATA)


def received(client: httpx2.Client, url: str, **headers: str) -> tuple[bytes, bool]:
    """Return the bytes received, and whether the body was complete."""
    data = b""
    with client.stream("GET", url, headers=headers) as response:
        try:
            for piece in response.iter_raw():
                data += piece
        except httpx2.RemoteProtocolError:
            return data, False
    return data, True


@pytest.mark.parametrize(
    ("asked", "status", "data", "said"),
    [
        ("bytes=0-0", 206, DATA[:1], "bytes 0-0/200000"),
        ("bytes=7-99", 206, DATA[7:100], "bytes 7-99/200000"),
        ("bytes=199999-", 206, DATA[199_999:], "bytes 199999-199999/200000"),
        ("bytes=199990-999999", 206, DATA[199_990:], "bytes 199990-199999/200000"),
        ("bytes=-5", 206, DATA[-5:], "bytes 199995-199999/200000"),
        ("bytes=-999999", 206, DATA, "bytes 0-199999/200000"),
        ("bytes=200000-", 416, b"", "bytes */200000"),
        ("bytes=-0", 416, b"", "bytes */200000"),
        ("bytes=9-3", 200, DATA, None),
        ("bytes=0-1,5-6", 200, DATA, None),
        ("lines=1-2", 200, DATA, None),
        ("bytes=-", 200, DATA, None),
    ],
)
def test_a_range(
    client: httpx2.Client, url: str, asked: str, status: int, data: bytes, said: str | None
) -> None:
    response = client.get(url, headers={"range": asked})
    assert (response.status_code, response.headers.get("content-range")) == (status, said)
    assert response.content == data
    assert response.headers["accept-ranges"] == "bytes"


def test_if_range_wants_the_same_strong_entity_tag(hub: Hub, client: httpx2.Client, url: str) -> None:
    tag = client.head(url).headers["etag"]
    assert tag == f'"{hashlib.sha256(DATA).hexdigest()[:32]}"'
    weak, none = hub.publish("weak", DATA, etag='W/"1"'), hub.publish("none", DATA, etag=None)
    for of, condition, status in (
        (url, tag, 206),
        (url, '"other"', 200),
        (weak, 'W/"1"', 200),
        (none, tag, 200),
    ):
        asked = client.get(of, headers={"range": "bytes=5-", "if-range": condition})
        assert (asked.status_code, len(asked.content)) == (status, 200_000 - 5 * (status == 206))
    assert "etag" not in client.head(none).headers


def test_head_has_the_length_and_no_body(hub: Hub, client: httpx2.Client, url: str) -> None:
    response = client.head(url, headers={"range": "bytes=5-"})
    assert (response.status_code, response.headers["content-length"], response.content) == (
        200,
        "200000",
        b"",
    )
    assert hub.sent() == 0


def test_a_request_is_kept_with_what_was_sent(hub: Hub, client: httpx2.Client, url: str) -> None:
    client.get(url + "?key=a%20b", headers={"X-Of-Mine": "Yes", "range": "bytes=0-9"})
    client.get(hub.addresses.site + "/files/of%20none")
    first, second = hub.requests
    assert (first.server, first.method, first.path, first.query) == (
        "site", "GET", "/files/data.bin", "key=a%20b"
    )  # fmt: skip
    assert (first.status, first.sent, first.headers["x-of-mine"]) == (206, 10, "Yes")
    assert (second.path, second.status) == ("/files/of none", 404)
    assert (hub.sent("/files/data.*"), hub.sent("*", server="hub")) == (10, 0)
    hub.clear()
    assert (hub.requests, hub.sent()) == ([], 0)


def test_a_fault_is_where_it_was_set_and_as_often_as_it_says(
    hub: Hub, client: httpx2.Client, url: str
) -> None:
    other = hub.publish("other.bin", DATA)
    switch = hub.fault("site", "*/data.bin", Status(503, times=2), method="GET", skip=1)
    hub.fault("cdn", "*", Status(500))

    def statuses(of: str) -> list[int]:
        return [client.get(of).status_code for _ in range(5)]

    assert client.head(url).status_code == 200
    assert statuses(url) == [200, 503, 503, 200, 200]
    assert switch.fired == 2
    assert statuses(other) == [200] * 5
    always = hub.fault("site", "*", Status(503))
    assert statuses(url) == [503] * 5
    assert always.fired == 5
    hub.mend()
    assert statuses(url) == [200] * 5


def test_a_fault_on_a_server_that_is_not_there_is_refused(hub: Hub) -> None:
    with pytest.raises(ValueError, match="no server is called disk: hub, cdn, site"):
        hub.fault("disk", "*", Status(500))


@pytest.mark.parametrize("after", [0, 1, 65_535, 65_536, 65_537, 199_999])
def test_cut(hub: Hub, client: httpx2.Client, url: str, after: int) -> None:
    cut = hub.fault("site", "*", Cut(after=after, times=1))
    assert client.head(url).status_code == 200
    assert received(client, url) == (DATA[:after], False)
    assert (cut.fired, hub.sent()) == (1, after)
    assert received(client, url, range=f"bytes={after}-") == (DATA[after:], True)
    assert hub.sent() == len(DATA)


def test_a_body_that_is_shorter_is_not_cut(hub: Hub, client: httpx2.Client, url: str) -> None:
    cut = hub.fault("site", "*", Cut(after=len(DATA)))
    assert received(client, url) == (DATA, True)
    assert cut.fired == 0


def test_status(hub: Hub, client: httpx2.Client, url: str) -> None:
    hub.fault("site", "*", Status(429, {"Retry-After": "7"}, b"slow down"))
    response = client.get(url)
    assert (response.status_code, response.headers["retry-after"], response.text) == (429, "7", "slow down")


def test_html(hub: Hub, client: httpx2.Client, url: str) -> None:
    hub.fault("site", "*", Html())
    response = client.get(url)
    assert (response.status_code, response.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert response.content.startswith(b"<!doctype html>")


@pytest.mark.parametrize(
    ("asked", "start", "stop"), [("", 0, 200_000), ("bytes=70000-70001", 70_000, 70_002)]
)
def test_flip_byte(hub: Hub, client: httpx2.Client, url: str, asked: str, start: int, stop: int) -> None:
    tag = client.head(url).headers["etag"]
    flip = hub.fault("site", "*", FlipByte(at=70_001))
    response = client.get(url, headers={"range": asked} if asked else {})
    wrong = DATA[:70_001] + bytes([DATA[70_001] ^ 1]) + DATA[70_002:]
    assert (response.content, response.headers["etag"]) == (wrong[start:stop], tag)
    assert client.get(url, headers={"range": "bytes=0-70000"}).content == DATA[:70_001]
    assert flip.fired == 1


@pytest.mark.parametrize("keep_etag", [False, True])
def test_replaced(hub: Hub, client: httpx2.Client, url: str, keep_etag: bool) -> None:
    tag = client.head(url).headers["etag"]
    hub.fault("site", "*", Replaced(NEW, after=100_000, keep_etag=keep_etag))
    assert received(client, url, range="bytes=10-99") == (DATA[10:100], True)
    assert received(client, url) == (DATA[:100_000], False)
    rest = client.get(url, headers={"range": "bytes=100000-"})
    assert (rest.status_code, rest.content) == (206, NEW[100_000:])
    assert rest.headers["content-range"] == "bytes 100000-149999/150000"
    assert (rest.headers["etag"] == tag) is keep_etag
    guarded = client.get(url, headers={"range": "bytes=100000-", "if-range": tag})
    assert (guarded.status_code, guarded.content) == (
        (206, NEW[100_000:]) if keep_etag else (200, NEW)
    )  # fmt: skip


def test_replaced_is_cut_in_the_range_that_passes_the_place(
    hub: Hub, client: httpx2.Client, url: str
) -> None:
    hub.fault("site", "*", Replaced(NEW, after=100_000))
    assert received(client, url, range="bytes=90000-") == (DATA[90_000:100_000], False)
    assert client.get(url).content == NEW


def test_wrong_digest_on_the_hub_is_in_listing_and_headers(hub: Hub, client: httpx2.Client) -> None:
    hub.repository("o/n", {"a.gguf": DATA, "b.txt": b"b", "c.txt": b"c"})
    listing, resolve = f"{hub.url}/api/models/o/n/tree/main", f"{hub.url}/o/n/resolve/main"
    true = {row["path"]: row for row in client.get(listing).json()}
    hub.fault("hub", "o/n/[ab].*", WrongDigest())
    said = {row["path"]: row for row in client.get(listing).json()}
    assert said["c.txt"] == true["c.txt"]
    differing = (
        (said["a.gguf"]["lfs"]["oid"], true["a.gguf"]["lfs"]["oid"]),
        (said["b.txt"]["oid"], true["b.txt"]["oid"]),
    )
    for wrong, right in differing:
        assert wrong != right
        assert wrong[1:] == right[1:]
    linked = client.head(f"{resolve}/a.gguf").headers
    assert linked["x-linked-etag"] == f'"{said["a.gguf"]["lfs"]["oid"]}"'
    assert client.head(f"{resolve}/b.txt").headers["etag"] == f'"{said["b.txt"]["oid"]}"'
    assert client.get(linked["location"]).content == DATA


@pytest.mark.parametrize("size", [199_000, 201_000])
def test_lying_size_on_the_hub(hub: Hub, client: httpx2.Client, size: int) -> None:
    hub.repository("o/n", {"a.gguf": DATA})
    hub.fault("hub", "o/n/a.gguf", LyingSize(size))
    (row,) = client.get(f"{hub.url}/api/models/o/n/tree/main").json()
    assert (row["size"], row["lfs"]["size"]) == (size, size)
    head = client.head(f"{hub.url}/o/n/resolve/main/a.gguf").headers
    assert head["x-linked-size"] == str(size)
    assert client.get(head["location"]).content == DATA


def test_lying_size_in_the_headers_of_the_bytes(hub: Hub, client: httpx2.Client, url: str) -> None:
    hub.fault("site", "*", LyingSize(199_000, times=1))
    assert received(client, url) == (DATA[:199_000], True)
    hub.fault("site", "*", LyingSize(201_000))
    assert received(client, url) == (DATA, False)
    assert received(client, url, range="bytes=200500-") == (b"", False)
    assert client.head(url).headers["content-length"] == "201000"


def test_redirect_loop(hub: Hub, client: httpx2.Client, url: str) -> None:
    loop = hub.fault("site", "*", RedirectLoop())
    with pytest.raises(httpx2.TooManyRedirects):
        client.get(url + "?a=b", follow_redirects=True)
    assert loop.fired == client.max_redirects + 1
    assert {(row.path, row.query) for row in hub.requests} == {("/files/data.bin", "a=b")}


def test_redirect_to_another_host(hub: Hub, client: httpx2.Client, url: str) -> None:
    hub.repository("o/n", {"a.txt": b"true"})
    hub.fault("hub", "o/n/a.txt", RedirectTo(url, code=307))
    response = client.get(f"{hub.url}/o/n/resolve/main/a.txt")
    assert (response.status_code, response.headers["location"], response.content) == (307, url, b"")
    assert "x-repo-commit" in response.headers


def test_drip(hub: Hub, client: httpx2.Client) -> None:
    url = hub.publish("short", b"0123456789")
    drip = hub.fault("site", "*", Drip(bytes=3, every_s=0.05))
    with client.stream("GET", url) as response:
        pieces = list(response.iter_raw())
    assert b"".join(pieces) == b"0123456789"
    assert len(pieces) > 1
    assert drip.fired == 1


def test_a_drip_ends_when_nobody_listens(hub: Hub, client: httpx2.Client, url: str) -> None:
    hub.fault("site", "*", Drip(bytes=10, every_s=3600))
    with client.stream("GET", url) as response:
        assert next(response.iter_raw()) == DATA[:10]
    assert hub.wait_until_quiet()
    assert hub.sent() == 10


def test_endless(hub: Hub, client: httpx2.Client) -> None:
    url = hub.publish("short", b"0123456789")
    hub.fault("site", "*", Endless())
    got = b""
    with client.stream("GET", url) as response:
        assert "content-length" not in response.headers
        for piece in response.iter_raw():
            got += piece
            if len(got) > 3_000_000:
                break
    assert got == b"0123456789" + bytes(len(got) - 10)
    assert hub.wait_until_quiet()


def test_ignore_range(hub: Hub, client: httpx2.Client, url: str) -> None:
    ignored = hub.fault("site", "*", IgnoreRange())
    for headers in ({}, {"range": "bytes=5-"}):
        response = client.get(url, headers=headers)
        assert (response.status_code, response.content) == (200, DATA)
        assert "content-range" not in response.headers
    assert ignored.fired == 1
    assert hub.requests[1].headers["range"] == "bytes=5-"


def test_wrong_range(hub: Hub, client: httpx2.Client, url: str) -> None:
    hub.fault("site", "*", WrongRange(shift=-2, times=1))
    hub.fault("site", "*", WrongRange(shift=0, total=300_000))
    assert client.get(url).status_code == 200
    first, second = (client.get(url, headers={"range": "bytes=5-9"}) for _ in range(2))
    assert first.headers["content-range"] == "bytes 3-7/300000"
    assert second.headers["content-range"] == "bytes 5-9/300000"
    assert (first.status_code, first.content) == (206, DATA[5:10])


def test_gzip(hub: Hub, client: httpx2.Client) -> None:
    hub.repository("o/n", {"vocab.json": TEXT})
    url = f"{hub.url}/o/n/resolve/main/vocab.json"
    packed = hub.fault("hub", "*.json", Gzip())
    plain = client.get(url)
    assert (plain.content, packed.fired) == (TEXT, 0)
    with client.stream("GET", url, headers={"accept-encoding": "gzip"}) as response:
        assert response.headers["content-encoding"] == "gzip"
        assert "content-length" not in response.headers
        assert response.headers["etag"] == "W/" + plain.headers["etag"]
        body = b"".join(response.iter_raw())
    assert len(body) < 200
    assert gzip.decompress(body) == TEXT


def test_faults_add_up(hub: Hub, client: httpx2.Client, url: str) -> None:
    hub.fault("site", "*", IgnoreRange())
    hub.fault("site", "*", FlipByte(at=0))
    hub.fault("site", "*", Cut(after=2))
    assert received(client, url, range="bytes=5-") == (bytes([DATA[0] ^ 1, DATA[1]]), False)


def test_a_fault_without_hooks_changes_nothing(hub: Hub, client: httpx2.Client, url: str) -> None:
    switch = hub.fault("site", "*", Fault())
    assert client.get(url).content == DATA
    assert switch.fired == 0


def test_many_at_once_are_each_counted(hub: Hub, client: httpx2.Client, url: str) -> None:
    threads = [threading.Thread(target=client.get, args=[url]) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [row.sent for row in hub.requests] == [len(DATA)] * 16
    assert hub.wait_until_quiet()
