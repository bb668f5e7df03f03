"""Reference decoders: llama.cpp's C code, gguf-py, and Python's struct for types that neither decodes."""

from __future__ import annotations

import ctypes
import struct
from functools import cache
from pathlib import Path

import gguf
import libgguf
import numpy as np
import xllamacpp
from gguf.quants import dequantize
from numpy.typing import NDArray

from llorch.formats.quants import QuantType

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

GGUF_PY = [
    *("F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"),
    *("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_NL", "IQ4_XS"),
    *("TQ1_0", "TQ2_0", "MXFP4", "NVFP4"),
]
LIBGGUF = [*GGUF_PY[3:], "Q1_0"]
LLAMA_CPP = [*GGUF_PY[3:], "Q1_0", "Q2_0", "Q8_K"]

# struct's letter for one weight of the types that are numbers as they are; Q8_1's are bytes under a half.
NUMBERS = {"F64": "d", "I8": "b", "I16": "h", "I32": "i", "I64": "q"}


def by_gguf_py(type: QuantType, raw: Bytes) -> Floats:
    """Decode by gguf-py's NumPy code."""
    with np.errstate(all="ignore"):
        weights: Floats = dequantize(raw.reshape(-1, type.block_bytes), gguf.GGMLQuantizationType[type.name])
    return weights.reshape(-1)


def by_libgguf(type: QuantType, raw: Bytes) -> Floats:
    """Decode by libgguf's C code."""
    count = raw.size // type.block_bytes * type.weights
    return np.frombuffer(libgguf.dequantize_rows_raw(type.id, raw.tobytes(), 1, count), np.float32)


def by_llama_cpp(type: QuantType, raw: Bytes) -> Floats:
    """Decode by ggml's own `dequantize_row_…`, compiled in xllamacpp's wheel."""
    weights = np.empty(raw.size // type.block_bytes * type.weights, np.float32)
    raw = np.ascontiguousarray(raw)
    name = type.name.lower().replace("_k", "_K")
    function = getattr(library(), f"dequantize_row_{name}")
    function(
        ctypes.c_void_p(raw.ctypes.data), ctypes.c_void_p(weights.ctypes.data), ctypes.c_int64(weights.size)
    )
    return weights


def by_struct(type: QuantType, raw: Bytes) -> Floats:
    """Decode number by number with Python's struct, rounded to float32 by C's conversion."""
    data = raw.tobytes()
    if type.name == "Q8_1":
        blocks = (struct.unpack("<ee32b", data[at : at + 36]) for at in range(0, len(data), 36))
        exact: list[float | int] = [d * q for d, _, *block in blocks for q in block]
    else:
        exact = [number for (number,) in struct.iter_unpack("<" + NUMBERS[type.name], data)]
    return np.array([ctypes.c_float(number).value for number in exact], np.float32)


@cache
def library() -> ctypes.CDLL:
    """The ggml library in xllamacpp's wheel."""
    (path,) = Path(xllamacpp.__path__[0]).glob("xllamacpp*.so")
    return ctypes.CDLL(str(path))
