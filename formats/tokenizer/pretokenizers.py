"""Pre-tokenizers: every name that llama.cpp build 11434 knows for `tokenizer.ggml.pre`, and its regular expressions.

A name stands for a list of regular expressions; each splits the pieces that the previous one left. They are written
here, never read from a file. Where llama.cpp's engine cannot run what a model's authors wrote, there are two
spellings: the authors', which the model was trained with, and one that splits exactly as llama.cpp does.
Source: llama.cpp, src/llama-vocab.cpp, `llm_tokenizer_bpe` and `llama_vocab::impl::load`; its engine's behaviour:
src/unicode.cpp.
"""

from __future__ import annotations

from dataclasses import dataclass

from llorch.base.errors import UnsupportedInput
from llorch.base.printable import printable

ANY_CASE = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
ASCII_CASE = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"  # ANY_CASE also matches U+017F as s
BLANKS = r"\s*[\r\n]+|\s+(?!\S)|\s+"
WORDS = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
# llama.cpp groups a run of digits from the right, and keeps the text before the run attached to the first group.
DIGIT_GROUPS = r"[^\p{N}]*(?:\p{N}{1,2}(?=(?:\p{N}{3})*(?!\p{N}))|\p{N}{3}(?=(?:\p{N}{3})*(?!\p{N})))"
KANA_AND_HAN = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
ASCII_MARK_WORD = r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"""
MARKED_LETTERS = r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
HAN = (
    "\u4e00-\u9fff\u3400-\u4dbf\U00020000-\U0002a6df\U0002a700-\U0002b73f\U0002b740-\U0002b81f"
    "\U0002b820-\U0002ceaf\U0002ceb0-\U0002ebef\uf900-\ufaff\U0002f800-\U0002fa1f"
)


@dataclass(frozen=True, slots=True)
class Splits:
    """Regular expressions, in order: as the models' authors wrote them, and with llama.cpp's behaviour."""

    authors: tuple[str, ...]
    llama_cpp: tuple[str, ...]


def same(*patterns: str) -> Splits:
    """Return splits with one spelling for both, except for the case folding of `ANY_CASE`."""
    return Splits(patterns, tuple(pattern.replace(ANY_CASE, ASCII_CASE) for pattern in patterns))


def camel_case(upper: str, lower: str, suffix: str = "") -> str:
    """Return a pattern for words that end where a capital follows a small letter: BoldWord is Bold and Word."""
    before = r"[^\r\n\p{L}\p{N}]?"
    return f"{before}{upper}*{lower}+{suffix}|{before}{upper}+{lower}*{suffix}"


GPT2 = same(WORDS)
LLAMA3 = same(ANY_CASE + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + BLANKS)
QWEN2 = same(ANY_CASE + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + BLANKS)
K2_HORIZON = same(
    ANY_CASE + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}"
    "\u200c\u200d"
    r"]+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + BLANKS
)
STARCODER = same(r"\p{N}", WORDS)
DEEPSEEK_V3 = same(
    r"\p{N}{1,3}",
    KANA_AND_HAN,
    ASCII_MARK_WORD + r"|" + MARKED_LETTERS + r"| ?[\p{P}\p{S}]+[\r\n]*|" + BLANKS,
)
BLOOM = same(r" ?[^(\s|.,!?" "\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c" r")]+")
JAIS2 = same(
    ANY_CASE
    + (
        r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s{512}(?!\S)"
        r"|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)"
        r"|\s{1,2}(?!\S)|\s{1}"
    )
)
SPARK = same(
    r"\p{N}{1,3}",
    KANA_AND_HAN,
    ASCII_MARK_WORD + r"|" + MARKED_LETTERS + r"| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+",
    r"\p{N}",
)
FALCON = same(r"[\p{P}\$\+<=>\^~\|`]+", WORDS, r"[0-9][0-9][0-9]")
QWEN35 = same(ANY_CASE + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|" + BLANKS)
VIKING = same(r" ?[^(\s|.,!?" "\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c" r")]+", r"\p{N}")
CHAMELEON = same(
    r"<sentinel:[0-9]+>",
    r"(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z",
    r"([\t\n]|    |  )",
    r"\p{N}",
    r"[\p{P}!-/:-@\[-`{-~]",
    WORDS,
)
SEED_CODER = same(ANY_CASE + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|" + BLANKS)
UFAKZEKA = same(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + BLANKS)
LAGUNA = same(
    r"[^\n]+|[\n]+", ANY_CASE + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + BLANKS
)
EXAONE_MOE = same(
    ANY_CASE
    + (
        r"|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]"
        r"|\s+(?!\S)|\s+"
    )
)
MINICPM5 = same(
    r"\p{N}{1,3}", ANY_CASE + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|" + BLANKS
)
DEFAULT = same(r"[\p{P}\$\+<=>\^~\|]+", WORDS, r"\p{N}+", r"[0-9][0-9][0-9]")
LINES = same(r"[^\n]+|[\n]+")
BAILING = Splits(
    (
        (
            r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}"
            r"| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
        ),
    ),
    (
        (
            r"'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
            r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
        ),
    ),
)
GPT4O_REST = r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + BLANKS
GPT4O = Splits(
    (camel_case(UPPER, LOWER, ANY_CASE + "?") + GPT4O_REST,),
    (camel_case(r"[\p{L}&&[^a-z]]", r"[\p{L}&&[^A-Z]]", ASCII_CASE + "?") + GPT4O_REST,),
)
GRANITE_EMBED = same(
    camel_case(r"[\p{L}\p{M}&&[^a-z]]", r"[\p{L}\p{M}&&[^A-Z]]", ANY_CASE + "?") + GPT4O_REST
)
TINY_AYA = Splits(
    (r"\d{1,3}(?=(?:\d{3})*\b)", camel_case(UPPER, LOWER, ANY_CASE + "?") + GPT4O_REST),
    (DIGIT_GROUPS, camel_case(r"[\p{L}\p{M}]", r"[\p{L}\p{M}]", ASCII_CASE + "?") + GPT4O_REST),
)
SINGLE_DIGITS_REST = r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + BLANKS
TEKKEN = Splits(
    (camel_case(UPPER, LOWER) + SINGLE_DIGITS_REST,),
    (camel_case(r"[\p{L}&&[^a-z]]", r"[\p{L}&&[^A-Z]]") + SINGLE_DIGITS_REST,),
)
YOUTU_SCRIPTS = (
    r"["
    "\uac00-\ud7a3\u3131-\u318e"
    r"]+|["
    "\uff01\u2026\u201c\u201d\u2018\u2019\u2014\uff1a\uff1b\uff0c\u3001-\u303f\ufe30-\ufe4f"
    r"]+|["
    "\u3105-\u312f"
    r"]+|["
    "\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff"
    r"]+"
)
YOUTU = Splits(
    (YOUTU_SCRIPTS, camel_case(UPPER, LOWER, ANY_CASE + "?") + SINGLE_DIGITS_REST),
    (YOUTU_SCRIPTS, camel_case(r"[\p{L}\p{M}]", r"[\p{L}\p{M}]", ASCII_CASE + "?") + SINGLE_DIGITS_REST),
)
KIMI_REST = r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + BLANKS
KIMI_K2 = Splits(
    (
        r"[\p{Han}]+|"
        + camel_case(UPPER[:-1] + r"&&[^\p{Han}]]", LOWER[:-1] + r"&&[^\p{Han}]]", ANY_CASE + "?")
        + KIMI_REST,
    ),
    (f"[{HAN}]+|" + r"[^\r\n\p{L}\p{N}]?" + rf"[\p{{L}}&&[^{HAN}]]+" + ASCII_CASE + "?" + KIMI_REST,),
)
CASED_LETTERS = (
    r"\s?[A-Za-z"
    "\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-"
    "\u0373\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-"
    "\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-"
    "\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-"
    "\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4"
    "\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a"
    "-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-"
    "\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-"
    "\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-"
    "\uff3a\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-\U000104fb\U00010c80-"
    "\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943"
    r"]+"
)
ASIAN_LETTERS = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff"
DEEPSEEK_LLM = Splits(
    (
        r"[\r\n]",
        CASED_LETTERS,
        r"\s?[!-/:-~" "\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+",
        r"\s+$",
        ASIAN_LETTERS + "]+",
        r"\p{N}+",
    ),
    (
        r"[\r\n]",
        CASED_LETTERS,
        r"\s?[!-/:-~" "\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3001-\u3002]+",
        r"\s+$",
        ASIAN_LETTERS + r"&&[^\s]]+",
        r"\p{N}+",
    ),
)
DEEPSEEK_CODER = Splits(
    (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", ASIAN_LETTERS + "]+", r"\p{N}"),
    (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", ASIAN_LETTERS + r"&&[^\s]]+", r"\p{N}"),
)
SUPERBPE = Splits((r"\p{N}+", r"(?=(\d{3})+(?!\d))"), (r"\p{N}+", r"(?=([0-9]{3})+(?![0-9]))"))
AFMOE = same(
    DIGIT_GROUPS,
    (
        r"["
        "\u4e00-\u9fff\u3400-\u4dbf\u8c48-\ufaff\u3040-\u309f\u30a0-\u30ff\uff65-\uff9f\u2f00-\u2fdf"
        "\u0e40-\u0e7f\u0e80-\u0eff\u1780-\u17ff\u1000-\u109f\uaa60-\uaa7f\ua9e0-\ua9ff\uac00-\ud7af"
        "\u1100-\u11ff"
        r"]+"
    ),
    ASCII_MARK_WORD + r"|" + MARKED_LETTERS + r"| ?[\p{P}\p{S}]+[\r\n]*|" + BLANKS,
)


@dataclass(frozen=True, slots=True)
class PreTokenizer:
    """What a name implies: how text is split, and settings that no key of the file carries.

    raw: blanks become U+2581, merges are over characters with byte fallback; else over byte characters.
    nfc: the authors' tokenizer normalizes to NFC; llama.cpp does not.
    ranked: the file may lack merges, since they follow from the order of the tokens.
    default_bos: whether a missing `bos_token_id` means the family's default; else there is no BOS.
    """

    splits: Splits
    ignore_merges: bool = False
    add_bos: bool = False
    raw: bool = False
    nfc: bool = False
    ranked: bool = False
    default_bos: bool = True


NO_SPLITS = PreTokenizer(Splits((), ()))  # for families that do not split text by regular expressions

PRETOKENIZERS: dict[str, PreTokenizer] = {
    "default": PreTokenizer(DEFAULT),
    "minicpm5": PreTokenizer(MINICPM5, ignore_merges=True),
    "llama3": PreTokenizer(LLAMA3, ignore_merges=True, add_bos=True),
    "llama-v3": PreTokenizer(LLAMA3, ignore_merges=True, add_bos=True),
    "llama-bpe": PreTokenizer(LLAMA3, ignore_merges=True, add_bos=True),
    "falcon3": PreTokenizer(LLAMA3, ignore_merges=True, add_bos=True),
    "falcon-h1": PreTokenizer(LLAMA3, ignore_merges=True, add_bos=True),
    "pixtral": PreTokenizer(LLAMA3, ignore_merges=True, add_bos=True),
    "midm-2.0": PreTokenizer(LLAMA3, ignore_merges=True, add_bos=True),
    "lfm2": PreTokenizer(LLAMA3, ignore_merges=True, add_bos=True),
    "jina-v5-nano": PreTokenizer(LLAMA3, ignore_merges=True, add_bos=True),
    "deepseek-llm": PreTokenizer(DEEPSEEK_LLM),
    "deepseek-coder": PreTokenizer(DEEPSEEK_CODER),
    "deepseek-v3": PreTokenizer(DEEPSEEK_V3),
    "spark2_5": PreTokenizer(SPARK),
    "youtu": PreTokenizer(YOUTU, ignore_merges=True),
    "falcon": PreTokenizer(FALCON),
    "mpt": PreTokenizer(GPT2),
    "starcoder": PreTokenizer(STARCODER),
    "gpt-2": PreTokenizer(GPT2),
    "phi-2": PreTokenizer(GPT2),
    "jina-es": PreTokenizer(GPT2),
    "jina-de": PreTokenizer(GPT2),
    "gigachat": PreTokenizer(GPT2),
    "jina-v2-es": PreTokenizer(GPT2),
    "jina-v2-de": PreTokenizer(GPT2),
    "a.x-4.0": PreTokenizer(GPT2),
    "mellum": PreTokenizer(GPT2),
    "modern-bert": PreTokenizer(GPT2),
    "jais-2": PreTokenizer(JAIS2),
    "gemma4": PreTokenizer(LINES, raw=True),
    "granite-embed-multi-311m": PreTokenizer(LINES, raw=True),
    "sarvam-moe": PreTokenizer(LINES, raw=True),
    "jina-v1-en": PreTokenizer(GPT2),
    "jina-v2-code": PreTokenizer(GPT2),
    "roberta-bpe": PreTokenizer(GPT2),
    "refact": PreTokenizer(STARCODER),
    "command-r": PreTokenizer(STARCODER),
    "qwen2": PreTokenizer(QWEN2, nfc=True),
    "deepseek-r1-qwen": PreTokenizer(QWEN2),
    "kormo": PreTokenizer(QWEN2),
    "f2llmv2": PreTokenizer(QWEN2),
    "qwen35": PreTokenizer(QWEN35, nfc=True),
    "stablelm2": PreTokenizer(QWEN2),
    "olmo": PreTokenizer(GPT2),
    "dbrx": PreTokenizer(LLAMA3),
    "smaug-bpe": PreTokenizer(LLAMA3),
    "poro-chat": PreTokenizer(BLOOM),
    "chatglm-bpe": PreTokenizer(LLAMA3, default_bos=False),
    "glm4": PreTokenizer(LLAMA3, ignore_merges=True, default_bos=False),
    "glm5": PreTokenizer(LLAMA3, ignore_merges=True, default_bos=False),
    "viking": PreTokenizer(VIKING),
    "jais": PreTokenizer(GPT2),
    "tekken": PreTokenizer(TEKKEN, ignore_merges=True, add_bos=True),
    "smollm": PreTokenizer(STARCODER),
    "codeshell": PreTokenizer(STARCODER),
    "bloom": PreTokenizer(BLOOM),
    "gpt3-finnish": PreTokenizer(BLOOM),
    "exaone": PreTokenizer(STARCODER),
    "exaone4": PreTokenizer(GPT2),
    "exaone-moe": PreTokenizer(EXAONE_MOE),
    "chameleon": PreTokenizer(CHAMELEON, add_bos=True),
    "minerva-7b": PreTokenizer(STARCODER),
    "megrez": PreTokenizer(QWEN2),
    "gpt-4o": PreTokenizer(GPT4O),
    "llama4": PreTokenizer(GPT4O),
    "kanana2": PreTokenizer(GPT4O),
    "talkie": PreTokenizer(GPT4O),
    "granite-embed-multi-97m": PreTokenizer(GRANITE_EMBED, ignore_merges=True),
    "tiny_aya": PreTokenizer(TINY_AYA),
    "cohere2moe": PreTokenizer(TINY_AYA),
    "superbpe": PreTokenizer(SUPERBPE),
    "trillion": PreTokenizer(GPT2),
    "granite-docling": PreTokenizer(GPT2),
    "bailingmoe": PreTokenizer(BAILING),
    "bailingmoe2": PreTokenizer(BAILING),
    "llada-moe": PreTokenizer(BAILING),
    "seed-coder": PreTokenizer(SEED_CODER),
    "hunyuan": PreTokenizer(QWEN2),
    "hunyuan-dense": PreTokenizer(DEEPSEEK_V3),
    "hy_v4": PreTokenizer(DEEPSEEK_V3),
    "joyai-llm": PreTokenizer(DEEPSEEK_V3),
    "kimi-k2": PreTokenizer(KIMI_K2, ranked=True),
    "ufakzeka": PreTokenizer(UFAKZEKA),
    "grok-2": PreTokenizer(QWEN2),
    "afmoe": PreTokenizer(AFMOE),
    "laguna": PreTokenizer(LAGUNA),
    "minimax-m2": PreTokenizer(GPT4O),
    "solar-open": PreTokenizer(QWEN2),
    "mellum2": PreTokenizer(STARCODER),
    "k2-horizon": PreTokenizer(K2_HORIZON),
}

# Names of llama.cpp that are not converted, and why.
REFUSED: dict[str, str] = {
    "whitespace": "it drops the blanks between words, so that no text can be had back from its ids",
}


def pretokenizer(name: str) -> PreTokenizer:
    """Return the row of a name; UnsupportedInput for a name that is refused or unknown."""
    if name in PRETOKENIZERS:
        return PRETOKENIZERS[name]
    where = "key 'tokenizer.ggml.pre'"
    if name in REFUSED:
        raise UnsupportedInput(
            f"pre-tokenizer {printable(name)} is not converted: {REFUSED[name]}", where=where
        )
    raise UnsupportedInput(
        f"unknown pre-tokenizer {printable(name)}",
        where=where,
        hint="docs/tokenizers.md lists the known names",
    )
