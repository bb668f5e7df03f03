"""How a folder's experts are routed, from the config keys of transformers' classes."""

from __future__ import annotations

from collections.abc import Mapping

from llorch.runtime.from_folder.config import Config
from llorch.runtime.from_folder.families import Experts
from llorch.runtime.from_folder.kinds import layer_types
from llorch.runtime.from_folder.sizes import expert_count_key
from llorch.runtime.traits import Routing, Scores


def read_routing(config: Config) -> Routing | None:
    """The routing of a model with experts; None for one without."""
    experts = config.family.experts
    if experts is None or not config.get(expert_count_key(config)) or _without_mixture(config):
        return None
    count, used = config.positive(expert_count_key(config)), _experts_used(config, experts.used)
    if used > count:
        raise config.malformed(experts.used, f"is {used}, there are {count} experts")
    by, scores, share = experts.renormalised, _scores(config, experts), _share(config, experts)
    groups, groups_used = _groups(config, experts, count)
    return Routing(
        count,
        used,
        config.flag(by) if isinstance(by, str) else by,
        scores,
        share * (1.0 if experts.scale is None else config.number(experts.scale)),
        groups,
        groups_used,
        "two best" if scores == "sigmoid" else "best",
        experts.weighs_input,
        0.0 if experts.jitter is None else config.number(experts.jitter),
        share,
    )


SCORES: Mapping[str, Scores] = {"softmax": "softmax of the chosen", "sigmoid": "sigmoid"}
SHARES = {"average": 0.5, "sum": 1.0}


def _scores(config: Config, experts: Experts) -> Scores:
    """The kind of scores. Source: transformers, models/cohere2_moe, `Cohere2MoeTopKRouter`, which a key configures."""
    if experts.scores_key is None:
        return experts.scores
    name = config.text(key := experts.scores_key)
    if name not in SCORES:
        raise config.unsupported(key, f"is {name!r}; known are {', '.join(SCORES)}")
    return SCORES[name]


def _share(config: Config, experts: Experts) -> float:
    """0.5 if the outputs of routed and shared experts are averaged, 1 if they are added."""
    there = experts.shared_count is None or config.integer(experts.shared_count) > 0
    if experts.combined is None or not there:
        return 1.0
    strategy = config.text(experts.combined)
    if strategy not in SHARES:
        raise config.unsupported(experts.combined, f"is {strategy!r}; known are {', '.join(SHARES)}")
    return SHARES[strategy]


def _experts_used(config: Config, key: str) -> int:
    """Number of experts used per token; a list is accepted if it has the same number for every layer."""
    if not isinstance(config.get(key), list):
        return config.positive(key)
    each = set(config.numbers(key))
    if len(each) != 1:
        raise config.unsupported(key, "is not the same in every layer")
    return Config({key: int(each.pop())}, {}, config.path).positive(key)


def _without_mixture(config: Config) -> bool:
    """Whether a class that may have experts has none in any layer of this config."""
    if config.family.ffns == "block types":
        return "moe" not in layer_types(config)
    return config.family.ffns == "enable_moe_block" and not config.flag("enable_moe_block")


def _groups(config: Config, experts: Experts, count: int) -> tuple[int, int]:
    """Number of expert groups, and how many of them are used; (1, 1) if all are."""
    if experts.groups is None or experts.groups_used is None:
        return 1, 1
    if config.get("topk_method", None) == "greedy" or config.get(experts.groups) is None:
        return 1, 1
    groups, used = config.positive(experts.groups), config.positive(experts.groups_used)
    if count % groups or used > groups:
        raise config.malformed(experts.groups, f"is {groups}, of {count} experts, {used} used")
    return (groups, used) if used < groups else (1, 1)
