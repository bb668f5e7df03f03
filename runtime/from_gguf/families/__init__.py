"""How llama.cpp reads each `general.architecture`: one row of facts per architecture.

Sources: llama.cpp, src/models/<architecture>.cpp (which tensors, which arithmetic) and `llama_model_rope_type`
in src/llama-model.cpp (which channels are rotated together). Tensor names are given without their prefix:
`attn_q.weight` stands for `blk.{i}.attn_q.weight`. Every family with attention has queries, keys and values, separate
or fused as `attn_qkv`, with or without biases.

Some things differ from llama.cpp, which leaves out there what files say: phi3 and llama attend within
`attention.sliding_window`, which llama.cpp has switched off and does not know; command-r norms its heads where the
tensors are there, whatever the number of layers; heads are as wide as the rows of q say where no key does; and
experts may be apart, as files had them before llama.cpp asked for stacked ones, or have their gates' rows before their
ups', as its converter can write them. A tensor that llama.cpp would not look for is read where its meaning is plain:
`output.weight`, the attention's output bias of qwen3, and a llama's two lists of rotary factors whatever the type of
its scaling. A weight's `.scale` is heeded in every family, where of llama.cpp's graphs only llama's, qwen3's and
qwen3moe's heed that of a feed-forward network. A gemma3 without `rope.freq_base` turns by Gemma 3's 1000000, not by
llama.cpp's 10000. gpt-oss' yarn does not round its two dimensions, exaone4 has its windows whatever the number of
layers, mistral4 its temperature and nemotron_h its least step, as the originals have them and llama.cpp has not.
mellum's layers with a window rotate by a base of their own, and hunyuan_vl's fourth section turns as the others do.
phimoe's experts are chosen and weighed by its sparse mixer, and its angles grow by the published number. falcon's,
gptneox' and mpt's GELU is the original's, where ggml's is the tanh form in every family, and gemma3n's spread of gates
is over N, not N − 1.
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
