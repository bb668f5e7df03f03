"""The families' tiny models, exact and quantized, judged right by every check, and a fault of each kind wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from llorch import converter
from llorch.verification import verify
from llorch.verification.checks import CHECKS
from llorch.verification.report import Status
from llorch.verification.subject import Subject
from tests.families import FAMILIES
from tests.verification.family_mutations import FAMILY_MUTATIONS
from tests.verification.mutations import Mutation
from tests.verification.planting import Planted


@pytest.mark.slow
@pytest.mark.parametrize("file", ["f32", "q4_k_m"])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_conversion_of_a_family_passes_every_check(
    name: str, file: str, test_data: Path, tmp_path: Path
) -> None:
    source = test_data / "families" / name / f"{file}.gguf"
    converter.convert(source, tmp_path / "made")
    report = verify(tmp_path / "made", source, level="full")
    assert report.outcome == "PASSED", report.sentence


@pytest.fixture(scope="module")
def made(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float32 folder of each family that a fault is planted in, by its name."""
    place = tmp_path_factory.mktemp("families")
    for model in sorted({one.model for one in FAMILY_MUTATIONS}):
        converter.convert(test_data / "families" / model / "f32.gguf", place / model, dtype="float32")
    return place


@pytest.mark.slow
@pytest.mark.parametrize(
    "one", FAMILY_MUTATIONS, ids=[f"{one.model}, {one.name}" for one in FAMILY_MUTATIONS]
)
def test_a_fault_of_a_family_fails_and_is_named(
    one: Mutation, made: Path, test_data: Path, tmp_path: Path
) -> None:
    source = test_data / "families" / one.model / "f32.gguf"
    pair = Planted.copied(source, made / one.model, tmp_path / "made")
    one.plant(pair)
    with Subject(pair.folder, pair.source, level="quick", device="cpu") as subject:
        for name, place in one.caught_by:
            found = CHECKS[name](subject)
            assert found.status == Status.FAILED, found
            assert re.search(place, found.where), f"{name} says {found.where!r}"
