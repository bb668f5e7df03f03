"""`diff`, `affected` and `reproduction` answer from the records, without reading the disk."""

from __future__ import annotations

from dataclasses import replace

import pytest

from llorch.registry import Registry
from llorch.registry.errors import InvalidReference, UnknownReference
from llorch.registry.records.records import EdgeRecord, FileRecord, Json, TensorRecord
from tests.registry.invented import conversion, folder, gguf, sha256, verification


def tensor(name: str, content: str) -> TensorRecord:
    return TensorRecord(name, "BF16", (2, 3), "model.safetensors", 100, 12, sha256(content))


def test_two_artifacts_differ_in_facts_files_and_tensors(registry: Registry) -> None:
    a = replace(
        folder("a"),
        weights_digest=None,
        facts={"license": "mit"},
        tensors=[tensor("x", "1"), tensor("y", "2")],
    )
    b = replace(
        folder("b"),
        weights_digest=None,
        facts={},
        dtype="float32",
        tensors=[tensor("x", "1"), tensor("y", "3")],
    )
    card = FileRecord("README.md", sha256("card"), 4, "card")
    b = replace(b, files=[a.files[0], *b.files[1:], card])
    for made in (a, b):
        registry.record(replace(conversion(made.digest), edges=[EdgeRecord("output", made)]))
    found = registry.diff(a.digest, b.digest)
    assert found.facts == {"dtype": ["bfloat16", "float32"], "license": ["mit", None]}
    assert (found.files.only_b, found.files.differing, found.files.equal) == (
        ["README.md"],
        ["model.safetensors"],
        1,
    )
    assert (found.tensors.differing, found.tensors.equal) == (["y"], 1)
    assert not found.is_equal


def test_an_artifact_does_not_differ_from_itself(registry: Registry) -> None:
    registry.record(conversion())
    found = registry.diff(folder().digest, folder().digest[:20])
    assert found.is_equal
    assert (found.facts, found.files.differing, found.files.equal) == ({}, [], 2)


def made_with(registry: Registry, versions: dict[str, str]) -> None:
    for name, version in versions.items():
        registry.record(replace(conversion(name), tools={"llorch": version, "python": "3.11.7"}))


def test_versions_are_compared_as_versions(registry: Registry) -> None:
    made_with(registry, {"old": "0.2.9", "ten": "0.2.10", "new": "0.3.0", "odd": "unknown"})

    def found(builder: str) -> set[str]:
        return {one.digest for one in registry.affected(builder)}

    assert found("llorch<0.3") == {folder("old").digest, folder("ten").digest}
    assert found("llorch>=0.2.10,<0.3") == {folder("ten").digest}
    assert found("llorch") == {folder(name).digest for name in ("old", "ten", "new", "odd")}
    assert found("python==3.12.*") == found("torch") == set()


def test_what_was_made_of_it_is_affected_too(registry: Registry) -> None:
    made_with(registry, {"bad": "0.2.0"})
    made = replace(folder("derived"), architecture="phi3")
    edges = [EdgeRecord("input", folder("bad")), EdgeRecord("output", made)]
    derived = replace(conversion("derived"), tools={"llorch": "0.9"}, edges=edges)
    registry.record(derived, names={"model@prod": folder("derived").digest})
    found = registry.affected("llorch<0.3", "llama")
    assert [(one.digest, one.directly, one.names) for one in found] == [
        (folder("bad").digest, True, []),
        (folder("derived").digest, False, ["model@prod"]),
    ]
    assert found[0].places == ["here:/models/bad"]
    assert registry.affected("llorch<0.3", "phi3") == []


@pytest.mark.parametrize("builder", ["", "<0.3", "llorch<<1", "llorch<zero"])
def test_what_names_no_versions_is_refused(registry: Registry, builder: str) -> None:
    registry.record(conversion())
    with pytest.raises(InvalidReference):
        registry.affected(builder)


def test_a_run_is_made_again_by_its_parameters(registry: Registry) -> None:
    params: dict[str, Json] = {
        "dtype": "float16",
        "max_shard_size": 5_000_000_000,
        "strict": True,
        "force": False,
        "name": None,
    }
    registry.record(replace(conversion(), params=params))
    found = registry.reproduction(conversion().uid, "here")
    assert found.arguments == [
        "llorch-convert", "/models/tiny.gguf", "--dtype", "float16", "--max-shard-size", "5000000000", "--strict"
    ]  # fmt: skip
    assert (found.input, found.tree, found.weights) == (
        gguf().digest,
        folder().digest,
        folder().weights_digest,
    )


def test_what_cannot_be_made_again_says_why(registry: Registry) -> None:
    registry.record(conversion(), verification("tiny"), replace(conversion("failed"), status="failed"))
    with pytest.raises(UnknownReference, match="not seen on this host"):
        registry.reproduction(conversion().uid, "elsewhere")
    with pytest.raises(InvalidReference, match="failed"):
        registry.reproduction(conversion("failed").uid, "here")
    with pytest.raises(InvalidReference, match="artifact"):
        registry.reproduction(folder().digest, "here")
