"""How fast a CUDA device decodes a folder in bfloat16, beside transformers and beside what its memory can do.

    python -m benchmarks.gpu_folder DIRECTORY [--layers 32]

A folder of Llama-3-8B's shape with random weights is written into DIRECTORY where it is not there yet (16 GB).
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

CONTEXT, NEW, REPEATS = 8, 128, 5
COPIED_BYTES = 4 << 30
CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "dtype": "bfloat16",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "num_hidden_layers": 32,
    "vocab_size": 128256,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0,
    "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0},
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "attention_bias": False,
    "mlp_bias": False,
    "bos_token_id": 0,
    "eos_token_id": 1,
}


def write_folder(folder: Path, layers: int) -> None:
    """Weights of a normal distribution, made on the device, a file a layer; and a tokenizer of bytes."""
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, models

    folder.mkdir(parents=True)
    hidden, inner, vocabulary = (CONFIG[key] for key in ("hidden_size", "intermediate_size", "vocab_size"))
    kv = CONFIG["num_key_value_heads"] * CONFIG["head_dim"]
    shapes = {
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.k_proj": (kv, hidden),
        "self_attn.v_proj": (kv, hidden),
        "self_attn.o_proj": (hidden, hidden),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
        "input_layernorm": (hidden,),
        "post_attention_layernorm": (hidden,),
    }
    parts: list[dict[str, tuple[int, ...]]] = [
        {f"model.layers.{index}.{name}.weight": shape for name, shape in shapes.items()}
        for index in range(layers)
    ]
    ends = {"model.embed_tokens.weight": (vocabulary, hidden), "lm_head.weight": (vocabulary, hidden)}
    parts.append({**ends, "model.norm.weight": (hidden,)})
    places = {}
    for number, part in enumerate(parts):
        file = f"model-{number + 1:05}-of-{len(parts):05}.safetensors"
        save_file({name: _random(shape) for name, shape in part.items()}, folder / file)
        places.update(dict.fromkeys(part, file))
    total = sum(2 * math.prod(shape) for part in parts for shape in part.values())
    index = {"metadata": {"total_size": total}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps({**CONFIG, "num_hidden_layers": layers}))
    Tokenizer(models.WordLevel({f"t{n}": n for n in range(256)}, unk_token="t0")).save(
        str(folder / "tokenizer.json")
    )


def _random(shape: tuple[int, ...]) -> Tensor:
    import torch

    if len(shape) == 1:
        return torch.ones(shape, dtype=torch.bfloat16)
    weights: Tensor = torch.randn(shape, device="cuda") * shape[1] ** -0.5
    return weights.bfloat16().cpu()


def copy_bandwidth() -> float:
    """Bytes read and written a second by a copy from memory to memory, the best of five."""
    import torch

    source, target = torch.empty((2, COPIED_BYTES), dtype=torch.uint8, device="cuda").unbind()
    best = 0.0
    for _ in range(REPEATS):
        torch.cuda.synchronize()
        start = time.perf_counter()
        target.copy_(source)
        torch.cuda.synchronize()
        best = max(best, 2 * COPIED_BYTES / (time.perf_counter() - start))
    return best


def ours(folder: Path, mode: str) -> dict[str, float]:
    """Tokens a second of our runtime, bytes of weights that a token reads, and the seconds to load."""
    import torch

    from llorch import runtime

    start = time.perf_counter()
    with runtime.load(folder, device="cuda", mode=mode) as model:
        torch.cuda.synchronize()
        loaded = time.perf_counter() - start
        weights = [linear.weight for layer in model.decoder.weights.layers for linear in layer.linears()]
        weights.append(model.decoder.weights.head.weight)
        read = sum(2 * matrix.rows * matrix.columns for matrix in weights)
        found = [_decode(model) for _ in range(REPEATS + 1)][1:]  # the first one compiles
    return {"decode": statistics.median(found), "read_bytes": read, "load_s": loaded}


def _decode(model: Any) -> float:
    stream = model.stream([(37 * n + 11) % 256 for n in range(CONTEXT)], max_new_tokens=NEW)
    times = [(time.perf_counter(), len(stream.ids)) for _ in stream]
    (start, before), (stop, made) = times[0], times[-1]
    return (made - before) / (stop - start)


def transformers_decode(folder: Path) -> float:
    """Tokens a second of transformers in bfloat16, greedy, as its `generate` is by default."""
    import torch
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).to("cuda")
    ids = torch.tensor([[(37 * n + 11) % 256 for n in range(CONTEXT)]], device="cuda")
    found = []
    for _ in range(REPEATS + 1):
        seconds = []
        for new in (1, NEW):
            torch.cuda.synchronize()
            start = time.perf_counter()
            model.generate(ids, max_new_tokens=new, min_new_tokens=new, do_sample=False, pad_token_id=0)
            torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
        found.append((NEW - 1) / (seconds[1] - seconds[0]))
    return statistics.median(found[1:])


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--layers", type=int, default=CONFIG["num_hidden_layers"])
    options = parser.parse_args()
    folder = options.directory / f"llama-8b-{options.layers}-layers"
    if not folder.exists():
        write_folder(folder, options.layers)
    copied, theirs = copy_bandwidth(), transformers_decode(folder)
    print(f"copy {copied / 1e12:.2f} TB/s read and written; transformers {theirs:.1f} tokens/s", flush=True)
    print(
        "| mode | load, s | decode, tokens/s | times transformers' | TB/s of weights | of the copy's | of its reads |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for mode in ("exact", "fast"):
        got = ours(folder, mode)
        rate = got["decode"] * got["read_bytes"]
        print(
            f"| {mode} | {got['load_s']:.1f} | {got['decode']:.1f} | {got['decode'] / theirs:.2f} | "
            f"{rate / 1e12:.2f} | {rate / copied:.2f} | {2 * rate / copied:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
