"""The forms of a source, and ambiguous ones that are refused."""

from __future__ import annotations

import pytest

from llorch.sources.errors import ChoiceNeeded, UnsafeName
from llorch.sources.select.reference import HubReference, UrlReference, parse_source

HUB = {
    "owner/repo": HubReference("owner/repo"),
    "gpt2": HubReference("gpt2"),
    "owner/repo@v1.0": HubReference("owner/repo", "v1.0"),
    "owner/repo@refs/pr/3": HubReference("owner/repo", "refs/pr/3"),
    "owner/repo:model.gguf": HubReference("owner/repo", path="model.gguf"),
    "owner/repo@dev:BF16/a-00001-of-00002.gguf": HubReference(
        "owner/repo", "dev", "BF16/a-00001-of-00002.gguf"
    ),
    "https://huggingface.co/owner/repo": HubReference("owner/repo"),
    "https://huggingface.co/owner/repo/tree/dev": HubReference("owner/repo", "dev"),
    "https://huggingface.co/owner/repo/blob/main/a/m.gguf": HubReference("owner/repo", "main", "a/m.gguf"),
    "https://huggingface.co/owner/repo/resolve/main/m.gguf?download=true": HubReference(
        "owner/repo", "main", "m.gguf"
    ),
    "https://hf.co/owner/repo/blob/main/m%20x.gguf": HubReference("owner/repo", "main", "m x.gguf"),
}


@pytest.mark.parametrize(("text", "expected"), HUB.items())
def test_a_repository_is_meant_in_any_of_its_spellings(text: str, expected: HubReference) -> None:
    assert parse_source(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/owner/repo",
        "owner/repo/more",
        "owner/re--po",
        "../repo",
        "owner/..",
        "owner repo",
        "owner/repo@",
        "owner/repo@../main",
        "owner/repo@a b",
        "ftp://host/m.gguf",
        "file:///etc/passwd",
        "https://",
        "https:///m.gguf",
        "https://host/",
        "https://host:port/m.gguf",
        "http://example.com/m.gguf",
        "https://huggingface.co/owner/repo/discussions",
    ],
)
def test_what_is_no_source_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ChoiceNeeded):
        parse_source(text)


@pytest.mark.parametrize("path", ["../m.gguf", "/m.gguf", "a\\m.gguf", "", "m\n.gguf"])
def test_a_file_is_named_as_an_honest_file_is(path: str) -> None:
    with pytest.raises(UnsafeName):
        parse_source(f"owner/repo:{path}")


def test_a_revision_beside_the_source_is_the_same_as_one_in_it() -> None:
    assert (
        parse_source("owner/repo", "v2")
        == parse_source("owner/repo@v2")
        == parse_source("owner/repo@v2", "v2")
    )
    with pytest.raises(ChoiceNeeded, match="'v1', and --revision 'v2'"):
        parse_source("owner/repo@v1", "v2")
    with pytest.raises(ChoiceNeeded):
        parse_source("https://host/m.gguf", "v2")


def test_a_url_is_shown_without_what_may_be_secret() -> None:
    reference = parse_source("https://user:secret@host:8443/a/m%20x.gguf?X-Amz-Signature=secret#secret")
    assert isinstance(reference, UrlReference)
    assert str(reference) == "https://host:8443/a/m%20x.gguf"
    assert reference.name == "m x.gguf"


def test_plain_http_is_for_this_machine_alone() -> None:
    assert isinstance(parse_source("http://127.0.0.1:8000/m.gguf"), UrlReference)
    assert isinstance(parse_source("http://[::1]:8000/m.gguf"), UrlReference)
    with pytest.raises(ChoiceNeeded, match="plain http"):
        parse_source("http://127.0.0.1.example.com/m.gguf")
