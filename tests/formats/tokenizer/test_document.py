"""tokenizer.json is what `json.dumps` writes, in however many pieces it is encoded."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llorch.formats.tokenizer import document
from llorch.formats.tokenizer.document import document_bytes
from llorch.formats.tokenizer.merges import Merges

leaves = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
values = st.recursive(
    leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=30
)


@settings(deadline=None)
@given(st.dictionaries(st.text(), values))
def test_a_document_is_written_as_json_writes_it(value: dict[str, Any]) -> None:
    whole = f"{json.dumps(value, ensure_ascii=False)}\n".encode()
    assert document_bytes(value) == whole
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(document, "MANY", 2)
        assert document_bytes(value) == whole


@pytest.mark.parametrize("many", [1, 2, 8192])
def test_merges_are_pairs_of_texts(many: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "MANY", many)
    merges = Merges.of_rows(["a", ' "', "😀", 'a "', 'a "😀'], [(0, 1, 3), (3, 2, 4), (0, 0, 4)])
    pairs = [["a", ' "'], ['a "', "😀"], ["a", "a"]]
    assert [[*pair] for pair in merges] == pairs
    written = document_bytes({"model": {"merges": merges, "last": Merges.of_rows([], [])}})
    assert written == f"{json.dumps({'model': {'merges': pairs, 'last': []}}, ensure_ascii=False)}\n".encode()
