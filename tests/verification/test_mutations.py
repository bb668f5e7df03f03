"""Wrong folders that must fail, each by its own check, which names the place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from llorch import converter
from llorch.verification.checks import CHECKS
from llorch.verification.report import Status
from llorch.verification.subject import Subject
from tests.verification.mutations import MUTATIONS, Mutation
from tests.verification.planting import DEVICE, Planted


@pytest.fixture(scope="module")
def made(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float32 folder of each model, by its name."""
    place = tmp_path_factory.mktemp("made")
    for model in sorted({one.model for one in MUTATIONS}):
        converter.convert(test_data / "tiny" / model / "f32.gguf", place / model, dtype="float32")
    return place


@pytest.mark.parametrize("level", ["quick", pytest.param("full", marks=pytest.mark.slow)])
@pytest.mark.parametrize("one", MUTATIONS, ids=[f"{one.model}, {one.name}" for one in MUTATIONS])
def test_a_wrong_folder_fails_and_the_place_is_named(
    one: Mutation, level: str, made: Path, test_data: Path, tmp_path: Path
) -> None:
    pair = Planted.copied(test_data / "tiny" / one.model / "f32.gguf", made / one.model, tmp_path / "made")
    one.plant(pair)
    with Subject(pair.folder, pair.source, level=level, device=DEVICE) as subject:
        for name, place in one.caught_by:
            found = CHECKS[name](subject)
            assert found.status == Status.FAILED, found
            assert re.search(place, found.where), f"{name} says {found.where!r}"


def test_there_are_enough_of_them_and_each_is_another() -> None:
    assert len(MUTATIONS) >= 60
    assert len({(one.model, one.name) for one in MUTATIONS}) == len(MUTATIONS)
