"""Names move, are removed and stay in the log; only unnamed artifacts can be pruned."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from llorch.registry import Registry
from llorch.registry.errors import InvalidReference, UnknownReference
from tests.registry.invented import conversion, folder
from tests.registry.model_folder import adopted, write_folder


def test_an_alias_is_set_to_whatever_a_reference_means(registry: Registry) -> None:
    registry.record(conversion("a"), conversion("b"), names={"model": folder("a").digest})
    assert registry.set_alias("model@prod", "model", actor="me", reason="it passed") == folder("a").digest
    assert registry.set_alias("model@prod", folder("b").digest[:16]) == folder("b").digest
    assert registry.set_alias("model@prod", "model@prod~1", reason="back") == folder("a").digest
    log = registry.alias_log("model@prod")
    assert [(change.digest, change.reason) for change in log] == [
        (folder("a").digest, "back"), (folder("b").digest, None), (folder("a").digest, "it passed")
    ]  # fmt: skip
    assert log[-1].actor == "me"
    assert [change.name for change in registry.alias_log("model")] == ["model@prod"] * 3 + ["model@latest"]


def test_a_name_that_is_taken_away_means_nothing_and_is_remembered(registry: Registry) -> None:
    registry.record(conversion(), names={"tiny": folder().digest})
    assert registry.set_alias("tiny", None, reason="wrong") is None
    with pytest.raises(UnknownReference):
        registry.show("tiny")
    with pytest.raises(UnknownReference):
        registry.set_alias("tiny", None)
    assert registry.show("tiny~1").to_json()["digest"] == folder().digest
    assert [(change.digest, change.reason) for change in registry.alias_log("tiny")] == [
        (None, "wrong"), (folder().digest, None)
    ]  # fmt: skip
    assert registry.list()[0].names == []


def test_a_run_is_not_named(registry: Registry) -> None:
    registry.record(conversion())
    with pytest.raises(InvalidReference, match="is a run"):
        registry.set_alias("tiny", conversion().uid)


@pytest.fixture
def places(registry: Registry, tmp_path: Path) -> dict[str, Path]:
    """Recorded folders: one named, one unnamed, one changed, one with more files, one gone."""
    found = {}
    for seed, name in enumerate(["named", "unnamed", "changed", "more", "gone"]):
        found[name] = write_folder(tmp_path / name, seed=seed)
        run = adopted(found[name])
        registry.record(run, names={"kept": run.edges[0].artifact.digest} if name == "named" else {})
    (found["changed"] / "config.json").write_text("{}")
    (found["more"] / ".git").mkdir()
    shutil.rmtree(found["gone"])
    return found


def test_pruning_removes_unnamed_folders_that_are_as_recorded(
    registry: Registry, places: dict[str, Path]
) -> None:
    would = registry.prune("here", remove=False)
    assert {Path(one.path).name for one in would} == {"unnamed", "changed", "more", "gone"}
    assert places["unnamed"].is_dir()
    done = registry.prune("here", remove=True)
    assert [one.path for one in done] == [str(places["unnamed"])]
    assert {name for name, path in places.items() if path.exists()} == {"named", "changed", "more"}


def test_what_was_pruned_is_still_recorded(registry: Registry, places: dict[str, Path]) -> None:
    [gone] = registry.prune("here", remove=True)
    assert gone.path not in {one.path for one in registry.prune("here", remove=False)}
    shown = registry.show(gone.digest).to_json()
    assert shown["places"] == []
    assert shown["runs"]
    assert shown["files"]


def test_another_hosts_folders_are_not_pruned(registry: Registry, places: dict[str, Path]) -> None:
    assert registry.prune("there", remove=True) == []
    assert places["unnamed"].is_dir()
