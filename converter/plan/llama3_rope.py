"""Llama 3's rotary scaling from the table in a GGUF file: parameters that reproduce it bit for bit.

The forward direction, with f_i = base^(−2i/d), C = original_max_position_embeddings, F = factor and the two
freq_factors lo and hi, is r_i = 1 where 2π/f_i < C/hi, F where 2π/f_i > C/lo, and between them
1 / ((1 − s)/F + s) with s = (C·f_i/2π − lo) / (hi − lo), all in float32.

Between them s is linear in f_i, s = A·f_i/2π − B with A = C/(hi − lo) and B = lo/(hi − lo), so only F, A
and B can be determined: (C, lo, hi) and (t·C, t·lo, t·hi) give the same table and the same model. Meta's numbers
are preferred, then lo = 1, then C = 8192.
Sources: llama.cpp, conversion/llama.py, `generate_extra_tensors`; transformers, `_compute_llama3_parameters`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.float32]

PUBLISHED = (1.0, 4.0, 8192)  # lo, hi, C of Llama 3.1, 3.2 and 3.3; F is in the table
MOST_CONTEXT = 1 << 31
TOLERANCE_ULP = 4  # of f_i and of the entries: platforms' powf differ in the last bits


def closed_form(table: Table, theta: float) -> dict[str, object] | None:
    """Return the llama3 parameters that give `table` (d/2 entries) for the base `theta`; None if none do.

    Parameters that give it bit for bit are preferred to ones that are within a few units in the last place.
    """
    factor = float(table.max())
    if factor <= 1 or table.min() < 1:
        return None
    near = None
    for low, high, context in _candidates(table, theta, factor):
        again = regenerate(theta, 2 * len(table), factor, low, high, context)
        found: dict[str, object] = {
            "rope_type": "llama3",
            "factor": float(str(np.float32(factor))),
            "low_freq_factor": low,
            "high_freq_factor": high,
            "original_max_position_embeddings": context,
        }
        if np.array_equal(again, table):
            return found
        ends = (table == 1) | (table == np.float32(factor))
        exact_ends = np.array_equal((again == 1) | (again == np.float32(factor)), ends)
        if (
            near is None
            and exact_ends
            and np.all(np.abs(again - table) <= _tolerance(again, theta, low, high, context))
        ):
            near = found
    return near


def _tolerance(table: Table, theta: float, low: float, high: float, context: int) -> NDArray[np.float64]:
    """Return how far entries may be off if f_i is off by a few units in the last place.

    From the closed form, |dr/ds| ≤ r² and ds = C/(2π (hi − lo)) df: where s is near 0, r is near F and its relative
    error is about F times that of f_i.
    """
    freqs = theta ** -(np.arange(len(table), dtype=np.float64) / len(table))
    by_frequency = table.astype(np.float64) ** 2 * context * freqs / (2 * math.pi * (high - low))
    return TOLERANCE_ULP * (np.spacing(table) + by_frequency * np.finfo(np.float32).eps)


def regenerate(theta: float, head_dim: int, factor: float, low: float, high: float, context: int) -> Table:
    """Return the table that llama.cpp's converter writes for these parameters, in its float32 arithmetic.

    It divides numbers by tensors, which torch does by multiplying with the reciprocal: two roundings, as here.
    Its powf is nearly always correctly rounded, NumPy's is not; so powers are computed in float64.
    """
    one, whole = np.float32(1), np.float32(context)
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    freqs = one / np.power(float(np.float32(theta)), exponents.astype(np.float64)).astype(np.float32)
    wavelengths = one / freqs * np.float32(2 * math.pi)
    smooth = (one / wavelengths * whole - np.float32(low)) / np.float32(high - low)
    between = one / ((one - smooth) / np.float32(factor) + smooth)
    scaled = np.where(wavelengths > np.float32(context / low), np.float32(factor), between)
    return np.where(wavelengths < np.float32(context / high), one, scaled).astype(np.float32)


def _candidates(table: Table, theta: float, factor: float) -> Iterator[tuple[float, float, int]]:
    """Yield (lo, hi, C), best first: Meta's, then rounded ones from a straight line through the middle entries."""
    yield PUBLISHED
    r = table.astype(np.float64)
    middle = (r > 1) & (r < factor)
    x = theta ** -(np.arange(len(table), dtype=np.float64)[middle] / len(table)) / (2 * math.pi)
    s = (1 / r[middle] - 1 / factor) / (1 - 1 / factor)
    if len(s) == 1:  # one equation for two unknowns: with Meta's lo and hi it gives C
        low, high, _ = PUBLISHED
        yield low, high, round((low + float(s[0]) * (high - low)) / float(x[0]))
    if len(s) < 2:
        return
    slope, negative_intercept = np.polyfit(x, s, 1)
    a, b = float(slope), -float(negative_intercept)
    if not (a > 0 and b > 0 and a / b < MOST_CONTEXT):
        return
    for digits in range(5):
        high, context = round(1 + 1 / b, digits), round(a / b)
        if high > 1 and context > 0:
            yield 1.0, high, context
    for digits in range(7):
        low, high = round(b * 8192 / a, digits), round((1 + b) * 8192 / a, digits)
        if 0 < low < high:
            yield low, high, 8192
