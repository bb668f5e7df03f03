"""The scheduler: requests together give the same answers as alone, however they arrive, stop, fail or are cancelled."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llorch import runtime
from llorch.runtime import Model, Sampling
from llorch.runtime.request import Request
from llorch.runtime.sampling import sample_token
from llorch.runtime.serving.errors import Draining, QueueFull
from llorch.runtime.serving.job import Event, Failed, Finished, Job, Started, Token
from llorch.runtime.serving.metrics import Metrics
from llorch.runtime.serving.scheduler import Scheduler

PROMPTS = ["hello", "hello world, hello", "x", "he said: " * 8, "w w w w", "the end", "<|bos|>a", "é👋"]
GREEDY = Sampling()
HOT = Sampling(temperature=1.2, seed=11)


class Events:
    """Collects a job's events. wait: until the last one."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._over = threading.Event()

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, Finished | Failed):
            self._over.set()

    def wait(self) -> Finished | Failed:
        assert self._over.wait(60)
        last = self.events[-1]
        assert isinstance(last, Finished | Failed)
        return last

    @property
    def text(self) -> str:
        last = self.events[-1]
        tail = last.text if isinstance(last, Finished) else ""
        return "".join(event.step.text for event in self.events if isinstance(event, Token)) + tail

    @property
    def ids(self) -> list[int]:
        return [
            event.step.token
            for event in self.events
            if isinstance(event, Token) and event.step.token is not None
        ]


@pytest.fixture(scope="module")
def model(model_file: Path) -> Iterator[Model]:
    with runtime.load(model_file) as loaded:
        yield loaded


def scheduler_of(
    model: Model, *, slots: int = 8, max_queue: int = 64, cache_bytes: int = 1 << 30
) -> Scheduler:
    return Scheduler(model, slots=slots, max_queue=max_queue, cache_bytes=cache_bytes, observer=Metrics())


@pytest.fixture
def scheduler(model: Model) -> Iterator[Scheduler]:
    made = scheduler_of(model)
    yield made
    made.close()


def job_of(
    model: Model, prompt: str | list[int], most: int = 20, sampling: Sampling = GREEDY, stop: Any = ()
) -> tuple[Job, Events]:
    ids = model.tokenizer.encode(prompt).ids if isinstance(prompt, str) else prompt
    heard = Events()
    return Job(Request(model, ids, most, sampling, stop), heard), heard


@pytest.mark.parametrize("sampling", [GREEDY, HOT], ids=["greedy", "drawn"])
def test_eight_requests_together_are_answered_as_each_alone(
    model: Model, scheduler: Scheduler, sampling: Sampling
) -> None:
    expected = [model.generate(prompt, max_new_tokens=24, sampling=sampling) for prompt in PROMPTS]
    jobs = [job_of(model, prompt, 24, sampling) for prompt in PROMPTS]
    scheduler.submit([job for job, _ in jobs])
    for (_, heard), alone in zip(jobs, expected, strict=True):
        heard.wait()
        assert (heard.ids, heard.text) == (list(alone.ids), alone.text)


def test_requests_really_run_together(model: Model, scheduler: Scheduler) -> None:
    order: list[int] = []
    jobs = []
    for index in range(4):
        job, heard = job_of(model, "hello", 20)

        def deliver(event: Event, index: int = index, heard: Events = heard) -> None:
            if isinstance(event, Token):
                order.append(index)
            heard(event)

        job.deliver = deliver
        jobs.append((job, heard))
    scheduler.submit([job for job, _ in jobs])
    for _, heard in jobs:
        heard.wait()
    changes = sum(one != other for one, other in itertools.pairwise(order))
    assert changes > 40  # run one after another, there would be three


def test_a_long_prompt_does_not_block_the_others(model: Model, scheduler: Scheduler) -> None:
    talking, talk = job_of(model, "hello", 200)
    scheduler.submit([talking])
    while len(talk.ids) < 2:
        time.sleep(0.001)
    long, heard = job_of(model, [5] * 1800, 2)  # four chunks
    scheduler.submit([long])
    while not any(isinstance(event, Started) for event in heard.events):
        time.sleep(0.0005)
    before = len(talk.ids)
    heard.wait()
    assert len(talk.ids) - before >= 3
    scheduler.cancel([talking])
    talk.wait()


def test_a_step_of_several_is_the_step_of_each_within_rounding(model: Model) -> None:
    prompts = [model.tokenizer.encode(prompt).ids for prompt in PROMPTS]
    caches, others = ([model.new_cache(100) for _ in prompts] for _ in range(2))
    for ids, cache, other in zip(prompts, caches, others, strict=True):
        model.step(ids, cache)
        model.step(ids, other)
    for step in range(3):
        tokens = [(7 * index + step) % 256 for index in range(len(prompts))]
        together = model.step_together(tokens, caches)
        alone = [model.step([token], cache) for token, cache in zip(tokens, others, strict=True)]
        for row, expected in zip(together, alone, strict=True):
            assert (row - expected).abs().max() < 1e-4
    assert [cache.length for cache in caches] == [len(ids) + 3 for ids in prompts]


def test_tokens_are_computed_as_one_batch_if_the_mode_allows(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    together = Model.step_together

    def counted(self: Model, ids: Any, caches: Any) -> Any:
        sizes.append(len(ids))
        return together(self, ids, caches)

    monkeypatch.setattr(Model, "step_together", counted)
    monkeypatch.setattr(Model, "can_batch", True)
    scheduler = scheduler_of(model)
    jobs = [job_of(model, prompt, 24) for prompt in PROMPTS]
    scheduler.submit([job for job, _ in jobs])
    for (_, heard), prompt in zip(jobs, PROMPTS, strict=True):
        heard.wait()
        assert heard.text == model.generate(prompt, max_new_tokens=24).text
    scheduler.close()
    assert max(sizes) == 8


@pytest.mark.parametrize("sampling", [GREEDY, HOT], ids=["greedy", "drawn"])
def test_tokens_sampled_on_the_device_are_delivered_while_it_computes_the_next(
    model: Model, monkeypatch: pytest.MonkeyPatch, sampling: Sampling
) -> None:
    def choose_together(self: Model, ids: Any, caches: Any, choices: Any) -> Any:
        rows = [self.step([token], cache).numpy() for token, cache in zip(ids, caches, strict=True)]
        for row, choice in zip(rows, choices, strict=True):
            row[list(choice.never)] = float("-inf")
        return lambda: [
            sample_token(row, [0] * choice.step, choice.step, choice.sampling)
            for row, choice in zip(rows, choices, strict=True)
        ]

    alone = [model.generate(prompt, max_new_tokens=24, sampling=sampling) for prompt in PROMPTS]
    stop = alone[0].text[3:5]
    stopped = model.generate(PROMPTS[0], max_new_tokens=24, sampling=sampling, stop=[stop])
    monkeypatch.setattr(Model, "samples_on_device", True)
    monkeypatch.setattr(Model, "choose_together", choose_together)
    scheduler = scheduler_of(model, slots=9)
    jobs = [job_of(model, prompt, 24, sampling) for prompt in PROMPTS]
    jobs.append(job_of(model, PROMPTS[0], 24, sampling, stop=[stop]))
    scheduler.submit([job for job, _ in jobs])
    for (_, heard), expected in zip(jobs, [*alone, stopped], strict=True):
        last = heard.wait()
        assert isinstance(last, Finished)
        assert (heard.text, last.finish) == (expected.text, expected.finish)
    assert scheduler.wait_idle(10)
    scheduler.close()


def test_requests_beyond_the_queue_are_refused_with_a_retry_time(model: Model) -> None:
    scheduler = scheduler_of(model, slots=1, max_queue=2)
    jobs = [job_of(model, "hello", 500) for _ in range(3)]
    scheduler.submit([job for job, _ in jobs])
    extra, heard = job_of(model, "hello", 2)
    with pytest.raises(QueueFull) as caught:
        scheduler.submit([extra])
    assert 1 <= int(caught.value.headers["retry-after"]) <= 60
    scheduler.cancel([job for job, _ in jobs])
    for _, one in jobs:
        one.wait()
    assert scheduler.wait_idle(10)
    scheduler.submit([extra])
    assert isinstance(heard.wait(), Finished)
    scheduler.close()


def test_all_or_none_of_a_group_is_queued(model: Model) -> None:
    scheduler = scheduler_of(model, slots=1, max_queue=1)
    three = [job_of(model, "hello", 2) for _ in range(3)]
    with pytest.raises(QueueFull):
        scheduler.submit([job for job, _ in three])
    assert scheduler.wait_idle(5)
    assert all(heard.events == [] for _, heard in three)
    scheduler.close()


def test_a_cancelled_job_makes_no_further_step(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = scheduler_of(model)
    steps: list[int] = []
    step = Model.step

    def counted(self: Model, ids: Any, cache: Any) -> Any:
        steps.append(cache.length)
        return step(self, ids, cache)

    monkeypatch.setattr(Model, "step", counted)
    job, heard = job_of(model, "hello", 1000)
    scheduler.submit([job])
    while len(heard.ids) < 3:
        time.sleep(0.001)
    scheduler.cancel([job])
    before = len(steps)
    last = heard.wait()
    assert isinstance(last, Finished)
    assert last.finish == "cancelled"
    assert len(steps) <= before + 1  # the one already begun
    assert scheduler.wait_idle(5)
    scheduler.close()


def test_a_job_whose_cache_exceeds_the_limit_runs_alone(model: Model) -> None:
    scheduler = scheduler_of(model, cache_bytes=1)
    running: list[int] = []
    jobs = [job_of(model, prompt, 10) for prompt in PROMPTS[:3]]
    for job, heard in jobs:

        def deliver(event: Event, heard: Events = heard) -> None:
            running.append(scheduler.running)
            heard(event)

        job.deliver = deliver
    scheduler.submit([job for job, _ in jobs])
    for _, heard in jobs:
        heard.wait()
    assert max(running) == 1
    scheduler.close()


def test_draining_refuses_new_jobs_and_completes_old_ones(model: Model, scheduler: Scheduler) -> None:
    jobs = [job_of(model, "hello", 30) for _ in range(12)]  # more than there are slots: some wait
    scheduler.submit([job for job, _ in jobs])
    scheduler.drain()
    with pytest.raises(Draining):
        scheduler.submit([job_of(model, "hello", 1)[0]])
    assert scheduler.wait_idle(60)
    for _, heard in jobs:
        last = heard.wait()
        assert isinstance(last, Finished)
        assert last.finish != "cancelled"


def test_closing_ends_everything(model: Model) -> None:
    scheduler = scheduler_of(model, slots=2)
    jobs = [job_of(model, "hello", 1500) for _ in range(6)]
    scheduler.submit([job for job, _ in jobs])
    scheduler.close()
    for _, heard in jobs:
        last = heard.wait()
        assert isinstance(last, Finished)
        assert last.finish == "cancelled"


def require_order(events: list[Event], *, started: bool) -> None:
    """Started, unless cancelled in the queue; tokens from 0 on; exactly one last event."""
    assert isinstance(events[-1], Finished | Failed)
    kinds = [type(event) for event in events]
    assert kinds.count(Started) == int(started)
    if started:
        assert kinds[0] is Started
    assert kinds[int(started) : -1] == [Token] * (len(events) - 1 - int(started))
    indices = [event.index for event in events if isinstance(event, Token)]
    assert indices == list(range(len(indices)))


PLAN = st.fixed_dictionaries(
    {
        "prompt": st.sampled_from(PROMPTS),
        "most": st.integers(0, 30),
        "stop": st.sampled_from([(), ("e",), ("\x00", "l")]),
        "cancel_after": st.one_of(st.none(), st.integers(0, 20)),
        "fail_at": st.one_of(st.none(), st.none(), st.integers(0, 12)),
        "sampling": st.sampled_from([GREEDY, HOT]),
    }
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plans=st.lists(PLAN, min_size=1, max_size=12), slots=st.integers(1, 8))
def test_events_are_in_order_whatever_stops_fails_and_is_cancelled(
    model: Model, plans: list[dict[str, Any]], slots: int
) -> None:
    scheduler = scheduler_of(model, slots=slots)
    jobs: list[tuple[Job, Events, dict[str, Any]]] = []
    for plan in plans:
        job, heard = job_of(model, plan["prompt"], plan["most"], plan["sampling"], plan["stop"])
        fail_at, accept = plan["fail_at"], job.request.accept

        def deliver(event: Event, heard: Events = heard, plan: dict[str, Any] = plan, job: Job = job) -> None:
            heard(event)
            if plan["cancel_after"] is not None and len(heard.ids) >= plan["cancel_after"]:
                job.cancelled = True

        def failing(logits: Any, accept: Any = accept, fail_at: int | None = fail_at, job: Job = job) -> Any:
            if fail_at is not None and len(job.request.ids) == fail_at:
                raise RuntimeError("planned")
            return accept(logits)

        job.deliver = deliver
        job.request.accept = failing  # type: ignore[method-assign]
        jobs.append((job, heard, plan))
    scheduler.submit([job for job, _, _ in jobs])
    random.Random(0).shuffle(jobs)
    for job, heard, plan in jobs:
        last = heard.wait()
        require_order(heard.events, started=job.started_at is not None)
        alone = model.generate(
            plan["prompt"], max_new_tokens=plan["most"], sampling=plan["sampling"], stop=plan["stop"]
        )
        assert list(alone.ids)[: len(heard.ids)] == heard.ids
        if isinstance(last, Failed):
            assert len(heard.ids) == plan["fail_at"]
        elif last.finish != "cancelled":
            assert (heard.ids, heard.text, last.finish) == (list(alone.ids), alone.text, alone.finish)
    assert scheduler.wait_idle(10)
    assert (scheduler.running, scheduler.waiting) == (0, 0)
    scheduler.close()
