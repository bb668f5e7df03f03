"""How a conversion is named in provenance statements: by pages that document it, with a version of their own."""

from __future__ import annotations

# docs/provenance.md under these headings; a change of what the fields mean is another version and another heading.
PAGE = "https://github.com/llorch/llorch/blob/main/docs/provenance.md"
BUILD_TYPE = f"{PAGE}#gguf-to-safetensors-v1"
BUILDER_ID = f"{PAGE}#local-command-line-v1"
