"""Fast dequantization: the types' vector code, compiled once per machine and cached on disk.

The first use of a type on a machine takes a few tenths of a second, later processes need a few milliseconds. This
module imports LLVM; `numpy_kernels.dequantize_into` does the same without.
"""

from __future__ import annotations

import threading
from functools import cache

from llorch.formats.quants import numpy_kernels
from llorch.formats.quants.kernel import NAME, kernel, step
from llorch.formats.quants.numpy_kernels import Bytes, Written
from llorch.formats.quants.types import QuantType
from llorch.formats.vector_code.jit_cache import Function, Target, function, this_machine

# The smallest magnitude that rounds to infinity, as float32 bits (65520 for float16). The kernels are exact below it;
# with larger weights, the plain definitions are run to say whether and where a weight is not finite.
_FIRST_INFINITE = {"F32": 0x7F800000, "F16": 0x477FF000, "BF16": 0x7F7F8000}

_compiling = threading.Lock()


def dequantize_into(type: QuantType, raw: Bytes, out: Written, *, threads: int = 1) -> int:
    """Dequantize whole blocks into `out`, rounded once from float32 to nearest even, bit-equal to `numpy_kernels`.

    raw: contiguous bytes of blocks. out: contiguous, one element per weight; float32, float16, or uint16 for
    bfloat16. threads: how many threads share the blocks; the result does not depend on it. The GIL is released.
    Returns the index of the first weight that is not finite in the type of `out` (a NaN, an infinity, or a number too
    large for it), or −1.
    """
    numpy_kernels.require_room(type, raw, out)
    dtype = numpy_kernels.dtype_name(out)
    steps = raw.size // (type.block_bytes * step(type))
    bound = _run_in_threads(compiled_kernel(type, dtype, this_machine()), type, raw, out, steps, threads)
    if bound >= _FIRST_INFINITE[dtype]:
        return numpy_kernels.dequantize_into(type, raw, out)
    done = steps * step(type)  # all blocks; of a type of single weights, all but the last few
    odd = numpy_kernels.dequantize_into(type, raw[done * type.block_bytes :], out[done * type.weights :])
    return -1 if odd < 0 else done * type.weights + odd


def compiled_kernel(type: QuantType, dtype: str, target: Target) -> Function:
    """Return the type's kernel for a target, compiled or loaded once per process."""
    with _compiling:
        return _compile(type, dtype, target)


@cache
def _compile(type: QuantType, dtype: str, target: Target) -> Function:
    return function(f"{type}-{dtype}", NAME, kernel(type, dtype, target.has), target)


def _run_in_threads(
    run: Function, type: QuantType, raw: Bytes, out: Written, steps: int, threads: int
) -> int:
    """Run the kernel over all steps, a contiguous share per thread; return the largest bound that it returned."""
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
