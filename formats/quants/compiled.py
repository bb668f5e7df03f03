"""Dequantization at the speed of memory: every type's fast form, compiled once a machine and kept on disk.

The first use of a type on a machine takes a few tenths of a second, later processes a few milliseconds. Importing
this imports LLVM; `numpy_kernels.dequantize_into` does the same without.
"""

from __future__ import annotations

import threading
from functools import cache

from llorch.formats.quants import numpy_kernels
from llorch.formats.quants.kernel import NAME, kernel, step
from llorch.formats.quants.numpy_kernels import Bytes, Written
from llorch.formats.quants.types import QuantType
from llorch.formats.vector_code.jit_cache import Function, Target, function, this_machine

# The least magnitude that is written as an infinity, as a float32's bits; for float16 that is 65520. The kernels
# are made for less: of a source with more the plain definitions say whether and where it is broken.
_FIRST_INFINITE = {"F32": 0x7F800000, "F16": 0x477FF000, "BF16": 0x7F7F8000}

_compiling = threading.Lock()


def dequantize_into(type: QuantType, raw: Bytes, out: Written, *, threads: int = 1) -> int:
    """Dequantizes whole blocks into `out`, rounded once from float32 to nearest even, with the bits of `numpy_kernels`.

    raw: contiguous bytes of blocks. out: contiguous, one element a weight; float32, float16, or uint16 for
    bfloat16. threads: how many share the blocks; the result is the same. Others run meanwhile: the interpreter's
    lock is not held.
    Returns the index of the first weight that is not finite as it is written, or −1: a NaN, an infinity, or a
    number too large for the type of `out`.
    """
    numpy_kernels.require_room(type, raw, out)
    dtype = numpy_kernels.written_name(out)
    steps = raw.size // (type.block_bytes * step(type))
    bound = _in_threads(compiled_kernel(type, dtype, this_machine()), type, raw, out, steps, threads)
    if bound >= _FIRST_INFINITE[dtype]:
        return numpy_kernels.dequantize_into(type, raw, out)
    done = steps * step(type)  # all, or all but the last few of a type of single weights
    odd = numpy_kernels.dequantize_into(type, raw[done * type.block_bytes :], out[done * type.weights :])
    return -1 if odd < 0 else done * type.weights + odd


def compiled_kernel(type: QuantType, dtype: str, target: Target) -> Function:
    """The type's kernel for a target, compiled or loaded once a process."""
    with _compiling:
        return _compile(type, dtype, target)


@cache
def _compile(type: QuantType, dtype: str, target: Target) -> Function:
    return function(f"{type}-{dtype}", NAME, kernel(type, dtype, target.has), target)


def _in_threads(run: Function, type: QuantType, raw: Bytes, out: Written, steps: int, threads: int) -> int:
    """Runs the kernel over all steps, each thread over a run of them; the largest of their bounds."""
    source, target = raw.ctypes.data, out.ctypes.data
    source_stride, target_stride = type.block_bytes * step(type), type.weights * step(type) * out.itemsize
    cuts = [steps * part // threads for part in range(threads + 1)]
    bounds = [0] * threads

    def work(part: int) -> None:
        first, count = cuts[part], cuts[part + 1] - cuts[part]
        bounds[part] = run(source + first * source_stride, target + first * target_stride, count)

    others = [threading.Thread(target=work, args=(part,)) for part in range(1, threads)]
    for other in others:
        other.start()
    work(0)
    for other in others:
        other.join()
    return max(bounds)
