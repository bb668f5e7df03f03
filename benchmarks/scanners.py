"""Who finds what: this scan beside the public scanners that are installed, on hostile and on published templates.

`pip install c4nary glyphhound` puts them there, in any environment; `--bin DIR` says where their commands are.
A hostile template counts as found if a scanner objects to it at all; a published one, as a false alarm.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from llorch.formats.scan import scan_template
from tests.formats.scan.hostile import HOSTILE
from tests.models import gguf_writer

Scanner = Callable[[str, Path], bool]


def ours(template: str, _: Path) -> bool:
    """This scan."""
    return any(one.level == "warning" for one in scan_template(template))


def c4nary(program: Path) -> Scanner:
    """c4nary: a finding of WARN or FAIL about the template."""

    def scan(template: str, folder: Path) -> bool:
        result = subprocess.run(
            [program, "scan", as_gguf(template, folder), "--json"], capture_output=True, text=True
        )
        found = json.loads(result.stdout).get("findings", [])
        return any(
            str(one.get("severity", "")).upper() in ("WARN", "FAIL") for one in found if about_template(one)
        )

    return scan


def about_template(finding: dict[str, object]) -> bool:
    """Whether a finding of c4nary's is not about what a header without a model lacks."""
    return str(finding.get("rule_id", finding.get("id", finding.get("rule", "")))).startswith("TPL")


def glyphhound(program: Path) -> Scanner:
    """glyphhound: its exit code."""

    def scan(template: str, folder: Path) -> bool:
        file = folder / "chat_template.jinja"
        file.write_text(template, encoding="utf-8", newline="")
        return subprocess.run([program, "scan", file], capture_output=True).returncode != 0

    return scan


def as_gguf(template: str, folder: Path) -> Path:
    """A header that holds the template and nothing else."""
    model = gguf_writer.Model()
    model.key("general.architecture", gguf_writer.one(gguf_writer.STRING, "llama"))
    model.key("tokenizer.chat_template", gguf_writer.one(gguf_writer.STRING, template))
    return model.write(folder / "model.gguf")


def scanners(folder: Path | None) -> dict[str, Scanner]:
    """Ours, and those whose commands are there."""
    found: dict[str, Scanner] = {"llorch": ours}
    for name, make in (("c4nary", c4nary), ("glyphhound", glyphhound)):
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
    print("| kind | templates | " + " | ".join(known) + " |")
    print("| --- | --- | " + " | ".join("---" for _ in known) + " |")
    totals = dict.fromkeys(known, 0)
    with tempfile.TemporaryDirectory() as folder:
        for kind, (_, templates) in HOSTILE.items():
            counts = {name: sum(scan(one, Path(folder)) for one in templates) for name, scan in known.items()}
            totals = {name: totals[name] + counts[name] for name in known}
            print(f"| {kind} | {len(templates)} | " + " | ".join(map(str, counts.values())) + " |")
        every = sum(len(templates) for _, templates in HOSTILE.values())
        print(f"| **all hostile** | {every} | " + " | ".join(map(str, totals.values())) + " |")
        if published:
            texts = [file.read_text(encoding="utf-8") for file in published]
            alarms = {name: sum(scan(one, Path(folder)) for one in texts) for name, scan in known.items()}
            print(f"| **published, alarms** | {len(texts)} | " + " | ".join(map(str, alarms.values())) + " |")


if __name__ == "__main__":
    main()
