"""Texts for comparisons: prose for logits, and difficult texts for tokenizers.

Written for this purpose; nothing depends on their content. Random tokens are no substitute: for them a model's
distribution is flat, and the noise of correct arithmetic is ten times larger.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

PROSE = """\
The harbour lay quiet under a thin layer of fog, and the first boats of the morning moved out slowly, \
their engines no louder than a conversation in the next room. On the quay a woman counted the crates \
that had come in during the night. She wrote each number into a small book, and whenever two of them did \
not agree she walked back along the row and counted again. It was not that she mistrusted the men who \
had unloaded the ship. A number that is written down twice, she used to say, is a number, and one that \
is written down once is a hope.

By noon the fog had gone. The book was full, and the totals matched the captain's list in every line but \
one: forty-two barrels of oil where the list had forty-one. They opened the last barrel and found it \
filled with sea water, sealed as carefully as all the others. Nobody could say who had put it there, or \
why. The captain laughed and wanted to throw it over the side. The woman shook her head, drew a line \
under the page, and entered the barrel as what it was. In the years that followed it was the only entry \
that anybody ever asked her about, and she could always show them the page, the line, and the day.

A method is only as good as its dullest step. Measure the tank, subtract what was there before, divide \
by the time that has passed, and repeat this until the result no longer changes: nothing in it is hard, \
and nothing in it may be left out. If the second measurement is taken with another rule than the first, \
the difference between the two is not a flow of water but a difference between rules. So the rule is \
kept with the tank, in a box of its own, and the first line of every report says which rule it was."""

PROMPT = "The first thing to know about the sea is"

# One difficulty per line: a tokenizer converted with the rules of a similar one differs on some of them.
ODDITIES = (
    "Hello, world!",
    " leading and trailing ",
    "two  three   four    spaces",
    "\ttab\t\ttabs\n\nnewlines\r\n \n end",
    "don't can't I'll we've you're he'd SHE'S it’s",
    "0 1 12 123 1234 12345 3.14159 1,000,000 ½ ² ٣ ४ 五",
    "snake_case camelCase kebab-case __dunder__ a.b.c path/to/file.py",
    "def f(x): return [i**2 for i in range(x) if i % 2 == 0]  # squares\n    pass\n",
    '{"key": [1, 2.5e-10, null], \'other\': <tag attr="v">&amp;</tag>}',
    "Größe, naïve café, e\u0301 (decomposed), ﬁ ligature, Straße, İstanbul, ǅ",
    "Привет, мир! Ωμέγα. שלום עולם. مرحبا بالعالم",
    "नमस्ते दुनिया สวัสดีชาวโลก გამარჯობა",
    "你好，世界。こんにちは世界。안녕하세요 세계 𠮷野家",
    "👋🏽 👨‍👩‍👧‍👦 🇩🇪 ❤️ 🏴‍☠️",
    "“quotes” ‘single’ — dash – en … ellipsis « guillemets » ¿? ¡!",
    "a\u00a0b\u2003c\u200bd\ufeffe\u00adf",
    "x" * 70 + " " + "ab" * 40,
    "!!!??? ... --- === ### $$$ %%% ^^^ &&& *** ((( ))) ~~~ ``` |||",
    "\u2581meta symbol \u0120 and \u010a, the stand-ins of two other tokenizers",
    "<s> </s> <unk> <pad> <|endoftext|> <|im_start|>user\nhi<|im_end|> [INST] [/INST] <bos><eos>",
)

# Kinds of characters that pre-tokenizers and normalizers distinguish, one of each, or two where case matters.
KINDS = (
    "a",
    "B",
    "é",
    "e\u0301",
    "1",
    "²",
    "٣",
    "中",
    "の",
    "ก",
    "ß",
    "ſ",
    "'s",
    "'S",
    "’",
    "!",
    "-",
    "_",
    "$",
    "▁",
)
BLANKS = (" ", "  ", "\t", "\n", "\r\n", "\u00a0", "\u3000")


def neighbours() -> Iterator[str]:
    """Yield every sequence of three kinds of characters, and 4 to 7 repetitions of each; some 20,000 short texts."""
    kinds = (*KINDS, *BLANKS)
    for first, second, third in itertools.product(kinds, repeat=3):
        yield first + second + third
    for kind in kinds:
        for times in (4, 5, 6, 7):
            yield kind * times
