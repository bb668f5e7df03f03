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

from llorch.base.lazy import lazy_names

if TYPE_CHECKING:
    from llorch.verification.cost import measure_cost
    from llorch.verification.judge import verify
    from llorch.verification.page import report_page
    from llorch.verification.report import Report, Result, Status
    from llorch.verification.sarif import report_sarif
    from llorch.verification.smoke import smoke_test

__all__ = [
    "Report",
    "Result",
    "Status",
    "measure_cost",
    "report_page",
    "report_sarif",
    "smoke_test",
    "verify",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "judge": ["verify"],
        "report": ["Report", "Result", "Status"],
        "smoke": ["smoke_test"],
        "cost": ["measure_cost"],
        "page": ["report_page"],
        "sarif": ["report_sarif"],
    },
)
