"""The export formats, by their names on the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

from llorch.registry.export.cyclonedx import cyclonedx
from llorch.registry.export.model_card import model_card
from llorch.registry.export.slsa import slsa
from llorch.registry.export.spdx import spdx
from llorch.registry.export.subject import Subject

Form = Literal["slsa", "cyclonedx", "cyclonedx-1.6", "cyclonedx-1.7", "spdx", "model-card"]

WRITERS: Mapping[Form, Callable[[Subject], bytes]] = {
    "slsa": slsa,
    "cyclonedx": partial(cyclonedx, version="1.7"),
    "cyclonedx-1.6": partial(cyclonedx, version="1.6"),
    "cyclonedx-1.7": partial(cyclonedx, version="1.7"),
    "spdx": spdx,
    "model-card": model_card,
}
