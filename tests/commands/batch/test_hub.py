"""A hub's repository is planned by its headers, pinned to its commit, and fetched task by task."""

from __future__ import annotations

import hashlib
from pathlib import Path

from llorch.commands.batch.command import main
from llorch.fleet import read_plan
from llorch.registry import Registry
from tests.commands.batch.conftest import require_ended_once
from tests.commands.batch.nodes import ended, node
from tests.commands.conftest import invoke
from tests.hub import Hub
from tests.hub.fixtures import hub, hub_servers
from tests.models.tiny import random_llama

__all__ = ["hub", "hub_servers"]


def test_a_repositorys_models_are_planned_unfetched_and_converted_from_their_commit(
    hub: Hub, alone: Path
) -> None:
    first, second = (random_llama(layers=1, seed=seed).build() for seed in (1, 2))
    repository = hub.repository(
        "owner/tiny-GGUF", {"a.gguf": first, "b.gguf": second, "README.md": b"# Tiny\n"}
    )
    commit = repository.commit({})
    done = invoke(main, "plan", "owner/tiny-GGUF", "owner/absent", "-o", "plan.jsonl", "--verify", "none")
    assert done.exit_code == 0, done.output
    assert not [row for row in hub.requests if row.server == "cdn" and "range" not in row.headers]
    absent, *tasks = sorted(read_plan(alone / "plan.jsonl").tasks, key=lambda task: task.source)
    assert absent.refused is not None
    assert [task.source for task in tasks] == [f"owner/tiny-GGUF@{commit}:{name}.gguf" for name in "ab"]
    assert [task.identity for task in tasks] == [
        f"sha256:{hashlib.sha256(one).hexdigest()}" for one in (first, second)
    ]
    assert [task.output for task in tasks] == ["owner--tiny-GGUF--a", "owner--tiny-GGUF--b"]
    assert all(task.needs.disk_bytes > task.source_bytes + task.output_bytes for task in tasks)
    repository.commit({"a.gguf": second})  # main goes on; the plan does not
    status, said = ended(node(alone / "plan.jsonl", alone / "out", "one"))
    assert status == 0, said
    states = require_ended_once(alone / "plan.jsonl", alone / "out")
    assert sorted(states.values()) == ["converted", "converted", "refused"]
    with Registry(alone / "registry.db") as team:
        kinds = {run.kind for run in team.lineage("owner--tiny-gguf--a").runs}
    assert kinds == {"fetch", "convert"}
