"""`make wheel-test`: test the wheel without extras in a new environment, in a folder with decoy modules.

Builds the sdist, a wheel from it, and a wheel from the clone, which must contain the same files; installs the first
wheel (after torch, pinned by constraints.txt) and runs every command once on a tiny model.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent

# Names that users may have next to their models, and that once were our packages in site-packages.
DECOY_FOLDERS = ("registry", "commands", "formats", "llorch-data")
DECOY_FILES = ("runtime.py", "converter.py", "sources.py", "verification.py", "base.py")


@click.command()
def main() -> None:
    """Build, install and try the wheel as a newcomer would."""
    with tempfile.TemporaryDirectory(prefix="llorch-wheel-") as scratch:
        place = Path(scratch)
        wheel = built(place / "dist")
        python = install(wheel, place / "environment")
        require_nothing_else_of_ours(python)
        try_commands(python.parent, place)
    click.echo("wheel-test: passed")


def built(dist: Path) -> Path:
    """Build the wheel from the sdist; AssertionError unless a wheel built from the clone contains the same files."""
    run([sys.executable, "-m", "build", "--outdir", os.fspath(dist)], cwd=ROOT)
    straight = dist / "straight"
    run([sys.executable, "-m", "build", "--wheel", "--outdir", os.fspath(straight)], cwd=ROOT)
    (wheel,), (other,) = dist.glob("*.whl"), straight.glob("*.whl")
    assert zipfile.ZipFile(wheel).namelist() == zipfile.ZipFile(other).namelist()
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        assert not any(member.issym() for member in archive.getmembers()), (
            "links do not survive every unpacking"
        )
    return wheel


def install(wheel: Path, environment: Path) -> Path:
    """Install the wheel and its dependencies into a new environment; return its interpreter."""
    run([sys.executable, "-m", "venv", os.fspath(environment)])
    python = environment / "bin" / "python"
    pip = [
        os.fspath(python),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--constraint",
        os.fspath(ROOT / "constraints.txt"),
    ]
    run([*pip, "torch"])
    run([*pip, os.fspath(wheel)])
    return python


def require_nothing_else_of_ours(python: Path) -> None:
    """Assert that the wheel installs only `llorch` and its metadata into site-packages."""
    code = (
        "import importlib.metadata as m, json\n"
        "print(json.dumps(sorted({f.parts[0] for f in m.files('llorch') if f.parts[0] != '..'})))"
    )
    names = json.loads(subprocess.check_output([python, "-c", code], text=True))
    assert [name for name in names if not name.endswith(".dist-info")] == ["llorch"], names


def try_commands(programs: Path, place: Path) -> None:
    """Run every command once, in a folder full of decoys."""
    desk = place / "desk"
    desk.mkdir()
    for name in DECOY_FOLDERS:
        (desk / name).mkdir()
        (desk / name / "__init__.py").write_text("raise ImportError('a decoy was imported')\n")
    for name in DECOY_FILES:
        (desk / name).write_text("raise ImportError('a decoy was imported')\n")
    make_model = (
        "from tests.models.tiny import tiny_llama; import sys; sys.stdout.buffer.write(tiny_llama().build())"
    )
    (desk / "tiny.gguf").write_bytes(subprocess.check_output([sys.executable, "-c", make_model], cwd=ROOT))
    environment = {**os.environ, "PYTHONPATH": ".", "LLORCH_REGISTRY": os.fspath(desk / "registry.db")}

    def try_command(*words: str) -> None:
        run([os.fspath(programs / words[0]), *words[1:]], cwd=desk, env=environment)

    try_command("llorch-convert", "tiny.gguf", "-o", "tiny")
    try_command("llorch", "convert", "tiny.gguf", "-o", "again", "--verify", "full")
    try_command("llorch-verify", "tiny")
    try_command("llorch-registry", "list")
    try_command("llorch-run", "generate", "tiny", "-p", "a b", "--max-new-tokens", "4")
    try_command("llorch-run", "info", "tiny.gguf")
    try_command("llorch", "batch", "plan", "tiny.gguf", "-o", "plan.jsonl")
    try_command("llorch-batch", "run", "plan.jsonl", "--out", "batch", "--workers", "1")
    with serve(desk) as url:
        try_command("llorch-fetch", f"{url}/tiny.gguf", "--dry-run")
    check = (
        "import llorch; assert llorch.load('tiny').generate('a', max_new_tokens=2); print(llorch.__version__)"
    )
    run([os.fspath(programs / "python"), "-P", "-c", check], cwd=desk, env={**environment, "PYTHONPATH": ""})


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve a folder by HTTP on loopback; yields the URL."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=os.fspath(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def run(command: Sequence[str], **more: object) -> None:
    """Print and run a command; its failure ends the test."""
    click.secho(
        "$ " + " ".join(Path(word).name if index == 0 else word for index, word in enumerate(command)),
        bold=True,
    )
    subprocess.run(command, check=True, **more)  # type: ignore[call-overload]  # our own words


if __name__ == "__main__":
    shutil.rmtree(ROOT / "dist", ignore_errors=True)
    main()
