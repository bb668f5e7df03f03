"""The merges of a BPE vocabulary, in order of rank, as token ids.

A large vocabulary has half a million merges. As pairs of strings they take a hundred megabytes; as ids, six.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Merges:
    """Merges in order of rank: tokens[left] and tokens[right] join into tokens[joined].

    tokens: the texts of all ids. Iteration yields the pairs of texts.
    """

    tokens: list[str]
    left: Ids
    right: Ids
    joined: Ids

    @classmethod
    def of_rows(cls, tokens: list[str], rows: Iterable[tuple[int, int, int]]) -> Merges:
        """Make merges of (left, right, joined) rows."""
        table = np.array([*rows], np.int32).reshape(-1, 3)
        return cls(tokens, table[:, 0], table[:, 1], table[:, 2])

    def __len__(self) -> int:
        return len(self.joined)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        text_of = self.tokens.__getitem__
        return zip(map(text_of, self.left.tolist()), map(text_of, self.right.tolist()), strict=True)

    def makes(self, index: int) -> bool:
        """Return whether some merge makes this token."""
        return bool((self.joined == index).any())

    def highest_id(self) -> int:
        """Return the highest id that occurs in a merge; -1 if there are no merges."""
        return max((int(ids.max()) for ids in (self.left, self.right, self.joined) if len(ids)), default=-1)
