"""`llorch-run`: both formats say the same, in text and in JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import converter
from commands.run import main
from runtime import describe
from tests.commands.conftest import invoke
from tests.models.tiny import TOKENS


@pytest.fixture(params=["file", "folder"])
def model(request: pytest.FixtureRequest, source: Path) -> Path:
    """The same model as a file, and as a folder."""
    if request.param == "file":
        return source
    converter.convert(source, "made", dtype="float32")
    return Path("made")


def generated(model: Path, *options: str) -> dict[str, object]:
    result = invoke(main, "generate", model, "-p", "hello", "-n", "8", *options, "--json")
    assert result.exit_code == 0, result.output
    document: dict[str, object] = json.loads(result.stdout)
    return document


def test_both_formats_generate_the_same_tokens(source: Path) -> None:
    converter.convert(source, "made", dtype="float32")
    one, other = generated(source), generated(Path("made"))
    assert len(one["ids"]) == 8  # type: ignore[arg-type]
    assert one | {"model": ""} == other | {"model": ""}


def test_text_is_what_json_says_and_ends_in_a_line(model: Path) -> None:
    result = invoke(main, "generate", model, "-p", "hello", "-n", "8")
    assert result.exit_code == 0
    assert result.stdout == f"{generated(model)['text']}\n"


def test_a_seed_gives_the_same_text_and_another_one_another(model: Path) -> None:
    hot = ("--temperature", "1.5")
    one, again = (generated(model, *hot, "--seed", "3")["ids"] for _ in range(2))
    assert one == again
    assert len({str(generated(model, *hot, "--seed", str(seed))["ids"]) for seed in range(4)}) > 1


def test_chat_puts_the_prompt_into_the_template(model: Path) -> None:
    # the tiny model's template writes the messages and nothing else
    assert generated(model, "--chat")["prompt_ids"] == [TOKENS.index("hello")]


def test_a_conversation_goes_on_from_what_was_said(model: Path) -> None:
    result = CliRunner().invoke(main, ["chat", str(model), "-n", "4", "--json"], input="hello\n\nhell\n")
    assert result.exit_code == 0, result.output
    messages = json.loads(result.stdout)["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant"] * 2
    assert [message["content"] for message in messages[::2]] == ["hello", "hell"]


def test_tokenize_shows_ids_and_pieces(model: Path) -> None:
    result = invoke(main, "tokenize", model, "hello w")
    assert result.stdout == f"{TOKENS.index('hello')}\thello\n{TOKENS.index('Ġw')}\tĠw\n"


def test_logits_are_sorted_and_as_many_as_asked_for(model: Path) -> None:
    top = json.loads(invoke(main, "logits", model, "hello", "--top", "3", "--json").stdout)["top"]
    assert len(top) == 3
    assert [row["logit"] for row in top] == sorted((row["logit"] for row in top), reverse=True)


def test_perplexity_counts_the_predictions_of_each_windows_second_half(model: Path) -> None:
    Path("text").write_text("hello w" * 40)
    document = json.loads(invoke(main, "perplexity", model, "text", "--n-ctx", "16", "--json").stdout)
    assert (document["windows"], document["predictions"]) == (5, 5 * 7)


def test_info_says_what_a_model_is(model: Path) -> None:
    document = json.loads(invoke(main, "info", model, "--json").stdout)
    assert (document["layers"], document["heads"], document["kv_heads"]) == (2, 4, 2)
    assert document["tokens"] == document["vocabulary_size"] == len(TOKENS)
    assert sum(document["memory"].values()) == describe(model).memory.total
    assert "2 layers of 64" in invoke(main, "info", model).stdout


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["generate", "nowhere", "-p", "x"], 3),
        (["generate", "Tiny.Q4.gguf", "-p", "x", "-n", "100000"], 2),
        (["generate", "Tiny.Q4.gguf", "-p", ""], 2),
        (["generate", "Tiny.Q4.gguf", "-p", "x", "--temperature", "-1"], 2),
        (["generate", "Tiny.Q4.gguf"], 2),
        (["perplexity", "Tiny.Q4.gguf", "nowhere"], 3),
        (["info", "."], 3),
        ([], 2),
    ],
)
def test_what_cannot_be_done_ends_in_one_line(source: Path, arguments: list[str], code: int) -> None:
    result = invoke(main, *arguments)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1


def test_on_a_terminal_nothing_that_a_model_says_acts_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from commands import run

    monkeypatch.setattr("commands.console.is_terminal", lambda _: True)
    assert run.seen("a\x1b[2J\nb\tc\u202e") == "a\\x1b[2J\nb\tc\\u202e"
