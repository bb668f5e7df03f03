"""A plan says what will be converted and what will be refused, for every kind of source."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llorch.commands.batch.command import main
from llorch.commands.convert.command import main as convert
from llorch.fleet import read_plan
from llorch.registry import sha256_of
from tests.commands.batch.conftest import Planned
from tests.commands.batch.served import served
from tests.commands.conftest import invoke
from tests.models.tiny import random_llama, tiny_llama


def test_a_plan_is_the_same_bytes_in_whatever_order_its_sources_come(planned: Planned, alone: Path) -> None:
    first = planned(3).read_bytes()
    words = sorted(str(path) for path in (alone / "models").iterdir())
    invoke(main, "plan", *reversed(words), words[0], "-o", "again.jsonl", "--verify", "none")
    assert (alone / "again.jsonl").read_bytes() == first
    tasks = read_plan(alone / "plan.jsonl").tasks
    assert [task.output for task in tasks] == ["m000", "m001", "m002"]
    assert [task.identity for task in tasks] == [f"sha256:{sha256_of(Path(task.source))}" for task in tasks]


def test_a_list_a_glob_and_a_folder_name_models(planned: Planned, alone: Path) -> None:
    planned(2)
    (alone / "lists").mkdir()
    (alone / "lists" / "some.txt").write_text(
        "# models\n../models/m000.gguf  # the first\n\n../models/m001.gguf\n"
    )
    for words in (
        ["lists/some.txt"],
        ["models/*.gguf"],
        ["**/*.gguf"],
        [alone / "models"],
        ["models/m000.gguf", "models"],
    ):
        assert invoke(main, "plan", *words, "-o", "other.jsonl", "--verify", "none").exit_code == 0
        assert (alone / "other.jsonl").read_bytes() == (alone / "plan.jsonl").read_bytes(), words


def test_what_will_be_refused_is_said_with_its_reason_and_the_rest_is_planned(
    planned: Planned, alone: Path
) -> None:
    (alone / "models").mkdir()
    (alone / "models" / "broken.gguf").write_bytes(b"GGUF" + b"x" * 100)
    vocabulary = tiny_llama()
    vocabulary.tensors.clear()
    vocabulary.write(alone / "models" / "vocabulary.gguf")
    plan = planned(1, "absent.gguf", "/nowhere/else")
    refused = {task.output: task.refused for task in read_plan(plan).tasks}
    assert refused["m000"] is None
    assert "GGUF version" in str(refused["broken"])
    assert "holds a vocabulary and no tensor" in str(refused["vocabulary"])
    assert refused["absent"] == "no such file or folder"
    assert refused["else-hf"] == "no such file or folder"


def test_models_of_one_name_get_folders_of_their_own_and_one_file_twice_is_one_task(alone: Path) -> None:
    for folder, seed in (("a", 1), ("b", 2), ("c", 1)):
        (alone / folder).mkdir()
        random_llama(layers=1, seed=seed).write(alone / folder / "Model.gguf")
    invoke(main, "plan", "a", "b", "c", "-o", "plan.jsonl")
    tasks = read_plan(alone / "plan.jsonl").tasks
    assert [task.output for task in tasks] == sorted(f"Model-{task.key[:12]}" for task in tasks)
    assert {Path(task.source).parent.name for task in tasks} == {"a", "b"}


def test_options_are_read_and_are_part_of_the_key(planned: Planned, alone: Path) -> None:
    before = read_plan(planned(1)).tasks[0].key
    (alone / "options.toml").write_text('dtype = "fp16"\nmax_shard_size = "1MB"\n')
    plan = read_plan(planned(1, "--options", "options.toml"))
    assert plan.options == {
        "dtype": "float16",
        "max_shard_size": 10**6,
        "strict": False,
        "allow_unknown": False,
    }
    assert plan.tasks[0].key != before


@pytest.mark.parametrize("content", ['dtype = "int3"', "colour = 1", "dtype =", 'max_shard_size = "many"'])
def test_options_that_mean_nothing_are_refused_by_file(source: Path, alone: Path, content: str) -> None:
    (alone / "options.toml").write_text(content)
    done = invoke(main, "plan", source, "-o", "plan.jsonl", "--options", "options.toml")
    assert done.exit_code == 3
    assert "options.toml: " in done.stderr
    assert not (alone / "plan.jsonl").exists()


def test_a_key_is_another_with_other_tables(planned: Planned, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read_plan(planned(1)).tasks[0].key
    monkeypatch.setattr("llorch.commands.batch.planning.tables_version", lambda: "another")
    assert read_plan(planned(1)).tasks[0].key != before


def test_a_glob_that_matches_nothing_and_a_query_that_asks_nothing_known_are_usage_errors(
    alone: Path,
) -> None:
    assert "nothing matches" in invoke(main, "plan", "no/*.gguf", "-o", "p.jsonl").stderr
    done = invoke(main, "plan", "registry:colour=red", "-o", "p.jsonl")
    assert done.exit_code == 2
    assert "known are name, kind" in done.stderr


def test_a_url_whose_query_may_be_a_secret_is_not_written_down(
    alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random_llama(layers=1).write(alone / "m.gguf")
    with served(alone) as url:
        invoke(main, "plan", f"{url}/m.gguf?token=s3cret", f"{url}/m.gguf", "-o", "p.jsonl")
    content = (alone / "p.jsonl").read_text()
    assert "s3cret" not in content
    assert [task.refused for task in read_plan(alone / "p.jsonl").tasks] == [None]


def test_show_says_how_long_and_what_fits_nowhere(planned: Planned, alone: Path) -> None:
    plan = planned(4)
    done = invoke(main, "show", plan, "--nodes", "2", "--cores", "1", "--json")
    document = json.loads(done.stdout)
    tasks = read_plan(plan).tasks
    assert document["tasks"] == 4
    assert document["makespan_s"] == pytest.approx(2 * tasks[0].needs.seconds, abs=0.1)
    assert document["disk_bytes"] == max(task.needs.disk_bytes for task in tasks)
    small = invoke(main, "show", plan, "--disk", "1MB")
    assert small.exit_code == 5
    assert "m000 fits none of these machines" in small.stderr


def test_the_registrys_models_are_planned_by_what_they_are(alone: Path) -> None:
    random_llama(layers=1, matrices="F32").write(alone / "one.gguf")
    invoke(convert, "one.gguf", "-o", "one", "--verify", "none")
    invoke(main, "plan", "one.gguf", "-o", "by-file.jsonl")
    done = invoke(main, "plan", "registry:architecture=llama", "-o", "by-query.jsonl")
    assert done.exit_code == 0, done.output
    assert (alone / "by-query.jsonl").read_bytes() == (alone / "by-file.jsonl").read_bytes()
