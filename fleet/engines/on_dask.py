"""An engine on a Dask cluster, given by its scheduler's address or started on this machine."""

from __future__ import annotations

import queue
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import dask
from distributed import Client, Future, LocalCluster, get_worker

from llorch.fleet.engines import EngineOptions, TaskResult, function_named
from llorch.fleet.plan import Needs

MEMORY, DISK, GPU = "memory", "disk", "GPU"  # as in `dask worker --resources "memory=64e9 disk=1e12 GPU=1"`


class DaskEngine:
    """Runs tasks on the cluster at `options.address`, or on a local one with one thread per worker, closed with it."""

    def __init__(self, options: EngineOptions) -> None:
        self._options = options
        self._cluster = None
        if not options.address:
            # Report a dead worker at once: the driver decides about retries.
            with dask.config.set({"distributed.scheduler.allowed-failures": 0}):
                self._cluster = LocalCluster(
                    n_workers=options.workers, threads_per_worker=1, processes=True, dashboard_address=None
                )
        self._client = Client(options.address or self._cluster, set_as_default=False)
        self._futures: dict[str, Future] = {}
        self._ended: queue.Queue[tuple[str, Future]] = queue.Queue()

    @property
    def slots(self) -> int:
        """See `Engine.slots`: one task per thread that the cluster's workers have now."""
        return max(1, sum(int(threads) for threads in self._client.nthreads().values()))

    def submit(self, key: str, needs: Needs, payload: Mapping[str, Any]) -> None:
        """See `Engine.submit`. Memory, disk and GPUs are requested only if workers declare them as resources."""
        wanted = {MEMORY: needs.memory_bytes, DISK: needs.disk_bytes, GPU: needs.gpus}
        offered = {name for worker in self._workers() for name in worker["resources"]}
        resources = {name: amount for name, amount in wanted.items() if name in offered and amount}
        future = self._client.submit(
            _call, self._options.function, dict(payload), pure=False, retries=0, resources=resources or None
        )
        self._futures[key] = future
        future.add_done_callback(lambda done: self._ended.put((key, done)))

    def results(self, timeout_s: float) -> Sequence[TaskResult]:
        """See `Engine.results`."""
        finished: list[TaskResult] = []
        try:
            while True:
                key, future = self._ended.get(timeout=0 if finished else timeout_s)
                if self._futures.get(key) is future:
                    del self._futures[key]
                    finished.append(_result_of(key, future))
        except queue.Empty:
            return finished

    def cancel(self, key: str) -> None:
        """See `Engine.cancel`: a task that has started runs on, but Dask drops its result."""
        if (future := self._futures.pop(key, None)) is not None:
            future.cancel(force=True)

    def close(self) -> None:
        """See `Engine.close`. A cluster given by its address keeps running."""
        for key in list(self._futures):
            self.cancel(key)
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()

    def __enter__(self) -> DaskEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _workers(self) -> Sequence[Mapping[str, Any]]:
        return list(self._client.scheduler_info(n_workers=-1)["workers"].values())


def _result_of(key: str, future: Future) -> TaskResult:
    """Return a future's result. A cluster given by its address retries tasks of dead workers by its own settings."""
    if future.status == "finished":
        return TaskResult(key, future.result())
    error = future.exception() if future.status == "error" else future.status
    return TaskResult(key, None, f"Dask says: {' '.join(str(error).split())[:300]}")


def _call(function: str, payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """Call the function on a worker; the worker's process is kept, so imports are loaded once."""
    node = f"dask-{get_worker().address.rpartition(':')[2]}"
    return function_named(function)({**payload, "node": node})
