"""llama-server's endpoints: the effect of every field that its clients use."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llorch.runtime import Model, Sampling
from tests.runtime.serving.conftest import NAME, TEMPLATE, Served, Start


def complete(served: Served, **fields: object) -> Any:
    """The document of a completion, greedy by default."""
    answer = served.post("/completion", **{"prompt": "hello", "n_predict": 12, "temperature": 0, **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_completion_is_the_runtimes_generation(served: Served, alone: Model) -> None:
    document = complete(served)
    assert document["content"] == alone.generate("hello", max_new_tokens=12).text
    assert (
        document.items()
        >= {
            "stop": True,
            "model": NAME,
            "tokens_predicted": 12,
            "tokens_evaluated": len(alone.tokenizer.encode("hello").ids),
            "truncated": False,
            "stop_type": "limit",
            "stopping_word": "",
        }.items()
    )
    assert document["timings"]["predicted_n"] == 12
    assert document["timings"]["predicted_per_second"] > 0
    assert "tokens" not in document
    assert "completion_probabilities" not in document


def test_a_prompt_can_be_ids_and_tokens_are_returned_if_asked_for(served: Served, alone: Model) -> None:
    ids = alone.tokenizer.encode("hello").ids
    document = complete(served, prompt=ids, return_tokens=True)
    assert document["tokens"] == list(alone.generate(ids, max_new_tokens=12).ids)
    assert document["content"] == complete(served)["content"]


def test_n_predict_can_be_zero_and_can_fill_the_context(served: Served, alone: Model) -> None:
    assert complete(served, n_predict=0)["tokens_predicted"] == 0
    prompt = (alone.tokenizer.encode("hello").ids * 3000)[: alone.n_ctx - 5]
    assert complete(served, prompt=prompt, n_predict=-1, ignore_eos=True)["tokens_predicted"] == 5
    assert complete(served, prompt=prompt, n_predict=100, ignore_eos=True)["tokens_predicted"] == 5


def test_the_defaults_are_llama_servers(served: Served, alone: Model) -> None:
    body = {"prompt": "hello", "n_predict": 12, "seed": 3}
    document = served.post("/completion", **body).json()
    sampling = Sampling(temperature=0.8, top_k=40, top_p=0.95, min_p=0.05, seed=3)
    assert document["content"] == alone.generate("hello", max_new_tokens=12, sampling=sampling).text
    unseeded = {
        served.post("/completion", prompt="hello", n_predict=30, temperature=2).json()["content"]
        for _ in range(3)
    }
    assert len(unseeded) > 1


@pytest.mark.parametrize(
    ("field", "value", "ours"),
    [
        ("repeat_penalty", 1.8, "repetition_penalty"),
        ("presence_penalty", 2, "presence_penalty"),
        ("frequency_penalty", 2, "frequency_penalty"),
    ],
)
def test_a_penalty_reaches_the_sampling(
    served: Served, alone: Model, field: str, value: float, ours: str
) -> None:
    expected = alone.generate("hello", max_new_tokens=40, sampling=Sampling(**{ours: value})).text  # type: ignore[arg-type]
    assert complete(served, n_predict=40, **{field: value})["content"] == expected
    assert expected != complete(served, n_predict=40)["content"]


@pytest.mark.parametrize("narrow", [{"top_k": 1}, {"top_p": 0}, {"min_p": 1}], ids=str)
def test_the_filters_reach_the_sampling(served: Served, narrow: dict[str, float]) -> None:
    open_ = {"top_k": -1, "top_p": 1, "min_p": 0, "temperature": 1.5, "seed": 3}
    greedy = complete(served)["content"]
    assert complete(served, **open_)["content"] != greedy
    assert complete(served, **{**open_, **narrow})["content"] == greedy


def test_a_stop_string_is_named(served: Served) -> None:
    whole = complete(served, n_predict=30)["content"]
    document = complete(served, n_predict=30, stop=[whole[5:7]])
    assert document["content"] == whole[: whole.index(whole[5:7])]
    assert (document["stop_type"], document["stopping_word"]) == ("word", whole[5:7])


def test_an_end_token_ends_it_unless_it_is_ignored(
    served: Served, alone: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = alone.generate("hello", max_new_tokens=12)
    monkeypatch.setattr(Model, "end_ids", (free.ids[3],))
    ended = complete(served)
    assert (ended["stop_type"], ended["tokens_predicted"]) == ("eos", free.ids.index(free.ids[3]))
    ignored = complete(served, ignore_eos=True, return_tokens=True)
    assert (ignored["stop_type"], ignored["tokens_predicted"]) == ("limit", 12)
    assert free.ids[3] not in ignored["tokens"]


def test_a_stream_is_the_answer_in_pieces(served: Served) -> None:
    whole = complete(served, return_tokens=True)
    body = {"prompt": "hello", "n_predict": 12, "temperature": 0, "stream": True}
    with served.client.stream("POST", "/completion", json=body) as answer:
        chunks = [json.loads(line[6:]) for line in answer.iter_lines() if line]
    assert "".join(chunk["content"] for chunk in chunks) == whole["content"]
    assert [token for chunk in chunks for token in chunk["tokens"]] == whole["tokens"]
    assert [chunk["stop"] for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1]["stop_type"] == "limit"


def test_probabilities_are_returned_if_asked_for(served: Served, alone: Model) -> None:
    document = complete(served, n_probs=2)
    found = document["completion_probabilities"]
    assert [entry["id"] for entry in found] == list(alone.generate("hello", max_new_tokens=12).ids)
    assert all(len(entry["top_logprobs"]) == 2 for entry in found)
    assert all(entry["top_logprobs"][0]["id"] == entry["id"] for entry in found)  # greedy


@pytest.mark.parametrize(
    "fields",
    [{"grammar": "root ::= x"}, {"json_schema": {"type": "object"}}, {"mirostat": 2}, {"logit_bias": [[1, 5]]},
     {"samplers": ["top_k"]}, {"repeat_last_n": 64}, {"typical_p": 0.5}, {"nonsense": 1}],
    ids=str,
)  # fmt: skip
def test_unsupported_fields_that_would_change_the_answer_are_refused(
    served: Served, fields: dict[str, object]
) -> None:
    answer = served.post("/completion", prompt="hello", n_predict=1, **fields)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, next(iter(fields)))


def test_unsupported_fields_that_would_not_are_ignored(served: Served) -> None:
    neutral = {
        "cache_prompt": True,
        "id_slot": -1,
        "grammar": "",
        "mirostat": 0,
        "logit_bias": [],
        "typical_p": 1.0,
    }
    assert complete(served, **neutral)["content"] == complete(served)["content"]


def test_tokenize_and_detokenize_are_inverse(served: Served, alone: Model) -> None:
    text = "hello wörld 👋"
    ids = served.post("/tokenize", content=text).json()["tokens"]
    assert ids == alone.tokenizer.encode(text, add_special_tokens=False).ids
    assert served.post("/detokenize", tokens=ids).json() == {"content": text}
    assert served.post("/detokenize", tokens=[]).json() == {"content": ""}


def test_pieces_are_text_or_bytes(served: Served) -> None:
    pieces = served.post("/tokenize", content="hello 👋", with_pieces=True).json()["tokens"]
    assert pieces[0]["piece"] == "hello"
    joined = b"".join(
        p["piece"].encode() if isinstance(p["piece"], str) else bytes(p["piece"]) for p in pieces
    )
    assert joined.decode() == "hello 👋"
    assert any(isinstance(p["piece"], list) for p in pieces)


def test_special_tokens_are_parsed_unless_they_are_text(served: Served, alone: Model) -> None:
    eos = alone.tokenizer.token_to_id("<|eos|>")
    assert served.post("/tokenize", content="<|eos|>").json()["tokens"] == [eos]
    plain = served.post("/tokenize", content="<|eos|>", parse_special=False).json()["tokens"]
    assert eos not in plain
    assert served.post("/detokenize", tokens=plain).json()["content"] == "<|eos|>"
    assert served.post("/tokenize", content="<|eos|>").json()["tokens"] == [eos]


def test_leading_special_tokens_are_added_if_asked_for(start: Start, model_file: Any) -> None:
    from llorch import runtime
    from tests.models.gguf_writer import BOOL, one
    from tests.models.tiny import random_llama

    made = random_llama().key("tokenizer.ggml.add_bos_token", one(BOOL, 1))
    file = made.write(model_file.with_name("bos.gguf"))
    served = start(lambda: runtime.load(file))
    with runtime.load(file) as model:
        bos = model.tokenizer.token_to_id("<|bos|>")
    plain = served.post("/tokenize", content="hello").json()["tokens"]
    assert served.post("/tokenize", content="hello", add_special=True).json()["tokens"] == [bos, *plain]


def test_an_unknown_id_is_refused(served: Served) -> None:
    answer = served.post("/detokenize", tokens=[10**6])
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "tokens")


def test_the_template_is_applied(served: Served) -> None:
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]
    answer = served.post("/apply-template", messages=messages).json()
    assert answer == {"prompt": "[system]be brief[user]hi[assistant]"}
    tools = [{"type": "function", "function": {"name": "f"}}]
    told = served.post("/apply-template", messages=messages, tools=tools).json()["prompt"]
    assert json.dumps(tools) in told


def test_the_properties_name_no_path(served: Served, model_file: Any) -> None:
    props = served.client.get("/props").json()
    assert props["total_slots"] == 16
    assert props["chat_template"] == TEMPLATE
    assert (props["bos_token"], props["eos_token"]) == ("<|bos|>", "<|eos|>")
    assert props["default_generation_settings"]["n_ctx"] == 2048
    assert props["default_generation_settings"]["params"]["temperature"] == 0.8
    for path in ("/props", "/v1/models", "/provenance", "/openapi.json"):
        assert str(model_file.parent) not in served.client.get(path).text


def test_metrics_count_tokens_and_requests(start: Start) -> None:
    served = start()

    def value(name: str) -> float:
        lines = served.client.get("/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"llorch_{name} "))

    before = value("tokens_predicted_total"), value("prompt_tokens_total")
    complete(served, prompt=[1, 2, 3], n_predict=5, ignore_eos=True)
    assert value("tokens_predicted_total") - before[0] == 5
    assert value("prompt_tokens_total") - before[1] == 3
    assert value("time_to_first_token_seconds_count") == 1
    assert value('generations_total{finish="length"}') == 1
    assert value('http_responses_total{path="/completion",status="200"}') == 1
    served.client.get("/made/up/by/a/client")
    assert value('http_responses_total{path="other",status="404"}') == 1
    assert value("requests_processing") == value("requests_deferred") == 0
    assert served.client.get("/metrics").headers["content-type"].startswith("text/plain")


def test_without_a_template_a_chat_is_refused_and_a_completion_is_not(start: Start, model_file: Any) -> None:
    from llorch import runtime
    from tests.models.tiny import random_llama

    made = random_llama().drop("tokenizer.chat_template")
    file = made.write(model_file.with_name("plain.gguf"))
    served = start(lambda: runtime.load(file))
    chat = served.post("/v1/chat/completions", model=NAME, messages=[{"role": "user", "content": "hi"}])
    assert (chat.status_code, chat.json()["error"]["code"]) == (400, "no_chat_template")
    assert complete(served)["tokens_predicted"] > 0


def test_a_template_that_takes_no_tools_or_refuses_is_an_error_by_name(start: Start, model_file: Any) -> None:
    from llorch import runtime
    from tests.models.gguf_writer import STRING, one
    from tests.models.tiny import random_llama

    refusal = "{% if messages[0].role != 'user' %}{{ raise_exception('users first') }}{% endif %}"
    refusing = refusal + "{{ messages[0].content }}"
    file = (
        random_llama()
        .key("tokenizer.chat_template", one(STRING, refusing))
        .write(model_file.with_name("r.gguf"))
    )
    served = start(lambda: runtime.load(file))
    tools = [{"type": "function", "function": {"name": "f"}}]
    told = served.post(
        "/v1/chat/completions", model=NAME, messages=[{"role": "user", "content": "x"}], tools=tools
    )
    assert (told.status_code, told.json()["error"]["param"]) == (400, "tools")
    refused = served.post("/v1/chat/completions", model=NAME, messages=[{"role": "system", "content": "x"}])
    assert refused.status_code == 400
    assert "users first" in refused.json()["error"]["message"]
