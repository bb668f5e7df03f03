"""The registry's answers about names, copies and runs, as a user sees them."""

from __future__ import annotations

import json
import shutil
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from llorch.commands import run, verify
from llorch.commands.convert import command as convert
from llorch.commands.fetch import command as fetch
from llorch.commands.registry import command as registry
from llorch.verification.report import Status
from tests.commands.conftest import invoke
from tests.models.gguf_writer import U32, array
from tests.models.tiny import random_llama


def asked(*arguments: str) -> Any:
    """Return the JSON answer of llorch-registry."""
    return json.loads(invoke(registry.main, *arguments, "--json").stdout)


def converted(source: Path | str, folder: str, *options: str) -> Result:
    result = invoke(convert.main, source, "-o", folder, "--verify", "none", *options)
    assert result.exit_code == 0, result.stderr
    return result


def test_each_run_keeps_the_name_that_its_source_had(source: Path) -> None:
    shutil.copy(source, "alpha.gguf")
    source.rename("zeta.gguf")
    converted("zeta.gguf", "one", "--dtype", "float32")
    converted("alpha.gguf", "two", "--dtype", "float16")
    converted("alpha.gguf", "three", "--dtype", "float32")
    listed = {tuple(row["names"]): row["source"] for row in asked("list")["artifacts"]}
    assert listed == {("one@latest", "three@latest"): "alpha.gguf, zeta.gguf", ("two@latest",): "alpha.gguf"}
    for name, file in (("one", "zeta.gguf"), ("two", "alpha.gguf"), ("three", "alpha.gguf")):
        card = invoke(registry.main, "export", name, "--as", "model-card").stdout
        assert f"# {name}\n" in card
        assert f"Converted from `{file}`" in card
    tree = invoke(registry.main, "lineage", "one").stdout.splitlines()
    assert ("by convert as one" in tree[1], "zeta.gguf" in tree[2]) == (True, True)
    assert ("by convert as three" in tree[3], "alpha.gguf" in tree[4]) == (True, True)


def test_names_of_any_script_are_names_and_one_that_is_taken_is_told(alone: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "Modèle")
    for seed, name in enumerate(("模型", "модель", "हिन्दी", decomposed)):
        random_llama(seed=seed).write(alone / f"{name}.gguf")
        result = invoke(convert.main, f"{name}.gguf", "--verify", "none")
        assert (result.exit_code, result.stderr) == (0, "")
    names = {name for row in asked("list")["artifacts"] for name in row["names"]}
    assert names == {"模型@latest", "модель@latest", "हिन्दी@latest", "modèle@latest"}
    assert asked("show", decomposed.lower())["names"] == ["modèle@latest"]
    first = asked("show", "модель")["digest"]
    second = random_llama(seed=9).write(alone / "other.gguf")
    taken = invoke(convert.main, second, "-o", "deep/модель", "--verify", "none")
    assert taken.exit_code == 0
    assert f"warning: модель meant {first[:18]} until now" in taken.stderr
    assert "--name" in taken.stderr
    again = invoke(
        convert.main, second, "-o", "deep/модель", "--verify", "none", "--force", "--dtype", "float16"
    )
    assert (again.exit_code, again.stderr) == (0, "")  # its own name


def test_a_filter_that_nothing_passes_says_so(source: Path) -> None:
    assert "nothing is recorded in" in invoke(registry.main, "list", "--dtype", "bfloat16").stderr
    converted(source, "out")
    assert (
        "no architecture 'lama' is recorded" in invoke(registry.main, "list", "--architecture", "lama").stderr
    )
    wrong = invoke(registry.main, "list", "--dtype", "float8")
    assert (wrong.exit_code, wrong.stdout) == (0, "")
    assert wrong.stderr.rstrip().endswith("there are: float32")
    assert invoke(registry.main, "list", "--kind", "onnx").exit_code == 2
    none = invoke(registry.main, "list", "--name", "nobody", "--verified", "FAILED").stderr
    assert "none of the 1 recorded in" in none
    assert "passes --name nobody --verified FAILED" in none


def test_a_folder_that_we_wrote_is_adopted_by_its_own_record(source: Path) -> None:
    converted(source, "out", "--registry", "elsewhere.db")
    result = invoke(fetch.main, "--adopt", "out")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.split("\t")[0] == "out"
    (row,) = asked("list")["artifacts"]
    assert (row["names"], row["source"]) == (["out@latest"], "Tiny.Q4.gguf")
    Path("out/extra.json").write_text("{}")
    refused = invoke(fetch.main, "--adopt", "out")
    assert refused.exit_code == 3
    assert "'extra.json' is not listed in conversion.json" in refused.stderr


def test_a_folder_that_lost_its_record_is_the_same_content(source: Path) -> None:
    converted(source, "out")
    Path("out/conversion.json").unlink()
    result = invoke(fetch.main, "--adopt", "out")
    assert result.exit_code == 0, result.stderr
    (row,) = asked("list")["artifacts"]
    assert "out@latest" in row["names"]


def test_an_empty_history_says_so(source: Path) -> None:
    converted(source, "out")
    assert (
        "no run of --kind fetch is recorded in " in invoke(registry.main, "history", "--kind", "fetch").stderr
    )
    nothing = invoke(registry.main, "affected", "--builder", "llorch<0.0.1")
    assert (nothing.exit_code, nothing.stdout) == (0, "")
    assert "nothing recorded was made by 'llorch<0.0.1'" in nothing.stderr


def test_no_text_is_told_as_such(source: Path) -> None:
    for arguments in (("logits", source, ""), ("generate", source, "-p", "")):
        result = invoke(run.main, *arguments)
        assert result.exit_code == 2, result.output
        assert result.stderr.startswith("llorch-run: ")
        assert "bug" not in result.stderr


@pytest.mark.parametrize("change", ["one file too many", "one shard too few", "another source"])
def test_what_is_found_of_a_copy_is_no_verdict_of_the_original(source: Path, change: str) -> None:
    converted(source, "out", "--max-shard-size", "100kB")
    assert invoke(verify.main, "out").exit_code == 0
    shutil.copytree("out", "copy")
    arguments: tuple[str, ...] = ("copy",)
    if change == "one file too many":
        Path("copy/extra.json").write_text("{}")
    elif change == "one shard too few":
        next(iter(Path("copy").glob("model-00002*"))).unlink()
    else:
        other = random_llama(seed=7).write(Path("other.gguf"))
        wrong = invoke(verify.main, "copy", "--against", other)
        assert wrong.exit_code == 2
        assert (
            "other.gguf' is not the file that copy/conversion.json names (Tiny.Q4.gguf, sha256:"
            in wrong.stderr
        )
        arguments = ("copy", "--against", "other.gguf", "--other-source")
    result = invoke(verify.main, *arguments)
    assert result.exit_code == 1, result.stderr
    assert "said of this place and not recorded" in result.stderr
    (row,) = asked("list")["artifacts"]
    assert row["verified"] == "PASSED"
    assert [place["path"] for place in asked("show", "out")["places"]] == [str(Path("out").absolute())]


def test_a_failed_verification_is_told_as_failed(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    converted(source, "out")
    monkeypatch.setattr(
        "llorch.verification.check.Check.judged",
        lambda self, value, limit=None: Status.FAILED if self.name == "traits.rope" else Status.PASSED,
    )
    assert invoke(verify.main, "out").exit_code == 1
    rows = [line.split("\t") for line in invoke(registry.main, "history").stdout.splitlines()]
    assert [(row[1], row[2]) for row in rows] == [("verify", "FAILED"), ("convert", "succeeded")]
    assert "verify FAILED" in invoke(registry.main, "lineage", "out").stdout
    assert [run["verdict"] for run in asked("lineage", "out")["runs"]] == [None, "FAILED"]


def test_a_norm_stored_with_an_outer_one_is_converted_and_passes(alone: Path) -> None:
    model = random_llama()
    norm = next(tensor for tensor in model.tensors if tensor.name == "output_norm.weight")
    norm.ne = [*norm.ne, 1]  # ggml's order, the outer dimension last
    model.write(alone / "norm.gguf")
    result = invoke(convert.main, "norm.gguf")
    assert result.exit_code == 0, result.output
    assert "verified   PASSED" in result.stdout


@pytest.mark.parametrize("key", ["embedding_length", "context_length", "block_count"])
def test_an_array_of_one_is_no_number(alone: Path, key: str) -> None:
    """llama.cpp: `key … has wrong type arr but expected type u32`."""
    random_llama(layers=1).key(f"llama.{key}", array(U32, [64])).write(alone / "array.gguf")
    result = invoke(convert.main, "array.gguf")
    assert result.exit_code == 3
    assert f"llama.{key}" in result.stderr
    assert "array" in result.stderr
    looked = invoke(run.main, "generate", "array.gguf", "-p", "a")
    assert looked.exit_code == 3
    assert f"llama.{key}" in looked.stderr


def test_an_array_is_taken_where_llama_cpp_takes_one(alone: Path) -> None:
    model = random_llama().key("llama.attention.head_count", array(U32, [4, 4]))
    model.key("llama.feed_forward_length", array(U32, [96, 96])).write(alone / "array.gguf")
    assert invoke(convert.main, "array.gguf", "--verify", "none").exit_code == 0
