"""Fields of config.json that other readers require: fields of their config types without Option or default.

Read from their sources: candle 2a13b0f3f (candle-transformers/src/models), mistral.rs 9e922623f (mistralrs-core/src),
mlx-lm 0.32.2 (mlx_lm/models, the fields of ModelArgs; Python, so types are not checked on loading). A field is
`name:type`, with the type in Rust. mlx-lm reads mistral and phi as llama and phi, by a table of its own. For Hunyuan
A13B, fields without which mistral.rs computes a different model are listed too.
"""

# reader → model_type → fields
REQUIRED: dict[str, dict[str, str]] = {
    "candle": {
        "deepseek_v2": (
            "vocab_size:usize hidden_size:usize intermediate_size:usize moe_intermediate_size:usize "
            "num_hidden_layers:usize num_attention_heads:usize max_position_embeddings:usize "
            "rms_norm_eps:f64 rope_theta:f32 attention_bias:bool qk_rope_head_dim:usize "
            "kv_lora_rank:usize v_head_dim:usize qk_nope_head_dim:usize n_group:usize topk_group:usize"
        ),
        "falcon": (
            "vocab_size:usize hidden_size:usize num_hidden_layers:usize num_attention_heads:usize "
            "layer_norm_epsilon:f64 initializer_range:f64 use_cache:bool bos_token_id:u32 "
            "eos_token_id:u32 hidden_dropout:f64 attention_dropout:f64 alibi:bool "
            "new_decoder_architecture:bool multi_query:bool parallel_attn:bool bias:bool"
        ),
        "gemma": (
            "attention_bias:bool head_dim:usize hidden_size:usize intermediate_size:usize "
            "num_attention_heads:usize num_hidden_layers:usize num_key_value_heads:usize rms_norm_eps:f64 "
            "rope_theta:f64 vocab_size:usize"
        ),
        "gemma2": (
            "attention_bias:bool head_dim:usize hidden_activation:str hidden_size:usize "
            "intermediate_size:usize num_attention_heads:usize num_hidden_layers:usize "
            "num_key_value_heads:usize rms_norm_eps:f64 rope_theta:f64 vocab_size:usize "
            "query_pre_attn_scalar:usize"
        ),
        "gemma3_text": (
            "attention_bias:bool head_dim:usize hidden_activation:str hidden_size:usize "
            "intermediate_size:usize num_attention_heads:usize num_hidden_layers:usize "
            "num_key_value_heads:usize rms_norm_eps:f64 rope_theta:f64 rope_local_base_freq:f64 "
            "vocab_size:usize query_pre_attn_scalar:usize sliding_window:usize "
            "sliding_window_pattern:usize max_position_embeddings:usize"
        ),
        "gemma4_text": (
            "hidden_size:usize intermediate_size:usize num_hidden_layers:usize sliding_window:usize "
            "layer_types:list"
        ),
        "glm4": (
            "vocab_size:usize hidden_size:usize intermediate_size:usize num_hidden_layers:usize "
            "num_attention_heads:usize num_key_value_heads:usize max_position_embeddings:usize "
            "tie_word_embeddings:bool rope_theta:f64 rms_norm_eps:f64 hidden_act:str"
        ),
        "granite": (
            "hidden_size:usize intermediate_size:usize vocab_size:usize num_hidden_layers:usize "
            "num_attention_heads:usize rms_norm_eps:f64 max_position_embeddings:usize"
        ),
        "granitemoehybrid": (
            "hidden_size:usize intermediate_size:usize vocab_size:usize num_hidden_layers:usize "
            "num_attention_heads:usize rms_norm_eps:f64 max_position_embeddings:usize"
        ),
        "lfm2": (
            "vocab_size:usize hidden_size:usize num_hidden_layers:usize num_attention_heads:usize "
            "layer_types:list"
        ),
        "llama": (
            "hidden_size:usize intermediate_size:usize vocab_size:usize num_hidden_layers:usize "
            "num_attention_heads:usize rms_norm_eps:f64 max_position_embeddings:usize"
        ),
        "mamba": ("d_model:usize n_layer:usize vocab_size:usize pad_vocab_size_multiple:usize"),
        "mamba2": ("hidden_size:usize num_hidden_layers:usize vocab_size:usize"),
        "mistral": (
            "vocab_size:usize hidden_size:usize intermediate_size:usize num_hidden_layers:usize "
            "num_key_value_heads:usize max_position_embeddings:usize rms_norm_eps:f64 rope_theta:f64"
        ),
        "mixtral": (
            "vocab_size:usize hidden_size:usize intermediate_size:usize num_hidden_layers:usize "
            "num_attention_heads:usize num_key_value_heads:usize hidden_act:str "
            "max_position_embeddings:usize rms_norm_eps:f64 rope_theta:f64 sliding_window:usize "
            "num_experts_per_tok:usize num_local_experts:usize use_flash_attn:bool"
        ),
        "olmo": (
            "vocab_size:usize hidden_size:usize intermediate_size:usize attention_bias:bool "
            "num_hidden_layers:usize num_attention_heads:usize num_key_value_heads:usize hidden_act:str "
            "max_position_embeddings:usize rope_theta:f64 tie_word_embeddings:bool"
        ),
        "olmo2": (
            "vocab_size:usize hidden_size:usize intermediate_size:usize attention_bias:bool "
            "num_hidden_layers:usize num_attention_heads:usize num_key_value_heads:usize rms_norm_eps:f64 "
            "hidden_act:str max_position_embeddings:usize rope_theta:f64 tie_word_embeddings:bool"
        ),
        "phi": (
            "vocab_size:usize hidden_size:usize intermediate_size:usize num_hidden_layers:usize "
            "num_attention_heads:usize hidden_act:str max_position_embeddings:usize layer_norm_eps:f64 "
            "tie_word_embeddings:bool rope_theta:f32 partial_rotary_factor:f64 qk_layernorm:bool"
        ),
        "phi3": (
            "vocab_size:usize hidden_act:str hidden_size:usize intermediate_size:usize "
            "num_hidden_layers:usize num_attention_heads:usize num_key_value_heads:usize rms_norm_eps:f64 "
            "rope_theta:f64 max_position_embeddings:usize"
        ),
        "qwen2": (
            "vocab_size:usize hidden_size:usize intermediate_size:usize num_hidden_layers:usize "
            "num_attention_heads:usize num_key_value_heads:usize max_position_embeddings:usize "
            "sliding_window:usize max_window_layers:usize tie_word_embeddings:bool rope_theta:f64 "
            "rms_norm_eps:f64 use_sliding_window:bool hidden_act:str"
        ),
        "qwen2_moe": (
            "vocab_size:usize hidden_size:usize intermediate_size:usize num_hidden_layers:usize "
            "num_attention_heads:usize num_key_value_heads:usize max_position_embeddings:usize "
            "sliding_window:usize max_window_layers:usize tie_word_embeddings:bool rope_theta:f64 "
            "rms_norm_eps:f64 use_sliding_window:bool hidden_act:str decoder_sparse_step:usize "
            "moe_intermediate_size:usize shared_expert_intermediate_size:usize num_experts_per_tok:usize "
            "num_experts:usize norm_topk_prob:bool"
        ),
        "qwen3": (
            "vocab_size:usize hidden_size:usize intermediate_size:usize num_hidden_layers:usize "
            "num_attention_heads:usize head_dim:usize attention_bias:bool num_key_value_heads:usize "
            "max_position_embeddings:usize max_window_layers:usize tie_word_embeddings:bool "
            "rope_theta:f64 rms_norm_eps:f64 use_sliding_window:bool hidden_act:str"
        ),
        "qwen3_moe": (
            "vocab_size:usize hidden_size:usize intermediate_size:usize num_hidden_layers:usize "
            "num_attention_heads:usize head_dim:usize attention_bias:bool num_key_value_heads:usize "
            "max_position_embeddings:usize max_window_layers:usize tie_word_embeddings:bool "
            "rope_theta:f64 rms_norm_eps:f64 use_sliding_window:bool hidden_act:str "
            "decoder_sparse_step:usize moe_intermediate_size:usize num_experts_per_tok:usize "
            "num_experts:usize norm_topk_prob:bool"
        ),
        "smollm3": (
            "vocab_size:usize hidden_size:usize intermediate_size:usize num_hidden_layers:usize "
            "num_attention_heads:usize num_key_value_heads:usize max_position_embeddings:usize "
            "tie_word_embeddings:bool rope_theta:f64 rms_norm_eps:f64 hidden_act:str"
        ),
        "stablelm": (
            "vocab_size:usize intermediate_size:usize hidden_size:usize num_hidden_layers:usize "
            "num_attention_heads:usize num_key_value_heads:usize hidden_act:str partial_rotary_factor:f64 "
            "rope_theta:f64 max_position_embeddings:usize layer_norm_eps:f64 use_cache:bool"
        ),
        "starcoder2": (
            "vocab_size:usize hidden_size:usize intermediate_size:usize num_hidden_layers:usize "
            "num_attention_heads:usize num_key_value_heads:usize hidden_act:str "
            "max_position_embeddings:usize norm_epsilon:f64 rope_theta:f64 use_bias:bool"
        ),
    },
    "mistral.rs": {
        "deepseek_v2": (
            "vocab_size:usize hidden_size:usize intermediate_size:usize moe_intermediate_size:usize "
            "num_hidden_layers:usize num_attention_heads:usize max_position_embeddings:usize "
            "rms_norm_eps:f64 rope_theta:f32 attention_bias:bool qk_rope_head_dim:usize "
            "kv_lora_rank:usize v_head_dim:usize qk_nope_head_dim:usize n_group:usize topk_group:usize"
        ),
        "deepseek_v3": (
            "vocab_size:usize hidden_size:usize intermediate_size:usize moe_intermediate_size:usize "
            "num_hidden_layers:usize num_attention_heads:usize max_position_embeddings:usize "
            "rms_norm_eps:f64 rope_theta:f32 attention_bias:bool qk_rope_head_dim:usize "
            "kv_lora_rank:usize v_head_dim:usize qk_nope_head_dim:usize n_group:usize topk_group:usize"
        ),
        "gemma": (
            "attention_bias:bool head_dim:usize hidden_size:usize intermediate_size:usize "
            "num_attention_heads:usize num_hidden_layers:usize num_key_value_heads:usize rms_norm_eps:f64 "
            "rope_theta:f64 vocab_size:usize"
        ),
        "gemma2": (
            "attention_bias:bool head_dim:usize hidden_size:usize intermediate_size:usize "
            "num_attention_heads:usize num_hidden_layers:usize num_key_value_heads:usize rms_norm_eps:f64 "
            "rope_theta:f64 vocab_size:usize sliding_window:usize query_pre_attn_scalar:usize "
            "max_position_embeddings:usize"
        ),
        "gemma3_text": (
            "hidden_size:usize intermediate_size:usize num_hidden_layers:usize sliding_window:usize"
        ),
        "gemma4_text": (
            "hidden_size:usize intermediate_size:usize num_hidden_layers:usize sliding_window:usize "
            "layer_types:list"
        ),
        "glm4": (
            "vocab_size:usize hidden_size:usize intermediate_size:usize num_hidden_layers:usize "
            "num_attention_heads:usize num_key_value_heads:usize hidden_act:str rms_norm_eps:f64 "
            "rope_theta:f64"
        ),
        "glm4_moe": (
            "vocab_size:usize hidden_size:usize intermediate_size:usize moe_intermediate_size:usize "
            "num_hidden_layers:usize num_attention_heads:usize num_key_value_heads:usize "
            "partial_rotary_factor:f32 n_routed_experts:usize n_shared_experts:usize "
            "num_experts_per_tok:usize rms_norm_eps:f64 rope_theta:f64 max_position_embeddings:usize"
        ),
        "glm4_moe_lite": (
            "vocab_size:usize hidden_size:usize intermediate_size:usize moe_intermediate_size:usize "
            "num_hidden_layers:usize num_attention_heads:usize num_key_value_heads:usize q_lora_rank:usize "
            "kv_lora_rank:usize qk_nope_head_dim:usize qk_rope_head_dim:usize v_head_dim:usize "
            "n_routed_experts:usize n_shared_experts:usize num_experts_per_tok:usize rms_norm_eps:f64 "
            "rope_theta:f32 max_position_embeddings:usize"
        ),
        "gpt_oss": (
            "vocab_size:usize hidden_size:usize intermediate_size:usize num_hidden_layers:usize "
            "num_attention_heads:usize num_key_value_heads:usize max_position_embeddings:usize "
            "rms_norm_eps:f64 rope_theta:f64 num_local_experts:usize num_experts_per_tok:usize "
            "layer_types:list"
        ),
        "granite": (
            "hidden_size:usize intermediate_size:usize vocab_size:usize num_hidden_layers:usize "
            "num_attention_heads:usize rms_norm_eps:f64 max_position_embeddings:usize"
        ),
        "granitemoehybrid": (
            "hidden_size:usize intermediate_size:usize vocab_size:usize num_hidden_layers:usize "
            "num_attention_heads:usize rms_norm_eps:f64 max_position_embeddings:usize"
        ),
        "hunyuan_v1_dense": (
            "vocab_size:usize hidden_size:usize intermediate_size:usize num_hidden_layers:usize "
            "num_attention_heads:usize num_key_value_heads:usize max_position_embeddings:usize "
            "rms_norm_eps:f64 rope_theta:f64 hidden_act:str"
        ),
        "hunyuan_v1_moe": (
            "vocab_size:usize hidden_size:usize intermediate_size:usize num_hidden_layers:usize "
            "num_attention_heads:usize num_key_value_heads:usize max_position_embeddings:usize "
            "rms_norm_eps:f64 rope_theta:f64 hidden_act:str num_experts:usize num_shared_expert:list "
            "moe_topk:list use_mixed_mlp_moe:bool use_qk_norm:bool"
        ),
        "llama": (
            "hidden_act:str hidden_size:usize intermediate_size:usize vocab_size:usize "
            "num_hidden_layers:usize num_attention_heads:usize num_key_value_heads:usize rms_norm_eps:f64 "
            "rope_theta:f32 max_position_embeddings:usize"
        ),
        "mistral": (
            "vocab_size:usize hidden_size:usize intermediate_size:usize num_hidden_layers:usize "
            "num_attention_heads:usize num_key_value_heads:usize hidden_act:str "
            "max_position_embeddings:usize rms_norm_eps:f64"
        ),
        "mixtral": (
            "vocab_size:usize hidden_size:usize intermediate_size:usize num_hidden_layers:usize "
            "num_attention_heads:usize num_key_value_heads:usize hidden_act:str "
            "max_position_embeddings:usize rms_norm_eps:f64 rope_theta:f64 num_experts_per_tok:usize "
            "num_local_experts:usize"
        ),
        "phi": (
            "vocab_size:usize hidden_size:usize intermediate_size:usize num_hidden_layers:usize "
            "num_attention_heads:usize hidden_act:str max_position_embeddings:usize layer_norm_eps:f64 "
            "rope_theta:f32 partial_rotary_factor:f64 qk_layernorm:bool"
        ),
        "phi3": (
            "vocab_size:usize hidden_act:str hidden_size:usize intermediate_size:usize "
            "num_hidden_layers:usize num_attention_heads:usize num_key_value_heads:usize rms_norm_eps:f64 "
            "rope_theta:f64 max_position_embeddings:usize original_max_position_embeddings:usize"
        ),
        "phimoe": (
            "vocab_size:usize hidden_act:str hidden_size:usize intermediate_size:usize "
            "num_hidden_layers:usize num_attention_heads:usize num_key_value_heads:usize rms_norm_eps:f64 "
            "rope_theta:f64 max_position_embeddings:usize original_max_position_embeddings:usize "
            "lm_head_bias:bool attention_bias:bool num_local_experts:usize router_jitter_noise:f64"
        ),
        "qwen2": (
            "vocab_size:usize hidden_size:usize intermediate_size:usize num_hidden_layers:usize "
            "num_attention_heads:usize num_key_value_heads:usize max_position_embeddings:usize "
            "rope_theta:f64 rms_norm_eps:f64 hidden_act:str"
        ),
        "qwen3": (
            "vocab_size:usize hidden_size:usize intermediate_size:usize num_hidden_layers:usize "
            "num_attention_heads:usize num_key_value_heads:usize hidden_act:str "
            "max_position_embeddings:usize rms_norm_eps:f64 rope_theta:f64 max_window_layers:usize "
            "use_sliding_window:bool"
        ),
        "qwen3_5_text": (
            "head_dim:usize vocab_size:usize hidden_size:usize intermediate_size:usize "
            "num_hidden_layers:usize num_attention_heads:usize num_key_value_heads:usize hidden_act:str "
            "max_position_embeddings:usize rms_norm_eps:f64 rope_parameters:object "
            "linear_key_head_dim:usize linear_value_head_dim:usize linear_num_key_heads:usize "
            "linear_num_value_heads:usize"
        ),
        "qwen3_moe": (
            "vocab_size:usize hidden_size:usize intermediate_size:usize num_hidden_layers:usize "
            "num_attention_heads:usize num_key_value_heads:usize hidden_act:str "
            "max_position_embeddings:usize rms_norm_eps:f64 rope_theta:f64 max_window_layers:usize "
            "use_sliding_window:bool moe_intermediate_size:usize num_experts:usize mlp_only_layers:list "
            "decoder_sparse_step:usize norm_topk_prob:bool num_experts_per_tok:usize"
        ),
        "qwen3_next": (
            "vocab_size:usize hidden_size:usize intermediate_size:usize num_hidden_layers:usize "
            "num_attention_heads:usize num_key_value_heads:usize hidden_act:str "
            "max_position_embeddings:usize head_dim:usize linear_key_head_dim:usize "
            "linear_value_head_dim:usize linear_num_key_heads:usize linear_num_value_heads:usize "
            "moe_intermediate_size:usize shared_expert_intermediate_size:usize num_experts_per_tok:usize "
            "num_experts:usize"
        ),
        "smollm3": (
            "hidden_act:str hidden_size:usize intermediate_size:usize vocab_size:usize "
            "num_hidden_layers:usize num_attention_heads:usize num_key_value_heads:usize rms_norm_eps:f64 "
            "rope_theta:f32 max_position_embeddings:usize no_rope_layer_interval:usize"
        ),
        "starcoder2": (
            "vocab_size:usize hidden_size:usize intermediate_size:usize num_hidden_layers:usize "
            "num_attention_heads:usize num_key_value_heads:usize hidden_act:str "
            "max_position_embeddings:usize norm_epsilon:f64 rope_theta:f64 use_bias:bool"
        ),
    },
    "mlx-lm": {
        "afmoe": ("model_type layer_types"),
        "apertus": (
            "model_type hidden_size num_hidden_layers intermediate_size mlp_bias num_attention_heads "
            "attention_bias rms_norm_eps vocab_size num_key_value_heads max_position_embeddings "
            "rope_theta post_norm qk_norm tie_word_embeddings"
        ),
        "cohere": ("model_type"),
        "cohere2": ("model_type"),
        "dbrx": ("model_type vocab_size d_model ffn_config attn_config n_layers n_heads"),
        "deepseek_v2": ("model_type"),
        "deepseek_v3": ("model_type"),
        "dots1": (
            "model_type hidden_size num_hidden_layers intermediate_size num_attention_heads rms_norm_eps "
            "vocab_size max_position_embeddings num_key_value_heads first_k_dense_replace "
            "moe_intermediate_size n_routed_experts n_shared_experts norm_topk_prob num_experts_per_tok "
            "rope_theta routed_scaling_factor"
        ),
        "ernie4_5": (
            "hidden_size intermediate_size model_type max_position_embeddings num_attention_heads "
            "num_key_value_heads head_dim num_hidden_layers rms_norm_eps vocab_size rope_theta use_bias "
            "tie_word_embeddings"
        ),
        "ernie4_5_moe": (
            "hidden_size intermediate_size model_type max_position_embeddings num_attention_heads "
            "num_key_value_heads num_hidden_layers rms_norm_eps vocab_size rope_theta use_bias "
            "tie_word_embeddings moe_num_experts"
        ),
        "exaone4": (
            "model_type hidden_size num_hidden_layers intermediate_size num_attention_heads rms_norm_eps "
            "vocab_size num_key_value_heads max_position_embeddings rope_theta head_dim "
            "tie_word_embeddings rope_scaling sliding_window sliding_window_pattern"
        ),
        "exaone_moe": (
            "model_type vocab_size hidden_size intermediate_size moe_intermediate_size num_hidden_layers "
            "num_attention_heads num_key_value_heads head_dim num_experts num_experts_per_tok "
            "num_shared_experts rms_norm_eps max_position_embeddings sliding_window layer_types is_moe_layer"
        ),
        "falcon_h1": ("model_type"),
        "falcon_mamba": (
            "model_type vocab_size hidden_size intermediate_size state_size num_hidden_layers conv_kernel "
            "use_bias use_conv_bias time_step_rank"
        ),
        "gemma": (
            "model_type hidden_size num_hidden_layers intermediate_size num_attention_heads head_dim "
            "rms_norm_eps vocab_size num_key_value_heads"
        ),
        "gemma2": (
            "model_type hidden_size num_hidden_layers intermediate_size num_attention_heads head_dim "
            "rms_norm_eps vocab_size num_key_value_heads"
        ),
        "gemma3": ("model_type text_config"),
        "gemma3_text": ("model_type"),
        "gemma3n": ("model_type text_config"),
        "gemma4_text": ("model_type"),
        "glm": (
            "model_type hidden_size num_hidden_layers intermediate_size num_attention_heads rms_norm_eps "
            "vocab_size head_dim num_key_value_heads"
        ),
        "glm4": (
            "model_type hidden_size num_hidden_layers intermediate_size num_attention_heads "
            "attention_bias head_dim rms_norm_eps vocab_size num_key_value_heads partial_rotary_factor "
            "rope_theta"
        ),
        "glm4_moe": (
            "model_type vocab_size hidden_size intermediate_size max_position_embeddings "
            "moe_intermediate_size norm_topk_prob num_attention_heads n_group head_dim topk_group "
            "n_shared_experts n_routed_experts routed_scaling_factor num_experts_per_tok "
            "first_k_dense_replace num_hidden_layers num_key_value_heads rms_norm_eps rope_theta "
            "rope_scaling use_qk_norm tie_word_embeddings attention_bias partial_rotary_factor"
        ),
        "glm4_moe_lite": ("model_type"),
        "gpt2": ("model_type n_ctx n_embd n_head n_layer n_positions layer_norm_epsilon vocab_size"),
        "gpt_bigcode": ("model_type n_embd n_layer n_inner n_head n_positions layer_norm_epsilon vocab_size"),
        "gpt_neox": (
            "model_type max_position_embeddings hidden_size num_attention_heads num_hidden_layers "
            "layer_norm_eps vocab_size rotary_emb_base rotary_pct"
        ),
        "gpt_oss": ("model_type"),
        "granite": (
            "model_type hidden_size num_hidden_layers intermediate_size num_attention_heads rms_norm_eps "
            "vocab_size logits_scaling attention_multiplier embedding_multiplier residual_multiplier "
            "max_position_embeddings num_key_value_heads attention_bias mlp_bias rope_theta"
        ),
        "granitemoe": (
            "model_type hidden_size num_hidden_layers intermediate_size num_attention_heads rms_norm_eps "
            "vocab_size logits_scaling attention_multiplier embedding_multiplier residual_multiplier "
            "max_position_embeddings num_key_value_heads attention_bias rope_theta num_local_experts "
            "num_experts_per_tok"
        ),
        "granitemoehybrid": (
            "model_type vocab_size hidden_size intermediate_size num_hidden_layers "
            "max_position_embeddings num_attention_heads num_key_value_heads attention_bias "
            "embedding_multiplier attention_multiplier logits_scaling residual_multiplier layer_types "
            "rms_norm_eps"
        ),
        "hunyuan_v1_dense": (
            "model_type vocab_size hidden_size num_hidden_layers intermediate_size num_attention_heads "
            "num_key_value_heads rms_norm_eps"
        ),
        "lfm2": (
            "model_type vocab_size hidden_size num_hidden_layers num_attention_heads num_key_value_heads "
            "max_position_embeddings norm_eps conv_bias conv_L_cache block_dim block_multiple_of "
            "block_ffn_dim_multiplier block_auto_adjust_ff_dim"
        ),
        "lfm2_moe": (
            "model_type vocab_size hidden_size intermediate_size moe_intermediate_size num_hidden_layers "
            "num_experts num_experts_per_tok norm_topk_prob num_attention_heads num_key_value_heads "
            "max_position_embeddings use_expert_bias num_dense_layers norm_eps conv_bias conv_L_cache"
        ),
        "llama": (
            "model_type hidden_size num_hidden_layers intermediate_size num_attention_heads rms_norm_eps "
            "vocab_size"
        ),
        "llama4": ("text_config model_type"),
        "llama4_text": (
            "model_type hidden_size num_attention_heads num_hidden_layers vocab_size intermediate_size "
            "intermediate_size_mlp num_key_value_heads rms_norm_eps rope_theta head_dim tie_word_embeddings "
            "no_rope_layers use_qk_norm"
        ),
        "mamba": (
            "model_type vocab_size hidden_size intermediate_size state_size num_hidden_layers conv_kernel "
            "use_bias use_conv_bias time_step_rank"
        ),
        "mamba2": (
            "model_type num_heads head_dim vocab_size hidden_size intermediate_size state_size "
            "num_hidden_layers layer_norm_epsilon conv_kernel n_groups use_bias use_conv_bias "
            "tie_word_embeddings time_step_limit time_step_rank"
        ),
        "mellum": (
            "model_type hidden_size num_hidden_layers intermediate_size num_attention_heads num_experts "
            "num_experts_per_tok moe_intermediate_size rms_norm_eps vocab_size num_key_value_heads head_dim "
            "tie_word_embeddings max_position_embeddings norm_topk_prob sliding_window layer_types"
        ),
        "minicpm3": (
            "model_type hidden_size dim_model_base num_hidden_layers intermediate_size num_attention_heads "
            "rms_norm_eps vocab_size num_key_value_heads q_lora_rank qk_nope_head_dim qk_rope_head_dim "
            "kv_lora_rank scale_depth scale_emb max_position_embeddings"
        ),
        "minimax_m2": (
            "model_type hidden_size intermediate_size num_attention_heads num_key_value_heads "
            "max_position_embeddings num_experts_per_tok num_local_experts shared_intermediate_size "
            "num_hidden_layers rms_norm_eps rope_theta rotary_dim vocab_size"
        ),
        "ministral3": (
            "model_type hidden_size num_hidden_layers intermediate_size num_attention_heads rms_norm_eps "
            "vocab_size"
        ),
        "mistral": (
            "model_type hidden_size num_hidden_layers intermediate_size num_attention_heads rms_norm_eps "
            "vocab_size"
        ),
        "mistral3": ("model_type text_config"),
        "mistral4": (
            "model_type vocab_size hidden_size intermediate_size moe_intermediate_size num_hidden_layers "
            "num_attention_heads num_key_value_heads n_shared_experts n_routed_experts "
            "routed_scaling_factor kv_lora_rank q_lora_rank norm_topk_prob max_position_embeddings "
            "rms_norm_eps topk_group num_experts_per_tok first_k_dense_replace n_group qk_rope_head_dim "
            "qk_nope_head_dim v_head_dim"
        ),
        "mixtral": ("model_type"),
        "nemotron": (
            "model_type hidden_size hidden_act num_hidden_layers intermediate_size num_attention_heads "
            "norm_eps vocab_size num_key_value_heads"
        ),
        "nemotron_h": (
            "model_type vocab_size hidden_size intermediate_size max_position_embeddings "
            "num_attention_heads num_key_value_heads attention_bias mamba_num_heads mamba_head_dim "
            "mamba_proj_bias ssm_state_size conv_kernel n_groups mlp_bias layer_norm_epsilon use_bias "
            "use_conv_bias"
        ),
        "olmo2": (
            "model_type hidden_size num_hidden_layers intermediate_size num_attention_heads rms_norm_eps "
            "vocab_size"
        ),
        "olmo3": (
            "model_type hidden_size num_hidden_layers intermediate_size num_attention_heads rms_norm_eps "
            "vocab_size max_position_embeddings sliding_window rope_theta"
        ),
        "olmoe": (
            "model_type hidden_size num_hidden_layers intermediate_size num_attention_heads rms_norm_eps "
            "vocab_size num_experts num_experts_per_tok"
        ),
        "phi": ("model_type"),
        "phi3": (
            "model_type hidden_size num_hidden_layers intermediate_size num_attention_heads rms_norm_eps "
            "vocab_size"
        ),
        "phimoe": ("model_type"),
        "qwen2": (
            "model_type hidden_size num_hidden_layers intermediate_size num_attention_heads rms_norm_eps "
            "vocab_size num_key_value_heads"
        ),
        "qwen2_moe": (
            "model_type hidden_size num_hidden_layers intermediate_size num_attention_heads "
            "num_experts_per_tok num_experts moe_intermediate_size shared_expert_intermediate_size "
            "rms_norm_eps vocab_size"
        ),
        "qwen3": (
            "model_type hidden_size num_hidden_layers intermediate_size num_attention_heads rms_norm_eps "
            "vocab_size num_key_value_heads max_position_embeddings head_dim tie_word_embeddings"
        ),
        "qwen3_5": ("model_type text_config"),
        "qwen3_5_moe": ("model_type text_config"),
        "qwen3_moe": (
            "model_type hidden_size num_hidden_layers intermediate_size num_attention_heads num_experts "
            "num_experts_per_tok decoder_sparse_step mlp_only_layers moe_intermediate_size rms_norm_eps "
            "vocab_size num_key_value_heads head_dim rope_theta tie_word_embeddings "
            "max_position_embeddings norm_topk_prob"
        ),
        "qwen3_next": (
            "model_type hidden_size num_hidden_layers intermediate_size num_attention_heads "
            "linear_num_value_heads linear_num_key_heads linear_key_head_dim linear_value_head_dim "
            "linear_conv_kernel_dim num_experts num_experts_per_tok decoder_sparse_step "
            "shared_expert_intermediate_size mlp_only_layers moe_intermediate_size rms_norm_eps "
            "vocab_size num_key_value_heads rope_theta partial_rotary_factor max_position_embeddings "
            "head_dim"
        ),
        "seed_oss": (
            "model_type hidden_size num_hidden_layers intermediate_size num_attention_heads rms_norm_eps "
            "vocab_size num_key_value_heads head_dim"
        ),
        "smollm3": ("model_type"),
        "stablelm": (
            "model_type vocab_size hidden_size num_attention_heads num_hidden_layers num_key_value_heads "
            "intermediate_size rope_theta use_qkv_bias partial_rotary_factor layer_norm_eps"
        ),
        "starcoder2": (
            "model_type hidden_size num_hidden_layers intermediate_size num_attention_heads "
            "num_key_value_heads"
        ),
    },
}
