"""`llorch-run soak`: random requests for some minutes, each answer compared with that of a new process."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from llorch import formats, runtime
from llorch.commands import cli
from llorch.commands.cli import Cell, size, text, write_rows
from llorch.commands.ledger import MODEL
from llorch.commands.run.options import NAME

SHOWN = 5  # wrong answers to print

commands = click.Group()  # `llorch.commands.run.command` adds it to its group


@cli.subcommand(commands, "soak", example=f"{NAME} soak smollm2 --minutes 5")
@click.argument("model", type=MODEL, shell_complete=cli.complete_model)
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, max=24 * 60),
    default=1.0,
    show_default=True,
    help="How long to go on; each request is made at least once.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed makes the same requests.")
@click.option("--answers", hidden=True, is_flag=True, help="Print what a fresh process says.")
@cli.mode_option("fast")
@cli.device_option("Where it is computed. auto: cuda if it is there, else cpu.")
def soak(model: Path, minutes: float, seed: int, answers: bool, mode: str, device: str, as_json: bool) -> int:
    """Test a model with many random requests, and watch its memory.

    Short and long ones, several at once, prompts read in chunks, some cancelled. Each answer must be that of a
    fresh process, and the memory must stay flat; it ends with 1 where it does not.
    """
    path = formats.model_path(model, folders=True)
    if answers:
        cli.write_json(asdict(runtime.fresh_answers(path, seed, runtime.choose_device(device), mode)))
        return 0
    options = ("--answers", "--seed", str(seed), "--mode", mode, "--device", device, "--json")
    child = cli.run_command("run", "soak", str(path), *options)
    if child.returncode:
        return child.returncode  # the child has printed why
    fresh = runtime.Fresh(**json.loads(child.stdout))
    with cli.progress(f"loading {path.name}"):
        loaded = runtime.load(path, device=device, mode=mode)
    with loaded, cli.progress("soaking", in_bytes=False) as bar:
        found = runtime.soak(loaded, fresh, seed=seed, seconds=60 * minutes, progress=bar)
        used = loaded.mode
    if as_json:
        document = {
            "model": str(model),
            "mode": used,
            "passed": found.passed,
            **asdict(found),
            "grown": found.grown,
        }
        cli.write_json({"schema": "llorch.soak/v1", **document})
    else:
        write_rows(
            [
                [text("asked"), Cell(str(found.asked), f"{found.asked:,}")],
                [text("cancelled"), Cell(str(found.cancelled), f"{found.cancelled:,}")],
                [text("read in chunks"), Cell(str(found.chunked), f"{found.chunked:,}")],
                [text("tokens made"), Cell(str(found.tokens), f"{found.tokens:,}")],
                [text("wrong"), Cell(str(len(found.wrong)), f"{len(found.wrong):,}")],
                [text("memory grown"), size(found.grown)],
            ]
        )
        for wrong in found.wrong[:SHOWN]:
            cli.note(NAME, f"wrong: {wrong}")
        cli.note(NAME, f"{'passed' if found.passed else 'failed'} after {found.seconds:.0f} s in mode {used}")
    return 0 if found.passed else 1
