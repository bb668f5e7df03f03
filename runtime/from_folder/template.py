"""A folder's chat template, as transformers finds it; no torch, so that it can be described."""

from __future__ import annotations

from pathlib import Path

from llorch.base.errors import MalformedInput
from llorch.runtime.from_folder.config import Json


def chat_template(folder: Path, tokenizer_config: Json) -> str | None:
    """chat_template.jinja, else what tokenizer_config.json, `told`, has; None where neither has one."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        try:
            return path.read_bytes().decode()
        except UnicodeDecodeError as error:
            raise MalformedInput("is not UTF-8", path=path) from error
    template = tokenizer_config.get("chat_template")
    if isinstance(
        template, list
    ):  # several with names; the one that is asked for without a name is `default`
        named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
        template = named.get("default")
    return template if isinstance(template, str) else None
