"""One generation in the server, and the events that it delivers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from llorch.runtime.request import Finish, Request, Step

FailureCode = Literal["OUT_OF_MEMORY", "INFERENCE_FAILED"]


@dataclass(frozen=True, slots=True)
class Started:
    """The job left the queue: its tokens are computed from now on."""


@dataclass(frozen=True, slots=True)
class Token:
    """A new token, with the characters completed by it. index: from 0."""

    index: int
    step: Step


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event of a job that ended. text: what had been withheld. Times are in seconds.

    prompt_s: from leaving the queue to the first token's logits. decode_s: from there to the end.
    """

    finish: Finish
    text: str
    stopped_by: str | None
    tokens: int
    prompt_s: float
    decode_s: float


@dataclass(frozen=True, slots=True)
class Failed:
    """The last event of a job that failed; the details are in the log."""

    code: FailureCode
    message: str


Event = Started | Token | Finished | Failed
Deliver = Callable[[Event], None]


@dataclass(slots=True, eq=False)
class Job:
    """A request on its way through the scheduler.

    deliver: called on the scheduler's thread with `Started`, `Token`s, and exactly one of `Finished` and `Failed`;
    a job that is cancelled in the queue has no `Started`. It must not block.
    """

    request: Request
    deliver: Deliver
    queued_at: float = field(default_factory=time.monotonic)
    started_at: float | None = None
    first_token_at: float | None = None
    cancelled: bool = False

    def start(self) -> None:
        """Mark that the job left the queue."""
        self.started_at = time.monotonic()
        self.deliver(Started())

    def deliver_step(self, step: Step) -> None:
        """Deliver the result of a step; text that is withheld at the end goes with `Finished`."""
        if self.request.is_decoding or self.request.finish is not None:
            self.first_token_at = self.first_token_at or time.monotonic()
        if step.token is not None:
            self.deliver(Token(len(self.request.ids) - 1, step))
        if self.request.finish is not None:
            self._finish(self.request.finish, "" if step.token is not None else step.text)

    def cancel(self) -> None:
        """End the job as cancelled."""
        self._finish("cancelled", self.request.end("cancelled"))

    def fail(self, code: FailureCode, message: str) -> None:
        """End the job with an error."""
        self.request.end("cancelled")
        self.deliver(Failed(code, message))

    def _finish(self, finish: Finish, text: str) -> None:
        now = time.monotonic()
        started = self.started_at or now
        first = self.first_token_at or now
        tokens = len(self.request.ids)
        stopped_by = self.request.stopped_by
        self.deliver(Finished(finish, text, stopped_by, tokens, first - started, now - first))
