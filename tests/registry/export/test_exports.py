"""Exports: valid by others' validators and by rules that these omit, and the same bytes everywhere."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llorch.registry import Registry
from llorch.registry.digests import HashedFile, tree1
from llorch.registry.errors import UnknownReference
from llorch.registry.export.forms import WRITERS, Form
from llorch.registry.records.records import (
    ArtifactRecord,
    CheckRecord,
    EdgeRecord,
    FileRecord,
    RunRecord,
    SourceRecord,
)
from tests.registry.invented import conversion, gguf, sha256, verification

FORMS = list(WRITERS)


def made() -> ArtifactRecord:
    files = [
        FileRecord("model-00002-of-00002.safetensors", sha256("2"), 2, "weights"),
        FileRecord("é/ü config.json", sha256("1"), 1, "config"),
    ]
    digest = tree1(HashedFile(file.path, file.sha256, file.size_bytes) for file in files)
    record = FileRecord("conversion.json", sha256("record"), 3, "record")
    return ArtifactRecord(
        digest, "hf-folder", 3, [*files, record], f"weights1:{sha256('w')}", "llama", "bfloat16"
    )


def story(licence: str | list[str] = "Apache-2.0", label: str = "tiny.gguf") -> list[RunRecord]:
    """A download, a conversion, a verification."""
    source = replace(gguf(), facts={"license": licence, "base_model": "owner/base", "language": ["no", "en"]})
    came = SourceRecord("hub", "owner/name", "tiny.gguf", source.digest, "main", "a" * 40)
    fetched = replace(
        conversion("fetch"), kind="fetch", edges=[EdgeRecord("output", source, label)], sources=[came]
    )
    edges = [
        EdgeRecord("input", source, label, "/home/me/tiny.gguf"),
        EdgeRecord("output", made(), "tiny", "/home/me/tiny"),
    ]
    checked = replace(
        verification("tiny"), edges=[EdgeRecord("input", made(), "tiny")],
        checks=[CheckRecord(made().digest, "logits.kl", "PASSED", "1e-13", "1e-8", "<=", "nats")],
    )  # fmt: skip
    return [fetched, replace(conversion(), edges=edges), checked]


@pytest.fixture
def told(registry: Registry) -> Registry:
    registry.record(*story(), names={"tiny": made().digest})
    return registry


def document(registry: Registry, form: Form) -> Any:
    return json.loads(registry.export("tiny", form))


def test_the_statement_is_one_for_in_toto(told: Registry) -> None:
    statement_module = pytest.importorskip("in_toto_attestation.v1.statement", reason="in-toto-attestation")
    from google.protobuf import json_format
    from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
    from in_toto_attestation.v1 import statement_pb2

    found = document(told, "slsa")
    message = json_format.ParseDict(found, statement_pb2.Statement())
    statement_module.Statement.copy_from_pb(message).validate()
    predicate = json_format.ParseDict(found["predicate"], provenance_pb2.Provenance())
    assert json_format.MessageToDict(predicate)["buildDefinition"] == without_empty(
        found["predicate"]["buildDefinition"]
    )


def without_empty(found: dict[str, Any]) -> dict[str, Any]:
    """Return the message without empty fields, as protobuf has it, except in its structs."""
    return {name: value for name, value in found.items() if value or name.endswith("Parameters")}


def test_the_statement_says_what_was_made_of_what(told: Registry) -> None:
    """The requirements of SLSA v1 that in-toto's validator ignores."""
    found = document(told, "slsa")
    names = [one["name"] for one in found["subject"]]
    assert names == ["model-00002-of-00002.safetensors", "é/ü config.json"]
    assert [one["digest"] for one in found["subject"]] == [{"sha256": sha256("2")}, {"sha256": sha256("1")}]
    definition, details = found["predicate"]["buildDefinition"], found["predicate"]["runDetails"]
    assert definition["buildType"].startswith("https://")
    assert details["builder"]["id"].startswith("https://")
    assert definition["externalParameters"] == {"dtype": "auto", "maxShardSize": "5000000000"}
    assert definition["resolvedDependencies"] == [
        {
            "name": "input",
            "uri": f"hf://models/owner/name@{'a' * 40}/tiny.gguf",
            "digest": {"sha256": sha256("tiny.gguf")},
            "annotations": {"size": "1000"},
        }
    ]
    assert details["metadata"]["invocationId"] == f"urn:uuid:{conversion().uid}"
    assert details["metadata"]["startedOn"] == "2026-11-24T02:00:00Z"
    assert f"tree1:{details['byproducts'][0]['digest']['sha256']}" == made().digest


def test_several_licences_are_all_named(registry: Registry) -> None:
    registry.record(*story(["mit", "apache-2.0"]), names={"tiny": made().digest})
    assert "mit, apache-2.0" in registry.export("tiny", "model-card").decode()


@pytest.mark.parametrize("licence", ["Apache-2.0", "llama3", "odd licence"])
def test_the_spdx_document_is_valid_and_says_what_the_record_says(registry: Registry, licence: str) -> None:
    from spdx_python_model import v3_0_1 as model

    registry.record(*story(licence), names={"tiny": made().digest})
    objects = model.SHACLObjectSet()
    model.JSONLDDeserializer().read(io.BytesIO(registry.export("tiny", "spdx")), objects)
    assert not objects.missing_ids
    [root] = [one for document in objects.foreach_type("SpdxDocument") for one in document.rootElement]
    assert isinstance(root, model.ai_AIPackage)
    assert (root.name, root.software_packageVersion) == ("tiny", made().digest)
    assert {(one.key, one.value) for one in root.ai_metric} == {("logits.kl", "1e-13")}
    files = {one.name: one.verifiedUsing[0].hashValue for one in objects.foreach_type("software_File")}
    assert files == {file.path: file.sha256 for file in made().files if file.role != "record"}
    related = {
        one.relationshipType.rpartition("/")[2]: list(one.to) for one in objects.foreach_type("Relationship")
    }
    [source] = related["descendantOf"]
    assert source.software_downloadLocation == f"hf://models/owner/name@{'a' * 40}/tiny.gguf"
    assert source.comment == "base model: owner/base"
    assert source.verifiedUsing[0].hashValue == gguf().digest.removeprefix("sha256:")
    [declared] = related["hasDeclaredLicense"]
    expected = {
        "Apache-2.0": "Apache-2.0",
        "llama3": "LicenseRef-llama3",
        "odd licence": "LicenseRef-odd-licence",
    }
    assert declared.simplelicensing_licenseExpression == expected[licence]


@pytest.mark.parametrize("licence", ["Apache-2.0", "llama3", "odd licence"])
@pytest.mark.parametrize("version", ["1.6", "1.7"])
def test_the_bill_of_materials_is_valid(registry: Registry, version: str, licence: str) -> None:
    validation = pytest.importorskip("cyclonedx.validation.json", reason="cyclonedx-python-lib")
    from cyclonedx.schema import SchemaVersion

    registry.record(*story(licence), names={"tiny": made().digest})
    form: Form = "cyclonedx-1.6" if version == "1.6" else "cyclonedx-1.7"
    validator = validation.JsonStrictValidator(SchemaVersion.from_version(version))
    assert validator.validate_str(registry.export("tiny", form).decode()) is None


def test_the_bill_of_materials_keeps_what_the_schema_forgets(told: Registry) -> None:
    found = document(told, "cyclonedx")
    component = found["metadata"]["component"]
    references = [component["bom-ref"], *(one["bom-ref"] for one in component["components"])]
    references += [one["bom-ref"] for one in component["pedigree"]["ancestors"]]
    assert len(set(references)) == len(references)
    hashes = [one["hashes"] for one in (*component["components"], *component["pedigree"]["ancestors"])]
    assert all(one[0]["content"] == one[0]["content"].lower() for one in hashes)
    assert "hashes" not in component
    assert component["version"] == made().digest
    assert component["modelCard"]["quantitativeAnalysis"]["performanceMetrics"] == [
        {"type": "logits.kl", "value": "1e-13"}
    ]
    assert component["licenses"] == [{"license": {"id": "Apache-2.0"}}]


def front_matter(card: str) -> dict[str, Any]:
    import yaml

    _, block, _ = card.split("---\n", 2)
    found: dict[str, Any] = yaml.safe_load(block)
    return found


def test_the_cards_metadata_is_read_as_it_was_told(told: Registry) -> None:
    card = told.export("tiny", "model-card").decode()
    assert front_matter(card) == {
        "base_model": "owner/base",
        "language": ["no", "en"],
        "library_name": "transformers",
        "license": "apache-2.0",
        "pipeline_tag": "text-generation",
        "tags": ["llama"],
    }
    assert "base_model_relation" not in card
    assert f"`{made().digest}`" in card
    assert "| logits.kl | PASSED | 1e-13 | `<= 1e-8` |" in card


def test_the_card_is_what_the_hubs_library_reads(told: Registry) -> None:
    cards = pytest.importorskip("huggingface_hub", reason="huggingface_hub")
    card = cards.ModelCard(told.export("tiny", "model-card").decode())
    assert (card.data.license, card.data.base_model, card.data.library_name) == (
        "apache-2.0", "owner/base", "transformers"
    )  # fmt: skip


def test_a_licence_that_the_hub_does_not_know_is_other_by_name(registry: Registry) -> None:
    registry.record(*story("My: licence\n# x"), names={"tiny": made().digest})
    found = front_matter(registry.export("tiny", "model-card").decode())
    assert (found["license"], found["license_name"]) == ("other", "My: licence\n# x")


def test_text_of_a_file_has_no_meaning_in_the_card(registry: Registry) -> None:
    registry.record(*story(label="a|b`c\n<script>"), names={"tiny": made().digest})
    card = registry.export("tiny", "model-card").decode()
    assert "<script>" not in card
    assert "a\\|b'c\\n" in card


@pytest.mark.parametrize("form", FORMS)
def test_no_host_and_no_path_of_a_machine_is_exported(told: Registry, form: Form) -> None:
    text = told.export("tiny", form).decode()
    assert "/home/me" not in text
    assert '"here"' not in text


PROGRAM = """
import sys
from llorch.registry import Registry
sys.stdout.buffer.write(b"".join(Registry(sys.argv[1]).export("tiny", form) for form in sys.argv[2:]))
"""


def test_every_process_exports_the_same_bytes(told: Registry, registry_url: str) -> None:
    here = b"".join(told.export("tiny", form) for form in FORMS)
    settings = {"PYTHONHASHSEED": "7", "TZ": "Asia/Kolkata", "LC_ALL": "C", "PYTHONUTF8": "0"}
    child = subprocess.run(
        [sys.executable, "-c", PROGRAM, registry_url, *FORMS],
        env={**os.environ, **settings}, capture_output=True, check=True,
    )  # fmt: skip
    assert child.stdout == here


def test_every_database_exports_the_same_bytes(told: Registry, tmp_path: Path) -> None:
    again = Registry(tmp_path / "again.db")
    again.merge(told)
    for form in FORMS:
        assert again.export("tiny", form) == told.export("tiny", form)


def test_what_no_run_made_is_not_exported(told: Registry) -> None:
    told.record(replace(conversion("only input"), edges=[EdgeRecord("input", gguf("other.gguf"))]))
    with pytest.raises(UnknownReference, match="no recorded run made it"):
        told.export(gguf("other.gguf").digest, "slsa")
