"""The output and exit code of every command of `llorch-registry`, on both databases."""

from __future__ import annotations

import ast
import csv
import io
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from llorch import converter
from llorch.commands.registry.command import main
from llorch.registry import RefusedByPolicy, Registry, SignatureRecord
from llorch.registry.database.upgrade import HEAD
from llorch.registry.records.records import EdgeRecord, SourceRecord
from tests.models.tiny import tiny_llama
from tests.registry.invented import START, conversion, folder, gguf, uid, verification
from tests.registry.model_folder import adopted, write_folder

Call = Callable[..., Result]

HOST = socket.gethostname()
HOUR = timedelta(hours=1)

LISTS = {"list", "whence", "history", "affected", "alias", "policy", "prune", "verify"}
KEY = f"key:{'ab' * 32}"


@pytest.fixture
def told(registry: Registry) -> Registry:
    """A converted folder that passed, and one made later from the same file, which failed."""
    registry.record(
        conversion(), verification("tiny", "PASSED", at=START + HOUR), names={"tiny": folder().digest}
    )
    registry.record(conversion("again", at=START + 2 * HOUR, source="tiny.gguf"))
    registry.record(verification("again", "FAILED", at=START + 3 * HOUR))
    return registry


@pytest.fixture
def call(registry_url: str) -> Call:
    """Run a command on the registry."""

    def run(*arguments: object) -> Result:
        words = [str(argument) for argument in arguments]
        return CliRunner().invoke(main, [*words, "--registry", registry_url])

    return run


def rows(result: Result) -> list[list[str]]:
    """Return the output without a terminal: full values separated by tabs."""
    return [line.split("\t") for line in result.stdout.splitlines()]


def test_list_prints_the_latest_first(told: Registry, call: Call) -> None:
    result = call("list")
    first, at = ((START + n * HOUR).isoformat().replace("+00:00", "") for n in (0, 2))
    assert result.exit_code == 0
    assert rows(result) == [
        ["", "llama hf-folder", "bfloat16", "2020", "tiny.gguf", "FAILED", f"{at}.000000Z", folder("again").digest],
        ["tiny", "llama hf-folder", "bfloat16", "2020", "tiny.gguf", "PASSED", f"{first}.000000Z", folder().digest],
    ]  # fmt: skip
    assert [row[-1] for row in rows(call("list", "--verified", "PASSED"))] == [folder().digest]
    assert [row[-1] for row in rows(call("list", "--since", "2026-11-24T03:00"))] == [folder("again").digest]
    assert [row[-1] for row in rows(call("list", "--sort", "made", "--limit", 1))] == [folder().digest]
    assert call("list", "--since", "yesterday").exit_code == 2


def test_rows_are_json_json_lines_or_csv_with_the_same_keys(told: Registry, call: Call) -> None:
    document = json.loads(call("list", "--json").stdout)["artifacts"]
    assert json.loads(call("list", "--format", "json").stdout)["artifacts"] == document
    assert [json.loads(line) for line in call("list", "--format", "jsonl").stdout.splitlines()] == document
    table = list(csv.DictReader(io.StringIO(call("list", "--format", "csv").stdout, newline="")))
    assert [list(row) for row in table] == [list(row) for row in document]
    assert (
        [int(row["size_bytes"]) for row in table] == [row["size_bytes"] for row in document] == [2020, 2020]
    )


def test_show_prints_a_run(told: Registry, call: Call) -> None:
    lines = rows(call("show", conversion().uid))
    assert lines[:4] == [
        ["schema", "llorch.run/v1"], ["uid", conversion().uid], ["kind", "convert"], ["status", "succeeded"]
    ]  # fmt: skip
    assert ["edges", "output", "tiny", folder().digest, "hf-folder", "2020"] in lines


def test_path_says_which_registry_it_is(call: Call, registry_url: str) -> None:
    result = call("path")
    assert (result.exit_code, result.stdout) == (0, f"{registry_url}\n")
    assert result.stderr == "llorch-registry: --registry says so\n"


def test_lineage_is_a_tree_a_graph_or_a_picture(told: Registry, call: Call) -> None:
    assert call("lineage", "tiny").stdout == (
        f"tiny · {folder().digest[:18]} · hf-folder bfloat16 PASSED\n"
        "├── by convert · 2026-11-24 02:00 · llorch 0.1.0\n"
        f"│   └── tiny.gguf · {gguf().digest[:19]} · gguf Q4_1\n"
        "└── into verify PASSED · 2026-11-24 03:00\n"
    )
    assert call("lineage", "tiny", "--dot").stdout.startswith("digraph lineage {\n")
    assert call("lineage", "tiny", "--svg").stdout.startswith("<svg ")
    assert json.loads(call("lineage", "tiny", "--json").stdout)["root"] == folder().digest


def test_whence_ends_with_1_for_an_unknown_file(told: Registry, call: Call, tmp_path: Path) -> None:
    known, unknown = tmp_path / "a.bin", tmp_path / "b.bin"
    known.write_bytes(b"tiny.gguf")
    unknown.write_bytes(b"")
    result = call("whence", known)
    assert (result.exit_code, rows(result)) == (0, [[str(known), "artifact", gguf().digest, "", ""]])
    result = call("whence", known, unknown)
    empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert (result.exit_code, rows(result)[1]) == (1, [str(unknown), "unknown", empty, "", ""])


def test_whence_answers_for_what_can_be_read_and_ends_as_the_rest_does(
    told: Registry, call: Call, tmp_path: Path
) -> None:
    known = tmp_path / "a.bin"
    known.write_bytes(b"tiny.gguf")
    result = call("whence", tmp_path / "gone", known, tmp_path / "away")
    assert (result.exit_code, rows(result)) == (3, [[str(known), "artifact", gguf().digest, "", ""]])
    assert result.stderr == "".join(
        f"llorch-registry: {tmp_path / name}: no such file or directory\n" for name in ("gone", "away")
    )
    result = call("whence", tmp_path / "gone", known, "--json")
    assert [one["path"] for one in json.loads(result.stdout)["answers"]] == [str(known)]


def test_prune_says_that_there_is_nothing_to_do(registry: Registry, call: Call) -> None:
    result = call("prune", "--dry-run")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "llorch-registry: nothing to prune: no folder here is without a name\n"


def test_history_lists_runs(told: Registry, call: Call) -> None:
    result = call("history", "tiny", "--kind", "convert")
    assert rows(result) == [
        [
            conversion().uid,
            "convert",
            "succeeded",
            "2026-11-24T02:00:00.000000Z",
            "tiny.gguf",
            gguf().digest,
            folder().digest,
            "",
        ]
    ]
    assert len(rows(call("history"))) == 4


def test_diff_ends_with_1_where_there_is_a_difference(told: Registry, call: Call) -> None:
    result = call("diff", "tiny", folder("again").digest, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["files"] == {
        "only_a": [], "only_b": [], "differing": ["config.json", "model.safetensors"], "equal": 0
    }  # fmt: skip
    assert call("diff", "tiny", "tiny").exit_code == 0


def test_affected_ends_with_1_where_there_is_any(told: Registry, call: Call) -> None:
    result = call("affected", "--builder", "llorch<0.2", "--architecture", "llama")
    assert result.exit_code == 1
    assert sorted(rows(result)) == sorted(
        [digest, name, "llama", "yes", f"here:/models/{place}"]
        for digest, name, place in (
            (folder().digest, "tiny@latest", "tiny"), (folder("again").digest, "", "again")
        )
    )  # fmt: skip
    result = call("affected", "--builder", "llorch>0.2")
    assert (result.exit_code, result.stdout) == (0, "")
    assert call("affected", "--builder", "<<").exit_code == 3


def test_a_name_is_given_followed_and_taken(told: Registry, call: Call) -> None:
    again = folder("again").digest
    assert call("tag", again, "tiny", "--reason", "newer").stdout == f"tagged     tiny  ({again[:18]})\n"
    assert call("tag", "tiny~1", "tiny@old", "--json").exit_code == 0
    assert [row[:2] for row in rows(call("alias", "tiny"))] == [
        ["tiny@old", folder().digest], ["tiny@latest", again], ["tiny@latest", folder().digest]
    ]  # fmt: skip
    assert call("rm", "tiny", "--reason", "wrong").stdout == "removed    tiny\n"
    assert [(row[1], row[4]) for row in rows(call("alias", "tiny@latest"))] == [
        ("nothing", "wrong"), (again, "newer"), (folder().digest, "")
    ]  # fmt: skip
    assert call("rm", "tiny").exit_code == 3
    assert call("tag", again, "deadbeef").exit_code == 3


def test_a_policy_is_set_shown_enforced_and_taken_away(told: Registry, call: Call) -> None:
    assert call("policy", "tiny@prod", "--key", KEY, "--reason", "the release gate").exit_code == 0
    [row] = rows(call("policy"))
    assert (row[:3], row[5]) == (["tiny@prod", KEY, "yes"], "the release gate")  # it means nothing yet
    refused = call("tag", "tiny", "tiny@prod")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "tiny@prod demands a signature by key:abababababab" in refused.stderr
    assert f"{folder().digest[:18]} has no verified signature" in refused.stderr
    assert json.loads(call("tag", "tiny", "tiny@prod", "--json").stdout)["error"]["reason"] == "policy"
    told.record(signatures=[SignatureRecord(folder().digest, f"key:{'0' * 64}", "model.sig", START)])
    assert "is signed by key:000000000000 alone" in call("tag", "tiny", "tiny@prod").stderr
    told.record(signatures=[SignatureRecord(folder().digest, KEY, "model.sig", START)])
    assert call("tag", "tiny", "tiny@prod").exit_code == 0
    answer = json.loads(call("show", "tiny", "--json").stdout)
    assert [one["signer"] for one in answer["signatures"]] == [f"key:{'0' * 64}", KEY]
    assert [(one["name"], one["is_met"]) for one in answer["policies"]] == [("tiny@prod", True)]
    listed = {row["digest"]: row["signers"] for row in json.loads(call("list", "--json").stdout)["artifacts"]}
    assert listed == {folder().digest: [f"key:{'0' * 64}", KEY], folder("again").digest: []}
    assert call("policy", "tiny@prod", "--none", "--reason", "over").exit_code == 0
    assert [(row[1], row[5]) for row in rows(call("policy", "tiny@prod"))] == [
        ("nothing", "over"), (KEY, "the release gate")
    ]  # fmt: skip
    assert rows(call("policy")) == []
    assert call("tag", folder("again").digest, "tiny@prod").exit_code == 0


def test_a_policy_over_a_name_that_means_something_unsigned_is_told(told: Registry, call: Call) -> None:
    result = call("policy", "tiny", "--identity", "ada@example.org", "--issuer", "https://id.example.org")
    assert (result.exit_code, "its use is refused" in result.stderr) == (0, True)
    assert call("policy").exit_code == 1
    with pytest.raises(RefusedByPolicy, match=r"identity:ada@example.org issuer:https://id.example.org"):
        told.require_allowed("tiny")
    told.require_allowed(folder().digest)  # a digest demands nothing


@pytest.mark.parametrize(
    "words",
    [
        ("--key", KEY),
        ("tiny", "--identity", "a"),
        ("tiny", "--none", "--key", KEY),
        ("tiny", "--issuer", "x"),
        ("--none",),
    ],
)
def test_a_policy_that_says_too_little_or_too_much_is_a_wrong_command_line(
    told: Registry, call: Call, words: tuple[str, ...]
) -> None:
    assert call("policy", *words).exit_code == 2


@pytest.mark.parametrize(
    "words",
    [("Tiny", "--key", KEY), ("tiny", "--identity", "a b", "--issuer", "x"), ("tiny", "--key", "none.pem")],
)
def test_a_policy_of_no_name_or_no_signer_is_refused(
    told: Registry, call: Call, words: tuple[str, ...]
) -> None:
    assert call("policy", *words).exit_code == 3


def test_verify_names_what_is_damaged(registry: Registry, call: Call, tmp_path: Path) -> None:
    model = write_folder(tmp_path / "model")
    registry.record(adopted(model, HOST), names={"tiny": adopted(model).edges[0].artifact.digest})
    assert rows(call("verify")) == [[str(model), "INTACT", "tiny@latest", ""]]
    assert rows(call("verify", "tiny", "--quick")) == [[str(model), "NOT VERIFIED", "tiny@latest", ""]]
    (model / "config.json").write_text('{"model_type": "llaMa"}')
    result = call("verify", "tiny")
    assert (result.exit_code, rows(result)) == (
        1,
        [[str(model), "DAMAGED", "tiny@latest", "config.json: content"]],
    )
    shutil.rmtree(model)
    result = call("verify", "tiny")
    assert (result.exit_code, rows(result)[0][1]) == (1, "GONE")


def test_prune_asks_and_says_what_went(registry: Registry, call: Call, tmp_path: Path) -> None:
    model, changed = write_folder(tmp_path / "model"), write_folder(tmp_path / "other", seed=1)
    registry.record(adopted(model, HOST), adopted(changed, HOST))
    (changed / "config.json").write_text("{}")
    run = adopted(model).edges[0].artifact
    expected = [str(model), str(run.size_bytes), run.digest]
    assert expected in rows(call("prune", "--dry-run"))
    asked = call("prune")
    assert (asked.exit_code, asked.stdout) == (2, "")
    assert "-y is needed to remove 2 folders" in asked.stderr
    assert model.is_dir()
    result = call("prune", "-y")
    assert (result.exit_code, rows(result)) == (0, [expected])
    assert result.stderr == f"llorch-registry: {changed} is left: it is not what is recorded, or not there\n"
    assert (model.exists(), changed.exists()) == (False, True)


def test_export_writes_a_file_or_prints(told: Registry, call: Call, tmp_path: Path) -> None:
    printed = call("export", "tiny", "--as", "slsa")
    assert printed.stdout_bytes == told.export("tiny", "slsa")
    assert call("export", "tiny", "--as", "cyclonedx", "-o", tmp_path / "bom.json").exit_code == 0
    assert (tmp_path / "bom.json").read_bytes() == told.export("tiny", "cyclonedx")
    document = json.loads(call("export", "tiny", "--as", "model-card", "--json").stdout)
    assert document["content"].encode() == told.export("tiny", "model-card")


def test_merge_says_what_was_added_and_which_names_moved(told: Registry, call: Call, tmp_path: Path) -> None:
    other = Registry(tmp_path / "other.db")
    other.record(conversion("new"), names={"tiny": folder("new").digest}, at=START + timedelta(days=9999))
    result = call("merge", tmp_path / "other.db")
    assert (result.exit_code, result.stdout) == (0, "merged     2 artifacts, 1 runs, 1 names\n")
    assert result.stderr == (
        f"llorch-registry: tiny@latest means {folder('new').digest[:18]} now; before, {folder().digest[:18]}\n"
    )
    assert call("merge", tmp_path / "missing.db").exit_code == 3
    forged = Registry(tmp_path / "forged.db")
    forged.record(replace(conversion(), params={}))
    result = call("merge", tmp_path / "forged.db", "--json")
    assert (result.exit_code, json.loads(result.stdout)["error"]["reason"]) == (3, "conflict")


def test_reproduce_prints_the_command(told: Registry, call: Call) -> None:
    told.record(replace(conversion("mine", host=HOST), uid=uid("mine")))
    result = call("reproduce", uid("mine"), "--dry-run")
    assert (result.exit_code, result.stdout) == (
        0, "llorch-convert /models/mine.gguf --dtype auto --max-shard-size 5000000000\n"
    )  # fmt: skip
    assert call("reproduce", "tiny").exit_code == 3


def test_migrate_is_done_once(registry_url: str, call: Call) -> None:
    call("migrate")
    result = call("migrate")
    assert (result.exit_code, result.stdout) == (0, f"schema     {HEAD} already\n")


def test_migrate_makes_the_tables_of_an_empty_server(
    registry: Registry, registry_url: str, call: Call
) -> None:
    if "://" not in registry_url:  # nothing is there yet
        assert call("migrate").stdout == f"schema     none → {HEAD}\n"
        return
    with registry._database.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql("CREATE DATABASE empty")
    try:
        empty = registry_url.replace("/postgres?", "/empty?")
        refused = CliRunner().invoke(main, ["list", "--registry", empty])
        assert (refused.exit_code, refused.stdout) == (0, "")
        result = CliRunner().invoke(main, ["migrate", "--registry", empty])
        assert (result.exit_code, result.stdout) == (0, f"schema     none → {HEAD}\n")
    finally:
        with registry._database.engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql("DROP DATABASE empty")


def test_adopt_records_a_folder_by_what_it_says_of_itself(
    registry: Registry, registry_url: str, call: Call, tmp_path: Path
) -> None:
    made = converter.convert(tiny_llama().write(tmp_path / "tiny.gguf"), tmp_path / "Tiny")
    where = registry_url.replace("llorch@", "…@")
    for _ in range(2):
        result = call("adopt", made.folder)
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout.replace("llorch@", "…@") == f"recorded   tiny  ({made.tree[:18]}, in {where})\n"
    assert [row.digest for row in registry.list()] == [made.tree]
    assert [row.status for row in registry.history()] == ["succeeded"]


def test_show_prints_an_artifact_with_the_downloads_that_it_came_by(told: Registry, call: Call) -> None:
    came = SourceRecord(
        "hub", "owner/name", "tiny.gguf", gguf().digest, "main", "a" * 40, "b" * 64, "sha256",
        gguf().digest, gguf().digest, 1000,
    )  # fmt: skip
    fetched = [replace(conversion().edges[0], role="output")]
    told.record(
        replace(conversion(), uid=uid("fetch"), kind="fetch", edges=fetched, sources=[came], params={})
    )
    lines = rows(call("show", gguf().digest))
    assert [
        "sources", "hub", "owner/name", "tiny.gguf", gguf().digest, "main", "a" * 40, "b" * 64, "sha256",
        gguf().digest, gguf().digest, "1000",
    ] in lines  # fmt: skip
    [source] = json.loads(call("show", uid("fetch"), "--json").stdout)["sources"]
    assert (source["etag"], source["etag_kind"], source["observed_size"]) == ("b" * 64, "sha256", 1000)


ANSWERS = {
    "list": (), "show": ("tiny",), "path": (), "lineage": ("tiny",), "whence": ("known.bin",), "history": (),
    "diff": ("tiny", "tiny"), "affected": ("--builder", "llorch<0.2"), "alias": ("tiny",),
    "policy": ("tiny@prod", "--key", KEY),
    "tag": ("tiny", "tiny@prod"), "rm": ("tiny",), "prune": ("--dry-run",), "export": ("tiny", "--as", "slsa"),
    "merge": ("other.db",), "migrate": (), "verify": (), "adopt": ("Tiny",), "reproduce": (uid("mine"), "--dry-run"),
}  # fmt: skip


@pytest.mark.parametrize("command", sorted(main.commands))
def test_every_command_answers_in_every_format_with_the_same_keys(
    told: Registry, call: Call, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("known.bin").write_bytes(b"tiny.gguf")
    Registry("other.db").record(conversion("new"))
    told.record(adopted(write_folder(Path("model")), HOST))
    if command == "reproduce":
        told.record(replace(conversion("mine", host=HOST), uid=uid("mine")))
    if command == "adopt":
        converter.convert(tiny_llama().write(Path("tiny.gguf")), "Tiny")
    printed: dict[str, Result] = {}
    for form in ("json", "jsonl", "csv"):
        if command == "rm" and printed:
            call("tag", folder().digest, "tiny")
        printed[form] = call(command, *ANSWERS[command], "--format", form)
        assert printed[form].exit_code == (1 if command == "affected" else 0), printed[form].output
    document = json.loads(printed["json"].stdout)
    [many] = (
        [value for key, value in document.items() if key != "schema"] if command in LISTS else [[document]]
    )
    lines = [json.loads(line) for line in printed["jsonl"].stdout.splitlines()]
    table = list(csv.DictReader(io.StringIO(printed["csv"].stdout, newline="")))
    assert many, "nothing was compared"
    assert [list(one) for one in many] == [list(one) for one in lines] == [list(one) for one in table]


def test_every_command_is_called_by_a_test_on_both_databases() -> None:
    calls = [node for node in ast.walk(ast.parse(Path(__file__).read_text())) if isinstance(node, ast.Call)]
    words = {
        node.args[0].value
        for node in calls
        if isinstance(node.func, ast.Name)
        and node.func.id == "call"
        and isinstance(node.args[0], ast.Constant)
    }
    assert set(main.commands) == words == ANSWERS.keys()


def test_what_a_file_calls_itself_cannot_speak_to_a_terminal(registry: Registry, call: Call) -> None:
    registry.record(replace(conversion(), edges=[EdgeRecord("output", folder(), "a\x1b[2J\nb\tc")]))
    for command in (("list",), ("history",), ("show", folder().digest), ("lineage", folder().digest)):
        assert "\x1b" not in call(*command).stdout


@pytest.mark.parametrize("command", sorted(main.commands))
def test_help_is_there_with_an_example_and_loads_no_database(command: str) -> None:
    program = (
        "import sys\nfrom llorch.commands.registry.command import main\n"
        f"try:\n    main([{command!r}, '--help'])\nfinally:\n"
        "    print(sorted(sys.modules.keys() & {'sqlalchemy', 'alembic', 'rich', 'torch', 'numpy', 'packaging'}))"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "Example" in told.stdout
    assert told.stdout.endswith("[]\n")
