"""An engine on a Ray cluster, which places tasks by CPUs, memory, disk and GPUs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import ray

from llorch.fleet.engines import EngineOptions, TaskResult, function_named
from llorch.fleet.plan import Needs

DISK = "disk"  # a custom resource, in bytes, that nodes may declare: `ray start --resources='{"disk": 1e12}'`


class RayEngine:
    """Runs tasks on the cluster at `options.address`, or on one started on this machine and closed with the engine."""

    def __init__(self, options: EngineOptions) -> None:
        self._options = options
        self._starts = not ray.is_initialized()
        if self._starts:
            own: dict[str, Any] = {} if options.address else {"num_cpus": options.workers}
            ray.init(address=options.address or None, log_to_driver=False, include_dashboard=None, **own)
        self._run = ray.remote(max_retries=0)(_call)
        self._keys: dict[Any, str] = {}

    @property
    def slots(self) -> int:
        """See `Engine.slots`: one task per CPU that the cluster has now; nodes may join and leave."""
        return max(1, int(ray.cluster_resources().get("CPU", 1)))

    def submit(self, key: str, needs: Needs, payload: Mapping[str, Any]) -> None:
        """See `Engine.submit`. Disk is requested only if nodes of the cluster declare it."""
        extra = {DISK: float(needs.disk_bytes)} if DISK in ray.cluster_resources() else {}
        placed = self._run.options(
            num_cpus=1, num_gpus=needs.gpus, memory=needs.memory_bytes, resources=extra, name=key[:12]
        )
        self._keys[placed.remote(self._options.function, dict(payload))] = key

    def results(self, timeout_s: float) -> Sequence[TaskResult]:
        """See `Engine.results`."""
        if not self._keys:
            return []
        ready, _ = ray.wait(list(self._keys), num_returns=1, timeout=timeout_s)
        more, _ = ray.wait(list(self._keys), num_returns=len(self._keys), timeout=0)
        return [self._result_of(one) for one in {*ready, *more}]

    def cancel(self, key: str) -> None:
        """See `Engine.cancel`."""
        for one in [one for one, its in self._keys.items() if its == key]:
            del self._keys[one]
            ray.cancel(one, force=True)

    def close(self) -> None:
        """See `Engine.close`. A cluster given by its address keeps running."""
        for key in list(self._keys.values()):
            self.cancel(key)
        if self._starts and ray.is_initialized():
            ray.shutdown()

    def __enter__(self) -> RayEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _result_of(self, reference: Any) -> TaskResult:
        key = self._keys.pop(reference)
        try:
            return TaskResult(key, ray.get(reference))
        except ray.exceptions.RayError as error:
            return TaskResult(key, None, f"Ray says: {' '.join(str(error).split())[:300]}")


def _call(function: str, payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """Call the function on a worker; Ray keeps its process for later tasks, so imports are loaded once."""
    node = f"ray-{ray.get_runtime_context().get_node_id()[:12]}"
    return function_named(function)({**payload, "node": node})
