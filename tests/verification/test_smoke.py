"""Smoke tests of a model without a source: broken models are detected, and what cannot run is skipped."""

from __future__ import annotations

import math
import os
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from llorch.base.errors import MalformedInput
from llorch.verification import smoke_test
from llorch.verification.report import Report
from llorch.verification.smoke import SMOKE_CHECKS, SmokeSubject, tokens_come_back
from tests.models.gguf_writer import STRING, TYPE_F32, Model, one
from tests.models.tiny import random_llama


def statuses(report: Report) -> dict[str, str]:
    return {result.name: str(result.status) for result in report.results}


def changed(model: Model, name: str, value: float) -> Model:
    """Set every weight of a tensor to this number."""
    (row,) = (row for row in model.tensors if row.name == name)
    return model.tensor(name, row.ne, TYPE_F32, data=struct.pack("<f", value) * math.prod(row.ne))


def test_random_weights_run_and_know_no_english(tmp_path: Path) -> None:
    report = smoke_test(random_llama().write(tmp_path / "m.gguf"))
    assert statuses(report) == {
        "alone.finite": "PASSED",
        "alone.surprise": "WARNED",
        "alone.tokens": "PASSED",
    }
    assert (report.outcome, report.against) == ("PASSED", None)
    (surprise,) = (result.value for result in report.results if result.name == "alone.surprise")
    assert surprise is not None
    assert surprise > 1  # a guess is better than weights that mean nothing


def test_a_real_model_is_less_surprised_than_a_guess(real_model: Path) -> None:
    report = smoke_test(real_model)
    assert statuses(report) == dict.fromkeys(SMOKE_CHECKS, "PASSED")
    values = {result.name: result.value for result in report.results}
    assert cast(float, values["alone.surprise"]) < 0.4


def test_a_model_of_zeros_is_told_from_one_that_has_learnt(tmp_path: Path) -> None:
    report = smoke_test(changed(random_llama(), "output.weight", 0.0).write(tmp_path / "m.gguf"))
    (surprise,) = (result for result in report.results if result.name == "alone.surprise")
    assert surprise.value == pytest.approx(1.0)  # a guess, to the last digit
    assert surprise.status == "WARNED"


@pytest.mark.parametrize("name", ["output_norm.weight", "blk.1.attn_norm.weight", "token_embd.weight"])
def test_a_nan_anywhere_is_found(name: str, tmp_path: Path) -> None:
    report = smoke_test(changed(random_llama(), name, math.nan).write(tmp_path / "m.gguf"))
    assert statuses(report)["alone.finite"] in ("FAILED", "ERROR")
    assert report.outcome == "FAILED"


def test_a_text_that_does_not_come_back_is_counted() -> None:
    lossy = SimpleNamespace(
        encode=lambda text, **_: SimpleNamespace(ids=[ord(c) for c in text]),
        decode=lambda ids: "".join(map(chr, ids)).lower(),
    )
    result = tokens_come_back(cast(SmokeSubject, SimpleNamespace(model=SimpleNamespace(tokenizer=lossy))))
    assert (result.value, str(result.status)) == (3, "FAILED")


def test_what_the_runtime_does_not_know_is_skipped(tmp_path: Path) -> None:
    model = random_llama().key("general.architecture", one(STRING, "rwkv7"))
    report = smoke_test(model.write(tmp_path / "m.gguf"))
    assert statuses(report) == dict.fromkeys(SMOKE_CHECKS, "SKIPPED")
    assert report.outcome == "INCOMPLETE"
    assert all("rwkv7" in result.detail for result in report.results)


def test_what_does_not_fit_into_memory_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_llama().write(tmp_path / "m.gguf")
    sizes = {"SC_PHYS_PAGES": 100, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "sysconf", lambda name: sizes[name])
    report = smoke_test(model)
    assert statuses(report) == dict.fromkeys(SMOKE_CHECKS, "SKIPPED")
    assert all("327,680 may be used here" in result.detail for result in report.results)


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"<html>")
    with pytest.raises(MalformedInput, match="is no GGUF file"):
        smoke_test(tmp_path / "m.gguf")
    with pytest.raises(FileNotFoundError):
        smoke_test(tmp_path / "nowhere")
