"""Every cut of a vocabulary's tokens into two tokens, from which the merges of a SentencePiece BPE follow.

A vocabulary of 262,144 tokens can be cut at 1.2 million places. To look both parts up in a dict at each of them takes
seconds, nearly all of it in walks through memory that no cache holds. Here a rolling hash finds the parts of thousands
of tokens at once, and then characters are compared with characters: what comes out does not rest on the hash.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Hashes = NDArray[np.uint64]

BASE = 0x9E3779B97F4A7C15  # of the hash; any odd number, since an even one has no inverse
TOKENS_AT_ONCE = 1 << 14  # so that what is made on the way fits into a cache, whatever the vocabulary's size


class Cuts(NamedTuple):
    """Row by row: tokens[left] + tokens[right] == tokens[made]. By made, then by the place of the cut."""

    left: Integers
    right: Integers
    made: Integers


def all_cuts(tokens: Sequence[str]) -> Cuts:
    """Every cut of a token into two tokens; no two tokens are the same text.

    Example: all_cuts(["a", "b", "ab"]) has the one row left 0, right 1, made 2.
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
        """The sums over a block's characters, and where in the block its tokens begin and end."""
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
    """The hash of a text is the sum of its characters' numbers, the i-th from 1 times BASE to the power of i, mod 2^64.

    So the hash of a part is the difference of two sums, divided by BASE to the power of where it begins.
    """

    def __init__(self, longest: int) -> None:
        self._powers = _powers(BASE, longest + 1)[1:]
        self._inverses = _powers(pow(BASE, -1, 1 << 64), longest + 1)

    def sums(self, characters: NDArray[np.uint32]) -> Hashes:
        """The sum before each character, and behind the last one; no character counts as nothing, NUL neither."""
        sums = np.zeros(len(characters) + 1, np.uint64)
        np.cumsum((characters + np.uint64(1)) * self._powers[: len(characters)], out=sums[1:])
        return sums

    def of_parts(self, sums: Hashes, begins: Integers, ends: Integers) -> Hashes:
        """The hashes of the parts from each place of `begins` to that of `ends`."""
        return (sums[ends] - sums[begins]) * self._inverses[begins]


class _HashIndex:
    """The way from a hash to its place in a list of them: those that begin with the same bits are looked through."""

    def __init__(self, hashes: Hashes) -> None:
        bits = len(hashes).bit_length() + 1  # two to four buckets a hash
        self._shift = np.uint64(64 - bits)
        self._order = np.argsort(hashes)
        self._sorted = hashes[self._order]
        buckets = np.bincount(self._bucket(hashes), minlength=1 << bits)
        self._firsts = np.concatenate([[0], np.cumsum(buckets)])

    @property
    def has_repeats(self) -> bool:
        """Whether a hash is there twice."""
        return bool((self._sorted[1:] == self._sorted[:-1]).any())

    def find(self, hashes: Hashes) -> Integers:
        """The place of each hash, -1 for one that is not there."""
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
    """Which rows hold, by all their characters."""
    holds: NDArray[np.bool_] = lengths[cuts.left] + lengths[cuts.right] == lengths[cuts.made]
    for first in range(0, len(holds), TOKENS_AT_ONCE):
        left, other, made = (column[first : first + TOKENS_AT_ONCE] for column in cuts)
        row = np.repeat(np.arange(len(made)), lengths[made])
        place = _count_up(lengths[made])
        beyond = place - lengths[left][row]
        part = np.where(beyond < 0, starts[left][row] + place, starts[other][row] + beyond)
        # Where the lengths do not fit, a part may reach beyond the last character; the row is wrong already.
        differs = characters[starts[made][row] + place] != characters.take(part, mode="clip")
        holds[first + row[differs]] = False
    return holds


def _one_by_one(tokens: Sequence[str]) -> Cuts:
    """The same for no tokens, and for tokens of which two have one hash, as texts can be made to have."""
    ids = {token: index for index, token in enumerate(tokens)}
    rows = [
        (left, right, made)
        for made, token in enumerate(tokens)
        for cut in range(1, len(token))
        if (left := ids.get(token[:cut])) is not None and (right := ids.get(token[cut:])) is not None
    ]
    return Cuts(*np.array(rows, np.int64).reshape(-1, 3).T)


def _powers(base: int, count: int) -> Hashes:
    """Base to the power of 0, 1, …, modulo 2^64."""
    factors = np.full(count, base, np.uint64)
    factors[:1] = 1
    return np.multiply.accumulate(factors)


def _count_up(lengths: Integers) -> Integers:
    """0, 1, … up to each length, one after another."""
    ends = np.cumsum(lengths)
    return np.arange(lengths.sum()) - np.repeat(ends - lengths, lengths)
