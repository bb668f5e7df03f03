"""Typed access to config.json and other JSON files: a value of the requested type, or an error."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from llorch.base.errors import MalformedInput, UnsupportedInput
from llorch.base.printable import printable
from llorch.runtime.from_folder.families import FAMILIES, ClassFacts

MOST_BYTES = 64 << 20  # limit for a JSON file; the largest published tokenizer.json has 33 MB

Json = dict[str, object]


def read_json(path: Path) -> Json:
    """Read a JSON object from a file; MalformedInput if it is not one, or is larger than MOST_BYTES."""
    with path.open("rb") as file:
        text = file.read(MOST_BYTES + 1)
    if len(text) > MOST_BYTES:
        raise MalformedInput(f"is larger than {MOST_BYTES:,} bytes", path=path)
    try:
        found = json.loads(text.decode("utf-8"), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise MalformedInput(f"is not JSON: {printable(str(error), 200, quoted=False)}", path=path) from error
    if not isinstance(found, dict):
        raise MalformedInput("is JSON, but not an object", path=path)
    return cast(Json, found)


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not a number of JSON")


class Config:
    """Typed getters over config.json or a part of it, falling back on the configuration class's defaults."""

    def __init__(self, values: Mapping[str, object], defaults: Mapping[str, object], path: Path) -> None:
        self.values = values
        self.defaults = defaults
        self.path = path

    @classmethod
    def of_folder(cls, folder: Path) -> Config:
        """Read a folder's config.json; UnsupportedInput for an unknown `model_type` or an option not computed here."""
        path = folder / "config.json"
        return cls.of_values(read_json(path), path)

    @classmethod
    def of_values(cls, values: Mapping[str, object], path: Path) -> Config:
        """The config of already parsed JSON; UnsupportedInput for an unknown `model_type`."""
        plain = cls(values, {}, path)
        kind = plain.text("model_type")
        if kind not in FAMILIES:
            raise plain.unsupported("model_type", f"is {printable(kind)}; known are {', '.join(FAMILIES)}")
        family = FAMILIES[kind]
        usual = {
            key: part.values[own.rpartition(".")[2]]
            for key, own in family.keys.items()
            if (part := plain._holder(own)) is not None
        }
        config = cls({**usual, **plain.values}, family.defaults, path)
        config._check(FAMILIES[kind])
        return config

    def _holder(self, path: str) -> Config | None:
        """The object that contains a key: this one, or `part` for `part.key`; None if the key is absent."""
        within, _, key = path.rpartition(".")
        holder = self.part(within) if within else self
        return holder if holder is not None and key in holder.values else None

    @property
    def family(self) -> ClassFacts:
        """The row of facts for this `model_type`."""
        return FAMILIES[self.text("model_type")]

    @property
    def is_mxfp4(self) -> bool:
        """Whether the experts are stored as MXFP4 blocks."""
        quantization = self.part("quantization_config")
        return quantization is not None and quantization.get("quant_method", None) == "mxfp4"

    def _check(self, family: ClassFacts) -> None:
        classes = self.get("architectures", None)
        if classes not in (None, *([name] for name in (family.class_name, *family.other_names))):
            raise self.unsupported(
                "architectures", f"is {printable(json.dumps(classes))}, not {family.class_name}"
            )
        if self.get("quantization_config", None) is not None and not (family.mxfp4 and self.is_mxfp4):
            raise self.unsupported("quantization_config", "is there: quantized folders are not read")
        for key, values in family.supported.items():
            if self.get(key, values[0]) not in values:
                found = printable(json.dumps(self.values[key]), quoted=False)
                raise self.unsupported(key, f"is {found}, which this decoder does not compute")

    def get(self, key: str, *default: object) -> object:
        """The value of a key, else the class's default, else the given default; MalformedInput without any."""
        if key in self.values:
            return self.values[key]
        if key in self.defaults:
            return self.defaults[key]
        if default:
            return default[0]
        raise self.malformed(key, "is missing")

    def text(self, key: str, *default: object) -> str:
        """A string."""
        value = self.get(key, *default)
        if not isinstance(value, str):
            raise self._wrong(key, value, "a string")
        return value

    def flag(self, key: str, *default: object) -> bool:
        """A bool; null is false."""
        value = self.get(key, *default)
        if value is not None and not isinstance(value, bool):
            raise self._wrong(key, value, "true or false")
        return bool(value)

    def integer(self, key: str, *default: object) -> int:
        """An integer."""
        value = self.get(key, *default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._wrong(key, value, "an integer")
        return value

    def positive(self, key: str, *default: object) -> int:
        """An integer of at least 1."""
        value = self.integer(key, *default)
        if value < 1:
            raise self.malformed(key, f"is {value}, expected at least 1")
        return value

    def number(self, key: str, *default: object) -> float:
        """A finite number."""
        value = self.get(key, *default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise self._wrong(key, value, "a number")
        return float(value)

    def numbers(self, key: str) -> tuple[float, ...]:
        """A list of finite numbers."""
        value = self.get(key)
        if not isinstance(value, list):
            raise self._wrong(key, value, "a list of numbers")
        return tuple(Config({key: item}, {}, self.path).number(key) for item in value)

    def part(self, key: str) -> Config | None:
        """A nested object; None if it is null or absent."""
        value = self.get(key, None)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self._wrong(key, value, "an object")
        return Config(value, {}, self.path)

    def malformed(self, key: str, what: str) -> MalformedInput:
        """The error for a value that a key cannot have."""
        return MalformedInput(what, where=f"key {printable(key)}", path=self.path)

    def unsupported(self, key: str, what: str) -> UnsupportedInput:
        """The error for a value that is not supported here."""
        return UnsupportedInput(what, where=f"key {printable(key)}", path=self.path)

    def _wrong(self, key: str, value: object, expected: str) -> MalformedInput:
        return self.malformed(key, f"is {printable(json.dumps(value), quoted=False)}, expected {expected}")
