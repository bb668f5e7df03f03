"""BOS is at the start of a prompt exactly once, whoever adds it; a conversation grows by its answers."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from llorch.base.errors import UnsupportedInput
from llorch.runtime.chat import Chat
from llorch.runtime.errors import ContextFull
from llorch.runtime.loading import load
from llorch.runtime.text.prompt import encode_rendered, leading_ids


def tokenizer(*, bos: bool, eos: bool = False) -> Tokenizer:
    vocabulary = {"<s>": 0, "</s>": 1, "a": 2, "b": 3, "<unk>": 4}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.add_special_tokens(["<s>", "</s>"])
    around = f"{'<s> ' if bos else ''}$A{' </s>' if eos else ''}"
    if bos or eos:
        made.post_processor = processors.TemplateProcessing(
            single=around, special_tokens=[("<s>", 0), ("</s>", 1)]
        )
    return made


@pytest.mark.parametrize(("bos", "expected"), [(True, [0]), (False, [])])
@pytest.mark.parametrize("eos", [True, False])
def test_the_leading_special_tokens_are_found(bos: bool, eos: bool, expected: list[int]) -> None:
    assert leading_ids(tokenizer(bos=bos, eos=eos)) == expected


@pytest.mark.parametrize(
    ("bos", "rendered", "expected"),
    [
        (True, "<s>a b", [0, 2, 3]),
        (True, "a b", [0, 2, 3]),
        (False, "a b", [2, 3]),
        (False, "<s>a b", [0, 2, 3]),
    ],
)
def test_bos_is_present_exactly_once(bos: bool, rendered: str, expected: list[int]) -> None:
    assert encode_rendered(tokenizer(bos=bos), rendered) == expected


def test_a_conversation_is_rendered_anew_with_every_answer(test_data: Path, originals: Path) -> None:
    with load(originals / "llama") as model:
        chat = Chat(model)
        first = chat.ask("one", max_new_tokens=4)
        answer = "".join(first)
        chat.add_answer(first)
        second = chat.ask("two", max_new_tokens=1)
        list(second)
    assert [message["role"] for message in chat.messages] == ["user", "assistant", "user"]
    assert chat.messages[1]["content"] == answer
    assert len(second.prompt_ids) > len(first.prompt_ids)
    assert second.prompt_ids[:2] == first.prompt_ids[:2]


def test_a_refused_message_is_not_kept(originals: Path) -> None:
    with load(originals / "llama") as model:
        chat = Chat(model)
        with pytest.raises(ContextFull):
            chat.ask("one " * 400, max_new_tokens=4)
    assert chat.messages == []


def test_without_a_template_there_is_no_conversation(originals: Path) -> None:
    with load(originals / "phi2") as model, pytest.raises(UnsupportedInput, match="has no chat template"):
        Chat(model)
