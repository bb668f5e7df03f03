"""Find a folder's chat template as transformers does; needs no torch, so that `describe` can use it."""

from __future__ import annotations

from pathlib import Path

from llorch.base.errors import MalformedInput
from llorch.runtime.from_folder.config import Json


def chat_template(folder: Path, tokenizer_config: Json) -> str | None:
    """The template in chat_template.jinja, else the one in tokenizer_config.json; None if neither has one."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        try:
            return path.read_bytes().decode()
        except UnicodeDecodeError as error:
            raise MalformedInput("is not UTF-8", path=path) from error
    template = tokenizer_config.get("chat_template")
    if isinstance(template, list):  # several templates by name; the one used by default is `default`
        named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
        template = named.get("default")
    return template if isinstance(template, str) else None
