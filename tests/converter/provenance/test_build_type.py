"""docs/provenance.md documents the build type: its schema accepts what is written and rejects anything else."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from llorch.base.provenance import BUILD_TYPE, BUILDER_ID
from llorch.converter import convert
from tests.models.tiny import random_llama

PAGE = Path(__file__).parents[3] / "docs" / "provenance.md"


@pytest.fixture(scope="module")
def schema() -> Mapping[str, Any]:
    """The schema on the page."""
    (block,) = re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL)
    document: Mapping[str, Any] = json.loads(block)
    jsonschema.Draft202012Validator.check_schema(document)
    return document


@pytest.fixture(scope="module")
def statement(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """A statement that a conversion writes."""
    folder = tmp_path_factory.mktemp("provenance")
    random_llama().write(folder / "model.gguf")
    made = convert(folder / "model.gguf", folder / "made")
    document: Mapping[str, Any] = json.loads((made.folder / "provenance.intoto.json").read_bytes())
    return document


def test_a_written_statement_is_valid(schema: Mapping[str, Any], statement: Mapping[str, Any]) -> None:
    jsonschema.validate(statement, schema)


@pytest.mark.parametrize("identity", [BUILD_TYPE, BUILDER_ID])
def test_the_page_has_a_heading_for_each_identity(identity: str) -> None:
    assert f"\n## {identity.partition('#')[2]}\n" in PAGE.read_text()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("predicate", "buildDefinition", "buildType"), "https://example.org/x"),
        (("predicate", "buildDefinition", "externalParameters", "dtype"), "int8"),
        (("predicate", "buildDefinition", "externalParameters", "maxShardSize"), 5),
        (("predicate", "runDetails", "builder", "id"), ""),
        (("subject",), []),
    ],
)
def test_another_statement_is_refused(
    schema: Mapping[str, Any], statement: Mapping[str, Any], path: tuple[str, ...], value: object
) -> None:
    changed: Any = copy.deepcopy(statement)
    owner = changed
    for name in path[:-1]:
        owner = owner[name]
    owner[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(changed, schema)
