"""`llorch-run`: both formats give the same results, as text and as JSON."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from click.testing import CliRunner

from llorch import converter
from llorch.commands import scan as scan_command
from llorch.commands.convert.command import main as convert
from llorch.commands.registry.command import main as registry
from llorch.commands.run import main
from llorch.commands.run.documents import info_rows
from llorch.runtime import describe
from tests.commands.conftest import invoke, started
from tests.models.gguf_writer import I32, STRING, U32, Value, array, one
from tests.models.tiny import TOKENS, random_llama


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


@pytest.mark.parametrize("options", [["-p", "-"], []], ids=["dash", "a pipe alone"])
def test_a_prompt_comes_from_a_pipe(source: Path, options: list[str]) -> None:
    words = ["generate", str(source), "-n", "8", "--json", *options]
    result = CliRunner().invoke(main, words, input="hello\n")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["ids"] == generated(source)["ids"]


@pytest.mark.parametrize(("given", "told"), [(b"", "stdin is empty"), (b"a\xff", "byte 1 is none of it")])
def test_a_pipe_without_text_is_a_usage_error(source: Path, given: bytes, told: str) -> None:
    result = CliRunner().invoke(main, ["generate", str(source)], input=given)
    assert (result.exit_code, result.stdout) == (2, "")
    assert told in result.stderr


def test_a_seed_gives_the_same_text_and_another_one_another(model: Path) -> None:
    hot = ("--temperature", "1.5")
    one, again = (generated(model, *hot, "--seed", "3")["ids"] for _ in range(2))
    assert one == again
    assert len({str(generated(model, *hot, "--seed", str(seed))["ids"]) for seed in range(4)}) > 1


def test_the_filters_and_the_penalty_reach_the_choice(model: Path) -> None:
    greedy, hot = generated(model)["ids"], ("--temperature", "1.5", "--seed", "3")
    assert generated(model, *hot)["ids"] != greedy
    alone = (("--top-k", "1"), ("--top-p", "1e-9"), ("--min-p", "1"))  # each leaves the most probable token
    assert [generated(model, *hot, *options)["ids"] for options in alone] == [greedy] * 3
    penalized = generated(model, "--repetition-penalty", "1e9")["ids"]
    assert len(set(penalized)) == len(penalized) == 8  # type: ignore[arg-type,call-overload]


def test_a_suppressed_token_is_never_taken(source: Path) -> None:
    first = generated(source)["ids"][0]  # type: ignore[index]
    random_llama().key("tokenizer.ggml.suppress_tokens", array(I32, [first, -1, 10**6])).write(source)
    converter.convert(source, "made", dtype="float32")
    for model in (source, Path("made")):
        ids = generated(model)["ids"]
        assert first not in ids  # type: ignore[operator]
        assert ids == generated(source)["ids"]


def test_it_ends_before_a_stop_text(model: Path) -> None:
    whole = str(generated(model)["text"])
    stopped = generated(model, "--stop", "\x00", "--stop", whole[3:5])
    assert (stopped["text"], stopped["finish"]) == (whole[: whole.index(whole[3:5])], "stop")


def test_what_is_computed_and_why_it_ended_is_told_beside_the_text(model: Path) -> None:
    result = invoke(main, "generate", model, "-p", "hello", "-n", "8")
    assert result.stderr == "llorch-run: 8 tokens in mode exact, ended by --max-new-tokens\n"
    assert json.loads(invoke(main, "logits", model, "hello", "--json").stdout)["mode"] == "exact"


def test_an_interrupt_in_the_middle_of_a_text_ends_it_cleanly(source: Path) -> None:
    random_llama().key("llama.context_length", one(U32, 100_000)).write(source)
    child = started("run", "generate", source, "-p", "hello", "-n", 90_000)
    assert child.stdout is not None
    assert child.stdout.read(1)
    child.send_signal(signal.SIGINT)
    rest, told = child.communicate(timeout=60)
    assert child.returncode == -signal.SIGINT
    assert rest.endswith("\n")
    assert told == "llorch-run: stopped by signal 2\n"


def test_chat_puts_the_prompt_into_the_template(model: Path) -> None:
    # the tiny model's template writes the messages and nothing else
    assert generated(model, "--chat")["prompt_ids"] == [TOKENS.index("hello")]


def test_a_template_is_given_every_special_token_by_name(source: Path) -> None:
    template = "{{ pad_token }}{{ eos_token }}{{ unk_token }}{{ messages[0].content }}"
    random_llama().key("tokenizer.chat_template", one(STRING, template)).write(source)
    converter.convert(source, "made", dtype="float32")
    expected = [TOKENS.index(token) for token in ("<|pad|>", "<|eos|>", "hello")]
    assert [generated(model, "--chat")["prompt_ids"] for model in (source, Path("made"))] == [expected] * 2


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "processor time"),
        ("{{ 'a' * 10**10 }}", "memory"),
        ("{{ ''.__class__.__mro__ }}", "SecurityError"),
        ("{{ raise_exception('no\x1b[2J') }}", "refuses the conversation"),
        ("{% for m in messages %}", "TemplateSyntaxError"),
    ],
)
def test_a_hostile_template_ends_in_one_line(source: Path, template: str, told: str) -> None:
    random_llama().key("tokenizer.chat_template", one(STRING, template)).write(source)
    result = invoke(main, "generate", source, "--chat", "-p", "hello")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (3, "", 1)
    assert told in result.stderr
    assert "\x1b" not in result.stderr


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


def test_info_is_one_screen_and_says_what_a_template_reaches_for(source: Path) -> None:
    random_llama().key("tokenizer.chat_template", one(STRING, "{{ ''.__class__ }}")).write(source)
    rows = info_rows(describe(source))
    assert len(rows) < 24
    assert max(len(value.brief) for _, value in rows) <= 80 - len("tokenizer  ")
    assert "FOUND dunder-name: llorch scan says where" in invoke(main, "info", source).stdout
    document = json.loads(invoke(main, "info", source, "--json").stdout)
    assert document["chat_template_report"]["dunder_names"] == ["__class__"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["generate", "nowhere", "-p", "x"], 3),
        (["generate", "Tiny.Q4.gguf", "-p", "x", "-n", "100000"], 2),
        (["generate", "Tiny.Q4.gguf", "-p", ""], 2),
        (["generate", "Tiny.Q4.gguf", "-p", "x", "--temperature", "-1"], 2),
        (["generate", "Tiny.Q4.gguf", "-p", "x", "--top-p", "0.5"], 2),
        (["generate", "Tiny.Q4.gguf", "-p", "x", "--temperature", "1", "--top-k", "-1"], 2),
        (["chat", "Tiny.Q4.gguf", "--min-p", "2", "--temperature", "1"], 2),
        (["generate", "Tiny.Q4.gguf"], 2),
        (["perplexity", "Tiny.Q4.gguf", "nowhere"], 3),
        (["info", ".."], 3),
    ],
)
def test_what_cannot_be_done_ends_in_one_line(source: Path, arguments: list[str], code: int) -> None:
    result = invoke(main, *arguments)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1


def test_on_a_terminal_nothing_that_a_model_says_acts_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from llorch.commands.run import generation

    monkeypatch.setattr("llorch.commands.cli.is_terminal", lambda _: True)
    assert generation.escape("a\x1b[2J\nb\tc\u202e") == "a\\x1b[2J\nb\tc\\u202e"


def test_bench_measures_both_halves_and_names_what_it_measured(source: Path) -> None:
    options = ("--prompt-tokens", "5", "--generate-tokens", "4", "--depth", "3", "--threads", "1")
    result = invoke(main, "bench", source, *options, "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    # its weights are floats
    assert (document["mode"], document["threads"], document["depth"]) == ("exact", 1, 3)
    assert (
        min(document[key] for key in ("prefill", "decode", "load", "read_bandwidth", "bandwidth_share")) > 0
    )
    assert document["first_token"] > document["load"]
    rows = invoke(main, "bench", source, *options)
    assert "tokens/s over 4, behind 3" in rows.stdout
    assert "measures decode" in rows.stderr


def test_bench_of_more_than_the_context_is_refused(source: Path) -> None:
    result = invoke(main, "bench", source, "--depth", "100000")
    assert result.exit_code == 2
    assert "the model's context has" in result.stderr


def test_info_names_the_products_of_this_machine(source: Path) -> None:
    products = json.loads(invoke(main, "info", source, "--json").stdout)["products"]
    assert products["float32"] == ["F32"]
    assert products["instructions"] in ("avx512-vnni", "avx512", "avx2", "dotprod", "portable")


def test_a_soak_says_what_was_asked_and_that_all_was_right(source: Path) -> None:
    result = invoke(main, "soak", source, "--minutes", "0", "--json")
    document = json.loads(result.stdout)
    assert result.exit_code == 0, document
    assert document["passed"]
    assert document["wrong"] == []
    assert document["asked"] >= document["chunked"] > 0


def test_a_prompt_comes_from_a_file(source: Path, alone: Path) -> None:
    (alone / "prompt.txt").write_text("hello\n")
    result = invoke(main, "generate", source, "-n", "8", "--json", "--file", "prompt.txt")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["ids"] == generated(source)["ids"]
    both = invoke(main, "generate", source, "--file", "prompt.txt", "-p", "hello")
    assert (both.exit_code, "give one" in both.stderr) == (2, True)


@pytest.mark.parametrize("content", [b"\x80\x02\xff", b"text\0more"], ids=["no UTF-8", "a NUL"])
def test_a_binary_file_is_no_text(source: Path, alone: Path, content: bytes) -> None:
    (alone / "file").write_bytes(content)
    for words in (["generate", source, "--file", "file"], ["perplexity", source, "file"]):
        result = invoke(main, *words)
        assert result.exit_code == 3
        assert "file: is not text in UTF-8" in result.stderr


def test_perplexity_is_of_stdin_too(source: Path, alone: Path) -> None:
    text = "hello world " * 20
    (alone / "text.txt").write_text(text)
    words = ["perplexity", str(source), "--n-ctx", "8", "--json"]
    of_file = invoke(main, *words, "text.txt")
    assert of_file.exit_code == 0, of_file.output
    for more in ([], ["-"]):
        of_stdin = CliRunner().invoke(main, words + more, input=text)
        assert json.loads(of_stdin.stdout) == json.loads(of_file.stdout)


def test_a_name_of_the_registry_is_a_model(source: Path) -> None:
    done = invoke(convert, source, "-o", "made", "--name", "my-model", "--verify", "none")
    assert done.exit_code == 0, done.output
    for name in ("my-model", "my-model@latest"):
        of_name = invoke(main, "info", name, "--json")
        assert of_name.exit_code == 0, of_name.output
        assert json.loads(of_name.stdout)["model"] == str(Path("made").absolute())
    digest = json.loads(invoke(registry, "list", "--json").stdout)["artifacts"][0]["digest"]
    assert invoke(main, "info", digest[:18]).exit_code == 0
    assert invoke(scan_command.main, "my-model").exit_code == 0
    unknown = invoke(main, "info", "no-model")
    assert unknown.exit_code == 3
    assert "no-model: no such file or folder, nor a name in the registry" in unknown.stderr
    Path("made").rename("moved")
    gone = invoke(main, "info", "my-model")
    assert (gone.exit_code, "lies nowhere on this machine" in gone.stderr) == (3, True)


@pytest.mark.parametrize(
    ("architecture", "more"),
    [("nosuch", {}), ("llama", {"general.type": one(STRING, "adapter")})],
    ids=["unknown", "adapter"],
)
def test_info_of_what_cannot_be_run_gives_types_sizes_and_keys(
    alone: Path, architecture: str, more: dict[str, Value]
) -> None:
    tiny = random_llama().key("general.architecture", one(STRING, architecture))
    for name, value in more.items():
        tiny.key(name, value)
    tiny.write(alone / "odd.gguf")
    result = invoke(main, "info", "odd.gguf", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["schema"] == "llorch.contents/v1"
    assert found["architecture"] == architecture
    assert sum(row["tensors"] for row in found["types"].values()) == found["tensors"] > 0
    assert found["keys"]["tokenizer.ggml.tokens"] == f"{len(TOKENS)} of string"
    shown = invoke(main, "info", "odd.gguf")
    assert "general.architecture" in shown.stdout
    assert "cannot be run: " in shown.stderr
