"""Two registries are merged, with the same result in any order, or the merge is refused."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llorch.registry import Registry
from llorch.registry.errors import ConflictingRecord, RefusedByPolicy
from llorch.registry.records.records import CheckRecord, EdgeRecord, RunRecord, SignatureRecord
from tests.registry.invented import START, conversion, folder, gguf, uid, verification


@dataclass(frozen=True)
class Told:
    """A record for a registry: a run, a name at a time, or, without either, a signature."""

    run: RunRecord | None = None
    name: str = ""
    to: str = ""
    minute: int = 0


def run_of(n: int, bare: bool, running: bool, host: str) -> RunRecord:
    """Run `n` with more or fewer facts: the artifacts' facts, the host, the end."""
    told = conversion(f"m{n}", at=START + timedelta(minutes=n), host=host)
    made = folder(f"m{n}", facts={} if bare else {"license": "mit", host: n})
    if bare:
        made = replace(made, weights_digest=None, dtype=None, files=())
    told = replace(told, edges=[replace(told.edges[0], label=host), EdgeRecord("output", made)])
    return replace(told, status="running", finished_at=None, exit_code=None, edges=[]) if running else told


runs = st.builds(
    run_of, st.integers(0, 2), st.booleans(), st.booleans(), st.sampled_from(["here", "there"])
).map(lambda run: Told(run=run))
checks = st.builds(
    lambda n, minute: Told(
        run=verification(f"m{n}", ("PASSED", "FAILED", "ERROR")[minute], at=START + timedelta(hours=n, minutes=minute))
    ),
    st.integers(0, 2), st.integers(0, 2),
)  # fmt: skip
names = st.builds(
    lambda name, to, minute: Told(name=name, to=f"m{to}", minute=minute),
    st.sampled_from(["a", "a@prod", "b"]), st.integers(0, 2), st.integers(0, 3),
)  # fmt: skip
signatures = st.builds(
    lambda n, minute: Told(to=f"m{n}", minute=minute), st.integers(0, 2), st.integers(0, 3)
)
stories = st.lists(runs | checks | names | signatures, max_size=5)


@functools.cache
def tables() -> bytes:
    """Return the bytes of an empty registry's file."""
    with tempfile.TemporaryDirectory() as folder:
        Registry(Path(folder) / "registry.db").migrate()
        return (Path(folder) / "registry.db").read_bytes()


def empty(path: Path) -> Registry:
    """Return a registry with its tables, copied to save the time of a migration."""
    path.write_bytes(tables())
    return Registry(path)


def told(path: Path, story: Sequence[Told]) -> Registry:
    """Return a registry with a story's records, in addition to those that all registries have."""
    registry = empty(path)
    registry.record(RunRecord(uid("root"), "adopt", "succeeded", START, edges=[
        EdgeRecord("output", folder(f"m{n}")) for n in range(3)
    ]))  # fmt: skip
    for one in story:
        if one.run is not None:
            registry.record(one.run)
        elif not one.name:
            at = START + timedelta(minutes=one.minute)
            told_signature = SignatureRecord(
                folder(one.to).digest, f"key:{'0' * 64}", f"{one.minute % 2}.sig", at
            )
            registry.record(signatures=[told_signature])
        else:
            registry.record(names={one.name: folder(one.to).digest}, at=START + timedelta(minutes=one.minute))
    return registry


def lines(registry: Registry) -> list[bytes]:
    return list(registry.facts().lines())


def union(path: Path, *parts: Registry) -> Registry:
    merged = empty(path)
    for part in parts:
        merged.merge(part)
    return merged


def require_laws(first: list[Told], second: list[Told], third: list[Told]) -> None:
    with tempfile.TemporaryDirectory() as name:
        at = Path(name)
        a, b, c = (told(at / f"{n}.db", story) for n, story in enumerate((first, second, third)))
        left = union(at / "left.db", union(at / "ab.db", a, b), c)
        right = union(at / "right.db", a, union(at / "cb.db", c, b))
        assert lines(left) == lines(right)
        left.merge(a)
        left.merge(right)
        assert lines(left) == lines(right)
        assert lines(union(at / "alone.db", a)) == lines(a)


@settings(max_examples=6, suppress_health_check=[HealthCheck.too_slow])
@given(stories, stories, stories)
def test_the_order_the_grouping_and_the_number_of_merges_do_not_matter(
    first: list[Told], second: list[Told], third: list[Told]
) -> None:
    require_laws(first, second, third)


@pytest.mark.slow
@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(stories, stories, stories)
def test_they_do_not_matter_for_two_hundred_triples(
    first: list[Told], second: list[Told], third: list[Told]
) -> None:
    require_laws(first, second, third)


def test_a_laptops_file_goes_into_a_teams_server_and_back(registry: Registry, tmp_path: Path) -> None:
    laptop = Registry(tmp_path / "laptop.db")
    laptop.record(conversion("mine"), verification("mine", "PASSED"), names={"model": folder("mine").digest})
    registry.record(conversion("ours"), names={"model": folder("ours").digest})
    merged = registry.merge(laptop)
    assert (merged.artifacts, merged.runs, merged.events) == (2, 2, 1)
    laptop.merge(registry)
    assert lines(laptop) == lines(registry)
    assert registry.merge(laptop).to_json() == {
        "schema": "llorch.merge/v1", "artifacts": 0, "runs": 0, "events": 0, "moved": {}
    }  # fmt: skip


def test_a_policy_and_a_signature_come_along_and_a_merged_name_is_not_used_against_it(
    registry: Registry, tmp_path: Path
) -> None:
    key = f"key:{'1' * 64}"
    registry.record(conversion("ours"))
    registry.set_policy("model@prod", [key], actor="ada", reason="gate")
    theirs = Registry(tmp_path / "theirs.db")
    theirs.record(conversion("mine"), names={"model@prod": folder("mine").digest})
    registry.merge(theirs)
    with pytest.raises(
        RefusedByPolicy, match="model@prod demands a signature by key:111111111111, as set on"
    ):
        registry.require_allowed("model@prod")
    theirs.record(signatures=[SignatureRecord(folder("mine").digest, key, "model.sig", START)])
    registry.merge(theirs)
    registry.require_allowed("model@prod")
    theirs.merge(registry)
    assert lines(theirs) == lines(registry)
    assert [(one.actor, one.reason) for one in theirs.policies()] == [("ada", "gate")]


def test_the_later_name_wins_and_the_loser_is_told(registry: Registry, tmp_path: Path) -> None:
    other = Registry(tmp_path / "other.db")
    registry.record(conversion("a"), names={"model": folder("a").digest}, at=START)
    other.record(conversion("b"), names={"model": folder("b").digest}, at=START + timedelta(minutes=1))
    assert registry.merge(other).moved == {"model@latest": [folder("a").digest, folder("b").digest]}
    assert len(registry.alias_log("model")) == 2


def test_places_stay_where_they_are(registry: Registry, tmp_path: Path) -> None:
    other = Registry(tmp_path / "other.db")
    other.record(conversion())
    registry.merge(other)
    assert registry.show(folder().digest).to_json()["places"] == []


@pytest.mark.parametrize("what", ["params", "tools", "edges", "checks", "size"])
def test_a_forged_identity_refuses_all_of_the_merge(registry: Registry, tmp_path: Path, what: str) -> None:
    registry.record(conversion())
    before = lines(registry)
    forged = {
        "params": replace(conversion(), params={"dtype": "float32"}),
        "tools": replace(conversion(), tools={"llorch": "6.6.6"}),
        "edges": replace(conversion(), edges=[EdgeRecord("output", folder("else"))]),
        "checks": replace(conversion(), checks=[CheckRecord(folder().digest, "kl", "PASSED")]),
        "size": replace(
            conversion("new"), edges=[EdgeRecord("output", replace(gguf(), size_bytes=1, files=()))]
        ),
    }[what]
    other = Registry(tmp_path / "other.db")
    other.record(conversion("innocent"), forged)
    with pytest.raises(ConflictingRecord):
        registry.merge(other)
    assert lines(registry) == before


def test_a_dump_is_the_same_on_every_database(registry: Registry, tmp_path: Path) -> None:
    check = CheckRecord(
        folder().digest, "kl", "PASSED", "NaN", "1e-8", "<=", "nats", {"where": "é", "n": 2**64 - 1}
    )
    run = replace(
        conversion(), edges=[EdgeRecord("output", folder(facts={"b": 1, "a": [1.5, None]}))], checks=[check]
    )
    other = Registry(tmp_path / "other.db")
    for one in (registry, other):
        one.record(run, names={"tiny": folder().digest}, at=START)
    assert lines(registry) == lines(other)
    assert all(line.isascii() or "é".encode() in line for line in lines(registry))
