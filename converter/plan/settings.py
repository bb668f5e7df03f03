"""Settings: the caller's values for keys of config.json, by `--set KEY=VALUE`.

A key can be set if no metadata key determines it and the published values of a family differ. It cannot be set if the
file determines it, or if it follows from the tensors or a rule of llama.cpp.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping

from llorch.base.errors import UnsupportedInput
from llorch.base.printable import printable
from llorch.converter.schema.architecture import Architecture

Settings = Mapping[str, object]

# Derived, but from a number that llama.cpp's converter makes up if the original has none.
MADE_UP = frozenset({"max_position_embeddings"})


def parse_setting(text: str) -> tuple[str, object]:
    """Parse KEY=VALUE; the value is JSON, or else text. Raises ValueError without a = or a key.

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
    """Raise UnsupportedInput for a key that config.json does not have, that the file determines, or of the wrong type.

    values: config.json without the settings; assumed: its keys that no metadata key determines.
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
        if not _is_same_type(value, found):
            raise UnsupportedInput(
                f"is {_json(value)}, expected a value of the kind of {_json(found)}", where=where
            )


def _is_same_type(value: object, found: object) -> bool:
    """Return whether a value's type fits the present value's; null fits everything."""
    if value is None or found is None:
        return True
    if isinstance(value, bool) or isinstance(found, bool):
        return isinstance(value, bool) and isinstance(found, bool)
    if isinstance(found, int | float):
        return isinstance(value, int if isinstance(found, int) else int | float)
    return type(value) is type(found)


def _json(value: object) -> str:
    return printable(json.dumps(value, ensure_ascii=False), 80, quoted=False)
