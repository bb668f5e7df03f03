"""The model behind the server: loading, ready or draining, and generations as events of the event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from llorch.runtime.errors import ContextFull, RequestError
from llorch.runtime.request import Constraint, Request
from llorch.runtime.sampling import Sampling
from llorch.runtime.serving.errors import ApiError, Draining, Loading
from llorch.runtime.serving.job import Event, Failed, Finished, Job
from llorch.runtime.serving.metrics import Metrics
from llorch.runtime.serving.scheduler import Scheduler
from llorch.runtime.serving.settings import Card, Settings
from llorch.runtime.serving.structured import Structures

if TYPE_CHECKING:
    from llorch.runtime.model import Model
    from llorch.runtime.serving.schemas.openai import ResponseFormat

State = Literal["loading", "ready", "draining"]


@dataclass(frozen=True, slots=True)
class Ask:
    """What a client wants generated, in the runtime's words.

    prompts: token ids, each answered `choices` times; the answers of one prompt differ by their seeds.
    top_logprobs: alternatives a token; None leaves probabilities out. constraint: makes one for every answer.
    """

    prompts: Sequence[Sequence[int]]
    sampling: Sampling
    choices: int = 1
    max_new_tokens: int | None = None
    stop: Sequence[str] = ()
    ignore_end: bool = False
    top_logprobs: int | None = None
    constraint: Callable[[], Constraint] | None = None


class Generations:
    """Generations under way: an iterator of (index, event), over when each has had its last one.

    Leaving the block cancels what still runs. requests: in the order of the indices, choice by choice.
    """

    def __init__(self, scheduler: Scheduler, requests: Sequence[Request]) -> None:
        self.requests = requests
        self._scheduler = scheduler
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[tuple[int, Event]] = asyncio.Queue()
        self._open = len(requests)
        self._jobs = [Job(request, self._deliverer(index)) for index, request in enumerate(requests)]
        scheduler.submit(self._jobs)

    def _deliverer(self, index: int) -> Callable[[Event], None]:
        def deliver(event: Event) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._events.put_nowait, (index, event))

        return deliver

    def __aiter__(self) -> AsyncIterator[tuple[int, Event]]:
        return self

    async def __anext__(self) -> tuple[int, Event]:
        if not self._open:
            raise StopAsyncIteration
        index, event = await self._events.get()
        if isinstance(event, Finished | Failed):
            self._open -= 1
        return index, event

    def cancel(self) -> None:
        """Ends all before their next step; their last events still come."""
        self._scheduler.cancel(self._jobs)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open:
            self.cancel()


class Service:
    """What all requests to one server share."""

    def __init__(self, settings: Settings, card: Card) -> None:
        self.settings = settings
        self.card = card
        self.metrics = Metrics()
        self.state: State = "loading"
        self.named: dict[str, Generations] = {}  # what runs under a name, so that it can be cancelled by it
        self._model: Model | None = None
        self._scheduler: Scheduler | None = None
        self._made_structures: Structures | None = None
        self.metrics.watch("requests_processing", "Requests that have a slot.", lambda: self.running)
        self.metrics.watch("requests_deferred", "Requests that wait for a slot.", lambda: self.waiting)

    @property
    def running(self) -> int:
        """Requests that have a slot."""
        return 0 if self._scheduler is None else self._scheduler.running

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return 0 if self._scheduler is None else self._scheduler.waiting

    @property
    def model(self) -> Model:
        """The model; Loading before it is there."""
        if self._model is None:
            raise Loading
        return self._model

    def ready(self, model: Model) -> None:
        """The model is there: requests are taken from now on."""
        limits = self.settings.limits
        self._model = model
        self._scheduler = Scheduler(
            model,
            slots=limits.slots,
            max_queue=limits.max_queue,
            cache_bytes=limits.cache_bytes,
            observer=self.metrics,
        )
        if self.state == "loading":
            self.state = "ready"

    @property
    def _structures(self) -> Structures:
        if self._made_structures is None:
            self._made_structures = Structures(self.model)
        return self._made_structures

    def require_ready(self) -> None:
        """Loading or Draining unless requests are taken."""
        if self.state == "draining":
            raise Draining
        if self._scheduler is None:
            raise Loading

    def generate(self, ask: Ask) -> Generations:
        """Queues what is asked; an ApiError where it cannot be served, before any of it is computed."""
        self.require_ready()
        assert self._scheduler is not None
        if len(ask.prompts) * ask.choices > self.settings.limits.choices:
            raise ApiError(
                400, f"at most {self.settings.limits.choices} answers can be asked for at once", param="n"
            )
        with as_api_errors():
            requests = [self._request(ask, prompt, n) for prompt in ask.prompts for n in range(ask.choices)]
        return Generations(self._scheduler, requests)

    def _request(self, ask: Ask, prompt: Sequence[int], choice: int) -> Request:
        sampling = replace(ask.sampling, seed=ask.sampling.seed + (choice << 64))
        return Request(
            self.model,
            prompt,
            ask.max_new_tokens,
            sampling,
            ask.stop,
            ignore_end=ask.ignore_end,
            top_logprobs=ask.top_logprobs,
            constraint=None if ask.constraint is None else ask.constraint(),
        )

    def vram_bytes(self) -> int:
        """Memory of the device that this process has taken; 0 on a CPU, which has none of its own."""
        return self.model.device_bytes()

    def constraint(self, format: ResponseFormat | None) -> Callable[[], Constraint] | None:
        """What an answer has to look like; None where it may be any text. It may take a second."""
        if format is None or format.type == "text":
            return None
        if format.type == "json_object":
            return self._structures.following({"type": "object"})
        if format.json_schema is None:
            raise ApiError(400, "json_schema is missing", param="response_format.json_schema")
        return self._structures.following(format.json_schema.document)

    async def drain(self) -> None:
        """Takes nothing new, and waits until all that was taken has ended."""
        self.state = "draining"
        if self._scheduler is not None:
            self._scheduler.drain()
            await asyncio.to_thread(self._scheduler.wait_idle)

    def cancel_all(self) -> None:
        """Ends all that runs or waits."""
        self.state = "draining"
        if self._scheduler is not None:
            self._scheduler.cancel_all()

    def close(self) -> None:
        """Ends the scheduler's thread and closes the model."""
        if self._scheduler is not None:
            self._scheduler.close()
        if self._model is not None:
            self._model.close()


@contextlib.contextmanager
def as_api_errors() -> Iterator[None]:
    """What the runtime says of a request becomes what a client is answered."""
    try:
        yield
    except ContextFull as error:
        raise ApiError(400, str(error), param="messages", code="context_length_exceeded") from error
    except RequestError as error:
        raise ApiError(400, str(error)) from error
