"""What a caller says of the model that the file does not: values of config.json's keys, by `--set KEY=VALUE`.

A key may be set that no metadata key says, where the published sizes of a family differ. What the file says is decided
by the file, and what follows from its tensors or from a rule of llama.cpp's by those.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping

from llorch.base.errors import UnsupportedInput
from llorch.base.printable import printable
from llorch.converter.schema.architecture import Architecture

Settings = Mapping[str, object]

# Derived, but from a number that llama.cpp's converter makes up where the original has none to give.
MADE_UP = frozenset({"max_position_embeddings"})


def parse_setting(text: str) -> tuple[str, object]:
    """KEY=VALUE; the value is JSON, else it is text. Raises ValueError for what has no = or no key.

    >>> parse_setting("mamba_chunk_size=128"), parse_setting("hidden_act=relu2")
    (('mamba_chunk_size', 128), ('hidden_act', 'relu2'))
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ValueError(f"{text!r} is no KEY=VALUE")
    try:
        return key.strip(), json.loads(value, parse_constant=_refuse)
    except ValueError:
        return key.strip(), value


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is no number of JSON")


def require_settings(
    settings: Settings, architecture: Architecture, values: Mapping[str, object], assumed: Collection[str]
) -> None:
    """UnsupportedInput for a key that config.json does not have, that the file decides, or of another kind of value.

    values: config.json without the settings; assumed: its keys that no metadata key says.
    """
    free = sorted(set(assumed) & values.keys() - (architecture.derived.keys() - MADE_UP))
    for key, value in settings.items():
        where = f"setting {printable(key)}"
        if key not in values:
            raise UnsupportedInput(
                f"is no key of {architecture.class_name}'s config.json that is written; "
                f"{', '.join(free)} can be set",
                where=where,
            )
        found = values[key]
        if key not in free and value != found:
            raise UnsupportedInput(
                f"is {_json(value)}, by the file it is {_json(found)}: what the file says is not set",
                where=where,
            )
        if not _is_of_a_kind(value, found):
            raise UnsupportedInput(
                f"is {_json(value)}, expected a value of the kind of {_json(found)}", where=where
            )


def _is_of_a_kind(value: object, found: object) -> bool:
    """Whether one may stand where the other is; null may be anything, and anything null."""
    if value is None or found is None:
        return True
    if isinstance(value, bool) or isinstance(found, bool):
        return isinstance(value, bool) and isinstance(found, bool)
    if isinstance(found, int | float):
        return isinstance(value, int if isinstance(found, int) else int | float)
    return type(value) is type(found)


def _json(value: object) -> str:
    return printable(json.dumps(value, ensure_ascii=False), 80, quoted=False)
