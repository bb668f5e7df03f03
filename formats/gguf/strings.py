"""Where the strings of a GGUF array begin and end: a quarter of a million are found in a few milliseconds."""

from __future__ import annotations

import struct
from array import array
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

SCAN = 1 << 17  # bytes looked at in one step

Places = NDArray[np.int64]
ByteOrder = Literal["little", "big"]

_U64 = {"little": struct.Struct("<Q").unpack_from, "big": struct.Struct(">Q").unpack_from}


class StringReader(Protocol):
    """A file whose strings are looked for: what was read of it, and how far the reading is."""

    buffer: bytearray
    position: int
    order: ByteOrder

    def fill(self, upto: int) -> None:
        """Reads on until the buffer has so many bytes, or the file ends."""

    def require_string(self, index: int, length: int, at: int) -> None:
        """Raises if a string's length is over a limit or over what is left of the file."""


def scan_strings(reader: StringReader, count: int) -> tuple[Places, Places]:
    """Starts and lengths of `count` length-prefixed strings from the reader's position, which moves past them.

    In a window every seven zero bytes beside another byte may be the length of a string shorter than 256. If the
    k-th such place is where string k-1 ends, for all k, then these *are* the strings, with no further proof
    needed, and NumPy finds them at memory speed. Where the chain breaks (a long or empty string, one with
    NULs, a corrupt length) the rest of the window is walked string by string: the cost is linear whatever
    the file holds.
    """
    starts: list[Places] = [np.empty(0, np.int64)]
    lengths: list[Places] = [np.empty(0, np.int64)]
    unpack = _U64[reader.order]
    left = count
    while left:
        if reader.position + SCAN > len(reader.buffer):
            reader.fill(reader.position + SCAN)
        begin, end = reader.position, min(len(reader.buffer), reader.position + SCAN)
        if end - begin < 8:  # the end of what there is, so this raises
            reader.require_string(count - left, 0, begin)
        chained_starts, chained_lengths = _chain(reader, begin, end, left)
        if len(chained_starts):
            starts.append(chained_starts)
            lengths.append(chained_lengths)
            left -= len(chained_starts)
            last, length = int(chained_starts[-1]), int(chained_lengths[-1])
            reader.require_string(count - left - 1, length, last - 8)
            begin = last + length
        walked_starts, walked_lengths = array("q"), array("q")
        while left and begin + 8 <= end:
            length = unpack(reader.buffer, begin)[0]
            reader.require_string(count - left, length, begin)
            walked_starts.append(begin + 8)
            walked_lengths.append(length)
            begin, left = begin + 8 + length, left - 1
        starts.append(np.frombuffer(walked_starts, np.int64))
        lengths.append(np.frombuffer(walked_lengths, np.int64))
        reader.position = begin
    reader.fill(reader.position)
    return np.concatenate(starts), np.concatenate(lengths)


def _chain(reader: StringReader, begin: int, end: int, most: int) -> tuple[Places, Places]:
    """The strings from `begin` whose lengths are all one byte and follow one another without a break."""
    window = np.frombuffer(reader.buffer, np.uint8, end - begin, begin)
    zero = window == 0
    zero = zero[:-1] & zero[1:]
    zero = zero[:-2] & zero[2:]
    zero = zero[:-3] & zero[3:]  # seven zero bytes in a row begin here
    # The length's one byte stands before its seven zeros, or after them in a big-endian file.
    at = np.flatnonzero(zero[1:] if reader.order == "little" else zero[:-1])[:most]
    length = window[at if reader.order == "little" else at + 7].astype(np.int64)
    if not len(at) or at[0] != 0:
        return at[:0], length[:0]
    broken = np.flatnonzero(at[1:] != (at + length + 8)[:-1])
    good = int(broken[0]) + 1 if len(broken) else len(at)
    return at[:good] + (begin + 8), length[:good]
