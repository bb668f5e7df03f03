"""Chat templates: benign ones render as in transformers, malicious ones end in one error within the limits."""

from __future__ import annotations

import resource
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from llorch.base.errors import InputError
from llorch.formats.chat_template.sandbox import CPU_S, render
from llorch.formats.gguf.file import read_header
from llorch.formats.tokenizer import build_tokenizer

USER = {"role": "user", "content": "What is 2 + 2?"}
ANSWER = {"role": "assistant", "content": "4"}
CONVERSATIONS: list[list[dict[str, Any]]] = [
    [USER],
    [USER, ANSWER],
    [USER, ANSWER, {"role": "user", "content": "And twice that?"}],
    [{"role": "system", "content": "Be brief."}, USER],
    [{"role": "system", "content": "Be brief."}, USER, ANSWER, USER],
    [{"role": "system", "content": ""}, USER],
    [{"role": "user", "content": ""}],
    [{"role": "user", "content": "  blanks \n\n and lines\t "}],
    [{"role": "user", "content": "<|im_end|> {{ 7 * 7 }} {% raw %} </s> <b>&amp;</b>"}],
    [{"role": "user", "content": "🦙 你好 مرحبا \u2028 \u0000 é é"}],
    [{"role": "tool", "content": '{"a": [1, 2]}'}, {"role": "unheard-of", "content": "?"}],
    [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1}}}],
        }
    ],
    [],
]


def theirs(template: str, messages: list[dict[str, Any]], **options: Any) -> str:
    from transformers.utils.chat_template_utils import render_jinja_template

    return str(render_jinja_template([messages], chat_template=template, **options)[0][0])


@pytest.mark.parametrize("add_generation_prompt", [False, True])
def test_the_real_models_prompts_equal_transformers(real_model: Path, add_generation_prompt: bool) -> None:
    files = build_tokenizer(read_header(real_model).metadata)
    assert files.chat_template is not None
    for messages in CONVERSATIONS[:-1]:
        options: dict[str, Any] = {"add_generation_prompt": add_generation_prompt}
        assert render(
            files.chat_template, messages, special_tokens=files.special_tokens_map, **options
        ) == theirs(files.chat_template, messages, **files.special_tokens_map, **options)


@pytest.mark.parametrize("model", ["llama", "mistral", "mixtral", "phi3", "qwen2", "gemma2"])
def test_the_made_models_prompts_equal_transformers(model: str, test_data: Path) -> None:
    files = build_tokenizer(read_header(test_data / "tiny" / model / "f32.gguf").metadata)
    assert files.chat_template is not None
    for messages in CONVERSATIONS[:3]:
        assert render(
            files.chat_template, messages, special_tokens=files.special_tokens_map, add_generation_prompt=True
        ) == theirs(files.chat_template, messages, add_generation_prompt=True, **files.special_tokens_map)


FEATURES = [
    "{{ messages | tojson }}|{{ messages | tojson(indent=2) }}|{{ {'b': 1, 'a': '<é>'} | tojson(sort_keys=true) }}",
    "{% for m in messages %}{% if m.role == 'assistant' %}{% continue %}{% endif %}{{ m.content }}{% endfor %}",
    "{% for m in messages -%}\n    {% if loop.last %}{% break %}{% endif %}\n    {{- m.role }}\n{% endfor %}",
    "{% set ns = namespace(last='', n=0) %}{% for m in messages %}{% set ns.last = m.role %}{% endfor %}{{ ns.last }}",
    "{% for m in messages %}{% generation %}{{ m.content }}{% set x = 1 %}{% endgeneration %}{% endfor %}[{{ x }}]",
    "{{ tools }}{{ documents }}{{ bos_token }}{{ undefined_name }}{{ dict(a=1).a }}",
    "{% macro say(m) %}<{{ m.role }}>{% endmacro %}{% for m in messages %}{{ say(m) }}{% endfor %}",
    "{{ messages[0].content.split(' ')[-1] | upper | trim }}{{ '%05.1f' | format(2.25) }}{{ 'a' ~ 1 }}",
    "  {% if true %}  \n  x\n  {% endif %}  \n\ny",
    "{{ messages | map(attribute='role') | join(',') }}"
    "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}",
]


@pytest.mark.parametrize("template", FEATURES)
def test_features_that_templates_use_work_as_in_transformers(template: str) -> None:
    messages = CONVERSATIONS[4]
    assert render(template, messages, special_tokens={"bos_token": "<s>"}) == theirs(
        template, messages, bos_token="<s>"
    )


def test_reasoning_is_passed_under_all_its_names() -> None:
    messages = [{"role": "assistant", "content": "4", "reasoning": "two and two"}]
    template = "{{ messages[0].reasoning_content }}/{{ messages[0].thinking }}"
    assert render(template, messages) == "two and two/two and two"


def test_the_time_is_the_given_one() -> None:
    assert render("{{ strftime_now('%d %b %Y') }}", [], now=datetime(2024, 7, 26)) == "26 Jul 2024"


def test_a_refusal_has_the_message_of_the_template() -> None:
    template = "{{ raise_exception('roles must alternate\x1b[2J') }}"
    with pytest.raises(InputError, match=r"refuses the conversation: 'roles must alternate\\x1b\[2J'"):
        render(template, [USER])


def test_the_child_has_no_environment_and_none_of_our_folders(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spy = tmp_path / "spy.py"
    spy.write_text(
        "import os, sys\n"
        "sys.stdin.read()\n"
        "text = repr((dict(os.environ), os.getcwd(), sys.flags.isolated)).encode()\n"
        "sys.stdout.buffer.write(b'T' + len(text).to_bytes(8, 'big') + text)\n"
    )
    monkeypatch.setattr("llorch.formats.chat_template.sandbox.CHILD", spy)
    monkeypatch.setenv("CANARY", "canary-5c1b")
    seen = render("{{ 1 }}", [])
    assert "canary-5c1b" not in seen
    assert seen.endswith("'/', 1)")


@pytest.mark.parametrize(
    "answer", [b"", b"T", b"T" + bytes(8) + b"more", b"T" + (99).to_bytes(8, "big") + b"cut"]
)
def test_a_truncated_answer_is_an_error(
    answer: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text(f"import sys\nsys.stdin.read()\nsys.stdout.buffer.write({answer!r})\n")
    monkeypatch.setattr("llorch.formats.chat_template.sandbox.CHILD", broken)
    with pytest.raises(InputError, match="no answer"):
        render("{{ 1 }}", [])


def test_a_child_that_ends_before_reading_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gone = tmp_path / "gone.py"
    gone.write_text("raise SystemExit(3)\n")
    monkeypatch.setattr("llorch.formats.chat_template.sandbox.CHILD", gone)
    with pytest.raises(InputError, match="status 3 and no answer"):
        render("a" * (1 << 20), [])


def test_a_child_that_hangs_is_killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hanging = tmp_path / "hanging.py"
    hanging.write_text("import time\ntime.sleep(3600)\n")
    monkeypatch.setattr("llorch.formats.chat_template.sandbox.CHILD", hanging)
    monkeypatch.setattr("llorch.formats.chat_template.sandbox.WALL_S", 0.2)
    with pytest.raises(InputError, match="it was killed"):
        render("{{ 1 }}", [])


NEST = "{% for i in range(99999) %}"
HOSTILE = {
    "ten gigabytes": "{{ 'a' * 10**10 }}",
    "ten gigabytes as it runs": "{% set n = 10**10 %}{{ 'a' * n }}",
    "a tenth of a gigabyte, folded": "{{ 'a' * (10**8) * 9 }}",
    "a wide format": "{{ '%2000000000d' % 1 }}",
    "a wide str.format": "{{ '{:2000000000}'.format(1) }}",
    "a wide centre": "{{ 'x'.center(2 * 10**9) }}",
    "a wide filter": "{{ 'x' | center(2000000000) }}",
    "a long list": "{{ ([0] * 10**10) | length }}",
    "doubling": "{% set n = namespace(s='a' * 64) %}"
    "{% for i in range(40) %}{% set n.s = n.s + n.s %}{% endfor %}{{ n.s }}",
    "nested replacement": "{{ ('a' * 9999).replace('a', 'b' * 9999).replace('b', 'c' * 9999) }}",
    "nested loops": f"{NEST}{NEST}{{% endfor %}}{{% endfor %}}",
    "a great power": "{{ 2 ** (10 ** 9) }}",
    "a great power, printed": "{{ (7 ** (10 ** 6)) | string | length }}{{ 9 ** (9 ** 8) }}",
    "a sum of loops": f"{NEST}{{{{ range(99999) | sum }}}}{{% endfor %}}",
    "a sorted product": f"{NEST}{{% set x = range(99999) | list | sort(reverse=true) %}}{{% endfor %}}",
    "more than may be said": f"{NEST}{{{{ 'a' * 999 }}}}{{% endfor %}}",
    "a macro that calls itself": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "3000 parentheses": "{{" + "(" * 3000 + "1" + ")" * 3000 + "}}",
    "3000 blocks": "{% if 1 %}" * 3000 + "{% endif %}" * 3000,
    "3000 lists": "{{" + "[" * 3000 + "]" * 3000 + "}}",
    "the class of a string": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "the globals of a function": "{{ raise_exception.__globals__ }}{{ namespace.__init__.__globals__.os }}",
    "a class by filter": "{{ (messages | attr('__class__')).__mro__ }}",
    "a class by format": "{{ '{0.__class__.__mro__}'.format(messages) }}",
    "a class by map": "{{ (messages | map(attribute='__class__') | first).__mro__ }}",
    "a changed list": "{{ messages.append(1) }}",
    "a changed message": "{{ messages[0].update({'role': 'system'}) }}",
    "an underscored namespace": "{% set n = namespace(_x=1) %}{{ n._x }}",
    "an import": "{% import 'os' as os %}{{ os.system('id') }}",
    "an included file": "{% include '/etc/passwd' %}",
    "a file it extends": "{% extends '/etc/passwd' %}",
    "no end of a block": "{% for m in messages %}",
    "an unknown tag": "{% exec 'id' %}",
    "half a surrogate": "{{ '\\ud800' }}",
    "an unknown filter": "{{ messages | system }}",
    "lorem ipsum": "{{ lipsum(n=100000) }}",
}


@pytest.mark.parametrize("template", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_template_is_one_error_within_bounds(template: str) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with pytest.raises(InputError) as caught:
        render(template, [dict(USER)])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    message = str(caught.value)
    assert message.startswith("chat template: ")
    assert message.isprintable()
    assert len(message) < 600
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert used < CPU_S + 0.5  # the interpreter's start and jinja2's import come on top


def test_a_template_over_a_mebibyte_is_refused_unread() -> None:
    with pytest.raises(InputError, match="at most 1048576"):
        render("a" * (1 << 20) + "a", [])
