"""Converts folders back to GGUF with llama.cpp's own script, and compares the result with the first file.

    python -m benchmarks.there_and_back [NAME|FILE.gguf …]     # by default every model of docs/loads-in.md, and demo/
    python -m benchmarks.there_and_back --llama-cpp DIR --keep

The script is written for original models, so what it finds in our folder, any reader of originals finds too. It is the
one in the source package of llama-cpp-python, downloaded by digest into the user's cache unless --llama-cpp names a
checkout; nothing of it is copied here. Compared are all tensors bit for bit (with --outtype f32), all keys including
the tokenizer's, and llama.cpp's results from both files. A model that is only built by the tests has fewer keys than
the script writes: its own keys are compared, and then the script's file is converted there and back completely.
Differences that are due to the script, not to the folder, are listed in script_habits.py with their reasons. --keep
stores the outcomes for docs/loads-in.md, which `python -m tools.loads_in` writes.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import numpy as np
import platformdirs
from numpy.typing import NDArray

from benchmarks.llama_cpp_logits import CannotRun, differences_of_logits
from benchmarks.script_habits import HABITS, Keys
from llorch.base.errors import UnsupportedInput
from llorch.converter import convert
from llorch.formats.gguf import Header, Tensor, TensorData, read_header
from llorch.formats.quants import decode
from tests.models import families, from_transformers
from tests.models.from_transformers import RECIPES, permuted

ROOT = Path(__file__).parent.parent
RECEIPTS = ROOT / "docs" / "there-and-back.json"
PACKAGE = "llama-cpp-python==0.3.36"
SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
ARCHIVE = "llama_cpp_python-0.3.36"

# Adjustments of the script: it uses the pre-tokenizer that the first file names (a tiny vocabulary is in no table of
# hashes); a file without prediction layers is made with its option --no-mtp; Mistral 4's text class is the one that it
# knows inside the multimodal class; Hunyuan A13B's vocabulary is read from tokenizer.json (the script reads it from the
# original's code); and Ling, whose folder is of GLM-4.5's class, has none of GLM's tokens. The script was written for
# transformers 4; version 5 removes some keys from a config's dictionary, such as gpt_neox's rotary_pct, so the keys of
# config.json are added; and it adds MiMo-V2's rope_parameters, which its originals do not have and the script cannot
# read. Its imports take seconds, so one process imports it, and a fork of that makes each file.
RUN = """
import json, os, sys
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/gguf-py"]
import conversion
from conversion.base import ModelBase, TextModel
from conversion.glm import Glm4MoeModel
from conversion.hunyuan import HunYuanMoEModel
from conversion.mistral3 import Mistral3Model
from transformers import AutoConfig, AutoTokenizer
import convert_hf_to_gguf
ModelBase.register("Mistral4ForCausalLM")(Mistral3Model)
conversion.TEXT_MODEL_MAP["Mistral4ForCausalLM"] = "mistral3"
HunYuanMoEModel.set_vocab = TextModel._set_vocab_gpt2
known = ModelBase.load_hparams
def hparams(folder, *form, **forms):
    found = {**json.load(open(folder / "config.json")), **known(folder, *form, **forms)}
    return {k: v for k, v in found.items() if k != "rope_parameters" or found["model_type"] != "mimo_v2_flash"}
ModelBase.load_hparams = staticmethod(hparams)
for line in sys.stdin:
    folder, out, log, pre, predicts, not_glms = json.loads(line)
    child = os.fork()
    if not child:
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT), 2)
        if pre:
            TextModel.get_vocab_base_pre = lambda self, tokenizer: pre
        if not_glms:
            Glm4MoeModel.set_vocab = TextModel._set_vocab_gpt2
        ModelBase.no_mtp = not predicts
        sys.argv = ["convert_hf_to_gguf.py", folder, "--outfile", out, "--outtype", "f32"]
        convert_hf_to_gguf.main()
        sys.exit()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""

# Architectures whose folder is written as another class that computes the same, so the file that comes back is of that
# one: without the keys of a vision tower's features, and with its order of the rows of queries and keys.
WRITTEN_AS = {
    "baichuan": "llama", "bailingmoe2": "glm4moe", "codeshell": "starcoder2", "exaone": "llama",
    "hunyuan_vl": "hunyuan-dense", "internlm2": "llama",
    "maincoder": "hunyuan-dense", "minicpm": "granite", "orion": "stablelm", "paddleocr": "llama",
    "pangu-embedded": "llama", "qwen": "qwen2", "qwen2vl": "qwen2", "qwen3vl": "qwen3", "qwen3vlmoe": "qwen3moe",
    "xverse": "llama",
}  # fmt: skip
VISION_KEYS = ("n_deepstack_layers", "rope.dimension_sections")
RENAMED = {
    "bailingmoe2": (".ffn_norm.", ".post_attention_norm.")
}  # architecture → part of a tensor's name, and its replacement
# Their RoPE pairs rows half a head apart; llama, as which they come back, pairs adjacent rows.
TO_PAIRS = {
    "exaone",
    "paddleocr",
    "pangu-embedded",
}
TO_HALVES = {
    "maincoder"
}  # pairs adjacent rows; hunyuan-dense, as which it comes back, rows half a head apart
NOISE = 0.05  # nats, allowed between llama.cpp's implementations of two architectures, with a float16 cache

# Models built by the tests for families that aren't in the test data, with a vocabulary that the script can read.
MADE_BY_TESTS = (
    "afmoe", "baichuan", "bailingmoe2", "bloom", "chatglm", "codeshell", "cohere2", "cohere2moe", "command-r", "dbrx",
    "deepseek2-lite", "dots1", "ernie4_5-moe", "exaone", "exaone-moe", "falcon-11b", "falcon-7b", "falcon-h1",
    "falcon-h1-normed", "falcon-mamba", "gemma", "gemma4-moe", "glm-4.7-flash", "gpt2", "gptneox", "gptneox-sequential",
    "granite", "granite_swa", "granite_swa-moe", "granitehybrid-moe", "granitemoe", "hunyuan-dense", "hunyuan-moe",
    "hunyuan_vl", "hy_v3", "internlm2", "jais2", "laguna", "laguna-gates", "lfm2moe", "maincoder", "mamba2", "mellum",
    "mimo2", "minicpm", "minicpm3", "ministral3", "mpt", "olmo", "olmo2", "olmo3", "orion", "paddleocr",
    "pangu-embedded", "phimoe", "qwen", "qwen2vl", "qwen3-moe", "qwen35moe", "smollm3", "stablelm", "starcoder",
    "starcoder2", "xverse",
)  # fmt: skip
# Architectures whose file llama.cpp computes otherwise than the one that comes back → how.
OTHERWISE = {
    "baichuan": "llama.cpp itself rotates with 32 layers alone",
    "hunyuan_vl": "llama.cpp itself does not turn a text's fourth section",
}
CAME_BACK, NOT_RUN = "came back", "llama.cpp itself runs no file of such sizes"


class ScriptError(Exception):
    """The script refuses a folder; the message is its last line of output."""


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME|FILE.gguf …]")
@click.option("--llama-cpp", type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="A checkout of llama.cpp.")  # fmt: skip
@click.option("--keep", is_flag=True, help=f"Keep the outcomes in docs/{RECEIPTS.name}.")
def main(names: Sequence[str], llama_cpp: Path | None, keep: bool) -> None:
    """Convert models there and back and print every difference; exit code 1 for one that isn't due to the script."""
    files = models()
    if unknown := [name for name in names if name not in files and not Path(name).is_file()]:
        raise click.UsageError(f"no model and no file: {', '.join(unknown)}; models are {', '.join(files)}")
    chosen = {name: files[name] if name in files else Path(name) for name in names} or files
    source = llama_cpp or script()
    receipts: dict[str, dict[str, str]] = (
        json.loads(RECEIPTS.read_text()) if keep and RECEIPTS.exists() else {}
    )
    wrong = 0
    for name, file in chosen.items():
        found, remark = outcome(name, file, source)
        wrong += len(found)
        result = "; ".join(found) or f"{CAME_BACK}{remark and f' ({remark})'}"
        click.echo(f"{name}: {result}")
        receipts[name] = {"result": result, "day": f"{datetime.now(UTC):%Y-%m-%d}", "version": PACKAGE}
        if keep:
            RECEIPTS.write_text(json.dumps(receipts, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    sys.exit(1 if wrong else 0)


def models() -> dict[str, Path | None]:
    """Return name → file of all models, None for those built by the tests."""
    data = Path(os.environ.get("LLORCH_TEST_DATA", ROOT.parent / "shared" / "data"))
    made = {file.parent.name: file for file in sorted(data.glob("*/*/f32.gguf"))}
    return {
        **made,
        **dict.fromkeys(MADE_BY_TESTS),
        **{file.stem: file for file in sorted((ROOT / "demo").glob("*.gguf"))},
    }


def outcome(name: str, file: Path | None, llama_cpp: Path) -> tuple[list[str], str]:
    """Return the differences between a model's file (None: built by the tests) and what comes back, and a remark."""
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        first = file or build_model(name, scratch)
        try:
            back = there_and_back(first, scratch, llama_cpp)
            found = list(differences(first, back, more_keys=file is None))
            if file is None:
                again = scratch / "again"
                again.mkdir()
                found += differences(back, there_and_back(back, again, llama_cpp))
        except UnsupportedInput as error:
            return [f"not converted: {error.what[:40]} …"], ""
        except ScriptError as error:
            return [f"the script refuses the folder: {error}"], ""
        architecture = read_header(first).metadata.text("general.architecture")
        if architecture in OTHERWISE:
            return found, OTHERWISE[architecture]
        noise = NOISE if architecture in WRITTEN_AS else 0.0
        try:
            return found + list(differences_of_logits(first, back, scratch, noise=noise)), ""
        except CannotRun:
            return found, NOT_RUN


def build_model(name: str, folder: Path) -> Path:
    """Build a model by the tests' recipe; return its file."""
    build = from_transformers.build if name in RECIPES else families.build
    return build(name, folder).gguf


def script() -> Path:
    """Return the folder of llama.cpp's source, downloaded by pip, which checks the package's digest."""
    cache = Path(platformdirs.user_cache_dir("llorch"))
    found = cache / ARCHIVE / "vendor" / "llama.cpp"
    if found.is_dir():
        return found
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        requirement = Path(scratch, "requirement.txt")
        requirement.write_text(f"{PACKAGE} --hash=sha256:{SHA256}\n")
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "llama-cpp-python",
             "--require-hashes", "--requirement", requirement, "--dest", scratch],
            check=True,
        )  # fmt: skip
        with tarfile.open(next(Path(scratch).glob("*.tar.gz"))) as archive:
            archive.extractall(scratch, filter="data")
        Path(scratch, ARCHIVE).rename(cache / ARCHIVE)
    return found


def there_and_back(file: Path, scratch: Path, llama_cpp: Path, *, dtype: str = "float32") -> Path:
    """Convert `file` to a folder in `scratch`, and that back to GGUF with llama.cpp's script; return the result."""
    convert(file, scratch / "folder", dtype=dtype)
    metadata = read_header(file).metadata
    back, log = scratch / "back.gguf", scratch / "log"
    predicts = any(key.endswith(".nextn_predict_layers") for key in metadata)
    not_glms = "[gMASK]" not in metadata.texts("tokenizer.ggml.tokens").tolist()
    job = [scratch / "folder", back, log, metadata.text("tokenizer.ggml.pre", ""), predicts, not_glms]
    process = running_script(llama_cpp)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(job, default=str) + "\n")
    process.stdin.flush()
    if process.stdout.readline().strip() != "0":
        raise ScriptError(log.read_text().strip().splitlines()[-1])
    return back


@functools.cache
def running_script(llama_cpp: Path) -> subprocess.Popen[str]:
    """Start the process that runs the script for each line of its input; it ends with its input."""
    return subprocess.Popen(
        [sys.executable, "-c", RUN, llama_cpp],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip


def differences(file: Path, back: Path, *, more_keys: bool = False) -> Iterator[str]:
    """Yield the differences that aren't due to the script: tensors first, then keys.

    more_keys: the second file may have keys that the first doesn't have.
    """
    first, second = read_header(file), read_header(back)
    yield from tensor_differences(first, second)
    before, after = as_written(values(first)), values(second)
    for key in sorted(before if more_keys else {*before, *after}):
        if is_difference(key, before, after):
            yield f"key {key}: {describe(before.get(key), after.get(key))}"


def tensor_differences(first: Header, second: Header) -> Iterator[str]:
    """Yield tensors that only one file has, and those whose float32 values differ in any bit."""
    parts = expected_rows(first, second)
    for name in sorted(parts.keys() ^ second.tensors.keys()):
        yield f"tensor {name} is only in the {'first' if name in parts else 'second'}"
    with TensorData(first) as before, TensorData(second) as after:
        for name in sorted(parts.keys() & second.tensors.keys()):
            whole, rows = parts[name]
            old = reorder_rows(in_float32(before, first.tensors[whole])[rows], name, first)
            new = in_float32(after, second.tensors[name])
            if old.shape != new.shape:
                yield f"tensor {name} was {old.shape}, is {new.shape}"
                continue
            differ = old.view(np.uint32) != new.view(np.uint32)
            if differ.any():
                yield f"tensor {name}: {np.count_nonzero(differ)} weights differ"


def expected_rows(first: Header, second: Header) -> dict[str, tuple[str, slice]]:
    """Return name in the second file → tensor of the first file, and its rows, that should be there.

    A combined tensor of queries, keys and values is split if the second file has three.
    """
    found: dict[str, tuple[str, slice]] = {}
    old, new = RENAMED.get(first.metadata.text("general.architecture"), ("", ""))
    for whole in first.tensors:
        name = whole.replace(old, new)
        three = [name.replace("attn_qkv", f"attn_{part}") for part in "qkv"]
        parts = three if name not in three and second.tensors.keys() >= set(three) else [name]
        ends = np.cumsum([second.tensors[part].shape[0] for part in parts[:-1]], dtype=int).tolist()
        starts_and_ends = zip(parts, [0, *ends], [*ends, None], strict=True)
        found |= {part: (whole, slice(start, end)) for part, start, end in starts_and_ends}
    return found


def in_float32(data: TensorData, tensor: Tensor) -> NDArray[np.float32]:
    """Read and dequantize a tensor to float32."""
    values = decode(tensor.type, data.read(tensor))
    return np.ascontiguousarray(values, np.float32).reshape(tensor.shape)


def reorder_rows(weights: NDArray[np.float32], name: str, first: Header) -> NDArray[np.float32]:
    """Reorder a tensor's rows as the architecture that comes back has them."""
    architecture = first.metadata.text("general.architecture")
    role = name.split(".")[-2]
    heads = {"attn_q": "head_count", "attn_k": "head_count_kv"}.get(role)
    if architecture not in TO_PAIRS | TO_HALVES or role not in (
        "attn_q",
        "attn_k",
        "attn_q_norm",
        "attn_k_norm",
    ):
        return weights
    count = 1 if heads is None else first.metadata.integer(f"{architecture}.attention.{heads}")
    order = permuted(np.arange(len(weights), dtype=np.float32), count).astype(int)
    return np.ascontiguousarray(weights[order if architecture in TO_PAIRS else np.argsort(order)])


def values(header: Header) -> dict[str, Any]:
    """Return key → value as plain Python, arrays as lists."""
    plain: dict[str, Any] = {}
    for key in header.metadata:
        found = header.metadata.get(key)
        data: Any = None if found is None else found.data
        plain[key] = data.tolist() if hasattr(data, "tolist") else data
    return plain


def as_written(keys: Keys) -> Keys:
    """Rename a file's keys to the architecture that its folder is written as."""
    architecture = keys["general.architecture"]
    if architecture not in WRITTEN_AS:
        return keys
    dropped = {f"{architecture}.{key}" for key in VISION_KEYS}
    renamed = {
        key.replace(f"{architecture}.", f"{WRITTEN_AS[architecture]}.", 1): value
        for key, value in keys.items()
        if key not in dropped
    }
    return {**renamed, "general.architecture": WRITTEN_AS[architecture]}


def is_difference(key: str, first: Keys, back: Keys) -> bool:
    """Return whether a key differs and HABITS does not explain it."""
    old, new = first.get(key), back.get(key)
    return old != new and not any(
        allows(first, old, new)
        for name, (allows, _) in HABITS.items()
        if key == name or (name.startswith(".") and key.endswith(name))
    )


def describe(before: Any, after: Any) -> str:
    """Describe a difference: the first three places for lists of the same length, else both values, shortened."""
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        places = [
            (i, one, other) for i, (one, other) in enumerate(zip(before, after, strict=True)) if one != other
        ]
        return f"{len(places)} differ, first {places[:3]}"
    return f"was {str(before)[:60]}, is {str(after)[:60]}"


if __name__ == "__main__":
    main()
