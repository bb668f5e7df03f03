"""Every fault of a download gives one clear line, and leaves no file that a loader would take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from llorch.commands.fetch.command import main
from llorch.sources.remote.http import Patience
from tests.hub import (
    HOSTILE_NAMES,
    Cut,
    Drip,
    Endless,
    ExtraEntries,
    Fault,
    FlipByte,
    Html,
    Hub,
    LyingSize,
    RedirectLoop,
    RedirectTo,
    Replaced,
    Status,
    WrongDigest,
)
from tests.sources.models import FILE, REPOSITORY, folder_files, gguf, loadable

CONTENT = gguf()
OTHER = CONTENT[:-1] + bytes([CONTENT[-1] ^ 0xFF])


@dataclass(frozen=True)
class Case:
    """A fault on a server for matching files, and what a user sees."""

    server: str
    pattern: str
    fault: Fault
    exit_code: int
    says: str
    rejected: bool = False


CASES = {
    "cut for ever": Case("cdn", "*", Cut(after=1000), 5, "the connection was cut"),
    "flipped byte": Case("cdn", "*", FlipByte(at=300_000), 5, "its SHA-256 is", rejected=True),
    "wrong digest": Case("hub", "*", WrongDigest(), 5, "its SHA-256 is", rejected=True),
    "changes between two ranges": Case(
        "cdn", "*", Replaced(OTHER, after=100_000), 5, "its SHA-256 is", rejected=True
    ),
    "changes, and says it does not": Case(
        "cdn", "*", Replaced(OTHER, after=100_000, keep_etag=True), 5, "its SHA-256 is", rejected=True
    ),
    "page with status 200": Case("cdn", "*", Html(), 5, "came in another size"),
    "page instead of the hub's answer": Case("hub", "*", Html(), 5, "does not answer as a hub does"),
    "page instead of a listing": Case("hub", "*/paths-info/*", Html(), 5, "does not answer as a hub does"),
    "not there": Case("cdn", "*", Status(404), 3, "there is no"),
    "gone": Case("cdn", "*", Status(410), 3, "there is no"),
    "unknown user": Case("cdn", "*", Status(401), 5, "wants to know who asks"),
    "forbidden": Case("cdn", "*", Status(403), 5, "the server forbids"),
    "forbidden hub": Case("hub", "*", Status(403), 5, "the server forbids it"),
    "rate limit for an hour": Case(
        "cdn", "*", Status(429, {"Retry-After": "3600"}), 5, "asks to wait 3600 s"
    ),
    "rate limit without end": Case("cdn", "*", Status(429, {"Retry-After": "2"}), 5, "answers 429, 3 times"),
    "500 three times": Case("cdn", "*", Status(500, times=3), 5, "answers 500, 3 times"),
    "500 of the hub": Case("hub", "/api/*", Status(500), 5, "answers 500, 3 times"),
    "redirect loop": Case("cdn", "*", RedirectLoop(), 5, "redirects without end"),
    "redirect to plain http": Case(
        "hub", "*/resolve/*", RedirectTo("http://example.com/x"), 5, "http://example.com"
    ),
    "redirect to nowhere": Case(
        "hub", "*/resolve/*", RedirectTo("http://127.0.0.1:9/x"), 5, "cannot be reached"
    ),
    "more bytes than promised": Case("cdn", "*", Endless(), 5, "more bytes come than"),
    "size lies upwards": Case("hub", "*", LyingSize(len(CONTENT) + 1), 5, "another size"),
    "size lies downwards": Case("hub", "*", LyingSize(len(CONTENT) - 1), 5, "more bytes come than"),
    **{
        f"name: {rule}": Case("hub", "*", ExtraEntries((name,)), 3, "it names a file")
        for rule, name in HOSTILE_NAMES.items()
    },
    "names equal but for case": Case(
        "hub", "*", ExtraEntries((FILE.upper(),)), 3, "where case does not count"
    ),
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a registry of the test's own."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("LLORCH_REGISTRY", str(tmp_path / "registry.db"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments), "--verify", "none"])


def require_one_line(result: Result, exit_code: int, says: str) -> None:
    assert result.exit_code == exit_code, result.stderr
    assert says in result.stderr
    assert result.stderr.count("\n") == 1, result.stderr
    assert result.stderr.startswith("llorch-fetch: ")
    assert result.stderr[:-1].isprintable()
    assert result.stdout == ""


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_fault_ends_in_one_line_and_nothing_to_load(case: Case, hub: Hub, here: Path) -> None:
    hub.repository(REPOSITORY, {FILE: CONTENT})
    switch = hub.fault(case.server, case.pattern, case.fault)
    listed = isinstance(case.fault, ExtraEntries)
    result = run(REPOSITORY if listed else f"{REPOSITORY}:{FILE}", "--to", "models", "--force")
    require_one_line(result, case.exit_code, case.says)
    assert switch.fired
    assert loadable(here) == []
    assert loadable(hub.home) == []
    aside = here / "models" / f"{FILE}.rejected"
    assert aside.exists() == case.rejected
    if case.rejected:
        assert case.says in aside.with_name(f"{aside.name}.txt").read_text()
        assert str(aside.name) in result.stderr
    elif not case.says.startswith("the connection was cut"):
        assert not (here / "models").exists()
    hub.mend()
    assert run(f"{REPOSITORY}:{FILE}", "--to", "models").exit_code == 0
    assert (here / "models" / FILE).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("name", "server", "fault"),
    [
        ("flipped once", "cdn", FlipByte(at=300_000, times=1)),
        ("500 twice", "cdn", Status(500, times=2)),
        ("429 once", "cdn", Status(429, {"Retry-After": "1"}, times=1)),
        ("503 of the hub once", "hub", Status(503, times=1)),
        ("page once", "cdn", FlipByte(at=0, times=1)),
    ],
)
def test_what_passes_is_waited_for(name: str, server: str, fault: Fault, hub: Hub, here: Path) -> None:
    hub.repository(REPOSITORY, {FILE: CONTENT})
    hub.fault(server, "*", fault)
    result = run(f"{REPOSITORY}:{FILE}", "--to", "models", "--force")
    assert result.exit_code == 0, result.stderr
    assert (here / "models" / FILE).read_bytes() == CONTENT


def test_a_repository_of_100_000_files_is_refused_and_one_of_its_files_comes(hub: Hub, here: Path) -> None:
    repository = hub.repository(REPOSITORY)
    repository.commit_numbered(100_000, "part-{:06}.gguf", CONTENT)
    require_one_line(run(REPOSITORY, "--to", "models"), 2, "it lists more than 10,000 files")
    assert hub.sent("*/tree/*") < 5_000_000
    assert loadable(here) == []
    assert run(f"{REPOSITORY}:part-054321.gguf", "--to", "models").exit_code == 0


def test_too_little_disk_is_told_before_the_first_byte(
    hub: Hub, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")  # as shutil's own
    hub.repository(REPOSITORY, {FILE: CONTENT})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 1000, 1000))
    result = run(f"{REPOSITORY}:{FILE}", "--to", "models", "--force")
    require_one_line(
        result,
        5,
        f"{len(CONTENT) + len(CONTENT) // 100 + (16 << 20):,} bytes, the file system has 1,000 left",
    )
    assert not [row for row in hub.requests if row.server == "cdn" and "range" not in row.headers]
    assert not (here / "models").exists()


def test_a_slow_drip_is_given_up(hub: Hub, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hasty = Patience(window_s=0.05, least_bytes=1 << 20)
    monkeypatch.setattr("llorch.sources.remote.http.Patience", lambda: hasty)
    hub.repository(REPOSITORY, {FILE: CONTENT})
    hub.fault("cdn", "*", Drip(bytes=100, every_s=0.01))
    result = run(f"{REPOSITORY}:{FILE}", "--to", "models", "--force")
    require_one_line(result, 5, "the connection is too slow to go on")
    assert loadable(here) == []


def test_the_token_is_shown_to_the_hub_alone(hub: Hub, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.token = "hf_" + "Canary" * 6
    monkeypatch.setenv("HF_TOKEN", hub.token)
    stranger = hub.publish("m.gguf", CONTENT)
    hub.repository(REPOSITORY, {FILE: CONTENT}, private=True)
    hub.fault("hub", "*/resolve/*", RedirectTo(stranger))
    assert run(f"{REPOSITORY}:{FILE}", "--to", "models").exit_code == 0
    seen = {row.server for row in hub.requests if "authorization" in row.headers}
    assert seen == {"hub"}
    assert {row.server for row in hub.requests} == {"hub", "site"}


def test_the_token_is_written_nowhere(
    hub: Hub, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = hub.token = "hf_" + "Canary" * 6
    monkeypatch.setenv("HF_TOKEN", token)
    hub.repository(REPOSITORY, {FILE: CONTENT}, private=True)
    said: list[str] = []
    for fault in (None, Status(401), Status(500), RedirectLoop(), Cut(after=10), Html(), FlipByte(at=9)):
        hub.mend()
        if fault is not None:
            hub.fault("cdn", "*", fault)
        for extra in ([], ["--json"], ["--debug"], ["--convert", "-o", f"made-{len(said)}"]):
            result = run(f"{REPOSITORY}:{FILE}", "--to", f"models-{len(said)}", *extra)
            said.append(result.stdout + result.stderr)
    secret = token.removeprefix("hf_").encode()
    assert secret not in "".join(said).encode()
    written = [path for path in tmp_path.rglob("*") if path.is_file() and hub.home / "token" != path]
    assert (tmp_path / "registry.db") in written
    assert [path for path in written if path.name == "conversion.json"]
    assert [path for path in written if secret in path.read_bytes()] == []


def test_the_signature_of_a_url_is_written_nowhere(hub: Hub, here: Path, tmp_path: Path) -> None:
    url = hub.publish("m.gguf", CONTENT) + "?X-Amz-Signature=CanaryCanary"
    said: list[str] = []
    for fault in (None, Status(403), Cut(after=10), RedirectLoop()):
        hub.mend()
        if fault is not None:
            hub.fault("site", "*", fault)
        result = run(url, "--to", f"models-{len(said)}")
        said.append(result.stdout + result.stderr)
    assert "Canary" not in "".join(said)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in written if b"CanaryCanary" in path.read_bytes()] == []


def test_a_folder_without_a_tokenizer_is_warned_of(hub: Hub, here: Path) -> None:
    hub.repository("owner/tiny", folder_files())
    result = run("owner/tiny", "--to", "models")
    assert "warning: tiny: no tokenizer came with it" in result.stderr
    assert run("owner/tiny", "--to", "cards", "--include", "*.md").exit_code == 0
    assert [path.name for path in (here / "cards").iterdir()] == ["README.md"]


def test_offline_no_url_is_asked(hub: Hub, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = hub.publish("m.gguf", CONTENT)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    require_one_line(run(url), 5, "HF_HUB_OFFLINE forbids")
    assert hub.requests == []
