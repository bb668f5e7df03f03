"""References: each form has one meaning, and no string has two."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llorch.registry.errors import InvalidReference
from llorch.registry.query.reference import (
    ALIAS,
    DigestReference,
    NameReference,
    PathReference,
    Reference,
    RunReference,
    is_name,
    name_from,
    parse_alias,
    parse_reference,
)
from llorch.registry.records.run_ids import uuid7

UUID = "019a8f3e-0b1c-7d2e-8f3a-123456789abc"


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("sha256:3f5a91c", DigestReference("sha256", "3f5a91c")),
        ("tree1:" + "a" * 64, DigestReference("tree1", "a" * 64)),
        ("weights1:0123456", DigestReference("weights1", "0123456")),
        (UUID, RunReference(UUID)),
        ("run:019a8f3", RunReference("019a8f3")),
        ("run:019a8f3e-0b1c", RunReference("019a8f3e-0b1c")),
        ("./model.gguf", PathReference("./model.gguf")),
        ("/a/b", PathReference("/a/b")),
        ("~/x", PathReference("~/x")),
        ("a/b/c", PathReference("a/b/c")),
        ("Models/x", PathReference("Models/x")),
        ("models/x", NameReference("models/x")),
        ("smollm2", NameReference("smollm2")),
        ("model.gguf", NameReference("model.gguf")),
        ("smollm2@prod", NameReference("smollm2", "prod")),
        ("smollm2@prod~2", NameReference("smollm2", "prod", 2)),
        ("smollm2~1", NameReference("smollm2", "latest", 1)),
        ("3f5a91c", DigestReference(None, "3f5a91c")),
        ("abcdef", NameReference("abcdef")),
        ("deadbeef", DigestReference(None, "deadbeef")),
    ],
)
def test_the_form_decides(text: str, meaning: Reference) -> None:
    assert parse_reference(text) == meaning


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A",
        "a b",
        "sha256:3f5a91",
        "md5:3f5a91c",
        "run:12",
        "a@",
        "a@B",
        "@b",
        "a~",
        "a~-1",
        "a\nb",
        "a\0/b",
        "É",
    ],
)
def test_what_has_no_form_is_refused_on_one_line(text: str) -> None:
    with pytest.raises(InvalidReference) as refused:
        parse_reference(text)
    assert str(refused.value).isprintable()


forms = {
    DigestReference: re.compile(r"((sha256|tree1|weights1):)?[0-9a-f]{7,64}"),
    RunReference: re.compile(r"run:[0-9a-f-]{7,36}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
}


@given(st.text(st.sampled_from("abf019:@~-._/rungshat25"), max_size=30) | st.text(max_size=20))
def test_no_string_has_two_forms(text: str) -> None:
    """A name is never spelled like a digest, a run or a path, so the order of the forms decides nothing."""
    if is_name(text):
        assert parse_reference(text) == NameReference(text)
        assert not any(form.fullmatch(text) for form in forms.values())
    else:
        with contextlib.suppress(InvalidReference):
            assert parse_reference(text) != NameReference(text)


@given(st.from_regex(ALIAS, fullmatch=True), st.integers(0, 99))
def test_a_name_with_an_alias_comes_back(alias: str, back: int) -> None:
    assert parse_reference(f"smollm2@{alias}~{back}") == NameReference("smollm2", alias, back)
    assert parse_alias(f"smollm2@{alias}") == ("smollm2", alias)


@given(st.text())
def test_whatever_a_folder_is_called_there_is_a_name_for_it(folder: str) -> None:
    assert is_name(name_from(folder))
    assert parse_reference(name_from(folder)) == NameReference(name_from(folder))


@given(st.from_regex(re.compile(r"[a-z][a-z0-9._]*[a-z]"), fullmatch=True).filter(is_name))
def test_a_folder_that_is_called_like_a_name_keeps_it(name: str) -> None:
    assert name_from(name) == name


@pytest.mark.parametrize("name", ["deadbeef", "0123456", UUID, "a/b/c", "A", "", "a@b@c", "sha256:1234567"])
def test_a_name_that_could_be_mistaken_is_not_given(name: str) -> None:
    with pytest.raises(InvalidReference):
        parse_alias(name)


@given(st.integers(0, 2**48 - 1), st.integers(0, 2**74 - 1))
def test_a_run_id_is_a_version_7_uuid_and_holds_its_time(milliseconds: int, random_bits: int) -> None:
    import uuid

    made = uuid.UUID(uuid7(milliseconds, random_bits))
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == milliseconds
    assert str(made) == uuid7(milliseconds, random_bits)
    assert parse_reference(str(made)) == RunReference(str(made))


@given(st.lists(st.integers(0, 2**48 - 1), unique=True), st.integers(0, 2**74 - 1))
def test_run_ids_sort_by_their_time(times: list[int], random_bits: int) -> None:
    assert sorted(uuid7(time, random_bits) for time in times) == [
        uuid7(t, random_bits) for t in sorted(times)
    ]
