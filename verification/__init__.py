"""The judge: is this folder the model that this GGUF file holds?

    report = verify("SmolLM2-135M-Instruct", against="SmolLM2-135M-Instruct.gguf")
    print(report.outcome)

    report = try_out("downloaded.gguf")           # a model with nothing to compare it with

Every check measures one thing and says how much is allowed and why; `checks` holds them, and
`Report` what came out.
Imported lazily: `import verification` loads neither torch nor LLVM.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llorch.verification.alone import try_out
    from llorch.verification.judge import verify
    from llorch.verification.report import Report, Result, Status

__all__ = ["Report", "Result", "Status", "try_out", "verify"]

_HOMES = {
    "Report": "llorch.verification.report",
    "Result": "llorch.verification.report",
    "Status": "llorch.verification.report",
    "try_out": "llorch.verification.alone",
    "verify": "llorch.verification.judge",
}


def __getattr__(name: str) -> object:
    """Loads a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib  # with the name, not before: a face costs nothing

    return getattr(importlib.import_module(_HOMES[name]), name)
