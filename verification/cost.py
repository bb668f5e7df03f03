"""The cost of a quantization: errors of the tensors, and divergence of the logits, against the original model."""

from __future__ import annotations

import math
import os
from dataclasses import asdict
from functools import partial
from pathlib import Path

from llorch.converter.quantization import compare_with_reference, read_reference
from llorch.verification.judge import CheckProgress, silent
from llorch.verification.subject import Subject


def measure_cost(
    folder: Path, original: Path, *, level: str, device: str, progress: CheckProgress = silent
) -> dict[str, object]:
    """Measure the errors of the tensors, the largest first, and the divergence of the folder's logits.

    progress: called with the part that is measured, and how much of it is done. In the result, kl: nats at each
    position of a text; perplexity: of the original and of the folder. Raises InputError if the original is malformed or
    another model, OSError if it cannot be read.
    """
    from llorch.verification.lockstep import Lockstep  # torch
    from llorch.verification.readings import open_reading

    progress("the tensors' errors", 0, 1)
    errors = compare_with_reference(folder, read_reference(original)).errors
    ordered = sorted(errors, key=lambda error: -(math.inf if error.relative is None else error.relative))
    with Subject(folder, None, level=level, device=device) as subject:
        tested = subject.folder_reading
        reference = open_reading(original, subject.sizes, subject.device)
        try:
            run = Lockstep(reference, tested, None, subject.sizes, subject.prose, subject.layers)
            found = run.run(len(subject.prose_once), partial(progress, "divergence"))
        finally:
            reference.close()
    assert found.logits is not None
    assert found.losses is not None
    return {
        "folder": os.fspath(original),
        "layers": len(found.layers),
        "kl": found.logits.kl.tolist(),
        "kl_mean": found.logits.kl_mean,
        "kl_max": found.logits.kl_max,
        "agreement": found.logits.agreement,
        "perplexity": [math.exp(min(loss, 700.0)) for loss in found.losses],
        "tensors": [asdict(error) for error in ordered],
    }
