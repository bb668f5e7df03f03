"""Writes docs/loads-in.md: which readers load which families' folders with our greedy text, from receipts of runs.

    python -m tools.loads_in --run mistralrs=PYTHON --run mlx-lm=PYTHON --run "transformers 4=PYTHON" … [NAME …]
    python -m tools.loads_in                                  # the page again, from the receipts that there are

Each reader needs an environment of its own, with the interpreter PYTHON: `pip install mistralrs`, `pip install
'mlx[cpu]' mlx-lm`, `pip install transformers==4.57.3 torch sentencepiece`. A run converts the test data's models,
continues one prompt greedily with our runtime and with the reader, both from the folder and in float32, and writes the
result to docs/loads-in.json with version and date. Readers that were not run keep their older receipts.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from benchmarks.script_habits import HABITS
from benchmarks.there_and_back import RECEIPTS as WAYS_BACK
from llorch.converter import convert
from llorch.converter.architectures import architectures
from llorch.formats.gguf import read_header
from llorch.runtime import Generation, Model, load
from tests.models import families, from_transformers
from tests.models.families import FAMILY_RECIPES
from tests.models.families_of_odd_sizes import FAMILIES_OF_ODD_SIZES

ROOT = Path(__file__).parent.parent
RECEIPTS, PAGE = ROOT / "docs" / "loads-in.json", ROOT / "docs" / "loads-in.md"
PROMPTS = (
    "The harbour",
    "A cat",
    "Now",
    "One two three",
    "Where is it?",
    "It was",
    "Hello",
    "In the",
    "3.14",
)
# Recipes of tests/models for families that are not in the test data. Those of FAMILY_RECIPES are run as well, except
# the odd-sized ones, whose families also have a model with usual sizes.
OWN = ("command-r", "gemma", "granite", "olmo2", "olmo3", "qwen3-moe", "smollm3", "stablelm", "starcoder2")
TOKENS, LIMIT_S = 16, 300
SAME, OTHER, REFUSED, UNKNOWN = "same text", "other text", "refused", "no such class"
ERROR_LINE = re.compile(r"\w+Error: ")
BYTE_TOKEN = re.compile("<0x[0-9A-F]{2}>")
# mistral.rs doesn't run recurrent layers if the context is shorter than a step of its cache: a copy gets a longer one.
TOO_SHORT, LONGER = "above max seq len", 4096
# The error messages of readers that have no class for a family.
NO_CLASS = re.compile(
    "Unsupported Hugging ?Face Transformers|Model type .* not supported|does not recognize this archit"
)

# The script for each reader. Arguments: folder, prompt, number of tokens; the result is the last line of stdout.
SCRIPTS = {
    "mistralrs": """
import json, os, sys
os.environ["MISTRALRS_CPU_KV_F32"] = "1"
from importlib.metadata import version
from mistralrs import CompletionRequest, Runner, Which
folder, prompt, tokens = sys.argv[1], sys.argv[2], int(sys.argv[3])
[architecture] = json.load(open(folder + "/config.json"))["architectures"]
# Of these its table of text models knows nothing, its table of models that see images does.
seeing = architecture.startswith(("Gemma3", "Gemma4"))
runner = Runner(which=(Which.MultimodalPlain if seeing else Which.Plain)(model_id=folder))
request = CompletionRequest(model="default", prompt=prompt, max_tokens=tokens, temperature=0.0, top_k=1)
text = runner.send_completion_request(request).choices[0].text
print(json.dumps({"version": version("mistralrs"), "text": text}))
""",
    "mlx-lm": """
import json, sys
from importlib.metadata import version
import mlx.core as mx
mx.set_default_device(mx.cpu)
from mlx_lm.generate import generate_step
from mlx_lm.utils import load
folder, prompt, tokens = sys.argv[1], sys.argv[2], int(sys.argv[3])
model, tokenizer = load(folder)
ids = []
for token, _ in generate_step(mx.array(tokenizer.encode(prompt)), model, max_tokens=tokens):
    if int(token) in tokenizer.eos_token_ids:
        break
    ids.append(int(token))
print(json.dumps({"version": version("mlx-lm"), "ids": ids, "text": tokenizer.decode(ids)}))
""",
    "transformers": """
import json, sys
import torch, transformers
folder, prompt, tokens = sys.argv[1], sys.argv[2], int(sys.argv[3])
tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
model = transformers.AutoModelForCausalLM.from_pretrained(folder).float().eval()
given = tokenizer(prompt, return_tensors="pt").input_ids
with torch.no_grad():
    made = model.generate(given, attention_mask=torch.ones_like(given), max_new_tokens=tokens, do_sample=False)
ids = made[0, given.shape[1]:].tolist()
print(json.dumps({"version": transformers.__version__, "ids": ids, "text": tokenizer.decode(ids)}))
""",
}
SCRIPTS["transformers 4"] = SCRIPTS["transformers"]

# From the sources of readers that cannot run here; tests check every family's config.json against it.
READ_ONLY = {
    "candle": "2a13b0f3f (2026-08-14): every required field of its config types is there, with its type "
    "(tests/converter/plan/required_fields.py). Its bigcode, chatglm and mpt read no config.json: their sizes stand in "
    "candle's own code. Its mamba looks for `backbone.embedding`, as in the upload before -hf; the folder has "
    "`backbone.embeddings`, as transformers does",
    "vLLM": "not run: it needs an accelerator that it supports; it builds transformers' own config class",
}


@click.command()
@click.option(
    "--run", "runs", multiple=True, metavar="READER=PYTHON", help="Run a reader and keep its receipts."
)
@click.option(
    "--model", "more", multiple=True, metavar="NAME=FILE.gguf", help="A model beside the tiny ones."
)
@click.argument("names", nargs=-1)
def main(names: Sequence[str], runs: Sequence[str], more: Sequence[str]) -> None:
    """Write docs/loads-in.md from the receipts, after the runs that are asked for: of NAMES, or of all models."""
    receipts = json.loads(RECEIPTS.read_text()) if RECEIPTS.exists() else {}
    if runs:
        pythons = dict(pair.split("=", 1) for pair in runs)
        with tempfile.TemporaryDirectory() as scratch:
            recipes = [name for name in FAMILY_RECIPES if name not in FAMILIES_OF_ODD_SIZES]
            files = {**dict.fromkeys((*OWN, *recipes)), **models_of_the_test_data()}
            files |= {name: Path(file) for name, file in (pair.split("=", 1) for pair in more)}
            for name, file in files.items():
                if names and name not in names:
                    continue
                made = file or built(name, Path(scratch, name))
                for reader, receipt in run_all(made, pythons).items():
                    receipts.setdefault(reader, {})[name] = receipt
                    click.echo(f"{name}: {reader}: {receipt['result']}")
                RECEIPTS.write_text(json.dumps(receipts, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    PAGE.write_text(page(receipts, json.loads(WAYS_BACK.read_text())))


def models_of_the_test_data() -> dict[str, Path]:
    """Return name → file of the test data's models whose families llorch converts."""
    data = Path(os.environ.get("LLORCH_TEST_DATA", ROOT.parent / "shared" / "data"))
    known = {architecture.gguf for architecture in architectures()}
    floats = {
        file.parent.name: file
        for file in sorted(data.glob("*/*/f32.gguf"))
        if read_header(file).metadata.text("general.architecture") in known
    }
    return floats | {f"{file.parent.name}-mxfp4": file for file in sorted(data.glob("*/*/mxfp4.gguf"))}


def built(name: str, folder: Path) -> Path:
    """Build a model by the tests' recipes, for a family that is not in the test data."""
    folder.mkdir()
    return from_transformers.build(name, folder).gguf if name in OWN else families.build(name, folder).gguf


def run_all(file: Path, pythons: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Convert one model and run all readers on it; return reader → receipt."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "folder")
        packed = any(tensor.type.name == "MXFP4" for tensor in read_header(file).tensors.values())
        convert(file, folder, dtype="auto" if packed else "float32")
        with load(folder) as model:
            prompt = next((text for text in PROMPTS if only_tokens(model, text)), PROMPTS[0])
            ours = model.generate(prompt, max_new_tokens=TOKENS)
        return {reader: receipt(reader, python, folder, prompt, ours) for reader, python in pythons.items()}


def only_tokens(model: Model, prompt: str) -> bool:
    """Return whether the largest logits after a prompt belong to tokens of the vocabulary.

    An untrained model may prefer a row of padding, which our runtime never samples, but others do.
    """
    made = model.generate(prompt, max_new_tokens=TOKENS)
    logits = model.logits([*made.prompt_ids, *made.ids])[len(made.prompt_ids) - 1 : -1]
    return made.finish == "length" and list(made.ids) == logits.argmax(-1).tolist()


def receipt(reader: str, python: str, folder: Path, prompt: str, ours: Generation) -> dict[str, str]:
    """Run a reader on a folder, and return the receipt of the comparison with our text."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(  # an interpreter that the maintainer named
        [python, "-c", SCRIPTS[reader], folder, prompt, str(TOKENS)],
        check=False, capture_output=True, text=True, timeout=LIMIT_S, cwd=folder,
        env={**environment, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    if TOO_SHORT in done.stderr and not folder.name.endswith("longer"):
        return {**receipt(reader, python, with_longer_context(folder), prompt, ours), "context": str(LONGER)}
    day = f"{datetime.now(UTC):%Y-%m-%d}"
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
        # put the exception last; a backtrace may follow it
        lines.sort(key=lambda line: bool(ERROR_LINE.match(line)))
        unknown = NO_CLASS.search(done.stderr)
        return {"result": UNKNOWN if unknown else REFUSED, "day": day, "said": lines[-1].strip()[:160]}
    answer = json.loads(done.stdout.splitlines()[-1])
    # Compare ids if there are any: decoders differ in how many characters they make of bytes that aren't valid UTF-8.
    if "ids" in answer:
        same = list(ours.ids) == answer["ids"]
    else:
        same = any(same_text(answer["text"], text) for text in (ours.text, text_of_bytes(folder, ours.ids)))
    return {
        "result": SAME if same else OTHER,
        "day": day,
        "version": answer["version"],
        **({} if same else {"said": answer["text"], "ours": ours.text}),
    }


def with_longer_context(folder: Path) -> Path:
    """Copy a folder, with a longer context in config.json if its RoPE isn't scaled."""
    copy = folder.with_name(f"{folder.name}-longer")
    shutil.copytree(folder, copy)
    config = json.loads((folder / "config.json").read_text())
    if config.get("rope_scaling") is None:
        (copy / "config.json").write_text(json.dumps({**config, "max_position_embeddings": LONGER}))
    return copy


def text_of_bytes(folder: Path, ids: Sequence[int]) -> str:
    """Decode tokens by joining their bytes first, as mistral.rs does; special tokens are left out.

    `tokenizers` instead replaces each byte of an invalid run of byte tokens by one mark.
    """
    document = json.loads((folder / "tokenizer.json").read_text())
    tokens = {index: token for token, index in document["model"]["vocab"].items()}
    special = {token["id"] for token in document["added_tokens"] if token["special"]}
    parts = (
        bytes([int(token[3:5], 16)]) if BYTE_TOKEN.fullmatch(token) else token.replace("▁", " ").encode()
        for token in (tokens[index] for index in ids if index not in special)
    )
    return b"".join(parts).decode("utf-8", "replace")


def same_text(one: str, other: str) -> bool:
    """Return whether texts are equal, ignoring blanks at both ends and the marks of invalid bytes.

    A decoder that works token by token leaves some marks out.
    """
    return one.replace("\ufffd", "").strip() == other.replace("\ufffd", "").strip()


def page(
    receipts: Mapping[str, Mapping[str, Mapping[str, str]]], back: Mapping[str, Mapping[str, str]]
) -> str:
    """Return the page, from the receipts of the readers and of the conversions back to GGUF."""
    readers = sorted(receipts)
    families = sorted({name for rows in receipts.values() for name in rows})
    lines = [
        "# What loads a converted folder",
        "",
        "Each cell is a run: the reader, from its own package, continued a prompt greedily from our folder in float32,",
        f"and its text is compared with that of `llorch-run` ({TOKENS} tokens). Tiny random models, one a family;",
        "`python -m tools.loads_in --run READER=PYTHON` makes the runs and keeps their receipts in docs/loads-in.json,",
        "of which this page is made. *no such class*: the reader has none for the family. *context*: the run needed a",
        f"config.json with a context of {LONGER}: the test model's is shorter than a step of that reader's cache.",
        "",
        "| family | " + " | ".join(readers) + " |",
        "|---|" + "---|" * len(readers),
    ]
    for family in families:
        cells = [cell(receipts[reader].get(family)) for reader in readers]
        lines.append(f"| {family} | " + " | ".join(cells) + " |")
    lines += ["", "| reader | versions | last run |", "|---|---|---|"]
    for reader in readers:
        rows = receipts[reader].values()
        versions = sorted({row["version"] for row in rows if "version" in row})
        lines.append(f"| {reader} | {', '.join(versions)} | {max(row['day'] for row in rows)} |")
    remarks = [
        f"- {reader}, {family}: {remark(reader, family, receipts[reader][family])}"
        for reader in readers
        for family in families
        if receipts[reader].get(family, {}).get("result", SAME) in (OTHER, REFUSED)
    ]
    lines += ["", "## Where the text is another", "", *(remarks or ["Nowhere."])]
    lines += ["", "## Read, not run", "", *(f"- {reader}: {what}" for reader, what in READ_ONLY.items())]
    return "\n".join([*lines, "", *there_and_back(back), ""])


def there_and_back(receipts: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return the page's section on llama.cpp's script."""
    days = sorted({row["day"] for row in receipts.values()})
    versions = sorted({row["version"] for row in receipts.values()})
    return [
        "## Back to GGUF",
        "",
        "llama.cpp's `convert_hf_to_gguf.py` makes a GGUF file of the folder again: all tensors bit for bit, all keys,",
        "those of the tokenizer too, and llama.cpp's log-probabilities are those of the first file, but for the habits",
        "of the script below. `python -m benchmarks.there_and_back --keep` makes the runs; these are of",
        f"{', '.join(days)}, with {', '.join(versions)}.",
        "",
        "| model | outcome |",
        "|---|---|",
        *(f"| {name} | {row['result']} |" for name, row in sorted(receipts.items())),
        "",
        "| key | habit |",
        "|---|---|",
        *(f"| `{name}` | {why} |" for name, (_, why) in HABITS.items()),
    ]


def cell(row: Mapping[str, str] | None) -> str:
    """Return the table's cell of one run."""
    if row is None:
        return "not run"
    return row["result"] + (" (context)" if "context" in row else "")


def remark(reader: str, family: str, row: Mapping[str, str]) -> str:
    """Return why a reader refuses a folder or gives another text: from its source if known, else its error message."""
    why = WHY.get((reader, family), "")
    if row["result"] == REFUSED:
        return f"refused. {why}" if why else f"refused, `{row['said']}`; its source was not looked into."
    return f"{OTHER}. {why or 'Its source was not looked into.'}"


MXFP4 = "it reads the experts in MXFP4 blocks alone, as they were published; the folder has them in float32"
ONE_NORM = (
    "it norms the whole row behind a Mamba layer where llama.cpp and transformers 5 norm each group; the published "
    "models have one group, and the test model two"
)
VALUE_WIDTH = (
    "its kernel for a CPU gives back heads as wide as the queries' where the values' are narrower, and then multiplies "
    "by `o_proj`, which is as wide as the values' (`shape mismatch in matmul`)"
)

# (reader, family) → why its text differs, or why it refuses, from its source; "Tried" marks causes confirmed by a run.
WHY: Mapping[tuple[str, str], str] = {
    ("mistralrs", "deepseek2"): f"`deepseek3.rs`: {VALUE_WIDTH}.",
    ("mistralrs", "deepseek2-lite"): f"`deepseek2.rs`: {VALUE_WIDTH}.",
    ("mistralrs", "glm-4.7-flash"): f"`glm4_moe_lite.rs`: {VALUE_WIDTH}.",
    ("mistralrs", "phi2"): "`phi2.rs` makes the head without a bias, so `lm_head.bias` is dropped. Tried: with one of "
    "zeros it says our text.",
    ("mistralrs", "qwen2"): "`qwen2.rs` has no field for rope scaling, so yarn is dropped. Tried: without yarn it says "
    "our text.",
    ("mistralrs", "gemma4-e"): "It looks for `model.language_model.…`, the names of the class with towers.",
    ("mistralrs", "gemma4-moe"): "It looks for `model.language_model.…`, the names of the class with towers.",
    ("mistralrs", "gptoss"): f"`gpt_oss.rs`: {MXFP4}.",
    ("mistralrs", "gptoss-mxfp4"): "`mxfp4/mod.rs`, `gather_forward_dequantize`, its way on a CPU, counts the experts "
    "of a token in its input, which is (tokens, 1, width), and so computes one of them. Tried: with one expert a token "
    "in config.json (`num_experts_per_tok` 1) it says our text.",
    ("mistralrs", "pangu-embedded"): "`llama.rs` takes a head to be as wide as the model by its heads, and makes "
    "queries, keys and values without biases.",
    ("mistralrs", "phimoe"): "`layers.rs`, `PhiRopeScalingConfig`: its first form fits, which has no `short_mscale` "
    "and `long_mscale`; `phi3_5_moe.rs`, `sparsemixer`, bounds an expert's logit by the largest from above, where the "
    "original does from below. Tried: with 1 for both scales, and with `router_jitter_noise` 10⁹, which leaves all "
    "experts in, it says our text.",
    ("mlx-lm", "gptoss"): f"`gpt_oss.py`, `sanitize`: {MXFP4}.",
    ("mistralrs", "granitehybrid"): f"`granite.rs`: {ONE_NORM}.",
    ("mlx-lm", "granitehybrid"): f"`granitemoehybrid.py`: {ONE_NORM}.",
    ("transformers 4", "granitehybrid"): f"4.57's `GraniteMoeHybridRMSNormGated`: {ONE_NORM}.",
    ("transformers 4", "deepseek2-lite"): "4.57's DeepSeek V2 does not multiply the scores' scale by yarn's mscale; "
    "5 does, as llama.cpp does.",
    ("mlx-lm", "ernie4_5-moe"): "`ernie4_5_moe.py`, `sanitize`: it drops the bias by which the experts are chosen.",
    ("mlx-lm", "phi3"): "`rope_utils.py`, `SuScaledRoPE`: it takes the long factors for short prompts too.",
    ("mistralrs", "hunyuan-moe"): "`hunyuan_v1_moe.rs`, `hunyuan_moe_apply_capacity_mask`: of a prompt an expert takes "
    "no more than max(k, k · tokens / experts) tokens and the rest go without; llama.cpp and transformers have no such "
    "bound. Tried: after a prompt of at most k tokens, or with all experts for every token (`moe_topk` 7), it says our "
    "text.",
    ("mlx-lm", "minicpm3"): "`minicpm3.py` demands the factors of longrope, which MiniCPM3-4B has, and the test model "
    "has not.",
    ("mlx-lm", "olmo"): "`olmo.py` is of the upload before -hf: it demands `ai2-olmo`, and other names of sizes and "
    "weights.",
    ("mlx-lm", "phimoe"): "`rope_utils.py`, `SuScaledRoPE`: it takes the long factors for short prompts too. Tried: "
    "with the short factors in both lists it says our text.",
    ("mlx-lm", "mamba2"): f"`mamba2.py`, `MambaRMSNormGated`: {ONE_NORM}.",
    ("transformers 4", "mamba2"): f"4.57's `MambaRMSNormGated`: {ONE_NORM}.",
    ("mlx-lm", "chatglm"): "`glm.py` turns whole heads: its config has no `partial_rotary_factor`.",
    ("mlx-lm", "gpt2"): "`gpt2.py`, `sanitize`: it looks for `h.…`, as OpenAI's upload names its weights, where "
    "transformers writes `transformer.h.…`.",
    ("mlx-lm", "llama4"): "It looks for `language_model.…`, the names of the class with towers.",
    ("transformers", "mistral4"): "`Mistral4ForCausalLM` is there, and `AutoModelForCausalLM` has no row for it.",
}  # fmt: skip


if __name__ == "__main__":
    main()
