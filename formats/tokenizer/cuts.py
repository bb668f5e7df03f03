"""Every cut of a vocabulary's tokens into two tokens, from which the merges of a SentencePiece BPE follow.

A vocabulary of 262,144 tokens can be cut at 1.2 million places. Looking up both parts of each cut in a dict takes
seconds, nearly all of it in cache misses. Here a rolling hash finds the parts of thousands of tokens at once; then the
characters are compared, so the result does not depend on the hash.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Hashes = NDArray[np.uint64]

BASE = 0x9E3779B97F4A7C15  # of the hash; any odd number, since an even one has no inverse modulo 2^64
TOKENS_AT_ONCE = 1 << 14  # so that the temporary arrays fit into a cache


class Cuts(NamedTuple):
    """Rows with tokens[left] + tokens[right] == tokens[joined], ordered by joined, then by the place of the cut."""

    left: Integers
    right: Integers
    joined: Integers


def all_cuts(tokens: Sequence[str]) -> Cuts:
    """Return every cut of a token into two tokens; the tokens must be distinct.

    Example: all_cuts(["a", "b", "ab"]) has the one row left 0, right 1, joined 2.
    """
    if not tokens:
        return _one_by_one(tokens)
    lengths = np.fromiter(map(len, tokens), np.int64, len(tokens))
    ends = np.cumsum(lengths)
    starts = ends - lengths
    characters = np.frombuffer("".join(tokens).encode("utf-32-le"), np.uint32)
    blocks = [slice(first, first + TOKENS_AT_ONCE) for first in range(0, len(tokens), TOKENS_AT_ONCE)]
    hashing = _RollingHash(max(int(lengths[block].sum()) for block in blocks))

    def hash_block(block: slice) -> tuple[Hashes, Integers, Integers]:
        """Return the sums over a block's characters, and where in the block its tokens begin and end."""
        first = starts[block][0]
        sums = hashing.sums(characters[first : ends[block][-1]])
        return sums, starts[block] - first, ends[block] - first

    index = _HashIndex(np.concatenate([hashing.of_parts(*hash_block(block)) for block in blocks]))
    if index.has_repeats:
        return _one_by_one(tokens)
    found = []
    for block in blocks:
        sums, begins, stops = hash_block(block)
        cuts = np.maximum(lengths[block] - 1, 0)
        token = np.repeat(np.arange(len(cuts)), cuts)
        place = begins[token] + 1 + _count_up(cuts)
        left = index.find(hashing.of_parts(sums, begins[token], place))
        token, place, left = (column[left >= 0] for column in (token, place, left))
        right = index.find(hashing.of_parts(sums, place, stops[token]))
        found.append(np.stack([left, right, token + block.start])[:, right >= 0])
    cut = Cuts(*np.concatenate(found, axis=1))
    holds = _holds(cut, characters, starts, lengths)
    return Cuts(*(column[holds] for column in cut))


class _RollingHash:
    """Hash of a text: the sum of its i-th character's number times BASE^i, modulo 2^64, with i from 1.

    The hash of a part is the difference of two prefix sums, divided by BASE to the power of the part's beginning.
    """

    def __init__(self, longest: int) -> None:
        self._powers = _powers(BASE, longest + 1)[1:]
        self._inverses = _powers(pow(BASE, -1, 1 << 64), longest + 1)

    def sums(self, characters: NDArray[np.uint32]) -> Hashes:
        """Return the prefix sums, (characters + 1,); characters count from 1, so that NUL counts too."""
        sums = np.zeros(len(characters) + 1, np.uint64)
        np.cumsum((characters + np.uint64(1)) * self._powers[: len(characters)], out=sums[1:])
        return sums

    def of_parts(self, sums: Hashes, begins: Integers, ends: Integers) -> Hashes:
        """Return the hashes of the parts between the places `begins` and `ends`."""
        return (sums[ends] - sums[begins]) * self._inverses[begins]


class _HashIndex:
    """Index from a hash to its place in a list: hashes are bucketed by their top bits, and a bucket is searched."""

    def __init__(self, hashes: Hashes) -> None:
        bits = len(hashes).bit_length() + 1  # two to four buckets per hash
        self._shift = np.uint64(64 - bits)
        self._order = np.argsort(hashes)
        self._sorted = hashes[self._order]
        buckets = np.bincount(self._bucket(hashes), minlength=1 << bits)
        self._firsts = np.concatenate([[0], np.cumsum(buckets)])

    @property
    def has_repeats(self) -> bool:
        """Whether a hash occurs twice."""
        return bool((self._sorted[1:] == self._sorted[:-1]).any())

    def find(self, hashes: Hashes) -> Integers:
        """Return the place of each hash, -1 for one that is not in the list."""
        bucket = self._bucket(hashes)
        at, end = self._firsts[bucket], self._firsts[bucket + 1]
        found = np.full(len(hashes), -1)
        looking = np.flatnonzero(at < end)
        while len(looking):
            same = self._sorted[at[looking]] == hashes[looking]
            found[looking[same]] = self._order[at[looking[same]]]
            looking = looking[~same]
            at[looking] += 1
            looking = looking[at[looking] < end[looking]]
        return found

    def _bucket(self, hashes: Hashes) -> Integers:
        return (hashes >> self._shift).astype(np.int64)


def _holds(
    cuts: Cuts, characters: NDArray[np.uint32], starts: Integers, lengths: Integers
) -> NDArray[np.bool_]:
    """Return which rows hold, comparing all their characters."""
    holds: NDArray[np.bool_] = lengths[cuts.left] + lengths[cuts.right] == lengths[cuts.joined]
    for first in range(0, len(holds), TOKENS_AT_ONCE):
        left, other, joined = (column[first : first + TOKENS_AT_ONCE] for column in cuts)
        row = np.repeat(np.arange(len(joined)), lengths[joined])
        place = _count_up(lengths[joined])
        beyond = place - lengths[left][row]
        part = np.where(beyond < 0, starts[left][row] + place, starts[other][row] + beyond)
        # If the lengths do not add up, a part may reach past the last character; that row is already False.
        differs = characters[starts[joined][row] + place] != characters.take(part, mode="clip")
        holds[first + row[differs]] = False
    return holds


def _one_by_one(tokens: Sequence[str]) -> Cuts:
    """Find the cuts with a dict: for no tokens, and for tokens with colliding hashes, which can be made on purpose."""
    ids = {token: index for index, token in enumerate(tokens)}
    rows = [
        (left, right, joined)
        for joined, token in enumerate(tokens)
        for cut in range(1, len(token))
        if (left := ids.get(token[:cut])) is not None and (right := ids.get(token[cut:])) is not None
    ]
    return Cuts(*np.array(rows, np.int64).reshape(-1, 3).T)


def _powers(base: int, count: int) -> Hashes:
    """Return base^0, base^1, … modulo 2^64."""
    factors = np.full(count, base, np.uint64)
    factors[:1] = 1
    return np.multiply.accumulate(factors)


def _count_up(lengths: Integers) -> Integers:
    """Return 0, 1, … up to each length, exclusive, one after another."""
    ends = np.cumsum(lengths)
    return np.arange(lengths.sum()) - np.repeat(ends - lengths, lengths)
