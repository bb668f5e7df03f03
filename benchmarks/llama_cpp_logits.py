"""Log-probabilities that llama.cpp computes from a GGUF file, by the server of the package xllamacpp."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llorch.formats.gguf import Header, read_header

LENGTHS = (1, 12, 90)  # of the prompts; 90 goes beyond the windows and original contexts of the test data
TOKEN_TYPES, NORMAL = "tokenizer.ggml.token_type", 1

# Runs in a child process, since the server can't be stopped otherwise. It reports no probabilities if it chooses a
# token without text, so a bias forces a token with text; the bias does not change the reported probabilities.
ASK = """
import json, sys
import xllamacpp
path, tokens, text_id, prompts = sys.argv[1], *map(json.loads, sys.argv[2:])
params = xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.n_parallel = path, 256, 1
params.cache_type_k = params.cache_type_v = 0  # float32: the halves that it keeps otherwise differ by 1e-3
params.flash_attn_type = 0
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
server = xllamacpp.Server(params)
for prompt in prompts:
    request = {"prompt": prompt, "n_predict": 1, "n_probs": tokens, "temperature": 0, "logit_bias": [[text_id, 1000.0]]}
    answer = server.handle_completions(request)
    answer = answer if isinstance(answer, dict) else json.loads(answer)
    row = [0.0] * tokens
    for entry in answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]:
        row[entry["id"]] = entry["logprob"]
    print("row", json.dumps(row), flush=True)
"""


class CannotRun(Exception):
    """llama.cpp cannot load a file; the message ends with its last line of output."""


def differences_of_logits(first: Path, second: Path, scratch: Path, *, noise: float = 0.0) -> Iterator[str]:
    """Yield how llama.cpp's results differ between two files with the same vocabulary, the first in float32.

    noise: allowed difference of log-probabilities, in nats. Raises CannotRun if llama.cpp doesn't run the first either.
    """
    header = read_header(first)
    if any(tensor.type.name != "F32" for tensor in header.tensors.values()):
        first = in_float32(first, scratch / "first.gguf")
    prompts, tokens, text_id = make_prompts(header)
    before = log_probabilities(first, prompts, tokens, text_id)
    try:
        after = log_probabilities(second, prompts, tokens, text_id)
    except CannotRun as error:
        yield str(error)
        return
    apart = np.abs(before - after).max()
    if before.shape != (len(prompts), tokens) or apart > noise:
        yield f"llama.cpp's log-probabilities differ by up to {apart:.2g}"


def make_prompts(header: Header) -> tuple[list[list[int]], int, int]:
    """Return prompts of random ordinary tokens, the size of the vocabulary, and the id of a token of letters only."""
    texts = header.metadata.texts("tokenizer.ggml.tokens")
    types = header.metadata.integers(TOKEN_TYPES, None)
    ordinary = np.arange(len(texts)) if types is None else np.flatnonzero(types == NORMAL)
    generator = np.random.default_rng(0)
    prompts = [generator.choice(ordinary, length).tolist() for length in LENGTHS]
    return prompts, len(texts), int(next(index for index in ordinary if texts.raw(int(index)).isalpha()))


def in_float32(file: Path, out: Path) -> Path:
    """Write a copy of a file with every tensor dequantized to float32 by gguf-py; return its path."""
    import gguf

    reader = gguf.GGUFReader(file)
    writer = gguf.GGUFWriter(out, str(reader.fields["general.architecture"].contents()))
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        inner: Any = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=inner)
    for tensor in reader.tensors:
        plain = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        writer.add_tensor(tensor.name, np.ascontiguousarray(plain, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out


def log_probabilities(
    file: Path, prompts: Sequence[Sequence[int]], tokens: int, text_id: int
) -> NDArray[np.float32]:
    """Return log-probabilities of the next token after each prompt, (prompts, tokens), in nats, on one thread."""
    numbers = map(json.dumps, (tokens, text_id, [list(ids) for ids in prompts]))
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(file), *numbers], capture_output=True, text=True, check=False
    )
    rows = [json.loads(line[4:]) for line in done.stdout.splitlines() if line.startswith("row ")]
    if done.returncode or len(rows) != len(prompts):
        raise CannotRun(f"llama.cpp does not run {file}: {done.stderr.strip().splitlines()[-1]}")
    return np.array(rows, np.float32)
