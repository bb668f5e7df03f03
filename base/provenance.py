"""URIs by which provenance statements name a conversion: headings of a documentation page, each with a version."""

from __future__ import annotations

# Headings of docs/provenance.md. If the meaning of the fields changes, add a heading with the next version.
PAGE = "https://github.com/llorch/llorch/blob/main/docs/provenance.md"
BUILD_TYPE = f"{PAGE}#gguf-to-safetensors-v1"
BUILDER_ID = f"{PAGE}#local-command-line-v1"
