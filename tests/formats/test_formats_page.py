"""docs/formats.md states the limits that the code has."""

from __future__ import annotations

from pathlib import Path

import pytest

from llorch.formats import safetensors as safetensors_file
from llorch.formats.gguf.byte_order import UNCLEAR
from llorch.formats.gguf.header import Limits

PAGE = (Path(__file__).parents[2] / "docs" / "formats.md").read_text()


@pytest.mark.parametrize(
    "said",
    [
        f"header | {Limits().header_bytes >> 20} MiB",
        f"| {Limits().keys:,} and {Limits().tensors:,} |",
        f"| {Limits().key_bytes:,} and {Limits().name_bytes} bytes |",
        f"a string | {Limits().string_bytes >> 20} MiB",
        f"all together | {Limits().strings:,}",
        f"up to {Limits().alignment >> 20} MiB",
        f"above {safetensors_file.HEADER_BYTES >> 20} MiB, more than {safetensors_file.TENSORS:,} tensors",
        safetensors_file.SHARD_NAME.pattern.replace("\\", ""),
        *(name for name in sorted(UNCLEAR) if not name.startswith("IQ")),
    ],
)
def test_the_page_says(said: str) -> None:
    assert said in PAGE
