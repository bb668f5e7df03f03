"""How transformers reads recurrent and convolution layers, alone or among attention; a row of facts a class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llorch.runtime.from_folder.families.facts import ClassFacts, Experts, Names, biases, class_defaults
from llorch.runtime.from_folder.families.names import ATTENTION, NORMS

SHORT_CONV: Names = {
    "short_in": "conv.in_proj",
    "conv": "conv.conv",
    "mixer_output": "conv.out_proj",
}

LFM2_NORMS: Names = {"attention_norm": "operator_norm", "ffn_norm": "ffn_norm"}
LFM2_DENSE: Names = {"gate": "feed_forward.w1", "up": "feed_forward.w3", "down": "feed_forward.w2"}

LFM2_ATTENTION: Names = {
    **ATTENTION,
    "output": "self_attn.out_proj",
    "q_norm": "self_attn.q_layernorm",
    "k_norm": "self_attn.k_layernorm",
}


def mamba2(below: str) -> Names:
    """The names of a Mamba 2 mixer below another name."""
    return {
        "mamba_in": f"{below}.in_proj",
        "conv": f"{below}.conv1d",
        "conv_bias": f"={below}.conv1d.bias",
        "a_log": f"={below}.A_log",
        "skip": f"={below}.D",
        "step_bias": f"={below}.dt_bias",
        "gated_norm": f"{below}.norm",
        "mixer_output": f"{below}.out_proj",
    }


LFM2: Any = {
    "mixers": "lfm2",
    "eps": "norm_eps",
    "head_norm": "head",
    "fixed_activation": "silu",
    "final_norm": "model.embedding_norm",
}

LFM2_DEFAULTS = class_defaults(
    num_key_value_heads=8,
    max_position_embeddings=128000,
    norm_eps=1e-5,
    rope_theta=1e6,
    tie_word_embeddings=True,
    conv_L_cache=3,
    block_auto_adjust_ff_dim=True,
    block_ffn_dim_multiplier=1.0,
    block_multiple_of=256,
)

FAMILIES: Mapping[str, ClassFacts] = {
    "lfm2": ClassFacts(
        class_name="Lfm2ForCausalLM",
        names={**LFM2_NORMS, **LFM2_DENSE},
        by_kind={"attention": LFM2_ATTENTION, "short convolution": SHORT_CONV},
        **LFM2,
        defaults=LFM2_DEFAULTS,
        supported={"conv_bias": (False,)},
    ),
    "lfm2_moe": ClassFacts(
        class_name="Lfm2MoeForCausalLM",
        names=LFM2_NORMS,
        by_kind={
            "attention": LFM2_ATTENTION,
            "short convolution": SHORT_CONV,
            "dense": LFM2_DENSE,
            "mixture": {
                "router": "feed_forward.gate",
                "choice_bias": "=feed_forward.expert_bias",
                "expert_gate": "feed_forward.experts.{e}.w1",
                "expert_up": "feed_forward.experts.{e}.w3",
                "expert_down": "feed_forward.experts.{e}.w2",
            },
        },
        ffns="num_dense_layers",
        experts=Experts(
            ("num_experts",),
            "norm_topk_prob",
            "moe_intermediate_size",
            scores="sigmoid",
            scale="routed_scaling_factor",
        ),
        **LFM2,
        defaults={
            **LFM2_DEFAULTS,
            "block_auto_adjust_ff_dim": False,
            "num_dense_layers": 2,
            "norm_topk_prob": True,
            "routed_scaling_factor": 1.0,
            "use_expert_bias": True,
        },
        supported={"conv_bias": (False,), "use_expert_bias": (True,)},
    ),
    "granitemoehybrid": ClassFacts(
        class_name="GraniteMoeHybridForCausalLM",
        names={
            **NORMS,
            "shared_gate_up": "shared_mlp.input_linear",
            "shared_down": "shared_mlp.output_linear",
        },
        by_kind={
            "attention": ATTENTION,
            "mamba2": mamba2("mamba"),
            "mixture": {
                "router": "block_sparse_moe.router.layer",
                "experts_gate_up": "block_sparse_moe.input_linear",
                "experts_down": "block_sparse_moe.output_linear",
            },
        },
        mixers="granite hybrid",
        ffns="num_local_experts",
        rotates="position_embedding_type",
        biases=biases("q k v output", "attention_bias"),
        experts=Experts(
            ("num_local_experts",),
            True,
            "intermediate_size",
            "shared_intermediate_size",
            used="num_experts_per_tok",
        ),
        attention_multiplier="attention_multiplier",
        embedding_multiplier="embedding_multiplier",
        residual_multiplier="residual_multiplier",
        logit_divisor="logits_scaling",
        defaults=class_defaults(
            max_position_embeddings=2048,
            attention_multiplier=1.0,
            embedding_multiplier=1.0,
            residual_multiplier=1.0,
            logits_scaling=1.0,
            position_embedding_type=None,
            num_local_experts=8,
            num_experts_per_tok=2,
            intermediate_size=None,
        ),
        supported={"mamba_conv_bias": (True,), "mamba_proj_bias": (False,)},
    ),
    "nemotron_h": ClassFacts(
        class_name="NemotronHForCausalLM",
        names={"attention_norm": "norm"},
        by_kind={
            "attention": {role: name.replace("self_attn", "mixer") for role, name in ATTENTION.items()},
            "mamba2": mamba2("mixer"),
            "dense": {"up": "mixer.up_proj", "down": "mixer.down_proj"},
            "mixture": {
                "router": "mixer.gate",
                "choice_bias": "=mixer.gate.e_score_correction_bias",
                "expert_up": "mixer.experts.{e}.up_proj",
                "expert_down": "mixer.experts.{e}.down_proj",
                "shared_up": "mixer.shared_experts.up_proj",
                "shared_down": "mixer.shared_experts.down_proj",
            },
        },
        mixers="nemotron h",
        ffns="block types",
        types_key="layers_block_type",
        eps="layer_norm_epsilon",
        activation="mlp_hidden_act",
        rotates=False,
        biases=biases("q k v output", "attention_bias"),
        experts=Experts(
            ("n_routed_experts",),
            "norm_topk_prob",
            "moe_intermediate_size",
            "moe_shared_expert_intermediate_size",
            scores="sigmoid",
            scale="routed_scaling_factor",
            groups="n_group",
            groups_used="topk_group",
        ),
        embedding="backbone.embeddings",
        layers="backbone.layers",
        final_norm="backbone.norm_f",
        defaults=class_defaults(
            head_dim=128,
            num_key_value_heads=8,
            max_position_embeddings=4096,
            mlp_hidden_act="relu2",
            layer_norm_epsilon=1e-5,
            n_group=1,
            topk_group=1,
            norm_topk_prob=True,
            routed_scaling_factor=1.0,
            intermediate_size=21504,
            n_routed_experts=8,
            num_experts_per_tok=2,
            moe_intermediate_size=7688,
            moe_shared_expert_intermediate_size=7688,
        ),
        supported={
            "use_conv_bias": (True,),
            "mamba_proj_bias": (False,),
            "moe_latent_size": (None,),
            "mlp_bias": (False,),
            "use_bias": (False,),
            "residual_in_fp32": (False,),
        },
    ),
    "mamba": ClassFacts(
        class_name="MambaForCausalLM",
        names={
            "attention_norm": "norm",
            "mamba_in": "mixer.in_proj",
            "conv": "mixer.conv1d",
            "conv_bias": "=mixer.conv1d.bias",
            "step_low": "mixer.x_proj",
            "step": "mixer.dt_proj",
            "a_log": "=mixer.A_log",
            "skip": "=mixer.D",
            "mixer_output": "mixer.out_proj",
        },
        mixers="mamba",
        ffns="none",
        eps="layer_norm_epsilon",
        rotates=False,
        biases={"step": True},
        embedding="backbone.embeddings",
        layers="backbone.layers",
        final_norm="backbone.norm_f",
        defaults=class_defaults(
            max_position_embeddings=1 << 20,  # the class has no limit; the number is llama.cpp's converter's
            layer_norm_epsilon=1e-5,
            state_size=16,
            expand=2,
            conv_kernel=4,
            time_step_rank="auto",
            tie_word_embeddings=True,
        ),
        supported={"use_conv_bias": (True,), "use_bias": (False,)},
    ),
    "falcon_mamba": ClassFacts(
        class_name="FalconMambaForCausalLM",
        names={
            "attention_norm": "norm",
            "mamba_in": "mixer.in_proj",
            "conv": "mixer.conv1d",
            "conv_bias": "=mixer.conv1d.bias",
            "step_low": "mixer.x_proj",
            "step": "mixer.dt_proj",
            "a_log": "=mixer.A_log",
            "skip": "=mixer.D",
            "mixer_output": "mixer.out_proj",
        },
        mixers="mamba",
        ffns="none",
        eps="layer_norm_epsilon",
        rotates=False,
        biases={"step": True},
        embedding="backbone.embeddings",
        layers="backbone.layers",
        final_norm="backbone.norm_f",
        defaults=class_defaults(
            max_position_embeddings=1 << 20,  # the class has no limit; the number is llama.cpp's converter's
            layer_norm_epsilon=1e-5,
            state_size=16,
            expand=2,
            conv_kernel=4,
            time_step_rank="auto",
            tie_word_embeddings=True,
            mixer_rms_eps=1e-6,
        ),
        supported={"use_conv_bias": (True,), "use_bias": (False,)},
    ),
    "mamba2": ClassFacts(
        class_name="Mamba2ForCausalLM",
        names={"attention_norm": "norm", **mamba2("mixer")},
        mixers="mamba2",
        ffns="none",
        eps="layer_norm_epsilon",
        rotates=False,
        embedding="backbone.embeddings",
        layers="backbone.layers",
        final_norm="backbone.norm_f",
        defaults=class_defaults(
            max_position_embeddings=1 << 20,
            layer_norm_epsilon=1e-5,
            num_heads=128,
            head_dim=64,
            n_groups=8,
            state_size=128,
            conv_kernel=4,
        ),
        supported={"use_conv_bias": (True,), "use_bias": (False,), "hidden_act": ("silu",)},
    ),
}
