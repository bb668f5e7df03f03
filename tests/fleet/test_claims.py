"""One driver at a time holds a task, whatever the interleaving of their steps and the difference of their clocks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from llorch.fleet.claims import SIZE, Claim, Claims, FilesInFolder

KEY, OTHER = "a" * 64, "b" * 64
LEASE = 10.0


@dataclass
class Clock:
    """A monotonic clock that the test advances; each host's starts at another time."""

    now: float = 0.0
    began: float = 0.0

    def __call__(self) -> float:
        return self.now + self.began


def claims(folder: Path, clock: Clock) -> Claims:
    return Claims(FilesInFolder(folder), LEASE, clock)


def test_one_of_two_gets_a_task_and_the_other_sees_who_has_it(tmp_path: Path) -> None:
    first, second = claims(tmp_path, Clock()), claims(tmp_path, Clock(began=3600.0))
    taken = first.take(KEY, {"host": "h1", "pid": 7}, None)
    assert taken is not None
    assert second.take(KEY, {"host": "h2"}, None) is None
    seen = second.look()[KEY]
    assert [(one.number, one.about["host"], one.is_live) for one in seen] == [(1, "h1", True)]
    assert second.take(KEY, {"host": "h2"}, seen[-1]) is None


def test_a_claim_that_is_renewed_is_never_silent_and_one_that_is_not_is_after_its_lease(
    tmp_path: Path,
) -> None:
    clock, hour_ahead = Clock(), Clock(began=3600.0)
    holder, observer = claims(tmp_path, clock), claims(tmp_path, hour_ahead)
    taken = holder.take(KEY, {}, None)
    assert taken is not None
    for _ in range(5):
        hour_ahead.now += LEASE * 0.9
        assert holder.renew(taken)
        assert observer.look()[KEY][-1].is_live
    hour_ahead.now += LEASE
    assert observer.look()[KEY][-1].silent


def test_who_was_taken_over_from_learns_it_and_leaves_the_other_alone(tmp_path: Path) -> None:
    clock = Clock()
    stalled, other = claims(tmp_path, clock), claims(tmp_path, clock)
    old = stalled.take(KEY, {"host": "h1"}, None)
    assert old is not None
    other.look()
    clock.now += LEASE
    new = other.take(KEY, {"host": "h2"}, other.look()[KEY][-1])
    assert new is not None
    assert new.number == 2
    assert not stalled.renew(old)
    stalled.end(old, "too late")
    assert other.renew(new)
    assert other.look()[KEY][-1].about["host"] == "h2"


def test_a_holder_who_renews_at_the_last_moment_keeps_his_task(tmp_path: Path) -> None:
    """The holder renews between another driver's look and its claim: that driver sees it and withdraws."""
    clock = Clock()
    holder = claims(tmp_path, clock)
    taken = holder.take(KEY, {}, None)
    assert taken is not None
    kept = taken

    class Late(FilesInFolder):
        def create(self, name: str, content: bytes) -> bool:
            assert holder.renew(kept)
            return super().create(name, content)

    other = Claims(Late(tmp_path), LEASE, clock)
    other.look()
    clock.now += LEASE
    assert other.take(KEY, {}, other.look()[KEY][-1]) is None
    assert holder.renew(taken)


def test_who_looked_before_two_others_went_on_withdraws(tmp_path: Path) -> None:
    one, other = claims(tmp_path, Clock()), claims(tmp_path, Clock())
    first = other.take(OTHER, {}, None)
    assert first is not None
    other.end(first, "io: failed")
    seen = one.look()[OTHER][-1]
    second = other.take(OTHER, {}, seen)
    assert second is not None
    other.end(second, "io: failed")
    third = other.take(OTHER, {}, other.look()[OTHER][-1])
    assert third is not None
    (tmp_path / f"{OTHER}.2").unlink()  # as on a network file system that shows names late
    assert one.take(OTHER, {}, seen) is None


def test_a_lease_that_its_holder_made_longer_is_his(tmp_path: Path) -> None:
    clock = Clock()
    holder, observer = claims(tmp_path, clock), claims(tmp_path, clock)
    assert holder.take(KEY, {"lease_s": 5 * LEASE}, None) is not None
    observer.look()
    clock.now += 2 * LEASE
    assert observer.look()[KEY][-1].is_live
    clock.now += 3 * LEASE
    assert not observer.look()[KEY][-1].is_live


def test_an_attempt_that_ended_makes_way_and_says_why(tmp_path: Path) -> None:
    one = claims(tmp_path, Clock())
    taken = one.take(KEY, {}, None)
    assert taken is not None
    one.end(taken, "io: the disk — is full")
    ended = one.look()[KEY][-1]
    assert ended.cause == "io: the disk \\u2014 is full"
    again = one.take(KEY, {}, ended)
    assert again is not None
    assert again.number == 2
    one.forget(one.look()[KEY])
    assert list(tmp_path.iterdir()) == []


def test_a_claim_cut_short_as_it_was_made_is_taken_over_after_a_lease(tmp_path: Path) -> None:
    (tmp_path / f"{KEY}.1").touch()
    clock = Clock()
    one = claims(tmp_path, clock)
    assert one.look()[KEY][-1].is_live
    clock.now += LEASE
    left = one.look()[KEY][-1]
    assert left.silent
    assert "unknown host" in left.cause
    assert one.take(KEY, {}, left) is not None


def test_a_renewal_never_makes_a_file_that_was_taken_away(tmp_path: Path) -> None:
    one = claims(tmp_path, Clock())
    taken = one.take(KEY, {}, None)
    assert taken is not None
    one.forget([taken])
    assert not one.renew(taken)
    assert list(tmp_path.iterdir()) == []


def test_every_claim_is_one_write_of_one_size(tmp_path: Path) -> None:
    one = claims(tmp_path, Clock())
    taken = one.take(KEY, {"output": "x" * 200, "host": "h" * 60}, None)
    assert taken is not None
    one.end(taken, "é" * 10_000)
    assert [path.stat().st_size for path in tmp_path.iterdir()] == [SIZE]


class MemoryFiles:
    """Files that all actors share; before each step an actor waits until it is scheduled."""

    def __init__(
        self, shared: dict[str, bytes], turn: Callable[[], None], on_write: Callable[[], None] = lambda: None
    ) -> None:
        self._shared = shared
        self._poll = turn
        self._on_write = on_write

    def names(self) -> list[str]:
        self._poll()
        return sorted(self._shared)

    def create(self, name: str, content: bytes) -> bool:
        self._poll()
        if name in self._shared:
            return False
        self._shared[name] = content
        self._on_write()
        return True

    def read(self, name: str) -> bytes | None:
        self._poll()
        return self._shared.get(name)

    def overwrite(self, name: str, content: bytes) -> bool:
        self._poll()
        if name not in self._shared:
            return False
        self._shared[name] = content
        self._on_write()
        return True

    def remove(self, name: str) -> None:
        self._poll()
        self._shared.pop(name, None)


@dataclass
class Actor:
    """A driver that tries one task until it has a receipt. plan: what it does with each of its attempts."""

    world: World
    plan: list[str]
    began: float
    go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    waits: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    done: bool = False
    is_free: bool = False

    def turn(self) -> None:
        """Yield control, and wait to be scheduled again."""
        if not self.is_free:
            self.waits.release()
            self.go.acquire()

    def claims(self) -> Claims:
        files = MemoryFiles(self.world.files, self.turn, lambda: self.world.write(self))
        return Claims(files, LEASE, lambda: self.world.now + self.began)

    def run(self) -> None:
        try:
            self.turn()
            self.try_for_it(self.claims())
        except BaseException as error:  # noqa: BLE001  # the test looks at it
            self.world.errors.append(error)
        finally:
            self.done = True
            self.waits.release()

    def try_for_it(self, shared: Claims) -> None:
        for what in [*self.plan, "finish"]:
            taken = None
            for _ in range(6):
                attempts = shared.look().get(KEY, [])
                if self.world.receipts:
                    return
                taken = shared.take(KEY, {}, attempts[-1] if attempts else None)
                if taken is not None:
                    break
            if taken is None:
                return
            self.world.take(self)
            if not self.work(shared, taken, what):
                return

    def work(self, shared: Claims, taken: Claim, what: str) -> bool:
        """Return whether to make another attempt."""
        for _ in range(2):
            self.turn()  # works
            if not shared.renew(taken):
                self.world.lose(self)
                return True
        if what == "die":
            self.world.lose(self, dead=True)
            return False
        if what == "fail":
            shared.end(taken, "io: failed")
            self.world.lose(self)
            return True
        self.world.receipts.setdefault(KEY, self.began)
        self.world.lose(self)
        shared.forget([*shared.look().get(KEY, []), taken])
        return False


class World:
    """The invariants, checked independently of what the actors believe."""

    def __init__(self) -> None:
        self.now = 0.0
        self.files: dict[str, bytes] = {}
        self.receipts: dict[str, float] = {}
        self.holders: dict[float, Actor] = {}
        self.beats: dict[float, float] = {}
        self.errors: list[BaseException] = []

    def take(self, actor: Actor) -> None:
        """Record that an actor believes it holds the task: the previous holder must have been silent for a lease."""
        for other in self.holders:
            assert self.now - self.beats[other] >= LEASE, "two hold a task of which one was renewed in time"
        self.holders[actor.began] = actor

    def write(self, actor: Actor) -> None:
        self.beats[actor.began] = self.now

    def lose(self, actor: Actor, *, dead: bool = False) -> None:
        if not dead:
            self.holders.pop(actor.began, None)


@settings(max_examples=100, deadline=None)
@given(
    plans=st.lists(st.lists(st.sampled_from(["finish", "fail", "die"]), max_size=2), min_size=2, max_size=3),
    steps=st.lists(st.tuples(st.integers(0, 2), st.sampled_from([0.0, 0.0, 0.0, LEASE])), max_size=120),
)
def test_no_interleaving_gives_a_task_to_two_or_leaves_it_for_ever(
    plans: list[list[str]], steps: list[tuple[int, float]]
) -> None:
    world = World()
    actors = [Actor(world, plan, began=3600.0 * number) for number, plan in enumerate(plans)]
    threads = [threading.Thread(target=actor.run, daemon=True) for actor in actors]
    for actor, thread in zip(actors, threads, strict=True):
        thread.start()
        actor.waits.acquire()
    for chosen, passes in steps:
        actor = actors[chosen % len(actors)]
        world.now += passes
        if not actor.done:
            actor.go.release()
            actor.waits.acquire()
    for actor, thread in zip(actors, threads, strict=True):  # the rest of it, one after the other
        actor.is_free = True
        actor.go.release()
        thread.join(10)
    assert world.errors == []
    last = Claims(MemoryFiles(world.files, lambda: None), LEASE, lambda: world.now)
    last.look()
    world.now += LEASE
    attempts = last.look().get(KEY, [])
    assert all(not attempt.is_live for attempt in attempts)
    if not world.receipts:
        assert last.take(KEY, {}, attempts[-1] if attempts else None) is not None
    last.forget(last.look().get(KEY, []))
    assert world.files == {}
