"""The rules of a scan: one row per rule, with its meaning and remedy; docs/scan.md is generated from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from llorch.base.printable import printable

Level = Literal["warning", "note"]
MOST = 100  # findings of one scan; more would not make a file any more suspicious


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing to look for.

    level: "warning" is an error under --strict; "note" is shown and never an error. meaning: what it is and why no
    benign file needs it. remedy: what a reader can do.
    """

    id: str
    level: Level
    meaning: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that was broken somewhere.

    where: the file or the metadata key. line: of a template or a text file, counted from 1; None for what has no lines.
    what: the evidence, escaped so that it is safe to print.
    """

    rule: str
    where: str
    line: int | None
    what: str

    @property
    def level(self) -> Level:
        """The level of the finding's rule."""
        return RULES[self.rule].level

    def __str__(self) -> str:
        at = f", line {self.line}" if self.line is not None else ""
        return f"{printable(self.where, 200, quoted=False)}{at}: {self.rule}: {self.what}"

    def to_json(self) -> dict[str, object]:
        """Return the finding as a JSON object."""
        return {**asdict(self), "level": self.level}


def rules(*rows: Rule) -> Mapping[str, Rule]:
    """Return a mapping of rules by id."""
    return {rule.id: rule for rule in rows}


READ = "read the template before it is used; take the one of the original repository if they differ"

RULES = rules(
    # A template's program.
    Rule("dunder-name", "warning", "a template reaches for a Python internal (__class__, _Class__name), as every known "
         "escape from the sandbox does, written out or put together from pieces", READ),
    Rule("private-name", "warning", "a template reads an attribute that begins with an underscore; the sandbox refuses "
         "it", READ),
    Rule("built-name", "warning", "a template computes the name of an attribute or key from pieces, which hides what "
         "it reaches for", READ),
    Rule("attribute-filter", "warning", "a template reads attributes through the filter attr, by which sandboxes were "
         "left before (CVE-2025-27516)", READ),
    Rule("code-name", "warning", "a template names something that runs code or opens files (os, popen, eval, globals)",
         READ),
    Rule("function-as-value", "warning", "a template uses a function of its environment as a value: a way to letters "
         "and internals, never to a prompt", READ),
    Rule("unknown-function", "warning", "a template calls a function that transformers does not give to templates",
         READ),
    Rule("unknown-filter", "warning", "a template uses a filter or test that transformers does not know: it fails when "
         "it runs", READ),
    Rule("loads-template", "warning", "a template includes, imports or extends another: a chat template stands alone",
         READ),
    Rule("does-not-parse", "warning", "a template is no Jinja: every chat fails, and no scan can read it", READ),
    Rule("too-large", "warning", "a template is far larger than any published one: it was looked at as text only",
         READ),
    Rule("exhausts", "warning", "a template asks for memory or time without bound: huge ranges or repetitions, "
         "doubling in a loop, endless recursion", READ),
    Rule("content-gate", "warning", "a template looks for words in what is said and speaks differently then: a "
         "hidden trigger", READ),
    Rule("count-gate", "warning", "a template adds instructions when a conversation or message has a certain length: a "
         "hidden trigger", READ),
    Rule("date-gate", "warning", "a template decides by the date or the time: a time bomb", READ),
    Rule("random-choice", "warning", "a template chooses at random: the same conversation gives other prompts", READ),
    Rule("rewrites-content", "warning", "a template replaces words or addresses in what is said", READ),
    Rule("decodes", "warning", "a template encodes or decodes text: a way to hide names and instructions", READ),
    Rule("encoded-text", "warning", "a long text that reads as base64 or hex: what it says is hidden", READ),
    Rule("hidden-by-space", "warning", "code stands so far to the right that an editor does not show it", READ),
    # Any text.
    Rule("instruction", "warning", "a text tells the model to disregard its instructions, to deceive or to keep "
         "something from its user", "read the text in full; do not give it to a model or an agent"),
    Rule("network-address", "warning", "a template puts a network address into the prompt", READ),
    Rule("file-or-shell", "warning", "a template holds a path, key file or shell command", READ),
    Rule("script", "warning", "a text holds HTML or script that a web page would run", "show it as text only"),
    Rule("bidirectional", "warning", "characters that change the direction of text: it reads otherwise than it is",
         "look at it with the characters escaped"),
    Rule("invisible", "warning", "characters that nothing shows: they hide text or split words",
         "look at it with the characters escaped"),
    Rule("control-character", "warning", "control characters or terminal escapes", "never print it as it is"),
    Rule("mixed-script", "warning", "a word of letters from two alphabets that look alike: it is not what it seems",
         "compare it with the original's"),
    # Beside the weights.
    Rule("remote-code", "warning", "a config names Python to load (auto_map, custom_generate and their like): "
         "trust_remote_code would run it",
         "load it without trust_remote_code, or read the code"),
    Rule("python-file", "warning", "Python files lie beside the weights", "delete them, or read them before anything "
         "loads"),
    Rule("pickle", "warning", "a file in Python's pickle format, which runs code when it is loaded",
         "use the safetensors files"),
    Rule("code-format", "warning", "a format that may carry code which runs when it is loaded: Keras, TensorFlow, "
         "NeMo, R",
         "use the safetensors files"),
    Rule("archive", "warning", "an archive: what is in it was not looked at", "unpack it elsewhere, and scan that"),
    Rule("outside-path", "warning", "a link or an index leads out of the folder", "delete it"),
    Rule("executable-file", "warning", "a program or library lies beside the weights", "delete it"),
    Rule("rewriting-normalizer", "warning", "a tokenizer replaces, removes or adds words before the model sees them",
         "take the tokenizer of the original repository"),
    Rule("rewriting-decoder", "warning", "a tokenizer replaces words in what the model says",
         "take the tokenizer of the original repository"),
    Rule("suppressed-end", "warning", "generation_config keeps the model from ending, or from its special tokens",
         "take out suppress_tokens, begin_suppress_tokens and bad_words_ids"),
    Rule("forced-tokens", "warning", "generation_config forces tokens or biases them into every answer",
         "take out forced_decoder_ids, sequence_bias and their like"),
    Rule("template-differs", "warning", "two templates of one model differ: which one runs depends on the program",
         "compare them; the original repository's is the one that was trained with"),
    Rule("licence-contradiction", "warning", "a file says another licence than its base model or its card",
         "ask whoever published it; the base model's licence goes with its weights"),
    Rule("unreadable-file", "warning", "a configuration file cannot be read: nothing can be said of it", "delete it"),
)  # fmt: skip


def distinct(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings without duplicates, sorted by place, at most `MOST`."""
    return sorted(dict.fromkeys(findings), key=lambda one: (one.where, one.line or 0, one.rule, one.what))[
        :MOST
    ]
