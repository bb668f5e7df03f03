"""huggingface_hub itself works with the test hub as with the real one."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
from itertools import islice
from pathlib import Path

import httpx2
import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile, RepoFolder

from tests.hub import Cut, DiskFile, ExtraEntries, Hub, RedirectTo, Repository, Servers

TOKEN = "hf_a_token_of_the_tests"
WEIGHTS = random.Random(0).randbytes(300_000)
CONFIG = b'{"model_type": "llama"}\n'
FILES = {"README.md": b"# A model\n", "config.json": CONFIG, "model.gguf": WEIGHTS, "sub/more.json": b"{}"}
ALL = sorted(FILES)


@pytest.fixture
def model(hub: Hub) -> Repository:
    """A repository with small files, an LFS file and a folder."""
    return hub.repository("owner/model", FILES, license="apache-2.0", card={"language": ["en"]})


def ranges(hub: Hub) -> list[str | None]:
    """Return the ranges requested from the CDN."""
    return [row.headers.get("range") for row in hub.requests if row.server == "cdn"]


def test_the_information_of_a_model(hub: Hub, model: Repository) -> None:
    info = huggingface_hub.model_info("owner/model")
    assert (info.id, info.author, info.sha) == ("owner/model", "owner", model.branches["main"])
    assert (info.private, info.gated, info.tags) == (False, False, ["license:apache-2.0"])
    assert info.card_data is not None
    assert (info.card_data.license, info.card_data.language) == ("apache-2.0", ["en"])
    assert info.siblings is not None
    assert sorted(sibling.rfilename for sibling in info.siblings) == ALL
    assert str(info.last_modified) == "2023-11-14 22:13:20+00:00"


def test_the_information_has_sizes_and_digests_when_asked(hub: Hub, model: Repository) -> None:
    siblings = huggingface_hub.model_info("owner/model", files_metadata=True).siblings or []
    weights = {sibling.rfilename: sibling for sibling in siblings}["model.gguf"]
    assert weights.lfs is not None
    assert (weights.size, weights.lfs.sha256) == (300_000, hashlib.sha256(WEIGHTS).hexdigest())


def test_the_information_is_only_what_expand_names(hub: Hub, model: Repository) -> None:
    info = huggingface_hub.model_info("owner/model", expand=["cardData", "gated"])
    assert info.card_data is not None
    assert (info.card_data.license, info.gated, info.sha, info.siblings) == ("apache-2.0", False, None, None)


def test_a_repository_without_an_owner(hub: Hub) -> None:
    commit = hub.repository("gpt2", FILES).branches["main"]
    assert huggingface_hub.model_info("gpt2").sha == commit
    assert sorted(huggingface_hub.list_repo_files("gpt2")) == ALL
    for name in ("sub/more.json", "model.gguf"):
        assert Path(huggingface_hub.hf_hub_download("gpt2", name)).read_bytes() == FILES[name]
    assert [entry.path for entry in huggingface_hub.list_repo_tree("gpt2", "sub")] == ["sub/more.json"]


def test_the_tree(hub: Hub, model: Repository) -> None:
    entries = {entry.path: entry for entry in huggingface_hub.list_repo_tree("owner/model", recursive=True)}
    assert list(entries) == ["README.md", "config.json", "model.gguf", "sub", "sub/more.json"]
    weights, config, folder = entries["model.gguf"], entries["config.json"], entries["sub"]
    assert isinstance(weights, RepoFile)
    assert isinstance(config, RepoFile)
    assert isinstance(folder, RepoFolder)
    assert weights.lfs is not None
    assert (weights.size, weights.lfs.sha256, weights.lfs.pointer_size) == (
        300_000, hashlib.sha256(WEIGHTS).hexdigest(), 131,
    )  # fmt: skip
    assert (config.lfs, config.size) == (None, len(CONFIG))
    # git hash-object config.json
    assert config.blob_id == "9eddb62b076f586b2186445e7872e5a05f0dfe06"
    top = [entry.path for entry in huggingface_hub.list_repo_tree("owner/model")]
    assert top == ["README.md", "config.json", "model.gguf", "sub"]


def test_the_tree_with_commits(hub: Hub, model: Repository) -> None:
    for entry in huggingface_hub.list_repo_tree("owner/model", expand=True):
        assert entry.last_commit is not None
        assert entry.last_commit.oid == model.branches["main"]


def test_the_tree_comes_in_pages(hub: Hub) -> None:
    hub.page_size = 7
    hub.repository("owner/model").commit_numbered(20, "part-{:02}.txt")
    names = [entry.path for entry in huggingface_hub.list_repo_tree("owner/model", recursive=True)]
    assert names == [f"part-{n:02}.txt" for n in range(20)]
    assert [("cursor" in row.query, row.status) for row in hub.requests] == [
        (False, 200), (True, 200), (True, 200)
    ]  # fmt: skip


def test_a_hundred_thousand_files_are_listed_page_by_page(hub: Hub) -> None:
    hub.repository("owner/model").commit_numbered(100_000)
    files = huggingface_hub.list_repo_tree("owner/model", recursive=True)
    assert [file.path for file in islice(files, 1001)][-1] == "part-001000.txt"
    assert len(hub.requests) == 2
    assert len(huggingface_hub.model_info("owner/model").siblings or []) == 100_000


def test_the_information_of_paths(hub: Hub, model: Repository) -> None:
    found = huggingface_hub.get_paths_info("owner/model", ["model.gguf", "sub", "absent"], expand=True)
    assert [(type(entry), entry.path) for entry in found] == [(RepoFile, "model.gguf"), (RepoFolder, "sub")]


def test_a_listing_holds_what_is_not_there(hub: Hub, model: Repository) -> None:
    hub.fault("hub", "owner/model", ExtraEntries(("../evil.gguf", "config.json", "a\n\x1b[2J")))
    names = [entry.path for entry in huggingface_hub.list_repo_tree("owner/model", recursive=True)]
    assert names[-3:] == ["../evil.gguf", "config.json", "a\n\x1b[2J"]
    assert names.count("config.json") == 2
    assert {"../evil.gguf", "a\n\x1b[2J"} < set(huggingface_hub.list_repo_files("owner/model"))


def test_a_file_of_git_and_one_of_lfs(hub: Hub, model: Repository) -> None:
    config = Path(huggingface_hub.hf_hub_download("owner/model", "config.json"))
    weights = Path(huggingface_hub.hf_hub_download("owner/model", "model.gguf"))
    assert (config.read_bytes(), weights.read_bytes()) == (CONFIG, WEIGHTS)
    assert config.parent == weights.parent
    assert config.parent.name == model.branches["main"]
    assert config.is_relative_to(hub.home)
    # The cache calls a blob by its entity tag: git's id, or the SHA-256.
    assert config.resolve().name == "9eddb62b076f586b2186445e7872e5a05f0dfe06"
    assert weights.resolve().name == hashlib.sha256(WEIGHTS).hexdigest()
    assert [(row.server, row.method, row.status) for row in hub.requests] == [
        ("hub", "HEAD", 200), ("hub", "GET", 200), ("hub", "HEAD", 302), ("cdn", "GET", 200)
    ]  # fmt: skip
    assert (hub.sent(server="cdn"), hub.sent("*/config.json"), hub.sent()) == (
        300_000, len(CONFIG), 300_000 + len(CONFIG)
    )  # fmt: skip


def test_a_file_into_a_folder(hub: Hub, model: Repository, tmp_path: Path) -> None:
    path = huggingface_hub.hf_hub_download("owner/model", "sub/more.json", local_dir=tmp_path / "here")
    assert Path(path) == tmp_path / "here" / "sub" / "more.json"
    assert Path(path).read_bytes() == b"{}"


def test_a_whole_repository_and_again_without_a_byte(hub: Hub, model: Repository, tmp_path: Path) -> None:
    for folder in (tmp_path / "here", None):  # the other way round, the folder is filled from the cache
        hub.clear()
        for _ in range(2):
            found = Path(huggingface_hub.snapshot_download("owner/model", local_dir=folder))
            assert {name: (found / name).read_bytes() for name in ALL} == FILES
            assert hub.sent("*/resolve/*") + hub.sent(server="cdn") == sum(map(len, FILES.values()))


def test_a_file_on_the_disk_larger_than_memory_should_hold(hub: Hub, tmp_path: Path) -> None:
    path = tmp_path / "sparse.gguf"
    with path.open("wb") as file:
        file.write(b"GGUF")
        file.truncate(4 << 30)
    hub.repository("owner/model", {"model.gguf": DiskFile(path, sha256="cd" * 32)})
    url = huggingface_hub.hf_hub_url("owner/model", "model.gguf")
    metadata = huggingface_hub.get_hf_file_metadata(url)
    assert (metadata.size, metadata.etag) == (4 << 30, "cd" * 32)
    for span, data in (("bytes=0-7", b"GGUF\0\0\0\0"), (f"bytes={(4 << 30) - 5}-", bytes(5))):
        assert httpx2.get(url, headers={"range": span}, follow_redirects=True).content == data
    assert hub.sent(server="cdn") == 13


def test_a_pinned_commit_and_a_moved_branch(hub: Hub, model: Repository) -> None:
    first = model.branches["main"]
    before = huggingface_hub.hf_hub_download("owner/model", "config.json")
    second = model.commit({"config.json": b"{}"})
    after = huggingface_hub.hf_hub_download("owner/model", "config.json")
    pinned = huggingface_hub.hf_hub_download(
        "owner/model", "config.json", revision=first, force_download=True
    )
    assert [Path(path).parent.name for path in (before, after, pinned)] == [first, second, first]
    assert [Path(path).read_bytes() for path in (before, after, pinned)] == [CONFIG, b"{}", CONFIG]


def test_a_branch_with_a_slash(hub: Hub, model: Repository) -> None:
    commit = model.commit({"config.json": b"[]"}, branch="refs/pr/1")
    assert huggingface_hub.model_info("owner/model", revision="refs/pr/1").sha == commit
    path = huggingface_hub.hf_hub_download("owner/model", "config.json", revision="refs/pr/1")
    assert Path(path).read_bytes() == b"[]"


def test_what_is_not_there(hub: Hub, model: Repository) -> None:
    with pytest.raises(RevisionNotFoundError, match="Invalid rev id: gone"):
        huggingface_hub.model_info("owner/model", revision="gone")
    with pytest.raises(RevisionNotFoundError):
        huggingface_hub.hf_hub_download("owner/model", "config.json", revision="gone")
    with pytest.raises(RemoteEntryNotFoundError, match=r"Entry not found: absent\.json"):
        huggingface_hub.hf_hub_download("owner/model", "absent.json")
    with pytest.raises(RemoteEntryNotFoundError):
        list(huggingface_hub.list_repo_tree("owner/model", "absent"))
    with pytest.raises(RepositoryNotFoundError) as caught:
        huggingface_hub.model_info("owner/gone")
    assert caught.value.response.status_code == 401
    hub.token = TOKEN
    with pytest.raises(RepositoryNotFoundError) as caught:
        huggingface_hub.model_info("owner/gone", token=TOKEN)
    assert caught.value.response.status_code == 404


def test_a_private_repository_is_there_for_the_token_alone(hub: Hub) -> None:
    hub.token = TOKEN
    hub.repository("owner/secret", FILES, private=True)
    with pytest.raises(RepositoryNotFoundError):
        huggingface_hub.hf_hub_download("owner/secret", "config.json")
    with pytest.raises(RepositoryNotFoundError):
        huggingface_hub.model_info("owner/secret")
    assert huggingface_hub.model_info("owner/secret", token=TOKEN).private is True
    path = huggingface_hub.hf_hub_download("owner/secret", "config.json", token=TOKEN)
    assert Path(path).read_bytes() == CONFIG


def test_a_gated_repository_shows_its_listing_and_gives_its_files_to_the_token(hub: Hub) -> None:
    hub.token = TOKEN
    gated = hub.repository("owner/gated", FILES, gated="auto")
    assert huggingface_hub.model_info("owner/gated").gated == "auto"
    assert sorted(huggingface_hub.list_repo_files("owner/gated")) == ALL
    with pytest.raises(GatedRepoError, match="Please log in") as caught:
        huggingface_hub.hf_hub_download("owner/gated", "model.gguf")
    assert caught.value.response.status_code == 401
    gated.granted = False
    with pytest.raises(GatedRepoError, match="not in the authorized list") as caught:
        huggingface_hub.hf_hub_download("owner/gated", "model.gguf", token=TOKEN)
    assert caught.value.response.status_code == 403
    gated.granted = True
    path = huggingface_hub.hf_hub_download("owner/gated", "model.gguf", token=TOKEN)
    assert Path(path).read_bytes() == WEIGHTS


def test_who_am_i_and_a_wrong_token(hub: Hub, model: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.token = TOKEN
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert huggingface_hub.whoami()["name"] == "tests"
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        huggingface_hub.whoami(token="hf_another")
    with pytest.raises(HfHubHTTPError, match="Invalid credentials in Authorization header") as caught:
        huggingface_hub.model_info("owner/model", token="hf_another")
    assert caught.value.response.status_code == 401


def test_the_token_goes_to_the_hub_and_not_to_the_cdn(hub: Hub, model: Repository) -> None:
    hub.token = TOKEN
    huggingface_hub.snapshot_download("owner/model", token=TOKEN)
    sent = {(row.server, row.headers.get("authorization")) for row in hub.requests}
    assert sent == {("hub", f"Bearer {TOKEN}"), ("cdn", None)}


def test_the_cdn_is_another_origin_and_opens_by_signature_alone(hub: Hub, model: Repository) -> None:
    signed = httpx2.head(huggingface_hub.hf_hub_url("owner/model", "model.gguf")).headers["location"]
    assert httpx2.URL(signed).origin not in (
        httpx2.URL(hub.url).origin,
        httpx2.URL(hub.addresses.site).origin,
    )
    assert httpx2.get(signed).content == WEIGHTS
    unsigned = signed.partition("?")[0]
    assert [httpx2.get(unsigned + query).status_code for query in ("", "?X-Amz-Signature=0")] == [403, 403]


def test_another_host_records_what_it_is_sent(hub: Hub, model: Repository) -> None:
    hub.token = TOKEN
    url = hub.publish("elsewhere", WEIGHTS)
    hub.fault("hub", "*/model.gguf", RedirectTo(url))
    path = huggingface_hub.hf_hub_download("owner/model", "model.gguf", token=TOKEN)
    assert Path(path).read_bytes() == WEIGHTS
    (row,) = [row for row in hub.requests if row.server == "site"]
    assert (row.path, row.headers.get("authorization")) == ("/files/elsewhere", None)


def test_a_cut_download_goes_on_with_the_rest_alone(
    hub: Hub, model: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    # of a chunk that is not whole it keeps nothing
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    cut = hub.fault("cdn", "*.gguf", Cut(after=123_457, times=1))
    path = huggingface_hub.hf_hub_download("owner/model", "model.gguf")
    assert Path(path).read_bytes() == WEIGHTS
    assert cut.fired == 1
    assert ranges(hub) == [None, "bytes=123000-"]
    assert [row.sent for row in hub.requests if row.server == "cdn"] == [123_457, 300_000 - 123_000]


def test_offline_with_a_full_and_with_an_empty_cache(
    hub: Hub, model: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    huggingface_hub.snapshot_download("owner/model")
    hub.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    found = Path(huggingface_hub.snapshot_download("owner/model"))
    assert (found / "model.gguf").read_bytes() == WEIGHTS
    with pytest.raises(LocalEntryNotFoundError):
        huggingface_hub.snapshot_download("owner/another")
    assert hub.requests == []


def test_a_subprocess_finds_the_hub_and_no_token_of_the_user(
    hub: Hub, model: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_user")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    script = """if True:
        import json, os, huggingface_hub
        path = huggingface_hub.hf_hub_download("owner/model", "model.gguf")
        print(json.dumps([path, os.environ.get("HF_TOKEN"), os.environ.get("https_proxy")]))
    """
    ran = subprocess.run(
        [sys.executable, "-c", script], env=hub.environment, capture_output=True, check=True, text=True
    )
    path, *foreign = json.loads(ran.stdout)
    assert Path(path).read_bytes() == WEIGHTS
    assert Path(path).is_relative_to(hub.home)
    assert foreign == [None, None]
    assert {row.headers.get("authorization") for row in hub.requests} == {None}


def test_a_new_hub_knows_nothing_of_the_one_before(
    hub_servers: Servers, hub: Hub, model: Repository, tmp_path: Path
) -> None:
    assert httpx2.get(f"{hub.url}/api/models/owner/model").status_code == 200
    later = hub_servers.new_hub(tmp_path / "another")
    assert httpx2.get(f"{later.url}/api/models/owner/model").status_code == 401
    assert [len(each.requests) for each in (hub, later)] == [1, 1]
