"""How llama.cpp reads each `general.architecture`: one row of facts per architecture.

Sources: llama.cpp, src/models/<architecture>.cpp (which tensors, which arithmetic) and `llama_model_rope_type`
in src/llama-model.cpp (which channels are rotated together). Tensor names are given without their prefix:
`attn_q.weight` stands for `blk.{i}.attn_q.weight`. Every family with attention has queries, keys and values, separate
or fused as `attn_qkv`, with or without biases.

Deliberate differences from llama.cpp, which ignores some of what files say:

- Sliding windows: phi3 and llama use `attention.sliding_window`, which llama.cpp switches off for phi3 and does not
  know for llama; exaone4 has its windows whatever the number of layers.
- Tensors that llama.cpp does not look for are used where their meaning is plain: `output.weight`, the output bias of
  qwen3's attention, the norms of command-r's heads whatever the number of layers, a llama's two lists of RoPE factors
  whatever its scaling type. Experts may be separate, as in files from before llama.cpp required stacked ones, or have
  gate and up fused, as its converter can write them. A weight's `.scale` is used in every family; in llama.cpp a
  feed-forward network's is only in llama, qwen3 and qwen3moe.
- Without a key, the head size follows from the rows of q.
- RoPE: a gemma3 without `rope.freq_base` has Gemma 3's base of 1000000, not 10000; gpt-oss' YaRN does not round its
  two dimensions; mellum's sliding layers have their own base; hunyuan_vl's fourth section is rotated like the others;
  phimoe's cosine and sine have the published factor.
- As in the originals: mistral4's temperature, nemotron_h's smallest time step, phimoe's sparse mixer, the exact GELU of
  falcon, gptneox and mpt (ggml uses the tanh form in every family), and gemma3n's standard deviation of gates, which
  divides by N, not N − 1.
"""

from __future__ import annotations

from collections.abc import Mapping

from llorch.runtime.from_gguf.facts import ArchitectureFacts
from llorch.runtime.from_gguf.families import gemma, gpt, hybrid, latent, llama, others, qwen

FAMILIES: Mapping[str, ArchitectureFacts] = {
    **llama.FAMILIES,
    **qwen.FAMILIES,
    **gemma.FAMILIES,
    **latent.FAMILIES,
    **hybrid.FAMILIES,
    **gpt.FAMILIES,
    **others.FAMILIES,
}
