"""Verification: is a converted folder the same model as its GGUF file?

    report = verify("SmolLM2-135M-Instruct", against="SmolLM2-135M-Instruct.gguf")
    print(report.outcome)

    report = smoke_test("downloaded.gguf")        # a model with nothing to compare it with

Every check measures one thing, and declares the limit and the reason for it; `checks` contains them, and `Report` their
results. The names are imported lazily: `import verification` loads neither torch nor LLVM.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llorch.base.lazy import lazy_names

if TYPE_CHECKING:
    from llorch.verification.compare.config import (
        ConfigComparison,
        compare_configs,
        read_reference_config,
    )
    from llorch.verification.cost import measure_cost
    from llorch.verification.judge import memory_needed, now, recorded_source, tools, verify
    from llorch.verification.matrix.rows import (
        FORMATS,
        Candidate,
        Row,
        candidates,
        compare_rows,
        counts,
        digest_of_model,
        document,
        passed_before,
    )
    from llorch.verification.matrix.run import run_row
    from llorch.verification.page import report_page
    from llorch.verification.report import Report, Result, Status
    from llorch.verification.sample import PROMPT
    from llorch.verification.sarif import report_sarif
    from llorch.verification.smoke import smoke_test

__all__ = [
    "FORMATS",
    "PROMPT",
    "Candidate",
    "ConfigComparison",
    "Report",
    "Result",
    "Row",
    "Status",
    "candidates",
    "compare_configs",
    "compare_rows",
    "counts",
    "digest_of_model",
    "document",
    "measure_cost",
    "memory_needed",
    "now",
    "passed_before",
    "read_reference_config",
    "recorded_source",
    "report_page",
    "report_sarif",
    "run_row",
    "smoke_test",
    "tools",
    "verify",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "cost": ["measure_cost"],
        "judge": ["memory_needed", "now", "recorded_source", "tools", "verify"],
        "matrix.rows": [
            "Candidate",
            "FORMATS",
            "Row",
            "candidates",
            "compare_rows",
            "counts",
            "digest_of_model",
            "document",
            "passed_before",
        ],
        "matrix.run": ["run_row"],
        "page": ["report_page"],
        "compare.config": ["ConfigComparison", "compare_configs", "read_reference_config"],
        "report": ["Report", "Result", "Status"],
        "sample": ["PROMPT"],
        "sarif": ["report_sarif"],
        "smoke": ["smoke_test"],
    },
)
