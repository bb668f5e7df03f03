"""Run many tasks on many machines: a plan, claims in a shared folder, receipts, and engines that start processes.

    plan = fleet.read_plan(Path("plan.jsonl"))
    folder = fleet.BatchFolder(Path("out/.batch"))
    with fleet.LocalEngine("package.module:function", slots=2) as engine:
        fleet.Driver(plan.tasks, folder, engine, node, settings).run()

It knows nothing of models, conversions or the registry: a task calls a function given by name, which returns a small
JSON document. There is no scheduler and no RPC of our own: decision 16.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llorch.base.lazy import lazy_names

if TYPE_CHECKING:
    from llorch.fleet.batch_folder import STATE, BatchFolder
    from llorch.fleet.claims import Claim, Claims
    from llorch.fleet.driver import Driver, Settings
    from llorch.fleet.engines import ENGINES, Engine, EngineOptions, TaskResult, open_engine
    from llorch.fleet.engines.local import LocalEngine
    from llorch.fleet.node import Node
    from llorch.fleet.plan import Needs, Plan, Task, key_of, plan_bytes, read_plan
    from llorch.fleet.shard import Shard, parse_shard, shard_from_environment, tasks_of_shard
    from llorch.fleet.simulation import Cluster, SimulationResult, simulate
    from llorch.fleet.status import Status, status_of

__all__ = [
    "ENGINES",
    "STATE",
    "BatchFolder",
    "Claim",
    "Claims",
    "Cluster",
    "Driver",
    "Engine",
    "EngineOptions",
    "LocalEngine",
    "Needs",
    "Node",
    "Plan",
    "Settings",
    "Shard",
    "SimulationResult",
    "Status",
    "Task",
    "TaskResult",
    "key_of",
    "open_engine",
    "parse_shard",
    "plan_bytes",
    "read_plan",
    "shard_from_environment",
    "simulate",
    "status_of",
    "tasks_of_shard",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "batch_folder": ["STATE", "BatchFolder"],
        "claims": ["Claim", "Claims"],
        "driver": ["Driver", "Settings"],
        "engines": ["ENGINES", "Engine", "EngineOptions", "TaskResult", "open_engine"],
        "engines.local": ["LocalEngine"],
        "node": ["Node"],
        "plan": ["Needs", "Plan", "Task", "key_of", "read_plan", "plan_bytes"],
        "shard": ["Shard", "parse_shard", "shard_from_environment", "tasks_of_shard"],
        "simulation": ["Cluster", "SimulationResult", "simulate"],
        "status": ["Status", "status_of"],
    },
)
