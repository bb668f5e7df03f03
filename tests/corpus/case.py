"""A malformed file and what a good message about it holds; how a case is added to a group, and written."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.models.gguf_writer import Model

Content = bytes | dict[str, bytes] | Callable[[Path], None]
Add = Callable[[str, str, str, Model | Content], None]


@dataclass(frozen=True)
class Case:
    """One defect away from a model that loads.

    words: what a good message contains, in any case; "a|b" means one of them. content: the file's bytes, the parts
    of a split model by name, or what writes the file. A control is a case that loads: it has no words.
    """

    group: str
    name: str
    wrong: str
    words: tuple[str, ...]
    content: Content

    def write(self, folder: Path) -> Path:
        """Writes the file, or the parts in a folder of their own; returns what to hand to a command."""
        if isinstance(self.content, dict):
            parts = folder / f"{self.group}-{self.name}"
            parts.mkdir()
            for name, data in self.content.items():
                (parts / name).write_bytes(data)
            return parts / min(self.content)
        path = folder / f"{self.group}-{self.name}.gguf"
        if isinstance(self.content, bytes):
            path.write_bytes(self.content)
        else:
            self.content(path)
        return path

    def lacking(self, message: str) -> list[str]:
        """The words that a message about this case lacks."""
        said = message.lower()
        return [word for word in self.words if not any(part.lower() in said for part in word.split("|"))]


def group(name: str, fill: Callable[[Add], None]) -> list[Case]:
    """The cases that `fill` adds, as name, what is wrong, the needed words separated by blanks, and content."""
    cases: list[Case] = []

    def add(case: str, wrong: str, words: str, content: Model | Content) -> None:
        built = content.build() if isinstance(content, Model) else content
        cases.append(Case(name, case, wrong, tuple(words.split()), built))

    fill(add)
    return cases


def sparse(head: bytes, size: int) -> Callable[[Path], None]:
    """A file of `size` bytes of which only the head takes room."""

    def write(path: Path) -> None:
        path.write_bytes(head)
        os.truncate(path, size)

    return write
