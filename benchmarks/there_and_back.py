"""A converted folder goes back to GGUF by llama.cpp's own script, and the first file comes out again.

    python -m benchmarks.there_and_back [FILE.gguf …]        # by default the test data's and what demo/ has
    python -m benchmarks.there_and_back --llama-cpp DIR FILE.gguf

The script reads what originals are: what it finds in our folder, every reader of an original finds. It is that of the
source package of llama-cpp-python, fetched by digest into this user's cache unless --llama-cpp names one; nothing of it
is copied here. Compared are all tensors, bit for bit (with --outtype f32), all keys, those of the tokenizer too, and
what llama.cpp computes from both files. The differences that are habits of the script, and none of the folder, are
listed in HABITS with their reasons.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import platformdirs

from benchmarks.llama_cpp_logits import differences_of_logits
from llorch.base.errors import UnsupportedInput
from llorch.converter import convert
from llorch.formats.gguf import Header, TensorData, read_header
from llorch.formats.quants import decode

ROOT = Path(__file__).parent.parent
PACKAGE = "llama-cpp-python==0.3.36"
SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
ARCHIVE = "llama_cpp_python-0.3.36"

# What the script is told: the pre-tokenizer that the first file names (a tiny vocabulary is in no table of hashes),
# that a file without prediction layers was made with its option --no-mtp, and that Mistral 4's text class is the one
# that it knows inside the class that sees images.
RUN = """
import sys
source, folder, out, pre, mtp = sys.argv[1:]
sys.path[:0] = [source, source + "/gguf-py"]
import conversion
from conversion.base import ModelBase, TextModel
from conversion.mistral3 import Mistral3Model
if pre:
    TextModel.get_vocab_base_pre = lambda self, tokenizer: pre
ModelBase.no_mtp = mtp == "no-mtp"
ModelBase.register("Mistral4ForCausalLM")(Mistral3Model)
conversion.TEXT_MODEL_MAP["Mistral4ForCausalLM"] = "mistral3"
import convert_hf_to_gguf
sys.argv = ["convert_hf_to_gguf.py", folder, "--outfile", out, "--outtype", "f32"]
convert_hf_to_gguf.main()
"""

Keys = Mapping[str, Any]


def is_float32(_first: Keys, _old: object, new: object) -> bool:
    """The script was asked for it."""
    return new == 0


def is_the_usual_head(first: Keys, old: object, new: object) -> bool:
    """A head's size that the first file leaves to follow from the width and the number of heads."""
    prefix = first["general.architecture"]
    return old is None and bool(
        new == first[f"{prefix}.embedding_length"] // first[f"{prefix}.attention.head_count"]
    )


def is_the_default_base(_first: Keys, old: object, new: object) -> bool:
    """The base of the layers with a window that llama.cpp takes where the file says none."""
    return old is None and new == 10000.0


def is_left_out(_first: Keys, _old: object, new: object) -> bool:
    """Just one file has it."""
    return new is None


def is_told_by_the_tensors(_first: Keys, old: object, new: object) -> bool:
    """The flag says parallel, and the tensors of a sequential block are there."""
    return old is True and new is False


# Key, or the end of one → which differences are the script's own, and why.
HABITS: dict[str, tuple[Callable[[Keys, object, object], bool], str]] = {
    "general.file_type": (is_float32, "the type of the weights, which the first file may have quantized"),
    "general.quantized_by": (is_left_out, "the script takes it from its option --metadata alone, not from README.md"),
    ".attention.key_length": (is_the_usual_head, "written where config.json has head_dim"),
    ".attention.value_length": (is_the_usual_head, "written where config.json has head_dim"),
    "gemma3.rope.freq_base_swa": (is_the_default_base, "written since 2025"),
    "stablelm.use_parallel_residual": (
        is_told_by_the_tensors, "the script's value for originals that do not say it; llama.cpp looks for the norm"
    ),
}  # fmt: skip

# Architectures whose file holds the text part of a model that sees images: the folder is of the class that computes the
# same for text, and so is the file that comes back, without the keys of the vision tower's features.
WRITTEN_AS = {"qwen3vl": "qwen3", "qwen3vlmoe": "qwen3moe"}
VISION_KEYS = ("n_deepstack_layers", "rope.dimension_sections")


class ScriptError(Exception):
    """The script refuses a folder; the message is its own last line."""


@click.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--llama-cpp", type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="A checkout of llama.cpp.")  # fmt: skip
def main(files: Sequence[Path], llama_cpp: Path | None) -> None:
    """Takes FILES to folders and back, and prints every difference; exit 1 if there is one that is no habit."""
    data = Path(os.environ.get("LLORCH_TEST_DATA", ROOT.parent / "shared" / "data"))
    files = files or [*sorted(data.glob("*/*/f32.gguf")), *sorted((ROOT / "demo").glob("*.gguf"))]
    source = llama_cpp or script()
    wrong = 0
    for file in files:
        try:
            found = outcome(file, source)
        except UnsupportedInput as error:
            click.echo(f"{file.parent.name}/{file.name}: not converted: {error.what[:40]} …")
            continue
        wrong += len(found)
        click.echo(f"{file.parent.name}/{file.name}: {'; '.join(found) if found else 'came back'}")
    sys.exit(1 if wrong else 0)


def outcome(file: Path, llama_cpp: Path) -> list[str]:
    """Every difference between a file and what comes back of it; UnsupportedInput if it is not converted."""
    with tempfile.TemporaryDirectory() as scratch:
        try:
            back = there_and_back(file, Path(scratch), llama_cpp)
        except ScriptError as error:
            return [f"the script refuses the folder: {error}"]
        return [*differences(file, back), *differences_of_logits(file, back, Path(scratch))]


def script() -> Path:
    """Where llama.cpp's source is: out of the package's archive, by pip, which compares its digest."""
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
    """`file` converted into a folder in `scratch`, and the GGUF that llama.cpp's script makes of that folder."""
    convert(file, scratch / "folder", dtype=dtype)
    metadata = read_header(file).metadata
    pre = metadata.text("tokenizer.ggml.pre", "")
    predicts = any(key.endswith(".nextn_predict_layers") for key in metadata)
    back = scratch / "back.gguf"
    done = subprocess.run(
        [sys.executable, "-c", RUN, llama_cpp, scratch / "folder", back, pre, "mtp" if predicts else "no-mtp"],
        check=False, capture_output=True, text=True, cwd=scratch, env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    if done.returncode:
        raise ScriptError(done.stderr.strip().splitlines()[-1])
    return back


def differences(file: Path, back: Path) -> Iterator[str]:
    """What is not as it was and no habit of the script: tensors first, then keys."""
    first, second = read_header(file), read_header(back)
    yield from tensor_differences(first, second)
    before, after = as_written(values(first)), values(second)
    for key in sorted({*before, *after}):
        if is_difference(key, before, after):
            yield f"key {key}: {described(before.get(key), after.get(key))}"


def tensor_differences(first: Header, second: Header) -> Iterator[str]:
    """Tensors that only one file has, and those whose float32 values are not the same bits."""
    for name in sorted(first.tensors.keys() ^ second.tensors.keys()):
        yield f"tensor {name} is only in the {'first' if name in first.tensors else 'second'}"
    with TensorData(first) as before, TensorData(second) as after:
        for name in sorted(first.tensors.keys() & second.tensors.keys()):
            one, other = first.tensors[name], second.tensors[name]
            if one.shape != other.shape:
                yield f"tensor {name} is {one.shape}, was {other.shape}"
                continue
            bits = [
                np.ascontiguousarray(decode(tensor.type, data.read(tensor)), np.float32).view(np.uint32)
                for tensor, data in ((one, before), (other, after))
            ]
            if not np.array_equal(bits[0], bits[1]):
                yield f"tensor {name}: {np.count_nonzero(bits[0] != bits[1])} weights differ"


def values(header: Header) -> dict[str, Any]:
    """Key → its value as plain Python, arrays as lists."""
    plain: dict[str, Any] = {}
    for key in header.metadata:
        found = header.metadata.get(key)
        data: Any = None if found is None else found.data
        plain[key] = data.tolist() if hasattr(data, "tolist") else data
    return plain


def as_written(keys: Keys) -> Keys:
    """A file's keys under the architecture that its folder is written as."""
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
    """Whether a key is not as it was and HABITS does not explain it."""
    old, new = first.get(key), back.get(key)
    return old != new and not any(
        allows(first, old, new)
        for name, (allows, _) in HABITS.items()
        if key == name or (name.startswith(".") and key.endswith(name))
    )


def described(before: Any, after: Any) -> str:
    """The first three places where lists of one length differ, else both values, shortened."""
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        places = [
            (i, one, other) for i, (one, other) in enumerate(zip(before, after, strict=True)) if one != other
        ]
        return f"{len(places)} differ, first {places[:3]}"
    return f"was {str(before)[:60]}, is {str(after)[:60]}"


if __name__ == "__main__":
    main()
