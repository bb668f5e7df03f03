"""`llorch-convert`: what it writes, prints and records, and how it ends on errors."""

from __future__ import annotations

import json
import os
import signal
import stat
import sys
import time
from pathlib import Path

import click
import pytest

from llorch.commands.cli import SIZE
from llorch.commands.convert import command as convert
from llorch.commands.convert.command import folder_name, main
from llorch.converter import Conversion
from llorch.registry import Registry
from tests.commands.conftest import invoke, started
from tests.models.gguf_writer import STRING, one
from tests.models.tiny import random_llama, tiny_llama


def recorded() -> list[tuple[str, str | None]]:
    """Return the registry's names and verdicts."""
    with Registry(os.environ["LLORCH_REGISTRY"]) as store:
        return [(name, row.verified) for row in store.list() for name in row.names]


def test_a_model_is_converted_verified_in_a_fresh_process_and_recorded(source: Path) -> None:
    result = invoke(main, source, "-o", "out")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    written, verified, kept = result.stdout.splitlines()
    assert written.startswith("converted  ")
    assert "llama, float32, 21 tensors" in written
    assert verified.startswith("verified   PASSED")
    assert kept.startswith("recorded   out")
    assert Path("out/model.safetensors").is_file()
    assert recorded() == [("out@latest", "PASSED")]


def test_json_is_one_document_with_the_conversion_the_report_and_the_registry(source: Path) -> None:
    result = invoke(main, source, "-o", "out", "--json")
    document = json.loads(result.stdout)
    assert document["schema"] == "llorch.convert/v1"
    assert document["conversion"] == json.loads(Path("out/conversion.json").read_text())
    assert document["verification"]["outcome"] == "PASSED"
    assert document["registry"]["name"] == "out"
    assert document["registry"]["digest"] == document["conversion"]["tree"]


def test_a_chat_template_that_reaches_too_far_is_told(alone: Path) -> None:
    model = tiny_llama().key("tokenizer.chat_template", one(STRING, "{{ ''.__class__ }}"))
    (alone / "model.gguf").write_bytes(model.build())
    result = invoke(main, "model.gguf", "-o", "out", "--verify", "none")
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith("llorch-convert: warning: chat_template.jinja, line 1: dunder-name: ")
    assert invoke(main, "model.gguf", "-o", "again", "--strict").exit_code == 3
    Path("allow.toml").write_text("[[allow]]\nrule = 'dunder-name'\nby = 'Ada'\nreason = 'a test'\n")
    result = invoke(
        main, "model.gguf", "-o", "again", "--strict", "--allow", "allow.toml", "--verify", "none"
    )
    assert (result.exit_code, result.stderr) == (0, "")
    (recorded_finding,) = json.loads(Path("again/conversion.json").read_text())["findings"]
    assert recorded_finding["allowed"] == {"by": "Ada", "reason": "a test"}
    result = invoke(main, "model.gguf", "-o", "alone", "--tokenizer-only", "--json")
    assert json.loads(result.stdout)["chat_templates"]["chat_template.jinja"]["dunder_names"] == ["__class__"]


def test_without_o_the_folder_is_named_after_the_file_and_lies_in_the_current_one(source: Path) -> None:
    assert invoke(main, source, "--verify", "none").exit_code == 0
    assert Path("Tiny.Q4/config.json").is_file()
    assert recorded() == [("tiny.q4@latest", None)]


@pytest.mark.parametrize(
    ("file", "folder"),
    [
        ("model.gguf", "model"),
        ("a/b/SmolLM2-135M-Instruct.Q4_1.gguf", "SmolLM2-135M-Instruct.Q4_1"),
        ("big-00002-of-00003.gguf", "big"),
        ("no-ending", "no-ending-hf"),
        ("Upper.GGUF", "Upper"),
        ("-00001-of-00002.gguf", "-00001-of-00002"),
    ],
)
def test_the_folder_is_named_after_the_file_or_after_what_its_parts_share(file: str, folder: str) -> None:
    assert folder_name(Path(file)) == folder


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("5GB", 5 * 10**9),
        ("512MiB", 512 << 20),
        ("100000", 100_000),
        ("1.5 kb", 1500),
        ("2k", 2000),
        ("7 B", 7),
    ],
)
def test_sizes_may_be_said_with_units(said: str, meant: int) -> None:
    assert SIZE.convert(said, None, None) == meant


@pytest.mark.parametrize("said", ["", "GB", "-5GB", "5XB", "0", "0.1", "5GBs", "i", "3iB"])
def test_what_is_no_size_is_refused(said: str) -> None:
    with pytest.raises(click.BadParameter, match="is no size"):
        SIZE.convert(said, None, None)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_the_type_of_the_weights_can_be_chosen(source: Path, dtype: str) -> None:
    assert invoke(main, source, "-o", "out", "--dtype", dtype, "--verify", "none").exit_code == 0
    assert json.loads(Path("out/config.json").read_text())["dtype"] == dtype


@pytest.mark.parametrize(
    ("short", "dtype"), [("bf16", "bfloat16"), ("fp16", "float16"), ("f16", "float16"), ("f32", "float32")]
)
def test_the_type_has_the_short_names_of_other_tools(source: Path, short: str, dtype: str) -> None:
    assert invoke(main, source, "-o", "out", "--dtype", short, "--verify", "none").exit_code == 0
    assert json.loads(Path("out/config.json").read_text())["dtype"] == dtype


def test_shards_are_as_small_as_asked(source: Path) -> None:
    assert invoke(main, source, "-o", "out", "--max-shard-size", "50kB", "--verify", "none").exit_code == 0
    shards = list(Path("out").glob("model-*-of-*.safetensors"))
    assert len(shards) > 1
    assert Path("out/model.safetensors.index.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["no-such-file.gguf"], 3, "missing"),
        (["there"], 3, "unsupported"),
        (["Tiny.Q4.gguf", "--dtype", "float8"], 2, "usage"),
        (["Tiny.Q4.gguf", "--max-shard-size", "many"], 2, "usage"),
        (["Tiny.Q4.gguf", "--threads", "0"], 2, "usage"),
        (["Tiny.Q4.gguf", "--name", "No Name"], 2, "usage"),
        ([], 2, "usage"),
        (["Tiny.Q4.gguf", "-o", "there"], 6, "exists"),
        (["Tiny.Q4.gguf", "-o", "Tiny.Q4.gguf/out"], 5, "output"),
        (["Tiny.Q4.gguf", "-o", "x" * 300], 5, "output"),
    ],
)
def test_what_is_wrong_ends_in_one_line_an_exit_code_and_nothing_left_behind(
    source: Path, arguments: list[str], code: int, reason: str
) -> None:
    Path("there").mkdir()
    Path("there/mine").touch()
    result = invoke(main, *arguments, "--json")
    assert result.exit_code == code, result.output
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("llorch-convert: ")
    assert json.loads(result.stdout)["error"]["reason"] == reason
    told = set() if code in (2, 3) else {"registry.db.runs"}  # what never began is no run
    assert {path.name for path in Path.cwd().iterdir()} == {source.name, "there"} | told
    assert [path.name for path in Path("there").iterdir()] == ["mine"]


def test_force_replaces_a_folder_that_a_conversion_wrote_and_nothing_else(source: Path) -> None:
    arguments = (source, "-o", "out", "--verify", "none")
    Path("out").mkdir()
    assert invoke(main, *arguments, "--dtype", "float32").exit_code == 0  # an empty folder needs no --force
    again = invoke(main, *arguments)
    assert again.exit_code == 6
    assert "--force replaces it" in again.stderr
    assert invoke(main, *arguments, "--dtype", "float16", "--force").exit_code == 0
    assert json.loads(Path("out/conversion.json").read_text())["dtype"] == "float16"
    Path("out/thesis.tex").write_text("forty pages")
    kept = invoke(main, *arguments, "--force")
    assert kept.exit_code == 6
    assert "out: the target exists already and holds 'thesis.tex'" in kept.stderr
    assert Path("out/thesis.tex").read_text() == "forty pages"


def test_a_blob_without_a_suffix_gets_a_folder_of_another_name(source: Path) -> None:
    blob = f"sha256-{'a' * 64}"
    source.rename(blob)
    result = invoke(main, blob, "--verify", "none")
    assert result.exit_code == 0, result.stderr
    assert Path(f"{blob}-hf", "config.json").is_file()


def test_a_source_that_may_not_be_read_ends_with_5(source: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    source.chmod(0)
    assert invoke(main, source).exit_code == 5


@pytest.mark.parametrize("url", ["/dev/null/registry.db", "Tiny.Q4.gguf"])
def test_a_registry_that_cannot_be_used_ends_with_4_keeps_the_folder_and_says_how_to_go_on(
    source: Path, url: str
) -> None:
    result = invoke(main, source, "-o", "out", "--verify", "none", "--registry", url)
    assert result.exit_code == 4, result.output
    assert Path("out/model.safetensors").is_file()
    assert result.stdout.startswith("converted  ")
    assert f"llorch-registry adopt {Path('out').absolute()}" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_password_in_the_registrys_url_is_never_shown(source: Path) -> None:
    url = "postgresql+psycopg://me:hunter2@127.0.0.1:1/none"
    result = invoke(main, source, "-o", "out", "--verify", "none", "--registry", url, "--json")
    assert result.exit_code == 4
    assert "hunter2" not in result.output


def test_a_failed_check_ends_with_1_and_is_recorded(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Damage the folder between the conversion and its verification."""
    right = convert.verify

    def damaged_first(conversion: Conversion, level: str) -> object:
        template = conversion.folder / "chat_template.jinja"
        template.write_text(template.read_text() + " ")
        return right(conversion, level)

    monkeypatch.setattr(convert, "verify", damaged_first)
    result = invoke(main, source, "-o", "out")
    assert result.exit_code == 1, result.output
    assert "verified   FAILED" in result.stdout
    assert "template.text" in result.stdout
    assert recorded() == [("out@latest", "FAILED")]


def test_a_verification_that_could_not_be_made_ends_with_1_and_keeps_the_folder(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "subprocess.run", lambda *_, **__: type("Done", (), {"returncode": -9, "stdout": b""})()
    )
    result = invoke(main, source, "-o", "out")
    assert result.exit_code == 1
    assert "ended with signal 9" in result.stderr
    assert Path("out/model.safetensors").is_file()


def test_a_verification_that_cannot_be_started_is_told_and_the_folder_is_kept_and_recorded(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/dev/null")  # nobody may run it
    result = invoke(main, source, "-o", "out")
    assert result.exit_code == 5
    assert result.stderr == (
        "llorch-convert: the verification could not be started: Permission denied, what it was of is kept: "
        f"llorch-verify {Path('out').absolute()} tries again\n"
    )
    assert "recorded   out" in result.stdout
    assert Path("out", "config.json").is_file()


def test_warnings_are_lines_on_stderr_and_strict_makes_errors_of_them(alone: Path) -> None:
    file = random_llama().drop("tokenizer.ggml.pre").write(alone / "m.gguf")
    result = invoke(main, file, "-o", "out", "--verify", "none")
    assert result.exit_code == 0
    assert result.stderr.startswith("llorch-convert: warning: ")
    strict = invoke(main, file, "-o", "strict", "--verify", "none", "--strict")
    assert strict.exit_code == 3
    assert not Path("strict").exists()


def test_a_name_can_be_given_with_an_alias(source: Path) -> None:
    assert invoke(main, source, "--verify", "none", "--name", "me/tiny@test").exit_code == 0
    assert recorded() == [("me/tiny@test", None)]


def test_the_umask_decides_who_may_read_the_folder(source: Path) -> None:
    before = os.umask(0o027)
    try:
        assert invoke(main, source, "-o", "out", "--verify", "none").exit_code == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE(Path("out").stat().st_mode) == 0o750
    assert stat.S_IMODE(Path("out/config.json").stat().st_mode) == 0o640


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_neither_target_nor_staging(alone: Path, number: signal.Signals) -> None:
    file = random_llama(layers=4, width=768, heads=8, feed_forward=2048).write(alone / "large.gguf")
    process = started("convert", file, "-o", "out", "--verify", "none", "--threads", "1")
    while process.poll() is None and not list(alone.glob(".out.staging-*/folder/model.safetensors")):
        time.sleep(0.001)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == -number
    assert err == f"llorch-convert: stopped by signal {number.value}\n"
    assert sorted(path.name for path in alone.iterdir()) == ["large.gguf", "registry.db.runs"]


def test_a_signal_during_the_check_says_what_is_kept_and_how_to_go_on(source: Path) -> None:
    process = started("convert", source, "-o", "out")
    while process.poll() is None and not (Path("registry.db").exists() and recorded()):
        time.sleep(0.01)
    time.sleep(0.3)  # the check, a process that loads torch, has begun and is far from its end
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (-signal.SIGINT, "")
    folder = Path("out").absolute()
    assert err.splitlines() == [
        f"llorch-convert: {folder} is converted and kept, recorded as out, but not checked: `llorch-verify {folder}` "
        "checks it",
        "llorch-convert: stopped by signal 2",
    ]
    assert recorded() == [("out@latest", None)]
    assert Path("out/model.safetensors").is_file()
