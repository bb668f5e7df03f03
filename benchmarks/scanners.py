"""Compares our scan with public scanners that are installed, on hostile and on published templates.

`pip install c4nary glyphhound modelaudit` installs them, in any environment; `--bin DIR` says where their commands are.
A hostile template counts as found if a scanner reports anything; for a published one that is a false alarm.
picklescan, fickling and modelscan only read pickles, not templates.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from llorch.formats.scan import scan_template
from tests.formats.scan.hostile import HOSTILE
from tests.models import gguf_writer

Scanner = Callable[
    [Sequence[str], Path], list[bool]
]  # templates, a folder to write in → which are objected to


def ours(templates: Sequence[str], _: Path) -> list[bool]:
    """Scan with our own scanner."""
    return [any(one.level == "warning" for one in scan_template(text)) for text in templates]


RUN_S, RUN_BYTES = 3, 2 << 30  # most seconds and bytes of memory for one template

# Calls a command's entry point for each line of arguments in one process, since starting it takes most of the time.
CALLS = """
import contextlib, importlib.metadata, io, json, sys
name = sys.argv[1]
main = next(e for e in importlib.metadata.entry_points(group="console_scripts") if e.name == name).load()
answers = []
for words in json.load(sys.stdin):
    sys.argv, out = [name, *words], io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
            code = main()
    except SystemExit as ended:
        code = ended.code
    except Exception:
        code = 1
    answers.append([code or 0, out.getvalue()])
json.dump(answers, sys.stdout)
"""


def call(program: Path, lines: Sequence[Sequence[str]]) -> list[tuple[int, str]]:
    """Run a command for each line of arguments; return exit codes and stdouts."""
    command: list[str | Path] = [program.with_name("python"), "-c", CALLS, program.name]
    result = subprocess.run(command, input=json.dumps(lines), capture_output=True, text=True, check=True)
    return [(code, text) for code, text in json.loads(result.stdout)]


def c4nary(program: Path) -> Scanner:
    """Return c4nary's scanner: a WARN or FAIL about the template, in a GGUF header that has nothing else."""

    def objects(answer: str) -> bool:
        found = json.loads(answer or "{}").get("findings", [])
        about = [one for one in found if str(one.get("rule_id", one.get("rule", ""))).startswith("TPL")]
        return any(str(one.get("severity", "")).upper() in ("WARN", "FAIL") for one in about)

    def scan(templates: Sequence[str], folder: Path) -> list[bool]:
        files = [as_gguf(text, folder / f"{number}.gguf") for number, text in enumerate(templates)]
        return [objects(text) for _, text in call(program, [["scan", str(one), "--json"] for one in files])]

    return scan


def glyphhound(program: Path) -> Scanner:
    """Return glyphhound's scanner, by its exit code. It renders templates, so time and memory are limited."""

    def objects(template: str, file: Path) -> bool:
        try:
            result = subprocess.run(
                [program, "scan", as_jinja(template, file)],
                capture_output=True,
                timeout=RUN_S,
                preexec_fn=bound_memory,
            )
        except subprocess.TimeoutExpired:
            return False
        return result.returncode != 0

    return lambda templates, folder: [objects(one, folder / "chat_template.jinja") for one in templates]


def bound_memory() -> None:
    """Limit the memory of a child process, before it starts the program."""
    resource.setrlimit(resource.RLIMIT_AS, (RUN_BYTES, RUN_BYTES))


def modelaudit(program: Path) -> Scanner:
    """Return modelaudit's scanner: an issue of WARNING or CRITICAL. All files in one run, since it starts slowly."""

    def scan(templates: Sequence[str], folder: Path) -> list[bool]:
        for number, template in enumerate(templates):
            as_jinja(template, folder / f"{number}" / "chat_template.jinja")
        environment = {**os.environ, "PROMPTFOO_DISABLE_TELEMETRY": "1", "NO_ANALYTICS": "1"}
        command: list[str | Path] = [program, "scan", folder, "--format", "json", "--no-cache"]
        result = subprocess.run(command, capture_output=True, text=True, env=environment)
        issues = json.loads(result.stdout[result.stdout.index("{") :]).get("issues", [])
        places = [
            str(one.get("location", ""))
            for one in issues
            if str(one.get("severity", "")).lower() in ("warning", "critical", "error")
        ]
        return [any(f"{folder}/{number}/" in place for place in places) for number in range(len(templates))]

    return scan


def as_jinja(template: str, file: Path) -> Path:
    """Write the template to a file; return its path."""
    file.parent.mkdir(exist_ok=True)
    file.write_text(template, encoding="utf-8", newline="")
    return file


def as_gguf(template: str, file: Path) -> Path:
    """Write a GGUF header with the template and nothing else; return its path."""
    model = gguf_writer.Model()
    model.key("general.architecture", gguf_writer.one(gguf_writer.STRING, "llama"))
    model.key("tokenizer.chat_template", gguf_writer.one(gguf_writer.STRING, template))
    return model.write(file)


MAKERS: Mapping[str, Callable[[Path], Scanner]] = {
    "c4nary": c4nary,
    "glyphhound": glyphhound,
    "modelaudit": modelaudit,
}


def scanners(folder: Path | None) -> dict[str, Scanner]:
    """Return our scanner, and those whose commands exist in `folder`."""
    found: dict[str, Scanner] = {"llorch": ours}
    for name, make in MAKERS.items():
        if folder is not None and os.access(folder / name, os.X_OK):
            found[name] = make(folder / name)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", type=Path, help="where the other scanners' commands are")
    parser.add_argument("--published", type=Path, help="a folder of published templates, *.jinja")
    options = parser.parse_args(arguments)
    known = scanners(options.bin)
    published = sorted(options.published.rglob("*.jinja")) if options.published else []
    rows = [(kind, template) for kind, (_, templates) in HOSTILE.items() for template in templates]
    rows += [("published", file.read_text(encoding="utf-8")) for file in published]
    found = {}
    for name, scan in known.items():
        with tempfile.TemporaryDirectory() as folder:
            found[name] = scan([template for _, template in rows], Path(folder))
    print("| kind | templates | " + " | ".join(known) + " |")
    print("| --- | --- | " + " | ".join("---" for _ in known) + " |")
    for kind in [*HOSTILE, "published"]:
        print(row(kind, [index for index, (one, _) in enumerate(rows) if one == kind], found))
    print(row("**all hostile**", [index for index, (one, _) in enumerate(rows) if one != "published"], found))


def row(title: str, indices: Sequence[int], found: Mapping[str, Sequence[bool]]) -> str:
    """Return a table row: the number of these templates that each scanner reports."""
    counts = [str(sum(answers[index] for index in indices)) for answers in found.values()]
    return f"| {title} | {len(indices)} | {' | '.join(counts)} |"


if __name__ == "__main__":
    main()
