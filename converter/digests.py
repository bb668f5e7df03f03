"""One digest for a whole folder, and one for its weights, independent of how they are sharded.

`tree1:` is a digest of the canonical list of files, unchanged by copying; `weights1:` of the canonical list of
tensors, unchanged by resharding. docs/conversion.md defines both, so that anyone can compute them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence


def tree_manifest(files: Iterable[tuple[str, str, int]]) -> bytes:
    """Return the canonical list of a folder's files, each (path with `/`, SHA-256, size)."""
    ordered = sorted(files, key=lambda file: file[0].encode())
    rows = [{"path": path, "sha256": sha256, "size": size} for path, sha256, size in ordered]
    return _canonical({"files": rows, "schema": "llorch.tree/v1"})


def tree_digest(files: Iterable[tuple[str, str, int]]) -> str:
    """Return the folder's digest: the SHA-256 of its manifest."""
    return f"tree1:{hashlib.sha256(tree_manifest(files)).hexdigest()}"


def weights_digest(tensors: Iterable[tuple[str, str, Sequence[int], str]]) -> str:
    """Return the digest of tensors, each (name, dtype, shape, SHA-256 of its bytes)."""
    ordered = sorted(tensors, key=lambda tensor: tensor[0].encode())
    rows = [{"dtype": d, "name": n, "sha256": sha256, "shape": list(s)} for n, d, s, sha256 in ordered]
    document = {"schema": "llorch.weights/v1", "tensors": rows}
    return f"weights1:{hashlib.sha256(_canonical(document)).hexdigest()}"


def _canonical(document: object) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
