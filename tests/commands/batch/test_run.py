"""A run converts what was planned, whatever other drivers run and whatever dies in between."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from llorch.commands.batch.command import main
from llorch.fleet import STATE, BatchFolder, read_plan
from llorch.registry import ArtifactAnswer, Registry
from tests.commands.batch.conftest import Planned, require_ended_once, trees
from tests.commands.batch.nodes import ended, node
from tests.commands.batch.served import served
from tests.commands.conftest import invoke
from tests.models.tiny import add_arrays, random_llama


def receipts(plan: Path, out: Path) -> dict[str, dict[str, object]]:
    folder = BatchFolder(out / STATE)
    return {task.output: dict(folder.receipt(task.key) or {}) for task in read_plan(plan).tasks}


def test_a_run_makes_what_single_conversions_make_and_records_it_in_the_teams_registry(
    planned: Planned, alone: Path
) -> None:
    from llorch import converter

    plan = planned(3)
    for number in range(3):
        converter.convert(alone / f"models/m{number:03}.gguf", alone / "single" / f"m{number:03}")
    done = invoke(main, "run", plan, "--out", "out", "--workers", "2")
    assert done.exit_code == 0, done.output
    assert trees(alone / "out") == trees(alone / "single")
    assert set(require_ended_once(plan, alone / "out").values()) == {"converted"}
    with Registry(alone / "registry.db") as team:
        for name, receipt in receipts(plan, alone / "out").items():
            known = team.show(name)
            assert isinstance(known, ArtifactAnswer)
            assert known.digest == receipt["tree"]
            runs = [run for run in team.lineage(name).runs if run.kind == "convert"]
            assert [run.uid for run in runs] == [receipt["run"]]
            assert [row.host for row in team.history(name) if row.kind == "convert"] == [os.uname().nodename]


def test_what_is_finished_is_skipped(planned: Planned, alone: Path) -> None:
    plan = planned(2)
    invoke(main, "run", plan, "--out", "out", "--workers", "1")
    before = receipts(plan, alone / "out")
    done = invoke(main, "run", plan, "--out", "out", "--workers", "1", "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["states"]["converted"] == 2
    assert receipts(plan, alone / "out") == before


def test_shards_make_what_one_run_makes(planned: Planned, alone: Path) -> None:
    plan = planned(5)
    invoke(main, "run", plan, "--out", "whole", "--workers", "1")
    for number in ("1/3", "2/3", "3/3"):
        assert (
            invoke(main, "run", plan, "--out", "shards", "--shard", number, "--workers", "1").exit_code == 0
        )
    assert trees(alone / "shards") == trees(alone / "whole")
    assert len(trees(alone / "shards")) == 5


def test_a_shard_is_known_from_what_started_it(
    planned: Planned, alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(2)
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "0")
    done = invoke(main, "run", plan, "--out", "out")
    assert done.exit_code == 2
    assert "JOB_COMPLETION_COUNT is not" in done.stderr
    monkeypatch.setenv("JOB_COMPLETION_COUNT", "2")
    done = invoke(main, "run", plan, "--out", "out", "--workers", "1")
    assert "shard 1/2, as JOB_COMPLETION_INDEX says: 1 tasks" in done.stderr
    assert len(trees(alone / "out")) == 1
    assert invoke(main, "run", plan, "--out", "out", "--workers", "1", "--shard", "1/1").exit_code == 0
    assert len(trees(alone / "out")) == 2


def test_two_drivers_on_one_plan_convert_every_model_once(planned: Planned, alone: Path) -> None:
    plan = planned(8)
    nodes = [node(plan, alone / "out", name) for name in ("one", "two")]
    assert [ended(process)[0] for process in nodes] == [0, 0]
    assert set(require_ended_once(plan, alone / "out").values()) == {"converted"}
    found = receipts(plan, alone / "out")
    assert {receipt["attempt"] for receipt in found.values()} == {1}
    with Registry(alone / "registry.db") as team:
        assert len([run for run in team.history(limit=None) if run.kind == "convert"]) == 8


def test_a_model_that_cannot_be_converted_a_source_that_is_gone_and_one_that_changed_end_with_their_cause(
    planned: Planned, alone: Path
) -> None:
    """Tasks that were planned, because their headers are valid, but fail; none of them delays the others."""
    (alone / "models").mkdir()
    poison = add_arrays(random_llama(layers=1, width=32, feed_forward=32), {})
    poison.write(alone / "models" / "poison.gguf")
    content = bytearray((alone / "models" / "poison.gguf").read_bytes())
    content[-4:] = np.float32(np.nan).tobytes()
    (alone / "models" / "poison.gguf").write_bytes(content)
    random_llama(layers=1, seed=77).write(alone / "models" / "gone.gguf")
    random_llama(layers=1, seed=78).write(alone / "models" / "changed.gguf")
    plan = planned(2)
    (alone / "models" / "gone.gguf").unlink()
    random_llama(layers=1, seed=79).write(alone / "models" / "changed.gguf")
    done = invoke(main, "run", plan, "--out", "out", "--workers", "1")
    assert done.exit_code == 1
    states = require_ended_once(plan, alone / "out")
    assert states == {
        "changed": "failed",
        "gone": "failed",
        "m000": "converted",
        "m001": "converted",
        "poison": "failed",
    }
    found = receipts(plan, alone / "out")
    assert found["gone"]["reason"] == "missing"
    assert found["changed"]["reason"] == "changed"
    assert found["poison"]["reason"] in ("malformed", "unsupported")
    assert "tensor" in str(found["poison"]["message"])
    assert sum("llorch-batch: failed: " in line for line in done.stderr.splitlines()) == 3
    random_llama(layers=1, seed=77).write(alone / "models" / "gone.gguf")
    again = invoke(main, "run", plan, "--out", "out", "--workers", "1", "--retry-failed")
    assert again.exit_code == 1
    assert require_ended_once(plan, alone / "out")["gone"] == "converted"


def test_a_node_whose_disk_is_full_leaves_what_it_cannot_hold_to_another(
    planned: Planned, alone: Path
) -> None:
    """A limit on file size stands for a full disk: neither large model can be written there, both small ones can."""
    (alone / "models").mkdir()
    for number in range(2):
        large = random_llama(layers=2, width=256, feed_forward=1024, seed=number)
        large.write(alone / "models" / f"large{number}.gguf")
    plan = planned(2)
    status, said = ended(node(plan, alone / "out", "full", most_bytes=4 << 20))
    assert status == 5, said
    assert "left: large" in said
    assert "full ran out of disk" in said
    assert sorted(trees(alone / "out")) == ["m000", "m001"]
    status, said = ended(node(plan, alone / "out", "roomy"))
    assert status == 0, said
    assert set(require_ended_once(plan, alone / "out").values()) == {"converted"}


def test_a_file_of_another_machine_is_left_to_that_one(planned: Planned, alone: Path) -> None:
    """A source that this machine has too, as on a shared folder, is converted here."""
    plan = planned(2)
    rows = [json.loads(line) for line in plan.read_text().splitlines()]
    assert [row["host"] for row in rows[1:]] == [os.uname().nodename] * 2
    plan.write_text(
        "".join(json.dumps(row | ({"host": "far"} if "host" in row else {})) + "\n" for row in rows)
    )
    (alone / "models" / "m001.gguf").unlink()
    done = invoke(main, "run", plan, "--out", "out", "--workers", "1", "--node", "near")
    assert done.exit_code == 5
    assert "left: m001: its source is not on near; it was planned on far" in done.stderr
    assert sorted(trees(alone / "out")) == ["m000"]


def test_what_needs_more_than_this_machine_may_give_is_left_with_what_it_lacks(
    planned: Planned, alone: Path
) -> None:
    done = invoke(main, "run", planned(1), "--out", "out", "--disk", "1MB", "--node", "small")
    assert done.exit_code == 5
    assert "left: m000: it needs " in done.stderr
    assert "bytes of disk, small has 1,000,000" in done.stderr


def test_a_folder_that_an_attempt_made_whole_and_did_not_live_to_tell_of_is_taken(
    planned: Planned, alone: Path
) -> None:
    plan = planned(1)
    invoke(main, "run", plan, "--out", "out", "--workers", "1")
    before = (alone / "out" / "m000" / "conversion.json").read_bytes()
    first = receipts(plan, alone / "out")["m000"]
    (alone / "out" / ".m000.lock").touch()
    for receipt in (alone / "out" / STATE / "receipts").iterdir():
        receipt.unlink()
    assert invoke(main, "run", plan, "--out", "out", "--workers", "1").exit_code == 0
    assert (alone / "out" / "m000" / "conversion.json").read_bytes() == before
    assert receipts(plan, alone / "out")["m000"]["run"] == first["run"]
    assert require_ended_once(plan, alone / "out") == {"m000": "converted"}


def test_a_folder_of_somebody_else_is_left_alone(planned: Planned, alone: Path) -> None:
    plan = planned(1)
    (alone / "out" / "m000").mkdir(parents=True)
    (alone / "out" / "m000" / "mine.txt").write_text("mine")
    done = invoke(main, "run", plan, "--out", "out", "--workers", "1", "--retries", "0")
    assert done.exit_code == 1
    assert receipts(plan, alone / "out")["m000"]["reason"] == "exists"
    assert (alone / "out" / "m000" / "mine.txt").read_text() == "mine"


def test_a_model_of_a_web_server_is_fetched_converted_and_goes_away(alone: Path) -> None:
    random_llama(layers=1).write(alone / "m.gguf")
    with served(alone) as url:
        invoke(main, "plan", f"{url}/m.gguf", "-o", "plan.jsonl", "--verify", "none")
        done = invoke(main, "run", "plan.jsonl", "--out", "out", "--workers", "1")
        assert done.exit_code == 0, done.output
        (alone / "m.gguf").unlink()
        random_llama(layers=1, seed=5).write(alone / "m.gguf")
        other = invoke(main, "run", "plan.jsonl", "--out", "other", "--workers", "1")
    assert require_ended_once(alone / "plan.jsonl", alone / "out") == {"m": "converted"}
    assert not (alone / "out" / STATE / "scratch").exists()
    assert other.exit_code == 1
    assert receipts(alone / "plan.jsonl", alone / "other")["m"]["reason"] == "changed"


def test_a_team_registry_that_is_away_costs_no_task(planned: Planned, alone: Path) -> None:
    plan = planned(1)
    (alone / "team.db").write_text("no database\n" * 100)
    done = invoke(
        main, "run", plan, "--out", "out", "--workers", "1", "--node", "n1", "--registry", "team.db"
    )
    assert done.exit_code == 4
    assert "team.db" in done.stderr
    assert "llorch-registry merge" in done.stderr
    assert require_ended_once(plan, alone / "out") == {"m000": "converted"}
    with Registry(alone / "out" / STATE / "registries" / "n1.db") as kept:
        assert [list(row.names) for row in kept.list()] == [["m000@latest"]]


@pytest.mark.slow
def test_a_run_verifies_as_it_was_planned_to(planned: Planned, alone: Path) -> None:
    plan = planned(2, level="quick")
    done = invoke(main, "run", plan, "--out", "out", "--workers", "2")
    assert done.exit_code == 0, done.output
    assert {receipt["verified"] for receipt in receipts(plan, alone / "out").values()} == {"PASSED"}
    with Registry(alone / "registry.db") as team:
        assert {row.verified for row in team.list()} == {"PASSED"}
