"""A converted folder goes back to GGUF by llama.cpp's own script, and the first file comes out again.

    python -m benchmarks.there_and_back [FILE.gguf …]        # by default the tiny models of the test data
    python -m benchmarks.there_and_back --llama-cpp DIR FILE.gguf

The script reads what originals are: what it finds in our folder, every reader of an original finds. It is that of the
source package of llama-cpp-python, fetched by digest into this user's cache unless --llama-cpp names one; nothing of it
is copied here. Compared are all tensors, bit for bit (with --outtype f32, so the source should be F32), and all keys.
Differences that are habits of the script, and none of the folder, are listed in HABITS with their reasons.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import platformdirs

from llorch.converter import convert
from llorch.formats.gguf import Header, TensorData, read_header
from llorch.formats.quants import decode

ROOT = Path(__file__).parent.parent
PACKAGE = "llama-cpp-python==0.3.36"
SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
ARCHIVE = "llama_cpp_python-0.3.36"

# A tiny vocabulary is in no table of hashes, so the script is told the pre-tokenizer that the first file names.
RUN = """
import sys
source, folder, out, pre = sys.argv[1:]
sys.path[:0] = [source, source + "/gguf-py"]
from conversion.base import TextModel
if pre:
    TextModel.get_vocab_base_pre = lambda self, tokenizer: pre
import convert_hf_to_gguf
sys.argv = ["convert_hf_to_gguf.py", folder, "--outfile", out, "--outtype", "f32"]
convert_hf_to_gguf.main()
"""


def says_the_default(first: object, back: object) -> bool:
    """A key that only one side has, with the value that a missing key means."""
    return first is None and back in (False, 0)


def says_the_same_size(first: object, back: object) -> bool:
    """A size that the first file leaves to follow from others."""
    return first is None and isinstance(back, int)


def anything(_first: object, _back: object) -> bool:
    """It describes the file, not the model."""
    return True


# Key, or the end of one → which differences are the script's own, and why.
HABITS: dict[str, tuple[Callable[[object, object], bool], str]] = {
    "general.file_type": (anything, "the type of the weights, which the first file may have quantized"),
    "general.quantization_version": (anything, "of the quantization, which is gone"),
    "general.size_label": (anything, "counted by the script from the tensors or the folder's name"),
    "general.name": (anything, "from the model card or else the folder's name"),
    "general.basename": (anything, "guessed from the name"),
    "general.finetune": (anything, "guessed from the name"),
    "general.version": (anything, "guessed from the name"),
    "general.type": (anything, "files before 2024 do not say it"),
    "general.sampling.": (anything, "written since 2025 from generation_config.json"),
    "quantize.": (anything, "said by the quantizer alone"),
    "tokenizer.ggml.pre": (says_the_default, "files before 2024 do not say it"),
    "tokenizer.ggml.add_bos_token": (says_the_default, "a flag that is off"),
    "tokenizer.ggml.add_eos_token": (says_the_default, "a flag that is off"),
    "tokenizer.ggml.add_sep_token": (says_the_default, "a flag that is off"),
    ".attention.key_length": (says_the_same_size, "written where config.json has head_dim"),
    ".attention.value_length": (says_the_same_size, "written where config.json has head_dim"),
    ".vocab_size": (says_the_same_size, "files before 2024 do not say it"),
}  # fmt: skip


@click.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--llama-cpp", type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="A checkout of llama.cpp.")  # fmt: skip
def main(files: Sequence[Path], llama_cpp: Path | None) -> None:
    """Takes FILES to folders and back, and prints every difference; exit 1 if there is one that is no habit."""
    data = Path(os.environ.get("LLORCH_TEST_DATA", ROOT.parent / "shared" / "data"))
    files = files or sorted(data.glob("tiny/*/f32.gguf"))
    source = llama_cpp or script()
    wrong = 0
    for file in files:
        with tempfile.TemporaryDirectory() as scratch:
            back = there_and_back(file, Path(scratch), source)
            found = list(differences(file, back))
        wrong += len(found)
        click.echo(f"{file.parent.name}/{file.name}: {'; '.join(found) if found else 'came back'}")
    sys.exit(1 if wrong else 0)


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


def there_and_back(file: Path, scratch: Path, llama_cpp: Path) -> Path:
    """`file` converted into a folder in `scratch`, and the GGUF that llama.cpp's script makes of that folder."""
    convert(file, scratch / "folder", dtype="float32")
    pre = read_header(file).metadata.text("tokenizer.ggml.pre", "")
    back = scratch / "back.gguf"
    done = subprocess.run(
        [sys.executable, "-c", RUN, llama_cpp, scratch / "folder", back, pre],
        check=False, capture_output=True, text=True, cwd=scratch, env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"the script refuses {file}: {done.stderr.strip().splitlines()[-1]}")
    return back


def differences(file: Path, back: Path) -> Iterator[str]:
    """What is not as it was and no habit of the script: tensors first, then keys."""
    first, second = read_header(file), read_header(back)
    yield from tensor_differences(first, second)
    for key in sorted({*first.metadata, *second.metadata}):
        before, after = value(first, key), value(second, key)
        if before != after and not is_habit(key, before, after):
            yield f"key {key}: {described(before, after)}"


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


def value(header: Header, key: str) -> Any:
    """A key's value as plain Python, arrays as lists; None where there is none."""
    found = header.metadata.get(key)
    if found is None:
        return None
    data: Any = found.data
    return data.tolist() if hasattr(data, "tolist") else data


def is_habit(key: str, before: object, after: object) -> bool:
    """Whether HABITS explains the difference."""
    return any(
        allows(before, after)
        for name, (allows, _) in HABITS.items()
        if key == name
        or (name.startswith(".") and key.endswith(name))
        or (name.endswith(".") and key.startswith(name))
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
