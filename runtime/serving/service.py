"""The model behind the server: its state, and generations as events on the event loop."""

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
    """A request for generations, in the runtime's terms.

    prompts: token ids, each answered `choices` times; the answers to one prompt differ by their seeds.
    top_logprobs: alternatives per token; None for no log probabilities. constraint: makes one for each answer.
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
    """Running generations: an async iterator of (index, event) that ends after each one's last event.

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
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is waiting
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
        """End all before their next step; their last events are still delivered."""
        self._scheduler.cancel(self._jobs)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open:
            self.cancel()


class Service:
    """The state that all requests to one server share."""

    def __init__(self, settings: Settings, card: Card) -> None:
        self.settings = settings
        self.card = card
        self.metrics = Metrics()
        self.state: State = "loading"
        self.named: dict[str, Generations] = {}  # running jobs by name, for cancelling them
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
        """The model; raises Loading before it is loaded."""
        if self._model is None:
            raise Loading
        return self._model

    def set_model(self, model: Model) -> None:
        """Set the loaded model: requests are accepted from now on."""
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
        """Raise Loading or Draining unless requests are accepted."""
        if self.state == "draining":
            raise Draining
        if self._scheduler is None:
            raise Loading

    def generate(self, ask: Ask) -> Generations:
        """Queue generations; ApiError, before any computation, if they cannot be served."""
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
        """Bytes of GPU memory allocated by this process; 0 on a CPU."""
        return self.model.device_bytes()

    def constraint(self, format: ResponseFormat | None) -> Callable[[], Constraint] | None:
        """A factory of constraints for this response format, or None for free text. Building it may take a second."""
        if format is None or format.type == "text":
            return None
        if format.type == "json_object":
            return self._structures.constraint_factory({"type": "object"})
        if format.json_schema is None:
            raise ApiError(400, "json_schema is missing", param="response_format.json_schema")
        return self._structures.constraint_factory(format.json_schema.document)

    async def drain(self) -> None:
        """Accept nothing new, and wait until all accepted requests have ended."""
        self.state = "draining"
        if self._scheduler is not None:
            self._scheduler.drain()
            await asyncio.to_thread(self._scheduler.wait_idle)

    def cancel_all(self) -> None:
        """End all running and waiting requests."""
        self.state = "draining"
        if self._scheduler is not None:
            self._scheduler.cancel_all()

    def close(self) -> None:
        """End the scheduler's thread and close the model."""
        if self._scheduler is not None:
            self._scheduler.close()
        if self._model is not None:
            self._model.close()


@contextlib.contextmanager
def as_api_errors() -> Iterator[None]:
    """Translate the runtime's request errors to API errors."""
    try:
        yield
    except ContextFull as error:
        raise ApiError(400, str(error), param="messages", code="context_length_exceeded") from error
    except RequestError as error:
        raise ApiError(400, str(error)) from error
