"""Errors of requests that a model cannot serve; each carries the numbers.

    RequestError            the model is fine, the request is not
    ├── ContextFull         it needs more positions than the model's context has
    ├── DoesNotFit          the device has less free memory than the model's weights take
    └── UnknownToken        it names a token id that the vocabulary does not have
    KernelMismatch          a compiled kernel gives wrong results on this machine

Errors in a model's files are `llorch.base.errors.InputError`.
"""

from __future__ import annotations

import os

from llorch.base.printable import printable


class RequestError(ValueError):
    """A request that this model cannot serve; raised before any of it is computed."""


class ContextFull(RequestError):
    """A request needs more positions than the model or its cache has.

    needed: positions that the request would take. n_ctx: positions available.
    """

    def __init__(self, needed: int, n_ctx: int, what: str, where: str = "the model's context") -> None:
        super().__init__(f"{what} needs {needed:,} positions, {where} has {n_ctx:,}")
        self.needed = needed
        self.n_ctx = n_ctx


class UnknownToken(RequestError):
    """A token id is outside the vocabulary.

    token: the first such id. vocabulary_size: the valid ids are 0 to vocabulary_size − 1.
    """

    def __init__(self, token: int, vocabulary_size: int) -> None:
        super().__init__(f"token id {token} is outside the vocabulary of {vocabulary_size:,}")
        self.token = token
        self.vocabulary_size = vocabulary_size


class KernelMismatch(RuntimeError):
    """A kernel differs from its reference by more than rounding; found at its first use, before any result."""

    def __init__(self, kernel: str, apart: float, allowed: float) -> None:
        super().__init__(
            f"the kernel {kernel} differs from its definition by {apart:.1e} on this machine, allowed is {allowed:.0e}"
        )
        self.kernel = kernel
        self.apart = apart


class DoesNotFit(RequestError):
    """A model's weights need more memory than the device has free; nothing was loaded."""

    def __init__(self, path: os.PathLike[str], device: str, needed: int, free: int, whole: int) -> None:
        gib = [f"{n / 2**30:.1f} GiB" for n in (needed, free, whole)]
        super().__init__(
            f"{printable(os.fspath(path))}: its weights take {gib[0]} on {device}, of which {gib[1]} of {gib[2]} are "
            "free; use --device cpu, or auto"
        )
        self.needed = needed
        self.free = free
