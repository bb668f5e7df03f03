"""The merges of a BPE vocabulary: which two tokens join into which third, by rank.

A large vocabulary has half a million of them. As pairs of texts they take a hundred megabytes; kept here are the
tokens' ids, which take six.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Merges:
    """Row by row, in order of rank: tokens[left] and tokens[right] join into tokens[made].

    tokens: the texts of all ids. It iterates over the pairs of texts.
    """

    tokens: list[str]
    left: Ids
    right: Ids
    made: Ids

    @classmethod
    def of_rows(cls, tokens: list[str], rows: Iterable[tuple[int, int, int]]) -> Merges:
        """From one (left, right, made) after another."""
        table = np.array([*rows], np.int32).reshape(-1, 3)
        return cls(tokens, table[:, 0], table[:, 1], table[:, 2])

    def __len__(self) -> int:
        return len(self.made)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        text_of = self.tokens.__getitem__
        return zip(map(text_of, self.left.tolist()), map(text_of, self.right.tolist()), strict=True)

    def make(self, index: int) -> bool:
        """Whether a token can come about by a merge."""
        return bool((self.made == index).any())

    def highest_id(self) -> int:
        """The last token that a merge is about; -1 where there are no merges."""
        return max((int(ids.max()) for ids in (self.left, self.right, self.made) if len(ids)), default=-1)
