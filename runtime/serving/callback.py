"""Notify the starter of a worker that it is ready, with retries."""

from __future__ import annotations

import asyncio
import logging

import httpx2

LOG = logging.getLogger("llorch.serving")
TRIES = 6
FIRST_WAIT_S = 0.5  # doubled after each try: 15.5 s in all
TIMEOUT_S = 10.0


class CallbackError(OSError):
    """The ready notification was not delivered."""


async def notify_ready(url: str, worker_id: str, vram_bytes: int, uri: str) -> None:
    """POST {"worker_id", "vram_bytes", "uri"}; CallbackError if no attempt was answered with 2xx.

    A 4xx is not retried: it would be the same the next time.
    """
    document = {"worker_id": worker_id, "vram_bytes": vram_bytes, "uri": uri}
    why = ""
    async with httpx2.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False) as client:
        for attempt in range(TRIES):
            if attempt:
                await asyncio.sleep(FIRST_WAIT_S * 2 ** (attempt - 1))
            try:
                answer = await client.post(url, json=document)
            except httpx2.HTTPError as error:
                why = f"{type(error).__name__}: {error}"
            else:
                if answer.is_success:
                    return
                why = f"it answered {answer.status_code}"
                if answer.is_client_error:
                    break
            LOG.warning("the callback was not heard: %s", why)
    raise CallbackError(f"the callback URL was not reached: {why}")
