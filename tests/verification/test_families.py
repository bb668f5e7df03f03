"""Faults of the families' tiny models, each caught and named by its check."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from llorch import converter
from llorch.verification.checks import CHECKS
from llorch.verification.report import Status
from llorch.verification.subject import Subject
from tests.models.families import build
from tests.verification.family_mutations import FAMILY_MUTATIONS
from tests.verification.mutations import Mutation
from tests.verification.planting import DEVICE, Planted


@dataclass(frozen=True)
class Made:
    """A file and the float32 folder of it."""

    source: Path
    folder: Path


@pytest.fixture(scope="module")
def made(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Made]:
    """Each family that a fault is planted in, by its name: of the test data, or made here."""
    place = tmp_path_factory.mktemp("families")
    found = {}
    for model in sorted({one.model for one in FAMILY_MUTATIONS}):
        source = test_data / "families" / model / "f32.gguf"
        if not source.is_file():
            source = build(model, place / f"{model}-made").gguf
        found[model] = Made(source, place / model)
        converter.convert(source, found[model].folder, dtype="float32")
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    "one", FAMILY_MUTATIONS, ids=[f"{one.model}, {one.name}" for one in FAMILY_MUTATIONS]
)
def test_a_fault_of_a_family_fails_and_is_named(
    one: Mutation, made: Mapping[str, Made], tmp_path: Path
) -> None:
    pair = Planted.copied(made[one.model].source, made[one.model].folder, tmp_path / "made")
    one.plant(pair)
    with Subject(pair.folder, pair.source, level="quick", device=DEVICE) as subject:
        for name, place in one.caught_by:
            found = CHECKS[name](subject)
            assert found.status == Status.FAILED, found
            assert re.search(place, found.where), f"{name} says {found.where!r}"
