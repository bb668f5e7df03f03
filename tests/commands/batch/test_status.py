"""The state of a batch in four forms, each parsed by somebody else's reader."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from llorch.commands.batch.command import main
from llorch.commands.batch.pages import prometheus_text, status_page
from llorch.fleet import BatchFolder, status_of
from tests.commands.conftest import invoke
from tests.fleet.tasks import task_named


class Words(HTMLParser):
    """Collects a page's text and tags."""

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.open: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.links += [str(value) for name, value in attributes if name in ("src", "href")]
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture
def out(alone: Path) -> Path:
    folder = BatchFolder(alone / "out" / ".batch")
    hostile = 'it said "<script>alert(1)</script>"\\\nand more'
    folder.put_receipt(
        task_named("a").key, {"status": "converted", "host": "h1", "seconds": {"convert": 2.0}, "output": "a"}
    )
    folder.put_receipt(
        task_named("b").key,
        {"status": "failed", "host": "h2", "reason": 'i"o', "message": hostile, "output": "b"},
    )
    return alone / "out"


def test_a_page_needs_nothing_else_and_shows_what_was_said_as_text(out: Path) -> None:
    found = status_of([task_named("a"), task_named("b"), task_named("c")], BatchFolder(out / ".batch"))
    page = status_page(found)
    words = Words()
    words.feed(page)
    words.close()
    assert words.open == []
    assert words.links == []
    assert "<script" not in page
    assert any("<script>alert(1)</script>" in text for text in words.text)
    assert "1 of 3 models converted" in words.text


def test_prometheus_reads_the_textfile(out: Path) -> None:
    found = status_of([task_named("a"), task_named("b"), task_named("c")], BatchFolder(out / ".batch"))
    samples = {
        (sample.name, tuple(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(prometheus_text(found))
        for sample in family.samples
    }
    assert samples[("llorch_batch_tasks", (("state", "converted"),))] == 1
    assert samples[("llorch_batch_tasks", (("state", "waiting"),))] == 1
    assert samples[("llorch_batch_failures", (("reason", 'i"o'),))] == 1
    assert samples[("llorch_batch_task_seconds", (("host", "h1"),))] == 2.0
    assert samples[("llorch_batch_source_bytes", ())] == 30


def test_the_command_writes_all_of_them(alone: Path, out: Path) -> None:
    from llorch.fleet import Plan, plan_bytes

    tasks = (task_named("a"), task_named("b"))
    (alone / "plan.jsonl").write_bytes(plan_bytes(Plan({}, {}, "none", tasks)))
    done = invoke(
        main, "status", "plan.jsonl", "--out", out, "--html", "s.html", "--prometheus", "s.prom", "--json"
    )
    assert done.exit_code == 0
    document = json.loads(done.stdout)
    assert document["states"] == {"converted": 1, "failed": 1, "refused": 0, "running": 0, "waiting": 0}
    assert document["done"]
    assert (alone / "s.html").read_text().startswith("<!DOCTYPE html>")
    assert "llorch_batch_tasks" in (alone / "s.prom").read_text()
    table = invoke(main, "status", "plan.jsonl", "--out", out).stdout
    assert "tasks\t1 converted, 1 failed" in table
    unwritable = invoke(main, "status", "plan.jsonl", "--out", out, "--html", "no/such/s.html")
    assert unwritable.exit_code == 5
