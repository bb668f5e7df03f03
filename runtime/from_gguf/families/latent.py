"""How llama.cpp reads multi-head latent attention (DeepSeek): a row of facts per architecture."""

from __future__ import annotations

from collections.abc import Mapping

from llorch.runtime.from_gguf.facts import CHOICE_BIAS, LATENT, SHARED_EXPERTS, ArchitectureFacts

FAMILIES: Mapping[str, ArchitectureFacts] = {
    "deepseek2": ArchitectureFacts(
        pairs="interleaved",
        mixers="latent",
        recurrent=LATENT,
        experts="always",
        ffns="leading dense",
        mixture=CHOICE_BIAS,
        shared=SHARED_EXPERTS,
        experts_renormalised=False,
        prediction=True,
        log_multiplier=10.0,
        scales="latent",
    ),
    "minicpm3": ArchitectureFacts(
        pairs="halves",
        mixers="latent",
        recurrent=LATENT,
        latent_eps=1e-6,
        rope_factors="long and short",
        scales="minicpm",
    ),
    "mistral4": ArchitectureFacts(
        pairs="interleaved",
        mixers="latent",
        recurrent=LATENT,
        experts="always",
        ffns="leading dense",
        shared=SHARED_EXPERTS,
        experts_renormalised=False,
        temperature=True,
        temperature_beta=0.1,
        log_multiplier=10.0,
        scales="latent",
    ),
}
