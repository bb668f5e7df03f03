"""Answers constrained to JSON are JSON and follow their schema; unsupported schemas are rejected by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from llorch import runtime
from llorch.runtime.serving.structured import Structures
from tests.runtime.serving.conftest import NAME, Served

ORDER = {
    "type": "object",
    "properties": {
        "kind": {"enum": ["tea", "coffee"]},
        "cups": {"type": "integer", "minimum": 1, "maximum": 12},
        "sweet": {"type": "boolean"},
        "with": {"type": "array", "items": {"const": "milk"}, "maxItems": 2},
    },
    "required": ["kind", "cups", "sweet", "with"],
    "additionalProperties": False,
}


def asked(served: Served, format: dict[str, object], **fields: object) -> Any:
    body = {"model": NAME, "messages": [{"role": "user", "content": "hello"}], "response_format": format}
    return served.client.post("/v1/chat/completions", json={**body, "max_tokens": 400, **fields})


def following(schema: object) -> dict[str, object]:
    return {"type": "json_schema", "json_schema": {"name": "order", "strict": True, "schema": schema}}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("temperature", [0, 1.7])
def test_an_answer_follows_its_schema(served: Served, temperature: float, seed: int) -> None:
    answer = asked(served, following(ORDER), temperature=temperature, seed=seed, n=2)
    assert answer.status_code == 200, answer.text
    for choice in answer.json()["choices"]:
        assert choice["finish_reason"] == "stop"
        jsonschema.validate(json.loads(choice["message"]["content"]), ORDER)


def test_without_a_schema_the_answer_is_not_json(served: Served) -> None:
    text = asked(served, {"type": "text"}, temperature=0).json()["choices"][0]["message"]["content"]
    with pytest.raises(ValueError, match="Expecting"):
        json.loads(text)


def test_two_concurrent_schemas_do_not_affect_each_other(served: Served) -> None:
    from concurrent.futures import ThreadPoolExecutor

    formats = [following({"const": f"only {number}"}) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda format: asked(served, format, temperature=0), formats))
    texts = [json.loads(answer.json()["choices"][0]["message"]["content"]) for answer in answers]
    assert texts == [f"only {number}" for number in range(8)]


def test_any_object_is_an_object(served: Served) -> None:
    for seed in range(4):
        choice = asked(served, {"type": "json_object"}, temperature=1.0, seed=seed).json()["choices"][0]
        text = choice["message"]["content"]
        assert text.startswith("{")
        if choice["finish_reason"] == "stop":
            assert isinstance(json.loads(text), dict)


def test_a_streamed_answer_is_the_same_text(served: Served) -> None:
    whole = asked(served, following(ORDER), temperature=0).json()["choices"][0]["message"]["content"]
    lines = asked(served, following(ORDER), temperature=0, stream=True).text.splitlines()
    chunks = [json.loads(line[6:])["choices"][0]["delta"] for line in lines if line.startswith("data: {")]
    assert "".join(chunk.get("content", "") for chunk in chunks) == whole


def test_an_answer_beyond_max_tokens_is_cut(served: Served) -> None:
    choice = asked(served, following(ORDER), temperature=0, max_tokens=3).json()["choices"][0]
    assert choice["finish_reason"] == "length"
    whole = asked(served, following(ORDER), temperature=0).json()["choices"][0]["message"]["content"]
    assert whole.startswith(choice["message"]["content"])


@pytest.mark.parametrize(
    ("format", "says"),
    [
        ({"type": "json_schema"}, "json_schema"),
        ({"type": "grammar"}, "type"),
        (following({"type": "nothing"}), "nothing"),
        (following({"$ref": "#/missing"}), "missing"),
        (following({"$ref": "http://127.0.0.1:1/schema"}), "127.0.0.1"),
        (following({"type": "object", "properties": {"a": {"not": {"type": "string"}}}}), "not"),
        (following({"type": "string", "pattern": "("}), "response_format"),
    ],
    ids=repr,
)
def test_an_unsupported_schema_is_400_by_name(served: Served, format: dict[str, object], says: str) -> None:
    answer = asked(served, format)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (400, "invalid_request_error")
    assert error["param"].startswith("response_format")
    assert says in error["message"] or says in error["param"]
    assert served.complete(max_tokens=2)["usage"]["completion_tokens"] == 2  # type: ignore[index]


def test_a_schema_nested_without_end_is_400(served: Served) -> None:
    schema = '{"properties":{"a":' * 3000 + "{}" + "}}" * 3000
    body = (
        f'{{"model":"{NAME}","messages":[{{"role":"user","content":"x"}}],"response_format":'
        f'{{"type":"json_schema","json_schema":{{"name":"n","schema":{schema}}}}}}}'
    )
    assert served.client.post("/v1/chat/completions", content=body).status_code == 400


@pytest.mark.parametrize("name", ["gemma2", "mistral", "phi2", "phi3", "qwen2"])
def test_tokens_of_every_kind_of_tokenizer_can_be_followed(test_data: Path, name: str) -> None:
    with runtime.load(test_data / "tiny" / name / "q4_k_m.gguf") as model:
        make = Structures(model).constraint_factory(ORDER)
        for seed in range(3):
            constraint, chance, ids = make(), np.random.default_rng(seed), list[int]()
            while True:
                scores = chance.normal(size=model.vocabulary_size).astype(np.float32)
                constraint.restrict(scores)
                token = int(scores.argmax())
                if token in model.end_ids:
                    break
                constraint.accept(token)
                ids.append(token)
            jsonschema.validate(json.loads(model.tokenizer.decode(ids)), ORDER)
