"""`llorch-fetch` as a user sees it: its preview, its files, and the registry's records."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from llorch.commands import verify
from llorch.commands.convert import command as convert
from llorch.commands.fetch import command as fetch
from llorch.commands.registry import command as registry
from tests.commands.conftest import ROOT, invoke
from tests.hub import Drip, Hub, IgnoreRange
from tests.hub.fixtures import hub, hub_servers
from tests.models.gguf_writer import STRING, one
from tests.models.tiny import llama3_scaled, random_llama
from tests.sources.models import FILE, REPOSITORY, gguf, loadable, split_gguf

__all__ = ["hub", "hub_servers"]

SHA256 = hashlib.sha256(gguf()).hexdigest()


def run(*arguments: object) -> Result:
    return invoke(fetch.main, *arguments)


def asked(*arguments: str) -> Any:
    """Return the JSON answer of llorch-registry."""
    return json.loads(invoke(registry.main, *arguments, "--json").stdout)


def rows(result: Result) -> dict[str, str]:
    return dict(line.split("\t", 1) for line in result.stdout.splitlines())


@pytest.fixture
def commit(hub: Hub) -> str:
    """Create a repository with one model; return main's commit."""
    return hub.repository(REPOSITORY, {FILE: gguf(), "README.md": b"# Tiny\n"}, license="mit").commit({})


def test_a_dry_run_says_on_one_screen_what_it_is_and_fetches_nothing(
    hub: Hub, commit: str, alone: Path
) -> None:
    result = run(REPOSITORY, "--dry-run", "--to", "models")
    assert (result.exit_code, result.stderr) == (0, "")
    said = rows(result)
    free = said.pop("free space")
    assert free.endswith(" at models")
    assert said == {
        "source": REPOSITORY,
        "revision": f"main → {commit}",
        "licence": "mit",
        "files": f"README.md, {FILE}, 388 kB",
        "digest": f"sha256:{SHA256} ({FILE}); 2 of 2 files have one",
        "model": "llama (gguf): supported",
        "weights": "95,552: 21 F32; 32.00 bits a weight",
        "context": "128 positions",
        "tokenizer": "gpt2, 264 tokens",
        "conversion": "at most 382 kB of safetensors, below 500 MB of memory",
        "running": said["running"],
    }
    assert len(result.stdout.splitlines()) <= 24
    assert list(alone.iterdir()) == []
    assert not [row for row in hub.requests if row.server == "cdn" and "range" not in row.headers]


def test_a_dry_run_is_one_document_for_a_script(hub: Hub, commit: str) -> None:
    document = json.loads(run(REPOSITORY, "--dry-run", "--json").stdout)
    assert document["revision_resolved"] == commit
    assert document["files"][1] == {
        "path": FILE,
        "size_bytes": len(gguf()),
        "expected_digest": f"sha256:{SHA256}",
    }
    (model,) = document["models"]
    assert (model["supported"], model["weights"], model["read_bytes"]) == (True, 95552, len(gguf()))


def test_a_model_that_will_not_serve_ends_before_its_first_byte(hub: Hub, alone: Path) -> None:
    content = random_llama().key("general.architecture", one(STRING, "rwkv7")).build()
    hub.repository(REPOSITORY, {FILE: content})
    shown = run(REPOSITORY, "--dry-run")
    assert shown.exit_code == 3
    assert "llama (gguf)" not in shown.stdout
    assert rows(shown)["model"].startswith("rwkv7 (gguf): NOT SUPPORTED: ")
    result = run(REPOSITORY, "--to", "models")
    assert result.exit_code == 3
    assert "rwkv7" in result.stderr
    assert result.stderr.endswith("--force fetches it all the same\n")
    assert not [row for row in hub.requests if row.server == "cdn" and "range" not in row.headers]
    assert loadable(alone) == []
    forced = run(REPOSITORY, "--to", "models", "--force")
    assert forced.exit_code == 0, forced.stderr
    assert "tried      " in forced.stdout
    assert "INCOMPLETE" in forced.stdout
    assert loadable(alone) == [f"models/{FILE}"]


def test_what_came_is_recorded_and_whence_knows_it(hub: Hub, commit: str, alone: Path) -> None:
    result = run(REPOSITORY, "--to", "models", "--name", "tiny")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == f"fetched    {REPOSITORY}  ({commit[:12]}, 2 files, 388 kB)"
    assert lines[1] == "proven     2 of 2 by the digest that was promised, all by their structure"
    assert lines[2].startswith(f"tried      {FILE}: PASSED  (2 passed, 1 warned in ")
    assert lines[3:] == [
        f"at         models/{FILE}",
        f"recorded   tiny  (sha256:{SHA256[:12]}, in {alone / 'registry.db'})",
    ]
    (found,) = asked("whence", f"models/{FILE}")["answers"]
    (origin,) = found["origins"]
    assert [(one["repository"], one["path"], one["revision_resolved"]) for one in origin["sources"]] == [
        (REPOSITORY, FILE, commit)
    ]
    run_uid = origin["made_by"]
    shown = asked("show", run_uid)
    assert shown["params"]["endpoint"] == hub.url
    sources = {row["path"]: row for row in shown["sources"]}
    assert sources[FILE] == {
        **sources[FILE],
        "kind": "hub",
        "repository": REPOSITORY,
        "revision_requested": "main",
        "revision_resolved": commit,
        "etag": SHA256,
        "etag_kind": "sha256",
        "expected_digest": f"sha256:{SHA256}",
        "observed_digest": f"sha256:{SHA256}",
        "observed_size": len(gguf()),
    }
    assert sources["README.md"]["etag_kind"] == "git-sha1"
    checks = {row["result"]["name"]: row["result"]["status"] for row in asked("show", "tiny")["checks"]}
    assert checks["digest.promised"] == checks["gguf.structure"] == "PASSED"


def test_a_second_fetch_brings_nothing_and_says_so(hub: Hub, commit: str) -> None:
    run(REPOSITORY, "--to", "models", "--verify", "none")
    hub.clear()
    result = run(REPOSITORY, "--to", "models", "--verify", "none")
    assert result.stdout.startswith(
        f"here       {REPOSITORY}  ({commit[:12]}, 2 files, 388 kB: nothing was fetched)\n"
    )
    assert not [row for row in hub.requests if row.server == "cdn" or "/resolve/" in row.path]


def test_a_fetch_goes_on_to_a_conversion(hub: Hub, commit: str, alone: Path) -> None:
    result = run(REPOSITORY, "--to", "models", "--convert", "-o", "tiny")
    assert result.exit_code == 0, result.stderr
    words = [line.split()[0] for line in result.stdout.splitlines()]
    assert words == ["fetched", "proven", "at", "recorded", "converted", "verified", "recorded"]
    lineage = invoke(registry.main, "lineage", "tiny").stdout
    assert SHA256[:12] in lineage
    assert (alone / "tiny" / "model.safetensors").is_file()
    document = json.loads(run(REPOSITORY, "--to", "models", "--convert", "-o", "again", "--json").stdout)
    assert document["conversion"]["verification"]["outcome"] == "PASSED"


def test_a_split_set_is_one_artifact_which_its_conversion_came_from(hub: Hub, alone: Path) -> None:
    hub.repository(REPOSITORY, {f"Q8_0/{name}": content for name, content in split_gguf(2).items()})
    assert run(f"{REPOSITORY}:Q8_0/m-00002-of-00002.gguf", "--to", ".", "--verify", "none").exit_code == 0
    assert invoke(convert.main, "Q8_0/m-00001-of-00002.gguf", "-o", "m", "--verify", "none").exit_code == 0
    made = asked("show", "m")
    (came,) = (one["digest"] for one in asked("list")["artifacts"] if one["kind"] == "gguf-split")
    assert came in json.dumps(asked("lineage", str(made["digest"])))


def test_a_url_without_a_digest_is_a_loud_warning_and_recorded_as_such(hub: Hub, alone: Path) -> None:
    url = hub.publish("m.gguf", gguf()) + "?signature=secret"
    result = run(url, "--to", "models", "--verify", "none")
    assert result.exit_code == 0
    assert "nothing to compare with: --sha256 HEX would prove it" in result.stderr
    checks = {row["result"]["name"]: row["result"]["status"] for row in asked("show", "m.gguf")["checks"]}
    assert checks["digest.promised"] == "SKIPPED"
    assert asked("list")["artifacts"][0]["verified"] == "INCOMPLETE"
    proven = run(url, "--to", "models", "--sha256", f"sha256:{SHA256.upper()}", "--verify", "none")
    assert (proven.exit_code, proven.stderr) == (0, "")
    assert proven.stdout.startswith("here ")


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no ranges"])
@pytest.mark.parametrize("padded", [0, 5_000_000], ids=["small header", "large header"])
@pytest.mark.parametrize("place", ["hub", "url"])
def test_a_model_with_rope_tables_comes_from_every_server(
    place: str, padded: int, ranges: bool, hub: Hub, alone: Path
) -> None:
    content = llama3_scaled().key("general.description", one(STRING, "x" * padded)).build()
    if place == "hub":
        hub.repository(REPOSITORY, {FILE: content})
    source = REPOSITORY if place == "hub" else hub.publish(FILE, content)
    if not ranges:
        hub.fault("cdn" if place == "hub" else "site", "*", IgnoreRange())
    looked = run(source, "--dry-run")
    assert looked.exit_code == 0, looked.stderr
    result = run(source, "--to", "models", "--verify", "none")
    assert result.exit_code == 0, result.stderr
    assert Path("models", FILE).read_bytes() == content


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--dry-run"], "Missing argument 'SOURCE'"),
        (["a/b/c"], "neither owner/repository nor a URL"),
        (["a/b", "--sha256", "12"], "64 hex digits"),
        (["a/b", "--sha256", "0" * 64], "--sha256 is for a URL"),
        (["a/b", "-o", "x"], "--output goes with --convert"),
        (["a/b", "--adopt", "x"], "--adopt PATH goes with"),
        (["a/b", "--verify", "slow"], "'slow' is not one of"),
        (["http://example.com/m.gguf"], "plain http"),
    ],
)
def test_a_wrong_command_line_is_told_before_anything_is_asked(
    arguments: list[str], says: str, hub: Hub, alone: Path
) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert says in result.stderr
    assert result.stderr.count("\n") == 1
    assert hub.requests == []
    assert asked("history")["runs"] == []


def test_a_fetch_that_fails_is_a_failed_run(hub: Hub, alone: Path) -> None:
    assert run("owner/nowhere").exit_code == 3
    (told,) = asked("history")["runs"]
    assert (told["kind"], told["status"]) == ("fetch", "failed")
    assert "there is no such repository" in str(asked("show", told["uid"])["error"])


def test_models_of_others_are_adopted_where_they_lie(hub: Hub, commit: str, alone: Path) -> None:
    from huggingface_hub import snapshot_download

    snapshot_download(REPOSITORY)
    (alone / "mine").mkdir()
    (alone / "mine" / "a-Q8_0.gguf").write_bytes(gguf())
    (alone / "mine" / "b-Q8_0.gguf").write_bytes(b"<html>")
    cache = run("--adopt", hub.home / "hub")
    assert cache.stdout == f"{REPOSITORY}:{FILE}\tPROVEN\t1 of 1\t{FILE.lower()}\n"
    mine = run("--adopt", "mine")
    assert mine.exit_code == 3
    assert mine.stdout == (
        f"{alone}/mine/a-Q8_0.gguf\tSOUND\t0 of 1\ta-q8_0.gguf\n{alone}/mine/b-Q8_0.gguf\tNOT PROVEN\t\t\n"
    )
    assert "b-Q8_0.gguf: is no GGUF file" in mine.stderr
    (found,) = asked("whence", "mine/a-Q8_0.gguf")["answers"]
    came_from = [(one["repository"], one["revision_resolved"]) for one in found["origins"][0]["sources"]]
    assert (REPOSITORY, commit) in came_from
    (listed,) = asked("list")["artifacts"]
    assert (listed["architecture"], listed["dtype"]) == ("llama", "F32")
    document = json.loads(run("--adopt", "mine/a-Q8_0.gguf", "--name", "mine", "--json").stdout)
    assert document["models"][0]["registry"][0]["name"] == "mine"


def test_a_lone_model_is_tried_out(alone: Path) -> None:
    model = random_llama().write(alone / "m.gguf")
    result = invoke(verify.main, model)
    assert result.exit_code == 0
    assert [line.split("\t")[:2] for line in result.stdout.splitlines()] == [
        ["alone.finite", "PASSED"],
        ["alone.surprise", "WARNED"],  # random weights know no English
        ["alone.tokens", "PASSED"],
    ]


def started(hub: Hub, *arguments: str, folder: Path) -> subprocess.Popen[str]:
    environment = {
        **hub.environment,
        "PYTHONPATH": str(ROOT / "src"),
        "LLORCH_REGISTRY": str(folder / "registry.db"),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "llorch.commands.fetch", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until_sent(hub: Hub, count: int) -> None:
    """Wait until a number of bytes of the second part have been sent."""
    for _ in range(3000):
        if hub.sent("*m-00002*", server="cdn") >= count:
            return
        time.sleep(0.02)
    raise AssertionError("the download never began")


@pytest.fixture
def dripping(hub: Hub) -> dict[str, bytes]:
    """A set of two parts, the second of which is sent slowly."""
    parts = split_gguf(2)
    hub.repository(REPOSITORY, parts)
    hub.fault("cdn", "*m-00002*", Drip(bytes=1000, every_s=0.1), skip=1)  # its header comes at once
    return parts


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, -2), (signal.SIGTERM, -15), (signal.SIGKILL, -9)]
)
def test_a_stopped_fetch_leaves_nothing_to_load_and_the_next_one_goes_on(
    number: int, code: int, hub: Hub, dripping: dict[str, bytes], alone: Path
) -> None:
    arguments = (f"{REPOSITORY}:m-00001-of-00002.gguf", "--to", "models", "--verify", "none", "--force")
    process = started(hub, *arguments, folder=alone)
    until_sent(hub, len(dripping["m-00002-of-00002.gguf"]) + 2000)  # its header was read before
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert out == ""
    assert err == ("" if number == signal.SIGKILL else f"llorch-fetch: stopped by signal {number}\n")
    assert loadable(alone) == []
    hub.wait_until_quiet()
    hub.mend()
    hub.clear()
    again = started(hub, *arguments, folder=alone)
    assert again.wait(timeout=60) == 0
    ranges = [
        row.headers.get("range") for row in hub.requests if row.server == "cdn" and "m-00001" in row.path
    ]
    assert None not in ranges  # its header is looked at again, and it is here
    assert {path.name: path.read_bytes() for path in (alone / "models").iterdir()} == dripping
    statuses = [one["status"] for one in asked("history")["runs"]]
    assert statuses == ["succeeded", "died" if number == signal.SIGKILL else "failed"]


@pytest.mark.parametrize("name", ["chat_template.jinja", "tokenizer_config.json"])
def test_a_repositorys_own_template_that_differs_from_the_files_is_told(
    hub: Hub, alone: Path, name: str
) -> None:
    inside, own = "{{ messages[0].content }}", "{{ messages[0].content }}<end>"
    model = random_llama()
    model.key("tokenizer.chat_template", one(STRING, inside))
    content = model.write(alone / "made.gguf").read_bytes()
    said = {True: own, False: inside}
    for differs, text in said.items():
        file = text if name.endswith(".jinja") else json.dumps({"chat_template": text})
        hub.repository(f"org/differs-{differs}", {FILE: content, name: file.encode()}).commit({})
        words = (
            f"org/differs-{differs}",
            "--include",
            "*.gguf",
            "--to",
            f"models-{differs}",
            "--verify",
            "none",
        )
        result = run(*words, "--strict")
        assert ("template-differs" in result.stderr, result.exit_code) == (differs, 3 if differs else 0), (
            result.stderr
        )
        assert not (alone / f"models-{differs}" / name).exists()
