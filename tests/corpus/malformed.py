"""The corpus as a folder: python -m tests.corpus.malformed FOLDER writes every file and an expected.json.

expected.json: {"format": 1, "cases": {PATH: {"group", "wrong", "words"}}, "controls": {PATH: what}}. PATH is what to
hand to a command; a split model has its parts in a folder.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.corpus import controls, header, model, split, tensor, vocabulary
from tests.corpus.case import Case


def malformed() -> list[Case]:
    """The 193 cases that have to be refused."""
    return [case for group in (header, tensor, model, vocabulary, split) for case in group.cases()]


def good() -> list[Case]:
    """The 7 controls, which have to convert."""
    return controls.cases()


def write(folder: Path) -> dict[str, object]:
    """Writes all files and expected.json into a new folder; returns what expected.json holds."""
    folder.mkdir(parents=True)
    cases = {
        str(case.write(folder).relative_to(folder)): {
            "group": case.group,
            "wrong": case.wrong,
            "words": list(case.words),
        }
        for case in malformed()
    }
    kept = {str(case.write(folder).relative_to(folder)): case.wrong for case in good()}
    expected: dict[str, object] = {"format": 1, "cases": cases, "controls": kept}
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
    return expected


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tests.corpus.malformed FOLDER")
    write(Path(sys.argv[1]))
    print(f"{len(malformed())} malformed files, {len(good())} good ones")
