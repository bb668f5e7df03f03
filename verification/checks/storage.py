"""Checks of storage: are the bytes those that were written, and do the tensors match the source?"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Sequence
from pathlib import Path

from llorch.base.cores import allowed_cores
from llorch.base.errors import InputError
from llorch.base.printable import printable
from llorch.base.record_files import RECORD
from llorch.converter import round_trip_differences
from llorch.verification.check import Measurement, check, count, spread
from llorch.verification.subject import Subject

QUICK_WEIGHTS = 1 << 32  # weights that quick compares: whole tensors, or an equal share of each
QUICK_TENSORS = 2048  # tensors that quick compares; a mixture of experts has tens of thousands

RECORDS = frozenset({RECORD, "provenance.intoto.json"})  # they list the others, and not themselves

# Suffixes of files that a loader may read. Other files, such as pictures, may be added.
LOADED = frozenset({".safetensors", ".json", ".jinja", ".bin", ".model", ".py", ".txt"})


@check(
    "files.listed", at_most=0, unit="files", because="a loader takes whatever file it finds, listed or not"
)
def files_listed(subject: Subject) -> Measurement:
    """The files that a loader reads are exactly those in conversion.json."""
    listed = {row["path"] for row in subject.record["files"]}
    found = [path for path in subject.folder.rglob("*") if path.is_file()]
    there = {path.relative_to(subject.folder).as_posix() for path in found}
    there -= {name for name in there if name.startswith(".") and "/" in name}  # of .git and caches
    extra = {name for name in there - listed - RECORDS if Path(name).suffix in LOADED}
    differences = [f"{printable(name)} is missing" for name in sorted(listed - there)]
    differences += [f"{printable(name)} is not listed" for name in sorted(extra)]
    return count(differences, f"{len(listed)} files", compared=len(listed))


@check("files.digests", at_most=0, unit="files", because="every bit that was written is in a recorded digest")
def files_digests(subject: Subject) -> Measurement:
    """Sizes and SHA-256 of the files are those in conversion.json; except the model card, which people edit."""
    rows, hashed = subject.digested_files, subject.hashed_files
    differences = []
    for row in rows:
        path = subject.folder / row["path"]
        if path.stat().st_size != row["size"]:
            differences.append(f"{printable(row['path'])} has {path.stat().st_size} bytes, not {row['size']}")
        elif path in hashed and subject.digests.of(path) != row["sha256"]:
            differences.append(f"{printable(row['path'])} has another SHA-256")
    return count(differences, f"{len(hashed)} of {len(rows)} files hashed", compared=len(rows))


@check("source.digest", at_most=0, unit="files", because="the record speaks of one source and no other")
def source_digest(subject: Subject) -> Measurement:
    """The source has the size and digest in conversion.json."""
    recorded = {row["sha256"] for row in subject.record["sources"]}
    sizes, hashed = subject.source_sizes, subject.hashed_sources
    named = {row["size"] for row in subject.record["sources"]}
    differences = [
        f"{printable(str(path))} has {size} bytes" for path, size in sizes.items() if size not in named
    ]
    differences += [
        f"{printable(str(path))} has another SHA-256"
        for path in sorted(hashed)
        if sizes[path] in named and subject.digests.of(path) not in recorded
    ]
    return count(differences, f"{len(hashed)} of {len(sizes)} files hashed", compared=len(sizes))


@check(
    "safetensors.structure",
    at_most=0,
    unit="files",
    because="readers differ on holes, overlaps and doubled names, so two would see two models",
)
def safetensors_structure(subject: Subject) -> Measurement:
    """Every header is complete and strict, the index matches, and the data is as long as the headers say."""
    try:
        return Measurement(0, detail=f"{len(subject.tensors)} tensors")
    except InputError as error:
        return Measurement(1, where=str(error))


@check("tensors.planned", at_most=0, unit="tensors", because="a loader makes up the weights that it misses")
def tensors_planned(subject: Subject) -> Measurement:
    """Names and shapes are those that a conversion of the source writes, none missing and none added."""
    planned = {output.name: output.shape for output in subject.outputs}
    written = {name: tensor.shape for name, tensor in subject.tensors.items()}
    differences = [f"{name} is missing" for name in planned if name not in written]
    differences += [f"{printable(name)} is not planned" for name in written if name not in planned]
    differences += [
        f"{name} has shape {list(written[name])}, not {list(shape)}"
        for name, shape in planned.items()
        if written.get(name, shape) != shape
    ]
    return count(differences, f"{len(planned)} tensors", compared=len(planned))


@check(
    "round_trip", at_most=0, unit="weights", because="moving loses nothing and rounding is once: decision 4"
)
def round_trip_of_weights(subject: Subject) -> Measurement:
    """Every tensor, converted back by the inverse of its operation, equals the source's.

    Tensors that were copied or permuted are equal bit for bit, after one rounding; computed ones are as close as the
    rounding of float32 and of the written dtype allows.
    """
    outputs, sample = subject.outputs, None
    if subject.pattern is not None:
        outputs = [output for output in outputs if fnmatch.fnmatchcase(output.name, subject.pattern)]
    elif subject.level == "quick":
        outputs = spread(outputs, QUICK_TENSORS)
        sample = equal_share([output.weights for output in outputs], QUICK_WEIGHTS)
    found = []
    for difference in round_trip_differences(
        subject.header, outputs, subject.folder, sample=sample, threads=allowed_cores()
    ):
        found.append(difference)
        subject.progress(len(found), len(outputs))
    if not found:
        return Measurement(math.nan)
    worst = max(found, key=lambda difference: difference.differing)
    where = f"{worst.name}, from weight {worst.index} of {worst.source}" if worst.differing else ""
    differing = sum(difference.differing for difference in found)
    compared, all_weights = (sum(getattr(one, name) for one in found) for name in ("compared", "weights"))
    share = "" if compared == all_weights else f", {compared:,} of their {all_weights:,} weights"
    return Measurement(differing, where, f"{len(found)} of {len(subject.outputs)} tensors{share}")


def equal_share(sizes: Sequence[int], most: int) -> int:
    """Return the largest share per item such that sum(min(size, share)) ≤ `most`; small items count whole.

    >>> equal_share([10, 100, 100], 110)
    50
    """
    left, each = most, 0
    for taken, size in enumerate(sorted(sizes)):
        each = left // (len(sizes) - taken)
        if size > each:
            return each
        left -= size
    return max(sizes, default=0)
