"""SentencePiece's normalization map (`precompiled_charsmap`): a double-array trie and the replacement texts.

u32 size of the trie in bytes | its units, u32 each | texts, each ended by NUL. All little-endian.
The tokenizers library follows the trie without bounds checks, so every path through it is checked first.
Source: google/sentencepiece, src/normalizer.cc; s-yata/darts-clone, `DoubleArrayUnit`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llorch.base.errors import MalformedInput, UnsupportedInput
from llorch.formats.gguf.metadata import Metadata

CHARSMAP = "tokenizer.ggml.precompiled_charsmap"
MOST_BYTES = 16 << 20  # published maps have a quarter of a million
MOST_DEPTH = 256  # bytes of a text to be replaced; published maps have at most about 30


def read_charsmap(metadata: Metadata) -> bytes:
    """Return the map's bytes, empty if the file has none; MalformedInput if a lookup could leave the map."""
    values = metadata.integers(CHARSMAP, None)
    if values is None or not len(values):
        return b""
    if values.itemsize != 1:
        raise MalformedInput(f"has elements of {values.itemsize} bytes, not 1", where=f"key '{CHARSMAP}'")
    charsmap = values.tobytes()
    if len(charsmap) > MOST_BYTES:
        raise UnsupportedInput(f"has {len(charsmap)} bytes, at most {MOST_BYTES}", where=f"key '{CHARSMAP}'")
    blank_characters(charsmap)
    return charsmap


def blank_characters(charsmap: bytes) -> list[str]:
    """Return the characters that the map replaces by one blank; MalformedInput if a lookup could leave the map."""
    units, texts = _parts(charsmap)
    boundary = np.array([byte & 0xC0 != 0x80 for byte in texts])  # where a UTF-8 character begins
    label = units & 0x800000FF
    inner = np.flatnonzero((label > 0) & (label < 256))
    parent = inner ^ label[inner]
    order = np.argsort(parent, kind="stable")
    inner, parent = inner[order], parent[order]
    offset = (units >> 10).astype(np.int64) << ((units & 0x200) >> 6).astype(np.int64)
    seen = np.zeros(len(units), bool)
    nodes, paths = offset[:1], np.zeros(1, np.int64)
    blanks: list[str] = []
    for depth in range(1, MOST_DEPTH + 1):
        if (nodes | 0xFF).max() >= len(units):
            raise _damage("its trie leads out of the map")
        fresh = ~seen[nodes]
        nodes, paths = nodes[fresh], paths[fresh]
        seen[nodes] = True
        lower, upper = np.searchsorted(parent, nodes), np.searchsorted(parent, nodes, "right")
        count = upper - lower
        if not count.sum():
            return sorted(blanks)
        first = np.repeat(lower - np.concatenate(([0], np.cumsum(count)[:-1])), count)
        children = inner[first + np.arange(count.sum())]
        paths = np.repeat(paths, count) << 8 | label[children] if depth <= 4 else np.repeat(paths, count)
        nodes = children ^ offset[children]
        leaves = np.flatnonzero(units[children] & 0x100)
        inside = nodes[leaves] < len(units)
        if not inside.all():
            raise _damage("its trie leads out of the map")
        values = (units[nodes[leaves]] & 0x7FFFFFFF).astype(np.int64)
        if len(values) and (values.max() >= len(texts) or not boundary[values].all()):
            raise _damage("its trie leads to no text")
        if depth <= 4:
            blanks += _characters(paths[leaves[[texts[v : v + 2] == b" \0" for v in values]]], depth)
    raise _damage(f"its trie is deeper than {MOST_DEPTH} bytes")


def _parts(charsmap: bytes) -> tuple[NDArray[np.int64], bytes]:
    """Split the map into the trie's units and the texts."""
    size = int.from_bytes(charsmap[:4], "little")
    if len(charsmap) < 4 or not size or size % 4 or 4 + size >= len(charsmap):
        raise _damage(f"its trie has {size} bytes, the whole {len(charsmap)}")
    texts = charsmap[4 + size :]
    try:
        texts.decode()
    except UnicodeDecodeError:
        raise _damage("its texts are not UTF-8") from None
    if texts[-1]:
        raise _damage("its last text has no end")
    return np.frombuffer(charsmap, "<u4", size // 4, 4).astype(np.int64), texts


def _characters(paths: NDArray[np.int64], length: int) -> list[str]:
    """Return those byte strings, of `length` bytes each, that are one UTF-8 character."""
    decoded = (int(path).to_bytes(length, "big").decode("utf-8", "replace") for path in paths)
    return [text for text in decoded if len(text) == 1 and text != "\ufffd"]


def _damage(what: str) -> MalformedInput:
    return MalformedInput(f"is damaged: {what}", where=f"key '{CHARSMAP}'")
