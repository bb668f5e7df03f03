"""Many clients for minutes: every greedy answer is the one computed alone, memory does not grow, no slot is lost."""

from __future__ import annotations

import gc
import random
import threading
import time
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from llorch.runtime import Model
from llorch.runtime.serving import Limits
from tests.runtime.serving.conftest import NAME, Served, Start, wait_for

CLIENTS, SECONDS, WARM_S = 16, 180.0, 30.0
PROMPTS = ["hello", "hello world", "he said", "w" * 40, "x y z", "the end of it", "é👋 and", "hello " * 60]


class Client(threading.Thread):
    """Requests whole, streamed and abandoned answers until its time is over.

    wrong: answers that differ from those of the prompt computed alone.
    """

    def __init__(self, served: Served, expected: dict[str, str], seed: int, until: float) -> None:
        super().__init__(daemon=True)
        self.served, self.expected, self.until = served, expected, until
        self.random = random.Random(seed)
        self.answers, self.wrong = 0, []  # type: ignore[var-annotated]

    def run(self) -> None:
        import httpx2

        with httpx2.Client(base_url=self.served.uri, timeout=60) as client:
            while time.monotonic() < self.until:
                prompt = self.random.choice(PROMPTS)
                try:
                    text = self.ask(client, prompt)
                except Exception as error:  # noqa: BLE001  # noqa: BLE001  # any exception is a wrong answer
                    self.wrong.append((prompt, repr(error)))
                    continue
                if text is not None:
                    self.answers += 1
                    if text != self.expected[prompt]:
                        self.wrong.append((prompt, text))

    def ask(self, client: Any, prompt: str) -> str | None:
        """The answer; None if it was abandoned."""
        body = {"model": NAME, "prompt": prompt, "temperature": 0, "max_tokens": 24}
        if self.random.random() < 0.5:
            text: str = client.post("/v1/completions", json=body).json()["choices"][0]["text"]
            return text
        with client.stream("POST", "/v1/completions", json={**body, "stream": True}) as answer:
            lines = answer.iter_lines()
            if self.random.random() < 0.3:
                next(lines)
                return None
            import json

            pieces = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
        return "".join(piece["choices"][0]["text"] for piece in pieces)


@pytest.mark.slow
@pytest.mark.parametrize("batches", [False, True], ids=["one-by-one", "batched"])
def test_sixteen_clients_for_three_minutes(
    start: Start, alone: Model, monkeypatch: pytest.MonkeyPatch, batches: bool
) -> None:
    monkeypatch.setattr(Model, "can_batch", batches)
    expected = {prompt: alone.generate(prompt, max_new_tokens=24).text for prompt in PROMPTS}
    served = start(limits=Limits(slots=8))
    begun = time.monotonic()
    clients = [Client(served, expected, seed, begun + SECONDS) for seed in range(CLIENTS)]
    for client in clients:
        client.start()
    time.sleep(WARM_S)
    gc.collect()
    before = psutil.Process().memory_info().rss
    for client in clients:
        client.join(SECONDS + 60)
    gc.collect()
    grown = psutil.Process().memory_info().rss - before
    assert [client.wrong for client in clients] == [[]] * CLIENTS
    assert sum(client.answers for client in clients) > 10 * CLIENTS
    wait_for(lambda: served.server.service.running == served.server.service.waiting == 0)
    assert grown < 48 << 20, f"{grown >> 20} MiB"
    print(f"{sum(client.answers for client in clients)} answers, {grown / 2**20:.1f} MiB grown")
