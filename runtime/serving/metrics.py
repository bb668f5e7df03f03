"""The server's metrics for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """The metrics of one server, in a registry of their own, so that two servers in one process do not add up."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()

        def counter(name: str, what: str, labels: tuple[str, ...] = ()) -> Counter:
            return Counter(name, what, labels, namespace="llorch", registry=self._registry)

        def histogram(name: str, what: str) -> Histogram:
            return Histogram(name, what, namespace="llorch", buckets=SECONDS, registry=self._registry)

        self._prompt_tokens = counter("prompt_tokens", "Tokens of prompts that were computed.")
        self._new_tokens = counter("tokens_predicted", "Tokens that were made.")
        self._ended = counter("generations", "Generations that ended, by how.", ("finish",))
        self._answers = counter("http_responses", "Answers, by path and status.", ("path", "status"))
        self._first_token = histogram("time_to_first_token_seconds", "From being queued to the first token.")
        self._answer = histogram("http_response_seconds", "From a request's headers to its answer's end.")

    def watch(self, name: str, what: str, value: Callable[[], float]) -> None:
        """Add a gauge whose value is computed when it is read."""
        Gauge(name, what, namespace="llorch", registry=self._registry).set_function(value)

    def prompt_tokens(self, count: int) -> None:
        """Count prompt tokens that were computed."""
        self._prompt_tokens.inc(count)

    def new_tokens(self, count: int) -> None:
        """Count new tokens."""
        self._new_tokens.inc(count)

    def first_token(self, seconds: float) -> None:
        """Record the time from queuing a request to its first token."""
        self._first_token.observe(seconds)

    def ended(self, how: str) -> None:
        """Count the end of a generation, by its finish reason."""
        self._ended.labels(how).inc()

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Record a response. path: one of the server's own, so that clients cannot create labels."""
        self._answers.labels(path, str(status)).inc()
        self._answer.observe(seconds)

    def page(self) -> tuple[bytes, str]:
        """The metrics in Prometheus' text format, and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4
