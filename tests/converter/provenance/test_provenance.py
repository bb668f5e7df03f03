"""The records of a conversion: what they must contain, and that it is true of the files."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime
from typing import Any

import pytest

from llorch.converter import Conversion, convert
from llorch.converter.digests import tree_digest, tree_manifest, weights_digest
from tests.models.tiny import tiny_llama

UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Conversion:
    source = tmp_path_factory.mktemp("source") / "tiny model.gguf"
    source.write_bytes(tiny_llama().build())
    return convert(source, source.parent / "out")


@pytest.fixture(scope="module")
def record(converted: Conversion) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((converted.folder / "conversion.json").read_bytes())
    return content


@pytest.fixture(scope="module")
def statement(converted: Conversion) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((converted.folder / "provenance.intoto.json").read_bytes())
    return content


def test_the_digest_of_a_folder_is_the_published_vector() -> None:
    files = [("config.json", sha256(b"{}"), 2), ("a/é.txt", sha256(b""), 0)]
    assert tree_digest(files) == "tree1:316563b0ec01705298006ade3a832abe4771a5fe1263e4b31647f906ac909bb3"


def test_the_digest_of_weights_is_the_published_vector() -> None:
    tensors = [("b", "BF16", (2, 3), sha256(bytes(12))), ("a", "F32", (), sha256(bytes(4)))]
    assert (
        weights_digest(tensors) == "weights1:61a7e00b9897bc9f4ff841b7ca2cd11b37444cca6ecefa6331e8bbbb1a426b8a"
    )


def test_conversion_json_is_the_conversion_as_json(converted: Conversion, record: dict[str, Any]) -> None:
    assert record == json.loads(json.dumps(converted.to_json()))


def test_names_that_a_chat_template_refers_to_are_recorded(
    converted: Conversion, record: dict[str, Any]
) -> None:
    template = (converted.folder / "chat_template.jinja").read_text()
    assert record["chat_templates"] == {
        "chat_template.jinja": {
            "characters": len(template),
            "names": ["messages"],
            "urls": [],
            "dunder_names": [],
            "findings": [],
        }
    }
    assert record["findings"] == []


def test_every_file_of_the_folder_is_listed_with_its_digest(
    converted: Conversion, record: dict[str, Any]
) -> None:
    folder = converted.folder
    there = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    listed = {file["path"]: (file["sha256"], file["size"]) for file in record["files"]}
    records = {file.path: (file.sha256, file.size) for file in converted.records}
    assert {path: (sha256(content), len(content)) for path, content in there.items()} == listed | records
    assert set(records) == {"conversion.json", "provenance.intoto.json"}
    assert {file["role"] for file in record["files"]} == {"card", "weights", "config", "tokenizer"}


def test_every_source_is_listed_with_its_digest_and_found_from_the_folder(
    converted: Conversion, record: dict[str, Any]
) -> None:
    (source,) = record["sources"]
    content = (converted.folder / source["path"]).read_bytes()
    assert source["name"] == "tiny model.gguf"
    assert (source["sha256"], source["size"]) == (sha256(content), len(content))


def test_every_tensor_is_listed_with_its_source_and_its_place(
    converted: Conversion, record: dict[str, Any]
) -> None:
    weights = (converted.folder / "model.safetensors").read_bytes()
    for row in record["tensors"]:
        assert sha256(weights[row["offset"] : row["offset"] + row["size"]]) == row["sha256"]
    rows = {row["name"]: row for row in record["tensors"]}
    assert rows["model.layers.0.self_attn.q_proj.weight"] == {
        "name": "model.layers.0.self_attn.q_proj.weight",
        "dtype": "BF16",
        "shape": [32, 32],
        "sources": [{"tensor": "blk.0.attn_q.weight", "quant": "Q8_0", "first_row": 0, "rows": 32}],
        "operation": {"name": "rope_halves", "parameters": {"head_dim": 8}},
        "file": "model.safetensors",
        "offset": rows["model.layers.0.self_attn.q_proj.weight"]["offset"],
        "size": 32 * 32 * 2,
        "sha256": rows["model.layers.0.self_attn.q_proj.weight"]["sha256"],
    }
    assert rows["model.norm.weight"]["operation"] is None


def test_the_mix_of_types_is_counted(record: dict[str, Any]) -> None:
    # By hand: 3 norms of 32 weights in 4 bytes each; all others are blocks of 32 weights in 34 bytes.
    mix = record["quantization"]
    assert mix["types"]["F32"] == {"tensors": 3, "weights": 96, "size": 384}
    q8 = mix["types"]["Q8_0"]
    assert (q8["tensors"], q8["size"]) == (9, q8["weights"] // 32 * 34)
    assert mix["bits_per_weight"] == round(8 * (384 + q8["size"]) / (96 + q8["weights"]), 4)


def test_times_are_utc_in_milliseconds(record: dict[str, Any]) -> None:
    assert UTC.fullmatch(record["times"]["started"])
    assert UTC.fullmatch(record["times"]["finished"])


def test_two_conversions_differ_in_their_times_only(converted: Conversion, record: dict[str, Any]) -> None:
    again = convert(converted.sources[0].path, converted.folder.with_name("again"), threads=1)
    other = json.loads((again.folder / "conversion.json").read_bytes())
    assert again.tree == converted.tree
    assert {**other, "times": None} == {**record, "times": None}


def test_the_callers_run_id_is_in_both_records_with_its_time_and_in_no_digest(converted: Conversion) -> None:
    run = "01938000-0000-7abc-8def-0123456789ab"
    began = "2024-12-01T02:15:03.250Z"
    started = datetime.fromisoformat(began)
    again = convert(
        converted.sources[0].path, converted.folder.with_name("told"), threads=1, run_id=run, started=started
    )
    record, statement = (
        json.loads((again.folder / name).read_bytes())
        for name in ("conversion.json", "provenance.intoto.json")
    )
    assert (record["run"], record["times"]["started"]) == (run, began)
    metadata = statement["predicate"]["runDetails"]["metadata"]
    assert (metadata["invocationId"], metadata["startedOn"]) == (f"urn:uuid:{run}", began)
    assert (again.tree, again.weights) == (converted.tree, converted.weights)


@pytest.mark.parametrize("run", ["", "first", "c232ab00-9414-11ec-b3c8"])
def test_an_id_that_is_not_a_uuid_is_refused_before_anything_is_written(
    converted: Conversion, run: str
) -> None:
    target = converted.folder.with_name("refused")
    with pytest.raises(ValueError, match="UUID"):
        convert(converted.sources[0].path, target, run_id=run)
    assert not target.exists()


def test_records_name_no_place_on_this_machine_above_the_source(converted: Conversion) -> None:
    for name in ("conversion.json", "provenance.intoto.json"):
        assert str(converted.folder.parent) not in (converted.folder / name).read_text()


def test_the_statement_has_what_in_toto_and_slsa_require(statement: dict[str, Any]) -> None:
    # in-toto Statement v1 and SLSA provenance v1: their required fields.
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    definition, details = statement["predicate"]["buildDefinition"], statement["predicate"]["runDetails"]
    assert definition["buildType"].startswith("https://")
    assert definition["externalParameters"] == {
        "dtype": "auto",
        "maxShardSize": "5000000000",
        "strict": "false",
        "allowUnknown": "false",
    }
    assert details["builder"]["id"].startswith("https://")
    assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", details["metadata"]["invocationId"])
    assert UTC.fullmatch(details["metadata"]["startedOn"])


def test_the_statements_subjects_are_the_files_and_its_input_the_source(
    converted: Conversion, statement: dict[str, Any]
) -> None:
    subjects = [(subject["name"], subject["digest"]["sha256"]) for subject in statement["subject"]]
    assert subjects == sorted((file.path, file.sha256) for file in converted.files)
    (dependency,) = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert dependency["uri"] == "file:tiny%20model.gguf"
    assert dependency["digest"] == {"sha256": converted.sources[0].sha256}


def test_the_statements_byproducts_are_the_record_and_the_tree(
    converted: Conversion, statement: dict[str, Any]
) -> None:
    byproducts = {
        row["name"]: row["digest"]["sha256"] for row in statement["predicate"]["runDetails"]["byproducts"]
    }
    manifest = tree_manifest((file.path, file.sha256, file.size) for file in converted.files)
    assert byproducts == {
        "conversion.json": sha256((converted.folder / "conversion.json").read_bytes()),
        "tree-manifest.json": sha256(manifest),
    }
    assert converted.tree == f"tree1:{byproducts['tree-manifest.json']}"


def test_records_are_json_with_a_line_end(converted: Conversion) -> None:
    for name in ("conversion.json", "provenance.intoto.json", "config.json", "generation_config.json"):
        content = (converted.folder / name).read_bytes()
        assert content.endswith(b"}\n")
        assert json.loads(content)
