"""Schedule many requests on one model: a bounded queue, a number of slots, and one thread that runs the steps.

A round is at most one prompt chunk, then one token for every request whose prompt is done. Requests share nothing
but the weights. If the model's mode allows, the tokens of a round are computed as one batch; otherwise one after
another, with the same bits as for a request alone.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

import torch

from llorch.runtime.request import Step
from llorch.runtime.sampling import Choice
from llorch.runtime.serving.errors import Draining, QueueFull
from llorch.runtime.serving.job import Job

if TYPE_CHECKING:
    from llorch.runtime.model import Model

LOG = logging.getLogger("llorch.serving")
LONGEST_RETRY_S = 60


class Observer(Protocol):
    """Callbacks for metrics, called on the scheduler's thread."""

    def prompt_tokens(self, count: int) -> None:
        """Prompt tokens were computed."""

    def new_tokens(self, count: int) -> None:
        """New tokens were generated in one round."""

    def first_token(self, seconds: float) -> None:
        """A request got its first token this long after it was queued."""

    def ended(self, how: str) -> None:
        """A request ended, with a `Finish` or with `error`."""


class Scheduler:
    """Runs jobs until it is closed.

    slots: most jobs computed at the same time. max_queue: most jobs waiting. cache_bytes: limit on the caches of all
    running jobs; a job that needs more runs alone.
    """

    def __init__(
        self, model: Model, *, slots: int, max_queue: int, cache_bytes: int, observer: Observer
    ) -> None:
        self.model = model
        self.slots = slots
        self.max_queue = max_queue
        self.cache_bytes = cache_bytes
        self._observer = observer
        self._waiting: deque[Job] = deque()
        self._running: list[Job] = []
        self._undelivered: dict[Job, int] = {}  # tokens that were sampled but not delivered yet
        self._changed = threading.Condition()
        self._closed = False
        self._draining = False
        self._mean_s = 1.0  # moving average of the time that a job occupies its slot
        self._thread = threading.Thread(target=self._run, name="llorch-scheduler", daemon=True)
        self._thread.start()

    @property
    def running(self) -> int:
        """Jobs that have a slot."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Jobs in the queue."""
        return len(self._waiting)

    def submit(self, jobs: Sequence[Job]) -> None:
        """Queue all jobs, or none: raises QueueFull or Draining if they cannot be accepted."""
        with self._changed:
            if self._draining or self._closed:
                raise Draining
            taken = len(self._running) + len(self._waiting)
            if taken + len(jobs) > self.slots + self.max_queue:
                waits = math.ceil(self._mean_s * (len(self._waiting) + 1) / self.slots)
                raise QueueFull(len(self._waiting), min(LONGEST_RETRY_S, max(1, waits)))
            self._waiting.extend(jobs)
            self._changed.notify_all()

    def cancel(self, jobs: Sequence[Job]) -> None:
        """End these jobs before their next step; has no effect on jobs that already ended."""
        with self._changed:
            for job in jobs:
                job.cancelled = True
            self._changed.notify_all()

    def drain(self) -> None:
        """Accept no new jobs from now on; queued and running ones are completed."""
        with self._changed:
            self._draining = True
            self._changed.notify_all()

    def wait_idle(self, timeout: float | None = None) -> bool:
        """Wait until no job runs or waits; False on timeout."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._running, timeout)

    def cancel_all(self) -> None:
        """End every job before its next step, and accept no new ones."""
        with self._changed:
            self._draining = True
            for job in (*self._waiting, *self._running):
                job.cancelled = True
            self._changed.notify_all()

    def close(self) -> None:
        """Cancel all jobs and end the thread."""
        self.cancel_all()
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while self._admit():
            self._round()

    def _admit(self) -> bool:
        """Wait for work, end cancelled jobs, fill free slots; False when the scheduler is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._running or self._closed)
            ended = [job for job in (*self._waiting, *self._running) if job.cancelled]
            for job in ended:
                (self._running if job in self._running else self._waiting).remove(job)
            started: list[Job] = []
            while self._waiting and self._fits(self._waiting[0]):
                started.append(self._waiting.popleft())
                self._running.append(started[-1])
            closed = self._closed and not self._running
            if ended:
                self._changed.notify_all()
        for job in ended:
            self._undelivered.pop(job, None)
            job.cancel()
            self._observer.ended("cancelled")
        for job in started:
            job.start()
            if job.request.finish is not None:  # no new token was asked for
                job.deliver_step(Step())
                self._release(job, job.request.finish)
        return not closed

    def _fits(self, job: Job) -> bool:
        if len(self._running) >= self.slots:
            return False
        planned = sum(self._cache_bytes(other) for other in self._running)
        return not self._running or planned + self._cache_bytes(job) <= self.cache_bytes

    def _cache_bytes(self, job: Job) -> int:
        return self.model.traits.cache_bytes(job.request.planned, self.model.numbers.dtype.itemsize)

    def _round(self) -> None:
        decoding = [job for job in self._running if job.request.is_decoding]
        prefilling = next((job for job in self._running if not job.request.is_decoding), None)
        if prefilling is not None:
            self._compute([prefilling])
            if prefilling in self._running and not prefilling.request.is_decoding:
                self._running.append(self._running.pop(self._running.index(prefilling)))  # prompts take turns
        if self.model.samples_on_device:
            self._choose([job for job in decoding if job.request.choice is not None])
            decoding = [job for job in decoding if job.request.choice is None]
        if self.model.can_batch and len(decoding) > 1:
            self._compute(decoding)
        else:
            for job in decoding:
                if not job.cancelled:
                    self._compute([job])

    def _choose(self, jobs: Sequence[Job]) -> None:
        """Sample the next tokens of these jobs on the device, and meanwhile deliver those of the last round.

        For a request that turns out to have ended with its last token, one token is computed in vain.
        """
        for job in [
            job for job in jobs if job in self._undelivered and job.request.is_last(self._undelivered[job])
        ]:
            self._deliver_sampled(job)
        going = [job for job in jobs if job in self._running]
        if not going:
            return
        try:
            tokens = self.model.choose_together(
                [self._undelivered.get(job, job.request.ids[-1]) for job in going],
                [job.request.cache for job in going],
                [self._choice(job) for job in going],
            )
            for job in going:
                if job in self._undelivered:
                    self._deliver_sampled(job)
            found = tokens()
        except Exception as error:  # noqa: BLE001  # as in `_compute`
            self._end([job for job in going if job in self._running], error)
            return
        self._undelivered |= {
            job: token for job, token in zip(going, found, strict=True) if job in self._running
        }

    def _choice(self, job: Job) -> Choice:
        choice = job.request.choice
        assert choice is not None
        return replace(choice, step=choice.step + (job in self._undelivered))

    def _deliver_sampled(self, job: Job) -> None:
        """Deliver to a job the token that was sampled in the last round."""
        self._deliver(job, partial(job.request.append, self._undelivered.pop(job)), 1)

    def _compute(self, jobs: Sequence[Job]) -> None:
        """Compute one step of these jobs, all prefilling or all decoding; an error ends only these jobs."""
        pending = [job.request.pending() for job in jobs]
        try:
            if len(jobs) == 1:
                logits = self.model.step(pending[0], jobs[0].request.cache)[None]
            else:
                caches = [job.request.cache for job in jobs]
                logits = self.model.step_together([ids[0] for ids in pending], caches)
        except Exception as error:  # noqa: BLE001  # whatever a step raises ends these jobs and no others
            self._end(jobs, error)
            return
        for job, row, ids in zip(jobs, logits, pending, strict=True):
            self._deliver(job, partial(job.request.accept, row.numpy()), len(ids))

    def _deliver(self, job: Job, accept: Callable[[], Step], computed: int) -> None:
        """Deliver the result of a step that computed this many tokens. accept: produces it from the request."""
        had = len(job.request.ids)
        decoding = job.request.is_decoding
        try:
            job.deliver_step(accept())
        except Exception as error:  # noqa: BLE001  # sampling and decoding text are the job's own too
            self._end([job], error)
            return
        if not decoding:
            self._observer.prompt_tokens(computed)
        if len(job.request.ids) > had:
            self._observer.new_tokens(1)
            if had == 0 and job.first_token_at is not None:
                self._observer.first_token(job.first_token_at - job.queued_at)
        if job.request.finish is not None:
            self._release(job, job.request.finish)

    def _end(self, jobs: Sequence[Job], error: Exception) -> None:
        memory = isinstance(error, MemoryError | torch.OutOfMemoryError) or "not enough memory" in str(error)
        LOG.error("a step failed", exc_info=error)
        for job in jobs:
            if memory:
                job.fail("OUT_OF_MEMORY", "there is not enough memory for this request")
            else:
                job.fail("INFERENCE_FAILED", "the model failed on this request")
            self._release(job, "error")

    def _release(self, job: Job, how: str) -> None:
        with self._changed:
            self._running.remove(job)
            self._undelivered.pop(job, None)
            if job.started_at is not None:
                self._mean_s += 0.2 * (time.monotonic() - job.started_at - self._mean_s)
            self._changed.notify_all()
        self._observer.ended(how)
