"""How transformers reads each `model_type`: one row of facts per class.

Sources: transformers 5.23, models/<model_type>/modeling_*.py (names, arithmetic) and configuration_*.py (keys and their
defaults). A role is the decoder's term for a weight; its name is the part between `model.layers.{i}.` and `.weight`.
"""

from __future__ import annotations

from collections.abc import Mapping

from llorch.runtime.from_folder.families import (
    cohere,
    gemma,
    gpt,
    granite,
    hunyuan,
    hybrid,
    latent,
    llama,
    mixtures,
    others,
    qwen,
)
from llorch.runtime.from_folder.families.facts import ClassFacts, Experts

__all__ = ["FAMILIES", "ClassFacts", "Experts"]

FAMILIES: Mapping[str, ClassFacts] = {
    **llama.FAMILIES,
    **mixtures.FAMILIES,
    **qwen.FAMILIES,
    **gemma.FAMILIES,
    **latent.FAMILIES,
    **hybrid.FAMILIES,
    **gpt.FAMILIES,
    **granite.FAMILIES,
    **cohere.FAMILIES,
    **hunyuan.FAMILIES,
    **others.FAMILIES,
}
